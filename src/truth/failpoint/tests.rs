use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

use super::*;

const BOUND: Duration = Duration::from_secs(10);

#[tokio::test]
async fn an_unarmed_point_passes() {
    let points = Failpoints::default();
    for point in Point::ALL {
        assert_eq!(points.hit(point).await, Ok(()));
    }
}

#[tokio::test]
async fn an_error_comes_at_its_hit_and_only_once() {
    let points = Failpoints::default();
    let point = Point::RowsCommitted;
    points.arm(point, Action::Error, 2);
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(points.hit(point).await.is_err());
    }
    assert_eq!(seen, [false, false, true, false, false]);
    assert_eq!(points.armed_count.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_repeated_point_acts_until_disarmed() {
    let points = Failpoints::parse("hold_committed=error@2*").expect("text");
    let point = Point::HoldCommitted;
    assert_eq!(points.hit(point).await, Ok(()));
    assert!(points.hit(point).await.is_err());
    assert!(points.hit(point).await.is_err());
    assert_eq!(points.hit(Point::ClaimCommitted).await, Ok(()));
    points.disarm(point);
    assert_eq!(points.hit(point).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_delay_takes_its_time() {
    let points = Failpoints::parse("claim_committed=delay(250)").expect("text");
    let started = tokio::time::Instant::now();
    assert_eq!(points.hit(Point::ClaimCommitted).await, Ok(()));
    assert_eq!(started.elapsed(), Duration::from_millis(250));
}

#[tokio::test]
async fn a_pause_waits_for_its_resume() {
    let points = Failpoints::default();
    let point = Point::NumbersGranted;
    // A resume before the pause must not let it through.
    points.resume(point);
    points.arm(point, Action::Pause, 0);
    let hit = points.hit(point);
    tokio::pin!(hit);
    tokio::select! {
        biased;
        _ = &mut hit => panic!("passed a pause"),
        () = points.paused(point) => {}
    }
    points.resume(point);
    let passed = tokio::time::timeout(BOUND, hit).await;
    assert_eq!(passed, Ok(Ok(())));
}

#[tokio::test]
async fn a_cancelled_pause_is_not_counted() {
    let points = Failpoints::default();
    let point = Point::NumbersGranted;
    points.arm(point, Action::Pause, 0);
    tokio::select! {
        biased;
        _ = points.hit(point) => panic!("passed a pause"),
        () = points.paused(point) => {}
    }
    assert_eq!(points.state.borrow().paused[&point], 0);
}

#[test]
fn text_that_is_not_understood_is_named() {
    let error = |text: &str| Failpoints::parse(text).expect_err(text);
    assert_eq!(error("kill"), ParseError::Form("kill".into()));
    assert_eq!(error("rows=kill"), ParseError::Point("rows".into()));
    for action in ["die", "delay()", "delay(x)", "delay(5", ""] {
        let text = format!("rows_committed={action}");
        assert_eq!(error(&text), ParseError::Action(action.into()), "{text}");
    }
    for hit in ["0", "x", "", "-1"] {
        let text = format!("rows_committed=kill@{hit}");
        assert_eq!(error(&text), ParseError::Hit(hit.into()), "{text}");
    }
    assert!(Failpoints::parse(" ; rows_committed = kill @ 3 ;").is_ok());
}

#[test]
fn names_are_unique_and_found() {
    for point in Point::ALL {
        assert_eq!(Point::from_name(point.name()), Some(point));
    }
}

/// Run by `kill_ends_the_process_with_sigkill` in a process of its own.
#[tokio::test]
#[ignore = "kills its process"]
async fn child_that_is_killed() {
    let points = Failpoints::parse("payment_committed=kill@3").expect("text");
    for hit in 1..=3 {
        println!("hit {hit}");
        let _ = points.hit(Point::PaymentCommitted).await;
    }
    println!("survived");
}

#[test]
fn kill_ends_the_process_with_sigkill() {
    let child = Command::new(std::env::current_exe().expect("own path"))
        .args(["--ignored", "--exact", "--nocapture"])
        .arg("truth::failpoint::tests::child_that_is_killed")
        .output()
        .expect("child");
    let said = String::from_utf8_lossy(&child.stdout);
    assert_eq!(child.status.signal(), Some(9), "{said}");
    assert!(
        said.contains("hit 3") && !said.contains("survived"),
        "{said}"
    );
}
