//! HTTP/2 frames by hand: how to write the few that are needed, and how to find
//! whole ones in bytes that come in any pieces.

pub const HEAD_BYTES: usize = 9;
/// Larger than any frame a peer may send us: we never raise the default.
const PAYLOAD_BYTES_MAX: usize = 16_384;
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

pub mod flag {
    pub const ACK: u8 = 0x1;
    pub const END_STREAM: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

pub mod setting {
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
}

/// What a peer sent that no HTTP/2 peer sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("broken HTTP/2: {0}")]
pub struct Broken(pub &'static str);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The payload of DATA or HEADERS without padding and priority.
    pub fn content(&self) -> Result<&'a [u8], Broken> {
        let mut content = self.payload;
        let mut padding = 0;
        if self.has(flag::PADDED) {
            let (length, rest) = content.split_first().ok_or(Broken("no pad length"))?;
            (padding, content) = (usize::from(*length), rest);
        }
        if self.kind == kind::HEADERS && self.has(flag::PRIORITY) {
            content = content.get(5..).ok_or(Broken("no priority"))?;
        }
        let end = content.len().checked_sub(padding);
        Ok(&content[..end.ok_or(Broken("more padding than payload"))?])
    }

    /// The payload of WINDOW_UPDATE or RST_STREAM.
    pub fn number(&self) -> Result<u32, Broken> {
        let bytes = self.payload.try_into();
        Ok(u32::from_be_bytes(bytes.map_err(|_| Broken("no number"))?))
    }

    /// The pairs of SETTINGS.
    pub fn settings(&self) -> impl Iterator<Item = (u16, u32)> + 'a {
        self.payload.chunks_exact(6).map(|pair| {
            let name = u16::from_be_bytes([pair[0], pair[1]]);
            (
                name,
                u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]),
            )
        })
    }
}

fn length(head: &[u8]) -> usize {
    usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])
}

fn frame<'a>(head: &[u8], payload: &'a [u8]) -> Frame<'a> {
    Frame {
        kind: head[3],
        flags: head[4],
        stream: u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]),
        payload,
    }
}

/// What has come of a frame whose end has not: empty nearly always, so a quiet
/// connection costs no buffer.
#[derive(Default)]
pub struct Inbox {
    rest: Vec<u8>,
}

impl Inbox {
    /// Hands over every frame that is whole with these bytes.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(Frame<'_>) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        while !self.rest.is_empty() && !bytes.is_empty() {
            let wanted = match self.rest.len() {
                begun if begun < HEAD_BYTES => HEAD_BYTES,
                _ => HEAD_BYTES + checked_length(&self.rest)?,
            };
            let taken = bytes.len().min(wanted - self.rest.len());
            self.rest.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.rest.len() >= HEAD_BYTES
                && self.rest.len() == HEAD_BYTES + checked_length(&self.rest)?
            {
                let rest = std::mem::take(&mut self.rest);
                let (head, payload) = rest.split_at(HEAD_BYTES);
                each(frame(head, payload))?;
            }
        }
        while bytes.len() >= HEAD_BYTES {
            let (head, behind) = bytes.split_at(HEAD_BYTES);
            let Some((payload, next)) = behind.split_at_checked(checked_length(head)?) else {
                break;
            };
            each(frame(head, payload))?;
            bytes = next;
        }
        self.rest.extend_from_slice(bytes);
        Ok(())
    }
}

fn checked_length(head: &[u8]) -> Result<usize, Broken> {
    match length(head) {
        length if length <= PAYLOAD_BYTES_MAX => Ok(length),
        _ => Err(Broken("a frame larger than allowed")),
    }
}

/// Appends the head of a frame.
pub fn put_head(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, length: usize) {
    debug_assert!(length <= PAYLOAD_BYTES_MAX);
    #[expect(clippy::cast_possible_truncation, reason = "below 2^24")]
    let length = (length as u32).to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

pub fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    put_head(out, kind, flags, stream, payload.len());
    out.extend_from_slice(payload);
}

pub fn put_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    put_head(out, kind::SETTINGS, 0, 0, settings.len() * 6);
    for (name, value) in settings {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// One gRPC message in a DATA frame of its own.
pub fn put_message(out: &mut Vec<u8>, flags: u8, stream: u32, message: &[u8]) {
    put_head(out, kind::DATA, flags, stream, message.len() + 5);
    out.push(0);
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(message);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Owned = (u8, u8, u32, Vec<u8>);

    fn all(inbox: &mut Inbox, bytes: &[u8], seen: &mut Vec<Owned>) -> Result<(), Broken> {
        inbox.feed(bytes, |frame| {
            let payload = frame.payload.to_vec();
            seen.push((frame.kind, frame.flags, frame.stream, payload));
            Ok(())
        })
    }

    fn frames() -> impl Strategy<Value = Vec<Owned>> {
        let one = (
            0..10_u8,
            any::<u8>(),
            0..1_u32 << 31,
            prop::collection::vec(any::<u8>(), 0..60),
        );
        prop::collection::vec(one, 0..20)
    }

    proptest! {
        #[test]
        fn bytes_in_any_pieces_are_the_same_frames(
            sent in frames(),
            cuts in prop::collection::vec(1..40_usize, 1..200),
        ) {
            let mut bytes = Vec::new();
            for (kind, flags, stream, payload) in &sent {
                put(&mut bytes, *kind, *flags, *stream, payload);
            }
            let (mut inbox, mut seen) = (Inbox::default(), Vec::new());
            let (mut rest, mut cuts) = (&bytes[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let cut = rest.len().min(*cuts.next().unwrap_or(&1));
                all(&mut inbox, &rest[..cut], &mut seen).expect("frames");
                rest = &rest[cut..];
            }
            prop_assert_eq!(seen, sent);
            prop_assert!(inbox.rest.is_empty());
        }

        #[test]
        fn noise_is_refused_or_waited_for(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let (mut inbox, mut seen) = (Inbox::default(), Vec::new());
            let _ = all(&mut inbox, &bytes, &mut seen);
            for (kind, flags, stream, payload) in &seen {
                let frame = Frame { kind: *kind, flags: *flags, stream: *stream, payload };
                let _ = (frame.content(), frame.number(), frame.settings().count());
            }
        }
    }

    #[test]
    fn padding_and_priority_are_no_content() {
        let frame = |kind, flags, payload| Frame {
            kind,
            flags,
            stream: 1,
            payload,
        };
        let padded = frame(kind::DATA, flag::PADDED, &[2, 7, 8, 0, 0]);
        assert_eq!(padded.content(), Ok(&[7, 8][..]));
        let both = flag::PADDED | flag::PRIORITY;
        let headers = frame(kind::HEADERS, both, &[1, 0, 0, 0, 0, 9, 5, 0]);
        assert_eq!(headers.content(), Ok(&[5][..]));
        assert!(frame(kind::DATA, flag::PADDED, &[9, 1]).content().is_err());
    }

    #[test]
    fn a_frame_beyond_the_limit_ends_it() {
        let (mut inbox, mut seen) = (Inbox::default(), Vec::new());
        let head = [0, 0x40, 1, 0, 0, 0, 0, 0, 1];
        assert!(all(&mut inbox, &head, &mut seen).is_err());
    }
}
