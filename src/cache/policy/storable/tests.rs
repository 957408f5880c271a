use std::time::Duration;

use http::{HeaderValue, StatusCode};

use super::super::super::hint::CacheHint;
use super::super::super::key::NO_KEY;
use super::super::response::TAGS;
use super::*;
use crate::headers::test_headers::{TestHeaders, map};

/// Sun, 06 Nov 1994 08:49:37 GMT, in milliseconds.
const NOW: u64 = 784_111_777_000;
const MINUTE: (&str, &str) = ("cache-control", "max-age=60");

fn answer<'a>(status: u16, headers: &'a HeaderMap, request: &'a HeaderMap) -> ResponseInfo<'a> {
    let status = StatusCode::from_u16(status).unwrap();
    let (sent, received) = (NOW, NOW);
    let (hint, single_use, size, random, post) = (None, false, None, 0.0, false);
    let varies_by = None;
    ResponseInfo {
        reads: None,
        status,
        headers,
        hint,
        single_use,
        varies_by,
        key: &NO_KEY,
        request,
        size,
        sent,
        received,
        clock: NOW,
        random,
        post,
    }
}

fn decide(
    rules: &Rules,
    ask: &RequestPolicy,
    status: u16,
    fields: TestHeaders<'_>,
) -> Result<Box<Storable>, NotStorable> {
    storable(rules, ask, &answer(status, &map(fields), &HeaderMap::new()))
}

fn plain(status: u16, fields: TestHeaders<'_>) -> Result<Box<Storable>, NotStorable> {
    decide(&Rules::default(), &RequestPolicy::default(), status, fields)
}

#[test]
fn single_use_response_is_not_stored() {
    let (headers, none) = (map(&[MINUTE]), HeaderMap::new());
    let answer = ResponseInfo { single_use: true, ..answer(200, &headers, &none) };
    let decided = storable(&Rules::default(), &RequestPolicy::default(), &answer);
    assert_eq!(decided, Err(NotStorable::SingleUse));
}

