use std::ops::Range;

use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, DATE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    LAST_MODIFIED, RANGE, SET_COOKIE,
};
use http::{HeaderMap, StatusCode};

use super::super::control::{self, ResponseControl, millis, opaque_tag, parse_date};
use super::super::directive::members;
use super::super::entry::Stored;

/// What of a response a client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Whole,
    /// 304.
    NotModified,
    /// 206: these bytes of the body.
    Part(Range<u64>),
    /// 416.
    Unsatisfiable,
}

/// What a request asks of a response of this status, these fields, and a body of this many bytes
/// (RFC 9110 §13.2.2). Of several ranges none is answered, which §14.2 allows.
pub(crate) fn form(
    status: StatusCode,
    response: &HeaderMap,
    size: u64,
    request: &HeaderMap,
    head_only: bool,
) -> Form {
    if status != StatusCode::OK {
        return Form::Whole;
    }
    if request.contains_key(IF_NONE_MATCH) {
        if matches_tag(request, response) {
            return Form::NotModified;
        }
    } else if request.contains_key(IF_MODIFIED_SINCE) && is_unmodified(request, response) {
        return Form::NotModified;
    }
    match range(request, size) {
        Some(form) if !head_only && is_same(request, response) => form,
        _ => Form::Whole,
    }
}

/// Makes the request one that asks whether the entry is still right (RFC 9111 §4.3.1).
pub(crate) fn condition(request: &mut HeaderMap, stored: &Stored) {
    for (from, to) in [(ETAG, IF_NONE_MATCH), (LAST_MODIFIED, IF_MODIFIED_SINCE)] {
        if let Some(validator) = stored.headers.get(from) {
            request.insert(to, validator.clone());
        }
    }
}

/// Whether a response can be validated.
pub(crate) fn has_validator(response: &HeaderMap) -> bool {
    response.contains_key(ETAG) || response.contains_key(LAST_MODIFIED)
}

/// Takes what only the client's copy, or a part of it, is about from a request that fills.
pub(crate) fn validators(request: &mut HeaderMap) {
    for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE, RANGE] {
        request.remove(name);
    }
}

/// Returns `true` if a 200 to HEAD shows that the entry is not what a GET would get any more (RFC
/// 9111 §4.3.5). One that is for a single client says nothing of what is stored for all.
pub(crate) fn outdated(stored: &Stored, status: StatusCode, head: &HeaderMap) -> bool {
    let ResponseControl { no_store, private, .. } = ResponseControl::of(head);
    if status != StatusCode::OK || no_store || private.is_some() || head.contains_key(SET_COOKIE) {
        return false;
    }
    let values = |name| Some((head.get(&name)?, stored.headers.get(&name)));
    let differs = |name| values(name).is_some_and(|(head, stored)| stored != Some(head));
    // Tags are compared weakly: a layer weakens the tag of a response that has a body to encode.
    let tag_differs = values(ETAG).is_some_and(|(head, stored)| {
        stored.is_none_or(|stored| opaque_tag(stored.as_bytes()) != opaque_tag(head.as_bytes()))
    });
    // A length says nothing of a body that is encoded otherwise.
    let same_coding = head.get(CONTENT_ENCODING) == stored.headers.get(CONTENT_ENCODING);
    tag_differs || differs(LAST_MODIFIED) || same_coding && differs(CONTENT_LENGTH)
}

/// `if-none-match`, compared weakly (RFC 9110 §13.1.2).
fn matches_tag(request: &HeaderMap, response: &HeaderMap) -> bool {
    let etag = response.get(ETAG).map(|tag| opaque_tag(tag.as_bytes().trim_ascii()));
    let mut lines = request.get_all(IF_NONE_MATCH).iter();
    lines.any(|line| {
        let mut tags = members(line.as_bytes());
        tags.any(|tag| tag == b"*" || Some(opaque_tag(tag)) == etag)
    })
}

/// `if-modified-since`; without a `last-modified` it is the `date` that counts (RFC 9111 §4.3.2).
fn is_unmodified(request: &HeaderMap, response: &HeaderMap) -> bool {
    let modified =
        control::date(response, &LAST_MODIFIED).or_else(|| control::date(response, &DATE));
    match (control::date(request, &IF_MODIFIED_SINCE), modified) {
        (Some(Ok(since)), Some(Ok(modified))) => modified <= since,
        _ => false,
    }
}

