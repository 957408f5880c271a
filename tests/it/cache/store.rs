//! The contract of stores, and the memory store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tokio::task::JoinSet;
use tower_kit::cache::{
    BoxStore, Entry, Lease, MemoryStore, SharedPurges, Store, StoreError, TieredStore, Usage,
    contract,
};
use tower_kit::{KIB, MIB};

const MINUTE: Duration = Duration::from_secs(60);

fn entry(bytes: u64) -> Entry {
    contract::entry(vec![0; usize::try_from(bytes).unwrap()])
}

/// Puts into a store that does not wait.
fn put(store: &MemoryStore, key: &str, entry: Entry) {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let put = std::pin::pin!(store.put(key, entry, MINUTE));
    assert!(matches!(put.poll(&mut cx), Poll::Ready(Ok(()))));
}

fn has(store: &MemoryStore, key: &str) -> bool {
    matches!(store.get_now(key), Poll::Ready(Some(_)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_store_keeps_the_contract() {
    contract::check(async || MemoryStore::new(64 * MIB)).await;
    contract::check(async || MemoryStore::new(16 * MIB)).await;
    contract::check(async || BoxStore::new(MemoryStore::new(64 * MIB))).await;
    contract::check_atomic_updates(MemoryStore::new(64 * MIB)).await;
    let (memory, behind) = (MemoryStore::new(64 * MIB), MemoryStore::new(64 * MIB));
    contract::check_atomic_updates(BoxStore::new(TieredStore::new(memory, behind))).await;
}

/// A store that breaks a rule.
struct Broken {
    inner: MemoryStore,
    rule: Rule,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    Bytes,
    Replace,
    Remove,
    Clear,
    Keys,
    LongKeys,
    Zero,
    Forever,
    Large,
    Peek,
    Count,
    Update,
    Lease,
    Purges,
}

impl Broken {
    fn key<'a>(&self, key: &'a str) -> &'a str {
        match self.rule {
            Rule::Keys => key.trim_end(),
            Rule::LongKeys => key.get(..4096).unwrap_or(key),
            _ => key,
        }
    }
}

impl Store for Broken {
    fn get_now(&self, _: &str) -> Poll<Option<Entry>> {
        if self.rule == Rule::Peek { Poll::Ready(None) } else { Poll::Pending }
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let got = self.inner.get(self.key(key)).await?;
        Ok(got.map(|got| if self.rule == Rule::Bytes { entry(0) } else { got }))
    }

    async fn put(&self, key: &str, entry: Entry, ttl: Duration) -> Result<(), StoreError> {
        let key = self.key(key);
        let lost = match self.rule {
            Rule::Zero if ttl.is_zero() => return Err(StoreError::new("zero")),
            Rule::Forever => ttl > Duration::from_secs(1 << 40),
            Rule::Replace => self.inner.get(key).await?.is_some(),
            Rule::Large => entry.size() > MIB,
            _ => false,
        };
        if lost { Ok(()) } else { self.inner.put(key, entry, ttl).await }
    }

    async fn remove(&self, key: &str) -> Result<(), StoreError> {
        if self.rule == Rule::Remove { Ok(()) } else { self.inner.remove(self.key(key)).await }
    }

    async fn clear(&self) -> Result<(), StoreError> {
        if self.rule == Rule::Clear { Ok(()) } else { self.inner.clear().await }
    }

    async fn update(
        &self,
        key: &str,
        ttl: Duration,
        change: &mut (dyn FnMut(Option<Entry>) -> Entry + Send),
    ) -> Result<(), StoreError> {
        let old = if self.rule == Rule::Update { None } else { self.get(key).await? };
        self.put(key, change(old), ttl).await
    }

    fn purges(&self) -> Option<SharedPurges> {
        (self.rule == Rule::Purges).then(SharedPurges::new)
    }

    async fn lease(&self, _: &str) -> Lease {
        if self.rule == Rule::Lease { Lease::taken() } else { Lease::free() }
    }

    fn usage(&self) -> Usage {
        let usage = self.inner.usage();
        Usage::new(if self.rule == Rule::Count { 2 } else { usage.entries }, usage.bytes, 0)
    }
}

#[tokio::test]
async fn broken_rules_are_named() {
    for (rule, expected) in [
        (Rule::Bytes, "an entry is returned with every byte as it was put"),
        (Rule::Replace, "an entry replaces the previous one"),
        (Rule::Remove, "a removed entry is gone"),
        (Rule::Clear, "a cleared store has no entries"),
        (Rule::Keys, "keys that differ in one byte are different"),
        (Rule::LongKeys, "keys that differ in one byte are different"),
        (Rule::Zero, "putting succeeds with a lifetime of 0ns"),
        (Rule::Forever, "an entry of the longest lifetime is kept"),
        (Rule::Large, "an entry with a body of 1 MiB is kept"),
        (Rule::Peek, "get_now returns the entry of get, or is pending"),
        (Rule::Count, "a cleared store counts no entries"),
        (Rule::Update, "an update gets the entry of the one before"),
        (Rule::Lease, "the first to ask for a lease gets it"),
        (Rule::Purges, "purges returns the same state each time"),
    ] {
        let make = async move || Broken { inner: MemoryStore::new(64 * MIB), rule };
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { contract::check(make).await });
        let panic = tasks.join_next().await.unwrap().unwrap_err().into_panic();
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or(panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap();
        assert!(said.contains(expected), "{rule:?}: {said}");
    }
}

#[tokio::test]
async fn clones_share_the_entries() {
    let store = MemoryStore::new(16 * MIB);
    put(&store.clone(), "a", entry(1));
    assert!(has(&store, "a"));
    store.clone().remove("a").await.unwrap();
    assert!(!has(&store, "a"));
    assert_eq!(store.clone().usage(), store.usage());
}

#[test]
fn bursts_stay_in_the_bound() {
    let store = MemoryStore::new(16 * MIB);
    let (most, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                most.fetch_max(store.usage().bytes, Ordering::Relaxed);
            }
        });
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let store = &store;
                scope.spawn(move || {
                    // 160 MiB in all: of 1 KiB to 512 KiB each.
                    for size in 0..10 {
                        for at in 0..(4 * MIB) / (KIB << size) {
                            put(store, &format!("{writer} {size} {at}"), entry(KIB << size));
                        }
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
    });
    let (most, last) = (most.load(Ordering::Relaxed), store.usage());
    assert!(most <= 16 * MIB * 105 / 100, "{most} bytes at the most");
    assert!(most >= 12 * MIB && last.bytes >= 12 * MIB, "{most} bytes at the most, then {last:?}");
    assert!(last.evictions > 0);
}

