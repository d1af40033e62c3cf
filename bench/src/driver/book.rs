//! What every user of a driver has seen: one small struct each.

use std::collections::BTreeMap;

use super::order::{Quantiles, Tally};
use super::sample::Sample;
use crate::light::message::{self, KINDS, Kind, News};
use crate::light::{End, Hear};

/// Longest promised age of a position: the default heartbeat.
const AGE_MAX_US: u64 = 25_000_000;
const AGE_MIN_US: u64 = 1_000_000;
/// A position is due after this part of the remaining wait.
const AGE_PART: f64 = 30.0;

/// Marks a call beside a user's stream in its tag.
pub const CALL: u32 = 1 << 31;

/// What a user is doing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doing {
    #[default]
    Nothing,
    Joining,
    /// Has a place and no stream.
    Joined,
    /// Has asked and was not answered yet.
    Polling,
    /// The stream has said nothing yet.
    Opening,
    Watching,
    /// The place ended, and the stream after it.
    Over,
    /// The stream ended and nobody said why.
    Broken,
}

const DOINGS: [(Doing, &str); 8] = [
    (Doing::Nothing, "nothing"),
    (Doing::Joining, "joining"),
    (Doing::Joined, "joined"),
    (Doing::Polling, "polling"),
    (Doing::Opening, "opening"),
    (Doing::Watching, "watching"),
    (Doing::Over, "over"),
    (Doing::Broken, "broken"),
];

#[derive(Debug, Default, Clone, Copy)]
struct Member {
    doing: Doing,
    activated: u8,
    ended: u8,
    token_length: u16,
    token_at: u32,
    /// Of the last broadcast that was seen.
    marker: u32,
    began_us: u64,
    number: u64,
    /// What a `drain` asked for, and one.
    asked_back_us: u64,
    cursor: (u64, u64),
    position: u64,
    /// When it was told, and by when the next one is promised.
    told_us: u64,
    promised_us: u64,
}

/// The broadcast that is waited for.
#[derive(Default)]
struct Awaited {
    marker: u32,
    at_us: Vec<f64>,
    repeated: u64,
}

#[derive(Default)]
pub struct Book {
    pub name: String,
    members: Vec<Member>,
    /// All tokens, one behind the other.
    tokens: Vec<u8>,
    /// Calls that ended since it was last emptied.
    pub finished: Vec<(u32, End)>,
    awaited: Awaited,
    kinds: [u64; KINDS.len()],
    unknown: u64,
    broken: BTreeMap<String, u64>,
    cursors_back: u64,
    positions_grown: u64,
    rate_per_s: f64,
    claim_window_us: Option<u64>,
    activation_ms: Sample,
    late_ms: Sample,
    first_message_ms: Sample,
    /// Streams that said something and have not ended.
    pub watching: u32,
    /// Streams that are open and have said nothing.
    pub opening: u32,
    /// Questions without an answer yet.
    pub polling: u32,
    /// First turns, in the order of their receipt.
    pub turned: Vec<(u32, u64)>,
    comes_back: bool,
    back_at_us: Vec<f64>,
    wrong_number: u32,
    poll_ms: Sample,
}

impl Book {
    pub fn begin(&mut self, name: String, users: u32) {
        *self = Self {
            name,
            members: vec![Member::default(); users as usize],
            ..Self::default()
        };
    }

    pub fn users(&self) -> u32 {
        u32::try_from(self.members.len()).unwrap_or(u32::MAX)
    }

    pub fn user_name(&self, nth: u32, out: &mut String) {
        use std::fmt::Write;
        out.clear();
        let _ = write!(out, "{}-{nth}", self.name);
    }

    pub fn doing(&self, nth: u32) -> Doing {
        self.members[nth as usize].doing
    }

    /// Everyone has a place, or needs none.
    pub fn assume_joined(&mut self) {
        for member in &mut self.members {
            member.doing = Doing::Joined;
        }
    }

