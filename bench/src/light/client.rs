//! The sockets of the light client, on one thread.
//!
//! Edge-triggered: a socket that is readable is read until it has no more, into
//! one buffer that all share; what is to be written is written at the end of
//! each turn, and the rest when the socket takes it.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::{Domain, Protocol, Socket, Type};

use super::connection::{Connection, Hear};
use super::headers::Method;
use crate::wall::now_us;

const READ_BYTES: usize = 256 * 1_024;
const EVENTS: usize = 1_024;
const WAKE: Token = Token(usize::MAX);
/// Sockets that leave from one source address: far fewer than it has ports.
const PER_ADDRESS: usize = 2_000;
/// What a quiet connection may keep of its write buffer.
const OUT_KEPT_BYTES: usize = 1_024;

/// Names a connection of a [`Client`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line(pub usize);

/// What all connections saw.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    pub bytes: u64,
    pub reads: u64,
    pub goaways: u64,
    /// Connections that ended, or never came to be.
    pub lost: u64,
}

struct Wire {
    socket: TcpStream,
    connection: Connection,
    is_dirty: bool,
    told_leaving: bool,
}

pub struct Client {
    poll: Poll,
    events: Events,
    target: SocketAddr,
    /// The third number of source addresses, 127.0.x.y.
    source: u8,
    wires: Vec<Option<Wire>>,
    dirty: Vec<usize>,
    buffer: Vec<u8>,
    counts: Counts,
}

impl Client {
    /// `source`: tells clients of one run apart, so that they share no ports.
    pub fn new(target: SocketAddr, source: u8) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            target,
            source,
            wires: Vec::new(),
            dirty: Vec::new(),
            buffer: vec![0; READ_BYTES],
            counts: Counts::default(),
        })
    }

    /// Ends a [`Client::turn`] from another thread.
    pub fn waker(&self) -> io::Result<Arc<Waker>> {
        Ok(Arc::new(Waker::new(self.poll.registry(), WAKE)?))
    }

    /// From here on new connections go there.
    pub fn set_target(&mut self, target: SocketAddr) {
        self.target = target;
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Begins a connection.
    pub fn connect(&mut self) -> io::Result<Line> {
        let nth = self.wires.len();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if self.target.ip().is_loopback() {
            let host = u8::try_from(1 + nth / PER_ADDRESS % 250).unwrap_or(1);
            let source = Ipv4Addr::new(127, 0, self.source, host);
            socket.bind(&SocketAddr::new(IpAddr::V4(source), 0).into())?;
        }
        match socket.connect(&self.target.into()) {
            Ok(()) => {}
            Err(error) if is_under_way(&error) => {}
            Err(error) => return Err(error),
        }
        let mut socket = TcpStream::from_std(socket.into());
        let both = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        registry.register(&mut socket, Token(nth), both)?;
        self.wires.push(Some(Wire {
            socket,
            connection: Connection::new(),
            is_dirty: false,
            told_leaving: false,
        }));
        Ok(Line(nth))
    }

    /// What is known of a connection; `None` when it is gone.
    pub fn connection(&self, line: Line) -> Option<&Connection> {
        let wire = self.wires.get(line.0)?.as_ref()?;
        Some(&wire.connection)
    }

    /// Begins a call; `false` when the connection takes none now.
    pub fn call(
        &mut self,
        line: Line,
        method: &Method,
        user: &str,
        message: &[u8],
        tag: u32,
    ) -> bool {
        let Some(Some(wire)) = self.wires.get_mut(line.0) else {
            return false;
        };
        let begun = wire.connection.call(method, user, message, tag);
        if begun && !wire.is_dirty {
            wire.is_dirty = true;
            self.dirty.push(line.0);
        }
        begun
    }

    /// Ends a connection and what is open on it.
    pub fn close(&mut self, line: Line, to: &mut impl Hear) {
        if let Some(mut wire) = self.wires.get_mut(line.0).and_then(Option::take) {
            wire.connection.lose(now_us(), to);
        }
    }

    pub fn close_all(&mut self, to: &mut impl Hear) {
        for nth in 0..self.wires.len() {
            self.close(Line(nth), to);
        }
    }

    /// Writes what there is, waits for something to happen, and tells it.
    pub fn turn(&mut self, to: &mut impl Hear, wait: Duration) -> io::Result<()> {
        self.write_all(to);
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        let Self {
            events,
            wires,
            buffer,
            counts,
            dirty,
            ..
        } = self;
        for event in events.iter() {
            let Token(nth) = event.token();
            let Some(slot) = wires.get_mut(nth) else {
                continue;
            };
            let Some(wire) = slot else { continue };
            if wire.happened(event, buffer, counts, to).is_err() {
                counts.lost += 1;
                wire.connection.lose(now_us(), to);
                *slot = None;
            } else if !wire.is_dirty && wire.has_more() {
                wire.is_dirty = true;
                dirty.push(nth);
            }
        }
        self.write_all(to);
        Ok(())
    }

    fn write_all(&mut self, to: &mut impl Hear) {
        for nth in self.dirty.drain(..) {
            let Some(slot) = self.wires.get_mut(nth) else {
                continue;
            };
            let Some(wire) = slot else { continue };
            wire.is_dirty = false;
            if wire.write().is_err() {
                self.counts.lost += 1;
                wire.connection.lose(now_us(), to);
                *slot = None;
            }
        }
    }
}

impl Wire {
    fn has_more(&self) -> bool {
        self.connection.written < self.connection.out.len()
    }

    fn happened(
        &mut self,
        event: &Event,
        buffer: &mut [u8],
        counts: &mut Counts,
        to: &mut impl Hear,
    ) -> io::Result<()> {
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.read(buffer, counts, to)?;
        }
        if event.is_writable() && self.has_more() {
            self.write()?;
        }
        Ok(())
    }

    fn read(
        &mut self,
        buffer: &mut [u8],
        counts: &mut Counts,
        to: &mut impl Hear,
    ) -> io::Result<()> {
        loop {
            let read = match self.socket.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if is_under_way(&error) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            counts.reads += 1;
            counts.bytes += read as u64;
            let heard = self.connection.hear(&buffer[..read], now_us(), to);
            heard.map_err(io::Error::other)?;
            if self.connection.is_leaving() && !self.told_leaving {
                self.told_leaving = true;
                counts.goaways += 1;
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let connection = &mut self.connection;
        while connection.written < connection.out.len() {
            match self.socket.write(&connection.out[connection.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(wrote) => connection.written += wrote,
                Err(error) if is_under_way(&error) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        connection.written = 0;
        connection.out.clear();
        connection.out.shrink_to(OUT_KEPT_BYTES);
        Ok(())
    }
}

/// The socket is not there yet, or has or takes nothing more now.
fn is_under_way(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == io::ErrorKind::WouldBlock
        || kind == io::ErrorKind::NotConnected
        || error.raw_os_error() == Some(EINPROGRESS)
}

/// Linux's; the standard library has no name for it yet.
const EINPROGRESS: i32 = 115;
