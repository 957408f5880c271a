//! The task that reads a body to its end for the store, while clients read it at their own pace.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;

use super::super::metrics::Fallback;
use super::super::task::{Slot, spawn};
use super::buffer::Buffer;
use super::error::BodyError;
use super::recorder::{Abandoned, Recording};
use super::shared::{BoxedBody, Reader, SharedBody};

/// A body that a task reads.
struct BackgroundRead {
    shared: Arc<SharedBody>,
    /// None once the body has ended, or its only client reads it.
    body: Option<BoxedBody>,
    /// None once the body is not recorded any more.
    recording: Option<Recording>,
    /// The most bytes that a client may be slower than the fastest one.
    window: usize,
}

/// Starts the task, and lets other requests for the same response follow the body. Returns the
/// first client.
pub(crate) fn start(buffer: Buffer, body: BoxedBody, recording: Recording, slot: Slot) -> Reader {
    let (shared, reader) = SharedBody::new(buffer);
    recording.share(&shared);
    let window = usize::try_from(recording.config.rules.entry_limit).unwrap_or(usize::MAX);
    let mut read = BackgroundRead { shared, body: Some(body), recording: Some(recording), window };
    spawn(async move {
        let recorded = poll_fn(|cx| read.poll(cx));
        if tokio::time::timeout(LONGEST_FILL, recorded).await.is_err() {
            read.abandon(Abandoned::Scarce(Fallback::FillTime));
        }
        // The clients that still read the body bound the rest.
        drop(slot);
        poll_fn(|cx| read.poll(cx)).await;
    });
    reader
}

impl BackgroundRead {
    /// Reads until the body ends or, while it is recorded, until that is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let polled = catch_unwind(AssertUnwindSafe(|| self.poll_frames(cx)));
        polled.unwrap_or_else(|panic| {
            (self.body, self.recording) = (None, None);
            self.shared.panic(panic);
            Poll::Ready(())
        })
    }

    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let was_recorded = self.recording.is_some();
        // Lets other tasks run now and then, if a body is always ready.
        for _ in 0..FRAMES_AT_ONCE {
            let Some(body) = &mut self.body else { return Poll::Ready(()) };
            if self.recording.is_none() && self.shared.is_unread() {
                self.body = None;
                return Poll::Ready(());
            }
            if !self.shared.may_read(cx) {
                return Poll::Pending;
            }
            let Poll::Ready(frame) = body.as_mut().poll_frame(cx) else { return Poll::Pending };
            match frame {
                Some(Ok(frame)) => self.push(frame),
                Some(Err(error)) => self.fail(error),
                None => self.finish(),
            }
            if was_recorded && self.recording.is_none() {
                return Poll::Ready(());
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn push(&mut self, frame: Frame<Bytes>) {
        if let Some(recording) = &mut self.recording {
            match self.shared.fill(|buffer| recording.push(&frame, buffer)) {
                Ok(()) => {}
                Err(why) => self.abandon_with(why, Some(frame)),
            }
        } else {
            self.pass(frame);
        }
    }

    /// Gives a frame to the clients of a body that is not recorded.
    fn pass(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(data) => self.shared.pass(data, self.window),
            Err(frame) => {
                self.body = None;
                self.shared.complete(frame.into_trailers().ok());
            }
        }
    }

    fn fail(&mut self, error: BodyError) {
        // The next request for the response fetches.
        (self.body, self.recording) = (None, None);
        self.shared.fail(error);
    }

    fn finish(&mut self) {
        self.body = None;
        if let Some(recording) = self.recording.take() {
            match self.shared.freeze(Buffer::freeze) {
                Ok((body, charge)) => recording.finish_late(body, &charge),
                Err(over) => recording.abandon(over.into()),
            }
        }
        self.shared.complete(None);
    }

    /// Gives up recording. The clients that have joined read on.
    fn abandon(&mut self, why: Abandoned) {
        self.abandon_with(why, None);
    }

    /// Gives up recording because of a frame, which the clients get.
    fn abandon_with(&mut self, why: Abandoned, frame: Option<Frame<Bytes>>) {
        if let Some(recording) = self.recording.take() {
            recording.abandon(why);
        }
        if let Some(frame) = frame {
            self.pass(frame);
        }
        self.body = self.body.take().and_then(|body| self.shared.stop_recording(body));
    }
}

/// The number of frames that are read at a time.
pub(crate) const FRAMES_AT_ONCE: usize = 64;

/// The time after which a body is not recorded any more.
pub(crate) const LONGEST_FILL: Duration = Duration::from_secs(60);
