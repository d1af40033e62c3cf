//! What clients do, through a node, as the engine serves them.

use rand::Rng;

use crate::domain::ids::PlaceKey;
use crate::domain::place::{EndReason, RoomState, Standing};
use crate::domain::room::command::{LeaveOutcome, Presence, Refusal, Take, Taken};

use super::super::node::Work;
use super::super::oracle::Told;
use super::super::plant::Plant;
use super::{POLL_AFTER_MS, World};

impl World {
    pub(in crate::sim) fn join(&mut self, client: usize, node: usize) {
        self.coverage.count("command: join");
        let presence = Presence::Call {
            for_ms: 3 * POLL_AFTER_MS,
        };
        self.take(client, node, None, true, presence);
    }

    pub(in crate::sim) fn join_with_token(&mut self, client: usize, node: usize) {
        let Some(token) = self.clients[client].token else {
            return;
        };
        self.coverage.count("command: join with token");
        let presence = Presence::Call {
            for_ms: 3 * POLL_AFTER_MS,
        };
        self.take(client, node, Some(token), false, presence);
        self.take(client, node, Some(token), true, presence);
    }

    pub(in crate::sim) fn poll(&mut self, client: usize, node: usize) {
        let Some(token) = self.clients[client].token else {
            return;
        };
        self.coverage.count("command: poll");
        let presence = Presence::Call {
            for_ms: 3 * POLL_AFTER_MS,
        };
        self.take(client, node, Some(token), false, presence);
    }

    pub(in crate::sim) fn open_stream(&mut self, client: usize, node: usize) {
        let Some(token) = self.clients[client].token else {
            return;
        };
        self.coverage.count("command: open stream");
        let presence = Presence::Stream(self.nodes[node].incarnation);
        if let Some(taken) = self.take(client, node, Some(token), false, presence)
            && taken.place.standing.is_live()
        {
            self.clients[client].stream = Some(node);
        }
    }

    pub(in crate::sim) fn close_stream(&mut self, client: usize) {
        let Some(node) = self.clients[client].stream.take() else {
            return;
        };
        self.coverage.count("command: close stream");
        self.clients[client].attended_ms = self.real_ms;
        let place = self.clients[client].token;
        // The hub reports only the last stream of a place on a node.
        let another_here = self
            .clients
            .iter()
            .any(|other| other.stream == Some(node) && other.token == place);
        let owner = self.nodes[node].incarnation;
        if !another_here && let (Some(room), Some(place)) = (self.queue.as_mut(), place) {
            room.absent(place, owner);
        }
    }

    /// `QueueStore::take` through a node, with all that the oracle knows of it.
    fn take(
        &mut self,
        client: usize,
        node: usize,
        presented: Option<PlaceKey>,
        may_issue: bool,
        presence: Presence,
    ) -> Option<Taken> {
        self.serve(node);
        let user = self.clients[client].user.clone();
        let alias = (self.plant == Some(Plant::SecondPlace) && presented.is_none())
            .then(|| crate::domain::ids::UserId::parse(&format!("{user}-{client}")).ok())
            .flatten();
        let take = Take {
            user: alias.unwrap_or_else(|| user.clone()),
            presented,
            issue_in: may_issue.then_some(0),
            presence,
        };
        let now = self.now;
        let room = self.queue.as_mut()?;
        let joins_before = room.counts().joins_total;
        let mut answer = room.take(&take, now);
        if let Err(Refusal::NumbersExhausted { reserve_to, .. }) = answer {
            self.sql.reserved_to = self.sql.reserved_to.max(reserve_to);
            room.reserve(0, self.sql.reserved_to).ok()?;
            answer = room.take(&take, now);
        }
        let is_new = room.counts().joins_total > joins_before;
        let mut taken = answer.ok()?;
        let place = taken.place.key;
        if is_new {
            self.oracle.number_issued(place.number, &user);
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
        self.note_answer(client, &taken);
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
            && !self.oracle.gone.contains(&place.number)
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

    fn note_answer(&mut self, client: usize, taken: &Taken) {
        let real_ms = self.real_ms;
        let user = self.clients[client].user.clone();
        // Any device vouches for the user's one place.
        for device in self.clients.iter_mut().filter(|other| other.user == user) {
            device.attended_ms = real_ms;
        }
        let state = &mut self.clients[client];
        let restored = state.token == Some(taken.place.key) && state.told.cursor.epoch > 0;
        if restored && taken.place.standing == Standing::Waiting {
            self.coverage.count("state: restored after a loss");
        }
        let state = &mut self.clients[client];
        if state.token != Some(taken.place.key) {
            state.token = Some(taken.place.key);
            state.told = Told::default();
        }
    }

    /// Reads the newest state from the stream.
    pub(in crate::sim) fn read(&mut self, client: usize) {
        let Some(node) = self.clients[client].stream else {
            return;
        };
        let (Some(place), Some(view)) = (self.clients[client].token, &self.nodes[node].view) else {
            return;
        };
        self.coverage.count("command: read");
        let Some(standing) = view.standing(place) else {
            return;
        };
        if let Standing::Ended(EndReason::Merged) = standing {
            // A snapshot of the surviving place, with its token.
            if let Some(survivor) = view.survivor(place) {
                self.clients[client].token = Some(survivor);
                self.clients[client].told = Told::default();
            }
            return;
        }
        let waits = standing == Standing::Waiting && view.state() != RoomState::Scheduled;
        let mut position = waits.then(|| view.position(place));
        if self.plant == Some(Plant::PositionFromZero) {
            position = position.map(|position| position - 1);
        }
        let cursor = view.cursor();
        let mut told = self.clients[client].told.clone();
        if waits && told.position.is_none() {
            self.coverage.count("state: scheduled to waiting");
        }
        self.oracle
            .told(&mut told, cursor, standing, position, &self.sql);
        self.clients[client].told = told;
        if standing == Standing::Ended(EndReason::RoomClosed) {
            self.coverage.count("state: to expired room closed");
        }
        if !standing.is_live() {
            self.clients[client].stream = None;
        }
    }

    pub(in crate::sim) fn leave(&mut self, client: usize, node: usize) {
        let Some(place) = self.clients[client].token else {
            return;
        };
        self.coverage.count("command: leave");
        self.serve(node);
        let now = self.now;
        let Some(room) = self.queue.as_mut() else {
            return;
        };
        match room.leave(place, now) {
            Ok(LeaveOutcome::EndRowFirst(id)) => {
                self.sql.end(id, EndReason::Left);
                self.row_ended(node, id);
            }
            Ok(LeaveOutcome::Marked) => {
                self.oracle.ended.insert(place.number);
                self.coverage.count("state: left while granting");
            }
            Ok(LeaveOutcome::Ended(_)) | Err(_) => {}
        }
    }

    pub(in crate::sim) fn claim(&mut self, client: usize, node: usize) {
        let Some(place) = self.clients[client].token else {
            return;
        };
        let Some(id) = self.sql.row_of.get(&place).copied() else {
            return;
        };
        self.coverage.count("command: claim");
        let before = self.sql.rows[&id].standing;
        match self.sql.claim(id, self.now) {
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

    /// A payment: the row ends in the transaction of the sale.
    pub(in crate::sim) fn complete(&mut self, client: usize, node: usize) {
        let row = self.clients[client]
            .token
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
