use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::super::body::budget::Charge;

pin_project! {
    /// A request body of which a [`ContentKeyLayer`](super::ContentKeyLayer) may have read a part. It
    /// returns the bytes that were read, as one frame, and then the rest of the inner body with its
    /// trailers or its error.
    pub struct RequestBody<B: Body> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<B: Body> {
        /// The layer has read nothing.
        Unread { #[pin] body: B },
        Read { part: ReadPart<B> },
    }
}

/// The part of a body that the layer has read, and the rest.
pub(super) struct ReadPart<B: Body> {
    pub(super) bytes: Bytes,
    /// The frame or the error that ended the reading, and that is not among the bytes.
    pub(super) next: Option<ReadFrame<B>>,
    /// `None` if the body has ended. In a box, since a body that is not `Unpin` was polled already.
    pub(super) rest: Option<Pin<Box<B>>>,
    /// The memory of the bytes, until the body is dropped.
    pub(super) _charge: Option<Charge>,
}

/// A frame of a body, or the error after which the body has none.
pub(super) type ReadFrame<B> = Result<Frame<<B as Body>::Data>, <B as Body>::Error>;

impl<B: Body> RequestBody<B> {
    pub(super) fn unread(body: B) -> Self {
        Self { kind: Kind::Unread { body } }
    }

    pub(super) fn read(part: ReadPart<B>) -> Self {
        Self { kind: Kind::Read { part } }
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body,
    B::Data: From<Bytes>,
{
    type Data = B::Data;
    type Error = B::Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.project().kind.project() {
            KindProj::Unread { body } => body.poll_frame(cx),
            KindProj::Read { part } => part.poll_frame(cx),
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Unread { body } => body.is_end_stream(),
            Kind::Read { part } => part.is_end_stream(),
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Unread { body } => body.size_hint(),
            Kind::Read { part } => part.size_hint(),
        }
    }
}

impl<B> ReadPart<B>
where
    B: Body,
    B::Data: From<Bytes>,
{
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<ReadFrame<B>>> {
        if !self.bytes.is_empty() {
            let bytes = std::mem::take(&mut self.bytes);
            return Poll::Ready(Some(Ok(Frame::data(bytes.into()))));
        }
        if let Some(next) = self.next.take() {
            // A body that has failed is at its end.
            self.rest = self.rest.take().filter(|_| next.is_ok());
            return Poll::Ready(Some(next));
        }
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        let polled = rest.as_mut().poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.rest = None;
        }
        polled
    }
}

impl<B: Body> ReadPart<B> {
    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
            && self.next.is_none()
            && self.rest.as_ref().is_none_or(|rest| rest.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let next = match &self.next {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Buf::remaining),
            _ => 0,
        };
        let read = (self.bytes.len() + next) as u64;
        let rest = self.rest.as_ref().map_or(SizeHint::with_exact(0), |rest| rest.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(read));
        // Beyond u64::MAX there is no bound to state.
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(read)) {
            hint.set_upper(upper);
        }
        hint
    }
}

impl<B: Body> fmt::Debug for RequestBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = match &self.kind {
            Kind::Unread { .. } => 0,
            Kind::Read { part } => part.bytes.len(),
        };
        f.debug_struct("RequestBody").field("read", &read).finish_non_exhaustive()
    }
}
