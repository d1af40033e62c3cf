//! What readers of a room ask for: snapshots, missed deltas, changed pages.

use std::sync::Arc;

use crate::domain::delta::{LaneSnapshot, RoomDelta, RoomSnapshot};
use crate::domain::ids::{Cursor, PlaceKey, RoomRef};
use crate::domain::place::Standing;
use crate::domain::policy::RoomPolicy;
use crate::domain::rank::{DepartedRank, PAGE_BYTES};
use crate::store::queue::{DepartedPage, QueueError, RoomCounts};

use super::Shared;
use super::delta::{self, WireHead};
use super::link::{Args, standing_of, unexpected};

impl Shared {
    pub(super) async fn snapshot(&self, room: &RoomRef) -> Result<RoomSnapshot, QueueError> {
        let mut answer = self
            .run(&self.steps.snapshot, room, Args::default())
            .await?;
        let text = answer.text()?;
        let policy = answer.text()?;
        let mut bitmaps = answer.list()?;
        let mut slots = answer.list()?;
        let mut live = Vec::new();
        while !slots.is_empty() {
            live.push(live_place(&slots.text()?)?);
        }
        let mut head: WireHead = delta::parse(&text).map_err(|error| unexpected(&error))?;
        let mut lanes = Vec::with_capacity(head.lanes.len());
        for lane in &head.lanes {
            lanes.push(LaneSnapshot {
                lane: lane.lane,
                head: lane.head,
                tail: lane.tail,
                draw: lane.draw().map_err(|error| unexpected(&error))?,
                departed_numbers: rank_of(&bitmaps.bytes()?),
            });
        }
        let mut policy: RoomPolicy = delta::parse(&policy).map_err(|error| unexpected(&error))?;
        policy.rate_per_s = head.rate_per_s();
        Ok(RoomSnapshot {
            cursor: head.cursor(),
            policy: Arc::new(policy),
            facts: head.facts(),
            lanes,
            live,
        })
    }

    pub(super) async fn deltas_since(
        &self,
        room: &RoomRef,
        cursor: Cursor,
    ) -> Result<Option<Vec<Arc<RoomDelta>>>, QueueError> {
        let args = Args::default().number(cursor.epoch).number(cursor.revision);
        let mut answer = self.run(&self.steps.deltas_since, room, args).await?;
        if !answer.flag()? {
            return Ok(None);
        }
        let mut texts = answer.list()?;
        let mut deltas = Vec::new();
        while !texts.is_empty() {
            let delta = delta::decode(&texts.text()?);
            deltas.push(delta.map_err(|error| unexpected(&error))?);
        }
        Ok(Some(deltas))
    }

    pub(super) async fn departed_pages(
        &self,
        room: &RoomRef,
        revision: u64,
    ) -> Result<(u64, Vec<DepartedPage>), QueueError> {
        let args = Args::default().number(revision);
        let mut answer = self.run(&self.steps.departed_pages, room, args).await?;
        let revision = answer.number()?;
        let pages = answer.lists().map(|page| {
            let mut page = page?;
            let (lane, number) = (page.lane()?, page.number()?);
            let mut bits = reversed(&page.bytes()?);
            bits.resize(PAGE_BYTES, 0);
            Ok(DepartedPage {
                lane,
                page: u32::try_from(number).map_err(|error| unexpected(&error))?,
                bits,
            })
        });
        Ok((revision, pages.collect::<Result<_, QueueError>>()?))
    }

    pub(super) async fn counts(&self, room: &RoomRef) -> Result<RoomCounts, QueueError> {
        let mut answer = self.run(&self.steps.counts, room, Args::default()).await?;
        Ok(RoomCounts {
            waiting: answer.number()?,
            absent: answer.number()?,
            granting: answer.number()?,
            activated: answer.number()?,
            active: answer.number()?,
            joins_total: answer.number()?,
            activations_total: answer.number()?,
            unclaimed_total: answer.number()?,
            departures_total: answer.number()?,
        })
    }
}

/// A slot as `line.lua` keeps it: lane, number, whether it is active, user,
/// standing.
fn live_place(slot: &str) -> Result<(PlaceKey, Standing), QueueError> {
    let fields: Vec<&str> = slot.splitn(5, ' ').collect();
    let [lane, number, _, _, standing] = fields[..] else {
        return Err(unexpected(&slot));
    };
    let (Ok(lane), Ok(number)) = (lane.parse(), number.parse()) else {
        return Err(unexpected(&slot));
    };
    Ok((PlaceKey { lane, number }, standing_of(standing)?))
}

/// Redis counts the bits of a byte from its highest, a rank from its lowest.
pub(super) fn reversed(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| byte.reverse_bits()).collect()
}

fn rank_of(bitmap: &[u8]) -> DepartedRank {
    let words = bitmap.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(&reversed(chunk));
        u64::from_le_bytes(word)
    });
    DepartedRank::from_bits(words.collect())
}
