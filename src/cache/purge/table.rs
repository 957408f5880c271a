use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use quick_cache::DefaultHashBuilder;

use super::super::hash::hash128;

/// The position of a purge among all purges. Stamps grow; they start with the time in microseconds
/// since 1970.
pub(crate) type Stamp = u64;

/// A request to purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purge<'a> {
    /// Everything that the store has.
    All,
    /// A name whose entry is removed from the store, or replaced there, once the log has the purge.
    Removed(&'a str),
    Url(&'a str),
    Prefix(&'a str),
    Tag(&'a str),
}

/// The target of a purge, as processes describe it to each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PurgeTarget {
    /// Entries with these names are not used any more.
    Hard(Names),
    /// Entries with these names are stale.
    Soft(Names),
}

/// The names of entries that are purged together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Names {
    All,
    /// The hash of a URL: clients choose how many URLs there are and how long they are. A collision
    /// purges both URLs.
    Url(u128),
    /// The hash of a name whose entry is no longer in the store.
    Removed(u128),
    Prefix(String),
    Tag(String),
}

/// The stamp of a purge, and its time in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    pub(super) stamp: Stamp,
    /// The time by the local clock. A stamp does not tell it: the log assigns stamps by another clock.
    pub(super) time: u64,
}

/// The last purge of each name. Hard and soft purges have a table each.
#[derive(Debug, Default)]
pub(super) struct PurgeTable {
    /// Entries from before this stamp are purged.
    floor: Mark,
    /// Responses that were requested before this stamp are not stored, although entries from before
    /// it may be current.
    fill_floor: Stamp,
    /// Names that were removed before this stamp may be forgotten. What a memory has from before it
    /// may be in the store behind the memory no more.
    removed_floor: Stamp,
    /// Clients choose the URLs: the hasher has a secret of its own.
    urls: HashMap<u128, Mark, DefaultHashBuilder>,
    removed: HashMap<u128, Mark, DefaultHashBuilder>,
    tags: HashMap<String, Mark>,
    /// Sorted, so that the prefixes of a URL are found without comparing all of them.
    prefixes: BTreeMap<String, Mark>,
    /// The greatest stamp of the table.
    last: Stamp,
}

impl Purge<'_> {
    pub(crate) fn names(self) -> Names {
        match self {
            Self::All => Names::All,
            Self::Removed(url) => Names::Removed(hash128(url)),
            Self::Url(url) => Names::Url(hash128(url)),
            Self::Prefix(prefix) => Names::Prefix(prefix.to_owned()),
            Self::Tag(tag) => Names::Tag(tag.to_owned()),
        }
    }
}

impl PurgeTarget {
    /// The purge of everything.
    pub(crate) const ALL: Self = Self::Hard(Names::All);
}

impl Mark {
    /// Returns the later purge.
    fn max(self, other: Self) -> Self {
        if other.stamp > self.stamp { other } else { self }
    }
}

impl PurgeTable {
    /// Records a purge.
    pub(super) fn insert(&mut self, names: Names, mark: Mark) {
        let known = match names {
            Names::All => return self.raise_floor(mark),
            Names::Url(url) => self.urls.entry(url).or_default(),
            Names::Removed(name) => self.removed.entry(name).or_default(),
            Names::Prefix(prefix) => {
                self.forget_longer_prefixes(&prefix, mark.stamp);
                self.prefixes.entry(prefix).or_default()
            }
            Names::Tag(tag) => self.tags.entry(tag).or_default(),
        };
        *known = known.max(mark);
        self.last = self.last.max(mark.stamp);
        self.forget_oldest();
    }

    /// Purges all entries from before `floor`, which makes their own purges superfluous.
    pub(super) fn raise_floor(&mut self, floor: Mark) {
        if floor.stamp <= self.floor.stamp {
            return;
        }
        self.forget_before(floor);
        self.urls.retain(|_, mark| mark.stamp > floor.stamp);
        self.removed.retain(|_, mark| mark.stamp > floor.stamp);
        self.tags.retain(|_, mark| mark.stamp > floor.stamp);
        self.prefixes.retain(|_, mark| mark.stamp > floor.stamp);
    }

    /// Forgets the names that were removed up to a stamp.
    pub(super) fn raise_removed_floor(&mut self, floor: Stamp) {
        if floor <= self.removed_floor {
            return;
        }
        self.removed.retain(|_, mark| mark.stamp > floor);
        self.removed_floor = floor;
        self.fill_floor = self.fill_floor.max(floor);
        self.last = self.last.max(floor);
    }

    /// Returns `true` if a name that was removed after `watermark` may be forgotten.
    pub(super) fn has_forgotten_removed(&self, watermark: Stamp) -> bool {
        self.removed_floor > watermark
    }

    /// Returns the last removal of a name, as far as the table remembers.
    pub(super) fn removed_at(&self, name: u128) -> Option<Mark> {
        self.removed.get(&name).copied()
    }

    /// Returns `true` if an entry was purged after `watermark`.
    pub(super) fn is_purged(&self, url: &str, tags: &[String], watermark: Stamp) -> bool {
        self.purges_since(url, tags, watermark).next().is_some()
    }

