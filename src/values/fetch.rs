//! The way from a key to its value: looked up, awaited, or loaded and stored.

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::failures::Failed;
use super::form::{Form, Read};
use super::load_error::{Failure, LoadError};
use super::loaded::Loaded;
use super::metrics::Outcome;
use super::options::ValueOptions;
use super::policy::{Age, FailedBefore, Step};
use super::shared::{Found, Lookup, Shared, Typed, Verdict};
use super::since::Since;
use crate::cache::coalesce::{Ended, Leader, Role};
use crate::cache::entry::Entry;
use crate::cache::lookup::{Turn, take_turn};
use crate::cache::store::Lease;
use crate::cache::task::{Slot, spawn, spawn_if_pending};

/// A caller on its way to a value.
pub(super) struct Caller<'a, F> {
    shared: Typed<'a, F>,
    pub(super) name: &'a Arc<str>,
    pub(super) lookup: Lookup<'a>,
    /// The time of the call, in milliseconds since 1970.
    asked: u64,
    /// The number of failed loads until then.
    failures: u64,
}

/// The end of a caller's wait for its turn to load.
pub(super) enum Waited<T> {
    /// Another caller, or another process, has loaded the value.
    Value(T),
    Failed(Failure),
    /// The value that was found stands in: nobody may load yet, or the load takes too long.
    StandIn,
    /// The loader of another caller waits for this one.
    Recursive,
    /// This caller loads: for others too, if it leads.
    Load(Option<Lead>),
}

/// The role of the caller that loads, held until the store has the value.
pub(super) struct Lead {
    leader: Leader<Arc<str>, Verdict>,
    _lease: Lease,
}

/// A load that is about to start. It owns what it needs, and can go on without its caller.
pub(super) struct Load<F> {
    shared: Arc<Shared>,
    form: F,
    name: Arc<str>,
    options: ValueOptions,
    lead: Option<Lead>,
    /// The store has a stale value.
    has_stale: bool,
}

/// A loaded value on its way into the store. The callers that wait for the value have it already.
pub(super) struct Put {
    shared: Arc<Shared>,
    name: Arc<str>,
    /// `None` removes the stale value that the store has.
    entry: Option<Entry>,
    since: Since,
    /// Held until the store has the value: callers that join meanwhile get it from the flight.
    _lead: Option<Lead>,
}

/// The result of a caller, or its right to load, with the value that may stand in.
pub(super) type Settled<T, E> =
    ControlFlow<Result<T, LoadError<E>>, (Option<Lead>, Option<Found<T>>)>;

/// Returns a value. `load` may borrow from the caller, and runs within the call.
pub(super) async fn get_or_insert<F, L, E, Fut>(
    shared: Typed<'_, F>,
    name: Arc<str>,
    options: ValueOptions,
    load: impl FnOnce() -> Fut,
) -> Result<F::Value, LoadError<E>>
where
    F: Form,
    L: Into<Loaded<F::Value>>,
    E: Send + Sync + 'static,
    Fut: Future<Output = Result<L, E>>,
{
    let mut caller = Caller::new(shared, &name);
    let found = shared.look(&name, true).await;
    let age = match found {
        Some(found @ Found { age: Age::Fresh, .. }) => return Ok(caller.give(found)),
        ref found => found.as_ref().map_or(Age::Expired, |found| found.age),
    };
    let waited = match caller.step(age) {
        // One caller waits for its own load. The others have the stale value.
        Step::Refresh if age == Age::Stale => match shared.state.flights.join(Arc::clone(&name)) {
            Role::Leader(leader) => lead(shared, &name, leader, caller.failures, age).await,
            Role::Follower(_) => Waited::StandIn,
        },
        // Nobody waits for the successor of a fresh value.
        Step::Return | Step::Refresh => Waited::StandIn,
        step => caller.wait(step, age).await,
    };
    let (lead, found) = match caller.settle(waited, found) {
        ControlFlow::Break(done) => return done,
        ControlFlow::Continue(right) => right,
    };
    let start = Load::new(shared, &name, options, lead, found.is_some());
    let loaded = start.run(shared.rules.hard_timeout, load).await;
    caller.conclude(loaded, found)
}

