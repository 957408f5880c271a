//! Values in the store.

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

use super::error::Fault;
use super::policy::{self, Age, Rules};
use super::tally::Tally;
use crate::cache::clock::{Clock, random};
use crate::cache::coalesce::Coalescer;
use crate::cache::entry::{Entry, Kept, Stored, Watermark};
use crate::cache::lookup::is_current;
use crate::cache::purge::{Purge, Purges, Stamp};
use crate::cache::state::MAX_PUTS;
use crate::cache::store::{Erased, Store, StoreError};
use crate::cache::task::Slot;
use crate::cache::timeout::within;
use crate::cache::vary::Variant;

/// What all clones of a service share, unless they were made to differ.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) rules: Rules,
    pub(super) attempts: usize,
    pub(super) store_timeout: Duration,
    pub(super) clock: Clock,
    pub(super) tally: Arc<Tally>,
    pub(super) store: Arc<dyn Erased>,
    pub(super) state: Arc<State>,
}

/// What changes.
pub(super) struct State {
    pub(super) flights: Coalescer<Arc<str>, Verdict>,
    pub(super) purges: Arc<Purges>,
    /// What was set. A fetch that began before then does not take its place.
    sets: Purges,
    pub(super) refreshes: Arc<AtomicUsize>,
    puts: Arc<AtomicUsize>,
}

/// What a leader found.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    Found(Entry),
    /// Nothing; whoever waits is to fetch, and not to wait any more.
    Alone,
}

pub(super) struct Found<T> {
    pub(super) entry: Entry,
    pub(super) value: T,
    pub(super) is_fresh: bool,
}

/// What had been purged, and set, when a value was asked for.
#[derive(Clone, Copy)]
pub(super) struct Since {
    purged: Stamp,
    set: Stamp,
}

impl Shared {
    pub(super) fn new(store: impl Store) -> Self {
        let purges = Store::purges(&store).map(|shared| shared.0).unwrap_or_default();
        let state = State {
            flights: Coalescer::default(),
            purges,
            sets: Purges::default(),
            refreshes: Arc::default(),
            puts: Arc::default(),
        };
        Self {
            rules: Rules::default(),
            attempts: 3,
            store_timeout: Duration::from_secs(1),
            clock: Clock::default(),
            tally: Arc::default(),
            store: Arc::new(store),
            state: Arc::new(state),
        }
    }

    /// What is kept under a name, if it is fresh, or, with `or_stale`, may be used while it is
    /// refreshed.
    pub(super) async fn look<T>(&self, name: &str, or_stale: bool) -> Option<Found<T>>
    where
        T: DeserializeOwned,
    {
        let peeked = catch_unwind(AssertUnwindSafe(|| self.store.get_now(name)));
        let peeked = peeked.unwrap_or_else(|_| {
            self.tally.failed("get");
            Poll::Ready(None)
        });
        if let Poll::Ready(entry) = peeked {
            let found = entry.and_then(|entry| self.judge(name, entry, or_stale));
            if found.is_some() || !self.store.is_tiered() {
                return found;
            }
        }
        let got = self.tried("get", || self.store.get(name)).await;
        self.judge(name, got.ok()??, or_stale)
    }

    pub(super) async fn set(
        &self,
        name: &str,
        ttl: Option<Duration>,
        json: Bytes,
    ) -> Result<(), StoreError> {
        drop(self.state.sets.purge(Purge::Removed(name), 0));
        if self.state.purges.is_shared() {
            // Others may have the value before in their memory.
            self.purge(Purge::Removed(name)).await?;
        }
        // One set does not make way for another.
        let since = Since { set: Stamp::MAX, ..self.since() };
        self.put(name, self.entry(ttl, json, since), since).await
    }

    pub(super) async fn del(&self, name: &str) -> Result<(), StoreError> {
        let purged = self.purge(Purge::Removed(name)).await;
        let removed = self.remove(name).await;
        purged.and(removed)
    }

    pub(super) async fn purge(&self, what: Purge<'_>) -> Result<(), StoreError> {
        // Once: what was not told will be.
        let purged = self.state.purges.purge(what, self.clock.now()).await;
        purged.inspect_err(|_| self.tally.failed("purge"))
    }

    /// The value as it is kept.
    pub(super) fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Bytes, Fault> {
        let json = serde_json::to_vec(value).map_err(|error| {
            self.tally.failed("encode");
            Fault::Json(error)
        })?;
        // Without the room that the vector has left over.
        Ok(json.into_boxed_slice().into())
    }

    pub(super) fn fits(&self, json: &[u8]) -> bool {
        let fits = json.len() <= LARGEST_VALUE;
        if !fits {
            self.tally.failed("too-large");
        }
        fits
    }

    pub(super) async fn put(
        &self,
        name: &str,
        entry: Entry,
        since: Since,
    ) -> Result<(), StoreError> {
        let ttl = entry.stored().map_or(Duration::ZERO, |stored| stored.freshness.keep(false));
        self.tried("put", || self.store.put(name, entry.clone(), ttl)).await?;
        // A purge may have come between the last look and the store.
        if self.admits(name, since) { Ok(()) } else { self.remove(name).await }
    }

    /// A place among what is put while nobody waits for it: a store that hangs does not fill the
    /// memory.
    pub(super) fn put_slot(&self) -> Option<Slot> {
        let slot = Slot::take(&self.state.puts, MAX_PUTS);
        if slot.is_none() {
            self.tally.failed("puts");
        }
        slot
    }

    async fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.tried("remove", || self.store.remove(name)).await
    }

    /// Tries an operation as often as it may be tried, in the time that one operation has: a store
    /// that hangs would not be quicker the next time.
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
        let tried = within(self.store_timeout, trying).await;
        tried.inspect_err(|_| self.tally.failed(operation))
    }

    fn judge<T: DeserializeOwned>(
        &self,
        name: &str,
        entry: Entry,
        or_stale: bool,
    ) -> Option<Found<T>> {
        let stored = entry.stored()?;
        let is_fresh = match policy::age(&stored.freshness, self.clock.now()) {
            Age::Fresh => true,
            Age::Stale if or_stale => false,
            _ => return None,
        };
        let value = self.decode(name, stored)?;
        Some(Found { entry, value, is_fresh })
    }

    /// The value, unless it was purged or is of another type. A response that a store returns under
    /// the name of a value is none.
    pub(super) fn decode<T: DeserializeOwned>(&self, name: &str, stored: &Stored) -> Option<T> {
        if stored.status != StatusCode::OK || !stored.headers.is_empty() {
            self.tally.failed("decode");
            return None;
        }
        if !is_current(&self.state.purges, name, stored) {
            return None;
        }
        let value = serde_json::from_slice(&stored.body);
        value.inspect_err(|_| self.tally.failed("decode")).ok()
    }

    pub(super) fn entry(&self, ttl: Option<Duration>, json: Bytes, since: Since) -> Entry {
        let freshness = self.rules.freshness(ttl, &json, self.clock.now(), random());
        Entry::new(Kept::Response(Stored {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: json,
            freshness,
            variant: Variant::default(),
            tags: Vec::new(),
            watermark: Watermark::at(since.purged),
        }))
    }

    pub(super) fn since(&self) -> Since {
        Since { purged: self.state.purges.watermark(), set: self.state.sets.watermark() }
    }

    pub(super) fn admits(&self, name: &str, since: Since) -> bool {
        self.state.purges.admits(name, &[], since.purged)
            && self.state.sets.admits(name, &[], since.set)
    }
}

/// In bytes of JSON.
const LARGEST_VALUE: usize = 1024 * 1024;
