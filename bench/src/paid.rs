//! Seats paid per second: everyone has a pass and money, holds a seat that
//! nobody else wants, and pays for it.
//!
//! Passes are claimed and wallets filled before it counts. A fixed number of
//! users is under way at once (closed loop), each behind the one before, until
//! the time is over or all seats are sold. In the end the seats that are not free
//! any more are counted against the payments that succeeded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use usher::proto::v1 as wire;

use crate::error::BenchError;
use crate::meter;
use crate::session::{Purse, Refused, Session};
use crate::spread::Spread;
use crate::stage::{RoomPlan, SEATS_PER_PERFORMANCE, Sale, Stage};
use crate::target::TargetOptions;

/// Rates are told per window of this length.
const WINDOW_S: u64 = 5;
/// Who works on this machine besides the driver and the server.
const OTHERS: &[&str] = &["postgres", "mariadbd", "redis-server", "java"];

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: TargetOptions,
    /// How long seats are sold, in seconds
    #[arg(long, default_value_t = 120)]
    duration: u64,
    /// Performances of 1,000 seats each
    #[arg(long, default_value_t = 300)]
    performances: u32,
    /// Users with a pass, one seat each [default: as many as there are seats]
    #[arg(long)]
    users: Option<usize>,
    /// Users under way at once
    #[arg(long, default_value_t = 256)]
    in_flight: usize,
    /// Users that are admitted at once before
    #[arg(long, default_value_t = 1_000)]
    admitted_at_once: usize,
}

/// A user who only has to buy.
struct Buyer {
    user: Session,
    turn_id: String,
    pass: String,
}

/// What there is to buy: the nth buyer takes the nth seat.
struct House {
    performances: Vec<(String, Vec<String>)>,
    price: wire::Money,
}

impl House {
    fn seat(&self, nth: usize) -> Option<(&str, &str)> {
        let (performance, seats) = &self.performances[nth % self.performances.len()];
        let seat = seats.get(nth / self.performances.len())?;
        Some((performance, seat))
    }
}

pub async fn run(options: Options) -> Result<(), BenchError> {
    let patience = Duration::from_secs(60);
    let stage = Stage::open(&options.target, options.admitted_at_once, None, patience).await?;
    let seats = options.performances.saturating_mul(SEATS_PER_PERFORMANCE);
    let users = options
        .users
        .unwrap_or(usize::try_from(seats).unwrap_or(usize::MAX));
    let plan = RoomPlan {
        capacity: u32::try_from(users + 1).map_err(BenchError::failed)?,
        rate_per_s: 10_000.0,
        claim_window_s: 600,
        pass_ttl_s: 3_600,
        absence_grace_s: None,
    };
    let sale = stage.make_sale(plan, options.performances).await?;
    let price = price(&stage, &sale).await?;
    let began = Instant::now();
    // One more, who buys nothing and may look at the seats in the end.
    let mut buyers = admit(&options, &stage, &sale, &price, users + 1).await?;
    let nobody = || BenchError::failed("nobody wants a seat");
    let witness = buyers.pop().ok_or_else(nobody)?;
    let house = house(&witness, &sale, price).await?;
    println!(
        "{} mode: {} users with pass and money after {:.0} s; {} performances, {} under way at once",
        options.target.mode(),
        buyers.len(),
        began.elapsed().as_secs_f64(),
        house.performances.len(),
        options.in_flight,
    );

    stage.begin();
    let before = used(stage.target.pid);
    let sold = sell(&options, buyers, &house).await?;
    let after = used(stage.target.pid);
    sold.print();
    print!("CPU per paid seat:");
    for ((who, after), (_, before)) in after.iter().zip(&before) {
        #[expect(clippy::cast_precision_loss, reason = "a count of seats")]
        let each = (after - before) * 1e6 / sold.paid.max(1) as f64;
        print!(" {who} {each:.0} us;");
    }
    println!();
    print!("{}", stage.ground.tally.text());
    let taken = count_taken(&witness, &house).await?;
    println!("{taken} seats are not free any more");
    drop(witness);
    let (findings, is_clean) = stage.judge().await?;
    print!("{findings}");
    match taken == sold.paid && sold.refused == 0 && is_clean {
        true => Ok(()),
        false => Err(BenchError::failed("not every payment is a seat")),
    }
}

async fn price(stage: &Stage, sale: &Sale) -> Result<wire::Money, BenchError> {
    let listed = stage.operator.performances(&sale.concert_id).await;
    let first = listed.map_err(early)?.into_iter().next();
    let section = first.and_then(|first| first.sections.into_iter().next());
    let price = section.and_then(|section| section.price);
    price.ok_or_else(|| BenchError::failed("the performances have no price"))
}

/// Gives all users a pass and what a seat costs.
async fn admit(
    options: &Options,
    stage: &Stage,
    sale: &Sale,
    price: &wire::Money,
    users: usize,
) -> Result<Vec<Buyer>, BenchError> {
    let purse = match stage.target.callers.is_dev() {
        true => Purse::Sandbox,
        false => Purse::Operator(Arc::clone(&stage.operator)),
    };
    let mut buyers = Vec::with_capacity(users);
    let mut door = JoinSet::new();
    for user in stage.users(users)? {
        if door.len() >= options.admitted_at_once
            && let Some(done) = door.join_next().await
        {
            buyers.push(admitted(done)?);
        }
        let (room, price, purse) = (sale.room.clone(), price.clone(), purse.clone());
        door.spawn(async move {
            let (turn, pass) = user.admit(&room).await?;
            user.fill_wallet(price, &purse).await?;
            Ok(Buyer {
                user,
                turn_id: turn.activation_id,
                pass,
            })
        });
    }
    while let Some(done) = door.join_next().await {
        buyers.push(admitted(done)?);
    }
    Ok(buyers)
}

