//! `kill -9` under load: the real binary, dozens of people in the middle of
//! their sale, a restart on the same data, and everyone goes on.

#[path = "../journey/interrupted/asked.rs"]
#[expect(dead_code, reason = "the journeys use the rest")]
mod asked;
mod backup;
mod cancelled;
mod charges;
mod client;
#[path = "../servers/databases.rs"]
mod databases;
mod disk;
mod harness;
mod house;
mod journey;
#[path = "../servers/kafka.rs"]
mod kafka;
mod loss;
#[path = "../journey/outage.rs"]
mod outage;
#[path = "../journey/people.rs"]
#[expect(dead_code, reason = "the journeys use the rest")]
mod people;
mod record;
mod recover;
mod relay;
mod replies;
mod server;
mod stop;
#[path = "../servers/gateway.rs"]
#[expect(dead_code, reason = "the journeys use the rest")]
mod stub;

use std::sync::Arc;

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use usher::truth::checkers::check;
use usher::truth::failpoint::Point;

use client::World;
use server::Server;

const PEOPLE: usize = 60;
/// Join, claim, hold, top up, pay.
const CALLS: u64 = 5 * PEOPLE as u64;
/// `kill -9` at so many moments of a load; `USHER_CRASH_MOMENTS` says more.
const MOMENTS: u64 = 10;
/// The moments follow from it; `USHER_CRASH_SEED` says another.
const SEED: u64 = 20_260_721;

/// What stops the server in the middle.
enum Stop {
    /// The n-th hit of a failpoint.
    At(Point, u32),
    /// As soon as so many calls were answered.
    After(u64),
}

async fn survive(stop: Stop) {
    let dir = tempfile::tempdir().expect("a directory");
    let armed = match &stop {
        Stop::At(point, hit) => format!("{}=kill@{hit}", point.name()),
        Stop::After(_) => String::new(),
    };
    let env = [("USHER_FAILPOINTS", armed.as_str())];
    let (mut server, port) = Server::first(dir.path(), &env).await;
    let world = Arc::new(World::new(port));
    let house = house::build(&world).await;
    let everyone = (0..PEOPLE).map(|index| journey::go(Arc::clone(&world), house.clone(), index));
    let crash_and_return = async {
        match stop {
            Stop::At(..) => server.died().await,
            Stop::After(calls) => {
                world.answered(calls).await;
                server.kill().await;
            }
        }
        Server::again(dir.path(), port, &[]).await
    };
    let (server, tokens) = tokio::join!(crash_and_return, join_all(everyone));
    let looks = tokens.iter().enumerate();
    join_all(looks.map(|(index, token)| journey::look_back(&world, &house, index, token))).await;
    server.terminate().await;
    server::assert_is_sound(dir.path()).await;
    let world = Arc::into_inner(world).expect("all are done");
    let history = world.finish();
    assert!(
        history.records.len() > 10 * PEOPLE,
        "{}",
        history.records.len()
    );
    let violations = check(&history);
    assert!(violations.is_empty(), "{violations:#?}");
}

macro_rules! killed_at {
    ($($name:ident: $point:ident, $hit:literal;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            survive(Stop::At(Point::$point, $hit)).await;
        }
    )*};
}

killed_at! {
    killed_when_numbers_are_granted_and_no_row_is_written: NumbersGranted, 3;
    killed_when_rows_are_written_and_not_confirmed: RowsCommitted, 3;
    killed_when_an_activation_was_told: ActivationTold, 3;
    killed_when_a_claim_is_committed: ClaimCommitted, 15;
    killed_when_a_hold_is_committed: HoldCommitted, 15;
    killed_when_a_payment_is_committed_and_its_slot_not_freed: PaymentCommitted, 15;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment() {
    let (seed, count) = (
        number("USHER_CRASH_SEED", SEED),
        number("USHER_CRASH_MOMENTS", MOMENTS),
    );
    let moments = moments(seed, count);
    println!("USHER_CRASH_SEED={seed}: killed after {moments:?} of {CALLS} calls");
    for calls in moments {
        println!("killed after {calls} calls");
        survive(Stop::After(calls)).await;
    }
}

fn number(name: &str, default: u64) -> u64 {
    let told = std::env::var(name).ok();
    told.map_or(default, |text| text.parse().expect("a number"))
}

/// One of each part of the load, its last calls left out: then nobody is there.
fn moments(seed: u64, count: u64) -> Vec<u64> {
    let mut rng = StdRng::seed_from_u64(seed);
    let end_of = |part: u64| 1 + part * (CALLS - 10) / count;
    (0..count)
        .map(|part| rng.random_range(end_of(part)..end_of(part + 1)))
        .collect()
}
