//! Coupons and campaigns: part of the contract, not of this version.

use tonic::{Request, Response, Status};

use crate::proto::v1 as wire;
use crate::proto::v1::coupon_service_server::CouponService;

use super::unimplemented;

const COUPONS: &str = "coupons are not in this version";

/// Refuses everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Coupons;

#[tonic::async_trait]
impl CouponService for Coupons {
    async fn get_campaign(
        &self,
        _: Request<wire::GetCampaignRequest>,
    ) -> Result<Response<wire::GetCampaignResponse>, Status> {
        Err(unimplemented(COUPONS))
    }

    async fn issue_coupon(
        &self,
        _: Request<wire::IssueCouponRequest>,
    ) -> Result<Response<wire::IssueCouponResponse>, Status> {
        Err(unimplemented(COUPONS))
    }

    async fn list_coupons(
        &self,
        _: Request<wire::ListCouponsRequest>,
    ) -> Result<Response<wire::ListCouponsResponse>, Status> {
        Err(unimplemented(COUPONS))
    }
}
