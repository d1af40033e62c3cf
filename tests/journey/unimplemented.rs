//! What answers UNIMPLEMENTED where no gateway is configured: exactly this, and nothing else of the contract.

use std::collections::BTreeSet;

use http::uri::PathAndQuery;
use prost::Message as _;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use usher::proto::FILE_DESCRIPTOR_SET;
use usher::proto::v1 as wire;

use crate::harness::{TestApp, soon};
use crate::people::{User, euros};
use crate::sale::concert;

/// RPCs of later versions.
pub const LATER: [&str; 0] = [];

struct Method {
    name: String,
    is_streaming: bool,
}

fn methods() -> Vec<Method> {
    let set = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("a set");
    let files = set.file.iter().filter(|file| file.package() == "usher.v1");
    let of = |service: &prost_types::ServiceDescriptorProto| {
        let service_name = service.name().to_owned();
        let name = move |method: &prost_types::MethodDescriptorProto| Method {
            name: format!("{service_name}/{}", method.name()),
            is_streaming: method.server_streaming(),
        };
        service.method.iter().map(name).collect::<Vec<_>>()
    };
    files.flat_map(|file| &file.service).flat_map(of).collect()
}

/// Calls a method with an empty message.
async fn call(user: &User, method: &Method) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::new(user.channel());
    grpc.ready().await.expect("connected");
    let path = PathAndQuery::try_from(format!("/usher.v1.{}", method.name)).expect("a path");
    let codec = ProstCodec::<(), ()>::default();
    let request: Request<()> = user.ask(());
    if !method.is_streaming {
        return grpc.unary(request, path, codec).await.map(drop);
    }
    let mut stream = grpc
        .server_streaming(request, path, codec)
        .await?
        .into_inner();
    stream.message().await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_the_rpcs_of_later_versions_are_unimplemented() {
    let app = TestApp::start().await;
    let root = app.admin();
    let methods = methods();
    assert!(methods.len() > 40, "{}", methods.len());
    let mut missing = BTreeSet::new();
    for method in &methods {
        let answer = soon(&method.name, call(&root, method)).await;
        if answer.is_err_and(|status| status.code() == Code::Unimplemented) {
            missing.insert(method.name.as_str());
        }
    }
    let later: BTreeSet<_> = LATER.into_iter().collect();
    assert_eq!(missing, later);
}

fn code<T>(answer: Result<T, Status>) -> Code {
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_these_parts_of_other_rpcs_are_unimplemented() {
    let app = TestApp::start().await;
    let root = app.admin();
    let key = |name: &str| name.to_owned();
    let later = Code::Unimplemented;

    let source = wire::top_up_wallet_request::Source::Gateway(wire::GatewaySource {
        token: "tok".to_owned(),
    });
    let top_up = root
        .payments()
        .top_up_wallet(root.ask(wire::TopUpWalletRequest {
            amount: Some(euros(1)),
            source: Some(source),
            idempotency_key: key("top-up"),
        }))
        .await;
    assert_eq!(code(top_up), later, "top-up through a gateway");

    let gateway = wire::pay_reservation_request::Method::Gateway(wire::GatewaySource {
        token: "tok".to_owned(),
    });
    let pay = root
        .payments()
        .pay_reservation(root.ask(wire::PayReservationRequest {
            reservation_id: "res-1".to_owned(),
            method: Some(gateway),
            coupon_id: None,
            idempotency_key: key("pay"),
        }))
        .await;
    assert_eq!(code(pay), later, "payment through a gateway");

    use wire::ConcertOrder;
    for (order, expected) in [
        (ConcertOrder::Unspecified, Code::Ok),
        (ConcertOrder::OpeningSoon, Code::Ok),
        (ConcertOrder::Popular, Code::Ok),
        (ConcertOrder::FastestSoldOut, Code::Ok),
    ] {
        let listed = root
            .catalog()
            .list_concerts(root.ask(wire::ListConcertsRequest {
                order: order.into(),
                ..wire::ListConcertsRequest::default()
            }))
            .await;
        assert_eq!(code(listed), expected, "{order:?}");
    }

    // What is close to the above, and is there.
    let made = root
        .operator()
        .create_concert(root.ask(wire::CreateConcertRequest {
            concert: Some(concert()),
            idempotency_key: key("concert"),
        }))
        .await;
    assert_eq!(code(made), Code::Ok);
}
