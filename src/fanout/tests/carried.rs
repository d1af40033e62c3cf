//! Streams that a connection carries, asked only when it is called.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::*;
use crate::domain::delta::PlaceEnded;
use crate::domain::place::EndReason;
use crate::fanout::event::DrainReason;
use crate::view::fixture::ended;

/// Notes how it is called.
#[derive(Default)]
struct Connection {
    keys: Mutex<Vec<Vec<u32>>>,
    all: AtomicUsize,
}

impl Carrier for Connection {
    fn number(&self) -> u32 {
        7
    }

    fn call(&self, keys: &[u32]) {
        self.keys.lock().unwrap().push(keys.to_vec());
    }

    fn call_all(&self) {
        self.all.fetch_add(1, Ordering::Relaxed);
    }
}

/// A connection and its streams, by key.
struct Carried {
    connection: Arc<Connection>,
    streams: BTreeMap<u32, Subscription>,
}

impl Carried {
    fn open(world: &World, numbers: impl Iterator<Item = u64>) -> Self {
        let connection = Arc::new(Connection::default());
        let mut streams = BTreeMap::new();
        for number in numbers {
            let (mut stream, key) = (world.open(number), number as u32);
            stream.carry(connection.clone(), key);
            assert_eq!(said(&mut stream), ["snapshot"]);
            streams.insert(key, stream);
        }
        Self {
            connection,
            streams,
        }
    }

    /// The calls since the last look: their keys, and whether all were called.
    fn calls(&self) -> (Vec<Vec<u32>>, bool) {
        let keys = std::mem::take(&mut *self.connection.keys.lock().unwrap());
        (keys, self.connection.all.swap(0, Ordering::Relaxed) > 0)
    }

    /// What those who were called have to say.
    fn said(&mut self) -> Vec<(u32, &'static str)> {
        let (calls, are_all) = self.calls();
        let mut keys = calls.concat();
        if are_all {
            keys = self.streams.keys().copied().collect();
        }
        let streams = &mut self.streams;
        let said = keys.into_iter().flat_map(|key| {
            let said = streams.get_mut(&key).map(said).unwrap_or_default();
            said.into_iter().map(move |name| (key, name))
        });
        said.collect()
    }
}

#[test]
fn what_is_due_at_once_is_one_call() {
    let mut world = World::new(Line::open(100));
    let mut carried = Carried::open(&world, 1..=100);
    let (mut calls, mut messages) = (0, 0);
    for _ in 0..600 {
        world.pass(100);
        calls += usize::from(!carried.connection.keys.lock().unwrap().is_empty());
        assert!(carried.connection.keys.lock().unwrap().len() <= 1);
        messages += carried.said().len();
    }
    assert!(messages >= 200, "nobody is silent for 25 s: {messages}");
    assert!(
        calls * 4 < messages,
        "{calls} calls for {messages} messages"
    );
}

#[test]
fn nobody_is_called_twice_for_what_was_not_yet_asked() {
    let mut world = World::new(Line::open(10));
    let carried = Carried::open(&world, 1..=3);
    let turn = world.line.activate(2, 500);
    world.apply(&turn);
    world.leave(&[2]);
    assert_eq!(carried.calls(), (vec![vec![2]], false));
}

#[test]
fn a_change_of_the_room_calls_its_connection_and_each_stream_says_it_once() {
    let mut world = World::new(Line::open(10));
    let mut carried = Carried::open(&world, 1..=3);
    let mut alone = world.watch(4);
    let paused = world.line.delta(|delta| delta.facts.switches.paused = true);
    world.apply(&paused);
    let told: Vec<_> = (1..=3).map(|key| (key, "room_changed")).collect();
    assert_eq!(carried.said(), told);
    assert_eq!(said(&mut alone), ["room_changed"]);
    assert!(carried.streams.values_mut().all(is_silent));
    world.pass(100);
    assert_eq!(carried.calls(), (Vec::new(), false));
}

