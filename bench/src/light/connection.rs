//! One HTTP/2 connection as a value: bytes come in, bytes are to be written,
//! and what they say is told to a [`Hear`].
//!
//! Invariant: `calls` holds every call that is open, in the order of their
//! stream ids, and behind its front those that ended before the front did.

use std::collections::VecDeque;

use super::frame::{self, Broken, Frame, Inbox, flag, kind, setting};
use super::headers::{self, Method};
use super::message::{self, Split};

/// What a peer may send before it is told that it may go on.
const WINDOW: u32 = 0x7fff_ffff;
/// The window before anything is said about it (RFC 9113, 6.9.2).
const WINDOW_AT_FIRST: u32 = 65_535;
/// Given back in pieces of this size.
const WINDOW_PIECE: u32 = 1 << 20;
/// Until the peer says otherwise.
const STREAMS_AT_FIRST: u32 = 100;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With this `grpc-status`.
    Status(u16),
    /// Without a status: the stream's end, or an answer that is not gRPC.
    NoStatus,
    /// RST_STREAM with this code.
    Reset(u32),
    /// The peer went (GOAWAY) before it took the call.
    NotTaken,
    /// The connection is gone.
    Lost,
}

/// Who is told what comes. `tag`: as given with the call.
pub trait Hear {
    fn message(&mut self, tag: u32, message: &[u8], at_us: u64);
    /// Said with the status that ends the call next, in base64.
    fn details(&mut self, _tag: u32, _details: &[u8]) {}
    fn ended(&mut self, tag: u32, end: End, at_us: u64);
}

struct Call {
    tag: u32,
    is_open: bool,
    split: Split,
}

/// Headers whose end has not come yet.
struct Block {
    stream: u32,
    ends_stream: bool,
    bytes: Vec<u8>,
}

pub struct Connection {
    inbox: Inbox,
    /// To be written; all of it before `written` is.
    pub out: Vec<u8>,
    pub written: usize,
    calls: VecDeque<Call>,
    /// Calls before the first of `calls`.
    forgotten: u32,
    open: u32,
    taken_in: u32,
    may_send: i64,
    streams_max: u32,
    /// The peer has said its settings.
    is_ready: bool,
    /// The peer takes no more calls.
    is_leaving: bool,
    reader: headers::Reader,
    block: Option<Block>,
    pub frames: u64,
}

impl Connection {
    pub fn new() -> Self {
        let mut out = frame::PREFACE.to_vec();
        let settings = [
            (setting::HEADER_TABLE_SIZE, 0),
            (setting::ENABLE_PUSH, 0),
            (setting::INITIAL_WINDOW_SIZE, WINDOW),
        ];
        frame::put_settings(&mut out, &settings);
        let more = (WINDOW - WINDOW_AT_FIRST).to_be_bytes();
        frame::put(&mut out, kind::WINDOW_UPDATE, 0, 0, &more);
        Self {
            inbox: Inbox::default(),
            out,
            written: 0,
            calls: VecDeque::new(),
            forgotten: 0,
            open: 0,
            taken_in: 0,
            may_send: WINDOW_AT_FIRST.into(),
            streams_max: STREAMS_AT_FIRST,
            is_ready: false,
            is_leaving: false,
            reader: headers::Reader::new(),
            block: None,
            frames: 0,
        }
    }

    /// Calls that are open.
    pub fn open(&self) -> u32 {
        self.open
    }

    /// Whether calls may begin.
    pub fn is_ready(&self) -> bool {
        self.is_ready && !self.is_leaving
    }

    pub fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    /// Begins a call of one message, unless the peer's limits forbid it now.
    pub fn call(&mut self, method: &Method, user: &str, message: &[u8], tag: u32) -> bool {
        let bytes = i64::try_from(message.len() + 5).unwrap_or(i64::MAX);
        if !self.is_ready() || self.open >= self.streams_max || self.may_send < bytes {
            return false;
        }
        let Ok(behind) = u32::try_from(self.calls.len()) else {
            return false;
        };
        let stream = 2 * (self.forgotten + behind) + 1;
        let head_at = self.out.len();
        let flags = flag::END_HEADERS;
        frame::put_head(&mut self.out, kind::HEADERS, flags, stream, 0);
        let block_at = self.out.len();
        method.put_block(&mut self.out, user);
        let length = u32::try_from(self.out.len() - block_at).unwrap_or(u32::MAX);
        self.out[head_at..head_at + 3].copy_from_slice(&length.to_be_bytes()[1..]);
        frame::put_message(&mut self.out, flag::END_STREAM, stream, message);
        self.may_send -= bytes;
        self.open += 1;
        self.calls.push_back(Call {
            tag,
            is_open: true,
            split: None,
        });
        true
    }

    /// What the peer sent.
    pub fn hear(&mut self, bytes: &[u8], at_us: u64, to: &mut impl Hear) -> Result<(), Broken> {
        let mut inbox = std::mem::take(&mut self.inbox);
        let heard = inbox.feed(bytes, |frame| self.frame(&frame, at_us, to));
        self.inbox = inbox;
        while self.calls.front().is_some_and(|call| !call.is_open) {
            self.calls.pop_front();
            self.forgotten += 1;
        }
        heard
    }

