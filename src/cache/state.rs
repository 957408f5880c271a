use std::fmt;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use quick_cache::DefaultHashBuilder;

use super::body::budget::{Budget, Charge};
use super::body::shared::SharedBody;
use super::coalesce::{Coalescer, Leader};
use super::entry::{Entry, StoredResponse};
use super::hit_for_miss::HitForMiss;
use super::key::CacheKey;
use super::markers::{Failure, Markers};
use super::metrics::CacheMetrics;
use super::purge::ScopedPurges;
use super::search_rules::SearchRules;
use super::store::Lease;
use super::task::Slot;

/// The state that the services of a layer share.
pub(crate) struct State {
    pub(crate) coalescer: Coalescer<Arc<str>, Verdict>,
    pub(crate) purges: ScopedPurges,
    pub(crate) family: Arc<Family>,
    pub(crate) metrics: CacheMetrics,
    pub(crate) markers: Markers,
    pub(crate) hit_for_miss: HitForMiss,
    pub(crate) search_rules: SearchRules,
    /// Hashes what clients choose.
    pub(crate) hasher: DefaultHashBuilder,
    budget: Arc<Budget>,
    fills: Arc<AtomicUsize>,
    refreshes: Arc<AtomicUsize>,
    puts: Arc<AtomicUsize>,
}

/// The keys and states of all layers that setters made from one layer, as long as a layer, a service
/// or a handle uses them. A handle may be older than the key under which entries are stored, or than
/// the recorder.
#[derive(Default)]
pub(crate) struct Family {
    keys: Mutex<Vec<Weak<CacheKey>>>,
    states: Mutex<Vec<Weak<State>>>,
}

/// The result of a fetch, for the requests that wait for it.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    Stored(Entry),
    /// The store had the response already: it may be older than the requests that wait.
    Found(Entry),
    /// The body is being read. Other requests may follow it.
    Streaming(Streaming),
    /// The inner service failed; the stale entry is served in its place.
    StaleOnError(Entry),
    /// The inner service failed, and there is no entry to serve.
    Failed(Failure),
    /// The response cannot be shared: each request goes to the inner service.
    Alone,
}

/// A response whose body is being read.
#[derive(Clone, Debug)]
pub(crate) struct Streaming {
    /// The response as it will be stored, without its body.
    pub(crate) head: Arc<StoredResponse>,
    pub(crate) body: Arc<SharedBody>,
}

/// The right to fetch, among the requests of this process and among processes.
#[derive(Debug)]
pub(crate) struct Lead {
    pub(crate) leader: Leader<Arc<str>, Verdict>,
    pub(crate) lease: Lease,
}

impl State {
    pub(crate) fn new(
        metrics: CacheMetrics,
        purges: ScopedPurges,
        family: Arc<Family>,
    ) -> Arc<Self> {
        let state = Arc::new(Self {
            coalescer: Coalescer::default(),
            purges,
            family,
            metrics,
            markers: Markers::default(),
            hit_for_miss: HitForMiss::default(),
            search_rules: SearchRules::default(),
            hasher: DefaultHashBuilder::default(),
            budget: Arc::default(),
            fills: Arc::default(),
            refreshes: Arc::default(),
            puts: Arc::default(),
        });
        add(&state.family.states, &state);
        state
    }

    /// Takes a place among the bodies that are read to their end in the background.
    pub(crate) fn fill_slot(&self, max: usize) -> Option<Slot> {
        Slot::take(&self.fills, max)
    }

    /// Takes a place among the entries that the store is putting: a store that hangs does not fill
    /// the memory.
    pub(crate) fn put_slot(&self) -> Option<Slot> {
        Slot::take(&self.puts, MAX_PUTS)
    }

    pub(crate) fn refresh_slot(&self, max: usize) -> Option<Slot> {
        Slot::take(&self.refreshes, max)
    }

    /// Takes `bytes` of a budget of `limit` bytes for bodies on their way to the store, or nothing if
    /// fewer are left.
    pub(crate) fn charge(&self, limit: u64, bytes: u64) -> Option<Charge> {
        self.budget.charge(limit, bytes)
    }
}

impl Family {
    /// Adds a key, which older handles find from then on.
    pub(crate) fn add_key(&self, key: &Arc<CacheKey>) {
        add(&self.keys, key);
    }

    pub(crate) fn keys(&self) -> Vec<Arc<CacheKey>> {
        alive(&self.keys)
    }

    pub(crate) fn states(&self) -> Vec<Arc<State>> {
        alive(&self.states)
    }
}

impl Lead {
    pub(crate) fn new(leader: Leader<Arc<str>, Verdict>) -> Self {
        Self { leader, lease: Lease::free() }
    }

    /// Shares the result of the fetch.
    pub(crate) fn complete(&self, verdict: Verdict) {
        self.leader.complete(verdict);
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

/// Adds an item, and removes those that are not used any more, so that the list does not grow
/// forever.
fn add<T>(list: &Mutex<Vec<Weak<T>>>, item: &Arc<T>) {
    let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
    list.retain(|item| item.strong_count() > 0);
    list.push(Arc::downgrade(item));
}

fn alive<T>(list: &Mutex<Vec<Weak<T>>>) -> Vec<Arc<T>> {
    let list = list.lock().unwrap_or_else(PoisonError::into_inner);
    list.iter().filter_map(Weak::upgrade).collect()
}

pub(crate) const MAX_PUTS: usize = 256;
