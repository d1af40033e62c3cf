//! Servers that die, hang, and answer late; connections that are cut.

use std::collections::BTreeSet;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::time::timeout;

use super::server::{self, Server};
use super::units::{TestError, make_table, note, notes};
use super::{
    BEGIN_ANSWERED, COMMIT_ANSWERED, COMMIT_ASKED, NOWHERE, PATIENCE, TestDatabase,
    end_connections, open, pause, settings, template,
};
use crate::domain::ids::ResourceId;
use crate::domain::sale::command::SeatChoice;
use crate::store::outbox::Outbox;
use crate::store::sales::conformance::{Sale, Subject};
use crate::store::sales::{Sales, SalesError, SalesStore, Wallets};
use crate::store::sql::query::execute;
use crate::store::sql::{DatabaseClock, SqlError, SqlSettings, SqlStore};
use crate::truth::proxy::{Direction, Effect, Proxy, Rule, When};

/// As in production, but with few connections.
fn prompt(url: &str) -> SqlSettings {
    SqlSettings {
        write_connections: 4,
        read_connections: 2,
        ..SqlSettings::new(url)
    }
}

async fn bounded<T>(what: &str, test: impl Future<Output = T>) -> T {
    timeout(PATIENCE, test)
        .await
        .unwrap_or_else(|_| panic!("{what} took too long"))
}

/// A database behind a proxy, and a way around it.
struct Spoiled {
    proxy: Proxy,
    store: SqlStore,
    direct: SqlStore,
    database: TestDatabase,
}

impl Spoiled {
    async fn open(change: impl FnOnce(&mut SqlSettings)) -> Self {
        let database = TestDatabase::new();
        let direct = open(settings(&database.url), DatabaseClock::Server).await;
        make_table(&direct).await;
        let server = server::shared();
        let proxy = Proxy::start(server.addr(), 1).await.expect("a proxy");
        let mut through = prompt(&database.url_at(proxy.addr()));
        change(&mut through);
        let store = open(through, DatabaseClock::Server).await;
        Self {
            proxy,
            store,
            direct,
            database,
        }
    }

    fn on(&self, direction: Direction, pattern: &[u8], when: When, effect: Effect) {
        let rule = Rule {
            direction,
            pattern: pattern.to_vec(),
            when,
            effect,
        };
        self.proxy.on_match(rule).expect("a short pattern");
    }

    /// Runs what commits once, and cuts the answer to its COMMIT, or COMMIT itself.
    async fn cut_commit<T>(&self, direction: Direction, asked: impl Future<Output = T>) -> T {
        let before = self.proxy.progress().matched;
        let effect = match direction {
            Direction::Up => Effect::Cut,
            // Other answers look as that one does: it is watched for from here on.
            Direction::Down => Effect::Delay { delay_ms: 1_000 },
        };
        self.on(Direction::Up, COMMIT_ASKED, When::Before, effect);
        let watch = async {
            self.proxy.until(|progress| progress.matched > before).await;
            if direction == Direction::Down {
                self.on(direction, COMMIT_ANSWERED, When::Before, Effect::Cut);
            }
        };
        let cut = async { tokio::join!(asked, watch).0 };
        bounded("a cut commit", cut).await
    }
}

/// Writes until it is written; meanwhile it is not known, or not tried.
async fn until_noted(store: &SqlStore, n: i64) {
    loop {
        match note(store, n).await {
            Ok(()) => return,
            Err(TestError::Sql(SqlError::Unavailable(_) | SqlError::Overloaded)) => {}
            outcome => panic!("{outcome:?}"),
        }
        tokio::task::yield_now().await;
    }
}

/// Waits until so many are written.
async fn until_there_are(store: &SqlStore, count: u64) {
    while notes(store).await.unwrap_or(0) < count {
        tokio::task::yield_now().await;
    }
}

/// Ended by `database.unit_timeout_ms`.
fn was_cut_short<T>(outcome: &Result<T, TestError>) -> bool {
    let Err(TestError::Sql(SqlError::Unavailable(why))) = outcome else {
        return false;
    };
    why == "the database took too long"
}

/// Not tried at all.
fn is_refused_at_once<T>(outcome: &Result<T, TestError>) -> bool {
    let Err(TestError::Sql(SqlError::Unavailable(why))) = outcome else {
        return false;
    };
    why == "the database does not answer"
}

