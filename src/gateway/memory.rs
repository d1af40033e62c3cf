//! A provider in this process, with which a whole shop is tried out: no money
//! moves. What becomes of a payment is said by its token ([`Token`]).
//!
//! What is not decided at once is decided [`LATER_MS`] after it was confirmed. A
//! restart forgets all; so does the number of charges, the oldest first. What is
//! forgotten took nothing: it is answered as declined, and its refunds as made.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{Charge, ChargeState, GatewayError, PaymentGateway, RefundStanding};
use crate::clock::Clock;
use crate::config::MEMORY_PROVIDER;
use crate::domain::ids::ResourceId;
use crate::domain::sale::currency::Currency;
use crate::domain::sale::intent::Intent;
use crate::domain::sale::money::Money;
use crate::domain::time::UnixMs;
use crate::store::sales::OwedRefund;

const LATER_MS: u64 = 2_000;
const CHARGES_MAX: usize = 100_000;
/// Whoever is asked for something agrees by themselves.
const ACTION_URL: &str = "https://sandbox.invalid/you-will-have-agreed-in-two-seconds";

/// How a payment goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Ok,
    Declined,
    Slow(ChargeState),
    /// Its buyer is asked for something first.
    Ask(ChargeState),
}

impl Token {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "ok" => Some(Self::Ok),
            "declined" => Some(Self::Declined),
            "slow" => Some(Self::Slow(ChargeState::Succeeded)),
            "slow-declined" => Some(Self::Slow(ChargeState::Declined)),
            "ask" => Some(Self::Ask(ChargeState::Succeeded)),
            "ask-declined" => Some(Self::Ask(ChargeState::Declined)),
            _ => None,
        }
    }
}

struct Kept {
    amount: Money,
    /// What it was confirmed with, and when.
    confirmed: Option<(Token, UnixMs)>,
    cancelled: bool,
    refunds: BTreeMap<ResourceId, i64>,
}

impl Kept {
    fn state(&self, now: UnixMs) -> ChargeState {
        let Some((token, at)) = self.confirmed.filter(|_| !self.cancelled) else {
            return match self.cancelled {
                true => ChargeState::Declined,
                false => ChargeState::Open,
            };
        };
        let is_over = at.plus_ms(LATER_MS) <= now;
        match token {
            Token::Ok => ChargeState::Succeeded,
            Token::Declined => ChargeState::Declined,
            Token::Slow(end) | Token::Ask(end) if is_over => end,
            Token::Slow(_) => ChargeState::Processing,
            Token::Ask(_) => ChargeState::Open,
        }
    }

    fn charge(&self, intent: &ResourceId, now: UnixMs) -> Charge {
        let state = self.state(now);
        let asks = state == ChargeState::Open && self.confirmed.is_some();
        Charge {
            provider_id: provider_id(intent, self.amount),
            state,
            amount: self.amount,
            action_url: asks.then(|| ACTION_URL.to_owned()),
        }
    }
}

#[derive(Default)]
struct Books {
    charges: HashMap<ResourceId, Kept>,
    /// The oldest first.
    order: VecDeque<ResourceId>,
}

pub struct MemoryGateway {
    clock: Arc<dyn Clock>,
    books: Mutex<Books>,
}

impl MemoryGateway {
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            books: Mutex::default(),
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // No panic comes between two changes of them.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `change` it, and answer how it stands; what is forgotten is declined.
    fn with(
        &self,
        intent: &ResourceId,
        id: &str,
        change: impl FnOnce(&mut Kept, UnixMs) -> Result<(), GatewayError>,
    ) -> Result<Charge, GatewayError> {
        let amount = amount_of(intent, id)?;
        let now = self.clock.now();
        let mut books = self.books();
        let Some(kept) = books.charges.get_mut(intent) else {
            return Ok(Charge {
                provider_id: id.to_owned(),
                state: ChargeState::Declined,
                amount,
                action_url: None,
            });
        };
        change(kept, now)?;
        Ok(kept.charge(intent, now))
    }
}

