//! Names of a room's keys and of its channel.
//!
//! Every name carries the tag `{room}`, so that all of a room lies in one slot
//! of a cluster and one script may touch all of it. A script is given the
//! first key alone and derives the others from it.

use crate::domain::ids::RoomId;

const PREFIX: &str = "usher:{";
const DELTAS: &str = "}:deltas";

/// The hash of a room; every other key of it is this name, `:` and a word.
#[must_use]
pub fn room_key(room: &RoomId) -> String {
    format!("{PREFIX}{room}}}")
}

/// Where a room's deltas are published, each as `delta::decode` reads it.
#[must_use]
pub fn channel(room: &RoomId) -> String {
    format!("{PREFIX}{room}{DELTAS}")
}

/// The room whose channel this is.
#[must_use]
pub fn room_of_channel(channel: &str) -> Option<RoomId> {
    let room = channel.strip_prefix(PREFIX)?.strip_suffix(DELTAS)?;
    RoomId::parse(room).ok()
}

/// How far SQL had come when a node last looked; of no room.
pub const MARK: &str = "usher-mark:{sql}";
/// What stands in its braces.
pub const MARK_TAG: &str = "sql";

/// A pattern of all rooms' channels.
pub const CHANNELS: &str = "usher:{*}:deltas";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_names_its_room() {
        let room = RoomId::parse("spring-2027").unwrap();
        assert_eq!(channel(&room), "usher:{spring-2027}:deltas");
        assert_eq!(room_of_channel(&channel(&room)), Some(room));
        for other in ["usher:{a}", "usher:{a b}:deltas", "x:{a}:deltas", ""] {
            assert_eq!(room_of_channel(other), None, "{other}");
        }
    }
}
