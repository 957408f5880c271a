use std::error::Error;
use std::fmt;
use std::time::Duration;

use http::HeaderMap;

/// How full memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Level {
    /// There is room.
    #[default]
    Normal,
    /// 80% or more, by default: handlers are told, and requests of low priority are shed.
    High,
    /// 90% or more, by default: requests are shed.
    Critical,
}

/// How soon a request is shed that is not left out by
/// [`skip_if`](super::PressureLayer::skip_if) or
/// [`skip_paths`](super::PressureLayer::skip_paths).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Priority {
    /// From [`Level::High`] on. Requests with `sec-purpose: prefetch` have this priority.
    Low,
    /// From [`Level::Critical`] on.
    #[default]
    Normal,
}

/// Thresholds that are not `0 < high <= critical <= 1`.
#[derive(Clone, Copy, Debug)]
pub struct InvalidThresholds {
    high: f64,
    critical: f64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    high: f64,
    critical: f64,
    /// In whole seconds; none where nothing is shed.
    shed_for: Duration,
    watch_only: bool,
}

/// What the readings up to now have led to. Points in time are told from when the layer was made.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct State {
    level: Level,
    ratio: f64,
    period: Period,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Period {
    #[default]
    Calm,
    Sheds {
        until: Duration,
    },
    /// `from` is the ratio that it began with.
    Admits {
        until: Duration,
        from: f64,
    },
}

/// What handlers are told. Both are the same where memory is still critical after requests were
/// shed for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) previous: Level,
    pub(super) level: Level,
}

impl Rules {
    pub(super) fn thresholds(&mut self, high: f64, critical: f64) -> Result<(), InvalidThresholds> {
        // Written so that it is false for what is not a number.
        if 0.0 < high && high <= critical && critical <= 1.0 {
            (self.high, self.critical) = (high, critical);
            return Ok(());
        }
        Err(InvalidThresholds { high, critical })
    }

    pub(super) fn shed_for(&mut self, time: Duration) {
        let more = u64::from(time.subsec_nanos() > 0);
        self.shed_for = Duration::from_secs(time.as_secs().saturating_add(more));
    }

    /// Sheds nothing from now on.
    pub(super) fn watch_only(&mut self) {
        self.watch_only = true;
    }

    /// What a client is asked to wait: a whole period, so that those who were sent away return as
    /// spread out as they came, and when they are let in.
    pub(super) fn retry_after(&self) -> Duration {
        self.shed_for
    }

    /// A level is entered at its threshold, and left a margin below it.
    fn level(&self, before: Level, ratio: f64) -> Level {
        let at_least = |level, threshold: f64| {
            let margin = if before >= level { MARGIN.min(threshold / 2.0) } else { 0.0 };
            ratio >= threshold - margin
        };
        if at_least(Level::Critical, self.critical) {
            Level::Critical
        } else if at_least(Level::High, self.high) {
            Level::High
        } else {
            Level::Normal
        }
    }

    fn sheds_from(&self, now: Duration) -> Period {
        if self.watch_only || self.shed_for.is_zero() {
            return Period::Calm;
        }
        Period::Sheds { until: now.saturating_add(self.shed_for) }
    }

    fn admits_from(&self, now: Duration, from: f64) -> Period {
        Period::Admits { until: now.saturating_add(self.shed_for), from }
    }
}

impl State {
    pub(super) fn level(&self) -> Level {
        self.level
    }

    /// Takes in a reading, and says what handlers are to be told of it.
    pub(super) fn read(&mut self, rules: &Rules, ratio: f64, now: Duration) -> Option<Change> {
        let previous = self.level;
        self.level = rules.level(previous, ratio);
        self.ratio = ratio;
        let change = Some(Change { previous, level: self.level });
        if self.level > previous {
            self.period = rules.sheds_from(now);
            return change;
        }
        let mut is_told = self.level < previous;
        match self.period {
            _ if self.level == Level::Normal => self.period = Period::Calm,
            Period::Sheds { until } if now >= until => {
                self.period = rules.admits_from(now, ratio);
                is_told |= self.level == Level::Critical;
            }
            Period::Admits { until, from } if now >= until || ratio >= from + RISE => {
                self.period = rules.sheds_from(now);
            }
            _ => {}
        }
        change.filter(|_| is_told)
    }

    /// A reading failed: nothing changes, but that shedding which ends now is not begun again before
    /// there is one.
    pub(super) fn not_read(&mut self, rules: &Rules, now: Duration) {
        if matches!(self.period, Period::Sheds { until } if now >= until) {
            self.period = rules.admits_from(now, self.ratio);
        }
    }

    /// Until when requests are shed, if they are.
    pub(super) fn sheds_until(&self) -> Option<Duration> {
        match self.period {
            Period::Sheds { until } => Some(until),
            _ => None,
        }
    }

