//! The header block of a call, and what a reply's headers say.
//!
//! Requests are literals that no table keeps, so the same bytes serve every
//! connection. The peer is told to keep no table either; a block that uses one
//! all the same is read as it should be.

use std::collections::HashMap;

use loona_hpack::Decoder;

use super::frame::Broken;

/// Replies that a connection knows by heart: the library builds a table for each
/// text that it decodes.
const KNOWN_MAX: usize = 16;
/// Entries of the static table.
const STATIC_MAX: usize = 61;

/// Indices of the static table of RFC 7541 whose names and values are used.
const METHOD_POST: u8 = 0x80 | 3;
const SCHEME_HTTP: u8 = 0x80 | 6;
const STATUS_200: u8 = 0x80 | 8;
const AUTHORITY: usize = 1;
const PATH: usize = 4;
const CONTENT_TYPE: usize = 31;

/// Everything but the caller: the same for all calls of one method.
#[derive(Debug, Clone)]
pub struct Method {
    block: Vec<u8>,
    /// The header that says who calls.
    caller: &'static str,
}

impl Method {
    pub fn new(path: &str, authority: &str) -> Self {
        let mut block = vec![METHOD_POST, SCHEME_HTTP];
        put_indexed_name(&mut block, PATH, path);
        put_indexed_name(&mut block, AUTHORITY, authority);
        put_indexed_name(&mut block, CONTENT_TYPE, "application/grpc");
        put_literal(&mut block, "te", "trailers");
        Self {
            block,
            caller: "x-user-id",
        }
    }

    /// Callers say who they are in this header, instead of by their name.
    #[must_use]
    pub fn by(self, caller: &'static str) -> Self {
        Self { caller, ..self }
    }

    /// Appends the block of a call by this user.
    pub fn put_block(&self, out: &mut Vec<u8>, user: &str) {
        out.extend_from_slice(&self.block);
        put_literal(out, self.caller, user);
    }
}

/// The headers with which a stream of messages begins.
pub fn reply_block() -> Vec<u8> {
    let mut block = vec![STATUS_200];
    put_indexed_name(&mut block, CONTENT_TYPE, "application/grpc");
    block
}

/// Literal without indexing, name from the static table.
fn put_indexed_name(out: &mut Vec<u8>, name: usize, value: &str) {
    put_integer(out, 0x00, 4, name);
    put_text(out, value);
}

