use std::fmt;

/// The permission to fetch what a store lacks, as [`Store::lease`](super::Store::lease) grants it.
/// Dropping it gives it back.
///
/// A store that grants leases keeps a table of the keys whose leases are held, which all of its users
/// see. [`held`](Self::held) takes a guard that removes the key from that table when it is dropped.
///
/// ```
/// use std::collections::HashSet;
/// use std::sync::{Arc, Mutex, PoisonError};
///
/// use tower_kit::cache::Lease;
///
/// type Held = Arc<Mutex<HashSet<String>>>;
///
/// struct Guard(Held, String);
///
/// impl Drop for Guard {
///     fn drop(&mut self) {
///         self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
///     }
/// }
///
/// fn lease(held: &Held, key: &str) -> Lease {
///     let is_free = held.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned());
///     if is_free { Lease::held(Guard(Arc::clone(held), key.to_owned())) } else { Lease::taken() }
/// }
///
/// let held = Held::default();
/// let first = lease(&held, "key");
/// assert!(!first.is_taken() && lease(&held, "key").is_taken());
/// drop(first);
/// assert!(!lease(&held, "key").is_taken());
/// ```
pub struct Lease(State);

// Opaque, so that a lease may one day have an expiration.
enum State {
    Free,
    Held { _guard: Box<dyn Send + Sync> },
    Taken,
}

impl Lease {
    /// Grants permission without excluding others: for a store without leases.
    #[must_use]
    pub const fn free() -> Self {
        Self(State::Free)
    }

    /// Grants permission, and excludes others until the lease, and `guard` with it, is dropped.
    pub fn held(guard: impl Send + Sync + 'static) -> Self {
        Self(State::Held { _guard: Box::new(guard) })
    }

    /// Denies permission: another user of the store holds the lease.
    #[must_use]
    pub const fn taken() -> Self {
        Self(State::Taken)
    }

    /// Returns `true` if the permission was denied.
    #[must_use]
    pub const fn is_taken(&self) -> bool {
        matches!(self.0, State::Taken)
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("taken", &self.is_taken()).finish_non_exhaustive()
    }
}
