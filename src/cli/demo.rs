//! `usher demo`: a crowd in front of a running server, through the same client
//! stubs that anyone generates from the `.proto` files.
//!
//! One task per visitor; their streams share connections, fewer on each than a
//! server allows, so that calls find room beside the streams.

mod shop;
mod tally;
mod visitor;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::config::Config;
use crate::entropy::{Entropy, SystemEntropy};
use crate::proto::v1 as wire;
use crate::proto::v1::catalog_service_client::CatalogServiceClient;
use crate::proto::v1::queue_service_client::QueueServiceClient;

use self::tally::Tally;
use self::visitor::Visitor;
use super::client::{Caller, Line, TargetArgs, connect, refused};
use super::{CliError, room};

/// A server allows 256 at once by default; the rest is for calls.
const VISITORS_PER_CONNECTION: u32 = 200;
/// Everyone has come after this time.
const ARRIVAL: Duration = Duration::from_secs(5);
/// How long a stop waits for the last to leave the line.
const LEAVE_DEADLINE: Duration = Duration::from_secs(5);
const SECOND: Duration = Duration::from_secs(1);
const PAGE_SIZE: i32 = 100;

pub(super) const HELP: &str = "\
Send a crowd of simulated users to a running server in development mode.

They join one room within five seconds and watch their positions, each on a
stream of its own. One in twenty loses patience and leaves. Who gets a turn
takes it, looks around for some seconds, then buys seats with play money (every
other one) or goes. Once a second a line says what happens:

  waiting  in the line now             turns   got their turn so far
  inside   hold a pass now             bought  paid for seats
  gave up  left the line               went    had a turn, bought nothing
  lapsed   the server ended their place        updates  positions received
  retries  calls and streams begun again

It ends when everyone is done, or on Ctrl-C: then all leave the line. Open the
server's address in a browser meanwhile and join the same room.";

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// How many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    users: u32,
    #[command(flatten)]
    target: TargetArgs,
    /// Which room [default: the first open one, else one that will open]
    #[arg(long, value_name = "ID")]
    room: Option<String>,
}

pub(super) fn demo(config: &Config, args: &DemoArgs) -> Result<(), CliError> {
    let endpoint = args.target.endpoint(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("usher-demo")
        .build()
        .map_err(CliError::failed)?;
    runtime.block_on(run(&endpoint, args))
}

async fn run(endpoint: &Endpoint, args: &DemoArgs) -> Result<(), CliError> {
    let mut channels = Vec::new();
    for _connection in 0..args.users.div_ceil(VISITORS_PER_CONNECTION) {
        channels.push(connect(endpoint).await?);
    }
    let Some(first) = channels.first() else {
        return Ok(());
    };
    let caller = Caller::dev("demo", false)?;
    let room = choose_room(first.clone(), caller.clone(), args.room.as_deref()).await?;
    let sale = performances(first.clone(), caller, &room.id).await?;
    println!(
        "{} users go to room {} ({}) over {} connections; Ctrl-C stops",
        args.users,
        room.id,
        room.name,
        channels.len()
    );
    let tally = Arc::new(Tally::default());
    let stop = CancellationToken::new();
    let sale: Arc<[String]> = sale.into();
    // New people at each run: who was here before has a place already.
    let run_id = SystemEntropy.uuid().simple().to_string();
    let mut crowd = JoinSet::new();
    for (index, channel) in (0..args.users).zip(channels.iter().cycle()) {
        let user = format!("demo-{}-{index}", &run_id[..8]);
        let visitor = Visitor {
            index,
            room_id: room.id.clone(),
            line: Line::new(channel.clone(), Caller::dev(&user, false)?),
            sale: Arc::clone(&sale),
            tally: Arc::clone(&tally),
        };
        let arrives_after = ARRIVAL.mul_f64(f64::from(index) / f64::from(args.users));
        crowd.spawn(visitor.visit(arrives_after, stop.clone()));
    }
    watch_crowd(crowd, &tally, &stop).await;
    println!("{}", tally.summary());
    match tally.nobody_came() {
        Some(why) => Err(CliError::Failed(format!("nobody could join: {why}"))),
        None => Ok(()),
    }
}

/// Says once a second what happens, until all are done or Ctrl-C.
async fn watch_crowd(mut crowd: JoinSet<()>, tally: &Tally, stop: &CancellationToken) {
    let start = Instant::now();
    let mut seconds = interval_at(start + SECOND, SECOND);
    loop {
        tokio::select! {
            _ = seconds.tick() => println!("{}", tally.second(start.elapsed())),
            done = crowd.join_next() => if done.is_none() { return },
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    println!("stopping: everyone leaves the line");
    stop.cancel();
    let all_gone = async { while crowd.join_next().await.is_some() {} };
    // Who is late is dropped with the set; the server notes the absence.
    let _ = timeout(LEAVE_DEADLINE, all_gone).await;
}

async fn choose_room(
    channel: Channel,
    caller: Caller,
    wanted: Option<&str>,
) -> Result<wire::Room, CliError> {
    let mut queue = QueueServiceClient::with_interceptor(channel, caller);
    let rooms = room::list(&mut queue).await?;
    let first = |fits: &dyn Fn(&wire::Room) -> bool| rooms.iter().find(|room| fits(room)).cloned();
    // A new server's rooms open with its first tick; people may come before.
    let found = match wanted {
        Some(id) => first(&|room| room.id == id),
        None => first(&|room| room.state() == wire::RoomState::Open)
            .or_else(|| first(&|room| room.state() == wire::RoomState::Scheduled)),
    };
    found.ok_or_else(|| match wanted {
        Some(id) => CliError::Failed(format!("there is no room {id}; see `usher room list`")),
        None => CliError::Failed("no room is open; see `usher room list`".to_owned()),
    })
}

/// What can be bought with the room's pass; nothing is fine too.
async fn performances(
    channel: Channel,
    caller: Caller,
    room_id: &str,
) -> Result<Vec<String>, CliError> {
    let mut catalog = CatalogServiceClient::with_interceptor(channel, caller);
    let request = wire::ListConcertsRequest {
        page_size: PAGE_SIZE,
        ..wire::ListConcertsRequest::default()
    };
    let concerts = catalog.list_concerts(request).await;
    let concerts = concerts.map_err(|status| refused(&status))?.into_inner();
    let mut found = Vec::new();
    for concert in concerts.concerts {
        let request = wire::ListPerformancesRequest {
            concert_id: concert.id,
            page_size: PAGE_SIZE,
            page_token: String::new(),
        };
        let page = catalog.list_performances(request).await;
        let page = page.map_err(|status| refused(&status))?.into_inner();
        let on_sale = page.performances.into_iter();
        found.extend(
            on_sale
                .filter(|performance| performance.room_id == room_id && !performance.sold_out)
                .map(|performance| performance.id),
        );
    }
    Ok(found)
}
