//! Values and their lives.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use tokio::sync::Semaphore;

use super::super::figures::Figures;
use super::super::kept::{Kept, Lifetimes};
use super::super::turns::Turns;
use super::*;

/// Longer than any of this takes.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

fn key() -> ResourceId {
    ResourceId::parse("key").expect("an id")
}

/// What is read is the number of the read; each waits for a permit.
struct Source {
    kept: Kept<ResourceId, u64>,
    turns: Arc<Turns>,
    clock: Arc<ManualClock>,
    started: Arc<AtomicU64>,
    permits: Arc<Semaphore>,
}

impl Source {
    fn new(ttl_ms: u64) -> Self {
        let clock = Arc::new(ManualClock::new(UnixMs(1_000_000)));
        let turns = Arc::<Turns>::default();
        let lifetimes = Lifetimes {
            ttl_ms,
            clock: clock.clone(),
            entropy: Arc::new(SeededEntropy::new(1)),
            turns: Arc::clone(&turns),
        };
        let figures = Figures::new(&Metrics::new(), "test");
        Self {
            kept: Kept::new(10, |_| 1, |key, _| vec![key], lifetimes, figures),
            turns,
            clock,
            started: Arc::default(),
            permits: Arc::new(Semaphore::new(0)),
        }
    }

    async fn get(&self, generation: u64) -> u64 {
        let (started, permits) = (Arc::clone(&self.started), Arc::clone(&self.permits));
        let read = move || {
            let (started, permits) = (Arc::clone(&started), Arc::clone(&permits));
            async move {
                let number = started.fetch_add(1, Ordering::SeqCst) + 1;
                permits.acquire().await.expect("open").forget();
                Ok(AsOf::now(number, UnixMs(0)))
            }
        };
        let kept = self.kept.get(generation, key(), read).await;
        kept.expect("read").value
    }

    fn permit(&self, reads: usize) {
        self.permits.add_permits(reads);
    }

    async fn until(&self, what: &str, done: impl AsyncFn() -> bool) {
        let done = async {
            while !done().await {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, done).await.is_ok(), "{what}");
    }
}

#[tokio::test]
async fn those_who_ask_at_once_wait_for_one_read() {
    let source = Source::new(60_000);
    source.permit(1);
    let all = join_all((0..100).map(|_| source.get(0))).await;
    assert_eq!(all, [1; 100]);
}

#[tokio::test]
async fn a_read_that_began_before_a_change_is_shown_to_nobody_after_it() {
    let source = Source::new(60_000);
    let (old, new) = tokio::join!(source.get(0), async {
        source
            .until("the first read began", async || {
                source.started.load(Ordering::SeqCst) == 1
            })
            .await;
        source.permit(2);
        // The catalog changed.
        source.get(1).await
    });
    assert_eq!((old, new), (1, 2));
    assert_eq!(source.get(1).await, 2);
}

#[tokio::test]
async fn a_read_that_began_before_a_turn_is_shown_to_nobody_after_it() {
    let source = Source::new(60_000);
    let (old, new) = tokio::join!(source.get(0), async {
        source
            .until("the first read began", async || {
                source.started.load(Ordering::SeqCst) == 1
            })
            .await;
        assert!(source.turns.note(&key(), 1));
        source.permit(2);
        // It waits for the read that is under way, and reads again.
        source.get(0).await
    });
    assert_eq!((old, new), (1, 2));
    let other = ResourceId::parse("other").expect("an id");
    assert!(source.turns.note(&key(), 1), "heard again");
    assert!(source.turns.note(&other, 2));
    assert_eq!(source.get(0).await, 2);
    assert_eq!(source.started.load(Ordering::SeqCst), 2);
    assert!(source.turns.note(&key(), 3));
    source.permit(1);
    let all = join_all((0..50).map(|_| source.get(0))).await;
    assert_eq!(all, [3; 50], "one read for all");
}

#[tokio::test]
async fn a_value_is_read_again_before_its_life_ends_and_nobody_waits() {
    let source = Source::new(60_000);
    source.permit(1);
    assert_eq!(source.get(0).await, 1);
    source.clock.advance_ms(40_000);
    assert_eq!(source.get(0).await, 1);
    assert_eq!(source.started.load(Ordering::SeqCst), 1, "too early");
    source.clock.advance_ms(10_000);
    // The read has no permit: these are answered without it.
    for _ in 0..10 {
        assert_eq!(source.get(0).await, 1);
    }
    source.permit(1);
    source
        .until("the new value", async || source.get(0).await == 2)
        .await;
    assert_eq!(source.started.load(Ordering::SeqCst), 2, "one read for all");
}

#[tokio::test]
async fn a_value_ends_with_its_life() {
    let source = Source::new(20);
    source.permit(2);
    assert_eq!(source.get(0).await, 1);
    source
        .until("its life is over", async || source.get(0).await == 2)
        .await;
}
