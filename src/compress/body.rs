use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::ahead::Ahead;
use super::codec::{Failed, Op};
use super::pool::Pooled;
use super::tally::Tally;

pin_project! {
    /// The service's body: as it is, or compressed at once, or compressed as it comes.
    ///
    /// A compressed stream holds one frame of the inner body and 8 KiB of what came out. Where the
    /// inner body fails, it ends with that error and without the coding's own end.
    pub struct ResponseBody<B: Body> {
        #[pin]
        inner: Ahead<B>,
        mode: Mode<B::Data>,
    }
}

enum Mode<D> {
    Inner,
    OfUnknownLength,
    Compressed(Option<Bytes>),
    Stream(Box<Stream<D>>),
}

struct Stream<D> {
    input: Option<D>,
    /// `None` as soon as the stream is at its end: then it is back in its pool.
    codec: Option<Pooled>,
    output: Vec<u8>,
    phase: Phase,
    /// There is input that the client cannot decode yet.
    unflushed: bool,
    trailers: Option<HeaderMap>,
    /// What the inner body must give to be complete, in bytes.
    least: u64,
    tally: Tally,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Feed,
    Flush,
    Finish,
    Trailers,
    End,
}

enum Step {
    On,
    /// Give what came out, if anything did.
    Give,
}

impl<B: Body> ResponseBody<B> {
    pub(super) fn inner(inner: Ahead<B>) -> Self {
        Self { inner, mode: Mode::Inner }
    }

    /// For HEAD: the server does not send it, but would tell its length.
    pub(super) fn of_unknown_length(inner: Ahead<B>) -> Self {
        Self { inner, mode: Mode::OfUnknownLength }
    }

    pub(super) fn compressed(inner: Ahead<B>, bytes: Bytes) -> Self {
        Self { inner, mode: Mode::Compressed(Some(bytes)) }
    }

    /// `size` is what the inner body is said to have, if that is known.
    pub(super) fn stream(inner: Ahead<B>, codec: Pooled, size: Option<u64>, tally: Tally) -> Self {
        let stream = Stream {
            input: None,
            codec: Some(codec),
            output: Vec::with_capacity(OUTPUT),
            phase: Phase::Feed,
            unflushed: false,
            trailers: None,
            least: size.unwrap_or(0),
            tally,
        };
        Self { inner, mode: Mode::Stream(Box::new(stream)) }
    }
}

impl<B> Body for ResponseBody<B>
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
        let this = self.project();
        match this.mode {
            Mode::Inner | Mode::OfUnknownLength => this.inner.poll_frame(cx),
            Mode::Compressed(bytes) => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes.into()))))
            }
            Mode::Stream(stream) => stream.poll(this.inner, cx),
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match &self.mode {
            Mode::Inner | Mode::OfUnknownLength => self.inner.is_end_stream(),
            Mode::Compressed(bytes) => bytes.is_none(),
            Mode::Stream(stream) => match stream.phase {
                Phase::End => true,
                Phase::Trailers => stream.trailers.is_none(),
                Phase::Feed | Phase::Flush | Phase::Finish => false,
            },
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match &self.mode {
            Mode::Inner => self.inner.size_hint(),
            Mode::Compressed(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Mode::OfUnknownLength | Mode::Stream(_) => SizeHint::new(),
        }
    }
}

