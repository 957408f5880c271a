//! A body that a task reads to its end, and a client as it can.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};

use super::super::buffer::Buffer;
use super::super::metrics::Fallback;
use super::super::task::{Slot, spawn};
use super::recorder::{Recording, Unkept, to_bytes};

/// What a task has read of a body, and how far its client has.
struct BackgroundRead<B: Body>(Mutex<Track<B>>);

struct Track<B: Body> {
    buffer: Buffer,
    /// What follows that, if it is not data, or has no place there.
    next: Option<Result<Frame<Bytes>, B::Error>>,
    state: TrackState<B>,
    reader: Option<Waker>,
    /// The task, if it waits for the client to read.
    task: Option<Waker>,
}

enum TrackState<B> {
    Reading,
    Ended,
    /// It is not recorded any more: the client reads the rest itself.
    Back(Pin<Box<B>>),
    Panicked(Box<dyn Any + Send>),
    /// The client has left.
    Left,
}

/// What the task has of it.
struct Fill<B> {
    body: Pin<Box<B>>,
    recording: Recording,
}

/// The client's end of it. It holds no slot: what it does not read is charged to the budget.
pub(crate) struct Reader<B: Body>(Arc<BackgroundRead<B>>);

/// Starts the task that reads a body to its end for the store, and for its client if it stays.
pub(crate) fn start<B>(
    buffer: Buffer,
    body: Pin<Box<B>>,
    recording: Recording,
    slot: Slot,
) -> Reader<B>
where
    B: Body + Send + 'static,
    B::Error: Send,
{
    let state = TrackState::Reading;
    let track = Track { buffer, next: None, state, reader: None, task: None };
    let read = Arc::new(BackgroundRead(Mutex::new(track)));
    let reader = Reader(Arc::clone(&read));
    spawn(async move {
        let mut fill = Some(Fill { body, recording });
        let reading = poll_fn(|cx| {
            let polled = catch_unwind(AssertUnwindSafe(|| read.poll_read(&mut fill, cx)));
            polled.unwrap_or_else(|panic| {
                fill = None;
                read.end(None, TrackState::Panicked(panic));
                Poll::Ready(())
            })
        });
        if tokio::time::timeout(LONGEST_FILL, reading).await.is_err() {
            if let Some(fill) = fill.take() {
                read.give_back(fill, Unkept::Scarce(Fallback::FillTime), None);
            }
        }
        drop(slot);
    });
    reader
}

impl<B: Body> BackgroundRead<B> {
    fn lock(&self) -> MutexGuard<'_, Track<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads until the body ends or is not recorded any more.
    fn poll_read(&self, fill: &mut Option<Fill<B>>, cx: &mut Context<'_>) -> Poll<()> {
        // Lets other tasks run now and then, if a body is always ready.
        for _ in 0..FRAMES_AT_ONCE {
            let Some(Fill { body, recording }) = fill else { return Poll::Ready(()) };
            if !self.may_read_on(cx) {
                // Those who wait for it shall not wait for its client.
                recording.leave_followers(Fallback::SlowClient);
                return Poll::Pending;
            }
            let Poll::Ready(frame) = body.as_mut().poll_frame(cx) else { return Poll::Pending };
            let over = match frame.map(to_bytes) {
                Some(Ok(frame)) => match self.push(recording, &frame) {
                    Ok(()) => continue,
                    Err(why) => Some((why, frame)),
                },
                Some(Err(error)) => {
                    *fill = None;
                    self.end(Some(Err(error)), TrackState::Ended);
                    return Poll::Ready(());
                }
                None => None,
            };
            match (fill.take(), over) {
                (Some(fill), Some((why, frame))) => self.give_back(fill, why, Some(Ok(frame))),
                (Some(fill), None) => self.finish(fill.recording),
                (None, _) => {}
            }
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Returns `true` if the client has read far enough, or has left. If not, the task is woken when
    /// the client reads.
    fn may_read_on(&self, cx: &Context<'_>) -> bool {
        let mut track = self.lock();
        let may = track.buffer.charge().may_read_ahead();
        if !may {
            track.task = Some(cx.waker().clone());
        }
        may
    }

    fn push(&self, recording: &mut Recording, frame: &Frame<Bytes>) -> Result<(), Unkept> {
        let mut track = self.lock();
        recording.push(frame, &mut track.buffer)?;
        let reader = track.reader.take();
        drop(track);
        reader.into_iter().for_each(Waker::wake);
        Ok(())
    }

    fn finish(&self, recording: Recording) {
        let mut track = self.lock();
        let (body, charge) = (track.buffer.freeze(), track.buffer.charge().clone());
        drop(track);
        recording.finish(body, &charge);
        drop(charge);
        self.end(None, TrackState::Ended);
    }

    /// Leaves the rest to the client.
    fn give_back(&self, fill: Fill<B>, why: Unkept, next: Option<Result<Frame<Bytes>, B::Error>>) {
        fill.recording.give_up(why);
        self.lock().buffer.keep_unread();
        self.end(next, TrackState::Back(fill.body));
    }

    fn end(&self, next: Option<Result<Frame<Bytes>, B::Error>>, state: TrackState<B>) {
        let mut track = self.lock();
        if matches!(track.state, TrackState::Left) {
            return;
        }
        (track.next, track.state) = (next, state);
        let reader = track.reader.take();
        drop(track);
        reader.into_iter().for_each(Waker::wake);
    }
}

impl<B: Body> Reader<B> {
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut track = self.0.lock();
        if let Some(piece) = track.buffer.give() {
            let task = track.task.take();
            drop(track);
            task.into_iter().for_each(Waker::wake);
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if let Some(next) = track.next.take() {
            return Poll::Ready(Some(next));
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

    pub(crate) fn is_end_stream(&self) -> bool {
        let track = self.0.lock();
        track.buffer.is_all_given()
            && track.next.is_none()
            && match &track.state {
                TrackState::Ended | TrackState::Left => true,
                TrackState::Back(body) => body.is_end_stream(),
                TrackState::Reading | TrackState::Panicked(_) => false,
            }
    }
}

impl<B: Body> Drop for Reader<B> {
    fn drop(&mut self) {
        let mut track = self.0.lock();
        let state = std::mem::replace(&mut track.state, TrackState::Left);
        track.buffer.forget_client();
        let (next, task) = (track.next.take(), track.task.take());
        drop(track);
        task.into_iter().for_each(Waker::wake);
        drop((state, next));
    }
}

/// How many frames are read at a time.
pub(crate) const FRAMES_AT_ONCE: usize = 64;

/// After this a body is its client's alone, and is not kept.
pub(crate) const LONGEST_FILL: Duration = Duration::from_secs(60);
