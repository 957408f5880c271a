use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::ops::Range;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::super::entry::MAX_COPIED_BODY;
use super::attached::Attached;
use super::background::{FRAMES_AT_ONCE, start};
use super::buffer::Buffer;
use super::error::BodyError;
use super::recorder::{Recording, to_bytes};
use super::shared::{BoxedBody, Reader};

pin_project! {
    /// The response body of [`Cache`](crate::cache::Cache): a stored body, or the body of the inner
    /// service, which may be on its way to the store.
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<B> {
        /// A stored body.
        Kept { bytes: Option<Bytes> },
        /// The body of the inner service, which is not recorded.
        Passed { #[pin] body: B },
        /// A body that is recorded, or was, and the bytes that its head states and that are left. In
        /// a box, so that the other kinds are small: layers move bodies.
        Recorded { source: Box<Source>, left: Option<u64> },
        /// A range of a body: the bytes before it that are left out, and the bytes of it that are left.
        Cut { body: Pin<Box<ResponseBody<B>>>, skip: u64, left: u64 },
    }
}

/// The source of a body that is recorded.
#[expect(clippy::large_enum_variant, reason = "it is in a box, and most sources are attached")]
enum Source {
    /// The client reads the body of the inner service.
    Attached(Attached),
    /// A task reads the body, for this client and perhaps for others.
    Shared(Reader),
}

pin_project! {
    /// Erases the type of a body.
    struct Erased<B> {
        #[pin]
        body: B,
    }
}

/// A body that is recorded for the store, or was.
pub(crate) struct Recorded<B> {
    pub(crate) body: ResponseBody<B>,
    /// The body has been read, and the store has the response already.
    pub(crate) is_stored: bool,
}

impl<B> ResponseBody<B> {
    pub(crate) fn kept(bytes: Bytes) -> Self {
        Self { kind: Kind::Kept { bytes: Some(bytes).filter(|bytes| !bytes.is_empty()) } }
    }

    pub(crate) fn passed(body: B) -> Self {
        Self { kind: Kind::Passed { body } }
    }

    /// Returns a body that another request fetches. `left` is its length in bytes, if its head states
    /// one.
    pub(crate) fn shared(reader: Reader, left: Option<u64>) -> Self {
        Self { kind: Kind::Recorded { source: Box::new(Source::Shared(reader)), left } }
    }

    /// Returns the bytes of a range. The rest of a body that a task reads is read all the same.
    pub(crate) fn cut(self, range: Range<u64>) -> Self {
        let (skip, left) = (range.start, range.end.saturating_sub(range.start));
        Self { kind: Kind::Cut { body: Box::pin(self), skip, left } }
    }

    /// Returns `true` if the response is stored only if its body is read.
    pub(crate) fn must_be_read(&self) -> bool {
        match &self.kind {
            Kind::Recorded { source, .. } => source.must_be_read(),
            Kind::Cut { body, .. } => body.must_be_read(),
            Kind::Kept { .. } | Kind::Passed { .. } => false,
        }
    }
}

impl<B> ResponseBody<B>
where
    B: Body + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Records a body: what is ready at once, and then the rest, in a task if there is a slot for
    /// one, or else as the client reads.
    pub(crate) fn recorded(
        cx: &mut Context<'_>,
        body: B,
        mut recording: Recording,
        mut buffer: Buffer,
    ) -> Recorded<B> {
        let pending = |body| Recorded { body, is_stored: false };
        // A body that ends short of what its head states must not pass for a whole one.
        let left = recording.declared;
        let mut body: BoxedBody = Box::pin(Erased { body });
        let over = |buffer, next, body| {
            pending(Self::attached(Attached::unrecorded(buffer, next, body), left))
        };
        let mut frames = 0;
        // The first frame is memory of the inner service, which a server without a cache would hold
        // too.
        while buffer.len() == 0 || buffer.len() < READ_AT_ONCE && buffer.charge().may_read_ahead() {
            if frames == FRAMES_AT_ONCE {
                break;
            }
            frames += 1;
            match body.as_mut().poll_frame(cx) {
                Poll::Pending => break,
                Poll::Ready(None) => return Self::whole(buffer, recording),
                Poll::Ready(Some(Err(error))) => return over(buffer, Some(Err(error)), None),
                Poll::Ready(Some(Ok(frame))) => {
                    if let Err(why) = recording.push(&frame, &mut buffer) {
                        recording.abandon(why);
                        return over(buffer, Some(Ok(frame)), Some(body));
                    }
                    buffer.charge().set_unread(buffer.len() as u64);
                }
            }
        }
        if body.is_end_stream() {
            return Self::whole(buffer, recording);
        }
        let Some(slot) = recording.slot() else {
            return pending(Self::attached(Attached::recorded(buffer, body, recording), left));
        };
        buffer.own();
        pending(Self::shared(start(buffer, body, recording, slot), left))
    }

    fn attached(attached: Attached, left: Option<u64>) -> Self {
        Self { kind: Kind::Recorded { source: Box::new(Source::Attached(attached)), left } }
    }

    /// Returns a body that was read to its end. One that is not as long as its head says keeps the
    /// size hint that it had.
    fn whole(mut buffer: Buffer, recording: Recording) -> Recorded<B> {
        let (frame, left, size) = (buffer.only_frame(), recording.declared, buffer.len() as u64);
        let is_whole = left.is_none_or(|declared| declared == size);
        // A short body is copied when it is stored.
        let is_stored = match frame.clone().filter(|frame| frame.len() <= MAX_COPIED_BODY) {
            Some(short) => recording.finish(short, buffer.charge()),
            None => match buffer.freeze(0) {
                Ok((body, charge)) => recording.finish(body, &charge),
                Err(over) => {
                    recording.abandon(over.into());
                    false
                }
            },
        };
        let body = match frame {
            Some(frame) if is_whole => Self::kept(frame),
            _ => Self::attached(Attached::unrecorded(buffer, None, None), left),
        };
        Recorded { body, is_stored }
    }
}

