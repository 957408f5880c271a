//! Coalescing: one leader per key, and the followers that wait for its result.

use std::borrow::Borrow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::hash::Hash;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::sync::{Arc, DefaultHashBuilder, Mutex, MutexGuard};

/// The flights that are under way, by key. `V` is the result of a leader.
#[derive(Debug)]
pub(crate) struct Coalescer<K, V>(Arc<Mutex<Flights<K, V>>>);

/// Clients choose the keys: the hasher has a secret of its own.
type Flights<K, V> = HashMap<K, Arc<Flight<V>>, DefaultHashBuilder>;

#[derive(Debug)]
struct Flight<V>(Mutex<State<V>>);

#[derive(Debug)]
struct State<V> {
    phase: Phase<V>,
    waiting: BTreeMap<u64, Option<Waker>>,
    next: u64,
    /// The leader and the followers. The reference count of the flight would not do: it is lowered
    /// when the table is not locked any more.
    participants: usize,
}

#[derive(Debug)]
enum Phase<V> {
    Led,
    /// The leader left. A follower takes over.
    Open,
    Completed(V),
}

/// The role of a request that joins a flight.
#[derive(Debug)]
pub(crate) enum Role<K: Hash + Eq, V> {
    Leader(Leader<K, V>),
    Follower(Follower<K, V>),
}

/// The right to fetch. If it is dropped before it has completed, exactly one follower takes over.
#[derive(Debug)]
pub(crate) struct Leader<K: Hash + Eq, V>(Participant<K, V>);

/// A future of the leader's result, or of the right to fetch.
#[derive(Debug)]
pub(crate) struct Follower<K: Hash + Eq, V> {
    participant: Option<Participant<K, V>>,
    id: u64,
}

/// The end of a follower's wait.
#[derive(Debug)]
pub(crate) enum Ended<K: Hash + Eq, V> {
    Completed(V),
    Lead(Leader<K, V>),
}

/// A place in a flight. The last one that is dropped takes the flight from the table.
#[derive(Debug)]
struct Participant<K: Hash + Eq, V> {
    key: K,
    flight: Arc<Flight<V>>,
    flights: Coalescer<K, V>,
    /// This participant has taken the flight from the table.
    left: bool,
}

impl<K: Hash + Eq + Clone, V: Clone> Coalescer<K, V> {
    /// Joins the flight of a key: the first request leads, all others follow.
    pub(crate) fn join(&self, key: K) -> Role<K, V> {
        let mut flights = lock(&self.0);
        match flights.entry(key.clone()) {
            Entry::Occupied(flight) => {
                let flight = Arc::clone(flight.get());
                let id = flight.enter();
                drop(flights);
                let participant = Participant { key, flight, flights: self.clone(), left: false };
                Role::Follower(Follower { participant: Some(participant), id })
            }
            Entry::Vacant(place) => {
                let flight = Arc::clone(place.insert(Flight::led()));
                drop(flights);
                Role::Leader(Leader(Participant {
                    key,
                    flight,
                    flights: self.clone(),
                    left: false,
                }))
            }
        }
    }

    /// Leads the flight of a key, unless another request does.
    pub(crate) fn lead(&self, key: K) -> Option<Leader<K, V>> {
        let mut flights = lock(&self.0);
        let Entry::Vacant(place) = flights.entry(key.clone()) else { return None };
        let flight = Arc::clone(place.insert(Flight::led()));
        drop(flights);
        Some(Leader(Participant { key, flight, flights: self.clone(), left: false }))
    }
}

impl<K: Hash + Eq, V> Coalescer<K, V> {
    /// Takes a flight from the table if it has completed with a value that is `over`. The next request
    /// to join leads a new one.
    pub(crate) fn retire<Q>(&self, key: &Q, is_over: impl FnOnce(&V) -> bool)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mut flights = lock(&self.0);
        let Some(flight) = flights.get(key) else { return };
        let is_over = matches!(&lock(&flight.0).phase, Phase::Completed(found) if is_over(found));
        if is_over {
            drop(flights.remove(key));
        }
    }
}

impl<K, V> Coalescer<K, V> {
    pub(crate) fn len(&self) -> usize {
        lock(&self.0).len()
    }
}

impl<V> Flight<V> {
    fn led() -> Arc<Self> {
        // In the order of their arrival, so that the one that has waited longest takes over.
        let waiting = BTreeMap::new();
        let state = State { phase: Phase::Led, waiting, next: 0, participants: 1 };
        Arc::new(Self(Mutex::new(state)))
    }

