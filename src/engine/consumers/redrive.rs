//! What an operator does about parked events.

use std::sync::Arc;

use super::{ConsumeError, Consumer};
use crate::store::inbox::{Coming, DeadLetter};

/// What became of a parked event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redriven {
    Consumed,
    /// Someone else has ended it meanwhile.
    Gone,
    /// It stays parked.
    Failed(String),
}

/// Hands a parked event to its consumer once more: its effect and the end of
/// its record are one transaction.
pub async fn redrive(consumers: &[Arc<dyn Consumer>], letter: &DeadLetter) -> Redriven {
    let of_it = |consumer: &&Arc<dyn Consumer>| consumer.name() == letter.consumer;
    let Some(consumer) = consumers.iter().find(of_it) else {
        return Redriven::Failed(format!("there is no consumer {}", letter.consumer));
    };
    if !consumer.wants(&letter.event.kind) {
        return Redriven::Failed(format!(
            "{} is no event of this consumer",
            letter.event.kind
        ));
    }
    let event = std::slice::from_ref(&letter.event);
    match consumer.consume(event, Coming::Redriven).await {
        Ok(0) => Redriven::Gone,
        Ok(_) => Redriven::Consumed,
        Err(
            ConsumeError::Refused { why, .. }
            | ConsumeError::Failed { why, .. }
            | ConsumeError::Unavailable(why),
        ) => Redriven::Failed(why),
    }
}
