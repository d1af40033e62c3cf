//! Any RPC by its name, with any bytes as its message.

use bytes::{Buf as _, BufMut as _};
use http::uri::PathAndQuery;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::Answer;
use crate::harness::soon;
use crate::people::{User, reason};

/// Bytes as they are.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let bytes = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(bytes).to_vec()))
    }
}

/// The first message of the answer; a stream is closed behind it.
pub async fn ask(user: &User, rpc: &str, message: Vec<u8>) -> Result<Vec<u8>, Status> {
    let answer = async {
        let mut grpc = tonic::client::Grpc::new(user.channel());
        grpc.ready().await.expect("connected");
        let path = PathAndQuery::try_from(format!("/usher.v1.{rpc}")).expect("a path");
        let stream = grpc.server_streaming(user.ask(message), path, Raw).await?;
        let first = stream.into_inner().message().await?;
        Ok(first.expect("a message or a status"))
    };
    soon(rpc, answer).await
}

/// As [`ask`], for a message of the contract.
pub fn asking(user: &User, rpc: &'static str, message: impl prost::Message) -> Answer {
    let (user, message) = (user.clone(), message.encode_to_vec());
    Box::pin(async move { ask(&user, rpc, message).await })
}

/// A refusal of this code and reason, in a text of bounded length.
pub fn assert_refused<T>(
    answer: Result<T, Status>,
    (code, expected): (Code, &str),
    what: &str,
) -> Status {
    let Err(status) = answer else {
        panic!("{what}: not refused");
    };
    let got = (status.code(), reason(&status));
    assert_eq!(got, (code, expected.to_owned()), "{what}: {status:?}");
    assert!(status.message().len() < 300, "{what}: an echo");
    status
}

/// The fields that a refusal names.
pub fn fields_of(status: &Status) -> Vec<String> {
    let violations = status.get_details_bad_request();
    let violations = violations.map(|bad| bad.field_violations);
    let of = |violation: tonic_types::FieldViolation| violation.field;
    violations.into_iter().flatten().map(of).collect()
}
