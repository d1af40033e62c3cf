//! Many threads at once, and what a position costs.

use std::sync::atomic::AtomicBool;
use std::thread;

use super::*;
use crate::domain::place::EndReason;

#[test]
fn streams_open_and_close_while_deltas_apply() {
    const PLACES: u64 = 2_000;
    let mut world = World::new(Line::open(PLACES));
    let deltas: Vec<_> = (1..=PLACES / 2)
        .map(|number| world.line.leave(&[number]))
        .collect();
    let done = AtomicBool::new(false);
    let (world, done) = (&world, &done);
    let opened = thread::scope(|scope| {
        let watchers: Vec<_> = (0..4u64)
            .map(|offset| {
                scope.spawn(move || {
                    let mut opened = 0u64;
                    while !done.load(Ordering::Acquire) || opened < 1_000 {
                        let number = 1 + (opened * 37 + offset) % PLACES;
                        let mut stream = world.open(number);
                        let names = said(&mut stream);
                        assert_eq!(names[0], "snapshot");
                        opened += 1;
                    }
                    opened
                })
            })
            .collect();
        for (tick, delta) in (1u64..).zip(&deltas) {
            world.apply(delta);
            world.hub.advance(UnixMs(START_MS + tick));
            world.hub.take_reports(100);
        }
        done.store(true, Ordering::Release);
        watchers
            .into_iter()
            .map(|watcher| watcher.join().unwrap())
            .sum::<u64>()
    });
    assert!(opened >= 4_000);
    assert_eq!(world.hub.counts().streams, 0);
    while !world.hub.take_reports(1_000).is_empty() {}
    let mut last = world.open(1);
    assert_eq!(snapshot(&mut last).place.end, Some(EndReason::Left));
}

#[test]
fn what_a_position_costs_is_printed() {
    const STREAMS: u64 = 20_000;
    let mut world = World::new(Line::open(STREAMS));
    let mut streams: Vec<_> = (1..=STREAMS).map(|number| world.watch(number)).collect();
    world.leave(&[1]);
    world.pass(25_000);
    let started = tokio::time::Instant::now();
    let mut positions = 0;
    for stream in &mut streams {
        positions += u64::from(matches!(next(stream).body, Body::Position { .. }));
    }
    let spent_ns = started.elapsed().as_nanos() as u64;
    assert_eq!(positions, STREAMS - 1);
    println!("{} ns per rendered position", spent_ns / positions);
}