    /// Returns the time of the first purge after `watermark` that the table remembers, in milliseconds
    /// since 1970.
    pub(super) fn purged_at(&self, url: &str, tags: &[String], watermark: Stamp) -> Option<u64> {
        self.purges_since(url, tags, watermark).map(|mark| mark.time).min()
    }

    /// Returns `true` if the table has forgotten no purge that a response requested at `watermark`
    /// would have to be compared with.
    pub(super) fn remembers(&self, watermark: Stamp) -> bool {
        self.fill_floor <= watermark
    }

    /// Returns the purges of an entry after `watermark`.
    fn purges_since<'a>(
        &'a self,
        url: &'a str,
        tags: &'a [String],
        watermark: Stamp,
    ) -> impl Iterator<Item = Mark> + 'a {
        // Most processes have no soft purges, and none that are later than most entries.
        let any = self.last > watermark;
        let name = any.then(|| hash128(url));
        // The cheapest first: most entries have no tags, and most processes purge no prefixes.
        let marks = any.then_some(self.floor).into_iter();
        let marks = marks.chain(name.and_then(|name| self.urls.get(&name)).copied());
        let marks = marks.chain(name.and_then(|name| self.removed_at(name)));
        let tags = if any { tags } else { &[] };
        let marks = marks.chain(tags.iter().filter_map(|tag| self.tags.get(tag)).copied());
        let prefixes = any.then(|| self.prefixes_of(url)).into_iter().flatten();
        marks.chain(prefixes).filter(move |mark| mark.stamp > watermark)
    }

    /// Returns the prefixes of `url` that were purged, the longest first. The greatest key that is not
    /// greater than `url` is a prefix of it, or shares with it all that a shorter prefix can have.
    fn prefixes_of<'a>(&'a self, url: &'a str) -> impl Iterator<Item = Mark> + 'a {
        let mut end = Some(url.len());
        std::iter::from_fn(move || {
            loop {
                let range = (Bound::Unbounded, Bound::Included(&url[..end?]));
                let (prefix, mark) = self.prefixes.range::<str, _>(range).next_back()?;
                let common = prefix.bytes().zip(url.bytes()).take_while(|(a, b)| a == b).count();
                let found = common == prefix.len();
                // A prefix of `url` that is not greater than `prefix` is no longer than what they
                // share. It ends between two characters.
                let longest = if found { common.checked_sub(1) } else { Some(common) };
                end = longest.map(|longest| {
                    (0..=longest).rev().find(|end| url.is_char_boundary(*end)).unwrap_or(0)
                });
                if found {
                    return Some(*mark);
                }
            }
        })
    }

    /// A later purge of a prefix covers all longer ones.
    fn forget_longer_prefixes(&mut self, prefix: &str, stamp: Stamp) {
        let range = (Bound::Included(prefix), Bound::Unbounded);
        let longer = self.prefixes.range::<str, _>(range);
        let longer = longer.take_while(|(longer, _)| longer.starts_with(prefix));
        let covered =
            longer.filter(|(longer, old)| old.stamp <= stamp && longer.len() > prefix.len());
        for covered in covered.map(|(longer, _)| longer.clone()).collect::<Vec<_>>() {
            self.prefixes.remove(&covered);
        }
    }

    /// Forgets the oldest quarter of a table that is full, and purges the entries from before it.
    ///
    /// A name whose entry was removed needs no such floor: only fetches that are under way could bring
    /// the entry back, and these are not stored. So clients that change many URLs cannot empty the
    /// cache.
    fn forget_oldest(&mut self) {
        if self.urls.len() > MAX_NAMES {
            let cut = oldest_quarter(self.urls.values().copied());
            self.urls.retain(|_, mark| mark.stamp > cut.stamp);
            self.forget_before(cut);
        }
        if self.removed.len() > MAX_NAMES {
            let cut = oldest_quarter(self.removed.values().copied());
            self.raise_removed_floor(cut.stamp);
        }
        if self.tags.len() > MAX_NAMES {
            let cut = oldest_quarter(self.tags.values().copied());
            self.tags.retain(|_, mark| mark.stamp > cut.stamp);
            self.forget_before(cut);
        }
        if self.prefixes.len() > MAX_NAMES {
            let cut = oldest_quarter(self.prefixes.values().copied());
            self.prefixes.retain(|_, mark| mark.stamp > cut.stamp);
            self.forget_before(cut);
        }
    }

    fn forget_before(&mut self, cut: Mark) {
        self.floor = self.floor.max(cut);
        self.fill_floor = cut.stamp.max(self.fill_floor);
        self.last = cut.stamp.max(self.last);
    }
}

/// Returns the newest purge of the oldest quarter.
fn oldest_quarter(marks: impl Iterator<Item = Mark>) -> Mark {
    let mut marks: Vec<_> = marks.collect();
    // Linear in the size of the table, once for every quarter of it.
    let quarter = marks.len() / 4;
    *marks.select_nth_unstable_by_key(quarter, |mark| mark.stamp).1
}

/// The maximum number of URLs, of removed names, of tags and of prefixes in a table: more than the log
/// of a `RedisStore` has, whose floors come first.
pub(crate) const MAX_NAMES: usize = 150_000;

#[cfg(test)]
mod tests;
