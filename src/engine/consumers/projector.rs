//! Consumers that count in the database.

use std::sync::Arc;

use async_trait::async_trait;

use super::{ConsumeError, Consumer};
use crate::bus::OutboxEvent;
use crate::store::inbox::{Coming, Inbox, Projection};

/// Keeps one [`Projection`] up to date.
pub struct Projector {
    projection: Projection,
    inbox: Arc<dyn Inbox>,
}

impl Projector {
    #[must_use]
    pub fn new(projection: Projection, inbox: Arc<dyn Inbox>) -> Self {
        Self { projection, inbox }
    }
}

/// All there are.
#[must_use]
pub fn projectors(inbox: &Arc<dyn Inbox>) -> Vec<Arc<dyn Consumer>> {
    [Projection::Sales, Projection::Ranking]
        .into_iter()
        .map(|projection| Arc::new(Projector::new(projection, Arc::clone(inbox))) as _)
        .collect()
}

#[async_trait]
impl Consumer for Projector {
    fn name(&self) -> &'static str {
        self.projection.consumer()
    }

    fn wants(&self, kind: &str) -> bool {
        let seats = ["reservation.confirmed", "reservation.cancelled"];
        let others = match self.projection {
            Projection::Sales => ["payment.succeeded", "payment.refunded"],
            Projection::Ranking => ["seats.blocked", "seats.unblocked"],
        };
        seats.contains(&kind) || others.contains(&kind)
    }

    async fn consume(&self, events: &[OutboxEvent], coming: Coming) -> Result<usize, ConsumeError> {
        Ok(self.inbox.project(self.projection, events, coming).await?)
    }
}
