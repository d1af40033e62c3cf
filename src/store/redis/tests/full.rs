//! A server that may write no more.

use std::sync::Arc;

use crate::domain::ids::{Incarnation, RoomId, RoomRef, UserId};
use crate::domain::place::RoomSwitches;
use crate::domain::policy::RoomPolicy;
use crate::store::queue::{LaneInit, Presence, QueueError, QueueStore as _, RoomInit, Take};

use super::super::RedisQueue;
use super::queue;
use super::servers::RedisServer;

const NODE: Incarnation = Incarnation(7);

fn room() -> RoomRef {
    RoomRef {
        id: RoomId::parse("full").unwrap(),
        epoch: 1,
    }
}

fn user(number: u64) -> UserId {
    UserId::parse(&format!("u{number}")).unwrap()
}

fn join(number: u64) -> Take {
    Take {
        user: user(number),
        presented: None,
        issue_in: Some(0),
        presence: Presence::Stream(NODE),
    }
}

async fn with_three_waiting(queue: &RedisQueue) {
    let init = RoomInit {
        version: 1,
        policy: Arc::new(RoomPolicy::default()),
        switches: RoomSwitches {
            opened: true,
            ..RoomSwitches::default()
        },
        lanes: vec![LaneInit {
            reserved_to: 10,
            ..LaneInit::default()
        }],
        live: Vec::new(),
        ended: Vec::new(),
        rebuild_pause_ms: 0,
    };
    queue.init(&room(), init).await.unwrap();
    for number in 1..=3 {
        queue.take(&room(), join(number)).await.unwrap();
    }
}

/// Redis judges a script by its first write, and lets it go on after one: so a
/// step is refused before it changed anything, or done.
#[tokio::test]
async fn every_step_is_refused_whole_when_memory_is_full() {
    let server = RedisServer::start();
    let queue = queue(&server.url(), None);
    with_three_waiting(&queue).await;
    let set = server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(set, "OK");
    let places = || async {
        let mut places = Vec::new();
        for number in 1..=3 {
            let found = queue.find(&room(), &user(number)).await.unwrap();
            places.push(found.unwrap().key);
        }
        places
    };
    let places = places().await;
    let (policy, switches) = (Arc::new(RoomPolicy::default()), RoomSwitches::default());
    let present = vec![(places[0], user(1)), (places[1], user(2))];
    let mut refused = 0;
    for step in 0..8 {
        let before = server.cli(&["DEBUG", "DIGEST"]);
        let room = &room();
        let done = match step {
            0 => queue.take(room, join(4)).await.map(drop),
            1 => queue.tick(room, Some(NODE)).await.map(drop),
            2 => queue.grant_place(room, &user(2), 0).await.map(drop),
            3 => queue.present(room, present.clone(), Incarnation(8)).await,
            4 => queue.absent(room, present.clone(), NODE).await,
            5 => queue.reserve(room, 0, 100).await,
            6 => {
                queue
                    .configure(room, 2, policy.clone(), switches.clone())
                    .await
            }
            _ => queue.leave(room, places[2], &user(3)).await.map(drop),
        };
        let after = server.cli(&["DEBUG", "DIGEST"]);
        match done {
            Err(QueueError::Unavailable) => {
                assert_eq!(after, before, "step {step} was half done");
                refused += 1;
            }
            done => assert_eq!(done, Ok(()), "step {step}"),
        }
    }
    assert!(refused >= 3, "{refused}");
    // Afterwards all goes on.
    assert_eq!(server.cli(&["CONFIG", "SET", "maxmemory", "0"]), "OK");
    queue.take(&room(), join(5)).await.unwrap();
    queue.tick(&room(), Some(NODE)).await.unwrap();
}
