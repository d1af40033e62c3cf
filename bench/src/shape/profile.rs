//! From a shape to the load of a run: as the report has it or as arrivals, and
//! calm or to the limit.

use super::ramp::Ramp;
use super::table::Shape;

/// What users do when an answer is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Variant {
    /// Closed loop: the report's users in its stages; each waits for its answer
    AsWritten,
    /// Open loop: the report's mean rate, whatever the server does
    Arrivals,
    /// Open loop, at up to 100 times that rate, until it breaks
    Knee,
}

/// How the load goes over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// As it is
    Load,
    /// Twice as much
    Stress,
    /// More with each step, until it breaks
    Breakpoint,
    /// A tenth, all at once twice as much, and a tenth again
    Spike,
    /// Its highest, for `--soak-minutes`
    Soak,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Load {
    /// Closed loop; so many journeys of each user at most.
    Users(Ramp, Option<u32>),
    /// Open loop, in journeys per second.
    Arrivals(Ramp),
}

impl Load {
    pub fn ramp(&self) -> &Ramp {
        match self {
            Self::Users(ramp, _) | Self::Arrivals(ramp) => ramp,
        }
    }

    fn map(&self, change: impl FnOnce(&Ramp) -> Ramp) -> Self {
        match self {
            Self::Users(ramp, journeys) => Self::Users(change(ramp), *journeys),
            Self::Arrivals(ramp) => Self::Arrivals(change(ramp)),
        }
    }

    pub fn text(&self) -> String {
        let (peak, seconds) = (self.ramp().peak(), self.ramp().seconds());
        match self {
            Self::Users(_, Some(journeys)) => {
                format!(
                    "closed loop, {:.0} users, {journeys} journey each",
                    peak.ceil()
                )
            }
            Self::Users(_, None) => {
                format!(
                    "closed loop, up to {:.0} users, {seconds:.0} s",
                    peak.ceil()
                )
            }
            Self::Arrivals(_) => {
                let per_minute = peak * 60.0;
                format!("open loop, up to {per_minute:.0} a minute, {seconds:.0} s")
            }
        }
    }
}

/// How large and how long a run is, beside what the table says.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    pub size: f64,
    pub time: f64,
    pub soak_minutes: f64,
}

/// One run after the other.
#[derive(Debug, PartialEq)]
pub struct Plan {
    /// Each with how many times the load of the table it is.
    pub steps: Vec<(f64, Load)>,
    /// The first that breaks is the last.
    pub until_broken: bool,
}

/// Each step of a way to the limit takes so long.
const STEP_S: f64 = 15.0;
const BREAKPOINT: &[f64] = &[1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0];
const KNEE: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0];
const STRESS: f64 = 2.0;
const CALM: f64 = 0.1;
/// From calm to the spike, and back.
const RISE_S: f64 = 2.0;

pub fn plan(shape: &Shape, variant: Variant, profile: Profile, scale: Scale) -> Plan {
    let ramp = Ramp::new(0.0, shape.stages.iter().copied());
    let seconds = ramp.seconds();
    let base = match variant {
        Variant::AsWritten => Load::Users(ramp, shape.journeys_each),
        Variant::Arrivals | Variant::Knee => {
            Load::Arrivals(Ramp::flat(shape.per_minute / 60.0, seconds))
        }
    };
    let alone = |factor, load| Plan {
        steps: vec![(factor, load)],
        until_broken: false,
    };
    let plan = match (variant, profile) {
        (Variant::Knee, _) => to_the_limit(&base, KNEE),
        (_, Profile::Breakpoint) => to_the_limit(&base, BREAKPOINT),
        (_, Profile::Load) => alone(1.0, base),
        (_, Profile::Stress) => alone(STRESS, base.map(|ramp| ramp.scaled(STRESS, 1.0))),
        (_, Profile::Spike) => alone(STRESS, base.map(spike)),
        (_, Profile::Soak) => {
            let seconds = scale.soak_minutes * 60.0;
            alone(
                1.0,
                endless(&base).map(|ramp| Ramp::flat(ramp.peak(), seconds)),
            )
        }
    };
    let scaled = |load: &Load| load.map(|ramp| ramp.scaled(scale.size, scale.time));
    let steps = plan.steps.iter();
    Plan {
        steps: steps
            .map(|(factor, load)| (*factor, scaled(load)))
            .collect(),
        ..plan
    }
}

