//! The adapter on real servers.

mod conformance;
mod costs;
mod full;
mod model;
mod steps;

use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::RedisQueue;
use crate::clock::Clock;
use crate::config::{RedisConfig, Sources};
use crate::entropy::SystemEntropy;
use crate::metrics::Metrics;
use crate::redis_link::{RedisClient, servers};

fn config() -> RedisConfig {
    let config = Sources::default().load().expect("valid defaults").redis;
    RedisConfig {
        // Many servers start at once here; what is slow is not wrong.
        response_timeout_ms: 30_000,
        connect_timeout_ms: 30_000,
        ..config
    }
}

fn client(url: &str) -> RedisClient {
    RedisClient::new(url, &config(), &Metrics::new()).expect("a target")
}

fn queue(url: &str, clock: Option<Arc<dyn Clock>>) -> RedisQueue {
    let (tasks, entropy) = (TaskTracker::new(), Arc::new(SystemEntropy));
    RedisQueue::with_clock(client(url), tasks, entropy, clock)
}
