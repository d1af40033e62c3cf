//! Streams break, all at once; everyone comes back as the contract has it:
//! after `reconnect_after` where a `drain` named it, else after a full-jitter
//! pause that grows with each failure, with their token and last cursor.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::net::SocketAddr;

use prost::Message as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use usher::proto::v1 as wire;

use super::book::{Book, Doing, said};
use super::order::{Answer, Quantiles, Returned};
use super::task::Tools;
use crate::light::{Client, Line};
use crate::wall::now_us;

/// The contract's back-off.
const PAUSE_US: u64 = 500_000;
const PAUSE_MAX_US: u64 = 10_000_000;
const DOUBLINGS_MAX: u8 = 5;
/// Streams that are open and have said nothing, and connections under way.
const OPENING_MAX: u32 = 2_000;
const CONNECTING_MAX: usize = 200;
/// Until a connection that is being made is looked at again.
const LOOK_AGAIN_US: u64 = 5_000;

pub struct Returning {
    patience_us: u64,
    per_line: u32,
    /// The new connection of those who shared one.
    lines: Vec<Option<Line>>,
    tries: Vec<u8>,
    due: BinaryHeap<Reverse<(u64, u32)>>,
    random: StdRng,
    since: u64,
    wanted: u32,
    failed: BTreeMap<String, u64>,
}

enum Attempt {
    Opening,
    /// A connection is being made, or is full.
    Later,
    /// It could not be made.
    NoConnection,
}

pub struct Plan {
    pub target: Option<SocketAddr>,
    pub connections: u32,
    pub patience_s: u64,
    pub seed: u64,
}

impl Returning {
    pub fn new(client: &mut Client, book: &mut Book, plan: &Plan) -> Self {
        if let Some(target) = plan.target {
            client.set_target(target);
        }
        let (users, connections) = (book.users(), plan.connections.max(1));
        book.comes_back();
        Self {
            patience_us: plan.patience_s * 1_000_000,
            per_line: users.div_ceil(connections).max(1),
            lines: vec![None; connections as usize],
            tries: vec![0; users as usize],
            due: BinaryHeap::with_capacity(users as usize),
            random: StdRng::seed_from_u64(plan.seed),
            since: now_us(),
            wanted: book.watching,
            failed: BTreeMap::new(),
        }
    }

    pub fn step(&mut self, tools: &mut Tools<'_>) -> io::Result<Option<Answer>> {
        let now = now_us();
        for (nth, end) in std::mem::take(&mut tools.book.finished) {
            if tools.book.doing(nth) == Doing::Broken {
                self.broke(tools, nth, said(end), now);
            }
        }
        let is_all = tools.book.back() >= self.wanted && tools.book.watching >= self.wanted;
        if is_all || now > self.since + self.patience_us {
            return Ok(Some(self.over(tools)));
        }
        let mut connecting = self.connecting(tools);
        let mut name = String::new();
        while tools.book.opening < OPENING_MAX
            && let Some(Reverse((due, nth))) = self.due.peek().copied()
            && due <= now
        {
            self.due.pop();
            match self.open(tools, nth, &mut name, &mut connecting, now)? {
                Attempt::Opening => {}
                Attempt::Later => self.due.push(Reverse((now + LOOK_AGAIN_US, nth))),
                Attempt::NoConnection => self.broke(tools, nth, "no connection".to_owned(), now),
            }
        }
        Ok(None)
    }

    fn broke(&mut self, tools: &Tools<'_>, nth: u32, how: String, now: u64) {
        *self.failed.entry(how).or_default() += 1;
        self.since = now;
        let tries = &mut self.tries[nth as usize];
        let pause_us = match tools.book.asked_back_us(nth) {
            Some(after_us) if *tries == 0 => after_us,
            _ => {
                let most = PAUSE_MAX_US.min(PAUSE_US << (*tries).min(DOUBLINGS_MAX));
                self.random.random_range(0..=most)
            }
        };
        *tries = tries.saturating_add(1);
        self.due.push(Reverse((now + pause_us, nth)));
    }

    fn connecting(&self, tools: &Tools<'_>) -> usize {
        let lines = self.lines.iter().flatten();
        let under_way = lines.filter(|line| {
            let connection = tools.client.connection(**line);
            connection.is_some_and(|connection| !connection.is_ready())
        });
        under_way.count()
    }

    fn open(
        &mut self,
        tools: &mut Tools<'_>,
        nth: u32,
        name: &mut String,
        connecting: &mut usize,
        now: u64,
    ) -> io::Result<Attempt> {
        let slot = &mut self.lines[(nth / self.per_line) as usize];
        let known = slot.and_then(|line| tools.client.connection(line));
        let line = match (*slot, known) {
            (Some(line), Some(connection)) if !connection.is_leaving() => line,
            (Some(_), None) => {
                *slot = None;
                return Ok(Attempt::NoConnection);
            }
            _ if *connecting >= CONNECTING_MAX => return Ok(Attempt::Later),
            _ => {
                *connecting += 1;
                *slot.insert(tools.client.connect()?)
            }
        };
        let (epoch, revision) = tools.book.cursor(nth);
        let request = wire::WatchRequest {
            place_token: String::from_utf8_lossy(tools.book.token(nth)).into_owned(),
            resume: Some(wire::Cursor { epoch, revision }),
            ..Default::default()
        };
        tools.book.user_name(nth, name);
        let (method, request) = (&tools.methods.watch, request.encode_to_vec());
        if !tools.client.call(line, method, name, &request, nth) {
            return Ok(Attempt::Later);
        }
        tools.book.opens(nth, now);
        Ok(Attempt::Opening)
    }

    fn over(&mut self, tools: &mut Tools<'_>) -> Answer {
        let (at_us, wrong_number) = tools.book.came_back();
        Answer::Returned(Returned {
            wanted: self.wanted,
            at_us: Quantiles::of(at_us),
            wrong_number,
            out_of_place: tools.book.out_of_place(),
            failed: std::mem::take(&mut self.failed),
            still_away: self.wanted.saturating_sub(tools.book.watching),
        })
    }
}
