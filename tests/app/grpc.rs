use std::sync::atomic::Ordering;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio_stream::once;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::{v1, v1alpha};

use crate::harness::{TestApp, soon};
use crate::raw::http1;

const SERVING: i32 = 1;

#[tokio::test]
async fn health_follows_readiness() {
    let app = TestApp::start(&[]).await;
    let mut health = HealthClient::new(app.channel().await);
    let whole = HealthCheckRequest::default();
    let mut said = health.watch(whole).await.expect("OK").into_inner();
    for (broken, status) in [
        (false, ServingStatus::Serving),
        (true, ServingStatus::NotServing),
        (false, ServingStatus::Serving),
    ] {
        app.stores.broken.store(broken, Ordering::Relaxed);
        let told = soon("a status", said.message()).await;
        let told = told.expect("OK").expect("a status").status();
        assert_eq!(told, status);
    }
}

#[tokio::test]
async fn health_is_served() {
    let app = TestApp::start(&[]).await;
    let mut health = HealthClient::new(app.channel().await);
    let answer = health
        .check(HealthCheckRequest::default())
        .await
        .expect("OK");
    assert_eq!(answer.into_inner().status, SERVING);
    let unknown = HealthCheckRequest {
        service: "nobody".to_owned(),
    };
    let refused = health.check(unknown).await.expect_err("unknown");
    assert_eq!(refused.code(), Code::NotFound);
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented() {
    let app = TestApp::start(&[]).await;
    let mut grpc = tonic::client::Grpc::new(app.channel().await);
    grpc.ready().await.expect("connected");
    let codec: tonic_prost::ProstCodec<(), ()> = tonic_prost::ProstCodec::default();
    let path = http::uri::PathAndQuery::from_static("/usher.v1.Nothing/AtAll");
    let refused = grpc.unary(tonic::Request::new(()), path, codec).await;
    assert_eq!(refused.expect_err("unknown").code(), Code::Unimplemented);
    // Made-up paths share one label, or anyone could grow the metrics.
    app.counts("rpc_method=\"_OTHER\",rpc_response_status_code=\"UNIMPLEMENTED\"")
        .await;
    let text = app.metrics.render();
    assert!(!text.contains("Nothing"), "{text}");
}

#[tokio::test]
async fn each_call_is_counted_by_method_and_code() {
    let app = TestApp::start(&[]).await;
    let mut health = HealthClient::new(app.channel().await);
    for _ in 0..3 {
        health
            .check(HealthCheckRequest::default())
            .await
            .expect("OK");
    }
    drop(health);
    let line = "rpc_server_call_duration_seconds_count{rpc_method=\"grpc.health.v1.Health/Check\",\
                rpc_response_status_code=\"OK\"} 3";
    app.counts(line).await;
    app.counts("usher_rpc_active 0").await;
}

#[tokio::test]
async fn reflection_v1_knows_the_contract_health_and_error_details() {
    use v1::server_reflection_client::ServerReflectionClient;
    use v1::server_reflection_request::MessageRequest;
    use v1::server_reflection_response::MessageResponse;

    let app = TestApp::start(&[]).await;
    let mut client = ServerReflectionClient::new(app.channel().await);
    let mut ask = async |message| {
        let request = v1::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(message),
        };
        let mut stream = client
            .server_reflection_info(once(request))
            .await?
            .into_inner();
        let answer = stream.message().await?.expect("an answer");
        Ok::<_, tonic::Status>(answer.message_response.expect("a message"))
    };
    let listed = ask(MessageRequest::ListServices(String::new()))
        .await
        .expect("OK");
    let MessageResponse::ListServicesResponse(services) = listed else {
        panic!("{listed:?}");
    };
    let names: Vec<_> = services.service.iter().map(|s| s.name.as_str()).collect();
    for name in [
        "usher.v1.QueueService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
    for symbol in [
        "usher.v1.WatchResponse",
        "google.rpc.ErrorInfo",
        "google.rpc.RetryInfo",
    ] {
        let found = ask(MessageRequest::FileContainingSymbol(symbol.to_owned())).await;
        let found = found.expect("OK");
        assert!(
            matches!(found, MessageResponse::FileDescriptorResponse(_)),
            "{symbol}: {found:?}"
        );
    }
}

#[tokio::test]
async fn reflection_v1alpha_is_there_for_older_tools() {
    use v1alpha::server_reflection_client::ServerReflectionClient;
    use v1alpha::server_reflection_request::MessageRequest;

    let app = TestApp::start(&[]).await;
    let mut client = ServerReflectionClient::new(app.channel().await);
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol(
            "usher.v1.Place".to_owned(),
        )),
    };
    let answer = client
        .server_reflection_info(once(request))
        .await
        .expect("OK");
    let answer = soon("an answer", answer.into_inner().message())
        .await
        .expect("OK");
    let found = answer.expect("one").message_response;
    assert!(
        matches!(
            found,
            Some(v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(_))
        ),
        "{found:?}"
    );
}

