//! Wallets and payments.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::domain::sale::currency::Currency;
use crate::domain::sale::money::Money;
use crate::engine::sale::TopUp;
use crate::proto::v1 as wire;
use crate::proto::v1::pay_reservation_request::Method;
use crate::proto::v1::payment_service_server::PaymentService;
use crate::proto::v1::top_up_wallet_request::Source;

use super::decode::{self, FieldError};
use super::edge::{Edge, once, open, open_traced};
use super::encode;
use super::status::{EdgeError, Refusal};

const GATEWAY: &str = "this server has no payment gateway";
const REFUNDS_ONLY: &str = "this server's payment gateway only gives back";

/// Of a gateway's token.
const TOKEN_BYTES_MAX: usize = 512;

/// Serves `PaymentService`.
#[derive(Clone)]
pub struct Payments {
    edge: Arc<Edge>,
}

impl Payments {
    #[must_use]
    pub fn new(edge: Arc<Edge>) -> Self {
        Self { edge }
    }

    /// The currency a caller names, or the server's.
    fn currency(&self, code: Option<&str>) -> Result<Currency, Refusal> {
        Ok(self.edge.sale.wallet_currency(code)?)
    }

    /// What the gateway gave the client.
    fn token(&self, source: wire::GatewaySource) -> Result<String, Refusal> {
        match self.edge.sale.gateway() {
            None => return Err(EdgeError::Unimplemented(GATEWAY).into()),
            Some(gateway) if gateway.refunds_only => {
                return Err(EdgeError::Unimplemented(REFUNDS_ONLY).into());
            }
            Some(_) => {}
        }
        let token = source.token;
        let is_plain = token.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_plain || !(1..=TOKEN_BYTES_MAX).contains(&token.len()) {
            let why = "must be 1 to 512 printable ASCII characters";
            return Err(FieldError::invalid("gateway.token", why).into());
        }
        Ok(token)
    }

    async fn wallet(
        &self,
        request: Request<wire::GetWalletRequest>,
    ) -> Result<wire::GetWalletResponse, Refusal> {
        let (user, message) = open(request)?;
        let currency = self.currency(message.currency_code.as_deref())?;
        let balance = self.edge.sale.store().balance(user, currency).await?;
        let balance_max = Money::new(currency, self.edge.sale.settings().balance_minor_max);
        Ok(wire::GetWalletResponse {
            wallet: Some(wire::Wallet {
                balance: Some(encode::money(balance)),
                balance_max: Some(encode::money(balance_max)),
            }),
        })
    }

    async fn entries(
        &self,
        request: Request<wire::ListWalletEntriesRequest>,
    ) -> Result<wire::ListWalletEntriesResponse, Refusal> {
        let (user, message) = open(request)?;
        let currency = self.currency(message.currency_code.as_deref())?;
        let scope = ["ListWalletEntries", user.as_str(), currency.as_str()];
        let page = self
            .edge
            .page(&scope, message.page_size, &message.page_token)?;
        let store = self.edge.sale.store();
        let listing = store.wallet_entries(user.clone(), currency, page).await?;
        let entries = listing.items.into_iter();
        Ok(wire::ListWalletEntriesResponse {
            entries: entries.map(encode::sale::wallet_entry).collect(),
            next_page_token: self.edge.next_page_token(&scope, listing.next.as_ref()),
        })
    }

    async fn top_up(
        &self,
        request: Request<wire::TopUpWalletRequest>,
    ) -> Result<wire::TopUpWalletResponse, Refusal> {
        let (user, message) = open(request)?;
        let key = decode::idempotency_key("idempotency_key", &message.idempotency_key)?;
        let amount = decode::money("amount", message.amount.as_ref())?;
        let sale = &self.edge.sale;
        let topped_up = match decode::required("source", message.source)? {
            Source::Gateway(source) => {
                let token = self.token(source)?;
                let topped_up = sale.top_up_by_gateway(once(&user, key), amount, token);
                topped_up.await?
            }
            Source::Sandbox(_) if self.edge.settings.sandbox => TopUp {
                entry: Some(sale.top_up(once(&user, key), amount).await?),
                action_url: None,
            },
            Source::Sandbox(_) => {
                let why = "is for development mode only";
                return Err(FieldError::invalid("sandbox", why).into());
            }
        };
        Ok(wire::TopUpWalletResponse {
            poll_after: match topped_up.entry {
                Some(_) => None,
                None => Some(encode::sale::payment_poll_after()),
            },
            entry: topped_up.entry.map(encode::sale::wallet_entry),
            action_url: topped_up.action_url,
        })
    }

    async fn pay(
        &self,
        request: Request<wire::PayReservationRequest>,
    ) -> Result<wire::PayReservationResponse, Refusal> {
        let (asker, message) = open_traced(request)?;
        let key = decode::idempotency_key("idempotency_key", &message.idempotency_key)?;
        let reservation = decode::resource_id("reservation_id", &message.reservation_id)?;
        let method = decode::required("method", message.method)?;
        // An empty one is a field that is not set.
        let coupon = message.coupon_id.filter(|id| !id.is_empty());
        let coupon = coupon.map(|id| decode::resource_id("coupon_id", &id));
        let coupon = coupon.transpose()?;
        let sale = &self.edge.sale;
        let once = asker.once(key);
        let payment = match method {
            Method::Wallet(_) => sale.pay_reservation(once, reservation, coupon).await?,
            Method::Gateway(source) => {
                let token = self.token(source)?;
                sale.pay_by_gateway(once, reservation, token, coupon)
                    .await?
            }
        };
        Ok(wire::PayReservationResponse {
            payment: Some(encode::sale::payment(payment)),
        })
    }

    async fn payment(
        &self,
        request: Request<wire::GetPaymentRequest>,
    ) -> Result<wire::GetPaymentResponse, Refusal> {
        let (user, message) = open(request)?;
        let id = decode::resource_id("payment_id", &message.payment_id)?;
        let payment = self.edge.sale.store().payment(user, id).await?;
        Ok(wire::GetPaymentResponse {
            payment: Some(encode::sale::payment(payment)),
        })
    }
}

#[tonic::async_trait]
impl PaymentService for Payments {
    async fn get_wallet(
        &self,
        request: Request<wire::GetWalletRequest>,
    ) -> Result<Response<wire::GetWalletResponse>, Status> {
        self.edge.answer(self.wallet(request).await)
    }

    async fn list_wallet_entries(
        &self,
        request: Request<wire::ListWalletEntriesRequest>,
    ) -> Result<Response<wire::ListWalletEntriesResponse>, Status> {
        self.edge.answer(self.entries(request).await)
    }

    async fn top_up_wallet(
        &self,
        request: Request<wire::TopUpWalletRequest>,
    ) -> Result<Response<wire::TopUpWalletResponse>, Status> {
        self.edge.answer(self.top_up(request).await)
    }

    async fn pay_reservation(
        &self,
        request: Request<wire::PayReservationRequest>,
    ) -> Result<Response<wire::PayReservationResponse>, Status> {
        self.edge.answer(self.pay(request).await)
    }

    async fn get_payment(
        &self,
        request: Request<wire::GetPaymentRequest>,
    ) -> Result<Response<wire::GetPaymentResponse>, Status> {
        self.edge.answer(self.payment(request).await)
    }
}
