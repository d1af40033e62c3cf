//! The least a server could do: epoll, frames by hand, no state but the ids of
//! the open streams.
//!
//! Every call is answered with headers and one snapshot, and stays open. A
//! connection whose first byte begins no HTTP/2 is a control connection: each
//! of its bytes is answered with one, and is a `room_changed` to every stream,
//! with the count of such bytes as its message. Windows are not kept (its
//! client gives 2 GiB); TLS, users, places and positions are not there. What a
//! real server takes beyond this is the price of what it does.

use std::io::{self, Read as _, Write as _};

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use prost::Message as _;
use usher::proto::v1 as wire;
use usher::proto::v1::watch_response::Event as News;

use crate::error::BenchError;
use crate::light::frame::{self, Broken, Inbox, flag, kind, setting};
use crate::light::headers::reply_block;
use crate::wall::now_us;

const LISTENER: Token = Token(usize::MAX);
const EVENTS: usize = 1_024;
const READ_BYTES: usize = 64 * 1_024;
const STREAMS_MAX: u32 = 1_000_000;

struct Peer {
    socket: TcpStream,
    inbox: Inbox,
    /// Bytes of the preface that are still to come.
    preface: usize,
    is_control: bool,
    streams: Vec<u32>,
    out: Vec<u8>,
}

/// What every stream is told first.
struct Greeting {
    headers: Vec<u8>,
    snapshot: Vec<u8>,
}

struct Floor {
    poll: Poll,
    listener: TcpListener,
    peers: Vec<Option<Peer>>,
    /// Places of peers that went.
    free: Vec<usize>,
    greeting: Greeting,
    broadcasts: u32,
    buffer: Vec<u8>,
}

/// Serves until it is killed; the first line says where.
pub fn run() -> Result<(), BenchError> {
    let poll = Poll::new()?;
    let any = "127.0.0.1:0".parse().map_err(BenchError::failed)?;
    let mut listener = TcpListener::bind(any)?;
    let registry = poll.registry();
    registry.register(&mut listener, LISTENER, Interest::READABLE)?;
    let address = listener.local_addr()?.to_string();
    println!("{}", serde_json::json!({ "address": address }));
    let snapshot = response(
        0,
        News::Snapshot(wire::Snapshot {
            place: Some(wire::Place {
                room_id: "floor".to_owned(),
                lane: "default".to_owned(),
                number: 1,
                state: wire::PlaceState::Waiting.into(),
                position: Some(1),
                ..Default::default()
            }),
            ..Default::default()
        }),
    );
    let floor = Floor {
        poll,
        listener,
        peers: Vec::new(),
        free: Vec::new(),
        greeting: Greeting {
            headers: reply_block(),
            snapshot,
        },
        broadcasts: 0,
        buffer: vec![0; READ_BYTES],
    };
    Ok(floor.serve()?)
}

fn response(revision: u64, event: News) -> Vec<u8> {
    let now_us = i64::try_from(now_us()).unwrap_or(0);
    let response = wire::WatchResponse {
        cursor: Some(wire::Cursor { epoch: 1, revision }),
        as_of: Some(prost_types::Timestamp {
            seconds: now_us / 1_000_000,
            nanos: i32::try_from(now_us % 1_000_000 * 1_000).unwrap_or(0),
        }),
        event: Some(event),
    };
    response.encode_to_vec()
}

