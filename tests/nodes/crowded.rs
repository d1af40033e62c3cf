//! The crowd where nothing breaks; and that its judgement can fail.

use usher::truth::checkers::check;
use usher::truth::history::{Answer, History, Message, Op, QueueOp};

use crate::crowd::{Crowd, CrowdPlan};
use crate::house::House;

/// The queue's operations, to be spoilt.
fn each(history: &mut History) -> impl Iterator<Item = &mut QueueOp> {
    let records = history.records.iter_mut();
    records.filter_map(|record| match &mut record.op {
        Op::Queue(op) => Some(op),
        _ => None,
    })
}

fn found(history: &History) -> Vec<&'static str> {
    let violations = check(history);
    violations.iter().map(|found| found.invariant).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_passes_and_a_doctored_history_of_it_does_not() {
    let house = House::build(1).await;
    let crowd = Crowd::start(house.site(), CrowdPlan::default()).await;
    let seen = crowd.finish().await;
    assert_eq!(seen.epochs(), 1);

    let mut history = seen.history.clone();
    let mut joins = each(&mut history).filter_map(|op| match op {
        QueueOp::Join {
            answer: Answer::Ok(seen),
            ..
        } => Some(seen),
        _ => None,
    });
    let first = joins.next().expect("a join").place;
    joins.next().expect("another").place = first;
    drop(joins);
    assert!(found(&history).contains(&"Q1"));

    let mut history = seen.history.clone();
    let mut turns = each(&mut history).filter_map(|op| match op {
        QueueOp::StreamMessage {
            message: Message::Activated { activation_id, .. },
            ..
        } => Some(activation_id),
        _ => None,
    });
    let first = *turns.next().expect("a turn");
    let other = turns.find(|id| **id != first).expect("another");
    *other = first;
    drop(turns);
    assert!(found(&history).contains(&"Q8"));

    let mut history = seen.history;
    let last = each(&mut history).filter_map(|op| match op {
        QueueOp::StreamMessage {
            message: Message::Position { position, .. },
            ..
        } => Some(position),
        _ => None,
    });
    *last.last().expect("a position") += 1_000;
    assert!(!found(&history).is_empty(), "Q4 or Q5");
}
