//! Holds in one batch.

use super::*;
use crate::domain::sale::catalog::SeatState;
use crate::domain::sale::command::{BestAvailable, SeatChoice};
use crate::store::sales::conformance::fixture::{HOLD_TTL_MS, LIMIT, best, id, ids, section};

fn named(seats: &[&str]) -> SeatChoice {
    SeatChoice::Named(ids(seats))
}

fn best_of(count: u32) -> SeatChoice {
    SeatChoice::BestAvailable(best(count))
}

fn seats_of(outcome: &Result<Held, SalesError>) -> Vec<String> {
    let held = outcome.as_ref().expect("holds");
    let seats = held.reservation.seats.iter();
    seats.map(|seat| seat.seat.to_string()).collect()
}

fn unavailable(seats: &[&str]) -> Result<Held, SalesError> {
    Err(SalesError::SeatUnavailable { seats: ids(seats) })
}

#[tokio::test]
async fn winners_and_losers_on_the_same_seats_have_outcomes_of_their_own() {
    on_each(|world| winners_and_losers(world).boxed()).await;
}

async fn winners_and_losers(world: &World) {
    let sale = &world.sale;
    let performance = sale.performance().await;
    let other = sale.performance().await;
    let outcomes = world
        .together::<Holds>(vec![
            sale.holding("ann", &performance, named(&["s1-r1-1", "s1-r1-2"])),
            sale.holding("bob", &performance, named(&["s1-r1-3", "s1-r1-2"])),
            sale.holding("cat", &performance, named(&["s1-r1-3"])),
            sale.holding("dan", &other, named(&["s1-r1-1"])),
            sale.holding("eve", &performance, named(&["s1-r1-4", "s9-r1-1"])),
            sale.holding("fay", &id("none"), named(&["a"])),
            sale.holding("gus", &performance, named(&["s1-r1-1"])),
        ])
        .await;
    assert_eq!(seats_of(&outcomes[0]), ["s1-r1-1", "s1-r1-2"]);
    assert_eq!(outcomes[1], unavailable(&["s1-r1-2"]));
    assert_eq!(
        seats_of(&outcomes[2]),
        ["s1-r1-3"],
        "nothing of a refusal stays"
    );
    assert_eq!(seats_of(&outcomes[3]), ["s1-r1-1"], "another performance");
    let unknown = SalesError::SeatNotInPerformance {
        seats: ids(&["s9-r1-1"]),
    };
    assert_eq!(outcomes[4], Err(unknown));
    assert_eq!(outcomes[5], Err(SalesError::NotFound));
    assert_eq!(outcomes[6], unavailable(&["s1-r1-1"]));

    // What was answered is what is stored.
    for (who, outcome) in [
        ("ann", &outcomes[0]),
        ("cat", &outcomes[2]),
        ("dan", &outcomes[3]),
    ] {
        let held = &outcome.as_ref().unwrap().reservation;
        let user = crate::domain::ids::UserId::parse(who).unwrap();
        let stored = world.store.reservation(user, held.id.clone()).await;
        assert_eq!(stored.as_ref(), Ok(held), "{who}");
    }
    let free = sale.seat(&performance, "s1-r1-4").await;
    assert_eq!(free.state, SeatState::Available);
    let changed = sale.seat(&performance, "s1-r1-1").await.version;
    assert!(changed > free.version);
    assert_eq!(
        sale.seat(&performance, "s1-r1-3").await.version,
        changed,
        "one change"
    );
}

#[tokio::test]
async fn a_repeat_in_one_batch_gets_the_first_answer() {
    on_each(|world| repeats(world).boxed()).await;
}

async fn repeats(world: &World) {
    let sale = &world.sale;
    let performance = sale.performance().await;
    let first = sale.holding("ann", &performance, named(&["s1-r1-1"]));
    let mut again = first.clone();
    again.id = sale.holding("ann", &performance, named(&["s1-r1-1"])).id;
    let mut another = again.clone();
    another.choice = named(&["s1-r1-2"]);
    let refused = sale.holding("bob", &performance, named(&["s1-r1-1"]));
    let mut later = refused.clone();
    later.choice = named(&["s1-r1-3"]);
    let commands = vec![first, again, another, refused, later];
    let outcomes = world.together::<Holds>(commands.clone()).await;
    assert!(outcomes[0].is_ok());
    assert_eq!(outcomes[1], outcomes[0]);
    assert_eq!(outcomes[2], Err(SalesError::IdempotencyKeyReused));
    assert_eq!(outcomes[3], unavailable(&["s1-r1-1"]));
    assert!(outcomes[4].is_ok(), "a refusal is not kept");

    // Later, all of them.
    let repeated = world.together::<Holds>(commands).await;
    assert_eq!(repeated[..3], outcomes[..3]);
    assert_eq!(repeated[3], Err(SalesError::IdempotencyKeyReused));
    assert_eq!(repeated[4], outcomes[4]);
}

