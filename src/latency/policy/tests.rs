use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};

use super::*;
use crate::latency::methods::Methods;

#[test]
fn headers_determine_the_body_kind() {
    let body = BodyKind::Body { declared: UNDECLARED };
    let declared = |declared| BodyKind::Body { declared };
    let events = BodyKind::Stream(StreamKind::EVENT_STREAM);
    let (empty, missing, upgrade) = (BodyKind::Empty, BodyKind::Missing, BodyKind::Upgrade);
    let length = |value| Some(("content-length", value));
    let of_type = |value| Some(("content-type", value));
    // Method, status, one header, `is_end_stream` of the body, its exact length, and the
    // expected kind (RFC 9110 §6.4.1, §9.3.2, §9.3.6, §15.2.2).
    type Row = (Method, u16, Option<(&'static str, &'static str)>, bool, Option<u64>, BodyKind);
    let table: &[Row] = &[
        (Method::GET, 200, None, false, None, body),
        (Method::GET, 200, None, false, Some(5), declared(5)),
        (Method::GET, 200, length("7"), false, None, declared(7)),
        (Method::GET, 200, length("7"), false, Some(5), declared(7)),
        (Method::GET, 200, length("7"), true, None, missing),
        (Method::GET, 200, length("7"), true, Some(0), missing),
        (Method::GET, 200, length("0"), true, Some(0), empty),
        (Method::GET, 200, length("0"), false, Some(5), declared(0)),
        (Method::GET, 200, length("0"), false, None, empty),
        (Method::GET, 200, length("junk"), false, Some(5), declared(5)),
        (Method::GET, 200, None, false, Some(0), empty),
        (Method::GET, 200, None, true, None, empty),
        (Method::HEAD, 200, length("7"), false, Some(7), empty),
        (Method::HEAD, 200, length("7"), true, Some(0), empty),
        (Method::GET, 204, None, false, None, empty),
        (Method::GET, 204, length("7"), true, None, empty),
        (Method::GET, 304, length("7"), false, None, empty),
        (Method::GET, 304, length("7"), true, Some(0), empty),
        (Method::GET, 103, None, false, None, empty),
        (Method::GET, 101, None, false, None, upgrade),
        (Method::CONNECT, 200, None, false, None, upgrade),
        (Method::CONNECT, 502, None, false, None, body),
        (Method::GET, 200, of_type("Text/Event-Stream; charset=utf-8"), false, None, events),
        (Method::GET, 200, of_type("text/event-stream"), false, Some(9), declared(9)),
        (Method::GET, 201, of_type("text/event-stream"), false, None, body),
        (Method::GET, 429, of_type("text/event-stream"), false, None, body),
        (Method::GET, 503, of_type("text/event-stream"), false, None, body),
        (Method::HEAD, 200, of_type("text/event-stream"), false, None, empty),
        (Method::GET, 200, of_type("text/event-streams"), false, None, body),
    ];
    let methods = Methods::default();
    for (method, status, header, ended, length, expected) in table {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        let found = body_kind(
            methods.id(method),
            StatusCode::from_u16(*status).unwrap(),
            &headers,
            *ended,
            &length.map_or_else(SizeHint::new, SizeHint::with_exact),
        );
        assert_eq!(found, *expected, "{method} {status} {header:?} {ended} {length:?}");
    }
}

#[test]
fn only_post_is_grpc() {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, "application/grpc".parse().unwrap())]);
    assert!(is_grpc(MethodId::POST, &headers));
    assert!(!is_grpc(MethodId::HEAD, &headers));
}

#[test]
fn grpc_status_outside_the_codes_is_other() {
    let label = |value| {
        let headers = [("grpc-status", value)].map(|(name, value)| {
            (http::HeaderName::from_static(name), HeaderValue::from_static(value))
        });
        GrpcStatus::parse(&headers.into_iter().collect()).and_then(GrpcStatus::label)
    };
    assert_eq!(label("0").unwrap(), "0");
    assert_eq!(label("16").unwrap(), "16");
    for other in ["17", "-1", "999", "OK", ""] {
        assert_eq!(label(other).unwrap(), "other", "{other}");
    }
    assert_eq!(GrpcStatus::parse(&HeaderMap::new()), None);
}