#[test]
fn small_stores_keep_entries_of_the_default_size() {
    for capacity in [8, 9, 12, 16, 31, 64, 256, 1024] {
        let store = MemoryStore::new(capacity * MIB);
        for at in 0..32 {
            put(&store, &format!("{at}"), entry(MIB));
            assert!(has(&store, &format!("{at}")), "entry {at} in {capacity} MiB");
        }
    }
}

#[test]
fn larger_entries_need_a_store_made_for_them() {
    let store = MemoryStore::with_max_entry_size(64 * MIB, 16 * MIB);
    put(&store, "a", entry(16 * MIB));
    assert!(has(&store, "a"));
    put(&store, "a", entry(128 * MIB));
    assert!(!has(&store, "a"), "what it cannot keep does not leave what was before");
    assert_eq!((store.usage().entries, store.usage().evictions), (0, 0));
}

#[test]
fn repeated_requests_survive_a_scan() {
    let store = MemoryStore::new(16 * MIB);
    let hot: Vec<_> = (0..100).map(|at| format!("hot {at}")).collect();
    hot.iter().for_each(|key| put(&store, key, entry(16 * KIB)));
    for at in 0..20_000 {
        put(&store, &format!("once {at}"), entry(16 * KIB));
        assert!(at % 10 != 0 || has(&store, &hot[at / 10 % 100]), "after {at}");
    }
    assert!(hot.iter().all(|key| has(&store, key)));
}

