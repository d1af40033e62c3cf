//! The queue and the bus: in this process, or in Redis.

use std::sync::Arc;

use tokio_util::task::TaskTracker;

use crate::bus::EventBus;
use crate::bus::local::LocalBus;
use crate::bus::redis::RedisBus;
use crate::config::Config;
use crate::redis_link::{RedisClient, Unfit};
use crate::store::memory::MemoryQueue;
use crate::store::queue::QueueStore;
use crate::store::redis::RedisQueue;

use super::StartError;
use super::stores::Stores;
use super::tasks::Tasks;

pub(super) struct Line {
    pub(super) queue: Arc<dyn QueueStore>,
    pub(super) bus: Arc<dyn EventBus>,
}

/// Chosen by `redis_url`; `node` is this process's alone.
pub(super) async fn make(
    config: &Config,
    stores: &Stores,
    node: u64,
    tasks: &Tasks,
    steps: &TaskTracker,
) -> Result<Line, StartError> {
    let Some(url) = &config.redis_url else {
        let bus: Arc<dyn EventBus> = Arc::new(LocalBus::default());
        let queue = MemoryQueue::new(Arc::clone(&stores.clock), Arc::clone(&bus));
        let queue = Arc::new(queue);
        return Ok(Line { queue, bus });
    };
    let client = RedisClient::new(url.reveal(), &config.redis, &stores.metrics);
    let client = client.map_err(|error| StartError::Setting {
        key: error.key,
        why: error.why,
    })?;
    client.check().await.map_err(|unfit| match unfit {
        Unfit::Link(error) => StartError::Store {
            why: error.to_string(),
        },
        unfit => StartError::Setting {
            key: "redis_url",
            why: unfit.to_string(),
        },
    })?;
    let (bus, run) = RedisBus::new(&client, &config.redis, node);
    tasks.spawn_named("bus", run);
    let queue = RedisQueue::new(client, steps.clone(), Arc::clone(&stores.entropy));
    Ok(Line {
        queue: Arc::new(queue),
        bus: Arc::new(bus),
    })
}
