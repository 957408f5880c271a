use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::Kind;
use super::metrics::ValueMetrics;
use super::policy::{self, Age, Rules};
use crate::cache::coalesce::Coalescer;
use crate::cache::entry::{Entry, EntryKind, StoredResponse, Watermark};

use crate::cache::clock::{Clock, random};
use crate::cache::error::StoreError;
use crate::cache::namespace::Namespace;
use crate::cache::purge::list::Purges;
use crate::cache::purge::{Purge, ScopedPurges, Stamp};
use crate::cache::state::MAX_PUTS;
use crate::cache::store::{DynStore, Store};
use crate::cache::task::Slot;
use crate::cache::timeout::within;
use crate::cache::vary::Variant;

/// The settings of a cache and its state. Clones share both until a setter changes the settings.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) rules: Rules,
    pub(super) attempts: usize,
    pub(super) store_timeout: Duration,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<ValueMetrics>,
    pub(super) store: Arc<dyn DynStore>,
    pub(super) state: Arc<State>,
}

/// The state of a cache, which all of its clones share.
pub(super) struct State {
    pub(super) flights: Coalescer<Arc<str>, Verdict>,
    pub(super) purges: ScopedPurges,
    /// The inserted values: a fetch that started earlier does not replace them.
    inserts: Purges,
    pub(super) refreshes: Arc<AtomicUsize>,
    puts: Arc<AtomicUsize>,
}

/// The result of a leader, for the callers that wait for it.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    Found(Entry),
    /// No value; each waiting caller fetches by itself and waits no more.
    Alone,
}

/// A value of the store.
pub(super) struct Found<T> {
    pub(super) entry: Entry,
    pub(super) value: T,
    pub(super) is_fresh: bool,
}

/// The last purge and the last insert when a fetch started.
#[derive(Clone, Copy)]
pub(super) struct Since {
    purged: Stamp,
    inserted: Stamp,
}

impl Shared {
    pub(super) fn new(store: impl Store) -> Self {
        let purges = Store::purges(&store).map(|shared| shared.0).unwrap_or_default();
        let state = State {
            flights: Coalescer::default(),
            purges: ScopedPurges::new(purges, Namespace::default()),
            inserts: Purges::default(),
            refreshes: Arc::default(),
            puts: Arc::default(),
        };
        Self {
            rules: Rules::default(),
            attempts: 3,
            store_timeout: Duration::from_secs(1),
            clock: Clock::default(),
            metrics: Arc::default(),
            store: Arc::new(store),
            state: Arc::new(state),
        }
    }

    /// Returns the value of a name if it is fresh, or, with `or_stale`, if it may be used while it is
    /// fetched again.
    pub(super) async fn look<T>(&self, name: &str, or_stale: bool) -> Option<Found<T>>
    where
        T: DeserializeOwned,
    {
        let got = catch_unwind(AssertUnwindSafe(|| self.store.get_now(name)));
        let got = got.unwrap_or_else(|_| {
            self.metrics.failed("get");
            Poll::Ready(None)
        });
        if let Poll::Ready(entry) = got {
            let found = entry.and_then(|entry| self.use_entry(name, entry, or_stale));
            // Another process may have stored the value behind the memory.
            if found.is_some() || !self.store.is_tiered() {
                return found;
            }
        }
        let got = self.tried("get", || self.store.get(name)).await;
        self.use_entry(name, got.ok()??, or_stale)
    }

    /// Stores a value, in place of what is being fetched.
    pub(super) async fn insert(
        &self,
        name: &str,
        ttl: Option<Duration>,
        json: Bytes,
    ) -> Result<(), StoreError> {
        drop(self.state.inserts.purge(Purge::Removed(name), 0));
        if self.state.purges.is_shared() {
            // Other processes may have the previous value in memory.
            self.purge(Purge::Removed(name)).await?;
        }
        // An insert does not yield to a later one.
        let since = Since { inserted: Stamp::MAX, ..self.since() };
        self.put(name, self.entry(ttl, json, since), since).await
    }

    /// Removes a value.
    pub(super) async fn remove(&self, name: &str) -> Result<(), StoreError> {
        let purged = self.purge(Purge::Removed(name)).await;
        let removed = self.remove_entry(name).await;
        purged.and(removed)
    }

    /// Purges a name or a namespace.
    pub(super) async fn purge(&self, what: Purge<'_>) -> Result<(), StoreError> {
        // One attempt: a purge that fails is deferred.
        let purged = self.state.purges.purge(what, self.clock.now()).await;
        purged.inspect_err(|_| self.metrics.failed("purge"))
    }

