//! What the servers say in the end: of their campaigns, and to a few users.

use std::collections::{BTreeMap, BTreeSet};

use usher::proto::v1 as wire;
use usher::proto::v1::coupon_service_client::CouponServiceClient;

use super::Scene;
use super::load::{Came, Outcome};
use crate::error::BenchError;
use crate::session::Session;

/// Users whose lists are read, spread over all.
const LISTS_MAX: usize = 200;
const PAGE: i32 = 100;

/// Beside what users were answered.
pub struct Counted {
    /// By campaign.
    pub issued: Vec<u64>,
    pub lists: usize,
    /// Users who have other coupons than they were told.
    pub wrong_lists: usize,
}

pub async fn count(scene: &Scene, came: &Came) -> Result<Counted, BenchError> {
    let node = scene.nodes.last();
    let node = node.ok_or_else(|| BenchError::failed("no node is left"))?;
    let mut issued = Vec::with_capacity(scene.plan.campaigns.len());
    for campaign in &scene.plan.campaigns {
        issued.push(issued_of(&node.operator, campaign).await?);
    }
    let users = scene.names.len();
    let (mut lists, mut wrong_lists) = (0, 0);
    for nth in (0..users).step_by(users.div_ceil(LISTS_MAX).max(1)) {
        let user = node.user_on(&node.ground, &scene.names[nth], nth)?;
        let mut told: BTreeMap<&str, u32> = BTreeMap::new();
        for (campaign, id) in scene.plan.campaigns.iter().enumerate() {
            if came.outcomes[campaign * users + nth] == Outcome::Granted {
                told.insert(id, 1);
            }
        }
        lists += 1;
        wrong_lists += usize::from(!is_told(&coupons_of(&user).await?, &told));
    }
    Ok(Counted {
        issued,
        lists,
        wrong_lists,
    })
}

/// Whether a list has one coupon of each of these campaigns, and no other.
fn is_told(list: &[wire::Coupon], told: &BTreeMap<&str, u32>) -> bool {
    let mut has: BTreeMap<&str, u32> = BTreeMap::new();
    for coupon in list {
        *has.entry(&coupon.campaign_id).or_default() += 1;
    }
    let ids: BTreeSet<&str> = list.iter().map(|coupon| coupon.id.as_str()).collect();
    has == *told && ids.len() == list.len()
}

async fn issued_of(operator: &Session, campaign: &str) -> Result<u64, BenchError> {
    let message = wire::GetCampaignRequest {
        campaign_id: campaign.to_owned(),
    };
    let send = |channel, request| async move {
        CouponServiceClient::new(channel)
            .get_campaign(request)
            .await
    };
    let read = operator.look("GetCampaign", message, None, send).await?;
    Ok(read.campaign.unwrap_or_default().issued)
}

/// All of them, page by page.
async fn coupons_of(user: &Session) -> Result<Vec<wire::Coupon>, BenchError> {
    let mut message = wire::ListCouponsRequest {
        page_size: PAGE,
        page_token: String::new(),
    };
    let send = |channel, request| async move {
        CouponServiceClient::new(channel)
            .list_coupons(request)
            .await
    };
    let mut coupons = Vec::new();
    loop {
        let reply = user
            .look("ListCoupons", message.clone(), None, send)
            .await?;
        coupons.extend(reply.coupons);
        if reply.next_page_token.is_empty() {
            return Ok(coupons);
        }
        message.page_token = reply.next_page_token;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coupon(id: &str, campaign: &str) -> wire::Coupon {
        wire::Coupon {
            id: id.to_owned(),
            campaign_id: campaign.to_owned(),
            ..wire::Coupon::default()
        }
    }

    #[test]
    fn a_list_has_what_was_granted_once_and_nothing_else() {
        let told = BTreeMap::from([("spring", 1), ("summer", 1)]);
        let (one, other) = (coupon("a", "spring"), coupon("b", "summer"));
        assert!(is_told(&[one.clone(), other.clone()], &told));
        assert!(!is_told(std::slice::from_ref(&one), &told), "one is lost");
        let twice = [one.clone(), other.clone(), coupon("c", "spring")];
        assert!(!is_told(&twice, &told), "one is there twice");
        let more = [one, other, coupon("c", "autumn")];
        assert!(!is_told(&more, &told), "one was never granted");
    }
}
