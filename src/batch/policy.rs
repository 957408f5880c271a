use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// The maximum number of items of a batch.
    pub(super) max_size: usize,
    /// The maximum sum of the weights of a batch.
    pub(super) max_weight: usize,
    pub(super) max_delay: Duration,
    pub(super) max_queued: usize,
    pub(super) max_concurrency: usize,
    pub(super) send_when_idle: bool,
    pub(super) keep_abandoned: bool,
}

/// The load of the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) items: usize,
    /// The sum of the weights. `u128`, so that `usize` weights cannot overflow it.
    pub(super) weight: u128,
    /// The number of callers, which exceeds the number of items if callers share items.
    pub(super) callers: usize,
}

/// A snapshot of the queue, from which the worker's next action follows.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueState {
    pub(super) load: Load,
    /// The time since which the first item is queued. `None` if the queue is empty.
    pub(super) queued_since: Option<Instant>,
    /// `true` if the first item was flushed.
    pub(super) flushed: bool,
    /// `true` if no more items can be queued.
    pub(super) closed: bool,
    /// The number of batches that the service is processing.
    pub(super) in_flight: usize,
}

/// The worker's next action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Send,
    /// A batch is due, but as many as allowed are in flight.
    WaitForCompletion,
    /// A batch is due at this time, or once the queue changes.
    WaitUntil(Instant),
    WaitForItems,
    Stop,
}

impl Settings {
    pub(super) const DEFAULT: Self = Self {
        max_size: 100,
        max_weight: usize::MAX,
        max_delay: Duration::from_secs(5),
        max_queued: 1_000,
        max_concurrency: 1,
        send_when_idle: false,
        keep_abandoned: false,
    };

    /// Returns the maximum number of queued callers: at least `max_size`, without which no batch
    /// would ever be full.
    pub(super) fn capacity(&self) -> usize {
        self.max_queued.max(self.max_size).min(Semaphore::MAX_PERMITS)
    }

    pub(super) fn next_action(&self, queue: &QueueState, now: Instant) -> Action {
        let Some(since) = queue.queued_since else {
            return if queue.closed { Action::Stop } else { Action::WaitForItems };
        };
        let is_idle = self.send_when_idle && queue.in_flight == 0;
        let due = if self.is_full(queue.load) || queue.flushed || queue.closed || is_idle {
            None
        } else {
            // `Duration::MAX` is a valid delay: only a full batch or a flush is then sent.
            Some(since.checked_add(self.max_delay).unwrap_or_else(|| now + FAR_FUTURE))
        };
        match due {
            Some(due) if due > now => Action::WaitUntil(due),
            _ if queue.in_flight >= self.max_concurrency => Action::WaitForCompletion,
            _ => Action::Send,
        }
    }

    /// Returns `true` if an item of weight `next` fits into a batch of `items` with `weight`.
    ///
    /// The first item always fits: an item above the maximum weight is sent alone.
    pub(super) fn fits(&self, items: usize, weight: u128, next: usize) -> bool {
        items == 0 || items < self.max_size && weight + next as u128 <= self.max_weight as u128
    }

    /// Returns `true` if the queue holds a full batch, or cannot hold more callers. The latter happens
    /// below `max_size` items if callers share items, and waiting would then be a deadlock.
    fn is_full(&self, load: Load) -> bool {
        load.items >= self.max_size
            || load.weight >= self.max_weight as u128
            || load.callers >= self.capacity()
    }

    /// Returns `true` if a change of the load can change the worker's next action.
    pub(super) fn wakes_worker(&self, before: Load, after: Load) -> bool {
        before.items == 0 || !self.is_full(before) && self.is_full(after)
    }
}

