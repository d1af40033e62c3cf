//! What rooms protect, and when all of it is sold.

use futures_util::FutureExt;
use sea_orm::ConnectionTrait;

use super::open_store;
use crate::domain::ids::{ResourceId, RoomId};
use crate::domain::policy::{Protects, RoomPolicy};
use crate::store::rooms::{NewRoom, RoomRecord, RoomRegistry, RoomsError};
use crate::store::sql::SqlStore;

fn id(text: &str) -> ResourceId {
    ResourceId::parse(text).expect("an id")
}

fn room_id(text: &str) -> RoomId {
    RoomId::parse(text).expect("an id")
}

async fn sql(store: &SqlStore, statement: String) {
    let done: Result<(), RoomsError> = store
        .write(statement, |tx, statement| {
            async move {
                tx.execute_unprepared(statement).await?;
                Ok(())
            }
            .boxed()
        })
        .await;
    done.expect("runs");
}

/// Two concerts: `c1` with performances `p1` and `p2`, `c2` with `p3`.
async fn catalog(store: &SqlStore) {
    for concert in ["c1", "c2"] {
        let row = format!("INSERT INTO concerts VALUES ('{concert}', '', '', '', 1, 0)");
        sql(store, row).await;
    }
    for (performance, concert) in [("p1", "c1"), ("p2", "c1"), ("p3", "c2")] {
        let row = format!(
            "INSERT INTO performances (id, concert_id, starts_at, sale_opens_at, state, \
             currency, hold_ttl_ms, hold_total_max_ms, seats_per_user_max, seats_version, \
             version, created_at) \
             VALUES ('{performance}', '{concert}', 0, 0, 'scheduled', 'EUR', 1, 1, 1, 0, 1, 0)"
        );
        sql(store, row).await;
    }
}

async fn seat(store: &SqlStore, performance: &str, seat: &str, state: &str) {
    let row = format!(
        "INSERT INTO seats (performance_id, id, section, row_rank, row_name, number, row_seats, \
         price_minor, state, version, serial) \
         VALUES ('{performance}', '{seat}', 0, 0, '', 1, 1, 1, '{state}', 1, 0) \
         ON CONFLICT (performance_id, id) DO UPDATE SET state = excluded.state"
    );
    sql(store, row).await;
}

async fn room(
    store: &SqlStore,
    name: &str,
    concerts: &[&str],
    performances: &[&str],
) -> Result<RoomRecord, RoomsError> {
    let protects = Protects {
        concerts: concerts.iter().map(|one| id(one)).collect(),
        performances: performances.iter().map(|one| id(one)).collect(),
        campaigns: Vec::new(),
    };
    store
        .create_room(NewRoom {
            id: room_id(name),
            display_name: String::new(),
            policy: RoomPolicy {
                protects,
                ..RoomPolicy::default()
            },
            draw_secret: [0; 32],
            asked: None,
        })
        .await
}

#[tokio::test]
async fn a_target_has_one_room_and_its_own_before_its_concerts() {
    let (store, _clock, _dir) = open_store().await;
    catalog(&store).await;
    let by_concert = room(&store, "by-concert", &["c1"], &[]).await;
    by_concert.expect("creates");
    let by_itself = room(&store, "by-itself", &[], &["p2", "p2"]).await;
    let mut by_itself = by_itself.expect("naming it twice is naming it once");
    for (target, expected) in [
        ("p1", Some("by-concert")),
        ("p2", Some("by-itself")),
        ("p3", None),
        ("c1", None),
        ("nothing", None),
    ] {
        let protector = store.protector(&id(target)).await;
        assert_eq!(protector, Ok(expected.map(room_id)), "{target}");
    }

    let twice = RoomsError::ProtectedTwice {
        target: id("p2"),
        room: room_id("by-itself"),
    };
    assert_eq!(room(&store, "third", &[], &["p2"]).await, Err(twice));
    let unmade = store.room(&room_id("third")).await;
    assert_eq!(unmade, Err(RoomsError::UnknownRoom), "refused whole");

    by_itself.policy.protects.performances = vec![id("p3")];
    store.update_room(by_itself).await.expect("moves on");
    let protector = store.protector(&id("p2")).await;
    assert_eq!(protector, Ok(Some(room_id("by-concert"))));
    assert_eq!(
        store.protector(&id("p3")).await,
        Ok(Some(room_id("by-itself")))
    );
}

