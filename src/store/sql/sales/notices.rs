//! Leaving notices, some at once.
//!
//! What is due is read first, so that nothing is locked or written where nothing
//! is, and again under the locks of its performances. Those are waited for: a
//! performance that many want is never passed over. Rows say what was told
//! (`reservations.pay_asked_at`, `reminded_for`), in the transaction of the event.
//!
//! A performance whose tickets were all gone through is marked by its date
//! (`performances.reminded_for`): at another one it is due again.

use std::collections::BTreeSet;

use async_trait::async_trait;
use futures_util::FutureExt;
use serde_json::Value;

use super::super::columns::time_to_column;
use super::super::list::{Column, List, Update};
use super::super::outbox::{self, Event};
use super::super::query::{all, execute, one};
use super::super::{SqlStore, Tx, locks};
use super::{hold, reservations};
use crate::domain::ids::ResourceId;
use crate::domain::time::UnixMs;
use crate::store::sales::SalesError;
use crate::store::sales::notices::{Notice, Noticed, Notices, PAY_SOON, REMINDER, Reminded};

const DUE: &str = include_str!("notices/pay_soon.sql");

const IDS: &[Column] = &[Column::Text("id")];

const ASKED: Update = Update {
    table: "reservations",
    set: "pay_asked_at = $1",
    on: "reservations.id = v.id AND COALESCE(reservations.pay_asked_at, -1) = -1",
};

const STARTING: &str = "\
SELECT id, starts_at FROM performances \
WHERE starts_at > $1 AND starts_at <= $2 AND state = 'scheduled' AND archived_at IS NULL \
AND COALESCE(reminded_for, -1) <> starts_at AND ($3 = '' OR id = $3) \
ORDER BY starts_at, id LIMIT 1";

const TICKETS: &str = "\
SELECT ticket.seat_id, ticket.reservation_id, \
CAST(CASE WHEN COALESCE(reservation.reminded_for, -1) = $4 THEN 1 ELSE 0 END AS BIGINT) \
AS was_told \
FROM tickets AS ticket \
LEFT JOIN reservations AS reservation ON reservation.id = ticket.reservation_id \
WHERE ticket.performance_id = $1 AND ticket.seat_id > $2 AND ticket.live = 1 \
ORDER BY ticket.seat_id LIMIT $3";

const TOLD: Update = Update {
    table: "reservations",
    set: "reminded_for = $1",
    on: "reservations.id = v.id AND COALESCE(reservations.reminded_for, -1) <> $1",
};

const ALL_TOLD: &str = "UPDATE performances SET reminded_for = $2 WHERE id = $1";

const STILL_HELD: &str = "\
SELECT hold.id FROM reservations AS hold \
JOIN performances AS performance ON performance.id = hold.performance_id \
LEFT JOIN payments AS payment ON payment.id = hold.payment_id \
WHERE hold.id = $1 AND hold.state = 'held' AND hold.expires_at > $2 \
AND performance.state = 'scheduled' AND COALESCE(payment.state, '') <> 'pending'";

const STILL_NEAR: &str = "\
SELECT bought.id FROM reservations AS bought \
JOIN performances AS performance ON performance.id = bought.performance_id \
WHERE bought.id = $1 AND bought.state = 'confirmed' AND performance.state = 'scheduled' \
AND performance.starts_at = $3 AND performance.starts_at > $2";

/// A hold that is due: its performance, itself, its end.
type Due = (ResourceId, ResourceId, UnixMs);

async fn due(
    tx: &Tx,
    before_ms: u64,
    from: UnixMs,
    events_max: u32,
) -> Result<Vec<Due>, SalesError> {
    let now = tx.now();
    let values = [
        time_to_column(from.max(now.plus_ms(1))).into(),
        time_to_column(now.plus_ms(before_ms)).into(),
        time_to_column(UnixMs(before_ms)).into(),
        i64::from(events_max).into(),
    ];
    let rows = all(tx, DUE, values).await?;
    let read = rows.iter().map(|row| {
        Ok((
            row.id("performance_id")?,
            row.id("id")?,
            row.time("expires_at")?,
        ))
    });
    read.collect()
}

pub async fn pay_soon(
    tx: &Tx,
    before_ms: u64,
    from: UnixMs,
    events_max: u32,
) -> Result<Noticed<UnixMs>, SalesError> {
    let mut found = due(tx, before_ms, from, events_max).await?;
    let is_full = u32::try_from(found.len()).is_ok_and(|count| count >= events_max);
    let next = found.last().map(|(_, _, ends)| *ends).filter(|_| is_full);
    if !tx.is_alone() {
        let of: BTreeSet<ResourceId> = found.iter().map(|(of, _, _)| of.clone()).collect();
        locks::performances(tx, &of).await?;
        // Paid, ended or asked for meanwhile; others are left to another step.
        found = due(tx, before_ms, from, events_max).await?;
        found.retain(|(performance, _, _)| of.contains(performance));
    }
    let ids: BTreeSet<&ResourceId> = found.iter().map(|(_, id, _)| id).collect();
    let more = |ends: UnixMs| ("hold_expires_at", Value::from(ends.0));
    tell(tx, PAY_SOON, &ids, |held| more(held.expires_at)).await?;
    mark(tx, &ids, &ASKED, tx.now());
    Ok(Noticed {
        events: count(&ids),
        next,
    })
}

fn count(ids: &BTreeSet<&ResourceId>) -> u64 {
    u64::try_from(ids.len()).unwrap_or(u64::MAX)
}

