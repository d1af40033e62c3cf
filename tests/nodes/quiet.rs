//! Rooms where nobody is cost nothing.

use std::time::Duration;

use crate::house::House;

const ROOMS: usize = 30;
/// What is measured is how little happens in it.
const SPAN: Duration = Duration::from_secs(4);
/// Three nodes ask their silent subscriptions for a sign of life each 5 s; the
/// test's own questions are two.
const COMMANDS_MAX: u64 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quiet_rooms_are_not_ticked() {
    let house = House::build(1).await;
    for index in 0..ROOMS {
        house.make_room(&format!("room-{index}"), 1).await;
    }
    // Someone comes and goes: then the room is quiet again.
    let visitor = house.line_up("visitor", 0, 1).await;
    visitor
        .user
        .leave(&visitor.ticket.token)
        .await
        .expect("left");
    drop(visitor);
    let commands = || {
        let all = house.redis.info("total_commands_processed");
        all.parse::<u64>().expect("a number")
    };
    // From an INFO to the next one.
    let mut spans = 0;
    loop {
        let before = commands();
        tokio::time::sleep(SPAN).await;
        let sent = commands() - before;
        if sent <= COMMANDS_MAX {
            return;
        }
        // The first of them may still see the last ticks.
        spans += 1;
        assert!(spans < 3, "{sent} commands in {SPAN:?}");
    }
}
