//! Dates and ages in headers, in milliseconds where the policy computes with them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::AGE;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::super::entry::http_date;
use super::directive::{MAX_SECONDS, parse_seconds};
use crate::headers::list;

/// The error of a header that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Returns the date in a header, or `None` if the header is missing. Two lines are malformed.
pub(crate) fn date(
    headers: &HeaderMap,
    name: &HeaderName,
) -> Option<Result<SystemTime, Malformed>> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next()?;
    if lines.next().is_some() {
        return Some(Err(Malformed));
    }
    Some(parse_date(line))
}

/// Parses a date in one of the three formats of HTTP (RFC 9110 §5.6.7).
pub(crate) fn parse_date(value: &HeaderValue) -> Result<SystemTime, Malformed> {
    let text = value.to_str().map_err(|_| Malformed)?;
    // RFC 9111 §4.2: a cache reads dates in any case.
    exact_date(text).or_else(|| exact_date(&in_case(text))).ok_or(Malformed)
}

/// Returns the `age` of a response in seconds: the first member of the list (RFC 9111 §5.1), or 0 if
/// it is not a number.
pub(crate) fn age(headers: &HeaderMap) -> u64 {
    let first = headers.get(AGE).and_then(|line| list::split(line.as_bytes()).next());
    first.and_then(parse_seconds).unwrap_or(0)
}

/// Returns the milliseconds since 1970, and 0 for times before.
pub(crate) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    // Not `as_millis`, whose 128 bits cost as much as reading the clock.
    since.as_secs().saturating_mul(1000).saturating_add(since.subsec_millis().into())
}

/// Returns a duration in milliseconds, at most [`MAX_SECONDS`].
pub(crate) fn in_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).min(MAX_SECONDS * 1000)
}

/// Returns a time in milliseconds since 1970 as the value of a `date`.
pub(crate) fn date_value(millis: u64) -> HeaderValue {
    HeaderValue::try_from(http_date(millis).to_string()).unwrap_or(HeaderValue::from_static(""))
}

fn exact_date(text: &str) -> Option<SystemTime> {
    // `httpdate` accepts a day of one digit too.
    let exact = |date: &SystemTime| {
        !text.ends_with("GMT") || text.contains('-') || httpdate::fmt_http_date(*date) == text
    };
    httpdate::parse_http_date(text).ok().filter(exact)
}

/// Returns a date with its words in their own case: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn in_case(text: &str) -> String {
    let mut within = false;
    let letter = |of: char| {
        let first = !std::mem::replace(&mut within, of.is_ascii_alphabetic());
        if first { of.to_ascii_uppercase() } else { of.to_ascii_lowercase() }
    };
    text.chars().map(letter).collect::<String>().replace("Gmt", "GMT")
}

#[cfg(test)]
mod tests {
    use http::header::EXPIRES;
    use proptest::prelude::*;

    use super::*;
    use crate::headers::test_headers::map;

    #[test]
    fn an_age_is_the_first_number_of_the_list() {
        for (lines, expected) in [
            (&[][..], 0),
            (&["10"], 10),
            (&["10, 20"], 10),
            (&["10", "20"], 10),
            (&["-1"], 0),
            (&["x, 5"], 0),
            (&["1.5"], 0),
            (&["99999999999999999999"], MAX_SECONDS),
        ] {
            let fields: Vec<_> = lines.iter().map(|line| ("age", *line)).collect();
            assert_eq!(age(&map(&fields)), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_date_value_is_in_the_first_format() {
        let date = |millis| date_value(millis);
        assert_eq!(date(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn a_date_has_one_of_three_formats() {
        // RFC 9110 §5.6.7.
        let table = [
            ("Sun, 06 Nov 1994 08:49:37 GMT", true),
            ("Sunday, 06-Nov-94 08:49:37 GMT", true),
            ("Sun Nov  6 08:49:37 1994", true),
            // RFC 9111 §4.2.
            ("sUN, 06 nov 1994 08:49:37 gmt", true),
            ("SUNDAY, 06-NOV-94 08:49:37 GMT", true),
            ("sun nov  6 08:49:37 1994", true),
            ("Sun, 06 Nov 1994 08:49:37 UTC", false),
            ("Sun, 06 Nov 1994 08:49:37 +0000", false),
            ("Sun, 06 Nov 94 08:49:37 GMT", false),
            ("Sun, 6 Nov 1994 08:49:37 GMT", false),
            ("Sun, 06 Nov 1994 8:49:37 GMT", false),
            ("Sun, 06 Nov 1994 08:49:37", false),
            ("0", false),
            ("", false),
        ];
        for (text, good) in table {
            let date = parse_date(&HeaderValue::from_str(text).unwrap()).map(millis);
            assert_eq!(date, if good { Ok(784_111_777_000) } else { Err(Malformed) }, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let headers: HeaderMap =
                    [AGE, EXPIRES].map(|name| (name, value.clone())).into_iter().collect();
                prop_assert!(age(&headers) <= MAX_SECONDS);
                prop_assert!(date(&headers, &EXPIRES).is_some());
            }
        }

        #[test]
        fn dates_and_numbers_round_trip(
            seconds in 0..253_402_300_800_u64,
            number in any::<u64>(),
        ) {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            let text = httpdate::fmt_http_date(time);
            for text in [text.to_lowercase(), text.to_uppercase(), text] {
                prop_assert_eq!(parse_date(&HeaderValue::try_from(text).unwrap()), Ok(time));
            }
            prop_assert_eq!(parse_seconds(number.to_string().as_bytes()), Some(number.min(MAX_SECONDS)));
        }
    }
}
