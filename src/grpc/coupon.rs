//! Coupons for those who come first.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::proto::v1 as wire;
use crate::proto::v1::coupon_service_server::CouponService;

use super::decode;
use super::edge::{Edge, open};
use super::encode;
use super::status::Refusal;

/// Serves `CouponService`.
#[derive(Clone)]
pub struct Coupons {
    edge: Arc<Edge>,
}

impl Coupons {
    #[must_use]
    pub fn new(edge: Arc<Edge>) -> Self {
        Self { edge }
    }

    async fn campaign(
        &self,
        request: Request<wire::GetCampaignRequest>,
    ) -> Result<wire::GetCampaignResponse, Refusal> {
        let message = request.into_inner();
        let id = decode::resource_id("campaign_id", &message.campaign_id)?;
        let campaign = self.edge.sale.store().campaign(id).await?;
        Ok(wire::GetCampaignResponse {
            campaign: Some(encode::coupon::campaign(campaign)),
        })
    }

    async fn issue(
        &self,
        request: Request<wire::IssueCouponRequest>,
    ) -> Result<wire::IssueCouponResponse, Refusal> {
        let pass = self.edge.pass(&request)?;
        let (user, message) = open(request)?;
        let campaign = decode::resource_id("campaign_id", &message.campaign_id)?;
        let pass = pass.map(|pass| pass.activation);
        let sale = &self.edge.sale;
        let (coupon, already_issued) = sale.issue_coupon(user, campaign, pass).await?;
        Ok(wire::IssueCouponResponse {
            coupon: Some(encode::coupon::coupon(coupon, self.edge.now())),
            already_issued,
        })
    }

    async fn list(
        &self,
        request: Request<wire::ListCouponsRequest>,
    ) -> Result<wire::ListCouponsResponse, Refusal> {
        let (user, message) = open(request)?;
        let scope = ["ListCoupons", user.as_str()];
        let page = self
            .edge
            .page(&scope, message.page_size, &message.page_token)?;
        let listing = self.edge.sale.store().coupons(user.clone(), page).await?;
        let now = self.edge.now();
        let coupons = listing.items.into_iter();
        Ok(wire::ListCouponsResponse {
            coupons: coupons
                .map(|coupon| encode::coupon::coupon(coupon, now))
                .collect(),
            next_page_token: self.edge.next_page_token(&scope, listing.next.as_ref()),
        })
    }
}

#[tonic::async_trait]
impl CouponService for Coupons {
    async fn get_campaign(
        &self,
        request: Request<wire::GetCampaignRequest>,
    ) -> Result<Response<wire::GetCampaignResponse>, Status> {
        self.edge.answer(self.campaign(request).await)
    }

    async fn issue_coupon(
        &self,
        request: Request<wire::IssueCouponRequest>,
    ) -> Result<Response<wire::IssueCouponResponse>, Status> {
        self.edge.answer(self.issue(request).await)
    }

    async fn list_coupons(
        &self,
        request: Request<wire::ListCouponsRequest>,
    ) -> Result<Response<wire::ListCouponsResponse>, Status> {
        self.edge.answer(self.list(request).await)
    }
}
