//! What somebody else keeps locked, a database that is slow or lost: who waits,
//! who does not, and for how long.

use sea_orm::{ConnectionTrait, DbBackend};
use tokio::sync::{Notify, Semaphore};

use super::*;
use crate::domain::ids::ActivationId;
use crate::domain::sale::command::SeatChoice;
use crate::domain::sale::ledger::Account;
use crate::store::sales::Wallets;
use crate::store::sales::conformance::coupons::campaign_of;
use crate::store::sales::conformance::fixture::{ids, money, user};
use crate::store::sql::locks;
use crate::store::sql::sales::ledger;
use crate::store::sql::unit::Turn;

/// Shorter than the time-out of locks in these tests, long enough for all else.
const PATIENCE: Duration = Duration::from_secs(12);

fn seat(number: usize) -> SeatChoice {
    SeatChoice::Named(ids(&[&format!("s1-r1-{number}")]))
}

/// One lane, whose next batch is the next four commands.
fn four(settings: &mut SqlSettings) {
    settings.checkout_connections = 1;
    settings.gather_delay_ms = 10_000;
    settings.gather_max = 4;
}

/// With time-outs that a test can wait for.
fn hasty(settings: &mut SqlSettings) {
    settings.checkout_connections = 1;
    settings.lock_timeout_ms = 1_000;
    settings.unit_timeout_ms = 1_500;
}

/// What a unit of another node keeps locked.
struct Kept {
    performances: Vec<ResourceId>,
    passes: Vec<ActivationId>,
    coupons: Vec<ResourceId>,
    wallets: Vec<Account>,
    is_locked: Notify,
    let_go: Semaphore,
}

impl Kept {
    fn performance(id: &ResourceId) -> Arc<Self> {
        let performances = vec![id.clone()];
        Arc::new(Self {
            performances,
            ..Self::new()
        })
    }

    fn new() -> Self {
        Self {
            performances: Vec::new(),
            passes: Vec::new(),
            coupons: Vec::new(),
            wallets: Vec::new(),
            is_locked: Notify::new(),
            let_go: Semaphore::new(0),
        }
    }
}

impl World {
    /// Runs `meanwhile` while another node keeps that locked, until it lets go.
    async fn while_kept<T>(&self, kept: &Arc<Kept>, meanwhile: impl Future<Output = T>) -> T {
        let settings = SqlSettings {
            statement_timeout_ms: 60_000,
            unit_timeout_ms: 60_000,
            ..SqlSettings::new(&self.url)
        };
        let node = SqlStore::open(settings, DatabaseClock::Server).await;
        let node = node.expect("opens");
        let keeping = node.write(Arc::clone(kept), |tx: &Tx, kept: &Arc<Kept>| {
            async move {
                locks::performances(tx, &kept.performances).await?;
                locks::activations(tx, kept.passes.iter().copied()).await?;
                locks::coupons(tx, &kept.coupons).await?;
                let wallets = kept
                    .wallets
                    .iter()
                    .map(|wallet| (wallet, money(1).currency));
                ledger::lock(tx, wallets).await?;
                kept.is_locked.notify_one();
                let _let_go = kept.let_go.acquire().await;
                Ok::<_, SalesError>(())
            }
            .boxed()
        });
        let meanwhile = async {
            kept.is_locked.notified().await;
            let done = meanwhile.await;
            kept.let_go.add_permits(1);
            done
        };
        let (keeping, done) = tokio::join!(keeping, meanwhile);
        keeping.expect("was not cut");
        done
    }

    /// In one batch while that is kept: the last waits, and the others do not.
    async fn others_go_on<T: std::fmt::Debug>(
        &self,
        kept: &Arc<Kept>,
        mut calls: Vec<BoxFuture<'_, Result<T, SalesError>>>,
    ) {
        let mut stuck = calls.pop().expect("four");
        let others = self.while_kept(kept, async {
            tokio::select! {
                biased;
                others = timeout(PATIENCE, join_all(calls)) => others.expect("they do not wait"),
                stuck = &mut stuck => panic!("what is locked was changed: {stuck:?}"),
            }
        });
        for outcome in others.await {
            outcome.expect("is not locked");
        }
        let last = timeout(PATIENCE, stuck).await.expect("was let go");
        last.expect("is not locked any more");
    }
}

async fn on_each_server(
    change: fn(&mut SqlSettings),
    case: impl for<'a> Fn(&'a World) -> BoxFuture<'a, ()>,
) {
    for world in [on_postgres(change).await, on_mariadb(change).await] {
        case(&world).await;
        world.sale.assert_clean_audit("waiting").await;
    }
}

#[tokio::test]
async fn a_locked_performance_delays_no_others_hold() {
    on_each_server(four, |world| {
        async move {
            let sale = &world.sale;
            let locked = sale.performance().await;
            let mut calls = Vec::new();
            for n in 1..=3 {
                let free = sale.performance().await;
                let command = sale.holding(&format!("user{n}"), &free, seat(1));
                calls.push(world.store.hold_seats(command));
            }
            let command = sale.holding("ann", &locked, seat(1));
            calls.push(world.store.hold_seats(command));
            world.others_go_on(&Kept::performance(&locked), calls).await;
        }
        .boxed()
    })
    .await;
}

