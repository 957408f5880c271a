use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE};
use proptest::prelude::*;

use super::*;

type Fields<'a> = &'a [(&'a str, &'a str)];

const JSON: (&str, &str) = ("content-type", "application/json");

fn headers(fields: Fields<'_>) -> HeaderMap {
    let parse = |(name, value): &(&str, &str)| (name.parse().unwrap(), value.parse().unwrap());
    let mut headers = HeaderMap::new();
    for (name, value) in fields.iter().map(parse) {
        headers.append::<HeaderName>(name, value);
    }
    headers
}

/// Decides about a POST whose body is empty if `size_hint` is exactly 0.
fn decide_on(
    limits: &Limits,
    version: Version,
    uri: &str,
    fields: Fields<'_>,
    size_hint: SizeHint,
) -> Decision {
    let is_end_stream = size_hint.exact() == Some(0);
    let (uri, headers) = (&uri.parse().unwrap(), &headers(fields));
    let method = &Method::POST;
    decide(limits, &RequestHead { method, version, uri, headers, size_hint, is_end_stream })
}

fn rejected(decision: &Decision) -> Option<(u16, Reason)> {
    match decision {
        Decision::Reject { rejection, .. } => {
            Some((rejection.status().as_u16(), rejection.reason()))
        }
        Decision::Admit(_) => None,
    }
}

fn limits(edit: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    edit(&mut limits);
    limits
}

fn at_least(lower: u64) -> SizeHint {
    let mut hint = SizeHint::new();
    hint.set_lower(lower);
    hint
}

#[test]
fn requests_are_decided_before_their_body() {
    let (unknown, exact) = (SizeHint::new, SizeHint::with_exact);
    let (fits, long) = (format!("/{}", "a".repeat(8_191)), format!("/{}", "a".repeat(8_192)));
    let many = vec![("a", "b"); 101];
    let large = "v".repeat(16_384);
    let too_large = Some((413, Reason::BodyTooLarge));
    type Row<'a> = (&'a str, Fields<'a>, SizeHint, Option<(u16, Reason)>);
    let table: &[Row<'_>] = &[
        ("/", &[], exact(0), None),
        ("/", &[JSON, ("content-length", "10240")], exact(10_240), None),
        ("/", &[JSON, ("content-length", "10241")], exact(10_241), too_large),
        ("/", &[JSON, ("content-length", "10241")], unknown(), too_large),
        ("/", &[JSON, ("content-length", "9")], exact(10_241), too_large),
        ("/", &[JSON], exact(10_241), too_large),
        ("/", &[JSON], at_least(10_241), too_large),
        ("/", &[JSON], unknown(), None),
        ("/", &[("content-length", "99999999999999999999")], unknown(), too_large),
        ("/", &[JSON, ("content-length", "99999999999999999999")], exact(0), too_large),
        ("/", &[("content-length", "x")], unknown(), Some((400, Reason::InvalidContentLength))),
        (&fits, &[], exact(0), None),
        (&long, &[], exact(0), Some((414, Reason::UriTooLong))),
        ("/", &many[..100], exact(0), None),
        ("/", &many, exact(0), Some((431, Reason::TooManyHeaders))),
        ("/", &[("a", &large)], exact(0), Some((431, Reason::HeadersTooLarge))),
        ("/", &[("a", &large[..16_379])], exact(0), None),
    ];
    for (uri, fields, hint, expected) in table {
        let decision = decide_on(&Limits::default(), Version::HTTP_11, uri, fields, *hint);
        assert_eq!(rejected(&decision), *expected, "{} {fields:?} {hint:?}", uri.len());
    }
}

#[test]
fn unlimited_admits_any_length() {
    let limits = limits(|it| it.json(Size::UNLIMITED));
    let huge = [JSON, ("content-length", "99999999999999999999")];
    let decision = decide_on(&limits, Version::HTTP_11, "/", &huge, SizeHint::new());
    assert_eq!(rejected(&decision), None);
    let decision = decide_on(&limits, Version::HTTP_11, "/", &[JSON], SizeHint::new());
    let Decision::Admit(admission) = decision else { panic!("{decision:?}") };
    assert!(admission.rejection.is_none(), "there is no limit to exceed");
}

