use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame};
use tokio::runtime::Handle;
use tokio::time::{Sleep, sleep};

use super::codec::{CodecError, Library, Op};
use super::coding::Coding;
use super::error::{BodyError, Failure};
use super::etag::EtagMode;
use super::head;
use super::peekable::PeekableBody;
use super::policy::Plan;
use super::pool::{Permit, Pooled, Semaphore};
use super::resumable::Resumable;
use super::tally::Tally;

/// A body that is compressed as it comes.
pub(super) struct Stream<D> {
    input: Option<D>,
    encoder: Encoder,
    output: Vec<u8>,
    phase: Phase,
    /// There is input that the client cannot decode yet.
    unflushed: bool,
    flush: FlushTimer,
    trailers: Option<HeaderMap>,
    coding: Coding,
    etags: EtagMode,
    /// The bytes that the inner body must have to be complete, if it said how many.
    declared: Option<u64>,
    tally: Tally,
}

/// What a stream needs beside its plan.
pub(super) struct Resources {
    /// `None` for an event stream that holds no codec between its polls.
    pub(super) permit: Option<Permit>,
    /// Where a paused stream gets another permit; `None` as above.
    pub(super) permits: Option<Semaphore>,
    pub(super) flush_after: Duration,
    pub(super) etags: EtagMode,
    pub(super) tally: Tally,
}

/// The codec of a stream, which is there only while the stream has need of it.
enum Encoder {
    /// gzip and deflate: while the stream has nothing to compress, it holds no codec.
    ///
    /// A stream that finds no permit when it goes on holds its codec for no longer than a poll:
    /// such codecs are at most as many as threads.
    Resumable {
        stream: Resumable,
        permit: Option<Permit>,
        permits: Option<Semaphore>,
    },
    /// The others: from the first data to the last.
    Lazy {
        coding: Coding,
        level: u32,
        permit: Option<Permit>,
    },
    Active {
        codec: Pooled,
        _permit: Option<Permit>,
    },
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Feed,
    Flush,
    Finish,
    Trailers,
    End,
}

/// What a poll of the stream returns.
type Polled<D, E> = Poll<Option<Result<Frame<D>, BodyError<E>>>>;

enum Step {
    On,
    /// Give what came out, if anything did.
    Give,
}

/// When input must be flushed that no more input has followed.
struct FlushTimer {
    after: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    runs: bool,
}

impl<D> Stream<D> {
    pub(super) fn new(plan: &Plan, padding: u8, resources: Resources) -> Self {
        let Plan { coding, level, size, .. } = *plan;
        let Resources { permit, permits, flush_after, etags, tally } = resources;
        let encoder = match Resumable::new(coding, level, padding) {
            Some(stream) => Encoder::Resumable { stream, permit, permits },
            None => Encoder::Lazy { coding, level, permit },
        };
        Self {
            input: None,
            encoder,
            output: Vec::new(),
            phase: Phase::Feed,
            unflushed: false,
            flush: FlushTimer { after: flush_after, sleep: None, runs: false },
            trailers: None,
            coding,
            etags,
            declared: size,
            tally,
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        match self.phase {
            Phase::End => true,
            Phase::Trailers => self.trailers.is_none(),
            Phase::Feed | Phase::Flush | Phase::Finish => false,
        }
    }
}

impl<D: Buf + From<Bytes>> Stream<D> {
    pub(super) fn poll<B: Body<Data = D>>(
        &mut self,
        mut inner: Pin<&mut PeekableBody<B>>,
        cx: &mut Context<'_>,
    ) -> Polled<D, B::Error> {
        let mut budget = BUDGET;
        loop {
            let step = match self.phase {
                Phase::Feed if budget == 0 && self.unflushed && self.encoder.is_borrowing() => {
                    self.phase = Phase::Flush;
                    continue;
                }
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
                            return Poll::Ready(Some(Err(BodyError::inner(error))));
                        }
                        Poll::Ready(None) => self.phase = Phase::Finish,
                        Poll::Pending if !self.unflushed => {
                            self.pause();
                            return Poll::Pending;
                        }
                        Poll::Pending if self.encoder.is_borrowing() || self.flush.is_due(cx) => {
                            self.phase = Phase::Flush;
                        }
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
                Err(failure) => {
                    if failure == Failure::Codec {
                        self.tally.failed();
                    }
                    self.cut();
                    return Poll::Ready(Some(Err(BodyError::own(failure))));
                }
            }
        }
    }

    fn take(&mut self, frame: Frame<D>) {
        match frame.into_data() {
            Ok(data) => self.input = Some(data).filter(Buf::has_remaining),
            Err(frame) => {
                let mut trailers = frame.into_trailers().unwrap_or_default();
                head::strip_representation_metadata(&mut trailers, self.etags, self.coding);
                self.trailers = Some(trailers).filter(|trailers| !trailers.is_empty());
                self.phase = Phase::Finish;
            }
        }
    }

