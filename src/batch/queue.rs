//! What handles and the worker share.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::Instant;

use super::answer::Answer;
use super::error::BatchError;
use super::key::{Key, KeyOf};
use super::policy::{Load, QueueState, Settings};

pub(super) struct Queue<T, R> {
    pub(super) settings: Settings,
    pub(super) functions: Functions<T, R>,
    /// A permit for each caller that may wait.
    pub(super) places: Arc<Semaphore>,
    state: Mutex<State<T, R>>,
    changed: Notify,
    /// Of nothing but the end of its sender, which is the worker's.
    ended: watch::Receiver<()>,
}

/// The functions that the user gives for items and results.
pub(super) struct Functions<T, R> {
    pub(super) weight_of: Option<WeightOf<T>>,
    pub(super) key_of: Option<KeyOf<T>>,
    /// Copies a result for callers that share it. There is one wherever there are keys.
    pub(super) share: Option<fn(&R) -> R>,
}

pub(super) type WeightOf<T> = Arc<dyn Fn(&T) -> usize + Send + Sync>;

struct State<T, R> {
    waiting: VecDeque<Waiting<T, R>>,
    load: Load,
    /// The numbers of the items that wait and have a key.
    by_key: HashMap<Key, u64>,
    /// The number of the next item.
    next: u64,
    /// Items with a lower number wait for no others.
    flushed: u64,
    closed: bool,
    /// Until the first item, which knows the runtime.
    worker: Option<Worker>,
}

struct Waiting<T, R> {
    item: T,
    number: u64,
    weight: usize,
    key: Option<Key>,
    since: Instant,
    /// The reply to one caller, or those to several with an equal key.
    replies: Vec<Reply<R>>,
}

/// Items, and the callers of each.
pub(super) type Taken<T, R> = (Vec<T>, Vec<Vec<Reply<R>>>);

pub(super) type Worker = Pin<Box<dyn Future<Output = ()> + Send>>;
pub(super) type Reply<R> = oneshot::Sender<Result<R, BatchError>>;

/// The worker's end. When it is dropped nothing waits any more, and nobody can begin to.
pub(super) struct Exit<T, R> {
    pub(super) queue: Arc<Queue<T, R>>,
    /// Dropped after all else, even where that panics.
    _ended: watch::Sender<()>,
}

impl<T, R> Exit<T, R> {
    /// Of a new queue.
    pub(super) fn new(settings: Settings, functions: Functions<T, R>) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            load: Load::default(),
            by_key: HashMap::new(),
            next: 0,
            flushed: 0,
            closed: false,
            worker: None,
        };
        let (sender, ended) = watch::channel(());
        let queue = Queue {
            settings,
            functions,
            places: Arc::new(Semaphore::new(settings.places())),
            state: Mutex::new(state),
            changed: Notify::new(),
            ended,
        };
        Self { queue: Arc::new(queue), _ended: sender }
    }
}

impl<T, R> Queue<T, R> {
    /// Keeps the worker until there is something to do.
    pub(super) fn set_worker(&self, worker: Worker) {
        self.lock().worker = Some(worker);
    }

    /// Queues an item, or lets its caller share one that waits and has an equal key. The first one
    /// gets the worker to start.
    pub(super) fn push(
        &self,
        item: T,
        place: OwnedSemaphorePermit,
        now: Instant,
    ) -> (Answer<R>, Option<Worker>) {
        // The user's functions are not called under the lock.
        let weight = self.functions.weight_of.as_ref().map_or(0, |weight_of| weight_of(&item));
        let key = self.functions.key_of.as_ref().map(|key_of| key_of(&item));
        let (reply, answer) = oneshot::channel();
        let mut state = self.lock();
        if state.closed {
            return (Answer::refused(BatchError::closed()), None);
        }
        // Keys are compared here. If that panics, nothing has changed.
        let shared = key.as_ref().and_then(|key| state.by_key.get(key)).copied();
        if state.worker.is_some() {
            // Outside of a runtime this panics, before anything has changed.
            drop(Handle::current());
        }
        let before = state.load;
        let duplicate = match shared.and_then(|number| state.find(number)) {
            Some(waiting) => {
                waiting.replies.push(reply);
                Some((item, key))
            }
            None => {
                state.add(Waiting {
                    item,
                    number: 0,
                    weight,
                    key,
                    since: now,
                    replies: vec![reply],
                });
                None
            }
        };
        state.load.callers += 1;
        // Given back when the item is taken.
        place.forget();
        let wakes = self.settings.wakes(before, state.load);
        let worker = state.worker.take();
        drop(state);
        drop(duplicate);
        if wakes {
            self.changed.notify_one();
        }
        (Answer::queued(answer), worker)
    }

