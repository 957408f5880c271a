use http::StatusCode;

use super::policy::Outcome;

/// Returns the index in [`label_sets`] of the counter for a request.
#[inline]
pub(super) fn index(status: Option<StatusCode>, outcome: Outcome) -> usize {
    let class = status.map_or(0, |status| usize::from(status.as_u16() / 100).min(OTHER_CLASS));
    class * OUTCOMES.len() + outcome as usize
}

/// Returns the status class and outcome of each counter of requests, or `None` for combinations
/// that no request has: a failed service returns no status, and a complete response has one.
pub(super) fn label_sets() -> impl Iterator<Item = Option<(&'static str, &'static str)>> {
    let all = CLASSES.iter().enumerate();
    all.flat_map(|(class, name)| {
        OUTCOMES.iter().map(move |outcome| {
            let possible = match outcome {
                Outcome::Ok | Outcome::BodyError | Outcome::Disconnect => class > 0,
                Outcome::ServiceError | Outcome::Cancelled => class == 0,
                Outcome::Timeout | Outcome::Panic => true,
            };
            possible.then_some((*name, outcome.as_str()))
        })
    })
}

// The label sets are few and fixed, so all of them can be exported as 0 before the first request.
const CLASSES: [&str; 7] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx", "other"];
const OTHER_CLASS: usize = CLASSES.len() - 1;

/// All outcomes, in the order of the enum, whose discriminants [`index`] uses.
const OUTCOMES: [Outcome; 7] = [
    Outcome::Ok,
    Outcome::ServiceError,
    Outcome::Timeout,
    Outcome::BodyError,
    Outcome::Disconnect,
    Outcome::Cancelled,
    Outcome::Panic,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn possible_status_and_outcome_have_a_counter() {
        let sets: Vec<_> = label_sets().collect();
        let found = |status, outcome| {
            let status = (status > 0).then(|| StatusCode::from_u16(status).unwrap());
            sets[index(status, outcome)]
        };
        assert_eq!(found(200, Outcome::Ok), Some(("2xx", "ok")));
        assert_eq!(found(503, Outcome::Disconnect), Some(("5xx", "disconnect")));
        assert_eq!(found(101, Outcome::BodyError), Some(("1xx", "body_error")));
        assert_eq!(found(999, Outcome::Panic), Some(("other", "panic")));
        assert_eq!(found(0, Outcome::Timeout), Some(("none", "timeout")));
        assert_eq!(found(0, Outcome::Cancelled), Some(("none", "cancelled")));
        assert_eq!(found(0, Outcome::Ok), None);
        assert_eq!(found(200, Outcome::ServiceError), None);
        assert_eq!(sets.iter().flatten().count(), 34);
    }
}
