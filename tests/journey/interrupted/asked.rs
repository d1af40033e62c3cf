//! What is asked in the middle of faults: a command that moves seats or money,
//! all that comes before it, and that it had one outcome.

use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use usher::proto::v1 as wire;
use usher::truth::failpoint::Point;
use wire::{PaymentState, ReservationState};

use crate::harness::soon;
use crate::people::{User, euros, reason};

/// What is held up in a test, on a machine that does other things, is not slow.
pub const PATIENT: [(&str, &str); 5] = [
    ("USHER_DATABASE__ACQUIRE_TIMEOUT_MS", "60000"),
    ("USHER_DATABASE__CONNECT_TIMEOUT_MS", "20000"),
    ("USHER_DATABASE__UNIT_TIMEOUT_MS", "60000"),
    ("USHER_DATABASE__STATEMENT_TIMEOUT_MS", "50000"),
    ("USHER_DATABASE__LOCK_TIMEOUT_MS", "20000"),
];

pub const PRICE_MINOR: i64 = 1_500;
const SEATS: u32 = 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rpc {
    Hold,
    Pay,
    Cancel,
    Redeem,
}

impl Rpc {
    /// Between its commit and its reply.
    pub fn committed(self) -> Point {
        match self {
            Self::Hold => Point::HoldCommitted,
            Self::Pay => Point::PaymentCommitted,
            Self::Cancel => Point::CancelCommitted,
            Self::Redeem => Point::RedeemCommitted,
        }
    }
}

/// A performance that needs no pass, and its seats.
pub struct Shop {
    pub channel: Channel,
    pub root: User,
    pub performance: String,
    seats: Vec<String>,
    rounds: usize,
}

/// A buyer, as far as a command needs one.
pub struct Round {
    pub number: usize,
    pub user: User,
    /// Of the command.
    pub key: String,
    pub seat: String,
    pub reservation: String,
    /// Of its ticket.
    code: String,
}

fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

fn performance(concert: &str) -> wire::Performance {
    wire::Performance {
        concert_id: concert.to_owned(),
        starts_at: at(4_000_000_000),
        sale_opens_at: at(1_000_000_000),
        sections: vec![wire::Section {
            name: "Stalls".to_owned(),
            price: Some(euros(PRICE_MINOR)),
            rows: vec![wire::SeatRow {
                name: "A".to_owned(),
                seat_count: SEATS,
            }],
        }],
        seats_per_user_max: 2,
        ..wire::Performance::default()
    }
}

impl Shop {
    pub async fn open(channel: Channel) -> Self {
        let root = User::new(channel.clone(), "root").with_admin_role();
        let concert = wire::CreateConcertRequest {
            concert: Some(wire::Concert {
                name: "Night of Lanterns".to_owned(),
                ..wire::Concert::default()
            }),
            idempotency_key: "concert".to_owned(),
        };
        let made = root.operator().create_concert(root.ask(concert)).await;
        let concert = made.expect("made").into_inner().concert.expect("one").id;
        let request = wire::CreatePerformanceRequest {
            performance: Some(performance(&concert)),
            idempotency_key: "performance".to_owned(),
        };
        let made = root.operator().create_performance(root.ask(request)).await;
        let made = made.expect("made").into_inner();
        let performance = made.performance.expect("one").id;
        let map = root.seat_map(&performance).await.expect("seats");
        Self {
            channel,
            root,
            performance,
            seats: map.seats.into_iter().map(|seat| seat.id).collect(),
            rounds: 0,
        }
    }

    /// Everything that comes before the command.
    pub async fn prepare(&mut self, rpc: Rpc) -> Round {
        self.rounds += 1;
        let number = self.rounds;
        let mut round = Round {
            number,
            user: User::new(self.channel.clone(), &format!("buyer-{number}")),
            key: format!("repeated-{number:03}"),
            seat: self.seats[2 * number].clone(),
            reservation: String::new(),
            code: String::new(),
        };
        if rpc == Rpc::Hold {
            return round;
        }
        let user = &round.user;
        let held = user.hold(&self.performance, &[&round.seat], "hold").await;
        round.reservation = held.expect("held").id;
        user.top_up(PRICE_MINOR, "money").await.expect("money");
        if rpc != Rpc::Pay {
            user.pay(&round.reservation, "pay").await.expect("paid");
            let mut bought = user.reservation(&round.reservation).await;
            round.code = bought.tickets.remove(0).code;
        }
        round
    }

    /// Something else, by the same connection to the database, under a key of
    /// its own.
    pub async fn ask_first(&self, rpc: Rpc, round: &Round, key: &str) {
        let other = User::new(self.channel.clone(), &format!("other-{}", round.number));
        match rpc {
            Rpc::Hold | Rpc::Pay => {
                let seat = &self.seats[2 * round.number + 1];
                let held = other.hold(&self.performance, &[seat], key).await;
                held.map(drop).expect("held");
            }
            Rpc::Cancel | Rpc::Redeem => {
                other.top_up(1, key).await.map(drop).expect("money");
            }
        }
    }

