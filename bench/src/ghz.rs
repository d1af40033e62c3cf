//! ghz, a load tool that knows nothing of Usher, on the published descriptor
//! set: every configuration in `bench/ghz` must end as its tags say.
//!
//! Users, places, passes and seats are prepared here; ghz gets them as files.
//! It exits with 0 whatever failed, so its report is judged: all answers have
//! the one code that the configuration names (OK by default), and a refusal
//! also the one text.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::Command;
use usher::proto::FILE_DESCRIPTOR_SET;

use crate::caller::Caller;
use crate::error::BenchError;
use crate::session::{Refused, Session};
use crate::stage::{RoomPlan, Stage};
use crate::target::TargetOptions;

const PROTOSET: &str = "usher.binpb";
/// What `hold_seats` is answered; ghz shows only code and text of it.
const TAKEN: &str = "SEAT_UNAVAILABLE";

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
}

/// The parts of ghz's report that are judged.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    count: u64,
    rps: f64,
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

/// Data and metadata of one configuration.
struct Prepared {
    config: &'static str,
    data: Value,
    caller: Option<Caller>,
    pass: Option<String>,
    /// Every request is another user's, where users say who they are.
    everyone: bool,
}

pub async fn run(options: Options) -> Result<(), BenchError> {
    let patience = Duration::from_secs(30);
    let stage = Stage::open(&options.target, 4, None, patience).await?;
    let dir = std::env::temp_dir().join(format!("usher-bench-ghz-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    std::fs::write(dir.join(PROTOSET), FILE_DESCRIPTOR_SET)?;
    let done = run_all(&options, &stage, &dir).await;
    std::fs::remove_dir_all(&dir)?;
    let (findings, is_clean) = stage.judge().await?;
    print!("{findings}");
    match (done?, is_clean) {
        (true, true) => Ok(()),
        _ => Err(BenchError::failed(
            "a report is not as its configuration says",
        )),
    }
}

async fn run_all(options: &Options, stage: &Stage, dir: &Path) -> Result<bool, BenchError> {
    let mut all_good = true;
    for prepared in prepare(stage).await? {
        let file = options.configs.join(format!("{}.json", prepared.config));
        let text = std::fs::read_to_string(&file)
            .map_err(|error| BenchError::Failed(format!("{}: {error}", file.display())))?;
        let config: Config = serde_json::from_str(&text).map_err(BenchError::failed)?;
        let total = options.requests.unwrap_or(config.total);
        let report = run_one(options, stage, dir, &file, &prepared, total).await?;
        let is_good = judge(&report, &config.tags.expect, total);
        all_good &= is_good;
        let p95 = report.latency_distribution.iter().flatten();
        let p95 = p95.clone().find(|entry| entry.percentage == 95);
        println!(
            "{:<14} {:>6} calls, {:>7.0}/s, p95 {:>8}, {:?} {}: {}",
            config.name,
            report.count,
            report.rps,
            p95.map_or_else(
                || "-".to_owned(),
                |entry| format!("{:.2} ms", entry.latency / 1e6)
            ),
            report.status_code_distribution,
            report
                .error_distribution
                .keys()
                .next()
                .map_or("", String::as_str),
            if is_good {
                "as it should"
            } else {
                "NOT AS IT SHOULD"
            }
        );
    }
    Ok(all_good)
}

async fn run_one(
    options: &Options,
    stage: &Stage,
    dir: &Path,
    file: &Path,
    prepared: &Prepared,
    total: u64,
) -> Result<Report, BenchError> {
    let data_file = dir.join(format!("{}.data.json", prepared.config));
    std::fs::write(&data_file, prepared.data.to_string())?;
    let mut command = Command::new(&options.ghz);
    command
        .arg("--config")
        .arg(file)
        .arg("--protoset")
        .arg(dir.join(PROTOSET))
        .arg("--data-file")
        .arg(&data_file)
        .args(["--total", &total.to_string(), "--format", "json"]);
    if let Some(metadata) = metadata(prepared) {
        command.args(["--metadata", &metadata.to_string()]);
    }
    let output = command.arg(stage.target.addr.to_string()).output().await;
    let output = output.map_err(|error| BenchError::Start {
        program: options.ghz.clone(),
        why: error.to_string(),
    })?;
    serde_json::from_slice(&output.stdout).map_err(|error| {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        BenchError::Failed(format!("{}: no report ({error}): {said}", file.display()))
    })
}

fn metadata(prepared: &Prepared) -> Option<Value> {
    let caller = prepared.caller.as_ref()?;
    let mut all = serde_json::Map::new();
    for (name, value) in caller.metadata() {
        all.insert(name.to_owned(), json!(value.to_str().unwrap_or_default()));
    }
    if prepared.everyone && all.contains_key("x-user-id") {
        // ghz counts its requests: each is another user's.
        all.insert("x-user-id".to_owned(), json!("ghz-{{.RequestNumber}}"));
    }
    if let Some(pass) = &prepared.pass {
        all.insert("x-usher-pass".to_owned(), json!(pass));
    }
    Some(Value::Object(all))
}

/// All answers have the expected code; all refusals are the same one.
fn judge(report: &Report, expect: &str, total: u64) -> bool {
    let codes = &report.status_code_distribution;
    let one_code = codes.len() == 1 && codes.get(expect) == Some(&total);
    let texts = report.error_distribution.len();
    report.count == total && one_code && texts == usize::from(expect != "OK")
}

/// Users with what they need for each configuration.
async fn prepare(stage: &Stage) -> Result<Vec<Prepared>, BenchError> {
    let plan = RoomPlan {
        capacity: 10,
        rate_per_s: 100.0,
        claim_window_s: 60,
        pass_ttl_s: 600,
    };
    let sale = stage.make_sale(plan, 1).await?;
    let mut users = stage.users(3)?.into_iter();
    let mut user = || users.next().ok_or_else(|| BenchError::failed("no user"));
    let (waiter, winner, loser) = (user()?, user()?, user()?);
    let refused = |refused: Refused| BenchError::Setup {
        step: refused.rpc,
        why: refused.reason,
    };
    let (performance_id, seat_id) = take_a_seat(&winner, &sale).await.map_err(refused)?;
    let (turn, pass) = loser.admit(&sale.room).await.map_err(refused)?;
    let turned_away = loser
        .hold(
            &performance_id,
            vec![seat_id.clone()],
            &turn.activation_id,
            &pass,
        )
        .await;
    match turned_away {
        Err(refused) if refused.reason == TAKEN => {}
        _ => {
            return Err(BenchError::failed(
                "a seat that is held could be held again",
            ));
        }
    }
    let place = waiter.join(&sale.room).await.map_err(refused)?;
    let room_id = sale.room.as_str();
    let hold = json!({
        "performance_id": performance_id,
        "seat_ids": [seat_id],
        "idempotency_key": "ghz-{{.RequestNumber}}",
    });
    let prepared = |config, data, user: Option<&Session>, pass| Prepared {
        config,
        data,
        caller: user.map(|user| user.caller.clone()),
        pass,
        everyone: config == "join",
    };
    let token = json!({ "place_token": place.token });
    Ok(vec![
        prepared("list_concerts", json!({ "page_size": 10 }), None, None),
        prepared("get_place", token.clone(), Some(&waiter), None),
        prepared("join", json!({ "room_id": room_id }), Some(&waiter), None),
        prepared("hold_seats", hold, Some(&loser), Some(pass)),
    ])
}

/// A seat that is held from here on.
async fn take_a_seat(
    winner: &Session,
    sale: &crate::stage::Sale,
) -> Result<(String, String), Refused> {
    let (turn, pass) = winner.admit(&sale.room).await?;
    let performance_id = winner.performances(&sale.concert_id).await?.remove(0).id;
    let seat_id = winner.free_seats(&performance_id, &pass).await?.remove(0);
    let seats = vec![seat_id.clone()];
    winner
        .hold(&performance_id, seats, &turn.activation_id, &pass)
        .await?;
    Ok((performance_id, seat_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> Report {
        serde_json::from_str(text).expect("a report")
    }

    #[test]
    fn a_report_is_good_only_if_all_answers_are_the_expected_one() {
        let ok = report(r#"{"count":2,"rps":1.5,"statusCodeDistribution":{"OK":2}}"#);
        assert!(judge(&ok, "OK", 2));
        assert!(!judge(&ok, "OK", 3), "one is missing");
        assert!(!judge(&ok, "FailedPrecondition", 2));
        let mixed = r#"{"count":2,"rps":1,"statusCodeDistribution":{"OK":1,"Unavailable":1}}"#;
        assert!(!judge(&report(mixed), "OK", 2));
    }

    #[test]
    fn refusals_must_have_one_text() {
        let text = |texts: &str| {
            format!(
                r#"{{"count":2,"rps":1,"statusCodeDistribution":{{"FailedPrecondition":2}},
                "errorDistribution":{texts}}}"#
            )
        };
        let one = report(&text(r#"{"taken":2}"#));
        assert!(judge(&one, "FailedPrecondition", 2));
        let two = report(&text(r#"{"taken":1,"pass ended":1}"#));
        assert!(!judge(&two, "FailedPrecondition", 2));
    }
}
