//! One lane of a view: who is ahead of whom.
//!
//! A lane keeps the rank of departed *orders*. They are the numbers, until a
//! DRAW opens; then the departed numbers are mapped once to orders, as a job of
//! its own ([`DrawRemap`]): a million take a noticeable fraction of a second.
//! Orders that depart meanwhile are kept aside and added when it is installed.

use crate::domain::delta::{DrawOrder, LaneDelta, LaneSnapshot};
use crate::domain::draw::Permutation;
use crate::domain::ids::{LaneIndex, Number, Order};
use crate::domain::rank::DepartedRank;

#[derive(Debug, Clone)]
pub(super) struct Drawn {
    pub draw: DrawOrder,
    permutation: Permutation,
}

impl Drawn {
    fn new(draw: DrawOrder) -> Self {
        Self {
            permutation: Permutation::new(&draw.seed, draw.n),
            draw,
        }
    }
}

/// A draw that is known, of which the remap is not yet installed.
#[derive(Debug, Clone)]
struct Opening {
    drawn: Drawn,
    /// Orders that departed since the opening.
    departed: Vec<Order>,
}

#[derive(Debug, Clone)]
pub(super) struct LaneView {
    /// Every order below it has departed.
    pub head: Order,
    pub tail: Number,
    drawn: Option<Drawn>,
    opening: Option<Opening>,
    /// Departed orders; numbers while `drawn` is `None`.
    departed: DepartedRank,
}

impl LaneView {
    /// With a draw this maps every departed number: not for the hot path.
    pub fn prepare(snapshot: LaneSnapshot) -> Self {
        let drawn = snapshot.draw.map(Drawn::new);
        let departed = match &drawn {
            Some(drawn) => map_departed(&snapshot.departed_numbers, &drawn.permutation),
            None => snapshot.departed_numbers,
        };
        Self {
            head: snapshot.head,
            tail: snapshot.tail,
            drawn,
            opening: None,
            departed,
        }
    }

    pub fn empty() -> Self {
        Self {
            head: 1,
            tail: 0,
            drawn: None,
            opening: None,
            departed: DepartedRank::new(),
        }
    }

    pub fn apply(&mut self, delta: &LaneDelta) {
        self.head = delta.head;
        self.tail = self.tail.max(delta.tail);
        if let Some(opening) = &mut self.opening {
            opening.departed.extend(&delta.departed);
            return;
        }
        // The delta of the opening was noted while orders were numbers.
        for &order in &delta.departed {
            self.departed.insert(order);
        }
        if let (None, Some(draw)) = (&self.drawn, delta.draw) {
            self.opening = Some(Opening {
                drawn: Drawn::new(draw),
                departed: Vec::new(),
            });
        }
    }

    pub fn is_opening(&self) -> bool {
        self.opening.is_some()
    }

    fn order(&self, number: Number) -> Order {
        match &self.drawn {
            Some(drawn) => drawn.permutation.order(number),
            None => number,
        }
    }

    pub fn has_departed(&self, number: Number) -> bool {
        if let Some(opening) = &self.opening {
            return self.departed.contains(number)
                || opening
                    .departed
                    .contains(&opening.drawn.permutation.order(number));
        }
        self.departed.contains(self.order(number))
    }

    /// 1 + the places ahead that have not departed. Exact for numbers behind
    /// the tail too: all numbers below were issued before them.
    pub fn position(&self, number: Number) -> u64 {
        let order = self.order(number);
        order
            .saturating_sub(self.departed.count_below(order))
            .max(1)
    }

    pub fn waiting_total(&self) -> u64 {
        self.tail.saturating_sub(self.departed.count())
    }

    fn remap(&self, lane: LaneIndex) -> Option<LaneRemap> {
        let opening = self.opening.as_ref()?;
        Some(LaneRemap {
            lane,
            drawn: opening.drawn.clone(),
            departed_numbers: self.departed.clone(),
        })
    }

    fn install(&mut self, ready: LaneReady) -> bool {
        if self.opening.as_ref().map(|opening| opening.drawn.draw) != Some(ready.drawn.draw) {
            return false;
        }
        let opening = self.opening.take().into_iter();
        self.departed = ready.departed;
        self.drawn = Some(ready.drawn);
        for order in opening.flat_map(|opening| opening.departed) {
            self.departed.insert(order);
        }
        true
    }
}

fn map_departed(numbers: &DepartedRank, permutation: &Permutation) -> DepartedRank {
    let words: Vec<u64> = numbers
        .pages()
        .flat_map(|(_, words)| words)
        .copied()
        .collect();
    let mut orders = DepartedRank::new();
    for (word, &bits) in (0u64..).zip(&words) {
        let mut rest = bits;
        while rest != 0 {
            let number = word * 64 + u64::from(rest.trailing_zeros());
            orders.insert(permutation.order(number));
            rest &= rest - 1;
        }
    }
    orders
}

#[derive(Debug)]
struct LaneRemap {
    lane: LaneIndex,
    drawn: Drawn,
    departed_numbers: DepartedRank,
}

#[derive(Debug)]
struct LaneReady {
    lane: LaneIndex,
    drawn: Drawn,
    departed: DepartedRank,
}

/// The work of a DRAW's opening: pure, and meant for a thread that may block.
#[derive(Debug)]
pub struct DrawRemap {
    epoch: u64,
    lanes: Vec<LaneRemap>,
}

/// Its result, to be installed in the view that asked for it.
#[derive(Debug)]
pub struct DrawReady {
    pub(super) epoch: u64,
    lanes: Vec<LaneReady>,
}

impl DrawRemap {
    pub(super) fn of(epoch: u64, lanes: &[LaneView]) -> Option<Self> {
        let lanes: Vec<_> = (0..)
            .zip(lanes)
            .filter_map(|(index, lane)| lane.remap(index))
            .collect();
        (!lanes.is_empty()).then_some(Self { epoch, lanes })
    }

    #[must_use]
    pub fn run(self) -> DrawReady {
        let lanes = self.lanes.into_iter().map(|lane| LaneReady {
            lane: lane.lane,
            departed: map_departed(&lane.departed_numbers, &lane.drawn.permutation),
            drawn: lane.drawn,
        });
        DrawReady {
            epoch: self.epoch,
            lanes: lanes.collect(),
        }
    }
}

impl DrawReady {
    pub(super) fn install(self, lanes: &mut [LaneView]) -> bool {
        let mut installed = false;
        for ready in self.lanes {
            if let Some(lane) = lanes.get_mut(usize::from(ready.lane)) {
                installed |= lane.install(ready);
            }
        }
        installed
    }
}
