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
use super::failures::Failures;
use super::load_error::Failure;
use super::loaded::ValueEntry;
use super::metrics::{Outcome, ValueMetrics};
use super::policy::{self, Age, Rules};
use super::recursion::Waits;
use super::since::Since;
use super::writes::Writes;
use crate::cache::coalesce::Coalescer;
use crate::cache::entry::{Entry, EntryKind, StoredResponse, Watermark};

use crate::cache::clock::{Clock, random};
use crate::cache::error::StoreError;
use crate::cache::namespace::Namespace;
use crate::cache::purge::list::Purges;
use crate::cache::purge::{Purge, ScopedPurges};
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
    /// The same purges, without their namespace, which is none.
    pub(super) list: Arc<Purges>,
    /// The values that were inserted or removed: a fetch that started earlier does not replace them.
    pub(super) inserts: Purges,
    pub(super) writes: Writes,
    pub(super) failures: Failures,
    /// The loads that wait for other loads.
    pub(super) waits: Waits,
    pub(super) refreshes: Arc<AtomicUsize>,
    puts: Arc<AtomicUsize>,
}

/// The result of a leader, for the callers that wait for it.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    Found(Entry),
    Failed(Failure),
    /// No value; each waiting caller loads by itself and waits no more.
    Alone,
}

/// A value of the store.
pub(super) struct Found<T> {
    pub(super) entry: Entry,
    pub(super) value: T,
    pub(super) age: Age,
}

/// A lookup by a caller. Each value that a caller gets, and each failure, passes here: the outcome is
/// counted when the lookup is dropped, which a caller that leaves does too.
pub(super) struct Lookup<'a> {
    shared: &'a Shared,
    outcome: Outcome,
}

