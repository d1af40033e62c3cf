//! Buying: holds under a pass, payment from the wallet, and every command
//! repeated as clients repeat it.

use rand::Rng;

use crate::domain::ids::{ActivationId, ResourceId};
use crate::domain::sale::hold::ReservationState;

use super::super::plant::Plant;
use super::super::sale::{Answer, Command, Refused, Request, SEATS};
use super::{CLIENTS, World, user_of};

/// What one device bought, and what it may send again.
#[derive(Debug, Default)]
pub(in crate::sim) struct Purchase {
    pub(in crate::sim) reservation: Option<ResourceId>,
    sent: Option<Command>,
}

impl World {
    /// The next client from here that has a pass does something with it.
    pub(in crate::sim) fn buy(&mut self, client: usize, node: usize) {
        let buyer = (0..CLIENTS)
            .map(|step| (client + step) % CLIENTS)
            .find(|client| self.clients[*client].pass.is_some());
        if let Some(buyer) = buyer {
            self.shop(buyer, node);
        }
    }

    pub(in crate::sim) fn shop(&mut self, client: usize, node: usize) {
        match self.rng.random_range(0..20) {
            0..6 => self.hold(client, node),
            6..11 => self.pay(client, node),
            11..12 => self.cancel(client, node),
            12..13 => self.cancel_seat(client, node),
            13..15 => self.top_up(client, node),
            15..18 => self.send_again(client, node),
            18..19 => self.extend(client),
            _ => {
                self.coverage.count("command: sweep holds");
                if self.sale.sweep(self.now) > 0 {
                    self.coverage.count("state: hold swept");
                }
                self.oracle.sale_stands(&self.sale, self.now);
            }
        }
    }

    pub(in crate::sim) fn hold(&mut self, client: usize, node: usize) {
        let Some(pass) = self.shown_pass(client, node) else {
            return;
        };
        self.coverage.count("command: hold seats");
        let first = self.rng.random_range(0..SEATS);
        let count = self.rng.random_range(1..3);
        let seats = (first..first + count).map(|seat| seat % SEATS).collect();
        self.send(client, node, Request::Hold(seats), Some(pass));
    }

    /// What its pass says, as a node reads it; the row decides.
    fn shown_pass(&self, client: usize, node: usize) -> Option<ActivationId> {
        let state = &self.clients[client];
        let (_, pass) = state.pass.as_ref()?;
        let read = self.nodes[node].keys.passes.read(pass, &state.user);
        read.ok().map(|claims| claims.activation)
    }

    fn pay(&mut self, client: usize, node: usize) {
        if let Some(id) = self.clients[client].purchase.reservation.clone() {
            self.coverage.count("command: pay");
            self.send(client, node, Request::Pay(id), None);
        }
    }

    fn cancel(&mut self, client: usize, node: usize) {
        if let Some(id) = self.clients[client].purchase.reservation.clone() {
            self.coverage.count("command: cancel");
            self.send(client, node, Request::Cancel(id), None);
        }
    }

    fn cancel_seat(&mut self, client: usize, node: usize) {
        if let Some(id) = self.clients[client].purchase.reservation.clone() {
            self.coverage.count("command: cancel a seat");
            self.send(client, node, Request::CancelSeat(id), None);
        }
    }

    fn top_up(&mut self, client: usize, node: usize) {
        self.coverage.count("command: top up");
        let amount = self.rng.random_range(1..60);
        self.send(client, node, Request::TopUp(amount), None);
    }

    fn extend(&mut self, client: usize) {
        let Some(id) = self.clients[client].purchase.reservation.clone() else {
            return;
        };
        self.coverage.count("command: extend hold");
        let user = self.clients[client].user.clone();
        if let Ok(until) = self.sale.extend(&user, &id, self.now) {
            self.coverage.count("state: hold extended");
            self.oracle.hold_extended(&id, until);
        }
        self.oracle.sale_stands(&self.sale, self.now);
    }

    fn send(&mut self, client: usize, node: usize, request: Request, pass: Option<ActivationId>) {
        self.keys_used += 1;
        let command = Command {
            user: self.clients[client].user.clone(),
            key: self.keys_used,
            request,
            pass,
        };
        self.transact(client, node, command);
    }

    /// The same key again; now and then for something else.
    fn send_again(&mut self, client: usize, node: usize) {
        let Some(mut command) = self.clients[client].purchase.sent.clone() else {
            return;
        };
        self.coverage.count("command: repeat with the key");
        if self.rng.random_bool(0.2) {
            self.coverage.count("sale: key for another request");
            command.request = Request::TopUp(1_000);
        }
        self.transact(client, node, command);
    }

    /// One transaction of the sale's database, and what follows from it.
    fn transact(&mut self, client: usize, node: usize, command: Command) {
        let entries_before = self.sale.entries.len();
        let answer = self.sale.run(&mut self.sql, &command, self.now);
        let state = (&self.sale, &self.sql);
        self.oracle
            .sale_answered(&command, &answer, state, entries_before, self.now);
        self.oracle.sale_stands(&self.sale, self.now);
        self.coverage.count(name(&answer));
        if let Ok(Answer::Paid(_, Some(pass))) = answer {
            self.pass_completed(node, pass);
        }
        self.clients[client].purchase.sent = Some(command);
        if self.rng.random_bool(0.05) {
            return self.coverage.count("fault: answer of the sale lost");
        }
        if let Ok(Answer::Held(held)) = answer {
            let user = user_of(client);
            // Any device of the user may go on with it.
            for device in [2 * user, 2 * user + 1] {
                self.clients[device].purchase.reservation = Some(held.id.clone());
            }
        }
    }

    /// The payment is committed; a crash may come before the slot is freed.
    fn pass_completed(&mut self, node: usize, pass: ActivationId) {
        self.coverage.count("state: pass completed by payment");
        if self.plant == Some(Plant::SlotKeptAfterPayment) {
            return;
        }
        self.row_ended(node, pass);
        if self.rng.random_bool(0.3) {
            self.coverage.count("fault: crash after payment");
            self.crash(node);
        }
    }
}

fn name(answer: &Result<Answer, Refused>) -> &'static str {
    match answer {
        Ok(Answer::Held(_)) => "state: held",
        Ok(Answer::Paid(..)) => "state: paid",
        Ok(Answer::Cancelled(left, refunded)) => match (left.state, refunded) {
            (ReservationState::Confirmed, _) => "state: refunded in part",
            (ReservationState::Held, _) => "state: released in part",
            (_, Some(_)) => "state: refunded",
            (_, None) => "state: released",
        },
        Ok(Answer::Balance(_)) => "state: topped up",
        Err(Refused::KeyReused) => "sale: key reused",
        Err(Refused::Pass) => "sale: pass refused",
        Err(Refused::SeatUnavailable) => "sale: seat unavailable",
        Err(Refused::LimitPerUser) => "sale: limit per user",
        Err(Refused::Hold(_)) => "sale: hold over or paid",
        Err(Refused::InsufficientFunds) => "sale: insufficient funds",
        Err(Refused::NotFound) => "sale: not found",
    }
}
