//! The builder of keys.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, Uri, request};

use super::content::Content;
use super::cookies::{Cookies, TRACKING_COOKIES};
use super::query::{Query, TRACKING};
use super::request_key::{
    Key, MAX_LENGTH, NoKey, Spelling, host_line, host_of, is_spelled_so, push_host,
};
use crate::axum_extensions::{is_nested, original_uri};

/// The parts of a request that make its cache key: by default the scheme, the host, the path and the
/// query, byte for byte. The host counts in lower case and without its default port.
///
/// Requests with the same key get the same response, except for what `vary` names.
///
/// ```
/// use http::header::HeaderName;
/// use tower_kit::cache::{CacheKey, CacheLayer, MemoryStore};
///
/// // `?b=2&utm_source=mail&a=1` is `?a=1&b=2`, and each tenant has entries of its own.
/// let key = CacheKey::new()
///     .without_tracking()
///     .sorted_query()
///     .header(HeaderName::from_static("x-tenant"));
/// let layer = CacheLayer::new(MemoryStore::new(64 * tower_kit::MIB)).key(key);
/// # drop(layer);
/// ```
///
/// # Spelling
///
/// A request that may fill the cache reaches the service as its key spells it: with the host of the
/// key (`example.org` for `Example.org:80`), and with the query parameters of the key, in its order.
/// So a client cannot fill the cache with the response to another spelling. Extensions of the request
/// stay as they are: if the response depends on the spelling in an extension, add it to the key by
/// [`with`](Self::with). The cookies are those of the key, and others that are not ignored, on one
/// line and in that order. A request whose URL comes from an extension by [`uri`](Self::uri), and is
/// spelled otherwise there, may be served from the cache, and fills nothing.
///
/// With the feature `axum`, the URL of a request in a nested router is axum's `OriginalUri`, which is
/// respelled too. If a middleware inside of the router has rewritten the URI, both URIs count.
#[derive(Clone)]
#[must_use]
#[doc(alias = "KeyBy")]
#[doc(alias = "cache_key")]
#[doc(alias = "No-Vary-Search")]
pub struct CacheKey {
    scheme: Scheme,
    host: bool,
    query: Query,
    sorted: bool,
    headers: Vec<HeaderName>,
    cookies: Cookies,
    uri: Option<Arc<UriOf>>,
    with: Option<Arc<With>>,
    /// The headers of a proxy about the URL count.
    forwarded: bool,
}

type UriOf = dyn Fn(&request::Parts) -> Option<&Uri> + Send + Sync;
type With = dyn Fn(&request::Parts) -> Option<String> + Send + Sync;

impl CacheKey {
    /// Creates a key of the scheme, the host, the path and the query.
    pub const fn new() -> Self {
        Self {
            scheme: Scheme::HTTP,
            host: true,
            query: Query::All,
            sorted: false,
            headers: Vec::new(),
            cookies: Cookies::new(),
            uri: None,
            with: None,
            forwarded: false,
        }
    }

    /// Sets the scheme of requests that do not state theirs, such as those of HTTP/1. `http` by
    /// default.
    pub fn scheme(self, scheme: Scheme) -> Self {
        Self { scheme, ..self }
    }

    /// Leaves the host and the scheme out of the key. Only for a service whose responses never depend
    /// on them.
    pub fn any_host(self) -> Self {
        Self { host: false, ..self }
    }

    /// Leaves the query out of the key.
    pub fn no_query(self) -> Self {
        Self { query: Query::None, ..self }
    }

    /// Uses only the query parameters with these names. A name that ends in `*` is a prefix. Names are
    /// compared byte for byte, before any decoding.
    ///
    /// A parameter whose name has other characters than letters, digits, `-` and `_` is always part of
    /// the key: the service may read it as one of `names`.
    pub fn only_query(self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        Self { query: Query::Only(names), ..self }
    }

    /// Uses all query parameters except those with these names, which are matched as in
    /// [`only_query`](Self::only_query). A parameter with a `;` is always part of the key: the service
    /// may read it as two.
    pub fn without_query(self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        Self { query: Query::Except(names), ..self }
    }

    /// Leaves out the query parameters of analytics and advertising: `utm_*`, `gclid`, `gclsrc`,
    /// `gbraid`, `wbraid`, `dclid`, `fbclid`, `msclkid`, `twclid`, `yclid`, `mc_cid`, `mc_eid` and `_ga`.
    pub fn without_tracking(self) -> Self {
        self.without_query(TRACKING)
    }

