//! A program that consumes events and serves nobody, but operators: metrics and
//! probes where `ops_listen` says so.
//!
//! It is ready while its database answers. Brokers that are away are no reason
//! to be restarted: their events wait.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use metrics::Gauge;
use tokio::net::TcpListener;
use tokio::time::{interval, timeout};

use crate::config::Config;
use crate::metrics::{CONSUMER_PARKED, Metrics};
use crate::store::inbox::Inbox as _;
use crate::store::sql::SqlStore;

use super::events::{Member, make_topic, members};
use super::probes::{Probes, Readiness};
use super::stores::Stores;
use super::transport::cores::Cores;
use super::transport::server::Server;
use super::{CUT_GRACE, StartError, http, listen};

/// Between looks whether the database answers, and how long it may take.
const LOOK: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

pub struct Worker {
    config: Config,
    members: Vec<Member>,
    sql: Arc<SqlStore>,
    parked: Gauge,
    answers: Arc<Answers>,
    metrics: Metrics,
    ops: Option<(TcpListener, SocketAddr)>,
}

/// Whether the database did when it was last asked.
struct Answers(AtomicBool);

impl Readiness for Answers {
    fn ready(&self) -> Result<(), String> {
        match self.0.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err("the database does not answer".to_owned()),
        }
    }
}

impl Worker {
    /// Opens the listener for operators, if there is one.
    ///
    /// # Errors
    /// [`StartError`] without brokers, or when a setting names what cannot be
    /// used.
    pub async fn build(config: Config, stores: &Stores) -> Result<Self, StartError> {
        let members = members(&config, stores)?;
        let ops = match config.ops_listen {
            Some(addr) => Some(listen(addr).await?),
            None => None,
        };
        Ok(Self {
            config,
            members,
            sql: Arc::clone(&stores.sql),
            parked: stores.metrics.gauge(&CONSUMER_PARKED, &[]),
            // Its schema was brought up to date a moment ago.
            answers: Arc::new(Answers(AtomicBool::new(true))),
            metrics: stores.metrics.clone(),
            ops,
        })
    }

    /// The names of its consumers.
    #[must_use]
    pub fn consumers(&self) -> Vec<&'static str> {
        self.members.iter().map(Member::name).collect()
    }

    #[must_use]
    pub fn ops_addr(&self) -> Option<SocketAddr> {
        self.ops.as_ref().map(|(_, addr)| *addr)
    }

    /// Consumes until `shutdown`. What was begun then has its effect, or comes
    /// again.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self {
            config,
            members,
            sql,
            parked,
            answers,
            metrics,
            ops,
        } = self;
        let (probes, _) = Probes::start(Arc::clone(&answers) as _).await;
        let server = ops.map(|(listener, _)| {
            let routes = http::ops_routes(&config.metrics, &metrics, &probes);
            let here = Arc::new(Cores::here());
            Server::start(&config.transport, None, routes, listener, here, &metrics)
        });
        let brokers = config.kafka_brokers.clone().unwrap_or_default();
        tokio::select! {
            () = shutdown => {}
            _ = join_all(members.into_iter().map(Member::run)) => {}
            () = look(&sql, &parked, &answers) => {}
            () = async {
                make_topic(brokers, config.kafka.clone()).await;
                std::future::pending().await
            } => {}
        }
        if let Some(server) = server {
            server.close().cut(CUT_GRACE).await;
        }
    }
}

/// Counts what was given up, and notes whether the database answers.
async fn look(sql: &SqlStore, parked: &Gauge, answers: &Answers) {
    let mut looks = interval(LOOK);
    loop {
        looks.tick().await;
        let counted = timeout(ANSWER_WITHIN, sql.count_dead_letters()).await;
        let answered = matches!(counted, Ok(Ok(_)));
        if let Ok(Ok(count)) = counted {
            parked.set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
        }
        if answers.0.swap(answered, Ordering::Relaxed) && !answered {
            tracing::warn!("the database does not answer");
        }
    }
}
