use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use tower::{Layer, Service};

use super::policy::Settings;
use super::service::Batch;

/// Gathers items for a service that takes many at once; see the [module](crate::batch).
///
/// `T` is an item. It is inferred from the service, or from what it is called with.
#[must_use = "a layer does nothing until a service is stacked under it"]
pub struct BatchLayer<T> {
    settings: Settings,
    items: PhantomData<fn(T)>,
}

impl<T> BatchLayer<T> {
    /// The defaults: batches of up to 100 items, after 5 s at the latest, one at a time, and a queue
    /// of 1,000 items.
    pub const fn new() -> Self {
        Self { settings: Settings::DEFAULT, items: PhantomData }
    }

    /// The most items of a batch. 100 by default; 0 is taken as 1.
    pub const fn size(mut self, items: usize) -> Self {
        self.settings.size = at_least_one(items);
        self
    }

    /// How long the first item of a batch waits for others. 5 s by default. With zero it does not:
    /// a batch is then what came while the one before was under way.
    pub const fn delay(mut self, delay: Duration) -> Self {
        self.settings.delay = delay;
        self
    }

    /// The most items that wait. 1,000 by default; never less than the
    /// [`size`](Self::size), without which no batch would be full. Items of a batch that is under
    /// way wait no more.
    pub const fn queue(mut self, items: usize) -> Self {
        self.settings.queue = at_least_one(items);
        self
    }

    /// The most batches that are under way at the same time. 1 by default; 0 is taken as 1.
    pub const fn concurrency(mut self, batches: usize) -> Self {
        self.settings.concurrency = at_least_one(batches);
        self
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
        Batch::new(inner, self.settings)
    }
}

impl<T> Default for BatchLayer<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for BatchLayer<T> {
    fn clone(&self) -> Self {
        Self { settings: self.settings, items: PhantomData }
    }
}

impl<T> fmt::Debug for BatchLayer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchLayer").field("settings", &self.settings).finish()
    }
}

const fn at_least_one(number: usize) -> usize {
    if number == 0 { 1 } else { number }
}