impl Floor {
    fn serve(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            let mut asked = 0;
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    Token(nth) => asked += self.peer(nth, event),
                }
            }
            for _ in 0..asked {
                self.broadcast();
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            socket.set_nodelay(true)?;
            let nth = self.free.pop().unwrap_or(self.peers.len());
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .register(&mut socket, Token(nth), both)?;
            let peer = Some(Peer {
                socket,
                inbox: Inbox::default(),
                preface: frame::PREFACE.len(),
                is_control: false,
                streams: Vec::new(),
                out: Vec::new(),
            });
            match self.peers.get_mut(nth) {
                Some(place) => *place = peer,
                None => self.peers.push(peer),
            }
        }
    }

    /// Answers how many broadcasts were asked for.
    fn peer(&mut self, nth: usize, event: &Event) -> u32 {
        let Some(Some(peer)) = self.peers.get_mut(nth) else {
            return 0;
        };
        let served = peer.serve(event, &mut self.buffer, &self.greeting);
        served.unwrap_or_else(|_| {
            self.peers[nth] = None;
            self.free.push(nth);
            0
        })
    }

    fn broadcast(&mut self) {
        self.broadcasts += 1;
        let news = News::RoomChanged(wire::RoomChanged {
            state: wire::RoomState::Paused.into(),
            reason: wire::RoomChangeReason::Operator.into(),
            message: self.broadcasts.to_string(),
            ..Default::default()
        });
        let message = response(self.broadcasts.into(), news);
        for (nth, place) in self.peers.iter_mut().enumerate() {
            let Some(peer) = place else { continue };
            for stream in &peer.streams {
                frame::put_message(&mut peer.out, 0, *stream, &message);
            }
            if peer.flush().is_err() {
                *place = None;
                self.free.push(nth);
            }
        }
    }
}

impl Peer {
    fn serve(&mut self, event: &Event, buffer: &mut [u8], greeting: &Greeting) -> io::Result<u32> {
        let mut asked = 0;
        while event.is_readable() || event.is_read_closed() || event.is_error() {
            match self.socket.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => asked += self.hear(&buffer[..read], greeting)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.flush()?;
        Ok(asked)
    }

    fn hear(&mut self, mut bytes: &[u8], greeting: &Greeting) -> io::Result<u32> {
        let is_first = self.preface == frame::PREFACE.len();
        self.is_control |= is_first && bytes[0] != frame::PREFACE[0];
        if self.is_control {
            self.preface = 0;
            self.out.extend_from_slice(bytes);
            return Ok(u32::try_from(bytes.len()).unwrap_or(0));
        }
        if is_first {
            let limits = [(setting::MAX_CONCURRENT_STREAMS, STREAMS_MAX)];
            frame::put_settings(&mut self.out, &limits);
        }
        let taken = self.preface.min(bytes.len());
        self.preface -= taken;
        bytes = &bytes[taken..];
        let Self {
            inbox,
            out,
            streams,
            ..
        } = self;
        let heard = inbox.feed(bytes, |frame| {
            match frame.kind {
                kind::HEADERS => {
                    streams.push(frame.stream);
                    let (headers, flags) = (&greeting.headers, flag::END_HEADERS);
                    frame::put(out, kind::HEADERS, flags, frame.stream, headers);
                    frame::put_message(out, 0, frame.stream, &greeting.snapshot);
                }
                kind::RST_STREAM => streams.retain(|stream| *stream != frame.stream),
                kind::SETTINGS if !frame.has(flag::ACK) => {
                    frame::put(out, kind::SETTINGS, flag::ACK, 0, &[]);
                }
                kind::PING if !frame.has(flag::ACK) => {
                    frame::put(out, kind::PING, flag::ACK, 0, frame.payload);
                }
                kind::GOAWAY => return Err(Broken("the peer goes")),
                _ => {}
            }
            Ok(())
        });
        heard.map_err(io::Error::other)?;
        Ok(0)
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut written = 0;
        while written < self.out.len() {
            match self.socket.write(&self.out[written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(wrote) => written += wrote,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        match written == self.out.len() {
            true => self.out = Vec::new(),
            false => drop(self.out.drain(..written)),
        }
        Ok(())
    }
}

/// Server CPU microseconds per message of this server, as first measured on
/// two virtual cores of 2.5 GHz (loopback, quiet neighbours): so many
/// connections at least, streams on each, microseconds. A run on such a machine
/// whose floor is far off was disturbed.
const YARDSTICK: [(u32, u32, f64); 4] = [
    (50_000, 1, 11.3),
    (10_000, 1, 12.5),
    (1_000, 100, 0.12),
    (100, 1_000, 0.024),
];
pub const OFF_MAX: f64 = 0.3;

/// The yardstick for this shape, if there is one.
pub fn yardstick(connections: u32, streams: u32) -> Option<f64> {
    let found = YARDSTICK
        .iter()
        .find(|(least, each, _)| connections >= *least && streams == *each);
    found.map(|(_, _, cpu_us)| *cpu_us)
}
