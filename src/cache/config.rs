use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::request;

use super::cache_status::CacheName;
use super::clock::Clock;
use super::entry::Entry;
use super::key::CacheKey;
use super::metrics::CacheMetrics;
use super::namespace::Namespace;
use super::policy::Rules;
use super::purge::ScopedPurges;
use super::state::{Family, State};
use super::store::{DynStore, Namespaced, Store};
use crate::metrics::Metrics;

/// The settings of a layer, with the store and the state that its services share.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) rules: Rules,
    pub(crate) key: Arc<CacheKey>,
    pub(crate) skip: Option<Arc<Skip>>,
    pub(crate) limits: Limits,
    /// Adds `cache-status` to responses.
    pub(crate) cache_status: bool,
    pub(crate) name: CacheName,
    pub(crate) clock: Clock,
    pub(crate) store: Arc<dyn DynStore>,
    /// The store without the namespace of this layer.
    bare_store: Arc<dyn DynStore>,
    pub(crate) state: Arc<State>,
}

/// The callback of [`skip_if`](super::CacheLayer::skip_if).
pub(crate) type Skip = dyn Fn(&request::Parts) -> bool + Send + Sync;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) max_fills: usize,
    /// The bytes that bodies on their way to the store may take.
    pub(crate) max_fill_bytes: u64,
    /// The time that one operation of the store may take.
    pub(crate) store_timeout: Duration,
    pub(crate) max_refreshes: usize,
    pub(crate) coalesce_timeout: Duration,
    pub(crate) hit_for_miss: Duration,
    /// The time that a failure of the inner service is remembered, and shared.
    pub(crate) failure_ttl: Duration,
    /// The time that a request with a stale entry waits for the inner service, unless the entry has
    /// one of its own.
    pub(crate) revalidate_timeout: Duration,
    pub(crate) cancel_on_disconnect: bool,
}

impl Config {
    pub(crate) fn new(rules: Rules, store: impl Store) -> Self {
        let purges = Store::purges(&store).map(|shared| shared.0).unwrap_or_default();
        let namespace = Namespace::numbered(purges.add_layer());
        let max_entry_size = rules.entry_limit;
        let bare_store: Arc<dyn DynStore> = Arc::new(store);
        let store = Namespaced::wrap(Arc::clone(&bare_store), namespace.clone());
        let purges = ScopedPurges::new(purges, namespace);
        let key = Arc::new(CacheKey::new());
        let family = Arc::new(Family::default());
        family.add_key(&key);
        let name = CacheName::default();
        let metrics = CacheMetrics::new(Metrics::default(), name.label());
        let mut config = Self {
            rules,
            key,
            skip: None,
            limits: Limits::default(),
            cache_status: true,
            clock: Clock::default(),
            state: State::new(metrics, purges, family),
            name,
            store,
            bare_store,
        };
        config.set_max_entry_size(max_entry_size);
        config
    }

    /// Sets the maximum size of a body, within that of the store: a larger body would be recorded in
    /// vain.
    pub(crate) fn set_max_entry_size(&mut self, bytes: u64) {
        self.rules.entry_limit = bytes.min(self.store.max_entry_size());
    }

    /// Sets the key. Older handles find it.
    pub(crate) fn set_key(&mut self, key: CacheKey) {
        // `trust_forwarded` may come before `key`, or after it.
        let forwarded = self.key.is_forwarded();
        self.key = Arc::new(key.with_forwarded(forwarded));
        self.state.family.add_key(&self.key);
    }

    /// Sets the namespace. Older handles find it. The requests in flight are those of a namespace, as
    /// the entries are.
    pub(crate) fn set_namespace(&mut self, name: &str) {
        let namespace = Namespace::named(name);
        self.store = Namespaced::wrap(Arc::clone(&self.bare_store), namespace.clone());
        // The family stays: a handle that was taken before purges in the new namespace too.
        let State { metrics, purges, family, .. } = &*self.state;
        let purges = purges.with_namespace(namespace);
        self.state = State::new(metrics.another(), purges, Arc::clone(family));
    }

    /// Sets the recorder of the metrics. Older handles find what it counts.
    pub(crate) fn set_recorder(&mut self, metrics: Metrics) {
        self.set_metrics(CacheMetrics::new(metrics, self.name.label()));
    }

    /// Sets the name of the cache, with which the metrics are counted anew.
    pub(crate) fn set_name(&mut self, name: CacheName) {
        self.set_metrics(self.state.metrics.named(name.label()));
        self.name = name;
    }

    fn set_metrics(&mut self, metrics: CacheMetrics) {
        let State { purges, family, .. } = &*self.state;
        self.state = State::new(metrics, purges.clone(), Arc::clone(family));
    }
}

impl Limits {
    /// Returns the time that a request with this stale entry waits for the inner service.
    pub(crate) fn soft_limit(&self, stale: &Entry) -> Duration {
        let own = stale.stored().and_then(|stored| stored.freshness.soft_limit);
        own.map_or(self.revalidate_timeout, Duration::from_millis)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_fills: 256,
            max_fill_bytes: 64 * 1024 * 1024,
            store_timeout: Duration::from_secs(1),
            max_refreshes: 64,
            coalesce_timeout: Duration::from_secs(10),
            hit_for_miss: Duration::from_secs(10),
            failure_ttl: Duration::from_secs(1),
            revalidate_timeout: Duration::from_secs(1),
            cancel_on_disconnect: false,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("rules", &self.rules)
            .field("key", &self.key)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
