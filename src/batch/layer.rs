use std::error::Error;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tower::{Layer, Service};

use super::key::{Key, KeyOf};
use super::policy::Settings;
use super::queue::{Functions, WeightOf};
use super::service::Batch;

/// Gathers items for a service that takes many at once; see the [module](crate::batch).
///
/// `T` is an item. It is inferred from the service, or from what it is called with. `M` says whether
/// callers can share an item: [`dedupe_by`](Self::dedupe_by) changes it.
#[must_use = "a layer does nothing until a service is stacked under it"]
pub struct BatchLayer<T, M = Each> {
    settings: Settings,
    weight_of: Option<WeightOf<T>>,
    key_of: Option<KeyOf<T>>,
    mode: PhantomData<fn(M)>,
}

/// The mode of a [`BatchLayer`] that sends each caller's item.
#[derive(Debug)]
#[non_exhaustive]
pub enum Each {}

/// The mode of a [`BatchLayer`] in which callers share items with equal keys.
#[derive(Debug)]
#[non_exhaustive]
pub enum Deduped {}

impl<T> BatchLayer<T> {
    /// The defaults: batches of up to 100 items, after 5 s at the latest, one at a time, and a queue
    /// of 1,000 items.
    pub const fn new() -> Self {
        Self { settings: Settings::DEFAULT, weight_of: None, key_of: None, mode: PhantomData }
    }
}

impl<T, M> BatchLayer<T, M> {
    /// The most items of a batch. 100 by default; 0 is taken as 1.
    pub const fn size(mut self, items: usize) -> Self {
        self.settings.size = at_least_one(items);
        self
    }

    /// Bounds the sum of the weights of a batch's items, such as their bytes. A batch is sent once
    /// its items weigh `max`, and has as many as weigh no more. An item that is heavier by itself is
    /// sent alone. `weight_of` is called once for each item, when it is queued. By default items
    /// weigh nothing. A `max` of 0 is taken as 1.
    ///
    /// ```
    /// use tower_kit::batch::BatchLayer;
    ///
    /// // Up to 100 lines, and up to a megabyte.
    /// let layer = BatchLayer::new().weight(1_000_000, String::len);
    /// # drop(layer);
    /// ```
    ///
    /// The queue is bounded by its number of items alone.
    pub fn weight<F>(mut self, max: usize, weight_of: F) -> Self
    where
        F: Fn(&T) -> usize + Send + Sync + 'static,
    {
        self.settings.weight = at_least_one(max);
        self.weight_of = Some(Arc::new(weight_of));
        self
    }

    /// How long the first item of a batch waits for others. 5 s by default. With zero it does not:
    /// a batch is then what came while the one before was under way.
    pub const fn delay(mut self, delay: Duration) -> Self {
        self.settings.delay = delay;
        self
    }

    /// Sends what is queued at once while no batch is under way. The [`delay`](Self::delay) holds
    /// while one is, and less than [`concurrency`](Self::concurrency). So a lone item waits for
    /// nobody, and many that come together still share batches.
    ///
    /// Off by default, since then the delay is what callers of an idle service wait in favor of
    /// fewer batches. Turn it on where a client waits.
    pub const fn send_when_idle(mut self) -> Self {
        self.settings.send_when_idle = true;
        self
    }

    /// Sends an item even if its caller has left before: if the [`Answer`](super::Answer) was
    /// dropped. By default it is dropped instead, unless it was sent already. With this, dropping the
    /// future is how to queue an item without waiting for its result.
    pub const fn keep_abandoned(mut self) -> Self {
        self.settings.keep_abandoned = true;
        self
    }

    /// Lets callers whose items have equal keys share one item and its result. The first caller's
    /// item is sent, and the others' are dropped.
    ///
    /// ```
    /// use tower_kit::batch::BatchLayer;
    ///
    /// // Loads each user once a batch.
    /// let layer = BatchLayer::new().dedupe_by(|id: &u64| *id);
    /// # drop(layer);
    /// ```
    ///
    /// An item is shared for as long as it is queued. One that was sent already is not: what it reads
    /// may be older than the call. Each caller takes a place in the queue. Results are cloned for all
    /// callers but one, so that the service's results have to be `Clone`.
    pub fn dedupe_by<K, F>(self, key_of: F) -> BatchLayer<T, Deduped>
    where
        K: Hash + Eq + Send + Sync + 'static,
        F: Fn(&T) -> K + Send + Sync + 'static,
    {
        let key_of: KeyOf<T> = Arc::new(move |item| Key::new(key_of(item)));
        let Self { settings, weight_of, .. } = self;
        BatchLayer { settings, weight_of, key_of: Some(key_of), mode: PhantomData }
    }

    /// The most items that wait. 1,000 by default; less than the [`size`](Self::size) is taken as
    /// the size, without which no batch would be full. Items of a batch that is under way wait no
    /// more.
    pub const fn queue(mut self, items: usize) -> Self {
        self.settings.queue = at_least_one(items);
        self
    }

    /// The most batches that are under way at the same time. 1 by default; 0 is taken as 1.
    pub const fn concurrency(mut self, batches: usize) -> Self {
        self.settings.concurrency = at_least_one(batches);
        self
    }

    fn functions<R>(&self, share: Option<fn(&R) -> R>) -> Functions<T, R> {
        Functions { weight_of: self.weight_of.clone(), key_of: self.key_of.clone(), share }
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

impl<S, T, R> Layer<S> for BatchLayer<T, Deduped>
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
    fn numbers_out_of_range_are_the_nearest() {
        let layer = BatchLayer::<u8>::new;
        for (given, taken) in [(0, 1), (1, 1), (7, 7), (usize::MAX, usize::MAX)] {
            assert_eq!(layer().size(given).settings.size, taken);
            assert_eq!(layer().weight(given, |_| 1).settings.weight, taken);
            assert_eq!(layer().concurrency(given).settings.concurrency, taken);
        }
        for (given, taken) in [(0, 7), (6, 7), (7, 7), (8, 8)] {
            assert_eq!(layer().size(7).queue(given).settings.places(), taken);
            assert_eq!(layer().queue(given).size(7).settings.places(), taken);
        }
    }
}
