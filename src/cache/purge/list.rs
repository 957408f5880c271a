use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::task::{Context, Poll};

use super::super::error::StoreError;
use super::table::{Mark, Names, Purge, PurgeTable, PurgeTarget, Stamp};

/// The state that all users of a store have in common: the purges, and the namespaces of its layers.
/// Clones refer to the same state.
///
/// A [`Store`](super::super::Store) that returns it from
/// [`purges`](super::super::Store::purges) makes a purge by one layer hold for all layers and values
/// over its clones. The purges stay within this process; those of a `RedisStore` also reach the other
/// processes that use the same Redis.
#[derive(Clone, Debug, Default)]
pub struct SharedPurges(pub(crate) Arc<Purges>);

/// The purges that this process knows of.
#[derive(Default)]
pub(crate) struct Purges {
    /// The stamp of the last purge.
    last: AtomicU64,
    /// The last stamp that the log assigned.
    learned: AtomicU64,
    known: RwLock<Known>,
    /// Entries that were received earlier are not used, in milliseconds since 1970: purges may have
    /// been missed.
    trusted_from: AtomicU64,
    /// Tells other processes of the purges.
    log: Option<Box<dyn PurgeLog>>,
    /// The number of layers that were made over the store.
    layers: AtomicU64,
}

/// A log that tells other processes of purges. A background task reads their purges from it, and
/// passes them to [`Purges::learn`].
pub(crate) trait PurgeLog: Send + Sync {
    /// Starts to write a purge to the log.
    fn write(&self, purge: LocalPurge) -> PurgeFuture;
}

/// A purge by this process that the log does not have yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LocalPurge {
    pub(crate) target: PurgeTarget,
    /// The position of the purge among those of this process.
    pub(crate) number: u64,
}

/// The effect of the purges since a watermark on an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The entry is current up to this stamp.
    Current(Stamp),
    /// The entry has been stale since this time, in milliseconds since 1970.
    Stale { since: u64 },
    /// The entry is not used any more.
    Purged,
}

#[derive(Debug, Default)]
struct Known {
    hard: PurgeTable,
    soft: PurgeTable,
    /// The purges of this process that the log does not have yet, with their numbers and their times
    /// in milliseconds since 1970.
    local: HashMap<PurgeTarget, (u64, u64)>,
    /// The number of purges by this process.
    count: u64,
}

/// A purge. It takes effect in this process before the future is returned, and dropping the future
/// does not undo it.
///
/// The future resolves to `Ok` when the purge is written down for the other processes that share the
/// store. It fails if that takes longer than `RedisConfig::command_timeout`; the other processes then
/// learn of the purge later ([`StoreError::is_deferred`]).
pub struct PurgeFuture(Option<Written>);

/// Resolves when the log has a purge.
type Written = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

impl Standing {
    /// Returns the worse of two standings.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Purged, _) | (_, Self::Purged) => Self::Purged,
            (Self::Stale { since }, Self::Stale { since: other }) => {
                Self::Stale { since: since.min(other) }
            }
            (stale @ Self::Stale { .. }, _) | (_, stale @ Self::Stale { .. }) => stale,
            (Self::Current(stamp), Self::Current(other)) => Self::Current(stamp.min(other)),
        }
    }
}

impl SharedPurges {
    /// Creates the state of a new store, without purges.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Purges {
    /// Returns `true` if other processes learn of the purges.
    pub(crate) fn is_shared(&self) -> bool {
        self.log.is_some()
    }

