//! What "the same" means: lists whose order says nothing are sorted.

use std::fmt::Debug;

use crate::domain::delta::{RoomDelta, RoomSnapshot};
use crate::store::queue::{QueueStore as _, Tick};

use super::Pair;

pub(super) fn same<T: PartialEq + Debug>(what: &str, model: &T, redis: &T) -> Result<(), String> {
    match model == redis {
        true => Ok(()),
        false => Err(format!("{what}:\n model {model:?}\n redis {redis:?}")),
    }
}

pub(super) fn sorted_tick(mut tick: Tick) -> Tick {
    tick.granted.sort_by_key(|granted| granted.place);
    tick
}

fn sorted_delta(delta: &RoomDelta) -> RoomDelta {
    let mut delta = delta.clone();
    for lane in &mut delta.lanes {
        lane.departed.sort_unstable();
    }
    delta.absent.sort_unstable();
    delta.activated.sort_by_key(|(place, _)| *place);
    delta.claimed.sort_by_key(|(place, _)| *place);
    delta.ended.sort_by_key(|ended| ended.place);
    delta
}

/// A drawn lane's head is a bound; the model's is the best one.
fn take_heads(model: &mut RoomDelta, redis: &mut RoomDelta) -> Result<(), String> {
    for (model, redis) in model.lanes.iter_mut().zip(&mut redis.lanes) {
        if model.draw.is_some() {
            if redis.head > model.head || redis.head == 0 {
                return Err(format!("head {} of {}", redis.head, model.head));
            }
            redis.head = model.head;
        }
    }
    Ok(())
}

type Plain = (Vec<(u64, u64, Vec<u64>)>, Vec<String>, String);

fn plain(snapshot: &RoomSnapshot) -> Plain {
    let lanes = snapshot.lanes.iter().map(|lane| {
        let departed = (1..=lane.tail).filter(|number| lane.departed_numbers.contains(*number));
        let head = if lane.draw.is_some() { 0 } else { lane.head };
        (head, lane.tail, departed.collect())
    });
    let mut live: Vec<String> = snapshot
        .live
        .iter()
        .map(|live| format!("{live:?}"))
        .collect();
    live.sort();
    let rest = format!(
        "{:?} {:?} {:?} {:?}",
        snapshot.cursor,
        snapshot.policy,
        snapshot.facts,
        snapshot
            .lanes
            .iter()
            .map(|lane| (lane.draw, lane.departed_numbers.count()))
            .collect::<Vec<_>>()
    );
    (lanes.collect(), live, rest)
}

impl Pair {
    /// What each told since the last look.
    pub(super) async fn told(&self) -> String {
        let (room, since) = (&self.room, self.compared);
        let model = self.memory.deltas_since(room, since).await;
        let redis = self.redis.deltas_since(room, since).await;
        format!("model told {model:#?}\nredis told {redis:#?}")
    }

    /// Counts, and whatever was published since the last look.
    pub(super) async fn compare(&mut self) -> Result<(), String> {
        let (memory, redis, room) = (&self.memory, &self.redis, &self.room);
        let counts = memory.counts(room).await;
        same("counts", &counts, &redis.counts(room).await)?;
        let model = memory.deltas_since(room, self.compared).await.unwrap();
        let told = redis.deltas_since(room, self.compared).await.unwrap();
        let (Some(model), Some(told)) = (model, told) else {
            return Err("a log does not go back".to_owned());
        };
        same("deltas", &model.len(), &told.len())?;
        for (model, told) in model.iter().zip(&told) {
            let (mut model, mut told) = (sorted_delta(model), sorted_delta(told));
            take_heads(&mut model, &mut told)?;
            same("delta", &model, &told)?;
            self.compared = model.cursor;
        }
        Ok(())
    }

    pub(super) async fn compare_whole(&mut self) -> Result<(), String> {
        let (memory, redis, room) = (&self.memory, &self.redis, &self.room);
        let model = plain(&memory.snapshot(room).await.unwrap());
        let told = plain(&redis.snapshot(room).await.unwrap());
        same("snapshot", &model, &told)?;
        let (revision, mut model) = memory.departed_pages(room, self.pages_at).await.unwrap();
        let (told_revision, mut told) = redis.departed_pages(room, self.pages_at).await.unwrap();
        model.sort_by_key(|page| (page.lane, page.page));
        told.sort_by_key(|page| (page.lane, page.page));
        same("pages", &(revision, model), &(told_revision, told))?;
        if self.compared.revision.is_multiple_of(2) {
            self.pages_at = revision;
        }
        Ok(())
    }
}
