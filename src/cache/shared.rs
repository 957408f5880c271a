use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Waker};
use std::time::{Duration, SystemTime};

use http::request;
use quick_cache::DefaultHashBuilder;
use quick_cache::sync::Cache;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle};

use super::budget::{Budget, Charge};
use super::control::millis;
use super::entry::Entry;
use super::flight::{Flights, Leader};
use super::flow::Group;
use super::handle::Warm;
use super::key::Key;
use super::key_by::CacheKey;
use super::policy::{self, Before, Bypass, Rules};
use super::purge::Purges;
use super::store::{Erased, Lease, Store};
use super::tally::Tally;

/// What all services of a layer share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) rules: Rules,
    pub(crate) key: Arc<CacheKey>,
    pub(crate) skip: Option<Arc<Skip>>,
    pub(crate) limits: Limits,
    /// Whether responses say what the cache did.
    pub(crate) status: bool,
    pub(crate) clock: Clock,
    pub(crate) store: Arc<dyn Erased>,
    pub(crate) state: Arc<State>,
}

pub(crate) type Skip = dyn Fn(&request::Parts) -> bool + Send + Sync;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) fills: usize,
    /// How many bytes the bodies may take that are on their way to the store.
    pub(crate) recordings: u64,
    /// How long an operation of the store may take.
    pub(crate) store: Duration,
    pub(crate) refreshes: usize,
    pub(crate) wait: Duration,
    pub(crate) hit_for_miss: Duration,
}

/// What changes.
pub(crate) struct State {
    pub(crate) flights: Flights<Arc<str>, Verdict>,
    pub(crate) purges: Arc<Purges>,
    pub(crate) family: Arc<Family>,
    pub(crate) tally: Tally,
    /// Whose responses are not kept, and until when that is remembered.
    marks: Cache<Mark, u64>,
    pub(crate) hasher: DefaultHashBuilder,
    budget: Arc<Budget>,
    fills: Arc<AtomicUsize>,
    refreshes: Arc<AtomicUsize>,
    puts: Arc<AtomicUsize>,
}

/// What the layers have that were made from one by setters, for as long as a layer, a service or a
/// handle has it: a handle may be older than the key under which entries are stored, or than the
/// recorder.
#[derive(Default)]
pub(crate) struct Family {
    keys: Mutex<Vec<Weak<CacheKey>>>,
    states: Mutex<Vec<Weak<State>>>,
}

/// What a leader found.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    Stored(Entry),
    /// The service failed, and this is stale.
    StandIn(Entry),
    /// Nothing that others could use.
    Alone,
}

/// Held while it fetches, for those of this process who wait, and for other processes.
#[derive(Debug)]
pub(crate) struct Lead {
    pub(crate) leader: Leader<Arc<str>, Verdict>,
    pub(crate) lease: Lease,
}

/// A hash of what requests that get the same have in common. Clients choose what is hashed; those
/// whose hashes are the same, by chance or on purpose, only do not wait for their like for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Mark(u64);

/// One of a bounded number, until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot(Arc<AtomicUsize>);

/// A task that waits for its time, and ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Alarm(AbortHandle);

/// Where the time comes from.
#[derive(Clone, Default)]
pub(crate) struct Clock(Option<Arc<dyn Fn() -> SystemTime + Send + Sync>>);

impl Shared {
    pub(crate) fn new(rules: Rules, store: impl Store) -> Self {
        let purges = Store::purges(&store).map(|shared| shared.0).unwrap_or_default();
        let key = Arc::new(CacheKey::new());
        let family = Arc::new(Family::default());
        add(&family.keys, &key);
        Self {
            rules,
            key,
            skip: None,
            limits: Limits::default(),
            status: true,
            clock: Clock::default(),
            state: State::new(Tally::default(), purges, family),
            store: Arc::new(store),
        }
    }

    /// Sets the key, which older handles learn of.
    pub(crate) fn set_key(&mut self, key: CacheKey) {
        let forwarded = self.key.is_forwarded();
        self.key = Arc::new(key.with_forwarded(forwarded));
        add(&self.state.family.keys, &self.key);
    }

    /// Counts by `tally` from now on, where older handles find it.
    pub(crate) fn set_tally(&mut self, tally: Tally) {
        let State { purges, family, .. } = &*self.state;
        self.state = State::new(tally, Arc::clone(purges), Arc::clone(family));
    }

    /// What to do with a request; a user's function that panics makes it pass.
    pub(crate) fn before(&self, request: &request::Parts, has_body: bool) -> Before {
        let skipped = self.skip.as_ref().map(|skip| {
            catch_unwind(AssertUnwindSafe(|| skip(request))).unwrap_or_else(|_| {
                self.state.tally.panicked();
                true
            })
        });
        match policy::before(&self.rules, &self.key, request, has_body) {
            Before::LookUp(_) if skipped == Some(true) => Before::Pass(Bypass::Skipped),
            Before::LookUp(mut ask) if request.extensions.get::<Warm>().is_some() => {
                ask.control.no_cache = true;
                Before::LookUp(ask)
            }
            before => before,
        }
    }

    pub(crate) fn mark_of(&self, key: &Key, group: Group) -> Mark {
        Mark(self.state.hasher.hash_one((key.as_str(), group)))
    }

