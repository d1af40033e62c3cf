//! A hundred performances, of which a third is sold: enough that a scan is never
//! the cheaper way.

use futures_util::FutureExt;
use sea_orm::{ConnectionTrait, DbBackend};

use super::super::query::execute;
use super::super::{SqlStore, Tx};
use crate::store::outbox::OUTBOX_PARTITIONS;
use crate::store::sales::SalesError;

const DIGITS: &str = "(SELECT 0 AS n UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 \
UNION ALL SELECT 4 UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 \
UNION ALL SELECT 9)";

/// All numbers of so many digits, as column `n` of `name`.
fn numbers(digits: u32, name: &str) -> String {
    let mut sum = Vec::new();
    let mut from = Vec::new();
    for digit in 0..digits {
        sum.push(format!("{} * d{digit}.n", 10_u32.pow(digit)));
        from.push(format!("{DIGITS} AS d{digit}"));
    }
    let (sum, from) = (sum.join(" + "), from.join(", "));
    format!("(SELECT {sum} AS n FROM {from}) AS {name}")
}

/// The id of a row of `activations`.
pub fn activation(n: u64) -> String {
    format!("00000000-0000-0000-0000-{}", 100_000_000_000 + n)
}

/// As [`activation`], in SQL.
fn activation_of(n: &str) -> String {
    format!("'00000000-0000-0000-0000-' || (100000000000 + {n})")
}

