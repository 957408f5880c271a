use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::error::BodyError;
use super::peekable::PeekableBody;
use super::stream::Stream;

pin_project! {
    /// The service's body: as it is, or compressed at once, or compressed as it comes.
    ///
    /// A compressed stream holds one frame of the inner body and 8 KiB of what came out. Where the
    /// inner body fails, or is not of the length that it declared, it ends with a [`BodyError`] and
    /// without the coding's own end.
    pub struct ResponseBody<B: Body> {
        #[pin]
        inner: PeekableBody<B>,
        mode: Mode<B::Data>,
    }
}

enum Mode<D> {
    Inner,
    Nothing,
    Compressed(Option<Bytes>),
    Stream(Box<Stream<D>>),
}

impl<B: Body> ResponseBody<B> {
    pub(super) fn inner(inner: PeekableBody<B>) -> Self {
        Self { inner, mode: Mode::Inner }
    }

    pub(super) fn bodiless(inner: PeekableBody<B>) -> Self {
        Self { inner, mode: Mode::Nothing }
    }

    pub(super) fn compressed(mut inner: PeekableBody<B>, bytes: Bytes) -> Self {
        inner.forget();
        Self { inner, mode: Mode::Compressed(Some(bytes)) }
    }

    pub(super) fn stream(inner: PeekableBody<B>, stream: Stream<B::Data>) -> Self {
        Self { inner, mode: Mode::Stream(Box::new(stream)) }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body,
    B::Data: From<Bytes>,
{
    type Data = B::Data;
    type Error = BodyError<B::Error>;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        match this.mode {
            Mode::Inner => this.inner.poll_frame(cx).map_err(BodyError::inner),
            Mode::Nothing => Poll::Ready(None),
            Mode::Compressed(bytes) => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes.into()))))
            }
            Mode::Stream(stream) => stream.poll(this.inner, cx),
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match &self.mode {
            Mode::Inner => self.inner.is_end_stream(),
            Mode::Nothing => true,
            Mode::Compressed(bytes) => bytes.is_none(),
            Mode::Stream(stream) => stream.has_ended(),
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match &self.mode {
            Mode::Inner => self.inner.size_hint(),
            Mode::Compressed(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            // That of nothing too: the server would state a length of 0.
            Mode::Nothing | Mode::Stream(_) => SizeHint::new(),
        }
    }
}

impl<B: Body> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match &self.mode {
            Mode::Inner => "inner",
            Mode::Nothing => "nothing",
            Mode::Compressed(_) => "compressed",
            Mode::Stream(_) => "stream",
        };
        f.debug_struct("ResponseBody").field("mode", &mode).finish_non_exhaustive()
    }
}
