use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::SystemTime;

use super::policy::date::millis;

/// The clock of a layer: the system's, or the one that its user set.
#[derive(Clone, Default)]
pub(crate) struct Clock(Option<Arc<dyn Fn() -> SystemTime + Send + Sync>>);

impl Clock {
    pub(crate) fn of(clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(clock)))
    }

    /// Returns the time in milliseconds since 1970.
    #[expect(clippy::disallowed_methods, reason = "the one place where the cache reads the clock")]
    pub(crate) fn now(&self) -> u64 {
        millis(self.0.as_ref().map_or_else(SystemTime::now, |clock| clock()))
    }
}

/// Returns a random number from 0 (excluded) to 1.
pub(crate) fn random() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "53 bits, as many as an f64 has")]
    let random = ((random_bits() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    random
}

/// Returns random bits from the keys of the standard library's hash maps, which are new each time
/// and hard to guess.
pub(crate) fn random_bits() -> u64 {
    RandomState::new().hash_one(0_u8)
}
