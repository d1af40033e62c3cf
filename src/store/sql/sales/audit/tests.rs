//! Every violation that is planted in the rows is reported.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use sea_orm::ConnectionTrait;

use super::super::tests::Sqlite;
use crate::clock::Clock;
use crate::domain::ids::RoomRef;
use crate::domain::place::EndReason;
use crate::domain::time::UnixMs;
use crate::store::outbox::{OUTBOX_PARTITIONS, Outbox as _, PUBLISHED_KEPT_MS};
use crate::store::rooms::retention::{Deletion, Retention as _};
use crate::store::rooms::{EndCondition, RoomRegistry as _};
use crate::store::sales::conformance::{HOLD_TTL_MS, Sale, Subject};
use crate::store::sales::{Audit, SalesError};
use crate::store::sql::SqlStore;
use crate::store::sql::query::one;
use crate::store::sql::sales::pass;

mod coupons;
mod gateway;

/// A room whose pass bought a seat, a live hold, a cancelled sale, a free seat.
async fn busy_sale() -> (Arc<Sqlite>, Sale) {
    busy_sale_in(Sqlite::open().await).await
}

async fn busy_sale_in(sqlite: Sqlite) -> (Arc<Sqlite>, Sale) {
    let sqlite = Arc::new(sqlite);
    let subject: Arc<dyn Subject> = sqlite.clone();
    let sale = Sale::new(subject);
    let performance = sale.performance().await;
    sale.top_up("ann", 1_000).await;
    let again = sale.hold("ann", &performance, &["s1-r2-1"]).await.unwrap();
    sale.pay("ann", &again.id).await.unwrap();
    sale.cancel("ann", &again.id).await.unwrap();
    let room = sale.protect(&performance).await;
    let pass = sale.activate(&room, "ann", 0, 300_000).await;
    let bought = sale
        .hold_with("ann", &performance, &["s1-r1-1"], pass)
        .await;
    sale.pay("ann", &bought.unwrap().id).await.unwrap();
    let pass = sale.activate(&room, "bob", 0, 300_000).await;
    sale.hold_with("bob", &performance, &["s1-r1-2"], pass)
        .await
        .unwrap();
    (sqlite, sale)
}

async fn plant(sqlite: &Sqlite, sql: &'static str) {
    let planted = sqlite.store.write(sql, |tx, sql| {
        async move {
            tx.execute_unprepared(sql).await?;
            Ok::<_, SalesError>(())
        }
        .boxed()
    });
    planted.await.unwrap();
}

