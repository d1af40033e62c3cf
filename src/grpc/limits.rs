//! How often one caller may join, open streams, move money, and press for coupons.
//!
//! One bucket per caller and kind: the user where one is known, else the
//! address, as seen by the outermost of a configured number of trusted
//! proxies, and IPv6 by /64, since a household owns one. A full bucket is
//! forgotten by [`RateLimits::prune`]. Everything else, preflights, health and
//! reflection with it, is never counted.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use futures_util::future::Either;
use governor::middleware::NoOpMiddleware;
use http::{HeaderMap, Method, Request, Response};
use tonic::transport::server::TcpConnectInfo;
use tower::{Layer, Service};
use tower_governor::governor::{Governor, GovernorConfig, GovernorConfigBuilder};
use tower_governor::key_extractor::KeyExtractor;
use tower_governor::{GovernorError, GovernorLayer, ResponseFuture};

use crate::domain::ids::UserId;

use super::auth::gate::{Identity, respond};
use super::status::EdgeError;

pub mod seats;

/// Requests per minute and caller; as many may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitSettings {
    pub join_per_minute: u32,
    pub stream_open_per_minute: u32,
    pub money_per_minute: u32,
    pub coupon_per_minute: u32,
    /// Proxies in front whose `x-forwarded-for` is believed.
    pub trusted_proxies: usize,
}

/// What is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Join,
    StreamOpen,
    Money,
    Coupon,
}

/// The kind a request counts as, if it is counted.
#[must_use]
pub fn kind(method: &Method, path: &str) -> Option<Kind> {
    if *method != Method::POST {
        return None;
    }
    match path {
        "/usher.v1.QueueService/Join" => Some(Kind::Join),
        "/usher.v1.QueueService/Watch" | "/usher.v1.CatalogService/WatchSeatMap" => {
            Some(Kind::StreamOpen)
        }
        "/usher.v1.PaymentService/TopUpWallet"
        | "/usher.v1.PaymentService/PayReservation"
        | "/usher.v1.ReservationService/HoldSeats"
        | "/usher.v1.ReservationService/ExtendHold"
        | "/usher.v1.ReservationService/CancelReservation" => Some(Kind::Money),
        "/usher.v1.CouponService/IssueCoupon" => Some(Kind::Coupon),
        _ => None,
    }
}

/// The peer's address, put into each request by whoever accepted its
/// connection.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddr(pub SocketAddr);

/// Whose bucket a request takes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BucketKey {
    User(UserId),
    V4(Ipv4Addr),
    /// The upper half of an IPv6 address.
    V6Net(u64),
    /// A connection without an address, such as one inside a test.
    Unknown,
}

impl BucketKey {
    /// Of a household, as far as that can be seen.
    #[must_use]
    pub fn of_address(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let bits = u128::from(address) >> 64;
                Self::V6Net(u64::try_from(bits).unwrap_or(u64::MAX))
            }
        }
    }
}

/// The client's address: of `trusted` proxies each appended the peer it saw, so
/// it is that many entries from the right. Without that entry, or with one that
/// is no address, the peer itself counts.
#[must_use]
pub fn client_address(headers: &HeaderMap, peer: Option<IpAddr>, trusted: usize) -> Option<IpAddr> {
    if trusted == 0 {
        return peer;
    }
    let mut entries = Vec::new();
    for value in headers.get_all("x-forwarded-for") {
        // One header that is not text makes the count of entries unsure.
        entries.extend(value.to_str().unwrap_or("?").split(','));
    }
    entries
        .len()
        .checked_sub(trusted)
        .and_then(|index| parse_entry(entries[index].trim()))
        .or(peer)
}

/// An address, perhaps in brackets, with a port or with a zone.
fn parse_entry(entry: &str) -> Option<IpAddr> {
    if let Ok(with_port) = entry.parse::<SocketAddr>() {
        return Some(with_port.ip());
    }
    let bare = entry.trim_start_matches('[').trim_end_matches(']');
    let without_zone = bare.split('%').next().unwrap_or(bare);
    without_zone.parse().ok()
}

/// Finds the bucket of a request.
#[derive(Debug, Clone)]
pub struct BucketOf {
    trusted_proxies: usize,
}

impl KeyExtractor for BucketOf {
    type Key = BucketKey;

    fn extract<T>(&self, request: &Request<T>) -> Result<BucketKey, GovernorError> {
        let caller = Self::user(request).or_else(|| self.address(request));
        Ok(caller.unwrap_or(BucketKey::Unknown))
    }
}

impl BucketOf {
    fn user<T>(request: &Request<T>) -> Option<BucketKey> {
        match request.extensions().get::<Identity>() {
            Some(Identity(Ok(caller))) => Some(BucketKey::User(caller.user.clone())),
            _ => None,
        }
    }