fn to_the_limit(base: &Load, factors: &[f64]) -> Plan {
    let step = |factor: &f64| {
        let load = endless(base).map(|ramp| Ramp::flat(ramp.peak() * factor, STEP_S));
        (*factor, load)
    };
    Plan {
        steps: factors.iter().map(step).collect(),
        until_broken: true,
    }
}

/// Users go on as long as the run does.
fn endless(load: &Load) -> Load {
    match load {
        Load::Users(ramp, _) => Load::Users(ramp.clone(), None),
        Load::Arrivals(ramp) => Load::Arrivals(ramp.clone()),
    }
}

fn spike(ramp: &Ramp) -> Ramp {
    let (calm, high) = (ramp.peak() * CALM, ramp.peak() * STRESS);
    let third = ramp.seconds().max(STEP_S) / 3.0;
    let legs = [
        (calm, third),
        (high, RISE_S),
        (high, third),
        (calm, RISE_S),
        (calm, third),
    ];
    Ramp::new(calm, legs)
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    const FULL: Scale = Scale {
        size: 1.0,
        time: 1.0,
        soak_minutes: 30.0,
    };

    fn shape(id: &str) -> &'static Shape {
        table::find(id).expect("in the table")
    }

    #[test]
    fn a_shape_is_replayed_as_users_and_as_arrivals() {
        let users = plan(shape("L6"), Variant::AsWritten, Profile::Load, FULL);
        let [(_, load @ Load::Users(ramp, None))] = &users.steps[..] else {
            panic!("{users:?}");
        };
        assert!((ramp.peak() - 12_000.0).abs() < 1e-6, "{}", load.text());
        let arrivals = plan(shape("L6"), Variant::Arrivals, Profile::Load, FULL);
        let [(_, Load::Arrivals(ramp))] = &arrivals.steps[..] else {
            panic!("{arrivals:?}");
        };
        assert_eq!(ramp.arrivals().count(), 12_000, "in its minute");
    }

    #[test]
    fn the_knee_goes_up_to_a_hundred_times() {
        let knee = plan(shape("L6"), Variant::Knee, Profile::Load, FULL);
        assert!(knee.until_broken);
        let (factor, last) = knee.steps.last().expect("a step");
        assert!((factor - 100.0).abs() < 1e-9);
        assert!((last.ramp().peak() - 20_000.0).abs() < 1e-6, "per second");
    }

    #[test]
    fn every_profile_of_every_shape_has_users_and_an_end() {
        let profiles = [
            Profile::Load,
            Profile::Stress,
            Profile::Breakpoint,
            Profile::Spike,
            Profile::Soak,
        ];
        for shape in table::all() {
            for variant in [Variant::AsWritten, Variant::Arrivals, Variant::Knee] {
                for profile in profiles {
                    let plan = plan(shape, variant, profile, FULL);
                    for (_, load) in &plan.steps {
                        assert!(load.ramp().peak() > 0.0, "{} {profile:?}", shape.id);
                        assert!(load.ramp().seconds() > 0.0, "{} {profile:?}", shape.id);
                    }
                }
            }
        }
    }

    #[test]
    fn a_spike_is_calm_before_and_after() {
        let load = Load::Arrivals(Ramp::flat(10.0, 60.0)).map(spike);
        let at = |seconds| load.ramp().at(std::time::Duration::from_secs(seconds));
        assert!((at(10) - 1.0).abs() < 1e-9);
        assert!((at(30) - 20.0).abs() < 1e-9);
        assert!((at(60) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_small_run_is_smaller_and_shorter() {
        let scale = Scale {
            size: 0.01,
            time: 0.1,
            soak_minutes: 1.0,
        };
        let small = plan(shape("L6"), Variant::AsWritten, Profile::Load, scale);
        let ramp = small.steps[0].1.ramp();
        assert!((ramp.peak() - 120.0).abs() < 1e-6);
        assert!((ramp.seconds() - 6.0).abs() < 1e-6);
        let soak = plan(shape("L6"), Variant::AsWritten, Profile::Soak, scale);
        assert!((soak.steps[0].1.ramp().seconds() - 6.0).abs() < 1e-6);
    }
}
