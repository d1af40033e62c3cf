//! ghz, a load tool that knows nothing of Usher, on the published descriptor
//! set: every configuration in `bench/ghz` must end as its tags say.
//!
//! There is one for every unary RPC. A configuration names what it needs
//! (`${place_token}`) and who calls; both are prepared by `house`. ghz exits
//! with 0 whatever failed, so its report is judged: all answers have the one
//! code that the configuration names, and refusals also the one text.

mod house;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::Command;
use usher::proto::FILE_DESCRIPTOR_SET;

use crate::error::BenchError;
use crate::stage::Stage;
use crate::target::TargetOptions;
use house::House;

const PROTOSET: &str = "usher.binpb";
/// Calls as many users as there are requests.
const EVERYONE: &str = "everyone";
/// Whose proof the metadata of [`EVERYONE`] begin with.
const ANYONE: &str = "waiter";

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: TargetOptions,
    /// The ghz program
    #[arg(long, default_value = "ghz", value_name = "FILE")]
    ghz: PathBuf,
    /// Where the configurations are
    #[arg(long, default_value = "bench/ghz", value_name = "DIR")]
    configs: PathBuf,
    /// Only these, by name
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Requests of each, instead of what it says
    #[arg(long)]
    requests: Option<u64>,
}

#[derive(clap::Args)]
pub struct ProtosetOptions {
    /// The file to write
    file: PathBuf,
}

pub fn write_protoset(options: &ProtosetOptions) -> Result<(), BenchError> {
    std::fs::write(&options.file, FILE_DESCRIPTOR_SET)?;
    Ok(())
}

/// What a configuration says of itself; ghz passes tags through.
#[derive(Deserialize)]
struct Config {
    name: String,
    total: u64,
    tags: Tags,
}

#[derive(Deserialize)]
struct Tags {
    /// A code as ghz names it.
    expect: String,
    /// Who calls; none: nobody in particular.
    user: Option<String>,
    /// Whose pass is shown.
    pass: Option<String>,
    /// Called once before: what is idempotent then answers as it did.
    first: Option<String>,
    /// Only where users are believed.
    mode: Option<String>,
}

/// The parts of ghz's report that are judged.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub count: u64,
    pub rps: f64,
    #[serde(default)]
    status_code_distribution: BTreeMap<String, u64>,
    #[serde(default)]
    error_distribution: BTreeMap<String, u64>,
    #[serde(default)]
    latency_distribution: Option<Vec<Latency>>,
}

#[derive(Deserialize)]
struct Latency {
    percentage: u32,
    /// Nanoseconds.
    latency: f64,
}

impl Report {
    /// All answers have this code; all refusals are the same one.
    pub fn is_all(&self, expect: &str) -> bool {
        let codes = &self.status_code_distribution;
        let one_code = codes.len() == 1 && codes.get(expect) == Some(&self.count);
        one_code && self.error_distribution.len() == usize::from(expect != "OK")
    }

    fn text(&self) -> String {
        let p95 = self.latency_distribution.iter().flatten();
        let p95 = p95.clone().find(|entry| entry.percentage == 95);
        let p95 = p95.map_or_else(
            || "-".to_owned(),
            |entry| format!("{:.2} ms", entry.latency / 1e6),
        );
        let text = self.error_distribution.keys().next();
        format!(
            "{:>4} calls, {:>6.0}/s, p95 {p95:>9}, {:?} {}",
            self.count,
            self.rps,
            self.status_code_distribution,
            text.map_or("", String::as_str)
        )
    }
}

/// ghz, with a directory for what it reads.
pub struct Ghz {
    program: PathBuf,
    dir: PathBuf,
    addr: SocketAddr,
}

