use http::header::{CONTENT_LENGTH, VARY};
use proptest::prelude::*;

use super::*;
use crate::headers::test_headers::{TestHeaders, map};

/// Decides about a response with a body of 2,000 bytes, and edits its headers.
fn decide(
    method: &Method,
    request: TestHeaders<'_>,
    status: u16,
    response: TestHeaders<'_>,
) -> (Action, HeaderMap) {
    decide_by(&Rules::default(), method, request, status, response)
}

fn decide_by(
    rules: &Rules,
    method: &Method,
    request: TestHeaders<'_>,
    status: u16,
    response: TestHeaders<'_>,
) -> (Action, HeaderMap) {
    let mut headers = map(response);
    let request = rules.read(method, &map(request));
    let body = SizeHint::with_exact(if request.is_head { 0 } else { 2_000 });
    let response = ResponseInfo {
        status: StatusCode::from_u16(status).unwrap(),
        hint: CompressHint::default(),
        size: request.response_size(&headers, body),
        is_selected: true,
        dictionary_weight: None,
    };
    let decision = rules.decide(&request, &response, &headers);
    (decision.apply(&mut headers), headers)
}

fn plan(action: Action) -> Option<Plan> {
    match action {
        Action::Compress(plan) => Some(plan),
        _ => None,
    }
}

const GZIP: TestHeaders<'_> = &[("accept-encoding", "gzip")];
const HTML: (&str, &str) = ("content-type", "text/html");
const VARIES: (&str, &str) = ("vary", "accept-encoding");

