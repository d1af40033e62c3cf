//! Values that are read once for all who ask, and shown for a while.
//!
//! Those who ask for what is not there wait for one read. Each value lives its
//! own time, a tenth shorter at most, so that what was read together is not read
//! again together. In the last quarter of it one caller has the value read again
//! while all are shown the old one: what is asked for often is never waited for.
//!
//! What was old when it was read has lived that long already.
//!
//! A value is not shown to those who ask after a concert on it turned ([`Turns`])
//! that had not when its read began, whoever read it and for whom.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::future::Cache;
use moka::ops::compute::Op;
use tokio_util::task::TaskTracker;

use super::figures::Figures;
use super::turns::Turns;
use crate::clock::Clock;
use crate::domain::ids::ResourceId;
use crate::domain::time::UnixMs;
use crate::entropy::Entropy;
use crate::store::sales::SalesError;
use crate::store::showing::AsOf;

/// Reads by others that came too late, before one reads alone.
const READS_MAX: u32 = 3;
/// Part of a life by which lives differ.
const JITTER: f64 = 0.1;

/// How long values live.
#[derive(Clone)]
pub struct Lifetimes {
    /// At most; 0: values are not kept.
    pub ttl_ms: u64,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub turns: Arc<Turns>,
}

/// The concerts that a value shows.
pub type Shows<K, V> = for<'a> fn(&'a K, &'a V) -> Vec<&'a ResourceId>;

/// Values of one kind, by generation and key. What is used least goes first.
pub struct Kept<K, V> {
    values: Cache<(u64, K), Arc<Entry<V>>>,
    shows: Shows<K, V>,
    lifetimes: Lifetimes,
    figures: Figures,
    refreshes: TaskTracker,
}

struct Entry<V> {
    value: Arc<AsOf<V>>,
    read_at: UnixMs,
    life: Duration,
    is_refreshed: AtomicBool,
    /// No concert on it has turned up to this turn since it was read.
    valid_to: AtomicU64,
}

/// When a read began.
struct Began {
    at: UnixMs,
    turn: u64,
}

struct Lives;

impl<K, V> Expiry<K, Arc<Entry<V>>> for Lives {
    fn expire_after_create(&self, _: &K, entry: &Arc<Entry<V>>, _: Instant) -> Option<Duration> {
        Some(entry.life)
    }

    fn expire_after_update(
        &self,
        _: &K,
        entry: &Arc<Entry<V>>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.life)
    }
}

impl Lifetimes {
    fn begin(&self) -> Began {
        Began {
            at: self.clock.now(),
            turn: self.turns.latest(),
        }
    }

    /// Its life began when it was asked for, or as long before as it was behind.
    fn entry<V>(&self, value: AsOf<V>, began: &Began) -> Arc<Entry<V>> {
        let read_at = UnixMs(began.at.0.saturating_sub(value.behind_ms));
        let jitter = 1.0 - JITTER * self.entropy.fraction();
        let left_ms = read_at
            .plus_ms(self.ttl_ms)
            .0
            .saturating_sub(self.clock.now().0);
        Arc::new(Entry {
            value: Arc::new(value),
            read_at,
            life: Duration::from_millis(left_ms.min(self.ttl_ms)).mul_f64(jitter),
            is_refreshed: AtomicBool::new(false),
            valid_to: AtomicU64::new(began.turn),
        })
    }
}

impl<V> Entry<V> {
    fn is_due(&self, age_ms: u64) -> bool {
        let is_late = Duration::from_millis(age_ms) >= self.life.mul_f64(0.75);
        is_late && !self.is_refreshed.swap(true, Ordering::Relaxed)
    }
}

