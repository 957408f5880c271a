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
mod tests;
