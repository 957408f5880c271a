use std::error::Error;
use std::fmt;
use std::time::Duration;

use http::HeaderMap;

/// The memory pressure level: how close memory usage is to its limit.
///
/// Levels are ordered: `Normal < High < Critical`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Level {
    /// Usage is below the high threshold.
    #[default]
    Normal,
    /// Usage has reached the high threshold, 80% by default. Callbacks run, and requests of
    /// [`Priority::Low`] are shed.
    High,
    /// Usage has reached the critical threshold, 90% by default. All requests are shed, except
    /// exempt ones.
    Critical,
}

/// The priority of a request, which selects the [`Level`] from which it is shed.
///
/// Requests that match [`skip_if`](super::PressureLayer::skip_if) or
/// [`skip_paths`](super::PressureLayer::skip_paths) are never shed, whatever their priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Priority {
    /// The request is shed from [`Level::High`] on. Requests with `sec-purpose: prefetch` get this
    /// priority.
    Low,
    /// The request is shed from [`Level::Critical`] on.
    #[default]
    Normal,
}

/// The error of [`PressureLayer::thresholds`](super::PressureLayer::thresholds): the thresholds are
/// not `0 < high <= critical <= 1`.
#[derive(Clone, Copy, Debug)]
pub struct InvalidThresholds {
    high: f64,
    critical: f64,
}

/// The settings from which [`PressureState`] derives levels and phases.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    high: f64,
    critical: f64,
    /// The length of a shedding phase and of the admitting phase after it, in whole seconds. Zero
    /// disables shedding.
    shed_duration: Duration,
    watch_only: bool,
}

/// The level and phase that follow from all readings so far. Points in time count from the creation
/// of the layer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PressureState {
    level: Level,
    ratio: f64,
    phase: Phase,
}

/// Memory that a process has freed may stay with its allocator, so usage may never fall again.
/// Shedding therefore alternates with admitting instead of lasting as long as the level does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Phase {
    #[default]
    Idle,
    Shedding {
        until: Duration,
    },
    Admitting {
        until: Duration,
        /// The usage ratio at the start of the phase.
        initial: f64,
    },
}

/// A change to report to callbacks. Both levels are `Critical` if memory is still critical after a
/// shedding phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LevelChange {
    pub(super) previous: Level,
    pub(super) level: Level,
}

impl Rules {
    pub(super) fn set_thresholds(
        &mut self,
        high: f64,
        critical: f64,
    ) -> Result<(), InvalidThresholds> {
        // Phrased positively: NaN makes every comparison false.
        if 0.0 < high && high <= critical && critical <= 1.0 {
            (self.high, self.critical) = (high, critical);
            return Ok(());
        }
        Err(InvalidThresholds { high, critical })
    }

    /// Sets the duration of a phase, rounded up to whole seconds, the unit of `retry-after`.
    pub(super) fn set_shed_duration(&mut self, duration: Duration) {
        let partial = u64::from(duration.subsec_nanos() > 0);
        self.shed_duration = Duration::from_secs(duration.as_secs().saturating_add(partial));
    }

    pub(super) fn set_watch_only(&mut self) {
        self.watch_only = true;
    }

    /// Returns the delay that a rejected client is told to wait.
    ///
    /// A whole phase, not its remainder: clients then return in the admitting phase, and as spread
    /// out as they came.
    pub(super) fn retry_after(&self) -> Duration {
        self.shed_duration
    }

    /// Returns the level for `ratio`. A level is left only [`HYSTERESIS`] below its threshold.
    fn level(&self, previous: Level, ratio: f64) -> Level {
        let reaches = |level, threshold: f64| {
            let margin = if previous >= level { HYSTERESIS.min(threshold / 2.0) } else { 0.0 };
            ratio >= threshold - margin
        };
        if reaches(Level::Critical, self.critical) {
            Level::Critical
        } else if reaches(Level::High, self.high) {
            Level::High
        } else {
            Level::Normal
        }
    }

    fn shedding(&self, now: Duration) -> Phase {
        if self.watch_only || self.shed_duration.is_zero() {
            return Phase::Idle;
        }
        Phase::Shedding { until: now.saturating_add(self.shed_duration) }
    }

    fn admitting(&self, now: Duration, initial: f64) -> Phase {
        Phase::Admitting { until: now.saturating_add(self.shed_duration), initial }
    }
}

impl PressureState {
    pub(super) fn level(&self) -> Level {
        self.level
    }

