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
mod tests {
    use super::*;

    #[test]
    fn shared_caches_may_not_store() {
        for (lines, expected) in [
            (&[][..], "private"),
            (&[""], "private"),
            (&["public, max-age=600"], "private, max-age=600"),
            (&["max-age=600"], "private, max-age=600"),
            (&["s-maxage=60, max-age=5"], "private, max-age=5"),
            (&["S-MaxAge=\"60\", PUBLIC"], "private"),
            (&["public", "max-age=600, immutable"], "private, max-age=600, immutable"),
            (&["no-cache"], "private, no-cache"),
            (&["no-cache=\"a, public\", public"], "private, no-cache=\"a, public\""),
            (&["private=\"set-cookie\", max-age=5"], "private, max-age=5"),
            (&["private, public"], "private"),
            (&["private, s-maxage=60"], "private"),
            (&["no-store, must-understand"], "private, no-store, must-understand"),
            (&["public; max-age=600"], "private"),
            (&["private; max-age=600"], "private"),
            (&["max-age=5, x=\"a, public"], "private, max-age=5"),
            (&["public", "caf\u{e9}"], "private"),
            (&["new=1, stale-while-revalidate=9"], "private, new=1, stale-while-revalidate=9"),
            // Values that are private already.
            (&["private"], "private"),
            (&["Private , max-age=600"], "Private , max-age=600"),
            (&["no-store"], "no-store"),
            (&["no-store, max-age=0"], "no-store, max-age=0"),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(CACHE_CONTROL, HeaderValue::from_bytes(line.as_bytes()).unwrap());
            }
            for _ in 0..2 {
                make_private(&mut headers);
                let found: Vec<_> = headers.get_all(CACHE_CONTROL).iter().collect();
                assert_eq!(found, [expected], "{lines:?}");
            }
        }
    }

    #[test]
    fn targeted_headers_forbid_it_too() {
        for (name, value) in [
            ("cdn-cache-control", "no-store"),
            ("cloudflare-cdn-cache-control", "no-store"),
            ("x-litespeed-cache-control", "no-store"),
            ("surrogate-control", "no-store"),
            ("edge-control", "no-store"),
            ("x-accel-expires", "0"),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(name, HeaderValue::from_static("max-age=600, public"));
            headers.append(name, HeaderValue::from_static("600"));
            headers.insert("expires", HeaderValue::from_static("Thu, 01 Dec 2044 16:00:00 GMT"));
            make_private(&mut headers);
            let found: Vec<_> = headers.get_all(name).iter().collect();
            assert_eq!(found, [value, value], "{name}");
            assert_eq!((headers.len(), &headers[CACHE_CONTROL]), (4, &"private".parse().unwrap()));
        }
        // A response without targeted headers gets none.
        let mut headers = HeaderMap::new();
        make_private(&mut headers);
        assert_eq!(headers.len(), 1);
    }
}
