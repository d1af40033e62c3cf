//! A standby: a copy of the database that follows it, with connections of its own.
//!
//! Each read first asks the standby, on the snapshot that it then reads from, for
//! this node's [`beats`](super::beats): whatever server answers, however it was
//! reached, proves how new that very snapshot is. The primary's clock of that
//! beat is the time by which the read judges, and what it is marked with; the
//! standby's own clock is never asked.
//!
//! Whatever goes wrong (away, slow, busy, behind, cancelled by its replay) the
//! read is answered by the primary, and so is what is not there. A standby that
//! does not answer is tried by the beat alone: no caller waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::super::health::Health;
use super::super::opening::{Home, Queues};
use super::super::pools::{Pool, Waits};
use super::super::server::Purpose;
use super::super::unit::{Pending, Turn, Unit};
use super::super::workers::{Group, Worker};
use super::super::{DatabaseClock, SqlError, SqlSettings, Work, marks};
use super::beats::{Beat, Beats, TooOld};
use crate::clock::ManualClock;
use crate::domain::time::UnixMs;
use crate::metrics::RecentTimes;
use crate::store::sales::SalesError;
use crate::store::showing::AsOf;

/// Nobody waits longer for a standby before the primary is asked.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// Beats within the bound of lag.
const BEATS_PER_LAG: u64 = 4;
const BEAT_LEAST_MS: u64 = 50;
const BEAT_MOST_MS: u64 = 500;

/// Rows of all nodes' beats.
const MARKS: &str = "standby:";
/// Those of nodes that ended are forgotten.
const MARK_KEPT_MS: u64 = 3_600_000;

