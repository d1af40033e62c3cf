//! Campaigns, and coupons for those who come first.

use metrics::Counter;

use super::exhausted::{HOLDERS_MAX, Told};
use super::{SaleEngine, SaleParts};
use crate::bus::{BusEvent, BusMessage};
use crate::domain::ids::{ActivationId, ResourceId, UserId};
use crate::domain::sale::coupon::{Campaign, Coupon, NewCampaign};
use crate::metrics::COUPON_ISSUES;
use crate::store::sales::{IssueCoupon, Issued, Once, SalesError, UpdateCampaign};

/// Read at once of those who have a coupon.
const HOLDERS_PER_READ: u32 = 5_000;

/// What became of requests for a coupon.
pub(super) struct Outcomes {
    granted: Counter,
    repeated: Counter,
    sold_out: Counter,
    sold_out_known: Counter,
    refused: Counter,
    failed: Counter,
}

impl Outcomes {
    pub fn new(parts: &SaleParts) -> Self {
        let of = |outcome| parts.metrics.counter(&COUPON_ISSUES, &[outcome]);
        Self {
            granted: of("granted"),
            repeated: of("repeated"),
            sold_out: of("sold_out"),
            sold_out_known: of("sold_out_known"),
            refused: of("refused"),
            failed: of("failed"),
        }
    }

    fn count(&self, outcome: &Result<Issued, SalesError>) {
        let counter = match outcome {
            Ok(issued) if issued.already => &self.repeated,
            Ok(_) => &self.granted,
            Err(SalesError::CouponSoldOut) => &self.sold_out,
            Err(SalesError::Overloaded | SalesError::Unavailable(_)) => &self.failed,
            Err(_) => &self.refused,
        };
        counter.increment(1);
    }
}

impl SaleEngine {
    /// # Errors
    /// As `Coupons::create_campaign`.
    pub async fn create_campaign(
        &self,
        once: Once,
        campaign: NewCampaign,
    ) -> Result<Campaign, SalesError> {
        let id = self.fresh_id()?;
        let sale = self.clone();
        self.to_the_end(async move { sale.store().create_campaign(once, id, campaign).await })
            .await
    }

    /// # Errors
    /// As `Coupons::update_campaign`.
    pub async fn update_campaign(&self, command: UpdateCampaign) -> Result<Campaign, SalesError> {
        let sale = self.clone();
        self.to_the_end(async move {
            let updated = sale.store().update_campaign(command).await?;
            // Before the answer: whoever raised the stock finds it raised.
            sale.0.exhausted.forget(&updated.id);
            let campaign = updated.id.clone();
            sale.0.bus.publish(BusMessage::CampaignChanged { campaign });
            sale.tell_rooms(updated.room.clone(), None);
            Ok(updated)
        })
        .await
    }

    /// The user's coupon, and whether an earlier call issued it. `pass` is the
    /// `jti` of the pass that was shown, already verified.
    ///
    /// # Errors
    /// As `Coupons::issue_coupon`.
    pub async fn issue_coupon(
        &self,
        user: UserId,
        campaign: ResourceId,
        pass: Option<ActivationId>,
    ) -> Result<(Coupon, bool), SalesError> {
        if let Told::Refused { look } = self.0.exhausted.ask(&campaign, &user) {
            if look {
                self.look_again(campaign);
            }
            self.0.issues.sold_out_known.increment(1);
            return Err(SalesError::CouponSoldOut);
        }
        let command = IssueCoupon {
            user,
            campaign,
            id: self.fresh_id()?,
            activation: pass,
        };
        let sale = self.clone();
        self.to_the_end(async move {
            let campaign = command.campaign.clone();
            let outcome = sale.store().issue_coupon(command).await;
            sale.0.issues.count(&outcome);
            if outcome == Err(SalesError::CouponSoldOut) {
                sale.learn_sold_out(campaign);
            }
            let issued = outcome?;
            sale.tell_rooms(issued.recheck_sold_out, issued.completed);
            Ok((issued.coupon, issued.already))
        })
        .await
    }

    /// What the bus brings.
    pub fn heard(&self, event: &BusEvent) {
        self.0.exhausted.heard(event);
    }

    /// That all is issued, and to whom, without the caller waiting for it.
    fn learn_sold_out(&self, campaign: ResourceId) {
        let sale = self.clone();
        self.0.tasks.spawn(async move {
            if let Err(error) = sale.read_holders(&campaign).await {
                tracing::warn!(campaign.id = %campaign, error = %error, "not known who has coupons");
            }
        });
    }

    async fn read_holders(&self, id: &ResourceId) -> Result<(), SalesError> {
        let Some(mut learning) = self.0.exhausted.learn(id) else {
            return Ok(());
        };
        let campaign = self.store().campaign(id.clone()).await?;
        let stock = usize::try_from(campaign.terms.stock).unwrap_or(usize::MAX);
        if !campaign.is_sold_out() || stock > HOLDERS_MAX {
            return Ok(());
        }
        let mut after = None;
        loop {
            let page = self.store();
            let page = page.coupon_holders(id.clone(), after, HOLDERS_PER_READ);
            let page = page.await?;
            learning.note(&page);
            let is_end = page.len() < usize::try_from(HOLDERS_PER_READ).unwrap_or(usize::MAX);
            after = page.last().cloned();
            if is_end {
                break;
            }
        }
        let now = self.store().campaign(id.clone()).await?;
        if now.version == campaign.version && now.is_sold_out() {
            learning.keep(now.version);
        }
        Ok(())
    }

    fn look_again(&self, id: ResourceId) {
        let sale = self.clone();
        self.0.tasks.spawn(async move {
            match sale.store().campaign(id.clone()).await {
                Ok(now) => sale.0.exhausted.look(&id, now.version, now.is_sold_out()),
                Err(SalesError::NotFound) => sale.0.exhausted.forget(&id),
                // While the store is away nobody gets a coupon.
                Err(_) => {}
            }
        });
    }
}
