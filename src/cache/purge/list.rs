use std::collections::HashMap;
use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::task::{Context, Poll};

use super::super::error::StoreError;
use super::super::hash::hash128;
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
    pub(super) last: AtomicU64,
    /// The last stamp that the log assigned.
    pub(super) learned: AtomicU64,
    known: RwLock<Known>,
    /// Entries that were received earlier are not used, in milliseconds since 1970: purges may have
    /// been missed.
    pub(super) trusted_from: AtomicU64,
    /// Tells other processes of the purges.
    pub(super) log: Option<Box<dyn PurgeLog>>,
    /// The number of layers that were made over the store.
    pub(crate) layers: AtomicU64,
    /// The store has values, to which responses are linked.
    pub(crate) has_values: AtomicBool,
}

/// A log that tells other processes of purges. A background task reads their purges from it, and
/// passes them to [`Purges::learn`].
pub(crate) trait PurgeLog: Send + Sync {
    /// Starts to write a purge to the log, and waits as long as that takes.
    fn write(&self, purge: LocalPurge) -> StampFuture;

    /// Returns `true` if the log cannot be reached, so that no caller has to wait for it.
    fn is_away(&self) -> bool;

    /// Waits until a purge is written for as long as a caller may wait.
    fn confirm(&self, written: StampFuture) -> PurgeFuture;

    /// Notes that an entry with this watermark is about to be put under a key of the store, so that it is
    /// removed if another process removes its name meanwhile. Returns nothing if too many are noted.
    fn begin_fill(&self, name: u128, key: &str, watermark: Stamp) -> Option<Fill>;
}

/// The stamp that the log has assigned to a purge, or `None` if the log is gone.
pub(crate) type StampFuture = Pin<Box<dyn Future<Output = Option<Stamp>> + Send>>;

/// An entry on its way into a shared store, which is there, or is not, when this is dropped.
pub(crate) type Fill = Box<dyn Send>;

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

/// The purges that have been learned, and those of this process.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) hard: PurgeTable,
    soft: PurgeTable,
    /// The purges of this process that the log does not have yet, with their numbers and their times
    /// in milliseconds since 1970.
    pub(super) local: HashMap<PurgeTarget, (u64, u64)>,
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
        self.add(PurgeTarget::Hard(what.names()), now)
    }

    /// Makes a target stale. `now` is in milliseconds since 1970.
    pub(crate) fn soft_purge(&self, what: Purge<'_>, now: u64) -> PurgeFuture {
        let names = match what.names() {
            // A soft purge removes nothing.
            Names::Removed(url) => Names::Url(url),
            names => names,
        };
        self.add(PurgeTarget::Soft(names), now)
    }

    pub(super) fn add(&self, target: PurgeTarget, now: u64) -> PurgeFuture {
        let (Some(purge), Some(log)) = (self.hold(target, now).1, self.log()) else {
            return PurgeFuture::done();
        };
        let written = log.write(purge);
        if log.is_away() {
            return PurgeFuture::new(ready(Err(StoreError::deferred(AWAY))));
        }
        log.confirm(written)
    }

    /// Makes a purge hold in this process. Returns its stamp, and what the log has to be told.
    pub(crate) fn hold(&self, target: PurgeTarget, now: u64) -> (Stamp, Option<LocalPurge>) {
        let mut known = self.write();
        let mut next = self.last.load(Ordering::Relaxed) + 1;
        if !self.is_shared() {
            let stamp = next.max(now.saturating_mul(1000));
            known.insert(target, Mark { stamp, time: now });
            self.last.store(stamp, Ordering::Release);
            return (stamp, None);
        }
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
        known.insert(target, Mark { stamp: next, time: now });
        self.last.store(next, Ordering::Release);
        (next, Some(purge))
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

    /// Returns `true` if a name that was removed after `seen` may be forgotten, so that an entry in memory
    /// which was in a shared store at that time has to be read from there again.
    pub(crate) fn is_outdated(&self, seen: Stamp) -> bool {
        self.is_shared() && self.read().hard.has_forgotten_removed(seen)
    }

    /// Notes that an entry with this watermark is about to be put under a key, if the store is shared.
    /// Returns nothing if too many are noted.
    pub(crate) fn begin_fill(&self, name: &str, key: &str, watermark: Stamp) -> Option<Fill> {
        match &self.log {
            Some(log) => log.begin_fill(hash128(name), key, watermark),
            None => Some(Box::new(())),
        }
    }

    /// Returns the log, if other processes learn of the purges.
    pub(crate) fn log(&self) -> Option<&dyn PurgeLog> {
        self.log.as_deref()
    }

    /// Returns the last provisional stamp. The log assigns only later ones.
    fn limit(&self) -> Stamp {
        self.learned.load(Ordering::Acquire) + PROVISIONAL_STAMPS
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    pub(super) fn insert(&mut self, target: PurgeTarget, mark: Mark) {
        match target {
            PurgeTarget::Hard(names) => {
                if names == Names::All {
                    // What is purged needs not be stale.
                    self.soft.raise_floor(mark);
                }
                self.hard.insert(names, mark);
            }
            PurgeTarget::Soft(names) => self.soft.insert(names, mark),
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

const AWAY: &str = "the store does not respond; other processes learn of the purge later";

/// The maximum number of purges that wait for the log; beyond it everything is purged.
const MAX_LOCAL: usize = 100_000;

/// The number of stamps that a process may use between two stamps of the log, which are at least
/// 1,000 apart.
const PROVISIONAL_STAMPS: Stamp = 999;

#[cfg(test)]
mod tests;
