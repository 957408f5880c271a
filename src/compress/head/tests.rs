use super::super::encoding::Encoding;
use super::*;
use crate::headers::test_headers::{TestHeaders, map};

#[test]
fn headers_describe_the_compressed_bytes() {
    let fields: TestHeaders<'_> = &[
        ("etag", "\"v1\""),
        ("content-length", "2000"),
        ("accept-ranges", "bytes"),
        ("content-digest", "sha-256=:AA==:"),
        ("repr-digest", "sha-256=:AA==:"),
        ("content-encoding", "identity"),
    ];
    let mut headers = map(fields);
    set_encoding_headers(&mut headers, Coding::Encoding(Encoding::Gzip), Some(7));
    let expected: TestHeaders<'_> =
        &[("etag", "\"v1\""), ("content-length", "7"), ("content-encoding", "gzip")];
    assert_eq!(headers, map(expected));
    let mut headers = map(fields);
    set_encoding_headers(&mut headers, Coding::Encoding(Encoding::Gzip), None);
    assert_eq!(headers, map(&[("etag", "\"v1\""), ("content-encoding", "gzip")]));
}

#[test]
fn no_length_beside_a_transfer_encoding() {
    let mut headers = map(&[("transfer-encoding", "chunked")]);
    set_encoding_headers(&mut headers, Coding::Encoding(Encoding::Gzip), Some(7));
    let expected = [("transfer-encoding", "chunked"), ("content-encoding", "gzip")];
    assert_eq!(headers, map(&expected));
    for (value, expected) in
        [("chunked", false), ("Chunked", false), ("gzip, chunked", true), ("", true)]
    {
        let headers = map(&[("transfer-encoding", value)]);
        assert_eq!(is_transfer_encoded(&headers), expected, "{value}");
    }
}

#[test]
fn vary_names_available_dictionary_once() {
    for (before, after) in [
        (&[][..], &["accept-encoding, available-dictionary"][..]),
        (&["accept-encoding"], &["accept-encoding", "available-dictionary"]),
        (&["origin, accept-encoding"], &["origin, accept-encoding", "available-dictionary"]),
        (&["Available-Dictionary"], &["Available-Dictionary", "accept-encoding"]),
        (&["*"], &["*"]),
    ] {
        let fields: Vec<_> = before.iter().map(|value| ("vary", *value)).collect();
        let mut headers = map(&fields);
        add_vary(&mut headers, true);
        assert!(headers.get_all(VARY).iter().eq(after.iter()), "{before:?}");
    }
}

#[test]
fn vary_names_accept_encoding_once() {
    for (before, after) in [
        (&[][..], &["accept-encoding"][..]),
        (&["origin"], &["origin", "accept-encoding"]),
        (&["origin, Accept-Encoding"], &["origin, Accept-Encoding"]),
        (&["origin", "accept-encoding"], &["origin", "accept-encoding"]),
        (&["*"], &["*"]),
        (&["accept-encodings"], &["accept-encodings", "accept-encoding"]),
    ] {
        let fields: Vec<_> = before.iter().map(|line| ("vary", *line)).collect();
        let mut headers = map(&fields);
        add_vary(&mut headers, false);
        assert!(headers.get_all(VARY).iter().eq(after), "{before:?} {headers:?}");
    }
}

#[test]
fn private_overrides_every_cache_header() {
    for (before, after) in [
        (&[][..], "private"),
        (&[("cache-control", "max-age=60")], "private, max-age=60"),
        (
            &[("cache-control", "public"), ("cache-control", "s-maxage=9")],
            "private, public, s-maxage=9",
        ),
        (&[("cdn-cache-control", "max-age=60"), ("surrogate-control", "max-age=9")], "private"),
    ] {
        let mut headers = map(before);
        make_private(&mut headers);
        assert_eq!(headers, map(&[("cache-control", after)]), "{before:?}");
    }
}
