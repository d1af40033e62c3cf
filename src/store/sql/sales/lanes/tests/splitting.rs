//! What is undone is split; commands that wait are one batch.

use super::*;
use crate::domain::sale::command::SeatChoice;
use crate::store::sales::conformance::fixture::ids;
use crate::store::sql::unit::Turn;

fn seat(row: usize, number: usize) -> SeatChoice {
    SeatChoice::Named(ids(&[&format!("s1-r{row}-{number}")]))
}

/// One that the database cannot take: its id is another hold's.
#[tokio::test]
async fn a_poisoned_hold_fails_alone() {
    on_each_with(gathers, |world| poisoned(world).boxed()).await;
}

fn gathers(settings: &mut SqlSettings) {
    settings.checkout_connections = 1;
    settings.gather_delay_ms = 5_000;
    settings.gather_max = 20;
}

async fn poisoned(world: &World) {
    let sale = &world.sale;
    let section = crate::store::sales::conformance::fixture::section;
    let made = sale
        .performance_with(|terms| terms.sections = vec![section("All", 1, &[20, 20])])
        .await;
    let before = world
        .together::<Holds>(vec![sale.holding("before", &made.id, seat(2, 1))])
        .await;
    let taken_id = before[0].as_ref().expect("holds").reservation.id.clone();
    let calls = (1..=20).map(|n| {
        let mut command = sale.holding(&format!("user{n}"), &made.id, seat(1, n));
        if n == 7 {
            command.id = taken_id.clone();
        }
        world.store.hold_seats(command)
    });
    for (n, outcome) in (1..=20).zip(join_all(calls).await) {
        match n {
            7 => assert!(
                matches!(outcome, Err(SalesError::Unavailable(_))),
                "{outcome:?}"
            ),
            _ => assert!(outcome.is_ok(), "{n}: {outcome:?}"),
        }
    }
}

/// Commands of a test: some panic, and all note with whom they ran.
struct Bombs;

#[derive(Clone)]
struct Bomb {
    number: usize,
    explodes: bool,
    runs: Arc<Mutex<Vec<Vec<usize>>>>,
}

#[async_trait]
impl Kind for Bombs {
    type Command = Bomb;
    type Answer = usize;

    async fn run(_tx: &Tx, commands: &[&Bomb]) -> Result<Outcomes<Self>, SalesError> {
        let numbers = commands.iter().map(|bomb| bomb.number).collect();
        commands[0].runs.lock().expect("whole").push(numbers);
        assert!(commands.iter().all(|bomb| !bomb.explodes), "planted");
        Ok(commands.iter().map(|bomb| Ok(bomb.number)).collect())
    }
}

#[tokio::test]
async fn a_command_that_panics_fails_alone() {
    on_each(|world| exploding(world).boxed()).await;
}

async fn exploding(world: &World) {
    let runs = Arc::new(Mutex::new(Vec::new()));
    let (mut members, mut answers) = (Vec::new(), Vec::new());
    for number in 0..8 {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let bomb = Bomb {
            number,
            explodes: number == 5,
            runs: Arc::clone(&runs),
        };
        let turn = Turn::new(&Arc::default());
        members.push(Waiting::<Bombs>::new(bomb, turn, reply));
        answers.push(answer);
    }
    batch::run(&world.store.queues.checkout[0], members, Others::Skip, None).await;
    for (number, answer) in answers.into_iter().enumerate() {
        let answer = answer.await.expect("answered");
        match number {
            5 => assert!(
                matches!(answer, Err(SalesError::Unavailable(_))),
                "{answer:?}"
            ),
            _ => assert_eq!(answer, Ok(number)),
        }
    }
    let runs = runs.lock().expect("whole").clone();
    let expected: [&[usize]; 7] = [
        &[0, 1, 2, 3, 4, 5, 6, 7],
        &[0, 1, 2, 3],
        &[4, 5, 6, 7],
        &[4, 5],
        &[4],
        &[5],
        &[6, 7],
    ];
    assert_eq!(runs, expected, "halves, in their order");
}

/// Who gave up was told that nothing happened.
#[tokio::test]
async fn a_command_whose_caller_gave_up_is_not_done() {
    on_each(|world| given_up(world).boxed()).await;
}