#[test]
fn an_unread_body_closes_an_http_1_connection() {
    let closes = |version, hint| {
        let fields = &[("content-length", "x")];
        match decide_on(&Limits::default(), version, "/", fields, hint) {
            Decision::Reject { rejection, .. } => {
                let response = rejection.finish(rejection.to_response());
                response.headers().get(CONNECTION).is_some_and(|value| value == "close")
            }
            Decision::Admit(_) => panic!("an invalid length is admitted"),
        }
    };
    assert!(closes(Version::HTTP_10, SizeHint::new()));
    assert!(closes(Version::HTTP_11, SizeHint::new()));
    assert!(!closes(Version::HTTP_11, SizeHint::with_exact(0)));
    assert!(!closes(Version::HTTP_2, SizeHint::new()), "RFC 9113 §8.2.2 forbids the header");
}

#[test]
fn cookie_lines_count_as_one_above_http_1() {
    let too_many = Some((431, Reason::TooManyHeaders));
    let table = [
        // (cookie lines, other lines, rejected over HTTP/1, over HTTP/2 and HTTP/3)
        (100, 0, None, None),
        (101, 0, too_many, None),
        (600, 99, too_many, None),
        (600, 100, too_many, too_many),
        (0, 101, too_many, too_many),
        (1, 100, too_many, too_many),
    ];
    for (cookies, others, http_1, http_2) in table {
        let fields = [vec![("cookie", "k=v"); cookies], vec![("a", "b"); others]].concat();
        for (version, expected) in [
            (Version::HTTP_10, http_1),
            (Version::HTTP_11, http_1),
            (Version::HTTP_2, http_2),
            (Version::HTTP_3, http_2),
        ] {
            let exact = SizeHint::with_exact(0);
            let decision = decide_on(&Limits::default(), version, "/", &fields, exact);
            assert_eq!(rejected(&decision), expected, "{cookies} {others} {version:?}");
        }
    }
}

#[test]
fn cookie_lines_have_the_size_of_one_header() {
    let joined = ["a=1"; 50].join("; ");
    for other in [&[][..], &[("x-a", "b"), ("accept", "*/*")]] {
        let one = [other, &[("cookie", &joined)]].concat();
        let split = [other, &[("cookie", "a=1"); 50]].concat();
        assert_eq!(headers_len(&headers(&split), 49), headers_len(&headers(&one), 0));
    }
    let len = ("cookie: ".len() + joined.len() + "\r\n".len()) as u64;
    for (max, expected) in [(len, None), (len - 1, Some((431, Reason::HeadersTooLarge)))] {
        let limits = limits(|it| it.header_bytes = Size::new(max));
        let fields = [("cookie", "a=1"); 50];
        let exact = SizeHint::with_exact(0);
        let decision = decide_on(&limits, Version::HTTP_2, "/", &fields, exact);
        assert_eq!(rejected(&decision), expected);
    }
}

#[test]
fn drains_are_bounded() {
    const LARGE: (&str, &str) = ("content-length", "20480");
    const HUGE: (&str, &str) = ("content-length", "10737418240");
    const EXPECT: (&str, &str) = ("expect", "100-Continue");
    const MIB: u64 = 1_048_576;
    let default = Limits::default;
    let max_drain = |max| limits(|it| it.max_drain = Some(Size::new(max)));
    let body = |max| limits(|it| it.default_body = Size::new(max));
    let (unknown, hint) = (SizeHint::new(), at_least(10_241));
    type Row<'a> = (Limits, Fields<'a>, SizeHint, Option<(u64, bool)>);
    let table: [Row<'_>; 12] = [
        (default(), &[JSON, LARGE], unknown, Some((8 * MIB, true))),
        (default(), &[JSON], SizeHint::with_exact(20_480), Some((8 * MIB, true))),
        (default(), &[JSON, HUGE], unknown, Some((8 * MIB, false))),
        (default(), &[HUGE], unknown, Some((8 * MIB, false))),
        (body(9 * MIB), &[HUGE], unknown, Some((9 * MIB, false))),
        // A body of unknown length may fit.
        (default(), &[JSON], hint, Some((8 * MIB, true))),
        (default(), &[JSON, LARGE, EXPECT], unknown, None),
        (default(), &[JSON, LARGE, ("expect", "x, 100-continue")], hint, None),
        (default(), &[JSON, LARGE, ("expect", "other")], hint, Some((8 * MIB, true))),
        (max_drain(0), &[JSON, LARGE], unknown, None),
        (max_drain(20_479), &[JSON, LARGE], unknown, Some((20_479, false))),
        (max_drain(20_480), &[JSON, LARGE], unknown, Some((20_480, true))),
    ];
    for (limits, fields, hint, expected) in table {
        let decision = decide_on(&limits, Version::HTTP_11, "/", fields, hint);
        let Decision::Reject { drain, .. } = decision else { panic!("{fields:?}") };
        assert_eq!(drain.map(|it| (it.max, it.fits)), expected, "{fields:?} {hint:?}");
    }
}