    /// Whether the response is not worth waiting for.
    pub(crate) fn is_marked(&self, mark: Mark, now: u64) -> bool {
        self.state.marks.get(&mark).is_some_and(|until| now < until)
    }

    pub(crate) fn mark(&self, mark: Mark, now: u64) {
        let time = u64::try_from(self.limits.hit_for_miss.as_millis()).unwrap_or(u64::MAX);
        self.state.marks.insert(mark, now.saturating_add(time));
    }

    /// It was kept after all: one client's odd request does not part the others for long.
    pub(crate) fn unmark(&self, mark: Mark) {
        self.state.marks.remove(&mark);
    }

    /// A place among the bodies that are read to the end whether or not their client stays.
    pub(crate) fn fill_slot(&self) -> Option<Slot> {
        Slot::take(&self.state.fills, self.limits.fills)
    }

    /// A part of the bytes that bodies on their way to the store may take. None if so many are not
    /// left.
    pub(crate) fn charge(&self, bytes: u64) -> Option<Charge> {
        self.state.budget.charge(self.limits.recordings, bytes)
    }

    /// A place among what a store is putting: one that hangs does not fill the memory.
    pub(crate) fn put_slot(&self) -> Option<Slot> {
        Slot::take(&self.state.puts, MOST_PUTS)
    }

    pub(crate) fn refresh_slot(&self) -> Option<Slot> {
        Slot::take(&self.state.refreshes, self.limits.refreshes)
    }
}

impl Lead {
    pub(crate) fn of(leader: Leader<Arc<str>, Verdict>) -> Self {
        Self { leader, lease: Lease::free() }
    }

    pub(crate) fn land(&self, verdict: Verdict) {
        self.leader.land(verdict);
    }
}

impl State {
    fn new(tally: Tally, purges: Arc<Purges>, family: Arc<Family>) -> Arc<Self> {
        let state = Arc::new(Self {
            flights: Flights::default(),
            purges,
            family,
            tally,
            marks: Cache::new(MOST_MARKS),
            hasher: DefaultHashBuilder::default(),
            budget: Arc::default(),
            fills: Arc::default(),
            refreshes: Arc::default(),
            puts: Arc::default(),
        });
        add(&state.family.states, &state);
        state
    }
}

impl Family {
    pub(crate) fn keys(&self) -> Vec<Arc<CacheKey>> {
        alive(&self.keys)
    }

    pub(crate) fn states(&self) -> Vec<Arc<State>> {
        alive(&self.states)
    }
}

/// Adds to a list, and drops what is in no use any more, so that the list does not grow for ever.
fn add<T>(list: &Mutex<Vec<Weak<T>>>, item: &Arc<T>) {
    let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
    list.retain(|item| item.strong_count() > 0);
    list.push(Arc::downgrade(item));
}

fn alive<T>(list: &Mutex<Vec<Weak<T>>>) -> Vec<Arc<T>> {
    let list = list.lock().unwrap_or_else(PoisonError::into_inner);
    list.iter().filter_map(Weak::upgrade).collect()
}

impl Slot {
    pub(crate) fn take(taken: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let more = |taken| (taken < most).then_some(taken + 1);
        let free = taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        free.ok().map(|_| Self(Arc::clone(taken)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Clock {
    pub(crate) fn of(clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(clock)))
    }

    /// In milliseconds since 1970.
    #[expect(
        clippy::disallowed_methods,
        reason = "the edge of this room, where it reads the clock"
    )]
    pub(crate) fn now(&self) -> u64 {
        millis(self.0.as_ref().map_or_else(SystemTime::now, |clock| clock()))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fills: 256,
            recordings: 64 * 1024 * 1024,
            store: Duration::from_secs(1),
            refreshes: 64,
            wait: Duration::from_secs(10),
            hit_for_miss: Duration::from_secs(10),
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("rules", &self.rules)
            .field("key", &self.key)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

/// From 0 (excluded) to 1.
pub(crate) fn random() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "53 bits, as many as there are")]
    let random = ((random_bits() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    random
}

/// From the keys of the standard library's hash maps: new each time, and hard to guess.
pub(crate) fn random_bits() -> u64 {
    RandomState::new().hash_one(0_u8)
}

/// Runs what is done at once, and leaves what has to wait to a task of its own: nothing that a
/// client waits for, and nothing that it can cancel by leaving.
pub(crate) fn settle(mut work: Pin<Box<dyn Future<Output = ()> + Send>>) {
    let done = work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
    // A body may be dropped where there is no runtime any more: at the program's end.
    if !done && Handle::try_current().is_ok() {
        detach(work);
    }
}

/// Runs `work` after a time, unless what is returned is dropped before then.
pub(crate) fn alarm(after: Duration, work: impl FnOnce() + Send + 'static) -> Alarm {
    let time = tokio::time::sleep(after);
    let task = detach(async move {
        time.await;
        work();
    });
    Alarm(task.abort_handle())
}

/// Starts a task: a fill that its client may leave, a refresh, or a store that has to wait.
#[expect(clippy::disallowed_methods, reason = "the module page says which tasks there are")]
pub(crate) fn detach(work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(work)
}

const MOST_MARKS: usize = 10_000;

pub(crate) const MOST_PUTS: usize = 256;
