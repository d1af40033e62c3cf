//! What a provider decided, taken once.
//!
//! Whoever brings an outcome holds off the others by the intent's name, and then
//! the reservation's rows. So of a provider's answer, its event and the
//! resolver's question the first counts, and the hold cannot end in between.

use std::collections::{BTreeMap, BTreeSet};

use super::super::super::columns::time_to_column;
use super::super::super::query::{one, unreadable};
use super::super::super::{Tx, idempotency, locks, outbox};
use super::super::ledger::{self, About, Accounts};
use super::super::reservations::{self, OfOwner};
use super::super::seats;
use super::super::terms::{Asked, Terms};
use super::super::{expiry, pass, pay, redeem, refund};
use super::{begin, leave_refund, load};
use crate::domain::ids::ResourceId;
use crate::domain::sale::catalog::SeatState;
use crate::domain::sale::hold::{Reservation, ReservationState};
use crate::domain::sale::intent::{Intent, IntentPurpose, IntentState};
use crate::domain::sale::ledger::{Account, Entry, EntryKind, MoneyFor};
use crate::domain::sale::money::Money;
use crate::domain::sale::payment::{Payment, PaymentState};
use crate::store::sales::{GatewayEvent, Once, SalesError, SeatsChanged, Settle, Settled};

const EVENT: &str = "SELECT id FROM gateway_events WHERE provider = $1 AND id = $2";

const KEEP_EVENT: &str = "\
INSERT INTO gateway_events (provider, id, received_at) VALUES ($1, $2, $3)";

const SETTLE: &str = "\
UPDATE payment_intents SET state = $2, provider_id = $3, settled_at = $4, action_url = NULL, \
taken_minor = $6, taken_currency = $7 WHERE id = $1 AND state = $5";

const DECLINE: &str = "\
UPDATE payments SET state = 'declined', live = NULL WHERE id = $1 AND state = 'pending'";

const CAPTURE: &str = "\
UPDATE payments SET state = 'succeeded' WHERE id = $1 AND state = 'pending'";

const GIVE_BACK: &str = "\
UPDATE payments SET state = 'refunding', refunded_minor = amount_minor, refunds = 1 \
WHERE id = $1 AND state = $2 AND refunds = 0";

/// A hold that was over gets the moment in which it is paid.
const REVIVE: &str = "\
UPDATE reservations SET state = 'held', expires_at = $2, ended_at = NULL, version = version + 1 \
WHERE id = $1 AND state = 'expired'";

pub async fn settle(tx: &Tx, command: &Settle) -> Result<Settled, SalesError> {
    if let Some(event) = &command.event
        && !note(tx, event).await?
    {
        return Ok(unchanged(load(tx, &command.intent).await?));
    }
    locks::name(tx, &format!("intent:{}", command.intent)).await?;
    let intent = load(tx, &command.intent).await?;
    let before = intent.state;
    if intent.taken.is_some() {
        return Ok(unchanged(intent));
    }
    let took_other = command.outcome == IntentState::Succeeded && command.taken.is_some();
    let intent = match (before, command.outcome) {
        (IntentState::Pending | IntentState::Declined, _) if took_other => Intent {
            state: IntentState::Declined,
            provider_id: command.provider_id.clone().or(intent.provider_id),
            taken: command.taken,
            ..intent
        },
        (IntentState::Pending, IntentState::Succeeded | IntentState::Declined)
        | (IntentState::Declined, IntentState::Succeeded) => Intent {
            state: command.outcome,
            provider_id: command.provider_id.clone().or(intent.provider_id),
            ..intent
        },
        (_, IntentState::Pending)
        | (IntentState::Declined | IntentState::Succeeded, IntentState::Declined)
        | (IntentState::Succeeded, IntentState::Succeeded) => return Ok(unchanged(intent)),
    };
    let values = [
        intent.id.as_str().into(),
        intent.state.as_str().into(),
        intent.provider_id.as_deref().into(),
        time_to_column(tx.now()).into(),
        before.as_str().into(),
        intent.taken.map(|taken| taken.amount_minor).into(),
        intent.taken.map(|taken| taken.currency.to_string()).into(),
    ];
    tx.defer(SETTLE, values, 1);
    if let Some(taken) = intent.taken {
        return give_back_other(tx, intent, before, taken).await;
    }
    match intent.purpose {
        IntentPurpose::Payment => settle_payment(tx, intent, before).await,
        IntentPurpose::TopUp => settle_top_up(tx, intent, before, command).await,
    }
}

