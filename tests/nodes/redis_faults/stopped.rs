//! Redis answers nothing for a while, and its connections stay open.
//!
//! What was sent meanwhile is done once when it goes on: the client sends no
//! command twice (`a_silent_server_is_given_up_in_time_and_nothing_is_sent_twice`),
//! and steps that callers repeat are idempotent: here nobody has two places, or
//! two turns.

use std::cell::RefCell;
use std::time::Duration;

use usher::clock::{Clock as _, SystemClock};
use usher::proto::v1 as wire;

use super::{outage, trouble};
use crate::harness::soon;
use crate::house::{House, policy};
use crate::redis::{RedisServer, until};

/// How long it stands still: 60 is what balancers and kernels give up after.
const STOPPED_S: &str = "USHER_TEST_REDIS_STOPPED_S";

fn stopped_s() -> u64 {
    let told = std::env::var(STOPPED_S).ok();
    told.map_or(10, |seconds| seconds.parse().expect("seconds"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_stands_still_loses_nobody() {
    let mut house = House::on(RedisServer::start()).await;
    let (seen, _) = outage(
        &mut house,
        "Redis stands still",
        Duration::from_secs(stopped_s()),
        async |house| house.redis.pause(),
        async |house| house.redis.resume(),
    )
    .await;
    assert_eq!(seen.epochs(), 1, "nothing was lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_stumbles_is_hardly_noticed() {
    let house = House::on(RedisServer::start()).await;
    trouble(
        &house,
        "Redis stands still for a second, twice",
        async |crowd| {
            for _ in 0..2 {
                house.redis.pause();
                crowd.pass(Duration::from_secs(1)).await;
                house.redis.resume();
                crowd.pass(Duration::from_secs(1)).await;
            }
        },
    )
    .await;
}

/// Eight seconds: after three not everyone is sure to have looked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_sleeps_in_a_command_loses_nobody() {
    does_nothing_but(&["DEBUG", "SLEEP", "8"], None).await;
}

/// It answers all others, at once: BUSY.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_busy_with_a_slow_script_loses_nobody() {
    let spin = "local function now() local t = redis.call('TIME') return t[1] + t[2] / 1e6 end \
                local e = now() + 8 while now() < e do end return redis.status_reply('OK')";
    does_nothing_but(&["EVAL", spin, "0"], Some("BUSY")).await;
}

async fn does_nothing_but(command: &[&str], meanwhile: Option<&str>) {
    let settings = [("busy-reply-threshold", "100")];
    let mut house = House::on(RedisServer::start_with(&settings)).await;
    let running = RefCell::new(None);
    let (seen, _) = outage(
        &mut house,
        "Redis does nothing but one command",
        // Of its eight seconds.
        Duration::from_secs(6),
        async |house| {
            running.replace(Some(house.redis.cli_aside(command)));
            if let Some(answer) = meanwhile {
                let asked = || house.redis.cli(&["PING"]);
                until("it is busy", || asked().starts_with(answer));
            }
        },
        async |_| {
            let running = running.take().expect("it runs");
            assert_eq!(running.ended(), "OK");
        },
    )
    .await;
    assert_eq!(seen.epochs(), 1, "nothing was lost");
}

/// The clock goes on: what was due meanwhile is done afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_opens_and_another_closes_although_redis_was_away() {
    let house = House::on(RedisServer::start()).await;
    let due = SystemClock.now().0 / 1_000 + 4;
    let at = Some(prost_types::Timestamp {
        seconds: i64::try_from(due).expect("a time"),
        nanos: 0,
    });
    let opening = wire::RoomPolicy {
        opens_at: at,
        ..policy(1)
    };
    let closing = wire::RoomPolicy {
        closes_at: at,
        ..policy(0)
    };
    let opening = house.make_room_as("opens", opening).await;
    let closing = house.make_room_as("closes", closing).await;
    let mut comes = house.line_up_in(&opening, "comes", 0, 1).await;
    comes.stream.snapshot().await;
    let mut goes = house.line_up_in(&closing, "goes", 1, 2).await;
    goes.stream.snapshot().await;

    house.redis.pause();
    for stream in [&mut comes.stream, &mut goes.stream] {
        stream.room_changed(wire::RoomState::Degraded).await;
    }
    let is_due = async {
        while SystemClock.now().0 <= (due + 1) * 1_000 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    soon("the time", is_due).await;
    house.redis.resume();
    comes.stream.activated().await;
    let ended = goes.stream.ended().await;
    assert_eq!(ended.reason(), wire::EndReason::RoomClosed);
}
