//! One fault for each seed, most of them between the decision about a batch of
//! coupons and the answer to its COMMIT.
//!
//! Such a batch is found on its way to the database by the names of its users; the
//! next COMMIT on its connection is its own. There it is cut, or held while the node
//! is killed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::timeout;
use usher::truth::proxy::{Direction, Effect, Flow, Link, Rule, When};

use super::stage::{NODES, Stage};
use super::{Crowd, number};
use crate::databases::Kind;
use crate::harness::soon;

/// Seeds; `USHER_COUPON_SEEDS` says more.
const SEEDS: usize = 50;
/// The first of them; `USHER_COUPON_SEED` says another.
const FIRST_SEED: usize = 20_261_122;
const USERS: usize = 40;
/// While a transaction of the node that is cut off keeps the campaign nobody else gets on.
const CUT_OFF_MAX: Duration = Duration::from_millis(300);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// COMMIT never arrives.
    CommitCut,
    /// COMMIT is done, and its answer never arrives.
    AnswerCut,
    /// kill -9 when all was decided; COMMIT never arrives.
    KilledBeforeCommit,
    /// kill -9 while COMMIT is on its way; it arrives.
    KilledAtCommit,
    /// kill -9 when COMMIT is done, and nobody was told.
    KilledAfterCommit,
    /// kill -9 while some were told.
    KilledAnytime,
    /// The way to the database stalls inside a transaction, and goes on.
    CutOff,
    /// As before, and its connections are lost.
    CutOffForGood,
    RedisWiped,
    RedisKilled,
}

use Fault::{
    AnswerCut, CommitCut, CutOff, CutOffForGood, KilledAfterCommit, KilledAnytime, KilledAtCommit,
    KilledBeforeCommit, RedisKilled, RedisWiped,
};

const FAULTS: [Fault; 10] = [
    CommitCut,
    AnswerCut,
    KilledBeforeCommit,
    KilledAtCommit,
    KilledAfterCommit,
    KilledAnytime,
    CutOff,
    CutOffForGood,
    RedisWiped,
    RedisKilled,
];

impl Fault {
    /// Of Redis alone, which coupons have nothing to do with.
    fn is_beside(self) -> bool {
        matches!(self, RedisWiped | RedisKilled)
    }

    /// What happens to the first batch with these names.
    fn rules(self, kind: Kind, marker: &str) -> Vec<Rule> {
        let words = kind.words();
        let rule = |direction, pattern: &[u8], effect| Rule {
            direction,
            pattern: pattern.to_vec(),
            when: When::Before,
            effect,
        };
        let go_on = Effect::Delay { delay_ms: 0 };
        let own = rule(Direction::Up, marker.as_bytes(), go_on);
        let commit = |effect| rule(Direction::Up, words.commit_asked, effect);
        let answer = |effect| rule(Direction::Down, words.commit_answered, effect);
        match self {
            CommitCut => vec![own, commit(Effect::Cut)],
            AnswerCut => vec![own, commit(go_on), answer(Effect::Cut)],
            KilledBeforeCommit | KilledAtCommit => vec![own, commit(Effect::Hold)],
            KilledAfterCommit => vec![own, commit(go_on), answer(Effect::Hold)],
            CutOff | CutOffForGood => vec![own],
            KilledAnytime | RedisWiped | RedisKilled => Vec::new(),
        }
    }
}

/// What a seed says.
#[derive(Debug, Clone, Copy)]
struct Plan {
    fault: Fault,
    node: usize,
    stock: u64,
    /// Where nothing on the wire says when: after so many answers.
    answers: usize,
}

impl Plan {
    fn of(seed: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(seed as u64);
        Self {
            // Each as often as the others.
            fault: FAULTS[seed % FAULTS.len()],
            node: rng.random_range(0..NODES),
            stock: *[1, 10, 25, 40, 100].choose(&mut rng).expect("some"),
            answers: rng.random_range(1..USERS),
        }
    }
}

impl Stage {
    /// Whether it struck: all may be told before a node has a batch of its own.
    async fn strike(&mut self, plan: Plan, crowd: &Crowd) -> bool {
        let Plan { fault, node, .. } = plan;
        let rules = fault.rules(self.kind, &crowd.marker);
        if rules.is_empty() {
            crowd.answered(plan.answers).await;
        } else {
            let proxy = &self.berths[node].proxy;
            let goal = proxy.progress().matched + rules.len() as u64;
            proxy.on_sequence(rules).expect("short patterns");
            let fired = tokio::select! {
                () = proxy.until(|progress| progress.matched >= goal) => true,
                () = crowd.answered(crowd.presses()) => proxy.progress().matched >= goal,
            };
            if !fired {
                proxy.forget_matches();
                proxy.let_go();
                return false;
            }
        }
        self.do_it(fault, node, crowd).await;
        true
    }

    async fn do_it(&mut self, fault: Fault, node: usize, crowd: &Crowd) {
        match fault {
            CommitCut | AnswerCut => {}
            KilledBeforeCommit | KilledAfterCommit | KilledAnytime => {
                self.kill(node).await;
                self.berths[node].proxy.cut();
            }
            KilledAtCommit => {
                self.kill(node).await;
                self.berths[node].proxy.let_go();
            }
            CutOff | CutOffForGood => {
                let proxy = &self.berths[node].proxy;
                let stalls = Link {
                    flow: Flow::Stall,
                    ..Link::default()
                };
                proxy.set_links(stalls);
                let _ = timeout(CUT_OFF_MAX, crowd.answered(crowd.presses())).await;
                if fault == CutOffForGood {
                    proxy.cut();
                }
                proxy.set_links(Link::default());
            }
            RedisWiped => drop(self.redis.cli(&["FLUSHALL"])),
            RedisKilled => self.redis.kill(),
        }
    }

    async fn mend(&mut self, plan: Plan) {
        if plan.fault == RedisKilled {
            self.redis.restart();
        }
        self.replace(plan.node).await;
    }
}

async fn survives_each_fault(kind: Kind) {
    let mut stage = Stage::open(kind).await;
    let first = number("USHER_COUPON_SEED", FIRST_SEED);
    let seeds = number("USHER_COUPON_SEEDS", SEEDS);
    let mut struck = 0;
    for seed in first..first + seeds {
        let plan = Plan::of(seed);
        println!("USHER_COUPON_SEED={seed}: {plan:?}");
        let crowd = Crowd::of(&stage, &format!("u{seed}-"), plan.stock, USERS).await;
        let doors = stage.doors();
        let storm = async { tokio::join!(crowd.press(&doors), stage.strike(plan, &crowd)) };
        let (pressed, has_struck) = soon("all answers", storm).await;
        stage.mend(plan).await;
        let issued = crowd.compare(&stage, &pressed);
        println!("struck: {has_struck}, pressed again: {}", issued.repeated);
        if plan.fault.is_beside() {
            assert_eq!(issued.repeated, 0, "nobody noticed");
        }
        struck += usize::from(has_struck);
    }
    println!("{struck} of {seeds} seeds struck");
    assert!(struck * 2 > seeds, "{struck} of {seeds}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_costs_or_doubles_a_coupon_on_postgres() {
    survives_each_fault(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_costs_or_doubles_a_coupon_on_mariadb() {
    survives_each_fault(Kind::MariaDb).await;
}