fn mark(tx: &Tx, ids: &BTreeSet<&ResourceId>, how: &Update, at: UnixMs) {
    let mut marked = List::new(IDS);
    for id in ids {
        marked.push([id.as_str().into()]);
    }
    marked.update(tx, how, [time_to_column(at).into()]);
}

/// An event for each, with one member more than others of a reservation.
async fn tell(
    tx: &Tx,
    kind: &'static str,
    ids: &BTreeSet<&ResourceId>,
    more: impl Fn(&crate::domain::sale::hold::Reservation) -> (&'static str, Value),
) -> Result<(), SalesError> {
    let mut events = Vec::with_capacity(ids.len());
    for (id, of_owner) in reservations::many(tx, ids).await? {
        let mut payload = hold::event(&of_owner.reservation);
        let (name, value) = more(&of_owner.reservation);
        payload[name] = value;
        events.push(Event {
            aggregate: format!("reservation:{id}"),
            kind,
            payload,
            trace: None,
        });
    }
    outbox::append_all(tx, &events);
    Ok(())
}

/// The next performance whose tickets are to be gone through, and its date.
async fn starting(
    tx: &Tx,
    before_ms: u64,
    only: &str,
) -> Result<Option<(ResourceId, UnixMs)>, SalesError> {
    let now = tx.now();
    let values = [
        time_to_column(now).into(),
        time_to_column(now.plus_ms(before_ms)).into(),
        only.into(),
    ];
    let row = one(tx, STARTING, values).await?;
    row.map(|row| Ok((row.id("id")?, row.time("starts_at")?)))
        .transpose()
}

pub async fn remind(
    tx: &Tx,
    before_ms: u64,
    after: &Reminded,
    events_max: u32,
) -> Result<Noticed<Reminded>, SalesError> {
    let (id, seat) = match &after.within {
        Some((id, seat)) => (id.clone(), seat.as_str()),
        None => match starting(tx, before_ms, "").await? {
            Some((id, _)) => (id, ""),
            None => {
                return Ok(Noticed {
                    events: 0,
                    next: None,
                });
            }
        },
    };
    locks::performances(tx, [&id]).await?;
    let next = |within| Some(Reminded { within });
    // Moved, cancelled or done meanwhile.
    let Some((_, starts_at)) = starting(tx, before_ms, id.as_str()).await? else {
        return Ok(Noticed {
            events: 0,
            next: next(None),
        });
    };
    let values = [
        id.as_str().into(),
        seat.into(),
        i64::from(events_max).into(),
        time_to_column(starts_at).into(),
    ];
    let tickets = all(tx, TICKETS, values).await?;
    let mut untold = BTreeSet::new();
    for ticket in &tickets {
        if ticket.count("was_told")? == 0 {
            untold.insert(ticket.id("reservation_id")?);
        }
    }
    let ids: BTreeSet<&ResourceId> = untold.iter().collect();
    tell(tx, REMINDER, &ids, |_| ("starts_at", starts_at.0.into())).await?;
    mark(tx, &ids, &TOLD, starts_at);
    let within = match tickets.last() {
        Some(last) if u32::try_from(tickets.len()).is_ok_and(|count| count >= events_max) => {
            Some((id, last.text("seat_id")?))
        }
        _ => {
            let values = [id.as_str().into(), time_to_column(starts_at).into()];
            execute(tx, ALL_TOLD, values).await?;
            None
        }
    };
    Ok(Noticed {
        events: count(&ids),
        next: next(within),
    })
}

async fn still_is(tx: &Tx, notice: &Notice) -> Result<bool, SalesError> {
    let now = time_to_column(tx.now());
    let found = match notice {
        Notice::PaySoon { reservation } => {
            one(tx, STILL_HELD, [reservation.as_str().into(), now.into()]).await?
        }
        Notice::Reminder {
            reservation,
            starts_at,
        } => {
            let values = [
                reservation.as_str().into(),
                now.into(),
                time_to_column(*starts_at).into(),
            ];
            one(tx, STILL_NEAR, values).await?
        }
    };
    Ok(found.is_some())
}

#[async_trait]
impl Notices for SqlStore {
    async fn has_pay_soon(&self, before_ms: u64) -> Result<bool, SalesError> {
        self.read(before_ms, |tx, before_ms| {
            async move { Ok(!due(tx, *before_ms, UnixMs(0), 1).await?.is_empty()) }.boxed()
        })
        .await
    }

    async fn pay_soon(
        &self,
        before_ms: u64,
        from: UnixMs,
        events_max: u32,
    ) -> Result<Noticed<UnixMs>, SalesError> {
        let input = (before_ms, from, events_max);
        self.write_background(input, |tx, &(before_ms, from, events_max)| {
            pay_soon(tx, before_ms, from, events_max).boxed()
        })
        .await
    }

    async fn has_reminders(&self, before_ms: u64) -> Result<bool, SalesError> {
        self.read(before_ms, |tx, before_ms| {
            async move { Ok(starting(tx, *before_ms, "").await?.is_some()) }.boxed()
        })
        .await
    }

    async fn remind(
        &self,
        before_ms: u64,
        after: Reminded,
        events_max: u32,
    ) -> Result<Noticed<Reminded>, SalesError> {
        let input = (before_ms, after, events_max);
        self.write_background(input, |tx, (before_ms, after, events_max)| {
            remind(tx, *before_ms, after, *events_max).boxed()
        })
        .await
    }

    async fn still_is(&self, notice: Notice) -> Result<bool, SalesError> {
        self.read(notice, |tx, notice| still_is(tx, notice).boxed())
            .await
    }
}
