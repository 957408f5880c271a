use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

use super::codec::Op;
use super::encoding::{Coding, Encoding};
use super::error::{CompressError, Failure};
use super::etag::EtagMode;
use super::head;
use super::metrics::ResponseMetrics;
use super::peekable::PeekableBody;
use super::policy::Plan;
use super::pool::{Key, Pooled};
use super::resumable::Resumable;

/// The state of a body that is compressed while the client reads it.
pub(super) struct Stream<D> {
    input: Option<D>,
    encoder: Encoder,
    output: Vec<u8>,
    phase: Phase,
    /// The codec has input that the client cannot decode yet.
    unflushed: bool,
    flush: FlushTimer,
    trailers: Option<HeaderMap>,
    coding: Coding,
    etag_mode: EtagMode,
    /// The number of bytes that the inner body declared.
    declared: Option<u64>,
    metrics: ResponseMetrics,
}

/// The resources of a stream.
pub(super) struct Resources {
    /// The permit to hold a codec between polls, which a resumable event stream does not have.
    pub(super) permit: Option<OwnedSemaphorePermit>,
    /// The semaphore from which a paused stream gets another permit; `None` for event streams.
    pub(super) permits: Option<Arc<Semaphore>>,
    /// The codec with a dictionary, if the plan has one.
    pub(super) codec: Option<Pooled>,
    pub(super) padding: u8,
    pub(super) flush_delay: Duration,
    pub(super) etag_mode: EtagMode,
    pub(super) metrics: ResponseMetrics,
}