impl Ghz {
    pub fn at(program: &Path, addr: SocketAddr) -> Result<Self, BenchError> {
        let nth: u32 = rand::random();
        let name = format!("usher-bench-ghz-{}-{nth:08x}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir)?;
        std::fs::write(dir.join(PROTOSET), FILE_DESCRIPTOR_SET)?;
        Ok(Self {
            program: program.to_owned(),
            dir,
            addr,
        })
    }

    /// One run of a configuration, with more flags.
    pub async fn run(&self, config: &Value, flags: &[&str]) -> Result<Report, BenchError> {
        let file = self.dir.join("config.json");
        std::fs::write(&file, config.to_string())?;
        let mut command = Command::new(&self.program);
        command
            .arg("--config")
            .arg(&file)
            .arg("--protoset")
            .arg(self.dir.join(PROTOSET))
            .args(["--format", "json"])
            .args(flags)
            .arg(self.addr.to_string());
        let output = command.output().await.map_err(|error| BenchError::Start {
            program: self.program.clone(),
            why: error.to_string(),
        })?;
        serde_json::from_slice(&output.stdout).map_err(|error| {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            BenchError::Failed(format!("{}: no report ({error}): {said}", config["name"]))
        })
    }
}

impl Drop for Ghz {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

pub async fn run(options: Options) -> Result<(), BenchError> {
    let patience = Duration::from_secs(30);
    let stage = Stage::open(&options.target, 4, None, patience).await?;
    let done = run_all(&options, &stage).await;
    let (findings, is_clean) = stage.judge().await?;
    print!("{findings}");
    match (done?, is_clean) {
        (true, true) => Ok(()),
        _ => Err(BenchError::failed(
            "a report is not as its configuration says",
        )),
    }
}

async fn run_all(options: &Options, stage: &Stage) -> Result<bool, BenchError> {
    let house = House::build(stage).await?;
    let ghz = Ghz::at(&options.ghz, stage.target.addr)?;
    let mut all_good = true;
    for (file, text) in configurations(&options.configs)? {
        let is_wanted = |name: &String| file.file_stem().is_some_and(|stem| stem == name.as_str());
        if !options.only.is_empty() && !options.only.iter().any(is_wanted) {
            continue;
        }
        let failed = |why: String| BenchError::Failed(format!("{}: {why}", file.display()));
        let filled = fill(&text, &house.words).map_err(failed)?;
        let mut config: Value = serde_json::from_str(&filled).map_err(BenchError::failed)?;
        let about = Config::deserialize(&config).map_err(BenchError::failed)?;
        if about.tags.mode.is_some() && !stage.target.callers.is_dev() {
            println!("{:<20} only in development mode: left out", about.name);
            continue;
        }
        config["metadata"] = metadata(&house, &about.tags).map_err(failed)?;
        if about.tags.first.is_some() {
            ghz.run(
                &config,
                &["--total", "1", "--concurrency", "1", "--connections", "1"],
            )
            .await?;
        }
        let total = options.requests.unwrap_or(about.total);
        let report = ghz.run(&config, &["--total", &total.to_string()]).await?;
        let is_good = report.count == total && report.is_all(&about.tags.expect);
        all_good &= is_good;
        let verdict = match is_good {
            true => "as it should",
            false => "NOT AS IT SHOULD",
        };
        println!("{:<20} {}: {verdict}", about.name, report.text());
    }
    Ok(all_good)
}

/// Files and texts, in the order of their names.
fn configurations(dir: &Path) -> Result<Vec<(PathBuf, String)>, BenchError> {
    let named = |error: std::io::Error| BenchError::Failed(format!("{}: {error}", dir.display()));
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(named)? {
        let file = entry?.path();
        if file
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let text = std::fs::read_to_string(&file)?;
            all.push((file, text));
        }
    }
    all.sort();
    Ok(all)
}

/// Puts what was prepared where a configuration asks for it.
fn fill(text: &str, words: &BTreeMap<&'static str, String>) -> Result<String, String> {
    let mut filled = text.to_owned();
    for (name, value) in words {
        filled = filled.replace(&format!("${{{name}}}"), value);
    }
    match filled.split_once("${") {
        Some((_, rest)) => {
            let name: String = rest.chars().take_while(|next| *next != '}').collect();
            Err(format!("nobody prepares {name}"))
        }
        None => Ok(filled),
    }
}

/// The metadata by which the server knows who calls.
fn metadata(house: &House, tags: &Tags) -> Result<Value, String> {
    let mut all = serde_json::Map::new();
    if let Some(name) = &tags.user {
        let known = if name == EVERYONE { ANYONE } else { name };
        let user = house.users.get(known);
        let user = user.ok_or_else(|| format!("nobody is called {name}"))?;
        for (key, value) in user.caller.metadata() {
            all.insert(key.to_owned(), json!(value.to_str().unwrap_or_default()));
        }
        if name == EVERYONE && all.contains_key("x-user-id") {
            // ghz counts its requests: each is another user's.
            all.insert("x-user-id".to_owned(), json!("ghz-{{.RequestNumber}}"));
        }
    }
    if let Some(name) = &tags.pass {
        let pass = house.passes.get(name.as_str());
        let pass = pass.ok_or_else(|| format!("{name} has no pass"))?;
        all.insert("x-usher-pass".to_owned(), json!(pass));
    }
    Ok(Value::Object(all))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    fn report(text: &str) -> Report {
        serde_json::from_str(text).expect("a report")
    }

    fn unary_rpcs() -> BTreeSet<String> {
        let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("a descriptor set");
        let files = set.file.iter().filter(|file| file.package() == "usher.v1");
        let services = files.flat_map(|file| &file.service);
        let methods = services.flat_map(|service| {
            let unary = service.method.iter();
            let unary = unary.filter(|rpc| !rpc.server_streaming() && !rpc.client_streaming());
            unary.map(move |rpc| format!("usher.v1.{}.{}", service.name(), rpc.name()))
        });
        methods.collect()
    }

    #[test]
    fn every_unary_rpc_has_one_configuration() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("ghz");
        let mut calls = BTreeSet::new();
        for (file, text) in configurations(&dir).expect("configurations") {
            let config: Value = serde_json::from_str(&text).expect("an object");
            let about = Config::deserialize(&config).expect("a configuration");
            let stem = file.file_stem().expect("a name");
            assert_eq!(stem.to_str(), Some(about.name.as_str()));
            assert!(!about.tags.expect.is_empty(), "{stem:?}");
            let call = config["call"].as_str().expect("an RPC").to_owned();
            assert!(calls.insert(call.clone()), "{call} has two");
        }
        assert_eq!(calls, unary_rpcs());
    }

