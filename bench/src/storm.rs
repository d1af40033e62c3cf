//! A loss under a long line of open streams: who had to come back, how soon
//! everyone knew their position again, and whether the line is still the same.
//!
//! `flush`: Redis forgets everything. No stream may end, the room is rebuilt
//! once, and the next turn comes when the pause of a rebuilt room is over.
//! `kill`: all streams are on a node that gets SIGKILL; each user comes back to
//! the other node after a full-jitter pause, as the contract has it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tonic::Streaming;
use usher::proto::v1 as wire;
use usher::proto::v1::watch_response::Event;

use crate::error::BenchError;
use crate::line;
use crate::redis_load::Redis;
use crate::session::{Ground, Place, Refused, Session, back_off};
use crate::stage::RoomPlan;
use crate::tally::Times;
use crate::target::TargetOptions;
use crate::trace;

/// Whose turn it is from the beginning; one of them leaves.
const ACTIVE: usize = 10;
const SETTLE: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(60);
/// Asked at once for their position at the end.
const LOOKS_AT_ONCE: usize = 100;

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Loss {
    /// FLUSHALL.
    Flush,
    /// SIGKILL of the node that has all streams.
    Kill,
}

impl Loss {
    fn name(self) -> &'static str {
        match self {
            Self::Flush => "FLUSHALL",
            Self::Kill => "SIGKILL of their node",
        }
    }
}

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: TargetOptions,
    /// What is lost
    #[arg(value_enum)]
    loss: Loss,
    /// Open streams [default: 20000 for flush, 15000 for kill]
    #[arg(long)]
    users: Option<usize>,
}

/// What streams bring.
enum News {
    /// The first state after the loss.
    Back { at: Instant, epoch: u64 },
    /// This user's turn, told for the first time.
    Turn {
        at: Instant,
        user: Arc<Session>,
        place: Arc<Place>,
    },
}

/// One user's streams at the end.
struct Held {
    user: Arc<Session>,
    place: Arc<Place>,
    has_turn: bool,
    /// Streams that ended before they were asked to.
    breaks: u32,
    /// Positions that grew within an epoch.
    steps_back: u32,
}

pub async fn run(options: Options) -> Result<(), BenchError> {
    let count = options.users.unwrap_or(match options.loss {
        Loss::Flush => 20_000,
        Loss::Kill => 15_000,
    });
    let mut nodes = line::nodes(&options.target, 2, count, PATIENCE).await?;
    let plan = RoomPlan {
        capacity: u32::try_from(ACTIVE).map_err(BenchError::failed)?,
        rate_per_s: 100.0,
        claim_window_s: 0,
        pass_ttl_s: 3_600,
        absence_grace_s: None,
    };
    let room = nodes[0].make_room(plan, None).await?;
    let users = match options.loss {
        Loss::Flush => {
            let mut users = nodes[0].users_named("left", count / 2)?;
            users.extend(nodes[1].users_named("right", count - count / 2)?);
            users
        }
        Loss::Kill => nodes[0].users_named("storm", count)?,
    };
    let (told, mut news) = mpsc::channel(1_024);
    let (lose, lost) = watch::channel(false);
    let (end, ended) = watch::channel(false);
    let refuge = Arc::clone(&nodes[1].ground);
    let mut streams = line::form(users, &room, |user, place, stream| {
        let elsewhere = (options.loss == Loss::Kill).then(|| Arc::clone(&refuge));
        let waiter = Waiter {
            user: Arc::new(user),
            elsewhere,
            place: Arc::new(place),
            told: told.clone(),
            lost: lost.clone(),
        };
        waiter.hold(stream, ended.clone())
    })
    .await?;
    drop(told);
    let leaver = first_turns(&mut news).await?;
    sleep(SETTLE).await;

    let began = Instant::now();
    lose.send_replace(true);
    match options.loss {
        Loss::Flush => Redis::needed().await?.flush().await?,
        Loss::Kill => {
            let server = nodes[0].target.server.as_mut();
            let server = server.ok_or_else(|| BenchError::failed("a loss needs --spawn"))?;
            server.kill().await?;
        }
    }
    let leaves = leave(leaver, Arc::clone(&nodes[1].ground));
    let (left, recovered) = tokio::join!(leaves, recovery(&mut news, count, began));
    left?;
    let (back, turn) = recovered?;
    println!(
        "{} mode, {count} open streams, {}: a state again after p50 {:.2} s, p99 {:.2} s, max {:.2} s; the next turn after {:.2} s",
        options.target.mode(),
        options.loss.name(),
        back.quantile_ms(0.5) / 1_000.0,
        back.quantile_ms(0.99) / 1_000.0,
        back.quantile_ms(1.0) / 1_000.0,
        turn.as_secs_f64(),
    );
    end.send_replace(true);
    if options.loss == Loss::Flush {
        nodes
            .iter()
            .for_each(|node| print!("{}", node.ground.tally.text()));
    }
    let mut held = Vec::with_capacity(count);
    while let Some(waiter) = streams.join_next().await {
        held.push(waiter.map_err(BenchError::failed)?);
    }
    judge(held, options.loss).await
}

