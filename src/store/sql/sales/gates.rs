//! Tickets at the gate.
//!
//! The first to redeem one is the one whose UPDATE finds it not redeemed. What
//! voids tickets holds off all else of their performance until it is over, and
//! gives them a later time than those before: so the times of voided tickets are
//! in the order of their commits, and a gate that asks from the last it saw
//! misses none, within a millisecond and after the clock was set back too.

use async_trait::async_trait;
use futures_util::FutureExt;
use sea_orm::Value;

use super::super::columns::{time_to_column, to_column};
use super::super::query::{Row, all, execute, one};
use super::super::{SqlStore, Tx};
use crate::domain::ids::ResourceId;
use crate::domain::time::UnixMs;
use crate::store::sales::{
    Gates, Listing, Page, Redeemed, SalesError, SoldTicket, VoidedCursor, VoidedTicket,
};

const REDEEM: &str = "\
UPDATE tickets SET redeemed_at = $5 \
WHERE performance_id = $1 AND seat_id = $2 AND serial = $3 AND reservation_id = $4 \
AND live = 1 AND redeemed_at IS NULL \
AND EXISTS (SELECT 1 FROM performances WHERE id = $1 AND state = 'scheduled')";

const REDEEMED: &str = "\
SELECT redeemed_at FROM tickets \
WHERE performance_id = $1 AND seat_id = $2 AND serial = $3 AND reservation_id = $4 AND live = 1 \
AND EXISTS (SELECT 1 FROM performances WHERE id = $1 AND state = 'scheduled')";

const KNOWN: &str = "SELECT id FROM performances WHERE id = $1";

const VOIDED: &str = "\
SELECT seat_id, serial, voided_at, redeemed_at FROM tickets \
WHERE performance_id = $1 AND voided_at >= $2 \
AND (voided_at > $3 OR (voided_at = $3 AND (seat_id > $4 OR (seat_id = $4 AND serial > $5)))) \
ORDER BY voided_at, seat_id, serial LIMIT $6";

#[async_trait]
impl Gates for SqlStore {
    async fn redeem_ticket(&self, ticket: SoldTicket) -> Result<Redeemed, SalesError> {
        self.write(ticket, |tx, ticket| redeem(tx, ticket).boxed())
            .await
    }

    async fn voided_tickets(
        &self,
        performance: ResourceId,
        since: UnixMs,
        page: Page<VoidedCursor>,
    ) -> Result<Listing<VoidedTicket, VoidedCursor>, SalesError> {
        self.read(
            (performance, since, page),
            |tx, (performance, since, page)| voided(tx, performance, *since, page).boxed(),
        )
        .await
    }
}

pub async fn redeem(tx: &Tx, ticket: &SoldTicket) -> Result<Redeemed, SalesError> {
    let named = || -> [Value; 4] {
        [
            ticket.performance.as_str().into(),
            ticket.seat.as_str().into(),
            to_column(ticket.serial).into(),
            ticket.reservation.as_str().into(),
        ]
    };
    let now = time_to_column(tx.now());
    let values: Vec<Value> = named().into_iter().chain([now.into()]).collect();
    if execute(tx, REDEEM, values).await? == 1 {
        return Ok(Redeemed {
            redeemed_at: tx.now(),
            before: false,
        });
    }
    let row = one(tx, REDEEMED, named()).await?;
    let redeemed_at = row.ok_or(SalesError::NotFound)?.time("redeemed_at")?;
    Ok(Redeemed {
        redeemed_at,
        before: true,
    })
}

pub async fn voided(
    tx: &Tx,
    performance: &ResourceId,
    since: UnixMs,
    page: &Page<VoidedCursor>,
) -> Result<Listing<VoidedTicket, VoidedCursor>, SalesError> {
    let known = one(tx, KNOWN, [performance.as_str().into()]).await?;
    known.ok_or(SalesError::NotFound)?;
    let (after, seat, serial) = page.after.as_ref().map_or((-1, "", 0), |after| {
        let at = time_to_column(after.voided_at);
        (at, after.seat.as_str(), to_column(after.serial))
    });
    let values = [
        performance.as_str().into(),
        // Not from the beginning at each page.
        time_to_column(since).max(after).into(),
        after.into(),
        seat.into(),
        serial.into(),
        i64::from(page.size() + 1).into(),
    ];
    let read = |row: &Row| {
        Ok(VoidedTicket {
            seat: row.id("seat_id")?,
            serial: row.count("serial")?,
            voided_at: row.time("voided_at")?,
            redeemed_at: row.opt_time("redeemed_at")?,
        })
    };
    let rows = all(tx, VOIDED, values).await?;
    let tickets = rows
        .iter()
        .map(read)
        .collect::<Result<Vec<VoidedTicket>, SalesError>>()?;
    Ok(page.listing(tickets, |last| VoidedCursor {
        voided_at: last.voided_at,
        seat: last.seat.clone(),
        serial: last.serial,
    }))
}
