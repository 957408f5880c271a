use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

#[cfg(target_os = "linux")]
use super::linux::System;
use super::policy::Level;
#[cfg(not(target_os = "linux"))]
use super::portable::System;

/// How much memory is used, of how much there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    used: u64,
    limit: u64,
}

/// What a handler is told.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub(super) previous: Level,
    pub(super) level: Level,
    pub(super) reading: Reading,
}

/// Where readings come from. Clones share it.
#[derive(Clone)]
pub(super) enum Source {
    System(Arc<System>),
    Own(Arc<Read>),
}

type Read = dyn Fn() -> io::Result<Reading> + Send + Sync;

impl Reading {
    /// Both in bytes. A limit of 0 is none, and is never reached.
    #[must_use]
    pub const fn new(used: u64, limit: u64) -> Self {
        Self { used, limit }
    }

    /// In bytes.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.used
    }

    /// In bytes.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// What is used as a part of the limit: 1 where it is reached.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio needs no more than 53 bits")]
    pub fn ratio(&self) -> f64 {
        if self.limit == 0 { 0.0 } else { self.used as f64 / self.limit as f64 }
    }

    /// With this limit, if it is lower.
    pub(super) fn within(self, limit: Option<u64>) -> Self {
        match limit {
            Some(limit) if self.limit == 0 || limit < self.limit => Self { limit, ..self },
            _ => self,
        }
    }
}

impl Event {
    /// The level from now on; [`Level::Normal`] says that there is room again.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// The level before. It is [`Level::Critical`] as the new one is where memory is still short
    /// after requests were shed for a while.
    #[must_use]
    pub fn previous(&self) -> Level {
        self.previous
    }

    /// What led to it.
    #[must_use]
    pub fn reading(&self) -> Reading {
        self.reading
    }
}

impl Source {
    /// `limit` is the user's.
    pub(super) fn read(&self, limit: Option<u64>) -> io::Result<Reading> {
        match self {
            Self::System(system) => system.read(limit),
            Self::Own(read) => catch_unwind(AssertUnwindSafe(|| read()))
                .unwrap_or_else(|_| Err(io::Error::other("the source of readings panicked")))
                .map(|reading| reading.within(limit)),
        }
    }
}

impl Default for Source {
    fn default() -> Self {
        Self::System(Arc::default())
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System(_) => "the system",
            Self::Own(_) => "the user's",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_a_part_of_the_limit_and_none_of_no_limit() {
        assert_eq!(Reading::new(9, 10).ratio(), 0.9);
        assert_eq!(Reading::new(15, 10).ratio(), 1.5);
        assert_eq!(Reading::new(9, 0).ratio(), 0.0);
    }

    #[test]
    fn the_lower_limit_wins() {
        let reading = Reading::new(5, 10);
        assert_eq!(reading.within(None), reading);
        assert_eq!(reading.within(Some(20)), reading);
        assert_eq!(reading.within(Some(6)), Reading::new(5, 6));
        assert_eq!(Reading::new(5, 0).within(Some(6)), Reading::new(5, 6));
    }
}
