use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::super::buffer::Buffer;
use super::super::entry::MAX_COPIED_BODY;
use super::attached::Attached;
use super::background::{FRAMES_AT_ONCE, Reader, start};
use super::recorder::{Recording, to_bytes};

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
        Attached { attached: Box<Attached<B>>, left: Option<u64> },
        /// From the service, kept whether or not the client reads it.
        Background { read: Reader<B>, left: Option<u64> },
    }
}

impl<B: Body> ResponseBody<B> {
    pub(crate) fn kept(bytes: Bytes) -> Self {
        Self { kind: Kind::Kept { bytes: Some(bytes).filter(|bytes| !bytes.is_empty()) } }
    }

    pub(crate) fn passed(body: B) -> Self {
        Self { kind: Kind::Passed { body } }
    }

    /// Returns `true` if the response is kept only if its body is read.
    pub(crate) fn must_be_read(&self) -> bool {
        match &self.kind {
            Kind::Attached { attached, .. } => attached.is_recording(),
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
    pub(crate) fn recorded(
        cx: &mut Context<'_>,
        body: B,
        mut recording: Recording,
        mut buffer: Buffer,
    ) -> Self {
        // A body that ends short of what its head states must not pass for a whole one.
        let left = recording.declared;
        let mut body = Box::pin(body);
        let over =
            |buffer, next, body| Self::attached(Attached::unrecorded(buffer, next, body), left);
        let mut frames = 0;
        // The first frame is the service's memory, which a server without a cache would hold too.
        while buffer.len() == 0 || buffer.len() < READ_AT_ONCE && buffer.charge().may_read_ahead() {
            if frames == FRAMES_AT_ONCE {
                break;
            }
            frames += 1;
            match body.as_mut().poll_frame(cx).map(|frame| frame.map(to_bytes)) {
                Poll::Pending => break,
                Poll::Ready(None) => return Self::whole(buffer, recording, left),
                Poll::Ready(Some(Err(error))) => return over(buffer, Some(Err(error)), None),
                Poll::Ready(Some(Ok(frame))) => {
                    if let Err(why) = recording.push(&frame, &mut buffer) {
                        recording.give_up(why);
                        return over(buffer, Some(Ok(frame)), Some(body));
                    }
                }
            }
        }
        if body.is_end_stream() {
            return Self::whole(buffer, recording, left);
        }
        match recording.slot() {
            Some(slot) if buffer.own().is_ok() => {
                recording.outlast_head();
                Self { kind: Kind::Background { read: start(buffer, body, recording, slot), left } }
            }
            _ => Self::attached(Attached::recorded(buffer, body, recording), left),
        }
    }

    fn attached(attached: Attached<B>, left: Option<u64>) -> Self {
        Self { kind: Kind::Attached { attached: Box::new(attached), left } }
    }

    /// A body that has been read to its end. One that is not as long as its head says keeps the
    /// size hint that it had.
    fn whole(mut buffer: Buffer, recording: Recording, left: Option<u64>) -> Self {
        let (frame, size) = (buffer.only_frame(), buffer.len() as u64);
        let is_whole = recording.declared.is_none_or(|declared| declared == size);
        // Short ones are copied to the head in any case.
        let short = frame.clone().filter(|frame| frame.len() <= MAX_COPIED_BODY);
        recording.finish(short.unwrap_or_else(|| buffer.freeze()), buffer.charge());
        match frame {
            Some(frame) if is_whole => Self::kept(frame),
            _ => Self::attached(Attached::unrecorded(buffer, None, None), left),
        }
    }

    /// Reads it to its end, or until it is not to be kept any more.
    pub(crate) async fn read_if_recorded(self) {
        let mut body = std::pin::pin!(self);
        let mut frames = 0;
        while body.must_be_read() {
            let frame = poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
            if !matches!(frame, Some(Ok(_))) {
                break;
            }
            frames += 1;
            // A body that is always ready would keep other tasks from running.
            if frames % FRAMES_AT_ONCE == 0 {
                tokio::task::yield_now().await;
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
            KindProj::Background { read, left } => (read.poll_frame(cx), left),
            KindProj::Attached { attached, left } => (attached.poll_frame(cx), left),
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
            // A body that owes bytes has not ended: a server takes one that has for a whole message.
            Kind::Background { left: Some(1..), .. } | Kind::Attached { left: Some(1..), .. } => {
                false
            }
            Kind::Background { read, .. } => read.is_end_stream(),
            Kind::Attached { attached, .. } => attached.is_end_stream(),
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Kept { bytes } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Kind::Passed { body } => body.size_hint(),
            Kind::Background { left, .. } | Kind::Attached { left, .. } => {
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
            Kind::Attached { .. } => "Attached",
            Kind::Background { .. } => "Background",
        };
        f.debug_struct("ResponseBody").field("kind", &kind).finish_non_exhaustive()
    }
}

/// In bytes: what is read before the client gets the first.
const READ_AT_ONCE: usize = 64 * 1024;
