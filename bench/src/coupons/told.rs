//! The account: what must hold, and the figures beside those of others.

use std::time::Duration;

use super::after::Counted;
use super::load::{Came, Course};
use super::{BY_OUTCOME, Options, Used};
use crate::report::{Cell, Chart, Report, Table};
use crate::tally::Times;

pub fn judge(options: &Options, came: &Came, counted: &Counted, report: &mut Report) {
    let users = u64::try_from(options.users).unwrap_or(u64::MAX);
    let grants = options.stock.min(users);
    let wrong = |course: &&Course| course.granted != grants || course.sold_out != users - grants;
    let wrong = came.courses.iter().filter(wrong).count();
    report.promise(wrong == 0, || {
        format!("{wrong} campaigns did not grant {grants} and refuse the others")
    });
    let right = counted.issued.iter().filter(|issued| **issued == grants);
    let right = right.count();
    let wrong = counted.issued.len() - right;
    report.promise(wrong == 0, || {
        format!("{wrong} campaigns say they issued another number than {grants}")
    });
    let Counted {
        lists, wrong_lists, ..
    } = counted;
    report.promise(*wrong_lists == 0, || {
        format!("{wrong_lists} of {lists} users have other coupons than they were told")
    });
    report.promise(came.refused.is_empty(), || {
        format!("refused for other reasons: {:?}", came.refused)
    });
    let repeated: u64 = came.repeated.values().sum();
    report.promise(options.kill || repeated == 0, || {
        format!("requests had to be repeated: {:?}", came.repeated)
    });
    report.promise(options.kill || came.already == 0, || {
        format!("{} first requests found a coupon", came.already)
    });
    let checked = Table::new("Checked", ["", "count"])
        .row(["campaigns that issued exactly that".into(), count(right)])
        .row(["users' lists compared".into(), count(*lists)])
        .row(["requests repeated".into(), repeated.into()])
        .row([
            "answered by an earlier request's coupon".into(),
            came.already.into(),
        ]);
    report.table(checked);
}

pub fn write(options: &Options, came: &Came, used: &Used, report: &mut Report) {
    let mut all = Times::default();
    all.merge(&came.granted);
    all.merge(&came.sold_out);
    let grants = apart(&came.courses, |course| {
        (course.began_us, course.last_grant_us)
    });
    let refusals = apart(&came.courses, |course| {
        (course.first_refusal_us, course.ended_us)
    });
    let rows = [
        ("all", &all, came.elapsed),
        ("granted", &came.granted, grants),
        ("sold out", &came.sold_out, refusals),
    ];
    let columns = ["", "count", "per second", "p50", "p95", "p99", "max"];
    let mut table = Table::new("Requests, ms", columns);
    for (what, times, within) in rows {
        let ms = |quantile| match times.count() {
            0 => Cell::Unknown,
            _ => Cell::Figure(times.quantile_ms(quantile)),
        };
        table = table.row([
            what.into(),
            times.count().into(),
            per_s(times.count(), within).into(),
            ms(0.5),
            ms(0.95),
            ms(0.99),
            ms(1.0),
        ]);
    }
    report.table(table);
    report.note(
        "Per second: all, over the whole run; granted, from the beginning of each campaign to \
         its last grant; sold out, from its first refusal to its end. A grant is decided by the \
         transaction that commits it, so from decision to commit there is nothing to wait for.",
    );
    // Who was killed cannot be asked.
    if !options.kill {
        report.table(cost(&all, used));
    }
    report.table(beside(&all, came.elapsed));
    report.chart(rates(options, came));
}

/// CPU per request, and where refusals came from.
fn cost(all: &Times, used: &Used) -> Table {
    #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
    let requests = all.count().max(1) as f64;
    let mut table = Table::new("Each request", ["", "CPU, us"]);
    for (who, cpu_s) in &used.cpu_s {
        if *cpu_s > 0.0 {
            table = table.row([(*who).into(), (cpu_s * 1e6 / requests).into()]);
        }
    }
    for (outcome, times) in BY_OUTCOME.iter().zip(&used.outcomes) {
        if *times > 0.0 {
            let what = format!("counted as {outcome}: {times:.0}");
            table = table.row([what.into(), Cell::Unknown]);
        }
    }
    table
}

/// What others have.
fn beside(all: &Times, elapsed: Duration) -> Table {
    let columns = ["", "the report (S4)", "best sibling", "here"];
    let ours = |quantile| Cell::Figure(all.quantile_ms(quantile));
    Table::new("L14: theirs beside ours", columns)
        .row([
            "requests".into(),
            8_668_u64.into(),
            2_000_u64.into(),
            all.count().into(),
        ])
        .row([
            "per second".into(),
            Cell::Unknown,
            996.67.into(),
            per_s(all.count(), elapsed).into(),
        ])
        .row([
            "mean, ms".into(),
            6_380.0.into(),
            1_110.0.into(),
            all.mean_ms().into(),
        ])
        .row(["p95, ms".into(), 12_460.0.into(), Cell::Unknown, ours(0.95)])
        .row(["p99, ms".into(), Cell::Unknown, 1_770.0.into(), ours(0.99)])
        .row(["max, ms".into(), 13_590.0.into(), Cell::Unknown, ours(1.0)])
}

/// How it went from campaign to campaign.
fn rates(options: &Options, came: &Came) -> Chart {
    let chart = Chart::lines("Answers of each campaign", "campaign", "per second");
    let within = |course: &Course| micros(course.began_us, course.ended_us);
    let users = u64::try_from(options.users).unwrap_or(u64::MAX);
    let points = (1_u32..).zip(&came.courses);
    let points = points.map(|(nth, course)| (f64::from(nth), per_s(users, within(course))));
    chart.series("requests", points.collect())
}

/// The time that a part of each campaign took, of all campaigns together.
fn apart(courses: &[Course], part: impl Fn(&Course) -> (u64, u64)) -> Duration {
    let parts = courses.iter().map(part);
    parts
        .filter(|(from, to)| *from > 0 && *to > 0)
        .map(|(from, to)| micros(from, to))
        .sum()
}

fn micros(from_us: u64, to_us: u64) -> Duration {
    Duration::from_micros(to_us.saturating_sub(from_us))
}

#[expect(clippy::cast_precision_loss, reason = "a count of requests")]
fn per_s(count: u64, within: Duration) -> f64 {
    count as f64 / within.as_secs_f64().max(1e-6)
}

fn count(count: usize) -> Cell {
    u64::try_from(count).unwrap_or(u64::MAX).into()
}