/// Until all who can be are active; one of them.
async fn first_turns(
    news: &mut mpsc::Receiver<News>,
) -> Result<(Arc<Session>, Arc<Place>), BenchError> {
    let mut first = None;
    for _ in 0..ACTIVE {
        match timeout(PATIENCE, news.recv()).await {
            Ok(Some(News::Turn { user, place, .. })) => first = Some((user, place)),
            _ => return Err(BenchError::failed("the first turns did not come")),
        }
    }
    first.ok_or_else(|| BenchError::failed("nobody had a turn"))
}

/// On the node that is left.
async fn leave(
    (user, place): (Arc<Session>, Arc<Place>),
    ground: Arc<Ground>,
) -> Result<(), BenchError> {
    let user = user.on(ground);
    let left = user.leave(&place).await;
    left.map_err(|Refused { rpc, reason }| BenchError::Failed(format!("{rpc}: {reason}")))
}

/// When each stream said something again, and when the next turn came.
async fn recovery(
    news: &mut mpsc::Receiver<News>,
    count: usize,
    began: Instant,
) -> Result<(Times, Duration), BenchError> {
    let (mut times, mut epochs, mut turn) = (Times::default(), BTreeSet::new(), None);
    let mut back = 0;
    while back < count || turn.is_none() {
        match timeout(PATIENCE, news.recv()).await {
            Ok(Some(News::Back { at, epoch })) => {
                epochs.insert(epoch);
                times.add(at - began);
                back += 1;
            }
            Ok(Some(News::Turn { at, .. })) if turn.is_none() => turn = Some(at - began),
            Ok(Some(News::Turn { .. })) => {
                return Err(BenchError::failed("two turns for one slot"));
            }
            Ok(None) | Err(_) => {
                return Err(BenchError::Failed(format!(
                    "{back} streams came back, turn after {turn:?}"
                )));
            }
        }
    }
    match epochs.len() {
        1 => Ok((times, turn.unwrap_or_default())),
        _ => Err(BenchError::Failed(format!(
            "rebuilt more than once: epochs {epochs:?}"
        ))),
    }
}

struct Waiter {
    user: Arc<Session>,
    /// Where to go when the stream breaks.
    elsewhere: Option<Arc<Ground>>,
    place: Arc<Place>,
    told: mpsc::Sender<News>,
    lost: watch::Receiver<bool>,
}

/// What one user has seen.
#[derive(Default)]
struct Seen {
    cursor: Option<wire::Cursor>,
    position: Option<u64>,
    has_turn: bool,
    /// The place is over: who left, and nobody else.
    is_over: bool,
    /// Since the loss.
    is_back: bool,
    breaks: u32,
    steps_back: u32,
}

impl Waiter {
    /// Reads until it is told to end.
    async fn hold(
        mut self,
        mut stream: Streaming<wire::WatchResponse>,
        mut ended: watch::Receiver<bool>,
    ) -> Held {
        let mut seen = Seen::default();
        loop {
            let message = tokio::select! {
                message = stream.message() => message,
                _ = ended.wait_for(|ended| *ended) => break,
            };
            if let Ok(Some(response)) = message {
                self.note(response, &mut seen).await;
                continue;
            }
            if seen.is_over {
                break;
            }
            seen.breaks += 1;
            tokio::select! {
                again = self.again(seen.cursor) => stream = again,
                _ = ended.wait_for(|ended| *ended) => break,
            }
        }
        Held {
            user: self.user,
            place: self.place,
            has_turn: seen.has_turn,
            breaks: seen.breaks,
            steps_back: seen.steps_back,
        }
    }

