//! Peers below the level of a client library.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::soon;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const GOAWAY: u8 = 7;
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

#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub payload: Vec<u8>,
}

/// The next frame, or `None` at the connection's end.
pub async fn read_frame(stream: &mut TcpStream) -> Option<Frame> {
    let mut head = [0; 9];
    soon("a frame", stream.read_exact(&mut head)).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    soon("a payload", stream.read_exact(&mut payload))
        .await
        .ok()?;
    Some(Frame {
        kind: head[3],
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
