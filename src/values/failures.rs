//! A bounded memory of failed loads.

use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache;

use super::load_error::Failure;
use super::since::Since;
use crate::cache::hash::hash128;

/// The last failure of each key, until a load succeeds.
pub(super) struct Failures {
    /// The hash stands for the name, which may be long.
    failed: Cache<u128, Failed>,
    count: AtomicU64,
}

/// A failed load.
#[derive(Clone)]
pub(super) struct Failed {
    pub(super) failure: Failure,
    /// The time of the failure, in milliseconds since 1970.
    pub(super) at: u64,
    /// The number of failures before this one and with it.
    pub(super) number: u64,
    /// The last purge and the last insert before the load.
    pub(super) since: Since,
}

impl Failures {
    /// Returns the number of failures until now. A caller that has the number from before its lookup
    /// can tell the failures that it waited for.
    #[inline]
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Returns the last failure of a name.
    pub(super) fn get(&self, name: &str) -> Option<Failed> {
        // Most caches have none, and hash no name.
        if self.count() == 0 {
            return None;
        }
        self.failed.get(&hash128(name))
    }

    /// Remembers a failure at the time `at`.
    pub(super) fn insert(&self, name: &str, failure: Failure, at: u64, since: Since) {
        let number = self.count.fetch_add(1, Ordering::AcqRel) + 1;
        self.failed.insert(hash128(name), Failed { failure, at, number, since });
    }

    /// Forgets the failure of a name, whose load has succeeded.
    pub(super) fn remove(&self, name: &str) {
        if self.count() > 0 {
            self.failed.remove(&hash128(name));
        }
    }
}

impl Default for Failures {
    fn default() -> Self {
        Self { failed: Cache::new(MAX_FAILURES), count: AtomicU64::new(0) }
    }
}

/// The maximum number of keys whose last failure is remembered. A key beyond that is loaded again.
const MAX_FAILURES: usize = 1_000;
