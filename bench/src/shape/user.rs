//! What one user of a shape does, from coming to going.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rand::Rng;
use tokio::time::{Instant, sleep, sleep_until};
use usher::proto::v1 as wire;
use usher::proto::v1::PlaceState;
use usher::proto::v1::catalog_service_client::CatalogServiceClient;

use super::table::{Scenario, Shape, Users};
use crate::error::BenchError;
use crate::journey::buy;
use crate::session::{Ground, Place, Purse, Refused, Session, Turn};
use crate::stage::{Sale, Stage};
use crate::trace::now_ms;

/// From a turn to when a user who watches knows of it.
pub const RECEIPT: &str = "turn to receipt";
/// From when a user should have come to the end of the journey.
pub const JOURNEY: &str = "journey";
/// From when an arrival was due to its first call: the client's own delay.
pub const LATE: &str = "arrival late by";
/// The times that are of calls.
pub const CALLS: &[&str] = &[
    "Join",
    "GetPlace",
    "Claim",
    "Leave",
    "ListConcerts",
    "ListPerformances",
    "GetSeatMap",
    "HoldSeats",
    "TopUpWallet",
    "CreditWallet",
    "PayReservation",
];
/// Of a hundred looks at the list so many are at its second page.
const SECOND_PAGES: u64 = 10;
pub const PAGE: i32 = 10;
const LARGEST_PAGE: i32 = 100;

/// How a journey ended, if nothing was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Finished,
    /// The turn did not come while the user asked.
    NotAdmitted,
}

/// Where users go, and what they find there.
pub struct World {
    pub shape: &'static Shape,
    pub stage: Stage,
    /// The users' connections and times, apart from the operator's.
    pub ground: Arc<Ground>,
    pub sale: Sale,
    pub purse: Purse,
    /// Those who wait are told of their turn instead of asking.
    pub watching: bool,
    /// Pauses are so many times as long as the table says.
    pub time: f64,
    /// The list's second page.
    pub second_page: String,
    /// The place that all look at, where the scenario needs one.
    pub place: Option<(Session, Place)>,
    /// Tells the users of one run from those of the next.
    pub run: u32,
    /// Journeys begun, in all steps.
    pub next: AtomicU64,
}

impl World {
    /// Who makes the `nth` journey, on the connection of `seat`.
    pub fn user(&self, seat: usize, nth: u64) -> Result<Session, BenchError> {
        if let Some((owner, _)) = &self.place {
            return Ok(Session {
                nth: seat,
                ..owner.on(Arc::clone(&self.ground))
            });
        }
        let run = self.run;
        let name = match self.shape.users {
            // Who watches must have the place alone: it ends with the turn.
            Users::OneOf(_) if self.watching => format!("own-{run}-{seat}"),
            Users::OneOf(count) => {
                format!("some-{run}-{}", rand::rng().random_range(1..=count))
            }
            Users::Fresh => format!("new-{run}-{nth}"),
        };
        self.stage.user_on(&self.ground, &name, seat)
    }

    /// Stops a server of our own, and judges it.
    pub async fn close(self) -> Result<(String, bool), BenchError> {
        let Self { stage, .. } = self;
        stage.judge().await
    }

