//! Three nodes, and a room where few are let in.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use tempfile::TempDir;
use usher::proto::v1 as wire;
use usher::truth::proxy::Proxy;

use crate::crowd::Site;
use crate::harness::soon;
use crate::node::Node;
use crate::people::{Ticket, User, Watching};
use crate::postgres;
use crate::redis::RedisServer;

pub struct House {
    pub redis: RedisServer,
    pub nodes: Vec<Node>,
    pub room: String,
    /// Where nodes look for Redis.
    redis_url: String,
    database_url: String,
    dir: TempDir,
}

impl House {
    /// With one room, in which so many may be active at once.
    pub async fn build(capacity: u32) -> Self {
        Self::build_with(3, capacity).await
    }

    /// With so many nodes.
    pub async fn build_with(nodes: usize, capacity: u32) -> Self {
        let redis = RedisServer::start();
        let redis_url = redis.url();
        let mut house = Self::at(redis, redis_url, nodes).await;
        house.room = house.make_room("room", capacity).await;
        house
    }

    /// Without a room.
    pub async fn on(redis: RedisServer) -> Self {
        let redis_url = redis.url();
        Self::at(redis, redis_url, 3).await
    }

    /// Without a room; nodes reach Redis through the proxy only.
    pub async fn behind_a_proxy() -> (Self, Proxy) {
        let redis = RedisServer::start();
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, redis.port));
        let proxy = Proxy::start(addr, 1).await.expect("a port");
        let redis_url = format!("redis://{}", proxy.addr());
        (Self::at(redis, redis_url, 3).await, proxy)
    }

    /// A node for each directory of keys.
    pub async fn with_keys_in(dirs: &[&Path], capacity: u32) -> Self {
        let redis = RedisServer::start();
        let redis_url = redis.url();
        let mut house = Self::at(redis, redis_url, 0).await;
        for keys in dirs {
            house.start_node_with_keys_in(keys).await;
        }
        house.room = house.make_room("room", capacity).await;
        house
    }

    pub async fn start_node_with_keys_in(&mut self, keys: &Path) {
        let (dir, database_url) = (self.dir.path(), &self.database_url);
        let node = Node::start_mounted(dir, database_url, &self.redis_url, keys).await;
        self.nodes.push(node);
    }

    async fn at(redis: RedisServer, redis_url: String, nodes: usize) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let database = postgres::shared();
        let database_url = database.url(&database.create(None));
        let mut house = Self {
            redis,
            nodes: Vec::new(),
            room: String::new(),
            redis_url,
            database_url,
            dir,
        };
        for _node in 0..nodes {
            house.start_node().await;
        }
        house
    }

    pub async fn start_node(&mut self) {
        let node = Node::start(self.dir.path(), &self.database_url, &self.redis_url).await;
        self.nodes.push(node);
    }

    pub fn user(&self, node: usize, id: &str) -> User {
        User::new(self.nodes[node].channel.clone(), id)
    }

    /// What a crowd needs to know of it.
    pub fn site(&self) -> Site {
        Site {
            channels: self.nodes.iter().map(|node| node.channel.clone()).collect(),
            database_url: self.database_url.clone(),
            dir: self.dir.path().to_owned(),
        }
    }

    /// Made on the first node, known to all when this returns.
    pub async fn make_room(&self, key: &str, capacity: u32) -> String {
        self.make_room_as(key, policy(capacity)).await
    }

    /// The waiting room of a sale.
    pub async fn make_room_of(&self, key: &str, capacity: u32, protects: wire::Protects) -> String {
        let policy = wire::RoomPolicy {
            protects: Some(protects),
            ..policy(capacity)
        };
        self.make_room_as(key, policy).await
    }

    pub async fn make_room_as(&self, key: &str, policy: wire::RoomPolicy) -> String {
        let root = self.user(0, "root").with_admin_role();
        let request = wire::CreateRoomRequest {
            room: Some(wire::Room {
                name: "The waiting room".to_owned(),
                policy: Some(policy),
                ..wire::Room::default()
            }),
            idempotency_key: key.to_owned(),
        };
        let made = root.operator().create_room(root.ask(request)).await;
        let room = made.expect("made").into_inner().room.expect("a room").id;
        for node in 0..self.nodes.len() {
            self.await_room(node, &room).await;
        }
        room
    }

    pub async fn await_room(&self, node: usize, room: &str) {
        let user = self.user(node, "visitor");
        let known = async {
            loop {
                let request = wire::GetRoomRequest {
                    room_id: room.to_owned(),
                };
                if user.queue().get_room(user.ask(request)).await.is_ok() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        soon("the room on every node", known).await;
    }

    /// Joins on one node and watches on another.
    pub async fn line_up(&self, id: &str, joins_on: usize, watches_on: usize) -> InLine {
        self.line_up_in(&self.room, id, joins_on, watches_on).await
    }

    pub async fn line_up_in(
        &self,
        room: &str,
        id: &str,
        joins_on: usize,
        watches_on: usize,
    ) -> InLine {
        let ticket = self.user(joins_on, id).join(room).await;
        let user = self.user(watches_on, id);
        let stream = user.watch(&ticket.token).await;
        InLine {
            user,
            ticket,
            stream,
        }
    }
}

/// Someone with an open stream.
pub struct InLine {
    pub user: User,
    pub ticket: Ticket,
    pub stream: Watching,
}

pub fn policy(capacity: u32) -> wire::RoomPolicy {
    let span = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    wire::RoomPolicy {
        capacity,
        rate: 100.0,
        pass_ttl: span(600),
        // Longer than any test.
        claim_window: span(600),
        absence_grace: span(600),
        ..wire::RoomPolicy::default()
    }
}
