use std::fmt;

/// Whose turn it is to fetch what a store has not, as [`Store::lease`](super::Store::lease) tells.
/// It ends when it is dropped.
pub struct Lease(Turn);

enum Turn {
    Free,
    #[cfg(feature = "cache-redis")]
    Held {
        _held: Box<dyn Send + Sync>,
    },
    #[cfg(feature = "cache-redis")]
    Taken,
}

impl Lease {
    /// Whoever asks may fetch.
    #[must_use]
    pub const fn free() -> Self {
        Self(Turn::Free)
    }

    /// Nobody else fetches until `held` is dropped.
    #[cfg(feature = "cache-redis")]
    pub(super) fn held(held: impl Send + Sync + 'static) -> Self {
        Self(Turn::Held { _held: Box::new(held) })
    }

    /// Another process fetches.
    #[cfg(feature = "cache-redis")]
    pub(super) const fn taken() -> Self {
        Self(Turn::Taken)
    }

    pub(crate) const fn is_taken(&self) -> bool {
        match self.0 {
            Turn::Free => false,
            #[cfg(feature = "cache-redis")]
            Turn::Held { .. } => false,
            #[cfg(feature = "cache-redis")]
            Turn::Taken => true,
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("taken", &self.is_taken()).finish_non_exhaustive()
    }
}