/// In each performance seats below 90 are sold, the next five are held by holds
/// that are over, the next five by live ones, the rest is free. Reservation `n`
/// is of performance `n % 100` and has seat `n / 100`. The last performance is over,
/// and being deleted.
fn rows() -> Vec<String> {
    let (n2, n3, n4) = (numbers(2, "q"), numbers(3, "k"), numbers(4, "k"));
    let seat = "(k.n - k.n % 100) / 100";
    let of_seat = |sold: &str, lapsed: &str, live: &str, free: &str| {
        format!(
            "CASE WHEN k.n < 90 THEN {sold} WHEN k.n < 95 THEN {lapsed} \
             WHEN k.n < 100 THEN {live} ELSE {free} END"
        )
    };
    let seat_state = of_seat("'sold'", "'held'", "'held'", "'available'");
    let taken_by =
        |letter: &str| format!("CASE WHEN k.n < 100 THEN '{letter}' || (q.n + 100 * k.n) END");
    let (reservation, user) = (taken_by("r"), taken_by("u"));
    let held_until = of_seat("NULL", "1", "1800000000000", "NULL");
    vec![
        format!(
            "INSERT INTO concerts (id, name, description, venue, version, created_at) \
             SELECT 'c' || q.n, 'A concert', '', '', 1, 0 FROM {n2}"
        ),
        format!(
            "INSERT INTO performances (id, concert_id, starts_at, sale_opens_at, state, currency, \
             hold_ttl_ms, hold_total_max_ms, seats_per_user_max, seats_version, version, created_at, \
             archived_at) \
             SELECT 'p' || q.n, 'c' || q.n, CASE WHEN q.n < 99 THEN 1800000000000 ELSE 1 END, 0, \
             'scheduled', 'KRW', 60000, 100000, 8, 40, 1, 0, CASE WHEN q.n = 99 THEN 2 END FROM {n2}"
        ),
        format!(
            "INSERT INTO sections (performance_id, ordinal, name, price_minor, rows_json, total, \
             available, held, sold, blocked) \
             SELECT 'p' || q.n, 0, 'Stalls', 100, '[]', 300, 200, 10, 90, 0 FROM {n2}"
        ),
        format!(
            "INSERT INTO seats (performance_id, id, section, row_rank, row_name, number, row_seats, \
             price_minor, state, reservation_id, user_id, held_until, version, serial) \
             SELECT 'p' || q.n, 's' || k.n, 0, (k.n - k.n % 20) / 20 + 1, 'A', k.n % 20 + 1, 20, \
             100, {seat_state}, {reservation}, {user}, {held_until}, k.n % 50, 0 \
             FROM {n2}, {n3} WHERE k.n < 300"
        ),
        format!(
            "INSERT INTO reservations (id, performance_id, user_id, activation_id, state, currency, \
             total_minor, payment_id, created_at, expires_at, extended, version) \
             SELECT 'r' || k.n, 'p' || (k.n % 100), 'u' || k.n, {}, \
             CASE WHEN k.n < 9000 THEN 'confirmed' ELSE 'held' END, 'KRW', 100, \
             CASE WHEN k.n < 9000 THEN 'y' || k.n END, k.n, \
             CASE WHEN k.n >= 9000 AND k.n < 9500 THEN 1 ELSE 1800000000000 END, FALSE, 1 FROM {n4}",
            activation_of("k.n")
        ),
        format!(
            "INSERT INTO reservation_seats (reservation_id, ordinal, seat_id, price_minor) \
             SELECT 'r' || k.n, 0, 's' || CAST({seat} AS DECIMAL(10, 0)), 100 FROM {n4}"
        ),
        format!(
            "INSERT INTO tickets (performance_id, seat_id, serial, reservation_id, user_id, live, \
             issued_at) SELECT 'p' || (k.n % 100), 's' || CAST({seat} AS DECIMAL(10, 0)), 0, \
             'r' || k.n, 'u' || k.n, 1, 0 FROM {n4} WHERE k.n < 9000"
        ),
        format!(
            "INSERT INTO payments (id, reservation_id, user_id, method, state, currency, \
             amount_minor, refunded_minor, refunds, live, created_at) \
             SELECT 'y' || k.n, 'r' || k.n, 'u' || k.n, 'wallet', 'succeeded', 'KRW', 100, 0, 0, \
             1, 0 FROM {n4} WHERE k.n < 9000"
        ),
        format!(
            "INSERT INTO ledger_entries (id, kind, reservation_id, payment_id, reason, created_at) \
             SELECT 'y' || k.n, 'payment', 'r' || k.n, 'y' || k.n, '', 0 FROM {n4}"
        ),
        format!(
            "INSERT INTO ledger_postings (account, currency, sequence, entry_id, amount_minor, \
             balance_after_minor) SELECT 'user:u' || k.n, 'KRW', 1, 'y' || k.n, -100, 900 FROM {n4}"
        ),
        format!(
            "INSERT INTO accounts (name, currency, balance_minor, postings) \
             SELECT 'user:u' || k.n, 'KRW', 900, 1 FROM {n4}"
        ),
        format!(
            "INSERT INTO payment_intents (id, user_id, purpose, state, currency, amount_minor, \
             created_at, tries, next_at, provider, provider_id) SELECT 'i' || k.n, 'u' || k.n, \
             'top_up', CASE WHEN k.n < 9990 THEN 'succeeded' ELSE 'pending' END, 'KRW', 100, 0, 0, \
             k.n, 'stub', 'pi' || k.n FROM {n4}"
        ),
        format!(
            "INSERT INTO gateway_refunds (id, intent_id, state, currency, amount_minor, created_at, \
             tries, next_at, provider) SELECT 'g' || k.n, 'i' || k.n, \
             CASE WHEN k.n < 9990 THEN 'done' ELSE 'pending' END, 'KRW', 100, 0, 0, k.n, 'stub' \
             FROM {n4}"
        ),
    ]
}

/// What the cleaner looks for: holds, attempts to pay and what providers told, all
/// long over.
fn litter() -> Vec<String> {
    let n4 = numbers(4, "k");
    vec![
        format!(
            "INSERT INTO reservations (id, performance_id, user_id, state, currency, total_minor, \
             created_at, expires_at, ended_at, extended, version) \
             SELECT 'x' || k.n, 'p' || (k.n % 99), 'u' || k.n, \
             CASE WHEN k.n % 2 = 0 THEN 'expired' ELSE 'released' END, 'KRW', 100, \
             k.n, k.n, k.n, FALSE, 1 FROM {n4}"
        ),
        format!(
            "INSERT INTO payment_intents (id, user_id, purpose, state, currency, amount_minor, \
             created_at, settled_at, tries, next_at, provider, provider_id) SELECT 'j' || k.n, \
             'u' || k.n, 'top_up', 'declined', 'KRW', 100, k.n, k.n, 0, k.n, 'stub', 'pj' || k.n \
             FROM {n4}"
        ),
        format!(
            "INSERT INTO returned_seats (reservation_id, seat_id, price_minor, paid, returned_at) \
             SELECT 'x' || k.n, 's1', 100, FALSE, k.n FROM {n4}"
        ),
        format!(
            "INSERT INTO gateway_events (provider, id, received_at) \
             SELECT 'stub', 'e' || k.n, k.n FROM {n4}"
        ),
    ]
}

