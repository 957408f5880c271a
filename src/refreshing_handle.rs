//! Handles of metrics that outlive a recorder.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};

/// A handle of a metric, or several, that is registered again once it is older than [`REFRESH`].
///
/// A handle is bound to the recorder that was installed when the handle was registered. A handle
/// that was registered before the recorder is silent forever, and so is one that an exporter has
/// expired as idle.
#[derive(Debug)]
pub(crate) struct RefreshingHandle<H>(ArcSwap<Registered<H>>);

/// A handle and the time at which it expires.
#[derive(Debug)]
pub(crate) struct Registered<H> {
    pub(crate) handle: H,
    expires: Instant,
}

impl<H> RefreshingHandle<H> {
    pub(crate) fn new(handle: H, now: Instant) -> Self {
        Self(ArcSwap::from_pointee(Registered { handle, expires: now + REFRESH }))
    }

    /// Returns the handle, and registers it anew if it has expired. Takes no lock, and allocates
    /// nothing before that.
    #[inline]
    pub(crate) fn get(
        &self,
        now: Instant,
        register: impl FnOnce() -> H,
    ) -> Guard<Arc<Registered<H>>> {
        let current = self.0.load();
        if now < current.expires {
            return current;
        }
        self.0.store(Arc::new(Registered { handle: register(), expires: now + REFRESH }));
        self.0.load()
    }
}

/// The age at which a handle expires: shorter than any idle timeout that an exporter is likely to
/// have.
pub(crate) const REFRESH: Duration = Duration::from_secs(10);
