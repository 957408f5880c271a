//! What was purged, and when: an entry is right if nothing that it is part of was purged since its
//! service was asked. So a purge needs no search, and wins over a fill that it overtakes.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

/// Stamps grow. They begin with the time in microseconds since 1970.
pub(super) type Stamp = u64;

#[derive(Debug, Default)]
pub(super) struct Purges {
    last: AtomicU64,
    hasher: RandomState,
    table: RwLock<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// What is older than this is purged.
    floor: Stamp,
    /// What was asked for before this is not kept, though what was kept before it may stay.
    fill_floor: Stamp,
    /// By their hashes: clients choose how many and how long they are. Of two that have the same,
    /// both are purged.
    urls: HashMap<u64, Stamp>,
    tags: HashMap<String, Stamp>,
    prefixes: HashMap<String, Stamp>,
}

/// What is purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purge<'a> {
    All,
    /// One that has been removed from the store too.
    Removed(&'a str),
    Url(&'a str),
    Prefix(&'a str),
    Tag(&'a str),
}

impl Purges {
    /// The last purge. Taken before the service is asked.
    pub(super) fn watermark(&self) -> Stamp {
        self.last.load(Ordering::Acquire)
    }

    /// `now` is in milliseconds since 1970.
    pub(super) fn purge(&self, what: Purge<'_>, now: u64) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let stamp = (self.last.load(Ordering::Relaxed) + 1).max(now.saturating_mul(1000));
        match what {
            Purge::All => *table = Table { floor: stamp, fill_floor: stamp, ..Table::default() },
            Purge::Url(url) | Purge::Removed(url) => {
                table.urls.insert(self.hasher.hash_one(url), stamp);
            }
            Purge::Prefix(prefix) => {
                table.prefixes.insert(prefix.to_owned(), stamp);
            }
            Purge::Tag(tag) => {
                table.tags.insert(tag.to_owned(), stamp);
            }
        }
        table.bound(matches!(what, Purge::Removed(_)), stamp);
        self.last.store(stamp, Ordering::Release);
    }

    /// Whether an entry of this URL, with these tags and this watermark, is right still. If so, it
    /// is as of the stamp.
    pub(super) fn spares(&self, url: &str, tags: &[String], watermark: Stamp) -> Option<Stamp> {
        let last = self.last.load(Ordering::Acquire);
        if watermark >= last {
            return Some(watermark);
        }
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let is_old = |stamp: Option<&Stamp>| stamp.is_some_and(|stamp| *stamp > watermark);
        let purged = table.floor > watermark
            || is_old(table.urls.get(&self.hasher.hash_one(url)))
            || tags.iter().any(|tag| is_old(table.tags.get(tag)))
            || table
                .prefixes
                .iter()
                .any(|(prefix, stamp)| is_old(Some(stamp)) && url.starts_with(prefix));
        (!purged).then_some(last)
    }

    /// Whether what was asked for at this watermark may be kept.
    pub(super) fn admits(&self, url: &str, tags: &[String], watermark: Stamp) -> bool {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let admitted = table.fill_floor <= watermark;
        drop(table);
        admitted && self.spares(url, tags, watermark).is_some()
    }
}

impl Table {
    /// A table that is full forgets. Clients that change many URLs cannot empty the cache: what they
    /// changed is not in the store any more, so it is only fills under way that are not kept.
    fn bound(&mut self, removed: bool, stamp: Stamp) {
        if self.urls.len() > MOST_NAMES {
            self.urls.clear();
            self.fill_floor = stamp;
            if !removed {
                self.floor = stamp;
            }
        }
        if self.tags.len() > MOST_NAMES || self.prefixes.len() > MOST_PREFIXES {
            *self = Self { floor: stamp, fill_floor: stamp, ..Self::default() };
        }
    }
}

const MOST_NAMES: usize = 100_000;

/// Each of them is compared.
const MOST_PREFIXES: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purge_hits_what_was_asked_for_before_it() {
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
            purges.purge(purge, 5);
            let spared = purges.spares("http://x/1", &tags, before);
            assert_eq!(spared.is_none(), hit, "{purge:?}");
            assert_eq!(purges.admits("http://x/1", &tags, before), !hit, "{purge:?}");
            let after = purges.watermark();
            assert_eq!(purges.spares("http://x/1", &tags, after), Some(after), "{purge:?}");
            assert_eq!(spared.unwrap_or(after), after, "it need not be looked at again");
        }
    }

    #[test]
    fn stamps_grow_though_the_clock_stands_or_goes_back() {
        let purges = Purges::default();
        for now in [5, 5, 1, 0] {
            let before = purges.watermark();
            purges.purge(Purge::Tag("a"), now);
            assert!(purges.watermark() > before);
        }
    }

    #[test]
    fn many_changed_urls_do_not_empty_the_cache() {
        let purges = Purges::default();
        let before = purges.watermark();
        for number in 0..=MOST_NAMES {
            purges.purge(Purge::Removed(&format!("http://x/{number}")), 0);
        }
        assert!(purges.spares("http://x/other", &[], before).is_some());
        assert!(!purges.admits("http://x/1", &[], before));
        assert!(purges.admits("http://x/1", &[], purges.watermark()));
    }

    #[test]
    fn a_table_that_forgets_purges_more_and_not_less() {
        let purges = Purges::default();
        let before = purges.watermark();
        for number in 0..=MOST_PREFIXES {
            purges.purge(Purge::Prefix(&format!("http://x/{number}/")), 0);
        }
        assert!(purges.spares("http://x/1/", &[], before).is_none());
    }
}
