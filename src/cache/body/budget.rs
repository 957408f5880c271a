//! One bound for the memory of all response bodies that are on their way to the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The bytes that the recordings of a layer hold together.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    used: AtomicU64,
    /// The part of it that waits for clients to read, and cannot be dropped before they have.
    unread: AtomicU64,
}

/// A part of the budget. The last clone gives it back when it is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Charge(Arc<Part>);

#[derive(Debug)]
struct Part {
    budget: Arc<Budget>,
    /// The size of the whole budget, in bytes.
    limit: u64,
    used: AtomicU64,
    unread: AtomicU64,
}

impl Budget {
    /// Takes `bytes` of a budget of `limit` bytes, or nothing if fewer are left.
    pub(crate) fn charge(self: &Arc<Self>, limit: u64, bytes: u64) -> Option<Charge> {
        let (used, unread) = (AtomicU64::new(0), AtomicU64::new(0));
        let charge = Charge(Arc::new(Part { budget: Arc::clone(self), limit, used, unread }));
        charge.resize(bytes).then_some(charge)
    }
}

impl Charge {
    /// Takes another part of the same budget, or nothing if fewer bytes are left.
    pub(crate) fn another(&self, bytes: u64) -> Option<Self> {
        self.0.budget.charge(self.0.limit, bytes)
    }

    /// Changes the size of this part, in bytes. Returns `false`, and changes nothing, if the budget
    /// has not so many left.
    pub(crate) fn resize(&self, bytes: u64) -> bool {
        let Part { budget, limit, used, .. } = &*self.0;
        let before = used.load(Ordering::Relaxed);
        // Relaxed: the counters guard no other data. One body has one writer, so that `before` does
        // not change meanwhile.
        let change = |all: u64| {
            let after = all.saturating_sub(before).checked_add(bytes)?;
            // A part may shrink even if a layer with a smaller limit shares the budget.
            (bytes <= before || after <= *limit).then_some(after)
        };
        let fits = budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change).is_ok();
        if fits {
            used.store(bytes, Ordering::Relaxed);
        }
        fits
    }

    /// Sets how many bytes of this part a client has yet to read.
    pub(crate) fn set_unread(&self, bytes: u64) {
        let before = self.0.unread.swap(bytes, Ordering::Relaxed);
        let all = &self.0.budget.unread;
        if bytes >= before {
            all.fetch_add(bytes - before, Ordering::Relaxed);
        } else {
            all.fetch_sub(before - bytes, Ordering::Relaxed);
        }
    }

    /// Returns `true` if a body may be read further than its client has. A little always may. More
    /// may only while the clients that do not read hold less than half of the budget, so that the
    /// other half is left for those that do.
    pub(crate) fn may_read_ahead(&self) -> bool {
        // Bytes that are only recorded can be dropped at any time. Bytes that were read ahead of a
        // client cannot, since the inner body has no other copy.
        let own = self.0.unread.load(Ordering::Relaxed);
        own < AHEAD || self.0.budget.unread.load(Ordering::Relaxed) < self.0.limit / 2
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(*self.used.get_mut(), Ordering::Relaxed);
        self.budget.unread.fetch_sub(*self.unread.get_mut(), Ordering::Relaxed);
    }
}

/// The bytes that a body may always be read ahead of its client.
const AHEAD: u64 = 16 * 1024;

#[cfg(test)]
mod tests;