    /// Ends what is open: the connection is gone.
    pub fn lose(&mut self, at_us: u64, to: &mut impl Hear) {
        self.open = 0;
        self.is_ready = false;
        for call in self.calls.drain(..) {
            self.forgotten += 1;
            if call.is_open {
                to.ended(call.tag, End::Lost, at_us);
            }
        }
    }

    fn frame(&mut self, frame: &Frame<'_>, at_us: u64, to: &mut impl Hear) -> Result<(), Broken> {
        self.frames += 1;
        if self.block.is_some() && frame.kind != kind::CONTINUATION {
            return Err(Broken("headers without an end"));
        }
        match frame.kind {
            kind::DATA => self.data(frame, at_us, to)?,
            kind::HEADERS => {
                let block = Block {
                    stream: frame.stream,
                    ends_stream: frame.has(flag::END_STREAM),
                    bytes: Vec::new(),
                };
                self.headers(block, frame.content()?, frame, at_us, to)?;
            }
            kind::CONTINUATION => {
                let block = self
                    .block
                    .take()
                    .ok_or(Broken("a continuation of nothing"))?;
                self.headers(block, frame.payload, frame, at_us, to)?;
            }
            kind::RST_STREAM => {
                self.end(frame.stream, End::Reset(frame.number()?), at_us, to);
            }
            kind::SETTINGS if !frame.has(flag::ACK) => {
                self.is_ready = true;
                for (name, value) in frame.settings() {
                    if name == setting::MAX_CONCURRENT_STREAMS {
                        self.streams_max = value;
                    }
                }
                frame::put(&mut self.out, kind::SETTINGS, flag::ACK, 0, &[]);
            }
            kind::PING if !frame.has(flag::ACK) => {
                frame::put(&mut self.out, kind::PING, flag::ACK, 0, frame.payload);
            }
            kind::GOAWAY => self.goaway(frame, at_us, to)?,
            kind::WINDOW_UPDATE if frame.stream == 0 => {
                self.may_send += i64::from(frame.number()?);
            }
            _ => {}
        }
        Ok(())
    }

    fn data(&mut self, frame: &Frame<'_>, at_us: u64, to: &mut impl Hear) -> Result<(), Broken> {
        self.taken_in += u32::try_from(frame.payload.len()).unwrap_or(0);
        if self.taken_in >= WINDOW_PIECE {
            let given = self.taken_in.to_be_bytes();
            frame::put(&mut self.out, kind::WINDOW_UPDATE, 0, 0, &given);
            self.taken_in = 0;
        }
        let content = frame.content()?;
        if let Some(call) = self.call_of(frame.stream) {
            let tag = call.tag;
            message::feed(&mut call.split, content, &mut |message| {
                to.message(tag, message, at_us);
            })?;
        }
        if frame.has(flag::END_STREAM) {
            self.end(frame.stream, End::NoStatus, at_us, to);
        }
        Ok(())
    }

    fn headers(
        &mut self,
        mut block: Block,
        content: &[u8],
        frame: &Frame<'_>,
        at_us: u64,
        to: &mut impl Hear,
    ) -> Result<(), Broken> {
        if !frame.has(flag::END_HEADERS) {
            block.bytes.extend_from_slice(content);
            self.block = Some(block);
            return Ok(());
        }
        let said = match block.bytes.is_empty() {
            true => self.reader.read(content)?,
            false => {
                block.bytes.extend_from_slice(content);
                self.reader.read(&block.bytes)?
            }
        };
        if block.ends_stream {
            if let Some(details) = &said.details
                && let Some(call) = self.call_of(block.stream)
            {
                to.details(call.tag, details);
            }
            let end = said.grpc.map_or(End::NoStatus, End::Status);
            self.end(block.stream, end, at_us, to);
        }
        Ok(())
    }

    fn goaway(&mut self, frame: &Frame<'_>, at_us: u64, to: &mut impl Hear) -> Result<(), Broken> {
        let last = frame.payload.get(..4).ok_or(Broken("a short GOAWAY"))?;
        let last = u32::from_be_bytes([last[0] & 0x7f, last[1], last[2], last[3]]);
        self.is_leaving = true;
        let mut not_taken = 0;
        for (call, nth) in self.calls.iter_mut().zip(self.forgotten..) {
            if call.is_open && 2 * nth + 1 > last {
                call.is_open = false;
                not_taken += 1;
                to.ended(call.tag, End::NotTaken, at_us);
            }
        }
        self.open -= not_taken;
        Ok(())
    }

    fn call_of(&mut self, stream: u32) -> Option<&mut Call> {
        let nth = (stream / 2).checked_sub(self.forgotten)?;
        let call = self.calls.get_mut(nth as usize)?;
        call.is_open.then_some(call)
    }

    fn end(&mut self, stream: u32, end: End, at_us: u64, to: &mut impl Hear) {
        if let Some(call) = self.call_of(stream) {
            call.is_open = false;
            call.split = None;
            let tag = call.tag;
            self.open -= 1;
            to.ended(tag, end, at_us);
        }
    }
}

#[cfg(test)]
mod tests;
