//! One running node: its parts, and the loops that let time pass for them.
//!
//! ```text
//! every tick      engine.tick_rooms, hub.advance, what the hub reports
//! every 500 ms    lease, by which the database is probed
//! every 500 ms    holds that ran out, payments that are not decided
//! every second    departed numbers to SQL, rooms that may be sold out,
//!                 the outbox's backlog for the metrics
//! after commits   the outbox, and every 200 ms
//! every 10 s      events that were published long ago
//! every 30 s      rooms that closed long ago
//! every 60 s      whether each room is sold out
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bus::EventBus;
use crate::clock::Clock;
use crate::config::{Config, WalletConfig};
use crate::domain::ids::{Incarnation, PlaceKey, RoomId, UserId};
use crate::domain::place::{EndReason, Standing};
use crate::engine::cadence::Cadence;
use crate::engine::error::EngineError;
use crate::engine::lease::{LEASE_RENEW_MS, Lease, SHARED_HOLDER};
use crate::engine::relay::ONLY_RELAY;
use crate::engine::sale::{SWEEP_INTERVAL_MS, SaleEngine, SaleParts, SaleSettings};
use crate::engine::sold_out::{SOLD_OUT_CHECK_MS, SOLD_OUT_RETRY_MS};
use crate::engine::ticker::{Engine, EngineParts, EngineSettings};
use crate::entropy::Entropy;
use crate::fanout::{Hub, HubLimits, Report};
use crate::redis_link::RedisClient;
use crate::seed;
use crate::store::rooms::RoomsError;
use crate::store::sql::SqlStore;
use crate::view::Views;
use crate::view::follower::Follower;

use super::StartError;
use super::line::{self, Line};
use super::payments;
use super::presence::Unsaid;
use super::stores::Stores;
use super::tasks::Tasks;

/// What the hub reports is taken in portions.
const REPORTS_MAX: usize = 4_096;
/// How long the stores may take to finish after a start that failed.
const FAILED_START_STOP: Duration = Duration::from_secs(1);
/// How often someone who cannot stream should ask.
pub const POLL_AFTER_MS: u64 = 5_000;

/// A node that runs until [`Node::stop`].
pub struct Node {
    pub engine: Arc<Engine>,
    pub sale: SaleEngine,
    pub hub: Arc<Hub>,
    pub views: Arc<Views>,
    pub bus: Arc<dyn EventBus>,
    pub(super) store: Arc<SqlStore>,
    pub(super) clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    lease: Arc<Lease>,
    tasks: Tasks,
    pub(super) steps: TaskTracker,
    pub(super) stop: CancellationToken,
    /// Cancelled when the node may not serve any more.
    lost_lease: CancellationToken,
    /// Other nodes serve the same rooms.
    is_shared: bool,
    /// Where the lines are, if not in this process.
    pub(super) redis: Option<RedisClient>,
}

