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
mod tests {
    use proptest::prelude::*;

    use super::super::super::entry::{Freshness, Watermark};
    use super::super::super::vary::Variant;
    use super::super::request::Bypass;
    use super::*;
    use crate::headers::test_headers::{TestHeaders, map};

    const STRONG: (&str, &str) = ("etag", "\"a\"");
    const WEAK: (&str, &str) = ("etag", "W/\"a\"");
    const MODIFIED: (&str, &str) = ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    const DATE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:59:37 GMT");

    /// A stored 200 with a body of 8 bytes.
    fn stored(headers: TestHeaders<'_>) -> StoredResponse {
        StoredResponse {
            status: StatusCode::OK,
            headers: map(headers),
            body: bytes::Bytes::from_static(b"the body"),
            freshness: Freshness::default(),
            variant: Variant::default(),
            tags: Vec::new(),
            watermark: Watermark::default(),
        }
    }

    fn form_of(response: TestHeaders<'_>, request: TestHeaders<'_>) -> Conditional {
        evaluate(StatusCode::OK, &map(response), 10, &map(request), false)
    }

    #[test]
    fn client_with_the_response_gets_a_304() {
        // RFC 9110 §13.1.2, §13.1.3, §13.2.2; RFC 9111 §4.3.2.
        let table: &[(TestHeaders<'_>, TestHeaders<'_>, bool)] = &[
            (&[STRONG], &[("if-none-match", "\"a\"")], true),
            (&[STRONG], &[("if-none-match", "W/\"a\"")], true),
            (&[WEAK], &[("if-none-match", "\"a\"")], true),
            (&[STRONG], &[("if-none-match", "\"b\", \"a\"")], true),
            (&[STRONG], &[("if-none-match", "\"b\""), ("if-none-match", "\"a\"")], true),
            (&[("etag", "\"a,b\"")], &[("if-none-match", "\"a,b\"")], true),
            (&[STRONG], &[("if-none-match", "*")], true),
            (&[], &[("if-none-match", "*")], true),
            (&[STRONG], &[("if-none-match", "\"b\"")], false),
            (&[STRONG], &[("if-none-match", "a")], false),
            (&[], &[("if-none-match", "\"a\"")], false),
            (&[MODIFIED], &[("if-modified-since", MODIFIED.1)], true),
            (&[MODIFIED], &[("if-modified-since", DATE.1)], true),
            (&[DATE], &[("if-modified-since", DATE.1)], true),
            (&[MODIFIED], &[("if-modified-since", "Sun, 06 Nov 1994 08:49:36 GMT")], false),
            (&[MODIFIED], &[("if-modified-since", "yesterday")], false),
            (
                &[MODIFIED, STRONG],
                &[("if-modified-since", DATE.1), ("if-none-match", "\"b\"")],
                false,
            ),
        ];
        for (response, request, expected) in table {
            let form = form_of(response, request);
            assert_eq!(form == Conditional::NotModified, *expected, "{response:?} {request:?}");
        }
        let request = map(&[("if-none-match", "*")]);
        let gone = evaluate(StatusCode::NOT_FOUND, &HeaderMap::new(), 10, &request, false);
        assert_eq!(gone, Conditional::Full);
    }

    #[test]
    fn a_range_of_ten_bytes_is_answered() {
        // RFC 9110 §14.1.2.
        for (range, expected) in [
            ("bytes=0-4", Conditional::Partial(0..5)),
            ("Bytes = 0-4", Conditional::Partial(0..5)),
            ("bytes=9-9", Conditional::Partial(9..10)),
            ("bytes=5-", Conditional::Partial(5..10)),
            ("bytes=5-99999999999999999999999", Conditional::Partial(5..10)),
            ("bytes=-3", Conditional::Partial(7..10)),
            ("bytes=-99", Conditional::Partial(0..10)),
            ("bytes=10-", Conditional::Unsatisfiable),
            ("bytes=-0", Conditional::Unsatisfiable),
            ("bytes=4-3", Conditional::Full),
            ("bytes=0-1,3-4", Conditional::Full),
            ("bytes=-", Conditional::Full),
            ("bytes=+1-2", Conditional::Full),
            ("lines=0-4", Conditional::Full),
            ("bytes", Conditional::Full),
        ] {
            assert_eq!(form_of(&[], &[("range", range)]), expected, "{range}");
        }
        let request = map(&[("range", "bytes=0-4")]);
        assert_eq!(
            evaluate(StatusCode::OK, &HeaderMap::new(), 10, &request, true),
            Conditional::Full
        );
        assert_eq!(
            evaluate(StatusCode::OK, &HeaderMap::new(), 0, &request, false),
            Conditional::Unsatisfiable
        );
    }

