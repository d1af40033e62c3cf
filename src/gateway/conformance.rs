//! What every [`PaymentGateway`] must do, run by each implementation against a
//! provider that knows these tokens: `ok`, `declined`, `slow`, `ask`.

use async_trait::async_trait;

use super::{Charge, ChargeState, GatewayError, PaymentGateway, RefundStanding};
use crate::domain::ids::{ResourceId, UserId};
use crate::domain::sale::currency::Currency;
use crate::domain::sale::intent::{Intent, IntentPurpose, IntentState};
use crate::domain::sale::money::Money;
use crate::domain::time::UnixMs;
use crate::store::sales::OwedRefund;

/// A gateway, and its provider's other side.
#[async_trait]
pub(crate) trait Subject {
    fn gateway(&self) -> &dyn PaymentGateway;

    /// What is being decided is over: the money was taken.
    async fn decide(&self, intent: &ResourceId);

    /// Whoever was asked for something did it.
    async fn agree(&self, intent: &ResourceId);
}

fn id(text: &str) -> ResourceId {
    ResourceId::parse(text).unwrap()
}

fn euros(minor: i64) -> Money {
    Money::new(Currency::parse("EUR").unwrap(), minor)
}

fn intent(name: &str) -> Intent {
    Intent {
        id: id(name),
        user: UserId::parse("ann").unwrap(),
        purpose: IntentPurpose::Payment,
        state: IntentState::Pending,
        amount: euros(500),
        provider: None,
        provider_id: None,
        taken: None,
        action_url: None,
        created_at: UnixMs(1),
    }
}

/// A new one, told of; what its provider calls it.
async fn made(gateway: &dyn PaymentGateway, name: &str) -> String {
    let charge = gateway.create(&intent(name)).await.unwrap();
    assert_eq!(charge.state, ChargeState::Open);
    assert_eq!((charge.amount, charge.action_url), (euros(500), None));
    charge.provider_id
}

fn assert_refused<T: std::fmt::Debug>(answer: Result<T, GatewayError>) {
    assert!(
        matches!(answer, Err(GatewayError::Refused { .. })),
        "{answer:?}"
    );
}

async fn look(gateway: &dyn PaymentGateway, name: &str, provider_id: &str) -> Charge {
    let charge = gateway.look(&id(name), provider_id).await.unwrap();
    assert_eq!(charge.provider_id, provider_id);
    assert_eq!(charge.amount, euros(500));
    charge
}

/// Runs all promises, each on intents of its own.
pub(crate) async fn all(subject: &impl Subject) {
    an_intent_is_made_once(subject.gateway()).await;
    what_is_decided_at_once_stays_decided(subject.gateway()).await;
    what_is_cancelled_never_takes_money(subject.gateway()).await;
    what_takes_long_is_not_cancelled(subject).await;
    a_buyer_who_is_asked_may_agree_or_be_given_up(subject).await;
    what_it_does_not_know_is_refused(subject.gateway()).await;
    a_refund_is_made_once(subject.gateway()).await;
}

async fn an_intent_is_made_once(gateway: &dyn PaymentGateway) {
    let first = made(gateway, "once").await;
    assert_eq!(made(gateway, "once").await, first);
    assert_ne!(made(gateway, "another").await, first);
    assert_eq!(look(gateway, "once", &first).await.state, ChargeState::Open);
}

async fn what_is_decided_at_once_stays_decided(gateway: &dyn PaymentGateway) {
    for (token, end) in [
        ("ok", ChargeState::Succeeded),
        ("declined", ChargeState::Declined),
    ] {
        let at = made(gateway, token).await;
        // A repeat, as after a lost answer.
        for _ in 0..2 {
            let charge = gateway.confirm(&id(token), &at, token).await.unwrap();
            assert_eq!((charge.state, charge.amount), (end, euros(500)));
        }
        assert_eq!(look(gateway, token, &at).await.state, end);
        let ended = gateway.cancel(&id(token), &at).await.unwrap();
        assert_eq!(ended.state, end);
    }
}