    /// One journey. `activated` is called when the turn has come.
    pub async fn visit(
        &self,
        user: &Session,
        nth: u64,
        activated: impl Fn(),
    ) -> Result<End, Refused> {
        match self.shape.scenario {
            Scenario::Issue => user.join(&self.sale.room).await.map(|_| End::Finished),
            Scenario::Wait { every_s } => {
                let mut place = user.join(&self.sale.room).await?;
                let turn = self.wait(user, &mut place, every_s, u32::MAX).await?;
                let Some(turn) = turn else {
                    return Ok(End::NotAdmitted);
                };
                activated();
                if self.watching {
                    self.note_receipt(user, &turn);
                    user.leave(&place).await?;
                }
                Ok(End::Finished)
            }
            Scenario::Visit { every_s, looks_max } => {
                let mut place = user.join(&self.sale.room).await?;
                let turn = self.wait(user, &mut place, every_s, looks_max).await?;
                let Some(turn) = turn else {
                    return Ok(End::NotAdmitted);
                };
                activated();
                if self.watching {
                    self.note_receipt(user, &turn);
                }
                let pass = user.claim(&place, &turn).await?;
                let dates = user.performances(&self.sale.concert_id).await?;
                let first = dates.first().map_or("", |date| date.id.as_str());
                user.free_seats(first, &pass).await?;
                Ok(End::Finished)
            }
            Scenario::Buy => {
                let (turn, pass) = user.admit(&self.sale.room).await?;
                activated();
                let pause = |seconds| self.pause(f64::from(seconds));
                buy(
                    user,
                    &self.sale,
                    &self.purse,
                    pause,
                    &turn.activation_id,
                    &pass,
                )
                .await?;
                Ok(End::Finished)
            }
            Scenario::ListPage => {
                let second = nth % 100 < SECOND_PAGES;
                let token = if second {
                    self.second_page.as_str()
                } else {
                    ""
                };
                list(user, PAGE, token).await?;
                Ok(End::Finished)
            }
            Scenario::ListAll => {
                let mut token = String::new();
                loop {
                    token = list(user, LARGEST_PAGE, &token).await?.next_page_token;
                    if token.is_empty() {
                        return Ok(End::Finished);
                    }
                }
            }
            Scenario::Dates {
                asleep_s,
                looks,
                every_s,
            } => {
                let awake = Instant::now() + self.span(asleep_s);
                let mut place = user.join(&self.sale.room).await?;
                let turn = user.wait_for_turn(&mut place).await?;
                activated();
                self.note_receipt(user, &turn);
                user.claim(&place, &turn).await?;
                sleep_until(awake).await;
                for look in 0..looks {
                    if look > 0 {
                        self.pause(every_s).await;
                    }
                    user.performances(&self.sale.concert_id).await?;
                }
                user.leave(&place).await?;
                Ok(End::Finished)
            }
            Scenario::Paced { every_s } => {
                let next = Instant::now() + self.span(every_s);
                let (_, place) = self.place.as_ref().ok_or_else(|| Refused {
                    rpc: "GetPlace",
                    reason: "NO_PLACE".to_owned(),
                })?;
                user.look_at(place).await?;
                sleep_until(next).await;
                Ok(End::Finished)
            }
        }
    }

    /// `None`: the turn did not come within so many looks.
    async fn wait(
        &self,
        user: &Session,
        place: &mut Place,
        every_s: f64,
        looks_max: u32,
    ) -> Result<Option<Turn>, Refused> {
        if self.watching {
            return user.wait_for_turn(place).await.map(Some);
        }
        for _ in 0..looks_max {
            self.pause(every_s).await;
            let seen = user.look_at(place).await?;
            let state = seen.state();
            let turn = Turn {
                activation_id: seen.activation_id.unwrap_or_default(),
                claim_by_ms: 0,
                pass: None,
            };
            match state {
                PlaceState::Activated | PlaceState::Active => return Ok(Some(turn)),
                // The user had the turn from another session, and it is over.
                PlaceState::Completed | PlaceState::Expired if place.has_turn => {
                    return Ok(Some(turn));
                }
                PlaceState::Completed | PlaceState::Expired | PlaceState::Left => {
                    let (rpc, reason) = ("GetPlace", state.as_str_name().to_owned());
                    user.ground.tally.refusal(rpc, &reason);
                    return Err(Refused { rpc, reason });
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// An activation's own time is the end of its claim window less the window.
    fn note_receipt(&self, user: &Session, turn: &Turn) {
        let window_ms = u64::try_from(self.shape.claim_window_s).unwrap_or(0) * 1_000;
        let turn_ms = turn.claim_by_ms.saturating_sub(window_ms);
        let told = Duration::from_millis(now_ms().saturating_sub(turn_ms));
        user.ground.tally.time(RECEIPT, told);
    }

    fn span(&self, seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds * self.time)
    }

    fn pause(&self, seconds: f64) -> impl Future<Output = ()> + use<> {
        sleep(self.span(seconds))
    }
}

/// One page of concerts.
pub async fn list(
    user: &Session,
    page_size: i32,
    token: &str,
) -> Result<wire::ListConcertsResponse, Refused> {
    let message = wire::ListConcertsRequest {
        page_size,
        page_token: token.to_owned(),
        ..Default::default()
    };
    let send = |channel, request| async move {
        CatalogServiceClient::new(channel)
            .list_concerts(request)
            .await
    };
    user.look("ListConcerts", message, None, send).await
}