    /// Counts one more layer over the store, and returns the number of those before it.
    pub(crate) fn add_layer(&self) -> u64 {
        self.layers.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns the stamp of the last purge. To be called before the inner service is: the response
    /// is purged by what follows.
    pub(crate) fn watermark(&self) -> Stamp {
        let last = self.last.load(Ordering::Acquire);
        if self.is_shared() { last.min(self.limit() - 1) } else { last }
    }

    /// Returns `true` if nothing was purged after `watermark`.
    pub(crate) fn is_latest(&self, watermark: Stamp) -> bool {
        watermark >= self.last.load(Ordering::Acquire)
    }

    /// Purges a target. `now` is in milliseconds since 1970.
    pub(crate) fn purge(&self, what: Purge<'_>, now: u64) -> PurgeFuture {
        let removed = matches!(what, Purge::Removed(_));
        self.add(PurgeTarget::Hard(what.names()), removed, now)
    }

    /// Makes a target stale. `now` is in milliseconds since 1970.
    pub(crate) fn soft_purge(&self, what: Purge<'_>, now: u64) -> PurgeFuture {
        self.add(PurgeTarget::Soft(what.names()), false, now)
    }

    fn add(&self, target: PurgeTarget, removed: bool, now: u64) -> PurgeFuture {
        let mut known = self.write();
        let mut next = self.last.load(Ordering::Relaxed) + 1;
        let Some(log) = &self.log else {
            let stamp = next.max(now.saturating_mul(1000));
            known.insert(target, Mark { stamp, time: now }, removed);
            self.last.store(stamp, Ordering::Release);
            return PurgeFuture::done();
        };
        // The log assigns the final stamp. Until that is known the purge has a provisional one, below
        // the next that the log can assign. When these are used up, all further purges share the last
        // one, which no watermark reaches: nothing of their targets is used before the final stamp is
        // known.
        next = next.min(self.limit());
        known.count += 1;
        let purge = LocalPurge { target: target.clone(), number: known.count };
        let local = (purge.number, now);
        // Purging more than requested is always right, and takes one target.
        if known.local.len() >= MAX_LOCAL {
            known.local.clear();
            known.local.insert(PurgeTarget::ALL, local);
        }
        known.local.insert(target.clone(), local);
        known.insert(target, Mark { stamp: next, time: now }, removed);
        self.last.store(next, Ordering::Release);
        drop(known);
        log.write(purge)
    }

    /// Compares an entry with the purges after `watermark`. An entry that was `received` at a time
    /// when purges may have been missed counts as purged.
    #[inline]
    pub(crate) fn standing(
        &self,
        url: &str,
        tags: &[String],
        watermark: Stamp,
        received: u64,
    ) -> Standing {
        if received < self.trusted_from.load(Ordering::Relaxed) {
            return Standing::Purged;
        }
        // Most hits end here, without the lock.
        if self.is_latest(watermark) {
            return Standing::Current(watermark);
        }
        // Before the tables are read: a purge that comes meanwhile is for the next comparison.
        let current = self.watermark();
        let known = self.read();
        // A hard purge wins over a soft one, whichever came first.
        if known.hard.is_purged(url, tags, watermark) {
            return Standing::Purged;
        }
        let since = known.soft.purged_at(url, tags, watermark);
        since.map_or(Standing::Current(current.max(watermark)), |since| Standing::Stale { since })
    }

    /// Returns `true` if a response that was requested at this watermark may be stored. One that was
    /// soft-purged since then is stale from the beginning.
    pub(crate) fn admits(&self, url: &str, tags: &[String], watermark: Stamp) -> bool {
        if self.is_latest(watermark) {
            return true;
        }
        let known = self.read();
        known.hard.remembers(watermark) && !known.hard.is_purged(url, tags, watermark)
    }

    /// Returns `true` if no purge after `watermark` was forgotten. Purges of URLs whose entries were
    /// removed from the store are, although a URL may have entries that were not: those whose key has
    /// the content of a request.
    pub(crate) fn remembers(&self, watermark: Stamp) -> bool {
        self.is_latest(watermark) || self.read().hard.remembers(watermark)
    }

    /// Returns the last provisional stamp. The log assigns only later ones.
    fn limit(&self) -> Stamp {
        self.learned.load(Ordering::Acquire) + PROVISIONAL_STAMPS
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(any(feature = "cache-redis", feature = "cache-redis-rs"))]
impl Purges {
    /// Creates a list whose purges are written to `log`.
    pub(crate) fn with_log(log: impl PurgeLog + 'static) -> Self {
        Self { log: Some(Box::new(log)), ..Self::default() }
    }

    /// Adds what the log has: entries from before `floor` are purged, and so are these targets. The
    /// log now has the purges in `written`. `clock_offset` is the local clock less that of the log, in
    /// milliseconds.
    pub(crate) fn learn(
        &self,
        purges: &[(PurgeTarget, Stamp)],
        floor: Stamp,
        written: &[LocalPurge],
        clock_offset: i64,
    ) {
        let mark =
            |stamp: Stamp| Mark { stamp, time: (stamp / 1000).saturating_add_signed(clock_offset) };
        let mut known = self.write();
        known.insert(PurgeTarget::ALL, mark(floor), false);
        let mut learned = floor.max(self.learned.load(Ordering::Relaxed));
        for (target, stamp) in purges {
            known.insert(target.clone(), mark(*stamp), false);
            learned = learned.max(*stamp);
        }
        for purge in written {
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
            known.insert(target, Mark { stamp: last, time }, false);
        }
        self.learned.store(learned, Ordering::Release);
        self.last.fetch_max(last, Ordering::Release);
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

impl Known {
    fn insert(&mut self, target: PurgeTarget, mark: Mark, removed: bool) {
        match target {
            PurgeTarget::Hard(names) => {
                if names == Names::All {
                    // What is purged needs not be stale.
                    self.soft.raise_floor(mark);
                }
                self.hard.insert(names, mark, removed);
            }
            PurgeTarget::Soft(names) => self.soft.insert(names, mark, false),
        }
    }
}

impl PurgeFuture {
    pub(crate) fn new(
        written: impl Future<Output = Result<(), StoreError>> + Send + 'static,
    ) -> Self {
        Self(Some(Box::pin(written)))
    }

    /// Returns a purge that no other process has to learn of.
    pub(crate) const fn done() -> Self {
        Self(None)
    }
}

impl Future for PurgeFuture {
    type Output = Result<(), StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().map_or(Poll::Ready(Ok(())), |written| written.as_mut().poll(cx))
    }
}

impl fmt::Debug for PurgeFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PurgeFuture").finish_non_exhaustive()
    }
}

impl fmt::Debug for Purges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Purges").field("last", &self.last).finish_non_exhaustive()
    }
}

