//! Coupons: the terms of a campaign, what a coupon takes off, and when.
//!
//! A percentage is cut to whole minor units: the buyer pays the fraction. What a
//! coupon takes off is at most the total, so what is left to pay may be 0 and is
//! never less. A coupon that would take nothing off is not used up for it.

use serde::{Deserialize, Serialize};

use super::command::FieldError;
use super::currency::Currency;
use super::money::{AMOUNT_MINOR_MAX, Money};
use crate::domain::ids::{ResourceId, RoomId, UserId};
use crate::domain::time::UnixMs;

/// Characters of a campaign's name.
pub const NAME_CHARS_MAX: usize = 200;
/// Coupons of one campaign.
pub const STOCK_MAX: u64 = 100_000_000;
/// Concerts, and performances, that a campaign names.
pub const TARGETS_MAX: usize = 100;

const AMOUNT_WHY: &str = "must be between 1 and 1000000000000 minor units";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Discount {
    Percent {
        percent: u32,
        at_most: Option<Money>,
    },
    Amount(Money),
}

/// What an operator decides about a campaign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewCampaign {
    pub name: String,
    pub stock: u64,
    pub discount: Discount,
    pub order_min: Option<Money>,
    /// Coupons are used from then on; they are issued before, too.
    pub valid_from: Option<UnixMs>,
    /// They are neither issued nor used from then on.
    pub valid_until: Option<UnixMs>,
    /// With `performances`: what they are good for. None of both: for all.
    pub concerts: Vec<ResourceId>,
    pub performances: Vec<ResourceId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Campaign {
    pub id: ResourceId,
    pub terms: NewCampaign,
    /// Never more than the stock.
    pub issued: u64,
    pub room: Option<RoomId>,
    /// The etag.
    pub version: u64,
}

impl Campaign {
    #[must_use]
    pub fn is_sold_out(&self) -> bool {
        self.issued >= self.terms.stock
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CouponState {
    Available,
    /// A provider has not decided the payment that it is for.
    Reserved,
    Used,
}

impl CouponState {
    pub const ALL: [Self; 3] = [Self::Available, Self::Reserved, Self::Used];

    /// The name under which it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Reserved => "reserved",
            Self::Used => "used",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// One user's share of a campaign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coupon {
    pub id: ResourceId,
    pub campaign: ResourceId,
    pub user: UserId,
    pub state: CouponState,
    pub issued_at: UnixMs,
    /// Of its campaign.
    pub valid_until: Option<UnixMs>,
    /// What it is used, or reserved, for.
    pub reservation: Option<ResourceId>,
}

impl Coupon {
    /// Nobody used it in time.
    #[must_use]
    pub fn is_expired(&self, now: UnixMs) -> bool {
        let over = self.valid_until.is_some_and(|until| until <= now);
        self.state == CouponState::Available && over
    }
}

/// What a coupon is to be used for.
#[derive(Debug, Clone, Copy)]
pub struct Purchase<'a> {
    pub concert: &'a ResourceId,
    pub performance: &'a ResourceId,
    pub total: Money,
}

/// Why a coupon cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotApplicable {
    Used,
    NotYet,
    Over,
    OtherSale,
    OtherCurrency,
    TotalTooLow,
    TakesNothing,
}

impl NotApplicable {
    #[must_use]
    pub fn why(self) -> &'static str {
        match self {
            Self::Used => "is used, or a payment that is not decided uses it",
            Self::NotYet => "is not valid yet",
            Self::Over => "is not valid any more",
            Self::OtherSale => "is for other concerts or performances",
            Self::OtherCurrency => "is for another currency",
            Self::TotalTooLow => "is for a larger total",
            Self::TakesNothing => "takes nothing off this total",
        }
    }
}

impl Discount {
    /// Of each amount that it names, with its field.
    fn amounts(&self) -> Option<(&'static str, Money)> {
        match self {
            Self::Percent { at_most, .. } => at_most.map(|most| ("campaign.discount_max", most)),
            Self::Amount(amount) => Some(("campaign.amount_off", *amount)),
        }
    }

    /// What it takes off a total that is not negative: 0 to all of it.
    fn of(&self, total: Money) -> Money {
        let total_minor = total.amount_minor.max(0);
        let off = match self {
            Self::Amount(amount) => amount.amount_minor,
            Self::Percent { percent, at_most } => {
                let part = i128::from(total_minor) * i128::from(*percent) / 100;
                let part = i64::try_from(part).unwrap_or(total_minor);
                at_most.map_or(part, |most| part.min(most.amount_minor))
            }
        };
        Money::new(total.currency, off.clamp(0, total_minor))
    }
}

impl NewCampaign {
    /// The one currency of its amounts; `None`: any.
    #[must_use]
    pub fn currency(&self) -> Option<Currency> {
        let amount = self.discount.amounts().map(|(_, amount)| amount);
        amount.or(self.order_min).map(|amount| amount.currency)
    }