const FAR_FUTURE: Duration = Duration::from_secs(60 * 60 * 24 * 365);

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests need only some start time")]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn items(items: usize) -> Load {
        Load { items, weight: items as u128, callers: items }
    }

    #[test]
    fn batch_is_due_when_full_old_flushed_or_last() {
        let start = Instant::now();
        let settings = Settings {
            max_size: 3,
            max_delay: 5 * SECOND,
            max_queued: 9,
            max_concurrency: 2,
            ..Settings::DEFAULT
        };
        let until = Action::WaitUntil(start + 5 * SECOND);
        // Queued, flushed, closed, in flight, seconds since the first item, and the expected action.
        for (queued, flushed, closed, in_flight, seconds, expected) in [
            (0, false, false, 0, 0, Action::WaitForItems),
            (0, false, false, 2, 9, Action::WaitForItems),
            (0, false, true, 2, 0, Action::Stop),
            (1, false, false, 0, 0, until),
            (2, false, false, 2, 4, until),
            (2, false, false, 1, 5, Action::Send),
            (2, false, false, 2, 5, Action::WaitForCompletion),
            (3, false, false, 1, 0, Action::Send),
            (9, false, false, 2, 0, Action::WaitForCompletion),
            (1, true, false, 0, 0, Action::Send),
            (1, true, false, 2, 0, Action::WaitForCompletion),
            (1, false, true, 0, 0, Action::Send),
        ] {
            let queued_since = (queued > 0).then_some(start);
            let load = items(queued);
            let queue = QueueState { load, queued_since, flushed, closed, in_flight };
            let action = settings.next_action(&queue, start + seconds * SECOND);
            assert_eq!(action, expected, "{queue:?} after {seconds} s");
        }
    }

    #[test]
    fn idle_service_gets_queued_items_at_once() {
        let now = Instant::now();
        let settings =
            Settings { max_size: 3, max_concurrency: 2, send_when_idle: true, ..Settings::DEFAULT };
        let until = Action::WaitUntil(now + 5 * SECOND);
        for (queued, in_flight, expected) in [
            (0, 0, Action::WaitForItems),
            (1, 0, Action::Send),
            (2, 0, Action::Send),
            (1, 1, until),
            (3, 1, Action::Send),
            (1, 2, until),
            (3, 2, Action::WaitForCompletion),
        ] {
            let queued_since = (queued > 0).then_some(now);
            let load = items(queued);
            let queue = QueueState { load, queued_since, flushed: false, closed: false, in_flight };
            assert_eq!(settings.next_action(&queue, now), expected, "{queue:?}");
        }
    }

    #[test]
    fn batch_is_full_by_items_weight_or_callers() {
        let now = Instant::now();
        let settings = Settings { max_size: 3, max_weight: 10, max_queued: 5, ..Settings::DEFAULT };
        let until = Action::WaitUntil(now + 5 * SECOND);
        for (items, weight, callers, expected) in [
            (2, 9, 4, until),
            (3, 3, 3, Action::Send),
            (1, 10, 1, Action::Send),
            (2, u128::MAX, 2, Action::Send),
            (1, 0, 5, Action::Send),
            (1, 0, 4, until),
        ] {
            let load = Load { items, weight, callers };
            let (queued_since, in_flight) = (Some(now), 0);
            let queue = QueueState { load, queued_since, flushed: false, closed: false, in_flight };
            assert_eq!(settings.next_action(&queue, now), expected, "{load:?}");
            let empty = Load::default();
            assert!(settings.wakes_worker(empty, load), "{load:?}");
            assert_eq!(
                settings.wakes_worker(Load { items: 1, ..empty }, load),
                expected == Action::Send
            );
            assert!(!settings.wakes_worker(load, load), "{load:?}");
        }
    }

    #[test]
    fn items_fit_by_size_and_weight() {
        let settings = Settings { max_size: 3, max_weight: 10, ..Settings::DEFAULT };
        for (items, weight, next, expected) in [
            (0, 0, 0, true),
            (0, 0, 99, true),
            (0, 0, usize::MAX, true),
            (1, 4, 6, true),
            (1, 4, 7, false),
            (1, 99, 0, false),
            (2, 10, 0, true),
            (3, 0, 0, false),
        ] {
            assert_eq!(settings.fits(items, weight, next), expected, "{items} {weight} {next}");
        }
        assert!(Settings::DEFAULT.fits(1, 1, usize::MAX - 1));
    }

    #[test]
    fn zero_and_endless_delays_are_valid() {
        let now = Instant::now();
        let (load, queued_since) = (items(1), Some(now));
        let queue = QueueState { load, queued_since, flushed: false, closed: false, in_flight: 0 };
        let of = |max_delay| Settings { max_delay, ..Settings::DEFAULT };
        assert_eq!(of(Duration::ZERO).next_action(&queue, now), Action::Send);
        assert!(
            matches!(of(Duration::MAX).next_action(&queue, now), Action::WaitUntil(at) if at > now)
        );
        let full = QueueState { load: items(100), ..queue };
        assert_eq!(of(Duration::MAX).next_action(&full, now), Action::Send);
    }

    #[test]
    fn queue_holds_a_full_batch() {
        for (max_size, max_queued, capacity) in
            [(100, 1_000, 1_000), (5_000, 1_000, 5_000), (1, usize::MAX, Semaphore::MAX_PERMITS)]
        {
            let settings = Settings { max_size, max_queued, ..Settings::DEFAULT };
            assert_eq!(settings.capacity(), capacity);
        }
    }
}
