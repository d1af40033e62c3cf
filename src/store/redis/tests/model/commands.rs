//! Random commands, given to both.

use std::sync::Arc;

use rand::Rng as _;

use crate::clock::Clock as _;
use crate::domain::delta::DrawOrder;
use crate::domain::ids::{ActivationId, LaneIndex, PlaceKey};
use crate::domain::place::{EndReason, Standing};
use crate::domain::policy::{LanePolicy, ServingOrder};
use crate::domain::time::UnixMs;
use crate::store::queue::{
    GrantOutcome, Granted, LaneOpening, Presence, QueueStore as _, Strain, Take,
};

use super::compare::{same, sorted_tick};
use super::{Pair, USERS, user};

/// Asks both the same and holds the answers to be equal; answers the model's.
macro_rules! ask {
    ($pair:ident . $step:ident ( $($arg:expr),* )) => {{
        $pair.log.push(format!(concat!(stringify!($step), " {:?}"), ($(&$arg,)*)));
        let model = $pair.memory.$step(&$pair.room, $(Clone::clone(&$arg)),*).await;
        let redis = $pair.redis.$step(&$pair.room, $(Clone::clone(&$arg)),*).await;
        same(stringify!($step), &model, &redis)?;
        model
    }};
}

impl Pair {
    pub(super) async fn command(&mut self) -> Result<(), String> {
        match self.rng.random_range(0..1_000) {
            0..230 => self.take().await?,
            230..260 => self.leave().await?,
            260..480 => self.tick().await?,
            480..560 => self.confirm().await?,
            560..600 => self.claim().await?,
            600..640 => self.free().await?,
            640..720 => self.present().await?,
            720..790 => self.absent().await?,
            790..880 => self.pass(),
            880..890 => self.find().await?,
            890..900 => self.grant().await?,
            900..930 => self.configure().await?,
            930..935 => self.open().await?,
            935..950 => self.steer().await?,
            950..970 => self.reserve().await?,
            970..990 => self.compare_whole().await?,
            _ => {
                self.log.push("recover".to_owned());
                self.recover(true).await;
            }
        }
        self.compare().await
    }

    fn pass(&mut self) {
        let step_ms = [0, 1, 100, 100, 450, 1_000, 1_700, 5_000][self.rng.random_range(0..8)];
        self.log.push(format!("pass {step_ms}"));
        self.clock.advance_ms(step_ms);
    }

    fn presence(&mut self) -> Presence {
        match self.rng.random_bool(0.6) {
            true => Presence::Stream(self.node()),
            false => Presence::Call {
                for_ms: self.rng.random_range(100..3_000),
            },
        }
    }

    async fn take(&mut self) -> Result<(), String> {
        let index = self.rng.random_range(0..USERS);
        let at = self.rng.random_range(0..self.tokens[index].len().max(1));
        let mut presented = match self.rng.random_bool(0.5) {
            true => self.tokens[index].get(at).copied(),
            false => None,
        };
        let mut issue_in = self.rng.random_bool(0.8).then(|| self.lane());
        match self.rng.random_range(0..40) {
            // Another's token, of this epoch: nobody's claim on it is forgotten.
            0 => {
                presented = self
                    .token()
                    .map(|(place, _)| place)
                    .filter(|place| place.number > self.recovered[usize::from(place.lane)])
            }
            1 => {
                presented = Some(PlaceKey {
                    lane: self.rng.random_range(0..6),
                    number: 1_000,
                });
            }
            2 => issue_in = Some(9),
            _ => {}
        }
        let take = Take {
            user: user(index),
            presented,
            issue_in,
            presence: self.presence(),
        };
        if let Ok(taken) = ask!(self.take(take))
            && !self.tokens[index].contains(&taken.place.key)
            && taken.place.standing.is_live()
        {
            self.tokens[index].push(taken.place.key);
        }
        Ok(())
    }

    async fn leave(&mut self) -> Result<(), String> {
        let Some((place, mut user)) = self.token() else {
            return Ok(());
        };
        if self.rng.random_bool(0.1) && place.number > self.recovered[usize::from(place.lane)] {
            user = super::user(0);
        }
        let _ = ask!(self.leave(place, &user));
        Ok(())
    }