    /// Takes out the callers that have left, and the items that nobody waits for, unless these are
    /// to be sent. Gives back their places.
    pub(super) fn remove_abandoned(&self) {
        if self.settings.keep_abandoned {
            return;
        }
        let mut state = self.lock();
        let before = state.load.callers;
        let removed = state.remove_abandoned();
        let left = before - state.load.callers;
        drop(state);
        self.places.add_permits(left);
        for waiting in removed {
            // Code of others, whose panic is no fault of the callers that are left.
            drop(catch_unwind(AssertUnwindSafe(|| drop(waiting))));
        }
    }

    /// What waits now waits for no others.
    pub(super) fn flush(&self) {
        let mut state = self.lock();
        state.flushed = state.next;
        drop(state);
        self.changed.notify_one();
    }

    /// Takes no more items.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        // One that was not started has nothing to do, and ends by being dropped.
        let worker = state.worker.take();
        drop(state);
        drop(worker);
        self.places.close();
        self.changed.notify_one();
    }

    /// Until the worker has ended.
    pub(super) async fn ended(&self) {
        while self.ended.clone().changed().await.is_ok() {}
    }

    /// Until something was queued, flushed or closed since this was awaited last.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn state(&self, in_flight: usize) -> QueueState {
        self.remove_abandoned();
        let state = self.lock();
        let first = state.waiting.front();
        QueueState {
            load: state.load,
            since: first.map(|first| first.since),
            flushed: first.is_some_and(|first| first.number < state.flushed),
            closed: state.closed,
            in_flight,
        }
    }

    /// Takes the next batch. It is empty if all callers have left.
    pub(super) fn take(&self) -> Taken<T, R> {
        self.remove_abandoned();
        let mut state = self.lock();
        let (mut count, mut weight) = (0, 0);
        for waiting in &state.waiting {
            if !self.settings.fits(count, weight, waiting.weight) {
                break;
            }
            count += 1;
            weight += waiting.weight as u128;
        }
        let before = state.load.callers;
        let taken: Vec<_> = state.waiting.drain(..count).collect();
        taken.iter().for_each(|waiting| state.forget(waiting));
        let callers = before - state.load.callers;
        drop(state);
        self.places.add_permits(callers);
        taken.into_iter().map(|waiting| (waiting.item, waiting.replies)).unzip()
    }

    fn lock(&self) -> MutexGuard<'_, State<T, R>> {
        // What is done under it does not panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T, R> State<T, R> {
    fn add(&mut self, mut waiting: Waiting<T, R>) {
        waiting.number = self.next;
        // First: it calls code of the key's, which may panic.
        if let Some(key) = &waiting.key {
            self.by_key.insert(key.clone(), waiting.number);
        }
        self.next += 1;
        self.load.items += 1;
        self.load.weight += waiting.weight as u128;
        self.waiting.push_back(waiting);
    }

    fn find(&mut self, number: u64) -> Option<&mut Waiting<T, R>> {
        let at = self.waiting.binary_search_by_key(&number, |waiting| waiting.number).ok()?;
        self.waiting.get_mut(at)
    }

    /// Brings the rest up to date with an item that waits no more.
    fn forget(&mut self, waiting: &Waiting<T, R>) {
        self.load.items -= 1;
        self.load.weight -= waiting.weight as u128;
        self.load.callers -= waiting.replies.len();
        if let Some(key) = &waiting.key {
            // If the key's code panics, its entry leads to an item that is not found any more.
            drop(catch_unwind(AssertUnwindSafe(|| self.by_key.remove(key))));
        }
    }

    fn remove_abandoned(&mut self) -> Vec<Waiting<T, R>> {
        let has_left = |waiting: &Waiting<T, R>| waiting.replies.iter().any(Reply::is_closed);
        if !self.waiting.iter().any(has_left) {
            return Vec::new();
        }
        let (mut kept, mut removed) = (VecDeque::new(), Vec::new());
        for mut waiting in mem::take(&mut self.waiting) {
            let callers = waiting.replies.len();
            waiting.replies.retain(|reply| !reply.is_closed());
            self.load.callers -= callers - waiting.replies.len();
            if waiting.replies.is_empty() {
                self.forget(&waiting);
                removed.push(waiting);
            } else {
                kept.push_back(waiting);
            }
        }
        self.waiting = kept;
        removed
    }
}

impl<T, R> Drop for Exit<T, R> {
    fn drop(&mut self) {
        self.queue.close();
        // Not under the lock: items are dropped, which is code of others.
        let mut state = self.queue.lock();
        let left = (mem::take(&mut state.waiting), mem::take(&mut state.by_key));
        drop(state);
        drop(left);
    }
}

impl<T, R> fmt::Debug for Queue<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("settings", &self.settings)
            .field("free", &self.places.available_permits())
            .finish_non_exhaustive()
    }
}
