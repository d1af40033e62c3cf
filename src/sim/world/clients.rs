//! What clients do, through a node, as the engine serves them.

use rand::Rng;

use crate::domain::ids::{Cursor, LaneIndex, PlaceKey};
use crate::domain::place::{EndReason, Standing};
use crate::domain::room::command::{LeaveOutcome, Presence, Refusal, Take, Taken};

use super::super::node::Work;
use super::super::plant::Plant;
use super::{POLL_AFTER_MS, World};

/// Where who brings no code joins.
const DEFAULT_LANE: LaneIndex = 0;

impl World {
    pub(in crate::sim) fn join(&mut self, client: usize, node: usize) {
        self.coverage.count("command: join");
        let presence = Presence::Call {
            for_ms: 3 * POLL_AFTER_MS,
        };
        self.take(client, node, None, Some(DEFAULT_LANE), presence);
    }

    pub(in crate::sim) fn join_with_token(&mut self, client: usize, node: usize) {
        let Some(token) = self.read_token(client, node) else {
            return;
        };
        self.coverage.count("command: join with token");
        let presence = Presence::Call {
            for_ms: 3 * POLL_AFTER_MS,
        };
        self.take(client, node, Some(token), None, presence);
        self.take(client, node, Some(token), Some(DEFAULT_LANE), presence);
    }

    pub(in crate::sim) fn poll(&mut self, client: usize, node: usize) {
        let Some(token) = self.read_token(client, node) else {
            return;
        };
        self.coverage.count("command: poll");
        let presence = Presence::Call {
            for_ms: 3 * POLL_AFTER_MS,
        };
        self.take(client, node, Some(token), None, presence);
    }

    /// `QueueStore::take` through a node, with all that the oracle knows of it.
    pub(in crate::sim) fn take(
        &mut self,
        client: usize,
        node: usize,
        presented: Option<PlaceKey>,
        issue_in: Option<LaneIndex>,
        presence: Presence,
    ) -> Option<Taken> {
        if !self.serve(node) {
            return None;
        }
        let user = self.clients[client].user.clone();
        let alias = (self.plant == Some(Plant::SecondPlace) && presented.is_none())
            .then(|| crate::domain::ids::UserId::parse(&format!("{user}-{client}")).ok())
            .flatten();
        let take = Take {
            user: alias.unwrap_or_else(|| user.clone()),
            presented,
            issue_in,
            presence,
        };
        let now = self.now;
        let room = self.queue.as_mut()?;
        let joins_before = room.counts().joins_total;
        let mut answer = room.take(&take, now);
        if let Err(Refusal::NumbersExhausted { lane, reserve_to }) = answer {
            let reserved_to = &mut self.sql.reserved_to[usize::from(lane)];
            *reserved_to = reserve_to.max(*reserved_to);
            room.reserve(lane, *reserved_to).ok()?;
            answer = room.take(&take, now);
        }
        let is_new = room.counts().joins_total > joins_before;
        let mut taken = answer.ok()?;
        let place = taken.place.key;
        if is_new {
            self.oracle.number_issued(place, &user);
        }
        // A row can end before its place is confirmed; the next tick confirms.
        if !self.handed_out.contains(&place) {
            self.oracle.place_answered(place, taken.place.standing);
        }
        let sealed = room.publish();
        self.publish(sealed);
        self.check_answer(client, presented, is_new, &mut taken);
        if self.rng.random_bool(0.03) {
            self.coverage.count("fault: reply lost");
            return None;
        }
        self.note_answer(client, node, &taken);
        Some(taken)
    }

