//! Drivers as the measurement sees them.

use std::net::SocketAddr;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::order::{Answer, Formed, Freed, Order, Polled, Quantiles, Received, Returned, Tally};
use crate::error::BenchError;

pub struct Remote {
    /// Killed with this.
    _child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Remote {
    /// `source`: tells drivers of one run apart.
    pub fn start(target: SocketAddr, source: u8) -> Result<Self, BenchError> {
        let mut command = Command::new(program()?);
        command
            .args(["light-driver", "--target", &target.to_string()])
            .args(["--source", &source.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let gone = || BenchError::failed("a driver has no pipes");
        let orders = child.stdin.take().ok_or_else(gone)?;
        let answers = BufReader::new(child.stdout.take().ok_or_else(gone)?).lines();
        Ok(Self {
            _child: child,
            orders,
            answers,
        })
    }

    async fn give(&mut self, order: &Order) -> Result<(), BenchError> {
        let mut line = serde_json::to_vec(order).map_err(BenchError::failed)?;
        line.push(b'\n');
        Ok(self.orders.write_all(&line).await?)
    }

    async fn answer(&mut self) -> Result<Answer, BenchError> {
        let line = self.answers.next_line().await?;
        let line = line.ok_or_else(|| BenchError::failed("a driver is gone"))?;
        match serde_json::from_str(&line).map_err(BenchError::failed)? {
            Answer::Failed(why) => Err(BenchError::Failed(format!("a driver: {why}"))),
            answer => Ok(answer),
        }
    }
}

/// This program, also when a test runs it.
fn program() -> Result<std::path::PathBuf, BenchError> {
    Ok(std::env::current_exe()?)
}

/// All drivers of one side: users and connections are shared out evenly.
pub struct Drivers(pub Vec<Remote>);

impl Drivers {
    /// One for each target, in turn.
    pub fn start(targets: &[SocketAddr], count: usize, source: u8) -> Result<Self, BenchError> {
        let targets = targets.iter().cycle().take(count.max(1));
        let numbered = targets.zip(source..);
        let started = numbered.map(|(target, source)| Remote::start(*target, source));
        Ok(Self(started.collect::<Result<_, _>>()?))
    }

    fn share(&self, all: u32, nth: usize) -> u32 {
        let (count, nth) = (self.0.len() as u64, nth as u64);
        let before = |nth| u64::from(all) * nth / count;
        u32::try_from(before(nth + 1) - before(nth)).unwrap_or(u32::MAX)
    }

    /// Gives each its order, then reads each one's answer.
    async fn ask(
        &mut self,
        order: impl Fn(&Self, usize) -> Order,
    ) -> Result<Vec<Answer>, BenchError> {
        for nth in 0..self.0.len() {
            let order = order(self, nth);
            self.0[nth].give(&order).await?;
        }
        self.answers().await
    }

    async fn answers(&mut self) -> Result<Vec<Answer>, BenchError> {
        let mut answers = Vec::with_capacity(self.0.len());
        for driver in &mut self.0 {
            answers.push(driver.answer().await?);
        }
        Ok(answers)
    }

    pub async fn join(
        &mut self,
        room: &str,
        name: &str,
        users: u32,
        connections: u32,
        in_flight: u32,
    ) -> Result<Formed, BenchError> {
        let order = |all: &Self, nth| Order::Join {
            room: room.to_owned(),
            name: format!("{name}-{nth}"),
            users: all.share(users, nth),
            connections,
            in_flight,
        };
        formed(self.ask(order).await?)
    }

    pub async fn assume(&mut self, name: &str, users: u32) -> Result<(), BenchError> {
        let order = |all: &Self, nth| Order::Assume {
            name: format!("{name}-{nth}"),
            users: all.share(users, nth),
        };
        self.ask(order).await.map(drop)
    }

    pub async fn watch(&mut self, connections: u32, patience_s: u64) -> Result<Formed, BenchError> {
        let order = |all: &Self, nth| Order::Watch {
            connections: all.share(connections, nth),
            patience_s,
        };
        formed(self.ask(order).await?)
    }

    /// Returns once everyone has begun to ask.
    pub async fn poll(
        &mut self,
        method: &str,
        connections: u32,
        every_ms: u64,
        for_s: u64,
        by_name: bool,
    ) -> Result<(), BenchError> {
        let order = |all: &Self, nth| Order::Poll {
            method: method.to_owned(),
            connections: all.share(connections, nth),
            every_ms,
            for_s,
            by_name,
        };
        self.ask(order).await.map(drop)
    }

    /// Once everyone has asked for as long as they were to.
    pub async fn polled(&mut self) -> Result<Polled, BenchError> {
        let (mut all, mut times) = (Polled::default(), Vec::new());
        for answer in self.answers().await? {
            let Answer::Polled(part) = answer else {
                return Err(unexpected(&answer));
            };
            all.calls += part.calls;
            all.answered += part.answered;
            all.skipped += part.skipped;
            for (how, count) in part.failed {
                *all.failed.entry(how).or_default() += count;
            }
            times.push(part.ms);
        }
        all.ms = Quantiles::merged(&times);
        Ok(all)
    }

    /// Frees slots; of one driver.
    pub async fn free(
        &mut self,
        count: u32,
        rate_per_s: f64,
        patience_s: u64,
    ) -> Result<Freed, BenchError> {
        let order = |_: &Self, _| Order::Free {
            count,
            rate_per_s,
            patience_s,
        };
        match self.ask(order).await?.pop() {
            Some(Answer::Freed(freed)) => Ok(freed),
            answer => Err(BenchError::Failed(format!("a driver answered {answer:?}"))),
        }
    }

    /// From when this returns whoever's stream breaks comes back.
    pub async fn come_back(
        &mut self,
        target: Option<SocketAddr>,
        connections: u32,
        patience_s: u64,
        seed: u64,
    ) -> Result<(), BenchError> {
        let order = |all: &Self, nth| Order::ComeBack {
            target,
            connections: all.share(connections, nth),
            patience_s,
            seed,
        };
        self.ask(order).await.map(drop)
    }

    /// Once everyone is back; of one driver.
    pub async fn returned(&mut self) -> Result<Returned, BenchError> {
        match self.answers().await?.pop() {
            Some(Answer::Returned(returned)) => Ok(returned),
            answer => Err(BenchError::Failed(format!("a driver answered {answer:?}"))),
        }
    }

    /// From when this returns every receipt of the marker is taken down.
    pub async fn expect(&mut self, marker: u32, patience_s: u64) -> Result<(), BenchError> {
        let order = |_: &Self, _| Order::Await { marker, patience_s };
        self.ask(order).await.map(drop)
    }

    pub async fn received(&mut self) -> Result<Received, BenchError> {
        let mut parts = Vec::new();
        for answer in self.answers().await? {
            let Answer::Received(part) = answer else {
                return Err(unexpected(&answer));
            };
            parts.push(part);
        }
        Ok(Received {
            at_us: Quantiles::merged(parts.iter().map(|part| &part.at_us)),
            missing: parts.iter().map(|part| part.missing).sum(),
            repeated: parts.iter().map(|part| part.repeated).sum(),
        })
    }

    /// Streams that had not ended when none had for so long.
    pub async fn ends(&mut self, patience_s: u64) -> Result<u32, BenchError> {
        let answers = self.ask(|_, _| Order::AwaitEnds { patience_s }).await?;
        let left = answers.iter().map(|answer| match answer {
            Answer::Ended { left } => Ok(*left),
            answer => Err(unexpected(answer)),
        });
        left.sum()
    }

    pub async fn judge(&mut self, rate_per_s: f64, claim_window_ms: u64) -> Result<(), BenchError> {
        let order = |_: &Self, _| Order::Judge {
            rate_per_s,
            claim_window_ms,
        };
        self.ask(order).await.map(drop)
    }

    pub async fn tally(&mut self) -> Result<Tally, BenchError> {
        let mut parts = Vec::new();
        for answer in self.ask(|_, _| Order::Tally).await? {
            let Answer::Tally(part) = answer else {
                return Err(unexpected(&answer));
            };
            parts.push(*part);
        }
        Ok(Tally::merged(&parts))
    }

    pub async fn drop_all(&mut self) -> Result<(), BenchError> {
        self.ask(|_, _| Order::Drop).await.map(drop)
    }
}

fn unexpected(answer: &Answer) -> BenchError {
    BenchError::Failed(format!("a driver answered {answer:?}"))
}

fn formed(answers: Vec<Answer>) -> Result<Formed, BenchError> {
    let mut all = Formed::default();
    for answer in answers {
        let (Answer::Joined(part) | Answer::Watching(part)) = answer else {
            return Err(unexpected(&answer));
        };
        all.done += part.done;
        all.wanted += part.wanted;
        all.elapsed_s = all.elapsed_s.max(part.elapsed_s);
        for (how, count) in part.failed {
            *all.failed.entry(how).or_default() += count;
        }
    }
    Ok(all)
}
