use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http_body::Body;

use crate::drain::{Drains, Permit, Unread};

/// How a body has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    TooLarge,
    Malformed,
    TooSlow,
}

/// Tells the response future how the body has failed, and discards the rest of it.
#[derive(Debug)]
pub(super) struct OnFailure {
    state: AtomicU8,
    drains: Arc<Drains>,
    unread: Unread,
    /// Of a body that the service has begun to read, and has dropped.
    rest: Mutex<Option<Rest>>,
}

/// The part of a body that has not been read, which is not empty.
pub(super) struct Rest(Box<dyn FnOnce(Permit) + Send>);

impl OnFailure {
    pub(super) fn new(drains: Arc<Drains>, unread: Unread) -> Self {
        Self { state: AtomicU8::new(0), drains, unread, rest: Mutex::new(None) }
    }

    /// Returns how the body has failed, and whether the connection can be kept.
    pub(super) fn get(&self) -> Option<(Failure, bool)> {
        let state = self.state.load(Ordering::Acquire);
        let failure = match state & !KEPT {
            TOO_LARGE => Failure::TooLarge,
            MALFORMED => Failure::Malformed,
            TOO_SLOW => Failure::TooSlow,
            _ => return None,
        };
        Some((failure, state & KEPT != 0))
    }

    /// Notes that the body has failed. `rest` is `None` if it is at its end.
    pub(super) fn failed(&self, failure: Failure, rest: Option<Rest>) {
        let state = match failure {
            Failure::TooLarge => TOO_LARGE,
            Failure::Malformed => MALFORMED,
            Failure::TooSlow => TOO_SLOW,
        };
        // A client that is too slow for the service is too slow for this, too.
        let kept = rest.is_none_or(|rest| failure != Failure::TooSlow && self.discard(rest));
        self.state.store(if kept { state | KEPT } else { state }, Ordering::Release);
    }

    /// Keeps the rest of a body that the service has dropped until its response shows whether to
    /// discard it.
    pub(super) fn dropped(&self, rest: Option<Rest>) {
        *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = rest;
    }

    /// Discards the rest of a body that the service has dropped.
    pub(super) fn discard_dropped(&self) {
        let rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(rest) = rest {
            self.discard(rest);
        }
    }

    /// Returns `true` if the connection can be kept.
    fn discard(&self, Rest(drain): Rest) -> bool {
        if self.unread.max == 0 {
            return false;
        }
        let Some(permit) = self.drains.permit(self.unread) else { return false };
        let kept = permit.keeps_connection();
        drain(permit);
        kept
    }
}

impl Rest {
    pub(super) fn new<B>(body: B) -> Option<Self>
    where
        B: Body + Send + 'static,
    {
        (!body.is_end_stream()).then(|| Self(Box::new(|permit| permit.drain(body))))
    }
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rest")
    }
}

const TOO_LARGE: u8 = 1;
const MALFORMED: u8 = 2;
const TOO_SLOW: u8 = 3;

/// Added to the others: the connection can be kept.
const KEPT: u8 = 1 << 7;
