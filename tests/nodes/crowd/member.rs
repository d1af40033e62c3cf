//! What one person of a crowd does, by index.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use usher::domain::ids::Cursor;
use usher::proto::v1 as wire;
use wire::PlaceState;
use wire::watch_response::Event;

use super::device::{Device, Ticket};
use super::{Shared, Stage};

pub struct Script {
    pub index: usize,
    pub user: String,
    pub arrives_after: Duration,
    pub stays: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// One stream until the turn.
    Watches,
    /// A second one on another node.
    TwoStreams,
    /// `GetPlace`, as often as asked to.
    Polls,
    /// Leaves the line soon after the first position.
    GivesUp,
}

fn habit(index: usize) -> Habit {
    match index % 10 {
        1 | 6 => Habit::TwoStreams,
        3 | 8 => Habit::Polls,
        7 => Habit::GivesUp,
        _ => Habit::Watches,
    }
}

/// A poller asks at least this often.
const POLL_MAX: Duration = Duration::from_secs(2);

pub async fn live(shared: Arc<Shared>, script: Script) {
    let index = script.index;
    let device = Device::new(Arc::clone(&shared), &script.user, index);
    // Paces of people, not waits for anything.
    sleep(script.arrives_after).await;
    shared.is_at(index, Stage::Joining);
    let mut ticket = device.join().await;
    shared.is_at(index, Stage::InLine);
    let habit = match shared.by_the_book {
        true => Habit::Watches,
        false => habit(index),
    };
    match habit {
        Habit::Watches => await_turn(&device, &mut ticket).await,
        Habit::TwoStreams => {
            let other = Device::new(Arc::clone(&shared), &script.user, index + 1);
            let mut same = ticket.clone();
            tokio::join!(
                await_turn(&device, &mut ticket),
                await_turn(&other, &mut same)
            );
        }
        Habit::Polls => poll_for_turn(&device, &ticket).await,
        Habit::GivesUp => {
            let told = |event: &Event, _| matches!(event, Event::Snapshot(_)).then_some(());
            device.watch_until(&mut ticket, told).await;
        }
    }
    if habit != Habit::GivesUp {
        shared.is_at(index, Stage::Called);
        device.claim(&ticket).await;
        shared.is_at(index, Stage::Inside);
        sleep(script.stays + Duration::from_millis(index as u64 % 7 * 20)).await;
    }
    shared.is_at(index, Stage::Leaving);
    leave(&device, &mut ticket, habit).await;
    shared.is_at(index, Stage::Over);
}

async fn await_turn(device: &Device, ticket: &mut Ticket) {
    let number = ticket.place.number;
    let turn = |event: &Event, _| match event {
        Event::Activated(_) => Some(()),
        Event::Ended(ended) => panic!("number {number} lost its place: {ended:?}"),
        _ => None,
    };
    device.watch_until(ticket, turn).await;
}

async fn poll_for_turn(device: &Device, ticket: &Ticket) {
    loop {
        let (place, after) = device.look(ticket).await;
        match place.state() {
            PlaceState::Activated => return,
            PlaceState::Waiting | PlaceState::Scheduled => {}
            _ => panic!("a poller lost the place: {place:?}"),
        }
        sleep(after.min(POLL_MAX)).await;
    }
}

enum Told {
    Ended(wire::Ended),
    /// The line has forgotten the leave.
    InLineAgain,
}

/// Leaves, and watches until told so. A loss may forget a leave of the last
/// second, of one who had no turn.
async fn leave(device: &Device, ticket: &mut Ticket, habit: Habit) {
    let epoch = |ticket: &Ticket| ticket.resume.map_or(0, |cursor| cursor.epoch);
    let left_in = epoch(ticket);
    loop {
        device.leave(ticket).await;
        let at = epoch(ticket);
        let told = |event: &Event, cursor: Cursor| match event {
            Event::Ended(ended) => Some(Told::Ended(*ended)),
            Event::Activated(_) | Event::Position(_)
                if habit == Habit::GivesUp && cursor.epoch > at =>
            {
                Some(Told::InLineAgain)
            }
            _ => None,
        };
        if let Told::Ended(ended) = device.watch_until(ticket, told).await {
            let forgotten = epoch(ticket) > left_in && ended.reason() == wire::EndReason::Absent;
            assert!(
                ended.reason() == wire::EndReason::Left || forgotten,
                "number {} has left: {ended:?}",
                ticket.place.number
            );
            return;
        }
    }
}
