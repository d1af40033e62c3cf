use std::ops::Range;

use crate::truth::history::{
    Amount, PaymentSeen, PaymentState, ReservationSeen, ReservationState, Wanted,
};

use super::*;

fn money(minor: i64) -> Amount {
    Amount {
        currency: "EUR".to_owned(),
        minor,
    }
}

fn reservation(name: &str, seat: &str, hold_expire_ms: u64) -> ReservationSeen {
    ReservationSeen {
        id: id(name),
        seats: vec![id(seat)],
        total: money(100),
        state: ReservationState::Held,
        hold_expire_ms,
    }
}

fn payment(name: &str, reservation: &str, state: PaymentState) -> PaymentSeen {
    PaymentSeen {
        id: id(name),
        reservation: id(reservation),
        from_wallet: true,
        amount: money(100),
        state,
    }
}

/// Active users from the start, a wallet each, in a room without narrow limits.
fn sale() -> Script {
    let wide = Policy {
        order: ServingOrder::Fifo,
        capacity: 9,
        rate_per_s: 1_000.0,
        pass_ttl_ms: 10_000,
        claim_window_ms: 1_000,
    };
    Script::new()
        .policy(2, wide)
        .look("ann", 100..110, activated(1, at(1, 1), 100))
        .claim("ann", 120..130, 1, 10_121)
        .look("bob", 100..110, activated(2, at(1, 1), 100))
        .claim("bob", 120..130, 2, 10_121)
        .top_up("ann", 140..150, "t", 1_000, "entry-ann")
        .top_up("bob", 140..150, "t", 1_000, "entry-bob")
}

impl Script {
    fn top_up(self, who: &str, span: Range<u64>, named: &str, minor: i64, entry: &str) -> Self {
        let op = SaleOp::TopUp {
            amount: money(minor),
            key: key(named),
            answer: Answer::Ok(id(entry)),
        };
        self.sale(who, span, op)
    }

    fn hold(
        self,
        who: &str,
        span: Range<u64>,
        named: &str,
        answer: Answer<ReservationSeen>,
    ) -> Self {
        let number = if who == "ann" { 1 } else { 2 };
        let op = SaleOp::Hold {
            performance: id(SHOW),
            wanted: Wanted::BestAvailable { count: 1 },
            key: key(named),
            pass: Some(activation(number)),
            answer,
        };
        self.sale(who, span, op)
    }

    fn pay(self, who: &str, span: Range<u64>, of: &str, answer: Answer<PaymentSeen>) -> Self {
        let op = SaleOp::Pay {
            reservation: id(of),
            from_wallet: true,
            key: key(&format!("pay-{of}")),
            answer,
        };
        self.sale(who, span, op)
    }

    fn cancel(
        self,
        who: &str,
        span: Range<u64>,
        of: &str,
        answer: Answer<ReservationSeen>,
    ) -> Self {
        let op = SaleOp::Cancel {
            reservation: id(of),
            key: key("cancel"),
            answer,
        };
        self.sale(who, span, op)
    }

    fn wallet(self, who: &str, span: Range<u64>, minor: i64) -> Self {
        let answer = Answer::Ok(money(minor));
        self.sale(who, span, SaleOp::GetWallet { answer })
    }
}

fn paid(name: &str, of: &str) -> Answer<PaymentSeen> {
    Answer::Ok(payment(name, of, PaymentState::Succeeded))
}

fn held(name: &str, seat: &str, hold_expire_ms: u64) -> Answer<ReservationSeen> {
    Answer::Ok(reservation(name, seat, hold_expire_ms))
}

#[test]
fn s1_a_seat_is_sold_again_only_after_a_cancellation() {
    let sold = || {
        sale()
            .hold("ann", 200..210, "h", held("r-1", "a1", 2_000))
            .pay("ann", 220..230, "r-1", paid("p-1", "r-1"))
    };
    let again = |script: Script| {
        script
            .hold("bob", 400..410, "h", held("r-2", "a1", 2_000))
            .pay("bob", 420..430, "r-2", paid("p-2", "r-2"))
    };
    again(sold()).breaks("S1");
    again(sold().cancel("ann", 300..310, "r-1", unknown())).holds();
    again(sold().cancel("ann", 300..310, "r-1", refused("NOT_FOUND"))).breaks("S1");
}

#[test]
fn s2_a_hold_ends_with_its_time() {
    let first = || sale().hold("ann", 200..210, "h", held("r-1", "a1", 2_000));
    first()
        .hold("bob", 2_000..2_010, "h", held("r-2", "a1", 4_000))
        .holds();
    first()
        .hold("bob", 1_500..1_510, "h", held("r-2", "a1", 4_000))
        .breaks("S2");
    first()
        .hold("bob", 1_500..1_510, "h", held("r-2", "a2", 4_000))
        .holds();
}

#[test]
fn s4_a_replayed_hold_happened_when_it_was_first_asked() {
    // After the pass's end, but a retry of an attempt from before it.
    sale()
        .hold("ann", 9_000..9_010, "h", unknown())
        .hold("ann", 11_000..11_010, "h", held("r-1", "a1", 12_000))
        .holds();
    sale()
        .hold("ann", 11_000..11_010, "h", held("r-1", "a1", 12_000))
        .breaks("S4");
}

