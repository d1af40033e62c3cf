//! Everyone asks for their position, again and again.
//!
//! Every user has a moment of their own within the period and keeps to it, so
//! the order in which users are due never changes and needs no timers.

use std::collections::BTreeMap;
use std::io;

use prost::Message as _;
use usher::proto::v1 as wire;

use super::book::{Doing, said};
use super::order::{Answer, Polled};
use super::task::Tools;
use crate::light::{End, Line, Method};
use crate::wall::now_us;

/// Connections that are being made at once.
const CONNECTING_MAX: usize = 200;
/// Spreads users evenly over the period, neighbours far apart.
const GOLDEN: f64 = 0.618_033_988_749_894_9;
/// Time to answer what was asked last.
const LAST_ANSWERS_US: u64 = 5_000_000;

pub struct Polling {
    method: Method,
    connections: u32,
    every_us: u64,
    for_us: u64,
    /// The user's name is asked for, not their token.
    by_name: bool,
    lines: Vec<Line>,
    /// Who is due when, within the period.
    turns: Vec<(u64, u32)>,
    next: usize,
    period: u64,
    /// Once all connections are there.
    began: Option<u64>,
    calls: u64,
    /// Due while the answer before was not there, or the connection full.
    skipped: u64,
    failed: BTreeMap<String, u64>,
}

pub struct Plan {
    pub connections: u32,
    pub every_ms: u64,
    pub for_s: u64,
    pub by_name: bool,
}

impl Polling {
    pub fn new(method: Method, users: u32, plan: &Plan) -> Self {
        let every_us = plan.every_ms.max(1) * 1_000;
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a moment within seconds"
        )]
        let moment = |nth: u32| ((f64::from(nth) * GOLDEN).fract() * every_us as f64) as u64;
        let mut turns: Vec<(u64, u32)> = (0..users).map(|nth| (moment(nth), nth)).collect();
        turns.sort_unstable();
        Self {
            method,
            connections: plan.connections.max(1),
            every_us,
            for_us: plan.for_s * 1_000_000,
            by_name: plan.by_name,
            lines: Vec::new(),
            turns,
            next: 0,
            period: 0,
            began: None,
            calls: 0,
            skipped: 0,
            failed: BTreeMap::new(),
        }
    }

    /// Answers once when it begins, and again when it is over.
    pub fn step(&mut self, tools: &mut Tools<'_>) -> io::Result<Option<Answer>> {
        for (_, end) in std::mem::take(&mut tools.book.finished) {
            if end != End::Status(0) {
                *self.failed.entry(said(end)).or_default() += 1;
            }
        }
        let Some(began) = self.began else {
            return self.connect(tools);
        };
        let now = now_us();
        if now > began + self.for_us {
            let is_answered = tools.book.polling == 0;
            let is_late = now > began + self.for_us + LAST_ANSWERS_US;
            return Ok((is_answered || is_late).then(|| self.over(tools)));
        }
        let mut name = String::new();
        while let Some((moment, nth)) = self.turns.get(self.next).copied() {
            if now < began + self.period * self.every_us + moment {
                break;
            }
            self.next += 1;
            if self.next == self.turns.len() {
                (self.next, self.period) = (0, self.period + 1);
            }
            tools.book.user_name(nth, &mut name);
            let token = match self.by_name {
                true => name.clone(),
                false => String::from_utf8_lossy(tools.book.token(nth)).into_owned(),
            };
            let request = wire::GetPlaceRequest { place_token: token }.encode_to_vec();
            let line = self.lines[nth as usize % self.lines.len()];
            let is_free = tools.book.doing(nth) == Doing::Joined;
            match is_free && tools.client.call(line, &self.method, &name, &request, nth) {
                true => {
                    self.calls += 1;
                    tools.book.polls(nth, now);
                }
                false => self.skipped += 1,
            }
        }
        Ok(None)
    }

    fn connect(&mut self, tools: &mut Tools<'_>) -> io::Result<Option<Answer>> {
        let ready = self.lines.iter().filter(|line| {
            let connection = tools.client.connection(**line);
            connection.is_some_and(|connection| connection.is_ready())
        });
        let ready = ready.count();
        if ready == self.connections as usize {
            self.began = Some(now_us());
            return Ok(Some(Answer::Polling));
        }
        let gone = |line: &Line| tools.client.connection(*line).is_none();
        if self.lines.iter().any(gone) {
            return Err(io::Error::other("a connection was not taken"));
        }
        let under_way = self.lines.len() - ready;
        for _ in under_way..CONNECTING_MAX {
            if self.lines.len() < self.connections as usize {
                self.lines.push(tools.client.connect()?);
            }
        }
        Ok(None)
    }

    fn over(&mut self, tools: &mut Tools<'_>) -> Answer {
        for line in self.lines.drain(..) {
            tools.client.close(line, tools.book);
        }
        let ms = tools.book.polled();
        Answer::Polled(Polled {
            calls: self.calls,
            answered: ms.count,
            skipped: self.skipped,
            failed: std::mem::take(&mut self.failed),
            ms,
        })
    }
}