#[tokio::test]
async fn a_target_must_exist() {
    let (store, _clock, _dir) = open_store().await;
    catalog(&store).await;
    for (concerts, performances, missing) in [
        (&["c9"][..], &[][..], "c9"),
        (&[][..], &["p1", "c1"][..], "c1"),
    ] {
        let refused = room(&store, "room", concerts, performances).await;
        let target = id(missing);
        assert_eq!(refused, Err(RoomsError::UnknownTarget { target }));
    }
    let mut made = room(&store, "room", &["c1"], &[]).await.expect("creates");
    made.policy.protects.campaigns = vec![id("spring")];
    let target = id("spring");
    let refused = store.update_room(made.clone()).await;
    assert_eq!(refused, Err(RoomsError::UnknownTarget { target }));
    made.policy.protects.campaigns.clear();
    assert_eq!(store.room(&made.id).await, Ok(made), "refused whole");
}

async fn campaign(store: &SqlStore, name: &str, issued: u32) {
    let row = format!(
        "INSERT INTO campaigns (id, name, stock, issued, percent, concerts, performances, version, \
         created_at) VALUES ('{name}', '', 2, {issued}, 10, '[]', '[]', 1, 0) \
         ON CONFLICT (id) DO UPDATE SET issued = excluded.issued"
    );
    sql(store, row).await;
}

#[tokio::test]
async fn a_room_with_campaigns_is_sold_out_when_their_stock_is_issued_too() {
    let (store, _clock, _dir) = open_store().await;
    catalog(&store).await;
    campaign(&store, "spring", 1).await;
    campaign(&store, "summer", 2).await;
    let mut made = room(&store, "room", &[], &["p1"]).await.expect("creates");
    made.policy.protects.campaigns = vec![id("spring"), id("summer")];
    let made = store.update_room(made).await.expect("protects them");
    let protector = store.protector(&id("spring")).await;
    assert_eq!(protector, Ok(Some(room_id("room"))));
    let sold_out = async || store.is_sold_out(&made.id).await.expect("looks");
    assert!(!sold_out().await, "one coupon is left");
    campaign(&store, "spring", 2).await;
    assert!(sold_out().await, "campaigns alone");
    seat(&store, "p1", "s1", "available").await;
    assert!(!sold_out().await, "a seat is free");
    seat(&store, "p1", "s1", "sold").await;
    assert!(sold_out().await);
}

#[tokio::test]
async fn a_room_is_sold_out_when_each_of_its_seats_is_gone_for_good() {
    let (store, _clock, _dir) = open_store().await;
    catalog(&store).await;
    room(&store, "concert", &["c1"], &[])
        .await
        .expect("creates");
    room(&store, "own", &[], &["p2"]).await.expect("creates");
    room(&store, "empty", &[], &[]).await.expect("creates");
    let check = async |step: &str, concert: bool, own: bool| {
        for (room, expected) in [("concert", concert), ("own", own), ("empty", false)] {
            let sold_out = store.is_sold_out(&room_id(room)).await;
            assert_eq!(sold_out, Ok(expected), "{step}: room {room}");
        }
    };
    check("no seats", false, false).await;
    seat(&store, "p1", "s1", "available").await;
    seat(&store, "p1", "s2", "blocked").await;
    seat(&store, "p2", "s1", "sold").await;
    seat(&store, "p3", "s1", "available").await;
    check("one is free", false, true).await;
    seat(&store, "p1", "s1", "held").await;
    check("a hold may end", false, true).await;
    seat(&store, "p1", "s1", "sold").await;
    check("all gone", true, true).await;
    seat(&store, "p2", "s1", "available").await;
    check("a cancelled seat counts for its own room", true, false).await;
    let unknown = store.is_sold_out(&room_id("nowhere")).await;
    assert_eq!(unknown, Err(RoomsError::UnknownRoom));
}
