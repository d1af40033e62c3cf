//! What is gathered beside the lanes, one batch of a kind at a time: top-ups, since
//! all of a currency come from one account, and coupons.
//!
//! A wallet or a pass that somebody else has locked holds up its own commands alone:
//! they are asked again with the next batch, or after a pause if none comes. Who waited as
//! long as a unit may take is told that too many want the same. While as many wait
//! so as a batch takes, nobody else is taken in.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::batch::{self, Kind, Waiting};
use super::{Limits, gather};
use crate::store::sql::list::Others;
use crate::store::sql::unit::Unit;

/// Before what is locked is asked for again.
const PAUSE: Duration = Duration::from_millis(20);

/// Until it is stopped and nothing waits.
pub async fn serve<K: Kind>(
    mut waiting: mpsc::Receiver<Waiting<K>>,
    units: mpsc::Sender<Box<dyn Unit>>,
    limits: Limits,
) {
    let mut aside: Vec<Waiting<K>> = Vec::new();
    loop {
        let all = tokio::select! {
            () = limits.stop.cancelled(), if !waiting.is_closed() => {
                waiting.close();
                continue;
            }
            Some(first) = waiting.recv(), if aside.len() < limits.gather_max => {
                let mut all = std::mem::take(&mut aside);
                all.append(&mut gather(first, &mut waiting, &limits).await);
                all
            }
            () = sleep(PAUSE), if !aside.is_empty() => std::mem::take(&mut aside),
            else => break,
        };
        let (mut late, mut next) = (Vec::new(), Vec::new());
        for member in all {
            match member.until {
                Some(until) if until <= Instant::now() => late.push(member),
                _ => next.push(member),
            }
        }
        batch::refuse(late);
        if next.is_empty() {
            continue;
        }
        let within = limits.batch_timeout;
        let busy = batch::run(&units, next, Others::Skip, within).await;
        // Nobody else writes where there is no such time.
        let until = within.map(|within| Instant::now() + within);
        for (_, mut member) in busy {
            member.until = member.until.or(until);
            aside.push(member);
        }
    }
}
