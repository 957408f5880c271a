//! A handle that heals.
//!
//! A handle of the `metrics` facade is bound to the recorder that was installed when it was
//! registered: taken too early it is silent for ever, and one that an exporter has expired
//! records into nothing. So it is registered again once it is older than [`REFRESH`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};

/// A handle, or several.
#[derive(Debug)]
pub(crate) struct Fresh<H>(ArcSwap<Stamped<H>>);

#[derive(Debug)]
pub(crate) struct Stamped<H> {
    pub(crate) handle: H,
    /// When it is to be registered again.
    until: Instant,
}

impl<H> Fresh<H> {
    pub(crate) fn new(handle: H, now: Instant) -> Self {
        Self(ArcSwap::from_pointee(Stamped { handle, until: now + REFRESH }))
    }

    /// The handle, registered anew if it is too old. Takes no lock, and allocates nothing while
    /// the handle is young enough.
    #[inline]
    pub(crate) fn get(&self, now: Instant, register: impl FnOnce() -> H) -> Guard<Arc<Stamped<H>>> {
        let current = self.0.load();
        if now < current.until {
            return current;
        }
        self.0.store(Arc::new(Stamped { handle: register(), until: now + REFRESH }));
        self.0.load()
    }
}

/// How old a handle may grow: shorter than any idle timeout that an exporter is likely to have.
pub(crate) const REFRESH: Duration = Duration::from_secs(10);
