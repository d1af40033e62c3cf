//! What sinks that stand before another have in common.

use std::collections::BTreeMap;

use crate::bus::{Delivery, EventSink, OutboxEvent, Outcome};

/// Hands on the events of a batch that have no fate yet, and answers for all.
/// What follows an event that is not there yet, of its aggregate, shares its fate.
pub async fn hand_on(
    next: &dyn EventSink,
    batch: &[OutboxEvent],
    mut fates: Vec<Option<Outcome>>,
) -> Delivery {
    hold_back(batch, &mut fates);
    if fates.iter().all(Option::is_none) {
        return next.deliver(batch).await;
    }
    let going_on = batch.iter().zip(&fates).filter(|(_, fate)| fate.is_none());
    let going_on: Vec<OutboxEvent> = going_on.map(|(event, _)| event.clone()).collect();
    let Delivery { outcomes, trouble } = next.deliver(&going_on).await;
    let mut of_next = outcomes.into_iter();
    let outcomes = fates
        .into_iter()
        .map(|fate| fate.or_else(|| of_next.next()).unwrap_or(Outcome::Later));
    Delivery {
        outcomes: outcomes.collect(),
        trouble,
    }
}

fn hold_back(batch: &[OutboxEvent], fates: &mut [Option<Outcome>]) {
    let mut held_back: BTreeMap<&str, Outcome> = BTreeMap::new();
    for (event, fate) in batch.iter().zip(fates) {
        if let Some(held) = held_back.get(event.aggregate.as_str()) {
            *fate = Some(held.clone());
        } else if let Some(open @ (Outcome::Later | Outcome::Waits)) = fate {
            held_back.insert(&event.aggregate, open.clone());
        }
    }
}
