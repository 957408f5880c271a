use std::time::Duration;

use tokio::time::Instant;

#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) size: usize,
    /// The largest sum of weights of a batch.
    pub(super) weight: usize,
    pub(super) delay: Duration,
    pub(super) queue: usize,
    pub(super) concurrency: usize,
    /// An item does not wait for others while no batch is under way.
    pub(super) send_when_idle: bool,
    /// An item is sent even if its caller has left.
    pub(super) keep_abandoned: bool,
}

/// The load of the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) items: usize,
    /// The sum of their weights. It cannot overflow.
    pub(super) weight: u128,
    /// Callers that wait: more than there are items where some share one.
    pub(super) callers: usize,
}

/// What a decision is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueState {
    pub(super) load: Load,
    /// Since when the first item waits.
    pub(super) since: Option<Instant>,
    /// `true` if the first item waits for no others.
    pub(super) flushed: bool,
    /// No more can come.
    pub(super) closed: bool,
    /// Batches that are under way.
    pub(super) in_flight: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A batch is due.
    Send,
    /// One is due once one that is under way has ended.
    WaitForFlight,
    /// One is due then, if not before.
    WaitUntil(Instant),
    /// Nothing is queued.
    WaitForItems,
    End,
}

impl Settings {
    pub(super) const DEFAULT: Self = Self {
        size: 100,
        weight: usize::MAX,
        delay: Duration::from_secs(5),
        queue: 1_000,
        concurrency: 1,
        send_when_idle: false,
        keep_abandoned: false,
    };

    /// Returns the number of callers that may wait.
    pub(super) fn places(&self) -> usize {
        self.queue.max(self.size).min(MOST_PLACES)
    }

    pub(super) fn next(&self, queue: &QueueState, now: Instant) -> Next {
        let Some(since) = queue.since else {
            return if queue.closed { Next::End } else { Next::WaitForItems };
        };
        let is_idle = self.send_when_idle && queue.in_flight == 0;
        let due = if self.is_full(queue.load) || queue.flushed || queue.closed || is_idle {
            None
        } else {
            // A delay without end is over when the batch is full.
            Some(since.checked_add(self.delay).unwrap_or_else(|| now + FOREVER))
        };
        match due {
            Some(due) if due > now => Next::WaitUntil(due),
            _ if queue.in_flight >= self.concurrency => Next::WaitForFlight,
            _ => Next::Send,
        }
    }

    /// Returns `true` if the next item must fit into a batch that has these items and this weight.
    /// An item that is heavier than a batch may be goes alone.
    pub(super) fn fits(&self, items: usize, weight: u128, next: usize) -> bool {
        items == 0 || items < self.size && weight + next as u128 <= self.weight as u128
    }

    /// Returns `true` if nothing that is queued is worth waiting for others, or no more can be
    /// queued: then callers that share items fill the queue.
    fn is_full(&self, load: Load) -> bool {
        load.items >= self.size
            || load.weight >= self.weight as u128
            || load.callers >= self.places()
    }

    /// Returns `true` if the worker has to look again, now that more is queued than before.
    pub(super) fn wakes(&self, before: Load, now: Load) -> bool {
        before.items == 0 || !self.is_full(before) && self.is_full(now)
    }
}

const FOREVER: Duration = Duration::from_secs(60 * 60 * 24 * 365);

