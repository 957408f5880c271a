use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::in_flight::InFlight;

pin_project! {
    /// The response body of [`Latency`](super::Latency), which records the request when the body
    /// ends, fails or is dropped.
    ///
    /// Data, errors, trailers and the size hint of the inner body pass unchanged.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        inner: B,
        // `None` once the request is recorded, or if it is skipped.
        in_flight: Option<InFlight>,
    }
}

impl<B> ResponseBody<B> {
    pub(super) fn new(inner: B, in_flight: Option<InFlight>) -> Self {
        Self { inner, in_flight }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body,
    B::Error: 'static,
{
    type Data = B::Data;
    type Error = B::Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let Some(in_flight) = this.in_flight else { return this.inner.poll_frame(cx) };
        in_flight.set_running(true);
        let polled = this.inner.as_mut().poll_frame(cx);
        if let Some(outcome) = in_flight.after_poll(&polled, &*this.inner) {
            if let Some(in_flight) = this.in_flight.take() {
                in_flight.end(outcome);
            }
        }
        polled
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
