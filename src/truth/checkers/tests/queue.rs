use crate::domain::place::{EndReason, EndState};
use crate::truth::history::{Message, RoomShown, StreamEnd};

use super::*;

fn ok(number: u64, ms: u64, position: i64) -> Answer<PlaceSeen> {
    Answer::Ok(waiting(number, at(1, 1), ms, position))
}

#[test]
fn q1_a_token_of_another_is_not_a_second_owner() {
    // Only Q15: the number was given once.
    let shown = QueueOp::Join {
        room: room(),
        presented: Some(place(1)),
        code: None,
        answer: ok(1, 30, 1),
    };
    let given = || Script::new().join("ann", 10..20, ok(1, 20, 1));
    given().queue("bob", 30..40, shown).breaks("Q15");
    given().join("bob", 30..40, ok(1, 30, 1)).breaks("Q1");
    given().join("ann", 30..40, ok(1, 30, 1)).holds();
}

#[test]
fn q2_only_joins_that_followed_each_other_are_ordered() {
    let first = || Script::new().join("ann", 10..20, ok(2, 20, 2));
    first().join("bob", 15..25, ok(1, 20, 1)).holds();
    first().join("bob", 21..25, ok(1, 21, 1)).breaks("Q2");
}

#[test]
fn q2_an_unknown_join_may_have_issued_the_number_early() {
    Script::new()
        .join("bob", 5..6, unknown())
        .join("ann", 10..20, ok(2, 20, 2))
        .join("bob", 21..25, ok(1, 21, 1))
        .holds();
    Script::new()
        .join("bob", 5..6, refused("RATE_LIMITED"))
        .join("ann", 10..20, ok(2, 20, 2))
        .join("bob", 21..25, ok(1, 21, 1))
        .breaks("Q2");
}

fn isolated(script: Script, span: std::ops::Range<u64>) -> Script {
    let fault = Op::Fault {
        what: "the master is isolated".to_owned(),
    };
    script.op("nemesis", span, fault)
}

#[test]
fn q2_a_split_excuses_only_what_was_issued_in_it() {
    // The other side's numbers are ahead from the split on.
    let split = || {
        let before = Script::new().join("ann", 10..20, ok(50, 20, 50));
        isolated(before, 100..200).join("far", 110..120, ok(2_001, 120, 60))
    };
    let near = |span: std::ops::Range<u64>, number: u32| {
        let answer = ok(number.into(), span.end, number.into());
        split().join("near", span, answer)
    };
    near(150..160, 51).holds();
    near(190..230, 51).holds();
    // After it there is one master again; and what was known before counts.
    near(210..220, 51).breaks("Q2");
    near(150..160, 49).breaks("Q2");
    // Neither knew of the other side's.
    isolated(Script::new(), 100..200)
        .join("ann", 10..20, ok(52, 20, 52))
        .join("bob", 210..220, ok(51, 220, 51))
        .breaks("Q2");
}

#[test]
fn q3_a_second_place_may_follow_an_end() {
    let first = || Script::new().join("ann", 10..20, ok(1, 20, 1));
    first()
        .leave("ann", 30..40, 1, Answer::Ok(()))
        .join("ann", 50..60, ok(2, 50, 2))
        .holds();
    // Seen alive after the second was given.
    first()
        .join("ann", 50..60, ok(2, 50, 2))
        .look("ann", 70..80, waiting(1, at(1, 2), 70, 1))
        .breaks("Q3");
}

#[test]
fn q3_a_loss_may_leave_two_places_that_merge() {
    Script::new()
        .join("ann", 10..20, ok(1, 20, 1))
        .join("ann", 50..60, Answer::Ok(waiting(2, at(2, 1), 50, 2)))
        .look("ann", 40..45, waiting(1, at(2, 1), 40, 1))
        .look("ann", 70..80, waiting(1, at(2, 2), 70, 1))
        .holds();
}

#[test]
fn q4_positions_are_ordered_by_cursor_and_start_again_with_an_epoch() {
    let first = || Script::new().look("ann", 10..20, waiting(9, at(1, 5), 10, 4));
    // An older state that comes late is ignored by the client.
    first()
        .look("ann", 30..40, waiting(9, at(1, 3), 10, 6))
        .holds();
    first()
        .look("ann", 30..40, waiting(9, at(2, 1), 30, 8))
        .holds();
    first()
        .look("ann", 30..40, waiting(9, at(1, 6), 30, 5))
        .breaks("Q4");
    first()
        .look("ann", 30..40, waiting(9, at(2, 1), 30, 10))
        .breaks("Q4");
}