fn is_unknown<T>(outcome: &Result<T, TestError>) -> bool {
    matches!(outcome, Err(TestError::Sql(SqlError::Unavailable(_))))
}

/// Elsewhere the connection would go back to its pool inside the transaction
/// that a late BEGIN had opened, and what the next one wrote would be lost.
#[tokio::test]
async fn a_caller_that_goes_while_begin_is_answered_spoils_nobody() {
    let spoiled = Spoiled::open(|settings| settings.write_connections = 1).await;
    let delay = Effect::Delay { delay_ms: 400 };
    spoiled.on(Direction::Down, BEGIN_ANSWERED, When::Before, delay);
    {
        let mut call = Box::pin(note(&spoiled.store, 1));
        tokio::select! {
            biased;
            outcome = &mut call => panic!("answered before its BEGIN was: {outcome:?}"),
            () = spoiled.proxy.until(|progress| progress.matched == 1) => {}
        }
    }
    let next = bounded("the next unit", note(&spoiled.store, 2)).await;
    assert_eq!(next, Ok(()));
    // The first one's unit went on without its caller.
    assert_eq!(notes(&spoiled.direct).await, Ok(2));
}

/// As above, but the answer comes after the unit's time.
#[tokio::test]
async fn a_begin_that_is_answered_too_late_costs_a_connection() {
    let spoiled = Spoiled::open(|settings| {
        settings.write_connections = 1;
        settings.unit_timeout_ms = 2_000;
    })
    .await;
    let delay = Effect::Delay { delay_ms: 8_000 };
    spoiled.on(Direction::Down, BEGIN_ANSWERED, When::Before, delay);
    let late = bounded("a late unit", note(&spoiled.store, 1)).await;
    assert!(is_unknown(&late), "{late:?}");
    // The breaker lets one through each quarter of a second.
    let next = until_noted(&spoiled.store, 2);
    bounded("the next unit", next).await;
    assert_eq!(notes(&spoiled.direct).await, Ok(1), "what was acknowledged");
}

/// Stands for one node, as the conformance suite wants it.
struct Single(std::sync::Arc<SqlStore>);

#[async_trait::async_trait]
impl Subject for Single {
    fn store(&self) -> std::sync::Arc<dyn SalesStore> {
        self.0.clone()
    }

    fn outbox(&self) -> std::sync::Arc<dyn Outbox> {
        self.0.clone()
    }

    async fn advance_ms(&self, _step_ms: u64) {
        panic!("nobody moves the server's clock");
    }
}

/// The answer to COMMIT is lost, or COMMIT itself: the caller hears that it is
/// not known, and the same key tells.
#[tokio::test]
async fn a_cut_commit_is_unknown_and_its_key_tells() {
    let spoiled = Spoiled::open(|settings| settings.write_connections = 1).await;
    let direct = open(settings(&spoiled.database.url), DatabaseClock::Server).await;
    let sale = Sale::new(std::sync::Arc::new(Single(std::sync::Arc::new(direct))));
    let money = |minor| {
        let currency = crate::domain::sale::currency::Currency::parse("KRW").expect("known");
        crate::domain::sale::money::Money::new(currency, minor)
    };
    let lost = [Direction::Down, Direction::Up];
    for (round, direction) in lost.into_iter().enumerate() {
        let deposit = sale.deposit("ann", money(50));
        let cut = spoiled.store.top_up(deposit.clone());
        let cut = spoiled.cut_commit(direction, cut).await;
        assert!(matches!(cut, Err(SalesError::Unavailable(_))), "{cut:?}");
        let again = bounded("the repeat", spoiled.store.top_up(deposit.clone())).await;
        let again = again.expect("answered");
        let third = spoiled.store.top_up(deposit).await;
        assert_eq!(third, Ok(again));
        let so_far = i64::try_from(round + 1).expect("small") * 50;
        assert_eq!(sale.balance("ann").await, so_far, "{direction:?}");
    }
    sale.assert_clean_audit("cut commits").await;
}