#[test]
fn eligible_responses_are_compressed() {
    // The status, the headers, and the expected compression and `vary`.
    let table: &[(u16, TestHeaders<'_>, bool, bool)] = &[
        (200, &[HTML], true, true),
        (404, &[HTML], true, true),
        (412, &[HTML], true, true),
        (500, &[("content-type", "Application/Problem+JSON; charset=utf-8")], true, true),
        (200, &[], false, false),
        (200, &[("content-type", "image/png")], false, false),
        (200, &[("content-type", "Image/PNG")], false, false),
        (200, &[("content-type", "video/mp4")], false, false),
        (200, &[("content-type", "application/zip")], false, false),
        (200, &[("content-type", "application/grpc")], false, false),
        (200, &[("content-type", "Application/GRPC+JSON")], false, false),
        (200, &[("content-type", "application/grpc-web")], false, false),
        (200, &[("content-type", "image/svg+xml")], true, true),
        (200, &[("content-type", "text/event-stream")], true, true),
        (200, &[("content-type", "font/woff2")], false, false),
        (200, &[("content-type", "text")], false, false),
        (101, &[HTML], false, false),
        (204, &[HTML], false, false),
        (205, &[HTML], false, false),
        (206, &[HTML], false, false),
        (416, &[HTML, ("content-range", "bytes */9")], false, false),
        (200, &[HTML, ("content-encoding", "br")], false, false),
        (200, &[HTML, ("content-encoding", "identity")], true, true),
        (200, &[HTML, ("transfer-encoding", "chunked")], true, true),
        (200, &[HTML, ("transfer-encoding", "gzip, chunked")], false, false),
        (200, &[HTML, ("transfer-encoding", "gzip")], false, false),
        (200, &[HTML, ("content-length", "2000"), ("content-length", "2000")], true, true),
        (200, &[HTML, ("content-length", "2000"), ("content-length", "2001")], false, false),
        (200, &[HTML, ("content-length", "2000, 2000")], true, true),
        (200, &[HTML, ("content-length", "two")], false, false),
        (200, &[HTML, ("connection", "close"), ("keep-alive", "timeout=5")], true, true),
        (200, &[HTML, ("trailer", "x-sum"), ("te", "trailers")], true, true),
        (200, &[HTML, ("cache-control", "public, No-Transform")], false, false),
        (200, &[HTML, ("cache-control", "public; no-transform")], false, false),
        (
            200,
            &[HTML, ("cache-control", "public"), ("cache-control", "no-transform")],
            false,
            false,
        ),
        (200, &[HTML, ("cache-control", "x=\"no-transformer\"")], true, true),
    ];
    for (status, fields, expected, vary) in table {
        let (action, headers) = decide(&Method::GET, GZIP, *status, fields);
        assert_eq!(plan(action).is_some(), *expected, "{status} {fields:?}");
        assert_eq!(headers.contains_key(VARY), *vary, "{status} {fields:?}");
    }
    assert_eq!(plan(decide(&Method::CONNECT, GZIP, 200, &[HTML]).0), None);
}

#[test]
fn vary_names_accept_encoding_alone() {
    for request in [
        &[][..],
        &[("accept-encoding", "br")],
        &[("x-no-compression", "")],
        &[("accept-encoding", "gzip"), ("x-no-compression", "")],
        GZIP,
    ] {
        for method in [Method::GET, Method::HEAD] {
            let (_, headers) = decide(&method, request, 200, &[HTML]);
            assert!(headers.get_all(VARY).iter().eq(["accept-encoding"]), "{request:?}");
        }
    }
}

#[test]
fn effective_opt_outs_are_private() {
    let opt_out = [GZIP[0], ("x-no-compression", "1")];
    let fields = [HTML, ("cache-control", "max-age=60"), ("etag", "\"v1\"")];
    for method in [Method::GET, Method::HEAD] {
        let (action, headers) = decide(&method, &opt_out, 200, &fields);
        assert_eq!(action, Action::OptOut);
        assert_eq!(headers[CACHE_CONTROL], "private, max-age=60");
        assert_eq!(headers[ETAG], "\"v1\"");
    }
    // Left uncompressed for another reason, the response is the same for all clients.
    for (request, response) in [
        (&opt_out[1..], &fields[..]),
        (&opt_out, &[HTML, ("content-length", "20"), fields[1]]),
        (&opt_out, &[("content-type", "image/png"), fields[1]]),
    ] {
        let (action, headers) = decide(&Method::GET, request, 200, response);
        assert_ne!(action, Action::OptOut);
        assert_eq!(headers[CACHE_CONTROL], "max-age=60", "{request:?} {response:?}");
    }
}

#[test]
fn unknown_sizes_are_read_ahead() {
    let rules = Rules::default();
    let decide = |accept: &str, hint: CompressHint, size: SizeHint| {
        let request = rules.read(&Method::GET, &map(&[("accept-encoding", accept)]));
        let response = ResponseInfo {
            status: StatusCode::OK,
            hint,
            size: Ok(size),
            is_selected: true,
            dictionary_weight: None,
        };
        plan(rules.decide(&request, &response, &map(&[HTML])).action)
    };
    let size_of = |accept, hint, size| decide(accept, hint, size).map(|plan| plan.size);
    let exact = SizeHint::with_exact;
    let none = CompressHint::default();
    assert_eq!(size_of("gzip", none, exact(0)), None);
    assert_eq!(size_of("gzip", none, exact(1_023)), None);
    assert_eq!(size_of("gzip", none, exact(1_024)), Some(Some(1_024)));
    assert_eq!(size_of("gzip", none, SizeHint::new()), Some(None));
    assert_eq!(size_of("gzip", CompressHint::force(), exact(9)), Some(Some(9)));
    assert_eq!(size_of("gzip", CompressHint::force(), exact(0)), None);
    assert_eq!(size_of("gzip, identity;q=0", none, exact(9)), Some(Some(9)));
    assert_eq!(size_of("gzip", CompressHint::forbid(), exact(9_999)), None);
    assert_eq!(size_of("deflate", CompressHint::force().max_padding(9), exact(9_999)), None);
    let read_ahead =
        |accept, hint, size| decide(accept, hint, size).and_then(|plan| plan.read_ahead);
    assert_eq!(read_ahead("gzip", none, SizeHint::new()), Some(1_024));
    assert_eq!(read_ahead("gzip", none, exact(5_000)), None);
    assert_eq!(read_ahead("gzip", CompressHint::force(), SizeHint::new()), None);
    assert_eq!(read_ahead("gzip, identity;q=0", none, SizeHint::new()), None);
}

fn named(name: &str) -> Option<Encoding> {
    Encoding::all().find(|encoding| encoding.as_str() == name)
}

/// Returns the encoding that the default layer, or one with these encodings, chooses.
fn chosen(encodings: Option<&[&str]>, accept: &str, media_type: &str) -> Option<&'static str> {
    let mut rules = Rules::default();
    if let Some(encodings) = encodings {
        rules.encodings = encodings.iter().filter_map(|name| named(name)).collect();
    }
    let request = [("accept-encoding", accept)];
    let response = [("content-type", media_type)];
    let (action, _) = decide_by(&rules, &Method::GET, &request, 200, &response);
    plan(action).map(|plan| plan.encoding.as_str())
}