/// With its amount, so that it is known when all else is forgotten.
fn provider_id(intent: &ResourceId, amount: Money) -> String {
    let Money {
        currency,
        amount_minor,
    } = amount;
    format!("mem.{currency}.{amount_minor}.{intent}")
}

fn amount_of(intent: &ResourceId, id: &str) -> Result<Money, GatewayError> {
    let mut parts = id.splitn(4, '.');
    let amount = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("mem"), Some(code), Some(minor), Some(of)) if of == intent.as_str() => {
            let currency = Currency::parse(code).ok();
            currency.zip(minor.parse().ok())
        }
        _ => None,
    };
    let (currency, minor) = amount.ok_or(REFUSED)?;
    Ok(Money::new(currency, minor))
}

const REFUSED: GatewayError = GatewayError::Refused { status: 422 };

#[async_trait]
impl PaymentGateway for MemoryGateway {
    fn provider(&self) -> &str {
        MEMORY_PROVIDER
    }

    async fn create(&self, intent: &Intent) -> Result<Charge, GatewayError> {
        let now = self.clock.now();
        let mut books = self.books();
        if !books.charges.contains_key(&intent.id) {
            if books.order.len() >= CHARGES_MAX
                && let Some(oldest) = books.order.pop_front()
            {
                books.charges.remove(&oldest);
            }
            let kept = Kept {
                amount: intent.amount,
                confirmed: None,
                cancelled: false,
                refunds: BTreeMap::new(),
            };
            books.order.push_back(intent.id.clone());
            books.charges.insert(intent.id.clone(), kept);
        }
        let kept = books.charges.get(&intent.id).ok_or(REFUSED)?;
        Ok(kept.charge(&intent.id, now))
    }

    async fn confirm(
        &self,
        intent: &ResourceId,
        provider_id: &str,
        token: &str,
    ) -> Result<Charge, GatewayError> {
        let token = Token::from_name(token).ok_or(GatewayError::Refused { status: 400 })?;
        self.with(intent, provider_id, |kept, now| {
            match kept.confirmed {
                // The same again.
                Some((first, _)) if first == token && !kept.cancelled => {}
                None if !kept.cancelled => kept.confirmed = Some((token, now)),
                _ => return Err(REFUSED),
            }
            Ok(())
        })
    }

    async fn look(&self, intent: &ResourceId, provider_id: &str) -> Result<Charge, GatewayError> {
        self.with(intent, provider_id, |_, _| Ok(()))
    }

    async fn cancel(&self, intent: &ResourceId, provider_id: &str) -> Result<Charge, GatewayError> {
        self.with(intent, provider_id, |kept, now| {
            kept.cancelled |= kept.state(now) == ChargeState::Open;
            Ok(())
        })
    }

    async fn refund(&self, refund: &OwedRefund) -> Result<RefundStanding, GatewayError> {
        let given = refund.amount.amount_minor;
        let charge = self.with(&refund.intent, &refund.provider_id, |kept, now| {
            let others = kept.refunds.iter().filter(|(id, _)| **id != refund.id);
            let before: i64 = others.map(|(_, amount)| amount).sum();
            let fits = before.checked_add(given);
            let fits = fits.is_some_and(|all| all <= kept.amount.amount_minor);
            if kept.state(now) != ChargeState::Succeeded || !fits {
                return Err(REFUSED);
            }
            kept.refunds.insert(refund.id.clone(), given);
            Ok(())
        });
        charge.map(|_| RefundStanding::Succeeded)
    }

    async fn look_refund(&self, refund: &OwedRefund) -> Result<RefundStanding, GatewayError> {
        amount_of(&refund.intent, &refund.provider_id)?;
        let books = self.books();
        let kept = books.charges.get(&refund.intent);
        let made = kept.is_some_and(|kept| kept.refunds.contains_key(&refund.id));
        Ok(match made {
            true => RefundStanding::Succeeded,
            false => RefundStanding::Unknown,
        })
    }
}

#[cfg(test)]
mod tests;
