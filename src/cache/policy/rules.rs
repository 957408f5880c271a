use std::error::Error;
use std::fmt;
use std::time::Duration;

use http::{HeaderName, StatusCode};

/// What the user chose.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) aside: Option<Duration>,
    pub(crate) default_ttl: Option<Duration>,
    pub(crate) ttls: Vec<(StatusCode, Duration)>,
    pub(crate) jitter: f64,
    pub(crate) early_refresh: f64,
    pub(crate) grace: Duration,
    pub(crate) heed_request: bool,
    pub(crate) targeted: Vec<HeaderName>,
    pub(crate) exceptions: Vec<Exception>,
    pub(crate) trusted: Vec<HeaderName>,
    pub(crate) etag: bool,
    pub(crate) entry_limit: u64,
    pub(crate) variants: usize,
    pub(crate) strip_tags: bool,
}

/// What is never kept unless a layer [allows](crate::CacheLayer::allow) it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exception {
    /// Responses with `set-cookie`: every client gets the cookie of the first.
    SetCookie,
    /// Responses to requests with `authorization` that do not say that they are for all (RFC 9111
    /// §3.5): every client gets what the first was allowed to see.
    Authorization,
    /// Requests with `cookie`, where the lifetime is the layer's own ([`aside`], [`default_ttl`],
    /// [`ttl`]): every client gets what was made for the first one's session. For a service whose
    /// responses depend on no cookie, or whose key has what they depend on
    /// ([`CacheKey::with`](crate::cache::CacheKey::with)).
    ///
    /// [`aside`]: crate::CacheLayer::with_ttl
    /// [`default_ttl`]: crate::CacheLayer::default_ttl
    /// [`ttl`]: crate::CacheLayer::ttl
    Cookie,
    /// Responses with `cache-control: private`, in any spelling: every client gets what was meant
    /// for one.
    Private,
    /// Responses with `cache-control: no-store`, in any spelling, or with a `cache-control` that
    /// cannot be read.
    NoStore,
    /// Responses with `vary: *`, as if it were not there.
    VaryAll,
    /// Responses of any final status that state their lifetime, as RFC 9111 §3 permits, except those
    /// that RFC 6585 and RFC 8470 forbid to store (425, 428, 429, 431, 511): where an error depends on
    /// parts of a request that the key lacks, one client's error is every client's.
    AnyStatus,
}

/// A number that is not in the range of a setter, such as a fraction above 1.
#[derive(Clone, Copy, Debug)]
pub struct InvalidNumber {
    number: f64,
    most: f64,
}

impl InvalidNumber {
    /// Returns `number` if it is from 0 to `most`.
    pub(crate) fn check(number: f64, most: f64) -> Result<f64, Self> {
        if (0.0..=most).contains(&number) { Ok(number) } else { Err(Self { number, most }) }
    }
}

impl fmt::Display for InvalidNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not from 0 to {}", self.number, self.most)
    }
}

impl Error for InvalidNumber {}

impl Rules {
    pub(super) fn allows(&self, exception: Exception) -> bool {
        self.exceptions.contains(&exception)
    }

    /// Returns `true` if responses that state no lifetime may get one from the layer.
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
            grace: Duration::from_secs(600),
            heed_request: false,
            targeted: vec![HeaderName::from_static("cdn-cache-control")],
            exceptions: Vec::new(),
            trusted: Vec::new(),
            etag: false,
            entry_limit: 1024 * 1024,
            variants: 16,
            strip_tags: false,
        }
    }
}
