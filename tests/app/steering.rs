//! A whole node whose sale hangs: its room gives way, and comes back.

use futures_util::future::join_all;
use tonic::Code;
use tonic::transport::Channel;

use crate::harness::eventually;
use crate::house::{HOLD_SEATS, House};
use crate::postgres::Postgres;
use crate::whole::{Caller, Whole};

const RATE: f64 = 16.0;
/// A quarter of it, as configured below.
const LEAST: f64 = 4.0;

/// The room's rate in effect, as an operator reads it.
fn rate(app: &Whole, room: &str) -> Option<f64> {
    let name = format!("usher_room_rate{{room=\"{room}\"}} ");
    let text = app.metrics.render();
    let line = text.lines().find_map(|line| line.strip_prefix(&name))?;
    line.parse().ok()
}

/// People who come as long as one looks: a rate that nobody uses is not raised.
struct Crowd {
    channel: Channel,
    came: usize,
}

impl Crowd {
    async fn until(&mut self, what: &str, app: &Whole, house: &House, is_so: fn(f64) -> bool) {
        eventually(what, async || {
            self.came += 1;
            let next = Caller::named(&self.channel, &format!("fan-{}", self.came));
            next.join(&house.room).await;
            rate(app, &house.room).filter(|rate| is_so(*rate))
        })
        .await;
    }
}

/// The seats are locked: no call of the sale ends, and no time-out helps. Only
/// the age of what is under way can tell.
#[tokio::test]
async fn a_room_gives_way_while_the_sale_hangs_and_recovers_after() {
    let database = Postgres::start();
    let name = database.create(None);
    let app = Whole::start(&[
        ("USHER_DATABASE_URL", &database.url(&name)),
        // Of holds that are not in one batch the second waits for the first.
        ("USHER_DATABASE__ACQUIRE_TIMEOUT_MS", "60000"),
        ("USHER_DATABASE__UNIT_TIMEOUT_MS", "60000"),
        ("USHER_DATABASE__STATEMENT_TIMEOUT_MS", "60000"),
        ("USHER_DATABASE__LOCK_TIMEOUT_MS", "59000"),
        ("USHER_STEERING__SALE_LATENCY_TARGET_MS", "500"),
        ("USHER_STEERING__RATE_MIN_FRACTION", "0.25"),
        ("USHER_STEERING__SETTLE_MS", "100"),
    ])
    .await;
    let channel = app.channel().await;
    let house = House::build_with(&app, &Caller::admin(&channel), 10_000, RATE).await;
    let mut buyers = Vec::new();
    for id in ["first", "second", "third"] {
        let buyer = Caller::named(&channel, id);
        let pass = house.pass(&buyer).await;
        buyers.push(buyer.with("x-usher-pass", &pass));
    }
    let mut crowd = Crowd { channel, came: 0 };
    let is_whole = |rate| rate >= RATE;
    crowd.until("its whole rate", &app, &house, is_whole).await;

    let mut lock = database.session(&name);
    lock.run("BEGIN; LOCK TABLE seats IN EXCLUSIVE MODE");
    let holds = buyers.iter().map(|buyer| {
        let hold = house.hold(buyer);
        hold.send(&buyer.channel)
    });
    let falls = async {
        let is_least = |rate| rate <= LEAST;
        crowd.until("its least rate", &app, &house, is_least).await;
        let ended = format!("rpc_method=\"{}\"", HOLD_SEATS.trim_start_matches('/'));
        let text = app.metrics.render();
        assert!(!text.contains(&ended), "no call of the sale has ended");
        drop(lock);
    };
    let (holds, ()) = tokio::join!(join_all(holds), falls);
    for hold in holds {
        assert_eq!(hold.code, Some(Code::Ok), "{hold:?}");
    }
    let is_raised = |rate| rate > LEAST;
    crowd.until("a higher rate", &app, &house, is_raised).await;
    app.stop().await;
}