impl<K, V> Kept<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// `items_max`: of all values, each of which has as many as `count` says.
    pub fn new(
        items_max: u64,
        count: fn(&V) -> usize,
        shows: Shows<K, V>,
        lifetimes: Lifetimes,
        figures: Figures,
    ) -> Self {
        let values = Cache::builder()
            .max_capacity(items_max)
            .weigher(move |_, entry: &Arc<Entry<V>>| {
                u32::try_from(count(&entry.value).max(1)).unwrap_or(u32::MAX)
            })
            .expire_after(Lives)
            .build();
        Self {
            values,
            shows,
            lifetimes,
            figures,
            refreshes: TaskTracker::new(),
        }
    }

    /// # Errors
    /// Those of `read`; they are not kept.
    pub async fn get<F, R>(
        &self,
        generation: u64,
        key: K,
        read: R,
    ) -> Result<Arc<AsOf<V>>, SalesError>
    where
        R: Fn() -> F + Send + 'static,
        F: Future<Output = Result<AsOf<V>, SalesError>> + Send + 'static,
    {
        if self.lifetimes.ttl_ms == 0 {
            self.figures.miss();
            return read().await.map(Arc::new);
        }
        let key = (generation, key);
        for _ in 0..READS_MAX {
            let known = self.values.get(&key).await;
            if let Some(entry) = known {
                if !self.has_turned(&key.1, &entry) {
                    return Ok(self.hit(key, &entry, read));
                }
                self.forget(&key).await;
            }
            let first_read = async {
                self.figures.miss();
                let began = self.lifetimes.begin();
                Ok(self.lifetimes.entry(read().await?, &began))
            };
            let found = self
                .values
                .entry_by_ref(&key)
                .or_try_insert_with(first_read);
            let found = found
                .await
                .map_err(|error: Arc<SalesError>| (*error).clone())?;
            let is_mine = found.is_fresh();
            let entry = found.into_value();
            if is_mine {
                return Ok(Arc::clone(&entry.value));
            }
            // It may have been read for those who asked before a turn.
            if !self.has_turned(&key.1, &entry) {
                return Ok(self.hit(key, &entry, read));
            }
        }
        self.figures.miss();
        read().await.map(Arc::new)
    }

    fn hit<F, R>(&self, key: (u64, K), entry: &Entry<V>, read: R) -> Arc<AsOf<V>>
    where
        R: Fn() -> F + Send + 'static,
        F: Future<Output = Result<AsOf<V>, SalesError>> + Send + 'static,
    {
        let age_ms = self.lifetimes.clock.now().0.saturating_sub(entry.read_at.0);
        self.figures.hit(age_ms);
        if entry.is_due(age_ms) {
            self.refresh(key, read);
        }
        Arc::clone(&entry.value)
    }

    fn has_turned(&self, key: &K, entry: &Entry<V>) -> bool {
        let turns = &self.lifetimes.turns;
        let (latest, valid_to) = (turns.latest(), entry.valid_to.load(Ordering::SeqCst));
        if valid_to >= latest {
            return false;
        }
        if turns.any_since(valid_to, &(self.shows)(key, &entry.value)) {
            return true;
        }
        entry.valid_to.fetch_max(latest, Ordering::SeqCst);
        false
    }

    /// Unless someone has read it again meanwhile.
    async fn forget(&self, key: &(u64, K)) {
        let old = self.values.entry_by_ref(key).and_compute_with(|found| {
            let is_old = |entry: Arc<Entry<V>>| self.has_turned(&key.1, &entry);
            let op = match found.map(moka::Entry::into_value).is_some_and(is_old) {
                true => Op::Remove,
                false => Op::Nop,
            };
            std::future::ready(op)
        });
        old.await;
    }

    /// If it fails, the next who asks after its life reads.
    fn refresh<F, R>(&self, key: (u64, K), read: R)
    where
        R: Fn() -> F + Send + 'static,
        F: Future<Output = Result<AsOf<V>, SalesError>> + Send + 'static,
    {
        self.figures.refresh();
        let (values, lifetimes) = (self.values.clone(), self.lifetimes.clone());
        self.refreshes.spawn(async move {
            let began = lifetimes.begin();
            if let Ok(value) = read().await {
                values.insert(key, lifetimes.entry(value, &began)).await;
            }
        });
    }
}