#[test]
fn s4_a_hold_is_paid_for_while_it_lives_by_its_owner() {
    let first = || sale().hold("ann", 200..210, "h", held("r-1", "a1", 2_000));
    let late = 2_500..2_510;
    first()
        .pay("ann", late.clone(), "r-1", paid("p-1", "r-1"))
        .breaks("S4");
    first()
        .pay("ann", 1_900..1_910, "r-1", unknown())
        .pay("ann", late, "r-1", paid("p-1", "r-1"))
        .holds();
    first()
        .pay("bob", 300..310, "r-1", paid("p-1", "r-1"))
        .breaks("S4");
}

#[test]
fn s5_expired_holds_do_not_count_towards_the_limit() {
    let two = || {
        sale()
            .hold("ann", 200..210, "h-1", held("r-1", "a1", 2_000))
            .hold("ann", 220..230, "h-2", held("r-2", "a2", 2_000))
    };
    two()
        .hold("ann", 2_000..2_010, "h-3", held("r-3", "a3", 4_000))
        .holds();
    two()
        .hold("ann", 500..510, "h-3", held("r-3", "a3", 4_000))
        .breaks("S5");
}

#[test]
fn m1_an_unknown_payment_may_have_been_taken() {
    let asked = |answer| {
        sale()
            .hold("ann", 200..210, "h", held("r-1", "a1", 2_000))
            .pay("ann", 220..230, "r-1", answer)
    };
    for balance in [900, 1_000] {
        asked(unknown()).wallet("ann", 300..310, balance).holds();
    }
    asked(unknown()).wallet("ann", 300..310, 950).breaks("M1");
    let refusal = || asked(refused("INSUFFICIENT_FUNDS"));
    refusal().wallet("ann", 300..310, 1_000).holds();
    refusal().wallet("ann", 300..310, 900).breaks("M1");
    // A retry of one key takes the price once.
    let retried = || asked(unknown()).pay("ann", 240..250, "r-1", paid("p-1", "r-1"));
    retried().wallet("ann", 300..310, 900).holds();
    retried().wallet("ann", 300..310, 800).breaks("M1");
    // A read within the call sees either.
    retried().wallet("ann", 245..246, 1_000).holds();
}

#[test]
fn m1_a_cancellation_gives_back_what_was_paid() {
    let cancelled = || {
        sale()
            .hold("ann", 200..210, "h", held("r-1", "a1", 2_000))
            .pay("ann", 220..230, "r-1", paid("p-1", "r-1"))
            .cancel("ann", 300..310, "r-1", held("r-1", "a1", 2_000))
    };
    cancelled().wallet("ann", 400..410, 1_000).holds();
    cancelled().wallet("ann", 400..410, 900).breaks("M1");
    cancelled().wallet("ann", 305..306, 900).holds();
}

#[test]
fn m3_one_key_one_result() {
    let twice = |second| {
        sale()
            .hold("ann", 200..210, "h", held("r-1", "a1", 2_000))
            .hold("ann", 220..230, "h", second)
    };
    twice(held("r-1", "a1", 2_000)).holds();
    twice(refused("IN_FLIGHT")).holds();
    twice(held("r-1", "a1", 2_500)).breaks("M3");
    // One entry for two keys.
    let entry = |script: Script| script.top_up("ann", 160..170, "t-2", 5, "entry-ann");
    entry(sale()).breaks("M3");
}

#[test]
fn m3_a_declined_key_stays_declined() {
    sale()
        .hold("ann", 200..210, "h", held("r-1", "a1", 2_000))
        .pay("ann", 220..230, "r-1", refused("PAYMENT_DECLINED"))
        .pay("ann", 240..250, "r-1", paid("p-1", "r-1"))
        .breaks("M3");
}

#[test]
fn m5_a_payment_goes_forward() {
    let seen = |states: &[PaymentState]| {
        let script = sale().hold("ann", 200..210, "h", held("r-1", "a1", 2_000));
        let pending = Answer::Ok(payment("p-1", "r-1", PaymentState::Pending));
        let mut script = script.pay("ann", 220..230, "r-1", pending);
        for (step, &state) in states.iter().enumerate() {
            let ms = 300 + 20 * step as u64;
            let read = SaleOp::GetPayment {
                payment: id("p-1"),
                answer: Answer::Ok(payment("p-1", "r-1", state)),
            };
            script = script.sale("ann", ms..ms + 10, read);
        }
        script
    };
    use PaymentState::{Declined, Pending, Refunded, Succeeded};
    seen(&[Pending, Succeeded, Refunded]).holds();
    seen(&[Pending, Declined]).holds();
    seen(&[Succeeded, Pending]).breaks("M5");
    seen(&[Declined, Succeeded]).breaks("M5");
}

#[test]
fn m7_replayed_refunds_count_once() {
    let refunded = |keys: &[&str]| {
        let mut script = sale()
            .hold("ann", 200..210, "h", held("r-1", "a1", 2_000))
            .pay("ann", 220..230, "r-1", paid("p-1", "r-1"));
        for (step, named) in keys.iter().enumerate() {
            let ms = 300 + 20 * step as u64;
            let refund = AdminOp::RefundPayment {
                user: user("ann"),
                payment: id("p-1"),
                amount: money(60),
                key: key(named),
                answer: Answer::Ok(payment("p-1", "r-1", PaymentState::Succeeded)),
            };
            script = script.op("admin", ms..ms + 10, Op::Admin(refund));
        }
        script
    };
    refunded(&["k", "k"]).holds();
    refunded(&["k", "k"]).wallet("ann", 400..410, 960).holds();
    refunded(&["k", "other"]).breaks("M7");
}
