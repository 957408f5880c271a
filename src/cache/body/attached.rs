//! A body that is recorded while its client reads it, and as fast as that.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};

use super::super::buffer::Buffer;
use super::super::metrics::Fallback;
use super::super::task::Alarm;
use super::background::LONGEST_FILL;
use super::recorder::{Recording, Unkept, to_bytes};

/// The part of a body that was read before its client asked for it, and then the body itself. While
/// the body is recorded, its client is the one who reads.
pub(crate) struct Attached<B: Body> {
    ahead: Option<Buffer>,
    /// The frame after that, if it is not data, or has no place there.
    next: Option<Result<Frame<Bytes>, B::Error>>,
    /// None if it was read to its end.
    body: Option<Pin<Box<B>>>,
    recording: Option<Timed>,
}

/// A recording that its client's reading and a timer share: memory is given back on time, though
/// the client does not read.
struct Timed {
    held: Arc<Shared>,
    _alarm: Alarm,
}

/// None once the recording is over.
struct Shared(Mutex<Option<(Recording, Buffer)>>);

impl<B: Body> Attached<B> {
    /// A body that is not recorded any more.
    pub(crate) fn unrecorded(
        mut ahead: Buffer,
        next: Option<Result<Frame<Bytes>, B::Error>>,
        body: Option<Pin<Box<B>>>,
    ) -> Self {
        ahead.keep_unread();
        Self { ahead: Some(ahead), next, body, recording: None }
    }

    /// A body that is recorded from here on as its client reads. Nobody else waits for that.
    pub(crate) fn recorded(
        mut buffer: Buffer,
        body: Pin<Box<B>>,
        mut recording: Recording,
    ) -> Self {
        let ahead = buffer.copy_for_client();
        let Some(ahead) = ahead.filter(|_| buffer.own().is_ok()) else {
            recording.give_up(Unkept::Scarce(Fallback::Budget));
            return Self::unrecorded(buffer, None, Some(body));
        };
        buffer.forget_client();
        recording.outlast_head();
        recording.leave_followers(Fallback::Fills);
        let held = Arc::new(Shared(Mutex::new(Some((recording, buffer)))));
        let timed = Arc::clone(&held);
        let alarm = Alarm::after(LONGEST_FILL, move || {
            if let Some((recording, _)) = timed.take() {
                recording.give_up(Unkept::Scarce(Fallback::FillTime));
            }
        });
        let recording = Some(Timed { held, _alarm: alarm });
        Self { ahead: Some(ahead), next: None, body: Some(body), recording }
    }

    pub(crate) fn is_recording(&self) -> bool {
        self.recording.as_ref().is_some_and(|recording| recording.held.lock().is_some())
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(piece) = self.ahead.as_mut().and_then(Buffer::give) {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        self.ahead = None;
        if let Some(next) = self.next.take() {
            return Poll::Ready(Some(next));
        }
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(body.as_mut().poll_frame(cx)).map(to_bytes);
        match (&frame, &self.recording) {
            (Some(Ok(frame)), Some(recording)) => recording.held.push(frame),
            (None, Some(recording)) => recording.held.finish(),
            // Whoever waited for it takes over.
            (Some(Err(_)), Some(recording)) => drop(recording.held.take()),
            (_, None) => {}
        }
        Poll::Ready(frame)
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.ahead.as_ref().is_none_or(Buffer::is_all_given)
            && self.next.is_none()
            && self.body.as_ref().is_none_or(|body| body.is_end_stream() && !self.is_recording())
    }
}

impl<B: Body> Drop for Attached<B> {
    /// A server that has sent the length which the head states reads no further.
    fn drop(&mut self) {
        if let Some(Timed { held, .. }) = &self.recording {
            let whole = held
                .lock()
                .as_ref()
                .is_some_and(|(recording, buffer)| recording.declared == Some(buffer.len() as u64));
            if whole {
                held.finish();
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
        let mut held = self.lock();
        let Some((recording, buffer)) = &mut *held else { return };
        if let Err(why) = recording.push(frame, buffer) {
            let over = held.take();
            drop(held);
            over.into_iter().for_each(|(recording, _)| recording.give_up(why));
        }
    }

    fn finish(&self) {
        if let Some((recording, mut buffer)) = self.take() {
            recording.finish(buffer.freeze(), buffer.charge());
        }
    }
}