/// Returns a value. `load` owns what it needs, and goes on in the background if no caller should wait
/// for it. It gets the entry of a stale value.
pub(super) async fn get_or_refresh<F, L, E, Fut>(
    shared: Typed<'_, F>,
    name: Arc<str>,
    options: ValueOptions,
    load: impl FnOnce(Option<Entry>) -> Fut + Send + 'static,
) -> Result<F::Value, LoadError<E>>
where
    F: Form + Send + Sync + 'static,
    F::Value: Send + 'static,
    L: Into<Loaded<F::Value>> + 'static,
    E: Send + Sync + 'static,
    Fut: Future<Output = Result<L, E>> + Send + 'static,
{
    let mut caller = Caller::new(shared, &name);
    let found = shared.look(&name, true).await;
    let age = match found {
        Some(found @ Found { age: Age::Fresh, .. }) => return Ok(caller.give(found)),
        ref found => found.as_ref().map_or(Age::Expired, |found| found.age),
    };
    let waited = match (caller.step(age), found) {
        (Step::Refresh, Some(found)) => {
            refresh(shared, &name, options, &found, load);
            return Ok(caller.give(found));
        }
        (Step::Return, found) => (Waited::StandIn, found),
        (step, found) => (caller.wait(step, age).await, found),
    };
    let (lead, found) = match caller.settle(waited.0, waited.1) {
        ControlFlow::Break(done) => return done,
        ControlFlow::Continue(right) => right,
    };
    let start = Load::new(shared, &name, options, lead, found.is_some());
    let stale = found.as_ref().map(|found| found.entry.clone());
    let (Some(soft), Some(_)) = (shared.rules.soft_timeout, &stale) else {
        let loaded = start.run(shared.rules.hard_timeout, || load(stale)).await;
        return caller.conclude(loaded, found);
    };
    // In the background, no caller could end the load by leaving.
    let hard = shared.rules.hard_timeout.unwrap_or(soft.saturating_add(MAX_BACKGROUND_TIME));
    let mut loading = Box::pin(start.run(Some(hard), || load(stale)));
    if let Ok(loaded) = timeout(soft, &mut loading).await {
        return caller.conclude(loaded, found);
    }
    match caller.stand_in(found) {
        Some(value) => {
            if let Some(slot) = refresh_slot(&shared) {
                spawn(async move {
                    // The error is counted, and the next callers are spared for a while.
                    drop(loading.await);
                    drop(slot);
                });
            }
            Ok(value)
        }
        // The stale value was removed, or has become too old.
        None => loading.await,
    }
}

/// Loads a value in the background, unless that is under way.
fn refresh<F, L, E, Fut>(
    shared: Typed<'_, F>,
    name: &Arc<str>,
    options: ValueOptions,
    found: &Found<F::Value>,
    load: impl FnOnce(Option<Entry>) -> Fut + Send + 'static,
) where
    F: Form + Send + Sync + 'static,
    F::Value: Send + 'static,
    L: Into<Loaded<F::Value>> + 'static,
    E: Send + Sync + 'static,
    Fut: Future<Output = Result<L, E>> + Send + 'static,
{
    let Some(slot) = refresh_slot(&shared) else { return };
    let Role::Leader(leader) = shared.state.flights.join(Arc::clone(name)) else { return };
    let (age, stale, failures) = (found.age, found.entry.clone(), shared.state.failures.count());
    let (shared, form, name) = (Arc::clone(shared.shared), shared.form.clone(), Arc::clone(name));
    spawn(async move {
        let shared = Typed { shared: &shared, form: &form };
        let waited = lead(shared, &name, leader, failures, age).await;
        if let Waited::Load(lead) = waited {
            let start = Load::new(shared, &name, options, lead, true);
            let limit = shared.rules.hard_timeout.unwrap_or(MAX_BACKGROUND_TIME);
            drop(start.run(Some(limit), || load(Some(stale))).await);
        }
        drop(slot);
    });
}

/// Takes a slot for a load in the background.
fn refresh_slot(shared: &Shared) -> Option<Slot> {
    let slot = Slot::take(&shared.state.refreshes, shared.rules.max_refreshes);
    if slot.is_none() {
        shared.metrics.failed("refreshes");
    }
    slot
}