/// How a standby does.
#[derive(Debug, Clone, Copy)]
pub struct StandbyFigures {
    /// How far it is behind at most.
    pub lag: Duration,
    /// Reads since the start by who answered: the standby, or why not.
    pub reads: [(&'static str, u64); 5],
}

/// Who answered a read.
#[derive(Clone, Copy)]
enum Outcome {
    Standby,
    Behind,
    Changed,
    Away,
    Absent,
}

impl Outcome {
    const NAMES: [&'static str; 5] = ["standby", "behind", "changed", "away", "absent"];

    fn of(refusal: SalesError) -> Self {
        match refusal {
            SalesError::NotFound => Self::Absent,
            _ => Self::Away,
        }
    }
}

impl From<TooOld> for Outcome {
    fn from(why: TooOld) -> Self {
        match why {
            TooOld::Behind => Self::Behind,
            TooOld::Changed => Self::Changed,
        }
    }
}

impl From<SqlError> for Outcome {
    fn from(_: SqlError) -> Self {
        Self::Away
    }
}

pub struct Standby {
    queue: mpsc::Sender<Box<dyn Unit>>,
    health: Arc<Health>,
    waits: Arc<RecentTimes>,
    beats: Arc<Beats>,
    mark: String,
    outcomes: [AtomicU64; 5],
}

/// A connection of the beat's own to the database that the standby follows: a
/// standby shall not look old because others are busy.
struct Primary {
    queue: mpsc::Sender<Box<dyn Unit>>,
    health: Arc<Health>,
}

impl Standby {
    /// Nothing is connected to yet: a standby that is away holds up no start.
    pub fn start(
        home: Home<'_>,
        settings: &SqlSettings,
        clock: &DatabaseClock,
        queues: &Queues,
        waits: &Waits,
    ) -> Option<Arc<Self>> {
        let replica = settings.replica.as_ref()?;
        let lag_max_ms = replica.lag_max_ms;
        let health = Arc::new(Health::of("standby"));
        let readers = Crew {
            purpose: Purpose::Read,
            settings: SqlSettings {
                url: replica.url.clone(),
                unit_timeout_ms: millis(PATIENCE),
                ..settings.clone()
            },
            // Each unit judges as of its beat, or by no time at all.
            clock: DatabaseClock::Given(Arc::new(ManualClock::new(UnixMs(0)))),
            health: Arc::clone(&health),
            connections: replica.connections,
            waiting_max: settings.read_waiting_max,
        };
        let standby = Arc::new(Self {
            queue: readers.start(home),
            health,
            waits: Arc::clone(waits.of(Pool::Standby)),
            beats: Arc::new(Beats::new(Duration::from_millis(lag_max_ms))),
            mark: format!("{MARKS}{:016x}", replica.node),
            outcomes: Default::default(),
        });
        let health = queues.health.clone()?;
        let beater = Crew {
            purpose: Purpose::Write,
            settings: settings.clone(),
            clock: clock.clone(),
            health: Arc::clone(&health),
            connections: 1,
            waiting_max: 1,
        };
        let primary = Primary {
            queue: beater.start(home),
            health,
        };
        let period_ms = (lag_max_ms / BEATS_PER_LAG).clamp(BEAT_LEAST_MS, BEAT_MOST_MS);
        let beating = Arc::clone(&standby).keep_beating(
            primary,
            Duration::from_millis(period_ms),
            home.stop.clone(),
        );
        home.tasks.spawn_on(beating, home.runtime.handle());
        Some(standby)
    }

    /// What was committed until now is in whatever is read from now on.
    pub(super) fn changed(&self) {
        self.beats.changed();
    }

    pub(super) fn figures(&self) -> StandbyFigures {
        let mut reads = Outcome::NAMES.map(|name| (name, 0));
        for ((_, count), counted) in reads.iter_mut().zip(&self.outcomes) {
            *count = counted.load(Ordering::Relaxed);
        }
        StandbyFigures {
            lag: self.beats.lag(),
            reads,
        }
    }

    /// `None`: the primary must be asked.
    pub(super) async fn read<I, T, W>(&self, input: I, work: W) -> Option<AsOf<T>>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        W: Work<I, T, SalesError> + Copy,
    {
        let read = self.try_read(input, work).await;
        let outcome = match &read {
            Ok(_) => Outcome::Standby,
            Err(why) => *why,
        };
        self.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
        read.ok()
    }

    async fn try_read<I, T, W>(&self, input: I, work: W) -> Result<AsOf<T>, Outcome>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
        W: Work<I, T, SalesError> + Copy,
    {
        // In vain, as far as is known: who asks shall not wait for that.
        self.beats.expect()?;
        if self.health.is_open() {
            return Err(Outcome::Away);
        }
        let input = (self.mark.clone(), Arc::clone(&self.beats), input);
        let reading = ask(
            &self.queue,
            &self.waits,
            input,
            move |tx, (mark, beats, input)| {
                async move {
                    let shown = marks::read(tx, mark).await.map_err(SqlError::from)?;
                    let beat = beats.judge(shown)?;
                    tx.judge_as_of(beat.as_of);
                    let value = work.run(tx, input).await.map_err(Outcome::of)?;
                    Ok::<_, Outcome>(AsOf {
                        value,
                        as_of: beat.as_of,
                        behind_ms: millis(beat.sent.elapsed()),
                    })
                }
                .boxed()
            },
        );
        reading.await
    }

    async fn keep_beating(
        self: Arc<Self>,
        primary: Primary,
        period: Duration,
        stop: CancellationToken,
    ) {
        let mut times = interval(period);
        times.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let beating = async {
            let mut was_behind = false;
            loop {
                times.tick().await;
                // Before there is a schema, and while one of both is away.
                if let Err(error) = self.beat(&primary).await {
                    tracing::debug!(error = %error, "no beat");
                }
                if let Err(error) = self.look().await {
                    tracing::debug!(error = %error, "the standby shows nothing");
                }
                let is_behind = self.beats.are_behind();
                if is_behind != was_behind {
                    self.tell(is_behind);
                }
                was_behind = is_behind;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = beating => {}
        }
    }

    fn tell(&self, is_behind: bool) {
        let lag_ms = self.beats.lag().as_millis();
        match is_behind {
            false => tracing::info!(lag_ms, "the standby is new enough again"),
            true => tracing::warn!(
                lag_ms,
                "the standby is too far behind: what is shown is read from the database"
            ),
        }
    }

    async fn beat(&self, primary: &Primary) -> Result<(), SqlError> {
        primary.health.admit()?;
        let sent = Instant::now();
        let last = self.beats.last();
        let input = (self.mark.clone(), last);
        let beaten = ask(&primary.queue, &self.waits, input, |tx, (mark, last)| {
            async move {
                let as_of = tx.now();
                if *last == 0 {
                    let below = as_of.0.saturating_sub(MARK_KEPT_MS);
                    marks::forget(tx, MARKS, below).await?;
                }
                let value = marks::raise(tx, mark, as_of.0.max(*last)).await?;
                Ok::<_, SqlError>((value, as_of))
            }
            .boxed()
        });
        let (value, as_of) = beaten.await?;
        self.beats.note(Beat { value, sent, as_of });
        Ok(())
    }

    /// At the standby, whether or not anybody reads it.
    async fn look(&self) -> Result<(), SqlError> {
        let mark = self.mark.clone();
        let looking = ask(&self.queue, &self.waits, mark, |tx, mark| {
            async move { Ok::<_, SqlError>(marks::read(tx, mark).await?) }.boxed()
        });
        // Whether it may be read is asked when someone reads.
        let _ = self.beats.judge(looking.await?);
        Ok(())
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Workers of one kind, and the way to them.
struct Crew {
    purpose: Purpose,
    settings: SqlSettings,
    clock: DatabaseClock,
    health: Arc<Health>,
    connections: u32,
    waiting_max: usize,
}

impl Crew {
    fn start(self, home: Home<'_>) -> mpsc::Sender<Box<dyn Unit>> {
        let (sender, queue) = mpsc::channel(self.waiting_max);
        let group = Arc::new(Group {
            queue: Mutex::new(queue),
            purpose: self.purpose,
            unit_timeout: Duration::from_millis(self.settings.unit_timeout_ms),
            settings: self.settings,
            clock: self.clock,
            health: self.health,
            stop: home.stop.clone(),
        });
        for number in 0..self.connections {
            let worker = Worker::new(Arc::clone(&group), number, None);
            home.tasks.spawn_on(worker.run(), home.runtime.handle());
        }
        sender
    }
}

/// Has a unit run, and waits for its answer for so long.
async fn ask<I, T, E, W>(
    queue: &mpsc::Sender<Box<dyn Unit>>,
    waits: &Arc<RecentTimes>,
    input: I,
    work: W,
) -> Result<T, E>
where
    I: Send + Sync + 'static,
    T: Send + 'static,
    E: From<SqlError> + Send + 'static,
    W: Work<I, T, E>,
{
    let (reply, answer) = oneshot::channel();
    let turn = Turn::new(waits);
    let unit = Pending::new(input, work, turn.clone(), reply);
    queue.try_send(Box::new(unit)).map_err(|_| {
        turn.refuse(PATIENCE);
        SqlError::Overloaded
    })?;
    match timeout(PATIENCE, answer).await {
        Ok(Ok(answered)) => answered,
        Ok(Err(_)) => Err(SqlError::Stopped.into()),
        Err(_) => {
            turn.give_up();
            Err(SqlError::Unavailable("it took too long".to_owned()).into())
        }
    }
}
