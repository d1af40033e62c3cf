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

/// Creates what it is asked for, unless it was told not to, and answers the rest
/// as it was told to.
#[derive(Default)]
struct Scripted {
    /// What comes before it creates anything.
    failures: Mutex<VecDeque<GatewayError>>,
    /// Taken before it answers; only where there is one.
    gate: Option<Semaphore>,
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
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        match self.failures.lock().unwrap().pop_front() {
            Some(error) => Err(error),
            None => Ok(charge(ChargeState::Open)),
        }
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

fn gateway(scripted: &Arc<Scripted>, answer_within: Duration) -> Gateway {
    Gateway {
        provider: Arc::clone(scripted) as _,
        refunds_only: false,
        answer_within,
        time_limit_ms: 60_000,
        look_after_ms: 60_000,
        permits: Arc::new(Semaphore::new(2)),
        charges: TaskTracker::new(),
        metrics: Metrics::new(),
    }
}

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
            Err(SalesError::ProviderAway),
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
        let mut test = TestSale::open_with(Some(gateway(&scripted, PATIENCE))).await;
        let performance = test.performance().await;
        let (_, pass) = test.pass(&performance).await;
        let held = test.hold(&performance, pass).await;
        let once = test.once("ann");
        let answer = test
            .sale
            .pay_by_gateway(once, held, "tok".to_owned(), None)
            .await;
        let answer = answer.map(|payment| payment.state);
        assert_eq!(answer, end, "{answers:?}");
        assert_eq!(*scripted.asked.lock().unwrap(), asked);
    }
}

/// Pays by the same key each time; answers how it went.
async fn pay_again_and_again(
    test: &mut TestSale,
    times: usize,
) -> Vec<Result<PaymentState, SalesError>> {
    let performance = test.performance().await;
    let (_, pass) = test.pass(&performance).await;
    let held = test.hold(&performance, pass).await;
    let once = test.once("ann");
    let mut answers = Vec::new();
    for _ in 0..times {
        let token = "tok".to_owned();
        let paid = test
            .sale
            .pay_by_gateway(once.clone(), held.clone(), token, None)
            .await;
        answers.push(paid.map(|payment| payment.state));
    }
    answers
}

#[tokio::test]
async fn a_provider_that_is_away_leaves_nothing_under_the_key() {
    let busy = || GatewayError::Busy { status: 429 };
    let refused = |status| GatewayError::Refused { status };
    let away = [
        vec![GatewayError::NotSent],
        vec![GatewayError::Unavailable("no answer".to_owned())],
        vec![busy(), busy(), busy(), busy()],
        // It does not know us: that is not the buyer's matter.
        vec![refused(401)],
    ];
    for failures in away {
        let scripted = Arc::new(Scripted::default());
        scripted.failures.lock().unwrap().extend(failures.clone());
        let confirmed = Ok(ChargeState::Succeeded);
        scripted.answers.lock().unwrap().push_back(confirmed);
        let mut test = TestSale::open_with(Some(gateway(&scripted, PATIENCE))).await;
        let answers = pay_again_and_again(&mut test, 3).await;
        let paid = Ok(PaymentState::Succeeded);
        let expected = [Err(SalesError::ProviderAway), paid.clone(), paid];
        assert_eq!(answers, expected, "{failures:?}");
    }
    // This is the buyer's.
    let scripted = Arc::new(Scripted::default());
    scripted.failures.lock().unwrap().push_back(refused(402));
    let mut test = TestSale::open_with(Some(gateway(&scripted, PATIENCE))).await;
    let answers = pay_again_and_again(&mut test, 2).await;
    let declined = Err(SalesError::PaymentDeclined);
    assert_eq!(answers, [declined.clone(), declined]);
}

#[tokio::test]
async fn who_was_told_of_a_payment_hears_of_it_again() {
    let scripted = Arc::new(Scripted {
        gate: Some(Semaphore::new(0)),
        ..Scripted::default()
    });
    scripted
        .failures
        .lock()
        .unwrap()
        .push_back(GatewayError::NotSent);
    let soon = Duration::from_millis(1);
    let mut test = TestSale::open_with(Some(gateway(&scripted, soon))).await;
    let performance = test.performance().await;
    let (_, pass) = test.pass(&performance).await;
    let held = test.hold(&performance, pass).await;
    let once = test.once("ann");
    let pay = || {
        let token = "tok".to_owned();
        test.sale
            .pay_by_gateway(once.clone(), held.clone(), token, None)
    };
    let first = pay().await.unwrap();
    assert_eq!(first.state, PaymentState::Pending);
    scripted.gate.as_ref().unwrap().add_permits(1);
    let declined = async {
        loop {
            match pay().await {
                Ok(payment) => assert_eq!(payment, first),
                Err(error) => return error,
            }
            tokio::task::yield_now().await;
        }
    };
    let declined = tokio::time::timeout(PATIENCE, declined).await.unwrap();
    assert_eq!(declined, SalesError::PaymentDeclined);
}
