//! A request is answered on the thread of its connection; what it leaves behind
//! is not that connection's.
//!
//! A handler may be the one that connects to Redis again, or starts the task
//! that gathers everyone's joins. Such a thing belongs to the runtime of the
//! process, whichever core asked for it first.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tokio::runtime::Handle;
use tower::Service as _;

use crate::app::service::Service;

/// The service, and the runtime to which belongs what it spawns.
#[derive(Clone)]
pub(super) struct Home {
    runtime: Handle,
    service: Service,
}

impl Home {
    /// # Panics
    /// Outside of a runtime.
    pub(super) fn here(service: Service) -> Self {
        Self {
            runtime: Handle::current(),
            service,
        }
    }

    pub(super) fn answer(
        &self,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + Send + use<> {
        let answering = {
            let _home = self.runtime.enter();
            self.service.clone().call(request)
        };
        AtHome {
            runtime: self.runtime.clone(),
            answering,
        }
    }
}

pin_project! {
    struct AtHome<F> {
        runtime: Handle,
        #[pin]
        answering: F,
    }
}

impl<F: Future> Future for AtHome<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _home = this.runtime.enter();
        this.answering.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use axum::routing::get;
    use http_body_util::BodyExt as _;

    use super::super::cores::Cores;
    use super::*;
    use crate::app::tasks::Tasks;

    fn here() -> String {
        thread::current().name().unwrap_or_default().to_owned()
    }

    /// Where it runs, and where what it spawns does.
    async fn threads() -> String {
        let (tell, told) = tokio::sync::oneshot::channel();
        tokio::task::yield_now().await;
        Tasks::new().spawn(async move { tell.send(here()) });
        let spawned = told.await.unwrap_or_default();
        format!("{} {spawned}", here())
    }

    #[test]
    fn what_a_handler_spawns_is_the_process_runtimes() {
        let process = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("process")
            .build()
            .expect("a runtime");
        let cores = Cores::start(1).expect("started");
        let home = {
            let _process = process.enter();
            Home::here(Service::new().route("/", get(threads)))
        };
        let seat = cores.take_seat();
        let answered = seat.runtime().spawn(async move {
            let answer = home.answer(Request::new(Body::empty())).await;
            let body = answer.expect("never refuses").into_body();
            body.collect().await.expect("a body").to_bytes()
        });
        let said = process.block_on(answered).expect("answered");
        assert_eq!(said, "usher-core-0 process");
    }
}
