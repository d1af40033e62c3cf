//! Faults planted into a clean history. A checker that misses one of them is
//! itself at fault.
//!
//! Each [`Fault`] changes the few records that a faulty server would have
//! changed, and must be reported under exactly one invariant.

mod buyer;
mod clean;
mod edit;
mod excused;
mod operator;
mod queue;
mod sale;

use super::history::History;

pub use clean::clean_history;

macro_rules! faults {
    ($($name:ident, $invariant:literal, $plant:path, $doc:literal;)*) => {
        /// What can be wrong in a history.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Fault {
            $(#[doc = $doc] $name,)*
        }

        impl Fault {
            /// Every fault there is.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The invariant that it breaks.
            #[must_use]
            pub fn invariant(self) -> &'static str {
                match self { $(Self::$name => $invariant,)* }
            }

            /// Plants it into a [`clean_history`].
            ///
            /// # Panics
            /// If the history is not that one.
            pub fn plant(self, history: &mut History) {
                match self { $(Self::$name => $plant(history),)* }
            }
        }
    };
}

faults! {
    ReusedNumber, "Q1", queue::reused_number, "One number is given to two users.";
    NumberOutOfOrder, "Q2", queue::number_out_of_order, "A later join gets a smaller number.";
    NumberOutOfOrderAfterSplit, "Q2", excused::number_out_of_order_after_split, "The same, long after a split.";
    TwoLivePlaces, "Q3", queue::two_live_places, "A second join gives a second place.";
    PositionGrows, "Q4", queue::position_grows, "A position goes up.";
    PositionBeyondNumber, "Q4", queue::position_beyond_number, "A position is worse than the token.";
    LostDeparture, "Q5", queue::lost_departure, "Someone who left is still counted.";
    LostTurn, "Q5", excused::lost_turn, "Someone who has their turn is still counted.";
    DepartureTooEarly, "Q5", queue::departure_too_early, "Someone who waits is not counted.";
    PositionZero, "Q5", queue::position_zero, "A position of 0.";
    TotalTooSmall, "Q5", queue::total_too_small, "A position beyond the total.";
    CapacityOffByOne, "Q6", queue::capacity_off_by_one, "One slot more than the capacity.";
    GrantBeyondCapacity, "Q6", operator::grant_beyond_capacity, "An operator's grant takes one slot too many.";
    RateBurst, "Q6", queue::rate_burst, "Activations faster than the rate.";
    OrderInversion, "Q7", queue::order_inversion, "Someone overtakes a present place.";
    OrderInversionAfterFault, "Q7", excused::order_inversion_after_fault, "The same, after a node was killed.";
    ActivatedTwice, "Q8", queue::activated_twice, "A place has two activations.";
    ActivationShared, "Q8", queue::activation_shared, "Two places have one activation.";
    ExpiryMoves, "Q8", queue::expiry_moves, "A second notice has another expiry.";
    WaitsAgain, "Q8", queue::waits_again, "A place waits after its activation.";
    ClaimRefused, "Q9", queue::claim_refused, "A claim within its window is refused.";
    PassRefused, "Q9", queue::pass_refused, "A live pass is refused.";
    EndedTooEarly, "Q9", queue::ended_too_early, "An activation ends before its window.";
    StaleSnapshot, "Q12", queue::stale_snapshot, "A snapshot behind the client's cursor says it resumes.";
    SnapshotMissing, "Q12", queue::snapshot_missing, "A stream begins with a position.";
    CursorGoesBack, "Q12", queue::cursor_goes_back, "A cursor decreases.";
    PositionRepeatsCursor, "Q12", queue::position_repeats_cursor, "A position without a newer cursor.";
    MissingHeartbeat, "Q12", queue::missing_heartbeat, "A stream is silent for too long.";
    EventAfterEnded, "Q13", queue::event_after_ended, "A message follows the end.";
    EndedWithError, "Q13", queue::ended_with_error, "A finished stream has a bad status.";
    EndedForWrongReason, "Q13", queue::ended_for_wrong_reason, "State and reason do not fit.";
    Resurrected, "Q13", queue::resurrected, "A place that was over lives again.";
    ResurrectedAfterTurn, "Q13", excused::resurrected_after_turn, "The same, told by a stream that begins with the turn.";
    ForeignToken, "Q15", queue::foreign_token, "Another user's place token is accepted.";
    LateClaim, "Q15", queue::late_claim, "A claim after its window is accepted.";
    CodeRedeemedTwice, "Q15", operator::code_redeemed_twice, "One access code lets in two users.";
    ForeignPass, "Q15", sale::foreign_pass, "Another user's pass is accepted.";
    OversoldSeat, "S1", sale::oversold_seat, "A seat is sold twice.";
    SeatHeldTwice, "S2", sale::seat_held_twice, "A seat is held twice.";
    HoldAfterExpiry, "S4", sale::hold_after_expiry, "An expired pass holds a seat.";
    HoldBeforeClaim, "S4", sale::hold_before_claim, "An unclaimed pass holds a seat.";
    RevokedPassHolds, "S4", operator::revoked_pass_holds, "A pass holds a seat after it was revoked.";
    HoldWithoutPass, "S4", sale::hold_without_pass, "A seat is held without a pass.";
    PaidAfterExpiry, "S4", sale::paid_after_expiry, "An expired hold is paid for.";
    PaidByStranger, "S4", sale::paid_by_stranger, "Someone else pays for a hold.";
    LimitExceeded, "S5", sale::limit_exceeded, "More seats than a user may have.";
    PaidTwice, "S7", sale::paid_twice, "One reservation is captured twice.";
    DoubleCharge, "M1", sale::double_charge, "A payment is taken twice.";
    DoubleRefund, "M1", sale::double_refund, "A cancellation pays back twice.";
    LostCredit, "M1", sale::lost_credit, "An acknowledged credit is gone.";
    NegativeBalance, "M2", sale::negative_balance, "A wallet pays more than it has.";
    ReplayDiffers, "M3", sale::replay_differs, "A replay has another result.";
    KeyReusedAccepted, "M3", sale::key_reused_accepted, "One key does two things.";
    DeclinedThenCaptured, "M5", sale::declined_then_captured, "A declined payment succeeds.";
    PaymentGoesBack, "M5", sale::payment_goes_back, "A finished payment is pending.";
    RefundBeyondCapture, "M7", sale::refund_beyond_capture, "More is refunded than was paid.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::checkers::{CHECKED, check};
    use super::*;

    #[test]
    fn the_clean_history_is_clean() {
        let violations = check(&clean_history());
        assert!(violations.is_empty(), "{violations:#?}");
    }

    #[test]
    fn every_fault_is_reported_under_its_invariant_and_no_other() {
        let mut wrong = Vec::new();
        for &fault in Fault::ALL {
            let mut history = clean_history();
            fault.plant(&mut history);
            let violations = check(&history);
            let found: BTreeSet<&str> = violations.iter().map(|found| found.invariant).collect();
            if found != BTreeSet::from([fault.invariant()]) {
                let texts: Vec<String> = violations.iter().map(ToString::to_string).collect();
                wrong.push(format!("{fault:?}: {texts:#?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn every_checked_invariant_has_a_fault() {
        let planted: BTreeSet<&str> = Fault::ALL.iter().map(|fault| fault.invariant()).collect();
        assert_eq!(planted, CHECKED.into_iter().collect());
        assert!(Fault::ALL.len() >= 20);
    }
}
