use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use quick_cache::DefaultHashBuilder;
use quick_cache::sync::Cache;

/// The requests whose responses were not stored lately. Requests with such a marker do not wait for
/// each other: there is nothing that they could share.
pub(crate) struct HitForMiss {
    /// The time in milliseconds at which each marker expires.
    markers: Cache<Marker, u64>,
    hasher: DefaultHashBuilder,
}

/// A hash of what requests for the same response have in common. Clients choose what is hashed.
/// Requests whose hashes collide, by chance or on purpose, only go without coalescing for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Marker(u64);

impl HitForMiss {
    pub(crate) fn marker(&self, of: impl Hash) -> Marker {
        Marker(self.hasher.hash_one(of))
    }

    /// Returns `true` if the response is not worth waiting for. `now` is in milliseconds.
    pub(crate) fn is_marked(&self, marker: Marker, now: u64) -> bool {
        self.markers.get(&marker).is_some_and(|until| now < until)
    }

    /// Sets a marker for `ttl`.
    pub(crate) fn mark(&self, marker: Marker, now: u64, ttl: Duration) {
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        self.markers.insert(marker, now.saturating_add(ttl));
    }

    /// Clears a marker: the response turned out to be cacheable, and the odd request of one client
    /// does not keep the others from coalescing.
    pub(crate) fn clear(&self, marker: Marker) {
        self.markers.remove(&marker);
    }
}

impl Default for HitForMiss {
    fn default() -> Self {
        Self { markers: Cache::new(MAX_MARKERS), hasher: DefaultHashBuilder::default() }
    }
}

const MAX_MARKERS: usize = 10_000;
