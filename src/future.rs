//! The one response future of the thin layers.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Response;
use pin_project_lite::pin_project;

/// What a room does with the inner service's answer.
pub(crate) trait MapResponse<B, E> {
    /// The body that the room answers with.
    type Body;

    /// Turns the inner answer into the room's. `cx` is for a look at the body, which is then
    /// polled on by whoever gets it.
    fn map_response(
        self,
        answer: Result<Response<B>, E>,
        cx: &mut Context<'_>,
    ) -> Result<Response<Self::Body>, E>;
}

pin_project! {
    /// The future of a layer that does not box: it answers at once, or waits for the inner
    /// service's answer and hands it over.
    ///
    /// `F` is the inner service's future, `H` what the layer does with its answer, and `B` the
    /// body that the layer answers with.
    pub struct ResponseFuture<F, H, B> {
        #[pin]
        state: State<F, H, B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, H, B> {
        Now { response: Option<Response<B>> },
        Later { #[pin] inner: F, map_response: Option<H> },
    }
}

impl<F, H, B> ResponseFuture<F, H, B> {
    /// Answers with `response`; the inner service is not called.
    #[cfg(any(feature = "limit", feature = "pressure"))]
    pub(crate) fn now(response: Response<B>) -> Self {
        Self { state: State::Now { response: Some(response) } }
    }

    /// Waits for `inner` and gives its answer to `map_response`.
    pub(crate) fn later(inner: F, map_response: H) -> Self {
        Self { state: State::Later { inner, map_response: Some(map_response) } }
    }
}

impl<F, H, B, InnerB, E> Future for ResponseFuture<F, H, B>
where
    F: Future<Output = Result<Response<InnerB>, E>>,
    H: MapResponse<InnerB, E, Body = B>,
{
    type Output = Result<Response<B>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Now { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response)),
                None => panic!("{POLLED_AGAIN}"),
            },
            StateProj::Later { inner, map_response } => {
                let Poll::Ready(answer) = inner.poll(cx) else { return Poll::Pending };
                let Some(map_response) = map_response.take() else { panic!("{POLLED_AGAIN}") };
                Poll::Ready(map_response.map_response(answer, cx))
            }
        }
    }
}

impl<F, H, B> fmt::Debug for ResponseFuture<F, H, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

pub(crate) const POLLED_AGAIN: &str = "a response future was polled after it was ready";
