//! Background draining of rejected request bodies, so that clients see the response.
//!
//! A server that closes a connection with unread data in its receive buffer sends a TCP reset, and a
//! client that is still uploading then fails before it reads the response (RFC 9112 §9.6). Over
//! HTTP/2 the server resets the stream, and many clients report the reset instead of the response.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::task::Poll;
use std::time::Duration;

use bytes::Buf;
use http::header::EXPECT;
use http::{HeaderMap, Version};
use http_body::Body;
use metrics::{Label, Unit};
use tokio::runtime::Handle;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::MIB;
use crate::headers::list;
use crate::metrics::{Metrics, Name};

/// The drains of one layer, at most [`MAX_DRAINS`] of which run at a time.
#[derive(Debug)]
pub(crate) struct Drains {
    layer: &'static str,
    metrics: Metrics,
    running: AtomicUsize,
    registered: Once,
}

/// A permit to drain one request body. Dropping the permit releases its slot.
#[derive(Debug)]
pub(crate) struct Permit {
    drains: Arc<Drains>,
    limit: DrainLimit,
}

/// The number of bytes of a rejected body that may be read and discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DrainLimit {
    /// The maximum number of bytes to read.
    pub(crate) max: u64,
    /// The declared length is at most `max`, or no length is declared.
    pub(crate) fits: bool,
}

/// The outcome of a drain, as the metric's label reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The body was read to its end.
    Complete,
    /// The body exceeded its [`DrainLimit`].
    TooLarge,
    /// The body did not end within [`TIMEOUT`].
    TimedOut,
    /// The client disconnected or broke the protocol.
    Failed,
    /// The drain did not start, because [`MAX_DRAINS`] others were running.
    Skipped,
}

impl Drains {
    pub(crate) fn new(layer: &'static str, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self { layer, metrics, running: AtomicUsize::new(0), registered: Once::new() })
    }

    /// Returns a permit to drain one body, or `None` outside of a tokio runtime and while
    /// [`MAX_DRAINS`] drains are running. The latter is counted as [`Outcome::Skipped`].
    // A counter suffices in place of tokio's `Semaphore`: no caller waits for a permit, and nothing
    // else in the layer needs tokio's feature `sync`.
    pub(crate) fn try_acquire(self: &Arc<Self>, limit: DrainLimit) -> Option<Permit> {
        self.registered.call_once(|| OUTCOMES.iter().for_each(|outcome| self.record(*outcome, 0)));
        if Handle::try_current().is_err() {
            return None;
        }
        // Created before the check, so that its drop undoes the increment of a failed attempt.
        let permit = Permit { drains: Arc::clone(self), limit };
        if self.running.fetch_add(1, Ordering::Relaxed) >= MAX_DRAINS {
            self.record(Outcome::Skipped, 1);
            return None;
        }
        Some(permit)
    }

    fn record(&self, outcome: Outcome, count: u64) {
        let labels = [("layer", self.layer), ("outcome", outcome.as_str())];
        let labels = labels.map(|(name, value)| Label::from_static_parts(name, value));
        self.metrics.counter(DRAINS, labels.to_vec()).increment(count);
    }
}

impl Permit {
    /// Returns `true` if the drain is expected to reach the end of the body, so that an HTTP/1
    /// connection can be reused.
    pub(crate) fn keeps_connection(&self) -> bool {
        self.limit.fits
    }

    /// Reads and discards `body` in a background task, within the permit's [`DrainLimit`] and
    /// [`TIMEOUT`].
    pub(crate) fn drain<B>(self, body: B)
    where
        B: Body + Send + 'static,
    {
        spawn(async move {
            let outcome = discard_in_time(body, self.limit.max).await;
            self.drains.record(outcome, 1);
        });
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.drains.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl DrainLimit {
    /// Creates a limit of `max` bytes for a body of `declared` bytes, if the length is known.
    pub(crate) fn new(max: u64, declared: Option<u64>) -> Self {
        Self { max, fits: declared.is_none_or(|declared| declared <= max) }
    }
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::TooLarge => "too_large",
            Self::TimedOut => "timed_out",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// Returns `true` if the client sends the body only after `100 Continue` (RFC 9110 §10.1.1).
///
/// Such a body must not be drained: polling it makes hyper ask the client to send it. HTTP/1.0 has no
/// `100 Continue`, and its `expect` headers are ignored.
pub(crate) fn expects_continue(version: Version, headers: &HeaderMap) -> bool {
    let is_continue = |member: &[u8]| member.eq_ignore_ascii_case(b"100-continue");
    version >= Version::HTTP_11 && list::members(headers, &EXPECT).any(is_continue)
}

// The response cannot wait for the drain: many clients stop sending once they have read the
// response. The response body cannot drive the drain either: hyper drops it at its declared length.
#[expect(clippy::disallowed_methods, reason = "bounded in number and time by the permit")]
fn spawn(work: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(work));
}

async fn discard_in_time<B: Body>(body: B, max: u64) -> Outcome {
    let mut discarded = pin!(discard(body, max));
    // Registering a timer costs more than reading a small body that has already arrived: the first
    // polls go without one, in turns with the task of the connection.
    for _ in 0..POLLS_BEFORE_TIMER {
        let polled = poll_fn(|cx| Poll::Ready(discarded.as_mut().poll(cx))).await;
        if let Poll::Ready(outcome) = polled {
            return outcome;
        }
        reschedule().await;
    }
    timeout(TIMEOUT, discarded).await.unwrap_or(Outcome::TimedOut)
}

/// Sends the current task to the back of the run queue. Unlike tokio's `yield_now`, the task does not
/// wait until the runtime has polled its I/O driver.
async fn reschedule() {
    let mut rescheduled = false;
    poll_fn(|cx| {
        if rescheduled {
            return Poll::Ready(());
        }
        rescheduled = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

async fn discard<B: Body>(body: B, max: u64) -> Outcome {
    let mut body = pin!(body);
    let mut left = max;
    let mut frames = 0_u32;
    while !body.is_end_stream() {
        match poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            None => break,
            Some(Err(_)) => return Outcome::Failed,
            Some(Ok(frame)) => {
                // An empty frame counts as one byte: otherwise an endless run of them has no limit.
                let len = frame.data_ref().map_or(0, Buf::remaining).max(1) as u64;
                let Some(rest) = left.checked_sub(len) else { return Outcome::TooLarge };
                left = rest;
            }
        }
        // A body that is always ready would keep `timeout` from polling its timer.
        frames = frames.wrapping_add(1);
        if frames % 64 == 0 {
            yield_now().await;
        }
    }
    Outcome::Complete
}

/// The default of [`DrainLimit::max`], in bytes.
pub(crate) const DEFAULT_MAX: u64 = 8 * MIB;

/// The maximum number of concurrent drains of a layer.
const MAX_DRAINS: usize = 256;

/// The maximum duration of a drain. Kestrel uses the same value; a client that only has to finish a
/// write in progress takes less.
const TIMEOUT: Duration = Duration::from_secs(5);

const POLLS_BEFORE_TIMER: usize = 3;

const OUTCOMES: [Outcome; 5] =
    [Outcome::Complete, Outcome::TooLarge, Outcome::TimedOut, Outcome::Failed, Outcome::Skipped];

const DRAINS: Name = Name::new(
    "http_request_drains_total",
    Unit::Count,
    "Bodies of rejected requests that the layer read and discarded, by outcome.",
);
