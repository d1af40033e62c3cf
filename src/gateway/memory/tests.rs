//! The suite, and what only this one does.

use super::super::conformance::{self, Subject};
use super::*;
use crate::clock::ManualClock;
use crate::domain::ids::UserId;
use crate::domain::sale::intent::{IntentPurpose, IntentState};

struct Tried {
    gateway: MemoryGateway,
    clock: Arc<ManualClock>,
}

fn tried() -> Tried {
    let clock = Arc::new(ManualClock::new(UnixMs(1_000_000)));
    Tried {
        gateway: MemoryGateway::new(clock.clone()),
        clock,
    }
}

#[async_trait]
impl Subject for Tried {
    fn gateway(&self) -> &dyn PaymentGateway {
        &self.gateway
    }

    async fn decide(&self, _: &ResourceId) {
        self.clock.advance_ms(LATER_MS);
    }

    async fn agree(&self, _: &ResourceId) {
        self.clock.advance_ms(LATER_MS);
    }
}

fn intent(name: &str) -> Intent {
    Intent {
        id: ResourceId::parse(name).unwrap(),
        user: UserId::parse("ann").unwrap(),
        purpose: IntentPurpose::TopUp,
        state: IntentState::Pending,
        amount: Money::new(Currency::parse("KRW").unwrap(), 700),
        provider: None,
        provider_id: None,
        taken: None,
        action_url: None,
        created_at: UnixMs(1),
    }
}

#[tokio::test]
async fn it_does_as_every_gateway_does() {
    conformance::all(&tried()).await;
}

#[tokio::test]
async fn a_token_says_how_it_ends() {
    let tried = tried();
    for (token, at_once, later) in [
        ("ok", ChargeState::Succeeded, ChargeState::Succeeded),
        ("declined", ChargeState::Declined, ChargeState::Declined),
        ("slow", ChargeState::Processing, ChargeState::Succeeded),
        (
            "slow-declined",
            ChargeState::Processing,
            ChargeState::Declined,
        ),
        ("ask", ChargeState::Open, ChargeState::Succeeded),
        ("ask-declined", ChargeState::Open, ChargeState::Declined),
    ] {
        let asked = intent(token);
        let made = tried.gateway.create(&asked).await.unwrap();
        let (id, at) = (&asked.id, made.provider_id.as_str());
        let first = tried.gateway.confirm(id, at, token).await.unwrap();
        assert_eq!(first.state, at_once, "{token}");
        // Nothing is confirmed with another.
        let other = tried.gateway.confirm(id, at, "ok").await;
        assert_eq!(other.is_ok(), token == "ok", "{token}");
        tried.clock.advance_ms(LATER_MS - 1);
        let early = tried.gateway.look(id, at).await.unwrap();
        assert_eq!(early.state, at_once, "{token}");
        tried.clock.advance_ms(1);
        let end = tried.gateway.look(id, at).await.unwrap();
        assert_eq!(end.state, later, "{token}");
    }
}

#[tokio::test]
async fn what_it_forgot_took_nothing_and_is_given_back() {
    let (before, asked) = (tried(), intent("i1"));
    let made = before.gateway.create(&asked).await.unwrap();
    let at = made.provider_id.as_str();
    let paid = before.gateway.confirm(&asked.id, at, "ok").await.unwrap();
    assert_eq!(paid.state, ChargeState::Succeeded);
    let after = tried().gateway;
    for stands in [
        after.look(&asked.id, at).await,
        after.cancel(&asked.id, at).await,
    ] {
        let stands = stands.unwrap();
        let told = (stands.state, stands.amount, stands.provider_id.as_str());
        assert_eq!(told, (ChargeState::Declined, asked.amount, at));
    }
    let refund = OwedRefund {
        id: ResourceId::parse("i1-r0").unwrap(),
        intent: asked.id.clone(),
        provider_id: at.to_owned(),
        amount: asked.amount,
        tries: 1,
    };
    let unknown = after.look_refund(&refund).await;
    assert_eq!(unknown, Ok(RefundStanding::Unknown));
    assert_eq!(after.refund(&refund).await, Ok(RefundStanding::Succeeded));
}

#[tokio::test]
async fn it_keeps_so_many_and_gives_back_no_more_than_it_took() {
    let gateway = tried().gateway;
    let first = intent("i0");
    let at = gateway.create(&first).await.unwrap().provider_id;
    gateway.confirm(&first.id, &at, "ok").await.unwrap();
    let refund = |name: &str, minor| OwedRefund {
        id: ResourceId::parse(name).unwrap(),
        intent: first.id.clone(),
        provider_id: at.clone(),
        amount: Money::new(first.amount.currency, minor),
        tries: 0,
    };
    let made = gateway.refund(&refund("i0-r0", 699)).await;
    assert_eq!(made, Ok(RefundStanding::Succeeded));
    let too_much = gateway.refund(&refund("i0-r1", 2)).await;
    assert_eq!(too_much, Err(REFUSED));
    for n in 1..=CHARGES_MAX {
        gateway.create(&intent(&format!("i{n}"))).await.unwrap();
    }
    let books = gateway.books();
    assert_eq!(
        (books.charges.len(), books.order.len()),
        (CHARGES_MAX, CHARGES_MAX)
    );
    assert!(!books.charges.contains_key(&first.id));
}
