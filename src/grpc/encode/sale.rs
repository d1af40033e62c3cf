//! Concerts, seats, reservations, payments.

use crate::domain::sale::catalog::{
    Concert, Performance, PerformanceState, Seat, SeatState, Section,
};
use crate::domain::sale::hold::{Reservation, ReservationState};
use crate::domain::sale::ledger::{EntryKind, WalletEntry};
use crate::domain::sale::money::Money;
use crate::domain::sale::payment::{Payment, PaymentState};
use crate::domain::time::UnixMs;
use crate::keys::ticket::{TicketClaims, TicketCodes};
use crate::proto::v1 as wire;

use super::{duration, money, timestamp};

#[must_use]
pub fn concert(concert: Concert) -> wire::Concert {
    wire::Concert {
        id: concert.id.into(),
        name: concert.name,
        description: concert.description,
        venue: concert.venue,
        sale_opens_at: concert.sale_opens_at.map(timestamp),
        sold_out: concert.sold_out,
        room_id: concert.room.map(String::from).unwrap_or_default(),
        etag: concert.version.to_string(),
    }
}

#[must_use]
pub fn performance(performance: Performance) -> wire::Performance {
    let state = match performance.state {
        PerformanceState::Scheduled => wire::PerformanceState::Scheduled,
        PerformanceState::Cancelled => wire::PerformanceState::Cancelled,
    };
    let terms = performance.terms;
    wire::Performance {
        id: performance.id.into(),
        concert_id: terms.concert.into(),
        starts_at: Some(timestamp(terms.starts_at)),
        sale_opens_at: Some(timestamp(terms.sale_opens_at)),
        sale_closes_at: Some(timestamp(terms.sale_closes_at.unwrap_or(terms.starts_at))),
        state: state.into(),
        sold_out: performance.sold_out,
        room_id: performance.room.map(String::from).unwrap_or_default(),
        sections: terms.sections.into_iter().map(section).collect(),
        hold_ttl: Some(duration(terms.hold_ttl_ms)),
        hold_total_max: Some(duration(terms.hold_total_max_ms)),
        seats_per_user_max: terms.seats_per_user_max,
        etag: performance.version.to_string(),
    }
}

#[must_use]
pub fn section(section: Section) -> wire::Section {
    wire::Section {
        name: section.name,
        price: Some(money(section.price)),
        rows: section
            .rows
            .into_iter()
            .map(|row| wire::SeatRow {
                name: row.name,
                seat_count: row.seat_count,
            })
            .collect(),
    }
}

#[must_use]
pub fn seat(seat: Seat) -> wire::Seat {
    let state = match seat.state {
        SeatState::Available => wire::SeatState::Available,
        SeatState::Held => wire::SeatState::Held,
        SeatState::Sold => wire::SeatState::Sold,
        SeatState::Blocked => wire::SeatState::Blocked,
    };
    wire::Seat {
        id: seat.id.into(),
        section: seat.section,
        row: seat.row,
        number: seat.number,
        price: Some(money(seat.price)),
        state: state.into(),
        version: seat.version,
    }
}

/// A reservation as it stands now, with its tickets' codes.
#[must_use]
pub fn reservation(
    reservation: Reservation,
    now: UnixMs,
    codes: &TicketCodes,
) -> wire::Reservation {
    let state = match reservation.state_at(now) {
        ReservationState::Held => wire::ReservationState::Held,
        ReservationState::Confirmed => wire::ReservationState::Confirmed,
        ReservationState::Released => wire::ReservationState::Released,
        ReservationState::Expired => wire::ReservationState::Expired,
        ReservationState::Cancelled => wire::ReservationState::Cancelled,
    };
    let code = |ticket: &crate::domain::sale::hold::Ticket| wire::Ticket {
        seat_id: ticket.seat.as_str().to_owned(),
        serial: ticket.serial,
        code: codes.sign(&TicketClaims {
            performance: reservation.performance.clone(),
            seat: ticket.seat.clone(),
            serial: ticket.serial,
            reservation: reservation.id.clone(),
        }),
    };
    wire::Reservation {
        tickets: reservation.tickets.iter().map(code).collect(),
        id: reservation.id.into(),
        performance_id: reservation.performance.into(),
        seats: reservation
            .seats
            .into_iter()
            .map(|seat| wire::ReservedSeat {
                seat_id: seat.seat.into(),
                section: seat.section,
                row: seat.row,
                number: seat.number,
                price: Some(money(seat.price)),
            })
            .collect(),
        total: Some(money(reservation.total)),
        state: state.into(),
        hold_expire_time: Some(timestamp(reservation.expires_at)),
        extended: reservation.extended,
        payment_id: reservation.payment.map(String::from),
        create_time: Some(timestamp(reservation.created_at)),
    }
}

#[must_use]
pub fn wallet_entry(entry: WalletEntry) -> wire::WalletEntry {
    let kind = match entry.kind {
        EntryKind::TopUp => wire::WalletEntryKind::TopUp,
        EntryKind::Credit => wire::WalletEntryKind::Credit,
        EntryKind::Payment => wire::WalletEntryKind::Payment,
        EntryKind::Refund => wire::WalletEntryKind::Refund,
    };
    wire::WalletEntry {
        id: entry.id.into(),
        amount: Some(money(entry.amount)),
        balance_after: Some(money(entry.balance_after)),
        kind: kind.into(),
        reservation_id: entry.reservation.map(String::from),
        payment_id: entry.payment.map(String::from),
        reason: entry.reason,
        create_time: Some(timestamp(entry.created_at)),
    }
}

/// When to ask again about money that a provider has not decided, or not given
/// back, yet.
const PAYMENT_POLL_AFTER_MS: u64 = 1_000;

#[must_use]
pub fn payment_poll_after() -> prost_types::Duration {
    duration(PAYMENT_POLL_AFTER_MS)
}

#[must_use]
pub fn payment(payment: Payment) -> wire::Payment {
    let state = match payment.state {
        PaymentState::Pending => wire::PaymentState::Pending,
        PaymentState::Succeeded => wire::PaymentState::Succeeded,
        PaymentState::Declined => wire::PaymentState::Declined,
        PaymentState::Refunding => wire::PaymentState::Refunding,
        PaymentState::Refunded => wire::PaymentState::Refunded,
    };
    let poll_after = match payment.state {
        PaymentState::Pending | PaymentState::Refunding => Some(payment_poll_after()),
        PaymentState::Succeeded | PaymentState::Declined | PaymentState::Refunded => None,
    };
    let (coupon_id, discount) = match payment.coupon {
        Some(used) => (Some(used.coupon.into()), used.discount),
        None => (None, Money::zero(payment.amount.currency)),
    };
    wire::Payment {
        id: payment.id.into(),
        reservation_id: payment.reservation.into(),
        amount: Some(money(payment.amount)),
        discount: Some(money(discount)),
        refunded: Some(money(payment.refunded)),
        state: state.into(),
        coupon_id,
        poll_after,
        create_time: Some(timestamp(payment.created_at)),
        action_url: payment.action_url,
    }
}
