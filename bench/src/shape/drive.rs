//! Sends users on their journeys, closed loop or open, and counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::profile::Load;
use super::ramp::Ramp;
use super::user::{End, JOURNEY, LATE, World};
use crate::error::BenchError;

/// How journeys went so far.
#[derive(Debug, Default)]
struct Count {
    begun: AtomicU64,
    activated: AtomicU64,
    finished: AtomicU64,
    not_admitted: AtomicU64,
    refused: AtomicU64,
}

/// How all of them went.
#[derive(Debug, Default, Clone)]
pub struct Journeys {
    pub begun: u64,
    pub activated: u64,
    pub finished: u64,
    pub not_admitted: u64,
    pub refused: u64,
    /// Still under way when nobody waited any longer.
    pub interrupted: u64,
    /// Arrivals that found too many under way.
    pub dropped: u64,
    pub elapsed: Duration,
}

/// Bounds of a run.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// An arrival that finds so many under way is dropped.
    pub in_flight_max: usize,
    /// How long journeys under way at the end may still take.
    pub grace: Duration,
}

pub async fn drive(
    world: &Arc<World>,
    load: &Load,
    bounds: Bounds,
) -> Result<Journeys, BenchError> {
    let count = Arc::new(Count::default());
    let start = Instant::now();
    let mut under_way = JoinSet::new();
    let dropped = match load {
        Load::Users(ramp, journeys) => {
            let journeys = journeys.map_or(u64::MAX, u64::from);
            let ramp = Arc::new(ramp.clone());
            for seat in 0..users(&ramp) {
                let stay = Stay {
                    ramp: Arc::clone(&ramp),
                    start,
                    seat,
                    journeys,
                };
                under_way.spawn(stay.out(Arc::clone(world), Arc::clone(&count)));
            }
            0
        }
        Load::Arrivals(ramp) => {
            let arrive = Arrive {
                world,
                count: &count,
                start,
                in_flight_max: bounds.in_flight_max,
            };
            arrive.all(ramp, &mut under_way).await?
        }
    };
    let all = async {
        while let Some(done) = under_way.join_next().await {
            done.map_err(BenchError::failed)??;
        }
        Ok::<(), BenchError>(())
    };
    let end = start + load.ramp().length() + bounds.grace;
    if let Ok(ended) = timeout_at(end.max(Instant::now()), all).await {
        ended?;
    }
    // A run is as long as its load, also if the last user was early.
    let elapsed = match load {
        Load::Users(_, Some(_)) => start.elapsed(),
        _ => start.elapsed().max(load.ramp().length()),
    };
    // What is still under way ends with the set.
    Ok(count.taken(dropped, elapsed))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of users"
)]
pub fn users(ramp: &Ramp) -> usize {
    ramp.peak().ceil() as usize
}

impl Count {
    fn taken(&self, dropped: u64, elapsed: Duration) -> Journeys {
        let of = |count: &AtomicU64| count.load(Relaxed);
        let ended = of(&self.finished) + of(&self.not_admitted) + of(&self.refused);
        Journeys {
            begun: of(&self.begun),
            activated: of(&self.activated),
            finished: of(&self.finished),
            not_admitted: of(&self.not_admitted),
            refused: of(&self.refused),
            interrupted: of(&self.begun).saturating_sub(ended),
            dropped,
            elapsed,
        }
    }

    /// One journey of whoever sits there, timed from when it was due.
    async fn journey(&self, world: &World, seat: usize, due: Instant) -> Result<(), BenchError> {
        self.begun.fetch_add(1, Relaxed);
        let nth = world.next.fetch_add(1, Relaxed);
        let user = world.user(seat, nth)?;
        let activated = || {
            self.activated.fetch_add(1, Relaxed);
        };
        let end = match world.visit(&user, nth, activated).await {
            Ok(End::Finished) => &self.finished,
            Ok(End::NotAdmitted) => &self.not_admitted,
            Err(_) => &self.refused,
        };
        end.fetch_add(1, Relaxed);
        world.ground.tally.time(JOURNEY, due.elapsed());
        Ok(())
    }
}

/// One user of a closed loop.
struct Stay {
    ramp: Arc<Ramp>,
    start: Instant,
    seat: usize,
    journeys: u64,
}

impl Stay {
    /// Makes one journey after the other while the line is above the seat.
    async fn out(self, world: Arc<World>, count: Arc<Count>) -> Result<(), BenchError> {
        #[expect(clippy::cast_precision_loss, reason = "a number of users")]
        let level = self.seat as f64;
        for _ in 0..self.journeys {
            let now = self.start.elapsed();
            let Some(moment) = self.ramp.next_above(level, now) else {
                break;
            };
            if moment > now {
                sleep_until(self.start + moment).await;
            }
            count.journey(&world, self.seat, Instant::now()).await?;
        }
        Ok(())
    }
}

/// Users who come whatever the server does.
struct Arrive<'a> {
    world: &'a Arc<World>,
    count: &'a Arc<Count>,
    start: Instant,
    in_flight_max: usize,
}

impl Arrive<'_> {
    /// Answers how many found too many under way.
    async fn all(
        &self,
        ramp: &Ramp,
        under_way: &mut JoinSet<Result<(), BenchError>>,
    ) -> Result<u64, BenchError> {
        let mut dropped = 0;
        for (seat, moment) in ramp.arrivals().enumerate() {
            let due = self.start + moment;
            sleep_until(due).await;
            while let Some(done) = under_way.try_join_next() {
                done.map_err(BenchError::failed)??;
            }
            if under_way.len() >= self.in_flight_max {
                dropped += 1;
                continue;
            }
            let (world, count) = (Arc::clone(self.world), Arc::clone(self.count));
            under_way.spawn(async move {
                world.ground.tally.time(LATE, due.elapsed());
                count.journey(&world, seat, due).await
            });
        }
        Ok(dropped)
    }
}
