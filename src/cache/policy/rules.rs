use std::error::Error;
use std::fmt;
use std::time::Duration;

use http::{HeaderName, StatusCode};

/// The choices of the user that decide over requests and responses.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) aside: Option<Duration>,
    pub(crate) default_ttl: Option<Duration>,
    pub(crate) ttls: Vec<(StatusCode, Duration)>,
    pub(crate) jitter: f64,
    pub(crate) early_refresh: f64,
    pub(crate) while_revalidate: Duration,
    pub(crate) grace: Duration,
    pub(crate) heed_request: bool,
    pub(crate) fill_on_head: bool,
    pub(crate) targeted: Vec<HeaderName>,
    pub(crate) exceptions: Vec<Exception>,
    pub(crate) trusted: Vec<HeaderName>,
    pub(crate) etag: bool,
    pub(crate) entry_limit: u64,
    pub(crate) variants: usize,
    pub(crate) parts: u64,
    pub(crate) strip_tags: bool,
    /// Responses are linked to the values that they are made of.
    pub(crate) links: bool,
}

/// A kind of response that is not stored, or not served stale, unless the layer
/// [allows](crate::CacheLayer::allow) it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exception {
    /// Responses with `set-cookie`. Every client gets the cookie of the first client.
    SetCookie,
    /// Responses to requests with `authorization` that do not say that they are for all clients (RFC
    /// 9111 §3.5). Every client gets what the first client was allowed to see.
    Authorization,
    /// Requests with `cookie`, if the lifetime is the layer's own ([`with_ttl`], [`default_ttl`],
    /// [`ttl`]). Every client gets what was made for the session of the first client. This is for
    /// services whose responses depend on no cookie, or whose key has what they depend on
    /// ([`CacheKey::with`](crate::cache::CacheKey::with)).
    ///
    /// [`with_ttl`]: crate::CacheLayer::with_ttl
    /// [`default_ttl`]: crate::CacheLayer::default_ttl
    /// [`ttl`]: crate::CacheLayer::ttl
    Cookie,
    /// Responses with `cache-control: private`, in any spelling. Every client gets what was meant for
    /// one client.
    Private,
    /// Responses with `cache-control: no-store`, in any spelling, or with a `cache-control` that
    /// cannot be parsed.
    NoStore,
    /// Responses with `vary: *`, as if that member were missing.
    VaryAll,
    /// Responses of any final status that state their lifetime, as RFC 9111 §3 permits, except those
    /// that RFC 6585 and RFC 8470 forbid to store (425, 428, 429, 431, 511). An error may depend on a
    /// part of the request that is not in the key: the error of one client is then served to all.
    AnyStatus,
    /// Stale responses with `s-maxage`, which RFC 9111 §5.2.2.10 forbids: `s-maxage` implies
    /// `proxy-revalidate`. With this exception `s-maxage` states a lifetime and nothing else, as in
    /// `s-maxage=60, stale-while-revalidate=30`. The response is served stale within the times that
    /// the response itself states, or else within those of the layer
    /// ([`stale_while_revalidate`], [`stale_if_error`]), also if it states nothing but `s-maxage`.
    /// Clients get responses that are older than the service may have wanted.
    ///
    /// `must-revalidate`, `proxy-revalidate` and `no-cache` still forbid stale responses: a service
    /// that needs that for one response adds one of them.
    ///
    /// [`stale_while_revalidate`]: crate::CacheLayer::stale_while_revalidate
    /// [`stale_if_error`]: crate::CacheLayer::stale_if_error
    StaleSMaxAge,
}

/// The error of a number that is not in the range of a setter, such as a fraction above 1.
#[derive(Clone, Copy, Debug)]
pub struct InvalidNumber {
    number: f64,
    max: f64,
}

impl InvalidNumber {
    /// Returns `number` if it is from 0 to `max`.
    pub(crate) fn check(number: f64, max: f64) -> Result<f64, Self> {
        if (0.0..=max).contains(&number) { Ok(number) } else { Err(Self { number, max }) }
    }
}

impl fmt::Display for InvalidNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not from 0 to {}", self.number, self.max)
    }
}

impl Error for InvalidNumber {}

impl Rules {
    pub(super) fn allows(&self, exception: Exception) -> bool {
        self.exceptions.contains(&exception)
    }

    /// Returns `true` if the layer gives lifetimes to responses that state none.
    pub(super) fn gives_lifetimes(&self) -> bool {
        self.aside.or(self.default_ttl).is_some() || !self.ttls.is_empty()
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            aside: None,
            default_ttl: None,
            ttls: Vec::new(),
            jitter: 0.0,
            early_refresh: 0.0,
            while_revalidate: Duration::ZERO,
            // A service that is down for minutes should not be seen.
            grace: Duration::from_secs(600),
            heed_request: false,
            fill_on_head: false,
            targeted: vec![HeaderName::from_static("cdn-cache-control")],
            exceptions: Vec::new(),
            trusted: Vec::new(),
            etag: false,
            entry_limit: 1024 * 1024,
            variants: 16,
            parts: 1024,
            strip_tags: false,
            links: true,
        }
    }
}