/// A stream of `who` with these messages, one each 10 ms from `ms` on.
fn stream(
    script: Script,
    who: &str,
    name: u64,
    ms: u64,
    messages: Vec<(Cursor, Message)>,
) -> Script {
    let place = messages
        .iter()
        .find_map(|(_, message)| match message {
            Message::Snapshot { seen, .. } => Some(seen.place),
            _ => None,
        })
        .unwrap_or(place(1));
    let opened = QueueOp::StreamOpened {
        stream: name,
        room: room(),
        place,
        resume: None,
    };
    let mut script = script.queue(who, ms..ms, opened);
    for (step, (cursor, message)) in messages.into_iter().enumerate() {
        let ms = ms + 10 * step as u64;
        let op = QueueOp::StreamMessage {
            stream: name,
            cursor,
            as_of_ms: ms,
            message,
        };
        script = script.queue(who, ms..ms, op);
    }
    script
}

fn snapshot(seen: PlaceSeen) -> (Cursor, Message) {
    let message = Message::Snapshot {
        room_state: RoomShown::Open,
        resumed: false,
        heartbeat_interval_ms: 25_000,
        seen: seen.clone(),
    };
    (seen.cursor, message)
}

fn position(revision: u64, position: i64) -> (Cursor, Message) {
    let message = Message::Position {
        position,
        waiting_total: 1_000,
    };
    (at(1, revision), message)
}

fn ended(revision: u64, reason: EndReason) -> (Cursor, Message) {
    let state = reason.state();
    (at(1, revision), Message::Ended { state, reason })
}

#[test]
fn q5_a_departure_counts_from_its_cursor_on() {
    let left = |script| {
        let told = vec![
            snapshot(waiting(1, at(1, 1), 10, 1)),
            ended(5, EndReason::Left),
        ];
        stream(script, "ann", 1, 10, told)
    };
    // At revision 4 the other node did not know yet.
    left(Script::new())
        .look("bob", 90..95, waiting(2, at(1, 4), 90, 2))
        .holds();
    left(Script::new())
        .look("bob", 90..95, waiting(2, at(1, 5), 90, 1))
        .holds();
    left(Script::new())
        .look("bob", 90..95, waiting(2, at(1, 5), 90, 2))
        .breaks("Q5");
    // A later epoch may have forgotten a departure of the last second.
    left(Script::new())
        .look("bob", 90..95, waiting(2, at(2, 1), 90, 2))
        .holds();
}

/// A stream that is opened in the turn of a place, and hears its end.
fn turn_then_end(script: Script, end: u64) -> Script {
    let turn = activated(1, at(1, 3), 10);
    let called = Message::Activated {
        activation_id: activation(1),
        claim_by_ms: turn.claim_by_ms,
        expire_ms: None,
    };
    let told = vec![
        snapshot(turn),
        (at(1, 3), called),
        ended(end, EndReason::Revoked),
    ];
    stream(script, "ann", 1, 10, told)
}

#[test]
fn q5_a_turn_counts_as_a_departure_on_a_stream_that_begins_with_it() {
    let called = || turn_then_end(Script::new(), 6);
    called()
        .look("bob", 90..95, waiting(2, at(1, 2), 90, 2))
        .holds();
    called()
        .look("bob", 90..95, waiting(2, at(1, 4), 90, 2))
        .breaks("Q5");
}

#[test]
fn q5_an_end_that_a_store_told_is_not_of_the_view() {
    let over = |more: Vec<(Cursor, Message)>| {
        let left = PlaceSeen {
            state: PlaceState::Left,
            position: None,
            ..waiting(1, at(1, 5), 10, 0)
        };
        let mut told = vec![snapshot(left)];
        told.extend(more);
        stream(Script::new(), "ann", 1, 10, told)
    };
    // The others hear of it with a later delta, if the epoch does not forget it.
    let others = |script: Script| script.look("bob", 90..95, waiting(2, at(1, 5), 90, 2));
    others(over(vec![ended(5, EndReason::Left)])).holds();
    over(vec![(at(2, 1), Message::Heartbeat)]).holds();
    // Nothing else comes of it.
    over(vec![position(6, 1)]).breaks("Q12");
    over(vec![(at(1, 6), Message::Heartbeat)]).breaks("Q12");
}

#[test]
fn q5_who_waits_later_waited_before() {
    Script::new()
        .look("bob", 10..20, waiting(2, at(1, 4), 10, 1))
        .look("ann", 10..20, waiting(1, at(1, 3), 10, 1))
        .holds();
    Script::new()
        .look("bob", 10..20, waiting(2, at(1, 4), 10, 1))
        .look("ann", 30..40, waiting(1, at(1, 6), 10, 1))
        .breaks("Q5");
}

