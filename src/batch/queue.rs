//! The queue between the handles and the worker.

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

use super::error::BatchError;
use super::future::ResponseFuture;
use super::key::{Key, KeyFn};
use super::policy::{Load, QueueState, Settings};

pub(super) struct Queue<T, R> {
    pub(super) settings: Settings,
    pub(super) functions: Functions<T, R>,
    /// A permit for each caller that may be queued.
    pub(super) permits: Arc<Semaphore>,
    contents: Mutex<Contents<T, R>>,
    changed: Notify,
    /// Carries no values: the end of its sender, in [`WorkerGuard`], is the message.
    stopped: watch::Receiver<()>,
}

/// The functions of the user's for items and results.
pub(super) struct Functions<T, R> {
    pub(super) weight_of: Option<WeightFn<T>>,
    pub(super) key_of: Option<KeyFn<T>>,
    /// Clones a result for callers that share it. `Some` if `key_of` is.
    pub(super) clone_result: Option<fn(&R) -> R>,
}

pub(super) type WeightFn<T> = Arc<dyn Fn(&T) -> usize + Send + Sync>;

struct Contents<T, R> {
    /// Ordered by id.
    entries: VecDeque<Entry<T, R>>,
    load: Load,
    /// The ids of queued entries with a key.
    ids_by_key: HashMap<Key, u64>,
    next_id: u64,
    /// Entries with a lower id were flushed.
    flushed_before: u64,
    closed: bool,
    /// The worker until the first item starts it: only a call is known to be inside of a runtime.
    worker: Option<Worker>,
}

struct Entry<T, R> {
    item: T,
    id: u64,
    weight: usize,
    key: Option<Key>,
    queued_since: Instant,
    /// One sender for each caller that shares the item.
    senders: Vec<ResultSender<R>>,
}

/// Items taken from the queue, with the senders of each.
pub(super) struct TakenBatch<T, R> {
    pub(super) items: Vec<T>,
    pub(super) senders: Vec<Vec<ResultSender<R>>>,
}

pub(super) type Worker = Pin<Box<dyn Future<Output = ()> + Send>>;
pub(super) type ResultSender<R> = oneshot::Sender<Result<R, BatchError>>;

/// The worker's handle of the queue. Dropping it closes and empties the queue, and ends a drain.
///
/// A drop, and not a message: the worker may also end by a panic, or with its runtime.
pub(super) struct WorkerGuard<T, R> {
    pub(super) queue: Arc<Queue<T, R>>,
    /// Dropped after the queue was emptied, even if an item panics on drop.
    _stopped: watch::Sender<()>,
}

impl<T, R> WorkerGuard<T, R> {
    /// Creates the guard of a new queue.
    pub(super) fn new(settings: Settings, functions: Functions<T, R>) -> Self {
        let contents = Contents {
            entries: VecDeque::new(),
            load: Load::default(),
            ids_by_key: HashMap::new(),
            next_id: 0,
            flushed_before: 0,
            closed: false,
            worker: None,
        };
        let (sender, stopped) = watch::channel(());
        let queue = Queue {
            settings,
            functions,
            permits: Arc::new(Semaphore::new(settings.capacity())),
            contents: Mutex::new(contents),
            changed: Notify::new(),
            stopped,
        };
        Self { queue: Arc::new(queue), _stopped: sender }
    }
}

impl<T, R> Queue<T, R> {
    pub(super) fn set_worker(&self, worker: Worker) {
        self.lock().worker = Some(worker);
    }

    /// Queues `item`, or shares a queued item with an equal key. The first call also returns the
    /// worker, to be spawned.
    ///
    /// # Panics
    ///
    /// Panics if a function of the user's does, or if the first call is outside of a runtime. The
    /// queue is then unchanged.
    pub(super) fn push(
        &self,
        item: T,
        permit: OwnedSemaphorePermit,
        now: Instant,
    ) -> (ResponseFuture<R>, Option<Worker>) {
        // Before the lock: functions of the user's may call the batch.
        let weight = self.functions.weight_of.as_ref().map_or(0, |weight_of| weight_of(&item));
        let key = self.functions.key_of.as_ref().map(|key_of| key_of(&item));
        let (sender, receiver) = oneshot::channel();
        let mut contents = self.lock();
        if contents.closed {
            return (ResponseFuture::rejected(BatchError::closed()), None);
        }
        // Hashing and comparing keys may panic, so this precedes all changes.
        let shared = key.as_ref().and_then(|key| contents.ids_by_key.get(key)).copied();
        if contents.worker.is_some() {
            // Panics outside of a runtime; `tokio::spawn` would do so after the changes.
            drop(Handle::current());
        }
        let before = contents.load;
        let duplicate = match shared.and_then(|id| contents.find(id)) {
            Some(entry) => {
                entry.senders.push(sender);
                Some((item, key))
            }
            None => {
                let senders = vec![sender];
                contents.add(Entry { item, id: 0, weight, key, queued_since: now, senders });
                None
            }
        };
        contents.load.callers += 1;
        // `take` and `remove_abandoned` add the permit back.
        permit.forget();
        let wakes_worker = self.settings.wakes_worker(before, contents.load);
        let worker = contents.worker.take();
        drop(contents);
        drop(duplicate);
        if wakes_worker {
            self.changed.notify_one();
        }
        (ResponseFuture::queued(receiver), worker)
    }

