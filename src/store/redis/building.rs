//! Making a room of an epoch from what SQL knows, and telling it its policy.
//!
//! A room may be too large for one script: it is made in pieces under its
//! builder's name, and answers nothing until the last one. A builder that dies
//! leaves a room that the next epoch replaces. What departed is put together
//! here, so that Redis is given bitmaps, not places one by one.

use std::collections::BTreeSet;

use crate::domain::delta::RoomFacts;
use crate::domain::ids::{LaneIndex, Number, PlaceKey, RoomRef};
use crate::domain::place::{RoomSwitches, Standing};
use crate::domain::policy::RoomPolicy;
use crate::domain::rank::{PAGE_BITS, PAGE_BYTES};
use crate::redis_link::Script;
use crate::store::queue::{Built, Confirm, LaneInit, LaneOpening, QueueError, RoomInit};

use super::Shared;
use super::draws::Drawn;
use super::link::{Args, unexpected};
use super::opening::opening_text;
use super::reading::reversed;

/// Rows that one call of a build brings.
const BUILD_ROWS_MAX: usize = 250;
/// Pages of departed numbers that one call of a build brings.
const BUILD_PAGES_MAX: usize = 32;

impl Shared {
    pub(super) async fn configure(
        &self,
        room: &RoomRef,
        row: (u64, &RoomPolicy, &RoomSwitches),
    ) -> Result<(), QueueError> {
        let mut args = Args::default();
        push_policy(row, &mut args)?;
        self.run(&self.steps.configure, room, args)
            .await
            .map(|_| ())
    }

    pub(super) async fn init(&self, room: &RoomRef, init: RoomInit) -> Result<Built, QueueError> {
        let builder = format!("builder-{}", self.entropy.uuid());
        let named = || Args::default().text(&builder);
        for (lane, opening) in (0..).zip(init.lanes.iter().map(|lane| lane.opening)) {
            if let Some(LaneOpening::Draw(draw)) = opening {
                self.draws.keep(&room.id, lane, Drawn::new(&draw));
            }
        }
        let departures = Departures::of(&init);
        let mut args = named();
        push_begin(&init, &departures, &mut args)?;
        let mut goes_on = self.build(&self.steps.init_begin, room, args).await?;
        for pages in departures.pages().chunks(BUILD_PAGES_MAX) {
            if !goes_on {
                return Ok(Built::Kept);
            }
            let mut args = named();
            for (lane, page, bits) in pages {
                args.push_number(u64::from(*lane));
                args.push_number((page * PAGE_BYTES) as u64);
                args.push_bytes(reversed(bits));
            }
            goes_on = self.build(&self.steps.init_bits, room, args).await?;
        }
        for rows in rows(&init, &departures)?.chunks(BUILD_ROWS_MAX) {
            if !goes_on {
                return Ok(Built::Kept);
            }
            let mut args = named();
            rows.iter().for_each(|row| row.push(&mut args));
            goes_on = self.build(&self.steps.init_rows, room, args).await?;
        }
        if goes_on {
            let args = named().number(init.rebuild_pause_ms);
            goes_on = self.build(&self.steps.init_finish, room, args).await?;
        }
        Ok(match goes_on {
            true => Built::Made,
            false => Built::Kept,
        })
    }

    /// False: the room is there, or someone else builds it.
    async fn build(&self, step: &Script, room: &RoomRef, args: Args) -> Result<bool, QueueError> {
        let mut answer = self.link.run(step, room, self.now(), &args).await?;
        match answer.text()?.as_str() {
            "ok" => Ok(true),
            "kept" => Ok(false),
            other => Err(unexpected(&other)),
        }
    }
}

/// A row of an activation as scripts read it.
pub(super) struct Row<'a> {
    pub place: PlaceKey,
    pub user: &'a str,
    /// Empty: the activation is over, and `standing` is the reason.
    pub id: String,
    pub is_active: bool,
    pub standing: String,
    pub remaining_ms: u64,
}

impl<'a> Row<'a> {
    /// `None` for a standing that is no activation's.
    pub(super) fn of(row: &'a Confirm) -> Result<Option<Self>, QueueError> {
        let (id, standing) = match row.standing {
            Standing::Waiting => return Ok(None),
            Standing::Ended(reason) => (String::new(), reason.as_str().to_owned()),
            Standing::Activated { id, .. } | Standing::Active { id, .. } => {
                let standing = serde_json::to_string(&row.standing);
                (
                    id.to_string(),
                    standing.map_err(|error| unexpected(&error))?,
                )
            }
        };
        Ok(Some(Self {
            place: row.place,
            user: row.user.as_str(),
            id,
            is_active: matches!(row.standing, Standing::Active { .. }),
            standing,
            remaining_ms: row.remaining_ms,
        }))
    }

    pub(super) fn push(&self, args: &mut Args) {
        args.push_place(self.place);
        args.push(self.user);
        args.push(&self.id);
        args.push_number(u64::from(self.is_active));
        args.push(&self.standing);
        args.push_number(self.remaining_ms);
    }
}

