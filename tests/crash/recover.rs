//! T_recover: from the crash of a node to fresh positions for all who come
//! back, with the back-off of rule 6.

use std::time::Duration;

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::{Instant, sleep};
use usher::proto::v1 as wire;

use crate::client::World;
use crate::house::{self, Rules};
use crate::people::{Ticket, User, Watching};
use crate::server::{Server, free_port};

const PEOPLE: usize = 100;
const T_RECOVER: Duration = Duration::from_secs(5);
/// The machine that runs this has other things to do.
const SLACK: u32 = 3;

/// Rule 6: full jitter, from 0.5 s at the first try to 10 s.
fn back_off(rng: &mut StdRng, tries: u32) -> Duration {
    let at_most_s = (0.5 * f64::from(1 << tries.min(5))).min(10.0);
    Duration::from_secs_f64(rng.random_range(0.0..at_most_s))
}

/// Comes back until there is a stream; its first message.
async fn comes_back(user: &User, ticket: &Ticket, epoch: u64, seed: u64) -> (Watching, u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    for tries in 0.. {
        sleep(back_off(&mut rng, tries)).await;
        let again = wire::WatchRequest {
            place_token: ticket.token.clone(),
            resume: Some(wire::Cursor { epoch, revision: 0 }),
            ..wire::WatchRequest::default()
        };
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
        return (stream, place.position.expect("in line"));
    }
    unreachable!("tries do not end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_who_come_back_have_positions_within_t_recover() {
    let dir = tempfile::tempdir().expect("a directory");
    let port = free_port();
    let mut server = Server::start(dir.path(), port, "").await;
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
    let crashed = Instant::now();
    let come_back = line
        .iter()
        .zip(0..)
        .map(|((user, ticket, _), seed)| comes_back(user, ticket, epoch, seed));
    let (server, back) = tokio::join!(Server::start(dir.path(), port, ""), join_all(come_back));
    let took = crashed.elapsed();
    assert!(took <= T_RECOVER * SLACK, "{took:?}");
    // Everybody came back, so nobody's position is worse than it was.
    for (index, (_, position)) in back.iter().enumerate() {
        assert_eq!(*position, index as u64 + 1, "in order, and exact");
    }
    drop(back);
    server.terminate().await;
}
