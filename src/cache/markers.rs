use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use http::StatusCode;
use quick_cache::DefaultHashBuilder;
use quick_cache::sync::Cache;

use super::policy::Representation;

/// A bounded memory of fetches that stored nothing lately.
pub(crate) struct Markers {
    markers: Cache<Marker, Memory>,
    hasher: DefaultHashBuilder,
}

/// A hash of what requests for the same response have in common. Clients choose what is hashed.
/// Requests whose hashes collide, by chance or on purpose, only go without coalescing for a while,
/// or share a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Marker(u64);

/// All times are in milliseconds, as those of the [`Clock`](super::clock::Clock).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// The response was not stored: there is nothing that requests could share (hit-for-miss).
    Uncacheable {
        until: u64,
    },
    Failed(Failure),
    /// The representation that the last part of a URL belongs to.
    Parts(Representation),
}

/// A failure of the inner service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The status of the response, or 503 for an error.
    pub(crate) status: StatusCode,
    /// The time from which on one request may ask again.
    pub(crate) until: u64,
    /// Other requests waited for the one that failed. A failure of a single request may be its own:
    /// what it was caused by need not be part of the key.
    pub(crate) is_shared: bool,
}

impl Markers {
    pub(crate) fn marker(&self, of: impl Hash) -> Marker {
        Marker(self.hasher.hash_one(of))
    }

    /// Returns what is remembered, although its time may have passed.
    pub(crate) fn get(&self, marker: Marker) -> Option<Memory> {
        self.markers.get(&marker)
    }

    /// Remembers for `ttl` that a response was not stored.
    pub(crate) fn mark_uncacheable(&self, marker: Marker, now: u64, ttl: Duration) {
        let until = now.saturating_add(in_millis(ttl));
        self.markers.insert(marker, Memory::Uncacheable { until });
    }

    /// Remembers the representation that a part belongs to.
    pub(crate) fn mark_parts(&self, marker: Marker, representation: Representation) {
        self.markers.insert(marker, Memory::Parts(representation));
    }

    /// Remembers a failure until another fetch succeeds.
    pub(crate) fn mark_failed(&self, marker: Marker, failure: Failure) {
        self.markers.insert(marker, Memory::Failed(failure));
    }

    /// Forgets a marker: the response was stored, and the odd request of one client does not keep
    /// the others from coalescing.
    pub(crate) fn clear(&self, marker: Marker) {
        self.markers.remove(&marker);
    }
}

impl Failure {
    /// Returns `true` if nobody asks again yet.
    pub(crate) const fn is_current(&self, now: u64) -> bool {
        now < self.until
    }
}

impl Default for Markers {
    fn default() -> Self {
        Self { markers: Cache::new(MAX_MARKERS), hasher: DefaultHashBuilder::default() }
    }
}

pub(crate) fn in_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

const MAX_MARKERS: usize = 10_000;
