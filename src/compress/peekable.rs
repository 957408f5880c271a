use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// A body that can be read ahead, and is not polled again after its end.
    // Always in a pinned box: the body is moved after it has been read ahead.
    pub(super) struct PeekableBody<B: Body> {
        #[pin]
        inner: B,
        read: VecDeque<Result<Frame<B::Data>, B::Error>>,
        ended: bool,
        // The size that the inner body declared before it was read ahead, less the data given out.
        promised: Option<SizeHint>,
    }
}

impl<B: Body> PeekableBody<B> {
    pub(super) fn new(inner: B) -> Self {
        Self { inner, read: VecDeque::new(), ended: false, promised: None }
    }

    /// Reads the whole body. Returns `true` if all of it is ready now and has exactly `size` bytes
    /// of data in a few frames, each in one chunk, and no trailers. The frames are kept in any
    /// case.
    pub(super) fn read_whole(self: Pin<&mut Self>, size: usize, cx: &mut Context<'_>) -> bool {
        let mut this = self.project();
        *this.promised = Some(this.inner.size_hint());
        let mut left = size;
        while !(*this.ended || this.inner.is_end_stream()) {
            if this.read.len() == MAX_FRAMES {
                return false;
            }
            let frame = match this.inner.as_mut().poll_frame(cx) {
                Poll::Pending => return false,
                Poll::Ready(None) => break,
                Poll::Ready(Some(frame)) => frame,
            };
            *this.ended = frame.is_err();
            let data = frame.as_ref().ok().and_then(Frame::data_ref);
            let in_one_chunk = data.filter(|data| data.chunk().len() == data.remaining());
            let fits = in_one_chunk.and_then(|data| left.checked_sub(data.remaining()));
            this.read.push_back(frame);
            match fits {
                Some(rest) => left = rest,
                None => return false,
            }
        }
        *this.ended = true;
        // A body that is shorter than declared becomes a stream, which fails.
        left == 0
    }

    /// Reads the body until it ends, pauses, fails, or has given `limit` bytes of data. Returns
    /// `true` if it ended below the limit. The frames are kept.
    pub(super) fn read_below(self: Pin<&mut Self>, limit: usize, cx: &mut Context<'_>) -> bool
    where
        B::Data: From<Bytes>,
    {
        let mut this = self.project();
        *this.promised = Some(this.inner.size_hint());
        let mut size = 0;
        for _ in 0..MAX_POLLS {
            if this.inner.is_end_stream() {
                *this.ended = true;
                return true;
            }
            let frame = match this.inner.as_mut().poll_frame(cx) {
                Poll::Pending => return false,
                Poll::Ready(None) => {
                    *this.ended = true;
                    return true;
                }
                Poll::Ready(Some(frame)) => frame,
            };
            let Some(data) = frame.as_ref().ok().and_then(Frame::data_ref) else {
                *this.ended = frame.is_err();
                this.read.push_back(frame);
                // Trailers are the last frame.
                return !*this.ended;
            };
            size += data.remaining();
            if data.has_remaining() {
                this.read.push_back(frame);
            }
            if size >= limit {
                return false;
            }
            if this.read.len() == MAX_FRAMES {
                // A copy of what is below the threshold costs less than more frames.
                merge(this.read, size);
            }
        }
        false
    }

    /// Drops the frames that were read.
    pub(super) fn discard(self: Pin<&mut Self>) {
        *self.project().read = VecDeque::new();
    }

    /// Returns the data of the frames that were read.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.read.iter().filter_map(|frame| frame.as_ref().ok()?.data_ref().map(Buf::chunk))
    }
}

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
        self.read.is_empty() && (self.ended || self.inner.is_end_stream())
    }

    // The hint stays as it was declared even if the true size is known by now: a server that
    // learned a size other than the declared length would send both.
    #[inline]
    fn size_hint(&self) -> SizeHint {
        match &self.promised {
            Some(promised) => less(promised, 0),
            None => self.inner.size_hint(),
        }
    }
}

/// Merges frames of `size` bytes of data into one frame.
fn merge<D: Buf + From<Bytes>, E>(read: &mut VecDeque<Result<Frame<D>, E>>, size: usize) {
    let mut merged = BytesMut::with_capacity(size);
    for frame in read.drain(..).flatten() {
        if let Ok(data) = frame.into_data() {
            merged.put(data);
        }
    }
    read.push_back(Ok(Frame::data(merged.freeze().into())));
}

/// Subtracts the bytes that were given out from a hint.
fn less(hint: &SizeHint, given: u64) -> SizeHint {
    let mut rest = SizeHint::new();
    rest.set_lower(hint.lower().saturating_sub(given));
    if let Some(upper) = hint.upper() {
        rest.set_upper(upper.saturating_sub(given));
    }
    rest
}

/// A frame takes a hundred bytes beside its data: without a bound, frames of one byte would take
/// far more memory than the body.
const MAX_FRAMES: usize = 32;

/// Bounds the frames that are read ahead in one poll, since empty ones do not count as data.
const MAX_POLLS: usize = 512;
