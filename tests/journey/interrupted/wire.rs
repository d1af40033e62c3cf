//! On PostgreSQL and MariaDB, through a proxy.
//!
//! A command is found on the wire by the one before it, which has a key of its
//! own: both use the only connection of their pool, on which the next BEGIN is
//! the command's.

use futures_util::future::join_all;
use tokio::sync::watch;
use tonic::Code;
use usher::truth::proxy::{Direction, Effect, Link, Proxy, Rule, When};

use super::asked::assert_may_be_repeated;
use super::{Round, Rpc, Stage};
use crate::databases::{Database, Kind};
use crate::harness::{eventually, soon};

/// Where a transaction is broken into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// The caller goes while BEGIN is answered.
    Begin,
    /// While a statement is sent.
    Statement,
    /// While COMMIT is sent.
    Commit,
    /// COMMIT never arrives.
    CommitLost,
    /// COMMIT is done, and its answer never arrives.
    AnswerLost,
}

const MOMENTS: [Moment; 5] = [
    Moment::Begin,
    Moment::Statement,
    Moment::Commit,
    Moment::CommitLost,
    Moment::AnswerLost,
];

const GO_ON: Effect = Effect::Delay { delay_ms: 0 };

fn rule(direction: Direction, pattern: &[u8], effect: Effect) -> Rule {
    Rule {
        direction,
        pattern: pattern.to_vec(),
        when: When::Before,
        effect,
    }
}

impl Moment {
    fn goes(self) -> bool {
        matches!(self, Self::Begin | Self::Statement | Self::Commit)
    }

    /// `first` is in the command before; `own` in a statement of the command.
    fn rules(self, kind: Kind, first: &str, own: &str) -> Vec<Rule> {
        let words = kind.words();
        let up = |pattern: &[u8], effect| rule(Direction::Up, pattern, effect);
        let down = |pattern: &[u8], effect| rule(Direction::Down, pattern, effect);
        let commit = |effect| up(words.commit_asked, effect);
        let mut rules = vec![up(first.as_bytes(), GO_ON), commit(GO_ON)];
        let own = own.as_bytes();
        rules.extend(match self {
            Self::Begin => vec![down(words.begin_answered, Effect::Hold)],
            Self::Statement => vec![up(own, Effect::Hold)],
            Self::Commit => vec![up(own, GO_ON), commit(Effect::Hold)],
            Self::CommitLost => vec![up(own, GO_ON), commit(Effect::Cut)],
            Self::AnswerLost => vec![
                up(own, GO_ON),
                commit(GO_ON),
                down(words.commit_answered, Effect::Cut),
            ],
        });
        rules
    }
}

async fn interrupted(kind: Kind, rpc: Rpc) {
    let database = Database::new(kind);
    let proxy = Proxy::start(database.addr(), 1).await.expect("a port");
    let url = database.url_at(proxy.addr());
    let mut stage = Stage::open(&[("USHER_DATABASE_URL", &url)]).await;
    for moment in MOMENTS {
        println!("{kind:?} {rpc:?} {moment:?}");
        let round = stage.shop.prepare(rpc).await;
        interrupt(&stage, &proxy, kind, rpc, (moment, &round)).await;
        let happened = moment != Moment::CommitLost;
        stage.shop.settle(rpc, &round, Some(happened)).await;
        eventually("no transaction is forgotten", async || {
            (database.forgotten_transactions() == 0).then_some(())
        })
        .await;
    }
    stage.after_the_commit(rpc).await;
    stage.app.assert_audit_is_clean().await;
}

