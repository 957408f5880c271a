//! The classification of requests, before the lookup.

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, COOKIE, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, PRAGMA, RANGE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, Method, request};

use super::super::key::{CacheKey, Content, ContentMethod, Unread};
use super::cache_control::RequestControl;
use super::rules::{Exception, Rules};

/// The way of a request through the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestAction {
    /// Looks for a stored response.
    LookUp(RequestPolicy),
    /// Passes the request to the inner service.
    Pass(Bypass),
    /// Passes the request, and invalidates what it changed (RFC 9111 §4.4).
    Invalidate,
}

/// The properties of a request that decide over its lookup and over its response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestPolicy {
    pub(crate) head_only: bool,
    /// The request has `authorization`.
    pub(crate) authorized: bool,
    /// The request has a cookie that is neither part of the key nor ignored, and the layer gives
    /// lifetimes to responses. Such a response is not for this request, and the response to this request is not for
    /// others.
    pub(crate) cookie: bool,
    /// The request has a condition or a range, so that its response may be a 304 or a part.
    pub(crate) conditional: bool,
    /// A `POST` whose content is a part of its key. Only a lifetime that the response states counts
    /// (RFC 9110 §9.3.3), and conditions have another meaning (§13.1.2).
    pub(crate) post: bool,
    pub(crate) control: RequestControl,
    /// The reason for which the response is not stored, whatever it says.
    pub(crate) no_fill: Option<Bypass>,
    /// The header of [`Bypass::Override`].
    pub(crate) override_by: Option<&'static str>,
}

/// The reasons for which a request passes by the cache, or its response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bypass {
    Method,
    Upgrade,
    Skipped,
    /// The request has no key.
    Key,
    Body,
    /// `if-match` and `if-unmodified-since` are for the origin (RFC 9111 §4.3.2).
    Precondition,
    NoStore,
    /// The response is a part, or a head alone.
    Partial,
    /// The request has a header that services take the URL or the method from, and that is not part
    /// of the key.
    Override,
    /// The URL is spelled otherwise than the key, and the service may see the difference.
    Spelling,
    /// The layer stores every 200, and this one may be made for one session.
    Cookie,
    /// The content of a `QUERY` has failed, has trailers, or differs from what the head declares.
    Content,
    ContentSize,
    ContentTimeout,
    ContentBudget,
}

/// Classifies a request. `has_body` is `true` unless its body has ended already.
pub(crate) fn classify(
    rules: &Rules,
    key: &CacheKey,
    request: &request::Parts,
    has_body: bool,
) -> RequestAction {
    let head_only = request.method == Method::HEAD;
    if !head_only && request.method != Method::GET {
        return by_method(rules, key, request);
    }
    let no_fill = (head_only && !rules.fill_on_head).then_some(Bypass::Partial);
    let policy = RequestPolicy { head_only, no_fill, ..RequestPolicy::default() };
    by_headers(rules, key, &request.headers, policy, Some(has_body))
}

/// Classifies a request with another method than GET and HEAD.
fn by_method(rules: &Rules, key: &CacheKey, request: &request::Parts) -> RequestAction {
    match (SAFE.contains(&request.method.as_str()), Content::of(request)) {
        (_, Some(Content::Known(method, _))) => {
            let post = *method == ContentMethod::Post;
            let policy = RequestPolicy { post, ..RequestPolicy::default() };
            match by_headers(rules, key, &request.headers, policy, None) {
                // The service may respond with 412 where a GET would get 304, and ignores a range.
                RequestAction::LookUp(policy) if policy.post && policy.conditional => {
                    RequestAction::Pass(Bypass::Precondition)
                }
                action => action,
            }
        }
        (true, Some(Content::Unknown(reason))) => RequestAction::Pass(Bypass::unread(*reason)),
        (true, _) => RequestAction::Pass(Bypass::Method),
        // A POST whose content is not known may be one that changes something.
        (false, _) => RequestAction::Invalidate,
    }
}

/// Classifies a request as if it were a GET without a body.
pub(crate) fn classify_as_get(rules: &Rules, key: &CacheKey, headers: &HeaderMap) -> RequestAction {
    by_headers(rules, key, headers, RequestPolicy::default(), None)
}

/// Classifies a request by its headers. `has_body` is `None` if neither the body nor the headers about
/// it count.
#[inline]
fn by_headers(
    rules: &Rules,
    key: &CacheKey,
    headers: &HeaderMap,
    mut policy: RequestPolicy,
    has_body: Option<bool>,
) -> RequestAction {
    let mut control = false;
    // One walk over the names that are present costs less than a lookup of each known name: most
    // requests have none of them.
    for name in headers.keys().filter(|name| may_decide(name)) {
        if *name == UPGRADE {
            return RequestAction::Pass(Bypass::Upgrade);
        } else if *name == IF_MATCH || *name == IF_UNMODIFIED_SINCE {
            return RequestAction::Pass(Bypass::Precondition);
        } else if *name == TRANSFER_ENCODING || *name == CONTENT_LENGTH {
            let is_empty = *name == CONTENT_LENGTH
                && headers.get(name).is_some_and(|length| length.as_bytes() == b"0");
            if has_body.is_some() && !is_empty {
                return RequestAction::Pass(Bypass::Body);
            }
        } else if *name == AUTHORIZATION {
            policy.authorized = true;
        } else if *name == COOKIE {
            if rules.gives_lifetimes()
                && !key.has_header(name)
                && !rules.allows(Exception::Cookie)
                && !key.covers_cookies(headers)
            {
                if rules.aside.is_some() {
                    return RequestAction::Pass(Bypass::Cookie);
                }
                policy.cookie = true;
            }
        } else if *name == CACHE_CONTROL || *name == PRAGMA {
            control = rules.heed_request;
        } else if *name == IF_NONE_MATCH || *name == IF_MODIFIED_SINCE || *name == IF_RANGE {
            policy.conditional = true;
        } else if *name == RANGE {
            policy.conditional = true;
            policy.no_fill.get_or_insert(Bypass::Partial);
        } else if let Some(known) = overrides(name) {
            if !rules.trusted.contains(name) && !key.has_header(name) {
                // This reason replaces all others: not even a refresh may carry the header.
                policy.no_fill = Some(Bypass::Override);
                policy.override_by.get_or_insert(known);
            }
        }
    }
    if has_body == Some(true) {
        return RequestAction::Pass(Bypass::Body);
    }
    if control {
        policy.control = RequestControl::parse(headers);
        if policy.control.no_store && policy.no_fill != Some(Bypass::Override) {
            policy.no_fill = Some(Bypass::NoStore);
        }
    }
    RequestAction::LookUp(policy)
}

