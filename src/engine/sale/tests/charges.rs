//! What a provider answers, and what becomes of the payment.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::sync::Semaphore;

use super::super::Gateway;
use super::*;
use crate::domain::sale::intent::Intent;
use crate::domain::sale::payment::PaymentState;
use crate::gateway::{Charge, ChargeState, GatewayError, PaymentGateway, RefundStanding};
use crate::store::sales::OwedRefund;

type Answer = Result<ChargeState, GatewayError>;

/// Creates what it is asked for, and answers the rest as it was told to.
#[derive(Default)]
struct Scripted {
    answers: Mutex<VecDeque<Answer>>,
    asked: Mutex<Vec<&'static str>>,
}

impl Scripted {
    fn answer(&self, what: &'static str) -> Result<Charge, GatewayError> {
        self.asked.lock().unwrap().push(what);
        let answer = self.answers.lock().unwrap().pop_front();
        answer.expect("an answer").map(charge)
    }
}

fn charge(state: ChargeState) -> Charge {
    Charge {
        provider_id: "pi".to_owned(),
        state,
        amount: euros(1_000),
        action_url: None,
    }
}

#[async_trait]
impl PaymentGateway for Scripted {
    fn provider(&self) -> &str {
        "scripted"
    }

    async fn create(&self, _: &Intent) -> Result<Charge, GatewayError> {
        Ok(charge(ChargeState::Open))
    }

    async fn confirm(&self, _: &ResourceId, _: &str, _: &str) -> Result<Charge, GatewayError> {
        self.answer("confirm")
    }

    async fn look(&self, _: &ResourceId, _: &str) -> Result<Charge, GatewayError> {
        self.answer("look")
    }

    async fn cancel(&self, _: &ResourceId, _: &str) -> Result<Charge, GatewayError> {
        self.answer("cancel")
    }

    async fn refund(&self, _: &OwedRefund) -> Result<RefundStanding, GatewayError> {
        Ok(RefundStanding::Pending)
    }

    async fn look_refund(&self, _: &OwedRefund) -> Result<RefundStanding, GatewayError> {
        Ok(RefundStanding::Pending)
    }
}

const BUSY: Answer = Err(GatewayError::Busy { status: 429 });
const OPEN: Answer = Ok(ChargeState::Open);
const DECLINED: Answer = Ok(ChargeState::Declined);

#[tokio::test]
async fn a_buyer_is_released_as_soon_as_nothing_can_be_charged() {
    let away = || Err(GatewayError::Unavailable("no answer".to_owned()));
    let paid = Ok(PaymentState::Succeeded);
    let pending = Ok(PaymentState::Pending);
    let declined = Err(SalesError::PaymentDeclined);
    let cases: [(&[Answer], &[&str], _); 7] = [
        (&[Ok(ChargeState::Succeeded)], &["confirm"], paid.clone()),
        // The breaker kept it back: nobody else has the token.
        (
            &[Err(GatewayError::NotSent)],
            &["confirm"],
            declined.clone(),
        ),
        (&[OPEN, DECLINED], &["confirm", "cancel"], declined.clone()),
        (
            &[BUSY, BUSY, Ok(ChargeState::Succeeded)],
            &["confirm", "confirm", "confirm"],
            paid,
        ),
        (
            &[BUSY, BUSY, BUSY, BUSY, DECLINED],
            &["confirm", "confirm", "confirm", "confirm", "cancel"],
            declined,
        ),
        // It was asked once: that is found out about.
        (
            &[BUSY, Err(GatewayError::NotSent)],
            &["confirm", "confirm"],
            pending.clone(),
        ),
        (&[away()], &["confirm"], pending),
    ];
    for (answers, asked, end) in cases {
        let scripted = Arc::new(Scripted::default());
        scripted.answers.lock().unwrap().extend(answers.to_vec());
        let gateway = Gateway {
            provider: Arc::clone(&scripted) as _,
            refunds_only: false,
            answer_within: PATIENCE,
            time_limit_ms: 60_000,
            look_after_ms: 60_000,
            permits: Arc::new(Semaphore::new(1)),
            charges: TaskTracker::new(),
            metrics: Metrics::new(),
        };
        let mut test = TestSale::open_with(Some(gateway)).await;
        let performance = test.performance().await;
        let (_, pass) = test.pass(&performance).await;
        let held = test.hold(&performance, pass).await;
        let once = test.once("ann");
        let answer = test.sale.pay_by_gateway(once, held, "tok".to_owned()).await;
        let answer = answer.map(|payment| payment.state);
        assert_eq!(answer, end, "{answers:?}");
        assert_eq!(*scripted.asked.lock().unwrap(), asked);
    }
}
