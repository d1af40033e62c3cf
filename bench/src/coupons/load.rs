//! Everyone asks for a coupon of each campaign, on the light client and on one
//! thread.
//!
//! Requests are numbered: those of the first campaign, then those of the next. What
//! may have happened, and what carries `RetryInfo`, is asked again as the contract
//! says; a request lasts from when it was due to the answer that counts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use prost::Message as _;
use tokio::sync::oneshot;
use tonic::{Code, Status};
use usher::proto::v1 as wire;

use crate::error::BenchError;
use crate::light::{Client, End, Hear, Line, Method, message};
use crate::session::{may_have_happened, reason, retry_after};
use crate::tally::Times;
use crate::wall::now_us;

const ISSUE: &str = "/usher.v1.CouponService/IssueCoupon";
const SOLD_OUT: &str = "COUPON_SOLD_OUT";
/// The third number of source addresses.
const SOURCE: u8 = 30;
/// A turn without news.
const TURN: Duration = Duration::from_millis(20);
/// The same while requests are due by the clock.
const TURN_BY_CLOCK: Duration = Duration::from_millis(1);
/// Before what may have happened is asked again.
const PAUSE_US: u64 = 100_000;
/// Trailers leave the padding out, or do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub struct Plan {
    /// Connections go to each in turn.
    pub targets: Vec<SocketAddr>,
    pub connections: usize,
    /// Their ids.
    pub campaigns: Vec<String>,
    /// What each user says of themselves, in the header `caller`.
    pub users: Vec<String>,
    pub caller: &'static str,
    /// Closed loop: requests under way at once.
    pub in_flight: usize,
    /// Open loop: requests per second.
    pub rate: Option<f64>,
    /// A campaign begins when everyone has an answer about the one before.
    pub in_a_row: bool,
    /// The middle: so many requests are answered.
    pub middle: usize,
    /// Nothing is heard for so long.
    pub patience: Duration,
}

