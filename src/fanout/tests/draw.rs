//! A DRAW opens under open streams: the follower, the store and the hub
//! together.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::watch;

use super::*;
use crate::bus::local::LocalBus;
use crate::domain::delta::DrawOrder;
use crate::domain::draw::Permutation;
use crate::domain::ids::{Incarnation, RoomRef};
use crate::domain::place::{RoomState, RoomSwitches};
use crate::domain::policy::RoomPolicy;
use crate::fanout::event::{RoomReason, ShownState};
use crate::store::memory::MemoryQueue;
use crate::store::queue::{LaneInit, LaneOpening, Presence, QueueStore as _, RoomInit, Take};
use crate::view::follower::Follower;
use crate::view::{Changes, PlaceState, ViewCell, ViewListener};

const N: u64 = 50;

/// Passes on to the hub, and wakes the test.
struct Heard {
    hub: Arc<Hub>,
    changes: watch::Sender<()>,
}

impl ViewListener for Heard {
    fn changed(&self, room: &Arc<ViewCell>, changes: &Changes) {
        self.hub.changed(room, changes);
        self.changes.send_replace(());
    }

    fn must_recover(&self, room: &RoomRef) {
        self.hub.must_recover(room);
    }
}

fn scheduled() -> RoomInit {
    RoomInit {
        version: 1,
        policy: Arc::new(RoomPolicy {
            capacity: 0,
            ..RoomPolicy::default()
        }),
        switches: RoomSwitches::default(),
        lanes: vec![LaneInit {
            reserved_to: 1_000,
            ..LaneInit::default()
        }],
        live: Vec::new(),
        ended: Vec::new(),
        rebuild_pause_ms: 0,
    }
}

fn user(number: u64) -> UserId {
    UserId::parse(&format!("user-{number}")).unwrap()
}

#[tokio::test]
async fn scheduled_streams_hear_that_the_room_is_open_and_then_their_position() {
    let mut world = World::new(Line::scheduled(0, UnixMs(START_MS + 60_000)));
    let bus = Arc::new(LocalBus::new(64));
    let clock = Arc::new(ManualClock::new(UnixMs(START_MS)));
    let store = Arc::new(MemoryQueue::new(clock.clone(), bus.clone()));
    let heard = Arc::new(Heard {
        hub: world.hub.clone(),
        changes: watch::Sender::new(()),
    });
    let room = RoomRef {
        id: RoomId::parse("draw").unwrap(),
        epoch: 1,
    };
    store.init(&room, scheduled()).await.unwrap();
    for number in 1..=N {
        let take = Take {
            user: user(number),
            presented: None,
            issue_in: Some(0),
            presence: Presence::Stream(Incarnation(1)),
        };
        store.take(&room, take).await.unwrap();
    }
    let (follower, handle) = Follower::new(bus, store.clone(), world.views.clone(), heard.clone());
    let test = async {
        assert!(handle.follow(room.clone()).await);
        let mut streams: Vec<_> = (1..=N)
            .map(|number| StreamSpec {
                room: room.id.clone(),
                ..world.spec(number)
            })
            .map(|spec| world.hub.open(spec).unwrap())
            .collect();
        for stream in &mut streams {
            assert_eq!(snapshot(stream).place.state, PlaceState::Scheduled);
        }

        let mut changes = heard.changes.subscribe();
        let n = store.freeze(&room).await.unwrap()[0];
        let draw = DrawOrder { n, seed: [3; 32] };
        store
            .open(&room, vec![LaneOpening::Draw(draw)])
            .await
            .unwrap();
        let cell = world.views.cell(&room.id);
        let opens = async {
            while cell.read(|view| view.unwrap().state()) != RoomState::Open {
                changes.changed().await.unwrap();
            }
        };
        let opened = tokio::time::timeout(Duration::from_secs(10), opens).await;
        assert!(opened.is_ok(), "never shown open");

        let permutation = Permutation::new(&draw.seed, n);
        let mut told = BTreeSet::new();
        for stream in &mut streams {
            let Body::RoomChanged(news) = next(stream).body else {
                panic!("room_changed");
            };
            let told = (news.state, news.reason);
            assert_eq!(told, (ShownState::Open, RoomReason::Schedule));
        }
        // Nobody joins, nobody is activated, no further delta comes.
        world.pass(2_000);
        for (number, stream) in (1..).zip(&mut streams) {
            let Body::Position { position, .. } = next(stream).body else {
                panic!("a position");
            };
            assert_eq!(position, permutation.order(number));
            told.insert(position);
        }
        assert_eq!(told, (1..=n).collect());
    };
    tokio::select! {
        () = follower.run() => panic!("the follower stopped before the test"),
        () = test => {}
    }
}

#[test]
fn a_stream_opened_while_the_draw_is_mapped_gets_its_position_after_it() {
    let mut world = World::new(Line::scheduled(N, UnixMs(START_MS)));
    let mut early = world.watch(7);
    let draw = DrawOrder {
        n: N,
        seed: [5; 32],
    };
    let before = world.line.cursor;
    let opening = world.line.delta(|delta| {
        delta.lanes[0].draw = Some(draw);
        delta.facts.switches.opened = true;
    });
    world.apply(&opening);
    assert!(is_silent(&mut early), "nothing has changed for its user");
    let mut late = world.open(8);
    let event = next(&mut late);
    assert_eq!(event.cursor, before);
    let Body::Snapshot(shown) = event.body else {
        panic!("a snapshot");
    };
    assert_eq!(shown.room_state, ShownState::Scheduled);
    assert_eq!((shown.place.position, shown.place.cursor), (None, before));

    let cell = world.views.cell(&world.room);
    let remap = cell.read(|view| view.unwrap().prepare_draw()).unwrap();
    let ready = remap.run();
    let changes = cell.write(|view| view.as_mut().unwrap().install(ready));
    world.hub.changed(&cell, &changes.unwrap());
    for stream in [&mut early, &mut late] {
        assert_eq!(said(stream), ["room_changed"]);
    }
    world.pass(2_000);
    let permutation = Permutation::new(&draw.seed, N);
    for (number, stream) in [(7, &mut early), (8, &mut late)] {
        let event = next(stream);
        assert_eq!(event.cursor, world.line.cursor);
        let Body::Position { position, .. } = event.body else {
            panic!("a position");
        };
        assert_eq!(position, permutation.order(number));
    }
}

#[test]
fn a_turn_told_while_the_draw_is_mapped_is_as_of_its_delta() {
    let mut world = World::new(Line::scheduled(N, UnixMs(START_MS)));
    let mut stream = world.watch(7);
    let before = world.line.cursor;
    let opening = world.line.delta(|delta| {
        delta.lanes[0].draw = Some(DrawOrder {
            n: N,
            seed: [5; 32],
        });
        delta.facts.switches.opened = true;
    });
    world.apply(&opening);
    let turn = world.line.activate(7, 500);
    world.apply(&turn);
    let event = next(&mut stream);
    assert!(matches!(event.body, Body::Activated(_)));
    assert_eq!(event.cursor, turn.cursor, "a node without it is behind");
    let mut again = world.open(7);
    let event = next(&mut again);
    assert_eq!(event.cursor, turn.cursor);
    let Body::Snapshot(shown) = event.body else {
        panic!("a snapshot");
    };
    assert_eq!(shown.place.cursor, turn.cursor);
    assert_eq!(next(&mut world.open(8)).cursor, before, "who waits");
}
