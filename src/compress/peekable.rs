use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// A body of which some is read already, and which stays at its end once it is there.
    pub(super) struct PeekableBody<B: Body> {
        #[pin]
        inner: Inner<B>,
        read: VecDeque<Result<Frame<B::Data>, B::Error>>,
        ended: bool,
        // The size that the inner body promised before some of it was read, less what was given.
        promised: Option<SizeHint>,
    }
}

pin_project! {
    #[project = InnerProjection]
    enum Inner<B> {
        Plain { #[pin] body: B },
        // One that is not `Unpin` can be moved after it has been polled.
        Boxed { body: Pin<Box<B>> },
    }
}

impl<B: Body> PeekableBody<B> {
    /// A body that is passed on, and not read ahead.
    pub(super) fn plain(body: B) -> Self {
        Self::new(Inner::Plain { body })
    }

    /// A body that may be read ahead.
    pub(super) fn boxed(body: B) -> Self {
        Self::new(Inner::Boxed { body: Box::pin(body) })
    }

    fn new(inner: Inner<B>) -> Self {
        Self { inner, read: VecDeque::new(), ended: false, promised: None }
    }

    /// Reads all of the body, if it is ready now and has exactly `size` bytes of data in a few
    /// frames, each in one piece, and nothing else. What it read is given again in any case.
    pub(super) fn read_whole(&mut self, size: usize, cx: &mut Context<'_>) -> bool {
        self.promised = Some(self.inner.get().size_hint());
        let mut left = size;
        while !(self.ended || self.inner.get().is_end_stream()) {
            if self.read.len() == MAX_FRAMES {
                return false;
            }
            let frame = match self.inner.poll_ahead(cx) {
                Poll::Pending => return false,
                Poll::Ready(None) => break,
                Poll::Ready(Some(frame)) => frame,
            };
            self.ended = frame.is_err();
            let data = frame.as_ref().ok().and_then(Frame::data_ref);
            let in_one_piece = data.filter(|data| data.chunk().len() == data.remaining());
            let fits = in_one_piece.and_then(|data| left.checked_sub(data.remaining()));
            self.read.push_back(frame);
            match fits {
                Some(rest) => left = rest,
                None => return false,
            }
        }
        self.ended = true;
        left == 0
    }

    /// Reads the body until it ends, pauses, fails, or has `limit` bytes of data. Returns `true` if
    /// it ended below the limit. What it read is given again.
    pub(super) fn read_below(&mut self, limit: usize, cx: &mut Context<'_>) -> bool
    where
        B::Data: From<Bytes>,
    {
        self.promised = Some(self.inner.get().size_hint());
        let mut size = 0;
        for _ in 0..MAX_POLLS {
            if self.inner.get().is_end_stream() {
                self.ended = true;
                return true;
            }
            let frame = match self.inner.poll_ahead(cx) {
                Poll::Pending => return false,
                Poll::Ready(None) => {
                    self.ended = true;
                    return true;
                }
                Poll::Ready(Some(frame)) => frame,
            };
            let Some(data) = frame.as_ref().ok().and_then(Frame::data_ref) else {
                self.ended = frame.is_err();
                self.read.push_back(frame);
                // Behind trailers comes nothing but the end.
                return !self.ended;
            };
            size += data.remaining();
            if data.has_remaining() {
                self.read.push_back(frame);
            }
            if size >= limit {
                return false;
            }
            if self.read.len() == MAX_FRAMES {
                self.join(size);
            }
        }
        false
    }

    /// Makes one frame of the `size` bytes of data that were read.
    fn join(&mut self, size: usize)
    where
        B::Data: From<Bytes>,
    {
        let mut joined = BytesMut::with_capacity(size);
        for frame in self.read.drain(..).flatten() {
            if let Ok(data) = frame.into_data() {
                joined.put(data);
            }
        }
        self.read.push_back(Ok(Frame::data(joined.freeze().into())));
    }

    /// Drops what was read.
    pub(super) fn forget(&mut self) {
        self.read = VecDeque::new();
    }

    /// Returns the data that was read.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.read.iter().filter_map(|frame| frame.as_ref().ok()?.data_ref().map(Buf::chunk))
    }
}

impl<B: Body> Inner<B> {
    fn get(&self) -> &B {
        match self {
            Self::Plain { body } => body,
            Self::Boxed { body } => body,
        }
    }

    /// Polls a body before it has its place in memory: a boxed one. Any other is pending.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Polled<B> {
        match self {
            Self::Plain { .. } => Poll::Pending,
            Self::Boxed { body } => body.as_mut().poll_frame(cx),
        }
    }

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled<B> {
        match self.project() {
            InnerProjection::Plain { body } => body.poll_frame(cx),
            InnerProjection::Boxed { body } => body.as_mut().poll_frame(cx),
        }
    }
}

type Polled<B> = Poll<Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>>;

impl<B: Body> Body for PeekableBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let polled = match this.read.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None if *this.ended => Poll::Ready(None),
            None => {
                let polled = this.inner.poll_frame(cx);
                *this.ended = matches!(polled, Poll::Ready(None | Some(Err(_))));
                polled
            }
        };
        if let (Some(promised), Poll::Ready(Some(Ok(frame)))) = (this.promised, &polled) {
            if let Some(data) = frame.data_ref() {
                *promised = less(promised, data.remaining() as u64);
            }
        }
        polled
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && (self.ended || self.inner.get().is_end_stream())
    }

    /// Returns what the inner body promises, also where it is known by now that it does not keep
    /// that: a server which learned the true size would send it beside the declared length.
    #[inline]
    fn size_hint(&self) -> SizeHint {
        match &self.promised {
            Some(promised) => less(promised, 0),
            None => self.inner.get().size_hint(),
        }
    }
}

fn less(hint: &SizeHint, given: u64) -> SizeHint {
    let mut rest = SizeHint::new();
    rest.set_lower(hint.lower().saturating_sub(given));
    if let Some(upper) = hint.upper() {
        rest.set_upper(upper.saturating_sub(given));
    }
    rest
}

/// A frame takes a hundred bytes beside its data: without a bound, one of a byte each would take
/// far more than the body.
const MAX_FRAMES: usize = 32;

/// The most frames that are read ahead in one poll, empty ones included.
const MAX_POLLS: usize = 512;
