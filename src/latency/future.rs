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
use super::in_flight::{AfterHeaders, InFlight};
use super::policy::Outcome;
use super::upgrade::WeakGuard;

pin_project! {
    /// The response future of [`Latency`](super::Latency).
    ///
    /// The future waits until the inner service is ready, calls the service, and waits for the
    /// response. `F` is the future of the inner service, `S` the inner service, `R` the request and
    /// `E` the error of the service.
    // `F` and `E` are parameters and not projections of `S`: where an `async` block has erased the
    // lifetimes in `S`, the compiler cannot prove that a projection is `Send`.
    pub struct ResponseFuture<F, S, R, E> {
        #[pin]
        state: State<F, S, R, E>,
        // `None` if the request is skipped.
        in_flight: Option<InFlight>,
        guard: Option<WeakGuard>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, S, R, E> {
        // Boxed, because a request and a service would enlarge every future for a rare state.
        Waiting { waiting: Option<Box<(S, R)>> },
        Failed { error: Option<E> },
        Called { #[pin] future: F },
    }
}

impl<S, R> ResponseFuture<S::Future, S, R, S::Error>
where
    S: Service<R> + Clone,
{
    /// Creates the future of a request, and calls `inner` at once if it is ready.
    ///
    /// If `inner` is not ready, the future takes the service and leaves a clone in its place: the
    /// service that was polled may hold a position in a queue or a permit.
    #[inline]
    pub(super) fn new(
        inner: &mut S,
        request: R,
        mut in_flight: Option<InFlight>,
        guard: Option<WeakGuard>,
    ) -> Self {
        set_running(&mut in_flight, true);
        // There is no task to wake yet. The future polls the service again with its own waker.
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
        Self { state, in_flight, guard }
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
        let Some(mut in_flight) = this.in_flight.take() else {
            let unrecorded = |body| ResponseBody::new(body, None);
            return Poll::Ready(result.map(|response| response.map(unrecorded)));
        };
        let mut response = match result {
            Ok(response) => response,
            Err(error) => {
                in_flight.fail(&error);
                return Poll::Ready(Err(error));
            }
        };
        in_flight.note_headers(&response);
        let mut declared = None;
        if in_flight.has_callbacks() {
            let (parts, body) = response.into_parts();
            declared = in_flight.run_callbacks(&parts);
            response = Response::from_parts(parts, body);
        }
        match (in_flight.read_headers(&response, declared), this.guard) {
            (AfterHeaders::Body, _) => {
                return Poll::Ready(Ok(response.map(|it| ResponseBody::new(it, Some(in_flight)))));
            }
            (AfterHeaders::End(outcome), _) => in_flight.end(outcome),
            (AfterHeaders::Upgrade, Some(guard)) => guard.hold(in_flight),
            (AfterHeaders::Upgrade, None) => in_flight.end(Outcome::Ok),
        }
        Poll::Ready(Ok(response.map(|body| ResponseBody::new(body, None))))
    }
}

impl<F, S, R, E> fmt::Debug for ResponseFuture<F, S, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

#[inline]
fn set_running(in_flight: &mut Option<InFlight>, running: bool) {
    if let Some(in_flight) = in_flight {
        in_flight.set_running(running);
    }
}

const POLLED_AGAIN: &str = "a response future was polled after it was ready";
