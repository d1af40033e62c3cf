//! The queue's state is gone. On the embedded default it is the memory of the
//! process, so `kill -9` takes all of it, and starting is the recovery. What SQL
//! keeps for it (the departed numbers, one second behind) may be gone too: then
//! who left waits again, until the grace is over, and nobody else loses.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use sea_orm::ConnectionTrait as _;
use tokio::time::sleep;
use tonic::transport::Channel;
use usher::app::stores::open_sql;
use usher::proto::v1 as wire;
use usher::store::sql::SqlError;
use wire::watch_response::Event;
use wire::{EndReason, PlaceState};

use crate::client::World;
use crate::harness::soon;
use crate::house::{self, House, PRICE_MINOR, Rules};
use crate::people::{Ticket, User, Watching};
use crate::server::{self, Server};

const CAPACITY: usize = 3;
const GRACE_S: i64 = 15;
/// A `Leave` is kept after one second; the machine has other things to do.
const LEAVE_KEPT: Duration = Duration::from_secs(6);
const LIVELY: [(&str, &str); 1] = [("USHER_STREAM__HEARTBEAT_INTERVAL_MS", "1000")];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lost {
    Memory,
    DepartedNumbers,
}

struct Person {
    user: User,
    ticket: Ticket,
}

impl Person {
    async fn join(channel: &Channel, house: &House, id: String) -> Self {
        let user = User::new(channel.clone(), &id);
        let ticket = user.join(house.room.as_str()).await;
        Self { user, ticket }
    }

    fn number(&self) -> u64 {
        self.ticket.place.number
    }

    async fn buys(&self, house: &House, seat: usize) {
        let pass = self.user.await_pass(&self.ticket.token).await;
        let buyer = self.user.clone().with_pass(&pass);
        let map = buyer.seat_map(&house.performance).await.expect("seats");
        let seat = [map.seats[seat].id.as_str()];
        let held = buyer.hold(&house.performance, &seat, "hold").await;
        buyer.top_up(PRICE_MINOR, "money").await.expect("topped up");
        let paid = buyer.pay(&held.expect("held").id, "pay").await;
        paid.expect("paid");
    }

    /// A stream in the server's next life, and what it says first.
    async fn returns(&self) -> (Watching, wire::Place) {
        let back = async {
            loop {
                let again = wire::WatchRequest {
                    place_token: self.ticket.token.clone(),
                    ..wire::WatchRequest::default()
                };
                // The connection of the life before may break once more.
                if let Ok(stream) = self.user.watch_as(again).await {
                    return stream;
                }
                tokio::task::yield_now().await;
            }
        };
        let mut stream = soon("a stream", back).await;
        let place = stream.snapshot().await.place.expect("a place");
        assert_eq!(place.number, self.number(), "{}", self.user.id);
        (stream, place)
    }

    /// The place is over, and a Join gives a new one at the end.
    async fn is_over(&self, house: &House, reasons: &[EndReason], numbers: &mut BTreeSet<u64>) {
        let (mut stream, place) = self.returns().await;
        let ended = stream.ended().await;
        assert!(reasons.contains(&ended.reason()), "{ended:?}");
        assert_eq!(place.state(), ended.state());
        assert_eq!(place.position, None);
        let again = self.user.join(house.room.as_str()).await;
        let last = *numbers.last().expect("some");
        assert!(again.place.number > last, "a new place, at the end");
        numbers.insert(again.place.number);
    }
}

/// Reads on until the position is the exact one. Nobody is activated meanwhile:
/// every slot is taken.
async fn falls_to(stream: &mut Watching, first: Option<u64>, exact: u64) {
    let first = first.expect("in line");
    assert!(first >= exact, "pessimistic: {first}, and {exact} is exact");
    if first == exact {
        return;
    }
    let is_exact = |event| match event {
        Event::Position(told) => (told.position == exact).then_some(()),
        Event::Activated(_) | Event::Ended(_) => panic!("neither a turn nor the end: {event:?}"),
        _ => None,
    };
    stream.until("the exact position", is_exact).await;
}

