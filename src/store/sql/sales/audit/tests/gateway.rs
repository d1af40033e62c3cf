//! Violations planted in what a payment provider took.

use std::sync::Arc;

use futures_util::FutureExt;

use super::super::super::super::query::execute;
use super::{Sqlite, missed_by_audit};
use crate::domain::sale::intent::IntentState;
use crate::store::sales::conformance::fixture::money;
use crate::store::sales::conformance::{Sale, Subject};
use crate::store::sales::{Instead, SalesError, Settle};

pub const PLANTED: &[(&str, &str)] = &[
    ("M8", "UPDATE payment_intents SET state = 'declined' WHERE state = 'succeeded'"),
    ("M8", "UPDATE payment_intents SET state = 'succeeded' WHERE state = 'declined'"),
    ("M8", "UPDATE payment_intents SET amount_minor = amount_minor + 1"),
    ("M8", "UPDATE payment_intents SET state = 'lost'"),
    ("M8", "DELETE FROM payment_intents WHERE state = 'pending'"),
    ("M8", "UPDATE payment_intents SET provider_id = NULL"),
    ("M8", "DELETE FROM gateway_refunds WHERE state = 'pending'"),
    ("M8", "UPDATE gateway_refunds SET state = 'done' WHERE state = 'pending'"),
    ("M8", "UPDATE gateway_refunds SET amount_minor = amount_minor + 1000"),
    ("M8", "UPDATE gateway_refunds SET state = 'lost'"),
    ("M8", "UPDATE payments SET state = 'declined' WHERE state = 'pending'"),
    ("M8", "UPDATE payments SET user_id = 'eve' WHERE state = 'pending'"),
    ("M8", "DELETE FROM payments WHERE state = 'pending'"),
    (
        "M8",
        "UPDATE ledger_postings SET account = 'user:eve' WHERE account = 'user:top'",
    ),
    (
        "M8",
        "UPDATE accounts SET balance_minor = balance_minor + 1 WHERE name LIKE 'unplaced:%'",
    ),
    (
        "M8",
        "UPDATE ledger_postings SET entry_id = (SELECT id FROM ledger_entries WHERE kind = 'credit')
         WHERE account LIKE 'external:gateway:%'",
    ),
    ("M8", "DELETE FROM gateway_refunds WHERE amount_minor = 3"),
    ("M8", "UPDATE payment_intents SET taken_minor = 4 WHERE taken_minor = 3"),
    ("M8", "UPDATE payment_intents SET taken_minor = NULL, taken_currency = NULL"),
    ("M8", "UPDATE gateway_refunds SET state = 'refused' WHERE state = 'done'"),
    ("S7", "UPDATE payments SET refunded_minor = 0 WHERE state = 'refunding'"),
    ("M7", "UPDATE payments SET refunded_minor = 1 WHERE state = 'refunding'"),
    (
        "S7",
        "UPDATE reservations SET state = 'released' WHERE state = 'confirmed'",
    ),
    (
        "M3",
        "UPDATE idempotency SET response = '{\"intent\":\"none\"}' WHERE rpc = 'TopUpWallet'",
    ),
];

/// A payment that keeps a part, one that is pending, one declined, late money
/// that goes back, and a wallet that was filled.
async fn busy_gateway() -> (Arc<Sqlite>, Sale) {
    let sqlite = Arc::new(Sqlite::open().await);
    let subject: Arc<dyn Subject> = sqlite.clone();
    let sale = Sale::new(subject);
    let performance = sale.performance().await;
    let store = sale.store();
    let admin = sale.deposit("admin", money(5));
    store.credit(admin).await.unwrap();
    for (who, seat) in [("ann", 1), ("bob", 2), ("cid", 3), ("dan", 4)] {
        let held = sale
            .hold(who, &performance, &[&format!("s1-r1-{seat}")])
            .await;
        let begun = sale.begin(who, &held.unwrap().id).await.unwrap();
        match who {
            "ann" => {
                sale.settle(&begun, IntentState::Succeeded).await;
                let part = sale.refunding(&begun, Some(money(30)));
                store.refund_payment(part).await.unwrap();
            }
            "bob" => {}
            "cid" => {
                sale.settle(&begun, IntentState::Declined).await;
            }
            _ => {
                sale.settle(&begun, IntentState::Declined).await;
                sale.settle(&begun, IntentState::Succeeded).await;
            }
        }
    }
    let top_up = sale.begin_top_up("top", 70).await.unwrap();
    sale.settle(&top_up, IntentState::Succeeded).await;
    // Another amount than was asked for, and a refund that was paid otherwise.
    let other = sale.begin_top_up("top", 70).await.unwrap();
    let other = Settle {
        taken: Some(money(3)),
        ..sale.settling(&other, IntentState::Succeeded)
    };
    store.settle(other).await.unwrap();
    let held = sale.hold("eli", &performance, &["s1-r1-5"]).await.unwrap();
    let begun = sale.begin("eli", &held.id).await.unwrap();
    sale.settle(&begun, IntentState::Succeeded).await;
    sale.cancel("eli", &held.id).await.unwrap();
    let open = store.open_refunds(10).await.unwrap();
    let owed = open.iter().find(|refund| refund.intent == begun).unwrap();
    store.refund_refused(owed.id.clone()).await.unwrap();
    let closed = store.close_refund(owed.id.clone(), Instead::Wallet).await;
    assert_eq!(closed, Ok(true));
    (sqlite, sale)
}

#[tokio::test]
async fn every_planted_violation_of_a_gateway_is_reported() {
    let mut missed = Vec::new();
    for (check, sql) in PLANTED {
        let (sqlite, sale) = busy_gateway().await;
        missed.extend(missed_by_audit(&sqlite, &sale, check, sql).await);
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

/// As a server wrote them that did not say whose they are.
#[tokio::test]
async fn what_is_nobodys_is_told_and_adopted() {
    let (sqlite, sale) = busy_gateway().await;
    let store = sale.store();
    for table in ["payment_intents", "gateway_refunds"] {
        let forget = format!("UPDATE {table} SET provider = NULL");
        let forgot = sqlite.store.write(forget, |tx, forget| {
            async move { Ok::<_, SalesError>(execute(tx, forget, []).await?) }.boxed()
        });
        assert!(forgot.await.unwrap() > 0);
    }
    sale.advance_ms(60_000).await;
    assert!(store.due_intents("stub", 10).await.unwrap().is_empty());
    assert!(store.due_refunds("stub", 10).await.unwrap().is_empty());
    let nobodys = store.unsettled(Some("stub")).await.unwrap();
    assert_eq!(nobodys.elsewhere[0].provider, None);
    assert!(nobodys.elsewhere[0].intents > 0 && nobodys.elsewhere[0].refunds > 0);
    assert!(store.adopt("stub".to_owned()).await.unwrap() > 0);
    let own = store.unsettled(Some("stub")).await.unwrap();
    assert!(own.elsewhere.is_empty());
    assert!(!store.due_intents("stub", 10).await.unwrap().is_empty());
    assert!(!store.due_refunds("stub", 10).await.unwrap().is_empty());
}
