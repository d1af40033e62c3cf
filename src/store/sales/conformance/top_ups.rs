//! Wallets that are filled through a payment provider.

use super::fixture::{Sale, money, user};
use super::intents::make_refunds;
use crate::domain::sale::intent::IntentState::{Declined, Succeeded};
use crate::domain::sale::ledger::EntryKind;
use crate::store::sales::SalesError;

pub async fn a_top_up_is_posted_once_it_is_captured(sale: &Sale) {
    let store = sale.store();
    let intent = sale.begin_top_up("ann", 70).await.unwrap();
    assert_eq!(sale.balance("ann").await, 0);
    assert_eq!(
        store.top_up_entry(user("ann"), intent.clone()).await,
        Ok(None)
    );
    for _ in 0..3 {
        sale.settle(&intent, Succeeded).await;
    }
    assert_eq!(sale.balance("ann").await, 70);
    let entry = store.top_up_entry(user("ann"), intent.clone()).await;
    let entry = entry.unwrap().unwrap();
    assert_eq!((entry.kind, entry.amount), (EntryKind::TopUp, money(70)));
    assert_eq!(store.top_up_entry(user("bob"), intent).await, Ok(None));
    let declined = sale.begin_top_up("ann", 70).await.unwrap();
    sale.settle(&declined, Declined).await;
    assert_eq!(sale.balance("ann").await, 70);
    for bad in [0, -1, 1_000_001] {
        let refused = sale.begin_top_up("ann", bad).await;
        let max_minor = 1_000_000;
        assert_eq!(refused, Err(SalesError::AmountOutOfRange { max_minor }));
    }
}

pub async fn a_top_up_that_a_wallet_cannot_take_goes_back(sale: &Sale) {
    let mut intents = Vec::new();
    for _ in 0..3 {
        intents.push(sale.begin_top_up("ann", 1_000_000).await.unwrap());
    }
    for intent in &intents {
        sale.settle(intent, Succeeded).await;
    }
    assert_eq!(sale.balance("ann").await, 2_000_000);
    sale.assert_clean_audit("a full wallet").await;
    let full = sale.begin_top_up("ann", 1).await;
    assert_eq!(full, Err(SalesError::AmountOutOfRange { max_minor: 0 }));
    let given_up = sale.begin_top_up("bob", 5).await.unwrap();
    sale.settle(&given_up, Declined).await;
    sale.settle(&given_up, Succeeded).await;
    assert_eq!(sale.balance("bob").await, 0);
    assert_eq!(make_refunds(sale).await, 1_000_005);
}
