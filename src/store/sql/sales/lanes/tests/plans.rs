//! How PostgreSQL goes about the statements of a batch, while there is a house
//! and nothing was sold: it must find every row by its key even then, since the
//! plan stays while the other tables grow.

use sea_orm::ConnectionTrait;

use super::*;
use crate::domain::sale::command::SeatChoice;
use crate::store::sales::Wallets;
use crate::store::sales::conformance::fixture::{best, ids, section};
use crate::store::sql::query::all;

const PREPARED: &str = "\
SELECT name, statement, CAST(CARDINALITY(parameter_types) AS BIGINT) AS parameters \
FROM pg_prepared_statements WHERE statement ~ '^(--|WITH|SELECT|INSERT|UPDATE|DELETE)' \
AND statement NOT LIKE '%pg_prepared_statements%'";

/// Each statement with its plan.
async fn plans(tx: &Tx) -> Result<Vec<(String, String)>, SalesError> {
    let mut plans = Vec::new();
    for row in &all(tx, PREPARED, []).await? {
        let nulls = vec!["NULL"; usize::try_from(row.count("parameters")?).unwrap_or(0)];
        let given = match nulls.is_empty() {
            true => String::new(),
            false => format!("({})", nulls.join(", ")),
        };
        let explain = format!("EXPLAIN EXECUTE {}{given}", row.text("name")?);
        let mut plan = String::new();
        for line in &all(tx, &explain, []).await? {
            plan += &line.text("QUERY PLAN")?;
            plan.push('\n');
        }
        plans.push((row.text("statement")?, plan));
    }
    Ok(plans)
}

#[tokio::test]
async fn every_row_of_a_batch_is_found_by_its_key() {
    let world = on_postgres(|settings| settings.checkout_connections = 1).await;
    let sale = &world.sale;
    let rows = [1_000; 5];
    let made = sale
        .performance_with(|terms| terms.sections = vec![section("All", 100, &rows)])
        .await;
    let performance = made.id;
    let counted: Result<(), SalesError> = world
        .store
        .write((), |tx: &Tx, ()| {
            async move {
                // As the server does it by itself, a minute later.
                tx.execute_unprepared("ANALYZE seats").await?;
                Ok(())
            }
            .boxed()
        })
        .await;
    counted.expect("counts");
    let room = sale.protect(&performance).await;
    for (who, choice) in [
        ("ann", SeatChoice::Named(ids(&["s1-r1-1"]))),
        ("bob", SeatChoice::BestAvailable(best(2))),
    ] {
        let pass = sale.activate(&room, who, 0, 600_000).await;
        let command = HoldSeats {
            activation: Some(pass),
            ..sale.holding(who, &performance, choice)
        };
        sale.top_up(who, 1_000).await;
        let held = world.store.hold_seats(command).await.expect("holds");
        let paying = sale.paying(who, &held.reservation.id);
        world.store.pay_reservation(paying).await.expect("pays");
    }
    let lane = &world.store.queues.checkout[0];
    let plans: Result<_, SalesError> = world
        .store
        .run_queued(Pool::Checkout, lane, (), |tx: &Tx, ()| plans(tx).boxed())
        .await;
    let plans: Vec<(String, String)> = plans.expect("explains");
    assert!(plans.len() >= 25, "{} statements", plans.len());
    let bad = [
        "Seq Scan",
        "Join Filter",
        "Materialize",
        "Hash Join",
        "Merge Join",
    ];
    let is_bad = |plan: &str| bad.iter().any(|sign| plan.contains(sign));
    let mut found = String::new();
    for (statement, plan) in plans {
        if is_bad(&plan) {
            found += &format!("{statement}\n{plan}\n");
        }
    }
    assert!(found.is_empty(), "{found}");
    sale.assert_clean_audit("explained sales").await;
}
