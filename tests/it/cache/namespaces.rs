//! Several layers over one store.

use std::time::Duration;
use tower_kit::cache::{CacheLayer, Entry, MemoryStore, Store, StoreError};

use super::rig::{Rig, reply};
use crate::support::poll_once;

const FIELDS: &[(&str, &str)] = &[("cache-control", "max-age=60"), ("surrogate-key", "tag")];

/// A layer in front of a service that responds with its name.
fn named(layer: CacheLayer, name: &'static str) -> Rig {
    let rig = Rig::over(layer);
    rig.answers(move |_| Ok(reply(200, FIELDS, name)));
    rig
}

async fn body(rig: &Rig) -> (String, bool) {
    let got = rig.get("/", &[]).await;
    let is_hit = got.is_hit();
    (got.body, is_hit)
}

#[tokio::test]
async fn layers_over_one_store_do_not_mix() {
    let store = MemoryStore::new(1 << 24);
    let one = named(CacheLayer::new(store.clone()), "one");
    let other = named(CacheLayer::new(store), "other");
    for is_hit in [false, true] {
        assert_eq!(body(&one).await, ("one".to_owned(), is_hit));
        assert_eq!(body(&other).await, ("other".to_owned(), is_hit));
    }
    type Purge = fn(&Rig);
    let purges: [Purge; 3] = [
        |rig| drop(rig.handle.purge_url("http://x.org/").unwrap()),
        |rig| drop(rig.handle.purge_prefix("http://x.org/")),
        |rig| drop(rig.handle.purge_tag("tag")),
    ];
    for purge in purges {
        for (purged, kept) in [(&one, &other), (&other, &one)] {
            purge(purged);
            assert!(body(kept).await.1, "a purge is that of its layer");
            assert!(!body(purged).await.1);
            assert!(body(purged).await.1);
        }
    }
    other.send("POST", "/", &[]).await;
    assert!(body(&one).await.1);
    assert!(!body(&other).await.1);
    one.handle.purge_all().await.unwrap();
    assert_eq!(one.handle.statistics().usage.entries, 0, "the store is empty");
    assert!(!body(&other).await.1 && !body(&one).await.1);
}

#[tokio::test]
async fn layers_of_one_namespace_share() {
    for name in ["", "shop"] {
        let store = MemoryStore::new(1 << 24);
        let [one, other] = ["one", "other"]
            .map(|page| named(CacheLayer::new(store.clone()).namespace(name), page));
        body(&one).await;
        assert_eq!(body(&other).await, ("one".to_owned(), true));
        drop(other.handle.purge_tag("tag"));
        assert!(!body(&one).await.1);
    }
}

#[tokio::test]
async fn clones_of_a_layer_share() {
    let layer = CacheLayer::new(MemoryStore::new(1 << 24));
    let [one, other] = ["one", "other"].map(|page| named(layer.clone(), page));
    body(&one).await;
    assert_eq!(body(&other).await, ("one".to_owned(), true));
}

#[tokio::test]
async fn default_namespaces_are_numbered() {
    let store = MemoryStore::new(1 << 24);
    let [first, second] =
        ["first", "second"].map(|page| named(CacheLayer::new(store.clone()), page));
    body(&first).await;
    body(&second).await;
    for (name, page) in [("", "first"), ("2", "second")] {
        let same = named(CacheLayer::new(store.clone()).namespace(name), "other");
        assert_eq!(body(&same).await, (page.to_owned(), true), "{name:?}");
    }
}

#[tokio::test]
async fn older_handle_purges_the_new_namespace() {
    let layer = CacheLayer::new(MemoryStore::new(1 << 24));
    let handle = layer.handle();
    let rig = named(layer.namespace("shop"), "page");
    body(&rig).await;
    drop(handle.purge_url("http://x.org/").unwrap());
    assert!(!body(&rig).await.1);
    drop(handle.purge_tag("tag"));
    assert!(!body(&rig).await.1);
}

#[tokio::test]
async fn layers_of_two_namespaces_do_not_coalesce() {
    let layer = CacheLayer::new(MemoryStore::new(1 << 24));
    let [mut one, mut other] = ["one", "other"].map(|name| {
        super::mocked::Mocked::new(&layer.clone().namespace(name).clock(|| std::time::UNIX_EPOCH))
    });
    let (first, mut second) = (one.waits("/"), other.waits("/"));
    let (_, call) = one.call().await;
    assert!(poll_once(second.as_mut()).is_pending());
    assert!(other.called().is_some(), "it asks its own service");
    call.send_response(super::mocked::fresh(super::mocked::full("page")));
    drop(crate::support::soon(first).await);
}

/// A store without purges of its own.
#[derive(Clone)]
struct Bare(MemoryStore);

impl Store for Bare {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.0.get(key).await
    }

    async fn put(&self, key: &str, entry: Entry, ttl: Duration) -> Result<(), StoreError> {
        self.0.put(key, entry, ttl).await
    }

    async fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.0.remove(key).await
    }

    async fn clear(&self) -> Result<(), StoreError> {
        self.0.clear().await
    }
}

#[tokio::test]
async fn store_without_purges_separates_by_name_only() {
    let store = Bare(MemoryStore::new(1 << 24));
    let [one, same] = ["one", "same"].map(|page| named(CacheLayer::new(store.clone()), page));
    let other = named(CacheLayer::new(store).namespace("other"), "other");
    body(&one).await;
    assert_eq!(body(&same).await, ("one".to_owned(), true));
    assert_eq!(body(&other).await, ("other".to_owned(), false));
}
