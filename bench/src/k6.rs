//! k6, a load tool that knows nothing of Usher, with the scripts of `bench/k6`:
//! every check of every script must hold.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use usher::proto::FILE_DESCRIPTOR_SET;

use crate::error::BenchError;
use crate::stage::{RoomPlan, Stage};
use crate::target::TargetOptions;

/// What there is a script for.
const SCRIPTS: &[&str] = &["list", "poll", "join_watch", "journey"];
const PERFORMANCES: u32 = 1;

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: TargetOptions,
    /// The k6 program
    #[arg(long, default_value = "k6", value_name = "FILE")]
    k6: PathBuf,
    /// Where the scripts are
    #[arg(long, default_value = "bench/k6", value_name = "DIR")]
    scripts: PathBuf,
    /// Virtual users at once
    #[arg(long, default_value_t = 10)]
    vus: u32,
    /// Journeys of each
    #[arg(long, default_value_t = 4)]
    iterations: u32,
    /// Turns per second
    #[arg(long, default_value_t = 300.0)]
    rate: f64,
}

/// What a script came to.
pub struct Summary {
    metrics: Value,
    /// Whether k6 itself says that its thresholds hold.
    pub is_good: bool,
}

impl Summary {
    fn value(&self, metric: &str, what: &str) -> f64 {
        let value = &self.metrics[metric]["values"][what];
        value.as_f64().unwrap_or_default()
    }

    /// Of what a script counts itself.
    pub fn counted(&self, counter: &str) -> f64 {
        self.value(counter, "count")
    }

    /// All that were made held, and there were some.
    pub fn checks_hold(&self) -> bool {
        self.is_good && self.value("checks", "passes") > 0.0 && self.value("checks", "fails") == 0.0
    }

    fn text(&self) -> String {
        format!(
            "{} iterations, {} checks hold, {} do not, calls p95 {:.2} ms",
            self.value("iterations", "count"),
            self.value("checks", "passes"),
            self.value("checks", "fails"),
            self.value("grpc_req_duration", "p(95)")
        )
    }
}

/// k6, with a directory for what it reads and writes.
pub struct K6 {
    program: PathBuf,
    dir: PathBuf,
    addr: SocketAddr,
}

impl K6 {
    pub fn at(program: &Path, addr: SocketAddr) -> Result<Self, BenchError> {
        let nth: u32 = rand::random();
        let name = format!("usher-bench-k6-{}-{nth:08x}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir)?;
        std::fs::write(dir.join("usher.binpb"), FILE_DESCRIPTOR_SET)?;
        Ok(Self {
            program: program.to_owned(),
            dir,
            addr,
        })
    }

    /// One script, with what it reads from its environment.
    pub async fn run(
        &self,
        script: &Path,
        words: &[(&str, String)],
    ) -> Result<Summary, BenchError> {
        let summary = self.dir.join("summary.json");
        let mut command = Command::new(&self.program);
        command.args(["run", "--quiet", "--no-usage-report", "--no-color"]);
        // The port of its own interface: any free one.
        command.args(["--address", "127.0.0.1:0"]);
        let own = [
            ("USHER_ADDR", self.addr.to_string()),
            (
                "USHER_PROTOSET",
                self.dir.join("usher.binpb").display().to_string(),
            ),
            ("SUMMARY", summary.display().to_string()),
            ("RUN", std::process::id().to_string()),
        ];
        for (name, value) in own.iter().chain(words) {
            command.arg("-e").arg(format!("{name}={value}"));
        }
        let output = command.arg(script).output().await;
        let output = output.map_err(|error| BenchError::Start {
            program: self.program.clone(),
            why: error.to_string(),
        })?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let no_summary = |why: String| {
            BenchError::Failed(format!("{}: no summary ({why}): {said}", script.display()))
        };
        let text = std::fs::read_to_string(&summary);
        let text = text.map_err(|error| no_summary(error.to_string()))?;
        std::fs::remove_file(&summary)?;
        let metrics = serde_json::from_str(&text);
        let metrics = metrics.map_err(|error| no_summary(error.to_string()))?;
        if !output.status.success() {
            eprint!("{said}");
        }
        Ok(Summary {
            metrics,
            is_good: output.status.success(),
        })
    }
}

impl Drop for K6 {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

pub async fn run(options: Options) -> Result<(), BenchError> {
    let stage = Stage::open(&options.target, 0, None, Duration::from_secs(30)).await?;
    if !stage.target.callers.is_dev() {
        return Err(BenchError::failed(
            "the scripts name their users themselves: development mode alone",
        ));
    }
    let done = run_all(&options, &stage).await;
    let (findings, is_clean) = stage.judge().await?;
    print!("{findings}");
    match (done?, is_clean) {
        (true, true) => Ok(()),
        _ => Err(BenchError::failed("a check of a script does not hold")),
    }
}

async fn run_all(options: &Options, stage: &Stage) -> Result<bool, BenchError> {
    let plan = RoomPlan {
        capacity: 100_000,
        rate_per_s: options.rate,
        claim_window_s: 60,
        pass_ttl_s: 600,
        absence_grace_s: None,
    };
    let sale = stage.make_sale(plan, PERFORMANCES).await?;
    let k6 = K6::at(&options.k6, stage.target.addr)?;
    let words = [
        ("ROOM", sale.room.as_str().to_owned()),
        ("CONCERT", sale.concert_id.clone()),
        ("VUS", options.vus.to_string()),
        ("ITERATIONS", options.iterations.to_string()),
    ];
    let mut all_good = true;
    for (nth, name) in SCRIPTS.iter().enumerate() {
        // Each script has users of its own.
        let run = format!("{}{nth}", std::process::id());
        let words: Vec<_> = words.iter().cloned().chain([("RUN", run)]).collect();
        let script = options.scripts.join(format!("{name}.js"));
        let summary = k6.run(&script, &words).await?;
        let is_good = summary.checks_hold();
        all_good &= is_good;
        let verdict = if is_good {
            "as it should"
        } else {
            "NOT AS IT SHOULD"
        };
        println!("{name:<12} {}: {verdict}", summary.text());
    }
    Ok(all_good)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn summary(passes: u32, fails: u32, is_good: bool) -> Summary {
        let metrics = json!({ "checks": { "values": { "passes": passes, "fails": fails } } });
        Summary { metrics, is_good }
    }

    #[test]
    fn a_script_without_checks_has_shown_nothing() {
        assert!(summary(3, 0, true).checks_hold());
        assert!(!summary(3, 1, true).checks_hold());
        assert!(!summary(3, 0, false).checks_hold());
        assert!(!summary(0, 0, true).checks_hold());
    }
}
