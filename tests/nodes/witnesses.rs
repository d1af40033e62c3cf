//! A few people in a room of their own, to whom decision 14 is kept while
//! Redis is away: one is active, one is called, one waits, one leaves.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Code;
use tonic_types::StatusExt as _;
use usher::proto::v1 as wire;

use crate::house::{House, InLine};
use crate::people::{Watching, reason};

/// The machine that runs this has other things to do.
const SLACK: u32 = 3;
const TOLD_WITHIN: Duration = Duration::from_secs(2);

pub struct Witnesses {
    room: String,
    active: InLine,
    called: InLine,
    waits: InLine,
    leaves: InLine,
    /// A second stream of the one who waits, opened meanwhile.
    again: Option<Watching>,
    epoch: u64,
}

impl Witnesses {
    pub async fn gather(house: &House) -> Self {
        let room = house.make_room("witnesses", 2).await;
        let line_up = |id, joins_on, watches_on| {
            let room = room.clone();
            async move { house.line_up_in(&room, id, joins_on, watches_on).await }
        };
        let mut active = line_up("active", 0, 0).await;
        active.stream.activated().await;
        let mut called = line_up("called", 1, 1).await;
        called.stream.activated().await;
        let mut waits = line_up("waits", 2, 2).await;
        waits.stream.snapshot().await;
        let mut leaves = line_up("leaves", 0, 1).await;
        leaves.stream.snapshot().await;
        let claimed = active.user.claim(&active.ticket.token).await;
        claimed.expect("claimed");
        let epoch = waits.stream.cursor.0;
        Self {
            room,
            active,
            called,
            waits,
            leaves,
            again: None,
            epoch,
        }
    }

    /// What they are told and can do, from the moment when Redis went away.
    pub async fn see_it_away(&mut self, house: &House, away_since: Instant) {
        let Self {
            active,
            called,
            waits,
            leaves,
            ..
        } = self;
        for stream in [&mut waits.stream, &mut leaves.stream, &mut active.stream] {
            stream.room_changed(wire::RoomState::Degraded).await;
            let took = away_since.elapsed();
            assert!(took <= TOLD_WITHIN * SLACK, "{took:?}");
        }
        let refused = house.user(1, "new").try_join(&self.room).await;
        let refused = refused.err().expect("refused");
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::Unavailable, "DEGRADED")
        );
        let retry = refused.get_details_retry_info().expect("RetryInfo");
        let after = retry.retry_delay.expect("a delay");
        assert!((2_000..=10_000).contains(&after.as_millis()), "{after:?}");
        // A turn that was told can be answered, and a place can be given back.
        let claimed = called.user.claim(&called.ticket.token).await;
        claimed.expect("claimed");
        let left = leaves.user.leave(&leaves.ticket.token).await;
        left.expect("left");
        // Whoever asks, or comes back, has the place as last known.
        let number = waits.ticket.place.number;
        let again = house.user(0, "waits");
        let place = again.place(&waits.ticket.token).await;
        assert_eq!(
            (place.number, place.state(), place.position),
            (number, wire::PlaceState::Waiting, Some(1))
        );
        let mut again = again.watch(&waits.ticket.token).await;
        let place = again.snapshot().await.place.expect("a place");
        assert_eq!(place.number, number);
        self.again = Some(again);
    }

    /// What becomes of it, on the streams that were open all the time.
    pub async fn see_it_back(mut self) {
        self.waits.stream.room_changed(wire::RoomState::Open).await;
        let ended = self.leaves.stream.ended().await;
        // That somebody left outlives the queue; why a place is over need not.
        let is_rebuilt = self.leaves.stream.cursor.0 > self.epoch;
        let is_told = match ended.reason() {
            wire::EndReason::Left => true,
            wire::EndReason::Absent => is_rebuilt,
            _ => false,
        };
        assert!(is_told, "{ended:?}");
        // A slot that was freed is given to the one who waits.
        let left = self.active.user.leave(&self.active.ticket.token).await;
        left.expect("left");
        self.waits.stream.activated().await;
        self.again.expect("it was away").activated().await;
    }
}
