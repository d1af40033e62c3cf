//! Redis fails in every way it can, while a crowd is in line and a few others
//! look at what they are told.

mod clock;
mod cut;
mod full;
mod restarted;
mod stopped;

use std::time::Duration;

use tokio::time::Instant;

use crate::crowd::{Crowd, CrowdPlan, Seen, Span};
use crate::house::House;
use crate::witnesses::Witnesses;

/// Over, of the crowd, when something breaks.
const IN_THE_MIDDLE: usize = 12;

/// Redis is away for at least so long, as people are told; then it is back, and
/// everything goes on.
async fn outage(
    house: &mut House,
    what: &str,
    least: Duration,
    breaks: impl AsyncFnOnce(&mut House),
    mends: impl AsyncFnOnce(&mut House),
) -> (Seen, Span) {
    let mut witnesses = Witnesses::gather(house).await;
    let crowd = Crowd::start(house.site(), CrowdPlan::default()).await;
    crowd.until_over(IN_THE_MIDDLE).await;
    // To break and to mend takes a while, too: in between it is surely away.
    let mut surely = Span {
        from_ms: 0,
        to_ms: 0,
    };
    let away = crowd.fault(what, async {
        breaks(house).await;
        let since = Instant::now();
        surely.from_ms = crowd.now_ms();
        witnesses.see_it_away(house, since).await;
        crowd.pass(least.saturating_sub(since.elapsed())).await;
        surely.to_ms = crowd.now_ms();
        mends(house).await;
    });
    let away = away.await;
    witnesses.see_it_back().await;
    let seen = crowd.finish().await;
    seen.nobody_was_let_in(surely);
    seen.streams_were_told(away, surely.from_ms);
    seen.joins_were_refused(surely);
    (seen, away)
}

/// Redis is troubled in a way that people hardly notice: nobody is told
/// anything, and nothing is lost.
async fn trouble(house: &House, what: &str, trouble: impl AsyncFnOnce(&Crowd)) -> Seen {
    let crowd = Crowd::start(house.site(), CrowdPlan::default()).await;
    crowd.until_over(IN_THE_MIDDLE).await;
    let troubled = crowd.fault(what, trouble(&crowd)).await;
    let seen = crowd.finish().await;
    seen.no_stream_broke(troubled);
    assert_eq!(seen.epochs(), 1, "nothing was lost");
    seen
}