impl Node {
    /// Takes the rooms' lease, rebuilds every room, starts the loops.
    ///
    /// # Errors
    /// [`StartError`] when another process serves this database, or a store
    /// cannot be used.
    pub async fn start(config: &Config, stores: &Stores) -> Result<Self, StartError> {
        let incarnation = random_id(stores.entropy.as_ref());
        let is_shared = config.redis_url.is_some();
        let holder = if is_shared {
            SHARED_HOLDER
        } else {
            incarnation
        };
        let lease = take_lease(&stores.sql, holder, config.queue.lease_ms).await?;
        let clock = &stores.clock;
        let (tasks, steps) = (Tasks::new(), TaskTracker::new());
        let Line { queue, bus, redis } =
            line::make(config, stores, incarnation, &tasks, &steps).await?;
        let bus = stores.catalog.overhear(bus);
        let views = Arc::new(Views::default());
        let hub = Hub::new(
            hub_limits(config),
            Arc::clone(&views),
            Arc::clone(&stores.keys) as _,
            Arc::clone(clock),
            incarnation,
        );
        let (follower, follow) = Follower::new(
            Arc::clone(&bus),
            Arc::clone(&queue),
            Arc::clone(&views),
            Arc::clone(&hub) as _,
        );
        tasks.spawn_named("follower", follower.run());
        let engine = Engine::new(EngineParts {
            queue,
            registry: Arc::clone(&stores.sql) as _,
            bus: Arc::clone(&bus),
            readers: Arc::new(follow),
            open_streams: Arc::clone(&hub) as _,
            clock: Arc::clone(clock),
            entropy: Arc::clone(&stores.entropy),
            failpoints: Arc::clone(&stores.failpoints),
            tasks: steps.clone(),
            settings: EngineSettings {
                incarnation: Incarnation(incarnation),
                rebuild_pause_ms: config.queue.rebuild_pause_ms,
                poll_after_ms: POLL_AFTER_MS,
                is_shared,
                cadence: match is_shared {
                    true => Cadence::shared(config.queue.tick_ms),
                    false => Cadence::ALONE,
                },
            },
        });
        let sale = SaleEngine::new(SaleParts {
            store: Arc::clone(&stores.sql) as _,
            slots: Arc::clone(&engine) as _,
            rooms: Arc::clone(&engine) as _,
            bus: Arc::clone(&bus),
            entropy: Arc::clone(&stores.entropy),
            failpoints: Arc::clone(&stores.failpoints),
            tasks: steps.clone(),
            metrics: stores.metrics.clone(),
            gateway: payments::gateway(config, stores)?,
            settings: sale_settings(&config.wallet),
        });
        let node = Self {
            engine,
            sale,
            hub,
            views,
            bus,
            store: Arc::clone(&stores.sql),
            clock: Arc::clone(clock),
            entropy: Arc::clone(&stores.entropy),
            lease: Arc::new(lease),
            tasks,
            steps,
            stop: CancellationToken::new(),
            lost_lease: CancellationToken::new(),
            is_shared,
            redis,
        };
        match node.begin(config, stores).await {
            Ok(()) => Ok(node),
            Err(error) => {
                node.stop(FAILED_START_STOP).await;
                Err(error)
            }
        }
    }

    async fn begin(&self, config: &Config, stores: &Stores) -> Result<(), StartError> {
        // At once: what follows may take longer than a lease.
        self.start_lease();
        self.steer_first(&config.steering);
        if config.demo_catalog {
            self.seed_demo().await?;
        }
        if self.is_shared {
            // Before the rooms are read: what is said meanwhile is heard.
            self.start_hearing_rooms().await?;
        }
        self.engine.start().await.map_err(unusable)?;
        // A crash may have come between a sale and telling the line.
        for room in self.engine.rooms().all() {
            match self.engine.refresh_sold_out(&room.id).await {
                // Asked again until the line has heard.
                Err(EngineError::Degraded | EngineError::Rebuilding) if self.is_shared => {}
                checked => checked.map_err(unusable)?,
            }
        }
        self.start_loops(config);
        self.start_events(config, stores).await
    }

    /// Ends when another process took the rooms over: stop serving.
    pub async fn lost_lease(&self) {
        self.lost_lease.cancelled().await;
    }

    /// Something to try on an empty database.
    async fn seed_demo(&self) -> Result<(), StartError> {
        let catalog = seed::demo_catalog(self.clock.now(), self.sale.settings().default_currency)
            .map_err(unusable)?;
        let made = seed::seed_first(self.sale.store(), self.entropy.as_ref(), catalog).await;
        if made.map_err(unusable)? {
            tracing::info!("demo catalog made");
        }
        Ok(())
    }

    fn start_loops(&self, config: &Config) {
        let tick = Duration::from_millis(config.queue.tick_ms);
        self.start_ticks(tick);
        self.start_reports(tick);
        self.start_showing_outages();
        self.start_seconds();
        self.start_sweep();
        self.start_resolver();
        self.start_sold_out_checks();
        self.start_retention(config);
        self.start_notices(&config.notifier);
    }