    pub fn token(&self, nth: u32) -> &[u8] {
        let member = &self.members[nth as usize];
        let at = member.token_at as usize;
        &self.tokens[at..at + usize::from(member.token_length)]
    }

    pub fn joins(&mut self, nth: u32) {
        self.members[nth as usize].doing = Doing::Joining;
    }

    pub fn opens(&mut self, nth: u32, at_us: u64) {
        let member = &mut self.members[nth as usize];
        member.doing = Doing::Opening;
        member.began_us = at_us;
        self.opening += 1;
    }

    pub fn polls(&mut self, nth: u32, at_us: u64) {
        let member = &mut self.members[nth as usize];
        member.doing = Doing::Polling;
        member.began_us = at_us;
        self.polling += 1;
    }

    /// The milliseconds that questions took which were answered.
    pub fn polled(&mut self) -> Quantiles {
        std::mem::take(&mut self.poll_ms).quantiles()
    }

    /// From here on first messages of streams are returns.
    pub fn comes_back(&mut self) {
        self.comes_back = true;
        self.back_at_us = Vec::with_capacity(self.watching as usize);
        self.wrong_number = 0;
    }

    pub fn back(&self) -> u32 {
        u32::try_from(self.back_at_us.len()).unwrap_or(u32::MAX)
    }

    /// When, and how many with another number than before.
    pub fn came_back(&mut self) -> (Vec<f64>, u32) {
        self.comes_back = false;
        (std::mem::take(&mut self.back_at_us), self.wrong_number)
    }

    /// What a `drain` said.
    pub fn asked_back_us(&self, nth: u32) -> Option<u64> {
        self.members[nth as usize].asked_back_us.checked_sub(1)
    }

    pub fn cursor(&self, nth: u32) -> (u64, u64) {
        self.members[nth as usize].cursor
    }

    /// Who has a stream and no turn: by number.
    fn line(&self) -> Vec<&Member> {
        let waits = |member: &&Member| {
            member.doing == Doing::Watching && member.activated == 0 && member.ended == 0
        };
        let mut line: Vec<&Member> = self.members.iter().filter(waits).collect();
        line.sort_unstable_by_key(|member| member.number);
        line
    }

    /// Whose position is not their rank by number. For one driver with the
    /// whole line.
    pub fn out_of_place(&self) -> u32 {
        let line = self.line();
        let ranked = (1..).zip(line);
        let wrong = ranked.filter(|(rank, member)| member.position != *rank);
        u32::try_from(wrong.count()).unwrap_or(u32::MAX)
    }

    /// Who waits while a later number has had its turn.
    fn passed_over(&self) -> u32 {
        let had = self.members.iter().filter(|member| member.activated > 0);
        let last = had.map(|member| member.number).max().unwrap_or(0);
        let line = self.line();
        let before = line.iter().take_while(|member| member.number < last);
        u32::try_from(before.count()).unwrap_or(u32::MAX)
    }

    pub fn judge(&mut self, rate_per_s: f64, claim_window_ms: u64) {
        self.rate_per_s = rate_per_s;
        self.claim_window_us = Some(claim_window_ms * 1_000);
        for member in &mut self.members {
            (member.told_us, member.promised_us) = (0, 0);
        }
    }

    pub fn wait_for(&mut self, marker: u32) {
        self.awaited = Awaited {
            marker,
            at_us: Vec::with_capacity(self.watching as usize),
            repeated: 0,
        };
    }

    /// Open streams that have not had what is waited for.
    pub fn missing(&self) -> u64 {
        let marker = self.awaited.marker;
        let missing = |member: &&Member| member.doing == Doing::Watching && member.marker < marker;
        self.members.iter().filter(missing).count() as u64
    }

    /// Nearly free: asked every turn.
    pub fn has_all(&self) -> bool {
        self.awaited.at_us.len() >= self.watching as usize
    }

