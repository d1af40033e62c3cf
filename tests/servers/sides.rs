//! A master with a replica and three Sentinels, in two halves that can be cut
//! apart: the master and one Sentinel on one side, the replica and two
//! Sentinels, which are enough to promote it, on the other.
//!
//! All are on loopback, so an address means the same to everyone; what differs
//! is the way. The master has an address of its own for each side, and the far
//! one is a proxy. Everyone else is known to others by a proxy; the near
//! Sentinel calls from an address of its own, so that those proxies can shut
//! it out alone. A cut stalls: nothing is refused and no connection ends, as
//! when a cable is pulled.
#![allow(dead_code, reason = "each includer uses a part")]

use std::net::SocketAddr;

use usher::truth::proxy::{Flow, Link, Proxy};

use super::redis::{self, MASTER, RedisServer, fact};

/// From where the Sentinel on the master's side calls.
const NEAR_CALLER: &str = "127.0.0.2";
/// From where the replica follows.
const REPLICA_CALLER: &str = "127.0.0.3";
/// A Sentinel points a replica at the master as it knows it. Both sides know
/// it by another address, so only one of them may do so.
const NEVER_MS: u64 = 3_600_000;

pub struct Sides {
    pub master: RedisServer,
    pub replica: RedisServer,
    near_sentinel: RedisServer,
    far_sentinels: [RedisServer; 2],
    /// How the far side reaches the master, and the near Sentinel.
    into_near: [Proxy; 2],
    /// How everyone reaches the replica, and the far Sentinels.
    into_far: [Proxy; 3],
}

impl Sides {
    pub async fn start() -> Self {
        // Loopback it is, but not 127.0.0.1 that calls.
        let master = RedisServer::start_with(&[("protected-mode", "no")]);
        let replica = RedisServer::start_with(&[("bind-source-addr", REPLICA_CALLER)]);
        let to_master = proxy_to(&master).await;
        let to_replica = proxy_to(&replica).await;
        for (server, proxy) in [(&master, &to_master), (&replica, &to_replica)] {
            let port = proxy.addr().port().to_string();
            server.cli(&["CONFIG", "SET", "replica-announce-ip", "127.0.0.1"]);
            server.cli(&["CONFIG", "SET", "replica-announce-port", &port]);
        }
        let far_port = to_master.addr().port().to_string();
        replica.cli(&["REPLICAOF", "127.0.0.1", &far_port]);
        until("the replica is in sync", || {
            replica.info("master_link_status") == "up"
        });
        let caller = format!("bind-source-addr {NEAR_CALLER}\n");
        let near_sentinel = RedisServer::start_sentinel(&caller);
        let far_sentinels = [(); 2].map(|()| RedisServer::start_sentinel(""));
        let to_near = proxy_to(&near_sentinel).await;
        let to_far = [
            proxy_to(&far_sentinels[0]).await,
            proxy_to(&far_sentinels[1]).await,
        ];
        watch(&near_sentinel, &to_near, master.port, NEVER_MS);
        for (sentinel, proxy) in far_sentinels.iter().zip(&to_far) {
            watch(sentinel, proxy, to_master.addr().port(), 1_500);
        }
        let [to_first, to_second] = to_far;
        let sides = Self {
            master,
            replica,
            near_sentinel,
            far_sentinels,
            into_near: [to_master, to_near],
            into_far: [to_replica, to_first, to_second],
        };
        sides.await_acquaintance();
        sides
    }

    fn sentinels(&self) -> impl Iterator<Item = &RedisServer> {
        self.far_sentinels.iter().chain([&self.near_sentinel])
    }

    fn await_acquaintance(&self) {
        until("the Sentinels know each other and the replica", || {
            self.sentinels().all(|sentinel| {
                let known = sentinel.cli(&["SENTINEL", "MASTER", MASTER]);
                fact(&known, "num-other-sentinels") == "2" && fact(&known, "num-slaves") == "1"
            })
        });
    }

    /// What nodes on the master's side are told.
    pub fn near_url(&self) -> String {
        format!(
            "redis+sentinel://127.0.0.1:{}/{MASTER}",
            self.near_sentinel.port
        )
    }

