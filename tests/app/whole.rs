//! A whole node on port 0, in a directory of its own, and the few calls that
//! every test of it begins with.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::oneshot;
use tonic::transport::{Channel, Endpoint};
use usher::app::node::Node;
use usher::app::stores::Stores;
use usher::app::{App, Stopped, Tasks, wiring};
use usher::clock::Clock;
use usher::keys::Keys;
use usher::metrics::Metrics;
use usher::proto::v1 as wire;

use crate::call::Call;
use crate::harness::{config_in, counts, soon};

pub const JOIN: &str = "/usher.v1.QueueService/Join";
pub const WATCH: &str = "/usher.v1.QueueService/Watch";
pub const GET_PLACE: &str = "/usher.v1.QueueService/GetPlace";
pub const LIST_ROOMS: &str = "/usher.v1.QueueService/ListRooms";

/// Settings that every test has; its own come behind them.
const SETTINGS: [(&str, &str); 6] = [
    ("USHER_DEMO_CATALOG", "false"),
    ("USHER_QUEUE__REBUILD_PAUSE_MS", "0"),
    ("USHER_LIMITS__JOIN_PER_MINUTE", "1000000"),
    ("USHER_LIMITS__STREAM_OPEN_PER_MINUTE", "1000000"),
    ("USHER_LIMITS__MONEY_PER_MINUTE", "1000000"),
    ("USHER_LIMITS__COUPON_PER_MINUTE", "1000000"),
];

pub struct Whole {
    pub addr: SocketAddr,
    pub keys: Arc<Keys>,
    pub metrics: Metrics,
    pub dir: TempDir,
    node: Node,
    stop: oneshot::Sender<()>,
    stopped: oneshot::Receiver<Stopped>,
}

impl Whole {
    pub async fn start(env: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        Self::start_in(dir, env, None).await
    }

    /// With the clock that credentials are judged by.
    pub async fn start_at(clock: Arc<dyn Clock>, env: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        Self::start_in(dir, env, Some(clock)).await
    }

    pub async fn start_in(
        dir: TempDir,
        env: &[(&str, &str)],
        clock: Option<Arc<dyn Clock>>,
    ) -> Self {
        let env = [&SETTINGS[..], env].concat();
        let config = config_in(Some(dir.path()), &env);
        let mut stores = Stores::open(&config).await.expect("stores");
        stores.clock = clock.unwrap_or(stores.clock);
        let node = Node::start(&config, &stores).await.expect("a node");
        let services = wiring::services(&config, &stores, &node).await;
        let metrics = Metrics::new();
        node.steer_rates(&config.steering, &metrics);
        node.report_standby(&metrics);
        let app = App::build(config, services.expect("services"), metrics.clone()).await;
        let bound = app.expect("built").bind().await.expect("bound");
        let addr = bound.addr();
        let (stop, stopping) = oneshot::channel();
        let (ended, stopped) = oneshot::channel();
        Tasks::new().spawn_named("test.app", async move {
            let stopping = async move {
                let _ = stopping.await;
            };
            let _ = ended.send(bound.run(stopping).await);
        });
        Self {
            addr,
            keys: stores.keys.current(),
            metrics,
            dir,
            node,
            stop,
            stopped,
        }
    }

    /// A clean stop; what it leaves is the directory.
    pub async fn stop(self) -> TempDir {
        self.stop.send(()).expect("still running");
        soon("a stop", self.stopped).await.expect("it ran");
        self.node.stop(Duration::from_secs(2)).await;
        self.dir
    }

    pub async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.addr)).expect("a URI");
        soon("a connection", endpoint.connect())
            .await
            .expect("connected")
    }

    /// Waits until `/metrics` has this text.
    pub async fn counts(&self, text: &str) {
        counts(&self.metrics, text).await;
    }

    /// A room that lets nobody in before the test is over, or everyone.
    pub async fn make_room(&self, root: &Caller, capacity: u32) -> String {
        let policy = wire::RoomPolicy {
            capacity,
            rate: 1_000.0,
            pass_ttl: seconds(600),
            claim_window: seconds(0),
            absence_grace: seconds(60),
            ..wire::RoomPolicy::default()
        };
        self.make_room_of(root, "room", policy).await
    }

    pub async fn make_room_of(&self, root: &Caller, key: &str, policy: wire::RoomPolicy) -> String {
        let request = wire::CreateRoomRequest {
            room: Some(wire::Room {
                name: "The waiting room".to_owned(),
                policy: Some(policy),
                ..wire::Room::default()
            }),
            idempotency_key: key.to_owned(),
        };
        let call = root.call("/usher.v1.AdminService/CreateRoom");
        let made = call.message(&request).send(&root.channel).await;
        let made: wire::CreateRoomResponse = made.ok();
        made.room.expect("a room").id
    }
}

pub fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// Someone with credentials, on a connection.
#[derive(Clone)]
pub struct Caller {
    pub channel: Channel,
    headers: Vec<(&'static str, String)>,
}

impl Caller {
    /// In development mode.
    pub fn named(channel: &Channel, user: &str) -> Self {
        Self {
            channel: channel.clone(),
            headers: vec![("x-user-id", user.to_owned())],
        }
    }

    pub fn admin(channel: &Channel) -> Self {
        Self::named(channel, "root").with("x-user-role", "admin")
    }

    pub fn bearing(channel: &Channel, token: &str) -> Self {
        Self {
            channel: channel.clone(),
            headers: vec![("authorization", format!("Bearer {token}"))],
        }
    }

    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub fn call(&self, path: &str) -> Call {
        let headers = self.headers.iter();
        headers.fold(Call::new(path), |call, (name, value)| {
            call.header(name, value)
        })
    }

    /// A place of the room, with its token.
    pub async fn join(&self, room: &str) -> wire::JoinResponse {
        let call = self.call(JOIN).message(&join(room));
        call.send(&self.channel).await.ok()
    }

    pub async fn number(&self, room: &str) -> u64 {
        self.join(room).await.place.expect("a place").number
    }
}

pub fn join(room: &str) -> wire::JoinRequest {
    wire::JoinRequest {
        room_id: room.to_owned(),
        ..wire::JoinRequest::default()
    }
}

pub fn watch(token: &str) -> wire::WatchRequest {
    wire::WatchRequest {
        place_token: token.to_owned(),
        ..wire::WatchRequest::default()
    }
}