/// What a semaphore of tokio's can have, on any machine.
const MOST_PLACES: usize = usize::MAX >> 3;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any time will do as the first one")]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn items(items: usize) -> Load {
        Load { items, weight: items as u128, callers: items }
    }

    #[test]
    fn a_batch_goes_when_it_is_full_old_flushed_or_the_last() {
        let start = Instant::now();
        let settings =
            Settings { size: 3, delay: 5 * SECOND, queue: 9, concurrency: 2, ..Settings::DEFAULT };
        let until = Next::WaitUntil(start + 5 * SECOND);
        // Queued, flushed, closed, in flight, seconds since the first one; and what is next.
        for (queued, flushed, closed, in_flight, seconds, expected) in [
            (0, false, false, 0, 0, Next::WaitForItems),
            (0, false, false, 2, 9, Next::WaitForItems),
            (0, false, true, 2, 0, Next::End),
            (1, false, false, 0, 0, until),
            (2, false, false, 2, 4, until),
            (2, false, false, 1, 5, Next::Send),
            (2, false, false, 2, 5, Next::WaitForFlight),
            (3, false, false, 1, 0, Next::Send),
            (9, false, false, 2, 0, Next::WaitForFlight),
            (1, true, false, 0, 0, Next::Send),
            (1, true, false, 2, 0, Next::WaitForFlight),
            (1, false, true, 0, 0, Next::Send),
        ] {
            let since = (queued > 0).then_some(start);
            let load = items(queued);
            let queue = QueueState { load, since, flushed, closed, in_flight };
            let next = settings.next(&queue, start + seconds * SECOND);
            assert_eq!(next, expected, "{queue:?} after {seconds} s");
        }
    }

    #[test]
    fn an_idle_service_gets_what_is_there() {
        let now = Instant::now();
        let settings =
            Settings { size: 3, concurrency: 2, send_when_idle: true, ..Settings::DEFAULT };
        let until = Next::WaitUntil(now + 5 * SECOND);
        for (queued, in_flight, expected) in [
            (0, 0, Next::WaitForItems),
            (1, 0, Next::Send),
            (2, 0, Next::Send),
            (1, 1, until),
            (3, 1, Next::Send),
            (1, 2, until),
            (3, 2, Next::WaitForFlight),
        ] {
            let since = (queued > 0).then_some(now);
            let load = items(queued);
            let queue = QueueState { load, since, flushed: false, closed: false, in_flight };
            assert_eq!(settings.next(&queue, now), expected, "{queue:?}");
        }
    }

    #[test]
    fn a_batch_is_full_by_items_weight_or_callers() {
        let now = Instant::now();
        let settings = Settings { size: 3, weight: 10, queue: 5, ..Settings::DEFAULT };
        let until = Next::WaitUntil(now + 5 * SECOND);
        for (items, weight, callers, expected) in [
            (2, 9, 4, until),
            (3, 3, 3, Next::Send),
            (1, 10, 1, Next::Send),
            (2, u128::MAX, 2, Next::Send),
            (1, 0, 5, Next::Send),
            (1, 0, 4, until),
        ] {
            let load = Load { items, weight, callers };
            let (since, in_flight) = (Some(now), 0);
            let queue = QueueState { load, since, flushed: false, closed: false, in_flight };
            assert_eq!(settings.next(&queue, now), expected, "{load:?}");
            let empty = Load::default();
            assert!(settings.wakes(empty, load), "{load:?}");
            assert_eq!(settings.wakes(Load { items: 1, ..empty }, load), expected == Next::Send);
            assert!(!settings.wakes(load, load), "{load:?}");
        }
    }

    #[test]
    fn an_item_goes_with_those_that_it_fits_to() {
        let settings = Settings { size: 3, weight: 10, ..Settings::DEFAULT };
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
    fn a_delay_of_zero_waits_for_nobody_and_one_without_end_for_a_full_batch() {
        let now = Instant::now();
        let (load, since) = (items(1), Some(now));
        let queue = QueueState { load, since, flushed: false, closed: false, in_flight: 0 };
        let of = |delay| Settings { delay, ..Settings::DEFAULT };
        assert_eq!(of(Duration::ZERO).next(&queue, now), Next::Send);
        assert!(matches!(of(Duration::MAX).next(&queue, now), Next::WaitUntil(at) if at > now));
        let full = QueueState { load: items(100), ..queue };
        assert_eq!(of(Duration::MAX).next(&full, now), Next::Send);
    }

    #[test]
    fn a_full_batch_has_room_in_the_queue() {
        for (size, queue, places) in
            [(100, 1_000, 1_000), (5_000, 1_000, 5_000), (1, usize::MAX, MOST_PLACES)]
        {
            assert_eq!(Settings { size, queue, ..Settings::DEFAULT }.places(), places);
        }
    }
}
