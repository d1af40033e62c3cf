//! So many users who each make one call a second, as k6 and ghz can make them
//! too: the rate is that of the users, whatever the machine.

use std::sync::Arc;
use std::time::Duration;

use super::drive::{Bounds, drive};
use super::profile::{Load, Plan};
use super::ramp::Ramp;
use super::table::PACED;
use super::user::{CALLS, World};
use super::world::Site;
use crate::error::BenchError;
use crate::session::{Place, Session};
use crate::stage::Stage;
use crate::target::TargetOptions;

const PATIENCE: Duration = Duration::from_secs(30);

pub struct Paced {
    world: Arc<World>,
    load: Load,
}

impl Paced {
    pub async fn open(
        target: &TargetOptions,
        users: u32,
        seconds: u32,
    ) -> Result<Self, BenchError> {
        let load = Load::Users(Ramp::flat(users.into(), seconds.into()), None);
        let site = Site {
            target,
            shape: &PACED,
            plan: &Plan {
                steps: vec![(1.0, load.clone())],
                until_broken: false,
            },
            size: 1.0,
            time: 1.0,
            watching: false,
            shared: false,
            patience: PATIENCE,
        };
        let world = Arc::new(site.build().await?);
        Ok(Self { world, load })
    }

    /// Calls per second of a run, and how many failed.
    #[expect(clippy::cast_precision_loss, reason = "a count of calls")]
    pub async fn run(&self) -> Result<(f64, u64), BenchError> {
        let tally = &self.world.ground.tally;
        tally.clear();
        let bounds = Bounds {
            in_flight_max: usize::MAX,
            grace: PATIENCE,
        };
        let journeys = drive(&self.world, &self.load, bounds).await?;
        let calls = tally.times_of(CALLS).count() as f64;
        let failed = tally.errors() + tally.refusals_but("") + journeys.interrupted;
        Ok((calls / journeys.elapsed.as_secs_f64(), failed))
    }

    /// Stops a server of our own, and judges it.
    pub async fn close(self) -> Result<(String, bool), BenchError> {
        let world = Arc::into_inner(self.world);
        let world = world.ok_or_else(|| BenchError::failed("a user is left"))?;
        world.close().await
    }

    pub fn stage(&self) -> &Stage {
        &self.world.stage
    }

    /// Whose place is looked at.
    pub fn place(&self) -> Option<&(Session, Place)> {
        self.world.place.as_ref()
    }
}
