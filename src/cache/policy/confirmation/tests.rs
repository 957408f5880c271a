use http::StatusCode;

use super::super::super::entry::Watermark;
use super::super::super::key::NO_KEY;
use super::*;
use crate::headers::test_headers::{TestHeaders, map};

/// Sun, 06 Nov 1994 08:49:37 GMT, in milliseconds.
const NOW: u64 = 784_111_777_000;
const MINUTE: (&str, &str) = ("cache-control", "max-age=60");

fn info<'a>(
    status: StatusCode,
    headers: &'a HeaderMap,
    request: &'a HeaderMap,
    now: u64,
) -> ResponseInfo<'a> {
    ResponseInfo {
        reads: None,
        status,
        headers,
        hint: None,
        single_use: false,
        varies_by: None,
        key: &NO_KEY,
        request,
        size: None,
        sent: now,
        received: now,
        clock: now,
        random: 0.0,
        post: false,
    }
}

fn confirmed(stored: TestHeaders<'_>, confirming: TestHeaders<'_>) -> Confirmed {
    let rules = Rules::default();
    let (headers, none) = (map(stored), HeaderMap::new());
    let first = info(StatusCode::OK, &headers, &none, NOW);
    let first = storable(&rules, &RequestPolicy::default(), &first);
    let Storable { mut headers, freshness, variant, tags, links } = *first.unwrap();
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("8"));
    let stored = StoredResponse {
        status: StatusCode::OK,
        headers,
        body: bytes::Bytes::from_static(b"the body"),
        freshness,
        variant,
        tags,
        links,
        watermark: Watermark::default(),
    };
    let headers = map(confirming);
    let later = info(StatusCode::NOT_MODIFIED, &headers, &none, NOW + 90_000);
    confirm(&rules, &RequestPolicy::default(), &stored, &later)
}

#[test]
fn confirmation_updates_headers() {
    // RFC 9111 §3.2 and §4.3.4.
    let stored = [MINUTE, ("etag", "\"a\""), ("x-a", "1"), ("x-a", "2"), ("x-b", "3")];
    let Confirmed { response, kept } = confirmed(
        &stored,
        &[
            ("cache-control", "max-age=30"),
            ("x-a", "4"),
            ("content-length", "0"),
            ("content-encoding", "br"),
            ("content-range", "bytes 0-0/1"),
            ("connection", "x-hop"),
            ("x-hop", "5"),
            ("keep-alive", "6"),
            ("age", "7"),
        ],
    );
    let plan = kept.unwrap();
    assert_eq!((plan.freshness.lifetime, plan.freshness.age), (30_000, 7_000));
    assert_eq!(plan.freshness.received, NOW + 90_000);
    let expected = map(&[
        ("cache-control", "max-age=30"),
        ("etag", "\"a\""),
        ("x-a", "4"),
        ("x-b", "3"),
        ("content-length", "8"),
        ("date", "Sun, 06 Nov 1994 08:51:07 GMT"),
        ("age", ""),
        ("cache-status", ""),
    ]);
    assert_eq!(plan.headers, expected);
    assert_eq!(response.headers.get("x-hop"), None);
    // Without fields of its own it says that all are right still.
    let plan = confirmed(&stored, &[]).kept.unwrap();
    assert_eq!((plan.freshness.lifetime, plan.freshness.age), (60_000, 0));
}

#[test]
fn confirmation_may_end_storage() {
    for (confirming, refusal) in [
        (&[("cache-control", "no-store")][..], NotStorable::NoStore),
        (&[("cache-control", "private")], NotStorable::Private),
        (&[("set-cookie", "a=b")], NotStorable::SetCookie),
        (&[("vary", "*")], NotStorable::VaryAll),
    ] {
        let old = [MINUTE, ("etag", "\"a\""), ("age", "7")];
        let Confirmed { response, kept } = confirmed(&old, confirming);
        assert_eq!(kept.err(), Some(refusal));
        let (name, value) = confirming[0];
        assert_eq!(response.headers[name], value, "its client gets what it says");
        let age = response.freshness.age(NOW + 90_000);
        assert_eq!(age, 0, "it was validated just now");
    }
}

#[test]
fn confirmation_gives_unstored_headers() {
    // RFC 9111 §5.2.2.4 and §5.2.2.7.
    for control in ["max-age=60, private=\"x-one\"", "max-age=60, no-cache=\"x-one\""] {
        let stored = [("cache-control", control), ("etag", "\"a\""), ("x-one", "1")];
        let Confirmed { response, kept } = confirmed(&stored, &[("x-one", "2")]);
        assert_eq!(response.headers["x-one"], "2");
        assert_eq!(kept.unwrap().headers.get("x-one"), None);
    }
}

#[test]
fn other_validators_confirm_nothing() {
    // RFC 9111 §4.3.4.
    const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const NEW: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    let table: &[(TestHeaders<'_>, TestHeaders<'_>, bool)] = &[
        (&[("etag", "\"a\"")], &[("etag", "\"a\"")], true),
        (&[("etag", "\"a\"")], &[("etag", "\"b\"")], false),
        (&[("etag", "\"a\"")], &[("etag", "W/\"b\"")], false),
        (&[("etag", "W/\"a\"")], &[("etag", "W/\"b\"")], false),
        // A layer inside has weakened the stored one.
        (&[("etag", "W/\"a\"")], &[("etag", "\"a\"")], true),
        (&[("last-modified", OLD)], &[("last-modified", OLD)], true),
        (&[("last-modified", OLD)], &[("last-modified", NEW)], false),
        (
            &[("etag", "\"a\""), ("last-modified", OLD)],
            &[("etag", "\"a\""), ("last-modified", NEW)],
            true,
        ),
        (
            &[("etag", "\"a\""), ("last-modified", OLD)],
            &[("etag", "\"b\""), ("last-modified", OLD)],
            false,
        ),
        (&[("etag", "\"a\""), ("last-modified", OLD)], &[("last-modified", NEW)], false),
        (&[("etag", "\"a\"")], &[("last-modified", NEW)], false),
        (&[("last-modified", OLD)], &[("etag", "\"a\"")], false),
        (&[("last-modified", OLD)], &[("etag", "\"a\""), ("last-modified", OLD)], true),
        (&[("last-modified", OLD)], &[("etag", "\"a\""), ("last-modified", NEW)], false),
        (&[("etag", "\"a\"")], &[], true),
    ];
    for (stored, confirming, same) in table {
        let stored: Vec<_> = [MINUTE].iter().chain(*stored).copied().collect();
        let refused = confirmed(&stored, confirming).kept.err();
        assert_eq!(refused, (!same).then_some(NotStorable::Validator), "{stored:?} {confirming:?}");
    }
}

#[test]
fn confirmation_adds_to_vary() {
    let stored = [MINUTE, ("etag", "\"a\""), ("vary", "accept-encoding")];
    for (vary, expected) in
        [("origin", &["accept-encoding", "origin"][..]), ("accept-encoding", &["accept-encoding"])]
    {
        let headers = confirmed(&stored, &[("vary", vary)]).response.headers;
        assert!(headers.get_all("vary").iter().eq(expected), "{headers:?}");
    }
}

#[test]
fn confirmation_adds_tags() {
    let more: TestHeaders<'_> = &[("surrogate-key", "c")];
    for (confirming, tags) in [(&[][..], &["a", "b"][..]), (more, &["c", "a", "b"])] {
        let stored = [MINUTE, ("etag", "\"a\""), ("surrogate-key", "a b")];
        assert_eq!(confirmed(&stored, confirming).kept.unwrap().tags, tags);
    }
}
