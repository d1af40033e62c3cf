//! What a driver does over many turns: each task is stepped until it answers.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use prost::Message as _;
use usher::proto::v1 as wire;

use super::book::{Book, Doing, said};
use super::order::{Answer, Formed, Received};
use crate::light::{Client, End, Line, Method};
use crate::wall::now_us;

/// Connections that are being made at once: below a listener's backlog.
const CONNECTING_MAX: usize = 200;
/// Streams that are open and have said nothing, at once.
const OPENING_MAX: u32 = 2_000;
const TRIES_MAX: u8 = 20;
const REST_US: u64 = 100_000;

pub struct Methods {
    pub join: Method,
    pub watch: Method,
    pub leave: Method,
}

/// What a task works with.
pub struct Tools<'a> {
    pub client: &'a mut Client,
    pub book: &'a mut Book,
    pub methods: &'a Methods,
}

/// Who is to be tried next, and again.
struct Queue {
    next: u32,
    users: u32,
    /// When, who and which try.
    again: VecDeque<(u64, u32)>,
    tries: BTreeMap<u32, u8>,
    given_up: u32,
    failed: BTreeMap<String, u64>,
}

impl Queue {
    fn of(users: u32) -> Self {
        Self {
            next: 0,
            users,
            again: VecDeque::new(),
            tries: BTreeMap::new(),
            given_up: 0,
            failed: BTreeMap::new(),
        }
    }

    fn peek(&self, now: u64) -> Option<u32> {
        match self.again.front() {
            Some((due, nth)) if *due <= now => Some(*nth),
            _ => (self.next < self.users).then_some(self.next),
        }
    }

    fn took(&mut self, nth: u32) {
        match self.again.front() {
            Some((_, first)) if *first == nth => {
                self.again.pop_front();
            }
            _ => self.next += 1,
        }
    }

    fn failed(&mut self, nth: u32, end: End, now: u64) {
        *self.failed.entry(said(end)).or_default() += 1;
        let tries = self.tries.entry(nth).or_default();
        *tries += 1;
        match *tries < TRIES_MAX {
            true => self
                .again
                .push_back((now + REST_US * u64::from(*tries), nth)),
            false => self.given_up += 1,
        }
    }
}

/// Everyone joins.
pub struct Joining {
    request: Vec<u8>,
    lines: Vec<Line>,
    connections: u32,
    in_flight: u32,
    queue: Queue,
    done: u32,
    began: u64,
}

impl Joining {
    pub fn new(room: String, users: u32, connections: u32, in_flight: u32) -> Self {
        let request = wire::JoinRequest {
            room_id: room,
            ..Default::default()
        };
        Self {
            request: request.encode_to_vec(),
            lines: Vec::new(),
            connections: connections.max(1),
            in_flight: in_flight.max(1),
            queue: Queue::of(users),
            done: 0,
            began: now_us(),
        }
    }

    pub fn step(&mut self, tools: &mut Tools<'_>) -> io::Result<Option<Answer>> {
        let now = now_us();
        for (nth, end) in std::mem::take(&mut tools.book.finished) {
            match tools.book.doing(nth) {
                Doing::Joined => self.done += 1,
                _ => self.queue.failed(nth, end, now),
            }
        }
        if self.done + self.queue.given_up >= self.queue.users {
            for line in self.lines.drain(..) {
                tools.client.close(line, tools.book);
            }
            return Ok(Some(Answer::Joined(formed(
                self.done,
                &self.queue,
                self.began,
            ))));
        }
        self.lines.retain(|line| {
            let connection = tools.client.connection(*line);
            connection.is_some_and(|connection| !connection.is_leaving())
        });
        while self.lines.len() < self.connections as usize {
            self.lines.push(tools.client.connect()?);
        }
        let mut name = String::new();
        for line in &self.lines {
            loop {
                let open = tools.client.connection(*line).map(|line| line.open());
                let (Some(nth), Some(open)) = (self.queue.peek(now), open) else {
                    break;
                };
                tools.book.user_name(nth, &mut name);
                let (method, request) = (&tools.methods.join, &self.request);
                if open >= self.in_flight || !tools.client.call(*line, method, &name, request, nth)
                {
                    break;
                }
                self.queue.took(nth);
                tools.book.joins(nth);
            }
        }
        Ok(None)
    }
}