async fn given_up(world: &World) {
    let runs = Arc::new(Mutex::new(Vec::new()));
    let mut members = Vec::new();
    let mut answers = Vec::new();
    for number in 0..3 {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let bomb = Bomb {
            number,
            explodes: false,
            runs: Arc::clone(&runs),
        };
        let turn = Turn::new(&Arc::default());
        if number == 1 {
            assert!(turn.give_up());
        }
        members.push(Waiting::<Bombs>::new(bomb, turn, reply));
        answers.push(answer);
    }
    batch::run(&world.store.queues.checkout[0], members, Others::Skip, None).await;
    let answered = join_all(answers).await;
    assert!(answered[1].is_err(), "nobody is there to be told");
    assert_eq!(runs.lock().expect("whole").clone(), [[0, 2]]);
}

fn limits(gather_max: usize, gather_delay: Duration) -> Limits {
    Limits {
        batch_timeout: None,
        gather_max,
        gather_delay,
        stop: CancellationToken::new(),
    }
}

#[tokio::test]
async fn commands_that_wait_are_gathered_up_to_the_limit() {
    let (sender, mut queue) = mpsc::channel(10);
    for n in 1..=6 {
        sender.send(n).await.expect("fits");
    }
    let first = gather(0, &mut queue, &limits(4, Duration::ZERO)).await;
    assert_eq!(first, [0, 1, 2, 3]);
    let rest = gather(0, &mut queue, &limits(9, Duration::ZERO)).await;
    assert_eq!(rest, [0, 4, 5, 6]);
}

#[tokio::test(start_paused = true)]
async fn a_delay_waits_for_more_and_is_bounded() {
    let (sender, mut queue) = mpsc::channel(10);
    let delay = Duration::from_millis(10);
    let limits = limits(3, delay);
    let begun = tokio::time::Instant::now();
    assert_eq!(gather(0, &mut queue, &limits).await, [0]);
    assert_eq!(begun.elapsed(), delay);
    let late = async {
        tokio::time::advance(delay / 2).await;
        sender.send(1).await.expect("fits");
        sender.send(2).await.expect("fits");
    };
    let (gathered, ()) = tokio::join!(gather(0, &mut queue, &limits), late);
    assert_eq!(gathered, [0, 1, 2], "full before the time is over");
    assert_eq!(begun.elapsed(), delay + delay / 2);
    limits.stop.cancel();
    assert_eq!(gather(0, &mut queue, &limits).await, [0]);
    assert_eq!(begun.elapsed(), delay + delay / 2, "nothing more comes");
}

/// Callers that go before their answer change nothing about a batch.
#[tokio::test]
async fn abandoned_holds_are_made_all_the_same() {
    on_each(|world| abandoned(world).boxed()).await;
}

async fn abandoned(world: &World) {
    let sale = &world.sale;
    let performance = sale.performance().await;
    let mut commands = Vec::new();
    for n in 1..=5 {
        let command = sale.holding(&format!("user{n}"), &performance, seat(1, n));
        let mut call = Box::pin(world.store.hold_seats(command.clone()));
        let _ = futures_util::poll!(&mut call);
        commands.push(command);
    }
    for command in commands {
        let held = world
            .store
            .hold_seats(command.clone())
            .await
            .expect("the answer kept");
        assert_eq!(held.reservation.id, command.id);
    }
}

#[tokio::test]
async fn a_shutdown_finishes_what_waits() {
    on_each_with(gathers, |world| {
        async move {
            let sale = &world.sale;
            let performance = sale.performance().await;
            let calls = (1..=5).map(|n| {
                let command = sale.holding(&format!("user{n}"), &performance, seat(1, n));
                world.store.hold_seats(command)
            });
            let all = join_all(calls);
            let queued = async {
                // After all of them were polled once.
                tokio::task::yield_now().await;
                world.store.lanes.finish().await;
            };
            let (outcomes, ()) = tokio::join!(all, queued);
            assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
            let late = sale.hold("late", &performance, &["s1-r2-1"]).await;
            assert!(matches!(late, Err(SalesError::Unavailable(_))), "{late:?}");
        }
        .boxed()
    })
    .await;
}
