//! Background tasks, and the limits on their number.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle};

/// One of a bounded number of places, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Slot(Arc<AtomicUsize>);

/// A task that runs after a delay, and is canceled when this is dropped.
#[derive(Debug)]
pub(crate) struct Alarm(AbortHandle);

impl Slot {
    /// Takes one of `max` places, of which `taken` counts those in use.
    pub(crate) fn take(taken: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let more = |taken| (taken < max).then_some(taken + 1);
        let free = taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        free.ok().map(|_| Self(Arc::clone(taken)))
    }
}

impl Alarm {
    /// Runs `work` after a delay, unless the alarm is dropped before then.
    pub(crate) fn after(delay: Duration, work: impl FnOnce() + Send + 'static) -> Self {
        let time = tokio::time::sleep(delay);
        let task = spawn(async move {
            time.await;
            work();
        });
        Self(task.abort_handle())
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

/// Polls `work` once, and spawns a task for the rest if it is pending. A store in memory is done at
/// once, and needs no task. A client neither waits for `work` nor cancels it by leaving.
///
/// Returns what `work` returned at once.
pub(crate) fn spawn_if_pending<T: Send + 'static>(
    mut work: Pin<Box<dyn Future<Output = T> + Send>>,
) -> Option<T> {
    if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        return Some(done);
    }
    // A body may be dropped after the runtime has shut down, at the end of the program.
    if Handle::try_current().is_ok() {
        spawn(async move { drop(work.await) });
    }
    None
}

/// Spawns a task.
#[expect(clippy::disallowed_methods, reason = "the module page lists the tasks of the cache")]
pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(work)
}