/// The codec of a stream, held only while the stream needs it.
enum Encoder {
    /// A stream in gzip or deflate, which holds no codec while it has nothing to compress.
    ///
    /// If it finds no permit when it goes on, it holds its codec for one poll only: there are at
    /// most as many such codecs as threads.
    Resumable {
        stream: Resumable,
        permit: Option<OwnedSemaphorePermit>,
        permits: Option<Arc<Semaphore>>,
    },
    /// Any other stream before its first data.
    Lazy {
        encoding: Encoding,
        level: u32,
        permit: Option<OwnedSemaphorePermit>,
    },
    Active {
        codec: Pooled,
        _permit: Option<OwnedSemaphorePermit>,
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

type Polled<D, E> = Poll<Option<Result<Frame<D>, CompressError<E>>>>;

enum Step {
    Continue,
    /// Give out the output, if there is any.
    Emit,
}

/// The delay after which unflushed input is flushed if no more input comes.
struct FlushTimer {
    after: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    runs: bool,
}

impl<D> Stream<D> {
    pub(super) fn new(plan: &Plan, resources: Resources) -> Self {
        let Plan { encoding, level, size, .. } = *plan;
        let Resources { permit, permits, codec, padding, flush_delay, etag_mode, metrics } =
            resources;
        let coding = if codec.is_some() { Coding::Dictionary } else { encoding.into() };
        let encoder = match (codec, Resumable::new(encoding, level, padding)) {
            (Some(codec), _) => Encoder::Active { codec, _permit: permit },
            (None, Some(stream)) => Encoder::Resumable { stream, permit, permits },
            (None, None) => Encoder::Lazy { encoding, level, permit },
        };
        Self {
            input: None,
            encoder,
            output: Vec::new(),
            phase: Phase::Feed,
            unflushed: false,
            flush: FlushTimer { after: flush_delay, sleep: None, runs: false },
            trailers: None,
            coding,
            etag_mode,
            declared: size,
            metrics,
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
                // A codec without a permit must go back before the poll ends, even in the middle of
                // a frame.
                Phase::Feed if budget == 0 && self.unflushed && self.encoder.is_borrowing() => {
                    self.phase = Phase::Flush;
                    continue;
                }
                Phase::Feed if budget == 0 => {
                    // More work in one poll would hold up the other tasks of the thread.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Phase::Feed if self.input.is_none() => {
                    budget = budget.saturating_sub(FRAME_COST);
                    match inner.as_mut().poll_frame(cx) {
                        Poll::Ready(Some(Ok(frame))) => self.accept(frame),
                        Poll::Ready(Some(Err(error))) => {
                            self.abort();
                            return Poll::Ready(Some(Err(CompressError::inner(error))));
                        }
                        Poll::Ready(None) => self.phase = Phase::Finish,
                        // Flushed and idle: nothing is held until more data comes.
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
                Ok(Step::Continue) => {}
                Ok(Step::Emit) if self.output.is_empty() => {}
                Ok(Step::Emit) => {
                    return Poll::Ready(Some(Ok(Frame::data(self.take_output().into()))));
                }
                Err(failure) => {
                    if failure == Failure::Codec {
                        self.metrics.record_failure();
                    }
                    self.abort();
                    return Poll::Ready(Some(Err(CompressError::own(failure))));
                }
            }
        }
    }

    fn accept(&mut self, frame: Frame<D>) {
        match frame.into_data() {
            // An empty frame is no input: it must not cause a flush.
            Ok(data) => self.input = Some(data).filter(Buf::has_remaining),
            Err(frame) => {
                let mut trailers = frame.into_trailers().unwrap_or_default();
                head::strip_representation_metadata(&mut trailers);
                self.etag_mode.apply(&mut trailers, Some(self.coding));
                self.trailers = Some(trailers).filter(|trailers| !trailers.is_empty());
                self.phase = Phase::Finish;
            }
        }
    }

    /// Compresses a part of the input, within the budget of the poll.
    fn feed(&mut self, budget: &mut usize) -> Result<Step, Failure> {
        let Some(data) = &mut self.input else { return Ok(Step::Continue) };
        // A body that is too long fails before any of its surplus is compressed.
        if let Some(declared) = self.declared {
            let received = self.metrics.input.saturating_add(data.remaining() as u64);
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
        self.metrics.input += taken as u64;
        Ok(if all { Step::Continue } else { Step::Emit })
    }

    /// Makes all input so far decodable.
    fn flush(&mut self) -> Result<Step, Failure> {
        if self.encoder.encode(&mut &[][..], &mut self.output, Op::Flush)? {
            self.unflushed = false;
            self.flush.stop();
            self.phase = Phase::Feed;
            if self.encoder.is_borrowing() {
                self.encoder.pause();
            }
        }
        Ok(Step::Emit)
    }

    fn finish(&mut self) -> Result<Step, Failure> {
        // The end marker of the encoding would turn a short body into a complete message.
        if let Some(declared) = self.declared.filter(|declared| self.metrics.input < *declared) {
            return Err(Failure::Short { declared, received: self.metrics.input });
        }
        if self.encoder.encode(&mut &[][..], &mut self.output, Op::Finish)? {
            // The codec and the permit are free before the client has read the rest.
            self.encoder = Encoder::Done;
            self.phase = Phase::Trailers;
        }
        Ok(Step::Emit)
    }

    /// Returns the output.
    fn take_output(&mut self) -> Bytes {
        // A copy, since a slice would keep the whole buffer alive for a small event.
        let bytes = Bytes::copy_from_slice(&self.output);
        self.output.clear();
        if !self.encoder.is_active() {
            self.output = Vec::new();
        }
        self.metrics.output += bytes.len() as u64;
        bytes
    }

    /// Frees what an idle stream does not need.
    fn pause(&mut self) {
        self.encoder.pause();
        if !self.encoder.is_active() {
            self.output = Vec::new();
        }
    }

    /// Ends the body without the end marker of the encoding, so that no client takes it for
    /// complete.
    fn abort(&mut self) {
        self.encoder = Encoder::Done;
        self.input = None;
        self.output = Vec::new();
        self.trailers = None;
        self.phase = Phase::End;
    }
}

impl Encoder {
    fn encode(&mut self, input: &mut &[u8], output: &mut Vec<u8>, op: Op) -> Result<bool, Failure> {
        if let Self::Lazy { encoding, level, permit } = self {
            let codec = Pooled::take(Key { kind: encoding.codec(), level: *level }, 0, None)?;
            *self = Self::Active { codec, _permit: permit.take() };
        }
        if output.capacity() == 0 {
            output.reserve_exact(OUTPUT_SIZE);
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
            // The codec has to go back before the poll returns any output.
            output.reserve(OUTPUT_SIZE);
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

    /// Acquires a permit, if the stream needs one and one is free.
    fn resume(&mut self) {
        if let Self::Resumable { stream, permit: permit @ None, permits: Some(permits) } = self {
            if !stream.is_active() {
                *permit = Arc::clone(permits).try_acquire_owned().ok();
            }
        }
    }

    /// Gives codec and permit back, if the stream can be resumed.
    fn pause(&mut self) {
        if let Self::Resumable { stream, permit, .. } = self {
            stream.pause();
            *permit = None;
        }
    }
}

impl FlushTimer {
    /// Starts the delay with the first call. Returns `true` once the delay has passed.
    fn is_due(&mut self, cx: &mut Context<'_>) -> bool {
        // Outside of tokio there is no timer.
        if self.after.is_zero() || Handle::try_current().is_err() {
            return true;
        }
        // Later data does not postpone the flush: the timer runs from the first unflushed byte.
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

/// The bytes that a stream compresses per poll: about a millisecond of work.
const BUDGET: usize = 64 * 1024;

/// The cost of a frame in bytes of that budget, beside its data: a body of empty frames is work
/// too.
const FRAME_COST: usize = 64;

/// The size of the output buffer, and so of a frame of output.
const OUTPUT_SIZE: usize = 8 * 1024;