    /// Applies a usage ratio, and returns the change to report to callbacks, if any.
    pub(super) fn apply(
        &mut self,
        rules: &Rules,
        ratio: f64,
        now: Duration,
    ) -> Option<LevelChange> {
        let previous = self.level;
        self.level = rules.level(previous, ratio);
        self.ratio = ratio;
        let change = Some(LevelChange { previous, level: self.level });
        // A higher level sheds at once, even within an admitting phase of the lower one.
        if self.level > previous {
            self.phase = rules.shedding(now);
            return change;
        }
        let mut reported = self.level < previous;
        match self.phase {
            _ if self.level == Level::Normal => self.phase = Phase::Idle,
            Phase::Shedding { until } if now >= until => {
                self.phase = rules.admitting(now, ratio);
                // Callbacks get another chance: the memory that they freed was not enough.
                reported |= self.level == Level::Critical;
            }
            // Growth by MAX_GROWTH ends an admitting phase early: the requests that it lets in are
            // what fills memory.
            Phase::Admitting { until, initial }
                if now >= until || ratio >= initial + MAX_GROWTH =>
            {
                self.phase = rules.shedding(now);
            }
            // A lower level keeps the phase: `Level::sheds` already admits more requests.
            _ => {}
        }
        change.filter(|_| reported)
    }

    /// Applies a failed reading. The level stays; a shedding phase that has ended turns into an
    /// admitting phase, and none starts before a reading succeeds.
    pub(super) fn apply_failure(&mut self, rules: &Rules, now: Duration) {
        if matches!(self.phase, Phase::Shedding { until } if now >= until) {
            self.phase = rules.admitting(now, self.ratio);
        }
    }

    /// Returns the end of the shedding phase, if there is one.
    pub(super) fn shedding_until(&self) -> Option<Duration> {
        match self.phase {
            Phase::Shedding { until } => Some(until),
            _ => None,
        }
    }

    /// Returns the end of the current phase, at which memory is read even before the interval ends.
    pub(super) fn next_transition(&self) -> Option<Duration> {
        match self.phase {
            Phase::Idle => None,
            Phase::Shedding { until } | Phase::Admitting { until, .. } => Some(until),
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            high: 0.80,
            critical: 0.90,
            shed_duration: Duration::from_secs(10),
            watch_only: false,
        }
    }
}

impl Level {
    /// Returns the level with the discriminant `number`.
    pub(super) fn from_discriminant(number: u8) -> Self {
        // Safe Rust has no cast from an integer to an enum.
        [Self::Normal, Self::High].into_iter().nth(number.into()).unwrap_or(Self::Critical)
    }

    /// Returns `true` if a request of `priority` is shed at this level.
    pub(super) fn sheds(self, priority: Priority) -> bool {
        match priority {
            Priority::Low => self >= Self::High,
            Priority::Normal => self >= Self::Critical,
        }
    }
}

impl Priority {
    /// Lowers `Normal` to `Low` if `headers` mark the request as speculative.
    ///
    /// A browser repeats a rejected prefetch when the user follows the link, so rejecting it loses
    /// nothing.
    pub(super) fn lower_if_speculative(self, headers: &HeaderMap) -> Self {
        match self {
            Self::Normal if is_speculative(headers) => Self::Low,
            other => other,
        }
    }
}

/// Returns `true` if `sec-purpose` is the token `prefetch` or `prerender` (Fetch §3.8), with any
/// parameters.
///
/// The header is an RFC 9651 item: a list or a repeated header line is invalid and does not count.
fn is_speculative(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all("sec-purpose").iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return false };
    let Ok(item) = line.to_str() else { return false };
    let item = item.trim_matches(' ');
    let token = item.split(';').next().unwrap_or_default();
    matches!(token, "prefetch" | "prerender")
}

impl fmt::Display for InvalidThresholds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { high, critical } = self;
        write!(
            f,
            "invalid memory thresholds: high is {high} and critical is {critical}, but \
             0 < high <= critical <= 1 must hold"
        )
    }
}

impl Error for InvalidThresholds {}

/// The distance below its threshold at which a level is left, as a fraction of the limit. It never
/// exceeds half of the threshold, so every level can be left.
const HYSTERESIS: f64 = 0.05;

/// The growth, as a fraction of the limit, that ends an admitting phase.
const MAX_GROWTH: f64 = 0.02;

#[cfg(test)]
mod tests;
