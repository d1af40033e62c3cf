//! What clients saw, held against the rows.

use std::collections::{BTreeMap, BTreeSet};

use usher::truth::history::{Answer, Message, QueueOp};

use crate::crowd::Seen;
use crate::fleet::Fleet;

/// From an activation to its end, by the database's clock; an end counts
/// before an activation of the same millisecond.
const MOST_AT_ONCE: &str = "\
WITH edges AS (\
  SELECT activated_at AS at_ms, 1 AS step FROM activations WHERE room_id = '$ROOM' \
  UNION ALL \
  SELECT ended_at, -1 FROM activations WHERE room_id = '$ROOM' AND ended_at IS NOT NULL\
), held AS (\
  SELECT sum(step) OVER (ORDER BY at_ms, step ROWS UNBOUNDED PRECEDING) AS slots FROM edges\
) SELECT max(slots) FROM held";
const ROWS: &str = "SELECT id, number, user_id FROM activations WHERE room_id = '$ROOM'";
const EPOCH: &str = "SELECT epoch FROM rooms WHERE id = '$ROOM'";

/// Whose an activation is: number and user.
type Whose = BTreeMap<String, (u64, String)>;

/// No number twice, no turn told to two, no more inside than fit, and everyone
/// kept the number of their first answer. The checkers have run before.
pub fn holds(fleet: &Fleet, seen: &Seen, capacity: u32) {
    let of_room = |query: &str| fleet.sql(&query.replace("$ROOM", seen.room.as_str()));
    let most: u32 = of_room(MOST_AT_ONCE)[0].parse().expect("a number");
    assert!((1..=capacity).contains(&most), "{most} at once");
    let rows = rows(&of_room(ROWS));
    let mut told = 0;
    for (id, whose) in turns(seen) {
        assert_eq!(rows.get(&id), Some(&whose), "the row of {id}");
        told += 1;
    }
    assert!(told > 0, "someone had a turn");
    let mut owners = BTreeMap::new();
    for (user, numbers) in numbers(seen) {
        assert_eq!(numbers.len(), 1, "{user} was moved: {numbers:?}");
        for number in numbers {
            let other = owners.insert(number, user.clone());
            assert_eq!(other, None, "{number} is {user}'s too");
        }
    }
}

/// The room's epoch by now.
pub fn epoch(fleet: &Fleet, room: &str) -> u64 {
    let epoch = fleet.sql(&EPOCH.replace("$ROOM", room));
    epoch[0].parse().expect("a number")
}

fn rows(lines: &[String]) -> Whose {
    let row = |line: &String| {
        let mut columns = line.split('|').map(str::to_owned);
        let mut column = || columns.next().expect("a column");
        let (id, number) = (column(), column());
        (id, (number.parse().expect("a number"), column()))
    };
    lines.iter().map(row).collect()
}

/// Every turn that someone was told of.
fn turns(seen: &Seen) -> Whose {
    let mut places = BTreeMap::new();
    let mut turns = Whose::new();
    for (_, record, op) in seen.history.queue() {
        let user = record.user.as_str();
        let told = match op {
            QueueOp::StreamMessage {
                stream,
                message: Message::Snapshot { seen, .. },
                ..
            } => {
                places.insert(stream, seen.place.number);
                seen.activation_id.map(|id| (id, seen.place.number))
            }
            QueueOp::StreamMessage {
                stream,
                message: Message::Activated { activation_id, .. },
                ..
            } => Some((*activation_id, places[stream])),
            QueueOp::GetPlace {
                answer: Answer::Ok(seen),
                ..
            } => seen.activation_id.map(|id| (id, seen.place.number)),
            QueueOp::Claim {
                place,
                answer: Answer::Ok(turn),
                ..
            } => Some((turn.activation_id, place.number)),
            _ => None,
        };
        if let Some((id, number)) = told {
            let whose = (number, user.to_owned());
            let before = turns.insert(id.to_string(), whose.clone());
            assert!(before.is_none_or(|before| before == whose), "{id} of two");
        }
    }
    turns
}

/// All numbers that each user was told of as theirs.
fn numbers(seen: &Seen) -> BTreeMap<String, BTreeSet<u64>> {
    let mut numbers: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (_, record, op) in seen.history.queue() {
        let place = match op {
            QueueOp::Join {
                answer: Answer::Ok(seen),
                ..
            }
            | QueueOp::GetPlace {
                answer: Answer::Ok(seen),
                ..
            }
            | QueueOp::StreamMessage {
                message: Message::Snapshot { seen, .. },
                ..
            } => seen.place,
            _ => continue,
        };
        let of_user = numbers.entry(record.user.to_string()).or_default();
        of_user.insert(place.number);
    }
    numbers
}
