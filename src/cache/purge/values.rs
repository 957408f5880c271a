//! The side of the list that caches of values use.

use std::sync::atomic::Ordering;

use super::super::hash::hash128;
use super::list::Purges;

impl Purges {
    /// Notes that the store has values: from now on responses are linked to them.
    pub(crate) fn add_values(&self) {
        self.has_values.store(true, Ordering::Relaxed);
    }

    /// Returns `true` if layers were made over the store.
    pub(crate) fn has_layers(&self) -> bool {
        self.layers.load(Ordering::Relaxed) > 0
    }

    /// Returns `true` if a name was removed at `since` or later, in milliseconds since 1970, or may have
    /// been: removals since then are forgotten.
    pub(crate) fn was_removed(&self, name: &str, since: u64) -> bool {
        // Mostly nothing was, and no lock is taken. Stamps are in microseconds.
        if self.last.load(Ordering::Acquire) < since.saturating_mul(1000) {
            return false;
        }
        let hard = &self.read().hard;
        let removed = hard.removed_at(hash128(name));
        removed.is_some_and(|mark| mark.time >= since)
            || hard.has_forgotten_removed(since.saturating_mul(1000))
    }
}