/// The maximum number of purges that wait for the log; beyond it everything is purged.
const MAX_LOCAL: usize = 150_000;

/// The number of stamps that a process may use between two stamps of the log, which are at least
/// 1,000 apart.
const PROVISIONAL_STAMPS: Stamp = 999;

#[cfg(test)]
mod tests {
    use super::super::table::MAX_NAMES;
    use super::*;

    #[test]
    fn purge_affects_what_was_requested_before_it() {
        let tags = ["a".to_owned(), "b".to_owned()];
        for (purge, hit) in [
            (Purge::All, true),
            (Purge::Url("http://x/1"), true),
            (Purge::Url("http://x/2"), false),
            (Purge::Removed("http://x/1"), true),
            (Purge::Prefix("http://x/"), true),
            (Purge::Prefix("http://y/"), false),
            (Purge::Tag("b"), true),
            (Purge::Tag("c"), false),
        ] {
            let purges = Purges::default();
            let before = purges.watermark();
            drop(purges.purge(purge, 5));
            let standing = |watermark| purges.standing("http://x/1", &tags, watermark, 0);
            let after = Standing::Current(purges.watermark());
            assert_eq!(standing(before), if hit { Standing::Purged } else { after }, "{purge:?}");
            assert_eq!(purges.admits("http://x/1", &tags, before), !hit, "{purge:?}");
            assert_eq!(standing(purges.watermark()), after, "{purge:?}");
        }
    }

    #[test]
    fn soft_purge_makes_stale_what_came_before_it() {
        let tags = ["a".to_owned(), "b".to_owned()];
        for (purge, hit) in [
            (Purge::All, true),
            (Purge::Url("http://x/1"), true),
            (Purge::Url("http://x/2"), false),
            (Purge::Prefix("http://x/"), true),
            (Purge::Prefix("http://y/"), false),
            (Purge::Tag("b"), true),
            (Purge::Tag("c"), false),
        ] {
            let purges = Purges::default();
            let before = purges.watermark();
            drop(purges.soft_purge(purge, 5));
            let standing = |watermark| purges.standing("http://x/1", &tags, watermark, 0);
            let after = purges.watermark();
            let stale = Standing::Stale { since: 5 };
            assert_eq!(standing(before), if hit { stale } else { Standing::Current(after) });
            assert!(purges.admits("http://x/1", &tags, before), "{purge:?}: to be served as stale");
            assert_eq!(standing(after), Standing::Current(after), "{purge:?}");
            // A hard purge of the same wins, before and after.
            drop(purges.purge(purge, 6));
            if hit {
                assert_eq!([standing(before), standing(after)], [Standing::Purged; 2], "{purge:?}");
                let fetched = purges.watermark();
                drop(purges.soft_purge(purge, 7));
                assert_eq!([standing(before), standing(after)], [Standing::Purged; 2], "{purge:?}");
                assert_eq!(standing(fetched), Standing::Stale { since: 7 }, "{purge:?}");
            }
        }
    }

    #[test]
    fn stamps_grow_whatever_the_clock_does() {
        let purges = Purges::default();
        for now in [5, 5, 1, 0] {
            let before = purges.watermark();
            drop(purges.purge(Purge::Tag("a"), now));
            assert!(purges.watermark() > before);
        }
    }

    #[test]
    fn many_changed_urls_purge_nothing_else() {
        let purges = Purges::default();
        let before = purges.watermark();
        for number in 0..=MAX_NAMES {
            drop(purges.purge(Purge::Removed(&format!("http://x/{number}")), 0));
        }
        assert_ne!(purges.standing("http://x/other", &[], before, 0), Standing::Purged);
        assert!(!purges.remembers(before), "an entry that was not removed may be purged");
        assert!(purges.remembers(purges.watermark()));
        assert!(!purges.admits("http://x/1", &[], before));
        assert!(purges.admits("http://x/1", &[], purges.watermark()));
    }

    #[test]
    fn purged_url_stays_purged_among_many() {
        let purges = Purges::default();
        let before = purges.watermark();
        drop(purges.purge(Purge::Url("http://x/1"), 0));
        drop(purges.purge(Purge::Removed("http://x/1"), 0));
        for number in 2..=MAX_NAMES + 1 {
            drop(purges.purge(Purge::Removed(&format!("http://x/{number}")), 0));
        }
        assert_eq!(purges.standing("http://x/1", &[], before, 0), Standing::Purged);
    }

    #[test]
    fn many_soft_purges_make_more_stale() {
        let purges = Purges::default();
        let before = purges.watermark();
        for number in 0..=MAX_NAMES as u64 {
            drop(purges.soft_purge(Purge::Tag(&number.to_string()), 100 + number));
        }
        let Standing::Stale { since } = purges.standing("http://x/", &[], before, 0) else {
            panic!("older than what is forgotten");
        };
        assert!(since > 100, "the time of the last that is forgotten");
        assert!(purges.admits("http://x/", &[], before));
        let after = purges.watermark();
        assert_eq!(purges.standing("http://x/", &[], after, 0), Standing::Current(after));
    }
}