    pub fn received(&mut self) -> (Quantiles, u64) {
        let awaited = std::mem::take(&mut self.awaited);
        (Quantiles::of(awaited.at_us), awaited.repeated)
    }

    pub fn tally(&self) -> Tally {
        let mut tally = Tally {
            unknown: self.unknown,
            broken: self.broken.clone(),
            cursors_back: self.cursors_back,
            positions_grown: self.positions_grown,
            activation_ms: self.activation_ms.quantiles(),
            late_ms: self.late_ms.quantiles(),
            passed_over: self.passed_over(),
            first_message_ms: self.first_message_ms.quantiles(),
            ..Tally::default()
        };
        for ((_, name), count) in KINDS.iter().zip(self.kinds) {
            tally.kinds.insert((*name).to_owned(), count);
        }
        for (doing, name) in DOINGS {
            let so = self.members.iter().filter(|member| member.doing == doing);
            let count = u32::try_from(so.count()).unwrap_or(u32::MAX);
            if count > 0 {
                tally.streams.insert(name.to_owned(), count);
            }
        }
        for member in &self.members {
            tally.activated_twice += u32::from(member.activated > 1);
            tally.never_activated += u32::from(member.activated == 0);
            tally.ended_twice += u32::from(member.ended > 1);
            tally.never_ended += u32::from(member.ended == 0);
        }
        tally
    }

    fn joined(&mut self, nth: u32, reply: &[u8]) {
        let token = message::bytes(reply, 1);
        let at = u32::try_from(self.tokens.len());
        let member = &mut self.members[nth as usize];
        if let (Ok(at), Ok(length)) = (at, u16::try_from(token.len())) {
            (member.token_at, member.token_length) = (at, length);
            member.number = message::varint(message::bytes(reply, 2), 3).unwrap_or(0);
            self.tokens.extend_from_slice(token);
        }
    }

    fn news(&mut self, nth: u32, news: &News<'_>, at_us: u64) {
        self.kinds[news.kind as usize] += 1;
        let member = &mut self.members[nth as usize];
        if member.doing == Doing::Opening {
            member.doing = Doing::Watching;
            self.opening -= 1;
            self.watching += 1;
            let ms = millis(at_us.saturating_sub(member.began_us));
            self.first_message_ms.add(ms);
            if self.comes_back {
                #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
                self.back_at_us.push(at_us as f64);
            }
        }
        self.cursors_back += u64::from(news.cursor < member.cursor);
        let is_new_epoch = news.cursor.0 > member.cursor.0;
        member.cursor = member.cursor.max(news.cursor);
        match news.kind {
            Kind::Snapshot => {
                let place = message::bytes(news.event, 1);
                let number = message::varint(place, 3).unwrap_or(0);
                let is_wrong = member.number > 0 && member.number != number;
                self.wrong_number += u32::from(is_wrong);
                let position = message::varint(place, 5).unwrap_or(0);
                self.position(nth, position, is_new_epoch, at_us);
            }
            Kind::Position => {
                let position = message::varint(news.event, 1).unwrap_or(0);
                self.position(nth, position, is_new_epoch, at_us);
            }
            Kind::Activated => self.activated(nth, news.event, at_us),
            Kind::RoomChanged => self.room_changed(nth, news.event, at_us),
            Kind::Ended => member.ended = member.ended.saturating_add(1),
            Kind::Drain => {
                let after_us = message::micros(message::bytes(news.event, 2));
                member.asked_back_us = after_us.saturating_add(1);
            }
            Kind::Heartbeat => {}
        }
    }

