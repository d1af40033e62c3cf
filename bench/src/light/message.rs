//! gRPC messages in the DATA of one stream, and just enough of each
//! `WatchResponse` to know what it says.

use super::frame::Broken;

const PREFIX_BYTES: usize = 5;
/// More than any reply that is waited for.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// What has come of a message whose end has not. Nothing is kept between whole
/// messages, which is all that an idle stream ever sees.
pub type Split = Option<Box<Vec<u8>>>;

/// Hands over every message that is whole with these bytes of the stream.
pub fn feed(split: &mut Split, bytes: &[u8], each: &mut impl FnMut(&[u8])) -> Result<(), Broken> {
    let Some(mut begun) = split.take() else {
        let rest = whole(bytes, each)?;
        if !rest.is_empty() {
            *split = Some(Box::new(rest.to_vec()));
        }
        return Ok(());
    };
    begun.extend_from_slice(bytes);
    let rest = whole(&begun, each)?.len();
    if rest > 0 {
        begun.drain(..begun.len() - rest);
        *split = Some(begun);
    }
    Ok(())
}

fn whole<'a>(mut bytes: &'a [u8], each: &mut impl FnMut(&[u8])) -> Result<&'a [u8], Broken> {
    while let Some((prefix, behind)) = bytes.split_at_checked(PREFIX_BYTES) {
        if prefix[0] != 0 {
            return Err(Broken("a compressed message"));
        }
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        if length > MESSAGE_BYTES_MAX {
            return Err(Broken("a message larger than any"));
        }
        let Some((message, next)) = behind.split_at_checked(length) else {
            break;
        };
        each(message);
        bytes = next;
    }
    Ok(bytes)
}

/// The members of `WatchResponse.event`, by their tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Snapshot,
    Position,
    Activated,
    RoomChanged,
    Heartbeat,
    Drain,
    Ended,
}

pub const KINDS: [(Kind, &str); 7] = [
    (Kind::Snapshot, "snapshot"),
    (Kind::Position, "position"),
    (Kind::Activated, "activated"),
    (Kind::RoomChanged, "room_changed"),
    (Kind::Heartbeat, "heartbeat"),
    (Kind::Drain, "drain"),
    (Kind::Ended, "ended"),
];
const FIRST_EVENT_TAG: usize = 3;

/// One `WatchResponse`, read no further than needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct News<'a> {
    pub kind: Kind,
    /// Of the view it was rendered from: `(epoch, revision)`.
    pub cursor: (u64, u64),
    /// The member itself, for whoever wants more of it.
    pub event: &'a [u8],
}

/// `None`: a member that is not known.
pub fn glance(message: &[u8]) -> Option<News<'_>> {
    let (mut cursor, mut said) = ((0, 0), None);
    for field in Fields(message) {
        match field {
            (1, Value::Bytes(bytes)) => {
                cursor = (varint(bytes, 1)?, varint(bytes, 2)?);
            }
            (tag, Value::Bytes(event)) if tag as usize >= FIRST_EVENT_TAG => {
                let (kind, _) = KINDS.get(tag as usize - FIRST_EVENT_TAG)?;
                said = Some((*kind, event));
            }
            _ => {}
        }
    }
    let (kind, event) = said?;
    Some(News {
        kind,
        cursor,
        event,
    })
}

/// A number field of a message; zero where it is not there, `None` where the
/// message cannot be read.
pub fn varint(message: &[u8], wanted: u32) -> Option<u64> {
    let mut fields = Fields(message);
    let found = fields.find_map(|(tag, value)| match value {
        Value::Varint(value) if tag == wanted => Some(value),
        _ => None,
    });
    found.or_else(|| fields.0.is_empty().then_some(0))
}

/// A field of bytes, text or a message; empty where it is not there.
pub fn bytes(message: &[u8], wanted: u32) -> &[u8] {
    let found = Fields(message).find_map(|(tag, value)| match value {
        Value::Bytes(bytes) if tag == wanted => Some(bytes),
        _ => None,
    });
    found.unwrap_or_default()
}

/// A `Timestamp` or `Duration` in microseconds.
pub fn micros(time: &[u8]) -> u64 {
    let part = |tag| varint(time, tag).unwrap_or(0);
    part(1)
        .saturating_mul(1_000_000)
        .saturating_add(part(2) / 1_000)
}

enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// The fields of a message; ends, not empty, at what cannot be read.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let mut rest = self.0;
        let key = take_varint(&mut rest)?;
        let value = match key & 7 {
            0 => Value::Varint(take_varint(&mut rest)?),
            1 => take(&mut rest, 8).map(|_| Value::Fixed)?,
            2 => {
                let length = usize::try_from(take_varint(&mut rest)?).ok()?;
                Value::Bytes(take(&mut rest, length)?)
            }
            5 => take(&mut rest, 4).map(|_| Value::Fixed)?,
            _ => return None,
        };
        self.0 = rest;
        Some((u32::try_from(key >> 3).ok()?, value))
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(taken)
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;
    use usher::proto::v1 as wire;
    use usher::proto::v1::watch_response::Event;

    use super::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).expect("short");
        [&[0], &length.to_be_bytes()[..], message].concat()
    }

    proptest! {
        #[test]
        fn bytes_in_any_pieces_are_the_same_messages(
            sent in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20),
            cuts in prop::collection::vec(1..30_usize, 1..100),
        ) {
            let stream: Vec<u8> = sent.iter().flat_map(|message| framed(message)).collect();
            let (mut split, mut seen) = (None, Vec::new());
            let (mut rest, mut cuts) = (&stream[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let cut = rest.len().min(*cuts.next().unwrap_or(&1));
                feed(&mut split, &rest[..cut], &mut |message| seen.push(message.to_vec()))
                    .expect("messages");
                rest = &rest[cut..];
            }
            prop_assert_eq!(seen, sent);
            prop_assert!(split.is_none());
        }

        #[test]
        fn noise_is_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = glance(&bytes);
            let _ = feed(&mut None, &bytes, &mut |_| {});
        }
    }

    #[test]
    fn every_member_is_told_apart() {
        let events = [
            Event::Snapshot(wire::Snapshot::default()),
            Event::Position(wire::PositionChanged {
                position: 300,
                ..Default::default()
            }),
            Event::Activated(wire::Activated::default()),
            Event::RoomChanged(wire::RoomChanged::default()),
            Event::Heartbeat(wire::Heartbeat {}),
            Event::Drain(wire::Drain::default()),
            Event::Ended(wire::Ended::default()),
        ];
        for (event, (kind, _)) in events.into_iter().zip(KINDS) {
            let response = wire::WatchResponse {
                cursor: Some(wire::Cursor {
                    epoch: 2,
                    revision: 70_000,
                }),
                as_of: Some(prost_types::Timestamp {
                    seconds: 5,
                    nanos: 2_000,
                }),
                event: Some(event),
            };
            let bytes = response.encode_to_vec();
            let news = glance(&bytes).expect("known");
            assert_eq!((news.kind, news.cursor), (kind, (2, 70_000)));
            assert_eq!(micros(super::bytes(&bytes, 2)), 5_000_002);
            if kind == Kind::Position {
                assert_eq!(varint(news.event, 1), Some(300));
            }
        }
        assert_eq!(glance(&[0xfa, 0x07, 0x00]), None, "a member of tomorrow");
    }
}
