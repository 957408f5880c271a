use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep_until};

use super::policy::MinRate;
use crate::clock;

/// Measures how long the service waits for a body.
///
/// Only the time counts in which it asks for more: a service that reads slowly is no fault of the
/// client's.
#[derive(Debug)]
pub(super) struct Pace {
    rate: MinRate,
    /// For how long it may still wait.
    budget: Duration,
    waiting_since: Option<Instant>,
    /// Until the end of the budget, or earlier.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(super) fn new(rate: MinRate) -> Self {
        Self { rate, budget: rate.grace, waiting_since: None, sleep: None }
    }

    /// Notes that bytes have arrived, or the end.
    pub(super) fn arrived(&mut self, bytes: u64) {
        if let Some(since) = self.waiting_since.take() {
            self.budget =
                self.budget.saturating_sub(clock::timer_now().saturating_duration_since(since));
        }
        self.budget = self.rate.refill(self.budget, bytes);
    }

    /// Notes that the body is pending. Is ready once that has been so for too long.
    pub(super) fn poll_slow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let since = *self.waiting_since.get_or_insert_with(clock::timer_now);
        // A budget beyond the end of time never ends.
        let Some(deadline) = since.checked_add(self.budget) else { return Poll::Pending };
        let sleep = match &mut self.sleep {
            Some(sleep) => sleep,
            // The timer is the runtime's. Without one there is no time to measure.
            None if Handle::try_current().is_err() => return Poll::Pending,
            None => self.sleep.insert(Box::pin(sleep_until(deadline))),
        };
        // Setting a timer costs more than a frame: one that ends early is set again only then.
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