impl Plan {
    pub fn requests(&self) -> usize {
        self.campaigns.len() * self.users.len()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Outcome {
    #[default]
    Nothing,
    Granted,
    SoldOut,
    /// For any other reason.
    Refused,
}

/// What became of one campaign.
#[derive(Debug, Clone, Copy, Default)]
pub struct Course {
    /// Microseconds since 1970; 0: never.
    pub began_us: u64,
    pub last_grant_us: u64,
    pub first_refusal_us: u64,
    pub ended_us: u64,
    pub granted: u64,
    pub sold_out: u64,
}

/// What came of all of it.
#[derive(Default)]
pub struct Came {
    /// By number of the request.
    pub outcomes: Vec<Outcome>,
    /// By campaign.
    pub courses: Vec<Course>,
    pub granted: Times,
    pub sold_out: Times,
    pub elapsed: Duration,
    /// Requests that were asked again, by why.
    pub repeated: BTreeMap<String, u64>,
    /// Refusals for other reasons.
    pub refused: BTreeMap<String, u64>,
    /// Grants of an earlier request of the same user.
    pub already: u64,
}

/// Takes down what is heard.
#[derive(Default)]
struct Desk {
    users: usize,
    came: Came,
    /// By number of the request: when it was due.
    due_us: Vec<u64>,
    /// A coupon has come.
    got: Vec<bool>,
    /// Of the call that ends next.
    said: Vec<u8>,
    /// As sold-out campaigns say it.
    sold_out: Vec<u8>,
    open: usize,
    done: usize,
    /// When which is to be asked again.
    again: BTreeSet<(u64, u32)>,
    heard_us: u64,
}

struct Load<'a> {
    plan: &'a Plan,
    client: Client,
    lines: Vec<Line>,
    method: Method,
    messages: Vec<Vec<u8>>,
    desk: Desk,
    /// The first request that was never sent.
    next: usize,
    began_us: u64,
}

/// Makes all requests; says when it is in the middle of them.
pub fn run(plan: &Plan, say: oneshot::Sender<()>) -> Result<Came, BenchError> {
    let mut load = Load::connect(plan)?;
    let (all, mut say) = (plan.requests(), Some(say));
    load.began_us = now_us();
    load.desk.heard_us = load.began_us;
    while load.desk.done < all {
        load.send();
        let turn = match plan.rate.is_some() || !load.desk.again.is_empty() {
            true => TURN_BY_CLOCK,
            false => TURN,
        };
        load.client.turn(&mut load.desk, turn)?;
        if load.desk.done >= plan.middle
            && let Some(say) = say.take()
        {
            // Nobody may care.
            let _ = say.send(());
        }
        load.still_hears()?;
    }
    let mut came = load.desk.came;
    came.elapsed = Duration::from_micros(now_us().saturating_sub(load.began_us));
    Ok(came)
}

impl<'a> Load<'a> {
    fn connect(plan: &'a Plan) -> Result<Self, BenchError> {
        let first = plan.targets.first();
        let first = *first.ok_or_else(|| BenchError::failed("nobody to ask"))?;
        let mut client = Client::new(first, SOURCE)?;
        let mut lines = Vec::with_capacity(plan.connections);
        for target in plan.targets.iter().cycle().take(plan.connections.max(1)) {
            client.set_target(*target);
            lines.push(client.connect()?);
        }
        let messages = plan.campaigns.iter().map(|campaign| {
            let message = wire::IssueCouponRequest {
                campaign_id: campaign.clone(),
            };
            message.encode_to_vec()
        });
        let all = plan.requests();
        let mut load = Self {
            plan,
            client,
            lines,
            method: Method::new(ISSUE, &first.to_string()).by(plan.caller),
            messages: messages.collect(),
            desk: Desk {
                users: plan.users.len(),
                due_us: vec![0; all],
                got: vec![false; all],
                heard_us: now_us(),
                ..Desk::default()
            },
            next: 0,
            began_us: 0,
        };
        load.desk.came.outcomes = vec![Outcome::Nothing; all];
        load.desk.came.courses = vec![Course::default(); plan.campaigns.len()];
        while !load.is_connected() {
            load.client.turn(&mut load.desk, TURN)?;
            load.still_hears()?;
        }
        Ok(load)
    }

    fn is_connected(&self) -> bool {
        let mut connections = self.lines.iter().map(|line| self.client.connection(*line));
        connections.all(|connection| connection.is_some_and(|one| one.is_ready()))
    }

    fn still_hears(&self) -> Result<(), BenchError> {
        let patience_us = u64::try_from(self.plan.patience.as_micros()).unwrap_or(u64::MAX);
        if now_us() < self.desk.heard_us.saturating_add(patience_us) {
            return Ok(());
        }
        let Desk { done, open, .. } = &self.desk;
        let why = format!("nothing is heard any more: {done} answered, {open} under way");
        Err(BenchError::Failed(why))
    }

    /// Sends what is due.
    fn send(&mut self) {
        let now = now_us();
        while let Some((due_us, nth)) = self.desk.again.first().copied()
            && due_us <= now
            && self.call(nth as usize)
        {
            self.desk.again.pop_first();
        }
        while let Some(due_us) = self.next_due(now)
            && due_us <= now
        {
            let nth = self.next;
            self.desk.due_us[nth] = due_us;
            if !self.call(nth) {
                break;
            }
            let course = &mut self.desk.came.courses[nth / self.plan.users.len()];
            if course.began_us == 0 {
                course.began_us = due_us;
            }
            self.next += 1;
        }
    }