    /// Ignores the order of query parameters, except among those that a service may read as several
    /// values of one name: `a=1&%61=2&A=3&a[]=4` keeps its order. A query with a `;` keeps its order
    /// too, since the service may split it there.
    pub fn sorted_query(self) -> Self {
        Self { sorted: true, ..self }
    }

    /// Adds a request header, with all its lines.
    pub fn header(mut self, name: HeaderName) -> Self {
        self.headers.push(name);
        self
    }

    /// Adds the value of one cookie. A cookie that is missing is another value than an empty one.
    /// Several calls add several cookies.
    ///
    /// Where the lifetime is the layer's own ([`with_ttl`], [`default_ttl`], [`ttl`]), this makes
    /// requests cacheable that have no cookies but those of the key and those that
    /// [`without_cookies`](Self::without_cookies) ignores. A request with any other cookie still
    /// neither fills the cache nor hits, with `detail=cookie` in `cache-status`. Where responses state
    /// their lifetime, other cookies do not count unless `vary` names `cookie`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use tower_kit::MIB;
    /// use tower_kit::cache::{CacheKey, CacheLayer, MemoryStore};
    ///
    /// // A page for each language, also for visitors with cookies of analytics or of a banner.
    /// let key = CacheKey::new()
    ///     .cookie("lang")
    ///     .without_tracking_cookies()
    ///     .without_cookies(["consent", "banner_*"]);
    /// let layer = CacheLayer::with_ttl(MemoryStore::new(64 * MIB), Duration::from_secs(60)).key(key);
    /// # drop(layer);
    /// ```
    ///
    /// Names are compared byte for byte. If there are several cookies of the name, all of them count,
    /// in their order. All cookies count, and none is ignored, if services may differ in how they read
    /// the `cookie` header: it has bytes outside of ASCII, a cookie without `=` or with an invalid name,
    /// an open quote, a comma before a `=`, or a name such as `%6cang` or `Lang` that a service may take
    /// for that of the key.
    ///
    /// [`with_ttl`]: crate::CacheLayer::with_ttl
    /// [`default_ttl`]: crate::CacheLayer::default_ttl
    /// [`ttl`]: crate::CacheLayer::ttl
    pub fn cookie(mut self, name: impl Into<String>) -> Self {
        self.cookies.count(name.into());
        self
    }

    /// Ignores the cookies with these names, in addition to those of earlier calls. A name that ends in
    /// `*` is a prefix. Names are compared byte for byte; a [`cookie`](Self::cookie) of the key is not
    /// ignored.
    ///
    /// A request whose cookies are all ignored counts as one without cookies, and a response with
    /// `vary: cookie` is compared by the other cookies. So that no response in the cache depends on an
    /// ignored cookie, the inner service does not see them in a `GET` or `HEAD` request that the cache
    /// looks up, even if that request fills nothing. Requests that pass by the cache keep all cookies.
    #[doc(alias = "ignore")]
    #[doc(alias = "strip")]
    pub fn without_cookies(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.cookies.ignore(names);
        self
    }

    /// Ignores the cookies that scripts of analytics and advertising set for themselves, as
    /// [`without_cookies`](Self::without_cookies) does: of Google (`_ga`, `_ga_*`, `_gid`, `_gat*`,
    /// `_gac_*`, `_gcl_*`, `_dc_gtm_*`, `__gads`, `__gpi`, `__utm*`), Meta (`_fbp`, `_fbc`), Microsoft
    /// (`_clck`, `_clsk`, `_uetsid`, `_uetvid`), Matomo (`_pk_*`), Hotjar (`_hj*`), HubSpot (`__hstc`,
    /// `__hssc`, `__hssrc`, `hubspotutk`), TikTok (`_ttp`), Pinterest (`_pin_unauth`) and Snapchat
    /// (`_scid`).
    ///
    /// Not for a service that reads one of these, such as to choose the group of an experiment.
    pub fn without_tracking_cookies(self) -> Self {
        self.without_cookies(TRACKING_COOKIES)
    }

    /// Sets a callback that finds the URI elsewhere than in the request line, such as in an extension
    /// that a middleware has set. It takes the place of axum's `OriginalUri`. If the callback returns
    /// `None`, the URI of the request counts; if it panics, the request passes by the cache.
    ///
    /// Without the feature `axum`, this is for nested routers of axum, which cut off the path that led
    /// to them:
    ///
    /// ```
    /// use axum::extract::OriginalUri;
    /// use tower_kit::cache::CacheKey;
    ///
    /// let key = CacheKey::new()
    ///     .uri(|request| request.extensions.get::<OriginalUri>().map(|original| &original.0));
    /// # drop(key);
    /// ```
    pub fn uri<F>(self, uri: F) -> Self
    where
        F: Fn(&request::Parts) -> Option<&Uri> + Send + Sync + 'static,
    {
        Self { uri: Some(Arc::new(uri)), ..self }
    }