#[test]
fn q6_a_slot_is_counted_while_it_surely_holds() {
    let one = || Script::new().look("ann", 100..110, activated(1, at(1, 1), 100));
    // The first may have left, claimed nothing, or not be over.
    let then = |script: Script, ms| script.look("bob", ms..ms + 10, activated(2, at(1, 2), ms));
    then(one().leave("ann", 120..130, 1, unknown()), 400).holds();
    then(one(), 1_100).holds();
    then(one(), 400).breaks("Q6");
    then(one().claim("ann", 120..130, 1, 10_121), 1_200).breaks("Q6");
    then(one().claim("ann", 120..130, 1, 10_121), 10_121).holds();
}

#[test]
fn q6_a_larger_capacity_may_have_been_in_force() {
    let larger = Policy {
        order: ServingOrder::Fifo,
        capacity: 2,
        rate_per_s: 10.0,
        pass_ttl_ms: 10_000,
        claim_window_ms: 1_000,
    };
    let smaller = Policy {
        capacity: 1,
        ..larger.clone()
    };
    let lowered = Script::new().policy(50, larger).policy(350, smaller);
    // The second last waited before it was lowered.
    lowered
        .look("ann", 100..110, activated(1, at(1, 1), 100))
        .look("bob", 300..310, waiting(2, at(1, 1), 300, 1))
        .look("bob", 400..410, activated(2, at(1, 2), 400))
        .holds();
}

#[test]
fn q7_an_absent_place_is_passed_over() {
    let ahead = |script| {
        let told = vec![snapshot(waiting(1, at(1, 1), 100, 1)), position(3, 1)];
        stream(script, "ann", 1, 100, told)
    };
    let overtaken = |ms| Script::new().look("bob", ms..ms + 200, activated(2, at(1, 2), ms));
    ahead(overtaken(105)).breaks("Q7");
    // Before the stream was open, and after its last sign of waiting.
    ahead(overtaken(95)).holds();
    ahead(overtaken(115)).holds();
    // Her own turn began before his, or after, and was told late.
    let for_two = Policy {
        order: ServingOrder::Fifo,
        capacity: 2,
        rate_per_s: 1_000.0,
        pass_ttl_ms: 10_000,
        claim_window_ms: 1_000,
    };
    let own = |ms| {
        let script = Script::new().policy(50, for_two.clone());
        script
            .look("bob", 105..305, activated(2, at(1, 2), 105))
            .look("ann", 300..310, activated(1, at(1, 3), ms))
    };
    ahead(own(104)).holds();
    ahead(own(106)).breaks("Q7");
}

/// Ann waits on two streams, until the moments given; bob, behind her, has his
/// turn from a moment on. A node is killed between.
fn overtaken(closed_ms: u64, waits_until_ms: u64, overtaken_ms: u64) -> Script {
    let tab = |script, name, ms, until_ms: u64| {
        let told = vec![snapshot(waiting(1, at(1, 1), ms, 1))];
        let op = QueueOp::StreamMessage {
            stream: name,
            cursor: at(1, 9),
            as_of_ms: until_ms,
            message: position(9, 1).1,
        };
        stream(script, "ann", name, ms, told).queue("ann", until_ms..until_ms, op)
    };
    let closed = QueueOp::StreamClosed {
        stream: 1,
        end: StreamEnd::Broken,
    };
    let killed = Op::Fault {
        what: "a node is killed".to_owned(),
    };
    let script = tab(Script::new(), 1, 100, closed_ms).queue("ann", closed_ms..closed_ms, closed);
    tab(script, 2, 110, waits_until_ms)
        .op("nemesis", 10_000..10_100, killed)
        .look(
            "bob",
            overtaken_ms..overtaken_ms + 1,
            activated(2, at(1, 2), overtaken_ms),
        )
}

#[test]
fn q7_another_tab_excuses_only_what_follows_from_a_fault() {
    // While the lease of the other tab's node runs out.
    overtaken(10_050, 20_000, 10_200).holds();
    overtaken(10_050, 20_000, 16_000).holds();
    overtaken(10_050, 20_000, 16_200).breaks("Q7");
    overtaken(10_050, 20_000, 9_900).breaks("Q7");
    // It had been closed long before.
    overtaken(8_000, 20_000, 10_200).breaks("Q7");
    // Nobody is judged by what was activated in a fault, or behind a wait.
    overtaken(8_000, 20_000, 10_050).holds();
    overtaken(8_000, 10_150, 10_200).holds();
}

#[test]
fn q8_notices_repeat_one_activation() {
    let told = || Script::new().look("ann", 100..110, activated(1, at(1, 1), 100));
    told()
        .look("ann", 120..130, activated(1, at(1, 1), 100))
        .claim("ann", 140..150, 1, 10_141)
        .claim("ann", 160..170, 1, 10_141)
        .holds();
    told()
        .claim("ann", 140..150, 1, 10_141)
        .claim("ann", 160..170, 1, 10_161)
        .breaks("Q8");
    told()
        .look("ann", 120..130, activated(1, at(1, 1), 120))
        .breaks("Q8");
}

