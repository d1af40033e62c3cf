//! Drives many users from a process of its own, on the light client.
//!
//! The measurement is the parent: it gives one order per line of standard
//! input and reads one answer per line of output. Sockets are served all the
//! while, whatever is asked. Several drivers share a load that one process has
//! not the open files for, and their CPU time is never the measured one.

mod book;
mod freeing;
pub mod order;
mod polling;
pub mod remote;
mod returning;
mod sample;
mod task;

use std::io::{self, BufRead as _, Write as _};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

use crate::error::BenchError;
use crate::light::{Client, Method};
use crate::meter;
use book::Book;
use freeing::Freeing;
use order::{Answer, Order};
use polling::Polling;
use returning::Returning;
use task::{Awaiting, Ending, Joining, Methods, Tools, Watching};

/// A turn without news: how soon due repeats are looked at.
const TURN: Duration = Duration::from_millis(20);
/// The same while users are due by the clock.
const TURN_BY_CLOCK: Duration = Duration::from_millis(1);
const ORDERS_MAX: usize = 16;

#[derive(clap::Args)]
pub struct Options {
    #[arg(long)]
    target: SocketAddr,
    /// The third number of source addresses
    #[arg(long)]
    source: u8,
}

enum Task {
    Join(Joining),
    Watch(Watching),
    Await(Awaiting),
    End(Ending),
    Poll(Box<Polling>),
    Free(Box<Freeing>),
    Return(Box<Returning>),
}

struct Driver {
    client: Client,
    authority: String,
    book: Book,
    methods: Methods,
    task: Option<Task>,
}

/// Serves until the parent closes our input.
pub fn run(options: &Options) -> Result<(), BenchError> {
    let client = Client::new(options.target, options.source)?;
    let waker = client.waker()?;
    let (given, orders) = sync_channel(ORDERS_MAX);
    std::thread::Builder::new()
        .name("orders".to_owned())
        .spawn(move || {
            for line in io::stdin().lock().lines() {
                let Ok(line) = line else { break };
                let order = serde_json::from_str::<Order>(&line);
                if given
                    .send(order.map_err(|error| error.to_string()))
                    .is_err()
                {
                    break;
                }
                let _ = waker.wake();
            }
            drop(given);
            let _ = waker.wake();
        })?;
    let authority = options.target.to_string();
    let method = |name| Method::new(&format!("/usher.v1.QueueService/{name}"), &authority);
    let driver = Driver {
        client,
        authority: authority.clone(),
        book: Book::default(),
        methods: Methods {
            join: method("Join"),
            watch: method("Watch"),
            leave: method("Leave"),
        },
        task: None,
    };
    driver.serve(&orders)
}

impl Driver {
    fn serve(mut self, orders: &Receiver<Result<Order, String>>) -> Result<(), BenchError> {
        loop {
            let turn = match &self.task {
                Some(Task::Poll(_) | Task::Free(_) | Task::Return(_)) => TURN_BY_CLOCK,
                _ => TURN,
            };
            self.client.turn(&mut self.book, turn)?;
            if let Some(answer) = self.step()? {
                // Polling says first that it has begun.
                if !matches!(answer, Answer::Polling) {
                    self.task = None;
                }
                say(&answer)?;
            }
            self.book.finished.clear();
            loop {
                match orders.try_recv() {
                    Ok(Ok(order)) => {
                        if let Some(answer) = self.take(order) {
                            say(&answer)?;
                        }
                    }
                    Ok(Err(why)) => say(&Answer::Failed(why))?,
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(()),
                }
            }
        }
    }

    fn step(&mut self) -> io::Result<Option<Answer>> {
        let mut tools = Tools {
            client: &mut self.client,
            book: &mut self.book,
            methods: &self.methods,
        };
        match &mut self.task {
            None => Ok(None),
            Some(Task::Join(task)) => task.step(&mut tools),
            Some(Task::Watch(task)) => task.step(&mut tools),
            Some(Task::Await(task)) => Ok(task.step(&mut tools)),
            Some(Task::End(task)) => Ok(task.step(&mut tools)),
            Some(Task::Poll(task)) => task.step(&mut tools),
            Some(Task::Free(task)) => task.step(&mut tools),
            Some(Task::Return(task)) => task.step(&mut tools),
        }
    }

    /// Answers at once what takes no time.
    fn take(&mut self, order: Order) -> Option<Answer> {
        match order {
            Order::Join {
                room,
                name,
                users,
                connections,
                in_flight,
            } => {
                self.book.begin(name, users);
                let joining = Joining::new(room, users, connections, in_flight);
                self.task = Some(Task::Join(joining));
                None
            }
            Order::Assume { name, users } => {
                self.book.begin(name, users);
                self.book.assume_joined();
                Some(Answer::Assumed)
            }
            Order::Watch {
                connections,
                patience_s,
            } => {
                let watching = Watching::new(self.book.users(), connections, patience_s);
                self.task = Some(Task::Watch(watching));
                None
            }
            Order::Poll {
                method,
                connections,
                every_ms,
                for_s,
                by_name,
            } => {
                let plan = polling::Plan {
                    connections,
                    every_ms,
                    for_s,
                    by_name,
                };
                let method = Method::new(&method, &self.authority);
                let polling = Polling::new(method, self.book.users(), &plan);
                self.task = Some(Task::Poll(Box::new(polling)));
                None
            }
            Order::Free {
                count,
                rate_per_s,
                patience_s,
            } => {
                let freeing = Freeing::new(count, rate_per_s, patience_s);
                self.task = Some(Task::Free(Box::new(freeing)));
                None
            }
            Order::ComeBack {
                target,
                connections,
                patience_s,
                seed,
            } => {
                let plan = returning::Plan {
                    target,
                    connections,
                    patience_s,
                    seed,
                };
                let returning = Returning::new(&mut self.client, &mut self.book, &plan);
                self.task = Some(Task::Return(Box::new(returning)));
                Some(Answer::Returning)
            }
            Order::Await { marker, patience_s } => {
                self.book.wait_for(marker);
                self.task = Some(Task::Await(Awaiting::new(patience_s)));
                Some(Answer::Awaiting)
            }
            Order::AwaitEnds { patience_s } => {
                self.task = Some(Task::End(Ending::new(patience_s)));
                None
            }
            Order::Judge {
                rate_per_s,
                claim_window_ms,
            } => {
                self.book.judge(rate_per_s, claim_window_ms);
                Some(Answer::Judging)
            }
            Order::Tally => {
                let counts = self.client.counts();
                let mut tally = self.book.tally();
                tally.bytes = counts.bytes;
                tally.reads = counts.reads;
                tally.goaways = counts.goaways;
                tally.connections_lost = counts.lost;
                tally.cpu_s = meter::cpu_s(std::process::id()).unwrap_or(0.0);
                Some(Answer::Tally(Box::new(tally)))
            }
            Order::Drop => {
                self.client.close_all(&mut self.book);
                self.book.begin(String::new(), 0);
                Some(Answer::Dropped)
            }
        }
    }
}

fn say(answer: &Answer) -> Result<(), BenchError> {
    let mut line = serde_json::to_vec(answer).map_err(BenchError::failed)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    Ok(out.flush()?)
}