impl RequestPolicy {
    /// Returns `true` for a GET of a range, whose response is stored only under conditions of its own.
    pub(crate) fn is_range(&self) -> bool {
        self.no_fill == Some(Bypass::Partial) && !self.head_only
    }

    /// Returns `true` for a HEAD whose response may update the stored response, though it cannot
    /// replace it (RFC 9111 §4.3.5).
    pub(crate) fn freshens(&self) -> bool {
        self.head_only && self.no_fill == Some(Bypass::Partial)
    }

    /// Returns `true` for a HEAD that the service gets as a GET, to fill the cache.
    pub(crate) fn is_filling_head(&self) -> bool {
        self.head_only && self.no_fill.is_none()
    }

    /// Returns the policy of a request whose response is stored only if `may_fill`: the service sees
    /// the URL as the key spells it.
    #[inline]
    pub(crate) fn spelled(mut self, may_fill: bool) -> Self {
        if !may_fill {
            self.no_fill = Some(Bypass::Spelling);
        }
        self
    }
}

impl Bypass {
    /// The names in labels and in `cache-status`, in the order of the variants.
    pub(crate) const NAMES: [&str; 15] = [
        "method",
        "upgrade",
        "skipped",
        "key",
        "body",
        "precondition",
        "no-store",
        "partial",
        "override",
        "spelling",
        "cookie",
        "content",
        "content-size",
        "content-timeout",
        "content-budget",
    ];

    const fn unread(reason: Unread) -> Self {
        match reason {
            Unread::TooLarge => Self::ContentSize,
            Unread::Late => Self::ContentTimeout,
            Unread::Budget => Self::ContentBudget,
            Unread::Malformed => Self::Content,
        }
    }

    /// Returns `true` if the service's response may be that to another request.
    pub(crate) const fn is_of_another(self) -> bool {
        matches!(self, Self::Override | Self::Spelling)
    }

    pub(crate) const fn as_str(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// Returns `false` for nearly all names that are not compared one by one, by letter and length.
fn may_decide(name: &HeaderName) -> bool {
    let name = name.as_str();
    let lengths = name.bytes().next().map_or(0, |letter| LENGTHS[usize::from(letter % 32)]);
    lengths >> (name.len() % 32) & 1 != 0
}

/// Returns the known name of a header from which services take the host, the URL or the method.
fn overrides(name: &HeaderName) -> Option<&'static str> {
    let name = name.as_str();
    if !name.starts_with("x-") && !name.starts_with("x_") {
        return (name == "forwarded").then_some("forwarded");
    }
    // CGI, and what followed it, does not tell `_` from `-`.
    let same = |(byte, of): (u8, u8)| byte == of || byte == b'_' && of == b'-';
    let is = |of: &str| name.len() == of.len() && name.bytes().zip(of.bytes()).all(same);
    OVERRIDES.iter().copied().find(|of| is(of))
}

/// The methods that IANA's HTTP Method Registry calls safe, except GET and HEAD, with CONNECT, which
/// has no resource. A method that is not registered may change anything (RFC 9111 §4.4).
const SAFE: [&str; 8] =
    ["CONNECT", "OPTIONS", "PRI", "PROPFIND", "QUERY", "REPORT", "SEARCH", "TRACE"];

/// The names that a request is classified by, beside [`OVERRIDES`].
const DECIDING: [&str; 14] = [
    "authorization",
    "cache-control",
    "content-length",
    "cookie",
    "forwarded",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "pragma",
    "range",
    "transfer-encoding",
    "upgrade",
];

/// The lengths of these names by their first letter, as sets of bits.
const LENGTHS: [u32; 32] = {
    let mut lengths = [0; 32];
    let mut at = 0;
    while at < DECIDING.len() + OVERRIDES.len() {
        let name = if at < DECIDING.len() { DECIDING[at] } else { OVERRIDES[at - DECIDING.len()] };
        lengths[name.as_bytes()[0] as usize % 32] |= 1_u32 << (name.len() % 32);
        at += 1;
    }
    lengths
};

const OVERRIDES: [&str; 23] = [
    "x-forwarded-host",
    "x-forwarded-method",
    "x-forwarded-proto",
    "x-forwarded-protocol",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-forwarded-path",
    "x-forwarded-uri",
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-url",
    "x-scheme",
    "x-url-scheme",
];

#[cfg(test)]
mod tests;