    async fn note(&self, response: wire::WatchResponse, seen: &mut Seen) {
        let at = Instant::now();
        let epoch = |cursor: Option<wire::Cursor>| cursor.unwrap_or_default().epoch;
        let is_new_epoch = epoch(response.cursor) > epoch(seen.cursor);
        if is_new_epoch {
            seen.position = None;
        }
        let is_loss = *self.lost.borrow() && !seen.is_back;
        if is_loss && (is_new_epoch || self.elsewhere.is_some() && seen.breaks > 0) {
            seen.is_back = true;
            let epoch = epoch(response.cursor);
            let _ = self.told.send(News::Back { at, epoch }).await;
        }
        seen.cursor = response.cursor.or(seen.cursor);
        let position = match response.event {
            Some(Event::Snapshot(snapshot)) => snapshot.place.and_then(|place| place.position),
            Some(Event::Position(told)) => Some(told.position),
            Some(Event::Ended(_)) => {
                seen.is_over = true;
                None
            }
            Some(Event::Activated(_)) if !seen.has_turn => {
                seen.has_turn = true;
                let (user, place) = (Arc::clone(&self.user), Arc::clone(&self.place));
                let _ = self.told.send(News::Turn { at, user, place }).await;
                None
            }
            _ => None,
        };
        if let Some(position) = position {
            seen.steps_back += u32::from(seen.position.is_some_and(|before| before < position));
            seen.position = Some(position);
        }
    }

    /// Another stream of the place, after pauses.
    async fn again(&mut self, resume: Option<wire::Cursor>) -> Streaming<wire::WatchResponse> {
        if let Some(ground) = self.elsewhere.take() {
            self.user = Arc::new(self.user.on(Arc::clone(&ground)));
            self.elsewhere = Some(ground);
        }
        for attempt in 0.. {
            sleep(back_off(attempt)).await;
            if let Ok(stream) = line::watch(&self.user, &self.place.token, resume).await {
                return stream;
            }
        }
        unreachable!("attempts do not run out")
    }
}

/// Nobody moved back, nobody is lost, and the line is in its old order.
async fn judge(held: Vec<Held>, loss: Loss) -> Result<(), BenchError> {
    let breaks: u32 = held.iter().map(|waiter| waiter.breaks).sum();
    let steps_back: u32 = held.iter().map(|waiter| waiter.steps_back).sum();
    let looks = Arc::new(Semaphore::new(LOOKS_AT_ONCE));
    let mut places = JoinSet::new();
    for waiter in held.into_iter().filter(|waiter| !waiter.has_turn) {
        let looks = Arc::clone(&looks);
        places.spawn(async move {
            let _permit = looks.acquire().await;
            let seen = waiter.user.look_at(&waiter.place).await;
            seen.map(|seen| (waiter.place.key.number, seen))
        });
    }
    let (mut line, mut lost) = (Vec::new(), 0);
    while let Some(seen) = places.join_next().await {
        match seen.map_err(BenchError::failed)? {
            Ok((number, seen)) if trace::place_key(&seen).number == number => {
                line.push((number, seen.position));
            }
            _ => lost += 1,
        }
    }
    line.sort_unstable();
    let in_order = (1..)
        .zip(&line)
        .filter(|(rank, (_, position))| *position == Some(*rank));
    let misplaced = line.len() - in_order.count();
    println!(
        "{breaks} streams ended, {steps_back} positions grew within an epoch, {lost} places lost, {misplaced} of {} out of place",
        line.len()
    );
    let holds = steps_back == 0 && lost == 0 && misplaced == 0;
    match holds && (breaks == 0 || loss == Loss::Kill) {
        true => Ok(()),
        false => Err(BenchError::failed("the line did not survive")),
    }
}
