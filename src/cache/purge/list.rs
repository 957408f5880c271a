use std::collections::HashMap;
use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::task::{Context, Poll};

use super::super::error::StoreError;
use super::table::{Purge, PurgeTable, PurgeTarget, Stamp};

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

#[derive(Debug, Default)]
struct Known {
    table: PurgeTable,
    /// The purges of this process that the log does not have yet, with their numbers.
    local: HashMap<PurgeTarget, u64>,
    /// The number of purges by this process.
    count: u64,
}

/// A purge. It takes effect in this process before the future is returned, and dropping the future
/// does not undo it.
///
/// The future resolves to `Ok` when the purge is written down for the other processes that share the
/// store. It fails if that takes longer than `RedisConfig::command_timeout`; the other processes then
/// learn of the purge later ([`StoreError::is_deferred`]).
pub struct PurgeFuture(pub(crate) Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>);

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
        self.last.load(Ordering::Acquire)
    }

    /// Purges a target. `now` is in milliseconds since 1970.
    pub(crate) fn purge(&self, what: Purge<'_>, now: u64) -> PurgeFuture {
        let mut known = self.write();
        let next = self.last.load(Ordering::Relaxed) + 1;
        let removed = matches!(what, Purge::Removed(_));
        let target = what.target();
        let Some(log) = &self.log else {
            let stamp = next.max(now.saturating_mul(1000));
            known.table.insert(target, stamp, removed);
            self.last.store(stamp, Ordering::Release);
            return PurgeFuture(Box::pin(ready(Ok(()))));
        };
        // The log assigns the final stamp. Until that is known the purge has a provisional one, below
        // the next that the log can assign. When these are used up, all further purges share the last
        // one, so that nothing of their targets is stored before the final stamp is known.
        let limit = self.learned.load(Ordering::Relaxed) + PROVISIONAL_STAMPS;
        known.count += 1;
        let purge = LocalPurge { target: target.clone(), number: known.count };
        // Purging more than requested is always right, and takes one target.
        if known.local.len() >= MAX_LOCAL {
            known.local.clear();
            known.local.insert(PurgeTarget::All, purge.number);
        }
        known.local.insert(target.clone(), purge.number);
        known.table.insert(target, next, removed);
        self.last.store(next.min(limit - 1), Ordering::Release);
        drop(known);
        log.write(purge)
    }

    /// Returns the stamp up to which an entry is current, or `None` if it was purged after
    /// `watermark`, or `received` at a time when purges may have been missed.
    pub(crate) fn current_as_of(
        &self,
        url: &str,
        tags: &[String],
        watermark: Stamp,
        received: u64,
    ) -> Option<Stamp> {
        if received < self.trusted_from.load(Ordering::Relaxed) {
            return None;
        }
        self.not_purged_until(url, tags, watermark)
    }

    /// Returns `true` if a response that was requested at this watermark may be stored.
    pub(crate) fn admits(&self, url: &str, tags: &[String], watermark: Stamp) -> bool {
        self.remembers(watermark) && self.not_purged_until(url, tags, watermark).is_some()
    }

    /// Returns `true` if no purge after `watermark` was forgotten. Purges of URLs whose entries were
    /// removed from the store are, although a URL may have entries that were not: those whose key has
    /// the content of a request.
    pub(crate) fn remembers(&self, watermark: Stamp) -> bool {
        self.read().table.remembers(watermark)
    }

    fn not_purged_until(&self, url: &str, tags: &[String], watermark: Stamp) -> Option<Stamp> {
        let last = self.last.load(Ordering::Acquire);
        // Most hits end here, without the lock.
        if watermark >= last {
            return Some(watermark);
        }
        (!self.read().table.is_purged(url, tags, watermark)).then_some(last)
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(feature = "cache-redis")]
impl Purges {
    /// Creates a list whose purges are written to `log`.
    pub(crate) fn with_log(log: impl PurgeLog + 'static) -> Self {
        Self { log: Some(Box::new(log)), ..Self::default() }
    }

    /// Adds what the log has: entries from before `floor` are purged, and so are these targets. The
    /// log now has the purges in `written`.
    pub(crate) fn learn(
        &self,
        purges: &[(PurgeTarget, Stamp)],
        floor: Stamp,
        written: &[LocalPurge],
    ) {
        let mut known = self.write();
        known.table.raise_floor(floor);
        let mut learned = floor.max(self.learned.load(Ordering::Relaxed));
        for (target, stamp) in purges {
            known.table.insert(target.clone(), *stamp, false);
            learned = learned.max(*stamp);
        }
        for purge in written {
            if purge.target == PurgeTarget::All {
                known.local.retain(|_, number| *number > purge.number);
            } else if known.local.get(&purge.target) == Some(&purge.number) {
                known.local.remove(&purge.target);
            }
        }
        // Another process may have stored a response with a stamp that was just learned, without
        // knowing of the local purges: these need a later stamp.
        let local: Vec<_> = known.local.keys().cloned().collect();
        let mut last = learned;
        for target in local {
            last = learned + 1;
            known.table.insert(target, last, false);
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

impl Future for PurgeFuture {
    type Output = Result<(), StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
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
            let spared = purges.current_as_of("http://x/1", &tags, before, 0);
            assert_eq!(spared.is_none(), hit, "{purge:?}");
            assert_eq!(purges.admits("http://x/1", &tags, before), !hit, "{purge:?}");
            let after = purges.watermark();
            assert_eq!(
                purges.current_as_of("http://x/1", &tags, after, 0),
                Some(after),
                "{purge:?}"
            );
            assert_eq!(spared.unwrap_or(after), after, "the next check has nothing to compare");
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
        assert!(purges.current_as_of("http://x/other", &[], before, 0).is_some());
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
        assert!(purges.current_as_of("http://x/1", &[], before, 0).is_none());
    }
}
