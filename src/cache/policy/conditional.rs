//! Conditions and ranges of requests (RFC 9110 §13 and §14), and those that the cache sends itself (RFC
//! 9111 §4.3).

use std::ops::Range;

use http::header::{
    CONTENT_ENCODING, DATE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE,
    SET_COOKIE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::super::entry::StoredResponse;
use super::cache_control::ResponseControl;
use super::date::{date, millis, parse_date};
use super::request::RequestPolicy;
use crate::headers::content_length::content_length;
use crate::headers::list;

/// The outcome of the conditions and the range of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Conditional {
    /// The whole response.
    Full,
    /// A 304.
    NotModified,
    /// A 206 with these bytes of the body.
    Partial(Range<u64>),
    /// A 416.
    Unsatisfiable,
}

/// The comparison of a 200 to HEAD with the stored response (RFC 9111 §4.3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadComparison {
    /// A GET would get the stored response.
    Same,
    /// A GET would get another response.
    Other,
    /// The HEAD shows neither.
    Unknown,
}

/// The single range of bytes that a request asks for (RFC 9110 §14.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ByteRange {
    /// The first byte. None for the last so many bytes.
    pub(super) first: Option<u64>,
    /// The last byte, or the number of bytes at the end.
    pub(super) last: Option<u64>,
}

impl ByteRange {
    /// Parses `bytes=first-last`, `bytes=first-` and `bytes=-last`. Returns `None` for a range that is
    /// ignored.
    pub(super) fn of(request: &HeaderMap) -> Option<Self> {
        let mut lines = request.get_all(RANGE).iter();
        let line = lines.next().filter(|_| lines.next().is_none())?;
        let (unit, set) = line.to_str().ok()?.split_once('=')?;
        let (first, last) = set.trim().split_once('-')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let number = |text: &str| -> Option<u64> {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().unwrap_or(u64::MAX))
        };
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first > last => None,
            (Some(_), None) if !last.is_empty() => None,
            (None, Some(_)) if !first.is_empty() => None,
            (None, None) => None,
            (first, last) => Some(Self { first, last }),
        }
    }

    /// Returns the bytes of a body of `size` bytes.
    pub(super) fn of_size(self, size: u64) -> Conditional {
        // Numbers are clipped, as §14.1.2 has it: a range may end behind the body.
        let range = match (self.first, self.last) {
            (Some(first), last) => {
                first..last.map_or(size, |last| last.saturating_add(1).min(size))
            }
            (None, last) => size.saturating_sub(last.unwrap_or(0))..size,
        };
        if range.start < size { Conditional::Partial(range) } else { Conditional::Unsatisfiable }
    }
}

/// Evaluates the conditions and the range of a request on a response with this status, these headers
/// and a body of `size` bytes (RFC 9110 §13.2.2). A request for several ranges gets the whole
/// response, which §14.2 allows.
pub(crate) fn evaluate(
    status: StatusCode,
    response: &HeaderMap,
    size: u64,
    request: &HeaderMap,
    head_only: bool,
) -> Conditional {
    if status != StatusCode::OK {
        return Conditional::Full;
    }
    if request.contains_key(IF_NONE_MATCH) {
        if matches_tag(request, response) {
            return Conditional::NotModified;
        }
    } else if request.contains_key(IF_MODIFIED_SINCE) && is_unmodified(request, response) {
        return Conditional::NotModified;
    }
    match ByteRange::of(request) {
        Some(range) if !head_only && is_same(request, response) => range.of_size(size),
        _ => Conditional::Full,
    }
}

/// Replaces the conditions of a request that may fill the cache by those of the cache (RFC 9111
/// §4.3.1): the client's copy, or a part, is no response to store. Returns `true` if the client's
/// conditions were removed, so that the cache evaluates them on the response.
///
/// The conditions stay if the response is known to be uncacheable and nothing is stored: a 304 saves
/// the service a body that nobody would store.
pub(crate) fn set_conditions(
    headers: &mut HeaderMap,
    request: &RequestPolicy,
    stored: Option<&StoredResponse>,
    is_uncacheable: bool,
) -> bool {
    // The response to a HEAD fills nothing, and may still confirm what is stored. The service gets no
    // condition of the client then, since a 304 to that would pass for a confirmation.
    let validates = request.no_fill.is_none() || request.freshens() && stored.is_some();
    // RFC 9110 §13.1.2: a POST whose condition is false gets 412, which confirms nothing.
    if !validates || request.post || is_uncacheable && stored.is_none() {
        return false;
    }
    if request.conditional {
        for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE, RANGE] {
            headers.remove(name);
        }
    }
    for (from, to) in [(ETAG, IF_NONE_MATCH), (LAST_MODIFIED, IF_MODIFIED_SINCE)] {
        if let Some(validator) = stored.and_then(|stored| stored.headers.get(from)) {
            headers.insert(to, validator.clone());
        }
    }
    request.conditional
}