    fn check_answer(
        &mut self,
        client: usize,
        presented: Option<PlaceKey>,
        is_new: bool,
        taken: &mut Taken,
    ) {
        let place = taken.place.key;
        if let Some(token) = presented
            && token != place
            && !is_new
            && taken.place.standing == Standing::Waiting
        {
            self.coverage.count("state: merged");
            if self.plant == Some(Plant::MergeKeepsHigher) {
                taken.place.key = place.max(token);
            }
            let room = self.queue.as_mut().expect("served");
            let order = |place: PlaceKey| {
                room.line()
                    .find(|in_line| in_line.place == place)
                    .map(|in_line| in_line.order)
            };
            if order(taken.place.key).is_none() {
                self.oracle
                    .report("Q3", "a merge answered a place that is over");
            }
        }
        if let Standing::Ended(EndReason::Absent) = taken.place.standing
            && presented == Some(place)
            && !self.oracle.gone.contains(&place)
        {
            let away_ms = self.real_ms - self.clients[client].attended_ms;
            self.oracle
                .absent_end(away_ms, self.sql.policy.absence_grace_ms);
        }
        let user = self.clients[client].user.clone();
        if taken.place.standing.is_live() {
            let epoch = self.sql.epoch;
            self.oracle.live_place(&user, epoch, taken.place.key);
        }
    }

    fn note_answer(&mut self, client: usize, node: usize, taken: &Taken) {
        self.attended(client);
        let state = &self.clients[client];
        let restored = state.place() == Some(taken.place.key) && state.told.cursor.epoch > 0;
        if restored && taken.place.standing == Standing::Waiting {
            self.coverage.count("state: restored after a loss");
        }
        self.give_token(client, node, taken.place.key);
    }

    /// Q4, Q8, Q9, Q13: what a device hears, by whatever stream.
    pub(in crate::sim) fn note_told(
        &mut self,
        client: usize,
        place: PlaceKey,
        cursor: Cursor,
        standing: Standing,
        position: Option<u64>,
    ) {
        let told_place = self.clients[client].place();
        if told_place != Some(place) {
            return;
        }
        let mut told = self.clients[client].told.clone();
        if position.is_some() && told.position.is_none() {
            self.coverage.count("state: scheduled to waiting");
        }
        self.oracle
            .told(&mut told, place, cursor, standing, position, &self.sql);
        self.clients[client].told = told;
    }

    pub(in crate::sim) fn leave(&mut self, client: usize, node: usize) {
        let Some(token) = self.read_token(client, node) else {
            return;
        };
        self.coverage.count("command: leave");
        let presence = Presence::Call {
            for_ms: 3 * POLL_AFTER_MS,
        };
        // A merged place's token speaks for the surviving place.
        let Some(taken) = self.take(client, node, Some(token), None, presence) else {
            return;
        };
        let (place, user, now) = (taken.place.key, taken.place.user, self.now);
        let Some(room) = self.queue.as_mut() else {
            return;
        };
        match room.leave(place, &user, now) {
            Ok(LeaveOutcome::EndRowFirst(id)) => {
                self.sql.end(id, EndReason::Left);
                self.row_ended(node, id);
            }
            Ok(LeaveOutcome::Marked) => {
                // Of no epoch yet: it may be forgotten in this one.
                self.oracle.ended.entry(place).or_insert(0);
                self.coverage.count("state: left while granting");
            }
            Ok(LeaveOutcome::Ended(_)) | Err(_) => {}
        }
    }

    pub(in crate::sim) fn claim(&mut self, client: usize, node: usize) {
        let Some(place) = self.clients[client].place() else {
            return;
        };
        let Some(id) = self.sql.row_of.get(&place).copied() else {
            return;
        };
        self.coverage.count("command: claim");
        let before = self.sql.rows[&id].standing;
        if self.read_token(client, node).is_none() {
            return;
        }
        let standing = self.sql.claim(id, self.now);
        self.pass_of_claim(client, node, standing);
        match standing {
            Standing::Active { .. } => {
                if matches!(before, Standing::Activated { .. }) {
                    self.coverage.count("state: activated to active");
                }
                let row = self.sql.confirm(id, self.now);
                self.nodes[node].work.push_back(Work::FollowClaim { row });
            }
            _ => self.row_ended(node, id),
        }
    }

    /// A coupon: the row ends in the transaction that issues it.
    pub(in crate::sim) fn complete(&mut self, client: usize, node: usize) {
        let row = self.clients[client]
            .place()
            .and_then(|place| self.sql.row_of.get(&place).copied());
        let Some(id) = row else {
            return;
        };
        if let Standing::Active { expire_time, .. } = self.sql.rows[&id].standing
            && self.now < expire_time
        {
            self.coverage.count("command: complete");
            self.sql.end(id, EndReason::Completed);
            self.row_ended(node, id);
        }
    }
}
