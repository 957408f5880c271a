//! What every [`Store`] must do, as tests to run against one.
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

use super::super::entry::{Entry, Freshness, Kept, Stored, Watermark};
use super::super::vary::Variant;
use super::api::Store;

/// Checks all rules. `make` gives a store that is empty and has room for 16 MiB; each rule asks for
/// one of its own, and all are asked in turn. Needs a Tokio runtime.
///
/// # Panics
///
/// If the store breaks a rule; the message says which.
pub async fn check<S: Store>(make: impl AsyncFn() -> S) {
    gives_what_was_put(&make().await).await;
    has_nothing_else(&make().await).await;
    replaces(&make().await).await;
    removes(&make().await).await;
    clears(&make().await).await;
    tells_keys_apart(&make().await).await;
    takes_any_lifetime(&make().await).await;
    keeps_large_entries(&make().await).await;
    counts_plausibly(&make().await).await;
    is_used_by_many(make().await).await;
}

/// An entry with this body: a 200 with a few fields, that is fresh for a minute from 1970 on. Two of
/// one body are equal, which [`Entry::to_bytes`] shows.
#[must_use]
pub fn entry(body: impl Into<Bytes>) -> Entry {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.append(LINK, HeaderValue::from_static("</a>"));
    headers.append(LINK, HeaderValue::from_static("</b>"));
    headers.extend(HeaderValue::from_bytes(b"caf\xe9").ok().map(|value| (LATIN, value)));
    Entry::new(Kept::Response(Stored {
        status: StatusCode::OK,
        headers,
        body: body.into(),
        freshness: Freshness { lifetime: 60_000, ..Freshness::default() },
        variant: variant(None),
        tags: vec!["tag".to_owned()],
        watermark: Watermark::default(),
    }))
}

/// What is kept of a URL that varies.
fn variants() -> Entry {
    let values = [None, Some(&b""[..]), Some(b"a\xff\n")];
    Entry::new(Kept::Variants(values.map(variant).to_vec()))
}

fn variant(value: Option<&[u8]>) -> Variant {
    Variant { fields: vec![(LATIN, value.map(<[u8]>::to_vec))], coding: None }
}

async fn gives_what_was_put<S: Store>(store: &S) {
    for (key, entry) in [("http://a/b", entry("body")), ("empty", entry("")), ("v", variants())] {
        put(store, key, &entry, MINUTE).await;
        has(store, key, Some(&entry), "what was put is there, every byte of it").await;
        has(store, key, Some(&entry), "what was got is there still").await;
    }
}

async fn has_nothing_else<S: Store>(store: &S) {
    has(store, "missing", None, "a key that was never put has nothing").await;
    put(store, "key", &entry("body"), MINUTE).await;
    has(store, "missing", None, "a key that was never put has nothing").await;
}

async fn replaces<S: Store>(store: &S) {
    for kept in [entry("one"), entry("another"), variants(), entry("")] {
        put(store, "key", &kept, MINUTE).await;
        has(store, "key", Some(&kept), "an entry takes the place of the one before").await;
    }
}

async fn removes<S: Store>(store: &S) {
    for key in ["gone", "kept"] {
        put(store, key, &entry(key), MINUTE).await;
    }
    for _ in 0..2 {
        let removed = store.remove("gone").await;
        assert!(removed.is_ok(), "to remove is no error, nor is it of what is gone: {removed:?}");
        has(store, "gone", None, "what was removed is gone").await;
    }
    has(store, "kept", Some(&entry("kept")), "other keys stay when one is removed").await;
    put(store, "gone", &entry("again"), MINUTE).await;
    has(store, "gone", Some(&entry("again")), "what was removed can be put again").await;
}

async fn clears<S: Store>(store: &S) {
    for _ in 0..2 {
        for at in 0..100 {
            put(store, &format!("key {at}"), &entry("body"), MINUTE).await;
        }
        let cleared = store.clear().await;
        assert!(cleared.is_ok(), "to clear is no error: {cleared:?}");
        for at in 0..100 {
            has(store, &format!("key {at}"), None, "what was cleared is gone").await;
        }
        let entries = store.usage().entries;
        assert_eq!(entries, 0, "a store that was cleared counts no entries");
    }
    let cleared = store.clear().await;
    assert!(cleared.is_ok(), "to clear what is empty is no error: {cleared:?}");
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
        has(store, key, Some(&entry(key.clone())), "keys are told apart by every byte").await;
    }
    for (at, key) in keys.iter().enumerate() {
        let removed = store.remove(key).await;
        assert!(removed.is_ok(), "to remove is no error: {removed:?}");
        has(store, key, None, "what was removed is gone").await;
        for other in &keys[at + 1..] {
            let kept = entry(other.clone());
            has(store, other, Some(&kept), "other keys stay when one is removed").await;
        }
    }
}

