//! Campaigns of coupons.

use tonic::Request;

use crate::proto::v1 as wire;
use crate::store::sales::UpdateCampaign;

use super::super::decode::{self, coupon};
use super::super::edge::{once, open};
use super::super::encode;
use super::super::status::Refusal;
use super::Admin;

impl Admin {
    pub(super) async fn make_campaign(
        &self,
        request: Request<wire::CreateCampaignRequest>,
    ) -> Result<wire::CreateCampaignResponse, Refusal> {
        let (user, message) = open(request)?;
        let key = decode::idempotency_key("idempotency_key", &message.idempotency_key)?;
        let campaign = coupon::campaign(decode::required("campaign", message.campaign)?)?;
        let sale = &self.edge.sale;
        let campaign = sale.create_campaign(once(&user, key), campaign).await?;
        Ok(wire::CreateCampaignResponse {
            campaign: Some(encode::coupon::campaign(campaign)),
        })
    }

    pub(super) async fn change_campaign(
        &self,
        request: Request<wire::UpdateCampaignRequest>,
    ) -> Result<wire::UpdateCampaignResponse, Refusal> {
        let message = request.into_inner();
        let asked = decode::required("campaign", message.campaign)?;
        let mask = message.update_mask.as_ref();
        let command = UpdateCampaign {
            campaign: decode::resource_id("campaign.id", &asked.id)?,
            version: decode::etag("etag", &message.etag)?,
            change: coupon::campaign_change(
                asked,
                &decode::field_mask("update_mask", mask, coupon::CAMPAIGN_PATHS)?,
            )?,
        };
        let campaign = self.edge.sale.update_campaign(command).await?;
        Ok(wire::UpdateCampaignResponse {
            campaign: Some(encode::coupon::campaign(campaign)),
        })
    }
}
