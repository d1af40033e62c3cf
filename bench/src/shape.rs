//! The load shapes L1 to L13 of the source reports, replayed: as written, as
//! arrivals, and to the limit.
//!
//! `table` says what each shape is, `profile` turns it into a load over time,
//! `drive` sends the users, `user` is what each of them does, and `verdict`
//! puts what came of it beside what the report has. Counts that are promised
//! and broken fail the command; times are told.

mod drive;
mod fill;
mod paced;
mod profile;
mod ramp;
mod server;
mod table;
#[cfg(test)]
mod tests;
mod user;
mod verdict;
mod world;

use std::sync::Arc;
use std::time::Duration;

use crate::error::BenchError;
use crate::report::{Chart, Report, ReportOptions, Table};
use crate::target::TargetOptions;
use drive::{Bounds, drive};
use profile::{Plan, Profile, Scale, Variant, plan};
use server::Server;
use table::Metric;
use user::World;
use verdict::{How, Step};
use world::Site;

pub use paced::Paced;

#[derive(clap::Args, Clone)]
pub struct Options {
    /// L1, L2a, … L13; or all, each in the variants that its promises speak of
    shape: String,
    #[command(flatten)]
    target: TargetOptions,
    #[arg(long, value_enum, default_value = "as-written")]
    variant: Variant,
    #[arg(long, value_enum, default_value = "load")]
    profile: Profile,
    /// Those who wait watch for their turn instead of polling
    #[arg(long)]
    watch: bool,
    /// Users share `--connections` instead of having one each
    #[arg(long)]
    shared: bool,
    /// So many times the users, arrivals and concerts of the table
    #[arg(long, default_value_t = 1.0)]
    size: f64,
    /// So many times its lengths and pauses
    #[arg(long, default_value_t = 1.0)]
    time: f64,
    #[arg(long, default_value_t = 30.0)]
    soak_minutes: f64,
    /// Journeys under way at once; an open loop drops arrivals beyond it
    #[arg(long, default_value_t = 20_000)]
    in_flight_max: usize,
    /// How long journeys may go on when nobody new comes any more, in seconds
    #[arg(long, default_value_t = 120)]
    grace: u64,
    /// How long a user repeats what failed, in seconds
    #[arg(long, default_value_t = 60)]
    patience: u64,
    #[command(flatten)]
    report: ReportOptions,
}

pub async fn run(options: Options) -> Result<(), BenchError> {
    let runs = runs(&options)?;
    let mut report = Report::new(&format!(
        "Load shapes of the source reports: {}",
        options.shape
    ));
    report.fact("users", options.target.mode());
    report.fact("server", options.target.place());
    report.fact("size, time", format!("{}, {}", options.size, options.time));
    let columns = [
        "",
        "calls/s",
        "p95, ms",
        "theirs",
        "failed, %",
        "connections",
    ];
    report.table(Table::new("Each run, at its last step that held", columns));
    for how in runs {
        eprintln!("{}: {}", how.name(), how.shape.title);
        replay(&options, how, &mut report).await?;
        report.write(&options.report)?;
    }
    report.finish(&options.report)
}

/// One shape as it is asked for, or each in all its variants.
fn runs(options: &Options) -> Result<Vec<How>, BenchError> {
    let how = |shape| How {
        shape,
        variant: options.variant,
        profile: options.profile,
        watching: options.watch,
    };
    if options.shape != "all" {
        let unknown = || {
            let shape = &options.shape;
            BenchError::Failed(format!(
                "no shape {shape}: L1 to L13, or all; L14 is `usher-bench coupons`"
            ))
        };
        let how = how(table::find(&options.shape).ok_or_else(unknown)?);
        if how.watching && !how.shape.waits() {
            return Err(BenchError::Failed(format!(
                "nobody polls in {}",
                how.shape.id
            )));
        }
        return Ok(vec![how]);
    }
    Ok(table::all().flat_map(|shape| every(how(shape))).collect())
}

