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
use super::response::{Lines, NotStorable, Present, is_of_connection};
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
    present: Present<'_>,
) -> Result<(ResponseControl, bool), NotStorable> {
    let refuse = |exception, reason| {
        if rules.allows(exception) { Ok(()) } else { Err(reason) }
    };
    let (control, is_targeted) = match present.cache_control {
        Lines::One(line) if !present.targeted => {
            (ResponseControl::parse_line(line.as_bytes()), false)
        }
        Lines::Several if !present.targeted => (ResponseControl::parse(headers), false),
        _ => directives_for_cache(headers, &rules.targeted),
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
mod tests;