#[test]
fn evictions_are_counted() {
    let store = MemoryStore::new(8 * MIB);
    for round in 0..10 {
        put(&store, "a", entry(round * KIB));
    }
    assert_eq!(store.usage().evictions, 0, "what is replaced made no place");
    for at in 0..32 {
        put(&store, &format!("{at}"), entry(MIB));
    }
    let usage = store.usage();
    assert_eq!(usage.evictions + usage.entries, 33);
}

#[test]
fn usage_counts_keys_and_entries() {
    let store = MemoryStore::new(64 * MIB);
    put(&store, "key", entry(MIB));
    let one = store.usage();
    assert!((MIB..MIB + 2 * KIB).contains(&one.bytes), "{one:?}");
    put(&store, &"k".repeat(8 * 1024), entry(MIB));
    assert_eq!(store.usage().bytes, 2 * one.bytes + 8 * KIB - 3);
}

#[test]
fn shrunk_store_keeps_hot_entries_and_grows() {
    let store = MemoryStore::new(64 * MIB);
    let hot: Vec<_> = (0..100).map(|at| format!("hot {at}")).collect();
    hot.iter().for_each(|key| put(&store, key, entry(16 * KIB)));
    assert!((0..3).all(|_| hot.iter().all(|key| has(&store, key))));
    let fill = || (0..8_000).for_each(|at| put(&store, &format!("once {at}"), entry(16 * KIB)));
    fill();
    let full = store.usage();
    assert!(full.bytes > 56 * MIB, "{full:?}");
    // A quarter is the next that is not over it.
    store.shrink_to(20 * MIB);
    let shrunk = store.usage();
    assert!((14 * MIB..=16 * MIB).contains(&shrunk.bytes), "{shrunk:?}");
    assert_eq!(shrunk.evictions - full.evictions, full.entries - shrunk.entries);
    assert!(hot.iter().all(|key| has(&store, key)));
    fill();
    assert!(store.usage().bytes > 56 * MIB, "{:?}", store.usage());
}

#[test]
fn shrinking_has_two_extremes() {
    let store = MemoryStore::new(64 * MIB);
    (0..64).for_each(|at| put(&store, &format!("{at}"), entry(64 * KIB)));
    let full = store.usage();
    store.shrink_to(full.bytes);
    store.shrink_to(u64::MAX);
    assert_eq!(store.usage(), full);
    store.shrink_to(2 * MIB - 1);
    assert_eq!(store.usage(), Usage::new(0, 0, full.evictions + 64));
    store.shrink_to(0);
    assert_eq!(store.usage().evictions, full.evictions + 64);
}

/// A key that is put again soon after it was evicted is one that is asked for again, and survives a
/// scan, as long as the store remembers what it has evicted.
#[test]
fn shrunk_store_remembers_evicted_keys() {
    for capacity in [64 * KIB, 256 * KIB, 4 * MIB + 12_345] {
        let store = MemoryStore::new(capacity);
        let scan = |round: usize, entries| {
            (0..entries).for_each(|at| put(&store, &format!("{round} {at}"), entry(KIB)));
        };
        let all = capacity / KIB;
        for round in 0..100 {
            scan(round, all / 2);
            store.shrink_to(capacity / [3, 5, 30, 40][round % 4]);
        }
        scan(100, 2 * all);
        put(&store, "again", entry(KIB));
        // A few more than what is new there may keep.
        scan(101, all / 16 + 4);
        put(&store, "again", entry(KIB));
        scan(102, 2 * all);
        assert!(has(&store, "again"), "{capacity}");
    }
}
