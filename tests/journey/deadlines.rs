//! The protocol's deadlines, by wire. Each is held to three times its figure:
//! the machine that runs these tests has other things to do.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use usher::clock::{Clock as _, SystemClock};
use usher::proto::v1 as wire;
use wire::watch_seat_map_response::Event;
use wire::{EndReason, SeatState};

use crate::harness::{TestApp, soon};
use crate::people::{Ticket, User, Watching};
use crate::sale::{PRICE_MINOR, concert, performance, policy, span_ms};

const SLACK: u32 = 3;
const T_ADMIT: Duration = Duration::from_secs(1);
const T_EXPIRE: Duration = Duration::from_secs(2);
const T_REBUILD: Duration = Duration::from_secs(10);

pub async fn within<T>(what: &str, deadline: Duration, future: impl Future<Output = T>) -> T {
    match timeout(deadline * SLACK, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} took longer than {SLACK} times {deadline:?}"),
    }
}

struct Waiting {
    user: User,
    ticket: Ticket,
    stream: Watching,
}

impl Waiting {
    async fn in_line(app: &TestApp, room: &str, id: &str) -> Self {
        let user = app.user(id);
        let ticket = user.join(room).await;
        let mut stream = user.watch(&ticket.token).await;
        stream.snapshot().await;
        Self {
            user,
            ticket,
            stream,
        }
    }

    async fn is_admitted(&mut self) {
        within("the turn", T_ADMIT, self.stream.activated()).await;
    }

    async fn leave(&self) {
        self.user.leave(&self.ticket.token).await.expect("left");
    }

    async fn buys(&self, performance: &str) {
        let pass = self.user.claim(&self.ticket.token).await.expect("claimed");
        let buyer = self.user.clone().with_pass(&pass.pass);
        let map = buyer.seat_map(performance).await.expect("seats");
        let seat = [map.seats[0].id.as_str()];
        let held = buyer.hold(performance, &seat, "hold").await.expect("held");
        buyer.top_up(PRICE_MINOR, "money").await.expect("topped up");
        buyer.pay(&held.id, "pay").await.expect("paid");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_free_slot_is_given_within_t_admit() {
    let app = TestApp::start().await;
    let one_at_a_time = wire::RoomPolicy {
        capacity: 1,
        claim_window: span_ms(15_000),
        ..policy()
    };
    let house = app.build_house(10, one_at_a_time).await;
    let alice = app.user("alice");
    let ticket = within("the turn of who finds a free slot", T_ADMIT, async {
        let ticket = alice.join(&house.room).await;
        alice.watch(&ticket.token).await.activated().await;
        ticket
    })
    .await;
    let mut line = Vec::new();
    for id in ["bob", "cid", "dan", "eve"] {
        line.push(Waiting::in_line(&app, &house.room, id).await);
    }
    let [bob, cid, dan, eve] = &mut line[..] else {
        unreachable!("four of them");
    };
    // Given back unclaimed, given back while active, used up, not answered.
    alice.leave(&ticket.token).await.expect("left");
    bob.is_admitted().await;
    bob.user.claim(&bob.ticket.token).await.expect("claimed");
    bob.leave().await;
    cid.is_admitted().await;
    cid.buys(&house.performance).await;
    dan.is_admitted().await;
    let unanswered = dan.stream.ended();
    assert_eq!(unanswered.await.reason(), EndReason::Unclaimed);
    eve.is_admitted().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_ended_is_free_on_maps_within_t_expire() {
    let app = TestApp::start().await;
    let short = wire::Performance {
        hold_ttl: span_ms(5_000),
        ..performance(&made_concert(&app).await, 3)
    };
    let root = app.admin();
    let request = root.ask(wire::CreatePerformanceRequest {
        performance: Some(short),
        idempotency_key: "performance".to_owned(),
    });
    let mut operator = root.operator();
    let made = soon("a performance", operator.create_performance(request)).await;
    let made = made.expect("made").into_inner();
    let id = made.performance.expect("one").id;

    // No room protects it: nobody needs a pass.
    let (alice, bob) = (app.user("alice"), app.user("bob"));
    let request = bob.ask(wire::WatchSeatMapRequest {
        performance_id: id.clone(),
        resume_cursor: None,
    });
    let mut maps = bob.catalog();
    let watching = soon("a stream", maps.watch_seat_map(request)).await;
    let mut watching = watching.expect("a stream").into_inner();
    let first = soon("a snapshot", watching.message()).await;
    let first = first.expect("OK").expect("not over").event;
    assert!(matches!(first, Some(Event::Snapshot(_))), "{first:?}");
    let map = alice.seat_map(&id).await.expect("seats");
    let seat = map.seats[1].id.as_str();
    let held = alice.hold(&id, &[seat], "hold").await.expect("held");
    let ends = held.hold_expire_time.expect("a time");
    let ends_ms = ends.seconds as u64 * 1_000 + ends.nanos as u64 / 1_000_000;

    // What is said last counts: a map that is behind may skip the hold.
    let mut last = None;
    let is_free_again = async {
        while last != Some(SeatState::Available) {
            let message = watching.message().await.expect("OK").expect("not over");
            if let Some(Event::Delta(delta)) = message.event {
                let changed = delta.seats.iter().rfind(|changed| changed.id == seat);
                last = changed.map(wire::Seat::state).or(last);
            }
        }
        SystemClock.now().0
    };
    let freed_ms = soon("the seat", is_free_again).await;
    assert!(freed_ms >= ends_ms, "not before its time");
    let late_ms = u128::from(freed_ms - ends_ms);
    assert!(
        late_ms <= (T_EXPIRE * SLACK).as_millis(),
        "{late_ms} ms late"
    );
}

async fn made_concert(app: &TestApp) -> String {
    let root = app.admin();
    let request = root.ask(wire::CreateConcertRequest {
        concert: Some(concert()),
        idempotency_key: "concert".to_owned(),
    });
    let made = soon("a concert", root.operator().create_concert(request)).await;
    made.expect("made").into_inner().concert.expect("one").id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn activation_rests_after_a_loss_and_goes_on_within_t_rebuild() {
    let app = TestApp::start().await;
    let one_at_a_time = wire::RoomPolicy {
        capacity: 1,
        ..policy()
    };
    let room = app.make_room("room", one_at_a_time).await;
    let mut alice = Waiting::in_line(&app, &room, "alice").await;
    alice.is_admitted().await;
    let bob = Waiting::in_line(&app, &room, "bob").await;

    let (hers, his) = (alice.ticket, bob.ticket);
    let began = Instant::now();
    // Every start is a recovery; the pause as it is by default.
    let app = app
        .restart(&[("USHER_QUEUE__REBUILD_PAUSE_MS", "10000")])
        .await;
    let (alice, bob) = (app.user("alice"), app.user("bob"));
    let mut stream = bob.watch(&his.token).await;
    alice
        .leave(&hers.token)
        .await
        .expect("left: a slot is free");
    within("the turn", T_REBUILD, stream.activated()).await;
    assert!(began.elapsed() >= T_REBUILD, "{:?}", began.elapsed());
    app.assert_audit_is_clean().await;
}
