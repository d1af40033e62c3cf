//! Batches that meet many holds which are over, or many limits of price.

use super::*;
use crate::domain::sale::catalog::{SeatRow, Section};
use crate::domain::sale::command::{BestAvailable, SeatChoice};
use crate::store::sales::conformance::fixture::{HOLD_TTL_MS, best, id, money, section};

/// Seats, more than a batch ends holds.
const HOUSE: usize = 1_100;

/// Two sections of so many rows, each seat of which was held until it was over.
async fn held_and_over(world: &World, rows: usize, seats: u32) -> ResourceId {
    let sale = &world.sale;
    let sections = ["Stalls", "Circle"].map(|name| {
        let rows = (1..=rows).map(|row| SeatRow {
            name: row.to_string(),
            seat_count: seats,
        });
        Section {
            rows: rows.collect(),
            ..section(name, 100, &[])
        }
    });
    let made = sale
        .performance_with(|terms| {
            terms.sections = sections.into();
        })
        .await;
    let mut all = Vec::new();
    for row in 0..2 * rows {
        for number in 1..=seats {
            all.push(id(&format!(
                "s{}-r{}-{number}",
                row / rows + 1,
                row % rows + 1
            )));
        }
    }
    for (n, some) in all.chunks(100).enumerate() {
        let holds = some.iter().enumerate().map(|(m, seat)| {
            let choice = SeatChoice::Named(vec![seat.clone()]);
            sale.holding(&format!("user{n}-{m}"), &made.id, choice)
        });
        let held = world.together::<Holds>(holds.collect()).await;
        assert!(held.iter().all(Result::is_ok), "{held:?}");
    }
    sale.advance_ms(HOLD_TTL_MS).await;
    made.id
}

/// In one batch, with what it asked of the database.
async fn asked(world: &World, commands: Vec<HoldSeats>) -> (Outcomes<Holds>, Vec<String>) {
    let run: Result<_, SalesError> = world
        .store
        .write(commands, |tx: &Tx, commands: &Vec<HoldSeats>| {
            async move {
                let all: Vec<&HoldSeats> = commands.iter().collect();
                Holds::lock(tx, &all, Others::Skip).await?;
                let outcomes = Holds::run(tx, &all).await?;
                let asked = tx.take_asked().await?.into_iter();
                Ok((outcomes, asked.map(|statement| statement.sql).collect()))
            }
            .boxed()
        })
        .await;
    run.expect("commits")
}

/// Four seats of a section whose rows have a hundred.
fn four(section: usize, nth: usize) -> SeatChoice {
    let (row, from) = (nth / 25 + 1, nth % 25 * 4 + 1);
    let seats = (from..from + 4).map(|number| id(&format!("s{section}-r{row}-{number}")));
    SeatChoice::Named(seats.collect())
}

#[tokio::test]
async fn many_holds_that_are_over_are_ended_together() {
    on_each(|world| {
        async move {
            let performance = held_and_over(world, 2, 100).await;
            let wanted = (0..75).map(|n| {
                let seats = four(n / 50 + 1, n % 50);
                world.sale.holding(&format!("new{n}"), &performance, seats)
            });
            let (outcomes, statements) = asked(world, wanted.collect()).await;
            assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
            let count = statements.len();
            assert!(count <= 30, "{count} statements: {statements:#?}");
        }
        .boxed()
    })
    .await;
}

#[tokio::test]
async fn a_batch_ends_no_more_holds_than_it_may() {
    on_each(|world| {
        async move {
            let sale = &world.sale;
            // By name.
            let performance = held_and_over(world, 6, 100).await;
            let wanted: Vec<HoldSeats> = (0..275)
                .map(|n| {
                    let seats = four(n / 150 + 1, n % 150);
                    sale.holding(&format!("new{n}"), &performance, seats)
                })
                .collect();
            let first = world.together::<Holds>(wanted.clone()).await;
            let held = first.iter().filter(|outcome| outcome.is_ok()).count();
            let told = |outcome: &&Result<_, _>| **outcome == Err(SalesError::Overloaded);
            assert_eq!((held, first.iter().filter(told).count()), (250, 25));
            let again = world.together::<Holds>(wanted).await;
            assert!(again.iter().all(Result::is_ok), "{again:?}");

            // The best, which there are not: no seat has a neighbour.
            let performance = held_and_over(world, HOUSE / 2, 1).await;
            let pair = || {
                let wish = BestAvailable {
                    adjacent: true,
                    ..best(2)
                };
                vec![sale.holding("ann", &performance, SeatChoice::BestAvailable(wish))]
            };
            let told = world.together::<Holds>(pair()).await;
            assert_eq!(told, [Err(SalesError::Overloaded)], "there may be some");
            let told = world.together::<Holds>(pair()).await;
            assert_eq!(told, [Err(SalesError::SoldOut)]);
        }
        .boxed()
    })
    .await;
}

#[tokio::test]
async fn limits_that_allow_the_same_seats_share_what_was_read() {
    on_each(|world| {
        async move {
            let sale = &world.sale;
            let sections = vec![
                section("A", 100, &[20]),
                section("B", 200, &[20]),
                section("C", 300, &[20]),
            ];
            let made = sale
                .performance_with(|terms| terms.sections = sections)
                .await;
            let wanted = (0..60).map(|n| {
                let wish = BestAvailable {
                    max_price: Some(money(99 + i64::from(n) * 3)),
                    ..best(1)
                };
                let choice = SeatChoice::BestAvailable(wish);
                sale.holding(&format!("user{n}"), &made.id, choice)
            });
            let (outcomes, statements) = asked(world, wanted.collect()).await;
            // One may pay less than any seat costs, 33 more no seat but the cheapest.
            for (n, outcome) in outcomes.iter().enumerate() {
                match outcome {
                    Ok(held) => {
                        let limit = 99 + i64::try_from(n).expect("small") * 3;
                        let price = held.reservation.total.amount_minor;
                        assert!(price <= limit, "{n}: {price}");
                    }
                    Err(error) => assert_eq!(*error, SalesError::SoldOut, "{n}"),
                }
            }
            let held = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
            assert_eq!(held, 40, "20 of each price");
            let read = |sql: &&String| sql.contains("row_rank") && sql.contains("LIMIT");
            let windows = statements.iter().filter(read).count();
            assert_eq!(windows, 2, "{statements:#?}");
        }
        .boxed()
    })
    .await;
}
