use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body::Body;
use tokio::runtime::Handle;

use super::body::LONGEST_FILL;
use super::config::Config;
use super::fetch::Concluded;
use super::metrics::Fallback;
use super::task::{Slot, spawn};

/// A fetch that goes on in the background if it is dropped before it is done: other requests may wait
/// for it, and the next one finds its response in the store.
pub(crate) struct Detachable<B: Body, E> {
    config: Arc<Config>,
    /// None once it is done.
    fetch: Option<BoxedFetch<B, E>>,
    /// Spawns the rest. A function, since a destructor has no bounds of its own.
    spawn: fn(BoxedFetch<B, E>, Slot),
}

type BoxedFetch<B, E> = Pin<Box<dyn Future<Output = Result<Concluded<B>, E>> + Send>>;

impl<B, E> Detachable<B, E>
where
    B: Body + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    E: Send + 'static,
{
    pub(crate) fn new(
        config: Arc<Config>,
        fetch: impl Future<Output = Result<Concluded<B>, E>> + Send + 'static,
    ) -> Self {
        Self { config, fetch: Some(Box::pin(fetch)), spawn: finish }
    }
}

impl<B: Body, E> Detachable<B, E> {
    /// Lets the fetch go on in the background, if there is a place for another body to be read.
    pub(crate) fn detach(mut self) {
        self.detach_rest();
    }

    fn detach_rest(&mut self) {
        let Some(fetch) = self.fetch.take() else { return };
        let slot = self.config.state.fill_slot(self.config.limits.max_fills);
        if slot.is_none() {
            self.config.state.metrics.fell_back(Fallback::Fills);
        }
        // A response future may be dropped after the runtime has shut down.
        if let Some(slot) = slot.filter(|_| Handle::try_current().is_ok()) {
            (self.spawn)(fetch, slot);
        }
    }
}

impl<B: Body, E> Future for Detachable<B, E> {
    type Output = Result<Concluded<B>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // A fetch that panics is dropped here, and is none that its client leaves.
        let Some(mut fetch) = self.fetch.take() else { return Poll::Pending };
        let polled = fetch.as_mut().poll(cx);
        if polled.is_pending() {
            self.fetch = Some(fetch);
        }
        polled
    }
}

impl<B: Body, E> Drop for Detachable<B, E> {
    fn drop(&mut self) {
        if !self.config.limits.cancel_on_disconnect {
            self.detach_rest();
        }
    }
}

fn finish<B, E>(fetch: BoxedFetch<B, E>, slot: Slot)
where
    B: Body + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    E: Send + 'static,
{
    spawn(async move {
        let finish = async {
            if let Ok(concluded) = fetch.await {
                concluded.finish().await;
            }
        };
        // No client leaves, and so nothing else would end the task.
        drop(tokio::time::timeout(LONGEST_FILL, finish).await);
        drop(slot);
    });
}
