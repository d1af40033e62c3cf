//! Coupons for those who come first: load shape L14, whose report says how many
//! requests there were and how long they took, and not how they were sent.
//!
//! `--users` each ask for a coupon of `--stock`, once, over connections that they
//! share; then for one of the next campaign, of `--campaigns` fresh ones. A closed
//! loop of `--in-flight` requests, which goes on to a campaign when everyone has an
//! answer about the one before; or an open loop (`--rate`), in which a request
//! lasts from when it was due.
//!
//! Judged: each campaign grants exactly its stock, if so many ask, and everyone
//! else is told COUPON_SOLD_OUT; no request fails; what the server says of its
//! campaigns, and users' lists, say the same; the database passes `usher audit`.
//! With `--kill` the first of `--nodes` and a Redis of their own get SIGKILL in the
//! middle, and requests may be repeated.

mod after;
mod load;
mod told;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use usher::proto::v1 as wire;
use usher::proto::v1::admin_service_client::AdminServiceClient;
use usher::proto::v1::campaign::Discount;

use crate::caller::Callers;
use crate::error::BenchError;
use crate::line;
use crate::meter;
use crate::own_redis::OwnRedis;
use crate::report::{Report, ReportOptions};
use crate::scrape::Metrics;
use crate::session::key;
use crate::stage::Stage;
use crate::target::TargetOptions;
use load::{Came, Plan};

const PATIENCE: Duration = Duration::from_secs(30);
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// Operators' calls, and what is looked at in the end.
const OPERATOR_CONNECTIONS: usize = 2;
/// The server's own `limits.coupon_per_minute`, raised where users come more often.
const COUPONS_PER_MINUTE: usize = 60;
/// What became of requests, by the servers' own counts.
const BY_OUTCOME: &[&str] = &[
    "granted",
    "repeated",
    "sold_out",
    "sold_out_known",
    "refused",
    "failed",
];
/// Who works on this machine besides the driver and the servers.
const OTHERS: &[&str] = &["postgres", "mariadbd", "redis-server", "java"];

#[derive(clap::Args, Clone)]
pub struct Options {
    #[command(flatten)]
    target: TargetOptions,
    /// Users, each of whom asks once for a coupon of each campaign
    #[arg(long, default_value_t = 2_000)]
    users: usize,
    /// Coupons of each campaign
    #[arg(long, default_value_t = 1_000)]
    stock: u64,
    /// Campaigns, one after the other
    #[arg(long, default_value_t = 100)]
    campaigns: usize,
    /// Requests under way at once
    #[arg(long, default_value_t = 256)]
    in_flight: usize,
    /// So many requests per second, however long answers take
    #[arg(long, conflicts_with = "in_flight")]
    rate: Option<f64>,
    /// Some go on to the next campaign while others wait for their answer
    #[arg(long)]
    overlap: bool,
    /// Servers that share USHER_REDIS_URL and USHER_DATABASE_URL
    #[arg(long, default_value_t = 1)]
    nodes: usize,
    /// SIGKILL of one node and of Redis in the middle; the nodes get a Redis of
    /// their own
    #[arg(long, requires = "spawn")]
    kill: bool,
    /// The program to start for that
    #[arg(long, default_value = "redis-server", value_name = "FILE")]
    redis_server: String,
    /// Names the users
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    report: ReportOptions,
}

/// What is there before anyone asks.
struct Scene {
    /// The first is the one that is killed.
    nodes: Vec<Stage>,
    redis: Option<OwnRedis>,
    names: Vec<String>,
    plan: Arc<Plan>,
}

