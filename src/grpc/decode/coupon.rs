//! Campaigns as an operator writes them.

use std::collections::BTreeSet;

use crate::domain::ids::ResourceId;
use crate::domain::sale::coupon::{CampaignChange, Discount, NewCampaign};
use crate::proto::v1 as wire;
use crate::proto::v1::campaign::Discount as WireDiscount;

use super::{FieldError, money, of_domain, printable, required, resource_ids, timestamp};

/// What of a campaign can be changed.
pub const CAMPAIGN_PATHS: &[&str] = &["name", "stock", "valid_from", "valid_until"];

const DISCOUNT_MAX: &str = "campaign.discount_max";

/// # Errors
/// A field that cannot be.
pub fn campaign(wire: wire::Campaign) -> Result<NewCampaign, FieldError> {
    let amount = |field, given: &Option<wire::Money>| {
        let given = given.as_ref();
        given.map(|given| money(field, Some(given))).transpose()
    };
    let at_most = amount(DISCOUNT_MAX, &wire.discount_max)?;
    let discount = match required("campaign.discount", wire.discount)? {
        WireDiscount::Percent(percent) => Discount::Percent { percent, at_most },
        WireDiscount::AmountOff(_) if at_most.is_some() => {
            let why = "must not be set beside amount_off";
            return Err(FieldError::invalid(DISCOUNT_MAX, why));
        }
        WireDiscount::AmountOff(off) => Discount::Amount(money("campaign.amount_off", Some(&off))?),
    };
    let moment = |field, given: Option<prost_types::Timestamp>| {
        given.map(|given| timestamp(field, given)).transpose()
    };
    let campaign = NewCampaign {
        name: printable("campaign.name", wire.name)?,
        stock: wire.stock,
        discount,
        order_min: amount("campaign.order_min", &wire.order_min)?,
        valid_from: moment("campaign.valid_from", wire.valid_from)?,
        valid_until: moment("campaign.valid_until", wire.valid_until)?,
        concerts: targets("campaign.concert_ids", &wire.concert_ids)?,
        performances: targets("campaign.performance_ids", &wire.performance_ids)?,
    };
    campaign.validate().map_err(of_domain)?;
    Ok(campaign)
}

/// Naming one twice is naming it once.
fn targets(field: &'static str, ids: &[String]) -> Result<Vec<ResourceId>, FieldError> {
    let ids: BTreeSet<ResourceId> = resource_ids(field, ids)?.into_iter().collect();
    Ok(ids.into_iter().collect())
}

/// The fields that `paths` names.
///
/// # Errors
/// One of them cannot be.
pub fn campaign_change(wire: wire::Campaign, paths: &[&str]) -> Result<CampaignChange, FieldError> {
    let mut change = CampaignChange::default();
    let moment = |field, given: Option<prost_types::Timestamp>| {
        given.map(|given| timestamp(field, given)).transpose()
    };
    for path in paths {
        match *path {
            "name" => change.name = Some(printable("campaign.name", wire.name.clone())?),
            "stock" => change.stock = Some(wire.stock),
            "valid_from" => {
                change.valid_from = Some(moment("campaign.valid_from", wire.valid_from)?);
            }
            _ => change.valid_until = Some(moment("campaign.valid_until", wire.valid_until)?),
        }
    }
    change.validate().map_err(of_domain)?;
    Ok(change)
}