    fn address<T>(&self, request: &Request<T>) -> Option<BucketKey> {
        let extensions = request.extensions();
        let peer = extensions.get::<PeerAddr>().map(|peer| peer.0.ip());
        let peer = peer.or_else(|| {
            let info = extensions.get::<TcpConnectInfo>()?;
            info.remote_addr().map(|address| address.ip())
        });
        let address = client_address(request.headers(), peer, self.trusted_proxies);
        address.map(BucketKey::of_address)
    }
}

type Config = std::sync::Arc<GovernorConfig<BucketOf, NoOpMiddleware>>;

/// The buckets of all callers, shared by all connections.
#[derive(Debug, Clone)]
pub struct RateLimits {
    join: Config,
    stream_open: Config,
    money: Config,
    coupon: Config,
}

impl RateLimits {
    /// A limit of 0 counts as 1 per minute.
    #[must_use]
    pub fn new(settings: &LimitSettings) -> Self {
        let extractor = BucketOf {
            trusted_proxies: settings.trusted_proxies,
        };
        let config = |per_minute: u32| {
            let per_minute = per_minute.max(1);
            let built = GovernorConfigBuilder::default()
                .key_extractor(extractor.clone())
                .period(Duration::from_secs(60) / per_minute)
                .burst_size(per_minute)
                .finish();
            // `None` only for zeros, which cannot be.
            built.map(Config::new)
        };
        let fallback = |per_minute| config(per_minute).or_else(|| config(1));
        match (
            fallback(settings.join_per_minute),
            fallback(settings.stream_open_per_minute),
            fallback(settings.money_per_minute),
            fallback(settings.coupon_per_minute),
        ) {
            (Some(join), Some(stream_open), Some(money), Some(coupon)) => Self {
                join,
                stream_open,
                money,
                coupon,
            },
            _ => unreachable!("a period and a burst above zero"),
        }
    }

    /// Forgets buckets that are full again. To be called about once a minute.
    pub fn prune(&self) {
        for config in self.all() {
            config.limiter().retain_recent();
            config.limiter().shrink_to_fit();
        }
    }

    /// Buckets in memory.
    #[must_use]
    pub fn buckets(&self) -> usize {
        let of_each = self.all().map(|config| config.limiter().len());
        of_each.iter().sum()
    }

    fn all(&self) -> [&Config; 4] {
        [&self.join, &self.stream_open, &self.money, &self.coupon]
    }
}

impl<S: Clone> Layer<S> for RateLimits {
    type Service = RateLimited<S>;

    fn layer(&self, inner: S) -> RateLimited<S> {
        let limited = |config: &Config| {
            GovernorLayer::new(Config::clone(config))
                .error_handler(refuse)
                .layer(inner.clone())
        };
        RateLimited {
            join: limited(&self.join),
            stream_open: limited(&self.stream_open),
            money: limited(&self.money),
            coupon: limited(&self.coupon),
            inner,
        }
    }
}

/// The library tells whole seconds, rounded down.
fn refuse(error: GovernorError) -> Response<Body> {
    let retry_s = match error {
        GovernorError::TooManyRequests { wait_time, .. } => wait_time + 1,
        GovernorError::UnableToExtractKey | GovernorError::Other { .. } => 1,
    };
    respond(EdgeError::RateLimited {
        retry_ms: retry_s * 1_000,
    })
}

type Limited<S> = Governor<BucketOf, NoOpMiddleware, S, Body>;

/// Sends what is counted through the bucket of its kind.
#[derive(Clone)]
pub struct RateLimited<S: Clone> {
    join: Limited<S>,
    stream_open: Limited<S>,
    money: Limited<S>,
    coupon: Limited<S>,
    inner: S,
}

impl<S, B> Service<Request<B>> for RateLimited<S>
where
    S: Service<Request<B>, Response = Response<Body>> + Clone,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, ResponseFuture<S::Future, Body>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let Self {
            join,
            stream_open,
            money,
            coupon,
            ..
        } = self;
        for limited in [join, stream_open, money, coupon] {
            match Service::<Request<B>>::poll_ready(limited, cx) {
                Poll::Ready(Ok(())) => {}
                other => return other,
            }
        }
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let limited = match kind(request.method(), request.uri().path()) {
            None => return Either::Left(self.inner.call(request)),
            Some(Kind::Join) => &mut self.join,
            Some(Kind::StreamOpen) => &mut self.stream_open,
            Some(Kind::Money) => &mut self.money,
            Some(Kind::Coupon) => &mut self.coupon,
        };
        Either::Right(limited.call(request))
    }
}

#[cfg(test)]
mod tests;
