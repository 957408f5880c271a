use super::memory::MemoryUsage;
use super::policy::Level;

/// A change of the memory pressure level, passed to
/// [`on_pressure`](super::PressureLayer::on_pressure) callbacks.
#[derive(Clone, Copy, Debug)]
pub struct PressureEvent {
    pub(super) previous: Level,
    pub(super) level: Level,
    pub(super) usage: MemoryUsage,
}

impl PressureEvent {
    /// Returns the new level. [`Level::Normal`] means that the pressure is over.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// Returns the level before the change.
    ///
    /// Both levels are [`Level::Critical`] if memory is still critical after requests were shed for
    /// [`shed_duration`](super::PressureLayer::shed_duration).
    #[must_use]
    pub fn previous(&self) -> Level {
        self.previous
    }

    /// Returns the memory usage that caused the change.
    #[must_use]
    pub fn memory_usage(&self) -> MemoryUsage {
        self.usage
    }
}
