//! Coupons of payments: used once, and given back with the whole purchase.
//!
//! A payment from a wallet uses a coupon at once. One through a provider reserves
//! it until the provider has decided: then it is used, or as before. Either is
//! decided under the coupon's lock, and written under a condition on its state.

use std::collections::{BTreeSet, HashMap};

use serde_json::json;

use super::super::columns::time_to_column;
use super::super::list::{Column, List, Update};
use super::super::outbox::{self, Event};
use super::super::query::unreadable;
use super::super::{Tx, locks};
use super::{campaigns, coupons};
use crate::domain::ids::{ResourceId, UserId};
use crate::domain::sale::coupon::{Coupon, CouponState, NewCampaign, NotApplicable, Purchase};
use crate::domain::sale::hold::Reservation;
use crate::domain::sale::payment::{CouponUse, Payment};
use crate::domain::time::UnixMs;
use crate::domain::trace::Trace;
use crate::store::sales::SalesError;

const COUPONS: &str = "\
SELECT k.id, k.campaign_id, k.user_id, k.state, k.issued_at, k.reservation_id, k.payment_id, \
c.name, c.stock, c.percent, c.amount_off_minor, c.discount_max_minor, c.order_min_minor, \
c.currency, c.valid_from, c.valid_until, c.concerts, c.performances FROM {list} \
LEFT JOIN coupons AS k ON k.id = v.id LEFT JOIN campaigns AS c ON c.id = k.campaign_id";

const OF_PAYMENTS: &str = "\
SELECT p.coupon_id FROM {list} LEFT JOIN payments AS p ON p.id = v.id";

const USES: &[Column] = &[
    Column::Text("id"),
    Column::Text("becomes"),
    Column::Text("payment"),
    Column::Text("reservation"),
];

const USE: Update = Update {
    table: "coupons",
    set: "state = v.becomes, payment_id = v.payment, reservation_id = v.reservation, used_at = $1",
    on: "coupons.id = v.id AND COALESCE(coupons.state, '') = 'available'",
};

const DECIDED: &str = "\
UPDATE coupons SET state = 'used', used_at = $3 \
WHERE id = $1 AND payment_id = $2 AND state = 'reserved'";

const FREE: &str = "\
UPDATE coupons SET state = 'available', payment_id = NULL, reservation_id = NULL, used_at = NULL \
WHERE id = $1 AND payment_id = $2 AND state <> 'available'";

struct Redeemable {
    coupon: Coupon,
    terms: NewCampaign,
}

/// Coupons that are this unit's until it is over, as they are after the payments
/// before.
pub struct Redeemables {
    known: HashMap<ResourceId, Redeemable>,
    used: Vec<Taken>,
}

/// A coupon for which there is a payment.
struct Taken {
    coupon: Coupon,
    used: CouponUse,
    payment: ResourceId,
    reservation: ResourceId,
    state: CouponState,
    trace: Option<Trace>,
}

impl Redeemables {
    /// Comes after the locks of performances and passes, and before those of
    /// accounts.
    pub async fn read(tx: &Tx, ids: BTreeSet<&ResourceId>) -> Result<Self, SalesError> {
        locks::coupons(tx, ids.clone()).await?;
        Self::read_locked(tx, ids).await
    }

    /// As [`Self::read`], of those that are locked already, and of others that
    /// nothing is decided about.
    pub async fn read_locked(tx: &Tx, ids: BTreeSet<&ResourceId>) -> Result<Self, SalesError> {
        let list = List::of_ids(ids.iter().map(|id| id.as_str()));
        let mut known = HashMap::new();
        for row in &list.all(tx, COUPONS, []).await? {
            if let Some(id) = row.opt_id("id")? {
                let (coupon, terms) = (coupons::read(row)?, campaigns::terms(row)?);
                known.insert(id, Redeemable { coupon, terms });
            }
        }
        Ok(Self {
            known,
            used: Vec::new(),
        })
    }

    /// What it takes off for its owner; another's does not exist.
    pub fn judge(
        &self,
        id: &ResourceId,
        user: &UserId,
        purchase: &Purchase<'_>,
        now: UnixMs,
    ) -> Result<CouponUse, SalesError> {
        let known = self.known.get(id);
        let known = known.filter(|known| known.coupon.user == *user);
        let Redeemable { coupon, terms } = known.ok_or(SalesError::NotFound)?;
        let judged = match coupon.state {
            CouponState::Available => terms.discount_on(purchase, now),
            CouponState::Reserved | CouponState::Used => Err(NotApplicable::Used),
        };
        let discount = judged.map_err(|not| SalesError::CouponNotApplicable { why: not.why() })?;
        Ok(CouponUse {
            coupon: id.clone(),
            discount,
        })
    }

