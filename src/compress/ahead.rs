use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// A body of which some is read already, and which stays at its end once it is there.
    pub(super) struct Ahead<B: Body> {
        #[pin]
        inner: B,
        read: VecDeque<Result<Frame<B::Data>, B::Error>>,
        ended: bool,
    }
}

impl<B: Body> Ahead<B> {
    pub(super) fn new(inner: B) -> Self {
        Self { inner, read: VecDeque::new(), ended: false }
    }

    /// Reads all of the body, if it is ready now and has exactly `size` bytes of data in a few
    /// frames, each in one piece, and nothing else. What it read is given again in any case.
    pub(super) fn read_whole(&mut self, size: usize, cx: &mut Context<'_>) -> bool
    where
        B: Unpin,
    {
        let mut left = size;
        while !(self.ended || self.inner.is_end_stream()) {
            if self.read.len() == MOST_FRAMES {
                return false;
            }
            let frame = match Pin::new(&mut self.inner).poll_frame(cx) {
                Poll::Pending => return false,
                Poll::Ready(None) => {
                    self.ended = true;
                    break;
                }
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

    /// Drops what was read.
    pub(super) fn forget(&mut self) {
        self.read = VecDeque::new();
    }

    /// The data that was read.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.read.iter().filter_map(|frame| frame.as_ref().ok()?.data_ref().map(Buf::chunk))
    }
}

impl<B: Body> Body for Ahead<B> {
    type Data = B::Data;
    type Error = B::Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        if let Some(frame) = this.read.pop_front() {
            return Poll::Ready(Some(frame));
        }
        if *this.ended {
            return Poll::Ready(None);
        }
        let polled = this.inner.poll_frame(cx);
        *this.ended = matches!(polled, Poll::Ready(None | Some(Err(_))));
        polled
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && (self.ended || self.inner.is_end_stream())
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        let read = self.read.iter().filter_map(|frame| frame.as_ref().ok()?.data_ref());
        let read = read.map(|data| data.remaining() as u64).sum::<u64>();
        let inner = if self.ended { SizeHint::with_exact(0) } else { self.inner.size_hint() };
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(read));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(read));
        }
        hint
    }
}

/// A frame takes a hundred bytes beside its data: without a bound, one of a byte each would take
/// far more than the body.
const MOST_FRAMES: usize = 32;
