//! Odd requests: headers, paths, methods and peers that no client library makes.

use http::Method;
use tonic::Code;
use usher::proto::v1 as wire;

use crate::call::{Answer, Call};
use crate::harness::TestApp;
use crate::provider::{Provider, jwt_mode, write_jwks};
use crate::raw::{
    END_HEADERS, END_STREAM, HEADERS, Outcome, PREFACE, Peer, closed_by_server, connect, frame,
    get, http1, literals, request_headers,
};
use crate::whole::{Caller, JOIN, LIST_ROOMS, Whole, join};

const CHECK: &str = "/grpc.health.v1.Health/Check";
/// Decoded, with 32 bytes for each header, as RFC 9113 counts.
const HEADER_LIST_BYTES_MAX: usize = 16_384;

const GOOD: [(&str, &[u8]); 5] = [
    (":method", b"POST"),
    (":scheme", b"http"),
    (":path", CHECK.as_bytes()),
    (":authority", b"test"),
    ("content-type", b"application/grpc"),
];

/// What becomes of a whole call with these headers, on a connection of its own.
async fn outcome(app: &TestApp, headers: &[(&str, &[u8])]) -> Outcome {
    let mut peer = Peer::connect(app.addr).await;
    let block = literals(headers);
    let (first, rest) = block.split_at(block.len().min(16_384));
    let flags = if rest.is_empty() { END_HEADERS } else { 0 };
    let mut request = frame(HEADERS, flags, 1, first);
    if !rest.is_empty() {
        request.extend(frame(crate::raw::CONTINUATION, END_HEADERS, 1, rest));
    }
    request.extend(frame(crate::raw::DATA, END_STREAM, 1, &[0; 5]));
    peer.send(&request).await;
    peer.outcome(1).await
}

#[tokio::test]
async fn headers_are_counted_to_the_byte() {
    let app = TestApp::start(&[]).await;
    let size = |headers: &[(&str, &[u8])]| -> usize {
        let one = |(name, value): &(&str, &[u8])| name.len() + value.len() + 32;
        headers.iter().map(one).sum()
    };
    let room = HEADER_LIST_BYTES_MAX - size(&GOOD) - size(&[("x", b"")]);
    for (filling, expected) in [
        (room - 1, Outcome::Answered),
        (room, Outcome::Refused),
        (room + 1, Outcome::Refused),
    ] {
        let value = vec![b'a'; filling];
        let headers = [&GOOD[..], &[("x", &value)]].concat();
        assert_eq!(outcome(&app, &headers).await, expected, "{filling}");
    }
    // Many small ones are as heavy.
    for (count, expected) in [(480, Outcome::Answered), (490, Outcome::Refused)] {
        let headers = [&GOOD[..], &vec![("a", &b""[..]); count]].concat();
        assert_eq!(outcome(&app, &headers).await, expected, "{count} headers");
    }
}

