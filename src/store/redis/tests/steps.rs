//! What goes in pieces: bounded, and whole after a break.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::delta::DrawOrder;
use crate::domain::draw::Permutation;
use crate::domain::ids::{Incarnation, PlaceKey, RoomId, RoomRef, UserId};
use crate::domain::place::RoomSwitches;
use crate::domain::policy::{RoomPolicy, ServingOrder};
use crate::store::queue::{
    LaneInit, LaneOpening, Presence, QueueError, QueueStore as _, RoomInit, Take,
};

use super::super::RedisQueue;
use super::super::draws::Drawn;
use super::super::link::Args;
use super::queue;
use super::servers::RedisServer;

const REGISTERED: u64 = 3_000;
/// No script may hold up the others for longer, but for a slow machine.
const SCRIPT_US_MAX: u64 = 20_000;
const NODE: Incarnation = Incarnation(7);

fn room() -> RoomRef {
    RoomRef {
        id: RoomId::parse("draw").unwrap(),
        epoch: 1,
    }
}

fn user(number: u64) -> UserId {
    UserId::parse(&format!("u{number}")).unwrap()
}

async fn join(queue: &RedisQueue, number: u64) -> PlaceKey {
    let take = Take {
        user: user(number),
        presented: None,
        issue_in: Some(0),
        presence: Presence::Stream(NODE),
    };
    queue.take(&room(), take).await.unwrap().place.key
}

async fn registered(queue: &RedisQueue) {
    let init = RoomInit {
        version: 1,
        policy: Arc::new(RoomPolicy {
            order: ServingOrder::Draw,
            capacity: REGISTERED,
            rate_per_s: 100_000.0,
            ..RoomPolicy::default()
        }),
        switches: RoomSwitches::default(),
        lanes: vec![LaneInit {
            reserved_to: 2 * REGISTERED,
            ..LaneInit::default()
        }],
        live: Vec::new(),
        ended: Vec::new(),
        rebuild_pause_ms: 0,
    };
    queue.init(&room(), init).await.unwrap();
    for number in 1..=REGISTERED {
        assert_eq!(join(queue, number).await.number, number);
    }
}

#[tokio::test]
async fn an_opening_that_broke_off_is_gone_on_with() {
    let server = RedisServer::start();
    let queue = queue(&server.url(), None);
    registered(&queue).await;
    assert_eq!(server.cli(&["SLOWLOG", "RESET"]), "OK");
    assert_eq!(queue.freeze(&room()).await, Ok(vec![REGISTERED]));
    let order = DrawOrder {
        n: REGISTERED,
        seed: [9; 32],
    };
    let drawn = Drawn::new(&order);
    // A node that dies after its first piece.
    let begin = Args::default().number(0).text(&drawn.text).number(100);
    let mut pieces = begin
        .text("u1")
        .number(1)
        .number(drawn.permutation.order(1));
    pieces.push("nobody");
    pieces.push_number(7);
    pieces.push_number(7);
    let shared = &queue.shared;
    let answer = shared.run(&shared.steps.redraw, &room(), pieces).await;
    assert!(!answer.unwrap().is_empty(), "others have not moved");
    let too_early = Args::default().text(&drawn.text);
    let answer = shared.run(&shared.steps.open, &room(), too_early).await;
    assert_eq!(answer.err(), Some(QueueError::Unavailable));
    let late = join(&queue, REGISTERED + 1).await;
    assert_eq!(late.number, REGISTERED + 1, "behind the draw");
    assert!(queue.tick(&room(), None).await.unwrap().granted.is_empty());
    let opened = queue.open(&room(), vec![LaneOpening::Draw(order)]).await;
    assert_eq!(opened, Ok(()));
    let slowest = slowest_us(&server);
    assert!(slowest < SCRIPT_US_MAX, "{slowest} us");
    let served = serve(&queue, REGISTERED).await;
    let permutation = Permutation::new(&order.seed, order.n);
    let expected: Vec<u64> = (1..=REGISTERED).map(|at| permutation.number(at)).collect();
    assert_eq!(served, expected);
}

/// Numbers in the order in which they are picked.
async fn serve(queue: &RedisQueue, count: u64) -> Vec<u64> {
    let mut served = Vec::new();
    while (served.len() as u64) < count {
        let tick = queue.tick(&room(), Some(NODE)).await.unwrap();
        for granted in tick.granted {
            assert_eq!(granted.user, user(granted.place.number));
            served.push(granted.place.number);
        }
    }
    served
}

/// The longest single call of a script.
fn slowest_us(server: &RedisServer) -> u64 {
    let log = server.cli(&["SLOWLOG", "GET", "1000"]);
    // Nothing is logged below 10 ms.
    let lines: Vec<&str> = log.lines().collect();
    let times = lines
        .windows(2)
        .filter(|pair| pair[1] == "EVALSHA" || pair[1] == "EVAL");
    times
        .filter_map(|pair| pair[0].parse().ok())
        .max()
        .unwrap_or(0)
}

#[tokio::test]
async fn a_room_that_is_being_made_answers_nobody() {
    let server = RedisServer::start();
    let queue = queue(&server.url(), None);
    registered(&queue).await;
    let next = RoomRef { epoch: 2, ..room() };
    let shared = &queue.shared;
    assert_eq!(
        server.cli(&["HSET", "usher:{draw}", "epoch", "2", "building", "0"]),
        "1"
    );
    let answer = queue.tick(&next, None).await;
    assert_eq!(
        answer,
        Err(QueueError::Recover),
        "its builder died long ago"
    );
    let now = server.cli(&["TIME"]);
    let now_s = now.lines().next().unwrap_or_default();
    let now_ms = format!("{now_s}000");
    server.cli(&["HSET", "usher:{draw}", "building", &now_ms]);
    let answer = queue.tick(&next, None).await;
    assert_eq!(answer, Err(QueueError::Building), "its builder is at work");
    let other = Args::default().text("builder-of-nothing").number(0);
    let finished = shared.run(&shared.steps.init_finish, &next, other).await;
    assert_eq!(finished.err(), Some(QueueError::Unavailable));
}

#[tokio::test]
async fn a_server_that_restarted_is_not_believed() {
    let mut server = RedisServer::start_with(&[("appendonly", "yes"), ("appendfsync", "always")]);
    let queue = queue(&server.url(), None);
    registered(&queue).await;
    server.restart();
    // The connection is made anew first.
    let answered = async {
        loop {
            match queue.find(&room(), &user(1)).await {
                Err(QueueError::Unavailable) => tokio::task::yield_now().await,
                answer => return answer,
            }
        }
    };
    let patience = Duration::from_secs(15);
    let answer = tokio::time::timeout(patience, answered).await.unwrap();
    assert_eq!(
        answer,
        Err(QueueError::Recover),
        "nothing was lost, but who knows"
    );
    assert_eq!(server.cli(&["EXISTS", "usher:{draw}"]), "1");
}
