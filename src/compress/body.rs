use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::ahead::Ahead;
use super::codec::{Failed, Library, Op};
use super::coding::Coding;
use super::policy;
use super::pool::{Place, Pooled};
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
    Nothing,
    Compressed(Option<Bytes>),
    Stream(Box<Stream<D>>),
}

struct Stream<D> {
    input: Option<D>,
    codec: Slot,
    /// Held as long as the codec is there.
    place: Option<Place>,
    output: Vec<u8>,
    phase: Phase,
    /// There is input that the client cannot decode yet.
    unflushed: bool,
    trailers: Option<HeaderMap>,
    /// What the inner body must give to be complete, in bytes.
    least: u64,
    tally: Tally,
}

/// A codec is a quarter of a megabyte: it is there only from the first data to the last.
enum Slot {
    Waits { coding: Coding, level: u32, padding: u8 },
    Runs(Pooled),
    Gone,
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

    pub(super) fn bodiless(inner: Ahead<B>) -> Self {
        Self { inner, mode: Mode::Nothing }
    }

    pub(super) fn compressed(mut inner: Ahead<B>, bytes: Bytes) -> Self {
        inner.forget();
        Self { inner, mode: Mode::Compressed(Some(bytes)) }
    }

    /// `size` is what the inner body is said to have, if that is known.
    pub(super) fn stream(
        inner: Ahead<B>,
        (coding, level, padding): (Coding, u32, u8),
        place: Place,
        size: Option<u64>,
        tally: Tally,
    ) -> Self {
        let stream = Stream {
            input: None,
            codec: Slot::Waits { coding, level, padding },
            place: Some(place),
            output: Vec::new(),
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
            Mode::Inner => this.inner.poll_frame(cx),
            Mode::Nothing => Poll::Ready(None),
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
            Mode::Nothing => true,
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
            // That of nothing too: the server would state a length of 0.
            Mode::Nothing | Mode::Stream(_) => SizeHint::new(),
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
                Phase::Feed if budget == 0 => {
                    // More at once would hold up the other tasks of this thread.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Phase::Feed if self.input.is_none() => {
                    budget = budget.saturating_sub(FRAME);
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
                let mut trailers = frame.into_trailers().unwrap_or_default();
                policy::speak_of_other_bytes(&mut trailers);
                self.trailers = Some(trailers).filter(|trailers| !trailers.is_empty());
                self.phase = Phase::Finish;
            }
        }
    }

    /// Compresses some of the input.
    fn feed(&mut self, budget: &mut usize) -> Result<Step, Failed> {
        let (Some(data), output) = (&mut self.input, &mut self.output) else {
            return Ok(Step::On);
        };
        let codec = self.codec.get(output)?;
        let chunk = data.chunk();
        let slice = &chunk[..chunk.len().min(*budget)];
        let mut rest = slice;
        let all = codec.encode(&mut rest, output, Op::Process)?;
        let taken = slice.len() - rest.len();
        data.advance(taken);
        if !data.has_remaining() {
            self.input = None;
        }
        *budget = budget.saturating_sub(taken);
        self.unflushed = true;
        self.tally.input += taken as u64;
        Ok(if all { Step::On } else { Step::Give })
    }

    /// Makes all that was fed decodable.
    fn flush(&mut self) -> Result<Step, Failed> {
        let codec = self.codec.get(&mut self.output)?;
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
        let codec = self.codec.get(&mut self.output)?;
        if codec.encode(&mut &[][..], &mut self.output, Op::Finish)? {
            self.leave();
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

    /// Needs the codec no more.
    fn leave(&mut self) {
        self.codec = Slot::Gone;
        self.place = None;
    }

    /// Ends here and without the coding's own end, so that a client sees that something lacks.
    fn cut(&mut self) {
        self.leave();
        self.input = None;
        self.output.clear();
        self.phase = Phase::End;
    }
}

impl Slot {
    /// The codec, and room in the output for what comes out of it.
    fn get(&mut self, output: &mut Vec<u8>) -> Result<&mut Pooled, Failed> {
        if let Self::Waits { coding, level, padding } = *self {
            let key = (coding, level, Library::ZlibRs);
            *self = Self::Runs(Pooled::take(key, padding, None)?);
            output.reserve_exact(OUTPUT);
        }
        match self {
            Self::Runs(codec) => Ok(codec),
            Self::Waits { .. } | Self::Gone => Err(Failed),
        }
    }
}

impl<B: Body> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match &self.mode {
            Mode::Inner => "inner",
            Mode::Nothing => "nothing",
            Mode::Compressed(_) => "compressed",
            Mode::Stream(_) => "stream",
        };
        f.debug_struct("ResponseBody").field("mode", &mode).finish_non_exhaustive()
    }
}

/// How much a stream takes in per poll, in bytes: about a millisecond of work.
const BUDGET: usize = 64 * 1024;

/// What a frame counts of that beside its data: a body of empty frames is work too.
const FRAME: usize = 64;

/// How much a stream gives out at once, in bytes.
const OUTPUT: usize = 8 * 1024;
