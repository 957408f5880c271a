//! What was purged, and when: an entry is right if nothing that it is part of was purged since its
//! service was asked. So a purge needs no search, and wins over a fill that it overtakes.

use std::collections::HashMap;
use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use super::hash::hash128;
use super::store::StoreError;

/// Stamps grow. They begin with the time in microseconds since 1970.
pub(crate) type Stamp = u64;

/// The purges that all users of a store share, as [`Store::purges`](super::Store::purges) gives them
/// to a layer. Clones are the same. Only [`MemoryStore`](super::MemoryStore), for this process, and
/// `RedisStore`, for all processes, make them.
#[derive(Clone, Debug)]
pub struct SharedPurges(pub(crate) Arc<Purges>);

#[derive(Default)]
pub(crate) struct Purges {
    last: AtomicU64,
    /// The last one that the log has told of.
    learned: AtomicU64,
    table: RwLock<Table>,
    /// What came before is not trusted, whatever its stamps: purges may have gone unheard. In
    /// milliseconds since 1970.
    trusted_from: AtomicU64,
    /// Where purges are written down for other processes.
    log: Option<Box<dyn Log>>,
}

/// Where purges are written down for other processes. They are read from there too, in the
/// background, and [`learn`](Purges::learn)t.
pub(crate) trait Log: Send + Sync {
    /// Begins to write it down.
    fn write(&self, own: Own) -> PurgeFuture;
}

/// A purge of this process, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Own {
    /// None is for all.
    pub(crate) name: Option<Name>,
    /// How many there were before.
    pub(crate) number: u64,
}

#[derive(Debug, Default)]
struct Table {
    /// What is older than this is purged.
    floor: Stamp,
    /// What was asked for before this is not kept, though what was kept before it may stay.
    fill_floor: Stamp,
    /// By their hashes: clients choose how many and how long they are. Of two that have the same,
    /// both are purged.
    urls: HashMap<u128, Changed>,
    tags: HashMap<String, Stamp>,
    prefixes: HashMap<String, Stamp>,
    /// What this process has purged, and the log has not, with the numbers of these purges.
    own: HashMap<Option<Name>, u64>,
    /// Purges of this process that there were.
    count: u64,
}

#[derive(Clone, Copy, Debug)]
struct Changed {
    at: Stamp,
    /// Whether what was kept of it was removed from the store.
    removed: bool,
}

