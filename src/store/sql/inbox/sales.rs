//! Seats sold and revenue, counted from events: one statement per performance of
//! a batch, in the order of their ids, so that two batches never wait for each
//! other in a circle.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::Tx;
use super::super::query::{execute, one};
use super::body;
use crate::bus::OutboxEvent;
use crate::domain::ids::ResourceId;
use crate::domain::sale::currency::Currency;
use crate::domain::sale::money::Money;
use crate::store::inbox::InboxError;

const ADD: &str = "\
UPDATE sales_figures SET sold = sold + $3, revenue_minor = revenue_minor + $4 \
WHERE performance_id = $1 AND currency = $2";

const FIRST: &str = "\
INSERT INTO sales_figures (performance_id, currency, sold, revenue_minor) \
VALUES ($1, $2, $3, $4)";

#[derive(Deserialize)]
struct SeatsMoved {
    performance_id: ResourceId,
    seat_ids: Vec<ResourceId>,
    total: Money,
}

const PERFORMANCE_OF: &str = "SELECT performance_id FROM reservations WHERE id = $1";

/// Servers before 0.1.0 left no performance.
#[derive(Deserialize)]
struct MoneyMoved {
    performance_id: Option<ResourceId>,
    reservation_id: Option<ResourceId>,
    amount: Money,
}

#[derive(Default)]
struct Change {
    sold: i64,
    revenue_minor: i64,
}

pub async fn count(tx: &Tx, events: &[&OutboxEvent]) -> Result<(), InboxError> {
    let mut changes: BTreeMap<(ResourceId, Currency), Change> = BTreeMap::new();
    for event in events {
        let (sold, revenue) = match event.kind.as_str() {
            "reservation.confirmed" => (1, 0),
            "reservation.cancelled" => (-1, 0),
            "payment.succeeded" => (0, 1),
            "payment.refunded" => (0, -1),
            _ => continue,
        };
        if sold != 0 {
            let moved: SeatsMoved = body(event)?;
            let key = (moved.performance_id, moved.total.currency);
            let seats = i64::try_from(moved.seat_ids.len()).unwrap_or(i64::MAX);
            changes.entry(key).or_default().sold += sold * seats;
        } else {
            let moved: MoneyMoved = body(event)?;
            let performance = performance_of(tx, event, &moved).await?;
            let key = (performance, moved.amount.currency);
            changes.entry(key).or_default().revenue_minor += revenue * moved.amount.amount_minor;
        }
    }
    for ((performance, currency), change) in changes {
        let values = [
            performance.as_str().into(),
            currency.to_string().into(),
            change.sold.into(),
            change.revenue_minor.into(),
        ];
        if execute(tx, ADD, values.clone()).await? == 0 {
            execute(tx, FIRST, values).await?;
        }
    }
    Ok(())
}

async fn performance_of(
    tx: &Tx,
    event: &OutboxEvent,
    moved: &MoneyMoved,
) -> Result<ResourceId, InboxError> {
    if let Some(performance) = &moved.performance_id {
        return Ok(performance.clone());
    }
    let refused = |why: &str| InboxError::Refused {
        id: event.id.clone(),
        why: why.to_owned(),
    };
    let Some(reservation) = &moved.reservation_id else {
        return Err(refused("it names no performance and no reservation"));
    };
    let row = one(tx, PERFORMANCE_OF, [reservation.as_str().into()]).await?;
    let row = row.ok_or_else(|| refused("its reservation does not exist"))?;
    Ok(row.id("performance_id")?)
}