#[test]
fn response_is_stored_unless_forbidden() {
    let control = |control| [("cache-control", control)];
    let table: &[(u16, TestHeaders<'_>, Option<NotStorable>)] = &[
        // RFC 9111 §3.
        (200, &[MINUTE], None),
        (200, &[], Some(NotStorable::Freshness)),
        (302, &[MINUTE], None),
        (404, &[MINUTE], None),
        // Errors are often caused by parts of a request that no key has.
        (299, &[MINUTE], Some(NotStorable::Status)),
        (400, &[MINUTE], Some(NotStorable::Status)),
        (418, &[MINUTE], Some(NotStorable::Status)),
        (429, &[MINUTE], Some(NotStorable::Status)),
        (503, &[MINUTE], Some(NotStorable::Status)),
        (599, &[MINUTE], Some(NotStorable::Status)),
        (103, &[MINUTE], Some(NotStorable::Status)),
        (600, &[MINUTE], Some(NotStorable::Status)),
        // §3.3 and §3.4: parts are not combined here.
        (206, &[MINUTE], Some(NotStorable::Status)),
        (304, &[MINUTE], Some(NotStorable::Status)),
        // §5.2.2.5.
        (200, &control("max-age=60, no-store"), Some(NotStorable::NoStore)),
        // §5.2.2.7.
        (200, &control("max-age=60, private"), Some(NotStorable::Private)),
        (200, &control("max-age=60; private"), Some(NotStorable::Private)),
        (200, &control("max-age=60; no-store"), Some(NotStorable::NoStore)),
        (200, &control("max-age=60; public"), Some(NotStorable::Malformed)),
        (200, &control("max-age=60, private=\"x-a\""), None),
        (200, &control("max-age=60, private=\"x-a\", private"), Some(NotStorable::Private)),
        // §5.2.2.3.
        (200, &control("max-age=60, must-understand, no-store"), None),
        (200, &control("max-age=60, must-understand, private"), Some(NotStorable::Private)),
        (200, &control("max-age=60, must-understand, no_store"), Some(NotStorable::NoStore)),
        (418, &control("max-age=60, must-understand, no-store"), Some(NotStorable::Status)),
        (299, &control("max-age=60, must-understand"), Some(NotStorable::Status)),
        // §4.1.
        (200, &[MINUTE, ("vary", "accept, *")], Some(NotStorable::VaryAll)),
        (200, &[MINUTE, ("vary", "accept, a b")], Some(NotStorable::VaryAll)),
        (200, &[MINUTE, ("vary", "accept")], None),
        // §7.3.
        (200, &[MINUTE, ("set-cookie", "a=b")], Some(NotStorable::SetCookie)),
        (
            200,
            &[("cache-control", "max-age=60, no-cache=\"set-cookie\""), ("set-cookie", "a")],
            None,
        ),
        (
            200,
            &[("cache-control", "max-age=60, private=\"set-cookie\""), ("set-cookie", "a")],
            None,
        ),
        // What has no end that can be waited for.
        (200, &[MINUTE, ("content-type", "text/event-stream")], Some(NotStorable::Stream)),
        (
            200,
            &[MINUTE, ("content-type", "Text/Event-Stream; charset=x")],
            Some(NotStorable::Stream),
        ),
        (200, &[MINUTE, ("content-type", "application/grpc-web")], Some(NotStorable::Stream)),
        (200, &[MINUTE, ("content-type", "text/event")], None),
        // RFC 9213 §2.1: the targeted field alone counts.
        (200, &[("cdn-cache-control", "max-age=60"), ("cache-control", "no-store")], None),
        (200, &[("cdn-cache-control", "no-store"), MINUTE], Some(NotStorable::NoStore)),
        (200, &[("cdn-cache-control", "&"), MINUTE], None),
        (200, &[("cdn-cache-control", "public"), MINUTE], Some(NotStorable::Freshness)),
    ];
    for (status, fields, expected) in table {
        assert_eq!(plain(*status, fields).err(), *expected, "{status} {fields:?}");
    }
}

#[test]
fn response_to_credentials_must_be_for_all() {
    // RFC 9111 §3.5.
    let authorized = RequestPolicy { authorized: true, ..RequestPolicy::default() };
    let allowing = Rules { exceptions: vec![Exception::Authorization], ..Rules::default() };
    for (control, shared) in [
        ("max-age=60", false),
        ("max-age=60, proxy-revalidate", false),
        ("max-age=60, public", true),
        ("max-age=60, must-revalidate", true),
        ("s-maxage=60", true),
    ] {
        let fields = [("cache-control", control)];
        let plan = decide(&Rules::default(), &authorized, 200, &fields);
        assert_eq!(
            plan.as_ref().err(),
            (!shared).then_some(&NotStorable::Authorization),
            "{control}"
        );
        // What was kept for one without is given to those with only if it is for all, too.
        assert_eq!(plain(200, &fields).unwrap().freshness.shared, shared, "{control}");
        assert!(decide(&allowing, &authorized, 200, &fields).unwrap().freshness.shared);
    }
    let silent = |rules: &Rules| decide(rules, &authorized, 200, &[]).err();
    assert_eq!(silent(&Rules::default()), Some(NotStorable::Authorization));
    assert_eq!(silent(&allowing), Some(NotStorable::Freshness));
}

#[test]
fn each_exception_excuses_one_thing() {
    let table: [(Exception, TestHeaders<'_>); 4] = [
        (Exception::SetCookie, &[MINUTE, ("set-cookie", "a=b")]),
        (Exception::Private, &[("cache-control", "max-age=60, private")]),
        (Exception::NoStore, &[("cache-control", "max-age=60, no-store")]),
        (Exception::VaryAll, &[MINUTE, ("vary", "*")]),
    ];
    for (exception, _) in table {
        let rules = Rules { exceptions: vec![exception], ..Rules::default() };
        for (other, fields) in table {
            let decided = decide(&rules, &RequestPolicy::default(), 200, fields);
            assert_eq!(decided.is_ok(), exception == other, "{exception:?} {fields:?}");
        }
    }
}

#[test]
fn a_lifetime_for_a_status_lets_it_be_stored() {
    let second = Duration::from_secs(1);
    let (headers, none) = (map(&[MINUTE]), HeaderMap::new());
    for (status, possible) in [(206, false), (304, false), (103, false), (429, true), (503, true)] {
        let code = StatusCode::from_u16(status).unwrap();
        let rules = Rules { ttls: vec![(code, second)], ..Rules::default() };
        assert_eq!(decide(&rules, &RequestPolicy::default(), status, &[MINUTE]).is_ok(), possible);
        let hint = CacheHint::new().ttl(second);
        let answer = ResponseInfo { hint: Some(&hint), ..answer(status, &headers, &none) };
        assert_eq!(
            storable(&Rules::default(), &RequestPolicy::default(), &answer).is_ok(),
            possible
        );
    }
}

#[test]
fn the_handler_and_the_size_count() {
    let (headers, none) = (map(&[MINUTE]), HeaderMap::new());
    let decide = |hint: Option<&CacheHint>, size| {
        let answer = ResponseInfo { hint, size, ..answer(200, &headers, &none) };
        storable(&Rules::default(), &RequestPolicy::default(), &answer).err()
    };
    assert_eq!(decide(Some(&CacheHint::no_store()), None), Some(NotStorable::CacheHint));
    assert_eq!(
        decide(Some(&CacheHint::no_store().ttl(Duration::MAX)), None),
        Some(NotStorable::CacheHint)
    );
    assert_eq!(decide(Some(&CacheHint::new()), None), None);
    assert_eq!(decide(None, Some(1024 * 1024)), None);
    assert_eq!(decide(None, Some(1024 * 1024 + 1)), Some(NotStorable::TooLarge));
}

#[test]
fn headers_of_one_connection_are_not_stored() {
    // RFC 9111 §3.1, §5.2.2.4 and §5.2.2.7; RFC 9110 §7.6.1.
    let kept = plain(
        200,
        &[
            ("cache-control", "max-age=60, no-cache=\"x-one\", private=\"X-Two, x-three\""),
            ("connection", "close, X-Hop"),
            ("keep-alive", "1"),
            ("proxy-connection", "1"),
            ("proxy-authenticate", "1"),
            ("proxy-authentication-info", "1"),
            ("proxy-authorization", "1"),
            ("te", "1"),
            ("trailer", "1"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "1"),
            ("x-hop", "1"),
            ("x-one", "1"),
            ("x-two", "1"),
            ("x-three", "1"),
            ("age", "1"),
            ("content-length", "1"),
            ("cache-status", "inner; hit"),
            ("x-end", "1"),
            ("x-end", "2"),
        ],
    );
    let mut expected = map(&[("age", ""), ("cache-status", ""), ("x-end", "1"), ("x-end", "2")]);
    expected.insert("date", HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
    let mut kept = kept.unwrap().headers;
    kept.remove("cache-control");
    assert_eq!(kept, expected);
}

#[test]
fn stored_headers_have_a_date() {
    // RFC 9110 §6.6.1.
    const OWN: &str = "Sun, 06 Nov 1994 08:49:30 GMT";
    let table: &[(TestHeaders<'_>, &str)] = &[
        (&[MINUTE], "Sun, 06 Nov 1994 08:49:37 GMT"),
        (&[MINUTE, ("date", "junk")], "Sun, 06 Nov 1994 08:49:37 GMT"),
        (&[MINUTE, ("date", OWN), ("date", OWN)], "Sun, 06 Nov 1994 08:49:37 GMT"),
        (&[MINUTE, ("date", OWN)], OWN),
    ];
    for (fields, date) in table {
        let headers = plain(200, fields).unwrap().headers;
        assert_eq!(headers.get_all(DATE).iter().collect::<Vec<_>>(), [date], "{fields:?}");
    }
}

#[test]
fn tags_come_from_the_hint_and_two_fields() {
    let headers = map(&[
        MINUTE,
        ("surrogate-key", " b  c "),
        ("surrogate-key", "d"),
        ("cache-tag", "e,f g , ,"),
    ]);
    let none = HeaderMap::new();
    let hint = CacheHint::new().tag("a");
    let answer = ResponseInfo { hint: Some(&hint), ..answer(200, &headers, &none) };
    for strip_tags in [false, true] {
        let rules = Rules { strip_tags, ..Rules::default() };
        let plan = storable(&rules, &RequestPolicy::default(), &answer).unwrap();
        assert_eq!(plan.tags, ["a", "b", "c", "d", "e", "f g"]);
        for name in &TAGS {
            assert_eq!(plan.headers.contains_key(name), !strip_tags);
        }
    }
}

#[test]
fn only_fresh_responses_are_shared() {
    let fresh = Freshness { age: 1, lifetime: 2, ..Freshness::default() };
    assert!(is_shareable(&fresh));
    assert!(!is_shareable(&Freshness { validate: true, ..fresh }));
    assert!(!is_shareable(&Freshness { age: 2, ..fresh }));
}
