use std::sync::atomic::Ordering;

use crate::harness::TestApp;
use crate::raw::{get, http1};

#[tokio::test]
async fn plain_http_is_served_beside_grpc() {
    let app = TestApp::start(&[]).await;
    let (head, body) = get(app.addr, "/").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("content-type: text/html"), "{head}");
    assert!(body.contains("<title>Usher"), "{body}");
    assert!(
        head.contains("content-security-policy: default-src 'self'"),
        "{head}"
    );
    for asset in ["app.js", "app.css"] {
        assert!(body.contains(asset), "{body}");
        let (head, _) = get(app.addr, &format!("/{asset}")).await;
        assert!(head.starts_with("http/1.1 200"), "{asset}: {head}");
    }
    let (head, body) = get(app.addr, "/.well-known/jwks.json").await;
    assert!(head.contains("content-type: application/json"), "{head}");
    assert_eq!(body, "{\"keys\":[]}");
    assert_eq!(get(app.addr, "/livez").await.1, "live\n");
    assert_eq!(get(app.addr, "/readyz").await.1, "ready\n");
    let (head, body) = get(app.addr, "/metrics").await;
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    assert!(body.contains("usher_connections_open"), "{body}");
    let (head, _) = get(app.addr, "/nothing/here").await;
    assert!(head.starts_with("http/1.1 404"), "{head}");
}

#[tokio::test]
async fn not_ready_while_what_stands_behind_is_unusable() {
    let app = TestApp::start(&[]).await;
    app.stores.broken.store(true, Ordering::Relaxed);
    let (head, body) = get(app.addr, "/readyz").await;
    assert!(head.starts_with("http/1.1 503"), "{head}");
    assert_eq!(body, "database unavailable\n");
    assert!(get(app.addr, "/livez").await.0.starts_with("http/1.1 200"));
}

#[tokio::test]
async fn metrics_and_probes_can_have_a_listener_of_their_own() {
    let app = TestApp::start(&[("USHER_OPS_LISTEN", "127.0.0.1:0")]).await;
    let ops = app.ops_addr.expect("a second address");
    for path in ["/metrics", "/livez", "/readyz"] {
        let (head, _) = get(ops, path).await;
        assert!(head.starts_with("http/1.1 200"), "{path}: {head}");
        let (head, _) = get(app.addr, path).await;
        assert!(head.starts_with("http/1.1 404"), "{path}: {head}");
    }
    assert!(get(app.addr, "/").await.0.starts_with("http/1.1 200"));
}

#[tokio::test]
async fn metrics_can_be_switched_off() {
    let app = TestApp::start(&[("USHER_METRICS__ENABLED", "false")]).await;
    let (head, _) = get(app.addr, "/metrics").await;
    assert!(head.starts_with("http/1.1 404"), "{head}");
}

#[tokio::test]
async fn a_browser_may_ask_and_read_what_grpc_web_needs() {
    let app = TestApp::start(&[]).await;
    let asked = "authorization,content-type,grpc-timeout,x-grpc-web,x-user-agent,x-user-id,\
                 x-user-role,x-usher-pass";
    let request = format!(
        "OPTIONS /usher.v1.QueueService/Join HTTP/1.1\r\nhost: test\r\norigin: https://shop.example\r\n\
         access-control-request-method: POST\r\naccess-control-request-headers: {asked}\r\n\
         connection: close\r\n\r\n"
    );
    let (head, _) = http1(app.addr, request.as_bytes()).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("access-control-allow-origin: *"), "{head}");
    let allowed = head
        .lines()
        .find_map(|line| line.strip_prefix("access-control-allow-headers: "))
        .expect("allowed headers");
    for name in asked.split(',') {
        assert!(
            allowed.split(',').any(|known| known.trim() == name),
            "{name}: {head}"
        );
    }
}

#[tokio::test]
async fn only_configured_origins_may_call() {
    let app = TestApp::start(&[(
        "USHER_TRANSPORT__CORS_ORIGINS",
        "[\"https://shop.example\"]",
    )])
    .await;
    for (origin, allowed) in [
        ("https://shop.example", true),
        ("https://evil.example", false),
    ] {
        let request = format!(
            "GET /livez HTTP/1.1\r\nhost: test\r\norigin: {origin}\r\nconnection: close\r\n\r\n"
        );
        let (head, _) = http1(app.addr, request.as_bytes()).await;
        let named = head.contains(&format!("access-control-allow-origin: {origin}"));
        assert_eq!(named, allowed, "{head}");
    }
}

#[tokio::test]
async fn what_is_no_grpc_is_refused_by_plain_http() {
    let app = TestApp::start(&[]).await;
    let request = b"POST /usher.v1.QueueService/Join HTTP/1.1\r\nhost: test\r\n\
        content-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    let (head, _) = http1(app.addr, request).await;
    assert!(head.starts_with("http/1.1 415"), "{head}");
    let request = b"POST /usher.v1.QueueService/Join HTTP/1.1\r\nhost: test\r\n\
        content-type: application/grpc\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let (head, _) = http1(app.addr, request).await;
    assert!(head.starts_with("http/1.1 400"), "{head}");
}