    fn start_ticks(&self, tick: Duration) {
        let (engine, hub) = (Arc::clone(&self.engine), Arc::clone(&self.hub));
        let clock = Arc::clone(&self.clock);
        self.every("tick", tick, move || {
            engine.tick_rooms();
            hub.advance(clock.now());
            std::future::ready(())
        });
    }

    fn start_reports(&self, tick: Duration) {
        let (engine, hub) = (Arc::clone(&self.engine), Arc::clone(&self.hub));
        let unsaid = Arc::new(Unsaid::default());
        self.every("reports", tick, move || {
            let (engine, hub) = (Arc::clone(&engine), Arc::clone(&hub));
            let unsaid = Arc::clone(&unsaid);
            async move { answer_reports(&engine, &hub, &unsaid).await }
        });
    }

    fn start_lease(&self) {
        let (lease, lost) = (Arc::clone(&self.lease), self.lost_lease.clone());
        let engine = Arc::clone(&self.engine);
        self.every("lease", Duration::from_millis(LEASE_RENEW_MS), move || {
            let (lease, lost) = (Arc::clone(&lease), lost.clone());
            let engine = Arc::clone(&engine);
            async move {
                engine.probe(&lease).await;
                if engine.is_retired() {
                    lost.cancel();
                }
            }
        });
    }

    fn start_seconds(&self) {
        let engine = Arc::clone(&self.engine);
        self.every("save departed", Duration::from_secs(1), move || {
            let engine = Arc::clone(&engine);
            async move { engine.save_departed().await }
        });
    }

    fn start_sweep(&self) {
        let sale = self.sale.clone();
        let period = Duration::from_millis(SWEEP_INTERVAL_MS);
        self.every("sweep", period, move || {
            let sale = sale.clone();
            async move {
                if let Err(error) = sale.sweep().await {
                    tracing::warn!(error = %error, "expired holds not swept");
                }
            }
        });
    }

    fn start_sold_out_checks(&self) {
        let engine = Arc::clone(&self.engine);
        let period = Duration::from_millis(SOLD_OUT_RETRY_MS);
        self.every("sold out again", period, move || {
            let engine = Arc::clone(&engine);
            async move { engine.repeat_sold_out_checks().await }
        });
        let engine = Arc::clone(&self.engine);
        let period = Duration::from_millis(SOLD_OUT_CHECK_MS);
        self.every("sold out", period, move || {
            let engine = Arc::clone(&engine);
            async move { engine.check_all_sold_out().await }
        });
    }

    pub(super) fn relay_id(&self) -> u64 {
        match self.is_shared {
            true => random_id(self.entropy.as_ref()),
            false => ONLY_RELAY,
        }
    }

    /// Runs a task until it ends or the node stops.
    pub(super) fn spawn(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let stop = self.stop.clone();
        self.tasks.spawn_named(name, async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Runs `step` each `period`, one at a time, until the node stops.
    pub(super) fn every<F: Future<Output = ()> + Send>(
        &self,
        name: &'static str,
        period: Duration,
        mut step: impl FnMut() -> F + Send + 'static,
    ) {
        let stop = self.stop.clone();
        self.tasks.spawn_named(name, async move {
            let mut interval = tokio::time::interval(period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = interval.tick() => step().await,
                }
            }
        });
    }

    /// Ends the loops, then says the last words to SQL: all of it `within`.
    pub async fn stop(self, within: Duration) {
        let ends_at = Instant::now() + within;
        self.stop.cancel();
        self.steps.close();
        let last_words = async {
            self.steps.wait().await;
            self.engine.stop().await;
            // Other nodes hold it too.
            if !self.is_shared
                && let Err(error) = self.lease.release().await
            {
                tracing::warn!(error = %error, "lease not released");
            }
        };
        if timeout_at(ends_at, last_words).await.is_err() {
            tracing::warn!("stores did not answer in time; the next start recovers");
        }
        let left = ends_at.saturating_duration_since(Instant::now());
        // Theirs is what the rooms leave; the database needs some too.
        self.sale.finish_charges(Instant::now() + left / 2).await;
        let left = ends_at.saturating_duration_since(Instant::now());
        if !self.store.shutdown(left).await {
            tracing::warn!("the database did not finish in time");
        }
    }
}

fn sale_settings(wallet: &WalletConfig) -> SaleSettings {
    SaleSettings {
        default_currency: wallet.default_currency(),
        currencies: wallet.currencies.clone(),
        top_up_minor_max: wallet.top_up_minor_max,
        balance_minor_max: wallet.balance_minor_max,
    }
}

fn unusable(error: impl std::fmt::Display) -> StartError {
    StartError::Store {
        why: error.to_string(),
    }
}

/// A name for one life; SQL keeps it as a signed number.
pub(super) fn random_id(entropy: &dyn Entropy) -> u64 {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes);
    u64::from_le_bytes(bytes) >> 1
}

