//! Attempts to pay that no provider has heard of.

use super::fixture::{Sale, id, user};
use crate::domain::sale::intent::IntentState::{Declined, Succeeded};
use crate::domain::sale::payment::PaymentState;
use crate::store::sales::BeginPayment;

pub async fn what_was_never_begun_may_be_begun_again(sale: &Sale) {
    let store = sale.store();
    let performance = sale.performance().await;
    let held = sale.hold("ann", &performance, &["s1-r1-1"]).await.unwrap();
    let command = sale.beginning("ann", &held.id);
    let first = store.begin_payment(command.clone()).await.unwrap();
    let once = command.once.clone();
    let never = sale.settling(&first.intent.id, Declined);
    let abandoned = store.abandon(never.clone(), once.clone()).await.unwrap();
    assert_eq!(abandoned.intent.state, Declined);
    let anew = BeginPayment {
        id: id(&sale.fresh()),
        ..command.clone()
    };
    let second = store.begin_payment(anew.clone()).await.unwrap();
    assert!(second.is_new && second.intent.id == anew.id);
    // Said twice it takes nothing away from what came after it.
    let again = store.abandon(never, once.clone()).await.unwrap();
    assert_eq!(again.intent.state, Declined);
    let repeated = store.begin_payment(anew).await.unwrap();
    assert!(!repeated.is_new && repeated.intent.id == second.intent.id);
    sale.settle(&second.intent.id, Succeeded).await;
    // What took money is answered by its key.
    let late = sale.settling(&second.intent.id, Declined);
    let kept = store.abandon(late, once).await.unwrap();
    assert_eq!(kept.intent.state, Succeeded);
    let repeated = store.begin_payment(command).await.unwrap();
    assert!(!repeated.is_new && repeated.intent.id == second.intent.id);
    let first = store.payment(user("ann"), first.intent.id).await.unwrap();
    assert_eq!(first.state, PaymentState::Declined);
}
