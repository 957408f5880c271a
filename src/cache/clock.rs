use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::policy::date::millis;
use crate::random;

/// The clock of a layer: the system's, or the one that its user set.
///
/// A wall clock may be set back, and would then keep an entry of a minute fresh for an hour. Ages are
/// measured by a time that never goes back: it follows the steps of the wall clock forward, and not
/// those back.
#[derive(Clone, Default)]
pub(crate) struct Clock(Arc<Source>);

#[derive(Default)]
struct Source {
    user: Option<Box<dyn Fn() -> SystemTime + Send + Sync>>,
    /// The latest time that was returned.
    last: AtomicU64,
    /// The sum of the steps back.
    set_back: AtomicU64,
}

/// One reading of the clock. Both times are in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// The time that never goes back, for ages.
    pub(crate) now: u64,
    /// The time of the wall clock, for dates in headers.
    pub(crate) wall: u64,
}

impl Clock {
    pub(crate) fn of(clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(Source { user: Some(Box::new(clock)), ..Source::default() }))
    }

    /// Returns the time that never goes back, in milliseconds.
    pub(crate) fn now(&self) -> u64 {
        self.read().now
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    pub(crate) fn read(&self) -> Reading {
        let Source { user, last, set_back } = &*self.0;
        // Before the wall clock is read: another thread may return a later time meanwhile, and that
        // is no step back.
        let (before, back) = (last.load(Ordering::Acquire), set_back.load(Ordering::Acquire));
        let wall = millis(user.as_ref().map_or_else(SystemTime::now, |clock| clock()));
        let now = wall.saturating_add(back);
        if now > before {
            last.fetch_max(now, Ordering::AcqRel);
        } else if now < before {
            // Where another thread has seen the step, nothing is left to do.
            let stepped = before.saturating_sub(wall);
            let _seen =
                set_back.compare_exchange(back, stepped, Ordering::AcqRel, Ordering::Acquire);
        }
        Reading { now: now.max(before), wall }
    }
}

/// Returns a random number from 0 (excluded) to 1.
pub(crate) fn random() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "53 bits, as many as an f64 has")]
    let random = ((random::bits() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    random
}
