//! The queue and the bus: in this process, or in Redis.

use std::sync::Arc;

use crate::bus::EventBus;
use crate::bus::local::LocalBus;
use crate::store::memory::MemoryQueue;
use crate::store::queue::QueueStore;

use super::stores::Stores;

pub(super) struct Line {
    pub(super) queue: Arc<dyn QueueStore>,
    pub(super) bus: Arc<dyn EventBus>,
}

/// The line of a node alone.
pub(super) fn make(stores: &Stores) -> Line {
    let bus: Arc<dyn EventBus> = Arc::new(LocalBus::default());
    let queue = MemoryQueue::new(Arc::clone(&stores.clock), Arc::clone(&bus));
    Line {
        queue: Arc::new(queue),
        bus,
    }
}
