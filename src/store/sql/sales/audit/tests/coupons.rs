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
];

/// A campaign whose two coupons are issued.
async fn busy_campaign() -> (Arc<Sqlite>, Sale) {
    let sqlite = Arc::new(Sqlite::open().await);
    let subject: Arc<dyn Subject> = sqlite.clone();
    let sale = Sale::new(subject);
    let spring = sale.campaign(campaign_of(2)).await.id;
    for who in ["ann", "bob"] {
        sale.issue(who, &spring).await.unwrap();
    }
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