    /// What nodes on the replica's side are told.
    pub fn far_url(&self) -> String {
        let ports = self.far_sentinels.each_ref().map(|sentinel| sentinel.port);
        let [first, second] = ports;
        format!("redis+sentinel://127.0.0.1:{first},127.0.0.1:{second}/{MASTER}")
    }

    /// Nothing passes between the sides any more.
    pub fn cut(&self) {
        assert_eq!(self.master.info("role"), "master", "no failover before");
        self.set(Flow::Stall);
    }

    pub fn heal(&self) {
        self.set(Flow::Pass);
    }

    /// From now on the replica gets nothing of what is written.
    pub fn lag(&self) {
        let replica = REPLICA_CALLER.parse().expect("an address");
        self.into_near[0].shut_out(Some(replica));
    }

    /// The master dies, and with it what the replica did not get.
    pub fn kill_master(&mut self) {
        self.master.kill();
        self.into_near[0].refuse(true);
        self.into_near[0].cut();
    }

    fn set(&self, flow: Flow) {
        for proxy in &self.into_near {
            proxy.set_links(Link {
                flow,
                ..Link::default()
            });
        }
        let shut_out = (flow == Flow::Stall).then(|| NEAR_CALLER.parse().expect("an address"));
        for proxy in &self.into_far {
            proxy.shut_out(shut_out);
        }
    }

    /// Waits until the far Sentinels name the replica as the master.
    pub fn await_promotion(&self) {
        until("the replica was promoted", || {
            let names = |sentinel| self.named_by(sentinel) == self.into_far[0].addr().port();
            self.far_sentinels.iter().all(names) && self.replica.info("role") == "master"
        });
    }

    /// Waits until everyone, the old master too, knows the new one.
    pub fn await_agreement(&self) {
        until("all agree on the new master", || {
            let port = self.into_far[0].addr().port();
            self.sentinels()
                .all(|sentinel| self.named_by(sentinel) == port)
                && self.master.info("role") == "slave"
                && self.master.info("master_link_status") == "up"
        });
    }

    /// The port of the master as a Sentinel has it.
    fn named_by(&self, sentinel: &RedisServer) -> u16 {
        let answer = sentinel.cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]);
        let port = answer.lines().nth(1).unwrap_or_default();
        port.parse().unwrap_or_default()
    }
}

/// As [`redis::until`], while proxies go on: they are tasks of this runtime,
/// and who blocks one of its threads may hold up all of them.
pub fn until(what: &str, is_so: impl FnMut() -> bool) {
    tokio::task::block_in_place(|| redis::until(what, is_so));
}

async fn proxy_to(server: &RedisServer) -> Proxy {
    let target = SocketAddr::from(([127, 0, 0, 1], server.port));
    Proxy::start(target, 0).await.expect("a proxy")
}

/// Has a Sentinel watch the master where it reaches it, known to others by its
/// proxy.
fn watch(sentinel: &RedisServer, proxy: &Proxy, master_port: u16, failover_ms: u64) {
    let own_port = proxy.addr().port().to_string();
    sentinel.cli(&["SENTINEL", "CONFIG", "SET", "announce-ip", "127.0.0.1"]);
    sentinel.cli(&["SENTINEL", "CONFIG", "SET", "announce-port", &own_port]);
    let (master_port, failover_ms) = (master_port.to_string(), failover_ms.to_string());
    sentinel.cli(&[
        "SENTINEL",
        "MONITOR",
        MASTER,
        "127.0.0.1",
        &master_port,
        "2",
    ]);
    let set = |name, value| sentinel.cli(&["SENTINEL", "SET", MASTER, name, value]);
    // A busy machine is no loss.
    set("down-after-milliseconds", "2000");
    set("failover-timeout", &failover_ms);
    // How often each asks, and tells: seconds by default.
    for period in ["INFO-PERIOD", "PUBLISH-PERIOD", "PING-PERIOD", "ASK-PERIOD"] {
        sentinel.cli(&["SENTINEL", "DEBUG", period, "200"]);
    }
}
