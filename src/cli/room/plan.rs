//! `usher room plan`: from what the sale can take to what a room lets in.
//!
//! Whoever is let in makes so many calls to the sale, so a sale that takes
//! `tps` calls a second takes `share × tps ÷ calls_per_user` users a second
//! without a queue of its own. Those inside at once are that rate times the
//! time they stay (Little's law, J. D. C. Little, 1961). Nothing is asked of a
//! server.

use clap::Args;

use super::super::{CliError, span};

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// Calls per second that the sale takes while it is still fast: measure it (`usher-bench journey`)
    #[arg(long, value_name = "CALLS")]
    tps: f64,
    /// Calls that one user makes after being let in
    #[arg(long, value_name = "CALLS")]
    calls_per_user: f64,
    /// Part of those calls to use; the rest is for retries and for what was measured too well
    #[arg(long, value_name = "0 to 1", default_value_t = 0.8)]
    share: f64,
    /// How long a user stays inside: 90s, 5m
    #[arg(long, value_name = "SPAN", value_parser = span::parse_s, default_value = "2m")]
    stay: u64,
    /// How many will come, to say how long the line lasts
    #[arg(long, value_name = "PEOPLE")]
    people: Option<u64>,
}

/// What a room should be given.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Plan {
    rate_per_s: f64,
    capacity: u64,
    /// Until the last of the people is let in.
    lasts_s: Option<f64>,
}

impl PlanArgs {
    fn plan(&self) -> Result<Plan, CliError> {
        let wrong = |flag: &str, why: &str| Err(CliError::Usage(format!("{flag} {why}")));
        if !(self.tps.is_finite() && self.tps > 0.0) {
            return wrong("--tps", "must be above 0");
        }
        if !(self.calls_per_user.is_finite() && self.calls_per_user > 0.0) {
            return wrong("--calls-per-user", "must be above 0");
        }
        if !(self.share > 0.0 && self.share <= 1.0) {
            return wrong("--share", "must be above 0 and at most 1");
        }
        let rate_per_s = self.share * self.tps / self.calls_per_user;
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "people and seconds of one sale"
        )]
        Ok(Plan {
            rate_per_s,
            capacity: (rate_per_s * self.stay as f64).ceil().max(1.0) as u64,
            lasts_s: self.people.map(|people| people as f64 / rate_per_s),
        })
    }
}

pub(super) fn plan(args: &PlanArgs, as_json: bool) -> Result<(), CliError> {
    let plan = args.plan()?;
    if as_json {
        let answer = serde_json::json!({
            "rate_per_s": plan.rate_per_s,
            "capacity": plan.capacity,
            "line_lasts_s": plan.lasts_s,
        });
        println!("{answer}");
        return Ok(());
    }
    println!(
        "rate      {:.2} users a second ({:.0} a minute): {:.0} % of {} calls a second, {} calls each",
        plan.rate_per_s,
        60.0 * plan.rate_per_s,
        100.0 * args.share,
        args.tps,
        args.calls_per_user
    );
    println!(
        "capacity  {} inside at once, if each stays {} s",
        plan.capacity, args.stay
    );
    if let (Some(people), Some(lasts_s)) = (args.people, plan.lasts_s) {
        println!("line      {people} people are let in within {lasts_s:.0} s");
    }
    println!(
        "\nusher room create --name NAME --rate {:.2} --capacity {}",
        plan.rate_per_s, plan.capacity
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(tps: f64, calls_per_user: f64, share: f64) -> PlanArgs {
        PlanArgs {
            tps,
            calls_per_user,
            share,
            stay: 120,
            people: Some(9_000),
        }
    }

    #[test]
    fn a_rate_is_what_the_sale_takes_per_user() {
        let plan = args(300.0, 6.0, 0.9).plan().unwrap();
        assert!((plan.rate_per_s - 45.0).abs() < 1e-9);
        assert_eq!(plan.capacity, 5_400);
        assert!((plan.lasts_s.unwrap() - 200.0).abs() < 1e-6);
    }

    #[test]
    fn a_room_lets_at_least_one_in() {
        assert_eq!(args(0.001, 10.0, 1.0).plan().unwrap().capacity, 1);
    }

    #[test]
    fn what_makes_no_rate_is_refused_by_its_flag() {
        for (args, flag) in [
            (args(0.0, 6.0, 0.8), "--tps"),
            (args(f64::NAN, 6.0, 0.8), "--tps"),
            (args(300.0, 0.0, 0.8), "--calls-per-user"),
            (args(300.0, f64::INFINITY, 0.8), "--calls-per-user"),
            (args(300.0, 6.0, 0.0), "--share"),
            (args(300.0, 6.0, 1.1), "--share"),
        ] {
            let Err(CliError::Usage(said)) = args.plan() else {
                panic!("{args:?} was taken");
            };
            assert!(said.starts_with(flag), "{said}");
        }
    }
}
