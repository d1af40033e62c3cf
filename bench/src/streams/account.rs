//! The account of a run: what was promised, and the figures.

use super::Options;
use super::rounds::{Broadcast, Round, Turns};
use super::side::Idle;
use crate::driver::order::{Quantiles, Tally};
use crate::error::BenchError;
use crate::floor_server::{OFF_MAX, yardstick};
use crate::report::{Cell, Chart, Report, Table};
use crate::spread::Spread;

#[derive(Default)]
pub struct Account {
    pub idle: Vec<(&'static str, Idle)>,
    pub ours: Vec<Round>,
    pub floor: Vec<Round>,
    pub turns: Option<Turns>,
}

impl Account {
    /// What every stream was promised.
    pub fn judge(&self, tally: &Tally, users: u32, report: &mut Report) {
        for (name, rounds) in [("usher", &self.ours), ("floor", &self.floor)] {
            let all = rounds.iter().flat_map(|round| &round.broadcasts);
            for (nth, one) in all.enumerate() {
                let is_whole = one.got == u64::from(users) && one.missing == 0 && one.repeated == 0;
                report.promise(is_whole, || {
                    let Broadcast {
                        got,
                        missing,
                        repeated,
                        ..
                    } = one;
                    format!("{name}: broadcast {nth}: {got} of {users} got it, {missing} open streams did not, {repeated} repeats")
                });
            }
        }
        report.promise(tally.broken.is_empty(), || {
            format!("streams ended and nobody said why: {:?}", tally.broken)
        });
        report.promise(tally.cursors_back == 0, || {
            format!("{} cursors went back", tally.cursors_back)
        });
        report.promise(tally.positions_grown == 0, || {
            format!("{} positions grew within an epoch", tally.positions_grown)
        });
        let Some(turns) = &self.turns else {
            return;
        };
        report.promise(turns.left == 0, || {
            format!("{} streams did not end", turns.left)
        });
        let counts = [
            (tally.never_activated, "were never activated"),
            (tally.activated_twice, "were activated more than once"),
            (tally.never_ended, "were never told their end"),
            (tally.ended_twice, "were told their end more than once"),
        ];
        for (count, what) in counts {
            report.promise(count == 0, || format!("{count} places {what}"));
        }
    }

    pub fn write(
        &self,
        tally: &Tally,
        options: &Options,
        report: &mut Report,
    ) -> Result<(), BenchError> {
        self.write_idle(report);
        self.write_cost(options, report)?;
        self.write_receipts(report);
        self.write_turns(tally, report);
        write_tally(tally, report);
        Ok(())
    }

    fn write_idle(&self, report: &mut Report) {
        let columns = [
            "idle",
            "KiB RSS per stream",
            "of these its place",
            "and the stream",
            "kernel KiB per connection",
            "socket buffers KiB",
            "CPU % of a core",
            "us CPU to open",
            "joins/s",
        ];
        let mut table = Table::new("Open and idle", columns);
        for (name, idle) in &self.idle {
            let joins = idle.joins.as_ref();
            table = table.row([
                (*name).into(),
                idle.rss_kib.into(),
                idle.place_kib.into(),
                idle.stream_kib.into(),
                idle.slab_kib.into(),
                idle.buffers_kib.into(),
                idle.cpu_percent.into(),
                idle.open_cpu_us.into(),
                joins
                    .map(|joins| f64::from(joins.done) / joins.elapsed_s.max(1e-3))
                    .into(),
            ]);
        }
        report.table(table);
        report.note(
            "RSS: all server processes, grown from before the first join to the end of idling. \
             Kernel: slab and socket buffers of the whole machine, so both ends of each connection.",
        );
    }

    fn write_cost(&self, options: &Options, report: &mut Report) -> Result<(), BenchError> {
        let columns = [
            "CPU per message",
            "us",
            "us without the calls",
            "of the floor",
        ];
        let mut table = Table::new("Server CPU of a broadcast, per message", columns);
        let net = |round: &Round| round.cpu_us - round.calls_us;
        let spread =
            |rounds: &[Round], read: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(read));
        let whole = |round: &Round| round.cpu_us;
        let mut chart = Chart::bars("Server CPU per message", "us");
        if !self.floor.is_empty() {
            let floor = spread(&self.floor, &whole);
            table = table.row(["floor".into(), floor.into(), Cell::Unknown, 1.0.into()]);
            chart = chart.bar("floor", floor.median);
        }
        let pairs = self.ours.iter().zip(&self.floor);
        let ratios: Vec<f64> = pairs
            .map(|(ours, floor)| net(ours) / floor.cpu_us)
            .collect();
        let ratio: Cell = match ratios.is_empty() {
            true => Cell::Unknown,
            false => Spread::of(ratios).into(),
        };
        let ours = spread(&self.ours, &net);
        table = table.row([
            "usher".into(),
            spread(&self.ours, &whole).into(),
            ours.into(),
            ratio,
        ]);
        report.table(table);
        report.chart(chart.bar("usher, without the calls", ours.median));
        let shape = yardstick(options.connections()?, options.streams);
        if let (Some(known), false) = (shape, self.floor.is_empty()) {
            let floor = spread(&self.floor, &whole).median;
            let off = floor / known - 1.0;
            let verdict = match off.abs() <= OFF_MAX {
                true => "as expected",
                false => "VOID: the machine was not itself (or is another)",
            };
            report.note(format!(
                "The floor took {floor:.3} us per message, {known} is known of this shape ({:+.0} %): {verdict}.",
                off * 100.0
            ));
        }
        Ok(())
    }

