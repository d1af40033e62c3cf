//! Which server has a slot, found out when it is asked for and again whenever
//! an answer, or its absence, says that it may have changed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use crate::config::RedisConfig;

use super::LinkError;
use super::figures::Figures;
use super::link::Link;
use super::master;
use super::slots::{Address, SlotMap};
use super::target::{Kind, Target};
use super::troubles::Troubles;
use crate::breaker::Breaker;

pub(super) struct Topology {
    target: Arc<Target>,
    config: RedisConfig,
    figures: Figures,
    troubles: Arc<Troubles>,
    links: Mutex<HashMap<Address, Arc<Link>>>,
    map: Mutex<Option<Arc<SlotMap>>>,
    is_stale: AtomicBool,
    /// The epoch of the Sentinels' configuration that is gone by here.
    generation: AtomicU64,
    looking: tokio::sync::Mutex<()>,
    /// Of the search itself: when nobody answers, not every caller asks.
    breaker: Breaker,
}

impl Topology {
    pub(super) fn new(target: Target, config: &RedisConfig, figures: Figures) -> Self {
        let map = match &target.kind {
            Kind::Single(address) => Some(Arc::new(SlotMap::whole(address.clone()))),
            Kind::Sentinel { .. } | Kind::Cluster { .. } => None,
        };
        Self {
            target: Arc::new(target),
            config: config.clone(),
            figures,
            troubles: Arc::default(),
            links: Mutex::default(),
            map: Mutex::new(map),
            is_stale: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            looking: tokio::sync::Mutex::new(()),
            breaker: Breaker::new(1, Duration::from_millis(config.breaker_open_ms)),
        }
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.target.kind, Kind::Cluster { .. })
    }

    pub(super) fn figures(&self) -> &Figures {
        &self.figures
    }

    pub(super) fn troubles(&self) -> &Troubles {
        &self.troubles
    }

    pub(super) fn config(&self) -> &RedisConfig {
        &self.config
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn generation(&self) -> Option<u64> {
        let is_by_sentinel = matches!(self.target.kind, Kind::Sentinel { .. });
        is_by_sentinel.then(|| self.generation.load(Ordering::SeqCst))
    }

    pub(super) fn look_again(&self) {
        self.is_stale.store(true, Ordering::SeqCst);
    }

    /// The server that has a slot.
    pub(super) async fn link(&self, slot: u16) -> Result<Arc<Link>, LinkError> {
        let address = self.address(slot).await?;
        Ok(self.link_to(&address))
    }

    pub(super) async fn address(&self, slot: u16) -> Result<Address, LinkError> {
        let map = self.map().await?;
        let master = map.master_of(slot).cloned();
        master.ok_or_else(|| {
            self.look_again();
            LinkError::Unavailable(format!("nobody serves slot {slot}"))
        })
    }

    pub(super) async fn masters(&self) -> Result<Vec<Arc<Link>>, LinkError> {
        let masters = self.map().await?.masters();
        Ok(masters.iter().map(|master| self.link_to(master)).collect())
    }

    pub(super) fn link_to(&self, address: &Address) -> Arc<Link> {
        let mut links = lock(&self.links);
        if let Some(link) = links.get(address) {
            return Arc::clone(link);
        }
        let link = Arc::new(Link::new(
            address.clone(),
            Arc::clone(&self.target),
            matches!(self.target.kind, Kind::Sentinel { .. }),
            &self.config,
            self.figures.clone(),
            Arc::clone(&self.troubles),
        ));
        links.insert(address.clone(), Arc::clone(&link));
        link
    }

    /// The map, looked for if it may have changed. An old one is better than
    /// none.
    pub(super) async fn map(&self) -> Result<Arc<SlotMap>, LinkError> {
        if let Some(fresh) = self.fresh() {
            return Ok(fresh);
        }
        let known = lock(&self.map).clone();
        let _one_at_a_time = match (self.looking.try_lock(), &known) {
            (Ok(mine), _) => mine,
            // A search may take long; who has an old map goes by it.
            (Err(_), Some(known)) => return Ok(Arc::clone(known)),
            (Err(_), None) => self.looking.lock().await,
        };
        if let Some(fresh) = self.fresh() {
            return Ok(fresh);
        }
        if !self.breaker.admits(Instant::now()) {
            return known.ok_or_else(|| LinkError::Unavailable("nobody answers".to_owned()));
        }
        // Whoever finds it stale during the search makes the next one search.
        self.is_stale.store(false, Ordering::SeqCst);
        match self.look(known.as_deref()).await {
            Ok((generation, found)) => {
                self.breaker.succeeded();
                self.troubles.searched(None);
                Ok(self.keep(generation, found))
            }
            Err(why) => {
                self.breaker.failed(Instant::now());
                self.troubles.searched(Some(why.clone()));
                self.look_again();
                known.ok_or(LinkError::Unavailable(why))
            }
        }
    }

    fn fresh(&self) -> Option<Arc<SlotMap>> {
        let is_fixed = matches!(self.target.kind, Kind::Single(_));
        if !is_fixed && self.is_stale.load(Ordering::SeqCst) {
            return None;
        }
        lock(&self.map).clone()
    }

    fn keep(&self, generation: u64, found: SlotMap) -> Arc<SlotMap> {
        let found = Arc::new(found);
        let before = lock(&self.map).replace(Arc::clone(&found));
        if before.is_some_and(|before| before != found) {
            tracing::info!(redis.masters = ?found.masters(), "redis has other masters");
        }
        let masters = found.masters();
        lock(&self.links).retain(|address, _| masters.contains(address));
        self.troubles.keep(&masters);
        // Last: who reads it is served by that master, or a newer one.
        self.generation.store(generation, Ordering::SeqCst);
        found
    }

    /// The map, and its generation.
    async fn look(&self, known: Option<&SlotMap>) -> Result<(u64, SlotMap), String> {
        match &self.target.kind {
            Kind::Single(address) => Ok((0, SlotMap::whole(address.clone()))),
            Kind::Sentinel { seeds, name } => {
                let within = Duration::from_millis(self.config.response_timeout_ms);
                let found = master::find(&self.target, seeds, name, within).await?;
                let (generation, address) = found;
                Ok((generation, SlotMap::whole(address)))
            }
            Kind::Cluster { seeds } => Ok((0, self.ask_cluster(known, seeds).await?)),
        }
    }

    /// Any node may answer; the first that does is believed.
    async fn ask_cluster(
        &self,
        known: Option<&SlotMap>,
        seeds: &[Address],
    ) -> Result<SlotMap, String> {
        let mut nodes = known.map(SlotMap::masters).unwrap_or_default();
        nodes.extend(
            seeds
                .iter()
                .filter(|seed| !nodes.contains(seed))
                .cloned()
                .collect::<Vec<_>>(),
        );
        let mut cmd = redis::cmd("CLUSTER");
        cmd.arg("SLOTS");
        let cmd = &cmd;
        let mut answers: FuturesUnordered<_> = nodes
            .into_iter()
            .map(|node| async move { (self.link_to(&node).call(cmd).await, node) })
            .collect();
        let mut reasons = Vec::new();
        while let Some((answer, node)) = answers.next().await {
            match answer {
                Ok(answer) => match SlotMap::parse(&answer, &node) {
                    Some(map) => return Ok(map),
                    None => reasons.push(format!("{node} has no slots")),
                },
                Err(failure) => reasons.push(format!("{failure:?}")),
            }
        }
        Err(reasons.join("; "))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