/// `if-range`: a strong tag, or the very date (RFC 9110 §13.1.5).
fn is_same(request: &HeaderMap, response: &HeaderMap) -> bool {
    let Some(validator) = request.get(IF_RANGE) else { return true };
    let bytes = validator.as_bytes().trim_ascii();
    if bytes.starts_with(b"\"") {
        return response.get(ETAG).is_some_and(|tag| tag.as_bytes().trim_ascii() == bytes);
    }
    let (Ok(given), Some(Ok(modified)), Some(Ok(date))) = (
        parse_date(validator),
        control::date(response, &LAST_MODIFIED),
        control::date(response, &DATE),
    ) else {
        return false;
    };
    // §8.8.2.2: a date is strong if it was a while ago when the response was made.
    given == modified && millis(date).saturating_sub(millis(modified)) >= 1000
}

/// `bytes=first-last`, `bytes=first-` and `bytes=-last` (RFC 9110 §14.1.2); `None` for what is not
/// to be heeded.
fn range(request: &HeaderMap, size: u64) -> Option<Form> {
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
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Some(first), None) if last.is_empty() => first..size,
        (None, Some(last)) if first.is_empty() => {
            if last == 0 {
                size..size
            } else {
                size.saturating_sub(last)..size
            }
        }
        _ => return None,
    };
    Some(if range.start < size { Form::Part(range) } else { Form::Unsatisfiable })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::headers::test_headers::{TestHeaders, map};

    const STRONG: (&str, &str) = ("etag", "\"a\"");
    const WEAK: (&str, &str) = ("etag", "W/\"a\"");
    const MODIFIED: (&str, &str) = ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    const DATE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:59:37 GMT");

    fn form_of(response: TestHeaders<'_>, request: TestHeaders<'_>) -> Form {
        form(StatusCode::OK, &map(response), 10, &map(request), false)
    }

    #[test]
    fn a_client_that_has_the_response_is_told_so() {
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
            assert_eq!(form == Form::NotModified, *expected, "{response:?} {request:?}");
        }
        let request = map(&[("if-none-match", "*")]);
        let gone = form(StatusCode::NOT_FOUND, &HeaderMap::new(), 10, &request, false);
        assert_eq!(gone, Form::Whole);
    }

    #[test]
    fn a_range_of_ten_bytes_is_answered() {
        // RFC 9110 §14.1.2.
        for (range, expected) in [
            ("bytes=0-4", Form::Part(0..5)),
            ("Bytes = 0-4", Form::Part(0..5)),
            ("bytes=9-9", Form::Part(9..10)),
            ("bytes=5-", Form::Part(5..10)),
            ("bytes=5-99999999999999999999999", Form::Part(5..10)),
            ("bytes=-3", Form::Part(7..10)),
            ("bytes=-99", Form::Part(0..10)),
            ("bytes=10-", Form::Unsatisfiable),
            ("bytes=-0", Form::Unsatisfiable),
            ("bytes=4-3", Form::Whole),
            ("bytes=0-1,3-4", Form::Whole),
            ("bytes=-", Form::Whole),
            ("bytes=+1-2", Form::Whole),
            ("lines=0-4", Form::Whole),
            ("bytes", Form::Whole),
        ] {
            assert_eq!(form_of(&[], &[("range", range)]), expected, "{range}");
        }
        let request = map(&[("range", "bytes=0-4")]);
        assert_eq!(form(StatusCode::OK, &HeaderMap::new(), 10, &request, true), Form::Whole);
        assert_eq!(
            form(StatusCode::OK, &HeaderMap::new(), 0, &request, false),
            Form::Unsatisfiable
        );
    }

    #[test]
    fn a_range_of_another_response_is_not_answered() {
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
            assert_eq!(form == Form::Part(0..5), *expected, "{response:?} {if_range}");
        }
    }

    proptest! {
        #[test]
        fn a_range_is_the_part_that_its_numbers_name(size in 0_u64..50, first in 0_u64..60, last in 0_u64..60) {
            let of = |range: &str| {
                let request = map(&[("range", range)]);
                form(StatusCode::OK, &HeaderMap::new(), size, &request, false)
            };
            let part = |first: u64, end: u64| {
                if first < end { Form::Part(first..end) } else { Form::Unsatisfiable }
            };
            let both = if first <= last { part(first, size.min(last + 1)) } else { Form::Whole };
            prop_assert_eq!(of(&format!("bytes={first}-{last}")), both);
            prop_assert_eq!(of(&format!("bytes={first}-")), part(first, size));
            prop_assert_eq!(of(&format!("bytes=-{last}")), part(size.saturating_sub(last), size));
        }

        #[test]
        fn no_field_makes_it_panic_or_give_what_is_not_there(
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
            if let Form::Part(part) = form(StatusCode::OK, &headers, size, &headers, head_only) {
                prop_assert!(!head_only && part.start < part.end && part.end <= size);
            }
        }
    }
}
