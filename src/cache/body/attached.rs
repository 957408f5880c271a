//! A body that is recorded while its client reads it, and as fast as that.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};

use super::super::metrics::Fallback;
use super::super::task::Alarm;
use super::background::LONGEST_FILL;
use super::buffer::Buffer;
use super::error::BodyError;
use super::recorder::{Abandoned, Recording};
use super::shared::BoxedBody;

/// The part of a body that was read before its client asked for it, and then the body itself. While
/// the body is recorded, its client is the one who reads.
pub(crate) struct Attached {
    ahead: Option<Buffer>,
    /// The number of bytes of `ahead` that the client was given.
    given: usize,
    /// The frame after that, if it is not data, or has no place there.
    next: Option<Result<Frame<Bytes>, BodyError>>,
    /// None if the body was read to its end.
    body: Option<BoxedBody>,
    recording: Option<Timed>,
}

/// A recording that its client and a timer share: the timer frees its memory though the client does
/// not read.
struct Timed {
    shared: Arc<Shared>,
    _alarm: Alarm,
}

/// None once the recording is over.
struct Shared(Mutex<Option<(Recording, Buffer)>>);

impl Attached {
    /// A body that is not recorded any more.
    pub(crate) fn unrecorded(
        ahead: Buffer,
        next: Option<Result<Frame<Bytes>, BodyError>>,
        body: Option<BoxedBody>,
    ) -> Self {
        Self { ahead: Some(ahead), given: 0, next, body, recording: None }
    }

    /// A body that is recorded from here on as its client reads. No other request waits for that.
    pub(crate) fn recorded(mut buffer: Buffer, body: BoxedBody, mut recording: Recording) -> Self {
        buffer.own();
        let Some(ahead) = buffer.another() else {
            recording.abandon(Abandoned::Scarce(Fallback::Budget));
            return Self::unrecorded(buffer, None, Some(body));
        };
        ahead.charge().set_unread(ahead.len() as u64);
        recording.leave_followers(Fallback::Fills);
        let shared = Arc::new(Shared(Mutex::new(Some((recording, buffer)))));
        let timed = Arc::clone(&shared);
        let alarm = Alarm::after(LONGEST_FILL, move || {
            if let Some((recording, _)) = timed.take() {
                recording.abandon(Abandoned::Scarce(Fallback::FillTime));
            }
        });
        let recording = Some(Timed { shared, _alarm: alarm });
        Self { ahead: Some(ahead), given: 0, next: None, body: Some(body), recording }
    }

    pub(crate) fn is_recording(&self) -> bool {
        self.recording.as_ref().is_some_and(|recording| recording.shared.lock().is_some())
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(ahead) = &mut self.ahead {
            if let Some(piece) = ahead.read(self.given) {
                self.given += piece.len();
                ahead.charge().set_unread((ahead.len() - self.given) as u64);
                ahead.drop_before(self.given);
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            self.ahead = None;
        }
        if let Some(next) = self.next.take() {
            return Poll::Ready(Some(next));
        }
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(body.as_mut().poll_frame(cx));
        match (&frame, &self.recording) {
            (Some(Ok(frame)), Some(recording)) => recording.shared.push(frame),
            (None, Some(recording)) => recording.shared.finish(),
            // The next request for the response fetches.
            (Some(Err(_)), Some(recording)) => drop(recording.shared.take()),
            (_, None) => {}
        }
        Poll::Ready(frame)
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.ahead.as_ref().is_none_or(|ahead| ahead.len() == self.given)
            && self.next.is_none()
            && self.body.as_ref().is_none_or(|body| body.is_end_stream() && !self.is_recording())
    }
}

impl Drop for Attached {
    /// A server that has sent the length which the head states reads no further.
    fn drop(&mut self) {
        if let Some(Timed { shared, .. }) = &self.recording {
            let whole = shared
                .lock()
                .as_ref()
                .is_some_and(|(recording, buffer)| recording.declared == Some(buffer.len() as u64));
            if whole {
                shared.finish();
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<(Recording, Buffer)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<(Recording, Buffer)> {
        self.lock().take()
    }

    fn push(&self, frame: &Frame<Bytes>) {
        let mut shared = self.lock();
        let Some((recording, buffer)) = &mut *shared else { return };
        if let Err(why) = recording.push(frame, buffer) {
            let over = shared.take();
            drop(shared);
            over.into_iter().for_each(|(recording, _)| recording.abandon(why));
        }
    }

    fn finish(&self) {
        let Some((recording, mut buffer)) = self.take() else { return };
        let len = buffer.len();
        match buffer.freeze(len) {
            Ok((body, charge)) => recording.finish_late(body, &charge),
            Err(over) => recording.abandon(over.into()),
        }
    }
}