    #[test]
    fn if_range_of_another_response_is_ignored() {
        // RFC 9110 §13.1.5.
        let table: &[(TestHeaders<'_>, &str, bool)] = &[
            (&[STRONG], "\"a\"", true),
            (&[STRONG], "\"b\"", false),
            (&[WEAK], "W/\"a\"", false),
            (&[WEAK], "\"a\"", false),
            (&[MODIFIED, DATE], MODIFIED.1, true),
            (&[MODIFIED, DATE], DATE.1, false),
            (&[MODIFIED, ("date", MODIFIED.1)], MODIFIED.1, false),
            (&[], MODIFIED.1, false),
        ];
        for (response, if_range, expected) in table {
            let form = form_of(response, &[("range", "bytes=0-4"), ("if-range", if_range)]);
            assert_eq!(form == Conditional::Partial(0..5), *expected, "{response:?} {if_range}");
        }
    }

    #[test]
    fn conditions_sent_are_those_of_the_cache() {
        let (none, tagged) = (None, Some(stored(&[STRONG, MODIFIED])));
        let bare = Some(stored(&[]));
        let own = [("if-none-match", "\"mine\""), ("if-range", "\"mine\"")];
        let conditional = RequestPolicy { conditional: true, ..RequestPolicy::default() };
        let partial = RequestPolicy { no_fill: Some(Bypass::Partial), ..conditional };
        let head = RequestPolicy { head_only: true, ..partial };
        let poisonous = RequestPolicy { no_fill: Some(Bypass::Override), ..head };
        let plain = RequestPolicy::default();
        // The request, the entry, whether the key is known to be uncacheable; the tag that the
        // service sees, and whether the cache evaluates the client's.
        let table = [
            (plain, &none, false, None, false),
            (plain, &tagged, false, Some(STRONG.1), false),
            (plain, &none, true, None, false),
            (conditional, &none, false, None, true),
            (conditional, &tagged, false, Some(STRONG.1), true),
            (conditional, &tagged, true, Some(STRONG.1), true),
            // Nothing is to be stored: a 304 of the service is worth more.
            (conditional, &none, true, Some(own[0].1), false),
            (partial, &none, false, Some(own[0].1), false),
            (partial, &tagged, false, Some(own[0].1), false),
            // A HEAD may confirm what is stored, and a 304 to the client's own tag would not.
            (head, &none, false, Some(own[0].1), false),
            (head, &tagged, false, Some(STRONG.1), true),
            (head, &tagged, true, Some(STRONG.1), true),
            (head, &bare, false, None, true),
            (poisonous, &tagged, false, Some(own[0].1), false),
        ];
        for (request, stored, uncacheable, tag, evaluates) in table {
            let mut headers = map(if request.conditional { &own } else { &[] });
            let evaluated = set_conditions(&mut headers, &request, stored.as_ref(), uncacheable);
            let sent = headers.get("if-none-match").map(|tag| tag.to_str().unwrap());
            assert_eq!((sent, evaluated), (tag, evaluates), "{request:?} {uncacheable}");
            let since = headers.get("if-modified-since").map(|date| date.to_str().unwrap());
            let validates = tag == Some(STRONG.1);
            assert_eq!(since, validates.then_some(MODIFIED.1), "{request:?}");
        }
    }

    #[test]
    fn a_head_is_compared_with_the_stored_response() {
        use HeadComparison::{Other, Same, Unknown};
        const LATER: (&str, &str) = ("last-modified", "Sun, 06 Nov 1994 08:49:38 GMT");
        const OTHER: (&str, &str) = ("etag", "\"b\"");
        const GZIP: (&str, &str) = ("content-encoding", "gzip");
        const fn length(text: &str) -> (&str, &str) {
            ("content-length", text)
        }
        // RFC 9111 §4.3.5: all validators that the HEAD has, and the length.
        let table: &[(TestHeaders<'_>, TestHeaders<'_>, HeadComparison)] = &[
            (&[STRONG], &[STRONG], Same),
            (&[STRONG], &[WEAK], Same),
            (&[WEAK], &[STRONG], Same),
            (&[STRONG], &[OTHER], Other),
            (&[], &[STRONG], Other),
            (&[MODIFIED], &[MODIFIED], Same),
            (&[MODIFIED], &[LATER], Other),
            (&[STRONG, MODIFIED], &[STRONG, MODIFIED], Same),
            (&[STRONG, MODIFIED], &[STRONG], Same),
            (&[STRONG, MODIFIED], &[MODIFIED], Same),
            (&[STRONG, MODIFIED], &[STRONG, LATER], Other),
            (&[STRONG, MODIFIED], &[OTHER, MODIFIED], Other),
            (&[STRONG], &[STRONG, MODIFIED], Other),
            (&[STRONG], &[STRONG, length("8")], Same),
            (&[STRONG], &[STRONG, length("9")], Other),
            (&[STRONG], &[STRONG, GZIP, length("9")], Same),
            (&[STRONG, GZIP], &[STRONG, length("9")], Same),
            (&[STRONG, GZIP], &[STRONG, GZIP, length("9")], Other),
            // A layer in between may drop it.
            (&[STRONG], &[], Unknown),
            (&[], &[], Unknown),
            (&[], &[length("8")], Unknown),
            (&[], &[length("9")], Other),
            // Malformed.
            (&[STRONG], &[STRONG, OTHER], Other),
            (&[STRONG], &[STRONG, length("8"), length("9")], Other),
            (&[STRONG], &[STRONG, length("+8")], Other),
            // For one client.
            (&[STRONG], &[OTHER, ("cache-control", "private")], Unknown),
            (&[STRONG], &[STRONG, ("cache-control", "private=\"x-a\"")], Unknown),
            (&[STRONG], &[STRONG, ("cache-control", "no-store; x")], Unknown),
            (&[STRONG], &[STRONG, ("set-cookie", "a=b")], Unknown),
        ];
        for (old, head, expected) in table {
            let found = compare_head(&stored(old), StatusCode::OK, &map(head));
            assert_eq!(found, *expected, "{old:?} {head:?}");
        }
        for status in [204, 206, 304, 404, 500] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(compare_head(&stored(&[STRONG]), status, &map(&[OTHER])), Unknown);
        }
        let gone = StoredResponse { status: StatusCode::GONE, ..stored(&[STRONG]) };
        assert_eq!(compare_head(&gone, StatusCode::OK, &map(&[STRONG])), Unknown);
    }

