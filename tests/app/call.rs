//! One gRPC call below a client library: any method, header and bytes.

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full};
use prost::Message;
use tonic::Code;
use tonic::body::Body;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;
use tower::{Service as _, ServiceExt as _};

use crate::harness::soon;

/// A message with its prefix: not compressed, and its length.
pub fn framed(message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(5 + message.len());
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.len()).expect("short"));
    bytes.put_slice(message);
    bytes.freeze()
}

/// A call that is well formed until it is changed.
#[derive(Clone)]
pub struct Call {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Call {
    /// With an empty message.
    pub fn new(path: &str) -> Self {
        let headers = [("te", "trailers"), ("content-type", "application/grpc")];
        let call = Self {
            method: Method::POST,
            path: path.to_owned(),
            headers: HeaderMap::new(),
            body: framed(&[]),
        };
        headers
            .into_iter()
            .fold(call, |call, (name, value)| call.header(name, value))
    }

    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    pub fn message(self, message: &impl Message) -> Self {
        self.bytes(framed(&message.encode_to_vec()))
    }

    /// The body as it is, prefix and all.
    pub fn bytes(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// One more header; a name may come twice.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        let value = HeaderValue::from_bytes(value.as_ref()).expect("a value");
        self.headers.append(name, value);
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// The answer's head; its body is still to come.
    pub async fn open(self, channel: &Channel) -> Result<http::Response<Body>, String> {
        let mut request = Request::new(Body::new(Full::new(self.body)));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.path.parse().expect("a path");
        *request.headers_mut() = self.headers;
        let mut channel = channel.clone();
        let answered = async {
            let ready = channel.ready().await;
            let answer = ready.map_err(|error| format!("{error:?}"))?.call(request);
            answer.await.map_err(|error| format!("{error:?}"))
        };
        soon("an answer", answered).await
    }

    pub async fn send(self, channel: &Channel) -> Answer {
        let answer = self.open(channel).await.expect("an answer");
        soon("the answer's end", Answer::of(answer)).await
    }
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub http: u16,
    pub headers: HeaderMap,
    /// Of the gRPC status; none where there is no such status.
    pub code: Option<Code>,
    pub text: String,
    /// `grpc-status-details-bin`, decoded.
    pub details: Bytes,
    pub body: Bytes,
}

impl Answer {
    async fn of(answer: http::Response<Body>) -> Self {
        let (parts, body) = answer.into_parts();
        let collected = body.collect().await.expect("a whole body");
        let mut told = parts.headers.clone();
        told.extend(collected.trailers().cloned().unwrap_or_default());
        let of = |name: &str| {
            let value = told.get(name).map(HeaderValue::as_bytes);
            value.map(|value| String::from_utf8_lossy(value).into_owned())
        };
        let details = of("grpc-status-details-bin").unwrap_or_default();
        let details = BASE64_STANDARD_NO_PAD.decode(details.trim_end_matches('='));
        Self {
            http: parts.status.as_u16(),
            code: of("grpc-status").map(|code| Code::from_bytes(code.as_bytes())),
            text: of("grpc-message").unwrap_or_default(),
            details: details.expect("base64").into(),
            headers: parts.headers,
            body: collected.to_bytes(),
        }
    }

    /// Bad credentials, in the one text there is, and nothing else.
    #[track_caller]
    pub fn assert_unauthenticated(&self, name: &str) {
        let text = "credentials are missing or not valid";
        let status = [b"\x08\x10\x12$", text.as_bytes()].concat();
        assert_eq!(self.code, Some(Code::Unauthenticated), "{name}: {self:?}");
        assert_eq!(self.text.replace("%20", " "), text, "{name}");
        assert_eq!(self.details, status, "{name}: code and text alone");
        assert!(self.body.is_empty(), "{name}: {self:?}");
    }

    /// A pass or place token that is someone else's.
    #[track_caller]
    pub fn assert_another_users(&self, name: &str) {
        assert_eq!(self.code, Some(Code::PermissionDenied), "{name}: {self:?}");
        assert_eq!(self.reason(), "TOKEN_USER_MISMATCH", "{name}");
    }

    /// The reason in its `ErrorInfo`; empty without one.
    pub fn reason(&self) -> String {
        let code = self.code.unwrap_or(Code::Unknown);
        let status = tonic::Status::with_details(code, "", self.details.clone());
        let info = status.get_details_error_info();
        info.map_or_else(String::new, |info| info.reason)
    }

    /// The message of an answer that must be OK.
    #[track_caller]
    pub fn ok<M: Message + Default>(&self) -> M {
        assert_eq!(self.code, Some(Code::Ok), "{self:?}");
        M::decode(&self.body[5..]).expect("the message")
    }
}
