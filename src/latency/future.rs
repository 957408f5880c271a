use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;
use tower::Service;

use super::body::ResponseBody;
use super::watch::InFlight;

pin_project! {
    /// The future of [`Latency`](super::Latency). It waits for the inner service to be ready, if
    /// that is not, and then for its response.
    ///
    /// `F` is the future of the inner service `S`, `E` its error and `R` the request. They are
    /// parameters, and no projections of `S`, since the compiler cannot tell of projections whether
    /// they are `Send` where an `async` block has erased the lifetimes in them.
    pub struct ResponseFuture<F, S, R, E> {
        #[pin]
        state: State<F, S, R, E>,
        // Empty for a request that is skipped.
        in_flight: Option<InFlight>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, S, R, E> {
        // Boxed: a request and a service would make every future larger for what is rare.
        Waiting { waiting: Option<Box<(S, R)>> },
        Failed { error: Option<E> },
        Called { #[pin] future: F },
    }
}

impl<S, R> ResponseFuture<S::Future, S, R, S::Error>
where
    S: Service<R> + Clone,
{
    /// Calls `inner` now if it is ready. Otherwise the service that has begun to wait, and may
    /// have its place in a queue, moves into the future, and a clone takes its place.
    #[inline]
    pub(super) fn new(inner: &mut S, request: R, mut in_flight: Option<InFlight>) -> Self {
        // Before the service runs, so that a panic in there is seen.
        set_running(&mut in_flight, true);
        // There is no task to wake yet: the future asks again when it is polled.
        let state = match inner.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => State::Called { future: inner.call(request) },
            Poll::Ready(Err(error)) => State::Failed { error: Some(error) },
            Poll::Pending => {
                let clone = inner.clone();
                let waiting = mem::replace(inner, clone);
                State::Waiting { waiting: Some(Box::new((waiting, request))) }
            }
        };
        set_running(&mut in_flight, false);
        Self { state, in_flight }
    }
}

impl<S, R> State<S::Future, S, R, S::Error>
where
    S: Service<R>,
{
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<S::Response, S::Error>> {
        loop {
            let future = match self.as_mut().project() {
                StateProj::Called { future } => return future.poll(cx),
                StateProj::Failed { error } => match error.take() {
                    Some(error) => return Poll::Ready(Err(error)),
                    None => panic!("{POLLED_AGAIN}"),
                },
                StateProj::Waiting { waiting } => {
                    let Some(pair) = waiting else { panic!("{POLLED_AGAIN}") };
                    let polled = pair.0.poll_ready(cx);
                    if polled.is_pending() {
                        return Poll::Pending;
                    }
                    let Some(pair) = waiting.take() else { panic!("{POLLED_AGAIN}") };
                    if let Poll::Ready(Err(error)) = polled {
                        return Poll::Ready(Err(error));
                    }
                    let (mut service, request) = *pair;
                    service.call(request)
                }
            };
            self.set(Self::Called { future });
        }
    }
}

impl<S, R, B> Future for ResponseFuture<S::Future, S, R, S::Error>
where
    S: Service<R, Response = Response<B>>,
    S::Error: 'static,
    B: Body,
{
    type Output = Result<Response<ResponseBody<B>>, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        set_running(this.in_flight, true);
        let polled = this.state.poll(cx);
        set_running(this.in_flight, false);
        let Poll::Ready(result) = polled else { return Poll::Pending };
        let Some(in_flight) = this.in_flight.take() else {
            let unmeasured = |body| ResponseBody::new(body, None);
            return Poll::Ready(result.map(|response| response.map(unmeasured)));
        };
        Poll::Ready(match result {
            Ok(response) => Ok(in_flight.respond(response)),
            Err(error) => {
                in_flight.fail(&error);
                Err(error)
            }
        })
    }
}

impl<F, S, R, E> fmt::Debug for ResponseFuture<F, S, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

#[inline]
fn set_running(in_flight: &mut Option<InFlight>, is_running: bool) {
    if let Some(in_flight) = in_flight {
        in_flight.set_running(is_running);
    }
}

const POLLED_AGAIN: &str = "a response future was polled after it was ready";
