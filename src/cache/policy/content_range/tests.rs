use super::*;
use crate::headers::test_headers::{TestHeaders, map};

#[test]
fn only_the_usual_spelling_is_a_content_range() {
    // RFC 9110 §14.4.
    for (line, expected) in [
        ("bytes 0-3/10", Some((0, 4, 10))),
        ("bytes 9-9/10", Some((9, 10, 10))),
        ("bytes 0-9/10", Some((0, 10, 10))),
        ("bytes 0-18446744073709551614/18446744073709551615", Some((0, u64::MAX, u64::MAX))),
        ("bytes 0-3/*", None),
        ("bytes */10", None),
        ("bytes 3-0/10", None),
        ("bytes 0-10/10", None),
        ("bytes 0-0/0", None),
        ("bytes 00-3/10", None),
        ("bytes 0-+3/10", None),
        ("bytes 0-3/010", None),
        ("bytes 0 -3/10", None),
        ("bytes  0-3/10", None),
        ("bytes=0-3/10", None),
        ("Bytes 0-3/10", None),
        ("lines 0-3/10", None),
        ("bytes 0-3/18446744073709551616", None),
        ("bytes 0-3/10, bytes 4-5/10", None),
        ("", None),
    ] {
        let found = ContentRange::of(&map(&[("content-range", line)]));
        let expected = expected.map(|(first, end, total)| ContentRange { first, end, total });
        assert_eq!(found, expected, "{line}");
    }
    let twice = ("content-range", "bytes 0-3/10");
    assert_eq!(ContentRange::of(&map(&[twice, twice])), None);
    assert_eq!(ContentRange::of(&HeaderMap::new()), None);
}

#[test]
fn only_strong_validators_name_a_representation() {
    // RFC 9110 §8.8.1, §8.8.2.2, §8.8.3.
    const MODIFIED: (&str, &str) = ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    let later = ("date", "Sun, 06 Nov 1994 08:49:38 GMT");
    let table: &[(TestHeaders<'_>, bool)] = &[
        (&[("etag", "\"a\"")], true),
        (&[("etag", "\"\"")], true),
        (&[MODIFIED, later], true),
        (&[("etag", "W/\"a\"")], false),
        (&[("etag", "W/\"a\""), MODIFIED, later], false),
        (&[("etag", "a")], false),
        (&[("etag", "\"")], false),
        (&[("etag", "\"a\""), ("etag", "\"b\"")], false),
        (&[MODIFIED], false),
        (&[MODIFIED, ("date", MODIFIED.1)], false),
        (&[("last-modified", "yesterday"), later], false),
        (&[], false),
    ];
    for (headers, expected) in table {
        let range = ContentRange { first: 0, end: 1, total: 2 };
        let found = Representation::new(&map(headers), None, range);
        assert_eq!(found.is_some(), *expected, "{headers:?}");
    }
    let of = |tag, total| {
        let range = ContentRange { first: 0, end: 1, total };
        Representation::new(&map(&[("etag", tag)]), None, range)
    };
    assert_eq!(of("\"a\"", 2), of("\"a\"", 2));
    assert_ne!(of("\"a\"", 2), of("\"b\"", 2));
    assert_ne!(of("\"a\"", 2), of("\"a\"", 3));
}