async fn takes_any_lifetime<S: Store>(store: &S) {
    put(store, "other", &entry("other"), MINUTE).await;
    for ttl in [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(1)] {
        // Whether it is there is the store's own affair.
        put(store, "short", &entry("short"), ttl).await;
        drop(get(store, "short").await);
    }
    for ttl in [Duration::from_millis(u64::MAX), Duration::MAX] {
        put(store, "long", &entry("long"), ttl).await;
        let rule = "a lifetime that is longer than any is one for ever";
        has(store, "long", Some(&entry("long")), rule).await;
    }
    has(store, "other", Some(&entry("other")), "lifetimes are those of single keys").await;
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
    assert!(first.entries <= 1, "one entry is counted as one, or not at all: {first:?}");
    for _ in 0..1000 {
        put(store, "key", &kept, MINUTE).await;
    }
    let (last, most) = (store.usage(), first.bytes.saturating_mul(2).saturating_add(64 * 1024));
    assert!(last.entries <= 1, "an entry that replaces another is counted once: {last:?}");
    assert!(last.bytes <= most, "what was replaced takes no room: {first:?}, then {last:?}");
    assert_eq!(last.evictions, first.evictions, "what was replaced did not make place");
}

async fn is_used_by_many<S: Store>(store: S) {
    let store = Arc::new(store);
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        tasks.spawn(one_of_many(Arc::clone(&store), task));
    }
    while let Some(done) = tasks.join_next().await {
        if let Err(broken) = done {
            match broken.try_into_panic() {
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
        has(store, &own, Some(&kept), "tasks with keys of their own do not meet").await;
        let got = get(store, "shared").await;
        let whole = got.is_some_and(|got| (0..TASKS).any(|task| is("shared", &got, &shared(task))));
        assert!(whole, "what many tasks put under one key is there, and is one of theirs in whole");
    }
}

async fn put<S: Store>(store: &S, key: &str, entry: &Entry, ttl: Duration) {
    let put = store.put(key, entry.clone(), ttl).await;
    assert!(put.is_ok(), "to put is no error, with a lifetime of {ttl:?}: {}: {put:?}", brief(key));
}

async fn get<S: Store>(store: &S, key: &str) -> Option<Entry> {
    let got = store.get(key).await;
    assert!(got.is_ok(), "to get is no error: {}: {got:?}", brief(key));
    got.unwrap_or_default()
}

async fn has<S: Store>(store: &S, key: &str, expected: Option<&Entry>, rule: &str) {
    let got = get(store, key).await;
    assert!(
        same(key, got.as_ref(), expected),
        "{rule}: {}: got {}",
        brief(key),
        told(got.as_ref())
    );
    if let Poll::Ready(peeked) = store.get_now(key) {
        let agrees = same(key, peeked.as_ref(), expected);
        assert!(
            agrees,
            "get_now agrees with get, or cannot tell: {}: got {}",
            brief(key),
            told(peeked.as_ref())
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

/// An entry as it is told in a message, without its body.
fn told(entry: Option<&Entry>) -> String {
    match entry.map(Entry::kept) {
        None => "nothing".to_owned(),
        Some(Kept::Variants(variants)) => format!("{variants:?}"),
        Some(Kept::Response(stored)) => {
            format!("{:?} and {} bytes", stored.headers, stored.body.len())
        }
    }
}

/// A key as it is told in a message.
fn brief(key: &str) -> String {
    let start: String = key.chars().take(40).collect();
    format!("the key {start:?} of {} bytes", key.len())
}

const LATIN: HeaderName = HeaderName::from_static("x-latin");
const MIB: usize = 1024 * 1024;
const MINUTE: Duration = Duration::from_secs(60);
const TASKS: u8 = 16;
const ROUNDS: usize = 50;
