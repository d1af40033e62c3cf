//! Campaigns and coupons.

use crate::domain::sale::coupon::{Campaign, Coupon, CouponState, Discount};
use crate::domain::time::UnixMs;
use crate::proto::v1 as wire;

use super::{money, timestamp};

#[must_use]
pub fn campaign(campaign: Campaign) -> wire::Campaign {
    let terms = campaign.terms;
    let (discount, at_most) = match terms.discount {
        Discount::Percent { percent, at_most } => {
            (wire::campaign::Discount::Percent(percent), at_most)
        }
        Discount::Amount(amount) => (wire::campaign::Discount::AmountOff(money(amount)), None),
    };
    wire::Campaign {
        id: campaign.id.into(),
        name: terms.name,
        stock: terms.stock,
        issued: campaign.issued,
        discount: Some(discount),
        discount_max: at_most.map(money),
        order_min: terms.order_min.map(money),
        valid_from: terms.valid_from.map(timestamp),
        valid_until: terms.valid_until.map(timestamp),
        concert_ids: terms.concerts.into_iter().map(String::from).collect(),
        performance_ids: terms.performances.into_iter().map(String::from).collect(),
        room_id: campaign.room.map(String::from).unwrap_or_default(),
        etag: campaign.version.to_string(),
    }
}

/// As it stands at `now`.
#[must_use]
pub fn coupon(coupon: Coupon, now: UnixMs) -> wire::Coupon {
    let state = match coupon.state {
        CouponState::Available if coupon.is_expired(now) => wire::CouponState::Expired,
        CouponState::Available => wire::CouponState::Available,
        CouponState::Reserved | CouponState::Used => wire::CouponState::Used,
    };
    wire::Coupon {
        id: coupon.id.into(),
        campaign_id: coupon.campaign.into(),
        state: state.into(),
        issue_time: Some(timestamp(coupon.issued_at)),
        reservation_id: coupon.reservation.map(String::from),
    }
}