#[test]
fn other_waits_are_told_soon_and_together_and_other_words_alone_tell_no_waits() {
    let mut world = World::new(Line::open(5_000));
    let mut carried = Carried::open(&world, 4_001..=4_003);
    let all = |name| (4_001..=4_003).map(|key| (key, name)).collect::<Vec<_>>();
    let soon_ms = HubLimits::default().refresh_spread_ms;
    let words = world
        .line
        .delta(|delta| delta.facts.switches.message = "soon".to_owned());
    world.apply(&words);
    assert_eq!(carried.said(), all("room_changed"));
    world.pass(soon_ms);
    assert_eq!(carried.calls(), (Vec::new(), false));
    let paused = world.line.delta(|delta| delta.facts.switches.paused = true);
    world.apply(&paused);
    assert_eq!(carried.said(), all("room_changed"));
    world.pass(soon_ms);
    let calls = carried.connection.keys.lock().unwrap().len();
    assert_eq!(calls, 1, "all at one moment");
    let mut said = carried.said();
    said.sort_unstable();
    assert_eq!(said, all("position"));
}

#[test]
fn a_room_that_opens_with_other_words_tells_waits_soon() {
    let mut world = World::new(Line::open(5_000));
    let opens = |world: &mut World, is_open: bool, words: &str| {
        let delta = world.line.delta(|delta| {
            delta.facts.switches.opened = is_open;
            delta.facts.switches.message = words.to_owned();
        });
        world.apply(&delta);
    };
    opens(&mut world, false, "");
    let mut carried = Carried::open(&world, 4_001..=4_003);
    opens(&mut world, true, "it begins");
    assert_eq!(carried.said().len(), 3);
    world.pass(HubLimits::default().refresh_spread_ms);
    assert_eq!(carried.said().len(), 3);
}

#[test]
fn a_room_that_is_back_tells_waits_soon() {
    let mut world = World::new(Line::open(5_000));
    let mut carried = Carried::open(&world, 4_001..=4_003);
    world.hub.set_degraded(&world.room, true);
    assert_eq!(carried.said().len(), 3);
    world.pass(HubLimits::default().refresh_spread_ms);
    assert_eq!(
        carried.calls(),
        (Vec::new(), false),
        "nothing newer is known"
    );
    world.hub.set_degraded(&world.room, false);
    assert_eq!(carried.said().len(), 3);
    world.pass(HubLimits::default().refresh_spread_ms);
    assert_eq!(carried.said().len(), 3);
}

#[test]
fn a_room_is_told_by_connections_that_have_streams_of_it() {
    let mut world = World::new(Line::open(10));
    let mut carried = Carried::open(&world, 1..=2);
    let mut pause = |is_paused| {
        let delta = world
            .line
            .delta(|delta| delta.facts.switches.paused = is_paused);
        world.apply(&delta);
    };
    carried.streams.remove(&1);
    pause(true);
    assert_eq!(carried.calls(), (Vec::new(), true));
    carried.streams.clear();
    pause(false);
    assert_eq!(carried.calls(), (Vec::new(), false));
}

#[test]
fn a_merged_place_stays_with_its_connection() {
    let mut world = World::new(Line::open(10));
    let mut carried = Carried::open(&world, 8..=8);
    let merged = world.line.delta(|delta| {
        delta.lanes[0].departed.push(8);
        delta.ended.push(PlaceEnded {
            survivor: Some(place(4)),
            ..ended(8, EndReason::Merged)
        });
    });
    world.apply(&merged);
    assert_eq!(carried.said(), [(8, "snapshot")]);
    let turn = world.line.activate(4, 500);
    world.apply(&turn);
    assert_eq!(carried.said(), [(8, "activated")]);
}

#[test]
fn ends_and_drains_call_whom_they_concern() {
    let mut world = World::new(Line::open(10));
    let mut carried = Carried::open(&world, 1..=3);
    world.leave(&[2]);
    assert_eq!(carried.said(), [(2, "ended"), (2, "end")]);
    carried.streams.remove(&2);
    world.hub.drain_all(DrainReason::Shutdown, 1_000);
    let mut said = carried.said();
    said.sort_unstable();
    let drained = |key| [(key, "drain"), (key, "end")];
    assert_eq!(said, [drained(1), drained(3)].concat());
}
