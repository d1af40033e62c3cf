//! A whole node for one test: stores in a directory of its own, every service,
//! port 0.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use usher::app::node::Node;
use usher::app::stores::Stores;
use usher::app::{App, Stopped, Tasks, wiring};
use usher::clock::{Clock as _, SystemClock};
use usher::config::{Config, Flags, Sources};
use usher::domain::ids::UserId;
use usher::keys::Keys;
use usher::metrics::Metrics;
use usher::store::sql::SqlStore;
use usher::truth::failpoint::Failpoints;

use crate::people::User;

/// No wait of a test is longer.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at a state that is polled.
const LOOK_EVERY: Duration = Duration::from_millis(10);

pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen in {PATIENCE:?}"),
    }
}

/// Looks again and again until there is an answer.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            looks.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    soon(what, found).await
}

/// Settings that every test has; its own come behind them.
const SETTINGS: [(&str, &str); 6] = [
    ("USHER_DEMO_CATALOG", "false"),
    ("USHER_QUEUE__REBUILD_PAUSE_MS", "500"),
    ("USHER_LIMITS__JOIN_PER_MINUTE", "1000000"),
    ("USHER_LIMITS__STREAM_OPEN_PER_MINUTE", "1000000"),
    ("USHER_LIMITS__MONEY_PER_MINUTE", "1000000"),
    ("USHER_LIMITS__COUPON_PER_MINUTE", "1000000"),
];

pub struct TestApp {
    pub sql: Arc<SqlStore>,
    keys: Arc<Keys>,
    endpoint: Endpoint,
    channel: Channel,
    pub node: Node,
    pub failpoints: Arc<Failpoints>,
    /// Of the sale and the stores.
    metrics: Metrics,
    stop: oneshot::Sender<()>,
    stopped: oneshot::Receiver<Stopped>,
    dir: TempDir,
}

fn config(dir: &TempDir, env: &[(&str, &str)]) -> Config {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    // The same tests hold for each way to speak HTTP/2.
    let http2 = std::env::var("USHER_TEST_HTTP2").unwrap_or_else(|_| "direct".to_owned());
    let http2 = ("USHER_TRANSPORT__HTTP2".to_owned(), http2);
    let env = SETTINGS.iter().chain(env).map(own).chain([http2]);
    let sources = Sources {
        file: None,
        env: env.collect(),
        flags: Flags::from([
            ("listen", "127.0.0.1:0".to_owned()),
            ("data_dir", dir.path().display().to_string()),
        ]),
    };
    sources.load().expect("a valid configuration")
}

async fn connect(endpoint: &Endpoint) -> Channel {
    let channel = soon("a connection", endpoint.connect()).await;
    channel.expect("connected")
}

impl TestApp {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// A node with these settings, by their names in the environment.
    pub async fn start_with(env: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        Self::start_in(dir, env).await
    }

    async fn start_in(dir: TempDir, env: &[(&str, &str)]) -> Self {
        let config = config(&dir, env);
        let stores = Stores::open(&config).await.expect("stores");
        let node = Node::start(&config, &stores).await.expect("a node");
        let services = wiring::services(&config, &stores, &node).await;
        let services = services.expect("services");
        let app = App::build(config, services, Metrics::new()).await;
        let bound = app.expect("built").bind().await.expect("bound");
        let (stop, stopping) = oneshot::channel();
        let (ended, stopped) = oneshot::channel();
        let endpoint = Endpoint::from_shared(format!("http://{}", bound.addr())).expect("a URI");
        Tasks::new().spawn_named("test.app", async move {
            let stopping = async move {
                let _ = stopping.await;
            };
            let _ = ended.send(bound.run(stopping).await);
        });
        Self {
            sql: Arc::clone(&stores.sql),
            keys: stores.keys.current(),
            channel: connect(&endpoint).await,
            endpoint,
            node,
            failpoints: Arc::clone(&stores.failpoints),
            metrics: stores.metrics.clone(),
            stop,
            stopped,
            dir,
        }
    }

    /// Whether what is measured has this line.
    pub fn measures(&self, line: &str) -> bool {
        self.metrics.render().lines().any(|told| told == line)
    }

    /// Host and port, for plain HTTP.
    pub fn address(&self) -> String {
        let authority = self.endpoint.uri().authority();
        authority.expect("host and port").to_string()
    }

    /// For another process on the same data.
    pub fn database_url(&self) -> String {
        format!("sqlite://{}/usher.sqlite", self.dir.path().display())
    }

    pub fn data_dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// A connection whose streams take only so much ahead of their reader.
    pub async fn narrow_channel(&self, window_bytes: u32) -> Channel {
        let endpoint = self.endpoint.clone();
        let endpoint = endpoint.initial_stream_window_size(window_bytes);
        let channel = soon("a connection", endpoint.connect()).await;
        channel.expect("connected")
    }

    pub fn user(&self, id: &str) -> User {
        User::new(self.channel.clone(), id)
    }

    /// With a token as `usher token` signs it.
    pub fn token_user(&self, id: &str, is_admin: bool) -> User {
        let user = UserId::parse(id).expect("an id");
        let issuer = &self.keys.issuer;
        let token = issuer.sign(&user, is_admin, SystemClock.now(), 3_600);
        User::with_token(self.channel.clone(), id, &token)
    }

    /// A connection beside the one that the test's users share.
    pub async fn connect(&self) -> Channel {
        connect(&self.endpoint).await
    }

    pub fn admin(&self) -> User {
        self.user("root").with_admin_role()
    }

    /// Asks the server to stop, as SIGTERM does; what remains is to wait.
    pub fn ask_to_stop(self) -> Stopping {
        self.stop.send(()).expect("still running");
        Stopping {
            node: self.node,
            stopped: self.stopped,
            dir: self.dir,
        }
    }

    /// A clean stop, and a start on the same data.
    pub async fn restart(self, env: &[(&str, &str)]) -> Self {
        let dir = self.ask_to_stop().done().await;
        Self::start_in(dir, env).await
    }
}

pub struct Stopping {
    node: Node,
    stopped: oneshot::Receiver<Stopped>,
    dir: TempDir,
}

impl Stopping {
    pub async fn done(self) -> TempDir {
        soon("a stop", self.stopped).await.expect("it ran");
        self.node.stop(Duration::from_secs(2)).await;
        self.dir
    }
}
