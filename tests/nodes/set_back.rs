//! An older copy of SQL is restored, by PostgreSQL's own tools, under a Redis
//! that lived on: rooms begin in a later epoch, nobody's number is given to
//! another, and what was sold since is for sale again.

use std::collections::BTreeSet;

use tempfile::TempDir;
use usher::proto::v1 as wire;

use crate::house::policy;
use crate::node::Node;
use crate::people::{Ticket, User};
use crate::postgres;
use crate::redis::{self, RedisServer};

/// More than are reserved ahead.
const LATE: usize = 60;
const PRICE_MINOR: i64 = 1_000;

struct Site {
    redis: RedisServer,
    database: String,
    dir: TempDir,
    nodes: Vec<Node>,
}

impl Site {
    async fn start() -> Self {
        let mut site = Self {
            redis: RedisServer::start(),
            database: postgres::shared().create(None),
            dir: tempfile::tempdir().expect("a directory"),
            nodes: Vec::new(),
        };
        site.start_nodes(2).await;
        site
    }

    /// All at once.
    async fn start_nodes(&mut self, count: usize) {
        let (url, redis) = (postgres::shared().url(&self.database), self.redis.url());
        let start = |_| Node::start(self.dir.path(), &url, &redis);
        self.nodes = futures_util::future::join_all((0..count).map(start)).await;
    }

    async fn stop(&mut self) {
        for node in self.nodes.drain(..) {
            node.terminate().await;
        }
    }

    fn user(&self, id: &str) -> User {
        User::new(self.nodes[0].channel.clone(), id)
    }

    async fn join(&self, room: &str, id: &str) -> (String, Ticket) {
        (id.to_owned(), self.user(id).join(room).await)
    }

    fn sql(&self, query: &str) -> String {
        postgres::shared()
            .sql(&self.database, query)
            .trim()
            .to_owned()
    }

    fn mark(&self) -> u64 {
        let mark = self.redis.cli(&["GET", "usher-mark:{sql}"]);
        mark.parse().expect("a mark")
    }

    fn epoch(&self, room: &str) -> u64 {
        let epoch = self.sql(&format!("SELECT epoch FROM rooms WHERE id = '{room}'"));
        epoch.parse().expect("a number")
    }

    async fn sound(&self) {
        let audit = std::process::Command::new(env!("CARGO_BIN_EXE_usher"))
            .env_clear()
            .env("USHER_DATA_DIR", self.dir.path())
            .env("USHER_DATABASE_URL", postgres::shared().url(&self.database))
            .arg("audit")
            .output()
            .expect("it runs");
        assert!(audit.status.success(), "{audit:?}");
    }
}

/// One performance behind a room, with its seats.
async fn build(root: &User) -> (String, String) {
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let concert = wire::CreateConcertRequest {
        concert: Some(wire::Concert {
            name: "Night of Lanterns".to_owned(),
            ..wire::Concert::default()
        }),
        idempotency_key: "concert".to_owned(),
    };
    let made = root.operator().create_concert(root.ask(concert)).await;
    let concert = made.expect("made").into_inner().concert.expect("one").id;
    let performance = wire::CreatePerformanceRequest {
        performance: Some(wire::Performance {
            concert_id: concert,
            starts_at: at(4_000_000_000),
            sale_opens_at: at(1_000_000_000),
            sections: vec![wire::Section {
                name: "Stalls".to_owned(),
                price: Some(wire::Money {
                    currency_code: "EUR".to_owned(),
                    amount_minor: PRICE_MINOR,
                }),
                rows: vec![wire::SeatRow {
                    name: "A".to_owned(),
                    seat_count: 10,
                }],
            }],
            seats_per_user_max: 1,
            ..wire::Performance::default()
        }),
        idempotency_key: "performance".to_owned(),
    };
    let request = root.ask(performance);
    let made = root.operator().create_performance(request).await;
    let performance = made
        .expect("made")
        .into_inner()
        .performance
        .expect("one")
        .id;
    let request = wire::CreateRoomRequest {
        room: Some(wire::Room {
            name: "The waiting room".to_owned(),
            policy: Some(wire::RoomPolicy {
                protects: Some(wire::Protects {
                    performance_ids: vec![performance.clone()],
                    ..wire::Protects::default()
                }),
                ..policy(1)
            }),
            ..wire::Room::default()
        }),
        idempotency_key: "room".to_owned(),
    };
    let made = root.operator().create_room(root.ask(request)).await;
    let room = made.expect("made").into_inner().room.expect("a room").id;
    (room, performance)
}

