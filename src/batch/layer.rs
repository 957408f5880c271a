use std::error::Error;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tower::{Layer, Service};

use super::key::{Key, KeyFn};
use super::policy::Settings;
use super::queue::{Functions, WeightFn};
use super::service::Batch;

/// A layer that combines single items into batches for a service of `Vec<T>`.
///
/// The layer is its own builder: each setter returns the changed layer. See the
/// [module documentation](crate::batch) for the behavior and the defaults.
///
/// `T` is the type of an item, inferred from the service or from the first call. `M` is the mode,
/// [`NoDedupe`] unless [`dedupe_by`](Self::dedupe_by) changes it to [`Dedupe`].
#[doc(alias(
    "dataloader",
    "coalescing",
    "coalesce",
    "buffer",
    "micro-batching",
    "bulk insert",
    "group commit"
))]
#[must_use = "a layer does nothing until a service is stacked under it"]
pub struct BatchLayer<T, M = NoDedupe> {
    settings: Settings,
    weight_of: Option<WeightFn<T>>,
    key_of: Option<KeyFn<T>>,
    // `fn(M)` is `Send` and `Sync` for any `M`.
    mode: PhantomData<fn(M)>,
}

/// The mode of a [`BatchLayer`] that sends the item of every caller.
#[derive(Debug)]
#[doc(alias = "Each")]
#[non_exhaustive]
pub enum NoDedupe {}

/// The mode of a [`BatchLayer`] that sends one of several items with equal keys. The results of the
/// service must be `Clone`.
#[derive(Debug)]
#[doc(alias = "Deduped")]
#[non_exhaustive]
pub enum Dedupe {}

impl<T> BatchLayer<T> {
    /// Creates a layer with the [defaults](crate::batch#defaults).
    ///
    /// Batches have up to 100 items, are sent after 5 seconds at the latest, one at a time, and the
    /// queue holds 1,000 items.
    pub const fn new() -> Self {
        Self { settings: Settings::DEFAULT, weight_of: None, key_of: None, mode: PhantomData }
    }
}

impl<T, M> BatchLayer<T, M> {
    /// Sets the maximum number of items in a batch. A batch is sent as soon as it is full.
    ///
    /// The default is 100; 0 is raised to 1.
    #[doc(alias("size", "batchSize", "maxBatchSize"))]
    pub const fn max_size(mut self, items: usize) -> Self {
        self.settings.max_size = at_least_one(items);
        self
    }

    /// Sets the maximum total weight of a batch, such as its bytes, and the function that weighs an
    /// item.
    ///
    /// A batch is sent as soon as the queued items reach `max`, and contains as many items as do not
    /// exceed it. An item that is heavier than `max` is sent alone. The function is called once for
    /// each item, when the item is queued. There is no maximum by default; 0 is raised to 1.
    ///
    /// ```
    /// use tower_kit::batch::BatchLayer;
    ///
    /// // Up to 100 lines, and up to a megabyte.
    /// let layer = BatchLayer::new().max_weight(1_000_000, String::len);
    /// # drop(layer);
    /// ```
    ///
    /// The weight does not bound the queue; [`max_queued`](Self::max_queued) bounds its items.
    #[doc(alias("weight", "bytes"))]
    pub fn max_weight<F>(mut self, max: usize, weight_of: F) -> Self
    where
        F: Fn(&T) -> usize + Send + Sync + 'static,
    {
        self.settings.max_weight = at_least_one(max);
        self.weight_of = Some(Arc::new(weight_of));
        self
    }

    /// Sets the maximum time that the first item of a batch waits for further items.
    ///
    /// The default is 5 seconds. With [`Duration::ZERO`], a batch contains the items that were queued
    /// while the previous batches were in flight. With [`Duration::MAX`], only full batches and
    /// flushes are sent.
    #[doc(alias("delay", "linger", "flushInterval"))]
    pub const fn max_delay(mut self, delay: Duration) -> Self {
        self.settings.max_delay = delay;
        self
    }

    /// Sends queued items at once while no batch is in flight.
    ///
    /// The [`max_delay`](Self::max_delay) then applies only while the service processes other batches.
    /// A lone item does not wait, and concurrent items still share batches. Turn this on if clients
    /// wait for the result.
    ///
    /// The default is to wait for the delay, which gives fewer and larger batches.
    pub const fn send_when_idle(mut self) -> Self {
        self.settings.send_when_idle = true;
        self
    }

    /// Sends items even if their callers have dropped the [`ResponseFuture`](super::ResponseFuture).
    ///
    /// By default such an item is removed from the queue, unless its batch was sent already.
    #[doc(alias = "cancellation")]
    pub const fn keep_abandoned(mut self) -> Self {
        self.settings.keep_abandoned = true;
        self
    }