    /// Compresses some of the input.
    fn feed(&mut self, budget: &mut usize) -> Result<Step, Failure> {
        let Some(data) = &mut self.input else { return Ok(Step::On) };
        if let Some(declared) = self.declared {
            let received = self.tally.input.saturating_add(data.remaining() as u64);
            if received > declared {
                return Err(Failure::Long { declared });
            }
        }
        self.encoder.resume();
        let chunk = data.chunk();
        let slice = &chunk[..chunk.len().min(*budget)];
        let mut rest = slice;
        let all = self.encoder.encode(&mut rest, &mut self.output, Op::Process)?;
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
    fn flush(&mut self) -> Result<Step, Failure> {
        if self.encoder.encode(&mut &[][..], &mut self.output, Op::Flush)? {
            self.unflushed = false;
            self.flush.stop();
            self.phase = Phase::Feed;
            if self.encoder.is_borrowing() {
                self.encoder.pause();
            }
        }
        Ok(Step::Give)
    }

    fn finish(&mut self) -> Result<Step, Failure> {
        if let Some(declared) = self.declared.filter(|declared| self.tally.input < *declared) {
            return Err(Failure::Short { declared, received: self.tally.input });
        }
        if self.encoder.encode(&mut &[][..], &mut self.output, Op::Finish)? {
            self.encoder = Encoder::Done;
            self.phase = Phase::Trailers;
        }
        Ok(Step::Give)
    }

    /// Returns what came out.
    fn give(&mut self) -> Bytes {
        // In a piece of its own: the buffer stays, or is much larger than a small event.
        let bytes = Bytes::copy_from_slice(&self.output);
        self.output.clear();
        if !self.encoder.is_active() {
            self.output = Vec::new();
        }
        self.tally.output += bytes.len() as u64;
        bytes
    }

    /// Holds as little as can be, since there is nothing to do.
    fn pause(&mut self) {
        self.encoder.pause();
        if !self.encoder.is_active() {
            self.output = Vec::new();
        }
    }

    /// Ends here, and without the coding's own end.
    fn cut(&mut self) {
        self.encoder = Encoder::Done;
        self.input = None;
        self.output = Vec::new();
        self.trailers = None;
        self.phase = Phase::End;
    }
}

impl Encoder {
    fn encode(&mut self, input: &mut &[u8], output: &mut Vec<u8>, op: Op) -> Result<bool, Failure> {
        if let Self::Lazy { coding, level, permit } = self {
            let codec = Pooled::take((*coding, *level, Library::ZlibRs), 0, None)?;
            *self = Self::Active { codec, _permit: permit.take() };
        }
        if output.capacity() == 0 {
            output.reserve_exact(OUTPUT);
        }
        let borrowing = self.is_borrowing();
        loop {
            let done = match self {
                Self::Resumable { stream, .. } => stream.encode(input, output, op)?,
                Self::Active { codec, .. } => codec.encode(input, output, op)?,
                Self::Lazy { .. } | Self::Done => return Err(Failure::Codec),
            };
            if done || !borrowing {
                return Ok(done);
            }
            // The codec is to go back before anything is given.
            output.reserve(OUTPUT);
        }
    }

    /// Returns `true` if the codec must not outlast the poll.
    fn is_borrowing(&self) -> bool {
        matches!(self, Self::Resumable { permit: None, .. })
    }

    fn is_active(&self) -> bool {
        match self {
            Self::Resumable { stream, .. } => stream.is_active(),
            Self::Active { .. } => true,
            Self::Lazy { .. } | Self::Done => false,
        }
    }

    /// Gets a permit, if one is missing and free.
    fn resume(&mut self) {
        if let Self::Resumable { stream, permit: permit @ None, permits: Some(permits) } = self {
            if !stream.is_active() {
                *permit = permits.try_acquire();
            }
        }
    }

    /// Gives codec and permit back, where the stream can go on without.
    fn pause(&mut self) {
        if let Self::Resumable { stream, permit, .. } = self {
            stream.pause();
            *permit = None;
        }
    }
}

impl FlushTimer {
    /// Starts with the first call, and returns `true` once the delay has passed.
    fn is_due(&mut self, cx: &mut Context<'_>) -> bool {
        // Where there is no tokio, there is no clock to wait for.
        if self.after.is_zero() || Handle::try_current().is_err() {
            return true;
        }
        let sleep = match &mut self.sleep {
            Some(timer) if self.runs => timer,
            slot => slot.insert(Box::pin(sleep(self.after))),
        };
        self.runs = true;
        sleep.as_mut().poll(cx).is_ready()
    }

    fn stop(&mut self) {
        self.runs = false;
        self.sleep = None;
    }
}

impl From<CodecError> for Failure {
    fn from(_: CodecError) -> Self {
        Self::Codec
    }
}

/// How much a stream takes in per poll, in bytes: about a millisecond of work.
const BUDGET: usize = 64 * 1024;

/// What a frame counts of that beside its data: a body of empty frames is work too.
const FRAME: usize = 64;

/// How much a stream gives out at once, in bytes.
const OUTPUT: usize = 8 * 1024;