    fn write_receipts(&self, report: &mut Report) {
        let columns = [
            "ms after the answer",
            "first",
            "median",
            "p99",
            "last",
            "the call",
        ];
        let mut table = Table::new("From the operator's answer to receipts", columns);
        let mut chart = Chart::lines(
            "One broadcast: who has it by when",
            "ms after the answer",
            "% of streams",
        );
        for (name, rounds) in [("usher", &self.ours), ("floor", &self.floor)] {
            let all: Vec<&Broadcast> = rounds.iter().flat_map(|round| &round.broadcasts).collect();
            if all.is_empty() {
                continue;
            }
            let of = |read: fn(&Broadcast) -> f64| -> Cell {
                Spread::of(all.iter().map(|one| read(one))).into()
            };
            table = table.row([
                name.into(),
                of(|one| one.first_ms),
                of(|one| one.median_ms),
                of(|one| one.p99_ms),
                of(|one| one.last_ms),
                of(|one| one.call_ms),
            ]);
            if let Some(one) = middle(&all) {
                chart = chart.series(name, curve(&one.at_us, one.answered_us));
            }
        }
        report.table(table);
        report.chart(chart);
        report.note("Negative: news overtook the answer to the call that caused it.");
    }

    fn write_turns(&self, tally: &Tally, report: &mut Report) {
        let Some(turns) = &self.turns else {
            return;
        };
        let positions = tally.kinds.get("position").copied().unwrap_or(0);
        let table = Table::new(
            "Everyone's turn",
            ["rate/s", "seconds", "server CPU s", "positions told"],
        );
        report.table(table.row([
            turns.rate_per_s.into(),
            turns.elapsed_s.into(),
            turns.cpu_s.into(),
            positions.into(),
        ]));
        let columns = ["ms", "count", "p50", "p99", "max"];
        let mut table = Table::new("Turns and positions", columns);
        let rows = [
            ("activation to receipt", &tally.activation_ms),
            ("position later than promised", &tally.late_ms),
        ];
        for (name, times) in rows {
            table = table.row([
                name.into(),
                times.count.into(),
                times.part(50).into(),
                times.part(99).into(),
                times.part(100).into(),
            ]);
        }
        report.table(table);
        report.note(
            "Activation: the time that its claim window is counted from, by the database's clock. \
             Promised: the next position after 1/30 of the remaining wait at the room's rate, \
             between 1 s and the heartbeat of 25 s; negative is early.",
        );
        let share = |times: &Quantiles| parts(times, 0.0);
        report.chart(
            Chart::lines("From activation to receipt", "ms", "% of streams")
                .series("usher", share(&tally.activation_ms)),
        );
    }
}

fn write_tally(tally: &Tally, report: &mut Report) {
    let mut table = Table::new("Messages that streams received", ["kind", "count"]);
    for (kind, count) in &tally.kinds {
        table = table.row([kind.as_str().into(), (*count).into()]);
    }
    report.table(table);
    let streams: Vec<String> = tally
        .streams
        .iter()
        .map(|(doing, count)| format!("{count} {doing}"))
        .collect();
    report.fact("streams at the end", streams.join(", "));
    report.fact("GOAWAYs", tally.goaways);
    report.fact("driver CPU", format!("{:.1} s", tally.cpu_s));
}

/// The broadcast whose last receipt is the middle one.
fn middle<'a>(all: &[&'a Broadcast]) -> Option<&'a Broadcast> {
    let mut all = all.to_vec();
    all.sort_by(|one, other| one.last_ms.total_cmp(&other.last_ms));
    all.get(all.len() / 2).copied()
}

fn curve(at_us: &Quantiles, answered_us: u64) -> Vec<(f64, f64)> {
    #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
    let answered_us = answered_us as f64;
    let points = parts(at_us, answered_us).into_iter();
    points.map(|(us, part)| (us / 1_000.0, part)).collect()
}

fn parts(quantiles: &Quantiles, zero: f64) -> Vec<(f64, f64)> {
    let numbered = quantiles.at.iter().zip(0_u8..);
    numbered
        .map(|(at, part)| (at - zero, f64::from(part)))
        .collect()
}
