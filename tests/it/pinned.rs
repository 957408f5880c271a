//! A body that is not `Unpin`.

use std::marker::PhantomPinned;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// A body that must not be moved once it has been polled.
    #[derive(Debug)]
    pub(crate) struct Pinned<B> {
        #[pin]
        inner: B,
        #[pin]
        pinned: PhantomPinned,
    }
}

impl<B: Body> Body for Pinned<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().inner.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

pub(crate) fn pinned<B>(inner: B) -> Pinned<B> {
    Pinned { inner, pinned: PhantomPinned }
}
