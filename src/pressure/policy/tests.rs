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
