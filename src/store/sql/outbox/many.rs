//! Events of a batch, in one statement.

use std::collections::HashMap;

use serde_json::Value;

use super::super::Tx;
use super::super::columns::time_to_column;
use super::super::list::{Column, List};
use crate::domain::trace::Trace;
use crate::store::outbox::partition_of;

const APPEND_ALL: &str = include_str!("append_all.sql");

const EVENTS: &[Column] = &[
    Column::Integer("n"),
    Column::Text("about"),
    Column::Integer("place"),
    Column::Text("named"),
    Column::Long("body"),
    Column::Integer("part"),
    Column::Text("trace"),
];

/// An event that leaves with others.
pub struct Event {
    /// As for [`super::append`].
    pub aggregate: String,
    pub kind: &'static str,
    pub payload: Value,
    /// Of the request that caused it; `None`: the unit's.
    pub trace: Option<Trace>,
}

impl Event {
    #[must_use]
    pub fn traced(self, trace: Option<Trace>) -> Self {
        Self { trace, ..self }
    }
}

/// Leaves these in their order. The unit holds off others of their aggregates by
/// the rows that it has locked, since each event counts those before it.
pub fn append_all(tx: &Tx, events: &[Event]) {
    let mut counts: HashMap<&str, i64> = HashMap::new();
    let mut list = List::new(EVENTS);
    for (n, event) in (0_i64..).zip(events) {
        let place = counts.entry(&event.aggregate).or_default();
        *place += 1;
        list.push([
            n.into(),
            event.aggregate.as_str().into(),
            (*place).into(),
            event.kind.into(),
            event.payload.to_string().into(),
            i64::from(partition_of(&event.aggregate)).into(),
            event.trace.or(tx.trace()).map(|trace| trace.text()).into(),
        ]);
    }
    list.defer(tx, APPEND_ALL, [time_to_column(tx.now()).into()]);
}
