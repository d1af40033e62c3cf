//! The layers around the services: [`IdentifyLayer`] (who), then the rate limits, then
//! [`AdmitLayer`] (may they).
//!
//! They are apart because a refused caller counts against a limit too, by
//! address. A handler finds the [`Caller`] in the request's extensions; without
//! these layers it finds none and refuses.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use futures_util::future::Either;
use http::{Request, Response};
use tower::{Layer, Service};

use crate::clock::Clock;

use super::super::status::{EdgeError, Refusal};
use super::{Access, Authenticator, Caller, Role, access};

/// What the credentials of a request were worth.
#[derive(Debug, Clone)]
pub struct Identity(pub Result<Caller, EdgeError>);

/// Puts an [`Identity`] into each request that needs one.
#[derive(Clone)]
pub struct IdentifyLayer {
    authenticator: Arc<Authenticator>,
    clock: Arc<dyn Clock>,
}

impl IdentifyLayer {
    #[must_use]
    pub fn new(authenticator: Arc<Authenticator>, clock: Arc<dyn Clock>) -> Self {
        Self {
            authenticator,
            clock,
        }
    }
}

impl<S> Layer<S> for IdentifyLayer {
    type Service = Identify<S>;

    fn layer(&self, inner: S) -> Identify<S> {
        Identify {
            layer: self.clone(),
            inner,
        }
    }
}

#[derive(Clone)]
pub struct Identify<S> {
    layer: IdentifyLayer,
    inner: S,
}

impl<S, B> Service<Request<B>> for Identify<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        match access(request.uri().path()) {
            None | Some(Access::Public) => {}
            Some(Access::User | Access::UserWithPass | Access::Admin) => {
                let now = self.layer.clock.now();
                let caller = self.layer.authenticator.identify(request.headers(), now);
                request.extensions_mut().insert(Identity(caller));
            }
        }
        self.inner.call(request)
    }
}

/// Lets those through who may, with their [`Caller`]; answers the others.
#[derive(Debug, Clone, Copy, Default)]
pub struct AdmitLayer;

impl<S> Layer<S> for AdmitLayer {
    type Service = Admit<S>;

    fn layer(&self, inner: S) -> Admit<S> {
        Admit { inner }
    }
}

#[derive(Debug, Clone)]
pub struct Admit<S> {
    inner: S,
}

impl<S, B> Service<Request<B>> for Admit<S>
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
        let identity = request.extensions_mut().remove::<Identity>();
        match admit(access(request.uri().path()), identity) {
            Ok(caller) => {
                if let Some(caller) = caller {
                    request.extensions_mut().insert(caller);
                }
                Either::Left(self.inner.call(request))
            }
            Err(error) => Either::Right(ready(Ok(respond(error)))),
        }
    }
}

fn admit(access: Option<Access>, identity: Option<Identity>) -> Result<Option<Caller>, EdgeError> {
    let needs_admin = match access {
        None | Some(Access::Public) => return Ok(None),
        Some(Access::User | Access::UserWithPass) => false,
        Some(Access::Admin) => true,
    };
    let Identity(caller) = identity.ok_or(EdgeError::Unauthenticated("not identified"))?;
    let caller = caller?;
    if needs_admin && caller.role != Role::Admin {
        return Err(EdgeError::RoleRequired);
    }
    Ok(Some(caller))
}

/// A refusal as a whole response: trailers only.
pub(in super::super) fn respond(error: EdgeError) -> Response<Body> {
    // Nobody is told to come back here, or only after their own limit's time.
    let status = Refusal::from(error).into_status(0.0);
    status.into_http()
}