/// All that the queue has on disk is what SQL has.
async fn lose(dir: &Path, lost: Lost) {
    let files = std::fs::read_dir(dir).expect("a directory");
    let files: BTreeSet<_> = files
        .map(|file| file.expect("a file").file_name().into_string())
        .map(|name| name.expect("UTF-8"))
        .filter(|name| !name.starts_with("usher.sqlite-"))
        .collect();
    assert_eq!(
        files,
        BTreeSet::from(["keys.json", "usher.sqlite"].map(str::to_owned))
    );
    if lost == Lost::Memory {
        return;
    }
    let sql = open_sql(&server::config(dir)).await.expect("opened");
    let forgotten = sql.write((), |tx, ()| {
        Box::pin(async move {
            let gone = tx.execute_unprepared("DELETE FROM departed_pages").await?;
            Ok::<_, SqlError>(gone.rows_affected())
        })
    });
    assert!(forgotten.await.expect("deleted") > 0, "they were saved");
    assert!(sql.shutdown(Duration::from_secs(10)).await);
}

async fn nobody_is_lost_without(lost: Lost) {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut server, port) = Server::first(dir.path(), &LIVELY).await;
    let world = World::new(port);
    let rules = Rules {
        capacity: CAPACITY as u32,
        absence_grace_s: GRACE_S,
    };
    let house = house::build_with(&world, rules).await;
    let join = |id: String| Person::join(&world.channel, &house, id);

    let mut bought = Vec::new();
    for index in 0..2 {
        let person = join(format!("bought-{index}")).await;
        person.buys(&house, index).await;
        bought.push(person);
    }
    let mut active = Vec::new();
    for index in 0..CAPACITY {
        let person = join(format!("active-{index}")).await;
        let mut stream = person.user.watch(&person.ticket.token).await;
        active.push((stream.activated().await.activation_id, person));
    }
    let claimed = active[0].1.user.claim(&active[0].1.ticket.token).await;
    let claimed = claimed.expect("claimed");
    let mut line = Vec::new();
    for index in 0..10 {
        line.push(join(format!("waiting-{index}")).await);
    }
    let gone = [line.remove(7), line.remove(2)];
    for person in &gone {
        let left = person.user.leave(&person.ticket.token).await;
        left.expect("left");
    }
    sleep(LEAVE_KEPT).await;
    let everyone = bought.iter().chain(active.iter().map(|(_, person)| person));
    let everyone = everyone.chain(&line).chain(&gone);
    let mut numbers: BTreeSet<u64> = everyone.map(Person::number).collect();
    assert_eq!(numbers.len(), 2 + CAPACITY + 10, "each its own");

    server.kill().await;
    lose(dir.path(), lost).await;
    let server = Server::again(dir.path(), port, &LIVELY).await;

    // Within their grace; two others are later.
    let late = [line.remove(5), line.remove(3)];
    let mut back = Vec::new();
    for person in &line {
        let (stream, place) = person.returns().await;
        assert_eq!(place.state(), PlaceState::Waiting);
        back.push((stream, place.position));
    }
    for person in &bought {
        let completed = [EndReason::Completed];
        person.is_over(&house, &completed, &mut numbers).await;
    }
    if lost == Lost::Memory {
        // How it ended is only known of those who had a turn.
        for person in &gone {
            let reasons = [EndReason::Left, EndReason::Absent];
            person.is_over(&house, &reasons, &mut numbers).await;
        }
    }
    for (id, person) in &active {
        let (mut stream, _) = person.returns().await;
        assert_eq!(stream.activated().await.activation_id, *id);
    }
    let again = active[0].1.user.claim(&active[0].1.ticket.token).await;
    assert_eq!(again.expect("the same pass"), claimed);

    for ((stream, first), exact) in back.iter_mut().zip(1..) {
        falls_to(stream, *first, exact).await;
    }
    // So the grace of those who are later is over.
    for person in &late {
        let absent = [EndReason::Absent];
        person.is_over(&house, &absent, &mut numbers).await;
    }
    if lost == Lost::DepartedNumbers {
        for person in &gone {
            let absent = [EndReason::Absent];
            person.is_over(&house, &absent, &mut numbers).await;
        }
    }
    // A slot is free: the first in line has it.
    for ((_, person), (stream, _)) in active.iter().zip(&mut back) {
        let left = person.user.leave(&person.ticket.token).await;
        left.expect("left");
        stream.activated().await;
    }
    drop(back);
    server.terminate().await;
    server::assert_is_sound(dir.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_lost_with_the_queues_memory() {
    nobody_is_lost_without(Lost::Memory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_lost_with_the_departed_numbers() {
    nobody_is_lost_without(Lost::DepartedNumbers).await;
}
