use proptest::prelude::*;

use super::super::super::entry::{Freshness, Links, Watermark};
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
        links: Links::default(),
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
        (&[MODIFIED, STRONG], &[("if-modified-since", DATE.1), ("if-none-match", "\"b\"")], false),
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
    assert_eq!(evaluate(StatusCode::OK, &HeaderMap::new(), 10, &request, true), Conditional::Full);
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