async fn take_lease(store: &Arc<SqlStore>, holder: u64, ttl_ms: u64) -> Result<Lease, StartError> {
    let registry = Arc::clone(store) as _;
    Lease::acquire(registry, holder, ttl_ms)
        .await
        .map_err(|error| match error {
            RoomsError::LeaseHeld => StartError::Setting {
                key: "redis_url",
                why: "another process serves this database; several nodes need a shared queue"
                    .to_owned(),
            },
            error => unusable(error),
        })
}

fn hub_limits(config: &Config) -> HubLimits {
    let stream = &config.stream;
    HubLimits {
        tick_ms: config.queue.tick_ms,
        heartbeat_interval_ms: stream.heartbeat_interval_ms,
        write_stall_ms: stream.write_stall_ms,
        streams_max: stream.streams_max,
        streams_per_place: stream.streams_per_place,
        stream_age_max_ms: match stream.age_max_ms {
            0 => u64::MAX,
            age_ms => age_ms,
        },
        reconnect_spread_ms: stream.reconnect_spread_ms,
        ..HubLimits::default()
    }
}

/// Tells the engine of first and last streams, and the hub of forgotten ends.
async fn answer_reports(engine: &Arc<Engine>, hub: &Arc<Hub>, unsaid: &Unsaid) {
    let mut present: HashMap<RoomId, Vec<(PlaceKey, UserId)>> = HashMap::new();
    let mut absent: HashMap<RoomId, Vec<(PlaceKey, UserId)>> = HashMap::new();
    for report in hub.take_reports(REPORTS_MAX) {
        match report {
            Report::Present { room, place, user } => {
                present.entry(room).or_default().push((place, user));
            }
            Report::Absent { room, place, user } => {
                absent.entry(room).or_default().push((place, user));
            }
            Report::EndUnknown { room, place, user } => {
                if !tell_end(engine, hub, &room, place, &user).await {
                    hub.end_still_unknown(&room, place);
                }
            }
            Report::MustRecover(room) => {
                if let Ok(handle) = engine.rooms().get(&room.id)
                    && let Err(error) = engine.recover(&handle, room.epoch).await
                {
                    tracing::warn!(room.id = %room.id, error = %error, "room not rebuilt yet");
                }
            }
        }
    }
    unsaid.say(engine, hub, present, absent).await;
}

/// Whether it needs not be asked again.
async fn tell_end(
    engine: &Arc<Engine>,
    hub: &Arc<Hub>,
    room: &RoomId,
    place: PlaceKey,
    user: &UserId,
) -> bool {
    let is_away = engine.rooms().get(room).is_ok_and(|room| room.is_away());
    if engine.is_degraded() || is_away {
        return false;
    }
    match engine.place(room, user, place).await {
        Ok(taken) if taken.place.key != place => {
            let reason = EndReason::Merged;
            hub.tell_end(room, place, reason, Some(taken.place.key));
            true
        }
        Ok(taken) => {
            if let Standing::Ended(reason) = taken.place.standing {
                hub.tell_end(room, place, reason, None);
            }
            true
        }
        Err(error) => {
            tracing::debug!(room.id = %room, error = %error, "end of a place not known yet");
            false
        }
    }
}
