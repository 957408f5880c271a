use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;
use tower::Service;

use crate::respond::POLLED_AGAIN;

pin_project! {
    /// A call of a service, which is made as soon as that service is ready.
    pub struct CallWhenReady<S, R>
    where
        S: Service<R>,
    {
        #[pin]
        state: State<S, R>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, R>
    where
        S: Service<R>,
    {
        // Boxed: a request and a service would make every future larger for what is rare.
        Waiting { waiting: Option<Box<(S, R)>> },
        Failed { error: Option<S::Error> },
        Called { #[pin] future: S::Future },
    }
}

impl<S, R> CallWhenReady<S, R>
where
    S: Service<R> + Clone,
{
    /// Calls `inner` now if it is ready. Otherwise the service that has begun to wait, and may
    /// have its place in a queue, moves into the future, and a clone takes its place.
    ///
    /// No task is to be woken yet: the future asks again when it is polled for the first time.
    pub(super) fn new(inner: &mut S, request: R) -> Self {
        let state = match inner.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => State::Called { future: inner.call(request) },
            Poll::Ready(Err(error)) => State::Failed { error: Some(error) },
            Poll::Pending => {
                let clone = inner.clone();
                let waiting = mem::replace(inner, clone);
                State::Waiting { waiting: Some(Box::new((waiting, request))) }
            }
        };
        Self { state }
    }
}

impl<S, R> Future for CallWhenReady<S, R>
where
    S: Service<R>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let future = match state.as_mut().project() {
                StateProj::Called { future } => return future.poll(cx),
                StateProj::Failed { error } => match error.take() {
                    Some(error) => return Poll::Ready(Err(error)),
                    None => panic!("{POLLED_AGAIN}"),
                },
                StateProj::Waiting { waiting } => {
                    let Some(mut pair) = waiting.take() else { panic!("{POLLED_AGAIN}") };
                    match pair.0.poll_ready(cx) {
                        Poll::Pending => {
                            *waiting = Some(pair);
                            return Poll::Pending;
                        }
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Ready(Ok(())) => {
                            let (mut service, request) = *pair;
                            service.call(request)
                        }
                    }
                }
            };
            state.set(State::Called { future });
        }
    }
}

impl<S, R> fmt::Debug for CallWhenReady<S, R>
where
    S: Service<R>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallWhenReady").finish_non_exhaustive()
    }
}
