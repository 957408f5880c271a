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
mod tests {
    use Level::{Critical, High, Normal};
    use proptest::prelude::*;

    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Returns the level at which requests are shed at `now`.
    fn shedding_level(state: &PressureState, now: Duration) -> Level {
        let sheds = state.shedding_until().is_some_and(|until| now < until);
        if sheds { state.level() } else { Normal }
    }

    /// A time in seconds, the usage ratio read then, and the expected outcome: the level, the
    /// reported change, and the level at which requests are shed.
    type Row = (u64, f64, Level, Option<(Level, Level)>, Level);

    fn check(rules: &Rules, rows: &[Row]) {
        let mut state = PressureState::default();
        for (at, ratio, level, reported, sheds) in rows {
            let now = seconds(*at);
            let change = state.apply(rules, *ratio, now);
            let change = change.map(|change| (change.previous, change.level));
            let found = (state.level(), change, shedding_level(&state, now));
            assert_eq!(found, (*level, *reported, *sheds), "{ratio} at {at} s");
        }
    }

    #[test]
    fn levels_are_left_below_their_threshold() {
        check(
            &Rules::default(),
            &[
                (0, 0.79, Normal, None, Normal),
                (1, 0.80, High, Some((Normal, High)), High),
                (2, 0.899, High, None, High),
                (3, 0.76, High, None, High),
                (4, 0.74, Normal, Some((High, Normal)), Normal),
                (5, 0.79, Normal, None, Normal),
                (6, 0.90, Critical, Some((Normal, Critical)), Critical),
                (7, 0.86, Critical, None, Critical),
                // Requests of normal priority are admitted at once.
                (8, 0.84, High, Some((Critical, High)), High),
                (9, 0.89, High, None, High),
                (10, 0.91, Critical, Some((High, Critical)), Critical),
                (11, 0.10, Normal, Some((Critical, Normal)), Normal),
            ],
        );
    }

    #[test]
    fn shedding_and_admitting_alternate() {
        check(
            &Rules::default(),
            &[
                (0, 0.93, Critical, Some((Normal, Critical)), Critical),
                (9, 0.93, Critical, None, Critical),
                (10, 0.93, Critical, Some((Critical, Critical)), Normal),
                (19, 0.949, Critical, None, Normal),
                (20, 0.93, Critical, None, Critical),
                (29, 0.93, Critical, None, Critical),
                (30, 0.93, Critical, Some((Critical, Critical)), Normal),
            ],
        );
    }

    #[test]
    fn growth_ends_an_admitting_phase() {
        check(
            &Rules::default(),
            &[
                (0, 0.91, Critical, Some((Normal, Critical)), Critical),
                // The admitting phase starts at this ratio.
                (10, 0.93, Critical, Some((Critical, Critical)), Normal),
                (11, 0.949, Critical, None, Normal),
                (12, 0.951, Critical, None, Critical),
                (21, 0.99, Critical, None, Critical),
                (22, 0.99, Critical, Some((Critical, Critical)), Normal),
            ],
        );
    }

    #[test]
    fn shedding_at_high_ends_unreported() {
        check(
            &Rules::default(),
            &[
                (0, 0.85, High, Some((Normal, High)), High),
                (10, 0.85, High, None, Normal),
                (20, 0.85, High, None, High),
                (30, 0.85, High, None, Normal),
                // A higher level starts a new phase.
                (31, 0.90, Critical, Some((High, Critical)), Critical),
                (40, 0.90, Critical, None, Critical),
                // A lower level keeps the phase and its end.
                (40, 0.80, High, Some((Critical, High)), High),
                (41, 0.80, High, None, Normal),
            ],
        );
    }

    #[test]
    fn level_may_fall_as_its_phase_ends() {
        check(
            &Rules::default(),
            &[
                (0, 0.95, Critical, Some((Normal, Critical)), Critical),
                (10, 0.80, High, Some((Critical, High)), Normal),
            ],
        );
    }

    #[test]
    fn equal_thresholds_skip_the_high_level() {
        let mut rules = Rules::default();
        rules.set_thresholds(0.9, 0.9).unwrap();
        check(
            &rules,
            &[
                (0, 0.89, Normal, None, Normal),
                (1, 0.90, Critical, Some((Normal, Critical)), Critical),
                (2, 0.84, Normal, Some((Critical, Normal)), Normal),
            ],
        );
    }

    #[test]
    fn levels_with_low_thresholds_can_be_left() {
        let mut rules = Rules::default();
        rules.set_thresholds(0.01, 0.02).unwrap();
        check(
            &rules,
            &[
                (0, 0.02, Critical, Some((Normal, Critical)), Critical),
                (1, 0.009, High, Some((Critical, High)), High),
                (2, 0.004, Normal, Some((High, Normal)), Normal),
            ],
        );
    }

    #[test]
    fn zero_shed_duration_only_reports() {
        let mut rules = Rules::default();
        rules.set_shed_duration(Duration::ZERO);
        check(
            &rules,
            &[
                (0, 0.80, High, Some((Normal, High)), Normal),
                (1, 0.95, Critical, Some((High, Critical)), Normal),
                (99, 0.99, Critical, None, Normal),
                (100, 0.10, Normal, Some((Critical, Normal)), Normal),
            ],
        );
    }