#[tokio::test]
async fn a_forgotten_key_is_new_in_a_batch() {
    on_each(|world| forgotten(world).boxed()).await;
}

async fn forgotten(world: &World) {
    let sale = &world.sale;
    let long = 3 * 86_400_000;
    let made = sale
        .performance_with(|terms| terms.starts_at = terms.starts_at.plus_ms(long))
        .await;
    let first = sale.holding("ann", &made.id, named(&["s1-r1-1"]));
    let mut later = first.clone();
    later.id = sale.holding("ann", &made.id, named(&["s1-r1-1"])).id;
    let outcomes = world.together::<Holds>(vec![first]).await;
    assert!(outcomes[0].is_ok());
    sale.advance_ms(crate::store::sql::idempotency::KEPT_MS)
        .await;
    let again = world.together::<Holds>(vec![later.clone(), later]).await;
    assert!(again[0].is_ok());
    assert_ne!(again[0], outcomes[0]);
    assert_eq!(again[1], again[0]);
}

#[tokio::test]
async fn the_limit_per_user_is_reached_inside_a_batch() {
    on_each(|world| limits(world).boxed()).await;
}

async fn limits(world: &World) {
    let sale = &world.sale;
    let performance = sale.performance().await;
    sale.hold("ann", &performance, &["s1-r1-1"])
        .await
        .expect("holds");
    let outcomes = world
        .together::<Holds>(vec![
            sale.holding("ann", &performance, named(&["s1-r1-2", "s1-r1-3"])),
            sale.holding("ann", &performance, best_of(2)),
            sale.holding("bob", &performance, best_of(2)),
            sale.holding("ann", &performance, named(&["s1-r2-1"])),
            sale.holding("ann", &performance, named(&["s1-r2-2"])),
        ])
        .await;
    let refused: Vec<bool> = outcomes.iter().map(Result::is_err).collect();
    assert_eq!(refused, [false, true, false, false, true]);
    let limit = Err(SalesError::LimitPerUser { seats_max: LIMIT });
    assert_eq!((&outcomes[1], &outcomes[4]), (&limit, &limit));
}

#[tokio::test]
async fn the_best_available_of_a_batch_are_different_seats() {
    on_each(|world| best_twice(world).boxed()).await;
}

async fn best_twice(world: &World) {
    let sale = &world.sale;
    let performance = sale.performance().await;
    let neighbours = |count| {
        SeatChoice::BestAvailable(BestAvailable {
            adjacent: true,
            ..best(count)
        })
    };
    let outcomes = world
        .together::<Holds>(vec![
            sale.holding("ann", &performance, best_of(1)),
            sale.holding("bob", &performance, neighbours(2)),
            sale.holding("cat", &performance, named(&["s1-r1-3"])),
            sale.holding("dan", &performance, neighbours(3)),
            sale.holding("eve", &performance, neighbours(3)),
            sale.holding("fay", &performance, best_of(4)),
            sale.holding("gus", &performance, best_of(1)),
        ])
        .await;
    assert_eq!(
        seats_of(&outcomes[0]),
        ["s1-r1-3"],
        "the middle of the front row"
    );
    assert_eq!(seats_of(&outcomes[1]), ["s1-r1-1", "s1-r1-2"]);
    assert_eq!(outcomes[2], unavailable(&["s1-r1-3"]));
    assert_eq!(seats_of(&outcomes[3]), ["s1-r2-2", "s1-r2-3", "s1-r2-4"]);
    assert_eq!(outcomes[4], Err(SalesError::SoldOut));
    assert_eq!(
        seats_of(&outcomes[5]),
        ["s1-r1-4", "s1-r1-5", "s1-r2-1", "s1-r2-5"]
    );
    assert_eq!(outcomes[6], Err(SalesError::SoldOut));
}

/// Many windows of a large house, for choices that share them.
#[tokio::test]
async fn a_large_house_is_given_away_seat_by_seat() {
    on_each(|world| large_house(world).boxed()).await;
}