    /// When to read again, other than by and by.
    pub(super) fn turns_at(&self) -> Option<Duration> {
        match self.period {
            Period::Calm => None,
            Period::Sheds { until } | Period::Admits { until, .. } => Some(until),
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self { high: 0.80, critical: 0.90, shed_for: Duration::from_secs(10), watch_only: false }
    }
}

impl Level {
    /// Returns the level whose discriminant is `number`.
    pub(super) fn of(number: u8) -> Self {
        [Self::Normal, Self::High].into_iter().nth(number.into()).unwrap_or(Self::Critical)
    }

    /// Whether a request of this priority is shed at this level.
    pub(super) fn sheds(self, priority: Priority) -> bool {
        match priority {
            Priority::Low => self >= Self::High,
            Priority::Normal => self >= Self::Critical,
        }
    }
}

impl Priority {
    /// Returns the priority of a request with these headers, for which the user's choice is `self`.
    ///
    /// What a browser fetches ahead may never be shown, and is fetched again where it was refused.
    pub(super) fn of_speculative(self, headers: &HeaderMap) -> Self {
        match self {
            Self::Normal if is_speculative(headers) => Self::Low,
            other => other,
        }
    }
}

/// Returns `true` if `sec-purpose` says that the response is fetched ahead of a navigation: the
/// token `prefetch` or `prerender` (Fetch §3.8), whatever its parameters, such as `;prerender`. The
/// header is an item of RFC 9651, so that a list of tokens, or several lines, do not count.
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
        write!(f, "thresholds of {high} and {critical} are not 0 < high <= critical <= 1")
    }
}

impl Error for InvalidThresholds {}

/// How far below its threshold a level is left, as a part of the limit; at most half way down.
const MARGIN: f64 = 0.05;

/// By how much memory must grow, as a part of the limit, for requests to be shed again at once.
const RISE: f64 = 0.02;

#[cfg(test)]
mod tests {
    use Level::{Critical, High, Normal};
    use proptest::prelude::*;

    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// What is shed at a point in time.
    fn shed(state: &State, now: Duration) -> Level {
        let sheds = state.sheds_until().is_some_and(|until| now < until);
        if sheds { state.level() } else { Normal }
    }

    type Row = (u64, f64, Level, Option<(Level, Level)>, Level);

    /// Each row is a time in seconds, a reading, the level that it leads to, what is told, and what
    /// is shed from then on.
    fn follow(rules: &Rules, rows: &[Row]) {
        let mut state = State::default();
        for (at, ratio, level, told, sheds) in rows {
            let now = seconds(*at);
            let change = state.read(rules, *ratio, now);
            let change = change.map(|change| (change.previous, change.level));
            let found = (state.level(), change, shed(&state, now));
            assert_eq!(found, (*level, *told, *sheds), "{ratio} at {at} s");
        }
    }

