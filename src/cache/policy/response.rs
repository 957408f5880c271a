//! A response of the inner service, as the decisions over it see it.

use http::header::{
    CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, StatusCode};

use super::super::entry::Freshness;
use super::super::hint::CacheHint;
use super::super::vary::Variant;
use super::cache_control::{ResponseControl, Scope};
use super::rules::Rules;
use crate::headers::list;

/// The head of a response, and what else decides over its storage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResponseInfo<'a> {
    pub(crate) status: StatusCode,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) hint: Option<&'a CacheHint>,
    /// The response has a part for this request alone, such as a nonce.
    pub(crate) single_use: bool,
    /// A request header on which the response depends, though `vary` does not name it.
    pub(crate) varies_by: Option<&'a HeaderName>,
    /// The headers of the request.
    pub(crate) request: &'a HeaderMap,
    /// The size of the body in bytes, if it is known.
    pub(crate) size: Option<u64>,
    /// The time of the request by the wall clock, in milliseconds since 1970.
    pub(crate) sent: u64,
    /// The time of the response by the wall clock, with which its dates are compared.
    pub(crate) received: u64,
    /// The time of the response by the clock that measures ages, which never goes back.
    pub(crate) clock: u64,
    /// A number from 0 to 1, new each time.
    pub(crate) random: f64,
    /// The response to a POST, for which only a lifetime that it states counts (RFC 9110 §9.3.3).
    pub(crate) post: bool,
}

/// The parts of an entry that are known before the body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Storable {
    pub(crate) headers: HeaderMap,
    pub(crate) freshness: Freshness,
    pub(crate) variant: Variant,
    pub(crate) tags: Vec<String>,
}

/// The reasons for which a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotStorable {
    /// The [`CacheHint`] of the handler forbids it.
    CacheHint,
    /// The response has a part for one request alone.
    SingleUse,
    NoStore,
    Private,
    /// The directives cannot be parsed.
    Malformed,
    Authorization,
    /// The request has a `cookie`, and the lifetime is the layer's.
    Cookie,
    SetCookie,
    VaryAll,
    Status,
    /// The response states no lifetime, and the layer gives it none.
    Freshness,
    TooLarge,
    /// The response is an event stream, or gRPC.
    Stream,
    /// The 304 is about another response than the stored one.
    Validator,
}

/// Removes the headers with tags from a response, if the user chose that.
pub(crate) fn strip_tags(rules: &Rules, headers: &mut HeaderMap) {
    if rules.strip_tags {
        TAGS.iter().for_each(|name| drop(headers.remove(name)));
    }
}

/// Returns `true` if a header is present, and is one of those that are stored.
pub(super) fn is_kept(headers: &HeaderMap, control: &ResponseControl, name: &HeaderName) -> bool {
    headers.contains_key(name) && !left_out(headers, control).contains(name)
}

/// Returns the names of the headers that are not stored: those of the connection, and those that
/// `no-cache` and `private` name, without which the rest may be stored (§5.2.2.4, §5.2.2.7).
pub(super) fn left_out(headers: &HeaderMap, control: &ResponseControl) -> Vec<HeaderName> {
    let mut names = hop_by_hop(headers);
    // The RFC lets a cache store these headers, and validate before it sends them. To leave them out
    // is simpler, and safe where a store is read by others.
    for scope in [&control.no_cache, &control.private] {
        if let Some(Scope::Fields(named)) = scope {
            names.extend_from_slice(named);
        }
    }
    names
}

/// Returns the names of the headers of one connection (RFC 9110 §7.6.1, RFC 9111 §3.1).
pub(super) fn hop_by_hop(headers: &HeaderMap) -> Vec<HeaderName> {
    let named = list::members(headers, &CONNECTION);
    let mut names: Vec<_> = named.filter_map(|name| HeaderName::from_bytes(name).ok()).collect();
    names.extend(HOP_BY_HOP);
    names
}

/// The headers of one connection.
pub(super) const HOP_BY_HOP: [HeaderName; 10] = [
    CONNECTION,
    // These two are no standard, and are sent all the same.
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// RFC 9211.
pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
pub(super) const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
pub(super) const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// The headers that tags come from.
pub(super) const TAGS: [HeaderName; 2] = [SURROGATE_KEY, CACHE_TAG];
