//! A batch: commands of one kind as one unit of work.
//!
//! It is decided as a whole and committed once, and refusals are outcomes like
//! all others. What was undone is split in two and run again, down to single
//! commands: so one that the database cannot take, or that panics, fails alone.
//! What may have happened is told to all of them as unknown, and their keys tell.

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use crate::store::sales::SalesError;
use crate::store::sql::unit::{Turn, Unit};
use crate::store::sql::{SqlError, Tx};

/// Of a unit that can still be split: its halves are tried next, so that those who
/// want what somebody else keeps locked wait alone.
const ATTEMPTS_MAX: u32 = 1;

/// A kind of command that can be done many at a time.
#[async_trait]
pub trait Kind: Send + Sync + 'static {
    type Command: Send + Sync + 'static;
    type Answer: Send + 'static;

    /// Decides all, in their order, each as if those before it were done; leaves
    /// what they change to be written.
    ///
    /// # Errors
    /// If nothing is known about any of them: then all of it is undone.
    async fn run(tx: &Tx, commands: &[&Self::Command]) -> Result<Outcomes<Self>, SalesError>;
}

/// One for each command.
pub type Outcomes<K> = Vec<Result<<K as Kind>::Answer, SalesError>>;

/// A command in a lane.
pub struct Waiting<K: Kind> {
    command: K::Command,
    turn: Turn,
    reply: oneshot::Sender<Result<K::Answer, SalesError>>,
}

impl<K: Kind> Waiting<K> {
    pub fn new(
        command: K::Command,
        turn: Turn,
        reply: oneshot::Sender<Result<K::Answer, SalesError>>,
    ) -> Self {
        Self {
            command,
            turn,
            reply,
        }
    }

    fn answer(self, answer: Result<K::Answer, SalesError>) {
        // The caller may have gone.
        let _ = self.reply.send(answer);
    }
}

struct Batch<K: Kind> {
    members: Vec<Waiting<K>>,
    /// `None` until it ran to its end.
    outcomes: Option<Result<Outcomes<K>, SalesError>>,
    over: oneshot::Sender<Over<K>>,
}

/// A batch whose transaction has ended.
struct Over<K: Kind> {
    members: Vec<Waiting<K>>,
    outcomes: Option<Result<Outcomes<K>, SalesError>>,
    committed: Result<(), SqlError>,
}

#[async_trait]
impl<K: Kind> Unit for Batch<K> {
    fn begin(&self) -> bool {
        let begun = self.members.iter().filter(|member| member.turn.begin());
        begun.count() > 0
    }

    async fn run(&mut self, tx: &Tx) -> bool {
        self.outcomes = None;
        // Who gave up was told so, and must not be done.
        self.members.retain(|member| member.turn.begin());
        let commands: Vec<&K::Command> = self.members.iter().map(|one| &one.command).collect();
        let mut outcomes = K::run(tx, &commands).await;
        if outcomes.is_ok()
            && let Err(error) = tx.send_deferred().await
        {
            outcomes = Err(error.into());
        }
        let changes_something =
            matches!(&outcomes, Ok(outcomes) if outcomes.iter().any(Result::is_ok));
        self.outcomes = Some(outcomes);
        changes_something
    }

    fn attempts_max(&self) -> u32 {
        match self.members.len() {
            0 | 1 => crate::store::sql::unit::ATTEMPTS_MAX,
            _ => ATTEMPTS_MAX,
        }
    }

    fn answer(self: Box<Self>, committed: Result<(), SqlError>) {
        // The lane may have been torn down.
        let _ = self.over.send(Over {
            members: self.members,
            outcomes: self.outcomes,
            committed,
        });
    }
}

/// Runs them, in as many units as it takes, and answers them all.
pub async fn run<K: Kind>(units: &mpsc::Sender<Box<dyn Unit>>, members: Vec<Waiting<K>>) {
    // Whose turn it is, last; no more than a few, since each is half of the one
    // before.
    let mut batches = vec![members];
    while let Some(members) = batches.pop() {
        let (over, fate) = oneshot::channel();
        let unit = Box::new(Batch {
            members,
            outcomes: None,
            over,
        });
        // Nobody takes it, or none of its callers waits any more: they hear
        // that it was dropped.
        if units.send(unit).await.is_err() {
            continue;
        }
        if let Ok(over) = fate.await
            && let Some(mut undone) = settle(over)
        {
            let second = undone.split_off(undone.len() / 2);
            batches.push(second);
            batches.push(undone);
        }
    }
}

/// Answers all of them, or gives back those that were undone together.
fn settle<K: Kind>(over: Over<K>) -> Option<Vec<Waiting<K>>> {
    let members = over.members;
    let error = match (over.committed, over.outcomes) {
        (Ok(()), Some(Ok(outcomes))) => {
            for (member, outcome) in members.into_iter().zip(outcomes) {
                member.answer(outcome);
            }
            return None;
        }
        (Ok(()) | Err(SqlError::Contended), _) if members.len() > 1 => return Some(members),
        (Ok(()), Some(Err(error))) => error,
        (Ok(()), None) => SqlError::Panicked.into(),
        (Err(error), _) => error.into(),
    };
    for member in members {
        member.answer(Err(error.clone()));
    }
    None
}
