//! Load shapes and measurements for Usher; `bench/README.md` shows each.
//!
//! Nearly every command is a client of the public contract, in a process of its
//! own; the others measure a part of the library.
//! A command that finds a promise broken says which, and exits with 1.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod activation;
mod agree;
mod bare;
mod caller;
mod coupons;
mod crowd;
mod drain;
mod draw_open;
mod driver;
mod due_set;
mod error;
mod floor_server;
mod ghz;
mod handover;
mod holds;
mod hot_seat;
mod idle;
mod join;
mod journey;
mod k6;
mod l12;
mod light;
mod line;
mod meter;
mod outbox;
mod own_redis;
mod paid;
mod polling;
mod polling_server;
mod pool;
mod provider;
mod reconnect;
mod redis_load;
mod report;
mod scrape;
mod session;
mod shape;
mod signing;
mod spawn;
mod spread;
mod stage;
mod storm;
mod streams;
mod tally;
mod target;
mod trace;
mod wall;

use error::BenchError;

/// Load shapes and measurements for Usher.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Longest steps of a room while a large DRAW opens.
    DrawOpen(draw_open::Options),
    /// From a delta to the streams that owe something.
    DueSet(due_set::Options),
    /// Microseconds per signature and verification of each candidate.
    Signing(signing::Options),
    /// Whole journeys from joining to the paid seat, closed or open loop.
    Journey(Box<journey::Options>),
    /// The load shapes L1 to L13 of the source reports, theirs beside ours.
    Shape(Box<shape::Options>),
    /// The collapse of load shape L12, with rates as configured and steered.
    L12(Box<l12::Options>),
    /// Joins per second, against a bare tonic health server.
    Join(join::Options),
    /// Everyone joins and watches at once; passes complete; order is checked.
    Crowd(crowd::Options),
    /// From one user's end to the next one's turn, over one node or two.
    Handover(handover::Options),
    /// What Redis has to do while few or many wait on two nodes.
    Idle(idle::Options),
    /// FLUSHALL, or a node's death, under many open streams.
    Storm(storm::Options),
    /// Holds per second through the store, against the naive design.
    Holds(holds::Options),
    /// Everyone holds the same seat at once; one may win.
    HotSeat(hot_seat::Options),
    /// Seats held and paid per second by users who have pass and money.
    Paid(paid::Options),
    /// Coupons of campaigns with a small stock, first come first served.
    Coupons(Box<coupons::Options>),
    /// Events from the outbox to Kafka: how many, and how soon.
    Outbox(outbox::Options),
    /// What open streams cost, idle and under updates, beside the floor.
    Streams(Box<streams::Options>),
    /// From a freed slot to the next one's turn, before a long line of streams.
    Activation(Box<activation::Options>),
    /// Everyone's stream breaks at once, and everyone comes back.
    Reconnect(Box<reconnect::Options>),
    /// What a waiting user costs a minute: asking again and again, or a stream.
    Polling(Box<polling::Options>),
    /// SIGTERM while streams are open: who was told, and how long it took.
    Drain(drain::Options),
    /// Runs the ghz configurations and judges their reports.
    Ghz(ghz::Options),
    /// Runs the k6 scripts and judges their summaries.
    K6(k6::Options),
    /// The same load by usher-bench, k6 and ghz; they must find the same rate.
    Agree(agree::Options),
    /// Writes the descriptor set that ghz, grpcurl and buf read.
    Protoset(ghz::ProtosetOptions),
    /// The server that `join` compares with.
    #[command(hide = true)]
    BareHealth,
    /// The least a server of streams could do, which `streams` compares with:
    /// epoll and frames by hand.
    FloorServer,
    /// The source's design, which `polling` compares with: one ZRANK per call.
    PollingServer(polling_server::Options),
    /// The users of `streams`, in a process of their own.
    #[command(hide = true)]
    LightDriver(driver::Options),
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    let done = match command {
        Command::Signing(options) => signing::run(&options).map_err(BenchError::failed),
        Command::DrawOpen(options) => draw_open::run(&options).map_err(BenchError::failed),
        Command::DueSet(options) => due_set::run(&options).map_err(BenchError::failed),
        Command::FloorServer => floor_server::run(),
        Command::LightDriver(options) => driver::run(&options),
        command => run(command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("usher-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), BenchError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match command {
            // Need no runtime; see `main`.
            Command::DrawOpen(_)
            | Command::DueSet(_)
            | Command::Signing(_)
            | Command::FloorServer
            | Command::LightDriver(_) => Ok(()),
            Command::Streams(options) => streams::run(*options).await,
            Command::Activation(options) => activation::run(*options).await,
            Command::Reconnect(options) => reconnect::run(*options).await,
            Command::Polling(options) => polling::run(*options).await,
            Command::PollingServer(options) => polling_server::serve(options).await,
            Command::Journey(options) => journey::run(*options).await,
            Command::L12(options) => l12::run(*options).await,
            Command::Shape(options) => shape::run(*options).await,
            Command::Join(options) => join::run(options).await,
            Command::Crowd(options) => crowd::run(options).await,
            Command::Handover(options) => handover::run(options).await,
            Command::Idle(options) => idle::run(options).await,
            Command::Storm(options) => storm::run(options).await,
            Command::Holds(options) => holds::run(options).await,
            Command::HotSeat(options) => hot_seat::run(options).await,
            Command::Paid(options) => paid::run(options).await,
            Command::Coupons(options) => coupons::run(*options).await,
            Command::Outbox(options) => outbox::run(options).await,
            Command::Drain(options) => drain::run(options).await,
            Command::Ghz(options) => ghz::run(options).await,
            Command::K6(options) => k6::run(options).await,
            Command::Agree(options) => agree::run(options).await,
            Command::Protoset(options) => ghz::write_protoset(&options),
            Command::BareHealth => bare::serve().await,
        }
    })
}
