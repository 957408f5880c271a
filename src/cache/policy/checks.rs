//! Checks of a status and of headers that hold when a response is stored, and again when a store
//! returns it.

use http::header::{
    CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY, SET_COOKIE,
};
use http::{HeaderMap, StatusCode};

use super::super::entry::StoredResponse;
use super::cache_control::{ResponseControl, Scope};
use super::content_range::{ContentRange, Representation};
use super::directive::contains;
use super::groups::has_group_tags;
use super::response::{NotStorable, Present, is_of_connection};
use super::rules::{Exception, Rules};
use super::targeted::directives_for_cache;

/// Returns `true` if a whole response can have this status: it is final, and not one of a part or of a
/// confirmation (RFC 9111 §3, §3.3 and §4.3.4).
pub(super) fn is_whole(status: StatusCode) -> bool {
    let status = status.as_u16();
    (200..600).contains(&status) && status != 206 && status != 304
}

/// Returns `true` if responses of this status are stored by default, or with `any` if no RFC forbids
/// it.
pub(super) fn is_stored(status: StatusCode, any: bool) -> bool {
    if any { !FORBIDDEN.contains(&status.as_u16()) } else { STORED.contains(&status.as_u16()) }
}

/// Returns the directives of a response that may be stored, and `true` if a targeted header states
/// them.
pub(super) fn control(
    rules: &Rules,
    status: StatusCode,
    headers: &HeaderMap,
    present: Present,
) -> Result<(ResponseControl, bool), NotStorable> {
    let refuse = |exception, reason| {
        if rules.allows(exception) { Ok(()) } else { Err(reason) }
    };
    let (control, is_targeted) = if present.targeted || !present.cache_control {
        directives_for_cache(headers, &rules.targeted)
    } else {
        (ResponseControl::parse(headers), false)
    };
    // RFC 9111 §5.2.2.3: must-understand replaces no-store if the cache knows the status.
    let understood = control.must_understand && UNDERSTOOD.contains(&status.as_u16());
    if control.must_understand && !understood {
        return Err(NotStorable::Status);
    }
    if control.no_store && (!understood || control.malformed) {
        refuse(Exception::NoStore, NotStorable::NoStore)?;
    }
    if control.private == Some(Scope::Response) {
        refuse(Exception::Private, NotStorable::Private)?;
    }
    if control.malformed {
        refuse(Exception::NoStore, NotStorable::Malformed)?;
    }
    if present.content_security_policy && has_nonce(headers) {
        return Err(NotStorable::SingleUse);
    }
    Ok((control, is_targeted))
}

/// Returns `true` if this layer could have stored such an entry. A store may return another one than
/// it was given, which must not get past the checks of a response, or misstate its length. `is_part` is
/// `true` for the key of a part, which has no whole response, as other keys have no part.
pub(crate) fn is_sound(rules: &Rules, stored: &StoredResponse, is_part: bool) -> bool {
    let headers = &stored.headers;
    // A part was stored under the conditions of the whole.
    let status = if is_part { StatusCode::OK } else { stored.status };
    let has_cookie = headers.contains_key(SET_COOKIE) && !rules.allows(Exception::SetCookie);
    (is_whole(stored.status) || is_part && is_sound_part(stored))
        && is_part == (stored.status == StatusCode::PARTIAL_CONTENT)
        && !has_cookie
        && !headers.keys().any(is_of_connection)
        && control(rules, status, headers, Present::of(rules, headers)).is_ok()
        && has_own_length(stored)
        && has_group_tags(headers, &stored.tags)
        && stored.variant.covers(headers, rules.allows(Exception::VaryAll))
}

/// Returns `true` for a part that has the bytes that it states, and a strong validator.
fn is_sound_part(stored: &StoredResponse) -> bool {
    let size = ContentRange::of(&stored.headers).map(ContentRange::size);
    size == Some(stored.body.len() as u64) && Representation::of(stored).is_some()
}

/// Returns `true` if `content-length` is that of the body, or missing.
fn has_own_length(stored: &StoredResponse) -> bool {
    let size = stored.body.len();
    let mut lines = stored.headers.get_all(CONTENT_LENGTH).iter();
    match (lines.next(), lines.next()) {
        // RFC 9110 §15.3.5 and §8.6.
        (None, _) if stored.status == StatusCode::NO_CONTENT => size == 0,
        (None, _) => true,
        (Some(_), _) if stored.status == StatusCode::NO_CONTENT => false,
        (Some(line), None) => line.as_bytes() == size.to_string().as_bytes(),
        (Some(_), Some(_)) => false,
    }
}

/// Returns `true` if a content security policy names a nonce, which is for one response alone.
fn has_nonce(headers: &HeaderMap) -> bool {
    let names =
        |name| headers.get_all(name).iter().any(|line| contains(line.as_bytes(), b"'nonce-"));
    names(CONTENT_SECURITY_POLICY) || names(CONTENT_SECURITY_POLICY_REPORT_ONLY)
}

/// The statuses that are stored by default: success, redirects, and two errors that are the same for
/// all clients. Other errors are often caused by a part of the request that is not in the key: if they
/// were stored, one client could take a page from all others (cache-poisoned denial of service).
const STORED: [u16; 11] = [200, 203, 204, 300, 301, 302, 303, 307, 308, 404, 410];

/// The statuses that a cache must not store: RFC 8470 §5.2, and RFC 6585 §3 to §6.
const FORBIDDEN: [u16; 5] = [425, 428, 429, 431, 511];

/// The statuses whose requirements on caches the layer meets (RFC 9110 §15).
const UNDERSTOOD: [u16; 38] = [
    200, 201, 202, 203, 204, 205, 300, 301, 302, 303, 307, 308, 400, 401, 402, 403, 404, 405, 406,
    407, 408, 409, 410, 411, 412, 413, 414, 415, 417, 421, 422, 426, 500, 501, 502, 503, 504, 505,
];

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::super::entry::{Freshness, Watermark};
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
            assert_eq!(
                is_stored(status, true),
                ![425, 428, 429, 431, 511].contains(&code),
                "{code}"
            );
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
            assert!(
                is_sound(&Rules::default(), &stored(status, fields, body), false),
                "{fields:?}"
            );
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
}
