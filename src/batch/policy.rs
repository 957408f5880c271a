use std::time::Duration;

use tokio::time::Instant;

#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) size: usize,
    pub(super) delay: Duration,
    pub(super) queue: usize,
    pub(super) concurrency: usize,
}

/// What a decision is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) queued: usize,
    /// Since when the first of them waits.
    pub(super) since: Option<Instant>,
    /// How many of them, from the first one on, wait for no others.
    pub(super) flushed: usize,
    /// No more can come.
    pub(super) closed: bool,
    /// Batches that are under way.
    pub(super) flying: usize,
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
    pub(super) const DEFAULT: Self =
        Self { size: 100, delay: Duration::from_secs(5), queue: 1_000, concurrency: 1 };

    /// How many items may wait.
    pub(super) fn places(&self) -> usize {
        self.queue.max(self.size).min(MOST_PLACES)
    }

    pub(super) fn next(&self, seen: &Seen, now: Instant) -> Next {
        let Some(since) = seen.since else {
            return if seen.closed { Next::End } else { Next::WaitForItems };
        };
        let due = if seen.queued >= self.size || seen.flushed > 0 || seen.closed {
            None
        } else {
            // A delay without end is over when the batch is full.
            Some(since.checked_add(self.delay).unwrap_or_else(|| now + FOREVER))
        };
        match due {
            Some(due) if due > now => Next::WaitUntil(due),
            _ if seen.flying >= self.concurrency => Next::WaitForFlight,
            _ => Next::Send,
        }
    }

    /// Whether the worker has to look again, now that there are so many.
    pub(super) fn wakes(&self, queued: usize) -> bool {
        queued == 1 || queued == self.size
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

    #[test]
    fn a_batch_goes_when_it_is_full_old_flushed_or_the_last() {
        let start = Instant::now();
        let settings = Settings { size: 3, delay: 5 * SECOND, queue: 9, concurrency: 2 };
        let until = Next::WaitUntil(start + 5 * SECOND);
        // Queued, flushed, closed, flying, seconds since the first one; and what is next.
        for (queued, flushed, closed, flying, seconds, expected) in [
            (0, 0, false, 0, 0, Next::WaitForItems),
            (0, 0, false, 2, 9, Next::WaitForItems),
            (0, 0, true, 2, 0, Next::End),
            (1, 0, false, 0, 0, until),
            (2, 0, false, 2, 4, until),
            (2, 0, false, 1, 5, Next::Send),
            (2, 0, false, 2, 5, Next::WaitForFlight),
            (3, 0, false, 1, 0, Next::Send),
            (9, 0, false, 2, 0, Next::WaitForFlight),
            (1, 1, false, 0, 0, Next::Send),
            (1, 1, false, 2, 0, Next::WaitForFlight),
            (1, 0, true, 0, 0, Next::Send),
        ] {
            let since = (queued > 0).then_some(start);
            let seen = Seen { queued, since, flushed, closed, flying };
            let next = settings.next(&seen, start + seconds * SECOND);
            assert_eq!(next, expected, "{seen:?} after {seconds} s");
        }
    }

    #[test]
    fn a_delay_of_zero_waits_for_nobody_and_one_without_end_for_a_full_batch() {
        let now = Instant::now();
        let seen = Seen { queued: 1, since: Some(now), flushed: 0, closed: false, flying: 0 };
        let of = |delay| Settings { delay, ..Settings::DEFAULT };
        assert_eq!(of(Duration::ZERO).next(&seen, now), Next::Send);
        assert!(matches!(of(Duration::MAX).next(&seen, now), Next::WaitUntil(at) if at > now));
        let full = Seen { queued: 100, ..seen };
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
