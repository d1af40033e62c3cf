//! Values that are read once for all who ask, and shown for a while.
//!
//! Those who ask for what is not there wait for one read. Each value lives its
//! own time, a tenth shorter at most, so that what was read together is not read
//! again together. In the last quarter of it one caller has the value read again
//! while all are shown the old one: what is asked for often is never waited for.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::future::Cache;
use tokio_util::task::TaskTracker;

use super::figures::Figures;
use crate::clock::Clock;
use crate::domain::time::UnixMs;
use crate::entropy::Entropy;
use crate::store::sales::SalesError;

/// Part of a life by which lives differ.
const JITTER: f64 = 0.1;

/// How long values live.
#[derive(Clone)]
pub struct Lifetimes {
    /// At most; 0: values are not kept.
    pub ttl_ms: u64,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

/// Values of one kind, by generation and key. What is used least goes first.
pub struct Kept<K, V> {
    values: Cache<(u64, K), Arc<Entry<V>>>,
    lifetimes: Lifetimes,
    figures: Figures,
    refreshes: TaskTracker,
}

struct Entry<V> {
    value: Arc<V>,
    read_at: UnixMs,
    life: Duration,
    is_refreshed: AtomicBool,
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
    /// Its life began when it was asked for.
    fn entry<V>(&self, value: V, read_at: UnixMs) -> Arc<Entry<V>> {
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
            lifetimes,
            figures,
            refreshes: TaskTracker::new(),
        }
    }

    /// # Errors
    /// Those of `read`; they are not kept.
    pub async fn get<F, R>(&self, generation: u64, key: K, read: R) -> Result<Arc<V>, SalesError>
    where
        R: Fn() -> F + Send + 'static,
        F: Future<Output = Result<V, SalesError>> + Send + 'static,
    {
        if self.lifetimes.ttl_ms == 0 {
            self.figures.miss();
            return read().await.map(Arc::new);
        }
        let key = (generation, key);
        let first_read = async {
            self.figures.miss();
            let asked_at = self.lifetimes.clock.now();
            Ok(self.lifetimes.entry(read().await?, asked_at))
        };
        let found = self
            .values
            .entry_by_ref(&key)
            .or_try_insert_with(first_read);
        let found = found
            .await
            .map_err(|error: Arc<SalesError>| (*error).clone())?;
        let is_fresh = found.is_fresh();
        let entry = found.into_value();
        if is_fresh {
            return Ok(Arc::clone(&entry.value));
        }
        let age_ms = self.lifetimes.clock.now().0.saturating_sub(entry.read_at.0);
        self.figures.hit(age_ms);
        if entry.is_due(age_ms) {
            self.refresh(key, read);
        }
        Ok(Arc::clone(&entry.value))
    }

    /// If it fails, the next who asks after its life reads.
    fn refresh<F, R>(&self, key: (u64, K), read: R)
    where
        R: Fn() -> F + Send + 'static,
        F: Future<Output = Result<V, SalesError>> + Send + 'static,
    {
        self.figures.refresh();
        let (values, lifetimes) = (self.values.clone(), self.lifetimes.clone());
        self.refreshes.spawn(async move {
            let asked_at = lifetimes.clock.now();
            if let Ok(value) = read().await {
                values.insert(key, lifetimes.entry(value, asked_at)).await;
            }
        });
    }
}
