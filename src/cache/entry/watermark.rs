use std::sync::atomic::{AtomicU64, Ordering};

use super::super::purge::{Stamp, Standing};

/// The purges that an entry was compared with.
#[derive(Debug)]
pub(crate) struct Watermark {
    /// Raised whenever the entry is found to be current.
    stamp: AtomicU64,
    /// The time of the first soft purge that was found, in milliseconds since 1970, or [`NEVER`].
    /// Only in memory: the entry of a store has the stamp from before the purge.
    stale_since: AtomicU64,
    /// A stamp at which a shared store had the entry, although it was not compared with all purges up to
    /// that. Only in memory.
    seen: AtomicU64,
}

impl Watermark {
    pub(crate) fn at(stamp: Stamp) -> Self {
        Self::seen(stamp, 0)
    }

    /// Returns the watermark of an entry that a shared store had at the stamp `seen`.
    pub(crate) fn seen(stamp: Stamp, seen: Stamp) -> Self {
        let [stamp, stale_since, seen] = [stamp, NEVER, seen].map(AtomicU64::new);
        Self { stamp, stale_since, seen }
    }

    pub(crate) fn get(&self) -> Stamp {
        self.stamp.load(Ordering::Relaxed)
    }

    /// Returns the last stamp at which the entry was current or a shared store had it.
    pub(crate) fn newest(&self) -> Stamp {
        self.get().max(self.seen.load(Ordering::Relaxed))
    }

    /// Returns `true` unless the entry was purged, and notes its standing for the next check.
    #[inline]
    pub(crate) fn admits(&self, standing: Standing) -> bool {
        match standing {
            // A later check has fewer purges to compare.
            Standing::Current(stamp) => self.raise(stamp),
            // The stamp stays: it is what tells other processes that the entry is stale.
            Standing::Stale { since } => self.mark_stale(since),
            Standing::Purged => {
                // The store may have had the entry for a moment after its name was removed. The log
                // may forget the name.
                self.seen.store(0, Ordering::Relaxed);
                return false;
            }
        }
        true
    }

    /// Returns what a soft purge leaves of the `left` milliseconds of a lifetime.
    #[inline]
    pub(crate) fn left(&self, left: i64, now: u64) -> i64 {
        match self.stale_since.load(Ordering::Relaxed) {
            NEVER => left,
            // Stale even where the clock has gone back to before the purge.
            since => left.min(-i64::try_from(now.saturating_sub(since)).unwrap_or(i64::MAX)),
        }
    }

    /// Returns `true` if a soft purge was found.
    pub(crate) fn is_soft_purged(&self) -> bool {
        self.stale_since.load(Ordering::Relaxed) != NEVER
    }

    fn raise(&self, stamp: Stamp) {
        // The stamp is nearly always there already: a read does not contend for the cache line.
        if self.get() < stamp {
            self.stamp.fetch_max(stamp, Ordering::Relaxed);
        }
    }

    pub(super) fn mark_stale(&self, since: u64) {
        self.stale_since.fetch_min(since, Ordering::Relaxed);
    }
}

impl Default for Watermark {
    fn default() -> Self {
        Self::at(0)
    }
}

impl Clone for Watermark {
    fn clone(&self) -> Self {
        let [stamp, stale_since, seen] = [&self.stamp, &self.stale_since, &self.seen]
            .map(|value| AtomicU64::new(value.load(Ordering::Relaxed)));
        Self { stamp, stale_since, seen }
    }
}

impl PartialEq for Watermark {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

/// No soft purge was found.
const NEVER: u64 = u64::MAX;