/// CPU seconds by who used them, and requests by what became of them.
struct Used {
    cpu_s: Vec<(&'static str, f64)>,
    outcomes: Vec<f64>,
}

pub async fn run(options: Options) -> Result<(), BenchError> {
    let mut report = Report::new("Coupons for those who come first (L14)");
    let mut scene = Scene::set(&options, &mut report).await?;
    let before = scene.used().await?;
    let came = scene.play().await?;
    let used = scene.used().await?.since(&before);
    let counted = after::count(&scene, &came).await?;
    told::judge(&options, &came, &counted, &mut report);
    told::write(&options, &came, &used, &mut report);
    let (findings, is_clean) = scene.close().await?;
    report.note(findings.trim_end());
    report.promise(is_clean, || findings.clone());
    report.finish(&options.report)
}

impl Scene {
    async fn set(options: &Options, report: &mut Report) -> Result<Self, BenchError> {
        let requests = options.users.checked_mul(options.campaigns);
        if requests.is_none_or(|all| all == 0 || u32::try_from(all).is_err()) {
            return Err(BenchError::failed("there must be 1 to 4294967295 requests"));
        }
        if options.kill && options.nodes < 2 {
            return Err(BenchError::failed(
                "--kill leaves nobody: it needs --nodes 2",
            ));
        }
        let mut target = options.target.clone();
        let connections = std::mem::replace(&mut target.connections, OPERATOR_CONNECTIONS);
        let seed = options.seed.unwrap_or_else(rand::random);
        let redis = match options.kill {
            true => Some(OwnRedis::start(&options.redis_server, &format!("c{seed:x}")).await?),
            false => None,
        };
        if let Some(redis) = &redis {
            target.env.push(("USHER_REDIS_URL", redis.url.clone()));
        }
        if options.campaigns > COUPONS_PER_MINUTE {
            let key = "USHER_LIMITS__COUPON_PER_MINUTE";
            target.env.push((key, options.campaigns.to_string()));
        }
        report.fact("settings raised", format!("{:?}", target.env));
        let nodes = line::nodes(&target, options.nodes.max(1), 0, PATIENCE).await?;
        let callers = &nodes[0].target.callers;
        let names = (0..options.users).map(|nth| format!("coupons-{seed:x}-{nth}"));
        let names: Vec<String> = names.collect();
        let (users, caller) = prove(callers, &names)?;
        let campaigns = make_campaigns(&nodes[0], options).await?;
        options.describe(seed, connections, report);
        let targets: Vec<SocketAddr> = nodes.iter().map(|node| node.target.addr).collect();
        Ok(Self {
            plan: Arc::new(Plan {
                targets,
                connections,
                campaigns,
                users,
                caller,
                in_flight: options.in_flight,
                rate: options.rate,
                in_a_row: !options.overlap,
                middle: options.middle(),
                patience: PATIENCE,
            }),
            nodes,
            redis,
            names,
        })
    }

    /// All requests; in the middle what is to be killed.
    async fn play(&mut self) -> Result<Came, BenchError> {
        let (say, middle) = oneshot::channel();
        let plan = Arc::clone(&self.plan);
        let playing = tokio::task::spawn_blocking(move || load::run(&plan, say));
        // A load that failed before has said so by then.
        if middle.await.is_ok()
            && let Some(redis) = &mut self.redis
        {
            redis.kill().await?;
            let mut node = self.nodes.remove(0);
            if let Some(server) = &mut node.target.server {
                server.kill().await?;
            }
        }
        playing.await.map_err(BenchError::failed)?
    }

    async fn used(&self) -> Result<Used, BenchError> {
        let pids = self.nodes.iter().filter_map(|node| node.target.pid);
        let own = meter::cpu_s(std::process::id()).unwrap_or(0.0);
        let mut cpu_s = vec![
            ("driver", own),
            ("servers", pids.filter_map(meter::cpu_s).sum()),
        ];
        cpu_s.extend(OTHERS.iter().map(|name| (*name, meter::cpu_s_of(name))));
        let mut outcomes = vec![0.0; BY_OUTCOME.len()];
        for node in &self.nodes {
            let metrics = Metrics::of(node.target.addr).await?;
            for (sum, outcome) in outcomes.iter_mut().zip(BY_OUTCOME) {
                let label = format!("outcome=\"{outcome}\"");
                *sum += metrics.sum("usher_coupon_issues", &label);
            }
        }
        Ok(Used { cpu_s, outcomes })
    }