    /// Deduplicates queued items by key: callers whose items have equal keys share one item and its
    /// result.
    ///
    /// ```
    /// use tower_kit::batch::BatchLayer;
    ///
    /// // Loads each user once per batch.
    /// let layer = BatchLayer::new().dedupe_by(|id: &u64| *id);
    /// # drop(layer);
    /// ```
    ///
    /// The item of the first caller is sent, the others are dropped. An item is shared only while it
    /// is queued: once its batch is sent, a later call could get a result that is older than the call.
    /// Each caller counts towards [`max_queued`](Self::max_queued). The result is cloned for all
    /// callers but the last.
    #[doc(alias("dedup", "dataloader", "single flight"))]
    pub fn dedupe_by<K, F>(self, key_of: F) -> BatchLayer<T, Dedupe>
    where
        K: Hash + Eq + Send + Sync + 'static,
        F: Fn(&T) -> K + Send + Sync + 'static,
    {
        let key_of: KeyFn<T> = Arc::new(move |item| Key::new(key_of(item)));
        let Self { settings, weight_of, .. } = self;
        BatchLayer { settings, weight_of, key_of: Some(key_of), mode: PhantomData }
    }

    /// Sets the maximum number of queued callers. While the queue is full, `poll_ready` is pending.
    ///
    /// The default is 1,000. A number below [`max_size`](Self::max_size) is raised to it, because no
    /// batch could be full otherwise. Items in flight do not count.
    #[doc(alias("queue", "capacity", "bound"))]
    pub const fn max_queued(mut self, callers: usize) -> Self {
        self.settings.max_queued = at_least_one(callers);
        self
    }

    /// Sets the maximum number of batches in flight.
    ///
    /// The default is 1, so batches complete in the order in which they were sent; 0 is raised to 1.
    #[doc(alias = "concurrency")]
    pub const fn max_concurrency(mut self, batches: usize) -> Self {
        self.settings.max_concurrency = at_least_one(batches);
        self
    }

    fn functions<R>(&self, clone_result: Option<fn(&R) -> R>) -> Functions<T, R> {
        Functions { weight_of: self.weight_of.clone(), key_of: self.key_of.clone(), clone_result }
    }
}

impl<S, T, R> Layer<S> for BatchLayer<T>
where
    S: Service<Vec<T>, Response = Vec<R>> + Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    S::Future: Send + 'static,
    T: Send + 'static,
    R: Send + 'static,
{
    type Service = Batch<T, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Batch::new(inner, self.settings, self.functions(None))
    }
}

// A second impl, because only this mode needs `R: Clone`. The function pointer carries the bound to the
// worker.
impl<S, T, R> Layer<S> for BatchLayer<T, Dedupe>
where
    S: Service<Vec<T>, Response = Vec<R>> + Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    S::Future: Send + 'static,
    T: Send + 'static,
    R: Clone + Send + 'static,
{
    type Service = Batch<T, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Batch::new(inner, self.settings, self.functions(Some(R::clone)))
    }
}

impl<T> Default for BatchLayer<T> {
    fn default() -> Self {
        Self::new()
    }
}

// A derived `Clone` would require `T: Clone`.
impl<T, M> Clone for BatchLayer<T, M> {
    fn clone(&self) -> Self {
        let Self { settings, weight_of, key_of, mode } = self;
        let (weight_of, key_of) = (weight_of.clone(), key_of.clone());
        Self { settings: *settings, weight_of, key_of, mode: *mode }
    }
}

impl<T, M> fmt::Debug for BatchLayer<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchLayer")
            .field("settings", &self.settings)
            .field("dedupes", &self.key_of.is_some())
            .finish_non_exhaustive()
    }
}

const fn at_least_one(number: usize) -> usize {
    if number == 0 { 1 } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_range_values_are_clamped() {
        let layer = BatchLayer::<u8>::new;
        for (given, expected) in [(0, 1), (1, 1), (7, 7), (usize::MAX, usize::MAX)] {
            assert_eq!(layer().max_size(given).settings.max_size, expected);
            assert_eq!(layer().max_weight(given, |_| 1).settings.max_weight, expected);
            assert_eq!(layer().max_concurrency(given).settings.max_concurrency, expected);
        }
        for (given, expected) in [(0, 7), (6, 7), (7, 7), (8, 8)] {
            assert_eq!(layer().max_size(7).max_queued(given).settings.capacity(), expected);
            assert_eq!(layer().max_queued(given).max_size(7).settings.capacity(), expected);
        }
    }
}
