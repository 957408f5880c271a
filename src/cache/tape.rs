//! A body that a task reads to its end, and a client as it can.

use std::any::Any;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};

use super::record::{Tap, to_bytes};
use super::shared::{Slot, detach};

/// What was read and not yet passed on.
pub(super) type Queue<E> = VecDeque<Result<Frame<Bytes>, E>>;

/// What a task has read of a body, and its client has not.
struct Tape<B: Body>(Mutex<Track<B>>);

struct Track<B: Body> {
    read: Queue<B::Error>,
    state: TrackState<B>,
    reader: Option<Waker>,
}

enum TrackState<B> {
    Reading,
    Ended,
    /// It is too large, or takes too long: the client reads the rest itself.
    Back(Pin<Box<B>>),
    Panicked(Box<dyn Any + Send>),
    /// The client has left.
    Left,
}

/// The client's end of it. It keeps the slot too: what its client does not read stays in memory.
pub(super) struct Reader<B: Body> {
    tape: Arc<Tape<B>>,
    _slot: Arc<Slot>,
}

/// Starts the task that reads a body to its end for the store, and for its client if it stays.
pub(super) fn start<B>(read: Queue<B::Error>, tap: Tap<B>, slot: Slot) -> Reader<B>
where
    B: Body + Send + 'static,
    B::Error: Send,
{
    let tape = Arc::new(Tape(Mutex::new(Track { read, state: TrackState::Reading, reader: None })));
    let slot = Arc::new(slot);
    let reader = Reader { tape: Arc::clone(&tape), _slot: Arc::clone(&slot) };
    detach(async move {
        let mut tap = Some(tap);
        let reading = poll_fn(|cx| {
            let polled = catch_unwind(AssertUnwindSafe(|| tape.poll_read(&mut tap, cx)));
            polled.unwrap_or_else(|panic| {
                tap = None;
                tape.end(TrackState::Panicked(panic));
                Poll::Ready(())
            })
        });
        if tokio::time::timeout(LONGEST_FILL, reading).await.is_err() {
            if let Some(mut tap) = tap.take() {
                tap.give_up();
                tape.end(TrackState::Back(tap.into_body()));
            }
        }
        drop(slot);
    });
    reader
}

impl<B: Body> Tape<B> {
    fn lock(&self) -> MutexGuard<'_, Track<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads until the body ends or is not recorded any more.
    fn poll_read(&self, tap: &mut Option<Tap<B>>, cx: &mut Context<'_>) -> Poll<()> {
        // Lets other tasks run now and then, if a body is always ready.
        for _ in 0..FRAMES_AT_ONCE {
            let Some(reading) = tap.as_mut() else { return Poll::Ready(()) };
            let Poll::Ready(frame) = reading.poll_frame(cx) else { return Poll::Pending };
            let Some(frame) = frame else {
                *tap = None;
                self.end(TrackState::Ended);
                return Poll::Ready(());
            };
            let failed = frame.is_err();
            self.push(frame);
            if failed {
                *tap = None;
                self.end(TrackState::Ended);
            } else if let Some(back) = tap.take_if(|tap| !tap.is_recording()) {
                self.end(TrackState::Back(back.into_body()));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Hands a frame to the client, if it is there.
    fn push(&self, frame: Result<Frame<Bytes>, B::Error>) {
        self.tell(|track| track.read.push_back(frame));
    }

    fn end(&self, state: TrackState<B>) {
        self.tell(|track| track.state = state);
    }

    fn tell(&self, news: impl FnOnce(&mut Track<B>)) {
        let mut track = self.lock();
        if matches!(track.state, TrackState::Left) {
            return;
        }
        news(&mut track);
        let reader = track.reader.take();
        drop(track);
        reader.into_iter().for_each(Waker::wake);
    }
}

impl<B: Body> Reader<B> {
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut track = self.tape.lock();
        if let Some(frame) = track.read.pop_front() {
            return Poll::Ready(Some(frame));
        }
        match &mut track.state {
            TrackState::Ended | TrackState::Left => Poll::Ready(None),
            // Only this end polls it from now on; what wakes it wakes this task.
            TrackState::Back(body) => body.as_mut().poll_frame(cx).map(|frame| frame.map(to_bytes)),
            TrackState::Reading => {
                track.reader = Some(cx.waker().clone());
                Poll::Pending
            }
            TrackState::Panicked(_) => {
                let state = std::mem::replace(&mut track.state, TrackState::Ended);
                drop(track);
                match state {
                    TrackState::Panicked(panic) => resume_unwind(panic),
                    _ => Poll::Ready(None),
                }
            }
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let track = self.tape.lock();
        track.read.is_empty()
            && match &track.state {
                TrackState::Ended | TrackState::Left => true,
                TrackState::Back(body) => body.is_end_stream(),
                TrackState::Reading | TrackState::Panicked(_) => false,
            }
    }
}

impl<B: Body> Drop for Reader<B> {
    fn drop(&mut self) {
        let mut track = self.tape.lock();
        let state = std::mem::replace(&mut track.state, TrackState::Left);
        let read = std::mem::take(&mut track.read);
        drop(track);
        drop((state, read));
    }
}

/// How many frames are read at a time.
pub(super) const FRAMES_AT_ONCE: usize = 64;

/// After this a body is its client's alone, and is not kept.
pub(super) const LONGEST_FILL: Duration = Duration::from_secs(60);