    /// Encodes a value.
    pub(super) fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Bytes, Kind> {
        let json = serde_json::to_vec(value).map_err(|error| {
            self.metrics.failed("encode");
            Kind::Json(error)
        })?;
        // The box drops the unused capacity of the vector.
        Ok(json.into_boxed_slice().into())
    }

    /// Returns `true` if a value is not too large.
    pub(super) fn fits(&self, json: &[u8]) -> bool {
        let fits = json.len() <= MAX_VALUE_SIZE;
        if !fits {
            self.metrics.failed("too-large");
        }
        fits
    }

    /// Stores an entry, unless its name was purged meanwhile.
    pub(super) async fn put(
        &self,
        name: &str,
        entry: Entry,
        since: Since,
    ) -> Result<(), StoreError> {
        let ttl = entry.stored().map_or(Duration::ZERO, |stored| stored.freshness.keep(false));
        self.tried("put", || self.store.put(name, entry.clone(), ttl)).await?;
        // A purge may have come between the last check and the put.
        if self.admits(name, since) { Ok(()) } else { self.remove_entry(name).await }
    }

    /// Takes a slot for a put that no caller waits for: a store that hangs does not fill the memory.
    pub(super) fn put_slot(&self) -> Option<Slot> {
        let slot = Slot::take(&self.state.puts, MAX_PUTS);
        if slot.is_none() {
            self.metrics.failed("puts");
        }
        slot
    }

    async fn remove_entry(&self, name: &str) -> Result<(), StoreError> {
        self.tried("remove", || self.store.remove(name)).await
    }

    /// Tries an operation several times, within the timeout of one: a store that hangs would hang again.
    async fn tried<T, F>(
        &self,
        operation: &'static str,
        mut run: impl FnMut() -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let trying = async {
            for _ in 1..self.attempts {
                if let Ok(done) = run().await {
                    return Ok(done);
                }
            }
            run().await
        };
        // Counted once, after the last attempt.
        let tried = within(self.store_timeout, trying).await;
        tried.inspect_err(|_| self.metrics.failed(operation))
    }

    fn use_entry<T: DeserializeOwned>(
        &self,
        name: &str,
        entry: Entry,
        or_stale: bool,
    ) -> Option<Found<T>> {
        let stored = entry.stored().filter(|stored| self.is_usable(name, stored))?;
        let is_fresh = match policy::age(&stored.freshness, stored.left(self.clock.now())) {
            Age::Fresh => true,
            Age::Stale if or_stale => false,
            _ => return None,
        };
        let value = self.decode(stored)?;
        Some(Found { entry, value, is_fresh })
    }

    /// Returns `true` unless a value was purged. A soft purge makes the value stale.
    pub(super) fn is_usable(&self, name: &str, stored: &StoredResponse) -> bool {
        stored.is_usable(&self.state.purges, name, false)
    }

    /// Decodes the value of an entry, unless it is of another type. A response under the name of a
    /// value is not a value: the store may have been changed.
    pub(super) fn decode<T: DeserializeOwned>(&self, stored: &StoredResponse) -> Option<T> {
        if stored.status != StatusCode::OK || !stored.headers.is_empty() {
            self.metrics.failed("decode");
            return None;
        }
        let value = serde_json::from_slice(&stored.body);
        value.inspect_err(|_| self.metrics.failed("decode")).ok()
    }

    /// Creates the entry of a value.
    pub(super) fn entry(&self, ttl: Option<Duration>, json: Bytes, since: Since) -> Entry {
        let freshness = self.rules.freshness(ttl, &json, self.clock.now(), random());
        Entry::new(EntryKind::Response(StoredResponse {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: json,
            freshness,
            variant: Variant::default(),
            tags: Vec::new(),
            watermark: Watermark::at(since.purged),
        }))
    }

    /// Returns the last purge and the last insert. To be called before a fetch.
    pub(super) fn since(&self) -> Since {
        Since { purged: self.state.purges.watermark(), inserted: self.state.inserts.watermark() }
    }

    /// Returns `true` if a value that was fetched since then may be stored.
    pub(super) fn admits(&self, name: &str, since: Since) -> bool {
        self.state.purges.admits(name, &[], since.purged)
            && self.state.inserts.admits(name, &[], since.inserted)
    }
}

/// The maximum size of a value, in bytes of JSON.
const MAX_VALUE_SIZE: usize = 1024 * 1024;
