//! A batch: commands of one kind as one unit of work.
//!
//! It is decided as a whole and committed once, and refusals are outcomes like
//! all others. What was undone is split in two and run again, down to single
//! commands: so one that the database cannot take, or that panics, fails alone.
//! What may have happened is told to all of them as unknown, and their keys tell.
//!
//! A batch waits for no lock of a performance, a pass, a coupon or a wallet: the commands that
//! want one which somebody has are handed back, to wait elsewhere ([`super::sides`],
//! [`super::beside`]).
//! It and all that it is split into have one time together.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::domain::ids::ResourceId;
use crate::store::sales::SalesError;
use crate::store::sql::failure::Failure;
use crate::store::sql::list::Others;
use crate::store::sql::unit::{self, Turn, Unit};
use crate::store::sql::{SqlError, Tx};

/// A kind of command that can be done many at a time.
#[async_trait]
pub trait Kind: Send + Sync + 'static {
    type Command: Send + Sync + 'static;
    type Answer: Send + 'static;

    /// The performance that a command is about, if it names one.
    fn performance(_command: &Self::Command) -> Option<&ResourceId> {
        None
    }

    /// Locks what they are about. Answers for each whether it must wait, since
    /// somebody else has locked it, and then what it waits for by: its performance,
    /// or itself if it is about none.
    ///
    /// # Errors
    /// If nothing is known about any of them.
    async fn lock(
        _tx: &Tx,
        commands: &[&Self::Command],
        _others: Others,
    ) -> Result<Vec<Option<ResourceId>>, SalesError> {
        Ok(vec![None; commands.len()])
    }

    /// Decides all, in their order, each as if those before it were done; leaves
    /// what they change to be written. What they are about is locked.
    ///
    /// # Errors
    /// If nothing is known about any of them: then all of it is undone.
    async fn run(tx: &Tx, commands: &[&Self::Command]) -> Result<Outcomes<Self>, SalesError>;
}

/// One for each command.
pub type Outcomes<K> = Vec<Result<<K as Kind>::Answer, SalesError>>;

/// A command in a lane.
pub struct Waiting<K: Kind> {
    pub command: K::Command,
    /// Told that too many want the same if it waits beside its lane until then.
    pub until: Option<Instant>,
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
            until: None,
            turn,
            reply,
        }
    }

    /// Whether its caller still waits, and will from now on.
    pub fn begin(&self) -> bool {
        self.turn.begin()
    }

    pub fn answer(self, answer: Result<K::Answer, SalesError>) {
        // The caller may have gone.
        let _ = self.reply.send(answer);
    }
}

/// A command that must wait, and what it waits by.
pub type Aside<K> = (ResourceId, Waiting<K>);

struct Batch<K: Kind> {
    members: Vec<Waiting<K>>,
    others: Others,
    deadline: Option<Instant>,
    aside: Vec<Aside<K>>,
    /// `None` until it ran to its end.
    outcomes: Option<Result<Outcomes<K>, SalesError>>,
    over: oneshot::Sender<Over<K>>,
}

/// A batch whose transaction has ended.
struct Over<K: Kind> {
    members: Vec<Waiting<K>>,
    aside: Vec<Aside<K>>,
    outcomes: Option<Result<Outcomes<K>, SalesError>>,
    committed: Result<(), SqlError>,
}

impl<K: Kind> Batch<K> {
    /// Locks what is free, and decides about that.
    async fn decide(&mut self, tx: &Tx) -> Result<Outcomes<K>, SalesError> {
        let commands: Vec<&K::Command> = self.members.iter().map(|one| &one.command).collect();
        let locked = K::lock(tx, &commands, self.others).await?;
        let all = std::mem::take(&mut self.members);
        for (member, locked) in all.into_iter().zip(locked) {
            match locked {
                Some(performance) => self.aside.push((performance, member)),
                None => self.members.push(member),
            }
        }
        if self.members.is_empty() {
            return Ok(Vec::new());
        }
        let commands: Vec<&K::Command> = self.members.iter().map(|one| &one.command).collect();
        let outcomes = K::run(tx, &commands).await?;
        tx.send_deferred().await?;
        Ok(outcomes)
    }
}

