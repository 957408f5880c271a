//! What handles and the worker share.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::Instant;

use super::answer::Answer;
use super::error::BatchError;
use super::policy::{Seen, Settings};

pub(super) struct Queue<T, R> {
    pub(super) settings: Settings,
    /// A permit for each item that may wait.
    pub(super) places: Arc<Semaphore>,
    state: Mutex<State<T, R>>,
    changed: Notify,
    /// Of nothing but the end of its sender, which is the worker's.
    ended: watch::Receiver<()>,
}

struct State<T, R> {
    waiting: VecDeque<Waiting<T, R>>,
    flushed: usize,
    closed: bool,
    /// Until the first item, which knows the runtime.
    worker: Option<Worker>,
}

struct Waiting<T, R> {
    item: T,
    since: Instant,
    reply: Reply<R>,
}

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
    pub(super) fn new(settings: Settings) -> Self {
        let state = State { waiting: VecDeque::new(), flushed: 0, closed: false, worker: None };
        let (sender, ended) = watch::channel(());
        let queue = Queue {
            settings,
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

    /// Queues an item. The first one gets the worker to start.
    pub(super) fn push(
        &self,
        item: T,
        place: OwnedSemaphorePermit,
        now: Instant,
    ) -> (Answer<R>, Option<Worker>) {
        let (reply, answer) = oneshot::channel();
        let mut state = self.lock();
        if state.closed {
            return (Answer::refused(BatchError::closed()), None);
        }
        if state.worker.is_some() {
            // Outside of a runtime this panics, before anything has changed.
            drop(Handle::current());
        }
        // Given back when the item is taken.
        place.forget();
        state.waiting.push_back(Waiting { item, since: now, reply });
        let wakes = self.settings.wakes(state.waiting.len());
        let worker = state.worker.take();
        drop(state);
        if wakes {
            self.changed.notify_one();
        }
        (Answer::queued(answer), worker)
    }

    /// What waits now waits for no others.
    pub(super) fn flush(&self) {
        let mut state = self.lock();
        state.flushed = state.waiting.len();
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

    pub(super) fn seen(&self, flying: usize) -> Seen {
        let state = self.lock();
        Seen {
            queued: state.waiting.len(),
            since: state.waiting.front().map(|first| first.since),
            flushed: state.flushed,
            closed: state.closed,
            flying,
        }
    }

    /// Takes the next batch.
    pub(super) fn take(&self) -> (Vec<T>, Vec<Reply<R>>) {
        let mut state = self.lock();
        let count = state.waiting.len().min(self.settings.size);
        state.flushed = state.flushed.saturating_sub(count);
        let taken = state.waiting.drain(..count).map(|waiting| (waiting.item, waiting.reply));
        let batch = taken.unzip();
        drop(state);
        self.places.add_permits(count);
        batch
    }

    fn lock(&self) -> MutexGuard<'_, State<T, R>> {
        // What is done under it does not panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T, R> Drop for Exit<T, R> {
    fn drop(&mut self) {
        self.queue.close();
        // Not under the lock: items are dropped, which is code of others.
        let waiting = mem::take(&mut self.queue.lock().waiting);
        drop(waiting);
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
