use std::error::Error;
use std::future::Future;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;

use super::error::Kind;
use super::failures::Failures;
use super::form::{Encoded, Read};
use super::load_error::{Failure, LoadError};
use super::loaded::ValueEntry;
use super::metrics::{Outcome, ValueMetrics};
use super::policy::{self, Age, Rules};
use super::recursion::Waits;
use super::since::Since;
use super::writes::Writes;
use crate::cache::coalesce::Coalescer;
use crate::cache::entry::value::StoredValue;
use crate::cache::entry::{Entry, EntryKind, Watermark};

use crate::cache::clock::{Clock, random};
use crate::cache::error::StoreError;
use crate::cache::namespace::Namespace;
use crate::cache::policy::Reads;
use crate::cache::policy::date::in_millis;
use crate::cache::purge::list::Purges;
use crate::cache::purge::{Purge, ScopedPurges};
use crate::cache::read_scope::record;
use crate::cache::state::MAX_PUTS;
use crate::cache::store::{DynStore, Store};
use crate::cache::task::Slot;
use crate::cache::timeout::within;

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
    /// A load of several keys found no value of this one.
    Absent,
    /// No value; each waiting caller loads by itself and waits no more.
    Alone,
}

/// A cache, with the form in which a caller gets its values.
pub(super) struct Typed<'a, F> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) form: &'a F,
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
        purges.add_values();
        let state = State {
            flights: Coalescer::default(),
            purges: ScopedPurges::new(Arc::clone(&purges), Namespace::default()),
            list: purges,
            inserts: Purges::default(),
            writes: Writes::default(),
            failures: Failures::default(),
            waits: Waits::default(),
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

    /// Counts a failed load.
    pub(super) fn count_failure<E>(&self, error: &LoadError<E>) {
        self.metrics.failed(if error.is_timeout() { "load-timeout" } else { "load" });
    }

    /// Returns the name of a key that is to be loaded. A key that is too long has none, and is counted as
    /// a miss.
    pub(super) fn named(&self, key: &str) -> Option<Arc<str>> {
        let name = self.rules.name(key);
        if name.is_none() {
            self.metrics.failed("too-large");
            self.metrics.count(Outcome::Miss);
        }
        name
    }

    /// Links the response of the handler that runs to a name, whether there is a value or not.
    #[inline]
    pub(super) fn link(&self, name: &Arc<str>) {
        record(&self.state.list, |reads| reads.name(name));
    }

    /// Notes that the response of the handler that runs is made of a value, and is fresh for no longer.
    #[inline]
    pub(super) fn link_value(&self, entry: &Entry) {
        record(&self.state.list, |reads| self.note(reads, entry));
    }

    /// Links the response of the handler that runs to a name, with the value that was found. After a removal
    /// that may belong to an insert, whose value is still on its way, a response without a value is not
    /// stored.
    #[inline]
    pub(super) fn link_found(&self, name: &Arc<str>, found: Option<&Entry>) {
        record(&self.state.list, |reads| {
            reads.name(name);
            if let Some(entry) = found {
                return self.note(reads, entry);
            }
            let since = self.clock.now().saturating_sub(in_millis(MAX_INSERT_TIME));
            if self.state.list.was_removed(name, since) {
                reads.value(&[], 0);
            }
        });
    }

    fn note(&self, reads: &mut Reads, entry: &Entry) {
        if let Some(stored) = value_of(entry) {
            let left = u64::try_from(left(stored, self.clock.now())).unwrap_or(0);
            reads.value(&stored.tags, left);
        }
    }

    /// Begins the lookup of a caller, which is a miss unless it [ends](Lookup::end) in another way.
    #[inline]
    pub(super) fn lookup(&self) -> Lookup<'_> {
        Lookup { shared: self, outcome: Outcome::Miss }
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

    /// Returns an encoded value, or counts the error of its codec.
    pub(super) fn encoded(
        &self,
        encoded: Result<Encoded, Box<dyn Error + Send + Sync>>,
    ) -> Result<Encoded, Kind> {
        encoded.map_err(|error| {
            self.metrics.failed("encode");
            Kind::Encode(error)
        })
    }

    /// Returns `true` if a value is not too large.
    pub(super) fn fits(&self, encoded: &Encoded) -> bool {
        let fits = encoded.bytes.len() <= MAX_VALUE_SIZE;
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
        let ttl = entry.freshness().map_or(Duration::ZERO, |freshness| freshness.keep(false));
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

    /// Returns `true` if a value that was found before may still stand in for one that cannot be
    /// loaded: a load takes time.
    pub(super) fn stands_in<T>(&self, name: &str, found: &Found<T>) -> bool {
        let stored = self.usable(name, &found.entry);
        stored.is_some_and(|stored| self.age(stored) != Age::Expired)
    }

    /// Returns `true` if a value was expired while it was loaded.
    pub(super) fn is_soft_purged(&self, name: &str, entry: &Entry) -> bool {
        self.usable(name, entry).is_some_and(|stored| stored.watermark.is_soft_purged())
    }

    /// Returns a value with its age, ttl and tags.
    pub(super) fn value_entry<T>(&self, Found { entry, value, .. }: Found<T>) -> ValueEntry<T> {
        let now = self.clock.now();
        let stored = value_of(&entry);
        let (age, left) =
            stored.map_or((0, 0), |stored| (stored.freshness.age(now), left(stored, now)));
        let tags = stored.map_or(&[][..], |stored| &stored.tags).iter();
        let tags = tags.filter_map(|tag| tag.strip_prefix(&self.rules.namespace));
        ValueEntry {
            value,
            age: Duration::from_millis(age),
            ttl: Duration::from_millis(u64::try_from(left).unwrap_or(0)),
            tags: tags.map(str::to_owned).collect(),
        }
    }

    /// Returns the value of an entry unless it was purged. A soft purge makes the value stale.
    pub(super) fn usable<'a>(&self, name: &str, entry: &'a Entry) -> Option<&'a StoredValue> {
        let Some(stored) = value_of(entry) else {
            // A response under the name of a value: another program has changed the store.
            self.metrics.failed("decode");
            return None;
        };
        let StoredValue { tags, watermark, freshness, .. } = stored;
        let purges = &self.state.purges;
        let standing = purges.standing(name, tags, watermark.get(), freshness.received);
        // In this order: a name that was forgotten before the comparison is known here.
        let is_outdated =
            !purges.is_latest(watermark.get()) && purges.is_outdated(watermark.newest());
        (!is_outdated && watermark.admits(standing)).then_some(stored)
    }

    /// Returns the use that the age of a value permits.
    pub(super) fn age(&self, stored: &StoredValue) -> Age {
        self.rules.age(&stored.freshness, left(stored, self.clock.now()))
    }

    /// Creates the entry of a value.
    pub(super) fn entry(
        &self,
        ttl: Option<Duration>,
        tags: Vec<String>,
        encoded: Encoded,
        since: Since,
    ) -> Entry {
        let Encoded { codec, bytes, is_absent, decoded_size, decoded } = encoded;
        let freshness = self.rules.freshness(ttl, is_absent, self.clock.now(), random());
        Entry::new(EntryKind::Value(StoredValue {
            codec: Bytes::from_static(codec.as_bytes()),
            bytes,
            freshness,
            tags,
            watermark: Watermark::at(since.purged),
            decoded_size,
            decoded,
        }))
    }

    /// Returns the last purge and the last insert. To be called before a fetch.
    pub(super) fn since(&self) -> Since {
        Since { purged: self.state.purges.watermark(), inserted: self.state.inserts.watermark() }
    }

    /// Returns `true` if a value that was loaded since then may be stored.
    pub(super) fn admits(&self, name: &str, entry: &Entry, since: Since) -> bool {
        let tags = value_of(entry).map_or(&[][..], |stored| &stored.tags);
        self.is_unchanged(name, tags, since)
    }

    /// Returns `true` if no value of a name, or of one of these tags, was removed, and none of the name
    /// inserted, since then.
    pub(super) fn is_unchanged(&self, name: &str, tags: &[String], since: Since) -> bool {
        self.state.purges.admits(name, tags, since.purged)
            && self.state.inserts.admits(name, &[], since.inserted)
    }
}