/// What to break, and the checks that must notice; others may, too.
const PLANTED: &[(&str, &str)] = &[
    (
        "S1",
        "DROP INDEX tickets_live;
         INSERT INTO tickets SELECT performance_id, seat_id, serial + 1, reservation_id, user_id, 1,
         issued_at, NULL, NULL FROM tickets WHERE live = 1",
    ),
    (
        "S1",
        "UPDATE reservations SET state = 'confirmed' WHERE state = 'held';
         UPDATE reservation_seats SET seat_id = 's1-r1-1'",
    ),
    (
        "S2",
        "UPDATE seats SET state = 'available' WHERE state = 'held'",
    ),
    (
        "S2",
        "UPDATE reservations SET state = 'expired' WHERE state = 'held'",
    ),
    (
        "S2",
        "UPDATE seats SET held_until = held_until + 1 WHERE state = 'held'",
    ),
    (
        "S2",
        "INSERT INTO reservations SELECT id || 'x', performance_id, user_id, NULL, state, currency,
         total_minor, created_at, expires_at, extended, NULL, NULL, 1, NULL, NULL, NULL FROM reservations
         WHERE state = 'held';
         INSERT INTO reservation_seats SELECT reservation_id || 'x', ordinal, seat_id, price_minor
         FROM reservation_seats WHERE reservation_id IN
         (SELECT id FROM reservations WHERE state = 'held' AND activation_id IS NOT NULL)",
    ),
    ("S3", "UPDATE sections SET available = available + 1"),
    (
        "S3",
        "UPDATE sections SET available = available + 1, held = held - 1",
    ),
    ("S3", "DELETE FROM seats WHERE id = 's1-r2-5'"),
    (
        "S4",
        "UPDATE activations SET user_id = 'eve' WHERE state = 'active'",
    ),
    (
        "S4",
        "UPDATE reservations SET created_at = created_at + 300000 WHERE state = 'held'",
    ),
    (
        "S4",
        "UPDATE activations SET ended_at = 1 WHERE state = 'ended'",
    ),
    (
        "S4",
        "INSERT INTO rooms (id, display_name, epoch, version, policy, opened, paused, sold_out,
         closed, message, draw_secret, created_at) SELECT id || 'x', display_name, epoch, version, policy, opened, paused,
         sold_out, closed, message, draw_secret, created_at FROM rooms;
         UPDATE activations SET room_id = room_id || 'x' WHERE state = 'active'",
    ),
    (
        "S4",
        "UPDATE reservations SET activation_id = NULL WHERE state = 'held'",
    ),
    (
        "S4",
        "UPDATE reservations SET room_id = NULL WHERE state = 'held'",
    ),
    ("S4", "UPDATE payments SET user_id = 'eve'"),
    (
        "S4",
        "UPDATE payments SET created_at = created_at + 60000 WHERE state = 'succeeded'",
    ),
    ("S5", "UPDATE performances SET seats_per_user_max = 0"),
    (
        "S6",
        "UPDATE reservations SET state = 'released' WHERE state = 'held'",
    ),
    (
        "S6",
        "UPDATE seats SET user_id = 'eve' WHERE id = 's1-r2-5'",
    ),
    (
        "S6",
        "UPDATE seats SET reservation_id = NULL WHERE state = 'sold'",
    ),
    ("S6", "UPDATE seats SET state = 'lost' WHERE id = 's1-r2-5'"),
    (
        "S6",
        "INSERT INTO returned_seats SELECT reservation_id, seat_id, price_minor, FALSE, 1
         FROM reservation_seats",
    ),
    (
        "S6",
        "DELETE FROM reservation_seats WHERE reservation_id IN
         (SELECT id FROM reservations WHERE state = 'held')",
    ),
    (
        "S7",
        "DELETE FROM reservation_seats WHERE reservation_id IN
         (SELECT id FROM reservations WHERE state = 'confirmed')",
    ),
    (
        "S7",
        "UPDATE reservations SET total_minor = total_minor - 1 WHERE state = 'confirmed'",
    ),
    (
        "M4",
        "INSERT INTO returned_seats SELECT reservation_id, seat_id, price_minor, TRUE, 1
         FROM reservation_seats",
    ),
    (
        "S7",
        "UPDATE payments SET state = 'declined' WHERE state = 'succeeded'",
    ),
    ("S7", "UPDATE tickets SET live = NULL"),
    ("S7", "UPDATE tickets SET live = 1"),
    (
        "S7",
        "UPDATE seats SET state = 'available' WHERE state = 'sold'",
    ),
    (
        "S7",
        "UPDATE reservations SET state = 'released' WHERE state = 'confirmed'",
    ),
    (
        "S7",
        "UPDATE reservations SET state = 'cancelled' WHERE state = 'confirmed'",
    ),
    (
        "S7",
        "UPDATE payments SET state = 'refunded', refunded_minor = amount_minor",
    ),
    (
        "S7",
        "UPDATE reservations SET state = 'confirmed' WHERE state = 'held'",
    ),
    (
        "M1",
        "UPDATE ledger_postings SET amount_minor = amount_minor + 1 WHERE account = 'user:ann'",
    ),
    (
        "M1",
        "UPDATE accounts SET balance_minor = balance_minor + 1 WHERE name = 'user:ann'",
    ),
    (
        "M1",
        "INSERT INTO ledger_entries VALUES ('empty', 'credit', NULL, NULL, '', 1)",
    ),
    (
        "M2",
        "UPDATE accounts SET balance_minor = -1 WHERE name = 'user:ann'",
    ),
    (
        "M2",
        "UPDATE ledger_postings SET balance_after_minor = -1 WHERE account = 'user:ann'",
    ),
    (
        "M3",
        "INSERT INTO ledger_entries SELECT id || 'x', kind, reservation_id, payment_id, reason,
         created_at FROM ledger_entries WHERE kind = 'payment'",
    ),
    (
        "M3",
        "INSERT INTO payments SELECT id || 'x', reservation_id, user_id, method, state, currency,
         amount_minor, refunded_minor, refunds, NULL, created_at, coupon_id, discount_minor FROM payments",
    ),
    ("M3", "UPDATE payments SET refunds = refunds + 1"),
    (
        "M3",
        "UPDATE idempotency SET response = '{}' WHERE rpc = 'TopUpWallet'",
    ),
    (
        "M3",
        "DELETE FROM reservation_seats WHERE reservation_id IN
         (SELECT id FROM reservations WHERE state = 'held');
         DELETE FROM reservations WHERE state = 'held'",
    ),
    ("M4", "UPDATE ledger_postings SET amount_minor = 0"),
    (
        "M4",
        "UPDATE ledger_postings SET amount_minor = amount_minor * 1000000000000",
    ),
    (
        "M4",
        "UPDATE reservation_seats SET price_minor = price_minor - 1",
    ),
    ("M4", "UPDATE reservations SET currency = 'EUR'"),
    ("M4", "UPDATE payments SET amount_minor = amount_minor + 1"),
    (
        "M5",
        "UPDATE payments SET state = 'pending' WHERE state = 'succeeded'",
    ),
    (
        "M5",
        "UPDATE payments SET state = 'unknown' WHERE state = 'succeeded'",
    ),
    (
        "M5",
        "UPDATE ledger_entries SET payment_id = NULL WHERE kind = 'payment'",
    ),
    (
        "M6",
        "UPDATE accounts SET balance_minor = balance_minor + 1",
    ),
    ("M6", "UPDATE accounts SET postings = postings + 1"),
    ("M6", "DELETE FROM ledger_postings WHERE sequence = 1"),
    (
        "M6",
        "UPDATE ledger_postings SET balance_after_minor = balance_after_minor + 1",
    ),
    ("M6", "DELETE FROM accounts WHERE name = 'user:ann'"),
    ("M7", "UPDATE payments SET refunded_minor = 0"),
    (
        "M7",
        "UPDATE payments SET refunded_minor = amount_minor WHERE state = 'succeeded'",
    ),
    (
        "M7",
        "UPDATE ledger_postings SET amount_minor = amount_minor * 2",
    ),
    (
        "Q11",
        "UPDATE activations SET state = 'active' WHERE state = 'ended'",
    ),
    (
        "Q11",
        "UPDATE activations SET state = 'ended', reason = 'left', ended_at = 1",
    ),
    (
        "Q11",
        "UPDATE activations SET reason = 'bored' WHERE state = 'ended'",
    ),
    ("Q11", "DELETE FROM outbox"),
    (
        "Q11",
        "INSERT INTO outbox (aggregate, version, kind, payload, partition_no, created_at, attempts,
         next_attempt_at, dead) SELECT aggregate, version + 1, kind, payload, partition_no,
         created_at, 0, 0, FALSE FROM outbox WHERE kind = 'slot.freed'",
    ),
    (
        "Q11",
        "DROP INDEX activations_place;
         UPDATE activations SET lane = 0, number = 1",
    ),
];

