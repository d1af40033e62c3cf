//! The queue and the bus: in this process, or in Redis.
//!
//! A Redis that is away holds no start up: whoever has a turn buys on SQL alone,
//! on this node too. One that is there and must not be used does.

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
    pub(super) redis: Option<RedisClient>,
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
        return Ok(Line {
            queue,
            bus,
            redis: None,
        });
    };
    let client = RedisClient::new(url.reveal(), &config.redis, &stores.metrics);
    let client = client.map_err(|error| StartError::Setting {
        key: error.key,
        why: error.why,
    })?;
    match client.check().await {
        Ok(()) => {}
        Err(Unfit::Link(error)) => {
            tracing::warn!(error = %error, "redis is away: lines stand still until it answers");
        }
        Err(unfit) => {
            return Err(StartError::Setting {
                key: "redis_url",
                why: unfit.to_string(),
            });
        }
    }
    let (bus, run) = RedisBus::new(&client, &config.redis, node);
    tasks.spawn_named("bus", run);
    let queue = RedisQueue::new(client.clone(), steps.clone(), Arc::clone(&stores.entropy));
    Ok(Line {
        queue: Arc::new(queue),
        bus: Arc::new(bus),
        redis: Some(client),
    })
}
