//! The response future of the layers that do not box.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Response;
use pin_project_lite::pin_project;

/// The work of a layer once the inner service has responded.
pub(crate) trait MapResponse<B, E> {
    /// The response body of the layer.
    type Body;

    /// Turns the result of the inner service into that of the layer. `cx` allows one poll of the
    /// body, which the caller of the layer goes on polling.
    fn map_response(
        self,
        result: Result<Response<B>, E>,
        cx: &mut Context<'_>,
    ) -> Result<Response<Self::Body>, E>;
}

pin_project! {
    /// A future that responds at once, or waits for the inner service and maps its result.
    ///
    /// `F` is the future of the inner service, `M` the mapping, and `B` the response body of the
    /// layer.
    pub struct ResponseFuture<F, M, B> {
        #[pin]
        state: State<F, M, B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, M, B> {
        Now { response: Option<Response<B>> },
        Later { #[pin] inner: F, map_response: Option<M> },
    }
}

impl<F, M, B> ResponseFuture<F, M, B> {
    /// Creates a future that responds with `response`.
    pub(crate) fn now(response: Response<B>) -> Self {
        Self { state: State::Now { response: Some(response) } }
    }

    /// Creates a future that waits for `inner` and maps its result.
    pub(crate) fn later(inner: F, map_response: M) -> Self {
        Self { state: State::Later { inner, map_response: Some(map_response) } }
    }
}

impl<F, M, B, InnerB, E> Future for ResponseFuture<F, M, B>
where
    F: Future<Output = Result<Response<InnerB>, E>>,
    M: MapResponse<InnerB, E, Body = B>,
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
                let Poll::Ready(result) = inner.poll(cx) else { return Poll::Pending };
                let Some(map) = map_response.take() else { panic!("{POLLED_AGAIN}") };
                Poll::Ready(map.map_response(result, cx))
            }
        }
    }
}

impl<F, M, B> fmt::Debug for ResponseFuture<F, M, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

pub(crate) const POLLED_AGAIN: &str = "a response future was polled after it was ready";
