//! Three nodes, each with a way of its own to the one database, and a Redis.

use tempfile::TempDir;
use tokio::sync::watch;
use tonic::transport::Channel;
use usher::app::stores::open_sql;
use usher::config::{Flags, Sources};
use usher::proto::v1 as wire;
use usher::store::sales::Audit as _;
use usher::truth::proxy::Proxy;

use crate::databases::{Database, Kind};
use crate::harness::soon;
use crate::node::Node;
use crate::people::User;
use crate::redis::RedisServer;

pub const NODES: usize = 3;

pub struct Stage {
    pub kind: Kind,
    pub redis: RedisServer,
    pub berths: Vec<Berth>,
    database: Database,
    dir: TempDir,
}

/// Where one node lives, and the next one after it.
pub struct Berth {
    /// The way to the database.
    pub proxy: Proxy,
    node: Option<Node>,
    door: watch::Sender<Channel>,
}

impl Stage {
    pub async fn open(kind: Kind) -> Self {
        let (database, redis) = (Database::new(kind), RedisServer::start());
        let dir = tempfile::tempdir().expect("a directory");
        let mut berths = Vec::new();
        for seed in 0..NODES as u64 {
            let proxy = Proxy::start(database.addr(), seed).await.expect("a port");
            let url = database.url_at(proxy.addr());
            let node = launch(&dir, &url, &redis).await;
            let door = watch::Sender::new(node.channel.clone());
            let node = Some(node);
            berths.push(Berth { proxy, node, door });
        }
        Self {
            kind,
            redis,
            berths,
            database,
            dir,
        }
    }

    /// How each node is reached, the next one of a berth too.
    pub fn doors(&self) -> Vec<watch::Receiver<Channel>> {
        self.berths
            .iter()
            .map(|berth| berth.door.subscribe())
            .collect()
    }

    /// kill -9.
    pub async fn kill(&mut self, number: usize) {
        let node = self.berths[number].node.take();
        node.expect("it runs").kill().await;
    }

    /// If it was killed.
    pub async fn replace(&mut self, number: usize) {
        let berth = &mut self.berths[number];
        if berth.node.is_none() {
            let url = self.database.url_at(berth.proxy.addr());
            let node = launch(&self.dir, &url, &self.redis).await;
            berth.door.send_replace(node.channel.clone());
            berth.node = Some(node);
        }
    }

    pub async fn campaign(&self, name: &str, stock: u64) -> String {
        let door = self.berths[0].door.borrow().clone();
        let root = User::new(door, "root").with_admin_role();
        let request = root.ask(wire::CreateCampaignRequest {
            campaign: Some(wire::Campaign {
                name: name.to_owned(),
                stock,
                discount: Some(wire::campaign::Discount::Percent(10)),
                ..wire::Campaign::default()
            }),
            idempotency_key: name.to_owned(),
        });
        let made = soon("a campaign", root.operator().create_campaign(request)).await;
        made.expect("made").into_inner().campaign.expect("one").id
    }

    /// Whose it is, and its id.
    pub fn coupons_of(&self, campaign: &str) -> Vec<(String, String)> {
        let rows = self.database.sql(&format!(
            "SELECT CONCAT(user_id, ' ', id) FROM coupons WHERE campaign_id = '{campaign}'"
        ));
        let row = |row: &str| {
            let (user, id) = row.split_once(' ').expect("two");
            (user.to_owned(), id.to_owned())
        };
        rows.lines().map(row).collect()
    }

    pub fn issued_of(&self, campaign: &str) -> u64 {
        self.count(&format!(
            "SELECT issued FROM campaigns WHERE id = '{campaign}'"
        ))
    }

    fn count(&self, sql: &str) -> u64 {
        self.database.sql(sql).trim().parse().expect("a count")
    }

    /// The audit is clean, and each coupon was told of once.
    pub async fn close(self) {
        let told = "SELECT COUNT(*) FROM outbox WHERE kind = 'coupon.issued'";
        let aggregates =
            "SELECT COUNT(DISTINCT aggregate) FROM outbox WHERE kind = 'coupon.issued'";
        let issued = self.count("SELECT COUNT(*) FROM coupons");
        assert_eq!(self.count(told), issued);
        assert_eq!(self.count(aggregates), issued);
        let sources = Sources {
            file: None,
            env: Vec::new(),
            flags: Flags::from([
                ("data_dir", self.dir.path().display().to_string()),
                ("database_url", self.database.url()),
            ]),
        };
        let config = sources.load().expect("a valid configuration");
        let sql = open_sql(&config).await.expect("opened");
        let report = soon("the audit", sql.audit()).await.expect("audited");
        assert!(report.is_clean(), "{report:#?}");
    }
}

async fn launch(dir: &TempDir, database_url: &str, redis: &RedisServer) -> Node {
    let unlimited = [("USHER_LIMITS__COUPON_PER_MINUTE", "1000000")];
    Node::start_set(dir.path(), database_url, &redis.url(), &unlimited).await
}