/// As above, for holds and payments that were one transaction each: all of them
/// hear that it is not known.
#[tokio::test]
async fn a_cut_batch_is_unknown_to_all_and_their_keys_tell() {
    for direction in [Direction::Down, Direction::Up] {
        let gathers = |settings: &mut SqlSettings| {
            settings.checkout_connections = 1;
            settings.gather_max = 10;
            settings.gather_delay_ms = 10_000;
        };
        let spoiled = Spoiled::open(gathers).await;
        let direct = open(settings(&spoiled.database.url), DatabaseClock::Server).await;
        let sale = Sale::new(std::sync::Arc::new(Single(std::sync::Arc::new(direct))));
        let performance = sale.performance().await;
        let holds: Vec<_> = (0..10)
            .map(|n| {
                let seat = format!("s1-r{}-{}", n / 5 + 1, n % 5 + 1);
                let choice = SeatChoice::Named(vec![ResourceId::parse(&seat).expect("an id")]);
                sale.holding(&format!("user{n}"), &performance, choice)
            })
            .collect();
        let hold_all = || {
            join_all(
                holds
                    .iter()
                    .map(|one| spoiled.store.hold_seats(one.clone())),
            )
        };
        for outcome in spoiled.cut_commit(direction, hold_all()).await {
            assert!(
                matches!(outcome, Err(SalesError::Unavailable(_))),
                "{outcome:?}"
            );
        }
        let held = bounded("their repeats", hold_all()).await;
        assert!(held.iter().all(Result::is_ok), "{held:?}");
        assert_eq!(bounded("all again", hold_all()).await, held);

        let mut pays = Vec::new();
        for (n, held) in held.iter().enumerate() {
            let user = format!("user{n}");
            sale.top_up(&user, 100).await;
            let held = held.as_ref().expect("holds");
            pays.push(sale.paying(&user, &held.reservation.id));
        }
        let pay_all = || {
            join_all(
                pays.iter()
                    .map(|one| spoiled.store.pay_reservation(one.clone())),
            )
        };
        for outcome in spoiled.cut_commit(direction, pay_all()).await {
            assert!(
                matches!(outcome, Err(SalesError::Unavailable(_))),
                "{outcome:?}"
            );
        }
        let paid = bounded("their repeats", pay_all()).await;
        assert!(paid.iter().all(Result::is_ok), "{paid:?}");
        assert_eq!(bounded("all again", pay_all()).await, paid);
        for n in 0..10 {
            assert_eq!(sale.balance(&format!("user{n}")).await, 0);
        }
        sale.assert_clean_audit("cut batches").await;
    }
}

/// Before its COMMIT nothing of a unit is left, so it simply runs again.
#[tokio::test]
async fn a_connection_lost_before_its_commit_is_not_noticed() {
    let spoiled = Spoiled::open(|_| {}).await;
    spoiled.on(
        Direction::Up,
        b"INSERT INTO notes",
        When::Before,
        Effect::Cut,
    );
    assert_eq!(bounded("a cut unit", note(&spoiled.store, 1)).await, Ok(()));
    assert_eq!(spoiled.proxy.progress().matched, 1);
    // Connections that died while nobody used them.
    spoiled.proxy.cut();
    let all = join_all((2..20).map(|n| note(&spoiled.store, n)));
    for outcome in bounded("units after a cut", all).await {
        assert_eq!(outcome, Ok(()));
    }
    assert_eq!(notes(&spoiled.store).await, Ok(19));
}

/// Many who want the same rows in any order.
#[tokio::test]
async fn a_storm_of_deadlocks_is_hidden() {
    let test = super::units::Notes::open().await;
    for n in 0..4 {
        note(&test.store, n).await.expect("noted");
    }
    let hits = (0..64_i64).map(|n| {
        test.store.write(n, |tx, n| {
            async move {
                for step in 0..2 {
                    let row = (n * (1 + 2 * step) + step) % 4;
                    let hit = "UPDATE notes SET hits = hits + 1 WHERE n = $1";
                    execute(tx, hit, [row.into()]).await?;
                    pause(tx, 0.002).await?;
                }
                Ok::<_, TestError>(())
            }
            .boxed()
        })
    });
    for outcome in bounded("64 units", join_all(hits)).await {
        assert_eq!(outcome, Ok(()));
    }
}