/// Returns a value that another caller or another process has stored since the lookup, or else the
/// right to load it.
///
/// `failures` is the number of failed loads before the lookup, which found a value of this age.
async fn lead<F: Read>(
    shared: Typed<'_, F>,
    name: &str,
    leader: Leader<Arc<str>, Verdict>,
    failures: u64,
    age: Age,
) -> Waited<F::Value> {
    // A load may have failed between the lookup and now. Its caller has left the flight already.
    if let Some(failure) = failure_since(&shared, name, failures) {
        leader.complete(Verdict::Failed(failure.clone()));
        return Waited::Failed(failure);
    }
    let look = || async {
        let found = shared.look(name, false).await;
        // The successor of a value that is due is not that value.
        found.filter(|found| age != Age::Due || found.age == Age::Fresh)
    };
    let (found, lease) = match take_turn(&*shared.store, name, look).await {
        Turn::Other(found) => (Some(found), Lease::free()),
        Turn::Own(lease) => (look().await, lease),
        Turn::TimedOut => {
            shared.metrics.failed("lease");
            (look().await, Lease::free())
        }
    };
    match found {
        Some(Found { entry, value, .. }) => {
            shared.link_value(&entry);
            leader.complete(Verdict::Found(entry));
            Waited::Value(value)
        }
        None => Waited::Load(Some(Lead { leader, _lease: lease })),
    }
}

/// Returns the last failure of a name, unless a value was removed or inserted since.
fn last_failure(shared: &Shared, name: &str) -> Option<Failed> {
    let failed = shared.state.failures.get(name)?;
    shared.is_unchanged(name, &[], failed.since).then_some(failed)
}

/// Returns the last failure of a name if it came after this number of failures.
fn failure_since(shared: &Shared, name: &str, failures: u64) -> Option<Failure> {
    let failed = last_failure(shared, name)?;
    (failed.number > failures).then_some(failed.failure)
}

impl Lead {
    /// Returns the role of a caller that takes no lease.
    pub(super) fn of(leader: Leader<Arc<str>, Verdict>) -> Self {
        Self { leader, _lease: Lease::free() }
    }

    /// Gives the result to the callers that wait for it.
    pub(super) fn complete(&self, verdict: Verdict) {
        self.leader.complete(verdict);
    }
}

impl<'a, F: Read> Caller<'a, F> {
    pub(super) fn new(shared: Typed<'a, F>, name: &'a Arc<str>) -> Self {
        let failures = shared.state.failures.count();
        let lookup = shared.shared.lookup();
        shared.link(name);
        Self { shared, name, lookup, asked: shared.clock.now(), failures }
    }

    /// Returns the next step, with a value of this age.
    pub(super) fn step(&self, age: Age) -> Step {
        let failed = last_failure(&self.shared, self.name).map(|Failed { at, number, .. }| {
            FailedBefore { at, is_awaited: number > self.failures }
        });
        // Without a failure, no time is compared.
        let now = failed.map_or(0, |_| self.shared.clock.now());
        self.shared.rules.step(age, failed, now)
    }

    /// Returns the last failure of a load.
    pub(super) fn last_failure(&self) -> Option<Failure> {
        last_failure(&self.shared, self.name).map(|failed| failed.failure)
    }

    /// Returns the failure of a load that ended after this call had begun.
    pub(super) fn failure_since(&self) -> Option<Failure> {
        failure_since(&self.shared, self.name, self.failures)
    }

    /// Waits for another caller that loads the same value, or for the right to load it.
    async fn wait(&self, step: Step, age: Age) -> Waited<F::Value> {
        let Self { shared, name, .. } = *self;
        if step == Step::Fail {
            if let Some(failure) = self.last_failure() {
                return Waited::Failed(failure);
            }
        }
        let follower = match shared.state.flights.join(Arc::clone(name)) {
            Role::Leader(leader) => return lead(shared, name, leader, self.failures, age).await,
            Role::Follower(follower) => follower,
        };
        let waiting = shared.state.waits.begin(std::slice::from_ref(name));
        let Ok(waiting) = waiting else { return Waited::Recursive };
        let (soft, most) = (shared.rules.soft_timeout, shared.rules.coalesce_timeout);
        let soft = soft.filter(|soft| age != Age::Expired && *soft < most);
        let ended = timeout(soft.unwrap_or(most), follower).await;
        drop(waiting);
        match ended {
            Ok(Ended::Lead(leader)) => lead(shared, name, leader, self.failures, age).await,
            Ok(Ended::Completed(verdict)) => self.completed(verdict),
            Err(_) if soft.is_some() => Waited::StandIn,
            Err(_) => {
                shared.metrics.failed("wait");
                Waited::StandIn
            }
        }
    }

