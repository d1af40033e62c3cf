//! Everything that decides about sale commands besides their seats, in one read.

use super::super::Tx;
use super::super::columns::time_to_column;
use super::super::list::{Column, List};
use super::super::query::Row;
use super::catalog::state_from_name;
use super::pass;
use crate::domain::ids::{ActivationId, ResourceId, RoomId, UserId};
use crate::domain::sale::catalog::PerformanceState;
use crate::domain::sale::currency::Currency;
use crate::domain::time::UnixMs;
use crate::store::sales::{SalesError, SeatVersions};

const TERMS: &str = include_str!("terms.sql");

const ASKED: &[Column] = &[
    Column::Integer("n"),
    Column::Text("performance"),
    Column::Text("buyer"),
    Column::Text("activation"),
    Column::Text("reservation"),
    Column::Integer("counts"),
];

/// Whose command it is, and about what.
#[derive(Clone, Copy, Default)]
pub struct Asked<'a> {
    pub user: Option<&'a UserId>,
    pub activation: Option<ActivationId>,
    pub reservation: Option<&'a ResourceId>,
    /// Neither `open_seats` nor `other_holds` matter: both are 0.
    pub skips_counts: bool,
}

/// What the performance grants, and what its buyer has.
pub struct Terms {
    /// The room that protects it.
    pub room: Option<RoomId>,
    /// What changed of it so far.
    pub versions: SeatVersions,
    pub currency: Currency,
    pub concert: ResourceId,
    pub on_sale: bool,
    /// It does not take place.
    pub cancelled: bool,
    pub hold_ttl_ms: u64,
    pub hold_total_max_ms: u64,
    pub seats_per_user_max: u32,
    /// Neither sold nor blocked.
    pub open_seats: u64,
    /// Held and bought by the user; 0 for nobody.
    pub seats_of_user: u64,
    /// Live holds under the activation, besides the reservation.
    pub other_holds: u64,
    /// The activation as its row says.
    pub pass: Option<Pass>,
}

/// The row of an activation, as far as a sale asks.
pub struct Pass {
    pub id: ActivationId,
    pub room: RoomId,
    pub user: UserId,
    pub state: String,
    pub expire_time: Option<UnixMs>,
}

impl Terms {
    pub async fn read(
        tx: &Tx,
        performance: &ResourceId,
        asked: &Asked<'_>,
    ) -> Result<Self, SalesError> {
        let mut one = Self::read_all(tx, &[(performance, *asked)]).await?;
        one.pop().flatten().ok_or(SalesError::NotFound)
    }

    /// In the order in which they are asked for; `None` where there is no such
    /// performance.
    pub async fn read_all(
        tx: &Tx,
        asked: &[(&ResourceId, Asked<'_>)],
    ) -> Result<Vec<Option<Self>>, SalesError> {
        let mut list = List::new(ASKED);
        for (n, (performance, asked)) in (0_i64..).zip(asked) {
            list.push([
                n.into(),
                performance.as_str().into(),
                asked.user.map_or("", UserId::as_str).into(),
                asked.activation.map(|id| id.to_string()).into(),
                asked.reservation.map_or("", ResourceId::as_str).into(),
                i64::from(!asked.skips_counts).into(),
            ]);
        }
        let mut terms: Vec<Option<Self>> = asked.iter().map(|_| None).collect();
        let values = [time_to_column(tx.now()).into()];
        for row in &list.all(tx, TERMS, values).await? {
            let n = usize::try_from(row.count("n")?).unwrap_or(usize::MAX);
            if let Some(place) = terms.get_mut(n) {
                *place = Self::of(row, tx.now())?;
            }
        }
        Ok(terms)
    }

    fn of(row: &Row, now: UnixMs) -> Result<Option<Self>, SalesError> {
        let Some(state) = row.opt_parsed("state", state_from_name)? else {
            return Ok(None);
        };
        let closes_at = match row.opt_time("sale_closes_at")? {
            Some(closes_at) => closes_at,
            None => row.time("starts_at")?,
        };
        let scheduled = state == PerformanceState::Scheduled;
        Ok(Some(Self {
            room: row.opt_room("room_id")?,
            versions: SeatVersions {
                performance: row.count("version")?,
                seats: row.count("seats_version")?,
            },
            currency: row.currency("currency")?,
            concert: row.id("concert_id")?,
            on_sale: scheduled && row.time("sale_opens_at")? <= now && now < closes_at,
            cancelled: !scheduled,
            hold_ttl_ms: row.count("hold_ttl_ms")?,
            hold_total_max_ms: row.count("hold_total_max_ms")?,
            seats_per_user_max: row.small("seats_per_user_max")?,
            open_seats: row.count("open_seats")?,
            seats_of_user: row.count("seats_of_user")?,
            other_holds: row.count("other_holds")?,
            pass: Pass::read(row)?,
        }))
    }

    pub fn sold_out(&self) -> bool {
        self.open_seats == 0
    }
}

impl Pass {
    pub fn read(row: &Row) -> Result<Option<Self>, SalesError> {
        let Some(id) = row.opt_parsed("pass_id", pass::parse)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            id,
            room: row.parsed("pass_room", |text| RoomId::parse(text).ok())?,
            user: row.user("pass_user")?,
            state: row.text("pass_state")?,
            expire_time: row.opt_time("pass_expire_time")?,
        }))
    }
}
