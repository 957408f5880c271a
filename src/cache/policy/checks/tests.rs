use bytes::Bytes;

use super::super::super::entry::{Freshness, Links, Watermark};
use super::super::super::vary::Variant;
use super::*;
use crate::headers::test_headers::{TestHeaders, map};

#[test]
fn a_short_list_of_statuses_is_stored() {
    // IANA, HTTP Status Code Registry: all that are final, and some that are not registered.
    for code in 100..=999 {
        let status = StatusCode::from_u16(code).unwrap();
        let stored = [200, 203, 204, 300, 301, 302, 303, 307, 308, 404, 410].contains(&code);
        assert_eq!(is_stored(status, false), stored, "{code}");
        assert_eq!(is_stored(status, true), ![425, 428, 429, 431, 511].contains(&code), "{code}");
        let whole = (200..=599).contains(&code) && code != 206 && code != 304;
        assert_eq!(is_whole(status), whole, "{code}");
    }
}

#[test]
fn nonce_forbids_storage() {
    for (fields, refused) in [
        (&[("content-security-policy", "script-src 'nonce-abc'")][..], true),
        (&[("content-security-policy", "script-src 'NONCE-abc'")], true),
        (&[("content-security-policy-report-only", "script-src 'Nonce-abc'")], true),
        (
            &[
                ("content-security-policy", "default-src 'self'"),
                ("content-security-policy", "script-src 'nonce-abc'"),
            ],
            true,
        ),
        (&[("content-security-policy", "script-src 'self', script-src 'nonce-a'")], true),
        (&[("content-security-policy", "script-src 'self' https://nonce-a.org")], false),
        (&[("x-other", "'nonce-abc'")], false),
    ] {
        let (rules, headers) = (Rules::default(), map(fields));
        let present = Present::of(&rules, &headers);
        let decided = control(&rules, StatusCode::OK, &headers, present);
        assert_eq!(decided.err(), refused.then_some(NotStorable::SingleUse), "{fields:?}");
    }
}

fn stored(status: u16, fields: TestHeaders<'_>, body: &'static str) -> StoredResponse {
    StoredResponse {
        status: StatusCode::from_u16(status).unwrap(),
        headers: map(fields),
        body: Bytes::from_static(body.as_bytes()),
        freshness: Freshness::default(),
        variant: Variant::default(),
        tags: Vec::new(),
        links: Links::default(),
        watermark: Watermark::default(),
    }
}

#[test]
fn only_the_key_of_a_part_has_parts() {
    let part = |fields: TestHeaders<'_>, body| {
        let mut headers = vec![("etag", "\"a\""), ("content-range", "bytes 2-5/10")];
        headers.retain(|(name, _)| fields.iter().all(|(of, _)| of != name));
        headers.extend(fields.iter().filter(|(_, value)| !value.is_empty()));
        stored(206, &headers, body)
    };
    let rules = Rules::default();
    assert!(is_sound(&rules, &part(&[], "body"), true));
    assert!(is_sound(&rules, &part(&[("content-length", "4")], "body"), true));
    assert!(!is_sound(&rules, &part(&[], "body"), false));
    assert!(!is_sound(&rules, &stored(200, &[("etag", "\"a\"")], "body"), true));
    for (fields, body) in [
        (&[][..], "bod"),
        (&[("content-length", "3")], "body"),
        (&[("content-range", "bytes 2-6/10")], "body"),
        (&[("content-range", "bytes 2-5/5")], "body"),
        (&[("content-range", "bytes 2-5/*")], "body"),
        (&[("content-range", "")], "body"),
        (&[("etag", "W/\"a\"")], "body"),
        (&[("etag", "")], "body"),
        (&[("set-cookie", "a=b")], "body"),
        (&[("cache-control", "private")], "body"),
    ] {
        assert!(!is_sound(&rules, &part(fields, body), true), "{fields:?}");
    }
}

#[test]
fn changed_entry_is_not_sound() {
    let sound: [(u16, TestHeaders<'_>, &str); 7] = [
        (200, &[], "body"),
        (200, &[("content-length", "4"), ("cache-control", "max-age=60")], "body"),
        (204, &[], ""),
        (404, &[("content-length", "0")], ""),
        (418, &[("content-length", "4")], "body"),
        (200, &[("cache-control", "private=\"x-a\"")], "body"),
        (200, &[("cdn-cache-control", "max-age=60"), ("cache-control", "no-store")], "body"),
    ];
    for (status, fields, body) in sound {
        assert!(is_sound(&Rules::default(), &stored(status, fields, body), false), "{fields:?}");
    }
    let changed: &[(u16, TestHeaders<'_>, &str)] = &[
        (100, &[], ""),
        (101, &[], ""),
        (103, &[], ""),
        (206, &[], "body"),
        (304, &[], ""),
        (600, &[], ""),
        (999, &[], ""),
        (204, &[], "body"),
        (204, &[("content-length", "0")], ""),
        (200, &[("content-length", "3")], "body"),
        (200, &[("content-length", "5")], "body"),
        (200, &[("content-length", "04")], "body"),
        (200, &[("content-length", "+4")], "body"),
        (200, &[("content-length", "4, 4")], "body"),
        (200, &[("content-length", "4"), ("content-length", "4")], "body"),
        (200, &[("transfer-encoding", "chunked")], "body"),
        (200, &[("connection", "close")], "body"),
        (200, &[("connection", "x-a"), ("x-a", "1")], "body"),
        (200, &[("keep-alive", "1")], "body"),
        (200, &[("proxy-connection", "1")], "body"),
        (200, &[("proxy-authenticate", "1")], "body"),
        (200, &[("trailer", "x-a")], "body"),
        (200, &[("te", "trailers")], "body"),
        (200, &[("upgrade", "h2c")], "body"),
        (200, &[("set-cookie", "a=b")], "body"),
        (200, &[("cache-control", "no-store")], "body"),
        (200, &[("cache-control", "private")], "body"),
        (200, &[("cache-control", "private; x")], "body"),
        (200, &[("surrogate-control", "no-store")], "body"),
        (200, &[("pragma", "no-cache")], "body"),
        (200, &[("vary", "*")], "body"),
        (200, &[("vary", "cookie")], "body"),
        (200, &[("vary", "accept-encoding")], "body"),
        (200, &[("vary", "a b")], "body"),
        (200, &[("cache-groups", "\"a\"")], "body"),
        (200, &[("content-security-policy", "script-src 'nonce-a'")], "body"),
    ];
    for (status, fields, body) in changed {
        let stored = stored(*status, fields, body);
        assert!(!is_sound(&Rules::default(), &stored, false), "{status} {fields:?}");
    }
}

#[test]
fn an_exception_allows_its_entries() {
    let table: [(Exception, TestHeaders<'_>); 4] = [
        (Exception::SetCookie, &[("set-cookie", "a=b")]),
        (Exception::Private, &[("cache-control", "private")]),
        (Exception::NoStore, &[("cache-control", "no-store")]),
        (Exception::VaryAll, &[("vary", "*")]),
    ];
    for (exception, fields) in table {
        let rules = Rules { exceptions: vec![exception], ..Rules::default() };
        assert!(is_sound(&rules, &stored(200, fields, "body"), false), "{exception:?}");
    }
}