    /// Returns the end of the wait for another caller that has come to this result.
    pub(super) fn completed(&self, verdict: Verdict) -> Waited<F::Value> {
        match verdict {
            Verdict::Failed(failure) => Waited::Failed(failure),
            Verdict::Found(entry) => {
                self.collapsed(&entry).map_or(Waited::Load(None), Waited::Value)
            }
            // A load of several keys found no value, which is no result of a load of one.
            Verdict::Alone | Verdict::Absent => Waited::Load(None),
        }
    }

    /// Returns the value that another caller has loaded, unless it was loaded before this call and has
    /// expired since.
    fn collapsed(&self, entry: &Entry) -> Option<F::Value> {
        let Self { shared, name, .. } = *self;
        let stored = shared.usable(name, entry)?;
        // A value with a ttl of 0 is for those who waited for it.
        let is_new = stored.freshness.received >= self.asked;
        if !(is_new || shared.age(stored).is_fresh()) {
            return None;
        }
        shared.link_value(entry);
        shared.decode(stored)
    }

    /// Returns the result of the wait, or the right to load.
    pub(super) fn settle<E: Send + Sync + 'static>(
        &mut self,
        waited: Waited<F::Value>,
        found: Option<Found<F::Value>>,
    ) -> Settled<F::Value, E> {
        match waited {
            Waited::Load(lead) => ControlFlow::Continue((lead, found)),
            Waited::Value(value) => {
                self.lookup.end(Outcome::Collapsed);
                ControlFlow::Break(Ok(value))
            }
            Waited::Recursive => {
                self.shared.metrics.failed("recursion");
                self.lookup.end(Outcome::Failed);
                ControlFlow::Break(Err(LoadError::recursive(self.key())))
            }
            Waited::StandIn => match self.stand_in(found) {
                Some(value) => ControlFlow::Break(Ok(value)),
                None => ControlFlow::Continue((None, None)),
            },
            Waited::Failed(failure) => match (self.stand_in(found), LoadError::of(&failure)) {
                (Some(value), _) => ControlFlow::Break(Ok(value)),
                (None, Some(error)) => {
                    self.lookup.end(Outcome::Failed);
                    ControlFlow::Break(Err(error))
                }
                // The loader of the other caller has another type of error.
                (None, None) => ControlFlow::Continue((None, None)),
            },
        }
    }

    /// Returns the result of a load by this caller.
    fn conclude<E>(
        &mut self,
        loaded: Result<F::Value, LoadError<E>>,
        found: Option<Found<F::Value>>,
    ) -> Result<F::Value, LoadError<E>> {
        loaded.or_else(|error| self.stand_in(found).ok_or(error))
    }

    /// Returns a value that was found before, if it still may be used.
    pub(super) fn stand_in(&mut self, found: Option<Found<F::Value>>) -> Option<F::Value> {
        let found = found.filter(|found| self.shared.stands_in(self.name, found))?;
        Some(self.give(found))
    }

    /// Returns the key without the namespace.
    fn key(&self) -> Arc<str> {
        self.name.strip_prefix(&self.shared.rules.namespace).unwrap_or_default().into()
    }

    pub(super) fn give(&mut self, found: Found<F::Value>) -> F::Value {
        self.shared.link_value(&found.entry);
        self.lookup.end(if found.age.is_fresh() { Outcome::Hit } else { Outcome::Stale });
        found.value
    }
}

impl<F: Form> Load<F> {
    pub(super) fn new(
        shared: Typed<'_, F>,
        name: &Arc<str>,
        options: ValueOptions,
        lead: Option<Lead>,
        has_stale: bool,
    ) -> Self {
        let (shared, form) = (Arc::clone(shared.shared), shared.form.clone());
        Self { shared, form, name: Arc::clone(name), options, lead, has_stale }
    }