#[test]
fn highest_weight_wins_then_the_order() {
    for (accept, order, expected) in [
        ("gzip, deflate", &["gzip", "deflate"][..], Some("gzip")),
        ("gzip, deflate", &["deflate", "gzip"], Some("deflate")),
        ("gzip;q=0.8, deflate;q=0.801", &["gzip", "deflate"], Some("deflate")),
        ("gzip;q=1.000, deflate;q=0.999", &["gzip", "deflate"], Some("gzip")),
        ("gzip;q=0, *", &["gzip", "deflate"], Some("deflate")),
        ("gzip, deflate", &[], None),
        ("br, zstd, compress", &["gzip", "deflate"], None),
        ("identity", &["gzip", "deflate"], None),
        ("identity, gzip", &["gzip"], Some("gzip")),
        ("identity;q=1, gzip;q=0.5", &["gzip"], None),
        ("identity;q=0.5, gzip;q=0.8", &["gzip"], Some("gzip")),
        ("identity;q=0, gzip;q=0.1", &["gzip"], Some("gzip")),
        ("*;q=0", &["gzip", "deflate"], None),
    ] {
        assert_eq!(chosen(Some(order), accept, "text/html"), expected, "{accept}");
    }
}

#[test]
fn dictionaries_need_the_highest_weight() {
    // The `accept-encoding`, the weight of `dcz` in it, the maximum padding, and the expectation.
    for (accept, weight, max_padding, expected) in [
        ("gzip, dcz", 1000, 0, true),
        ("gzip, dcz", 0, 0, false),
        ("gzip;q=0.5, dcz;q=0.5", 500, 0, true),
        ("gzip;q=0.5, dcz;q=0.4", 400, 0, false),
        ("gzip;q=0.2, identity;q=0.1, dcz;q=0.2", 200, 0, true),
        ("gzip, dcz", 1000, 9, false),
        ("identity;q=0, gzip, dcz", 1000, 0, true),
    ] {
        let rules = Rules { encodings: vec![Encoding::Gzip], ..Rules::default() };
        let request = rules.read(&Method::GET, &map(&[("accept-encoding", accept)]));
        let response = ResponseInfo {
            status: StatusCode::OK,
            hint: CompressHint::default().max_padding(max_padding),
            size: Ok(SizeHint::with_exact(2_000)),
            is_selected: true,
            dictionary_weight: Some(weight),
        };
        let plan = plan(rules.decide(&request, &response, &map(&[HTML])).action).unwrap();
        assert_eq!(plan.with_dictionary, expected, "{accept}");
    }
}

#[test]
fn event_streams_prefer_resumable_encodings() {
    let order = Some(&["br", "gzip"][..]);
    let br = named("br").map(Encoding::as_str);
    let events = "Text/Event-Stream; charset=utf-8";
    assert_eq!(chosen(order, "gzip, br", events), Some("gzip"));
    assert_eq!(chosen(order, "br", events), br);
    assert_eq!(chosen(order, "gzip, br", "text/html"), br.or(Some("gzip")));
    assert_eq!(chosen(order, "identity, gzip;q=0.5", events), None);
}

#[test]
fn encodings_whose_feature_is_on_are_chosen() {
    for (accept, preferred) in [
        ("gzip", &["gzip"][..]),
        ("gzip, deflate", &["gzip"]),
        ("deflate, gzip", &["gzip"]),
        ("gzip, deflate, br", &["br", "gzip"]),
        ("br, gzip", &["br", "gzip"]),
        ("gzip, deflate, br, zstd", &["zstd", "br", "gzip"]),
        ("gzip;q=0.5, br;q=0.5, zstd;q=0.5", &["zstd", "br", "gzip"]),
        ("gzip, br;q=0.9, zstd;q=0.9", &["gzip"]),
        ("gzip, br;q=0, zstd;q=0, *", &["gzip"]),
        ("*", &["zstd", "br", "gzip"]),
    ] {
        let expected = preferred.iter().copied().find(|name| named(name).is_some());
        assert_eq!(chosen(None, accept, "text/html"), expected, "{accept}");
        assert_eq!(chosen(None, accept, "text/event-stream"), Some("gzip"), "{accept}");
    }
}