async fn interrupt(
    stage: &Stage,
    proxy: &Proxy,
    kind: Kind,
    rpc: Rpc,
    (moment, round): (Moment, &Round),
) {
    let first = format!("first-{:03}", round.number);
    // A gate has no key; of what it asks by this connection the next is its own.
    let own = match rpc {
        Rpc::Redeem => &round.reservation,
        Rpc::Hold | Rpc::Pay | Rpc::Cancel => &round.key,
    };
    let rules = moment.rules(kind, &first, own);
    let fired = proxy.progress().matched + rules.len() as u64;
    proxy.on_sequence(rules).expect("short patterns");
    stage.shop.ask_first(rpc, round, &first).await;
    if moment.goes() {
        let is_there = proxy.until(|progress| progress.matched >= fired);
        stage.ask_and_go(rpc, round, is_there).await;
        proxy.let_go();
    } else {
        let lost = stage.shop.ask(rpc, round).await.expect_err("not known");
        assert_eq!(lost.code(), Code::Unavailable, "{moment:?} {lost:?}");
        assert_may_be_repeated(&lost);
    }
    assert_eq!(proxy.progress().matched, fired, "{moment:?}");
}

/// Each way.
const LATENCY_MS: u64 = 15;
const JITTER_MS: u64 = 15;
const BUYERS: usize = 12;
/// All connections are cut again and again, when so many calls were answered.
const ANSWERS_PER_CUT: u32 = 9;

/// Hold, pay, give back: slower, and right.
async fn a_bad_link(kind: Kind) {
    let database = Database::new(kind);
    let proxy = Proxy::start(database.addr(), 1).await.expect("a port");
    let url = database.url_at(proxy.addr());
    let mut stage = Stage::open(&[
        ("USHER_DATABASE_URL", &url),
        ("USHER_DATABASE__CHECKOUT_CONNECTIONS", "4"),
        ("USHER_DATABASE__WRITE_CONNECTIONS", "4"),
    ])
    .await;
    let mut rounds = Vec::new();
    for number in 0..BUYERS {
        let rpc = [Rpc::Hold, Rpc::Pay, Rpc::Cancel][number % 3];
        rounds.push((rpc, stage.shop.prepare(rpc).await));
    }
    proxy.set_links(Link {
        delay_ms: LATENCY_MS,
        jitter_ms: JITTER_MS,
        ..Link::default()
    });
    let answered = watch::Sender::new(0);
    let (shop, count) = (&stage.shop, &answered);
    let go_on = rounds.iter().map(|(rpc, round)| async move {
        // Whoever is done goes on, so that there is always someone to cut off.
        while *count.borrow() < 5 * ANSWERS_PER_CUT {
            if let Err(status) = shop.ask(*rpc, round).await {
                assert_may_be_repeated(&status);
            }
            count.send_modify(|answers| *answers += 1);
        }
    });
    let everyone = join_all(go_on);
    let cuts = async {
        let mut answers = answered.subscribe();
        for cut in 1..=4 {
            let enough = answers.wait_for(|answers| *answers >= cut * ANSWERS_PER_CUT);
            drop(enough.await.expect("going on"));
            proxy.cut();
        }
    };
    let both = async { tokio::join!(everyone, cuts) };
    soon("all answers", both).await;
    proxy.set_links(Link::default());
    for (rpc, round) in &rounds {
        stage.shop.settle(*rpc, round, None).await;
    }
    stage.app.assert_audit_is_clean().await;
}

macro_rules! on {
    ($kind:ident: $($name:ident $rpc:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            interrupted(Kind::$kind, Rpc::$rpc).await;
        }
    )*};
}

mod postgres {
    use super::*;

    on! { Postgres:
        an_interrupted_hold_has_one_outcome Hold,
        an_interrupted_payment_has_one_outcome Pay,
        an_interrupted_cancellation_has_one_outcome Cancel,
        an_interrupted_redemption_has_one_outcome Redeem,
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_bad_link_to_the_database_is_slower_and_right() {
        a_bad_link(Kind::Postgres).await;
    }
}

mod mariadb {
    use super::*;

    on! { MariaDb:
        an_interrupted_hold_has_one_outcome Hold,
        an_interrupted_payment_has_one_outcome Pay,
        an_interrupted_cancellation_has_one_outcome Cancel,
        an_interrupted_redemption_has_one_outcome Redeem,
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_bad_link_to_the_database_is_slower_and_right() {
        a_bad_link(Kind::MariaDb).await;
    }
}