    /// Adds a follower, whose waker is not known yet.
    fn enter(&self) -> u64 {
        let mut state = lock(&self.0);
        let id = state.next;
        state.next += 1;
        state.participants += 1;
        state.waiting.insert(id, None);
        id
    }
}

impl<V> State<V> {
    /// Returns the waker of the first follower, if nobody leads.
    fn wake_one(&mut self) -> Option<Waker> {
        if !matches!(self.phase, Phase::Open) {
            return None;
        }
        // A follower that was never polled looks at the phase when it is.
        self.waiting.values_mut().find_map(Option::take)
    }
}

impl<K: Hash + Eq, V: Clone> Leader<K, V> {
    /// Returns `true` if a request waits for this one.
    pub(crate) fn is_awaited(&self) -> bool {
        lock(&self.0.flight.0).participants > 1
    }

    /// Gives the result to all followers, and to those that join until the leader is dropped. A
    /// second result takes the place of the first.
    pub(crate) fn complete(&self, found: V) {
        let mut state = lock(&self.0.flight.0);
        state.phase = Phase::Completed(found);
        let waiting = mem::take(&mut state.waiting);
        // Wakers run code of the runtime, which may drop a follower and take this lock.
        drop(state);
        waiting.into_values().flatten().for_each(Waker::wake);
    }
}

impl<K: Hash + Eq, V> Follower<K, V> {
    /// Returns `true` if the leader had completed before this request joined, or has since.
    pub(crate) fn is_over(&self) -> bool {
        let state = |participant: &Participant<K, V>| {
            matches!(lock(&participant.flight.0).phase, Phase::Completed(_))
        };
        self.participant.as_ref().is_none_or(state)
    }
}

impl<K: Hash + Eq, V> Unpin for Follower<K, V> {}

impl<K: Hash + Eq, V: Clone> Future for Follower<K, V> {
    type Output = Ended<K, V>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(participant) = &this.participant else { return Poll::Pending };
        let mut state = lock(&participant.flight.0);
        match &state.phase {
            Phase::Completed(found) => {
                let found = found.clone();
                let own = state.waiting.remove(&this.id);
                // Not under the lock: see `Phase::Led` below.
                drop(state);
                drop(own);
                this.participant = None;
                Poll::Ready(Ended::Completed(found))
            }
            Phase::Open => {
                state.phase = Phase::Led;
                let own = state.waiting.remove(&this.id);
                drop(state);
                drop(own);
                match this.participant.take() {
                    Some(participant) => Poll::Ready(Ended::Lead(Leader(participant))),
                    None => Poll::Pending,
                }
            }
            Phase::Led => {
                let before = state.waiting.insert(this.id, Some(cx.waker().clone()));
                drop(state);
                // A waker may be the last that keeps a task, and what that task holds.
                drop(before);
                Poll::Pending
            }
        }
    }
}

impl<K: Hash + Eq, V> Drop for Leader<K, V> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.flight.0);
        if matches!(state.phase, Phase::Completed(_)) {
            drop(state);
            self.0.close();
            return;
        }
        state.phase = Phase::Open;
        let next = state.wake_one();
        drop(state);
        next.into_iter().for_each(Waker::wake);
    }
}

impl<K: Hash + Eq, V> Drop for Follower<K, V> {
    /// The follower may be the one that was woken to lead.
    fn drop(&mut self) {
        let Some(participant) = &self.participant else { return };
        let mut state = lock(&participant.flight.0);
        let own = state.waiting.remove(&self.id);
        let next = state.wake_one();
        drop(state);
        drop(own);
        next.into_iter().for_each(Waker::wake);
    }
}

impl<K: Hash + Eq, V> Participant<K, V> {
    /// Takes the flight from the table. No request joins any more.
    fn close(&mut self) {
        self.take_from(&mut lock(&self.flights.0));
        self.left = true;
    }

    /// Leaves another flight that has the key by now.
    fn take_from(&self, flights: &mut Flights<K, V>) {
        if let Some((key, flight)) = flights.remove_entry(&self.key) {
            if !Arc::ptr_eq(&flight, &self.flight) {
                flights.insert(key, flight);
            }
        }
    }
}

impl<K: Hash + Eq, V> Drop for Participant<K, V> {
    fn drop(&mut self) {
        let mut flights = lock(&self.flights.0);
        let mut state = lock(&self.flight.0);
        state.participants -= 1;
        let last = state.participants == 0;
        drop(state);
        if last && !self.left {
            self.take_from(&mut flights);
        }
    }
}

impl<K, V> Clone for Coalescer<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, V> Default for Coalescer<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// Locks a mutex. Only a destructor of a result could panic while a lock is held, and it leaves the
/// state whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
