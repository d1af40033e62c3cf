//! How many of something one caller may have at once: the streams of a user and
//! of an address on this node, and for the transport the connections of an
//! address.
//!
//! [`super`] limits how often streams are opened, this how many stay. A stream
//! is counted from its request to its end: its handler takes the [`Seat`] out
//! of the request and keeps it with the stream.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::Body;
use futures_util::future::{Either, Ready, ready};
use http::{Extensions, Request, Response};
use metrics::Counter;
use tower::{Layer, Service};

use super::super::auth::gate::respond;
use super::super::status::EdgeError;
use super::{BucketKey, BucketOf, Kind, kind};

const SHARDS: usize = 16;

/// So many seats for each caller. Only those who have one are remembered.
pub struct Seats {
    /// 0: no limit, and nobody is counted.
    max: usize,
    refused: Counter,
    hasher: RandomState,
    shards: [Mutex<HashMap<BucketKey, usize>>; SHARDS],
}

impl Seats {
    #[must_use]
    pub fn new(max: usize, refused: Counter) -> Self {
        Self {
            max,
            refused,
            hasher: RandomState::new(),
            shards: Default::default(),
        }
    }

    fn shard(&self, key: &BucketKey) -> MutexGuard<'_, HashMap<BucketKey, usize>> {
        let index = self.hasher.hash_one(key) as usize % SHARDS;
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// None: all are taken. Whoever is not known has no limit.
    pub fn take(self: &Arc<Self>, key: Option<BucketKey>) -> Option<Seat> {
        let key = key.filter(|_| self.max > 0);
        if key.as_ref().is_some_and(|key| !self.count(key)) {
            self.refused.increment(1);
            return None;
        }
        let seats = Arc::clone(self);
        Some(Seat { seats, key })
    }

    fn count(&self, key: &BucketKey) -> bool {
        let mut shard = self.shard(key);
        let taken = shard.entry(key.clone()).or_insert(0);
        let is_free = *taken < self.max;
        *taken += usize::from(is_free);
        is_free
    }

    fn give_back(&self, key: BucketKey) {
        if let Entry::Occupied(mut taken) = self.shard(&key).entry(key) {
            *taken.get_mut() -= 1;
            if *taken.get() == 0 {
                taken.remove();
            }
        }
    }
}

/// One of a caller's; dropping it makes room for another.
pub struct Seat {
    seats: Arc<Seats>,
    key: Option<BucketKey>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.seats.give_back(key);
        }
    }
}

/// The seats of a stream: its user's and its address's.
pub struct StreamSeat {
    _of_user: Seat,
    _of_address: Seat,
}

impl StreamSeat {
    /// Of the request of a stream, to be kept for as long as it lives.
    pub(in crate::grpc) fn of(extensions: &mut Extensions) -> Option<Arc<Self>> {
        extensions.remove()
    }
}

/// The streams of all callers, shared by all connections.
#[derive(Clone)]
pub struct StreamSeats {
    users: Arc<Seats>,
    addresses: Arc<Seats>,
    callers: BucketOf,
}

impl StreamSeats {
    /// `trusted_proxies`: in front, whose `x-forwarded-for` is believed.
    #[must_use]
    pub fn new(users: Seats, addresses: Seats, trusted_proxies: usize) -> Self {
        Self {
            users: Arc::new(users),
            addresses: Arc::new(addresses),
            callers: BucketOf { trusted_proxies },
        }
    }

    fn take<B>(&self, request: &Request<B>) -> Option<StreamSeat> {
        Some(StreamSeat {
            _of_address: self.addresses.take(self.callers.address(request))?,
            _of_user: self.users.take(BucketOf::user(request))?,
        })
    }
}

impl<S> Layer<S> for StreamSeats {
    type Service = Seated<S>;

    fn layer(&self, inner: S) -> Seated<S> {
        Seated {
            seats: self.clone(),
            inner,
        }
    }
}

/// Gives each request of a stream its seat, or refuses it.
#[derive(Clone)]
pub struct Seated<S> {
    seats: StreamSeats,
    inner: S,
}

impl<S, B> Service<Request<B>> for Seated<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if kind(request.method(), request.uri().path()) == Some(Kind::StreamOpen) {
            let Some(seat) = self.seats.take(&request) else {
                return Either::Right(ready(Ok(respond(EdgeError::TooManyStreams))));
            };
            request.extensions_mut().insert(Arc::new(seat));
        }
        Either::Left(self.inner.call(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> BucketKey {
        BucketKey::User(crate::domain::ids::UserId::parse(name).expect("a name"))
    }

    fn seats(max: usize) -> Arc<Seats> {
        Arc::new(Seats::new(max, Counter::noop()))
    }

    #[test]
    fn each_has_so_many_and_gets_back_what_is_given_back() {
        let seats = seats(2);
        let take = |name| seats.take(Some(user(name)));
        let (first, second) = (take("anna"), take("anna"));
        assert!(first.is_some() && second.is_some());
        assert!(take("anna").is_none(), "a third");
        assert!(take("ben").is_some(), "another's are its own");
        drop(first);
        assert!(take("anna").is_some());
    }

    #[test]
    fn who_has_none_is_forgotten() {
        let seats = seats(1);
        for name in ["anna", "ben"] {
            let seat = seats.take(Some(user(name)));
            assert!(seats.take(Some(user(name))).is_none());
            drop(seat);
        }
        let remembered = |shard: &Mutex<HashMap<_, _>>| shard.lock().expect("whole").len();
        assert_eq!(seats.shards.iter().map(remembered).sum::<usize>(), 0);
    }

    #[test]
    fn without_a_limit_and_for_the_unknown_nobody_is_counted() {
        let unlimited = seats(0);
        let taken: Vec<_> = (0..100)
            .map(|_| unlimited.take(Some(user("anna"))))
            .collect();
        assert!(taken.iter().all(Option::is_some));
        let limited = seats(1);
        assert!(limited.take(None).is_some() && limited.take(None).is_some());
    }
}
