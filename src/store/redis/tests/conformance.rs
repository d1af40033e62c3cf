//! Every promise of the queue store, each on an empty server.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::task::TaskTracker;

use crate::bus::redis::RedisBus;
use crate::bus::{BusEvent, BusSubscription, EventBus as _};
use crate::clock::{Clock, ManualClock};
use crate::domain::ids::RoomId;
use crate::domain::time::UnixMs;
use crate::store::queue::conformance::{Rig, queue_store_conformance};

use super::servers::{RedisCluster, RedisServer};
use super::{client, config, queue};

/// What scripts publish, with what must live as long as the rig.
struct Published {
    heard: Box<dyn BusSubscription>,
    has_heard: bool,
    _bus: RedisBus,
    _server: Option<RedisServer>,
}

#[async_trait]
impl BusSubscription for Published {
    async fn next(&mut self) -> Option<BusEvent> {
        loop {
            match self.heard.next().await {
                // Of what was before: nothing was published yet.
                Some(BusEvent::Gap | BusEvent::RoomGap(_)) if !self.has_heard => {}
                event => {
                    self.has_heard = true;
                    return event;
                }
            }
        }
    }
}

async fn rig(url: &str, server: Option<RedisServer>) -> Rig {
    let (bus, run) = RedisBus::new(&client(url), &config(), 1);
    TaskTracker::new().spawn(run);
    bus.follow(&RoomId::parse("room").unwrap());
    // The room's channel is subscribed once this returns.
    let heard = bus.subscribe().await.unwrap();
    let clock = Arc::new(ManualClock::new(UnixMs(1_000_000)));
    let store = queue(url, Some(Arc::clone(&clock) as Arc<dyn Clock>));
    Rig {
        store: Arc::new(store),
        clock,
        bus: Box::new(Published {
            heard,
            has_heard: false,
            _bus: bus,
            _server: server,
        }),
    }
}

async fn open() -> Rig {
    let server = RedisServer::start();
    rig(&server.url(), Some(server)).await
}

queue_store_conformance!(open);

async fn flushed(cluster: &RedisCluster) -> Rig {
    for master in cluster.masters() {
        assert_eq!(master.cli(&["FLUSHALL"]), "OK");
    }
    rig(&cluster.url(), None).await
}

#[tokio::test]
async fn a_cluster_keeps_every_promise() {
    let cluster = RedisCluster::start();
    queue_store_conformance!(flushed & cluster);
}