    #[test]
    fn failed_reading_keeps_the_level() {
        let rules = Rules::default();
        let mut state = PressureState::default();
        state.apply_failure(&rules, seconds(0));
        assert_eq!((state.level(), state.next_transition()), (Normal, None));
        state.apply(&rules, 0.95, seconds(1));
        state.apply_failure(&rules, seconds(5));
        assert_eq!(shedding_level(&state, seconds(5)), Critical);
        for at in [11, 12, 500] {
            state.apply_failure(&rules, seconds(at));
            assert_eq!(shedding_level(&state, seconds(at)), Normal, "{at}");
            assert_eq!(state.level(), Critical);
        }
        assert_eq!(state.apply(&rules, 0.95, seconds(501)), None);
        assert_eq!(shedding_level(&state, seconds(501)), Critical);
    }

    #[test]
    fn invalid_thresholds_are_errors() {
        let mut rules = Rules::default();
        for (high, critical) in [
            (0.0, 0.9),
            (-0.1, 0.9),
            (0.9, 0.8),
            (0.8, 1.01),
            (f64::NAN, 0.9),
            (0.8, f64::NAN),
            (0.8, f64::INFINITY),
            (80.0, 90.0),
        ] {
            let error = rules.set_thresholds(high, critical).unwrap_err();
            assert!(
                error.to_string().contains(&format!("high is {high} and critical is {critical}")),
                "{error}"
            );
        }
        for (high, critical) in [(0.5, 1.0), (1.0, 1.0), (f64::MIN_POSITIVE, 0.1)] {
            rules.set_thresholds(high, critical).unwrap();
        }
    }

    #[test]
    fn shed_duration_is_rounded_up_to_seconds() {
        let mut rules = Rules::default();
        for (time, expected) in [
            (Duration::ZERO, Duration::ZERO),
            (Duration::from_nanos(1), seconds(1)),
            (seconds(10), seconds(10)),
            (Duration::from_millis(10_001), seconds(11)),
            (Duration::MAX, seconds(u64::MAX)),
        ] {
            rules.set_shed_duration(time);
            assert_eq!(rules.retry_after(), expected);
        }
    }

    #[test]
    fn priorities_are_shed_from_their_level() {
        for (level, low, normal) in
            [(Normal, false, false), (High, true, false), (Critical, true, true)]
        {
            let sheds = [Priority::Low, Priority::Normal].map(|it| level.sheds(it));
            assert_eq!(sheds, [low, normal], "{level:?}");
        }
    }

    #[test]
    fn speculative_requests_have_low_priority() {
        let table: &[(&[&str], bool)] = &[
            (&["prefetch"], true),
            (&[" prefetch "], true),
            (&["prefetch;prerender"], true),
            (&["prefetch; prerender"], true),
            (&["prefetch;anonymous-client-ip"], true),
            (&["prefetch;a=\"x, y\""], true),
            (&["prerender"], true),
            (&[], false),
            (&[""], false),
            (&["Prefetch"], false),
            (&["\"prefetch\""], false),
            (&["prefetcher"], false),
            (&["prefetch, prefetch"], false),
            (&["prefetch ;prerender"], false),
            (&["(prefetch)"], false),
            (&["?1"], false),
            (&["x;prefetch"], false),
            (&["prefetch\u{e9}"], false),
            (&["prefetch", "prefetch"], false),
        ];
        for (lines, expected) in table {
            let mut headers = HeaderMap::new();
            for line in *lines {
                let line = http::HeaderValue::from_bytes(line.as_bytes()).unwrap();
                headers.append("sec-purpose", line);
            }
            assert_eq!(is_speculative(&headers), *expected, "{lines:?}");
            let normal = if *expected { Priority::Low } else { Priority::Normal };
            for (own, effective) in [(Priority::Normal, normal), (Priority::Low, Priority::Low)] {
                assert_eq!(own.lower_if_speculative(&headers), effective, "{own:?} {lines:?}");
            }
        }
    }

    #[test]
    fn level_survives_its_discriminant() {
        for level in [Normal, High, Critical] {
            assert_eq!(Level::from_discriminant(level as u8), level);
        }
    }

    proptest! {
        /// No shedding phase outlasts its duration, and a new one starts only after growth or a full
        /// admitting phase.
        #[test]
        fn shedding_always_ends(ratios in prop::collection::vec((0.0..1.2, any::<bool>()), 1..200)) {
            let rules = Rules::default();
            let mut state = PressureState::default();
            let mut before = (PressureState::default(), 0.0);
            for (at, (ratio, fails)) in ratios.into_iter().enumerate() {
                let now = seconds(at as u64);
                if fails {
                    state.apply_failure(&rules, now);
                } else {
                    state.apply(&rules, ratio, now);
                }
                if let Some(until) = state.shedding_until() {
                    prop_assert!(until <= now + seconds(10));
                    prop_assert!(until > now);
                    prop_assert!(state.level() > Normal);
                    let began = before.0.shedding_until() != Some(until);
                    let rose = state.level() > before.0.level() || ratio >= before.1 + MAX_GROWTH;
                    let waited = before.0.next_transition().is_some_and(|turn| now >= turn);
                    prop_assert!(!began || !fails && (rose || waited));
                }
                if state.phase != before.0.phase {
                    before.1 = state.ratio;
                }
                before.0 = state;
            }
        }
    }
}
