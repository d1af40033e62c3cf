//! Coupons of one stock over three nodes, whatever breaks meanwhile.
//!
//! Everybody presses, and presses again at the next node for as long as nobody can
//! tell what became of it. Then the rows are held against what was told: each who
//! was told of a coupon has that one, nobody else has any, nobody has two, and
//! exactly the stock is issued. In the end the audit has nothing to say, and each
//! coupon has its event.
//!
//! [`faults`] has a campaign and a fault for each seed; [`crowd`] one campaign for
//! thousands, and two faults.

mod crowd;
mod faults;
mod stage;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::sync::watch;
use tonic::transport::Channel;
use tonic::{Code, Status};
use usher::proto::v1 as wire;
use usher::proto::v1::coupon_service_client::CouponServiceClient;

use crate::client::reason;
use crate::people::User;
use stage::Stage;

/// Between two presses of one who was told nothing.
const AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Those who want a coupon of one campaign.
struct Crowd {
    campaign: String,
    stock: u64,
    /// What their names begin with, and nobody else's.
    marker: String,
    users: usize,
    /// Of so many of them each presses on two nodes at once.
    twice: Range<usize>,
    at_once: usize,
    /// Final answers.
    answers: watch::Sender<usize>,
}

/// What one press came to.
struct Pressed {
    user: String,
    /// `None`: sold out.
    coupon: Option<String>,
    is_fresh: bool,
    tries: usize,
}

/// What all of them came to, and the rows agree.
struct Issued {
    /// Presses that had to be repeated.
    repeated: usize,
}

/// It can be asked again; what became of it is not known, or nothing did.
fn may_be_repeated(status: &Status) -> bool {
    use Code::{Cancelled, Internal, ResourceExhausted, Unavailable, Unknown};
    let of_transport = [Unavailable, Unknown, Cancelled, Internal];
    match reason(status).as_str() {
        "UNAVAILABLE" | "OVERLOADED" | "DEGRADED" => true,
        _ => of_transport.contains(&status.code()) || status.code() == ResourceExhausted,
    }
}

impl Crowd {
    async fn of(stage: &Stage, marker: &str, stock: u64, users: usize) -> Self {
        Self {
            campaign: stage.campaign(marker, stock).await,
            stock,
            marker: marker.to_owned(),
            users,
            twice: 0..users / 4,
            at_once: users,
            answers: watch::Sender::new(0),
        }
    }

    fn presses(&self) -> usize {
        self.users + self.twice.len()
    }

    async fn answered(&self, count: usize) {
        let mut answers = self.answers.subscribe();
        let enough = answers.wait_for(|answers| *answers >= count);
        drop(enough.await.expect("going on"));
    }

    /// Until each has a final answer.
    async fn press(&self, doors: &[watch::Receiver<Channel>]) -> Vec<Pressed> {
        let first = (0..self.users).map(|user| (user, user));
        let second = self.twice.clone().map(|user| (user, user + 1));
        let presses = first.chain(second);
        let presses = presses.map(|(user, door)| self.press_on(doors, user, door));
        stream::iter(presses)
            .buffer_unordered(self.at_once)
            .collect()
            .await
    }

    async fn press_on(
        &self,
        doors: &[watch::Receiver<Channel>],
        user: usize,
        first: usize,
    ) -> Pressed {
        let name = format!("{}{user}", self.marker);
        let mut moments = tokio::time::interval(AGAIN_AFTER);
        let mut tries = 0;
        let answer = loop {
            moments.tick().await;
            let door = doors[(first + tries) % doors.len()].borrow().clone();
            let caller = User::new(door, &name);
            let request = caller.ask(wire::IssueCouponRequest {
                campaign_id: self.campaign.clone(),
            });
            tries += 1;
            let answer = CouponServiceClient::new(caller.channel());
            match { answer }.issue_coupon(request).await {
                Ok(issued) => break Some(issued.into_inner()),
                Err(status) if reason(&status) == "COUPON_SOLD_OUT" => break None,
                Err(status) => assert!(may_be_repeated(&status), "{name}: {status:?}"),
            }
        };
        self.answers.send_modify(|answers| *answers += 1);
        let is_fresh = answer.as_ref().is_some_and(|it| !it.already_issued);
        let coupon = answer.map(|it| it.coupon.expect("a coupon").id);
        Pressed {
            user: name,
            coupon,
            is_fresh,
            tries,
        }
    }

    /// What was told is what is written.
    fn compare(&self, stage: &Stage, pressed: &[Pressed]) -> Issued {
        assert_eq!(pressed.len(), self.presses());
        let mut told: BTreeMap<&str, Option<&str>> = BTreeMap::new();
        let mut fresh: BTreeMap<&str, usize> = BTreeMap::new();
        for one in pressed {
            let coupon = one.coupon.as_deref();
            let before = told.insert(&one.user, coupon);
            assert!(before.is_none_or(|before| before == coupon), "{}", one.user);
            *fresh.entry(&one.user).or_default() += usize::from(one.is_fresh);
        }
        assert!(fresh.values().all(|&times| times <= 1), "issued twice");
        let granted: BTreeMap<String, String> = told
            .iter()
            .filter_map(|(user, coupon)| Some(((*user).to_owned(), (*coupon)?.to_owned())))
            .collect();
        let rows = stage.coupons_of(&self.campaign);
        assert_eq!(rows.len(), granted.len(), "rows, and who was told");
        assert_eq!(rows.into_iter().collect::<BTreeMap<_, _>>(), granted);
        let due = self.stock.min(self.users as u64);
        assert_eq!(granted.len() as u64, due, "of {} users", self.users);
        assert_eq!(stage.issued_of(&self.campaign), due);
        Issued {
            repeated: pressed.iter().filter(|one| one.tries > 1).count(),
        }
    }
}

/// Of the environment.
fn number(name: &str, default: usize) -> usize {
    let told = std::env::var(name).ok();
    told.map_or(default, |text| text.parse().expect("a number"))
}
