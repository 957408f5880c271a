//! Keeps shared caches from storing a response whose nonce was used: all clients of such a cache
//! would receive the same nonce.

use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::headers::list::members;
use crate::headers::token::is_token;

/// Makes a response private (RFC 9111 §5.2.2.7), even if the service sends `public`.
///
/// The client's own cache may store the response: it serves the page and the policy together, to
/// the client that has seen both.
pub(super) fn make_private(headers: &mut HeaderMap) {
    for (name, value) in headers.iter_mut() {
        if *name == X_ACCEL_EXPIRES {
            *value = HeaderValue::from_static("0");
        } else if is_targeted(name) {
            *value = HeaderValue::from_static("no-store");
        }
    }
    if let Some(value) = private(members(headers, &CACHE_CONTROL)) {
        // Fails only for a map that is full, which no server can send.
        drop(headers.try_insert(CACHE_CONTROL, value));
    }
}

/// Returns `true` for headers that some caches obey instead of `cache-control`: the targeted
/// headers of RFC 9213, whose names end in `-cache-control`, and older ones.
fn is_targeted(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.ends_with("-cache-control") || OLDER_TARGETED.contains(&name)
}

/// Returns a `cache-control` that forbids shared caches to store the response, or `None` if the
/// directives forbid it already.
fn private<'a>(directives: impl Iterator<Item = &'a [u8]>) -> Option<HeaderValue> {
    let mut kept = vec![PRIVATE.as_bytes()];
    let (mut is_private, mut is_contradicted) = (false, false);
    for directive in directives {
        let (name, has_argument) = match directive.iter().position(|byte| *byte == b'=') {
            Some(at) => (&directive[..at], at + 1 < directive.len()),
            None => (directive, false),
        };
        let has = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        // `private="set-cookie"` forbids to store that header only (RFC 9111 §5.2.2.7).
        is_private |= has("no-store") || has("private") && !has_argument;
        // A cache that knows `must-understand` ignores `no-store` beside it (RFC 9111 §5.2.2.3).
        is_contradicted |= has("public") || has("s-maxage") || has("must-understand");
        // Some cache might understand a malformed directive, such as `public; max-age=60`, so the
        // value is written anew without it.
        let quotes = directive.iter().filter(|byte| **byte == b'"').count();
        let is_malformed = !is_token(name) || quotes % 2 == 1;
        is_contradicted |= is_malformed;
        let is_replaced = has("public") || has("s-maxage") || has("private");
        if !(is_malformed || is_replaced) {
            kept.push(directive);
        }
    }
    if is_private && !is_contradicted {
        return None;
    }
    let value = HeaderValue::from_bytes(&kept.join(&b", "[..]));
    Some(value.unwrap_or(HeaderValue::from_static(PRIVATE)))
}

const PRIVATE: &str = "private";
/// The headers of Akamai and of the Edge Architecture Specification. They have no `private`.
const OLDER_TARGETED: [&str; 2] = ["edge-control", "surrogate-control"];
/// The header of nginx, a number of seconds.
const X_ACCEL_EXPIRES: &str = "x-accel-expires";

#[cfg(test)]
mod tests;