impl<'a, F: Read> Typed<'a, F> {
    /// Returns the value of a name if it is fresh, or, with `or_stale`, if it may be used in place of a
    /// new one.
    pub(super) async fn look(self, name: &str, or_stale: bool) -> Option<Found<F::Value>> {
        if let Poll::Ready(found) = self.look_now(name, or_stale) {
            return found;
        }
        let got = self.tried("get", || self.store.get(name)).await;
        self.use_entry(name, got.ok()??, or_stale)
    }

    /// Returns the values of several names, in their order, each as [`look`](Self::look) does.
    pub(super) async fn look_many(
        self,
        names: &[&str],
        or_stale: bool,
    ) -> Vec<Option<Found<F::Value>>> {
        let (mut found, mut asked) = (Vec::with_capacity(names.len()), Vec::new());
        for (at, name) in names.iter().enumerate() {
            found.push(match self.look_now(name, or_stale) {
                Poll::Ready(found) => found,
                Poll::Pending => {
                    asked.push((at, *name));
                    None
                }
            });
        }
        if asked.is_empty() {
            return found;
        }
        let keys: Vec<_> = asked.iter().map(|(_, name)| *name).collect();
        // One operation, with one timeout and one count of a failure.
        let got = self.tried("get", || self.store.get_many(&keys)).await;
        for ((at, name), entry) in asked.into_iter().zip(got.unwrap_or_default()) {
            found[at] = entry.and_then(|entry| self.use_entry(name, entry, or_stale));
        }
        found
    }