    async fn tick(&mut self) -> Result<(), String> {
        if self.rng.random_bool(0.7) {
            self.clock.advance_ms(100);
        }
        let node = self.rng.random_bool(0.8).then(|| self.node());
        self.log
            .push(format!("tick {node:?} at {:?}", self.clock.now()));
        let model = sorted_tick(self.memory.tick(&self.room, node).await.unwrap());
        let redis = sorted_tick(self.redis.tick(&self.room, node).await.unwrap());
        same("tick", &model, &redis)?;
        self.log.push(format!("   {model:?}"));
        for granted in model.granted {
            if !self.granted.contains(&granted) {
                self.granted.push(granted);
            }
        }
        for id in model.due {
            match self.rng.random_range(0..4) {
                0 => drop(ask!(self.rearm(id, 700_u64))),
                1 => {}
                _ => self.end(id, EndReason::Unclaimed).await?,
            }
        }
        Ok(())
    }

    async fn end(&mut self, id: ActivationId, reason: EndReason) -> Result<(), String> {
        if let Some(row) = self.rows.remove(&id) {
            self.ended.push(row.place);
        }
        let _ = ask!(self.free(id, reason));
        Ok(())
    }

    async fn confirm(&mut self) -> Result<(), String> {
        let mut rows = Vec::new();
        for granted in std::mem::take(&mut self.granted) {
            match self.rng.random_bool(0.8) {
                true => rows.push(self.row(granted.place, granted.user)),
                false => self.granted.push(granted),
            }
        }
        // Rows that are known, and one that came late.
        if self.rng.random_bool(0.2) {
            rows.extend(self.rows.values().next().cloned());
        }
        if self.rng.random_bool(0.1)
            && let Some((place, user)) = self.token()
            && !self.has_row(place)
        {
            rows.push(self.row(place, user));
        }
        let mut places = std::collections::BTreeSet::new();
        rows.retain(|row| places.insert(row.place) && !self.is_ended(row.place));
        for row in &rows {
            match row.standing.activation_id() {
                Some(id) => drop(self.rows.insert(id, row.clone())),
                None => self.ended.push(row.place),
            }
        }
        for id in ask!(self.confirm(rows)).unwrap() {
            self.end(id, EndReason::Left).await?;
        }
        Ok(())
    }

    fn has_row(&self, place: PlaceKey) -> bool {
        self.rows.values().any(|row| row.place == place)
    }

    fn is_ended(&self, place: PlaceKey) -> bool {
        self.ended.contains(&place)
    }

    fn some_row(&mut self) -> Option<ActivationId> {
        let at = self.rng.random_range(0..self.rows.len().max(1));
        self.rows.keys().nth(at).copied()
    }

    async fn claim(&mut self) -> Result<(), String> {
        let Some(id) = self.some_row() else {
            return Ok(());
        };
        let mut row = self.rows[&id].clone();
        row.remaining_ms = 2_500;
        row.standing = Standing::Active {
            id,
            claimed_at: UnixMs(5),
            expire_time: UnixMs(50),
        };
        self.rows.insert(id, row.clone());
        let _ = ask!(self.claim(row));
        Ok(())
    }

    async fn free(&mut self) -> Result<(), String> {
        let Some(id) = self.some_row() else {
            return Ok(());
        };
        let reasons = [
            EndReason::Completed,
            EndReason::PassExpired,
            EndReason::Revoked,
        ];
        let reason = reasons[self.rng.random_range(0..3)];
        self.end(id, reason).await
    }

    async fn present(&mut self) -> Result<(), String> {
        let count = self.rng.random_range(1..5);
        let places: Vec<_> = (0..count).filter_map(|_| self.token()).collect();
        let node = self.node();
        // Of nobody, nobody is told.
        if !places.is_empty() {
            let _ = ask!(self.present(places, node));
        }
        Ok(())
    }

    async fn absent(&mut self) -> Result<(), String> {
        let count = self.rng.random_range(1..5);
        let places: Vec<_> = (0..count).filter_map(|_| self.token()).collect();
        let node = self.node();
        // Of nobody, nobody is told.
        if !places.is_empty() {
            let _ = ask!(self.absent(places, node));
        }
        Ok(())
    }

    async fn grant(&mut self) -> Result<(), String> {
        let user = user(self.rng.random_range(0..USERS));
        let lane = self.lane();
        if let Ok(GrantOutcome::Granting(place)) = ask!(self.grant_place(&user, lane)) {
            let granted = Granted { place, user };
            if !self.granted.contains(&granted) {
                self.granted.push(granted);
            }
        }
        Ok(())
    }

