//! What a shape needs before it can begin: a server, a room, something to see.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::drive::users;
use super::fill;
use super::profile::{Load, Plan};
use super::table::{Scenario, Shape};
use super::user::{PAGE, World, list};
use crate::error::BenchError;
use crate::journey::performances;
use crate::pool::Pool;
use crate::session::{Ground, Purse};
use crate::stage::{Sale, Stage};
use crate::tally::Tally;
use crate::target::TargetOptions;

/// How a world is built.
pub struct Site<'a> {
    pub target: &'a TargetOptions,
    pub shape: &'static Shape,
    pub plan: &'a Plan,
    pub size: f64,
    pub time: f64,
    pub watching: bool,
    /// Users share the target's connections.
    pub shared: bool,
    pub patience: Duration,
}

impl Site<'_> {
    pub async fn build(&self) -> Result<World, BenchError> {
        let shape = self.shape;
        let stage = Stage::open(self.target, 0, None, self.patience).await?;
        let addr = stage.target.addr;
        let ground = Arc::new(Ground {
            pool: match self.shared {
                true => Pool::open(addr, self.target.connections, self.streams()).await?,
                false => Pool::of_their_own(addr, self.connections()).await?,
            },
            tally: Tally::default(),
            trace: None,
            patience: self.patience,
        });
        let sale = self.sale(&stage).await?;
        let mut second_page = String::new();
        if shape.concerts > 0 {
            fill::catalog(&stage, self.concerts()).await?;
            let first = list(&stage.operator, PAGE, "").await?;
            second_page = first.next_page_token;
        }
        let place = match shape.scenario {
            Scenario::Paced { .. } => {
                let user = stage.user_on(&ground, &format!("paced-{}", std::process::id()), 0)?;
                let place = user.join(&sale.room).await?;
                Some((user, place))
            }
            _ => None,
        };
        let purse = match stage.target.callers.is_dev() {
            true => Purse::Sandbox,
            false => Purse::Operator(Arc::clone(&stage.operator)),
        };
        Ok(World {
            shape,
            ground,
            sale,
            purse,
            watching: self.watching,
            time: self.time,
            second_page,
            place,
            run: rand::random(),
            next: AtomicU64::new(0),
            stage,
        })
    }

    async fn sale(&self, stage: &Stage) -> Result<Sale, BenchError> {
        // Where more come, as many more are let in.
        let factors = self.plan.steps.iter().map(|(factor, _)| *factor);
        let mut room = self.shape.room();
        room.rate_per_s *= factors.fold(1.0, f64::max);
        match self.shape.scenario {
            Scenario::Buy => stage.make_sale(room, performances(self.buyers())).await,
            Scenario::Visit { .. } | Scenario::Dates { .. } => stage.make_sale(room, 1).await,
            _ => Ok(Sale {
                room: stage.make_room(room, None).await?,
                concert_id: String::new(),
            }),
        }
    }

    /// As many as users at once; those of an open loop come in turn over as many
    /// as the table has users at once.
    fn connections(&self) -> usize {
        let loads = self.plan.steps.iter().map(|(_, load)| load);
        let most = loads.map(|load| match load {
            Load::Users(ramp, _) => users(ramp),
            Load::Arrivals(_) => {
                let stages = self.shape.stages.iter();
                let peak = stages.map(|(users, _)| *users).fold(1.0, f64::max);
                whole(peak * self.size)
            }
        });
        most.max().unwrap_or(1).max(1)
    }

    /// Open at once, if users share connections.
    fn streams(&self) -> usize {
        match self.watching || matches!(self.shape.scenario, Scenario::Buy | Scenario::Dates { .. })
        {
            true => self.connections(),
            false => 0,
        }
    }

    fn concerts(&self) -> usize {
        let all = u32::try_from(self.shape.concerts).unwrap_or(u32::MAX);
        whole(f64::from(all) * self.size.min(1.0)).max(20)
    }

    /// Who may come to buy in all steps together.
    fn buyers(&self) -> usize {
        let of = |load: &Load| match load {
            Load::Users(ramp, Some(_)) => users(ramp),
            // Journeys take some seven seconds.
            Load::Users(ramp, None) => whole(ramp.area() / (7.0 * self.time).max(0.1)),
            Load::Arrivals(ramp) => whole(ramp.area()),
        };
        self.plan.steps.iter().map(|(_, load)| of(load)).sum()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of users"
)]
fn whole(count: f64) -> usize {
    count.ceil() as usize
}