    #[test]
    fn levels_are_entered_at_their_threshold_and_left_below_it() {
        follow(
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
                // Requests that are not of low priority come in at once.
                (8, 0.84, High, Some((Critical, High)), High),
                (9, 0.89, High, None, High),
                (10, 0.91, Critical, Some((High, Critical)), Critical),
                (11, 0.10, Normal, Some((Critical, Normal)), Normal),
            ],
        );
    }

    #[test]
    fn memory_that_stays_critical_is_shed_for_and_admitted_to_in_turn() {
        follow(
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
    fn memory_that_grows_further_is_shed_for_at_once() {
        follow(
            &Rules::default(),
            &[
                (0, 0.91, Critical, Some((Normal, Critical)), Critical),
                // It began at what it is by now.
                (10, 0.93, Critical, Some((Critical, Critical)), Normal),
                (11, 0.949, Critical, None, Normal),
                (12, 0.951, Critical, None, Critical),
                (21, 0.99, Critical, None, Critical),
                (22, 0.99, Critical, Some((Critical, Critical)), Normal),
            ],
        );
    }

    #[test]
    fn low_priorities_are_not_shed_for_ever_either_and_handlers_are_told_once() {
        follow(
            &Rules::default(),
            &[
                (0, 0.85, High, Some((Normal, High)), High),
                (10, 0.85, High, None, Normal),
                (20, 0.85, High, None, High),
                (30, 0.85, High, None, Normal),
                // A higher level begins anew.
                (31, 0.90, Critical, Some((High, Critical)), Critical),
                (40, 0.90, Critical, None, Critical),
                // A lower one does not: this ends when it would have.
                (40, 0.80, High, Some((Critical, High)), High),
                (41, 0.80, High, None, Normal),
            ],
        );
    }

    #[test]
    fn a_level_that_falls_as_its_period_ends_is_told_as_that() {
        follow(
            &Rules::default(),
            &[
                (0, 0.95, Critical, Some((Normal, Critical)), Critical),
                (10, 0.80, High, Some((Critical, High)), Normal),
            ],
        );
    }

    #[test]
    fn equal_thresholds_have_no_level_between_them() {
        let mut rules = Rules::default();
        rules.thresholds(0.9, 0.9).unwrap();
        follow(
            &rules,
            &[
                (0, 0.89, Normal, None, Normal),
                (1, 0.90, Critical, Some((Normal, Critical)), Critical),
                (2, 0.84, Normal, Some((Critical, Normal)), Normal),
            ],
        );
    }

    #[test]
    fn a_level_can_be_left_however_low_its_threshold_is() {
        let mut rules = Rules::default();
        rules.thresholds(0.01, 0.02).unwrap();
        follow(
            &rules,
            &[
                (0, 0.02, Critical, Some((Normal, Critical)), Critical),
                (1, 0.009, High, Some((Critical, High)), High),
                (2, 0.004, Normal, Some((High, Normal)), Normal),
            ],
        );
    }

    #[test]
    fn no_time_of_shedding_sheds_nothing_and_is_told_all_the_same() {
        let mut rules = Rules::default();
        rules.shed_for(Duration::ZERO);
        follow(
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
    fn a_reading_that_fails_is_no_pressure_and_no_relief() {
        let rules = Rules::default();
        let mut state = State::default();
        state.not_read(&rules, seconds(0));
        assert_eq!((state.level(), state.turns_at()), (Normal, None));
        state.read(&rules, 0.95, seconds(1));
        state.not_read(&rules, seconds(5));
        assert_eq!(shed(&state, seconds(5)), Critical);
        for at in [11, 12, 500] {
            state.not_read(&rules, seconds(at));
            assert_eq!(shed(&state, seconds(at)), Normal, "{at}");
            assert_eq!(state.level(), Critical);
        }
        assert_eq!(state.read(&rules, 0.95, seconds(501)), None);
        assert_eq!(shed(&state, seconds(501)), Critical);
    }

    #[test]
    fn thresholds_that_are_none_are_refused() {
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
            let error = rules.thresholds(high, critical).unwrap_err();
            assert!(error.to_string().contains(&format!("{high} and {critical}")), "{error}");
        }
        for (high, critical) in [(0.5, 1.0), (1.0, 1.0), (f64::MIN_POSITIVE, 0.1)] {
            rules.thresholds(high, critical).unwrap();
        }
    }

    #[test]
    fn the_time_of_shedding_is_one_of_whole_seconds() {
        let mut rules = Rules::default();
        for (time, expected) in [
            (Duration::ZERO, Duration::ZERO),
            (Duration::from_nanos(1), seconds(1)),
            (seconds(10), seconds(10)),
            (Duration::from_millis(10_001), seconds(11)),
            (Duration::MAX, seconds(u64::MAX)),
        ] {
            rules.shed_for(time);
            assert_eq!(rules.retry_after(), expected);
        }
    }

    #[test]
    fn priorities_are_shed_from_their_level_on() {
        for (level, low, normal) in
            [(Normal, false, false), (High, true, false), (Critical, true, true)]
        {
            let sheds = [Priority::Low, Priority::Normal].map(|it| level.sheds(it));
            assert_eq!(sheds, [low, normal], "{level:?}");
        }
    }

    #[test]
    fn only_a_speculative_request_is_of_low_priority() {
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
                assert_eq!(own.of_speculative(&headers), effective, "{own:?} {lines:?}");
            }
        }
    }

    #[test]
    fn a_level_is_kept_as_a_number() {
        for level in [Normal, High, Critical] {
            assert_eq!(Level::of(level as u8), level);
        }
    }

    proptest! {
        /// Whatever memory does: nothing is shed for longer than it may be, unless a new period
        /// began, and that needs a rise or as much time of admitting.
        #[test]
        fn shedding_always_ends(ratios in prop::collection::vec((0.0..1.2, any::<bool>()), 1..200)) {
            let rules = Rules::default();
            let mut state = State::default();
            let mut before = (State::default(), 0.0);
            for (at, (ratio, fails)) in ratios.into_iter().enumerate() {
                let now = seconds(at as u64);
                if fails {
                    state.not_read(&rules, now);
                } else {
                    state.read(&rules, ratio, now);
                }
                if let Some(until) = state.sheds_until() {
                    prop_assert!(until <= now + seconds(10));
                    prop_assert!(until > now);
                    prop_assert!(state.level() > Normal);
                    let began = before.0.sheds_until() != Some(until);
                    let rose = state.level() > before.0.level() || ratio >= before.1 + RISE;
                    let waited = before.0.turns_at().is_some_and(|turn| now >= turn);
                    prop_assert!(!began || !fails && (rose || waited));
                }
                if state.period != before.0.period {
                    before.1 = state.ratio;
                }
                before.0 = state;
            }
        }
    }
}
