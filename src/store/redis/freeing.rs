//! Giving slots back: those of one room travel together ([`gather`]).

use std::sync::Arc;

use crate::domain::ids::{ActivationId, RoomRef};
use crate::domain::place::EndReason;
use crate::store::queue::QueueError;

use super::Shared;
use super::gather::{self, Gather};
use super::link::Args;

/// Slots that wait to be given back.
pub(super) type Frees = Gather<(ActivationId, EndReason), ()>;
type Asked = gather::Asked<(ActivationId, EndReason), ()>;

impl Shared {
    pub(super) async fn free(
        self: &Arc<Self>,
        room: &RoomRef,
        id: ActivationId,
        reason: EndReason,
    ) -> Result<(), QueueError> {
        let (asked, answered) = gather::ask(room, (id, reason));
        if self.frees.add(asked) {
            let (shared, room) = (Arc::clone(self), room.id.clone());
            self.tasks.spawn(async move {
                let mut serving = shared.frees.serving(&room);
                while let Some(batch) = serving.batch() {
                    shared.free_all(batch).await;
                }
            });
        }
        answered.await.unwrap_or(Err(QueueError::Unavailable))
    }

    async fn free_all(&self, batch: Vec<Asked>) {
        let room = batch[0].room.clone();
        let mut args = Args::default();
        for asked in &batch {
            let (id, reason) = asked.request;
            args.push(&id.to_string());
            args.push(reason.as_str());
        }
        let freed = self.run(&self.steps.free, &room, args).await;
        gather::answer_all(batch, &freed.map(drop));
    }
}
