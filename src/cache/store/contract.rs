//! Tests of the contract that every [`Store`] keeps.
//!
//! ```
//! use tower_kit::MIB;
//! use tower_kit::cache::{MemoryStore, contract};
//!
//! # tokio::runtime::Builder::new_multi_thread().build().unwrap().block_on(
//! contract::check(async || MemoryStore::new(64 * MIB))
//! # );
//! ```

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LINK};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::task::JoinSet;

use super::super::entry::{Entry, EntryKind, Freshness, Links, StoredResponse, Watermark};
use super::super::vary::Variant;
use super::api::Store;

/// Checks that a store keeps the contract. Each rule calls `make` once, for an empty store with space
/// for 16 MiB. The function needs a Tokio runtime with its timer.
///
/// # Panics
///
/// Panics if the store breaks a rule, with a message that names the rule.
pub async fn check<S: Store>(make: impl AsyncFn() -> S) {
    gives_what_was_put(&make().await).await;
    has_nothing_else(&make().await).await;
    replaces(&make().await).await;
    gives_many(&make().await).await;
    removes(&make().await).await;
    clears(&make().await).await;
    tells_keys_apart(&make().await).await;
    takes_any_lifetime(&make().await).await;
    keeps_large_entries(&make().await).await;
    counts_plausibly(&make().await).await;
    updates(&make().await).await;
    grants_leases(&make().await).await;
    has_one_list_of_purges(&make().await).await;
    is_used_by_many(make().await).await;
}

/// Checks that [`Store::update`] is atomic, for a store that does not use the default. Needs a Tokio
/// runtime with several threads.
///
/// # Panics
///
/// Panics if one of many updates at the same time is lost.
pub async fn check_atomic_updates<S: Store>(store: S) {
    let store = Arc::new(store);
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let mut add = |list: Option<Entry>| with_variant(list.as_ref(), task);
            let updated = store.update("list", MINUTE, &mut add).await;
            assert!(updated.is_ok(), "an update succeeds: {updated:?}");
        });
    }
    join_all(tasks).await;
    let list = get(&*store, "list").await;
    let all = list.as_ref().map_or(0, variant_count);
    assert_eq!(all, usize::from(TASKS), "of several updates at the same time none is lost");
}

/// Returns an entry with this body: a response of status 200 that is fresh for a minute from 1970 on.
/// Entries with equal bodies have equal [bytes](Entry::to_bytes).
#[must_use]
pub fn entry(body: impl Into<Bytes>) -> Entry {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.append(LINK, HeaderValue::from_static("</a>"));
    headers.append(LINK, HeaderValue::from_static("</b>"));
    headers.extend(HeaderValue::from_bytes(b"caf\xe9").ok().map(|value| (LATIN, value)));
    Entry::new(EntryKind::Response(StoredResponse {
        status: StatusCode::OK,
        headers,
        // The caller may have made it of a larger buffer.
        body: Bytes::copy_from_slice(&body.into()),
        freshness: Freshness { lifetime: 60_000, ..Freshness::default() },
        variant: variant(None),
        tags: vec!["tag".to_owned()],
        links: Links::new(vec!["value".into()], vec!["tag".to_owned()]),
        watermark: Watermark::default(),
    }))
}

/// Returns a list of variants.
fn variants() -> Entry {
    let values = [None, Some(&b""[..]), Some(b"a\xff\n")];
    Entry::new(EntryKind::Variants(values.map(variant).to_vec()))
}

/// Returns a list with one more variant.
fn with_variant(list: Option<&Entry>, number: u8) -> Entry {
    let mut variants = match list.map(Entry::kind) {
        Some(EntryKind::Variants(variants)) => variants.clone(),
        _ => Vec::new(),
    };
    variants.push(variant(Some(&[number])));
    Entry::new(EntryKind::Variants(variants))
}

fn variant_count(list: &Entry) -> usize {
    match list.kind() {
        EntryKind::Variants(variants) => variants.len(),
        EntryKind::Response(_) | EntryKind::Value(_) => 0,
    }
}

