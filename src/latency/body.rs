use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::watch::Watched;

pin_project! {
    /// The service's body, watched to its end: the last byte, an error, or the client leaving.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        inner: B,
        watched: Option<Watched>,
    }
}

impl<B> ResponseBody<B> {
    pub(super) fn new(inner: B, watched: Option<Watched>) -> Self {
        Self { inner, watched }
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
        let Some(watched) = this.watched else { return this.inner.poll_frame(cx) };
        watched.before_poll();
        let polled = this.inner.as_mut().poll_frame(cx);
        if let Some(outcome) = watched.after_poll(&polled, this.inner.is_end_stream()) {
            if let Some(watched) = this.watched.take() {
                watched.end(outcome);
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