async fn large_house(world: &World) {
    let sale = &world.sale;
    // A window ends in the middle of a row.
    let rows = [1_000, 600, 1_000, 400];
    let made = sale
        .performance_with(|terms| {
            terms.sections = vec![section("All", 1, &rows)];
            terms.seats_per_user_max = 100;
        })
        .await;
    let mut given = BTreeSet::new();
    for batch in 0..3 {
        let users = (0..20).map(|n| format!("u{batch}-{n}"));
        let commands = users.map(|user| sale.holding(&user, &made.id, best_of(50)));
        for outcome in world.together::<Holds>(commands.collect()).await {
            for seat in seats_of(&outcome) {
                assert!(given.insert(seat.clone()), "{seat} twice");
            }
        }
        // A nearer row is full before a seat behind it is taken.
        let mut left = (batch + 1) * 1_000;
        for (row, seats) in (1..).zip(rows) {
            let of_row = format!("s1-r{row}-");
            let taken = given.iter().filter(|seat| seat.starts_with(&of_row));
            let expected = left.min(seats as usize);
            assert_eq!(taken.count(), expected, "row {row}");
            left -= expected;
        }
    }
    let late = world
        .together::<Holds>(vec![sale.holding("late", &made.id, best_of(1))])
        .await;
    assert_eq!(late, [Err(SalesError::SoldOut)]);
}

#[tokio::test]
async fn holds_that_are_over_give_their_seats_to_a_batch() {
    on_each(|world| lapsed(world).boxed()).await;
}

async fn lapsed(world: &World) {
    let sale = &world.sale;
    let performance = sale.performance().await;
    for (who, seats) in [
        ("ann", ["s1-r1-1", "s1-r1-2"]),
        ("bob", ["s1-r1-3", "s1-r1-4"]),
        ("cat", ["s1-r2-1", "s1-r2-2"]),
    ] {
        sale.hold(who, &performance, &seats).await.expect("holds");
    }
    sale.advance_ms(HOLD_TTL_MS).await;
    let outcomes = world
        .together::<Holds>(vec![
            sale.holding("dan", &performance, named(&["s1-r1-1", "s1-r1-3"])),
            sale.holding("eve", &performance, named(&["s1-r1-2", "s1-r1-1"])),
            sale.holding("fay", &performance, best_of(4)),
            sale.holding("gus", &performance, best_of(4)),
            sale.holding("hal", &performance, best_of(1)),
        ])
        .await;
    assert_eq!(seats_of(&outcomes[0]), ["s1-r1-1", "s1-r1-3"]);
    assert_eq!(outcomes[1], unavailable(&["s1-r1-1"]));
    let mut rest: Vec<String> = [&outcomes[2], &outcomes[3]]
        .into_iter()
        .flat_map(seats_of)
        .collect();
    rest.sort();
    rest.dedup();
    assert_eq!(rest.len(), 8);
    assert_eq!(outcomes[4], Err(SalesError::SoldOut));
}

/// Nobody looks at a seat of a house without one.
#[tokio::test]
async fn a_house_that_is_sold_out_refuses_by_its_counters() {
    on_each(|world| sold_out(world).boxed()).await;
}

async fn sold_out(world: &World) {
    let sale = &world.sale;
    let made = sale
        .performance_with(|terms| terms.sections = vec![section("All", 100, &[2])])
        .await;
    sale.top_up("ann", 1_000).await;
    let seats = ["s1-r1-1", "s1-r1-2"];
    let held = sale.hold("ann", &made.id, &seats).await.expect("holds");
    sale.pay("ann", &held.id).await.expect("pays");
    // If it looked, it would fail.
    world
        .store
        .write((), |tx: &Tx, ()| {
            async move {
                let hide = "ALTER TABLE seats RENAME COLUMN row_name TO hidden";
                sea_orm::ConnectionTrait::execute_unprepared(tx, hide).await?;
                Ok::<_, SalesError>(())
            }
            .boxed()
        })
        .await
        .expect("hides");
    let outcomes = world
        .together::<Holds>(vec![
            sale.holding("bob", &made.id, named(&["s1-r1-1"])),
            sale.holding("cat", &made.id, best_of(1)),
        ])
        .await;
    assert_eq!(outcomes[0], unavailable(&["s1-r1-1"]));
    assert_eq!(outcomes[1], Err(SalesError::SoldOut));
    world
        .store
        .write((), |tx: &Tx, ()| {
            async move {
                let show = "ALTER TABLE seats RENAME COLUMN hidden TO row_name";
                sea_orm::ConnectionTrait::execute_unprepared(tx, show).await?;
                Ok::<_, SalesError>(())
            }
            .boxed()
        })
        .await
        .expect("shows");
}