    #[test]
    fn one_code_for_all_and_nothing_else() {
        let good = report(r#"{"count":3,"rps":1.0,"statusCodeDistribution":{"OK":3}}"#);
        assert!(good.is_all("OK"));
        assert!(!good.is_all("FailedPrecondition"));
        let mixed = r#"{"count":3,"rps":1.0,
            "statusCodeDistribution":{"OK":2,"Unavailable":1},
            "errorDistribution":{"rpc error: gone":1}}"#;
        assert!(!report(mixed).is_all("OK"));
    }

    #[test]
    fn refusals_are_the_same_one() {
        let refused = r#"{"count":2,"rps":1.0,"statusCodeDistribution":{"FailedPrecondition":2},
            "errorDistribution":{"taken":2}}"#;
        assert!(report(refused).is_all("FailedPrecondition"));
        let two_reasons = r#"{"count":2,"rps":1.0,
            "statusCodeDistribution":{"FailedPrecondition":2},
            "errorDistribution":{"taken":1,"no pass":1}}"#;
        assert!(!report(two_reasons).is_all("FailedPrecondition"));
    }

    #[test]
    fn what_nobody_prepares_is_named() {
        let words = BTreeMap::from([("room", "r1".to_owned())]);
        assert_eq!(fill("a ${room}", &words), Ok("a r1".to_owned()));
        assert_eq!(
            fill("a ${seat}", &words),
            Err("nobody prepares seat".to_owned())
        );
    }
}