    /// Returns the value of a name if the store knows without waiting that it has the value, or that
    /// it has none.
    fn look_now(self, name: &str, or_stale: bool) -> Poll<Option<Found<F::Value>>> {
        if let Some(entry) = self.written(name) {
            return Poll::Ready(self.unless_expired(entry, or_stale));
        }
        let got = catch_unwind(AssertUnwindSafe(|| self.store.get_now(name)));
        let got = got.unwrap_or_else(|_| {
            self.metrics.failed("get");
            Poll::Ready(None)
        });
        let found = ready!(got).and_then(|entry| self.use_entry(name, entry, or_stale));
        // Another process may have stored the value behind the memory.
        let is_known = found.is_some() || !self.store.is_tiered();
        if is_known { Poll::Ready(found) } else { Poll::Pending }
    }

    fn use_entry(self, name: &str, entry: Entry, or_stale: bool) -> Option<Found<F::Value>> {
        self.usable(name, &entry)?;
        self.unless_expired(entry, or_stale)
    }

    /// Returns the value of an entry that was not purged.
    fn unless_expired(self, entry: Entry, or_stale: bool) -> Option<Found<F::Value>> {
        let stored = value_of(&entry)?;
        let age = self.age(stored);
        if age == Age::Expired || !or_stale && !age.is_fresh() {
            return None;
        }
        let value = self.decode(stored)?;
        Some(Found { entry, value, age })
    }

    /// Returns the value of an entry that may be used.
    pub(super) fn decoded(self, entry: Entry) -> Option<Found<F::Value>> {
        let stored = value_of(&entry)?;
        let age = self.age(stored);
        let value = self.decode(stored)?;
        Some(Found { entry, value, age })
    }

    /// Decodes a value, unless it is of another codec or type.
    pub(super) fn decode(self, stored: &StoredValue) -> Option<F::Value> {
        self.form.decode(stored).inspect_err(|_| self.metrics.failed("decode")).ok()
    }
}

// By hand: the form need not be `Copy`.
impl<F> Clone for Typed<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for Typed<'_, F> {}

impl<F> Deref for Typed<'_, F> {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        self.shared
    }
}

impl Lookup<'_> {
    /// Sets the outcome.
    #[inline]
    pub(super) fn end(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Lookup<'_> {
    #[inline]
    fn drop(&mut self) {
        self.shared.metrics.count(self.outcome);
    }
}

/// Returns the value of an entry, or `None` for an entry of the cache of responses.
pub(super) fn value_of(entry: &Entry) -> Option<&StoredValue> {
    match entry.kind() {
        EntryKind::Value(stored) => Some(stored),
        EntryKind::Response(_) | EntryKind::Variants(_) => None,
    }
}

/// Returns the milliseconds until a value is stale: by its lifetime, or since it was soft-purged.
/// Negative if it is stale.
fn left(stored: &StoredValue, now: u64) -> i64 {
    stored.watermark.left(stored.freshness.left(now), now)
}

/// The maximum time from the removal of a previous value to the insertion of the next one.
pub(super) const MAX_INSERT_TIME: Duration = Duration::from_secs(60);

/// The maximum size of an encoded value, in bytes.
const MAX_VALUE_SIZE: usize = 1024 * 1024;