#[tokio::test]
async fn a_locked_performance_delays_no_others_payment() {
    on_each_server(four, |world| {
        async move {
            let sale = &world.sale;
            let mut performances = Vec::new();
            let mut holds = Vec::new();
            // Together, as the next batch of top-ups is.
            let users = (1..=4).map(|n| format!("user{n}"));
            let deposits = users.map(|user| world.store.top_up(sale.deposit(&user, money(1_000))));
            for made in join_all(deposits).await {
                made.expect("fits");
            }
            for n in 1..=4 {
                let performance = sale.performance().await;
                let user = format!("user{n}");
                holds.push(sale.holding(&user, &performance, seat(n)));
                performances.push(performance);
            }
            let mut calls = Vec::new();
            for (n, held) in (1..).zip(world.together::<Holds>(holds).await) {
                let held = held.expect("holds").reservation.id;
                let command = sale.paying(&format!("user{n}"), &held);
                calls.push(world.store.pay_reservation(command));
            }
            let kept = Kept::performance(&performances[3]);
            world.others_go_on(&kept, calls).await;
        }
        .boxed()
    })
    .await;
}

#[tokio::test]
async fn a_locked_pass_delays_nobody_else() {
    on_each_server(four, |world| {
        async move {
            let sale = &world.sale;
            let performance = sale.performance().await;
            let room = sale.protect(&performance).await;
            let mut kept = Kept::new();
            let mut calls = Vec::new();
            for n in 1..=4 {
                let user = format!("user{n}");
                let pass = sale.activate(&room, &user, 0, 600_000).await;
                kept.passes = vec![pass];
                let command = HoldSeats {
                    activation: Some(pass),
                    ..sale.holding(&user, &performance, seat(n))
                };
                calls.push(world.store.hold_seats(command));
            }
            world.others_go_on(&Arc::new(kept), calls).await;
        }
        .boxed()
    })
    .await;
}

/// Of one performance, which the lane must not keep while it waits for a coupon.
#[tokio::test]
async fn a_locked_coupon_delays_no_others_payment() {
    on_each_server(four, |world| {
        async move {
            let sale = &world.sale;
            let performance = sale.performance().await;
            let campaign = sale.campaign(campaign_of(4)).await.id;
            let users = [1, 2, 3, 4].map(|n| format!("user{n}"));
            let deposits = users.iter().map(|who| sale.deposit(who, money(1_000)));
            join_all(deposits.map(|deposit| world.store.top_up(deposit))).await;
            let issued = join_all(users.iter().map(|who| sale.issue(who, &campaign))).await;
            let holds = (1..).zip(&users);
            let holds = holds.map(|(n, who)| sale.holding(who, &performance, seat(n)));
            let held = world.together::<Holds>(holds.collect()).await;
            let (mut kept, mut calls) = (Kept::new(), Vec::new());
            for ((who, issued), held) in users.iter().zip(issued).zip(held) {
                let coupon = issued.expect("issued").coupon.id;
                let held = held.expect("holds").reservation.id;
                let command = sale.paying_with(who, &held, &coupon);
                calls.push(world.store.pay_reservation(command));
                kept.coupons = vec![coupon];
            }
            world.others_go_on(&Arc::new(kept), calls).await;
        }
        .boxed()
    })
    .await;
}

fn wallet(who: &str) -> Account {
    Account::User(user(who))
}

#[tokio::test]
async fn a_locked_wallet_delays_no_others_top_up() {
    on_each_server(four, |world| {
        async move {
            let sale = &world.sale;
            let users = ["ann", "bob", "cat", "dan"];
            let deposit = |who| world.store.top_up(sale.deposit(who, money(100)));
            for made in join_all(users.map(deposit)).await {
                made.expect("fits");
            }
            let kept = Kept {
                wallets: vec![wallet("dan")],
                ..Kept::new()
            };
            let calls = users.map(|who| world.store.top_up(sale.deposit(who, money(10))));
            world.others_go_on(&Arc::new(kept), calls.into()).await;
            for who in users {
                let balance = world.store.balance(user(who), money(1).currency).await;
                assert_eq!(balance, Ok(money(110)));
            }
        }
        .boxed()
    })
    .await;
}

#[tokio::test]
async fn a_wallet_that_stays_locked_refuses_its_own_top_ups_alone() {
    on_each_server(hasty, |world| {
        async move {
            let sale = &world.sale;
            sale.top_up("ann", 100).await;
            let kept = Kept {
                wallets: vec![wallet("ann")],
                ..Kept::new()
            };
            let meanwhile = async {
                let stuck = world.store.top_up(sale.deposit("ann", money(10))).await;
                assert_eq!(stuck.unwrap_err(), SalesError::Overloaded);
                sale.top_up("bob", 5).await;
            };
            world.while_kept(&Arc::new(kept), meanwhile).await;
            sale.top_up("ann", 1).await;
        }
        .boxed()
    })
    .await;
}

