use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::super::entry::Entry;
use super::super::error::StoreError;
use super::super::namespace::Namespace;
use super::super::purge::SharedPurges;
use super::api::{DynStore, Store, Usage};
use super::lease::Lease;

/// A store whose keys are those of a namespace. It is cleared for all namespaces.
pub(crate) struct Namespaced {
    store: Arc<dyn DynStore>,
    namespace: Namespace,
}

impl Namespaced {
    /// Returns `store` in a namespace. The empty namespace costs nothing.
    pub(crate) fn wrap(store: Arc<dyn DynStore>, namespace: Namespace) -> Arc<dyn DynStore> {
        // The first layer over a store, mostly the only one, pays for no wrapper.
        if namespace.is_empty() { store } else { Arc::new(Self { store, namespace }) }
    }
}

impl Store for Namespaced {
    fn get_now(&self, key: &str) -> Poll<Option<Entry>> {
        self.store.get_now(&self.namespace.qualify(key))
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.store.get(&self.namespace.qualify(key)).await
    }

    async fn get_many(&self, keys: &[&str]) -> Result<Vec<Option<Entry>>, StoreError> {
        let keys: Vec<_> = keys.iter().map(|key| self.namespace.qualify(key)).collect();
        self.store.get_many(&keys.iter().map(|key| &**key).collect::<Vec<_>>()).await
    }

    async fn put(&self, key: &str, entry: Entry, ttl: Duration) -> Result<(), StoreError> {
        self.store.put(&self.namespace.qualify(key), entry, ttl).await
    }

    async fn update(
        &self,
        key: &str,
        ttl: Duration,
        change: &mut (dyn FnMut(Option<Entry>) -> Entry + Send),
    ) -> Result<(), StoreError> {
        self.store.update(&self.namespace.qualify(key), ttl, change).await
    }

    async fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.store.remove(&self.namespace.qualify(key)).await
    }

    async fn clear(&self) -> Result<(), StoreError> {
        // No store can list the keys of a namespace. A layer purges its own by prefix.
        self.store.clear().await
    }

    fn purges(&self) -> Option<SharedPurges> {
        self.store.purges()
    }

    fn is_tiered(&self) -> bool {
        self.store.is_tiered()
    }

    async fn lease(&self, key: &str) -> Lease {
        self.store.lease(&self.namespace.qualify(key)).await
    }

    fn max_entry_size(&self) -> u64 {
        self.store.max_entry_size()
    }

    fn usage(&self) -> Usage {
        self.store.usage()
    }
}