/// Everyone opens a stream: the users of one connection follow one another.
pub struct Watching {
    lines: Vec<Line>,
    connections: u32,
    per_line: u32,
    queue: Queue,
    began: u64,
    give_up: u64,
    wanted: u32,
}

impl Watching {
    pub fn new(users: u32, connections: u32, patience_s: u64) -> Self {
        let connections = connections.max(1);
        let began = now_us();
        Self {
            lines: Vec::new(),
            connections,
            per_line: users.div_ceil(connections).max(1),
            queue: Queue::of(users),
            began,
            give_up: began + patience_s * 1_000_000,
            wanted: users,
        }
    }

    pub fn step(&mut self, tools: &mut Tools<'_>) -> io::Result<Option<Answer>> {
        let now = now_us();
        for (nth, end) in std::mem::take(&mut tools.book.finished) {
            if tools.book.doing(nth) == Doing::Broken {
                self.queue.failed(nth, end, now);
            }
        }
        let is_all = tools.book.watching + self.queue.given_up >= self.wanted;
        if is_all || now > self.give_up {
            let done = tools.book.watching;
            return Ok(Some(Answer::Watching(formed(
                done,
                &self.queue,
                self.began,
            ))));
        }
        self.connect(tools)?;
        let mut name = String::new();
        while tools.book.opening < OPENING_MAX
            && let Some(nth) = self.queue.peek(now)
        {
            let at = (nth / self.per_line) as usize;
            let Some(line) = self.lines.get(at).copied() else {
                break;
            };
            let state = tools.client.connection(line);
            if state.is_none_or(|connection| connection.is_leaving()) {
                self.lines[at] = tools.client.connect()?;
                break;
            }
            let request = wire::WatchRequest {
                place_token: String::from_utf8_lossy(tools.book.token(nth)).into_owned(),
                ..Default::default()
            };
            tools.book.user_name(nth, &mut name);
            let (method, request) = (&tools.methods.watch, request.encode_to_vec());
            if !tools.client.call(line, method, &name, &request, nth) {
                break;
            }
            self.queue.took(nth);
            tools.book.opens(nth, now);
        }
        Ok(None)
    }

    /// Connections in their order, a bounded number of them under way.
    fn connect(&mut self, tools: &mut Tools<'_>) -> io::Result<()> {
        let behind = self.lines.iter().rev().take(CONNECTING_MAX);
        let under_way = behind.filter(|line| {
            let connection = tools.client.connection(**line);
            connection.is_some_and(|connection| !connection.is_ready())
        });
        for _ in under_way.count()..CONNECTING_MAX {
            if self.lines.len() >= self.connections as usize {
                break;
            }
            self.lines.push(tools.client.connect()?);
        }
        Ok(())
    }
}

fn formed(done: u32, queue: &Queue, began: u64) -> Formed {
    #[expect(clippy::cast_precision_loss, reason = "seconds in microseconds")]
    let elapsed_s = (now_us() - began) as f64 / 1e6;
    Formed {
        done,
        wanted: queue.users,
        failed: queue.failed.clone(),
        elapsed_s,
    }
}

/// Until every open stream has had the broadcast.
pub struct Awaiting {
    give_up: u64,
}

impl Awaiting {
    pub fn new(patience_s: u64) -> Self {
        Self {
            give_up: now_us() + patience_s * 1_000_000,
        }
    }

    pub fn step(&mut self, tools: &mut Tools<'_>) -> Option<Answer> {
        if !tools.book.has_all() && now_us() < self.give_up {
            return None;
        }
        let missing = tools.book.missing();
        let (at_us, repeated) = tools.book.received();
        Some(Answer::Received(Received {
            at_us,
            missing,
            repeated,
        }))
    }
}

/// Until no stream is open, or none has ended for so long.
pub struct Ending {
    patience_us: u64,
    left: u32,
    since: u64,
}

impl Ending {
    pub fn new(patience_s: u64) -> Self {
        Self {
            patience_us: patience_s * 1_000_000,
            left: u32::MAX,
            since: now_us(),
        }
    }

    pub fn step(&mut self, tools: &mut Tools<'_>) -> Option<Answer> {
        let (left, now) = (tools.book.watching + tools.book.opening, now_us());
        if left < self.left {
            (self.left, self.since) = (left, now);
        }
        let is_over = left == 0 || now > self.since + self.patience_us;
        is_over.then_some(Answer::Ended { left })
    }
}
