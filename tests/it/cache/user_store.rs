//! A store that somebody wrote from the documentation alone.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tower_kit::cache::{
    CacheLayer, Entry, Lease, SharedPurges, Store, StoreError, Usage, contract,
};

use super::rig::{MINUTE, Rig};

#[derive(Clone, Default)]
struct MapStore {
    entries: Arc<Mutex<HashMap<String, Bytes>>>,
    leases: Arc<Mutex<HashSet<String>>>,
    purges: SharedPurges,
}

struct HeldLease {
    leases: Arc<Mutex<HashSet<String>>>,
    key: String,
}

impl MapStore {
    fn entries(&self) -> MutexGuard<'_, HashMap<String, Bytes>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn decode(bytes: Option<&Bytes>, key: &str) -> Result<Option<Entry>, StoreError> {
    let decode = |bytes: &Bytes| Entry::from_bytes(bytes.clone(), key);
    bytes.map(decode).transpose().map_err(StoreError::new)
}

impl Store for MapStore {
    fn get_now(&self, key: &str) -> Poll<Option<Entry>> {
        Poll::Ready(decode(self.entries().get(key), key).unwrap_or_default())
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        decode(self.entries().get(key), key)
    }

    async fn put(&self, key: &str, entry: Entry, _: Duration) -> Result<(), StoreError> {
        self.entries().insert(key.to_owned(), entry.to_bytes(key));
        Ok(())
    }

    async fn update(
        &self,
        key: &str,
        _: Duration,
        change: &mut (dyn FnMut(Option<Entry>) -> Entry + Send),
    ) -> Result<(), StoreError> {
        let mut entries = self.entries();
        let entry = change(decode(entries.get(key), key)?);
        entries.insert(key.to_owned(), entry.to_bytes(key));
        Ok(())
    }

    async fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.entries().remove(key);
        Ok(())
    }

    async fn clear(&self) -> Result<(), StoreError> {
        self.entries().clear();
        Ok(())
    }

    fn purges(&self) -> Option<SharedPurges> {
        Some(self.purges.clone())
    }

    async fn lease(&self, key: &str) -> Lease {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        if !leases.insert(key.to_owned()) {
            return Lease::taken();
        }
        Lease::held(HeldLease { leases: Arc::clone(&self.leases), key: key.to_owned() })
    }

    fn usage(&self) -> Usage {
        let entries = self.entries();
        let bytes = entries.iter().map(|(key, bytes)| (key.len() + bytes.len()) as u64).sum();
        Usage::new(entries.len() as u64, bytes, 0)
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_holds() {
    contract::check(async || MapStore::default()).await;
    contract::check_atomic_updates(MapStore::default()).await;
}

#[tokio::test]
async fn held_lease_excludes_others_until_dropped() {
    let store = MapStore::default();
    let first = store.lease("key").await;
    assert!(!first.is_taken() && store.clone().lease("key").await.is_taken());
    drop(first);
    assert!(!store.lease("key").await.is_taken());
}

#[tokio::test]
async fn layers_over_clones_share_purges_alone() {
    let store = MapStore::default();
    let layer = |name| {
        let rig = Rig::over(CacheLayer::new(store.clone()).namespace(name));
        rig.answers_with(200, MINUTE);
        rig
    };
    let [one, same, other] = ["", "", "other"].map(layer);
    for rig in [&one, &same, &other] {
        rig.get("/", &[]).await;
    }
    assert_eq!([one.calls(), same.calls(), other.calls()], [1, 0, 1]);
    drop(same.handle.purge_url("http://x.org/").unwrap());
    assert!(!one.get("/", &[]).await.is_hit());
    assert!(other.get("/", &[]).await.is_hit());
}

#[tokio::test]
async fn evicted_variants_are_removed() {
    let store = MapStore::default();
    let rig = Rig::over(CacheLayer::new(store.clone()).max_variants(4));
    rig.answers_with(200, &[("cache-control", "max-age=60"), ("vary", "accept-language")]);
    for number in 0..100 {
        rig.get("/", &[("accept-language", &format!("x-{number}"))]).await;
    }
    assert_eq!(store.entries().len(), 5, "four variants and their list");
    assert!(rig.get("/", &[("accept-language", "x-99")]).await.is_hit());
}
