//! The side of the list that a shared log talks to.

use std::sync::atomic::Ordering;

use super::list::{LocalPurge, PurgeFuture, PurgeLog, Purges};
use super::table::{Mark, Names, PurgeTarget, Stamp};

/// The news of an exchange with the log.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct News<'a> {
    pub(crate) purges: &'a [(PurgeTarget, Stamp)],
    /// Entries from before it are purged.
    pub(crate) floor: Stamp,
    /// Names that were removed before it are not in the log any more.
    pub(crate) removed_floor: Stamp,
    /// All purges up to this stamp have been read.
    pub(crate) read: Stamp,
    /// The log now has these purges of this process.
    pub(crate) written: &'a [LocalPurge],
    /// The local clock less that of the log, in milliseconds.
    pub(crate) clock_offset: i64,
}

impl Purges {
    /// Creates a list whose purges are written to `log`.
    pub(crate) fn with_log(log: impl PurgeLog + 'static) -> Self {
        let mut purges = Self::default();
        purges.log = Some(Box::new(log));
        purges
    }

    /// Adds what the log has.
    pub(crate) fn learn(&self, news: &News<'_>) {
        let News { floor, removed_floor, clock_offset, .. } = *news;
        let mark =
            |stamp: Stamp| Mark { stamp, time: (stamp / 1000).saturating_add_signed(clock_offset) };
        let mut known = self.write();
        known.insert(PurgeTarget::ALL, mark(floor));
        let learned = floor.max(news.read).max(self.learned.load(Ordering::Relaxed));
        for (target, stamp) in news.purges {
            known.insert(target.clone(), mark(*stamp));
        }
        known.hard.raise_removed_floor(removed_floor);
        for purge in news.written {
            if purge.target == PurgeTarget::ALL {
                known.local.retain(|_, (number, _)| *number > purge.number);
            } else if known
                .local
                .get(&purge.target)
                .is_some_and(|(number, _)| *number == purge.number)
            {
                known.local.remove(&purge.target);
            }
        }
        // Another process may have stored a response with a stamp that was just learned, without
        // knowing of the local purges: these need a later stamp.
        let local = known.local.iter().map(|(target, (_, time))| (target.clone(), *time));
        let local: Vec<_> = local.collect();
        let mut last = learned;
        for (target, time) in local {
            last = learned + 1;
            known.insert(target, Mark { stamp: last, time });
        }
        self.learned.store(learned, Ordering::Release);
        self.last.fetch_max(last, Ordering::Release);
    }

    /// Returns `true` if a name was removed after `watermark`, or may have been: removals since then are
    /// forgotten.
    pub(crate) fn is_removed(&self, name: u128, watermark: Stamp) -> bool {
        let hard = &self.read().hard;
        hard.has_forgotten_removed(watermark)
            || hard.removed_at(name).is_some_and(|mark| mark.stamp > watermark)
    }

    /// Purges the name of an entry that could not be removed from the store.
    pub(crate) fn purge_hash(&self, name: u128, now: u64) -> PurgeFuture {
        self.add(PurgeTarget::Hard(Names::Url(name)), now)
    }

    /// Returns the greatest watermark that an entry of another process may have here. A purge of this
    /// process that the log does not have yet has a greater provisional stamp, although the other
    /// process may know stamps that are greater still.
    pub(crate) fn learned(&self) -> Stamp {
        self.learned.load(Ordering::Acquire)
    }

    /// Ignores entries that were received earlier, in milliseconds since 1970.
    pub(crate) fn trust_from(&self, millis: u64) {
        self.trusted_from.store(millis, Ordering::Relaxed);
    }
}
