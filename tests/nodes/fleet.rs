//! Any number of nodes on one database, each with its own way to Redis.

use tempfile::TempDir;

use crate::crowd::Site;
use crate::node::Node;
use crate::postgres;

/// How one node is started.
#[derive(Clone)]
pub struct Berth {
    pub redis_url: String,
    pub failpoints: String,
}

impl Berth {
    pub fn at(redis_url: &str) -> Self {
        Self {
            redis_url: redis_url.to_owned(),
            failpoints: String::new(),
        }
    }

    pub fn with(mut self, failpoints: &str) -> Self {
        failpoints.clone_into(&mut self.failpoints);
        self
    }
}

pub struct Fleet {
    pub nodes: Vec<Node>,
    database: String,
    dir: TempDir,
}

impl Fleet {
    pub async fn start(berths: impl IntoIterator<Item = Berth>) -> Self {
        let mut fleet = Self {
            nodes: Vec::new(),
            database: postgres::shared().create(None),
            dir: tempfile::tempdir().expect("a directory"),
        };
        for berth in berths {
            let node = fleet.launch(&berth).await;
            fleet.nodes.push(node);
        }
        fleet
    }

    /// One more; the caller decides where it belongs.
    pub async fn launch(&self, berth: &Berth) -> Node {
        let url = postgres::shared().url(&self.database);
        Node::start_with(self.dir.path(), &url, &berth.redis_url, &berth.failpoints).await
    }

    pub fn site(&self) -> Site {
        Site {
            channels: self.nodes.iter().map(|node| node.channel.clone()).collect(),
            database_url: postgres::shared().url(&self.database),
            dir: self.dir.path().to_owned(),
        }
    }

    /// Lines of what the database answers.
    pub fn sql(&self, query: &str) -> Vec<String> {
        let said = postgres::shared().sql(&self.database, query);
        said.lines().map(str::to_owned).collect()
    }
}