    /// Stops servers of our own; what the audit found, and whether all is clean.
    async fn close(self) -> Result<(String, bool), BenchError> {
        let mut nodes = self.nodes;
        let last = nodes.pop();
        let last = last.ok_or_else(|| BenchError::failed("no node is left"))?;
        for node in &mut nodes {
            if let Some(server) = &mut node.target.server {
                server.terminate(STOP_PATIENCE).await?;
            }
        }
        drop(nodes);
        last.judge().await
    }
}

impl Used {
    fn since(self, before: &Self) -> Self {
        let pairs = self.cpu_s.into_iter().zip(&before.cpu_s);
        let cpu_s = pairs.map(|((who, after), (_, before))| (who, after - before));
        let pairs = self.outcomes.into_iter().zip(&before.outcomes);
        Self {
            cpu_s: cpu_s.collect(),
            outcomes: pairs.map(|(after, before)| after - before).collect(),
        }
    }
}

impl Options {
    /// In the middle of the grants of the campaign in the middle.
    fn middle(&self) -> usize {
        let stock = usize::try_from(self.stock).unwrap_or(usize::MAX);
        self.campaigns / 2 * self.users + stock.min(self.users) / 2
    }

    fn describe(&self, seed: u64, connections: usize, report: &mut Report) {
        report.fact("seed", seed);
        report.fact("mode", self.target.mode());
        let nodes = self.nodes.max(1);
        let where_ = self.target.place();
        report.fact("servers", format!("{nodes}, {where_}"));
        let url = std::env::var("USHER_DATABASE_URL").unwrap_or_default();
        let database = url.split_once("://").map_or("sqlite", |(scheme, _)| scheme);
        report.fact("database", database);
        let (users, stock, campaigns) = (self.users, self.stock, self.campaigns);
        report.fact(
            "requests",
            format!("{users} users x {campaigns} campaigns of {stock}"),
        );
        let order = match (self.rate, self.overlap) {
            (Some(rate), _) => format!("open loop, {rate} /s"),
            (None, true) => format!("{} at once", self.in_flight),
            (None, false) => format!("{} at once, a campaign after the other", self.in_flight),
        };
        report.fact("load", format!("{order}, {connections} connections"));
    }
}

/// What users say of themselves, and in which header. A signature takes a while.
fn prove(callers: &Callers, names: &[String]) -> Result<(Vec<String>, &'static str), BenchError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let part = names.len().div_ceil(threads).max(1);
    let one = |name: &String| {
        let said = callers.user(name)?.metadata();
        let (header, proof) = said.first().ok_or_else(|| BenchError::failed("no proof"))?;
        let proof = proof.to_str().map_err(BenchError::failed)?;
        Ok((proof.to_owned(), *header))
    };
    let (mut all, mut caller) = (Vec::with_capacity(names.len()), "");
    std::thread::scope(|scope| {
        let parts = names.chunks(part).map(|names| {
            scope.spawn(move || {
                names
                    .iter()
                    .map(one)
                    .collect::<Result<Vec<_>, BenchError>>()
            })
        });
        let parts: Vec<_> = parts.collect();
        for part in parts {
            for (proof, header) in part.join().expect("signing does not panic")? {
                all.push(proof);
                caller = header;
            }
        }
        Ok((all, caller))
    })
}

/// Of ten percent each; answers their ids.
async fn make_campaigns(stage: &Stage, options: &Options) -> Result<Vec<String>, BenchError> {
    let mut ids = Vec::with_capacity(options.campaigns);
    for nth in 0..options.campaigns {
        let message = wire::CreateCampaignRequest {
            campaign: Some(wire::Campaign {
                name: format!("Measured {nth}"),
                stock: options.stock,
                discount: Some(Discount::Percent(10)),
                ..wire::Campaign::default()
            }),
            idempotency_key: key().as_str().to_owned(),
        };
        let send = |channel, request| async move {
            AdminServiceClient::new(channel)
                .create_campaign(request)
                .await
        };
        let made = stage
            .operator
            .look("CreateCampaign", message, None, send)
            .await?;
        ids.push(made.campaign.unwrap_or_default().id);
    }
    Ok(ids)
}