#[tokio::test]
async fn malformed_headers_never_reach_a_service() {
    let app = TestApp::start(&[]).await;
    assert_eq!(outcome(&app, &GOOD).await, Outcome::Answered);
    let without = |name: &str| -> Vec<_> {
        let kept = GOOD.iter().copied().filter(|(other, _)| *other != name);
        kept.collect()
    };
    for name in [":method", ":scheme", ":path"] {
        let got = outcome(&app, &without(name)).await;
        assert_ne!(got, Outcome::Answered, "without {name}");
    }
    let added: [(&str, &[u8]); 19] = [
        (":status", b"200"),
        (":unknown", b"x"),
        (":path", b"/twice"),
        (":protocol", b"websocket"),
        ("X-Upper", b"case"),
        ("x space", b"x"),
        ("", b"nameless"),
        ("x-\u{e9}", b"x"),
        ("connection", b"close"),
        ("keep-alive", b"1"),
        ("proxy-connection", b"close"),
        ("transfer-encoding", b"chunked"),
        ("upgrade", b"h2c"),
        ("te", b"gzip"),
        ("x-line", b"a\r\nb: c"),
        ("x-nul", b"a\0b"),
        ("content-length", b"-1"),
        ("content-length", b"6"),
        ("content-length", b"5, 5"),
    ];
    for (name, value) in added {
        let headers = [&GOOD[..], &[(name, value)]].concat();
        let got = outcome(&app, &headers).await;
        assert_ne!(got, Outcome::Answered, "{name}: {value:?}");
    }
    let replaced: [(&str, &[u8]); 7] = [
        (":path", b""),
        (":path", b"no/slash"),
        (":path", b"/a b"),
        (":path", b"/\xff"),
        (":method", b"PO ST"),
        (":method", b""),
        (":authority", b"a b"),
    ];
    for (name, value) in replaced {
        let headers = [&[(name, value)], &without(name)[..]].concat();
        let got = outcome(&app, &headers).await;
        assert_ne!(got, Outcome::Answered, "{name}: {value:?}");
    }
    assert!(get(app.addr, "/livez").await.0.starts_with("http/1.1 200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_post_of_grpc_to_an_exact_path_is_a_call() {
    let app = Whole::start(&[("USHER_LIMITS__JOIN_PER_MINUTE", "1")]).await;
    let channel = app.channel().await;
    let room = app.make_room(&Caller::admin(&channel), 1).await;
    let alice = Caller::named(&channel, "alice");
    let asks = |path: &str| alice.call(path).message(&join(&room));
    let plain = |http| (http, None);
    let call = || asks(JOIN);
    let odd = [
        (call().without("content-type"), plain(404)),
        (
            call()
                .without("content-type")
                .header("content-type", "application/json"),
            plain(415),
        ),
        (
            call()
                .without("content-type")
                .header("content-type", "text/plain"),
            plain(415),
        ),
        (
            call()
                .without("content-type")
                .header("content-type", "Application/Grpc"),
            plain(415),
        ),
        (call().method(Method::GET), plain(405)),
        (call().method(Method::HEAD), plain(405)),
        (call().method(Method::PUT), plain(405)),
        (call().method(Method::DELETE), plain(405)),
        (call().method(Method::PATCH), plain(405)),
    ];
    for (call, (http, code)) in odd {
        let answer = call.send(&channel).await;
        assert_eq!((answer.http, answer.code), (http, code), "{answer:?}");
    }
    for path in [
        "/usher.v1.QueueService/Nothing",
        "/usher.v1.QueueService/join",
        "/usher.v1.QueueService/Join/",
        "/usher.v1.QueueService//Join",
        "//usher.v1.QueueService/Join",
        "/usher.v1.QueueService%2FJoin",
        "/usher.v1.QueueService/%4aoin",
        "/usher.v1.queueservice/Join",
        "/x/../usher.v1.QueueService/Join",
        "/usher.v1.Nothing/AtAll",
        "/usher.v2.QueueService/Join",
    ] {
        let answer = asks(path).send(&channel).await;
        assert_eq!(answer.code, Some(Code::Unimplemented), "{path}: {answer:?}");
    }
    // None of these was counted as a Join, and none was one.
    assert_eq!(alice.number(&room).await, 1);
    let answer = call().send(&channel).await;
    assert_eq!(answer.code, Some(Code::ResourceExhausted), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_that_nobody_reads_does_no_harm() {
    let app = Whole::start(&[]).await;
    let channel = app.channel().await;
    let room = app.make_room(&Caller::admin(&channel), 1).await;
    let alice = Caller::named(&channel, "alice");
    let call = || alice.call(JOIN).message(&join(&room));
    let mut odd = vec![
        ("no te", call().without("te")),
        ("not ASCII", call().header("x-other", b"\xff\xc3\xa9")),
        ("no base64", call().header("x-thing-bin", "!!!")),
        ("no base64", call().header("grpc-trace-bin", "=")),
        ("a host", call().header("host", "evil.example")),
        ("a real address", call().header("x-real-ip", "127.0.0.1")),
        (
            "gzip welcome",
            call().header("grpc-accept-encoding", "gzip"),
        ),
        ("identity", call().header("grpc-encoding", "identity")),
    ];
    // What is no deadline is none.
    for text in [
        "99999999H",
        "999999999S",
        "1X",
        "",
        "-1S",
        "1.5S",
        "S",
        "1",
        " 1S",
        "NaNm",
        "\u{e9}",
    ] {
        odd.push((text, call().header("grpc-timeout", text)));
    }
    for (name, call) in odd {
        let answer: Answer = call.send(&channel).await;
        let joined: wire::JoinResponse = answer.ok();
        assert_eq!(joined.place.expect("a place").number, 1, "{name}");
        assert!(!answer.headers.contains_key("grpc-encoding"), "{name}");
    }
}

/// Who sets a deadline hangs up when it is over: the server answers whoever is
/// there. By single frames, since client libraries keep deadlines themselves.
#[tokio::test]
async fn a_deadline_is_kept_by_whoever_set_it() {
    let app = TestApp::start(&[]).await;
    let deadlines: [&[(&str, &[u8])]; 4] = [
        &[("grpc-timeout", b"1n")],
        &[("grpc-timeout", b"0n")],
        &[("grpc-timeout", b"99999999H")],
        &[("grpc-timeout", b"1S"), ("grpc-timeout", b"2S")],
    ];
    for deadline in deadlines {
        let headers = [&GOOD[..], deadline].concat();
        let got = outcome(&app, &headers).await;
        assert_eq!(got, Outcome::Answered, "{deadline:?}");
    }
    let all_ok = "rpc_method=\"grpc.health.v1.Health/Check\",rpc_response_status_code=\"OK\"} 4";
    app.counts(all_ok).await;
}

/// A server that knows callers by their tokens, and lets each address that has
/// none join once a minute.
async fn once_a_minute(trusted_proxies: &str) -> Whole {
    let keys = tempfile::tempdir().expect("a directory");
    let jwks = keys.path().join("jwks");
    write_jwks(&jwks, &[&Provider::new("ed")]);
    let mut env = jwt_mode(&jwks);
    env.push(("USHER_LIMITS__JOIN_PER_MINUTE", "1".to_owned()));
    env.push(("USHER_LIMITS__TRUSTED_PROXIES", trusted_proxies.to_owned()));
    let env: Vec<_> = env
        .iter()
        .map(|(key, text)| (*key, text.as_str()))
        .collect();
    Whole::start(&env).await
}

/// Whether this was the first of its address in this minute.
async fn is_first(app: &Whole, forwarded: &[&str]) -> bool {
    let call = forwarded.iter().fold(Call::new(JOIN), |call, value| {
        call.header("x-forwarded-for", value)
    });
    match call.send(&app.channel().await).await.code {
        Some(Code::Unauthenticated) => true,
        Some(Code::ResourceExhausted) => false,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_escapes_a_limit_by_naming_other_addresses() {
    let app = once_a_minute("0").await;
    assert!(is_first(&app, &[]).await);
    let fifty = ["198.51.100.7"; 50].join(", ");
    let names = [
        "203.0.113.1",
        &fifty,
        "nonsense",
        "",
        "fe80::1%eth0",
        "::ffff:203.0.113.9",
    ];
    for name in names {
        assert!(!is_first(&app, &[name]).await, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trusted_proxy_is_believed_about_the_last_address_only() {
    let app = once_a_minute("1").await;
    let fifty = [&"198.51.100.7, ".repeat(49), "203.0.113.1"].concat();
    for (forwarded, first, why) in [
        (&["203.0.113.1"][..], true, "a client"),
        (&["203.0.113.1"], false, "again"),
        (
            &["198.51.100.7, 203.0.113.1"],
            false,
            "what it says itself is nothing",
        ),
        (&["198.51.100.7", "203.0.113.1"], false, "in two headers"),
        (&[&fifty], false, "or fifty entries"),
        (&["::ffff:203.0.113.1"], false, "IPv4 in IPv6"),
        (&["203.0.113.1:443"], false, "with a port"),
        (&["203.0.113.2"], true, "another client"),
        (&["2001:db8::1"], true, "IPv6"),
        (&["[2001:db8::2]:443"], false, "of the same network"),
        (&["2001:db8:0:1::1"], true, "of another network"),
        (&["fe80::1%eth0"], true, "with a zone"),
        (&["fe80::1%eth1"], false, "which does not count"),
        (&[], true, "no header: the peer itself"),
        (&["nonsense"], false, "as without one"),
        (&["203.0.113.3, nonsense"], false, "and in a list"),
        (&["203.0.113.3,"], false, "or after a comma"),
    ] {
        assert_eq!(
            is_first(&app, forwarded).await,
            first,
            "{why}: {forwarded:?}"
        );
    }
}

#[tokio::test]
async fn bytes_that_are_no_http_end_their_connection_alone() {
    let app = TestApp::start(&[]).await;
    let mut after_a_proxy = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n".to_vec();
    after_a_proxy.extend(PREFACE);
    let mut binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\0\x02\x01\xc0\0\x02\x02".to_vec();
    binary.extend(PREFACE);
    let garbage: [&[u8]; 6] = [
        &after_a_proxy,
        &binary,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS greeting, or so\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2 and then some more\r\n\r\n",
        &[0; 64],
        &[0xff; 64],
    ];
    for bytes in garbage {
        let mut stream = connect(app.addr).await;
        tokio::io::AsyncWriteExt::write_all(&mut stream, bytes)
            .await
            .expect("sent");
        closed_by_server(&mut stream).await;
    }
    // Whatever Host is named, or none, the answer is one of HTTP.
    for host in ["host: evil.example\r\n", "host: \r\n", ""] {
        let request = format!("GET /livez HTTP/1.1\r\n{host}connection: close\r\n\r\n");
        let (head, _) = http1(app.addr, request.as_bytes()).await;
        assert!(!head.starts_with("http/1.1 5"), "{host:?}: {head}");
    }
    let many: String = (0..101).map(|index| format!("x-{index}: y\r\n")).collect();
    let request = format!("GET / HTTP/1.1\r\nhost: test\r\n{many}connection: close\r\n\r\n");
    let (head, _) = http1(app.addr, request.as_bytes()).await;
    assert!(head.starts_with("http/1.1 431"), "{head}");
    let mut peer = Peer::connect(app.addr).await;
    let headers = request_headers(LIST_ROOMS);
    peer.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &headers))
        .await;
    assert_eq!(peer.outcome(1).await, Outcome::Answered);
}
