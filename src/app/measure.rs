//! Times every gRPC call and counts how it ended.
//!
//! Stands inside gRPC-Web, where the status is still a header or a trailer. A
//! call is over when its status has gone by, or when its body is dropped before
//! that: the client gave up. Only methods of the contract get a label of their
//! own; a made-up path must not make a new time series.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use metrics::{Gauge, Histogram};
use pin_project_lite::pin_project;
use prost::Message;
use prost_types::FileDescriptorSet;
use tokio::time::Instant;
use tower::{Layer, Service};

use crate::grpc::handover::Handover;
use crate::metrics::{Metrics, RPC_ACTIVE, RPC_DURATION, RecentTimes};

use super::StartError;

mod sale;

use sale::{SaleCall, TimedRequest, is_of_sale};

/// Names of the status codes, by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
const OK: usize = 0;
const CANCELLED: usize = 1;
const UNKNOWN: usize = 2;
/// The label of every method that the contract does not have.
const OTHER_METHOD: &str = "_OTHER";

/// Paths of the methods that have a label of their own.
pub(super) struct Methods(Vec<String>);

impl Methods {
    pub(super) fn of(encoded: &[&[u8]]) -> Result<Self, StartError> {
        let mut paths = vec![OTHER_METHOD.to_owned()];
        for set in encoded {
            let set = FileDescriptorSet::decode(*set)
                .map_err(|error| StartError::Descriptors(error.to_string()))?;
            for file in &set.file {
                for service in &file.service {
                    paths.extend(service.method.iter().map(|method| {
                        format!("{}.{}/{}", file.package(), service.name(), method.name())
                    }));
                }
            }
        }
        Ok(Self(paths))
    }
}

/// One method's histograms, made when a code first occurs.
#[derive(Default)]
struct ByCode {
    codes: [OnceLock<Histogram>; CODES.len()],
    /// Of a method of the sale.
    sale: Option<Arc<RecentTimes>>,
}

struct Recorder {
    metrics: Metrics,
    active: Gauge,
    methods: HashMap<String, ByCode>,
}

impl Recorder {
    fn known(&self, path: &str) -> &str {
        let path = path.trim_start_matches('/');
        self.methods
            .get_key_value(path)
            .map_or(OTHER_METHOD, |(known, _)| known)
    }

    fn sale_call(&self, path: &str) -> Option<Arc<SaleCall>> {
        let by_code = self.methods.get(path.trim_start_matches('/'))?;
        by_code.sale.as_ref().map(SaleCall::new)
    }

    fn record(&self, path: &str, code: usize, seconds: f64) {
        let method = self.known(path);
        let Some(by_code) = self.methods.get(method) else {
            return;
        };
        by_code.codes[code]
            .get_or_init(|| {
                self.metrics
                    .histogram(&RPC_DURATION, &[method, CODES[code]])
            })
            .record(seconds);
    }
}

#[derive(Clone)]
pub(super) struct MeasureLayer(Arc<Recorder>);

impl MeasureLayer {
    pub(super) fn new(metrics: &Metrics, methods: Methods) -> Self {
        let named = |path: String| {
            let by_code = ByCode {
                sale: is_of_sale(&path).then(|| metrics.sale_times().method()),
                ..ByCode::default()
            };
            (path, by_code)
        };
        Self(Arc::new(Recorder {
            metrics: metrics.clone(),
            active: metrics.gauge(&RPC_ACTIVE, &[]),
            methods: methods.0.into_iter().map(named).collect(),
        }))
    }
}

impl<S> Layer<S> for MeasureLayer {
    type Service = Measure<S>;

    fn layer(&self, inner: S) -> Measure<S> {
        Measure {
            inner,
            recorder: Arc::clone(&self.0),
        }
    }
}

#[derive(Clone)]
pub(super) struct Measure<S> {
    inner: S,
    recorder: Arc<Recorder>,
}

impl<S, B> Service<Request<B>> for Measure<S>
where
    S: Service<Request<TimedRequest<B>>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<MeasuredBody>;
    type Error = Infallible;
    type Future = Measured<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let path = request.uri().path();
        let call = Call::start(&self.recorder, path);
        let sale = self.recorder.sale_call(path);
        let request = request.map(|inner| TimedRequest::new(inner, sale.clone()));
        Measured {
            inner: self.inner.call(request),
            call: Some(call),
            sale,
        }
    }
}

pin_project! {
    pub(super) struct Measured<F> {
        #[pin]
        inner: F,
        call: Option<Call>,
        sale: Option<Arc<SaleCall>>,
    }
}

impl<F> Future for Measured<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = Result<Response<MeasuredBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        let mut call = this.call.take();
        if let Some(call) = &mut call {
            call.see(response.headers());
        }
        let call = match call {
            Some(call) if response.extensions().get::<Handover>().is_some() => {
                let lent = LentCall(Arc::new(Mutex::new(Some(call))));
                response.extensions_mut().insert(lent.clone());
                Measuring::Lent(lent)
            }
            call => Measuring::Own(call),
        };
        if let Some(sale) = this.sale.take() {
            // An error is said at once, success behind the message.
            let code = grpc_status(response.headers()).unwrap_or(OK);
            sale.answered(CODES[code]);
        }
        Poll::Ready(Ok(response.map(|inner| MeasuredBody { inner, call })))
    }
}

/// The call of a response whose stream the transport may take: it takes this
/// too then, and sees the end.
#[derive(Clone)]
pub(super) struct LentCall(Arc<Mutex<Option<Call>>>);

impl LentCall {
    /// None: it is taken.
    pub(super) fn take(&self) -> Option<Call> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Call>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Measuring {
    Own(Option<Call>),
    Lent(LentCall),
}

impl Measuring {
    fn see(&mut self, headers: &HeaderMap) {
        let see = |call: &mut Option<Call>| {
            if let Some(call) = call {
                call.see(headers);
            }
        };
        match self {
            Self::Own(call) => see(call),
            Self::Lent(call) => see(&mut call.lock()),
        }
    }
}

pub(super) struct MeasuredBody {
    inner: Body,
    call: Measuring,
}

impl http_body::Body for MeasuredBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.call.see(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A call in progress; recorded when it is dropped.
pub(super) struct Call {
    recorder: Arc<Recorder>,
    path: Box<str>,
    started: Instant,
    code: usize,
}

impl Call {
    fn start(recorder: &Arc<Recorder>, path: &str) -> Self {
        recorder.active.increment(1);
        Self {
            recorder: Arc::clone(recorder),
            path: recorder.known(path).into(),
            started: Instant::now(),
            code: CANCELLED,
        }
    }

    /// Its status, where these have one.
    pub(super) fn see(&mut self, headers: &HeaderMap) {
        if let Some(code) = grpc_status(headers) {
            self.code = code;
        }
    }
}

fn grpc_status(headers: &HeaderMap) -> Option<usize> {
    let status = headers.get("grpc-status")?;
    let number = status.to_str().ok().and_then(|text| text.parse().ok());
    Some(number.filter(|code| *code < CODES.len()).unwrap_or(UNKNOWN))
}

impl Drop for Call {
    fn drop(&mut self) {
        self.recorder.active.decrement(1);
        let seconds = self.started.elapsed().as_secs_f64();
        self.recorder.record(&self.path, self.code, seconds);
    }
}
