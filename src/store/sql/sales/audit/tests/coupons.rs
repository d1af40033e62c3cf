//! Violations planted in campaigns and their coupons.

use std::sync::Arc;

use super::{Sqlite, missed_by_audit};
use crate::store::sales::conformance::coupons::campaign_of;
use crate::store::sales::conformance::{Sale, Subject};

/// As of the others.
pub const PLANTED: &[(&str, &str)] = &[
    ("C1", "UPDATE campaigns SET issued = issued - 1"),
    ("C1", "UPDATE campaigns SET stock = 3, issued = 3"),
    ("C1", "DELETE FROM coupons WHERE user_id = 'bob'"),
    (
        "C1",
        "PRAGMA ignore_check_constraints = ON; UPDATE campaigns SET stock = 1",
    ),
    (
        "C2",
        "DROP INDEX coupons_one_each; UPDATE coupons SET user_id = 'ann'",
    ),
    (
        "C2",
        "UPDATE coupons SET state = 'lost' WHERE user_id = 'bob'",
    ),
    ("C3", "UPDATE coupons SET state = 'available'"),
    ("C3", "UPDATE coupons SET state = 'used'"),
    ("C3", "UPDATE coupons SET state = 'reserved'"),
    ("C3", "UPDATE coupons SET payment_id = NULL"),
    ("C3", "UPDATE coupons SET reservation_id = 'elsewhere'"),
    (
        "C3",
        "UPDATE coupons SET state = 'available', payment_id = NULL, reservation_id = NULL,
         used_at = NULL",
    ),
    (
        "C3",
        "UPDATE reservations SET state = 'released' WHERE state = 'confirmed'",
    ),
    ("C3", "UPDATE payments SET coupon_id = NULL"),
    ("C3", "UPDATE payments SET discount_minor = 0"),
    ("C3", "UPDATE payments SET coupon_id = 'elsewhere'"),
    (
        "M4",
        "UPDATE payments SET discount_minor = discount_minor + 1",
    ),
    (
        "S7",
        "UPDATE payments SET amount_minor = 0, discount_minor = NULL",
    ),
];

/// A campaign whose two coupons are issued; of these one has paid a part.
async fn busy_campaign() -> (Arc<Sqlite>, Sale) {
    let sqlite = Arc::new(Sqlite::open().await);
    let subject: Arc<dyn Subject> = sqlite.clone();
    let sale = Sale::new(subject);
    let spring = sale.campaign(campaign_of(2)).await.id;
    let coupon = sale.issue("ann", &spring).await.unwrap().coupon.id;
    sale.issue("bob", &spring).await.unwrap();
    let performance = sale.performance().await;
    sale.top_up("ann", 1_000).await;
    let held = sale.hold("ann", &performance, &["s1-r1-1"]).await.unwrap();
    sale.pay_with("ann", &held.id, &coupon).await.unwrap();
    (sqlite, sale)
}

#[tokio::test]
async fn every_planted_violation_of_a_campaign_is_reported() {
    let mut missed = Vec::new();
    for (check, sql) in PLANTED {
        let (sqlite, sale) = busy_campaign().await;
        missed.extend(missed_by_audit(&sqlite, &sale, check, sql).await);
    }
    assert!(missed.is_empty(), "{missed:#?}");
}
