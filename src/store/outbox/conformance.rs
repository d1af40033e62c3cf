//! What every [`Outbox`] must do: one function per promise, run by each
//! adapter's tests through [`outbox_conformance`].

use std::sync::Arc;

use futures_util::future::{BoxFuture, join_all};

use crate::bus::OutboxEvent;
use crate::clock::ManualClock;

use super::{
    Backlog, Failed, OUTBOX_PARTITIONS, Outbox, OutboxError, PUBLISHED_KEPT_MS, RetryPolicy,
    partition_of,
};

const RELAY: u64 = 1;
const OTHER_RELAY: u64 = u64::MAX;
const LEASE_MS: u64 = 5_000;
const RETRY: RetryPolicy = RetryPolicy {
    back_off_ms: 1_000,
    back_off_max_ms: 1_500,
    attempts_max: 3,
};

/// Commits one event of an aggregate with this kind.
pub type Append = Box<dyn Fn(String, &'static str) -> BoxFuture<'static, ()> + Send + Sync>;

/// An empty outbox under test, and the clock it takes for the database's.
pub struct Harness {
    pub outbox: Arc<dyn Outbox>,
    pub clock: Arc<ManualClock>,
    pub append: Append,
}

impl Harness {
    async fn append(&self, aggregate: &str, kinds: &[&'static str]) {
        for kind in kinds {
            (self.append)(aggregate.to_owned(), kind).await;
        }
    }

    async fn claim(&self, partition: u8) -> Vec<OutboxEvent> {
        self.outbox
            .claim_batch(partition, RELAY, LEASE_MS, 100)
            .await
            .expect("claims")
    }

    async fn fail(&self, event: &OutboxEvent) -> Failed {
        self.outbox.mark_failed(event, RETRY).await.expect("marks")
    }

    async fn publish(&self, events: &[OutboxEvent]) {
        self.outbox.mark_published(events).await.expect("marks");
    }

    async fn backlog(&self) -> Backlog {
        self.outbox.backlog().await.expect("reads")
    }
}

/// Two aggregates of one partition, and one of another.
fn aggregates() -> (String, String, String) {
    let first = "order:0".to_owned();
    let here = partition_of(&first);
    let find = |wanted: &dyn Fn(u8) -> bool| {
        (1..)
            .map(|n| format!("order:{n}"))
            .find(|name| wanted(partition_of(name)))
            .expect("there are enough")
    };
    let second = find(&|partition| partition == here);
    let elsewhere = find(&|partition| partition != here);
    (first, second, elsewhere)
}

fn names(events: &[OutboxEvent]) -> Vec<(&str, u64)> {
    events
        .iter()
        .map(|event| (event.kind.as_str(), event.version))
        .collect()
}

pub async fn events_are_answered_in_order_until_published(h: &Harness) {
    let (a, b, _) = aggregates();
    h.append(&a, &["a1", "a2"]).await;
    h.append(&b, &["b1"]).await;
    h.append(&a, &["a3"]).await;
    let all = [("a1", 1), ("a2", 2), ("b1", 1), ("a3", 3)];
    let batch = h.claim(partition_of(&a)).await;
    assert_eq!(names(&batch), all);
    assert_eq!(batch[0].aggregate, a);
    assert_eq!(batch[0].payload, r#"{"kind":"a1"}"#);
    let ids: std::collections::HashSet<_> = batch.iter().map(|event| &event.id).collect();
    assert_eq!(ids.len(), 4, "ids are unique");

    let again = h.claim(partition_of(&a)).await;
    assert_eq!(names(&again), all, "a relay that crashed delivers again");
    h.publish(&batch[..2]).await;
    h.publish(&batch[..2]).await;
    let rest = h.claim(partition_of(&a)).await;
    assert_eq!(names(&rest), all[2..]);
    h.publish(&rest).await;
    assert!(h.claim(partition_of(&a)).await.is_empty());
}

pub async fn an_event_behind_the_last_published_is_not_skipped(h: &Harness) {
    let (a, b, _) = aggregates();
    h.append(&a, &["a1"]).await;
    h.append(&b, &["b1"]).await;
    let batch = h.claim(partition_of(&a)).await;
    h.publish(&batch[1..]).await;
    assert_eq!(names(&h.claim(partition_of(&a)).await), [("a1", 1)]);
}

pub async fn a_partition_answers_its_own_events_up_to_a_limit(h: &Harness) {
    let (a, b, elsewhere) = aggregates();
    h.append(&elsewhere, &["c1"]).await;
    h.append(&a, &["a1", "a2"]).await;
    h.append(&b, &["b1"]).await;
    let batch = h
        .outbox
        .claim_batch(partition_of(&a), RELAY, LEASE_MS, 2)
        .await
        .expect("claims");
    assert_eq!(names(&batch), [("a1", 1), ("a2", 2)]);
    let mut everywhere = 0;
    for partition in 0..OUTBOX_PARTITIONS {
        everywhere += h.claim(partition).await.len();
    }
    assert_eq!(everywhere, 4);
}

pub async fn a_partition_is_answered_to_one_relay(h: &Harness) {
    let (a, _, elsewhere) = aggregates();
    let partition = partition_of(&a);
    h.append(&a, &["a1"]).await;
    let by = |relay, partition| h.outbox.claim_batch(partition, relay, LEASE_MS, 10);
    let racing = [by(1, partition), by(2, partition), by(3, partition)];
    let outcomes = join_all(racing).await;
    let served = outcomes.iter().filter(|one| one.is_ok()).count();
    assert_eq!(served, 1, "{outcomes:?}");

    h.clock.advance_ms(LEASE_MS);
    h.claim(partition).await;
    h.clock.advance_ms(LEASE_MS - 1);
    let held = Err(OutboxError::LeaseHeld { partition });
    assert_eq!(by(OTHER_RELAY, partition).await, held);
    assert!(by(OTHER_RELAY, partition_of(&elsewhere)).await.is_ok());
    h.clock.advance_ms(1);
    assert_eq!(
        by(OTHER_RELAY, partition).await.map(|batch| batch.len()),
        Ok(1)
    );
    assert_eq!(by(RELAY, partition).await, held);

    h.outbox.release(partition, RELAY).await.expect("no effect");
    assert_eq!(by(RELAY, partition).await, held);
    h.outbox
        .release(partition, OTHER_RELAY)
        .await
        .expect("gives");
    assert!(by(RELAY, partition).await.is_ok());
}

pub async fn a_failed_event_holds_back_its_aggregate_only(h: &Harness) {
    let (a, b, _) = aggregates();
    let partition = partition_of(&a);
    h.append(&a, &["a1", "a2", "a3"]).await;
    h.append(&b, &["b1"]).await;
    let batch = h.claim(partition).await;
    h.publish(&batch[..1]).await;
    let retry_at = h.fail(&batch[1]).await;
    assert!(matches!(retry_at, Failed::RetryAt(_)), "{retry_at:?}");
    assert_eq!(names(&h.claim(partition).await), [("b1", 1)]);
    h.clock.advance_ms(RETRY.back_off_ms - 1);
    assert_eq!(names(&h.claim(partition).await), [("b1", 1)]);
    h.clock.advance_ms(1);
    let released = h.claim(partition).await;
    assert_eq!(names(&released), [("a2", 2), ("a3", 3), ("b1", 1)]);
}

pub async fn an_event_is_dead_after_its_last_attempt(h: &Harness) {
    let (a, _, _) = aggregates();
    let partition = partition_of(&a);
    h.append(&a, &["a1", "a2"]).await;
    let batch = h.claim(partition).await;
    for pause_ms in [RETRY.back_off_ms, RETRY.back_off_max_ms] {
        let Failed::RetryAt(_) = h.fail(&batch[0]).await else {
            panic!("attempts are left");
        };
        assert!(h.claim(partition).await.is_empty());
        h.clock.advance_ms(pause_ms);
        assert_eq!(h.claim(partition).await.len(), 2);
    }
    assert_eq!(h.fail(&batch[0]).await, Failed::Dead);
    assert_eq!(names(&h.claim(partition).await), [("a2", 2)]);
    assert_eq!(h.fail(&batch[0]).await, Failed::Settled);
    let backlog = h.backlog().await;
    assert_eq!((backlog.pending, backlog.dead), (1, 1));
}

pub async fn a_refused_event_is_dead_at_once(h: &Harness) {
    let (a, _, _) = aggregates();
    h.append(&a, &["a1", "a2"]).await;
    let batch = h.claim(partition_of(&a)).await;
    let never = RetryPolicy {
        attempts_max: 1,
        ..RETRY
    };
    let failed = h.outbox.mark_failed(&batch[0], never).await;
    assert_eq!(failed, Ok(Failed::Dead));
    assert_eq!(names(&h.claim(partition_of(&a)).await), [("a2", 2)]);
}

pub async fn a_dead_event_is_shown_until_it_is_discarded(h: &Harness) {
    let (a, b, _) = aggregates();
    h.append(&a, &["a1", "a2"]).await;
    h.append(&b, &["b1"]).await;
    let batch = h.claim(partition_of(&a)).await;
    let never = RetryPolicy {
        attempts_max: 1,
        ..RETRY
    };
    for event in &batch {
        let failed = h.outbox.mark_failed(event, never).await;
        assert_eq!(failed, Ok(Failed::Dead));
    }
    let dead = async |after: u64, max| h.outbox.dead(after, max).await.expect("reads");
    let first = dead(0, 2).await;
    assert_eq!(names(&first), [("a1", 1), ("a2", 2)]);
    let last = first[1].id.parse().expect("a number");
    assert_eq!(names(&dead(last, 2).await), [("b1", 1)]);

    let discard = async |id: &str| h.outbox.discard_dead(id).await.expect("marks");
    assert!(discard(&first[0].id).await);
    assert!(!discard(&first[0].id).await);
    assert!(!discard("none").await);
    assert_eq!(names(&dead(0, 10).await), [("a2", 2), ("b1", 1)]);
    assert_eq!(h.outbox.revive().await, Ok(2));
    assert!(!discard(&first[1].id).await, "it waits");
    let again = h.claim(partition_of(&a)).await;
    assert_eq!(names(&again), [("a2", 2), ("b1", 1)]);
}

pub async fn what_is_put_off_holds_back_its_aggregate_only_and_never_dies(h: &Harness) {
    let (a, b, _) = aggregates();
    let partition = partition_of(&a);
    h.append(&a, &["a1", "a2"]).await;
    h.append(&b, &["b1"]).await;
    let batch = h.claim(partition).await;
    for pause_ms in [1_000, 1_500, 1_500, 1_500] {
        h.outbox.put_off(&batch[..1], RETRY).await.expect("marks");
        assert_eq!(names(&h.claim(partition).await), [("b1", 1)]);
        h.clock.advance_ms(pause_ms - 1);
        assert_eq!(names(&h.claim(partition).await), [("b1", 1)]);
        h.clock.advance_ms(1);
        assert_eq!(h.claim(partition).await.len(), 3);
    }
    h.publish(&batch[..1]).await;
    h.outbox.put_off(&batch[..1], RETRY).await.expect("marks");
    assert_eq!(names(&h.claim(partition).await), [("a2", 2), ("b1", 1)]);
    assert_eq!(h.backlog().await.dead, 0);
}

pub async fn a_published_event_cannot_fail(h: &Harness) {
    let (a, _, _) = aggregates();
    h.append(&a, &["a1"]).await;
    let batch = h.claim(partition_of(&a)).await;
    h.publish(&batch).await;
    assert_eq!(h.fail(&batch[0]).await, Failed::Settled);
    let stranger = OutboxEvent {
        id: "not one of ours".to_owned(),
        ..batch[0].clone()
    };
    assert_eq!(h.fail(&stranger).await, Failed::Settled);
    h.publish(&[stranger]).await;
    assert_eq!(h.backlog().await, Backlog::default());
}

pub async fn the_next_event_comes_with_the_route_of_the_last_published(h: &Harness) {
    let (a, b, _) = aggregates();
    h.append(&a, &["a1", "a2"]).await;
    h.append(&b, &["b1"]).await;
    let mut batch = h.claim(partition_of(&a)).await;
    assert!(batch.iter().all(|event| event.route.is_none()));
    batch[0].route = Some(3);
    h.publish(&batch[..1]).await;
    let rest = h.claim(partition_of(&a)).await;
    let routes: Vec<_> = rest.iter().map(|event| event.route).collect();
    assert_eq!(routes, [Some(3), None]);

    // One that was parked has none, and hides none.
    let once = RetryPolicy {
        attempts_max: 1,
        ..RETRY
    };
    let parked = h.outbox.mark_failed(&rest[0], once).await;
    assert_eq!(parked.expect("marks"), Failed::Dead);
    h.append(&a, &["a3"]).await;
    let rest = h.claim(partition_of(&a)).await;
    let last = rest.iter().find(|event| event.kind == "a3");
    assert_eq!(last.expect("there").route, Some(3));
}

pub async fn a_relay_claims_what_no_other_relay_has(h: &Harness) {
    let (a, b, elsewhere) = aggregates();
    let claim = |relay, events_max| h.outbox.claim(relay, LEASE_MS, events_max);
    assert!(claim(RELAY, 100).await.expect("claims").is_empty());
    h.append(&a, &["a1", "a2"]).await;
    h.append(&b, &["b1"]).await;
    let mine = claim(RELAY, 100).await.expect("claims");
    assert_eq!(names(&mine), [("a1", 1), ("a2", 2), ("b1", 1)]);
    h.append(&elsewhere, &["c1"]).await;
    let others = claim(OTHER_RELAY, 100).await.expect("claims");
    assert_eq!(names(&others), [("c1", 1)]);
    // Again without a write, and with one when half of the lease is over.
    let again = claim(RELAY, 2).await.expect("claims");
    assert_eq!(names(&again), [("a1", 1), ("a2", 2)]);
    h.clock.advance_ms(LEASE_MS * 3 / 4);
    assert_eq!(claim(RELAY, 100).await.expect("claims").len(), 3);
    h.clock.advance_ms(LEASE_MS / 2);
    let both = claim(RELAY, 100).await.expect("claims");
    assert_eq!(
        both.len(),
        4,
        "the other's lease is over, this one's is not"
    );
    let other = claim(OTHER_RELAY, 100).await.expect("claims");
    assert!(other.is_empty(), "{other:?}");
}

pub async fn dead_events_wait_again_when_they_are_revived(h: &Harness) {
    let (a, _, _) = aggregates();
    h.append(&a, &["a1", "a2"]).await;
    let batch = h.claim(partition_of(&a)).await;
    let once = RetryPolicy {
        attempts_max: 1,
        ..RETRY
    };
    h.outbox.mark_failed(&batch[0], once).await.expect("marks");
    assert_eq!(names(&h.claim(partition_of(&a)).await), [("a2", 2)]);
    assert_eq!(h.outbox.revive().await, Ok(1));
    assert_eq!(h.outbox.revive().await, Ok(0));
    let all = h.claim(partition_of(&a)).await;
    assert_eq!(names(&all), [("a1", 1), ("a2", 2)]);
    assert_eq!(h.fail(&all[0]).await, Failed::RetryAt(retry_at(h)));
}

fn retry_at(h: &Harness) -> crate::domain::time::UnixMs {
    use crate::clock::Clock;
    h.clock.now().plus_ms(RETRY.back_off_ms)
}

pub async fn the_backlog_tells_what_waits_and_since_when(h: &Harness) {
    use crate::clock::Clock;
    assert_eq!(h.backlog().await, Backlog::default());
    let (a, _, elsewhere) = aggregates();
    let first_at = h.clock.now();
    h.append(&a, &["a1"]).await;
    h.clock.advance_ms(700);
    let second_at = h.clock.now();
    h.append(&elsewhere, &["c1"]).await;
    let both = Backlog {
        pending: 2,
        dead: 0,
        oldest: Some(first_at),
    };
    assert_eq!(h.backlog().await, both);
    h.publish(&h.claim(partition_of(&a)).await).await;
    let one = Backlog {
        pending: 1,
        dead: 0,
        oldest: Some(second_at),
    };
    assert_eq!(h.backlog().await, one);
}

async fn prune(h: &Harness) -> u64 {
    let (mut events, mut after) = (0, 0);
    loop {
        // Small steps: where one ends the next goes on.
        let step = h.outbox.prune(after, 2).await.expect("prunes");
        events += step.events;
        after = step.next;
        if step.is_end {
            return events;
        }
    }
}

pub async fn only_what_was_published_long_ago_is_deleted(h: &Harness) {
    let (a, b, elsewhere) = aggregates();
    h.append(&a, &["a1", "a2", "a3"]).await;
    h.append(&b, &["b1"]).await;
    h.append(&elsewhere, &["slot.freed"]).await;
    let here = h.claim(partition_of(&a)).await;
    h.publish(&here[..2]).await;
    h.publish(&h.claim(partition_of(&elsewhere)).await).await;
    h.clock.advance_ms(PUBLISHED_KEPT_MS - 1);
    assert_eq!(prune(h).await, 0, "kept so long");
    h.clock.advance_ms(1);
    // a1, a2, and the release of a slot, behind which nothing comes.
    assert_eq!(prune(h).await, 3);
    assert_eq!(prune(h).await, 0);
    let never = RetryPolicy {
        attempts_max: 1,
        ..RETRY
    };
    let dead = h.outbox.mark_failed(&here[3], never).await;
    assert_eq!(dead, Ok(Failed::Dead));
    h.clock.advance_ms(10 * PUBLISHED_KEPT_MS);
    assert_eq!(prune(h).await, 0, "unpublished and dead events stay");
    assert_eq!(names(&h.claim(partition_of(&a)).await), [("a3", 3)]);
    assert_eq!(h.backlog().await.dead, 1);
}

pub async fn versions_go_on_after_all_was_published_and_pruned(h: &Harness) {
    let (a, _, _) = aggregates();
    h.append(&a, &["a1", "a2"]).await;
    h.publish(&h.claim(partition_of(&a)).await).await;
    h.clock.advance_ms(PUBLISHED_KEPT_MS);
    assert_eq!(prune(h).await, 1);
    // a2 stays, and whoever goes on behind it does not meet it again.
    let seen = h.outbox.prune(0, 2).await.expect("prunes");
    assert_eq!((seen.events, seen.is_end), (0, true));
    assert!(seen.next > 0);
    assert_eq!(h.outbox.prune(seen.next, 2).await, Ok(seen));
    h.append(&a, &["a3"]).await;
    assert_eq!(h.outbox.prune(seen.next, 1).await, Ok(seen), "a3 is young");
    assert_eq!(names(&h.claim(partition_of(&a)).await), [("a3", 3)]);
}

/// Makes one test of each promise. `$open` is an async function that gives a
/// [`Harness`] and whatever must live as long as it does.
#[macro_export]
macro_rules! outbox_conformance {
    ($open:path) => {
        $crate::outbox_conformance! { $open;
            events_are_answered_in_order_until_published
            an_event_behind_the_last_published_is_not_skipped
            a_partition_answers_its_own_events_up_to_a_limit
            a_partition_is_answered_to_one_relay
            a_failed_event_holds_back_its_aggregate_only
            an_event_is_dead_after_its_last_attempt
            a_refused_event_is_dead_at_once
            a_published_event_cannot_fail
            what_is_put_off_holds_back_its_aggregate_only_and_never_dies
            the_backlog_tells_what_waits_and_since_when
            only_what_was_published_long_ago_is_deleted
            the_next_event_comes_with_the_route_of_the_last_published
            a_relay_claims_what_no_other_relay_has
            dead_events_wait_again_when_they_are_revived
            a_dead_event_is_shown_until_it_is_discarded
            versions_go_on_after_all_was_published_and_pruned
        }
    };
    ($open:path; $($promise:ident)+) => {$(
        #[tokio::test]
        async fn $promise() {
            let (harness, _alive) = $open().await;
            $crate::store::outbox::conformance::$promise(&harness).await;
        }
    )+};
}