fn variant(value: Option<&[u8]>) -> Variant {
    Variant { fields: vec![(LATIN, value.map(<[u8]>::to_vec))], coding: None }
}

async fn gives_what_was_put<S: Store>(store: &S) {
    for (key, entry) in [("http://a/b", entry("body")), ("empty", entry("")), ("v", variants())] {
        put(store, key, &entry, MINUTE).await;
        has(store, key, Some(&entry), "an entry is returned with every byte as it was put").await;
        has(store, key, Some(&entry), "an entry stays after it was read").await;
    }
}

async fn has_nothing_else<S: Store>(store: &S) {
    has(store, "missing", None, "a key that was never put has no entry").await;
    put(store, "key", &entry("body"), MINUTE).await;
    has(store, "missing", None, "a key that was never put has no entry").await;
}

async fn replaces<S: Store>(store: &S) {
    for kept in [entry("one"), entry("another"), variants(), entry("")] {
        put(store, "key", &kept, MINUTE).await;
        has(store, "key", Some(&kept), "an entry replaces the previous one").await;
    }
}

async fn gives_many<S: Store>(store: &S) {
    let keys: Vec<_> = (0..64).map(|number| format!("key {number}")).collect();
    let is_put = |at: usize| at % 3 == 0;
    for (_, key) in keys.iter().enumerate().filter(|(at, _)| is_put(*at)) {
        put(store, key, &entry(key.clone()), MINUTE).await;
    }
    let names: Vec<_> = keys.iter().map(String::as_str).collect();
    for count in [0, 1, 2, names.len()] {
        let got = store.get_many(&names[..count]).await;
        assert!(got.is_ok(), "getting several entries succeeds: {got:?}");
        let got = got.unwrap_or_default();
        assert_eq!(got.len(), count, "get_many returns an entry or None for each key");
        for (at, (key, got)) in names.iter().zip(&got).enumerate() {
            let expected = is_put(at).then(|| entry(key.to_string()));
            let agrees = same(key, got.as_ref(), expected.as_ref());
            assert!(agrees, "get_many returns the entries of get in the order of their keys");
        }
    }
    let got = store.get_many(&[names[0], names[1], names[0]]).await.unwrap_or_default();
    let found: Vec<_> = got.iter().map(Option::is_some).collect();
    assert_eq!(found, [true, false, true], "get_many returns an entry for each time it is asked");
}

async fn removes<S: Store>(store: &S) {
    for key in ["gone", "kept"] {
        put(store, key, &entry(key), MINUTE).await;
    }
    for _ in 0..2 {
        let removed = store.remove("gone").await;
        assert!(removed.is_ok(), "removing succeeds, also without an entry: {removed:?}");
        has(store, "gone", None, "a removed entry is gone").await;
    }
    has(store, "kept", Some(&entry("kept")), "removing an entry leaves those of other keys").await;
    put(store, "gone", &entry("again"), MINUTE).await;
    has(store, "gone", Some(&entry("again")), "a removed entry can be put again").await;
}

async fn clears<S: Store>(store: &S) {
    for _ in 0..2 {
        for at in 0..100 {
            put(store, &format!("key {at}"), &entry("body"), MINUTE).await;
        }
        let cleared = store.clear().await;
        assert!(cleared.is_ok(), "clearing succeeds: {cleared:?}");
        for at in 0..100 {
            has(store, &format!("key {at}"), None, "a cleared store has no entries").await;
        }
        let entries = store.usage().entries;
        assert_eq!(entries, 0, "a cleared store counts no entries");
    }
    let cleared = store.clear().await;
    assert!(cleared.is_ok(), "clearing an empty store succeeds: {cleared:?}");
}

