//! A Redis Cluster whose masters can be cut off from all other servers, and go
//! on with their clients for as long as they believe to be in charge.
//!
//! Every server is known to the others by two proxies, one for what clients
//! and replicas say and one for the bus, and calls from an address of its own:
//! so the others' proxies can shut it out alone. A cut stalls: nothing is
//! refused and no connection ends, as when a cable is pulled. Clients reach a
//! server that was cut off all the same.
#![allow(dead_code, reason = "each includer uses a part")]

use std::net::{IpAddr, SocketAddr};

use usher::truth::proxy::{Flow, Link, Proxy};

use super::redis::{RedisCluster, RedisServer, cluster_node};
use super::sides::until;

const SERVERS: u8 = 6;

pub struct Islands {
    servers: RedisCluster,
    ways: Vec<Way>,
}

/// How one server is reached, and from where it calls.
struct Way {
    clients: Proxy,
    bus: Proxy,
    caller: IpAddr,
}

impl Islands {
    pub async fn start() -> Self {
        let nodes: Vec<_> = (0..SERVERS).map(|_| cluster_node()).collect();
        let mut ways = Vec::new();
        for (index, node) in (1..).zip(&nodes) {
            ways.push(Way::to(node, index).await);
        }
        let addresses: Vec<_> = ways
            .iter()
            .map(|way| way.clients.addr().to_string())
            .collect();
        // It waits, and its servers reach each other by the proxies.
        let servers = tokio::task::block_in_place(|| RedisCluster::of(nodes, &addresses));
        Self { servers, ways }
    }

    /// What nodes are told; the rest they learn.
    pub fn url(&self) -> String {
        self.servers.url()
    }

    pub fn server(&self, index: usize) -> &RedisServer {
        &self.servers.nodes[index]
    }

    /// Which server is the master of a key, and which one its replica.
    pub fn pair_of(&self, key: &str) -> (usize, usize) {
        let slot = self.server(0).cli(&["CLUSTER", "KEYSLOT", key]);
        let all = 0..self.servers.nodes.len();
        let is_there = |&index: &usize| {
            let server = self.server(index);
            server.info("role") == "master"
                && server.cli(&["CLUSTER", "COUNTKEYSINSLOT", &slot]) != "0"
        };
        let master = all.clone().find(is_there).expect("a master of the key");
        let port = self.ways[master].clients.addr().port().to_string();
        let follows = |&index: &usize| self.server(index).info("master_port") == port;
        (master, all.clone().find(follows).expect("a replica"))
    }

    /// From now on nothing passes between this master and the other servers.
    pub fn cut_off(&self, master: usize, replica: usize) {
        self.part(master, replica, Flow::Stall);
    }

    pub fn heal(&self, master: usize, replica: usize) {
        self.part(master, replica, Flow::Pass);
    }

    fn part(&self, master: usize, replica: usize, flow: Flow) {
        let shut_out = |index: usize| (flow == Flow::Stall).then_some(self.ways[index].caller);
        for (index, way) in self.ways.iter().enumerate() {
            if index == master {
                way.clients.shut_out(shut_out(replica));
                way.bus.set_links(Link {
                    flow,
                    ..Link::default()
                });
            } else {
                way.clients.shut_out(shut_out(master));
                way.bus.shut_out(shut_out(master));
            }
        }
    }

    /// Waits until this replica is the master, and everyone else agrees.
    pub fn await_promotion(&self, replica: usize) {
        until("the replica was promoted", || {
            let server = self.server(replica);
            server.info("role") == "master"
                && server
                    .cli(&["CLUSTER", "INFO"])
                    .contains("cluster_state:ok")
        });
    }

    /// Waits until a former master follows the one that was promoted.
    pub fn await_return(&self, old: usize) {
        until("the old master follows the new one", || {
            let server = self.server(old);
            server.info("role") == "slave" && server.info("master_link_status") == "up"
        });
    }
}

impl Way {
    async fn to(node: &RedisServer, index: u8) -> Self {
        let bus_port = node.cli(&["CONFIG", "GET", "cluster-port"]);
        let bus_port = bus_port.lines().nth(1).unwrap_or_default();
        let way = Self {
            clients: proxy_to(node.port).await,
            bus: proxy_to(bus_port.parse().expect("a port")).await,
            caller: IpAddr::from([127, 0, 1, index]),
        };
        for (name, value) in [
            ("cluster-announce-ip", "127.0.0.1".to_owned()),
            (
                "cluster-announce-port",
                way.clients.addr().port().to_string(),
            ),
            (
                "cluster-announce-bus-port",
                way.bus.addr().port().to_string(),
            ),
            ("bind-source-addr", way.caller.to_string()),
            // Loopback it is, but not 127.0.0.1 that calls.
            ("protected-mode", "no".to_owned()),
        ] {
            let set = node.cli(&["CONFIG", "SET", name, &value]);
            assert_eq!(set, "OK", "{name}");
        }
        way
    }
}

async fn proxy_to(port: u16) -> Proxy {
    let target = SocketAddr::from(([127, 0, 0, 1], port));
    Proxy::start(target, 0).await.expect("a proxy")
}