async fn what_is_cancelled_never_takes_money(gateway: &dyn PaymentGateway) {
    let at = made(gateway, "gone").await;
    for _ in 0..2 {
        let ended = gateway.cancel(&id("gone"), &at).await.unwrap();
        assert_eq!(ended.state, ChargeState::Declined);
    }
    assert_refused(gateway.confirm(&id("gone"), &at, "ok").await);
    let stands = look(gateway, "gone", &at).await;
    assert_eq!(stands.state, ChargeState::Declined);
}

async fn what_takes_long_is_not_cancelled(subject: &impl Subject) {
    let gateway = subject.gateway();
    let at = made(gateway, "long").await;
    let charge = gateway.confirm(&id("long"), &at, "slow").await.unwrap();
    assert_eq!(charge.state, ChargeState::Processing);
    let stands = gateway.cancel(&id("long"), &at).await.unwrap();
    assert_eq!(stands.state, ChargeState::Processing);
    subject.decide(&id("long")).await;
    let stands = look(gateway, "long", &at).await;
    assert_eq!(stands.state, ChargeState::Succeeded);
}

async fn a_buyer_who_is_asked_may_agree_or_be_given_up(subject: &impl Subject) {
    let gateway = subject.gateway();
    let (agrees, leaves) = (made(gateway, "agrees").await, made(gateway, "leaves").await);
    for (name, at) in [("agrees", &agrees), ("leaves", &leaves)] {
        let charge = gateway.confirm(&id(name), at, "ask").await.unwrap();
        assert_eq!(charge.state, ChargeState::Open);
        assert!(charge.action_url.is_some());
        assert_eq!(look(gateway, name, at).await, charge);
    }
    let ended = gateway.cancel(&id("leaves"), &leaves).await.unwrap();
    let end = (ended.state, ended.action_url);
    assert_eq!(end, (ChargeState::Declined, None));
    subject.agree(&id("agrees")).await;
    let stands = look(gateway, "agrees", &agrees).await;
    assert_eq!(stands.state, ChargeState::Succeeded);
    assert_eq!(stands.action_url, None);
    let stands = look(gateway, "leaves", &leaves).await;
    assert_eq!(stands.state, ChargeState::Declined);
}

async fn what_it_does_not_know_is_refused(gateway: &dyn PaymentGateway) {
    let (mine, theirs) = (made(gateway, "mine").await, made(gateway, "theirs").await);
    assert_refused(gateway.confirm(&id("mine"), &mine, "no-such-token").await);
    // Under the id of another, whatever it says is not about this one.
    let crossed = gateway.look(&id("mine"), &theirs).await;
    crossed.expect_err("another one's");
    let stands = look(gateway, "theirs", &theirs).await;
    assert_eq!(stands.state, ChargeState::Open);
}

async fn a_refund_is_made_once(gateway: &dyn PaymentGateway) {
    let at = made(gateway, "paid").await;
    gateway.confirm(&id("paid"), &at, "ok").await.unwrap();
    let refund = |name: &str, minor| OwedRefund {
        id: id(name),
        intent: id("paid"),
        provider_id: at.clone(),
        amount: euros(minor),
        tries: 0,
    };
    let (part, rest) = (refund("paid-r0", 200), refund("paid-r1", 300));
    let unknown = gateway.look_refund(&part).await;
    assert_eq!(unknown, Ok(RefundStanding::Unknown));
    for _ in 0..2 {
        let done = gateway.refund(&part).await;
        assert_eq!(done, Ok(RefundStanding::Succeeded));
    }
    let done = gateway.look_refund(&part).await;
    assert_eq!(done, Ok(RefundStanding::Succeeded));
    // The first counted once: there is as much left.
    let done = gateway.refund(&rest).await;
    assert_eq!(done, Ok(RefundStanding::Succeeded));
    let stands = look(gateway, "paid", &at).await;
    assert_eq!(stands.state, ChargeState::Succeeded);
}
