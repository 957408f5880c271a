use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep_until};

use super::limits::MinDataRate;
use crate::clock;

/// A timer that enforces the minimum data rate of a body.
///
/// Only the time counts during which the inner service waits for the body: a slow inner service is
/// not the client's fault.
#[derive(Debug)]
pub(super) struct RateTimer {
    rate: MinDataRate,
    /// The remaining time for which the body may be pending.
    budget: Duration,
    pending_since: Option<Instant>,
    /// A timer that fires at the end of the budget, or earlier.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl RateTimer {
    pub(super) fn new(rate: MinDataRate) -> Self {
        Self { rate, budget: rate.grace, pending_since: None, sleep: None }
    }

    /// Records that the body is ready, with `bytes` of data.
    pub(super) fn record(&mut self, bytes: u64) {
        if let Some(since) = self.pending_since.take() {
            self.budget =
                self.budget.saturating_sub(clock::timer_now().saturating_duration_since(since));
        }
        self.budget = self.rate.refill(self.budget, bytes);
    }

    /// Records that the body is pending. Returns `Ready` once the budget is used up.
    pub(super) fn poll_exhausted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let since = *self.pending_since.get_or_insert_with(clock::timer_now);
        let Some(deadline) = since.checked_add(self.budget) else { return Poll::Pending };
        let sleep = match &mut self.sleep {
            Some(sleep) => sleep,
            // Creating a timer outside of a runtime panics.
            None if Handle::try_current().is_err() => return Poll::Pending,
            None => self.sleep.insert(Box::pin(sleep_until(deadline))),
        };
        // Resetting a timer costs more than reading a frame. A timer that is due too early stays, and
        // is reset when it fires.
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        ready!(sleep.as_mut().poll(cx));
        if sleep.deadline() < deadline {
            sleep.as_mut().reset(deadline);
            ready!(sleep.as_mut().poll(cx));
        }
        Poll::Ready(())
    }
}