    fn position(&mut self, nth: u32, position: u64, is_new_epoch: bool, at_us: u64) {
        let member = &mut self.members[nth as usize];
        let has_grown = member.position > 0 && position > member.position && !is_new_epoch;
        self.positions_grown += u64::from(has_grown);
        member.position = position;
        if self.rate_per_s <= 0.0 {
            return;
        }
        if member.told_us > 0 {
            let (at, promised) = (millis(at_us), millis(member.promised_us));
            self.late_ms.add(at - promised);
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "minutes in microseconds"
        )]
        let age_us = (position as f64 / self.rate_per_s / AGE_PART * 1e6) as u64;
        member.told_us = at_us;
        member.promised_us = at_us + age_us.clamp(AGE_MIN_US, AGE_MAX_US);
    }

    fn activated(&mut self, nth: u32, event: &[u8], at_us: u64) {
        let member = &mut self.members[nth as usize];
        if member.activated == 0 {
            self.turned.push((nth, at_us));
        }
        member.activated = member.activated.saturating_add(1);
        member.told_us = 0;
        let claim_by_us = message::micros(message::bytes(event, 2));
        if let Some(window_us) = self.claim_window_us
            && claim_by_us > window_us
        {
            let (at, activated) = (millis(at_us), millis(claim_by_us - window_us));
            self.activation_ms.add(at - activated);
        }
    }

    fn room_changed(&mut self, nth: u32, event: &[u8], at_us: u64) {
        let said = std::str::from_utf8(message::bytes(event, 3)).ok();
        let Some(marker) = said.and_then(|said| said.parse().ok()) else {
            return;
        };
        let member = &mut self.members[nth as usize];
        if marker == self.awaited.marker {
            match member.marker == marker {
                true => self.awaited.repeated += 1,
                #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
                false => self.awaited.at_us.push(at_us as f64),
            }
        }
        member.marker = marker;
    }
}

#[expect(clippy::cast_precision_loss, reason = "below 2^53")]
fn millis(us: u64) -> f64 {
    us as f64 / 1_000.0
}

impl Hear for Book {
    fn message(&mut self, tag: u32, message: &[u8], at_us: u64) {
        match self.members.get(tag as usize).map(|member| member.doing) {
            Some(Doing::Joining) => self.joined(tag, message),
            Some(Doing::Polling) => {}
            Some(_) => match message::glance(message) {
                Some(news) => self.news(tag, &news, at_us),
                None => self.unknown += 1,
            },
            None => {}
        }
    }

    fn ended(&mut self, tag: u32, end: End, at_us: u64) {
        if tag & CALL != 0 {
            self.finished.push((tag, end));
            return;
        }
        let Some(member) = self.members.get_mut(tag as usize) else {
            return;
        };
        self.finished.push((tag, end));
        match member.doing {
            Doing::Joining if end == End::Status(0) && member.token_length > 0 => {
                member.doing = Doing::Joined;
                return;
            }
            Doing::Joining => {
                member.doing = Doing::Nothing;
                return;
            }
            Doing::Polling => {
                member.doing = Doing::Joined;
                self.polling -= 1;
                if end == End::Status(0) {
                    let us = at_us.saturating_sub(member.began_us);
                    self.poll_ms.add(millis(us));
                }
                return;
            }
            Doing::Opening => self.opening -= 1,
            Doing::Watching => self.watching -= 1,
            _ => return,
        }
        let had_begun = member.doing == Doing::Watching && member.asked_back_us == 0;
        member.doing = match member.ended > 0 && end == End::Status(0) {
            true => Doing::Over,
            false => Doing::Broken,
        };
        // One that never began is tried again, and counted by who does that; one
        // that was asked to come back knows why.
        if had_begun && member.doing == Doing::Broken {
            *self.broken.entry(said(end)).or_default() += 1;
        }
    }
}

/// An end in words.
pub fn said(end: End) -> String {
    match end {
        End::Status(code) => format!("{:?}", tonic::Code::from_i32(code.into())),
        End::NoStatus => "no status".to_owned(),
        End::Reset(code) => format!("RST_STREAM {code}"),
        End::NotTaken => "GOAWAY".to_owned(),
        End::Lost => "connection lost".to_owned(),
    }
}
