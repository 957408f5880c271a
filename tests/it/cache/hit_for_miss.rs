//! Requests whose response was not stored lately: they pass without a lookup.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use tower_kit::cache::{CacheKey, CacheLayer, Entry, MemoryStore, Store, StoreError};

use super::rig::{Fields, MINUTE, Rig, reply};

const ODD: Fields<'static> = &[("x-odd", "1")];

/// Counts the lookups.
#[derive(Clone)]
struct Counting(MemoryStore, Arc<AtomicUsize>);

impl Store for Counting {
    fn get_now(&self, key: &str) -> Poll<Option<Entry>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.get_now(key)
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.0.get(key).await
    }

    async fn put(
        &self,
        key: &str,
        entry: Entry,
        ttl: std::time::Duration,
    ) -> Result<(), StoreError> {
        self.0.put(key, entry, ttl).await
    }

    async fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.0.remove(key).await
    }

    async fn clear(&self) -> Result<(), StoreError> {
        self.0.clear().await
    }
}

/// A layer with its store, and the number of lookups.
fn counting(choose: impl FnOnce(CacheLayer) -> CacheLayer) -> (Rig, Arc<AtomicUsize>) {
    let lookups = Arc::default();
    let store = Counting(MemoryStore::new(1 << 20), Arc::clone(&lookups));
    (Rig::over(choose(CacheLayer::new(store))), lookups)
}

#[tokio::test]
async fn uncacheable_request_is_looked_up_once_a_while() {
    let (rig, lookups) = counting(|layer| layer);
    rig.answers_with(200, &[("cache-control", "no-store")]);
    let mut before = 0;
    for (pause, is_looked_up) in [(0, true), (0, false), (9, false), (9, false), (10, true)] {
        rig.clock.pass(pause);
        let got = rig.get("/", &[("if-none-match", "\"a\"")]).await;
        assert_eq!(got.cache(), "fwd=uri-miss; detail=no-store");
        let now = lookups.load(Ordering::SeqCst);
        assert_eq!(now > before, is_looked_up, "after {pause} s");
        assert_eq!(rig.asked("if-none-match").is_some(), before > 0 && pause < 10);
        before = now;
    }
}

#[tokio::test]
async fn requests_with_own_keys_are_looked_up() {
    let (rig, lookups) = counting(|layer| layer.key(CacheKey::new().with(|_| None)));
    rig.answers_with(200, &[("cache-control", "no-store")]);
    for at in 1..4 {
        rig.get("/", &[]).await;
        assert!(lookups.load(Ordering::SeqCst) >= at);
    }
}

#[tokio::test]
async fn odd_requests_keep_no_other_from_the_cache() {
    let rig = Rig::ignoring(&[]);
    rig.answers(|head| {
        let private: Fields<'_> = &[("cache-control", "private")];
        let is_odd = head.headers.contains_key("x-odd");
        Ok(reply(200, if is_odd { private } else { MINUTE }, "body"))
    });
    for (fields, expected) in [
        (ODD, "fwd=uri-miss; detail=private"),
        (&[][..], "fwd=uri-miss; detail=hit-for-miss"),
        (ODD, "fwd=uri-miss; detail=private"),
        (&[][..], "fwd=uri-miss; stored"),
        (ODD, "hit; ttl=60"),
    ] {
        assert_eq!(rig.get("/", fields).await.cache(), expected);
    }
}

#[tokio::test]
async fn stored_response_is_found_by_all() {
    let rig = Rig::with(&[("cache-control", "no-store")], |layer| layer);
    rig.get("/", &[]).await;
    rig.answers_with(200, MINUTE);
    // This one is looked up in any case.
    let asked = rig.get("/", &[("cache-control", "no-cache")]).await;
    assert_eq!(asked.cache(), "fwd=uri-miss; stored");
    assert!(rig.get("/", &[]).await.is_hit());
}

#[tokio::test]
async fn failures_and_parts_keep_what_is_remembered() {
    let rig = Rig::ignoring(&[("cache-control", "no-store")]);
    rig.get("/", &[]).await;
    for (status, detail) in [(500, "status"), (304, "status"), (206, "status")] {
        rig.answers_with(status, MINUTE);
        let got = rig.get("/", &[]).await;
        assert_eq!((got.status, got.cache()), (status, &*format!("fwd=uri-miss; detail={detail}")));
    }
    rig.fails();
    assert!(rig.ask(super::rig::request("GET", "/", &[])).await.is_err());
    // The time of the last response that was not stored counts.
    rig.clock.pass(10);
    rig.answers_with(200, MINUTE);
    assert_eq!(rig.get("/", &[]).await.cache(), "fwd=uri-miss; stored");
}