    proptest! {
        #[test]
        fn a_range_is_the_part_that_its_numbers_name(size in 0_u64..50, first in 0_u64..60, last in 0_u64..60) {
            let of = |range: &str| {
                let request = map(&[("range", range)]);
                evaluate(StatusCode::OK, &HeaderMap::new(), size, &request, false)
            };
            let part = |first: u64, end: u64| {
                if first < end { Conditional::Partial(first..end) } else { Conditional::Unsatisfiable }
            };
            let both = if first <= last { part(first, size.min(last + 1)) } else { Conditional::Full };
            prop_assert_eq!(of(&format!("bytes={first}-{last}")), both);
            prop_assert_eq!(of(&format!("bytes={first}-")), part(first, size));
            prop_assert_eq!(of(&format!("bytes=-{last}")), part(size.saturating_sub(last), size));
        }

        #[test]
        fn part_is_within_the_body(
            fields in prop::collection::vec((0..7_usize, prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                "(bytes=)?[0-9]{0,21}-[0-9]{0,21}|(W/)?\"[ab]?\"|\\*".prop_map(String::into_bytes),
            ]), 0..8),
            size in any::<u64>(),
            head_only in any::<bool>(),
        ) {
            let names = [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE, RANGE, ETAG, LAST_MODIFIED, http::header::DATE];
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    headers.append(&names[name], value);
                }
            }
            if let Conditional::Partial(part) = evaluate(StatusCode::OK, &headers, size, &headers, head_only) {
                prop_assert!(!head_only && part.start < part.end && part.end <= size);
            }
        }
    }
}