#[tokio::test]
async fn every_planted_violation_is_reported() {
    let mut missed = Vec::new();
    for (check, sql) in PLANTED {
        let (sqlite, sale) = busy_sale().await;
        missed.extend(missed_by_audit(&sqlite, &sale, check, sql).await);
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

/// Plants it, and tells if the check does not notice.
async fn missed_by_audit(
    sqlite: &Sqlite,
    sale: &Sale,
    check: &str,
    sql: &'static str,
) -> Option<String> {
    sale.assert_clean_audit("a busy sale").await;
    plant(sqlite, sql).await;
    let report = sqlite.store.audit().await.unwrap();
    let broken = report.broken();
    let is_missed = !broken.contains(&check);
    is_missed.then(|| format!("{check}: only {broken:?} after {sql}"))
}

#[tokio::test]
async fn every_check_has_a_planted_violation() {
    let (sqlite, _) = busy_sale().await;
    for check in sqlite.store.audit().await.unwrap().checks {
        assert!(
            PLANTED
                .iter()
                .chain(gateway::PLANTED)
                .chain(coupons::PLANTED)
                .any(|(id, _)| *id == check.id),
            "{} is never seen to fail",
            check.id
        );
    }
}

/// Reservations from before rooms were kept with them.
#[tokio::test]
async fn an_upgraded_database_has_a_clean_audit() {
    let (sqlite, sale) = busy_sale().await;
    let applied = sqlite.store.migrate_status().await.unwrap();
    let before = applied
        .iter()
        .position(|(name, _)| name.contains("reservation_room"))
        .unwrap();
    let steps = u32::try_from(applied.len() - before).unwrap();
    sqlite.store.migrate_down(steps).await.unwrap();
    sqlite.store.migrate_up().await.unwrap();
    sale.assert_clean_audit("an upgrade").await;
}

/// The releases of slots are pruned long after; the audit knows.
#[tokio::test]
async fn a_pruned_outbox_has_a_clean_audit() {
    pruned(Sqlite::open().await, PUBLISHED_KEPT_MS).await;
}

/// However long they are kept.
#[tokio::test]
async fn an_outbox_that_is_pruned_early_has_a_clean_audit() {
    let sqlite = Sqlite::open_with(|settings| settings.events_kept_ms = 60_000).await;
    pruned(sqlite, 60_000).await;
}

async fn pruned(sqlite: Sqlite, kept_ms: u64) {
    let (sqlite, sale) = busy_sale_in(sqlite).await;
    let mut published = 0;
    for partition in 0..OUTBOX_PARTITIONS {
        let batch = sqlite.store.claim_batch(partition, 1, 5_000, 100).await;
        let batch = batch.unwrap();
        sqlite.store.mark_published(&batch).await.unwrap();
        published += batch.len();
    }
    assert!(published > 0);
    sale.advance_ms(kept_ms - 1).await;
    assert_eq!(sqlite.store.prune(0, 100).await.unwrap().events, 0);
    sale.advance_ms(2).await;
    sale.sweep_all().await;
    assert!(sqlite.store.prune(0, 100).await.unwrap().events > 0);
    sale.assert_clean_audit("pruning").await;
}

/// A room takes its passes along, and leaves what was bought with them.
#[tokio::test]
async fn a_forgotten_room_leaves_a_clean_audit() {
    const RETAIN_MS: u64 = 60_000;
    let (sqlite, sale) = busy_sale().await;
    let store = &sqlite.store;
    let mut record = store.rooms().await.unwrap().remove(0);
    record.switches.closed = true;
    let room = store.update_room(record).await.unwrap();
    let room = RoomRef {
        id: room.id,
        epoch: room.epoch,
    };
    let row = "SELECT id FROM activations WHERE state = 'active'";
    let live = sqlite.store.read(row, |tx, sql| {
        async move { Ok::<_, SalesError>(one(tx, sql, []).await?.map(|row| row.text("id"))) }
            .boxed()
    });
    let live = pass::parse(&live.await.unwrap().unwrap().unwrap()).unwrap();
    sale.advance_ms(RETAIN_MS).await;
    let always = EndCondition::Always(EndReason::Left);
    store.end_activation(live, always).await.unwrap();
    let kept = store.finished_rooms(RETAIN_MS, 10).await.unwrap();
    assert_eq!(
        kept,
        [],
        "its seats could be bought by those who never waited"
    );

    // The performance begins: nothing of it is sold any more.
    sale.advance_ms(3_600_000).await;
    sale.sweep_all().await;
    store.forget(&room, RETAIN_MS).await.unwrap();
    sale.assert_clean_audit("a room is being forgotten").await;
    assert_eq!(
        store.delete_forgotten(&room.id, 100).await,
        Ok(Deletion::Done)
    );
    sale.assert_clean_audit("a room is forgotten").await;
}

/// Time goes on after it was read for the first time.
struct Waiting {
    is_first: AtomicBool,
    before: UnixMs,
    after: UnixMs,
}

impl Clock for Waiting {
    fn now(&self) -> UnixMs {
        match self.is_first.swap(false, Ordering::SeqCst) {
            true => self.before,
            false => self.after,
        }
    }
}

#[tokio::test]
async fn an_audit_judges_by_a_time_that_is_not_before_its_snapshot() {
    let sqlite = Arc::new(Sqlite::open().await);
    let subject: Arc<dyn Subject> = sqlite.clone();
    let sale = Sale::new(subject);
    let performance = sale.performance().await;
    let all_allowed = ["s1-r1-1", "s1-r1-2", "s1-r1-3", "s1-r1-4"];
    sale.hold("ann", &performance, &all_allowed).await.unwrap();
    let before = sale.now().await;
    sale.advance_ms(HOLD_TTL_MS).await;
    // Those are over by time, though nobody has swept them.
    sale.hold("ann", &performance, &["s1-r2-1"]).await.unwrap();
    let clock = Arc::new(Waiting {
        is_first: AtomicBool::new(false),
        before,
        after: sale.now().await,
    });
    let url = &sqlite.store.settings.url;
    let other = SqlStore::connect(url, clock.clone()).await.unwrap();
    clock.is_first.store(true, Ordering::SeqCst);
    let report = other.audit().await.unwrap();
    assert!(!clock.is_first.load(Ordering::SeqCst), "it read the clock");
    assert!(report.is_clean(), "{report:#?}");
}