/// A hundred campaigns, each with coupons of a thousand users; each user has ten.
fn coupons() -> Vec<String> {
    let (n1, n2, n4) = (numbers(1, "q"), numbers(2, "q"), numbers(4, "k"));
    vec![
        format!(
            "INSERT INTO campaigns (id, name, stock, issued, percent, concerts, performances, \
             version, created_at) SELECT 'm' || q.n, 'A campaign', 2000, 1000, 10, '[]', '[]', 1, 0 \
             FROM {n2}"
        ),
        format!(
            "INSERT INTO coupons (id, campaign_id, user_id, state, issued_at) \
             SELECT 'k' || (10000 * q.n + k.n), 'm' || ((k.n + q.n) % 100), 'u' || k.n, 'available', \
             k.n FROM {n4}, {n1}"
        ),
    ]
}

fn rows_of_rooms() -> Vec<String> {
    let (n1, n4) = (numbers(1, "q"), numbers(4, "k"));
    let of_state = |activated: &str, active: &str, ended: &str| {
        format!(
            "CASE WHEN k.n < 500 THEN {active} WHEN k.n < 1000 THEN {activated} ELSE {ended} END"
        )
    };
    vec![
        format!(
            "INSERT INTO rooms (id, display_name, epoch, version, policy, opened, paused, sold_out, \
             closed, message, created_at) \
             SELECT 'room' || q.n, '', 1, 1, '{{}}', TRUE, FALSE, FALSE, FALSE, '', 0 FROM {n1}"
        ),
        format!(
            "INSERT INTO activations (id, room_id, lane, number, user_id, state, reason, \
             activated_at, claim_by, claimed_at, expire_time, ended_at) \
             SELECT {}, 'room' || (k.n % 10), 0, \
             k.n, 'u' || k.n, {}, {}, 0, 1800000000000, {}, {}, {} FROM {n4}",
            activation_of("k.n"),
            of_state("'activated'", "'active'", "'ended'"),
            of_state("NULL", "NULL", "'completed'"),
            of_state("NULL", "1", "1"),
            of_state("NULL", "1", "1"),
            of_state("NULL", "NULL", "1"),
        ),
        format!(
            "INSERT INTO outbox (aggregate, version, kind, payload, partition_no, created_at, \
             published_at, attempts, next_attempt_at, dead) \
             SELECT 'reservation:r' || k.n, 1, 'reservation.confirmed', '{{}}', \
             k.n % {OUTBOX_PARTITIONS}, k.n, CASE WHEN k.n < 9000 THEN 1 END, 0, 0, FALSE FROM {n4}"
        ),
    ]
}

pub async fn fill(store: &SqlStore) {
    let filled = store.write((), |tx, ()| {
        async move {
            let all = rows().into_iter().chain(litter()).chain(coupons());
            let all = all.chain(rows_of_rooms());
            for insert in all {
                execute(tx, &insert, []).await?;
            }
            let answers = format!(
                "INSERT INTO idempotency (user_id, rpc, idempotency_key, request_hash, response, \
                 created_at) SELECT 'u' || k.n, 'HoldSeats', 'k' || k.n, $1, $1, 1699999999999 \
                 FROM {}",
                numbers(4, "k")
            );
            execute(tx, &answers, [vec![1_u8].into()]).await?;
            analyze(tx).await
        }
        .boxed()
    });
    filled.await.expect("fills");
}

async fn analyze(tx: &Tx) -> Result<(), SalesError> {
    let analyze = match tx.get_database_backend() {
        DbBackend::MySql => {
            "ANALYZE TABLE seats, reservations, reservation_seats, tickets, payments, \
             ledger_entries, ledger_postings, accounts, activations, outbox, idempotency, \
             payment_intents, gateway_refunds, gateway_events, returned_seats, campaigns, coupons"
        }
        _ => "ANALYZE",
    };
    tx.execute_unprepared(analyze).await?;
    Ok(())
}