async fn buys(user: &User, ticket: &Ticket, performance: &str, seat: usize) {
    let pass = user.await_pass(&ticket.token).await;
    let buyer = user.clone().with_pass(&pass);
    let map = buyer.seat_map(performance).await.expect("seats");
    let seat = [map.seats[seat].id.as_str()];
    let held = buyer.hold(performance, &seat, "hold").await;
    buyer.top_up(PRICE_MINOR, "money").await.expect("topped up");
    let paid = buyer.pay(&held.expect("held").id, "pay").await;
    paid.expect("paid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_database_under_a_living_redis_gives_no_number_twice() {
    let mut site = Site::start().await;
    let root = site.user("root").with_admin_role();
    let (room, performance) = build(&root).await;
    let (_, ticket) = site.join(&room, "before").await;
    buys(&site.user("before"), &ticket, &performance, 0).await;
    let mut people = vec![
        site.join(&room, "bought").await,
        site.join(&room, "holds").await,
    ];
    let dump = site.dir.path().join("usher.dump");
    postgres::shared().dump(&site.database, &dump);
    let marked = site.mark();

    // What the dump does not know: a sale, a hold, a line, a mark.
    buys(&site.user("bought"), &people[0].1, &performance, 1).await;
    let holder = site.user("holds");
    let pass = holder.await_pass(&people[1].1.token).await;
    let holder = holder.with_pass(&pass);
    let map = holder.seat_map(&performance).await.expect("seats");
    let held = holder.hold(&performance, &[&map.seats[2].id], "hold").await;
    held.expect("held");
    for index in 0..LATE {
        people.push(site.join(&room, &format!("late-{index}")).await);
    }
    let numbers: BTreeSet<u64> = people.iter().map(|(_, it)| it.place.number).collect();
    assert_eq!(numbers.len(), people.len());
    // Another epoch, which only Redis will know.
    let epoch = site.epoch(&room);
    assert_eq!(
        site.redis
            .cli(&["HSET", &format!("usher:{{{room}}}"), "run", "lost"]),
        "0"
    );
    redis::until("another epoch", || site.epoch(&room) > epoch);
    let epoch = site.epoch(&room);
    for (id, ticket) in &people[2..] {
        site.user(id).place(&ticket.token).await;
    }
    redis::until("a later mark", || site.mark() > marked + 1);
    let mark = site.mark();
    site.stop().await;

    postgres::shared().restore(&mut site.database, &dump);
    assert!(site.epoch(&room) < epoch);
    site.start_nodes(2).await;
    let raised = site.epoch(&room);
    assert!(raised > epoch, "{raised} after {epoch}");
    assert!(site.mark() > mark);
    for (id, ticket) in &people {
        let place = site.user(id).place(&ticket.token).await;
        assert_eq!(place.number, ticket.place.number, "{id}");
        let lives = [wire::PlaceState::Waiting, wire::PlaceState::Activated];
        assert!(lives.contains(&place.state()), "{id}: {place:?}");
    }
    let (_, new) = site.join(&room, "new").await;
    assert!(Some(&new.place.number) > numbers.last(), "{:?}", new.place);
    // The sale and the hold are gone; the first in line comes first again.
    assert_eq!(site.user("bought").balance().await, 0);
    let stays = site.user("holds").watch(&people[1].1.token).await;
    buys(&site.user("bought"), &people[0].1, &performance, 1).await;
    buys(&site.user("holds"), &people[1].1, &performance, 2).await;
    drop(stays);
    site.sound().await;

    // Nothing to mend: no epoch for the next node.
    let raised = site.epoch(&room);
    site.stop().await;
    site.start_nodes(1).await;
    assert_eq!(site.epoch(&room), raised);
    let live = site.sql("SELECT COUNT(*) FROM tickets WHERE live = 1");
    assert_eq!(live, "3");
    site.sound().await;
}
