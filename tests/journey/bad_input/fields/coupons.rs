//! Campaigns and coupons.

use prost_types::Timestamp;
use usher::proto::v1 as wire;
use wire::campaign::Discount;

use super::super::world::{self, World};
use super::{Field, bytes, field};
use crate::coupons::campaign;

const CREATE: &str = "AdminService/CreateCampaign";
const UPDATE: &str = "AdminService/UpdateCampaign";

fn made(change: impl FnOnce(&mut wire::Campaign)) -> Vec<u8> {
    let mut campaign = campaign(5);
    change(&mut campaign);
    bytes(world::new_campaign(campaign, "bad"))
}

fn changed(world: &World, change: impl FnOnce(&mut wire::Campaign)) -> Vec<u8> {
    let mut campaign = campaign(5);
    change(&mut campaign);
    bytes(world::new_stock(&world.campaign, campaign))
}

/// Amounts that a discount and its bounds name.
pub const AMOUNTS: &[Field<wire::Money>] = &[
    field(CREATE, "campaign.amount_off", |_, amount| {
        made(|campaign| campaign.discount = Some(Discount::AmountOff(amount)))
    }),
    field(CREATE, "campaign.order_min", |_, amount| {
        made(|campaign| campaign.order_min = Some(amount))
    }),
    field(CREATE, "campaign.discount_max", |_, amount| {
        made(|campaign| campaign.discount_max = Some(amount))
    }),
];

/// Each with its own values that cannot be.
pub const NUMBERS: &[(Field<u64>, &[u64])] = &[
    (
        field(CREATE, "campaign.percent", |_, percent| {
            let percent = u32::try_from(percent).expect("a number");
            made(|campaign| campaign.discount = Some(Discount::Percent(percent)))
        }),
        &[0, 101, u32::MAX as u64],
    ),
    (
        field(CREATE, "campaign.stock", |_, stock| {
            made(|campaign| campaign.stock = stock)
        }),
        &[0, 100_000_001, u64::MAX],
    ),
    (
        field(UPDATE, "campaign.stock", |world, stock| {
            changed(world, |campaign| campaign.stock = stock)
        }),
        &[0, 100_000_001, u64::MAX],
    ),
];

pub const MOMENTS: &[Field<Timestamp>] = &[
    field(CREATE, "campaign.valid_from", |_, at| {
        made(|campaign| campaign.valid_from = Some(at))
    }),
    field(CREATE, "campaign.valid_until", |_, at| {
        made(|campaign| campaign.valid_until = Some(at))
    }),
    field(UPDATE, "campaign.valid_from", |world, at| {
        changed(world, |campaign| campaign.valid_from = Some(at))
    }),
    field(UPDATE, "campaign.valid_until", |world, at| {
        changed(world, |campaign| campaign.valid_until = Some(at))
    }),
];

/// Must not be blank.
pub const NAMES: &[Field<String>] = &[
    field(CREATE, "campaign.name", |_, name| {
        made(|campaign| campaign.name = name)
    }),
    field(UPDATE, "campaign.name", |world, name| {
        changed(world, |campaign| campaign.name = name)
    }),
];

/// What a campaign is for; what is unknown is FIELD_INVALID.
pub const TARGETS: &[Field<Vec<String>>] = &[
    field(CREATE, "campaign.concert_ids", |_, ids| {
        made(|campaign| campaign.concert_ids = ids)
    }),
    field(CREATE, "campaign.performance_ids", |_, ids| {
        made(|campaign| campaign.performance_ids = ids)
    }),
];

/// Coupons of the caller; what is unknown is NOT_FOUND, and what is empty was not
/// said.
pub const COUPONS: &[Field<String>] = &[field(
    "PaymentService/PayReservation",
    "coupon_id",
    |world, id| {
        bytes(wire::PayReservationRequest {
            coupon_id: Some(id),
            ..world::pay(&world.held, "bad")
        })
    },
)];

pub const UNSET: &[Field<()>] = &[
    field(CREATE, "campaign", |_, ()| {
        bytes(wire::CreateCampaignRequest {
            campaign: None,
            idempotency_key: "bad".to_owned(),
        })
    }),
    field(CREATE, "campaign.discount", |_, ()| {
        made(|campaign| campaign.discount = None)
    }),
    field(UPDATE, "campaign", |world, ()| {
        bytes(wire::UpdateCampaignRequest {
            campaign: None,
            ..world::new_stock(&world.campaign, campaign(5))
        })
    }),
    field(UPDATE, "update_mask", |world, ()| {
        bytes(wire::UpdateCampaignRequest {
            update_mask: None,
            ..world::new_stock(&world.campaign, campaign(5))
        })
    }),
];