    /// Calls `load` and stores the value.
    async fn run<L, E, Fut>(
        self,
        limit: Option<Duration>,
        load: impl FnOnce() -> Fut,
    ) -> Result<F::Value, LoadError<E>>
    where
        L: Into<Loaded<F::Value>>,
        E: Send + Sync + 'static,
        Fut: Future<Output = Result<L, E>>,
    {
        // Before the load: what is removed during it must not be stored.
        let since = self.shared.since();
        let names = [Arc::clone(&self.name)];
        let mut loading = pin!(self.shared.state.waits.during(names.into(), load()));
        let loaded = match limit {
            Some(limit) => match timeout(limit, &mut loading).await {
                Ok(loaded) => loaded.map_err(LoadError::from),
                Err(_) => Err(LoadError::timed_out(limit)),
            },
            None => loading.await.map_err(LoadError::from),
        };
        match loaded {
            Ok(loaded) => {
                let (value, put) = self.share(loaded.into(), since);
                if let Some((put, slot)) =
                    put.and_then(|put| put.shared.put_slot().map(|slot| (put, slot)))
                {
                    spawn_if_pending(Box::pin(async move {
                        put.run().await;
                        drop(slot);
                    }));
                }
                Ok(value)
            }
            Err(error) => {
                self.shared.count_failure(&error);
                self.fail(&error, since);
                Err(error)
            }
        }
    }

    /// Shares a loaded value with the callers that wait for it. Returns the value, and its put into
    /// the store.
    pub(super) fn share(self, loaded: Loaded<F::Value>, since: Since) -> (F::Value, Option<Put>) {
        let Self { shared, form, name, options, lead, has_stale } = self;
        shared.state.failures.remove(&name);
        let Loaded { value, options: own, is_uncached } = loaded;
        let complete = |verdict| {
            if let Some(lead) = &lead {
                lead.complete(verdict);
            }
        };
        let Ok(encoded) = shared.encoded(form.encode(&value)) else {
            complete(Verdict::Alone);
            return (value, None);
        };
        let ttl = if is_uncached { Some(Duration::ZERO) } else { own.ttl.or(options.ttl) };
        let mut tags = options.tags;
        tags.extend(own.tags);
        let is_stored = !is_uncached && shared.fits(&encoded) && shared.tags_fit(&tags);
        let entry = shared.entry(ttl, shared.rules.tags(&tags), encoded, since);
        // Also if it is not stored: the caller makes its response of it.
        shared.link_value(&entry);
        // After a removal, one of the waiting callers loads the value that is current now. So does one
        // after an expiry, with this value as the stale one.
        if !shared.admits(&name, &entry, since) {
            return (value, None);
        }
        if !shared.is_soft_purged(&name, &entry) {
            complete(Verdict::Found(entry.clone()));
        }
        let removes_stale = is_uncached && has_stale;
        if !(is_stored || removes_stale) {
            return (value, None);
        }
        let entry = is_stored.then_some(entry);
        (value, Some(Put { shared, name, entry, since, _lead: lead }))
    }

    /// Shares that a load of several keys found no value of this one. Returns the removal of a stale
    /// value from the store.
    pub(super) fn share_absence(self, since: Since) -> Option<Put> {
        let Self { shared, name, lead, has_stale, .. } = self;
        shared.state.failures.remove(&name);
        if let Some(lead) = &lead {
            lead.complete(Verdict::Absent);
        }
        has_stale.then(|| Put { shared, name, entry: None, since, _lead: lead })
    }

    /// Shares a failure with the callers that wait for the value, and remembers it.
    pub(super) fn fail<E: Send + Sync + 'static>(self, error: &LoadError<E>, since: Since) {
        let Self { shared, name, lead, .. } = self;
        let Some(failure) = error.to_failure() else { return };
        // In this order: a caller that comes too late for the flight finds the failure.
        shared.state.failures.insert(&name, failure.clone(), shared.clock.now(), since);
        if let Some(lead) = lead {
            lead.complete(Verdict::Failed(failure));
        }
    }
}

impl Put {
    /// Puts the value into the store, or removes the stale one. The error is counted: the caller has
    /// its value, and does not need the store.
    pub(super) async fn run(self) {
        let Self { shared, name, entry, since, .. } = self;
        match entry {
            Some(entry) => drop(shared.put(&name, entry, since).await),
            None => drop(shared.remove_entry(&name).await),
        }
    }

    /// Returns about how many bytes of memory the entry takes.
    pub(super) fn size(&self) -> u64 {
        self.entry.as_ref().map_or(0, Entry::size)
    }
}

/// The maximum duration of a load in the background, without a timeout of its own.
const MAX_BACKGROUND_TIME: Duration = Duration::from_secs(60);
