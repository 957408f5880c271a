use super::*;
use crate::headers::test_headers::{TestHeaders, map};

#[test]
fn only_query_and_chosen_post_are_read() {
    use ContentMethod::{Post, Query};
    for (method, without, with) in [
        ("QUERY", Some(Query), Some(Query)),
        ("POST", None, Some(Post)),
        ("query", None, None),
        ("GET", None, None),
        ("HEAD", None, None),
        ("PUT", None, None),
        ("SEARCH", None, None),
    ] {
        let method: Method = method.parse().unwrap();
        assert_eq!(content_method(&method, false), without, "{method}");
        assert_eq!(content_method(&method, true), with, "{method}");
    }
}

#[test]
fn doubtful_and_large_contents_are_not_read() {
    type Row = (TestHeaders<'static>, u64, Result<Option<u64>, Unread>);
    let table: &[Row] = &[
        (&[], 0, Ok(None)),
        (&[], 10, Ok(None)),
        (&[], 11, Err(Unread::TooLarge)),
        (&[("content-length", "10")], 10, Ok(Some(10))),
        (&[("content-length", "10"), ("content-length", "10")], 10, Ok(Some(10))),
        (&[("content-length", "11")], 0, Err(Unread::TooLarge)),
        (&[("content-length", "18446744073709551616")], 0, Err(Unread::Malformed)),
        (&[("content-length", "x")], 0, Err(Unread::Malformed)),
        (&[("content-length", "-1")], 0, Err(Unread::Malformed)),
        (&[("content-length", "1"), ("content-length", "2")], 0, Err(Unread::Malformed)),
        (&[("transfer-encoding", "chunked")], 0, Ok(None)),
        (&[("transfer-encoding", "chunked"), ("content-length", "1")], 0, Err(Unread::Malformed)),
        (&[("content-range", "bytes 0-1/9")], 0, Err(Unread::Malformed)),
    ];
    for (headers, lower, expected) in table {
        assert_eq!(declared_length(&map(headers), *lower, 10), *expected, "{headers:?}");
    }
}

#[test]
fn digest_has_content_and_its_metadata() {
    let of = |headers: TestHeaders<'_>, content: &str| digest(&map(headers), content.as_bytes());
    let json = ("content-type", "application/json");
    let gzip = ("content-encoding", "gzip");
    let same: &[(TestHeaders<'_>, TestHeaders<'_>)] = &[
        (&[json, gzip], &[gzip, json]),
        (&[json], &[json, ("accept", "*/*"), ("content-length", "1")]),
        (&[json], &[json, ("transfer-encoding", "chunked")]),
    ];
    for (one, other) in same {
        assert_eq!(of(one, "a"), of(other, "a"), "{one:?} {other:?}");
    }
    let others: &[(TestHeaders<'_>, &str)] = &[
        (&[], "a"),
        (&[], "b"),
        (&[], ""),
        (&[json], "a"),
        (&[("content-type", "Application/json")], "a"),
        (&[json, json], "a"),
        (&[("content-type", "")], "a"),
        (&[gzip], "a"),
        (&[("content-language", "en")], "a"),
        (&[("content-location", "/a")], "a"),
        (&[("content-new", "1")], "a"),
        // The boundary of a value is not in the content.
        (&[("content-type", "application/jso")], "na"),
    ];
    for (at, (headers, content)) in others.iter().enumerate() {
        for (other_headers, other) in &others[..at] {
            let message = format!("{headers:?} {content:?}, {other_headers:?} {other:?}");
            assert_ne!(of(headers, content), of(other_headers, other), "{message}");
        }
    }
}

#[test]
fn digest_is_that_of_the_first_version() {
    // Processes of several versions share the entries of a Redis.
    let of = |content: &[u8]| digest(&map(&[("content-type", "text/plain")]), content);
    assert_eq!(of(b"a")[..4], DIGEST_OF_A);
    assert_eq!(of(&[b'x'; 64 * 1024])[..4], DIGEST_OF_64_KIB);
}

// As Python's hashlib computes them.
const DIGEST_OF_A: [u8; 4] = [96, 184, 230, 96];
const DIGEST_OF_64_KIB: [u8; 4] = [163, 201, 255, 9];
