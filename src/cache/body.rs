use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::record::{Recording, Tap, to_bytes};
use super::shared::Slot;
use super::tape::{FRAMES_AT_ONCE, Queue, Reader, start};

pin_project! {
    /// The body of a response that came from a store, or from the service, in which case it may be
    /// on its way to the store.
    pub struct ResponseBody<B: Body> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<B: Body> {
        /// From the store.
        Kept { bytes: Option<Bytes> },
        /// From the service, and not kept.
        Passed { #[pin] body: B },
        /// From the service, kept as the client reads it. In a box, so that the others are small:
        /// they are moved from layer to layer.
        Tapped { read: Queue<B::Error>, tap: Option<Box<Tap<B>>>, left: Option<u64> },
        /// From the service, kept whether or not the client reads it.
        Taped { tape: Reader<B>, left: Option<u64> },
    }
}

impl<B: Body> ResponseBody<B> {
    pub(super) fn kept(bytes: Bytes) -> Self {
        Self { kind: Kind::Kept { bytes: Some(bytes).filter(|bytes| !bytes.is_empty()) } }
    }

    pub(super) fn passed(body: B) -> Self {
        Self { kind: Kind::Passed { body } }
    }

    /// Whether it is kept only if it is read.
    pub(super) fn must_be_read(&self) -> bool {
        match &self.kind {
            Kind::Tapped { tap, .. } => tap.as_ref().is_some_and(|tap| tap.is_recording()),
            _ => false,
        }
    }
}

impl<B> ResponseBody<B>
where
    B: Body + Send + 'static,
    B::Error: Send,
{
    /// Records a body: what is ready at once, and then the rest, in a task if there is a slot for
    /// one, or else as the client reads.
    pub(super) fn recorded(
        cx: &mut Context<'_>,
        body: B,
        recording: Recording,
        slot: impl FnOnce() -> Option<Slot>,
    ) -> Self {
        let left = body.size_hint().exact();
        let declared = recording.declared;
        let mut tap = Tap::new(body, recording);
        let mut read = VecDeque::new();
        let mut size = 0;
        while tap.is_recording() && size < READ_AT_ONCE && read.len() < FRAMES_AT_ONCE {
            match tap.poll_frame(cx) {
                Poll::Pending => break,
                Poll::Ready(None) => return Self::whole(read, left, declared),
                Poll::Ready(Some(frame)) => {
                    let data = frame.as_ref().ok().and_then(Frame::data_ref);
                    size += data.map_or(0, Bytes::len);
                    read.push_back(frame);
                }
            }
        }
        if tap.is_end_stream() {
            return Self::whole(read, left, declared);
        }
        match tap.is_recording().then(slot).flatten() {
            Some(slot) => Self { kind: Kind::Taped { tape: start(read, tap, slot), left } },
            None => {
                let tap = Some(Box::new(tap.by_client()));
                Self { kind: Kind::Tapped { read, tap, left } }
            }
        }
    }

    /// A body that has been read to its end. One that is not as long as its head says keeps the
    /// size hint that it had.
    fn whole(mut read: Queue<B::Error>, left: Option<u64>, declared: Option<u64>) -> Self {
        let data = |frame: &Result<Frame<Bytes>, B::Error>| {
            frame.as_ref().ok()?.data_ref().map(|data| data.len() as u64)
        };
        let size = if read.is_empty() { Some(0) } else { read.front().and_then(data) };
        let single =
            read.len() <= 1 && size.is_some() && declared.is_none_or(|is| size == Some(is));
        if single {
            let data =
                read.pop_front().and_then(Result::ok).and_then(|frame| frame.into_data().ok());
            return Self::kept(data.unwrap_or_default());
        }
        Self { kind: Kind::Tapped { read, tap: None, left } }
    }

    /// Reads it to its end, or until it is not to be kept any more.
    pub(super) async fn read_if_kept(self) {
        let mut body = std::pin::pin!(self);
        while body.must_be_read() {
            let frame = poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
            if !matches!(frame, Some(Ok(_))) {
                break;
            }
        }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body + Send + 'static,
    B::Error: Send,
{
    type Data = Bytes;
    type Error = B::Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let (frame, left) = match self.project().kind.project() {
            KindProj::Kept { bytes } => {
                return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))));
            }
            KindProj::Passed { body } => {
                return body.poll_frame(cx).map(|frame| frame.map(to_bytes));
            }
            KindProj::Taped { tape, left } => (tape.poll_frame(cx), left),
            KindProj::Tapped { read, tap, left } => match (read.pop_front(), tap) {
                (Some(frame), _) => (Poll::Ready(Some(frame)), left),
                (None, Some(tap)) => (tap.poll_frame(cx), left),
                (None, None) => (Poll::Ready(None), left),
            },
        };
        if let (Poll::Ready(Some(Ok(frame))), Some(left)) = (&frame, left) {
            let sent = frame.data_ref().map_or(0, Bytes::len) as u64;
            *left = left.saturating_sub(sent);
        }
        frame
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Kept { bytes } => bytes.is_none(),
            Kind::Passed { body } => body.is_end_stream(),
            Kind::Taped { tape, .. } => tape.is_end_stream(),
            Kind::Tapped { read, tap, .. } => {
                read.is_empty() && tap.as_ref().is_none_or(|tap| tap.is_end_stream())
            }
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Kept { bytes } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Kind::Passed { body } => body.size_hint(),
            Kind::Taped { left, .. } | Kind::Tapped { left, .. } => {
                left.map_or_else(SizeHint::new, SizeHint::with_exact)
            }
        }
    }
}

impl<B: Body> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Kept { .. } => "Kept",
            Kind::Passed { .. } => "Passed",
            Kind::Tapped { .. } => "Tapped",
            Kind::Taped { .. } => "Taped",
        };
        f.debug_struct("ResponseBody").field("kind", &kind).finish_non_exhaustive()
    }
}

/// In bytes: what is read before the client gets the first.
const READ_AT_ONCE: usize = 64 * 1024;
