//! The same load by three tools: so many users who each make one call a
//! second. The rate is then that of the users, and tools that count alike find
//! the same one.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::error::BenchError;
use crate::ghz::Ghz;
use crate::k6::K6;
use crate::session::{Place, Session};
use crate::shape::Paced;
use crate::target::TargetOptions;

/// Tools may lie so far apart.
const TOLERANCE: f64 = 0.2;

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: TargetOptions,
    /// The k6 program
    #[arg(long, default_value = "k6", value_name = "FILE")]
    k6: PathBuf,
    /// The ghz program
    #[arg(long, default_value = "ghz", value_name = "FILE")]
    ghz: PathBuf,
    /// What k6 runs
    #[arg(long, default_value = "bench/k6/paced.js", value_name = "FILE")]
    script: PathBuf,
    /// Users of each tool
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    vus: u32,
    /// How long each calls
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..))]
    seconds: u32,
}

/// What one tool counted.
struct Counted {
    tool: &'static str,
    per_s: f64,
    is_whole: bool,
}

pub async fn run(options: Options) -> Result<(), BenchError> {
    let paced = Paced::open(&options.target, options.vus, options.seconds).await?;
    let counted = count(&options, &paced).await;
    let (findings, is_clean) = paced.close().await?;
    let counted = counted?;
    println!(
        "{} users, one GetPlace a second each, {} s",
        options.vus, options.seconds
    );
    let (agree, text) = compare(&counted);
    print!("{text}{findings}");
    match agree && is_clean {
        true => Ok(()),
        false => Err(BenchError::failed(
            "the tools do not agree, or calls failed",
        )),
    }
}

async fn count(options: &Options, paced: &Paced) -> Result<[Counted; 3], BenchError> {
    let (per_s, failed) = paced.run().await?;
    let ours = Counted {
        tool: "usher-bench",
        per_s,
        is_whole: failed == 0,
    };
    let (user, place) = paced
        .place()
        .ok_or_else(|| BenchError::failed("nobody has a place"))?;
    let k6 = by_k6(options, paced, user, place).await?;
    let ghz = by_ghz(options, paced, user, place).await?;
    Ok([ours, k6, ghz])
}

async fn by_k6(
    options: &Options,
    paced: &Paced,
    user: &Session,
    place: &Place,
) -> Result<Counted, BenchError> {
    let k6 = K6::at(&options.k6, paced.stage().target.addr)?;
    let words = [
        ("VUS", options.vus.to_string()),
        ("SECONDS", options.seconds.to_string()),
        ("USER", user.caller.user.as_str().to_owned()),
        ("PLACE_TOKEN", place.token.clone()),
    ];
    let summary = k6.run(&options.script, &words).await?;
    Ok(Counted {
        tool: "k6",
        per_s: summary.counted("counted_calls") / f64::from(options.seconds),
        is_whole: summary.checks_hold(),
    })
}

async fn by_ghz(
    options: &Options,
    paced: &Paced,
    user: &Session,
    place: &Place,
) -> Result<Counted, BenchError> {
    let ghz = Ghz::at(&options.ghz, paced.stage().target.addr)?;
    let metadata = user.caller.metadata();
    let metadata: serde_json::Map<String, Value> = metadata
        .iter()
        .map(|(name, value)| {
            (
                (*name).to_owned(),
                json!(value.to_str().unwrap_or_default()),
            )
        })
        .collect();
    // Its workers have no pace of their own; together they have that of the users.
    let config = json!({
        "name": "paced",
        "call": "usher.v1.QueueService.GetPlace",
        "total": options.vus * options.seconds,
        "concurrency": options.vus,
        "connections": options.vus,
        "rps": options.vus,
        "insecure": true,
        "timeout": "20s",
        "data": { "place_token": place.token },
        "metadata": metadata,
    });
    let report = ghz.run(&config, &[]).await?;
    Ok(Counted {
        tool: "ghz",
        per_s: report.rps,
        is_whole: report.is_all("OK"),
    })
}

/// Whether all found the first one's rate, without a failed call.
fn compare(counted: &[Counted]) -> (bool, String) {
    let (mut agree, mut text) = (true, String::new());
    let ours = counted.first().map_or(0.0, |first| first.per_s);
    for Counted {
        tool,
        per_s,
        is_whole,
    } in counted
    {
        let apart = per_s / ours - 1.0;
        let is_near = apart.abs() <= TOLERANCE;
        agree &= is_near && *is_whole;
        let verdict = match (is_near, is_whole) {
            (true, true) => "",
            (false, _) => ": MORE THAN 20 % APART",
            (_, false) => ": CALLS FAILED",
        };
        text += &format!(
            "{tool:<12} {per_s:>8.1} calls/s ({:+.1} %){verdict}\n",
            apart * 100.0
        );
    }
    (agree, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(per_s: f64, is_whole: bool) -> Counted {
        Counted {
            tool: "one",
            per_s,
            is_whole,
        }
    }

    #[test]
    fn a_fifth_apart_is_the_most() {
        assert!(
            compare(&[
                counted(100.0, true),
                counted(119.0, true),
                counted(81.0, true)
            ])
            .0
        );
        assert!(!compare(&[counted(100.0, true), counted(121.0, true)]).0);
        assert!(!compare(&[counted(100.0, true), counted(79.0, true)]).0);
    }

    #[test]
    fn a_tool_whose_calls_failed_agrees_with_nobody() {
        assert!(!compare(&[counted(100.0, true), counted(100.0, false)]).0);
        assert!(
            !compare(&[counted(0.0, true), counted(0.0, true)]).0,
            "nothing was called"
        );
    }
}
