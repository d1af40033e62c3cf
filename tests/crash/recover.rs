//! T_recover: from a node's being ready after a crash to fresh positions for
//! all who ask. When they ask is for them to say: their back-off of rule 6 is
//! held to its own figure.

use std::time::Duration;

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::{Instant, sleep};
use usher::proto::v1 as wire;

use crate::client::World;
use crate::house::{self, Rules};
use crate::people::{Ticket, User, Watching};
use crate::server::{self, Server};

const PEOPLE: usize = 100;
const T_RECOVER: Duration = Duration::from_secs(5);
const BACK_OFF_MAX: Duration = Duration::from_secs(10);
/// The machine that runs this has other things to do.
const SLACK: u32 = 3;

/// Rule 6: full jitter, from 0.5 s at the first try to 10 s.
fn back_off(rng: &mut StdRng, tries: u32) -> Duration {
    let at_most_s = (0.5 * f64::from(1 << tries.min(5))).min(BACK_OFF_MAX.as_secs_f64());
    Duration::from_secs_f64(rng.random_range(0.0..at_most_s))
}

struct Back {
    /// Whoever has one is there.
    stream: Watching,
    position: u64,
    asked_at: Instant,
    told_at: Instant,
}

/// Comes back until there is a stream; its first message.
async fn comes_back(user: &User, ticket: &Ticket, epoch: u64, seed: u64) -> Back {
    let mut rng = StdRng::seed_from_u64(seed);
    for tries in 0.. {
        sleep(back_off(&mut rng, tries)).await;
        let again = wire::WatchRequest {
            place_token: ticket.token.clone(),
            resume: Some(wire::Cursor { epoch, revision: 0 }),
            ..wire::WatchRequest::default()
        };
        let asked_at = Instant::now();
        let Ok(mut stream) = user.watch_as(again).await else {
            continue;
        };
        let Ok(Some(first)) = stream.next().await else {
            continue;
        };
        assert!(first.cursor.expect("a cursor").epoch > epoch, "{first:?}");
        let Some(wire::watch_response::Event::Snapshot(snapshot)) = first.event else {
            panic!("the first message is a snapshot");
        };
        let place = snapshot.place.expect("a place");
        assert_eq!(place.number, ticket.place.number);
        return Back {
            stream,
            position: place.position.expect("in line"),
            asked_at,
            told_at: Instant::now(),
        };
    }
    unreachable!("tries do not end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_who_come_back_have_positions_within_t_recover() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut server, port) = Server::first(dir.path(), &[]).await;
    let world = World::new(port);
    let rules = Rules {
        capacity: 0,
        absence_grace_s: 60,
    };
    let room = house::build_with(&world, rules).await.room;
    let joins = (0..PEOPLE).map(|index| {
        let user = User::new(world.channel.clone(), &format!("user-{index}"));
        let room = &room;
        async move {
            let ticket = user.join(room.as_str()).await;
            let mut stream = user.watch(&ticket.token).await;
            stream.snapshot().await;
            (user, ticket, stream)
        }
    });
    let mut line = join_all(joins).await;
    line.sort_by_key(|(_, ticket, _)| ticket.place.number);
    let epoch = line[0].2.cursor.0;

    server.kill().await;
    let come_back = line
        .iter()
        .zip(0..)
        .map(|((user, ticket, _), seed)| comes_back(user, ticket, epoch, seed));
    let start = async {
        let server = Server::again(dir.path(), port, &[]).await;
        (server, Instant::now())
    };
    let ((server, ready_at), back) = tokio::join!(start, join_all(come_back));
    let mut streams = Vec::new();
    for (back, position) in back.into_iter().zip(1..) {
        // Everybody came back, so nobody's position is worse than it was.
        assert_eq!(back.position, position, "in order, and exact");
        let could_at = back.asked_at.max(ready_at);
        let took = back.told_at.saturating_duration_since(could_at);
        assert!(took <= T_RECOVER * SLACK, "{position}: {took:?}");
        let in_all = back.told_at.saturating_duration_since(ready_at);
        let at_most = T_RECOVER * SLACK + BACK_OFF_MAX;
        assert!(in_all <= at_most, "{position}: {in_all:?}");
        streams.push(back.stream);
    }
    drop(streams);
    server.terminate().await;
    server::assert_is_sound(dir.path()).await;
}