impl<B> ResponseBody<B>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Reads the body to its end, or until it is not recorded any more, if nobody else reads it.
    pub(crate) async fn read_if_recorded(self) {
        let mut body = pin!(self);
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
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = BodyError;

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
            KindProj::Recorded { source, left } => (source.poll_frame(cx), left),
            KindProj::Cut { body, skip, left } => return poll_cut(body, cx, skip, left),
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
            Kind::Recorded { left: Some(1..), .. } => false,
            Kind::Recorded { source, .. } => source.is_end_stream(),
            // Until then the body owes bytes, as above.
            Kind::Cut { left, .. } => *left == 0,
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Kept { bytes } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Kind::Passed { body } => body.size_hint(),
            Kind::Recorded { left, .. } => left.map_or_else(SizeHint::new, SizeHint::with_exact),
            Kind::Cut { left, .. } => SizeHint::with_exact(*left),
        }
    }
}

impl Source {
    fn must_be_read(&self) -> bool {
        match self {
            Self::Attached(attached) => attached.is_recording(),
            Self::Shared(_) => false,
        }
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::Attached(attached) => attached.poll_frame(cx),
            Self::Shared(reader) => reader.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Attached(attached) => attached.is_end_stream(),
            Self::Shared(reader) => reader.is_end_stream(),
        }
    }
}

impl<B> Body for Erased<B>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.project().body.poll_frame(cx).map(|frame| frame.map(to_bytes))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Kept { .. } => "Kept",
            Kind::Passed { .. } => "Passed",
            Kind::Recorded { .. } => "Recorded",
            Kind::Cut { .. } => "Cut",
        };
        f.debug_struct("ResponseBody").field("kind", &kind).finish_non_exhaustive()
    }
}

/// Polls the next bytes of a range. Its body ends with them, and has no trailers.
fn poll_cut<B>(
    body: &mut Pin<Box<ResponseBody<B>>>,
    cx: &mut Context<'_>,
    skip: &mut u64,
    left: &mut u64,
) -> Poll<Option<Result<Frame<Bytes>, BodyError>>>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    while *left > 0 {
        let mut data = match ready!(body.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => data,
                // They are those of the whole body.
                Err(_) => continue,
            },
            // A body that ends here owes bytes, which its server sees by the length.
            other => return Poll::Ready(other),
        };
        let within = |number: u64, data: &Bytes| {
            usize::try_from(number).unwrap_or(usize::MAX).min(data.len())
        };
        let skipped = data.split_to(within(*skip, &data));
        *skip -= skipped.len() as u64;
        data.truncate(within(*left, &data));
        *left -= data.len() as u64;
        if !data.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }
    Poll::Ready(None)
}

/// The bytes that are read before the client gets the first.
const READ_AT_ONCE: usize = 64 * 1024;