    /// Says it for a while: decisions lie a second apart.
    async fn steer(&mut self) -> Result<(), String> {
        for _ in 0..self.rng.random_range(1..6) {
            let strain = Strain {
                permille: [0, 400, 950, 1_300, 2_700, 9_000][self.rng.random_range(0..6)],
                rate_min_fraction: [0.01, 0.3][self.rng.random_range(0..2)],
                settle_ms: [0, 1_500][self.rng.random_range(0..2)],
            };
            let _ = ask!(self.steer(strain));
            self.clock.advance_ms(self.rng.random_range(0..900));
            self.tick().await?;
        }
        Ok(())
    }

    async fn find(&mut self) -> Result<(), String> {
        let user = user(self.rng.random_range(0..USERS));
        let _ = ask!(self.find(&user));
        Ok(())
    }

    async fn configure(&mut self) -> Result<(), String> {
        // Now and then an earlier row comes late: it must change nothing.
        let is_late = self.rng.random_bool(0.2);
        let before = (self.policy.clone(), self.switches.clone());
        let (switches, policy) = (&mut self.switches, &mut self.policy);
        match self.rng.random_range(0..12) {
            0..2 => switches.paused = !switches.paused,
            2..4 => switches.sold_out = !switches.sold_out,
            4 => "öffnet \"bald\"\n".clone_into(&mut switches.message),
            5..7 => policy.capacity = self.rng.random_range(0..6),
            7..9 => policy.rate_per_s = self.rng.random_range(0.3..50.0),
            9 => policy.max_waiting = self.rng.random_range(0..12),
            10 if policy.lanes.len() < 4 && !is_late => {
                policy.lanes.push(LanePolicy {
                    name: format!("lane-{}", policy.lanes.len()),
                    weight: 2,
                    has_codes: false,
                });
                self.draws.push(None);
                self.recovered.push(0);
            }
            _ => switches.closed = self.rng.random_bool(0.1),
        }
        let (policy, switches) = (Arc::new(self.policy.clone()), self.switches.clone());
        let version = match is_late {
            true => self.rng.random_range(1..=self.version),
            false => self.version + 1,
        };
        if is_late {
            (self.policy, self.switches) = before;
        }
        self.version = self.version.max(version);
        let _ = ask!(self.configure(version, policy, switches));
        Ok(())
    }

    pub(super) fn opening(&self, lane: LaneIndex) -> Option<LaneOpening> {
        self.draws[usize::from(lane)].map(LaneOpening::Draw)
    }

    /// A DRAW's N is fixed once; its beacon may come later.
    async fn open(&mut self) -> Result<(), String> {
        if self.switches.opened && self.rng.random_bool(0.5) {
            // The last words of a node that stops.
            let _ = ask!(self.freeze());
            self.recover(false).await;
            return Ok(());
        }
        let lanes = match self.policy.order {
            ServingOrder::Fifo => vec![LaneOpening::Fifo; self.policy.lanes.len()],
            ServingOrder::Draw => self.draw().await?,
        };
        let _ = ask!(self.open(lanes));
        let awaits = |lane: &LaneOpening| matches!(lane, LaneOpening::AwaitBeacon { .. });
        self.switches.opened |= !lanes.iter().any(awaits);
        Ok(())
    }

    async fn draw(&mut self) -> Result<Vec<LaneOpening>, String> {
        let issued = match self.switches.opened {
            true => vec![0; self.draws.len()],
            false => ask!(self.freeze()).unwrap(),
        };
        let awaits = !self.switches.opened && self.rng.random_bool(0.3);
        let mut lanes = Vec::new();
        for (lane, n) in issued.into_iter().enumerate() {
            if awaits && self.draws[lane].is_none() {
                lanes.push(LaneOpening::AwaitBeacon { n });
                continue;
            }
            let seed = [self.rng.random(); 32];
            let draw = *self.draws[lane].get_or_insert(DrawOrder { n, seed });
            lanes.push(LaneOpening::Draw(draw));
        }
        Ok(lanes)
    }

    async fn reserve(&mut self) -> Result<(), String> {
        let lane = self.lane();
        let up_to = self.rng.random_range(5..60_u64);
        let _ = ask!(self.reserve(lane, up_to));
        Ok(())
    }
}