/// Those who want what is locked hear that too many want the same; meanwhile
/// and afterwards all is as if they had not come.
#[tokio::test]
async fn who_waits_in_vain_is_told_so_and_nothing_happened() {
    on_each_server(hasty, |world| {
        async move {
            let sale = &world.sale;
            let (locked, free) = (sale.performance().await, sale.performance().await);
            let kept = Kept::performance(&locked);
            let meanwhile = async {
                let calls = (1..=5).map(|n| {
                    let command = sale.holding(&format!("user{n}"), &locked, seat(n));
                    world.store.hold_seats(command)
                });
                for refused in join_all(calls).await {
                    assert_eq!(refused, Err(SalesError::Overloaded));
                }
                let held = world.store.hold_seats(sale.holding("ann", &free, seat(1)));
                held.await.expect("the database answers");
            };
            world.while_kept(&kept, meanwhile).await;
            for n in 1..=5 {
                let command = sale.holding(&format!("later{n}"), &locked, seat(n));
                let held = world.store.hold_seats(command).await;
                held.expect("nobody has it");
            }
        }
        .boxed()
    })
    .await;
}

/// Commands of a test that fail in some way, and note with how many they ran.
struct Failing;

#[derive(Clone)]
struct Fails {
    how: How,
    runs: Arc<Mutex<Vec<usize>>>,
}

#[derive(Clone, Copy)]
enum How {
    /// After a while.
    Late,
    /// With their connection.
    Lost,
    /// By the time-out of a statement.
    Slow,
}

#[async_trait]
impl Kind for Failing {
    type Command = Fails;
    type Answer = ();

    async fn run(tx: &Tx, commands: &[&Fails]) -> Result<Outcomes<Self>, SalesError> {
        let runs = &commands[0].runs;
        runs.lock().expect("whole").push(commands.len());
        let on_postgres = tx.get_database_backend() == DbBackend::Postgres;
        let statement = match (commands[0].how, on_postgres) {
            (How::Late, true) => "SELECT pg_sleep(0.4)",
            (How::Late, false) => "DO SLEEP(0.4)",
            (How::Lost, true) => "SELECT pg_terminate_backend(pg_backend_pid())",
            (How::Lost, false) => "KILL CONNECTION_ID()",
            (How::Slow, true) => "SELECT pg_sleep(30)",
            (How::Slow, false) => "SELECT SLEEP(30)",
        };
        tx.execute_unprepared(statement).await?;
        Err(SalesError::Unavailable("planted".to_owned()))
    }
}

/// How many ran each time, and what they were told.
async fn fail(
    world: &World,
    how: How,
    within: Duration,
) -> (Vec<usize>, Vec<Result<(), SalesError>>) {
    let runs = Arc::new(Mutex::new(Vec::new()));
    let (mut members, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..8 {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let command = Fails {
            how,
            runs: Arc::clone(&runs),
        };
        let turn = Turn::new(&Arc::default());
        members.push(Waiting::<Failing>::new(command, turn, reply));
        answers.push(answer);
    }
    let lane = &world.store.queues.checkout[0];
    let aside = batch::run(lane, members, Others::Skip, Some(within)).await;
    assert!(aside.is_empty());
    let answers = join_all(answers).await.into_iter();
    let answers = answers.map(|answer| answer.expect("answered")).collect();
    let runs = runs.lock().expect("whole").clone();
    (runs, answers)
}

/// Else its parts would fail one after the other for six seconds.
#[tokio::test]
async fn a_batch_and_its_parts_have_one_time() {
    on_each_server(
        |_| {},
        |world| {
            async move {
                let (runs, answers) = fail(world, How::Late, Duration::from_secs(1)).await;
                assert_eq!(runs[0], 8);
                assert!(runs.len() <= 3, "{runs:?}");
                assert!(answers.iter().all(Result::is_err), "{answers:?}");
                assert_eq!(answers[7], Err(SalesError::Overloaded), "never begun");
                assert!(!world.is_taken_for_lost(), "it answered");
            }
            .boxed()
        },
    )
    .await;
}

#[tokio::test]
async fn a_database_that_is_lost_or_slow_is_not_asked_by_every_part() {
    let hasty = |settings: &mut SqlSettings| settings.statement_timeout_ms = 700;
    on_each_server(hasty, |world| {
        async move {
            for (how, times) in [(How::Lost, 3), (How::Slow, 1)] {
                let (runs, answers) = fail(world, how, Duration::from_secs(40)).await;
                assert_eq!(runs, vec![8; times]);
                let unknown = |one| matches!(one, &Err(SalesError::Unavailable(_)));
                assert!(answers.iter().all(unknown), "{answers:?}");
                assert!(world.is_taken_for_lost());
            }
        }
        .boxed()
    })
    .await;
}

impl World {
    fn is_taken_for_lost(&self) -> bool {
        let health = self.store.queues.health.as_ref();
        health.expect("a server's").is_open()
    }
}