    /// Removes callers that dropped their future, and items without callers, unless the settings keep
    /// them.
    pub(super) fn remove_abandoned(&self) {
        if self.settings.keep_abandoned {
            return;
        }
        let mut contents = self.lock();
        let before = contents.load.callers;
        let removed = contents.remove_abandoned();
        let left = before - contents.load.callers;
        // Waking callers and dropping items, which may call the batch, need the lock released.
        drop(contents);
        self.permits.add_permits(left);
        for entry in removed {
            // An item that panics on drop must not fail the callers that are left.
            drop(catch_unwind(AssertUnwindSafe(|| drop(entry))));
        }
    }

    pub(super) fn flush(&self) {
        let mut contents = self.lock();
        contents.flushed_before = contents.next_id;
        drop(contents);
        self.changed.notify_one();
    }

    /// Rejects new items from now on.
    pub(super) fn close(&self) {
        let mut contents = self.lock();
        contents.closed = true;
        // A worker that was never started has nothing to do. Dropping it drops the guard, which
        // closes the queue again: hence outside of the lock.
        let worker = contents.worker.take();
        drop(contents);
        drop(worker);
        self.permits.close();
        self.changed.notify_one();
    }

    /// Waits until the worker has stopped.
    pub(super) async fn stopped(&self) {
        while self.stopped.clone().changed().await.is_ok() {}
    }

    /// Waits until an item is queued, or the queue is flushed or closed, since the last call.
    pub(super) async fn changed(&self) {
        // `Notify` stores one notification, so a change between `state` and this call is not lost.
        self.changed.notified().await;
    }

    pub(super) fn state(&self, in_flight: usize) -> QueueState {
        self.remove_abandoned();
        let contents = self.lock();
        let first = contents.entries.front();
        QueueState {
            load: contents.load,
            queued_since: first.map(|first| first.queued_since),
            flushed: first.is_some_and(|first| first.id < contents.flushed_before),
            closed: contents.closed,
            in_flight,
        }
    }

    /// Takes the next batch. It is empty if all callers have left.
    pub(super) fn take(&self) -> TakenBatch<T, R> {
        self.remove_abandoned();
        let mut contents = self.lock();
        let (mut count, mut weight) = (0, 0);
        for entry in &contents.entries {
            if !self.settings.fits(count, weight, entry.weight) {
                break;
            }
            count += 1;
            weight += entry.weight as u128;
        }
        let before = contents.load.callers;
        let taken: Vec<_> = contents.entries.drain(..count).collect();
        taken.iter().for_each(|entry| contents.unregister(entry));
        let callers = before - contents.load.callers;
        drop(contents);
        self.permits.add_permits(callers);
        let (items, senders) = taken.into_iter().map(|entry| (entry.item, entry.senders)).unzip();
        TakenBatch { items, senders }
    }

    fn lock(&self) -> MutexGuard<'_, Contents<T, R>> {
        // Poisoning can be ignored: every change under the lock is complete before code of the
        // user's can panic.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T, R> Contents<T, R> {
    fn add(&mut self, mut entry: Entry<T, R>) {
        entry.id = self.next_id;
        // First, because hashing the key may panic.
        if let Some(key) = &entry.key {
            self.ids_by_key.insert(key.clone(), entry.id);
        }
        self.next_id += 1;
        self.load.items += 1;
        self.load.weight += entry.weight as u128;
        self.entries.push_back(entry);
    }

    fn find(&mut self, id: u64) -> Option<&mut Entry<T, R>> {
        let index = self.entries.binary_search_by_key(&id, |entry| entry.id).ok()?;
        self.entries.get_mut(index)
    }

    /// Subtracts `entry`, which left the queue, from the load, and removes its key.
    fn unregister(&mut self, entry: &Entry<T, R>) {
        self.load.items -= 1;
        self.load.weight -= entry.weight as u128;
        self.load.callers -= entry.senders.len();
        if let Some(key) = &entry.key {
            // If hashing the key panics, its id stays, and `find` finds no entry for it.
            drop(catch_unwind(AssertUnwindSafe(|| self.ids_by_key.remove(key))));
        }
    }

    fn remove_abandoned(&mut self) -> Vec<Entry<T, R>> {
        let is_abandoned = |entry: &Entry<T, R>| entry.senders.iter().any(ResultSender::is_closed);
        // The usual case, checked before the queue is rebuilt.
        if !self.entries.iter().any(is_abandoned) {
            return Vec::new();
        }
        let (mut kept, mut removed) = (VecDeque::new(), Vec::new());
        for mut entry in mem::take(&mut self.entries) {
            let callers = entry.senders.len();
            entry.senders.retain(|sender| !sender.is_closed());
            self.load.callers -= callers - entry.senders.len();
            if entry.senders.is_empty() {
                self.unregister(&entry);
                removed.push(entry);
            } else {
                kept.push_back(entry);
            }
        }
        self.entries = kept;
        removed
    }
}

impl<T, R> Drop for WorkerGuard<T, R> {
    fn drop(&mut self) {
        self.queue.close();
        // Items and keys are dropped outside of the lock, since their drop may call the batch.
        let mut contents = self.queue.lock();
        let left = (mem::take(&mut contents.entries), mem::take(&mut contents.ids_by_key));
        drop(contents);
        drop(left);
    }
}

impl<T, R> fmt::Debug for Queue<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("settings", &self.settings)
            .field("available", &self.permits.available_permits())
            .finish_non_exhaustive()
    }
}
