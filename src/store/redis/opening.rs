//! Opening a room: a DRAW's line is brought into its order.
//!
//! That is work for each place, so it goes in pieces, while nobody can be
//! picked; a run that broke off goes on where it stood, and two at once do the
//! same. The last step opens the room only if every place has moved.

use crate::domain::ids::{LaneIndex, RoomRef};
use crate::store::queue::{LaneOpening, QueueError};

use super::Shared;
use super::delta::draw_text;
use super::draws::Drawn;
use super::link::Args;

/// Places that move in one call: about a millisecond of Redis.
const REDRAW_PLACES_MAX: u64 = 250;

impl Shared {
    pub(super) async fn open(
        &self,
        room: &RoomRef,
        lanes: Vec<LaneOpening>,
    ) -> Result<(), QueueError> {
        let mut args = Args::default();
        for (lane, opening) in (0..).zip(&lanes) {
            args.push(&opening_text(opening));
            if let LaneOpening::Draw(draw) = opening {
                let drawn = Drawn::new(draw);
                self.redraw(room, lane, &drawn).await?;
                self.draws.keep(&room.id, lane, drawn);
            }
        }
        self.run(&self.steps.open, room, args).await.map(|_| ())
    }

    /// Brings a lane's places into the order of its draw, however far another
    /// call came with it.
    async fn redraw(
        &self,
        room: &RoomRef,
        lane: LaneIndex,
        drawn: &Drawn,
    ) -> Result<(), QueueError> {
        let begin = || {
            Args::default()
                .number(u64::from(lane))
                .text(&drawn.text)
                .number(REDRAW_PLACES_MAX)
        };
        let mut args = begin();
        loop {
            let mut unmoved = self.run(&self.steps.redraw, room, args).await?;
            if unmoved.is_empty() {
                return Ok(());
            }
            args = begin();
            while !unmoved.is_empty() {
                args.push(unmoved.user()?.as_str());
                let number = unmoved.number()?;
                args.push_number(number);
                args.push_number(drawn.permutation.order(number));
            }
        }
    }
}

/// A lane's opening as scripts know it.
pub(super) fn opening_text(opening: &LaneOpening) -> String {
    match opening {
        LaneOpening::Fifo => "fifo".to_owned(),
        LaneOpening::AwaitBeacon { .. } => "await".to_owned(),
        LaneOpening::Draw(draw) => draw_text(draw),
    }
}
