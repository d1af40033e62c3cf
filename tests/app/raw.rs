//! Peers below the level of a client library.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::soon;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub async fn connect(addr: SocketAddr) -> TcpStream {
    soon("a connection", TcpStream::connect(addr))
        .await
        .expect("connected")
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// `POST path` with a gRPC content type, in HPACK without a table.
pub fn request_headers(path: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    let mut literal = |name_index: u8, value: &str| {
        let length = u8::try_from(value.len()).expect("short");
        assert!(length < 127);
        if name_index < 15 {
            block.push(name_index);
        } else {
            block.extend([0x0f, name_index - 15]);
        }
        block.push(length);
        block.extend(value.as_bytes());
    };
    literal(4, path);
    literal(1, "test");
    literal(31, "application/grpc");
    block
}

/// One header in HPACK: its text as it is, never remembered.
pub fn literal(name: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name.as_bytes(), value] {
        // A length of seven bits, and what is above them.
        match text.len().checked_sub(127) {
            None => bytes.push(u8::try_from(text.len()).expect("short")),
            Some(mut above) => {
                bytes.push(127);
                while above >= 128 {
                    bytes.push(u8::try_from(above % 128).expect("seven bits") | 128);
                    above /= 128;
                }
                bytes.push(u8::try_from(above).expect("seven bits"));
            }
        }
        bytes.extend(text);
    }
    bytes
}

/// Headers in HPACK, in this order and as they are.
pub fn literals(headers: &[(&str, &[u8])]) -> Vec<u8> {
    let each = headers.iter().map(|(name, value)| literal(name, value));
    each.collect::<Vec<_>>().concat()
}

/// A whole call with an empty message.
pub fn call(id: u32, path: &str) -> Vec<u8> {
    let mut bytes = frame(HEADERS, END_HEADERS, id, &request_headers(path));
    bytes.extend(frame(DATA, END_STREAM, id, &[0; 5]));
    bytes
}

#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// HTTP status 200; the gRPC status may be any.
    Answered,
    /// Another HTTP status.
    Refused,
    Reset(u32),
    GoAway(u32),
    Closed,
}

impl Outcome {
    pub fn is_end(self) -> bool {
        matches!(self, Self::GoAway(_) | Self::Closed)
    }
}

/// `:status: 200` is one byte of the static table, and the first field; new
/// sizes of the other table may come before.
fn is_200(mut block: &[u8]) -> bool {
    while let [first, rest @ ..] = block
        && first >> 5 == 1
    {
        let more = rest.iter().take_while(|byte| **byte >= 128).count();
        block = &rest[if *first == 0x3f { more + 1 } else { 0 }..];
    }
    block.first() == Some(&0x88)
}

/// A client of HTTP/2 that says what it likes.
pub struct Peer {
    pub stream: TcpStream,
}

impl Peer {
    /// After the preface, with settings that change nothing.
    pub async fn connect(addr: SocketAddr) -> Self {
        let mut peer = Self {
            stream: connect(addr).await,
        };
        peer.send(PREFACE).await;
        peer.send(&frame(SETTINGS, 0, 0, &[])).await;
        peer
    }

    /// Whether it could be said: the server may have closed.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        let sent = soon("sending", self.stream.write_all(bytes));
        sent.await.is_ok()
    }

    /// Reads until this stream, or all of the connection, is decided.
    pub async fn outcome(&mut self, id: u32) -> Outcome {
        Self::outcome_of(&mut self.stream, id).await
    }

    pub async fn outcome_of(stream: &mut (impl AsyncRead + Unpin), id: u32) -> Outcome {
        let code = |payload: &[u8]| u32::from_be_bytes(payload.try_into().expect("four bytes"));
        while let Some(frame) = read_frame(stream).await {
            match frame.kind {
                GOAWAY => return Outcome::GoAway(code(&frame.payload[4..8])),
                RST_STREAM if frame.stream == id => return Outcome::Reset(code(&frame.payload)),
                HEADERS if frame.stream == id && is_200(&frame.payload) => {
                    return Outcome::Answered;
                }
                HEADERS if frame.stream == id => return Outcome::Refused,
                _ => {}
            }
        }
        Outcome::Closed
    }
}

/// The next frame, or `None` at the connection's end.
pub async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
    let mut head = [0; 9];
    soon("a frame", stream.read_exact(&mut head)).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    soon("a payload", stream.read_exact(&mut payload))
        .await
        .ok()?;
    Some(Frame {
        kind: head[3],
        flags: head[4],
        stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
        payload,
    })
}

/// One HTTP/1 exchange: status line and headers in lower case, then the body.
pub async fn http1(addr: SocketAddr, request: &[u8]) -> (String, Vec<u8>) {
    let mut stream = connect(addr).await;
    stream.write_all(request).await.expect("sent");
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    soon("an answer", read).await.expect("read");
    let head_end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("a head");
    let head = String::from_utf8_lossy(&answer[..head_end]).to_lowercase();
    (head, answer[head_end + 4..].to_vec())
}

pub async fn get(addr: SocketAddr, path: &str) -> (String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    let (head, body) = http1(addr, request.as_bytes()).await;
    (head, String::from_utf8_lossy(&body).into_owned())
}

/// Ends when the server closes the connection; what it said before is read.
pub async fn closed_by_server(stream: &mut TcpStream) {
    let mut ignored = Vec::new();
    // A reset is an end too.
    let _ = soon(
        "the end of the connection",
        stream.read_to_end(&mut ignored),
    )
    .await;
}