async fn tells_keys_apart<S: Store>(store: &S) {
    let long = "k".repeat(8 * 1024);
    let mut keys: Vec<String> =
        ["", " ", "a", "A", "a ", "a\n", "a\nb", "a\r\nb", "a\0", "a\0b"].map(str::to_owned).into();
    keys.extend(
        ["ä", "a\u{308}", "\u{1f980}", "%C3%A4", "a*", "a?", "[a]", "{a}", "a:b", "a/../b"]
            .map(str::to_owned),
    );
    keys.extend(["", "a", "b", "\n", "ä"].map(|end| format!("{long}{end}")));
    for key in &keys {
        put(store, key, &entry(key.clone()), MINUTE).await;
    }
    for key in &keys {
        has(store, key, Some(&entry(key.clone())), "keys that differ in one byte are different")
            .await;
    }
    for (at, key) in keys.iter().enumerate() {
        let removed = store.remove(key).await;
        assert!(removed.is_ok(), "removing succeeds: {removed:?}");
        has(store, key, None, "a removed entry is gone").await;
        for other in &keys[at + 1..] {
            let kept = entry(other.clone());
            has(store, other, Some(&kept), "removing an entry leaves those of other keys").await;
        }
    }
}

async fn takes_any_lifetime<S: Store>(store: &S) {
    put(store, "other", &entry("other"), MINUTE).await;
    for ttl in [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(1)] {
        // The store may drop the entry or keep it.
        put(store, "short", &entry("short"), ttl).await;
        drop(get(store, "short").await);
    }
    for ttl in [Duration::from_millis(u64::MAX), Duration::MAX] {
        put(store, "long", &entry("long"), ttl).await;
        let rule = "an entry of the longest lifetime is kept";
        has(store, "long", Some(&entry("long")), rule).await;
    }
    has(store, "other", Some(&entry("other")), "each entry has its own lifetime").await;
}

async fn keeps_large_entries<S: Store>(store: &S) {
    let body: Bytes = (0..MIB).map(|at| (at % 251) as u8).collect();
    put(store, "large", &entry(body.clone()), MINUTE).await;
    has(store, "large", Some(&entry(body)), "an entry with a body of 1 MiB is kept").await;
}

async fn counts_plausibly<S: Store>(store: &S) {
    let kept = entry(vec![0; 1024]);
    put(store, "key", &kept, MINUTE).await;
    let first = store.usage();
    assert!(first.entries <= 1, "one entry is counted as one or not at all: {first:?}");
    for _ in 0..1000 {
        put(store, "key", &kept, MINUTE).await;
    }
    let (last, most) = (store.usage(), first.bytes.saturating_mul(2).saturating_add(64 * 1024));
    assert!(last.entries <= 1, "a replaced entry is counted once: {last:?}");
    assert!(last.bytes <= most, "a replaced entry takes no space: {first:?}, then {last:?}");
    assert_eq!(last.evictions, first.evictions, "a replaced entry is not counted as evicted");
}

async fn updates<S: Store>(store: &S) {
    for number in 0..3 {
        let mut add = |list: Option<Entry>| with_variant(list.as_ref(), number);
        let updated = store.update("list", MINUTE, &mut add).await;
        assert!(updated.is_ok(), "an update succeeds: {updated:?}");
        let all = get(store, "list").await.as_ref().map_or(0, variant_count);
        assert_eq!(all, usize::from(number) + 1, "an update gets the entry of the one before");
    }
    put(store, "list", &entry("body"), MINUTE).await;
    let mut replace = |old: Option<Entry>| {
        let is_same = old.is_some_and(|old| is("list", &old, &entry("body")));
        assert!(is_same, "an update gets the entry that was put");
        entry("other")
    };
    let updated = store.update("list", MINUTE, &mut replace).await;
    assert!(updated.is_ok(), "an update succeeds: {updated:?}");
    has(store, "list", Some(&entry("other")), "an update replaces the entry").await;
}

async fn grants_leases<S: Store>(store: &S) {
    let first = store.lease("key").await;
    assert!(!first.is_taken(), "the first to ask for a lease gets it");
    assert!(!store.lease("other").await.is_taken(), "each key has a lease of its own");
    drop(first);
    for _ in 0..LEASE_ATTEMPTS {
        if !store.lease("key").await.is_taken() {
            return;
        }
        tokio::time::sleep(LEASE_PAUSE).await;
    }
    panic!("a lease that was dropped can be taken again");
}