    /// When the next request is, which was never sent; `None` if not now.
    fn next_due(&self, now: u64) -> Option<u64> {
        let (nth, users) = (self.next, self.plan.users.len());
        if nth >= self.plan.requests() {
            return None;
        }
        if let Some(rate) = self.plan.rate {
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a moment of a measurement"
            )]
            let after_us = (nth as f64 * 1e6 / rate.max(1e-3)) as u64;
            return Some(self.began_us + after_us);
        }
        let is_open = !self.plan.in_a_row || self.desk.done >= nth / users * users;
        (is_open && self.desk.open < self.plan.in_flight.max(1)).then_some(now)
    }

    /// Begins a call, on whichever connection takes it.
    fn call(&mut self, nth: usize) -> bool {
        let (campaign, user) = (nth / self.plan.users.len(), nth % self.plan.users.len());
        let Ok(tag) = u32::try_from(nth) else {
            return false;
        };
        for step in 0..self.lines.len() {
            let line = self.lines[(nth + step) % self.lines.len()];
            let (user, message) = (&self.plan.users[user], &self.messages[campaign]);
            if self.client.call(line, &self.method, user, message, tag) {
                self.desk.open += 1;
                return true;
            }
        }
        false
    }
}

impl Desk {
    /// The status that ends a call.
    fn status(&mut self, end: End) -> Status {
        let said = std::mem::take(&mut self.said);
        let code = match end {
            End::Status(code) => Code::from_i32(code.into()),
            // It may have happened.
            End::NoStatus | End::Reset(_) | End::NotTaken | End::Lost => Code::Unavailable,
        };
        let details = BASE64.decode(said).unwrap_or_default();
        Status::with_details(code, String::new(), details.into())
    }

    fn settle(&mut self, nth: usize, outcome: Outcome, at_us: u64) {
        self.done += 1;
        self.came.outcomes[nth] = outcome;
        let course = &mut self.came.courses[nth / self.users];
        course.ended_us = at_us;
        let lasted = Duration::from_micros(at_us.saturating_sub(self.due_us[nth]));
        match outcome {
            Outcome::Granted => {
                course.granted += 1;
                course.last_grant_us = at_us;
                self.came.granted.add(lasted);
            }
            Outcome::SoldOut => {
                course.sold_out += 1;
                if course.first_refusal_us == 0 {
                    course.first_refusal_us = at_us;
                }
                self.came.sold_out.add(lasted);
            }
            Outcome::Refused | Outcome::Nothing => {}
        }
    }
}

impl Hear for Desk {
    fn message(&mut self, tag: u32, reply: &[u8], _at_us: u64) {
        let coupon = message::bytes(reply, 1);
        self.got[tag as usize] = !message::bytes(coupon, 1).is_empty();
        self.came.already += message::varint(reply, 2).unwrap_or_default();
    }

    fn details(&mut self, _tag: u32, details: &[u8]) {
        self.said.clear();
        self.said.extend_from_slice(details);
    }

    fn ended(&mut self, tag: u32, end: End, at_us: u64) {
        let nth = tag as usize;
        self.open -= 1;
        self.heard_us = at_us;
        if end == End::Status(0) && self.got[nth] {
            return self.settle(nth, Outcome::Granted, at_us);
        }
        if !self.said.is_empty() && self.said == self.sold_out {
            self.said.clear();
            return self.settle(nth, Outcome::SoldOut, at_us);
        }
        let said = self.said.clone();
        let status = self.status(end);
        let why = reason(&status);
        if why == SOLD_OUT {
            self.sold_out = said;
            return self.settle(nth, Outcome::SoldOut, at_us);
        }
        let after = retry_after(&status).map(|after| after.as_micros());
        let after_us = after.map_or(PAUSE_US, |us| u64::try_from(us).unwrap_or(PAUSE_US));
        if after.is_some() || may_have_happened(&status) {
            *self.came.repeated.entry(why).or_default() += 1;
            self.again.insert((at_us + after_us, tag));
            return;
        }
        *self.came.refused.entry(why).or_default() += 1;
        self.settle(nth, Outcome::Refused, at_us);
    }
}

#[cfg(test)]
mod tests;