/// What is purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purge<'a> {
    All,
    /// One that has been removed from the store too.
    Removed(&'a str),
    Url(&'a str),
    Prefix(&'a str),
    Tag(&'a str),
}

/// What a purge hits, as processes tell it each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Name {
    Url(u128),
    Prefix(String),
    Tag(String),
}

/// A purge, which holds in this process already. To drop it cancels nothing. Awaited, it tells of the
/// other processes that share the store: it is `Ok` once the purge is written down for them, and an
/// error if that is not so within `RedisConfig::command_timeout`: then they will
/// be told later ([`StoreError::is_deferred`]).
pub struct PurgeFuture(pub(crate) Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>);

impl Purges {
    /// Whether other processes learn of purges.
    pub(crate) fn is_shared(&self) -> bool {
        self.log.is_some()
    }

    /// The last purge. Taken before the service is asked.
    pub(crate) fn watermark(&self) -> Stamp {
        self.last.load(Ordering::Acquire)
    }

    /// `now` is in milliseconds since 1970.
    pub(crate) fn purge(&self, what: Purge<'_>, now: u64) -> PurgeFuture {
        let mut table = self.write();
        let next = self.last.load(Ordering::Relaxed) + 1;
        let removed = matches!(what, Purge::Removed(_));
        let name = what.name();
        let Some(log) = &self.log else {
            let stamp = next.max(now.saturating_mul(1000));
            table.purge(name, stamp, removed);
            self.last.store(stamp, Ordering::Release);
            return PurgeFuture(Box::pin(ready(Ok(()))));
        };
        // The log's stamp follows. Until then, and as long as there is room before that, this one
        // makes one up; without room, nothing of that name is kept before the log's is known.
        let most = self.learned.load(Ordering::Relaxed) + MADE_UP;
        table.count += 1;
        let own = Own { name: name.clone(), number: table.count };
        if table.own.len() >= MOST_NAMES {
            table.own.clear();
            table.own.insert(None, own.number);
        }
        table.own.insert(name.clone(), own.number);
        table.purge(name, next, removed);
        self.last.store(next.min(most - 1), Ordering::Release);
        drop(table);
        log.write(own)
    }

    /// Whether an entry of this URL, with these tags and this watermark, received then, is right
    /// still. If so, it is as of the stamp.
    pub(crate) fn spares(
        &self,
        url: &str,
        tags: &[String],
        watermark: Stamp,
        received: u64,
    ) -> Option<Stamp> {
        if received < self.trusted_from.load(Ordering::Relaxed) {
            return None;
        }
        self.spare(url, tags, watermark)
    }

    /// Whether what was asked for at this watermark may be kept.
    pub(crate) fn admits(&self, url: &str, tags: &[String], watermark: Stamp) -> bool {
        let admitted = self.read().fill_floor <= watermark;
        admitted && self.spare(url, tags, watermark).is_some()
    }

    fn spare(&self, url: &str, tags: &[String], watermark: Stamp) -> Option<Stamp> {
        let last = self.last.load(Ordering::Acquire);
        if watermark >= last {
            return Some(watermark);
        }
        let table = self.read();
        let is_old = |stamp: Option<&Stamp>| stamp.is_some_and(|stamp| *stamp > watermark);
        let purged = table.floor > watermark
            || is_old(table.urls.get(&hash128(url)).map(|changed| &changed.at))
            || tags.iter().any(|tag| is_old(table.tags.get(tag)))
            || table
                .prefixes
                .iter()
                .any(|(prefix, stamp)| is_old(Some(stamp)) && url.starts_with(prefix));
        (!purged).then_some(last)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(feature = "cache-redis")]
impl Purges {
    pub(crate) fn written_to(log: impl Log + 'static) -> Self {
        Self { log: Some(Box::new(log)), ..Self::default() }
    }

    /// What the log says, now that it has what was `written`: what is older than `floor` is purged,
    /// and so are these names, of which those that are unknown are all there is.
    pub(crate) fn learn(&self, names: &[(Option<Name>, Stamp)], floor: Stamp, written: &[Own]) {
        let mut table = self.write();
        if table.floor < floor {
            table.raise(floor);
        }
        let mut learned = floor.max(self.learned.load(Ordering::Relaxed));
        for (name, stamp) in names {
            table.purge(name.clone(), *stamp, false);
            learned = learned.max(*stamp);
        }
        for own in written {
            if own.name.is_none() {
                table.own.retain(|_, number| *number > own.number);
            } else if table.own.get(&own.name) == Some(&own.number) {
                table.own.remove(&own.name);
            }
        }
        // What was learned may be of others who did not know of these.
        let own: Vec<_> = table.own.keys().cloned().collect();
        let mut last = learned;
        for name in own {
            last = learned + 1;
            table.purge(name, last, false);
        }
        self.learned.store(learned, Ordering::Release);
        self.last.fetch_max(last, Ordering::Release);
    }

    /// As of which purge an entry of another process can be right here, at most: a purge of this
    /// process's that the log has not told of yet has a stamp above this one, but below those of
    /// which another process may have learned already.
    pub(crate) fn learned(&self) -> Stamp {
        self.learned.load(Ordering::Acquire)
    }

    /// From when on, in milliseconds since 1970, entries are used at all.
    pub(crate) fn trust_from(&self, millis: u64) {
        self.trusted_from.store(millis, Ordering::Relaxed);
    }
}

impl Table {
    /// No name is all.
    fn purge(&mut self, name: Option<Name>, stamp: Stamp, removed: bool) {
        let known = match name {
            None => return self.raise(stamp),
            Some(Name::Url(url)) => {
                let changed = self.urls.entry(url).or_insert(Changed { at: stamp, removed });
                changed.removed &= removed;
                &mut changed.at
            }
            Some(Name::Prefix(prefix)) => self.prefixes.entry(prefix).or_default(),
            Some(Name::Tag(tag)) => self.tags.entry(tag).or_default(),
        };
        *known = stamp.max(*known);
        self.bound();
    }

    /// All that is older is purged, and need not be named any more.
    fn raise(&mut self, floor: Stamp) {
        self.floor = floor.max(self.floor);
        self.fill_floor = floor.max(self.fill_floor);
        self.urls.retain(|_, changed| changed.at > floor);
        self.tags.retain(|_, stamp| *stamp > floor);
        self.prefixes.retain(|_, stamp| *stamp > floor);
    }

    /// A table that is full forgets the oldest, and what was kept before these. Clients that change
    /// many URLs cannot empty the cache: what they changed is not in the store any more, so it is
    /// only fills under way that are not kept.
    fn bound(&mut self) {
        if self.urls.len() > MOST_NAMES {
            let cut = oldest(self.urls.values().map(|changed| changed.at));
            let old = self.urls.values().filter(|changed| changed.at <= cut && !changed.removed);
            self.floor = old.map(|changed| changed.at).fold(self.floor, Stamp::max);
            self.fill_floor = cut.max(self.fill_floor);
            self.urls.retain(|_, changed| changed.at > cut);
        }
        for (named, most) in [(&mut self.tags, MOST_NAMES), (&mut self.prefixes, MOST_PREFIXES)] {
            if named.len() > most {
                let cut = oldest(named.values().copied());
                named.retain(|_, stamp| *stamp > cut);
                self.floor = cut.max(self.floor);
                self.fill_floor = cut.max(self.fill_floor);
            }
        }
    }
}

/// The newest of the older quarter.
fn oldest(stamps: impl Iterator<Item = Stamp>) -> Stamp {
    let mut stamps: Vec<_> = stamps.collect();
    let quarter = stamps.len() / 4;
    *stamps.select_nth_unstable(quarter).1
}

impl Purge<'_> {
    fn name(self) -> Option<Name> {
        Some(match self {
            Self::All => return None,
            Self::Removed(url) | Self::Url(url) => Name::Url(hash128(url)),
            Self::Prefix(prefix) => Name::Prefix(prefix.to_owned()),
            Self::Tag(tag) => Name::Tag(tag.to_owned()),
        })
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

const MOST_NAMES: usize = 150_000;

/// Stamps that a process may make up between two of the log's.
const MADE_UP: Stamp = 999;

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
            drop(purges.purge(purge, 5));
            let spared = purges.spares("http://x/1", &tags, before, 0);
            assert_eq!(spared.is_none(), hit, "{purge:?}");
            assert_eq!(purges.admits("http://x/1", &tags, before), !hit, "{purge:?}");
            let after = purges.watermark();
            assert_eq!(purges.spares("http://x/1", &tags, after, 0), Some(after), "{purge:?}");
            assert_eq!(spared.unwrap_or(after), after, "it need not be looked at again");
        }
    }

    #[test]
    fn stamps_grow_though_the_clock_stands_or_goes_back() {
        let purges = Purges::default();
        for now in [5, 5, 1, 0] {
            let before = purges.watermark();
            drop(purges.purge(Purge::Tag("a"), now));
            assert!(purges.watermark() > before);
        }
    }

    #[test]
    fn many_changed_urls_do_not_empty_the_cache() {
        let purges = Purges::default();
        let before = purges.watermark();
        for number in 0..=MOST_NAMES {
            drop(purges.purge(Purge::Removed(&format!("http://x/{number}")), 0));
        }
        assert!(purges.spares("http://x/other", &[], before, 0).is_some());
        assert!(!purges.admits("http://x/1", &[], before));
        assert!(purges.admits("http://x/1", &[], purges.watermark()));
    }

    #[test]
    fn a_purged_url_stays_purged_however_many_are_changed() {
        let purges = Purges::default();
        let before = purges.watermark();
        drop(purges.purge(Purge::Url("http://x/1"), 0));
        drop(purges.purge(Purge::Removed("http://x/1"), 0));
        for number in 2..=MOST_NAMES + 1 {
            drop(purges.purge(Purge::Removed(&format!("http://x/{number}")), 0));
        }
        assert!(purges.spares("http://x/1", &[], before, 0).is_none());
    }

    #[cfg(feature = "cache-redis")]
    #[test]
    fn what_the_log_has_forgotten_is_purged() {
        let purges = Purges::default();
        let tag = |stamp| (Some(Name::Tag("a".into())), stamp);
        purges.learn(&[tag(1005), (Some(Name::Url(1)), 2005)], 5, &[]);
        assert_eq!(purges.watermark(), 2005);
        let spared = |tag: &str, watermark| purges.spares("http://x/", &[tag.into()], watermark, 0);
        assert_eq!(spared("a", 4), None, "it is older than what the log knows");
        assert_eq!(spared("b", 4), None);
        assert_eq!(spared("a", 5), None);
        assert_eq!(spared("b", 5), Some(2005));
        assert_eq!(spared("a", 1005), Some(2005));
        drop(purges.purge(Purge::Tag("a"), 0));
        assert_eq!(spared("a", 2005), None, "a purge of this process comes after");
        purges.learn(&[tag(3005)], 1005, &[]);
        assert_eq!(spared("a", 2006), None);
        assert_eq!(spared("a", 3005), Some(3005));
        assert_eq!(spared("b", 1004), None);
        assert_eq!(spared("b", 1005), Some(3005));
        purges.trust_from(100);
        assert_eq!(purges.spares("http://x/", &[], 3005, 99), None);
        assert_eq!(purges.spares("http://x/", &[], 3005, 100), Some(3005));
    }

    #[cfg(feature = "cache-redis")]
    struct Silent;

    #[cfg(feature = "cache-redis")]
    impl Log for Silent {
        fn write(&self, _: Own) -> PurgeFuture {
            PurgeFuture(Box::pin(ready(Ok(()))))
        }
    }

    #[cfg(feature = "cache-redis")]
    #[test]
    fn a_purge_holds_until_it_is_written_down_whatever_is_learned_meanwhile() {
        let name = |tag: &str| Some(Name::Tag(tag.to_owned()));
        let purges = Purges::written_to(Silent);
        purges.learn(&[(name("other"), 1000)], 0, &[]);
        drop(purges.purge(Purge::Tag("a"), 0));
        let spared = |tag: &str, watermark| purges.spares("http://x/", &[tag.into()], watermark, 0);
        assert_eq!(spared("a", 1000), None);
        // Another process knows a newer purge, and not this one.
        purges.learn(&[(name("other"), 2000)], 0, &[]);
        assert_eq!(purges.learned(), 2000);
        assert_eq!(spared("a", 2000), None);
        assert!(spared("b", 2000).is_some());
        // An older purge of the same name is written down, and this one is not.
        drop(purges.purge(Purge::Tag("a"), 0));
        purges.learn(&[(name("a"), 3000)], 0, &[Own { name: name("a"), number: 1 }]);
        assert_eq!(spared("a", 3000), None);
        purges.learn(&[(name("a"), 4000)], 0, &[Own { name: name("a"), number: 2 }]);
        assert_eq!(spared("a", 4000), Some(4000));
        drop(purges.purge(Purge::All, 0));
        purges.learn(&[(name("other"), 5000)], 0, &[]);
        assert_eq!(spared("b", 5000), None);
        purges.learn(&[], 6000, &[Own { name: None, number: 3 }]);
        assert_eq!(spared("b", 6000), Some(6000));
    }

    #[cfg(feature = "cache-redis")]
    #[test]
    fn purges_of_this_process_hide_none_of_others() {
        let purges = Purges::written_to(Silent);
        let before = purges.watermark();
        for number in 0..3 * MADE_UP {
            drop(purges.purge(Purge::Tag(&number.to_string()), 0));
            assert!(!purges.admits("http://x/", &[number.to_string()], before));
        }
        assert!(purges.watermark() < 1000, "the least that the log's next stamp can be");
        assert!(purges.admits("http://x/", &["else".to_owned()], purges.watermark()));
    }

    #[test]
    fn a_table_that_forgets_purges_more_and_not_less() {
        let purges = Purges::default();
        let before = purges.watermark();
        for number in 0..=MOST_PREFIXES {
            drop(purges.purge(Purge::Prefix(&format!("http://x/{number}/")), 0));
        }
        assert!(purges.spares("http://x/1/", &[], before, 0).is_none());
    }
}
