use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::entry::StoredResponse;
use super::policy::{ReadValues, Reads};
use super::purge::ScopedPurges;
use super::purge::list::Purges;

tokio::task_local! {
    /// The scope of the handler that runs.
    static SCOPE: Arc<Scope>;
}

/// The reads of a handler, whose response is linked to the values that it reads: see
/// [links](crate::values#links).
///
/// The scope of a handler is that of its task. A task that the handler spawns and waits for needs it too:
///
/// ```
/// use tower_kit::ValueCache;
/// use tower_kit::cache::ReadScope;
///
/// async fn rates(values: ValueCache) -> (Option<f64>, Option<f64>) {
///     let other = values.clone();
///     let task = ReadScope::current().link(async move { other.get("CHF").await });
///     let task = tokio::spawn(task);
///     (values.get("EUR").await, task.await.unwrap_or(None))
/// }
/// ```
///
/// What is read after the handler has returned its response is not linked.
#[derive(Clone)]
#[must_use = "a scope links the values that a future reads"]
pub struct ReadScope(Option<Arc<Scope>>);

struct Scope {
    /// The purges of the store: values of other stores are not linked.
    purges: Arc<Purges>,
    reads: Mutex<Reads>,
    /// The scope of a cache outside, whose response is made of this one.
    outer: Option<Arc<Scope>>,
}

pin_project! {
    /// A future that runs in a scope.
    pub(super) struct Scoped<F> {
        #[pin]
        pub(super) future: F,
        pub(super) scope: ReadScope,
    }
}

impl ReadScope {
    /// Returns the scope of the handler that runs. Outside of handlers, and of layers that
    /// [link](crate::CacheLayer::unlinked) no values, it is empty.
    pub fn current() -> Self {
        Self(SCOPE.try_with(Arc::clone).ok())
    }

    /// Links the values that a future reads.
    pub async fn link<F: Future>(self, future: F) -> F::Output {
        match self.0 {
            Some(scope) => SCOPE.scope(scope, future).await,
            None => future.await,
        }
    }

    /// Returns the scope of a call of the inner service. It is empty if the store has no values.
    #[inline]
    pub(super) fn begin(purges: &ScopedPurges) -> Self {
        let purges = purges.list();
        // Most stores have responses alone, whose misses pay for this check and nothing more.
        if !purges.has_values.load(Ordering::Relaxed) {
            return Self(None);
        }
        let outer = SCOPE.try_with(Arc::clone).ok();
        Self(Some(Arc::new(Scope { purges: Arc::clone(purges), reads: Mutex::default(), outer })))
    }

    pub(super) const fn empty() -> Self {
        Self(None)
    }

    /// Runs a part of the call.
    #[inline]
    pub(super) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(scope) => SCOPE.sync_scope(Arc::clone(scope), work),
            None => work(),
        }
    }

    /// Returns the values that were read. What is read from now on is not linked.
    pub(super) fn close(self) -> Option<ReadValues> {
        let scope = self.0?;
        // Taken, since a task that the handler has left behind may hold the scope.
        let reads = mem::take(&mut *scope.reads.lock().unwrap_or_else(PoisonError::into_inner));
        Some(reads.end())
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.scope.enter(|| this.future.poll(cx))
    }
}

impl Scope {
    fn record(&self, purges: &Arc<Purges>, note: &impl Fn(&mut Reads)) {
        // Purges of another store would not reach the response.
        if Arc::ptr_eq(&self.purges, purges) {
            note(&mut self.reads.lock().unwrap_or_else(PoisonError::into_inner));
        }
        // What a response of an inner cache is made of, that of the outer one is made of, too.
        if let Some(outer) = &self.outer {
            outer.record(purges, note);
        }
    }
}

impl fmt::Debug for ReadScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadScope").finish_non_exhaustive()
    }
}

/// Notes a read in the scope of the handler that runs, if there is one of this store.
#[inline]
pub(crate) fn record(purges: &Arc<Purges>, note: impl Fn(&mut Reads)) {
    // Most reads are outside of any handler that is cached.
    let _ = SCOPE.try_with(|scope| scope.record(purges, &note));
}

/// Notes that the handler of a cache outside gets a stored response, if that is linked to values.
#[inline]
pub(super) fn read_response(purges: &ScopedPurges, stored: &StoredResponse, now: u64) {
    // Most responses are not, and no other cache is outside.
    if !stored.links.is_empty() {
        read_linked(purges, stored, now);
    }
}

#[inline(never)]
fn read_linked(purges: &ScopedPurges, stored: &StoredResponse, now: u64) {
    let left = u64::try_from(stored.left(now)).unwrap_or(0);
    record(purges.list(), |reads| reads.response(&stored.links, left));
}