#[async_trait]
impl<K: Kind> Unit for Batch<K> {
    fn begin(&self) -> bool {
        let begun = self.members.iter().filter(|member| member.begin());
        begun.count() > 0
    }

    async fn run(&mut self, tx: &Tx) -> bool {
        self.outcomes = None;
        // Who gave up was told so, and must not be done.
        self.members.retain(Waiting::begin);
        let outcomes = self.decide(tx).await;
        let changes_something =
            matches!(&outcomes, Ok(outcomes) if outcomes.iter().any(Result::is_ok));
        self.outcomes = Some(outcomes);
        changes_something
    }

    /// One that can still be split is not tried twice, but where all of it waits
    /// for the same.
    fn attempts_max(&self, failure: Failure) -> u32 {
        let waits = matches!(failure, Failure::Conflict | Failure::Locked);
        match self.others {
            Others::Await if waits => unit::ATTEMPTS_MAX,
            _ if self.members.len() <= 1 => unit::ATTEMPTS_MAX,
            _ => 1,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn answer(self: Box<Self>, committed: Result<(), SqlError>) {
        // The lane may have been torn down.
        let _ = self.over.send(Over {
            members: self.members,
            aside: self.aside,
            outcomes: self.outcomes,
            committed,
        });
    }
}

/// Runs them, in as many units as it takes, and answers them all; but hands back
/// those that must wait. All of it takes no longer than `within`: who has not
/// begun by then is told that too many want the same.
pub async fn run<K: Kind>(
    units: &mpsc::Sender<Box<dyn Unit>>,
    members: Vec<Waiting<K>>,
    others: Others,
    within: Option<Duration>,
) -> Vec<Aside<K>> {
    let deadline = within.map(|within| Instant::now() + within);
    let mut aside = Vec::new();
    // Whose turn it is, last; no more than a few, since each is half of the one
    // before.
    let mut batches = vec![members];
    while let Some(members) = batches.pop() {
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            refuse(members);
            continue;
        }
        let (over, fate) = oneshot::channel();
        let unit = Box::new(Batch {
            members,
            others,
            deadline,
            aside: Vec::new(),
            outcomes: None,
            over,
        });
        // Nobody takes it, or none of its callers waits any more: they hear
        // that it was dropped.
        if units.send(unit).await.is_err() {
            continue;
        }
        if let Ok(mut over) = fate.await {
            aside.append(&mut over.aside);
            if let Some(mut undone) = settle(over, others) {
                let second = undone.split_off(undone.len() / 2);
                batches.push(second);
                batches.push(undone);
            }
        }
    }
    aside
}

/// Tells them what a command hears that waited in vain.
pub fn refuse<K: Kind>(members: impl IntoIterator<Item = Waiting<K>>) {
    for member in members {
        member.answer(Err(SqlError::Contended.into()));
    }
}

/// Answers all of them, or gives back those that were undone together.
fn settle<K: Kind>(over: Over<K>, others: Others) -> Option<Vec<Waiting<K>>> {
    let members = over.members;
    let error = match (over.committed, over.outcomes) {
        (Ok(()), Some(Ok(outcomes))) => {
            for (member, outcome) in members.into_iter().zip(outcomes) {
                member.answer(outcome);
            }
            return None;
        }
        (Ok(()), _) if members.len() > 1 => return Some(members),
        // Where all of it waited for the same, so would its halves.
        (Err(SqlError::Contended), _) if members.len() > 1 && others == Others::Skip => {
            return Some(members);
        }
        (Ok(()), Some(Err(error))) => error,
        (Ok(()), None) => SqlError::Panicked.into(),
        (Err(error), _) => error.into(),
    };
    for member in members {
        member.answer(Err(error.clone()));
    }
    None
}