/// Literal without indexing, new name.
fn put_literal(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(0);
    put_text(out, name);
    put_text(out, value);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_integer(out, 0x00, 7, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// An integer with a prefix of so many bits (RFC 7541, 5.1).
fn put_integer(out: &mut Vec<u8>, pattern: u8, prefix_bits: u32, value: usize) {
    let full = (1_usize << prefix_bits) - 1;
    let byte = |value: usize| u8::try_from(value & 0xff).unwrap_or(0);
    if value < full {
        out.push(pattern | byte(value));
        return;
    }
    out.push(pattern | byte(full));
    let mut rest = value - full;
    while rest >= 0x80 {
        out.push(0x80 | byte(rest & 0x7f));
        rest >>= 7;
    }
    out.push(byte(rest));
}

/// Of the headers or trailers of a reply.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Said {
    /// `:status`.
    pub http: Option<u16>,
    /// `grpc-status`.
    pub grpc: Option<u16>,
    /// `grpc-status-details-bin`, as it is written.
    pub details: Option<Vec<u8>>,
}

/// Reads what comes on one connection.
pub struct Reader {
    decoder: Decoder<'static>,
    /// By their bytes; of those that no table has a part in.
    known: HashMap<Box<[u8]>, Said>,
}

impl Reader {
    pub fn new() -> Self {
        Self {
            decoder: Decoder::new(),
            known: HashMap::new(),
        }
    }

    pub fn read(&mut self, block: &[u8]) -> Result<Said, Broken> {
        if let Some(said) = self.known.get(block) {
            return Ok(said.clone());
        }
        let mut said = Said::default();
        let number = |value: &[u8]| std::str::from_utf8(value).ok()?.parse().ok();
        let each = |name: std::borrow::Cow<[u8]>, value: std::borrow::Cow<[u8]>| match &*name {
            b":status" => said.http = number(&value),
            b"grpc-status" => said.grpc = number(&value),
            b"grpc-status-details-bin" => said.details = Some(value.into_owned()),
            _ => {}
        };
        let read = self.decoder.decode_with_cb(block, each);
        read.map_err(|_| Broken("headers that cannot be decoded"))?;
        if is_plain(block) {
            // Those that say the time come for a second.
            if self.known.len() >= KNOWN_MAX {
                self.known.clear();
            }
            self.known.insert(block.into(), said.clone());
        }
        Ok(said)
    }
}

/// Whether a block that could be decoded says the same whenever it comes: it has
/// indices of the static table alone, and nothing for the other one.
fn is_plain(mut block: &[u8]) -> bool {
    while let Some(&first) = block.first() {
        let (prefix_bits, texts) = match first {
            0x80.. => (7, 0),
            // To be kept in the table, or its size.
            0x20.. => return false,
            _ => (4, 1),
        };
        let Some(index) = take_integer(&mut block, prefix_bits) else {
            return false;
        };
        if index > STATIC_MAX {
            return false;
        }
        let texts = texts + usize::from(texts == 1 && index == 0);
        for _ in 0..texts {
            let length = take_integer(&mut block, 7);
            let Some(behind) = length.and_then(|length| block.get(length..)) else {
                return false;
            };
            block = behind;
        }
    }
    true
}

/// The other way of [`put_integer`].
fn take_integer(block: &mut &[u8], prefix_bits: u32) -> Option<usize> {
    let full = (1_usize << prefix_bits) - 1;
    let (first, mut behind) = block.split_first()?;
    let mut value = usize::from(*first) & full;
    if value == full {
        for shift in (0..28).step_by(7) {
            let (byte, rest) = behind.split_first()?;
            behind = rest;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                *block = behind;
                return Some(value);
            }
        }
        return None;
    }
    *block = behind;
    Some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(block: &[u8]) -> Vec<(String, String)> {
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let all = Decoder::new().decode(block).expect("a block");
        all.into_iter()
            .map(|(name, value)| (text(name), text(value)))
            .collect()
    }

    #[test]
    fn a_call_says_method_and_caller() {
        let mut block = Vec::new();
        Method::new("/usher.v1.QueueService/Watch", "127.0.0.1:1").put_block(&mut block, "alice");
        let expected = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/usher.v1.QueueService/Watch"),
            (":authority", "127.0.0.1:1"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("x-user-id", "alice"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(decoded(&block), expected);
    }

    #[test]
    fn a_caller_may_prove_who_they_are() {
        let mut block = Vec::new();
        let method = Method::new("/a", "b").by("authorization");
        method.put_block(&mut block, "Bearer token");
        let all = decoded(&block);
        let expected = ("authorization".to_owned(), "Bearer token".to_owned());
        assert_eq!(all.last(), Some(&expected));
    }

    #[test]
    fn statuses_are_read_wherever_they_stand() {
        let mut reader = Reader::new();
        let headers = reader.read(&reply_block()).expect("headers");
        assert_eq!((headers.http, headers.grpc), (Some(200), None));
        let mut trailers = Vec::new();
        put_literal(&mut trailers, "grpc-status", "14");
        put_literal(&mut trailers, "grpc-status-details-bin", "CA4");
        let again = reader.read(&trailers).expect("trailers");
        let trailers = reader.read(&trailers).expect("trailers");
        assert_eq!(again, trailers, "by heart");
        assert_eq!((trailers.http, trailers.grpc), (None, Some(14)));
        assert_eq!(trailers.details.as_deref(), Some(&b"CA4"[..]));
        assert!(reader.read(&[0xff, 0xff, 0xff]).is_err());
    }

    #[test]
    fn a_table_that_the_peer_keeps_is_followed() {
        let mut reader = Reader::new();
        let mut grpc = |block: &[u8]| reader.read(block).map(|said| said.grpc);
        for status in ["0", "5"] {
            let mut block = vec![0x40];
            put_text(&mut block, "grpc-status");
            put_text(&mut block, status);
            assert_eq!(grpc(&block), Ok(status.parse().ok()));
            // The newest entry of the dynamic table, which is another each time.
            assert_eq!(grpc(&[0xbe]), Ok(status.parse().ok()));
        }
    }

    proptest! {
        #[test]
        fn any_user_and_path_come_through(user in "[a-z0-9-]{1,300}", path in "/[a-z]{1,200}") {
            let mut block = Vec::new();
            Method::new(&path, "host").put_block(&mut block, &user);
            let all = decoded(&block);
            prop_assert_eq!(&all[2].1, &path);
            prop_assert_eq!(&all[6].1, &user);
        }
    }
}