/// As [`settle`], and the command that began it has no answer any more. Once: what
/// came after it under the same key keeps its own.
pub async fn abandon(tx: &Tx, command: &Settle, begun_by: &Once) -> Result<Settled, SalesError> {
    locks::name(tx, &format!("intent:{}", command.intent)).await?;
    let before = load(tx, &command.intent).await?.state;
    let settled = settle(tx, command).await?;
    let Intent { purpose, state, .. } = settled.intent;
    if before == IntentState::Pending && state == IntentState::Declined {
        let command = match purpose {
            IntentPurpose::Payment => begin::PAY,
            IntentPurpose::TopUp => begin::TOP_UP,
        };
        idempotency::forget(tx, begun_by, command).await?;
    }
    Ok(settled)
}

/// Whether it comes for the first time.
async fn note(tx: &Tx, event: &GatewayEvent) -> Result<bool, SalesError> {
    let GatewayEvent { provider, id } = event;
    locks::name(tx, &format!("gateway event:{provider}/{id}")).await?;
    let key = || [provider.as_str().into(), id.as_str().into()];
    if one(tx, EVENT, key()).await?.is_some() {
        return Ok(false);
    }
    let [provider, id] = key();
    let now = time_to_column(tx.now());
    tx.defer(KEEP_EVENT, [provider, id, now.into()], 1);
    Ok(true)
}

fn unchanged(intent: Intent) -> Settled {
    Settled {
        intent,
        payment: None,
        changed: None,
        completed: None,
    }
}

async fn settle_payment(
    tx: &Tx,
    intent: Intent,
    before: IntentState,
) -> Result<Settled, SalesError> {
    let payment = pay::any(tx, &intent.id).await?;
    reservations::lock(tx, &payment.reservation).await?;
    redeem::lock(tx, &payment).await?;
    goes_on(tx, &payment).await?;
    if intent.state == IntentState::Declined {
        return decline(tx, intent, payment).await;
    }
    let wanted = BTreeSet::from([&payment.reservation]);
    let mut found = reservations::many(tx, &wanted).await?;
    let of_owner = found.remove(&payment.reservation);
    let of_owner = of_owner.ok_or_else(|| unreadable("reservation_id"))?;
    let held = &of_owner.reservation;
    let asked = Asked {
        user: Some(&held.user),
        activation: held.activation,
        reservation: Some(&held.id),
        skips_counts: false,
    };
    let terms = Terms::read(tx, &held.performance, &asked).await?;
    let has_seats = match held.state_at(tx.now()) {
        // Its buyer was told that nothing was paid, and may have paid again.
        _ if before == IntentState::Declined => false,
        ReservationState::Held => !terms.cancelled,
        ReservationState::Expired => take_again(tx, &of_owner, &terms).await?,
        ReservationState::Confirmed | ReservationState::Released | ReservationState::Cancelled => {
            false
        }
    };
    if has_seats {
        confirm(tx, intent, payment, &of_owner, &terms).await
    } else {
        give_back(tx, intent, payment, &held.performance).await
    }
}

/// With the trace of the request that began it, whoever settles it.
async fn goes_on(tx: &Tx, payment: &Payment) -> Result<(), SalesError> {
    let aggregate = format!("reservation:{}", payment.reservation);
    let trace = outbox::trace_of(tx, &aggregate, pay::STARTED, &payment.id).await?;
    tx.is_for(trace);
    Ok(())
}

