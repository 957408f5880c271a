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
        mode: Mode<B>,
    }
}

pin_project! {
    // Most responses pass, and every layer outside moves their body: they have little but the body.
    #[project = ModeProj]
    enum Mode<B: Body> {
        // Not polled again after its end, which callers may do and bodies need not expect.
        Passed { #[pin] body: B, has_ended: bool },
        // The body of a response that was read ahead to decide about it.
        Peeked { body: Pin<Box<PeekableBody<B>>> },
        // The inner body is kept until the server drops this one.
        Bodiless { inner: B },
        Compressed { bytes: Option<Bytes>, inner: Pin<Box<PeekableBody<B>>> },
        Stream { stream: Box<Stream<B::Data>>, inner: Pin<Box<PeekableBody<B>>> },
    }
}

impl<B: Body> ResponseBody<B> {
    pub(super) fn passed(body: B) -> Self {
        Self { mode: Mode::Passed { body, has_ended: false } }
    }

    pub(super) fn peeked(body: Pin<Box<PeekableBody<B>>>) -> Self {
        Self { mode: Mode::Peeked { body } }
    }

    pub(super) fn bodiless(inner: B) -> Self {
        Self { mode: Mode::Bodiless { inner } }
    }

    pub(super) fn compressed(mut inner: Pin<Box<PeekableBody<B>>>, bytes: Bytes) -> Self {
        inner.as_mut().discard();
        Self { mode: Mode::Compressed { bytes: Some(bytes), inner } }
    }

    pub(super) fn stream(inner: Pin<Box<PeekableBody<B>>>, stream: Stream<B::Data>) -> Self {
        Self { mode: Mode::Stream { stream: Box::new(stream), inner } }
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
        match self.project().mode.project() {
            ModeProj::Passed { has_ended: true, .. } => Poll::Ready(None),
            ModeProj::Passed { body, has_ended } => {
                let polled = body.poll_frame(cx);
                *has_ended = matches!(polled, Poll::Ready(None | Some(Err(_))));
                polled.map_err(CompressError::inner)
            }
            ModeProj::Peeked { body } => body.as_mut().poll_frame(cx).map_err(CompressError::inner),
            ModeProj::Bodiless { .. } => Poll::Ready(None),
            ModeProj::Compressed { bytes, .. } => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes.into()))))
            }
            ModeProj::Stream { stream, inner } => stream.poll(inner.as_mut(), cx),
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match &self.mode {
            Mode::Passed { body, has_ended } => *has_ended || body.is_end_stream(),
            Mode::Peeked { body } => body.is_end_stream(),
            Mode::Bodiless { .. } => true,
            Mode::Compressed { bytes, .. } => bytes.is_none(),
            Mode::Stream { stream, .. } => stream.has_ended(),
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match &self.mode {
            Mode::Passed { body, .. } => body.size_hint(),
            Mode::Peeked { body } => body.size_hint(),
            Mode::Compressed { bytes, .. } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            // Bodiless is no exact 0: the server would state that as the length of the GET's body.
            Mode::Bodiless { .. } | Mode::Stream { .. } => SizeHint::new(),
        }
    }
}

impl<B: Body> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match &self.mode {
            Mode::Passed { .. } => "passed",
            Mode::Peeked { .. } => "peeked",
            Mode::Bodiless { .. } => "bodiless",
            Mode::Compressed { .. } => "compressed",
            Mode::Stream { .. } => "stream",
        };
        f.debug_struct("ResponseBody").field("mode", &mode).finish_non_exhaustive()
    }
}