#[test]
fn head_has_the_headers_of_get() {
    let fields: TestHeaders<'_> =
        &[HTML, ("etag", "\"v1\""), ("content-length", "2000"), ("accept-ranges", "bytes")];
    let (action, headers) = decide(&Method::HEAD, GZIP, 200, fields);
    assert_eq!(action, Action::Head(Encoding::Gzip.into()));
    let encoding = ("content-encoding", "gzip");
    assert_eq!(headers, map(&[HTML, ("etag", "\"v1--gzip\""), VARIES, encoding]));
    let small: TestHeaders<'_> = &[HTML, ("etag", "\"v1\""), ("content-length", "20")];
    let (action, headers) = decide(&Method::HEAD, GZIP, 200, small);
    assert_eq!((action, &headers["content-length"]), (Action::PassVarying, &"20".parse().unwrap()));
    assert_eq!(headers["etag"], "\"v1\"");
    let empty: TestHeaders<'_> = &[HTML, ("content-length", "0")];
    assert_eq!(decide(&Method::HEAD, GZIP, 200, empty).0, Action::Pass);
}

#[test]
fn not_modified_has_vary_and_tag_of_the_200() {
    let since = ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT");
    for (request, response, tag, vary) in [
        (&[GZIP[0], ("if-none-match", "\"v1--gzip\"")][..], &[][..], "\"v1--gzip\"", true),
        (&[GZIP[0], ("if-none-match", "\"v1\"")], &[], "\"v1\"", true),
        (&[("if-none-match", "\"v1\"")], &[], "\"v1\"", true),
        (&[GZIP[0], since], &[], "\"v1--gzip\"", true),
        (&[since], &[], "\"v1\"", true),
        (&[GZIP[0], since], &[("content-type", "image/png")], "\"v1\"", false),
        (&[GZIP[0], since], &[("content-encoding", "br")], "\"v1\"", false),
        (&[GZIP[0], since], &[HTML], "\"v1--gzip\"", true),
    ] {
        let mut fields = vec![("etag", "\"v1\"")];
        fields.extend_from_slice(response);
        let (action, headers) = decide(&Method::GET, request, 304, &fields);
        assert_eq!(headers["etag"], tag, "{request:?} {response:?}");
        assert_eq!(headers.get(VARY).is_some(), vary, "{request:?} {response:?}");
        assert_eq!(action == Action::NotModified, vary);
    }
    let opted_out = [GZIP[0], since, ("x-no-compression", "")];
    let (action, headers) = decide(&Method::GET, &opted_out, 304, &[("etag", "\"v1\"")]);
    assert_eq!((action, &headers["etag"]), (Action::OptOut, &"\"v1\"".parse().unwrap()));
}

proptest! {
    #[test]
    fn no_headers_cause_a_panic(
        fields in prop::collection::vec((0..8_usize, prop::collection::vec(any::<u8>(), 0..30)), 0..8),
        status in 100..600_u16,
        force in any::<bool>(),
    ) {
        let names = [
            ETAG, VARY, CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LENGTH, CACHE_CONTROL,
            IF_NONE_MATCH, ACCEPT_ENCODING,
        ];
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(names[name].clone(), value);
            }
        }
        let rules = Rules::default();
        let request = rules.read(&Method::GET, &headers);
        rules.rewrite_preconditions(&request, &mut headers);
        let response = ResponseInfo {
            status: StatusCode::from_u16(status).unwrap(),
            hint: if force { CompressHint::force() } else { CompressHint::default() },
            size: request.response_size(&headers, SizeHint::new()),
            is_selected: true,
            dictionary_weight: None,
        };
        let before = headers.get_all(VARY).iter().count();
        rules.decide(&request, &response, &headers).apply(&mut headers);
        prop_assert!(headers.get_all(VARY).iter().count() <= before + 1);
    }
}