fn claim_refused(script: Script, ms: u64) -> Script {
    let op = QueueOp::Claim {
        room: room(),
        place: place(1),
        answer: refused("ACTIVATION_EXPIRED"),
    };
    script.queue("ann", ms..ms + 10, op)
}

#[test]
fn q9_a_turn_lasts_its_time_unless_someone_ends_it() {
    let told = || Script::new().look("ann", 100..110, activated(1, at(1, 1), 100));
    claim_refused(told(), 500).breaks("Q9");
    claim_refused(told(), 1_095).holds();
    claim_refused(told().leave("ann", 200..210, 1, unknown()), 500).holds();
    claim_refused(told().leave("ann", 200..210, 1, refused("DEGRADED")), 500).breaks("Q9");
}

#[test]
fn q12_a_stream_begins_with_its_state_and_goes_forward() {
    let first = || snapshot(waiting(1, at(1, 4), 10, 1));
    let heard = |messages| stream(Script::new(), "ann", 1, 10, messages);
    let beat = |revision| (at(1, revision), Message::Heartbeat);
    heard(vec![first(), beat(4), position(5, 1), beat(5)]).holds();
    heard(vec![position(5, 1)]).breaks("Q12");
    heard(vec![first(), position(4, 1)]).breaks("Q12");
    heard(vec![first(), beat(3)]).breaks("Q12");
    heard(vec![snapshot(activated(1, at(1, 4), 10)), beat(4)]).breaks("Q12");
}

#[test]
fn q12_silence_is_forgiven_where_something_was_broken() {
    let quiet = || {
        let script = stream(
            Script::new(),
            "ann",
            1,
            10,
            vec![snapshot(waiting(1, at(1, 4), 10, 1))],
        );
        let beat = QueueOp::StreamMessage {
            stream: 1,
            cursor: at(1, 4),
            as_of_ms: 40_000,
            message: Message::Heartbeat,
        };
        script.queue("ann", 40_000..40_000, beat)
    };
    quiet().breaks("Q12");
    let fault = Op::Fault {
        what: "the node was stopped".to_owned(),
    };
    quiet().op("nemesis", 5_000..30_000, fault).holds();
}

#[test]
fn q13_an_end_is_the_end() {
    let over = |more: Vec<(Cursor, Message)>, end| {
        let mut told = vec![
            snapshot(waiting(1, at(1, 4), 10, 1)),
            ended(5, EndReason::Left),
        ];
        told.extend(more);
        let closed = QueueOp::StreamClosed { stream: 1, end };
        stream(Script::new(), "ann", 1, 10, told).queue("ann", 50..50, closed)
    };
    over(vec![], StreamEnd::Ok).holds();
    over(vec![], StreamEnd::Broken).holds();
    over(vec![], StreamEnd::Status("UNKNOWN".to_owned())).breaks("Q13");
    over(vec![(at(1, 5), Message::Heartbeat)], StreamEnd::Ok).breaks("Q13");
    let wrong = Message::Ended {
        state: EndState::Completed,
        reason: EndReason::Absent,
    };
    let told = vec![snapshot(waiting(1, at(1, 4), 10, 1)), (at(1, 5), wrong)];
    stream(Script::new(), "ann", 1, 10, told).breaks("Q13");
    // A leave of the last second may be forgotten in a new epoch only.
    over(vec![], StreamEnd::Ok)
        .look("ann", 90..95, waiting(1, at(2, 1), 90, 1))
        .holds();
    over(vec![], StreamEnd::Ok)
        .look("ann", 90..95, waiting(1, at(1, 6), 90, 1))
        .breaks("Q13");
}

#[test]
fn q13_a_stream_that_begins_with_a_turn_ends_for_good() {
    turn_then_end(Script::new(), 6)
        .look("ann", 90..95, activated(1, at(1, 5), 10))
        .holds();
    turn_then_end(Script::new(), 6)
        .look("ann", 90..95, activated(1, at(1, 7), 10))
        .breaks("Q13");
}

#[test]
fn q15_a_claim_counts_from_its_first_attempt() {
    let told = || Script::new().look("ann", 100..110, activated(1, at(1, 1), 100));
    told().claim("ann", 1_200..1_210, 1, 11_200).breaks("Q15");
    let lost = QueueOp::Claim {
        room: room(),
        place: place(1),
        answer: unknown(),
    };
    told()
        .queue("ann", 900..910, lost)
        .claim("ann", 1_200..1_210, 1, 10_901)
        .holds();
}