impl Shared {
    pub(super) fn new(store: impl Store) -> Self {
        let purges = Store::purges(&store).map(|shared| shared.0).unwrap_or_default();
        let state = State {
            flights: Coalescer::default(),
            purges: ScopedPurges::new(Arc::clone(&purges), Namespace::default()),
            list: purges,
            inserts: Purges::default(),
            failures: Failures::default(),
            waits: Waits::default(),
            writes: Writes::default(),
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

    /// Begins the lookup of a caller, which is a miss unless it [ends](Lookup::end) in another way.
    pub(super) fn lookup(&self) -> Lookup<'_> {
        Lookup { shared: self, outcome: Outcome::Miss }
    }

    /// Returns the value of a name if it is fresh, or, with `or_stale`, if it may be used in place of a
    /// new one.
    pub(super) async fn look<T>(&self, name: &str, or_stale: bool) -> Option<Found<T>>
    where
        T: DeserializeOwned,
    {
        if let Some(entry) = self.written(name) {
            return self.use_written(entry, or_stale);
        }
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
        let entry = got.ok()??;
        if let Some(stored) = entry.stored() {
            stored.compare(&self.state.purges, name, false);
        }
        self.use_entry(name, entry, or_stale)
    }

    /// Purges a name or a namespace.
    pub(super) async fn purge(&self, what: Purge<'_>) -> Result<(), StoreError> {
        // One attempt: a purge that fails is deferred.
        let purged = self.state.purges.purge(what, self.clock.now()).await;
        purged.inspect_err(|_| self.metrics.failed("purge"))
    }

    /// Makes the values of a name or a tag stale.
    pub(super) async fn soft_purge(&self, what: Purge<'_>) -> Result<(), StoreError> {
        let purged = self.state.purges.soft_purge(what, self.clock.now()).await;
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

    /// Returns `true` unless tags are too many or too long.
    pub(super) fn tags_fit(&self, tags: &[String]) -> bool {
        let fit = policy::tags_fit(tags);
        if !fit {
            self.metrics.failed("too-large");
        }
        fit
    }

    /// Stores an entry, unless its name or a tag was purged meanwhile.
    pub(super) async fn put(
        &self,
        name: &str,
        entry: Entry,
        since: Since,
    ) -> Result<(), StoreError> {
        let ttl = entry.stored().map_or(Duration::ZERO, |stored| stored.freshness.keep(false));
        let Some(_fill) = self.state.purges.begin_fill(name, name, since.purged) else {
            self.metrics.failed("puts");
            return Err(StoreError::new("too many values are being stored"));
        };
        self.tried("put", || self.store.put(name, entry.clone(), ttl)).await?;
        // A purge may have come between the last check and the put.
        if self.admits(name, &entry, since) { Ok(()) } else { self.remove_entry(name).await }
    }

    /// Takes a slot for a put that no caller waits for: a store that hangs does not fill the memory.
    pub(super) fn put_slot(&self) -> Option<Slot> {
        let slot = Slot::take(&self.state.puts, MAX_PUTS);
        if slot.is_none() {
            self.metrics.failed("puts");
        }
        slot
    }

    /// Removes an entry of the store. Entries of other processes' memories stay.
    pub(super) async fn remove_entry(&self, name: &str) -> Result<(), StoreError> {
        self.tried("remove", || self.store.remove(name)).await
    }

    /// Tries an operation several times, within the timeout of one: a store that hangs would hang again.
    pub(super) async fn tried<T, F>(
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
        entry.stored().filter(|stored| self.is_usable(name, stored))?;
        self.use_written(entry, or_stale)
    }

    /// Returns the value of an entry that was not purged.
    fn use_written<T: DeserializeOwned>(&self, entry: Entry, or_stale: bool) -> Option<Found<T>> {
        let stored = entry.stored()?;
        let age = self.rules.age(&stored.freshness, stored.left(self.clock.now()));
        if age == Age::Expired || !or_stale && !age.is_fresh() {
            return None;
        }
        let value = self.decode(stored)?;
        Some(Found { entry, value, age })
    }

    /// Returns `true` if a value that was found before may still stand in for one that cannot be
    /// loaded: a load takes time.
    pub(super) fn stands_in<T>(&self, name: &str, found: &Found<T>) -> bool {
        let stored = found.entry.stored().filter(|stored| self.is_usable(name, stored));
        stored.is_some_and(|stored| {
            self.rules.age(&stored.freshness, stored.left(self.clock.now())) != Age::Expired
        })
    }

    /// Returns `true` if a value was expired while it was loaded.
    pub(super) fn is_soft_purged(&self, name: &str, entry: &Entry) -> bool {
        let is_usable = |stored: &&StoredResponse| self.is_usable(name, stored);
        entry.stored().filter(is_usable).is_some_and(StoredResponse::is_soft_purged)
    }

    /// Returns the value of an entry that may be used.
    pub(super) fn decoded<T: DeserializeOwned>(&self, entry: Entry) -> Option<Found<T>> {
        let stored = entry.stored()?;
        let age = self.rules.age(&stored.freshness, stored.left(self.clock.now()));
        let value = self.decode(stored)?;
        Some(Found { entry, value, age })
    }

    /// Returns a value with its age, ttl and tags.
    pub(super) fn value_entry<T>(&self, Found { entry, value, .. }: Found<T>) -> ValueEntry<T> {
        let now = self.clock.now();
        let stored = entry.stored();
        let (age, left) =
            stored.map_or((0, 0), |stored| (stored.freshness.age(now), stored.left(now)));
        let tags = stored.map_or(&[][..], |stored| &stored.tags).iter();
        let tags = tags.filter_map(|tag| tag.strip_prefix(&self.rules.namespace));
        ValueEntry {
            value,
            age: Duration::from_millis(age),
            ttl: Duration::from_millis(u64::try_from(left).unwrap_or(0)),
            tags: tags.map(str::to_owned).collect(),
        }
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
    pub(super) fn entry(
        &self,
        ttl: Option<Duration>,
        tags: Vec<String>,
        json: Bytes,
        since: Since,
    ) -> Entry {
        let freshness = self.rules.freshness(ttl, &json, self.clock.now(), random());
        Entry::new(EntryKind::Response(StoredResponse {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: json,
            freshness,
            variant: Variant::default(),
            tags,
            watermark: Watermark::at(since.purged),
        }))
    }

    /// Returns the last purge and the last insert. To be called before a fetch.
    pub(super) fn since(&self) -> Since {
        Since { purged: self.state.purges.watermark(), inserted: self.state.inserts.watermark() }
    }

    /// Returns `true` if a value that was loaded since then may be stored.
    pub(super) fn admits(&self, name: &str, entry: &Entry, since: Since) -> bool {
        let tags = entry.stored().map_or(&[][..], |stored| &stored.tags);
        self.state.purges.admits(name, tags, since.purged)
            && self.state.inserts.admits(name, &[], since.inserted)
    }

    /// Returns `true` if no value of a name was removed or inserted since then.
    pub(super) fn is_unchanged(&self, name: &str, since: Since) -> bool {
        self.state.purges.admits(name, &[], since.purged)
            && self.state.inserts.admits(name, &[], since.inserted)
    }
}

impl Lookup<'_> {
    /// Sets the outcome.
    pub(super) fn end(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Lookup<'_> {
    fn drop(&mut self) {
        self.shared.metrics.count(self.outcome);
    }
}

/// The maximum size of a value, in bytes of JSON.
const MAX_VALUE_SIZE: usize = 1024 * 1024;
