//! The text of a delta as scripts publish and log it, and its meaning.
//!
//! Scripts write JSON by hand (`scripts/delta.lua`), so an empty list stays a
//! list and a number keeps its digits. They know places by number; what they
//! need not understand (facts of the policy, standings) passes through them as
//! the text this file made. Departed numbers of a drawn lane become orders
//! here: the permutation is in the delta.

use std::sync::Arc;

use serde::Deserialize;

use crate::domain::delta::{DrawOrder, LaneDelta, PlaceEnded, RoomDelta, RoomFacts};
use crate::domain::draw::Permutation;
use crate::domain::ids::{ActivationId, Cursor, LaneIndex, Number, Order, PlaceKey};
use crate::domain::place::{EndReason, Standing};
use crate::domain::time::UnixMs;

/// Why a text is not a delta.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    #[error("not a delta: {0}")]
    Json(String),
    #[error("unknown reason of an end: {0}")]
    Reason(String),
    #[error("not a draw: {0}")]
    Draw(String),
}

#[derive(Deserialize)]
struct WirePlace(LaneIndex, Number);

impl From<WirePlace> for PlaceKey {
    fn from(WirePlace(lane, number): WirePlace) -> Self {
        Self { lane, number }
    }
}

#[derive(Deserialize)]
struct WireTurn(LaneIndex, Number, Standing);

impl From<WireTurn> for (PlaceKey, Standing) {
    fn from(WireTurn(lane, number, standing): WireTurn) -> Self {
        (PlaceKey { lane, number }, standing)
    }
}

#[derive(Deserialize)]
struct WireEnd {
    place: WirePlace,
    id: Option<ActivationId>,
    why: String,
    survivor: Option<WirePlace>,
}

#[derive(Deserialize)]
pub(super) struct WireLane {
    pub lane: LaneIndex,
    pub head: Order,
    pub tail: Number,
    /// `n:seed` once the lane is drawn.
    draw: Option<String>,
    /// Departed numbers.
    #[serde(default)]
    departed: Vec<Number>,
    /// This is the delta of the opening: its departures are still numbers.
    #[serde(default)]
    opens: bool,
}

impl WireLane {
    pub(super) fn draw(&self) -> Result<Option<DrawOrder>, DeltaError> {
        self.draw.as_deref().map(draw_of_text).transpose()
    }

    fn read(self) -> Result<LaneDelta, DeltaError> {
        let draw = self.draw()?;
        let mut departed = self.departed;
        if let Some(draw) = draw
            && !self.opens
            && !departed.is_empty()
        {
            let permutation = Permutation::new(&draw.seed, draw.n);
            for number in &mut departed {
                *number = permutation.order(*number);
            }
        }
        Ok(LaneDelta {
            lane: self.lane,
            head: self.head,
            tail: self.tail,
            departed,
            draw,
        })
    }
}

/// What deltas and snapshots begin with.
#[derive(Deserialize)]
pub(super) struct WireHead {
    epoch: u64,
    revision: u64,
    published_at: u64,
    facts: RoomFacts,
    opened: bool,
    closed: bool,
    rebuilding: bool,
    /// In all its digits, which JSON's reader does not promise.
    rate_per_s: String,
    /// In effect.
    #[serde(default)]
    steered_per_s: Option<String>,
    slots_in_use: u64,
    granting: Vec<WirePlace>,
    pub lanes: Vec<WireLane>,
}

impl WireHead {
    pub(super) fn cursor(&self) -> Cursor {
        Cursor {
            epoch: self.epoch,
            revision: self.revision,
        }
    }

    pub(super) fn rate_per_s(&self) -> f64 {
        self.rate_per_s.parse().unwrap_or(self.facts.rate_per_s)
    }

    fn steered_per_s(&self) -> f64 {
        let steered = self
            .steered_per_s
            .as_ref()
            .and_then(|text| text.parse().ok());
        steered.unwrap_or_else(|| self.rate_per_s())
    }

    /// The facts as configured, with what only the room knows.
    pub(super) fn facts(&mut self) -> RoomFacts {
        let mut facts = self.facts.clone();
        facts.switches.opened = self.opened;
        facts.switches.closed = self.closed;
        facts.rebuilding = self.rebuilding;
        facts.rate_per_s = self.steered_per_s();
        facts.slots_in_use = self.slots_in_use;
        facts.granting = self.granting.drain(..).map(PlaceKey::from).collect();
        facts.granting.sort_unstable();
        facts
    }
}

#[derive(Deserialize)]
struct WireDelta {
    #[serde(flatten)]
    head: WireHead,
    absent: Vec<WirePlace>,
    activated: Vec<WireTurn>,
    claimed: Vec<WireTurn>,
    ended: Vec<WireEnd>,
}

/// Reads a published or logged delta.
///
/// # Errors
/// [`DeltaError`] for a text that no script of this version wrote.
pub fn decode(text: &str) -> Result<Arc<RoomDelta>, DeltaError> {
    let mut wire: WireDelta = parse(text)?;
    let ended = wire.ended.into_iter().map(read_end);
    Ok(Arc::new(RoomDelta {
        cursor: wire.head.cursor(),
        published_at: UnixMs(wire.head.published_at),
        facts: wire.head.facts(),
        lanes: wire
            .head
            .lanes
            .into_iter()
            .map(WireLane::read)
            .collect::<Result<_, _>>()?,
        absent: wire.absent.into_iter().map(PlaceKey::from).collect(),
        activated: wire.activated.into_iter().map(Into::into).collect(),
        claimed: wire.claimed.into_iter().map(Into::into).collect(),
        ended: ended.collect::<Result<_, _>>()?,
    }))
}