    #[must_use]
    pub fn is_over(&self, now: UnixMs) -> bool {
        self.valid_until.is_some_and(|until| until <= now)
    }

    /// What a coupon takes off now: at least 1, at most all of it.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn discount_on(
        &self,
        purchase: &Purchase<'_>,
        now: UnixMs,
    ) -> Result<Money, NotApplicable> {
        let Purchase {
            concert,
            performance,
            total,
        } = purchase;
        if self.valid_from.is_some_and(|from| now < from) {
            return Err(NotApplicable::NotYet);
        }
        if self.is_over(now) {
            return Err(NotApplicable::Over);
        }
        let for_all = self.concerts.is_empty() && self.performances.is_empty();
        if !for_all && !self.concerts.contains(concert) && !self.performances.contains(performance)
        {
            return Err(NotApplicable::OtherSale);
        }
        if self.currency().is_some_and(|own| own != total.currency) {
            return Err(NotApplicable::OtherCurrency);
        }
        let least = self.order_min.map_or(0, |least| least.amount_minor);
        if total.amount_minor < least {
            return Err(NotApplicable::TotalTooLow);
        }
        let off = self.discount.of(*total);
        match off.amount_minor {
            0 => Err(NotApplicable::TakesNothing),
            _ => Ok(off),
        }
    }

    /// # Errors
    /// The first field that cannot be.
    pub fn validate(&self) -> Result<(), FieldError> {
        validate_name(&self.name)?;
        validate_stock(self.stock)?;
        if let Discount::Percent { percent, .. } = self.discount
            && !(1..=100).contains(&percent)
        {
            return Err(FieldError::new("campaign.percent", "must be 1 to 100"));
        }
        let order_min = self.order_min.map(|least| ("campaign.order_min", least));
        for (field, amount) in self.discount.amounts().into_iter().chain(order_min) {
            if amount.charge(AMOUNT_MINOR_MAX).is_err() {
                return Err(FieldError::new(field, AMOUNT_WHY));
            }
            if self.currency().is_some_and(|own| own != amount.currency) {
                let why = "must be in the currency of the discount";
                return Err(FieldError::new(field, why));
            }
        }
        for (field, targets) in [
            ("campaign.concert_ids", &self.concerts),
            ("campaign.performance_ids", &self.performances),
        ] {
            if targets.len() > TARGETS_MAX {
                return Err(FieldError::new(field, "must be at most 100"));
            }
        }
        self.validate_times()
    }

    fn validate_times(&self) -> Result<(), FieldError> {
        match (self.valid_from, self.valid_until) {
            (Some(from), Some(until)) if until <= from => {
                let why = "must be after valid_from";
                Err(FieldError::new("campaign.valid_until", why))
            }
            _ => Ok(()),
        }
    }
}

fn validate_name(name: &str) -> Result<(), FieldError> {
    if name.trim().is_empty() || name.chars().count() > NAME_CHARS_MAX {
        let why = "must have 1 to 200 characters";
        return Err(FieldError::new("campaign.name", why));
    }
    Ok(())
}

fn validate_stock(stock: u64) -> Result<(), FieldError> {
    if !(1..=STOCK_MAX).contains(&stock) {
        let why = "must be 1 to 100000000";
        return Err(FieldError::new("campaign.stock", why));
    }
    Ok(())
}

/// What an operator changes of a campaign that is there. `None`: as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CampaignChange {
    pub name: Option<String>,
    pub stock: Option<u64>,
    /// `Some(None)`: at once.
    pub valid_from: Option<Option<UnixMs>>,
    /// `Some(None)`: for ever.
    pub valid_until: Option<Option<UnixMs>>,
}

impl CampaignChange {
    /// What can be told without the campaign.
    ///
    /// # Errors
    /// The first field that cannot be.
    pub fn validate(&self) -> Result<(), FieldError> {
        self.name.as_deref().map_or(Ok(()), validate_name)?;
        self.stock.map_or(Ok(()), validate_stock)
    }

    /// The terms after it.
    ///
    /// # Errors
    /// A stock below what is issued, or times that contradict each other.
    pub fn applied(&self, to: &Campaign) -> Result<NewCampaign, FieldError> {
        let now = &to.terms;
        let terms = NewCampaign {
            name: self.name.clone().unwrap_or_else(|| now.name.clone()),
            stock: self.stock.unwrap_or(now.stock),
            valid_from: self.valid_from.unwrap_or(now.valid_from),
            valid_until: self.valid_until.unwrap_or(now.valid_until),
            ..now.clone()
        };
        if terms.stock < to.issued {
            let why = "must not be below what is issued";
            return Err(FieldError::new("campaign.stock", why));
        }
        terms.validate()?;
        Ok(terms)
    }
}

#[cfg(test)]
mod tests;
