use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::AsyncWriteExt;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;

use crate::harness::{TestApp, soon};
use crate::raw::{PREFACE, SETTINGS, closed_by_server, connect, frame, get};

const NOT_SERVING: i32 = 2;

#[tokio::test]
async fn an_idle_server_stops_at_once_and_lets_go_of_its_port() {
    let app = TestApp::start(&[]).await;
    let addr = app.addr;
    let drains = Arc::clone(&app.drains);
    let stopped = soon("the stop", app.stop()).await.expect("it ran");
    assert_eq!(stopped.cut, 0);
    assert_eq!(drains.load(Ordering::Relaxed), 1);
    tokio::net::TcpStream::connect(addr)
        .await
        .expect_err("nobody listens");
}

#[tokio::test]
async fn peers_that_never_speak_do_not_hold_up_a_stop() {
    let app = TestApp::start(&[]).await;
    let mut silent = connect(app.addr).await;
    let mut slow = connect(app.addr).await;
    slow.write_all(&PREFACE[..10]).await.expect("sent");
    let mut idle = connect(app.addr).await;
    idle.write_all(PREFACE).await.expect("sent");
    idle.write_all(&frame(SETTINGS, 0, 0, &[]))
        .await
        .expect("sent");
    // Answered, so all three were accepted before.
    get(app.addr, "/livez").await;

    let stopped = app.stop();
    closed_by_server(&mut silent).await;
    closed_by_server(&mut slow).await;
    drop(idle);
    let stopped = soon("the stop", stopped).await.expect("it ran");
    // Whoever is open at the deadline is cut: it ended before.
    assert_eq!(stopped.cut, 0);
}

#[tokio::test]
async fn watchers_of_health_hear_of_the_stop_and_are_ended() {
    let app = TestApp::start(&[]).await;
    let mut health = HealthClient::new(app.channel().await);
    let watch = health.watch(HealthCheckRequest::default()).await;
    let mut watch = watch.expect("OK").into_inner();
    assert_eq!(
        watch.message().await.expect("OK").expect("a status").status,
        1
    );
    let stopped = app.stop();
    let told = soon("a status", watch.message()).await.expect("OK");
    assert_eq!(told.expect("a status").status, NOT_SERVING);
    let end = soon("the end", watch.message()).await.expect("OK");
    assert!(end.is_none(), "{end:?}");
    drop(health);
    assert_eq!(soon("the stop", stopped).await.expect("it ran").cut, 0);
}

#[tokio::test]
async fn a_stream_that_never_ends_is_cut_at_the_deadline() {
    let env = [
        // Long enough to be asked whether it is ready on the way.
        ("USHER_DRAIN__DEADLINE_MS", "5000"),
        ("USHER_OPS_LISTEN", "127.0.0.1:0"),
    ];
    let app = TestApp::start(&env).await;
    let ops = app.ops_addr.expect("a second address");
    let mut client = ServerReflectionClient::new(app.channel().await);
    let (hold, requests) = tokio::sync::mpsc::channel::<ServerReflectionRequest>(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut stream = client
        .server_reflection_info(requests)
        .await
        .expect("OK")
        .into_inner();

    let stopped = app.stop();
    let draining = async {
        loop {
            let (head, body) = get(ops, "/readyz").await;
            if head.starts_with("http/1.1 503") {
                return body;
            }
        }
    };
    assert_eq!(soon("not ready", draining).await, "draining\n");
    let stopped = soon("the stop", stopped).await.expect("it ran");
    assert_eq!(stopped.cut, 1);
    soon("the cut", stream.message())
        .await
        .expect_err("cut without a status");
    drop(hold);
}