fn admitted(
    done: Result<Result<Buyer, Refused>, tokio::task::JoinError>,
) -> Result<Buyer, BenchError> {
    done.map_err(BenchError::failed)?.map_err(early)
}

fn early(refused: Refused) -> BenchError {
    BenchError::Failed(format!(
        "before the sale: {} {}",
        refused.rpc, refused.reason
    ))
}

async fn house(witness: &Buyer, sale: &Sale, price: wire::Money) -> Result<House, BenchError> {
    let Buyer { user, pass, .. } = witness;
    let listed = user.performances(&sale.concert_id).await;
    let mut performances = Vec::new();
    for performance in listed.map_err(early)? {
        let seats = user.free_seats(&performance.id, pass).await;
        performances.push((performance.id, seats.map_err(early)?));
    }
    Ok(House {
        performances,
        price,
    })
}

/// What was sold, and how fast.
#[derive(Default)]
struct Sold {
    paid: usize,
    refused: usize,
    elapsed: Duration,
    /// Per window, from the first on.
    windows: Vec<usize>,
}

impl Sold {
    fn add(&mut self, paid: bool, at: Duration) {
        if !paid {
            self.refused += 1;
            return;
        }
        self.paid += 1;
        let window = usize::try_from(at.as_secs() / WINDOW_S).unwrap_or(usize::MAX);
        if window >= self.windows.len() {
            self.windows.resize(window + 1, 0);
        }
        self.windows[window] += 1;
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of seats")]
    fn print(&self) {
        // The last window is not a whole one.
        let whole = self.windows.len().saturating_sub(1);
        let rates = self.windows[..whole].iter();
        let rates = Spread::of(rates.map(|sold| *sold as f64 / WINDOW_S as f64));
        println!(
            "{} seats paid in {:.1} s: {:.0} /s; by windows of {WINDOW_S} s {rates} /s; {} not paid",
            self.paid,
            self.elapsed.as_secs_f64(),
            self.paid as f64 / self.elapsed.as_secs_f64(),
            self.refused,
        );
    }
}

async fn sell(options: &Options, buyers: Vec<Buyer>, house: &House) -> Result<Sold, BenchError> {
    let began = Instant::now();
    let ends_at = began + Duration::from_secs(options.duration);
    let (buyers, next) = (Arc::new(buyers), Arc::new(AtomicUsize::new(0)));
    let seats: Vec<(String, String)> = (0..buyers.len())
        .map_while(|nth| house.seat(nth))
        .map(|(performance, seat)| (performance.to_owned(), seat.to_owned()))
        .collect();
    let (seats, price) = (Arc::new(seats), house.price.clone());
    let mut under_way = JoinSet::new();
    for _ in 0..options.in_flight {
        let (buyers, seats, next) = (Arc::clone(&buyers), Arc::clone(&seats), Arc::clone(&next));
        let price = price.clone();
        under_way.spawn(async move {
            let mut done = Vec::new();
            while Instant::now() < ends_at {
                let nth = next.fetch_add(1, Ordering::Relaxed);
                let (Some(buyer), Some(seat)) = (buyers.get(nth), seats.get(nth)) else {
                    break;
                };
                let bought = buy(buyer, seat, &price).await;
                if let Err(refused) = &bought {
                    eprintln!("not paid: {} {}", refused.rpc, refused.reason);
                }
                done.push((bought.is_ok(), began.elapsed()));
            }
            done
        });
    }
    let mut sold = Sold::default();
    while let Some(done) = under_way.join_next().await {
        for (paid, at) in done.map_err(BenchError::failed)? {
            sold.add(paid, at);
        }
    }
    sold.elapsed = began.elapsed();
    Ok(sold)
}

async fn buy(
    buyer: &Buyer,
    (performance, seat): &(String, String),
    price: &wire::Money,
) -> Result<(), Refused> {
    let Buyer {
        user,
        turn_id,
        pass,
    } = buyer;
    let held = user
        .hold(performance, vec![seat.clone()], turn_id, pass)
        .await?;
    let payment = user.pay(&held.id).await?;
    match (payment.state(), payment.amount.as_ref() == Some(price)) {
        (wire::PaymentState::Succeeded, true) => Ok(()),
        (other, _) => Err(Refused {
            rpc: "PayReservation",
            reason: other.as_str_name().to_owned(),
        }),
    }
}

async fn count_taken(witness: &Buyer, house: &House) -> Result<usize, BenchError> {
    let Buyer { user, pass, .. } = witness;
    let mut taken = 0;
    for (performance, seats) in &house.performances {
        let free = user.free_seats(performance, pass).await;
        taken += seats.len() - free.map_err(early)?.len();
    }
    Ok(taken)
}

/// CPU seconds so far.
fn used(server: Option<u32>) -> Vec<(&'static str, f64)> {
    let own = meter::cpu_s(std::process::id()).unwrap_or(0.0);
    let mut used = vec![("driver", own)];
    if let Some(seconds) = server.and_then(meter::cpu_s) {
        used.push(("server", seconds));
    }
    let others = OTHERS.iter().map(|name| (*name, meter::cpu_s_of(name)));
    used.extend(others);
    used
}