async fn has_one_list_of_purges<S: Store>(store: &S) {
    let same = match (store.purges(), store.purges()) {
        (Some(one), Some(other)) => Arc::ptr_eq(&one.0, &other.0),
        (one, other) => one.is_none() && other.is_none(),
    };
    assert!(same, "purges returns the same state each time");
}

async fn is_used_by_many<S: Store>(store: S) {
    let store = Arc::new(store);
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        tasks.spawn(one_of_many(Arc::clone(&store), task));
    }
    join_all(tasks).await;
}

/// Waits for all tasks, and panics as one of them does.
async fn join_all(mut tasks: JoinSet<()>) {
    while let Some(done) = tasks.join_next().await {
        if let Err(error) = done {
            match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(other) => panic!("the runtime ended before the tasks did: {other}"),
            }
        }
    }
}

async fn one_of_many<S: Store>(store: Arc<S>, task: u8) {
    let (store, own) = (&*store, format!("own {task}"));
    let shared = |task: u8| entry(vec![task; 4096]);
    for round in 0..ROUNDS {
        let kept = entry(format!("{task} {round}"));
        put(store, &own, &kept, MINUTE).await;
        put(store, "shared", &shared(task), MINUTE).await;
        has(store, &own, Some(&kept), "tasks with keys of their own do not interfere").await;
        let got = get(store, "shared").await;
        let whole = got.is_some_and(|got| (0..TASKS).any(|task| is("shared", &got, &shared(task))));
        assert!(whole, "a key that many tasks put has the whole entry of one of them");
    }
}

async fn put<S: Store>(store: &S, key: &str, entry: &Entry, ttl: Duration) {
    let put = store.put(key, entry.clone(), ttl).await;
    assert!(put.is_ok(), "putting succeeds with a lifetime of {ttl:?}: {}: {put:?}", brief(key));
}

async fn get<S: Store>(store: &S, key: &str) -> Option<Entry> {
    let got = store.get(key).await;
    assert!(got.is_ok(), "getting succeeds: {}: {got:?}", brief(key));
    got.unwrap_or_default()
}

async fn has<S: Store>(store: &S, key: &str, expected: Option<&Entry>, rule: &str) {
    let got = get(store, key).await;
    assert!(
        same(key, got.as_ref(), expected),
        "{rule}: {}: got {}",
        brief(key),
        described(got.as_ref())
    );
    if let Poll::Ready(peeked) = store.get_now(key) {
        let agrees = same(key, peeked.as_ref(), expected);
        assert!(
            agrees,
            "get_now returns the entry of get, or is pending: {}: got {}",
            brief(key),
            described(peeked.as_ref())
        );
    }
}

fn same(key: &str, one: Option<&Entry>, other: Option<&Entry>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => is(key, one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

fn is(key: &str, one: &Entry, other: &Entry) -> bool {
    one.to_bytes(key) == other.to_bytes(key)
}

/// Describes an entry without its body.
fn described(entry: Option<&Entry>) -> String {
    match entry.map(Entry::kind) {
        None => "nothing".to_owned(),
        Some(EntryKind::Variants(variants)) => format!("{variants:?}"),
        Some(EntryKind::Response(stored)) => {
            format!("{:?} and {} bytes", stored.headers, stored.body.len())
        }
        Some(EntryKind::Value(value)) => format!("a value of {} bytes", value.bytes.len()),
    }
}

/// Describes a key.
fn brief(key: &str) -> String {
    let start: String = key.chars().take(40).collect();
    format!("the key {start:?} of {} bytes", key.len())
}

const LATIN: HeaderName = HeaderName::from_static("x-latin");
const MIB: usize = 1024 * 1024;
const MINUTE: Duration = Duration::from_secs(60);
const TASKS: u8 = 16;
const ROUNDS: usize = 50;
const LEASE_ATTEMPTS: usize = 500;
const LEASE_PAUSE: Duration = Duration::from_millis(10);
