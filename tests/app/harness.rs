//! A server on port 0 for one test.

use std::collections::HashSet;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use usher::app::{App, Readiness, Services, Stopped, Tasks};
use usher::config::{Config, Flags, Sources};
use usher::metrics::Metrics;

/// No wait of a test is longer.
pub const PATIENCE: Duration = Duration::from_secs(90);
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

/// Runtimes that had a panic. There is one hook for the whole process, and
/// tests run beside each other: none can take its own back.
static PANICKED: LazyLock<Mutex<HashSet<runtime::Id>>> = LazyLock::new(|| {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if let (Ok(here), Ok(mut panicked)) = (Handle::try_current(), PANICKED.lock()) {
            panicked.insert(here.id());
        }
        before(info);
    }));
    Mutex::default()
});

/// Whether any task of the test's own runtime panicked: the runtime keeps that
/// to itself.
pub struct Panics(runtime::Id);

impl Panics {
    pub fn watch() -> Self {
        let own = Handle::current().id();
        // An id may have been another runtime's before.
        PANICKED.lock().expect("not poisoned").remove(&own);
        Self(own)
    }

    pub fn assert_none(&self) {
        let panicked = PANICKED.lock().expect("not poisoned").contains(&self.0);
        assert!(!panicked, "something panicked");
    }
}

#[derive(Default)]
pub struct Stores {
    pub broken: AtomicBool,
}

impl Readiness for Stores {
    fn ready(&self) -> Result<(), String> {
        match self.broken.load(Ordering::Relaxed) {
            true => Err("database unavailable".to_owned()),
            false => Ok(()),
        }
    }
}

pub struct TestApp {
    pub addr: SocketAddr,
    pub ops_addr: Option<SocketAddr>,
    pub stores: Arc<Stores>,
    pub drains: Arc<AtomicUsize>,
    pub metrics: Metrics,
    stop: oneshot::Sender<()>,
    stopped: oneshot::Receiver<Stopped>,
}

pub fn config(env: &[(&str, &str)]) -> Config {
    config_in(None, env)
}

pub fn config_in(data_dir: Option<&Path>, env: &[(&str, &str)]) -> Config {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    // The same tests hold for each way to speak HTTP/2.
    let http2 = std::env::var("USHER_TEST_HTTP2").unwrap_or_else(|_| "direct".to_owned());
    let mut env: Vec<_> = env.iter().map(own).collect();
    env.push(("USHER_TRANSPORT__HTTP2".to_owned(), http2));
    let mut flags = Flags::from([("listen", "127.0.0.1:0".to_owned())]);
    if let Some(dir) = data_dir {
        flags.insert("data_dir", dir.display().to_string());
    }
    let sources = Sources {
        file: None,
        env: env.into_iter().collect(),
        flags,
    };
    sources.load().expect("a valid configuration")
}

/// Waits until `/metrics` has this text.
pub async fn counts(metrics: &Metrics, text: &str) {
    let counted = async {
        while !metrics.render().contains(text) {
            tokio::task::yield_now().await;
        }
    };
    soon(text, counted).await;
}

impl TestApp {
    pub async fn start(env: &[(&str, &str)]) -> Self {
        let stores = Arc::new(Stores::default());
        let drains = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&drains);
        let services = Services {
            grpc: Routes::default(),
            http: axum::Router::new(),
            jwks: Arc::new(|| "{\"keys\":[]}".to_owned()),
            readiness: Arc::clone(&stores) as Arc<dyn Readiness>,
            drain: Arc::new(move || {
                counted.fetch_add(1, Ordering::Relaxed);
            }),
        };
        let metrics = Metrics::new();
        let app = App::build(config(env), services, metrics.clone()).await;
        let bound = app.expect("built").bind().await.expect("bound");
        let (stop, stopping) = oneshot::channel();
        let (ended, stopped) = oneshot::channel();
        let (addr, ops_addr) = (bound.addr(), bound.ops_addr());
        Tasks::new().spawn_named("test.app", async move {
            let stopping = async move {
                let _ = stopping.await;
            };
            let _ = ended.send(bound.run(stopping).await);
        });
        Self {
            addr,
            ops_addr,
            stores,
            drains,
            metrics,
            stop,
            stopped,
        }
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

    /// Asks for a stop; the answer comes when it is done.
    pub fn stop(self) -> oneshot::Receiver<Stopped> {
        self.stop.send(()).expect("still running");
        self.stopped
    }
}