/// As written, watching too where users poll, as arrivals, and to the knee.
fn every(how: How) -> Vec<How> {
    let variants = [Variant::AsWritten, Variant::Arrivals, Variant::Knee];
    let mut all: Vec<How> = Vec::new();
    for variant in variants {
        for watching in [false, true] {
            if watching && (!how.shape.waits() || variant == Variant::Knee) {
                continue;
            }
            all.push(How {
                variant,
                watching,
                ..how
            });
        }
    }
    all
}

async fn replay(options: &Options, how: How, report: &mut Report) -> Result<(), BenchError> {
    let scale = Scale {
        size: options.size,
        time: options.time,
        soak_minutes: options.soak_minutes,
    };
    let plan = plan(how.shape, how.variant, how.profile, scale);
    let site = Site {
        target: &options.target,
        shape: how.shape,
        plan: &plan,
        size: options.size,
        time: options.time,
        watching: how.watching,
        shared: options.shared,
        patience: Duration::from_secs(options.patience),
    };
    let world = Arc::new(site.build().await?);
    let connections = world.ground.pool.connections();
    let bounds = Bounds {
        in_flight_max: options.in_flight_max,
        grace: Duration::from_secs(options.grace),
    };
    let steps = walk(&world, &plan, bounds, &how).await?;
    let world = Arc::into_inner(world).ok_or_else(|| BenchError::failed("a user is left"))?;
    let (findings, is_clean) = world.close().await?;

    let held = steps.iter().rev().find(|step| !step.breaks(&how));
    if let Some(step) = held.or(steps.last()) {
        report.tables[0].rows.push(vec![
            format!("{}, {} x", how.name(), step.factor).into(),
            step.calls_per_s().into(),
            step.ours(Metric::P95Ms).into(),
            verdict::theirs(how.shape, Metric::P95Ms).into(),
            step.ours(Metric::FailedPercent).into(),
            u64::try_from(connections).unwrap_or(u64::MAX).into(),
        ]);
    }
    steps.iter().for_each(|step| step.tell(&how, report));
    if plan.until_broken {
        report.chart(way(&steps, &how));
        report.note(limit(&steps, &how));
    }
    let source = &how.shape.source;
    report.note(format!(
        "{}. Theirs: {}. {}. Here: {connections} connections of the users; {}.",
        how.name(),
        source.hardware,
        source.said,
        how.shape.remark
    ));
    report.promise(is_clean, || format!("{}: {findings}", how.name()));
    Ok(())
}

/// How times grow with the rate.
fn way(steps: &[Step], how: &How) -> Chart {
    let point = |step: &Step| (step.calls_per_s(), step.ours(Metric::P95Ms));
    let points = steps.iter().map(point).collect();
    Chart::lines(&how.name(), "calls/s", "p95, ms").series("ours", points)
}

/// One step after the other.
async fn walk(
    world: &Arc<World>,
    plan: &Plan,
    bounds: Bounds,
    how: &How,
) -> Result<Vec<Step>, BenchError> {
    let mut steps = Vec::new();
    for (factor, load) in &plan.steps {
        world.ground.tally.clear();
        let before = Server::of(&world.stage.target).await?;
        let journeys = drive(world, load, bounds).await?;
        let server = Server::of(&world.stage.target).await?.since(&before);
        let tally = &world.ground.tally;
        let step = Step::of(*factor, load.text(), journeys, server, tally);
        let is_broken = plan.until_broken && step.breaks(how);
        steps.push(step);
        if is_broken {
            break;
        }
    }
    Ok(steps)
}

/// Which step was the last that held.
fn limit(steps: &[Step], how: &How) -> String {
    let name = how.name();
    let held = steps.iter().rev().find(|step| !step.breaks(how));
    let broke = steps.iter().find(|step| step.breaks(how));
    let told = |step: &Step| {
        let (rate, p95) = (step.calls_per_s(), step.ours(Metric::P95Ms));
        format!("{} x ({rate:.0} calls/s, p95 {p95:.1} ms)", step.factor)
    };
    match (held, broke) {
        (Some(held), Some(broke)) => {
            format!("{name}: held at {}, broke at {}.", told(held), told(broke))
        }
        (Some(held), None) => format!("{name}: held at {}, the last step.", told(held)),
        (None, Some(broke)) => format!("{name}: broke at once, at {}.", told(broke)),
        (None, None) => format!("{name}: no step was made."),
    }
}