    /// From here on it is no other payment's.
    pub fn take(&mut self, payment: &Payment, state: CouponState, trace: Option<Trace>) {
        let Some(used) = &payment.coupon else { return };
        let Some(known) = self.known.get_mut(&used.coupon) else {
            return;
        };
        known.coupon.state = state;
        known.coupon.reservation = Some(payment.reservation.clone());
        self.used.push(Taken {
            coupon: known.coupon.clone(),
            used: used.clone(),
            payment: payment.id.clone(),
            reservation: payment.reservation.clone(),
            state,
            trace,
        });
    }

    /// Leaves it to be written, with the events of those that are used.
    pub fn write(self, tx: &Tx) {
        let mut uses = List::new(USES);
        let mut events = Vec::new();
        for taken in &self.used {
            uses.push([
                taken.coupon.id.as_str().into(),
                taken.state.as_str().into(),
                taken.payment.as_str().into(),
                taken.reservation.as_str().into(),
            ]);
            if taken.state == CouponState::Used {
                let (coupon, reservation) = (&taken.coupon, &taken.reservation);
                let event = told("coupon.redeemed", coupon, &taken.used, reservation);
                events.push(event.traced(taken.trace));
            }
        }
        uses.update(tx, &USE, [time_to_column(tx.now()).into()]);
        outbox::append_all(tx, &events);
    }
}

/// What of a hold is paid with it, of which `concert` it is.
pub fn purchase<'a>(held: &'a Reservation, concert: &'a ResourceId) -> Purchase<'a> {
    Purchase {
        concert,
        performance: &held.performance,
        total: held.total,
    }
}

fn told(kind: &'static str, coupon: &Coupon, used: &CouponUse, reservation: &ResourceId) -> Event {
    Event {
        aggregate: format!("coupon:{}", coupon.id),
        kind,
        payload: json!({
            "coupon_id": coupon.id,
            "campaign_id": coupon.campaign,
            "user_id": coupon.user,
            "reservation_id": reservation,
            "discount": used.discount,
        }),
        trace: None,
    }
}

/// Holds off whoever else would use it; before the money is touched.
pub async fn lock(tx: &Tx, payment: &Payment) -> Result<(), SalesError> {
    match &payment.coupon {
        Some(used) => Ok(locks::coupons(tx, [&used.coupon]).await?),
        None => Ok(()),
    }
}

/// As [`lock`], those of several payments at once.
pub async fn lock_all(tx: &Tx, payments: &[ResourceId]) -> Result<(), SalesError> {
    if tx.is_alone() {
        return Ok(());
    }
    let list = List::of_ids(payments.iter().map(ResourceId::as_str));
    let mut ids = BTreeSet::new();
    for row in &list.all(tx, OF_PAYMENTS, []).await? {
        ids.extend(row.opt_id("coupon_id")?);
    }
    Ok(locks::coupons(tx, &ids).await?)
}

/// The provider took the money: the coupon that waited for it is used.
pub async fn decided(tx: &Tx, payment: &Payment) -> Result<(), SalesError> {
    let Some(used) = &payment.coupon else {
        return Ok(());
    };
    let coupon = load(tx, &used.coupon).await?;
    let values = [
        used.coupon.as_str().into(),
        payment.id.as_str().into(),
        time_to_column(tx.now()).into(),
    ];
    tx.defer(DECIDED, values, 1);
    let event = told("coupon.redeemed", &coupon, used, &payment.reservation);
    outbox::append_all(tx, &[event]);
    Ok(())
}

/// The payment bought nothing: its coupon is as before.
pub async fn let_go(tx: &Tx, payment: &Payment) -> Result<(), SalesError> {
    free(tx, payment).await.map(drop)
}

/// The whole purchase is over: its coupon may be used again.
pub async fn give_back(tx: &Tx, payment: &Payment) -> Result<(), SalesError> {
    let (Some(used), Some(coupon)) = (&payment.coupon, free(tx, payment).await?) else {
        return Ok(());
    };
    let event = told("coupon.returned", &coupon, used, &payment.reservation);
    outbox::append_all(tx, &[event]);
    Ok(())
}

/// Whether it was used or waited: a node of before may have decided the payment.
async fn free(tx: &Tx, payment: &Payment) -> Result<Option<Coupon>, SalesError> {
    let Some(used) = &payment.coupon else {
        return Ok(None);
    };
    let coupon = load(tx, &used.coupon).await?;
    let values = [used.coupon.as_str().into(), payment.id.as_str().into()];
    tx.defer(FREE, values, 1);
    Ok(Some(coupon))
}

async fn load(tx: &Tx, id: &ResourceId) -> Result<Coupon, SalesError> {
    let mut known = Redeemables::read(tx, BTreeSet::from([id])).await?.known;
    let found = known.remove(id).map(|known| known.coupon);
    Ok(found.ok_or_else(|| unreadable("coupon_id"))?)
}