    /// Sets a callback whose result is added to the key, such as a tenant or the group of an
    /// experiment. If the callback panics, the request passes by the cache.
    pub fn with<F>(self, with: F) -> Self
    where
        F: Fn(&request::Parts) -> Option<String> + Send + Sync + 'static,
    {
        Self { with: Some(Arc::new(with)), ..self }
    }

    /// Returns `true` if a header is part of the key.
    pub(crate) fn has_header(&self, name: &HeaderName) -> bool {
        self.headers.contains(name)
            || self.forwarded && (*name == FORWARDED || X_FORWARDED.contains(name))
    }

    /// Returns `true` if all cookies of a request are part of the key, or ignored.
    pub(crate) fn covers_cookies(&self, headers: &HeaderMap) -> bool {
        self.cookies.cover(headers)
    }

    /// Spells the cookies of a request as the key does.
    #[inline]
    pub(crate) fn spell_cookies(&self, headers: &mut HeaderMap) {
        if self.cookies.are_named() {
            self.cookies.spell(headers);
        }
    }

    /// Returns `true` if the cookies of a request are spelled as the key does.
    pub(crate) fn spells_cookies(&self, headers: &HeaderMap) -> bool {
        !self.cookies.are_named() || self.cookies.respelled(headers).is_none()
    }

    /// Adds the headers of a proxy about the URL that its client asked for, if `forwarded`.
    pub(crate) fn with_forwarded(self, forwarded: bool) -> Self {
        Self { forwarded: forwarded || self.forwarded, ..self }
    }

    pub(crate) const fn is_forwarded(&self) -> bool {
        self.forwarded
    }

    /// Returns `true` if each URL has one key only.
    pub(crate) fn is_url(&self) -> bool {
        self.headers.is_empty()
            && !self.cookies.are_counted()
            && self.with.is_none()
            && !self.forwarded
    }

    /// Returns `true` if a URI has all that the key takes from it.
    pub(crate) fn is_complete(&self, uri: &Uri) -> bool {
        !self.host || uri.authority().is_some()
    }

    /// Returns the key of a request whose cookies are [spelled](Self::spell_cookies) as the key has them.
    ///
    /// # Errors
    ///
    /// If the host is malformed or ambiguous, the key is over 8 KiB, or a callback panics.
    #[inline]
    pub(crate) fn of(&self, request: &request::Parts) -> Result<Key, NoKey> {
        let key = self.of_any_length(request);
        if key.as_ref().is_ok_and(|key| key.text.len() > MAX_LENGTH) {
            return Err(NoKey::TooLong);
        }
        key
    }

    /// Returns a number of the origin of a request, as [`Key::origin`] does, even if the key is too
    /// long.
    ///
    /// # Errors
    ///
    /// If the host is malformed or ambiguous, or a callback panics.
    pub(crate) fn origin_of(&self, request: &request::Parts) -> Result<u128, NoKey> {
        self.of_any_length(request).map(|key| key.origin())
    }

    #[inline]
    fn of_any_length(&self, request: &request::Parts) -> Result<Key, NoKey> {
        let (uri, rewritten) = self.target(request)?;
        let mut key = self.url(uri, &request.headers)?;
        if key.spelling == Spelling::Respelled && !can_respell(uri, request) {
            // The service may take the URL from the same place as the callback.
            key.spelling = Spelling::Other;
        }
        // No header has this name.
        if let Some(rewritten) = rewritten {
            key.push("@uri", rewritten.as_bytes());
        }
        for name in &self.headers {
            for value in request.headers.get_all(name) {
                key.push(name.as_str(), value.as_bytes());
            }
        }
        if self.cookies.are_counted() {
            self.cookies.push(&mut key, &request.headers);
        }
        if self.forwarded {
            push_forwarded(&mut key, &request.headers);
        }
        if let Some(with) = &self.with {
            if let Some(text) = guard(|| with(request))? {
                key.push("", text.as_bytes());
            }
        }
        if let Some(content) = Content::of(request) {
            key.push_content(content);
        }
        Ok(key)
    }

