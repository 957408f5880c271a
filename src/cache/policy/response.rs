//! A response of the inner service, as the decisions over it see it.

use http::header::CONNECTION;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::super::entry::{Freshness, Links};
use super::super::hint::CacheHint;
use super::super::key::Key;
use super::super::vary::Variant;
use super::cache_control::{ResponseControl, Scope};
use super::groups::CACHE_GROUPS;
use super::reads::ReadValues;
use super::rules::Rules;
use crate::headers::list;
use crate::headers::media_type::is_stream;

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
    /// The key of the request.
    pub(crate) key: &'a Key,
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
    /// The values that the handler has read, if the layer links them.
    pub(crate) reads: Option<&'a ReadValues>,
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
    pub(crate) links: Links,
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
    /// The groups cannot be parsed, or are too many (RFC 9875).
    Groups,
    /// The handler has read more values than a response may be linked to.
    Values,
    /// The handler has read a value that is stale, or is not kept.
    StaleValue,
}

/// The headers of a response that decide over its storage. One walk over the names that a response has
/// costs less than a lookup of each: most responses have few of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Present<'a> {
    pub(super) age: bool,
    pub(super) cache_control: Lines<'a>,
    pub(super) connection: bool,
    pub(super) content_security_policy: bool,
    pub(super) date: bool,
    pub(super) expires: bool,
    pub(super) last_modified: bool,
    pub(super) set_cookie: bool,
    /// The body is an event stream, or gRPC.
    pub(super) stream: bool,
    pub(super) tags: bool,
    /// A header for this cache, or for caches like this one.
    pub(super) targeted: bool,
    pub(super) vary: bool,
}

/// The lines of a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Lines<'a> {
    #[default]
    None,
    One(&'a HeaderValue),
    Several,
}

impl<'a> Present<'a> {
    pub(super) fn of(rules: &Rules, headers: &'a HeaderMap) -> Self {
        let mut present = Self::default();
        for (name, value) in headers {
            // As text, whose lengths differ: that costs less than a comparison with each name.
            match name.as_str() {
                "age" => present.age = true,
                "cache-control" => {
                    present.cache_control = match present.cache_control {
                        Lines::None => Lines::One(value),
                        Lines::One(_) | Lines::Several => Lines::Several,
                    };
                }
                "cache-groups" | "cache-tag" | "surrogate-key" => present.tags = true,
                "connection" => present.connection = true,
                "content-security-policy" | "content-security-policy-report-only" => {
                    present.content_security_policy = true;
                }
                "content-type" => present.stream |= is_stream(value.as_bytes()),
                "date" => present.date = true,
                "expires" => present.expires = true,
                "last-modified" => present.last_modified = true,
                "set-cookie" => present.set_cookie = true,
                "surrogate-control" => present.targeted = true,
                "vary" => present.vary = true,
                _ => {}
            }
            present.targeted |= rules.targeted.contains(name);
        }
        present
    }
}

/// Returns `true` if a response states tags, groups or a hint, by which purges may be about it.
pub(crate) fn is_tagged<B>(response: &Response<B>) -> bool {
    let is_tag = |name: &HeaderName| TAGS.contains(name) || *name == CACHE_GROUPS;
    response.headers().keys().any(is_tag) || response.extensions().get::<CacheHint>().is_some()
}

/// Removes the headers with tags from a response, if the user chose that.
pub(crate) fn strip_tags(rules: &Rules, headers: &mut HeaderMap) {
    if rules.strip_tags {
        TAGS.iter().for_each(|name| drop(headers.remove(name)));
    }
}

/// The headers of a response that are not stored: those of the connection, and those that `no-cache`
/// and `private` name, without which the rest may be stored (RFC 9111 §5.2.2.4, §5.2.2.7).
pub(super) struct LeftOut<'a> {
    /// The headers that `connection` names.
    of_connection: Vec<HeaderName>,
    pub(super) control: &'a ResponseControl,
}

impl<'a> LeftOut<'a> {
    pub(super) fn of(
        headers: &HeaderMap,
        present: Present<'_>,
        control: &'a ResponseControl,
    ) -> Self {
        let named = || named_by_connection(headers).collect();
        let of_connection = if present.connection { named() } else { Vec::new() };
        Self { of_connection, control }
    }

    pub(super) fn has(&self, name: &HeaderName) -> bool {
        // The RFC lets a cache store what the directives name, and validate before it sends that. To
        // leave it out is simpler, and safe where a store is read by others.
        let is_named = |scope: &Option<Scope>| match scope {
            Some(Scope::Fields(named)) => named.contains(name),
            Some(Scope::Response) | None => false,
        };
        is_of_connection(name)
            || self.of_connection.contains(name)
            || is_named(&self.control.no_cache)
            || is_named(&self.control.private)
    }
}

/// Returns `true` for a header of one connection (RFC 9110 §7.6.1, RFC 9111 §3.1), or for one that
/// `connection` names.
pub(super) fn is_hop_by_hop(headers: &HeaderMap, name: &HeaderName) -> bool {
    is_of_connection(name) || named_by_connection(headers).any(|named| named == *name)
}

/// Returns `true` for the headers of one connection, whatever `connection` names.
pub(super) fn is_of_connection(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            // These two are no standard, and are sent all the same.
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

fn named_by_connection(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    list::members(headers, &CONNECTION).filter_map(|name| HeaderName::from_bytes(name).ok())
}

pub(super) const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
pub(super) const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");
/// The Edge Architecture Specification, §2.2.
pub(super) const SURROGATE_CONTROL: HeaderName = HeaderName::from_static("surrogate-control");

/// The headers that tags come from.
pub(super) static TAGS: [HeaderName; 2] = [SURROGATE_KEY, CACHE_TAG];