/// An empty gRPC message: `HealthCheckRequest` for the whole server.
const EMPTY_MESSAGE: [u8; 5] = [0; 5];
/// `HealthCheckResponse { status: SERVING }`, framed.
const SERVING_MESSAGE: [u8; 7] = [0, 0, 0, 0, 2, 8, 1];

fn web_request(content_type: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST /grpc.health.v1.Health/Check HTTP/1.1\r\nhost: test\r\norigin: https://shop.example\r\n\
         content-type: {content_type}\r\naccept: {content_type}\r\nx-grpc-web: 1\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend(body);
    request
}

/// Joins the chunks of a chunked body.
fn unchunk(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(line_end) = body.windows(2).position(|pair| pair == b"\r\n") {
        let size = std::str::from_utf8(&body[..line_end]).expect("text");
        let size = usize::from_str_radix(size, 16).expect("a size");
        whole.extend(&body[line_end + 2..line_end + 2 + size]);
        body = &body[line_end + 4 + size..];
    }
    whole
}

#[tokio::test]
async fn grpc_web_is_served_over_http_1_in_binary() {
    let app = TestApp::start(&[]).await;
    let request = web_request("application/grpc-web+proto", &EMPTY_MESSAGE);
    let (head, body) = http1(app.addr, &request).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(
        head.contains("content-type: application/grpc-web+proto"),
        "{head}"
    );
    let exposed = head
        .lines()
        .find_map(|line| line.strip_prefix("access-control-expose-headers: "))
        .expect("exposed headers");
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin"] {
        assert!(exposed.contains(name), "{head}");
    }
    let body = unchunk(&body);
    let trailers = body.strip_prefix(&SERVING_MESSAGE).expect("the message");
    assert_eq!(trailers[0], 0x80, "a trailers frame");
    assert!(String::from_utf8_lossy(trailers).contains("grpc-status:0"));
}

#[tokio::test]
async fn grpc_web_is_served_over_http_1_in_text() {
    let app = TestApp::start(&[]).await;
    let message = BASE64_STANDARD.encode(EMPTY_MESSAGE);
    let request = web_request("application/grpc-web-text+proto", message.as_bytes());
    let (head, body) = http1(app.addr, &request).await;
    assert!(
        head.contains("content-type: application/grpc-web-text+proto"),
        "{head}"
    );
    // Each part is encoded alone, so padding may stand in the middle.
    let text = String::from_utf8(unchunk(&body)).expect("text");
    let mut decoded = Vec::new();
    for group in text.as_bytes().chunks(4) {
        decoded.extend(BASE64_STANDARD.decode(group).expect("base64"));
    }
    let trailers = decoded.strip_prefix(&SERVING_MESSAGE).expect("the message");
    assert!(String::from_utf8_lossy(trailers).contains("grpc-status:0"));
}