impl<D: Buf + From<Bytes>> Stream<D> {
    fn poll<B: Body<Data = D>>(
        &mut self,
        mut inner: Pin<&mut Ahead<B>>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<D>, B::Error>>> {
        let mut budget = BUDGET;
        loop {
            let step = match self.phase {
                Phase::Feed if self.input.is_none() => {
                    match inner.as_mut().poll_frame(cx) {
                        Poll::Ready(Some(Ok(frame))) => self.take(frame),
                        Poll::Ready(Some(Err(error))) => {
                            self.cut();
                            return Poll::Ready(Some(Err(error)));
                        }
                        Poll::Ready(None) => self.phase = Phase::Finish,
                        Poll::Pending if self.unflushed => self.phase = Phase::Flush,
                        Poll::Pending => return Poll::Pending,
                    }
                    continue;
                }
                Phase::Feed if budget == 0 => {
                    // More at once would hold up the other tasks of this thread.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Phase::Feed => self.feed(&mut budget),
                Phase::Flush => self.flush(),
                Phase::Finish => self.finish(),
                Phase::Trailers => {
                    self.phase = Phase::End;
                    return Poll::Ready(self.trailers.take().map(Frame::trailers).map(Ok));
                }
                Phase::End => return Poll::Ready(None),
            };
            match step {
                Ok(Step::On) => {}
                Ok(Step::Give) if self.output.is_empty() => {}
                Ok(Step::Give) => return Poll::Ready(Some(Ok(Frame::data(self.give().into())))),
                Err(Failed) => {
                    self.tally.failed();
                    self.cut();
                }
            }
        }
    }

    fn take(&mut self, frame: Frame<D>) {
        match frame.into_data() {
            Ok(data) => self.input = Some(data).filter(Buf::has_remaining),
            Err(frame) => {
                self.trailers = frame.into_trailers().ok();
                self.phase = Phase::Finish;
            }
        }
    }

    /// Compresses some of the input.
    fn feed(&mut self, budget: &mut usize) -> Result<Step, Failed> {
        let (Some(data), Some(codec)) = (&mut self.input, &mut self.codec) else {
            return Err(Failed);
        };
        let chunk = data.chunk();
        let slice = &chunk[..chunk.len().min(*budget)];
        let mut rest = slice;
        let all = codec.encode(&mut rest, &mut self.output, Op::Process)?;
        let taken = slice.len() - rest.len();
        data.advance(taken);
        if !data.has_remaining() {
            self.input = None;
        }
        *budget -= taken;
        self.unflushed = true;
        self.tally.input += taken as u64;
        Ok(if all { Step::On } else { Step::Give })
    }

    /// Makes all that was fed decodable.
    fn flush(&mut self) -> Result<Step, Failed> {
        let codec = self.codec.as_mut().ok_or(Failed)?;
        if codec.encode(&mut &[][..], &mut self.output, Op::Flush)? {
            self.unflushed = false;
            self.phase = Phase::Feed;
        }
        Ok(Step::Give)
    }

    fn finish(&mut self) -> Result<Step, Failed> {
        if self.tally.input < self.least {
            // Without its declared length only the missing end tells that something lacks.
            self.cut();
            return Ok(Step::On);
        }
        let codec = self.codec.as_mut().ok_or(Failed)?;
        if codec.encode(&mut &[][..], &mut self.output, Op::Finish)? {
            self.codec = None;
            self.phase = Phase::Trailers;
        }
        Ok(Step::Give)
    }

    /// What came out, in a piece of its own: the buffer stays, and is often larger.
    fn give(&mut self) -> Bytes {
        let bytes = Bytes::copy_from_slice(&self.output);
        self.output.clear();
        self.tally.output += bytes.len() as u64;
        bytes
    }

    /// Ends here and without the coding's own end, so that a client sees that something lacks.
    fn cut(&mut self) {
        self.codec = None;
        self.input = None;
        self.output.clear();
        self.phase = Phase::End;
    }
}

impl<B: Body> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match &self.mode {
            Mode::Inner | Mode::OfUnknownLength => "inner",
            Mode::Compressed(_) => "compressed",
            Mode::Stream(_) => "stream",
        };
        f.debug_struct("ResponseBody").field("mode", &mode).finish_non_exhaustive()
    }
}

/// How much a stream takes in per poll, in bytes: about a millisecond of work.
const BUDGET: usize = 64 * 1024;

/// How much a stream gives out at once, in bytes.
const OUTPUT: usize = 8 * 1024;