/// Live activations, and the places whose end only the rows knew.
fn rows<'a>(init: &'a RoomInit, departures: &Departures) -> Result<Vec<Row<'a>>, QueueError> {
    let mut rows = Vec::with_capacity(init.live.len());
    for row in &init.live {
        rows.extend(Row::of(row)?.filter(|row| !row.id.is_empty()));
    }
    let completed = departures.completed.iter().map(|place| Row {
        place: *place,
        user: "",
        id: String::new(),
        is_active: false,
        standing: String::new(),
        remaining_ms: 0,
    });
    rows.extend(completed);
    Ok(rows)
}

/// Departed numbers of all lanes.
struct Departures {
    lanes: Vec<Vec<u8>>,
    /// Places that departed by their ended rows alone.
    completed: Vec<PlaceKey>,
    /// Pages that SQL does not have as they are now.
    changed: BTreeSet<(LaneIndex, u64)>,
}

impl Departures {
    fn of(init: &RoomInit) -> Self {
        let mut all = Self {
            lanes: init.lanes.iter().map(bitmap).collect(),
            completed: Vec::new(),
            changed: BTreeSet::new(),
        };
        for place in &init.ended {
            if all.add(*place) {
                all.completed.push(*place);
            }
        }
        for row in &init.live {
            if row.standing.activation_id().is_some() {
                all.add(row.place);
            }
        }
        all
    }

    /// False: it was known, or there is no such number.
    fn add(&mut self, place: PlaceKey) -> bool {
        let bitmap = self.lanes.get_mut(usize::from(place.lane));
        let is_new = bitmap.is_some_and(|bitmap| set(bitmap, place.number));
        if is_new {
            self.changed.insert((place.lane, place.number / PAGE_BITS));
        }
        is_new
    }

    fn count(&self, lane: usize) -> u64 {
        let bytes = self.lanes[lane].iter();
        bytes.map(|byte| u64::from(byte.count_ones())).sum()
    }

    /// Pages with anything in them.
    fn pages(&self) -> Vec<(LaneIndex, usize, &[u8])> {
        let lanes = (0..).zip(&self.lanes);
        lanes
            .flat_map(|(lane, bits)| {
                let pages = bits.chunks(PAGE_BYTES).enumerate();
                pages.map(move |(page, bits)| (lane, page, bits))
            })
            .filter(|(_, _, bits)| bits.iter().any(|byte| *byte != 0))
            .collect()
    }
}

/// The numbers of a lane that SQL knows as departed; a bit for each issued.
fn bitmap(lane: &LaneInit) -> Vec<u8> {
    let bytes = usize::try_from(lane.issued_to / 8 + 1).unwrap_or(0);
    let mut bitmap = vec![0; bytes];
    for page in &lane.departed {
        let numbers = page.numbers();
        for number in numbers.filter(|number| (1..=lane.issued_to).contains(number)) {
            set(&mut bitmap, number);
        }
    }
    bitmap
}

/// Sets a number's bit; false if it was set, or is none of these.
fn set(bitmap: &mut [u8], number: Number) -> bool {
    let byte = usize::try_from(number / 8).ok();
    let Some(byte) = byte.and_then(|byte| bitmap.get_mut(byte)) else {
        return false;
    };
    let bit = 1 << (number % 8);
    let is_new = *byte & bit == 0;
    *byte |= bit;
    is_new
}

fn push_begin(init: &RoomInit, departures: &Departures, args: &mut Args) -> Result<(), QueueError> {
    let live = init.live.iter().map(|row| row.standing);
    let slots = live.clone().filter(|turn| turn.activation_id().is_some());
    let active = live.filter(|turn| matches!(turn, Standing::Active { .. }));
    args.push_number(u64::from(init.switches.opened));
    args.push_number(init.ended.len() as u64);
    args.push_number(slots.count() as u64);
    args.push_number(active.count() as u64);
    push_policy((init.version, &init.policy, &init.switches), args)?;
    args.push_number(init.lanes.len() as u64);
    for (index, lane) in init.lanes.iter().enumerate() {
        let waiting = lane.issued_to - departures.count(index);
        args.push_number(lane.issued_to);
        args.push_number(lane.reserved_to);
        args.push_number(lane.served);
        args.push_number(waiting);
        // Nobody knows yet who stands there.
        args.push_number(waiting);
        args.push(&opening_text(&lane.opening.unwrap_or(LaneOpening::Fifo)));
    }
    for (lane, page) in &departures.changed {
        args.push(&format!("{lane}:{page}"));
    }
    Ok(())
}

/// As `policy.lua` reads it.
fn push_policy(
    (version, policy, switches): (u64, &RoomPolicy, &RoomSwitches),
    args: &mut Args,
) -> Result<(), QueueError> {
    args.push_number(version);
    args.push_number(u64::from(switches.paused));
    args.push_number(u64::from(switches.sold_out));
    args.push_number(u64::from(switches.closed));
    args.push_number(policy.capacity);
    args.push(&policy.rate_per_s.to_string());
    args.push_number(policy.max_waiting);
    args.push_number(policy.absence_grace_ms);
    args.push(&to_json(&RoomFacts::configured(policy, switches))?);
    args.push(&to_json(policy)?);
    args.push_number(policy.lanes.len() as u64);
    for lane in &policy.lanes {
        args.push_number(u64::from(lane.weight));
    }
    Ok(())
}

fn to_json(value: &impl serde::Serialize) -> Result<String, QueueError> {
    serde_json::to_string(value).map_err(|error| unexpected(&error))
}
