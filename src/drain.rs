//! Reads and discards the rest of a refused request body.
//!
//! A server that closes a connection before it has read all that the client sent resets it, and a
//! client that is still sending then fails before it reads the response (RFC 9112 §9.6). Over
//! HTTP/2 the stream is reset, which many clients report in place of the response.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::task::Poll;
use std::time::Duration;

use bytes::Buf;
use http::header::EXPECT;
use http::{HeaderMap, HeaderValue, Version};
use http_body::Body;
use metrics::{Label, Unit};
use tokio::runtime::Handle;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::MIB;
use crate::metrics::{Metrics, Name};

/// The drains of one layer, of which only so many run at a time.
#[derive(Debug)]
pub(crate) struct Drains {
    layer: &'static str,
    metrics: Metrics,
    running: AtomicUsize,
    registered: Once,
}

/// The right to drain one body. It is given back on drop.
#[derive(Debug)]
pub(crate) struct Permit {
    drains: Arc<Drains>,
    unread: Unread,
}

/// The unread part of a body that a layer refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    /// The maximum number of bytes to read of it.
    pub(crate) max: u64,
    /// The declared length is within `max`, or there is none.
    pub(crate) fits: bool,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The body was read to its end.
    Complete,
    /// More bytes came than are read.
    TooLarge,
    /// The end did not come in time.
    TimedOut,
    /// The client went away, or broke the protocol.
    Failed,
    /// It did not begin: too many others ran.
    Skipped,
}

impl Drains {
    pub(crate) fn new(layer: &'static str, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self { layer, metrics, running: AtomicUsize::new(0), registered: Once::new() })
    }

    /// Returns `None` where [`MAX_DRAINS`] run already, which is counted, and outside of a tokio
    /// runtime.
    pub(crate) fn permit(self: &Arc<Self>, unread: Unread) -> Option<Permit> {
        self.registered.call_once(|| OUTCOMES.iter().for_each(|outcome| self.add(*outcome, 0)));
        if Handle::try_current().is_err() {
            return None;
        }
        // Before the check, so that two callers cannot both take the last one.
        let permit = Permit { drains: Arc::clone(self), unread };
        if self.running.fetch_add(1, Ordering::Relaxed) >= MAX_DRAINS {
            self.add(Outcome::Skipped, 1);
            return None;
        }
        Some(permit)
    }

    fn add(&self, outcome: Outcome, count: u64) {
        let labels = [("layer", self.layer), ("outcome", outcome.as_str())];
        let labels = labels.map(|(name, value)| Label::from_static_parts(name, value));
        self.metrics.counter(DRAINS, labels.to_vec()).increment(count);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.drains.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Permit {
    /// Returns `true` if the connection can be kept, as far as the client has told.
    pub(crate) fn keeps_connection(&self) -> bool {
        self.unread.fits
    }

    /// Reads `body` to its end in a task of its own, but no more of it than may be, and for no
    /// longer than [`MAX_TIME`].
    pub(crate) fn drain<B>(self, body: B)
    where
        B: Body + Send + 'static,
    {
        spawn(async move {
            let outcome = discard_in_time(body, self.unread.max).await;
            self.drains.add(outcome, 1);
        });
    }
}

/// The response must not wait for the body: many clients stop sending once they have read it. And
/// its own body cannot do the work, since hyper drops that at its declared length.
#[expect(clippy::disallowed_methods, reason = "bounded in number and time by the permit")]
fn spawn(work: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(work));
}

async fn discard_in_time<B: Body>(body: B, max: u64) -> Outcome {
    let mut discarded = pin!(discard(body, max));
    // A timer costs more than a small body. So one that has arrived already is read without it, in
    // turns with the connection.
    for _ in 0..TURNS {
        let polled = poll_fn(|cx| Poll::Ready(discarded.as_mut().poll(cx))).await;
        if let Poll::Ready(outcome) = polled {
            return outcome;
        }
        next_turn().await;
    }
    timeout(MAX_TIME, discarded).await.unwrap_or(Outcome::TimedOut)
}

/// Lets other tasks run. Unlike tokio's `yield_now`, does not wait for the sockets to be looked at.
async fn next_turn() {
    let mut waited = false;
    poll_fn(|cx| {
        if waited {
            return Poll::Ready(());
        }
        waited = true;
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
                // A frame of no data costs as much as one of a byte.
                let len = frame.data_ref().map_or(0, Buf::remaining).max(1) as u64;
                let Some(rest) = left.checked_sub(len) else { return Outcome::TooLarge };
                left = rest;
            }
        }
        // Frames that are always there must not keep the time limit from being looked at.
        frames = frames.wrapping_add(1);
        if frames % 64 == 0 {
            yield_now().await;
        }
    }
    Outcome::Complete
}

impl Unread {
    /// A part of which at most `max` bytes are read. `declared` is its length, if it is known.
    pub(crate) fn new(max: u64, declared: Option<u64>) -> Self {
        Self { max, fits: declared.is_none_or(|declared| declared <= max) }
    }
}

/// Returns `true` if the client sends the body only after `100 Continue` (RFC 9110 §10.1.1; HTTP/1.0
/// has no such thing). To read such a body is to ask for it.
pub(crate) fn expects_continue(version: Version, headers: &HeaderMap) -> bool {
    let is_continue = |value: &HeaderValue| {
        let mut members = value.as_bytes().split(|&byte| byte == b',');
        members.any(|member| member.trim_ascii().eq_ignore_ascii_case(b"100-continue"))
    };
    version >= Version::HTTP_11 && headers.get_all(EXPECT).iter().any(is_continue)
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

/// As long as Kestrel reads on, and longer than a client takes that only finishes its write.
const MAX_TIME: Duration = Duration::from_secs(5);

/// How often the connection gets a turn before there is a timer.
const TURNS: usize = 3;

/// For each layer.
const MAX_DRAINS: usize = 256;

/// How much is read by default.
pub(crate) const DEFAULT_MAX: u64 = 8 * MIB;

const OUTCOMES: [Outcome; 5] =
    [Outcome::Complete, Outcome::TooLarge, Outcome::TimedOut, Outcome::Failed, Outcome::Skipped];

const DRAINS: Name = Name::new(
    "http_request_drains_total",
    Unit::Count,
    "Bodies of refused requests that were read on so that the client sees the response, by outcome.",
);
