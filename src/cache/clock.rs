use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use super::policy::date::millis;
use crate::clock;

/// The clock of a layer: the system's, or the one that its user set.
///
/// The age of an entry is measured by [`now`](Self::now), which never goes back and does not follow a
/// wall clock that is set back: an entry of a minute would stay fresh for an hour. Dates in headers
/// are compared with [`wall`](Self::wall).
#[derive(Clone)]
pub(crate) struct Clock(Arc<Source>);

enum Source {
    /// The wall clock as it was at `since`, plus the monotonic time from then on.
    System {
        wall: u64,
        since: Instant,
    },
    User(Box<dyn Fn() -> SystemTime + Send + Sync>, Mutex<Ratchet>),
}

/// The sum of all steps forward of a clock, on top of its first time.
#[derive(Default)]
struct Ratchet {
    wall: u64,
    now: u64,
}

impl Clock {
    pub(crate) fn of(clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        let wall = millis(clock());
        let ratchet = Mutex::new(Ratchet { wall, now: wall });
        Self(Arc::new(Source::User(Box::new(clock), ratchet)))
    }

    /// Returns the time in milliseconds since 1970, as the wall clock had it when the layer was made,
    /// plus the time that has passed since. It never goes back.
    pub(crate) fn now(&self) -> u64 {
        match &*self.0 {
            Source::System { wall, since } => {
                let passed = clock::now().saturating_duration_since(*since);
                wall + passed.as_secs() * 1000 + u64::from(passed.subsec_millis())
            }
            Source::User(clock, ratchet) => {
                let mut ratchet = ratchet.lock().unwrap_or_else(PoisonError::into_inner);
                let wall = millis(clock());
                ratchet.now = ratchet.now.saturating_add(wall.saturating_sub(ratchet.wall));
                ratchet.wall = wall;
                ratchet.now
            }
        }
    }

    /// Returns the time of the wall clock in milliseconds since 1970.
    pub(crate) fn wall(&self) -> u64 {
        match &*self.0 {
            Source::System { .. } => system(),
            Source::User(clock, _) => millis(clock()),
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self(Arc::new(Source::System { wall: system(), since: clock::now() }))
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where the cache reads the wall clock")]
fn system() -> u64 {
    millis(SystemTime::now())
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