/// Writes until told to stop; answers what was acknowledged.
async fn write_on(
    store: &SqlStore,
    from: i64,
    until: &tokio_util::sync::CancellationToken,
) -> BTreeSet<i64> {
    let mut acknowledged = BTreeSet::new();
    let mut n = from;
    while !until.is_cancelled() {
        if note(store, n).await.is_ok() {
            acknowledged.insert(n);
        } else {
            tokio::task::yield_now().await;
        }
        n += 1;
    }
    acknowledged
}

#[tokio::test]
async fn a_killed_server_comes_back_with_all_that_was_acknowledged() {
    let server = Server::start();
    let database = template(&server);
    let store = open(prompt(&server.url(&database)), DatabaseClock::Server).await;
    make_table(&store).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let faults = async {
        until_there_are(&store, 30).await;
        server.kill();
        let down = note(&store, -1).await;
        assert!(is_unknown(&down), "{down:?}");
        server.restart();
        until_noted(&store, -2).await;
        stop.cancel();
    };
    let all = async {
        tokio::join!(
            faults,
            write_on(&store, 0, &stop),
            write_on(&store, 1_000_000, &stop),
            write_on(&store, 2_000_000, &stop),
        )
    };
    let ((), a, b, c) = bounded("a kill and a restart", all).await;
    let acknowledged: BTreeSet<i64> = a.into_iter().chain(b).chain(c).collect();
    assert!(acknowledged.len() > 10, "{} writes", acknowledged.len());
    let rows = server.sql(&database, "SELECT n FROM notes");
    let rows: BTreeSet<i64> = rows.lines().map(|n| n.parse().expect("a number")).collect();
    let lost: Vec<_> = acknowledged.difference(&rows).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

#[tokio::test]
async fn a_server_that_hangs_is_answered_for_soon_and_then_at_once() {
    let server = Server::start();
    let database = template(&server);
    let store = open(prompt(&server.url(&database)), DatabaseClock::Server).await;
    make_table(&store).await;
    let begun = std::sync::Arc::new(tokio::sync::Notify::new());
    let under_way = store.write(std::sync::Arc::clone(&begun), |tx, begun| {
        async move {
            begun.notify_one();
            Ok::<_, TestError>(pause(tx, 3.0).await?)
        }
        .boxed()
    });
    let hangs = async {
        begun.notified().await;
        server.pause();
        // More than there are workers: some are running, some wait.
        join_all((0..20).map(|n| note(&store, n))).await
    };
    let both = async { tokio::join!(under_way, hangs) };
    let (cut, hung) = bounded("a hung server", both).await;
    assert!(was_cut_short(&cut), "{cut:?}");
    assert!(hung.iter().all(is_unknown), "{hung:?}");
    let urgent = store.write_urgent(50, |tx, n| super::units::insert(tx, *n).boxed());
    assert!(is_unknown(&bounded("an urgent unit", urgent).await));
    // Side by side, so that those that try are few.
    let all = join_all((100..200).map(|n| note(&store, n)));
    let all = bounded("units while it hangs", all).await;
    let refused = all.iter().filter(|outcome| is_refused_at_once(outcome));
    assert!(refused.count() >= 90, "{all:?}");

    server.resume();
    bounded("the way back", until_noted(&store, 200)).await;
    let outcomes = join_all((300..320).map(|n| note(&store, n))).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
}

#[tokio::test]
async fn connections_that_an_operator_ends_are_replaced() {
    let test = super::units::Notes::open().await;
    let stop = tokio_util::sync::CancellationToken::new();
    let database = test.database.name.clone();
    let faults = async {
        for round in 1..=5 {
            until_there_are(&test.store, 5 * round).await;
            end_connections(&database);
        }
        stop.cancel();
    };
    let all = async { tokio::join!(faults, write_on(&test.store, 0, &stop)) };
    let ((), acknowledged) = bounded("ended connections", all).await;
    assert!(acknowledged.len() > 10);
    let kept = notes(&test.store).await.expect("reads");
    assert!(kept >= acknowledged.len() as u64, "{kept}");
}

#[tokio::test]
async fn a_server_that_is_not_there_ends_the_start() {
    let opened = bounded(
        "a refused start",
        SqlStore::open(SqlSettings::new(NOWHERE), DatabaseClock::Server),
    );
    assert!(matches!(opened.await, Err(SqlError::Unavailable(_))));
}
