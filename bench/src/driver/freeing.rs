//! Slots are freed at a steady rate: who has a turn leaves, the one who has had
//! it longest first. How soon is the next in line told?

use std::collections::{BTreeMap, VecDeque};
use std::io;

use prost::Message as _;
use usher::proto::v1 as wire;

use super::book::{CALL, said};
use super::order::{Answer, Freed, Quantiles};
use super::task::Tools;
use crate::light::{End, Line};
use crate::wall::now_us;

pub struct Freeing {
    line: Option<Line>,
    every_us: u64,
    count: u32,
    patience_us: u64,
    /// Who may leave.
    active: VecDeque<u32>,
    sent: u32,
    answered: u32,
    next_us: u64,
    /// When the slots were freed that nobody has been told of.
    pending: VecDeque<u64>,
    /// Of the last thing that happened.
    since: u64,
    told_ms: Vec<f64>,
    call_us: BTreeMap<u32, u64>,
    call_ms: Vec<f64>,
    failed: BTreeMap<String, u64>,
}

impl Freeing {
    pub fn new(count: u32, rate_per_s: f64, patience_s: u64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "microseconds between two"
        )]
        let every_us = (1e6 / rate_per_s.max(1e-3)) as u64;
        Self {
            line: None,
            every_us,
            count,
            patience_us: patience_s * 1_000_000,
            active: VecDeque::new(),
            sent: 0,
            answered: 0,
            next_us: 0,
            pending: VecDeque::new(),
            since: now_us(),
            told_ms: Vec::new(),
            call_us: BTreeMap::new(),
            call_ms: Vec::new(),
            failed: BTreeMap::new(),
        }
    }

    pub fn step(&mut self, tools: &mut Tools<'_>) -> io::Result<Option<Answer>> {
        self.take_down(tools);
        let line = match self.line {
            Some(line) => line,
            None => *self.line.insert(tools.client.connect()?),
        };
        let now = now_us();
        let is_ready = tools
            .client
            .connection(line)
            .is_some_and(|connection| connection.is_ready());
        if is_ready && self.sent < self.count && now >= self.next_us {
            self.leave(tools, line, now);
        }
        let is_done = self.sent == self.count && self.answered == self.sent;
        let is_over = is_done && self.pending.is_empty();
        if !is_over && now < self.since + self.patience_us {
            return Ok(None);
        }
        tools.client.close(line, tools.book);
        // Who still has a turn may leave when more slots are freed.
        tools.book.turned = self.active.drain(..).map(|nth| (nth, now)).collect();
        Ok(Some(Answer::Freed(Freed {
            freed: self.sent,
            untold: u32::try_from(self.pending.len()).unwrap_or(u32::MAX),
            failed: std::mem::take(&mut self.failed),
            told_ms: Quantiles::of(std::mem::take(&mut self.told_ms)),
            call_ms: Quantiles::of(std::mem::take(&mut self.call_ms)),
        })))
    }

    /// A turn is that of the slot that was freed first.
    fn take_down(&mut self, tools: &mut Tools<'_>) {
        for (nth, at_us) in std::mem::take(&mut tools.book.turned) {
            self.active.push_back(nth);
            if let Some(freed_us) = self.pending.pop_front() {
                self.told_ms.push(millis(at_us.saturating_sub(freed_us)));
                self.since = at_us;
            }
        }
        for (tag, end) in std::mem::take(&mut tools.book.finished) {
            let Some(sent_us) = self.call_us.remove(&tag) else {
                continue;
            };
            self.answered += 1;
            self.call_ms.push(millis(now_us().saturating_sub(sent_us)));
            if end != End::Status(0) {
                *self.failed.entry(said(end)).or_default() += 1;
            }
        }
    }

    fn leave(&mut self, tools: &mut Tools<'_>, line: Line, now: u64) {
        let Some(nth) = self.active.pop_front() else {
            return;
        };
        let mut name = String::new();
        tools.book.user_name(nth, &mut name);
        let request = wire::LeaveRequest {
            place_token: String::from_utf8_lossy(tools.book.token(nth)).into_owned(),
        };
        let (method, request) = (&tools.methods.leave, request.encode_to_vec());
        if !tools.client.call(line, method, &name, &request, nth | CALL) {
            self.active.push_front(nth);
            return;
        }
        self.call_us.insert(nth | CALL, now);
        self.pending.push_back(now);
        self.sent += 1;
        self.since = now;
        self.next_us = now.max(self.next_us + self.every_us);
    }
}

#[expect(clippy::cast_precision_loss, reason = "below 2^53")]
fn millis(us: u64) -> f64 {
    us as f64 / 1_000.0
}