pub(super) fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, DeltaError> {
    serde_json::from_str(text).map_err(|error| DeltaError::Json(error.to_string()))
}

fn read_end(end: WireEnd) -> Result<PlaceEnded, DeltaError> {
    Ok(PlaceEnded {
        place: end.place.into(),
        activation_id: end.id,
        reason: EndReason::from_name(&end.why).ok_or(DeltaError::Reason(end.why))?,
        survivor: end.survivor.map(PlaceKey::from),
    })
}

/// A draw as scripts carry it: `n`, `:`, the seed in hex.
pub(super) fn draw_text(draw: &DrawOrder) -> String {
    use std::fmt::Write as _;
    let mut text = format!("{}:", draw.n);
    for byte in draw.seed {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

pub(super) fn draw_of_text(text: &str) -> Result<DrawOrder, DeltaError> {
    let read = || {
        let (n, hex) = text.split_once(':')?;
        let mut seed = [0; 32];
        if hex.len() != 2 * seed.len() || !hex.is_ascii() {
            return None;
        }
        for (index, byte) in seed.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).ok()?;
        }
        Some(DrawOrder {
            n: n.parse().ok()?,
            seed,
        })
    };
    read().ok_or_else(|| DeltaError::Draw(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::place::RoomSwitches;

    const FACTS: &str = r#"{"switches":{"opened":false,"paused":false,"sold_out":false,"closed":false,
        "message":"soon","resumes_at":null},"opens_at":5,"rebuilding":false,"capacity":7,"rate_per_s":0.1,
        "pass_ttl_ms":1,"claim_window_ms":2,"slots_in_use":0,"granting":[]}"#;

    fn text(lane: &str, rest: &str) -> String {
        format!(
            r#"{{"epoch":2,"revision":9,"published_at":77,"facts":{FACTS},"opened":true,"closed":true,
            "rebuilding":true,"rate_per_s":"0.1","slots_in_use":3,"granting":[[1,4],[0,9]],"lanes":[{lane}],{rest}}}"#
        )
    }

    const NOTHING: &str = r#""absent":[],"activated":[],"claimed":[],"ended":[]"#;

    #[test]
    fn a_delta_says_what_only_the_room_knows() {
        let lane = r#"{"lane":0,"head":3,"tail":9,"departed":[1,2]}"#;
        let delta = decode(&text(lane, NOTHING)).unwrap();
        assert_eq!((delta.cursor.epoch, delta.cursor.revision), (2, 9));
        assert_eq!(delta.published_at, UnixMs(77));
        let place = |lane, number| PlaceKey { lane, number };
        let facts = RoomFacts {
            switches: RoomSwitches {
                opened: true,
                closed: true,
                message: "soon".to_owned(),
                ..RoomSwitches::default()
            },
            opens_at: Some(UnixMs(5)),
            rebuilding: true,
            capacity: 7,
            rate_per_s: 0.1,
            pass_ttl_ms: 1,
            claim_window_ms: 2,
            lane_weights: Vec::new(),
            slots_in_use: 3,
            granting: vec![place(0, 9), place(1, 4)],
        };
        assert_eq!(delta.facts, facts);
        assert_eq!(delta.lanes[0].departed, [1, 2]);
    }

    #[test]
    fn turns_and_ends_keep_their_ids() {
        let id = "00000000-0000-0000-0000-000000000007";
        let rest = format!(
            r#""absent":[[0,4]],"activated":[[0,1,{{"Activated":{{"id":"{id}","claim_by":18446744073709551615}}}}]],
            "claimed":[],"ended":[{{"place":[0,2],"id":"{id}","why":"left"}},
            {{"place":[0,3],"why":"merged","survivor":[1,8]}}]"#
        );
        let delta = decode(&text("", &rest)).unwrap();
        let id = ActivationId(id.parse().unwrap());
        let claim_by = UnixMs(u64::MAX);
        assert_eq!(delta.activated[0].1, Standing::Activated { id, claim_by });
        assert_eq!(delta.ended[0].activation_id, Some(id));
        let survivor = PlaceKey { lane: 1, number: 8 };
        assert_eq!(delta.ended[1].survivor, Some(survivor));
        assert_eq!(delta.ended[1].reason, EndReason::Merged);
    }

    #[test]
    fn departures_of_a_drawn_lane_are_orders_but_for_the_opening() {
        let draw = DrawOrder {
            n: 50,
            seed: [0xa7; 32],
        };
        let lane = |opens: &str| {
            let draw = draw_text(&draw);
            format!(r#"{{"lane":0,"head":1,"tail":60,"departed":[3,60],"draw":"{draw}"{opens}}}"#)
        };
        let opening = decode(&text(&lane(r#","opens":true"#), NOTHING)).unwrap();
        assert_eq!(opening.lanes[0].departed, [3, 60]);
        let later = decode(&text(&lane(""), NOTHING)).unwrap();
        let permutation = Permutation::new(&draw.seed, draw.n);
        assert_eq!(later.lanes[0].departed, [permutation.order(3), 60]);
        assert_eq!(later.lanes[0].draw, Some(draw));
    }

    #[test]
    fn another_text_is_no_delta() {
        assert!(decode("{}").is_err());
        let rest = r#""absent":[],"activated":[],"claimed":[],"ended":[{"place":[0,2],"why":"x"}]"#;
        let error = decode(&text("", rest)).unwrap_err();
        assert_eq!(error, DeltaError::Reason("x".to_owned()));
        let lane = r#"{"lane":0,"head":1,"tail":1,"draw":"5:é"}"#;
        assert!(matches!(
            decode(&text(lane, NOTHING)),
            Err(DeltaError::Draw(_))
        ));
    }
}