/// Returns `true` if a response can be validated.
pub(crate) fn has_validator(response: &HeaderMap) -> bool {
    response.contains_key(ETAG) || response.contains_key(LAST_MODIFIED)
}

/// Returns a tag without its mark of weakness. Tags that differ by nothing else match weakly (RFC 9110
/// §8.8.3.2).
pub(crate) fn opaque_tag(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// Compares a response to HEAD with the stored response to GET (RFC 9111 §4.3.5). A response for a
/// single client says nothing of the one that is stored for all.
pub(crate) fn compare_head(
    stored: &StoredResponse,
    status: StatusCode,
    head: &HeaderMap,
) -> HeadComparison {
    let ResponseControl { no_store, private, .. } = ResponseControl::parse(head);
    if status != StatusCode::OK || no_store || private.is_some() || head.contains_key(SET_COOKIE) {
        return HeadComparison::Unknown;
    }
    // `None` if the HEAD does not have the header.
    let is_same = |name: &HeaderName, part: fn(&[u8]) -> &[u8]| {
        let old = stored.headers.get(name).map(|old| part(old.as_bytes()));
        let same = |new: &HeaderValue| old == Some(part(new.as_bytes()));
        head.contains_key(name).then(|| head.get_all(name).iter().all(same))
    };
    // Tags are compared weakly: a layer weakens the tag of a response whose body it encodes.
    let (tag, modified) = (is_same(&ETAG, opaque_tag), is_same(&LAST_MODIFIED, |date| date));
    let length = match content_length(head) {
        // The length of a body in another coding says nothing.
        _ if head.get(CONTENT_ENCODING) != stored.headers.get(CONTENT_ENCODING) => None,
        Ok(length) => length.map(|length| length == stored.body.len() as u64),
        Err(_) => Some(false),
    };
    if [tag, modified, length].contains(&Some(false)) {
        return HeadComparison::Other;
    }
    // The RFC takes a HEAD without any validator for the same response too. But an equal length alone
    // says little of the bytes, and many services answer HEAD with a bare 200.
    let is_validated = tag.or(modified).is_some() && stored.status == status;
    if is_validated { HeadComparison::Same } else { HeadComparison::Unknown }
}

/// Evaluates `if-none-match`, which compares weakly (RFC 9110 §13.1.2).
fn matches_tag(request: &HeaderMap, response: &HeaderMap) -> bool {
    let etag = response.get(ETAG).map(|tag| opaque_tag(tag.as_bytes().trim_ascii()));
    let mut tags = list::members(request, &IF_NONE_MATCH);
    tags.any(|tag| tag == b"*" || Some(opaque_tag(tag)) == etag)
}

/// Evaluates `if-modified-since`. A response without `last-modified` is as old as its `date` (RFC 9111
/// §4.3.2).
fn is_unmodified(request: &HeaderMap, response: &HeaderMap) -> bool {
    let modified = date(response, &LAST_MODIFIED).or_else(|| date(response, &DATE));
    match (date(request, &IF_MODIFIED_SINCE), modified) {
        (Some(Ok(since)), Some(Ok(modified))) => modified <= since,
        _ => false,
    }
}

/// Evaluates `if-range`: a strong tag, or the exact date (RFC 9110 §13.1.5).
fn is_same(request: &HeaderMap, response: &HeaderMap) -> bool {
    let Some(validator) = request.get(IF_RANGE) else { return true };
    let bytes = validator.as_bytes().trim_ascii();
    if bytes.starts_with(b"\"") {
        return response.get(ETAG).is_some_and(|tag| tag.as_bytes().trim_ascii() == bytes);
    }
    let (Ok(given), Some(Ok(modified)), Some(Ok(made))) =
        (parse_date(validator), date(response, &LAST_MODIFIED), date(response, &DATE))
    else {
        return false;
    };
    // §8.8.2.2: a date is a strong validator if the response was made at least a second later.
    given == modified && millis(made).saturating_sub(millis(modified)) >= 1000
}

#[cfg(test)]
mod tests;
