use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use super::super::hash::hash128;

/// The position of a purge among all purges. Stamps grow; they start with the time in microseconds
/// since 1970.
pub(crate) type Stamp = u64;

/// A request to purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purge<'a> {
    /// Everything that the store has.
    All,
    /// A URL whose entries are removed from the store as well.
    Removed(&'a str),
    Url(&'a str),
    Prefix(&'a str),
    Tag(&'a str),
}

/// The target of a purge, as processes describe it to each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PurgeTarget {
    All,
    /// The hash of a URL: clients choose how many URLs there are and how long they are. A collision
    /// purges both URLs.
    Url(u128),
    Prefix(String),
    Tag(String),
}

/// The last stamp of each purged target.
#[derive(Debug, Default)]
pub(super) struct PurgeTable {
    /// Entries from before this stamp are purged.
    floor: Stamp,
    /// Responses that were requested before this stamp are not stored, although entries from before
    /// it may be current.
    fill_floor: Stamp,
    urls: HashMap<u128, UrlPurge>,
    tags: HashMap<String, Stamp>,
    /// Sorted, so that the prefixes of a URL are found without comparing all of them.
    prefixes: BTreeMap<String, Stamp>,
}

#[derive(Clone, Copy, Debug)]
struct UrlPurge {
    stamp: Stamp,
    /// The entries of the URL are no longer in the store.
    removed: bool,
}

impl Purge<'_> {
    pub(super) fn target(self) -> PurgeTarget {
        match self {
            Self::All => PurgeTarget::All,
            Self::Removed(url) | Self::Url(url) => PurgeTarget::Url(hash128(url)),
            Self::Prefix(prefix) => PurgeTarget::Prefix(prefix.to_owned()),
            Self::Tag(tag) => PurgeTarget::Tag(tag.to_owned()),
        }
    }
}

impl PurgeTable {
    /// Records a purge.
    pub(super) fn insert(&mut self, target: PurgeTarget, stamp: Stamp, removed: bool) {
        let known = match target {
            PurgeTarget::All => return self.raise_floor(stamp),
            PurgeTarget::Url(url) => {
                let purge = self.urls.entry(url).or_insert(UrlPurge { stamp, removed });
                // One purge that left entries in the store is enough to need a floor later.
                purge.removed &= removed;
                &mut purge.stamp
            }
            PurgeTarget::Prefix(prefix) => {
                self.forget_longer_prefixes(&prefix, stamp);
                self.prefixes.entry(prefix).or_default()
            }
            PurgeTarget::Tag(tag) => self.tags.entry(tag).or_default(),
        };
        *known = stamp.max(*known);
        self.forget_oldest();
    }

    /// Purges all entries from before `floor`, which makes their own purges superfluous.
    pub(super) fn raise_floor(&mut self, floor: Stamp) {
        if floor <= self.floor {
            return;
        }
        self.forget_before(floor);
        self.urls.retain(|_, purge| purge.stamp > floor);
        self.tags.retain(|_, stamp| *stamp > floor);
        self.prefixes.retain(|_, stamp| *stamp > floor);
    }

    /// Returns `true` if an entry was purged after `watermark`.
    pub(super) fn is_purged(&self, url: &str, tags: &[String], watermark: Stamp) -> bool {
        // The cheapest first: most entries have no tags, and most processes purge no prefixes.
        self.floor > watermark
            || self.urls.get(&hash128(url)).is_some_and(|purge| purge.stamp > watermark)
            || tags.iter().any(|tag| self.tags.get(tag).is_some_and(|stamp| *stamp > watermark))
            || self.is_prefix_purged(url, watermark)
    }

    /// Returns `true` if the table has forgotten no purge that a response requested at `watermark`
    /// would have to be compared with.
    pub(super) fn remembers(&self, watermark: Stamp) -> bool {
        self.fill_floor <= watermark
    }

    /// Visits the prefixes of `url` that were purged, the longest first. The greatest key that is not
    /// greater than `url` is a prefix of it, or shares with it all that a shorter prefix can have.
    fn is_prefix_purged(&self, url: &str, watermark: Stamp) -> bool {
        let mut end = url.len();
        loop {
            let range = (Bound::Unbounded, Bound::Included(&url[..end]));
            let Some((prefix, stamp)) = self.prefixes.range::<str, _>(range).next_back() else {
                return false;
            };
            let common = prefix.bytes().zip(url.bytes()).take_while(|(a, b)| a == b).count();
            // A prefix of `url` that is not greater than `prefix` is no longer than what they share.
            end = if common < prefix.len() {
                common
            } else if *stamp > watermark {
                return true;
            } else if common == 0 {
                return false;
            } else {
                common - 1
            };
            // A prefix of `url` ends between two characters.
            while !url.is_char_boundary(end) {
                end -= 1;
            }
        }
    }

    /// A later purge of a prefix covers all longer ones.
    fn forget_longer_prefixes(&mut self, prefix: &str, stamp: Stamp) {
        let range = (Bound::Included(prefix), Bound::Unbounded);
        let longer = self.prefixes.range::<str, _>(range);
        let longer = longer.take_while(|(longer, _)| longer.starts_with(prefix));
        let covered = longer.filter(|(longer, old)| **old <= stamp && longer.len() > prefix.len());
        for covered in covered.map(|(longer, _)| longer.clone()).collect::<Vec<_>>() {
            self.prefixes.remove(&covered);
        }
    }

    /// Forgets the oldest quarter of a table that is full, and purges the entries from before it.
    ///
    /// A URL whose entries were removed needs no such floor: only fetches that are under way could
    /// bring them back, and these are not stored. So clients that change many URLs cannot empty the
    /// cache.
    fn forget_oldest(&mut self) {
        if self.urls.len() > MAX_NAMES {
            let cut = oldest_quarter(self.urls.values().map(|purge| purge.stamp));
            let old = self.urls.values().filter(|purge| purge.stamp <= cut && !purge.removed);
            self.floor = old.map(|purge| purge.stamp).fold(self.floor, Stamp::max);
            self.fill_floor = cut.max(self.fill_floor);
            self.urls.retain(|_, purge| purge.stamp > cut);
        }
        if self.tags.len() > MAX_NAMES {
            let cut = oldest_quarter(self.tags.values().copied());
            self.tags.retain(|_, stamp| *stamp > cut);
            self.forget_before(cut);
        }
        if self.prefixes.len() > MAX_NAMES {
            let cut = oldest_quarter(self.prefixes.values().copied());
            self.prefixes.retain(|_, stamp| *stamp > cut);
            self.forget_before(cut);
        }
    }

    fn forget_before(&mut self, cut: Stamp) {
        self.floor = cut.max(self.floor);
        self.fill_floor = cut.max(self.fill_floor);
    }
}

/// Returns the newest stamp of the oldest quarter.
fn oldest_quarter(stamps: impl Iterator<Item = Stamp>) -> Stamp {
    let mut stamps: Vec<_> = stamps.collect();
    // Linear in the size of the table, once for every quarter of it.
    let quarter = stamps.len() / 4;
    *stamps.select_nth_unstable(quarter).1
}

/// The maximum number of URLs, of tags and of prefixes in a table.
pub(super) const MAX_NAMES: usize = 150_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix(table: &mut PurgeTable, prefix: &str, stamp: Stamp) {
        table.insert(Purge::Prefix(prefix).target(), stamp, false);
    }

    #[test]
    fn many_prefixes_purge_nothing_else() {
        let mut table = PurgeTable::default();
        for number in 0..10_000 {
            prefix(&mut table, &format!("http://x/{number}/"), number + 1);
        }
        assert!(table.is_purged("http://x/1/a", &[], 0));
        assert!(table.is_purged("http://x/9999/a", &[], 9_999));
        assert!(!table.is_purged("http://x/1/a", &[], 2));
        assert!(!table.is_purged("http://x/other", &[], 0));
    }

    #[test]
    fn full_table_of_prefixes_purges_more() {
        let mut table = PurgeTable::default();
        for number in 0..=MAX_NAMES as Stamp {
            prefix(&mut table, &format!("http://x/{number}/"), number + 1);
        }
        assert!(table.is_purged("http://x/1/", &[], 0));
        assert!(table.is_purged("http://x/other", &[], 0));
        assert!(!table.remembers(0));
        assert!(!table.is_purged("http://x/other", &[], MAX_NAMES as Stamp));
    }

    #[test]
    fn shorter_prefix_replaces_longer_ones() {
        let mut table = PurgeTable::default();
        for (stamp, name) in ["ab", "abc", "a", "b"].into_iter().enumerate() {
            prefix(&mut table, name, stamp as Stamp + 1);
        }
        assert_eq!(table.prefixes.keys().collect::<Vec<_>>(), ["a", "b"]);
        prefix(&mut table, "ab", 9);
        prefix(&mut table, "a", 8);
        assert!(table.is_purged("abc", &[], 8), "the later purge of the longer one stays");
    }

    proptest! {
        #[test]
        fn prefixes_are_found_as_by_comparing_all(
            prefixes in prop::collection::vec(("[aä/]{0,5}", 1_u64..9), 0..12),
            url in "[aä/]{0,7}",
            watermark in 0_u64..9,
        ) {
            let mut table = PurgeTable::default();
            for (name, stamp) in &prefixes {
                prefix(&mut table, name, *stamp);
            }
            let expected = prefixes
                .iter()
                .any(|(name, stamp)| url.starts_with(name.as_str()) && *stamp > watermark);
            prop_assert_eq!(table.is_purged(&url, &[], watermark), expected);
        }
    }
}