async fn decline(tx: &Tx, intent: Intent, payment: Payment) -> Result<Settled, SalesError> {
    let performance = reservations::performance_of(tx, &payment.reservation).await?;
    tx.defer(DECLINE, [payment.id.as_str().into()], 1);
    redeem::let_go(tx, &payment).await?;
    let declined = pay::told("payment.declined", &payment, &performance);
    outbox::append(tx, &declined.aggregate, declined.kind, &declined.payload);
    let payment = Payment {
        state: PaymentState::Declined,
        ..payment
    };
    Ok(Settled {
        payment: Some(payment),
        ..unchanged(intent)
    })
}

/// Another amount than was asked for bought nothing: its buyer is told that it
/// was declined, and whatever was taken goes back. It is no payment's: no entry
/// names one.
async fn give_back_other(
    tx: &Tx,
    intent: Intent,
    before: IntentState,
    taken: Money,
) -> Result<Settled, SalesError> {
    // No performance's lock is held for one that was declined before.
    let of = MoneyFor::Wallet(intent.user.clone());
    let settled = match (intent.purpose, before) {
        (IntentPurpose::Payment, IntentState::Pending) => {
            let payment = pay::any(tx, &intent.id).await?;
            reservations::lock(tx, &payment.reservation).await?;
            goes_on(tx, &payment).await?;
            decline(tx, intent, payment).await?
        }
        _ => unchanged(intent),
    };
    if taken.amount_minor > 0 {
        let about = About {
            reason: "another amount than was asked for",
            ..About::default()
        };
        let (id, kind) = (&settled.intent.id, EntryKind::TopUp);
        let refund_id = bring_and_take(tx, id, of, taken, kind, &about).await?;
        leave_refund(tx, &refund_id, id, taken);
    }
    Ok(settled)
}

async fn confirm(
    tx: &Tx,
    intent: Intent,
    payment: Payment,
    of_owner: &OfOwner,
    terms: &Terms,
) -> Result<Settled, SalesError> {
    let held = &of_owner.reservation;
    let revenue = Account::Revenue(held.performance.clone());
    let gateway = Account::Gateway(MoneyFor::Performance(held.performance.clone()));
    let amount = payment.amount;
    let entry = Entry::transfer(EntryKind::Payment, gateway, revenue, amount)?;
    ledger::post(tx, &intent.id, &entry, &about(&payment)).await?;
    tx.defer(CAPTURE, [payment.id.as_str().into()], 1);
    redeem::decided(tx, &payment).await?;
    let payment = Payment {
        state: PaymentState::Succeeded,
        ..payment
    };
    let completed = pass::completed(terms, terms.other_holds, tx.now());
    let passes: Vec<_> = completed
        .clone()
        .into_iter()
        .map(|pass| (pass, None))
        .collect();
    pay::confirm(tx, &[(&payment, of_owner, None)], &passes);
    let seats = seats_of(held);
    Ok(Settled {
        intent,
        payment: Some(payment),
        changed: Some(SeatsChanged {
            performance: held.performance.clone(),
            turned: terms.open_seats == seats,
            recheck_sold_out: terms.room.clone().filter(|_| terms.open_seats == seats),
        }),
        completed,
    })
}

fn about(payment: &Payment) -> About<'_> {
    About {
        reservation: Some(&payment.reservation),
        payment: Some(&payment.id),
        reason: "",
    }
}

fn seats_of(reservation: &Reservation) -> u64 {
    u64::try_from(reservation.seats.len()).unwrap_or(u64::MAX)
}

/// Late money: holds the seats again, if whoever comes now could.
async fn take_again(tx: &Tx, of_owner: &OfOwner, terms: &Terms) -> Result<bool, SalesError> {
    let lost = &of_owner.reservation;
    let has = terms.seats_of_user.saturating_add(seats_of(lost));
    if !terms.on_sale || has > u64::from(terms.seats_per_user_max) {
        return Ok(false);
    }
    let ids: Vec<ResourceId> = lost.seats.iter().map(|seat| seat.seat.clone()).collect();
    let seats::Named { seats, lapsed } = seats::named(tx, &lost.performance, &ids).await?;
    let are_free = seats.iter().all(|seat| seat.state == SeatState::Available);
    if seats.len() < ids.len() || !are_free {
        return Ok(false);
    }
    // Its own too, if nobody has ended it yet.
    expiry::end_holds(tx, &lost.performance, &lapsed).await?;
    let revived = Reservation {
        expires_at: tx.now().plus_ms(1),
        ..lost.clone()
    };
    let values = [
        revived.id.as_str().into(),
        time_to_column(revived.expires_at).into(),
    ];
    tx.defer(REVIVE, values, 1);
    let mut sections: BTreeMap<(&ResourceId, i64), u64> = BTreeMap::new();
    for ordinal in &of_owner.sections {
        *sections.entry((&lost.performance, *ordinal)).or_default() += 1;
    }
    seats::hold(tx, std::iter::once(&revived), &sections);
    Ok(true)
}

