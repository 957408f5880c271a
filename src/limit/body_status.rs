use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http_body::Body;

use super::decompress::DecodeError;
use crate::drain::{DrainLimit, Drains, Permit};

/// The reason for which the layer ended a request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFailure {
    TooLarge,
    Malformed,
    TooSlow,
}

/// The status of a request body, shared between the body and the response future.
///
/// The body records its failure here, and the response future reads the failure once the inner
/// service has responded. The unread part of a failed body is drained at once.
#[derive(Debug)]
pub(super) struct BodyStatus {
    /// 0 while the body has not failed.
    state: AtomicU8,
    drains: Arc<Drains>,
    limit: DrainLimit,
    /// The unread part of a body that the inner service read in part and dropped.
    dropped: Mutex<Option<UnreadBody>>,
}

/// A recorded failure of a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct FailedBody {
    pub(super) failure: BodyFailure,
    /// The body is at its end, or its drain is expected to reach the end.
    pub(super) keeps_connection: bool,
}

/// The unread part of a body that is not at its end.
pub(super) struct UnreadBody(Box<dyn FnOnce(Permit) + Send>);

impl BodyStatus {
    pub(super) fn new(drains: Arc<Drains>, limit: DrainLimit) -> Self {
        Self { state: AtomicU8::new(0), drains, limit, dropped: Mutex::new(None) }
    }

    /// Returns the failure of the body, if it has failed.
    pub(super) fn get(&self) -> Option<FailedBody> {
        let state = self.state.load(Ordering::Acquire);
        let failure = match state & !KEEPS_CONNECTION {
            TOO_LARGE => BodyFailure::TooLarge,
            MALFORMED => BodyFailure::Malformed,
            TOO_SLOW => BodyFailure::TooSlow,
            _ => return None,
        };
        Some(FailedBody { failure, keeps_connection: state & KEEPS_CONNECTION != 0 })
    }

    /// Records a failure and drains the unread part of the body, if there is one.
    pub(super) fn fail(&self, failure: BodyFailure, unread: Option<UnreadBody>) {
        let state = match failure {
            BodyFailure::TooLarge => TOO_LARGE,
            BodyFailure::Malformed => MALFORMED,
            BodyFailure::TooSlow => TOO_SLOW,
        };
        // A client that is too slow for the inner service is too slow for a drain as well.
        let is_drained =
            unread.is_none_or(|unread| failure != BodyFailure::TooSlow && self.drain(unread));
        // Stored last and with `Release`: the response future must not see a failure before it is known
        // whether the connection is kept.
        let state = if is_drained { state | KEEPS_CONNECTION } else { state };
        self.state.store(state, Ordering::Release);
    }

    /// Keeps the unread part of a dropped body until the response shows whether to drain it.
    pub(super) fn keep_dropped(&self, unread: Option<UnreadBody>) {
        // No code that can panic runs under the lock, and the value is valid in any case.
        *self.dropped.lock().unwrap_or_else(PoisonError::into_inner) = unread;
    }

    /// Drains the body that the inner service dropped, if there is one.
    pub(super) fn drain_dropped(&self) {
        let unread = self.dropped.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(unread) = unread {
            self.drain(unread);
        }
    }

    /// Starts a drain. Returns `true` if the connection can be kept.
    fn drain(&self, UnreadBody(drain): UnreadBody) -> bool {
        // A limit of 0 turns draining off, and must not count as a skipped drain.
        if self.limit.max == 0 {
            return false;
        }
        let Some(permit) = self.drains.try_acquire(self.limit) else { return false };
        let keeps_connection = permit.keeps_connection();
        drain(permit);
        keeps_connection
    }
}

impl UnreadBody {
    /// Wraps `body`, or returns `None` if the body is at its end.
    pub(super) fn new<B>(body: B) -> Option<Self>
    where
        B: Body + Send + 'static,
    {
        (!body.is_end_stream()).then(|| Self(Box::new(|permit| permit.drain(body))))
    }
}

impl From<DecodeError> for BodyFailure {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Malformed => Self::Malformed,
            DecodeError::TooLarge => Self::TooLarge,
        }
    }
}

impl fmt::Debug for UnreadBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnreadBody")
    }
}

const TOO_LARGE: u8 = 1;
const MALFORMED: u8 = 2;
const TOO_SLOW: u8 = 3;

/// The bit that [`FailedBody::keeps_connection`] adds to the failures.
const KEEPS_CONNECTION: u8 = 1 << 7;
