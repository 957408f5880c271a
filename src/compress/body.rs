use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::error::CompressError;
use super::peekable::PeekableBody;
use super::stream::Stream;

pin_project! {
    /// A response body that is the inner body, uncompressed or compressed.
    ///
    /// A body that is compressed while the client reads it holds one frame of the inner body and up
    /// to 8 KiB of output. If the inner body fails, or does not have the length that it declared,
    /// the body ends with a [`CompressError`] and without the end marker of the encoding.
    pub struct ResponseBody<B: Body> {
        #[pin]
        inner: PeekableBody<B>,
        mode: Mode<B::Data>,
    }
}

enum Mode<D> {
    Inner,
    Bodiless,
    Compressed(Option<Bytes>),
    // Boxed, since most bodies are none, and a stream takes hundreds of bytes.
    Stream(Box<Stream<D>>),
}

impl<B: Body> ResponseBody<B> {
    pub(super) fn inner(inner: PeekableBody<B>) -> Self {
        Self { inner, mode: Mode::Inner }
    }

    pub(super) fn bodiless(inner: PeekableBody<B>) -> Self {
        Self { inner, mode: Mode::Bodiless }
    }

    pub(super) fn compressed(mut inner: PeekableBody<B>, bytes: Bytes) -> Self {
        inner.discard();
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
    type Error = CompressError<B::Error>;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        match this.mode {
            Mode::Inner => this.inner.poll_frame(cx).map_err(CompressError::inner),
            Mode::Bodiless => Poll::Ready(None),
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
            Mode::Bodiless => true,
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
            // Bodiless is no exact 0: the server would state that as the length of the GET's body.
            Mode::Bodiless | Mode::Stream(_) => SizeHint::new(),
        }
    }
}

impl<B: Body> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match &self.mode {
            Mode::Inner => "inner",
            Mode::Bodiless => "bodiless",
            Mode::Compressed(_) => "compressed",
            Mode::Stream(_) => "stream",
        };
        f.debug_struct("ResponseBody").field("mode", &mode).finish_non_exhaustive()
    }
}