#[test]
fn unlimited_bodies_are_drained_up_to_8_mib() {
    let limits = limits(|it| it.default_body = Size::UNLIMITED);
    let long = format!("/{}", "a".repeat(8_192));
    for hint in [SizeHint::new(), SizeHint::with_exact(7)] {
        let decision = decide_on(&limits, Version::HTTP_11, &long, &[], hint);
        let Decision::Reject { drain, .. } = decision else { panic!("the URI is admitted") };
        assert_eq!(drain.map(|it| it.max), Some(8 * 1_048_576), "{hint:?}");
    }
}

#[test]
fn unknown_encodings_are_rejected() {
    let unsupported = Some((415, Reason::UnsupportedEncoding));
    let too_large = Some((413, Reason::BodyTooLarge));
    let unknown = SizeHint::new;
    type Row<'a> = (Fields<'a>, SizeHint, bool, Option<(u16, Reason)>);
    let table: &[Row<'_>] = &[
        (&[("content-encoding", "unknown")], unknown(), false, None),
        (&[("content-encoding", "unknown")], unknown(), true, unsupported),
        (&[("content-encoding", "gzip, unknown")], unknown(), true, unsupported),
        // Without a body there is nothing to decompress.
        (&[("content-encoding", "unknown")], SizeHint::with_exact(0), true, None),
        (
            &[("content-encoding", "unknown"), ("content-length", "9999999")],
            unknown(),
            true,
            too_large,
        ),
    ];
    for (fields, hint, decompress, expected) in table {
        let limits = limits(|it| it.decompress = *decompress);
        let decision = decide_on(&limits, Version::HTTP_11, "/", fields, *hint);
        assert_eq!(rejected(&decision), *expected, "{fields:?}");
    }
}

#[test]
fn headers_of_the_encoded_body_are_removed() {
    let mut headers = headers(&[
        ("content-encoding", "gzip"),
        ("content-length", "12"),
        ("content-digest", "sha-256=:x:"),
        ("repr-digest", "sha-256=:x:"),
        ("digest", "sha-256=x"),
        ("content-md5", "x"),
        ("content-type", "text/plain"),
        ("transfer-encoding", "chunked"),
    ]);
    remove_encoded_headers(&mut headers);
    let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-type", "transfer-encoding"]);
}

proptest! {
    #[test]
    fn no_header_makes_the_policy_panic(
        fields in prop::collection::vec((0..4_usize, prop::collection::vec(any::<u8>(), 0..40)), 0..8),
        lower in any::<u64>(),
        is_end_stream in any::<bool>(),
    ) {
        let names = [ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, CONNECTION];
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(names[name].clone(), value);
            }
        }
        let head = RequestHead {
            method: &Method::POST,
            version: Version::HTTP_2,
            uri: &Uri::from_static("/"),
            headers: &headers,
            size_hint: at_least(lower),
            is_end_stream,
        };
        if let Decision::Admit(admission) = decide(&Limits::default(), &head) {
            prop_assert!(lower <= admission.max_body.get());
        }
    }
}