    /// Returns the URI that the client asked for.
    pub(crate) fn uri_of<'a>(&self, request: &'a request::Parts) -> Result<&'a Uri, NoKey> {
        self.target(request).map(|(uri, _)| uri)
    }

    /// Returns the URI that the key of a request is made of, or `None` if more than a URI and `host`
    /// counts.
    pub(crate) fn plain_uri<'a>(&self, request: &'a request::Parts) -> Option<&'a Uri> {
        if !self.is_url() || self.uri.is_some() {
            return None;
        }
        let (uri, rewritten) = self.target(request).ok()?;
        rewritten.is_none().then_some(uri)
    }

    /// Returns the URI that the client asked for. The second value tells requests to this URI apart,
    /// if the URI that the service sees does not follow from it: axum's `OriginalUri` is another one.
    fn target<'a>(&self, request: &'a request::Parts) -> Result<(&'a Uri, Option<String>), NoKey> {
        if let Some(uri) = &self.uri {
            let given = guard(|| uri(request))?;
            return Ok((given.unwrap_or(&request.uri), None));
        }
        let uri = &request.uri;
        Ok(match original_uri(&request.extensions) {
            None => (uri, None),
            Some(original) if original == uri => (uri, None),
            Some(original) if !is_nested(original, uri) => (uri, Some(original.to_string())),
            Some(original) if original.path().ends_with(uri.path()) => (original, None),
            // The path of the root of a nested router may be the result of a rewrite.
            Some(original) => (original, Some(uri.path().to_owned())),
        })
    }

    /// Returns the first part of the key, which all requests of the URL share.
    #[inline]
    pub(crate) fn url(&self, uri: &Uri, headers: &HeaderMap) -> Result<Key, NoKey> {
        let target = uri.path_and_query().map_or("", PathAndQuery::as_str);
        let mut text = String::with_capacity(96 + target.len());
        let mut host = 0;
        let mut same_host = true;
        if self.host {
            let scheme = uri.scheme().unwrap_or(&self.scheme);
            text.push_str(scheme.as_str());
            text.push_str("://");
            host = text.len();
            let line = host_line(headers)?;
            push_host(&mut text, host_of(uri, line)?, scheme)?;
            same_host = is_spelled_so(&text[host..], uri, line);
        }
        let path_at = text.len();
        // Most keys have the target as it is. Only that of a URI without a path begins otherwise.
        let same_target = if self.query.is_whole(self.sorted) && target.starts_with('/') {
            text.push_str(target);
            true
        } else {
            text.push_str(uri.path());
            if let Some(query) = uri.query() {
                self.query.push(&mut text, query, self.sorted);
            }
            text[path_at..] == *target
        };
        let spelling = if !same_host && host == path_at {
            // A service may tell an empty `host` from a missing one.
            Spelling::Other
        } else if same_host && same_target {
            Spelling::Same
        } else {
            Spelling::Respelled
        };
        Ok(Key {
            host,
            path: path_at,
            has_query: uri.query().is_some(),
            url: text.len(),
            text,
            spelling,
            has_content: false,
            part: false,
            search: None,
        })
    }
}

impl Default for CacheKey {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheKey")
            .field("scheme", &self.scheme)
            .field("host", &self.host)
            .field("query", &self.query)
            .field("sorted", &self.sorted)
            .field("headers", &self.headers)
            .field("cookies", &self.cookies)
            .finish_non_exhaustive()
    }
}

/// Adds the headers of proxies about the URL, without what they say of clients and of themselves.
fn push_forwarded(key: &mut Key, headers: &HeaderMap) {
    for name in &X_FORWARDED {
        for value in headers.get_all(name) {
            key.push(name.as_str(), value.as_bytes());
        }
    }
    for line in headers.get_all(FORWARDED) {
        // RFC 7239 §4. A malformed pair counts too: it could name a host that some services read.
        for pair in line.as_bytes().split(|byte| b",;".contains(byte)).map(<[u8]>::trim_ascii) {
            let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
            if ![&b"for"[..], b"by"].iter().any(|of| name.eq_ignore_ascii_case(of)) {
                key.push(FORWARDED.as_str(), pair);
            }
        }
    }
}

/// Returns `true` if the service sees the spelling that [`Key::spell`] gives to the request.
fn can_respell(uri: &Uri, request: &request::Parts) -> bool {
    std::ptr::eq(uri, &request.uri)
        || original_uri(&request.extensions)
            .is_some_and(|original| std::ptr::eq(uri, original) && is_nested(uri, &request.uri))
}

fn guard<T>(user: impl FnOnce() -> T) -> Result<T, NoKey> {
    catch_unwind(AssertUnwindSafe(user)).map_err(|_| NoKey::Panicked)
}

pub(super) const FORWARDED: HeaderName = HeaderName::from_static("forwarded");

pub(super) static X_FORWARDED: [HeaderName; 9] = [
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-protocol"),
    HeaderName::from_static("x-forwarded-scheme"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-forwarded-ssl"),
    HeaderName::from_static("x-original-host"),
];

#[cfg(test)]
mod tests;