/// All of it, at once: it buys nothing.
async fn give_back(
    tx: &Tx,
    intent: Intent,
    payment: Payment,
    performance: &ResourceId,
) -> Result<Settled, SalesError> {
    let kind = EntryKind::Payment;
    let about = about(&payment);
    let of = MoneyFor::Performance(performance.clone());
    let refund_id = bring_and_take(tx, &intent.id, of, intent.amount, kind, &about).await?;
    leave_refund(tx, &refund_id, &intent.id, intent.amount);
    let values = [payment.id.as_str().into(), payment.state.as_str().into()];
    tx.defer(GIVE_BACK, values, 1);
    // Of one that was declined it is somebody's else by now, perhaps.
    if payment.state == PaymentState::Pending {
        redeem::let_go(tx, &payment).await?;
    }
    // Both, so that whoever adds them up has nothing.
    let came = pay::succeeded(&payment, performance);
    outbox::append(tx, &came.aggregate, came.kind, &came.payload);
    refund::tell(tx, &payment, performance, payment.amount, "came too late");
    let payment = Payment {
        state: PaymentState::Refunding,
        refunded: payment.amount,
        ..payment
    };
    Ok(Settled {
        payment: Some(payment),
        ..unchanged(intent)
    })
}

/// Posts that the money came, and that it goes; answers the id of the latter.
async fn bring_and_take(
    tx: &Tx,
    intent: &ResourceId,
    of: MoneyFor,
    amount: Money,
    kind: EntryKind,
    about: &About<'_>,
) -> Result<ResourceId, SalesError> {
    let (gateway, unplaced) = (Account::Gateway(of.clone()), Account::Unplaced(of));
    let brought = Entry::transfer(kind, gateway.clone(), unplaced.clone(), amount)?;
    ledger::post(tx, intent, &brought, about).await?;
    let refund_id = format!("{intent}-r0");
    let refund_id = ResourceId::parse(&refund_id).map_err(|_| unreadable("id"))?;
    let taken = Entry::transfer(EntryKind::Refund, unplaced, gateway, amount)?;
    ledger::post(tx, &refund_id, &taken, about).await?;
    Ok(refund_id)
}

async fn settle_top_up(
    tx: &Tx,
    intent: Intent,
    before: IntentState,
    command: &Settle,
) -> Result<Settled, SalesError> {
    if intent.state == IntentState::Declined {
        return Ok(unchanged(intent));
    }
    let amount = intent.amount;
    let of = MoneyFor::Wallet(intent.user.clone());
    let gateway = Account::Gateway(of.clone());
    let wallet = Account::User(intent.user.clone());
    let touched = [(&gateway, amount.currency), (&wallet, amount.currency)];
    let mut accounts = Accounts::read(tx, touched).await?;
    let balance = accounts.balance(&wallet, Money::zero(amount.currency));
    let after = balance.plus(amount);
    let fits = after.is_ok_and(|after| after.amount_minor <= command.balance_max_minor);
    if before == IntentState::Pending && fits {
        let entry = Entry::transfer(EntryKind::TopUp, gateway, wallet, amount)?;
        accounts.post(&intent.id, &entry, &About::default())?;
        accounts.write(tx);
    } else {
        let about = About::default();
        let kind = EntryKind::TopUp;
        let refund_id = bring_and_take(tx, &intent.id, of, amount, kind, &about).await?;
        leave_refund(tx, &refund_id, &intent.id, amount);
    }
    Ok(unchanged(intent))
}