    /// Its answer, to be compared; a redeemed ticket's says whether it was
    /// redeemed before.
    pub async fn ask(&self, rpc: Rpc, round: &Round) -> Result<String, Status> {
        let Round { user, key, .. } = round;
        match rpc {
            Rpc::Hold => {
                let seats = [round.seat.as_str()];
                let held = user.hold(&self.performance, &seats, key).await?;
                Ok(format!("{held:?}"))
            }
            Rpc::Pay => Ok(format!("{:?}", user.pay(&round.reservation, key).await?)),
            Rpc::Cancel => {
                let cancelled = user.cancel(&round.reservation, key).await?;
                Ok(format!("{cancelled:?}"))
            }
            Rpc::Redeem => {
                let redeemed = self.redeem(round).await?;
                let at = redeemed.redeem_time.expect("a time");
                Ok(format!("{} {at:?}", redeemed.redeemed_before))
            }
        }
    }

    async fn redeem(&self, round: &Round) -> Result<wire::RedeemTicketResponse, Status> {
        let request = self.root.ask(wire::RedeemTicketRequest {
            code: round.code.clone(),
        });
        let answer = soon("the gate", self.root.operator().redeem_ticket(request)).await?;
        Ok(answer.into_inner())
    }

    /// Asks until it is known what became of the command, and looks that it
    /// happened once. `happened`: it did before, if that is known.
    pub async fn settle(&self, rpc: Rpc, round: &Round, happened: Option<bool>) {
        let repeats = async {
            loop {
                match self.ask(rpc, round).await {
                    Ok(answer) => return answer,
                    Err(status) => assert_may_be_repeated(&status),
                }
                tokio::task::yield_now().await;
            }
        };
        let first = soon("an answer", repeats).await;
        let again = self.ask(rpc, round).await.expect("as first answered");
        match rpc {
            Rpc::Redeem => {
                if let Some(happened) = happened {
                    assert_eq!(first.starts_with("true"), happened, "{first}");
                }
                let at = |answer: &str| answer.split_once(' ').map(|(_, at)| at.to_owned());
                assert!(again.starts_with("true"), "{again}");
                assert_eq!(at(&again), at(&first));
            }
            Rpc::Hold | Rpc::Pay | Rpc::Cancel => assert_eq!(again, first),
        }
        self.assert_once(rpc, round).await;
    }

    async fn assert_once(&self, rpc: Rpc, round: &Round) {
        let user = &round.user;
        let request = wire::ListReservationsRequest {
            page_size: 100,
            ..wire::ListReservationsRequest::default()
        };
        let asked = user.ask(request);
        let listed = user.reservations().list_reservations(asked).await;
        let listed = listed.expect("listed").into_inner().reservations;
        assert_eq!(listed.len(), 1, "{listed:?}");
        let mine = &listed[0];
        let (state, tickets, money) = match rpc {
            Rpc::Hold => (ReservationState::Held, 0, 0),
            Rpc::Pay | Rpc::Redeem => (ReservationState::Confirmed, 1, 0),
            Rpc::Cancel => (ReservationState::Cancelled, 0, PRICE_MINOR),
        };
        assert_eq!((mine.state(), mine.tickets.len()), (state, tickets));
        assert_eq!(user.balance().await, money, "moved once");
        if rpc == Rpc::Pay {
            let payment = user.payment(mine.payment_id.as_deref().expect("one")).await;
            assert_eq!(payment.state(), PaymentState::Succeeded);
            let twice = user.pay(&mine.id, "another").await.expect_err("paid");
            assert_eq!(reason(&twice), "ALREADY_PAID");
        }
        let rival = User::new(self.channel.clone(), &format!("rival-{}", round.number));
        let seats = [round.seat.as_str()];
        let taken = rival.hold(&self.performance, &seats, "rival").await;
        match rpc {
            Rpc::Cancel => drop(taken.expect("free again")),
            _ => assert_eq!(reason(&taken.expect_err("taken")), "SEAT_UNAVAILABLE"),
        }
    }
}

/// It is not known, or not done: the same may be asked again.
pub fn assert_may_be_repeated(status: &Status) {
    // A connection that broke says nothing more.
    let is_told = status.get_details_error_info().is_some();
    let may_be = status.get_details_retry_info().is_some() || !is_told;
    let is_unknown = matches!(
        status.code(),
        Code::Unavailable
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::Unknown
            | Code::Cancelled
    );
    assert!(may_be && is_unknown, "{status:?}");
}
