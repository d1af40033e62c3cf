//! Campaigns and their coupons.
//!
//! Promises, held with those of [`super`]:
//! - Of a campaign exactly as many coupons are issued as its stock has, if so
//!   many ask, however many ask at once and of whichever node.
//! - A user has one coupon of a campaign, for ever: whoever asks again gets that
//!   one, also when all are issued, and without a pass.
//! - A coupon that was answered is committed.
//! - Where a room protects the campaign, a coupon is issued under an active pass
//!   of its user alone, which ends in the same transaction.
//! - The stock is never below what is issued.
//! - A coupon is used by one payment, of its owner, in its time and within its
//!   terms; nobody else uses it while a provider decides about that. With the
//!   whole purchase it comes back, and not with a part of it.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::domain::ids::{ActivationId, ResourceId, RoomId, UserId};
use crate::domain::sale::coupon::{Campaign, CampaignChange, Coupon, NewCampaign};
use crate::domain::time::UnixMs;

use super::{CompletedPass, Listing, Once, Page, SalesError};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateCampaign {
    pub campaign: ResourceId,
    /// It was read at this version.
    pub version: u64,
    pub change: CampaignChange,
}

#[derive(Debug, Clone)]
pub struct IssueCoupon {
    pub user: UserId,
    pub campaign: ResourceId,
    /// Random, from the caller; used if the user has none.
    pub id: ResourceId,
    /// The `jti` of the pass that was shown.
    pub activation: Option<ActivationId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    pub coupon: Coupon,
    /// By an earlier call.
    pub already: bool,
    /// Its slot is to be freed.
    pub completed: Option<CompletedPass>,
    /// It was the last: the room that protects the campaign may be sold out.
    pub recheck_sold_out: Option<RoomId>,
}

/// Where a list of coupons goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CouponCursor {
    pub issued_at: UnixMs,
    pub id: ResourceId,
}

#[async_trait]
pub trait Coupons: Send + Sync + 'static {
    /// [`SalesError::Field`] for a concert or performance that is not there.
    async fn create_campaign(
        &self,
        once: Once,
        id: ResourceId,
        campaign: NewCampaign,
    ) -> Result<Campaign, SalesError>;

    /// [`SalesError::Conflict`] for another version than the present one.
    async fn update_campaign(&self, command: UpdateCampaign) -> Result<Campaign, SalesError>;

    async fn campaign(&self, id: ResourceId) -> Result<Campaign, SalesError>;

    /// [`SalesError::CouponSoldOut`], and [`SalesError::CouponNotApplicable`] when
    /// the campaign is over.
    async fn issue_coupon(&self, command: IssueCoupon) -> Result<Issued, SalesError>;

    /// The latest first.
    async fn coupons(
        &self,
        user: UserId,
        page: Page<CouponCursor>,
    ) -> Result<Listing<Coupon, CouponCursor>, SalesError>;

    /// Users who have a coupon of the campaign, by their names: up to `limit`
    /// behind `after`.
    async fn coupon_holders(
        &self,
        campaign: ResourceId,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<UserId>, SalesError>;
}
