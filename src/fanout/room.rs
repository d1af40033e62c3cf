//! What the hub keeps per room: its view, and what was last told of its state.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::delta::RoomFacts;
use crate::domain::place::{RoomState, RoomSwitches};
use crate::domain::time::UnixMs;
use crate::view::{RoomView, ViewCell};

use super::calls::Carriers;
use super::event::{RoomNews, RoomReason, ShownState};
use super::figures::Delays;
use super::slot::NEVER_MS;

const NOT_DEGRADED: u64 = u64::MAX;

pub(super) struct HubRoom {
    pub index: u32,
    pub cell: Arc<ViewCell>,
    /// Since when this node has lost a store.
    degraded_since: AtomicU64,
    pub delays: Delays,
    pub carriers: Carriers,
    /// Raised with each change that the line should hear of; the last byte says
    /// what it was of.
    version: AtomicU64,
    /// The version of the last change after which waits may be others.
    waits_version: AtomicU64,
    /// When the latest of these changes was published, in wall time.
    news_at: AtomicU64,
    seen: Mutex<Seen>,
}

struct Seen {
    facts: Option<RoomFacts>,
    state: Option<RoomState>,
}

impl HubRoom {
    pub fn new(index: u32, cell: Arc<ViewCell>) -> Self {
        let (facts, state) = look(&cell);
        Self {
            index,
            cell,
            degraded_since: AtomicU64::new(NOT_DEGRADED),
            delays: Delays::new(),
            carriers: Carriers::default(),
            version: AtomicU64::new(RoomReason::Schedule as u64),
            waits_version: AtomicU64::new(0),
            news_at: AtomicU64::new(NEVER_MS),
            seen: Mutex::new(Seen { facts, state }),
        }
    }

    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Whether waits may be others than when the room was as of `version`.
    pub fn has_other_waits_since(&self, version: u64) -> bool {
        version < self.waits_version.load(Ordering::Relaxed)
    }

    pub fn degraded_since(&self) -> Option<UnixMs> {
        match self.degraded_since.load(Ordering::Acquire) {
            NOT_DEGRADED => None,
            since => Some(UnixMs(since)),
        }
    }

    /// False: it was so already.
    pub fn set_degraded(&self, since: Option<UnixMs>) -> bool {
        let was = self.degraded_since();
        if was.is_some() == since.is_some() {
            return false;
        }
        let value = since.map_or(NOT_DEGRADED, |since| since.0);
        self.degraded_since.store(value, Ordering::Release);
        // Lost, there is nothing newer to tell; back, there is.
        let difference = Difference {
            reason: RoomReason::Store,
            is_of_waits: since.is_none(),
        };
        self.note(&self.seen(), difference, None);
        true
    }

    /// The view has changed: finds out whether the line should hear of it,
    /// and what the reason was. Answers whether waits may be others now.
    pub fn note_view(&self, published_at: Option<UnixMs>) -> bool {
        let (facts, state) = look(&self.cell);
        let mut seen = self.seen();
        let mut difference = difference(seen.facts.as_ref(), facts.as_ref());
        if seen.state != state {
            // It opened; a DRAW only now that it is mapped.
            let opened = Difference::of_waits(RoomReason::Schedule);
            difference.get_or_insert(opened).is_of_waits = true;
        }
        (seen.facts, seen.state) = (facts, state);
        if let Some(difference) = difference {
            self.note(&seen, difference, published_at);
        }
        difference.is_some_and(|difference| difference.is_of_waits)
    }

    /// When the latest change was published: [`NEVER_MS`] if it was found out in
    /// another way.
    pub fn news_at_ms(&self) -> u64 {
        self.news_at.load(Ordering::Relaxed)
    }

    /// One at a time: `_seen` is locked.
    fn note(&self, _seen: &Seen, difference: Difference, published_at: Option<UnixMs>) {
        let version = (self.version() | 0xff) + 1 + difference.reason as u64;
        // Before the version: whoever sees that looks here.
        let news_at_ms = published_at.map_or(NEVER_MS, |at| at.0);
        self.news_at.store(news_at_ms, Ordering::Relaxed);
        if difference.is_of_waits {
            self.waits_version.store(version, Ordering::Relaxed);
        }
        self.version.store(version, Ordering::Release);
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// CLOSED before DEGRADED before all others; without a view DEGRADED.
    pub fn shown_state(&self, view: Option<&RoomView>) -> ShownState {
        let state = view.map_or(ShownState::Degraded, |view| view.state().into());
        match state {
            ShownState::Closed => state,
            _ if self.degraded_since().is_some() => ShownState::Degraded,
            _ => state,
        }
    }

    pub fn news(&self, view: Option<&RoomView>) -> RoomNews {
        let state = self.shown_state(view);
        let facts = view.map(RoomView::facts);
        RoomNews {
            state,
            reason: self.reason(),
            message: facts.map_or_else(String::new, |facts| facts.switches.message.clone()),
            opens_at: facts
                .filter(|_| state == ShownState::Scheduled)
                .and_then(|facts| facts.opens_at),
            resumes_at: facts
                .filter(|_| state == ShownState::Paused)
                .and_then(|facts| facts.switches.pause_ends_at()),
        }
    }

    fn reason(&self) -> RoomReason {
        let last = (self.version() & 0xff) as usize;
        RoomReason::ALL
            .get(last)
            .copied()
            .unwrap_or(RoomReason::Store)
    }
}

fn look(cell: &ViewCell) -> (Option<RoomFacts>, Option<RoomState>) {
    cell.read(|view| view.map(|view| (view.facts().clone(), view.state())))
        .unzip()
}

/// What the line should hear of.
#[derive(Clone, Copy)]
struct Difference {
    reason: RoomReason,
    /// Another message alone makes nobody wait longer.
    is_of_waits: bool,
}

impl Difference {
    fn of_waits(reason: RoomReason) -> Self {
        Self {
            reason,
            is_of_waits: true,
        }
    }
}

fn difference(before: Option<&RoomFacts>, after: Option<&RoomFacts>) -> Option<Difference> {
    let (Some(before), Some(after)) = (before, after) else {
        return Some(Difference::of_waits(RoomReason::Store));
    };
    let (was, is) = (&before.switches, &after.switches);
    // An operator's resume leaves no time behind.
    if was.paused && !is.paused && is.resumes_at.is_some() {
        return Some(Difference::of_waits(RoomReason::Schedule));
    }
    let told = |switches: &RoomSwitches| {
        let RoomSwitches { closed, paused, .. } = *switches;
        (closed, paused, switches.pause_ends_at())
    };
    let of_waits = if told(was) != told(is) {
        Some(RoomReason::Operator)
    } else if before.opens_at != after.opens_at {
        Some(RoomReason::Schedule)
    } else if was.sold_out != is.sold_out {
        Some(RoomReason::Sales)
    } else if before.rebuilding != after.rebuilding {
        Some(RoomReason::Recovery)
    } else {
        None
    };
    // An operator's words are his, whatever else has changed.
    let says_otherwise = (was.message != is.message).then_some(RoomReason::Operator);
    Some(Difference {
        reason: says_otherwise.or(of_waits)?,
        is_of_waits: of_waits.is_some(),
    })
}
