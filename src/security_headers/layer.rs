use std::sync::Arc;

use http::{HeaderName, request};
use metrics::Recorder;
use tower::Layer;

use super::error::InvalidHeader;
use super::header::Header;
use super::nonce::Misses;
use super::policy::Policy;
use super::presets;
use super::service::{SecurityHeaders, Shared};
use crate::metrics::Metrics;

/// A layer that adds security headers to responses, by default those of helmet.
///
/// The [module](crate::security_headers) describes the headers and their defaults.
#[doc(alias = "helmet")]
#[doc(alias = "CSP")]
#[doc(alias = "HSTS")]
#[doc(alias = "X-Frame-Options")]
#[doc(alias = "nosniff")]
#[doc(alias = "OWASP")]
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until a service is stacked under it"]
pub struct SecurityHeadersLayer {
    shared: Arc<Shared>,
}

impl SecurityHeadersLayer {
    /// Sends the twelve headers that helmet 8.3.0 sends by default, and removes `x-powered-by`.
    ///
    /// The [module](crate::security_headers#defaults) lists them. [`keep`](Self::keep) lets the
    /// service send `x-powered-by`.
    #[doc(alias = "helmet")]
    pub fn new() -> Self {
        Self::of(presets::helmet())
    }

    /// Sends the headers that the
    /// [OWASP Secure Headers Project](https://owasp.org/www-project-secure-headers/) recommends:
    ///
    /// ```text
    /// content-security-policy: default-src 'self';form-action 'self';base-uri 'self';object-src 'none';frame-ancestors 'none';upgrade-insecure-requests
    /// cross-origin-embedder-policy: require-corp
    /// cross-origin-opener-policy: same-origin
    /// cross-origin-resource-policy: same-origin
    /// referrer-policy: no-referrer
    /// strict-transport-security: max-age=63072000; includeSubDomains
    /// x-content-type-options: nosniff
    /// x-dns-prefetch-control: off
    /// x-frame-options: DENY
    /// x-permitted-cross-domain-policies: none
    /// permissions-policy: accelerometer=(), autoplay=(), camera=(), cross-origin-isolated=(), display-capture=(), encrypted-media=(), fullscreen=(), geolocation=(), gyroscope=(), keyboard-map=(), magnetometer=(), microphone=(), midi=(), payment=(), picture-in-picture=(), publickey-credentials-get=(), screen-wake-lock=(), sync-xhr=(self), usb=(), web-share=(), xr-spatial-tracking=(), clipboard-read=(), clipboard-write=(), gamepad=(), hid=(), idle-detection=(), interest-cohort=(), serial=(), unload=()
    /// cache-control: no-store, max-age=0
    /// ```
    ///
    /// A service that sets `cache-control` replaces the layer's, as with every header.
    pub fn owasp() -> Self {
        Self::of(presets::owasp())
    }

    /// Sends headers for an API, whose responses no browser shows and no cache stores:
    ///
    /// ```text
    /// content-security-policy: default-src 'none';frame-ancestors 'none'
    /// cross-origin-resource-policy: same-origin
    /// x-content-type-options: nosniff
    /// cache-control: no-store
    /// ```
    ///
    /// A service that sets `cache-control` replaces the layer's, as with every header.
    pub fn api() -> Self {
        Self::of(presets::api())
    }

    /// Sends no header until [`set`](Self::set) adds one.
    pub fn none() -> Self {
        Self::of(Policy::default())
    }

    /// Sends this header, and replaces the layer's header of that name.
    ///
    /// # Errors
    ///
    /// Browsers would not understand the value as it is meant. The error names the directive and
    /// the value. [`Csp`](super::Csp), [`Hsts`](super::Hsts),
    /// [`ReferrerPolicy`](super::ReferrerPolicy) and
    /// [`PermissionsPolicy`](super::PermissionsPolicy) say what is checked. A layer also refuses
    /// two [endpoints](super::Endpoint) of one name with different URLs.
    pub fn set<H>(mut self, header: H) -> Result<Self, InvalidHeader>
    where
        H: TryInto<Header>,
        H::Error: Into<InvalidHeader>,
    {
        let header = header.try_into().map_err(Into::into)?;
        // A layer that has been cloned shares its state, and a setter copies it then.
        Arc::make_mut(&mut self.shared).policy.set(header)?;
        Ok(self)
    }

    /// Sends a header that has no type in this module, or a value that its type does not know.
    ///
    /// The value is sent as it is. Some typed headers have parts that the layer must understand.
    /// Those are refused here, and their types have a `custom` of their own:
    /// [`Source::custom`](super::Source::custom) and
    /// [`Directive::custom`](super::Directive::custom) of a [`Csp`](super::Csp),
    /// [`Feature::custom`](super::Feature::custom) and
    /// [`Allowlist::custom`](super::Allowlist::custom) of a
    /// [`PermissionsPolicy`](super::PermissionsPolicy),
    /// [`ReferrerPolicy::custom`](super::ReferrerPolicy::custom),
    /// [`Coop::custom`](super::Coop::custom), [`Coep::custom`](super::Coep::custom),
    /// [`Corp::custom`](super::Corp::custom),
    /// [`IntegrityPolicy::custom`](super::IntegrityPolicy::custom) and
    /// [`Endpoint::custom`](super::Endpoint::custom).
    ///
    /// # Errors
    ///
    /// The name is not a header name, the value is empty or not visible ASCII, or the header is one
    /// of those above, `clear-site-data`, or one that the service must set, such as
    /// `content-length`.
    pub fn custom(self, name: &str, value: &str) -> Result<Self, InvalidHeader> {
        self.set(Header::custom(name, value)?)
    }

    /// Removes a header of the layer, but not the [endpoints](super::Endpoint) that other headers
    /// report to.
    #[expect(clippy::needless_pass_by_value, reason = "the names of headers are constants")]
    pub fn remove(self, name: HeaderName) -> Self {
        self.adjust(|shared| shared.policy.remove(&name))
    }

    /// Makes a header of the layer replace the service's, and ignore its
    /// [`Overrides`](super::Overrides).
    ///
    /// The service's header is removed even where a condition leaves the layer's out.
    ///
    /// ```
    /// use http::header::CONTENT_SECURITY_POLICY;
    /// use tower_kit::SecurityHeadersLayer;
    ///
    /// // No handler can send a weaker policy.
    /// let layer = SecurityHeadersLayer::new().override_header(CONTENT_SECURITY_POLICY);
    /// # drop(layer);
    /// ```
    pub fn override_header(self, name: HeaderName) -> Self {
        self.adjust(|shared| shared.policy.override_header(name))
    }

    /// Makes all headers of the layer replace the service's, as
    /// [`override_header`](Self::override_header) does for one.
    pub fn override_all(self) -> Self {
        self.adjust(|shared| shared.policy.override_all())
    }

    /// Removes headers that the service has set, such as
    /// [`FINGERPRINT_HEADERS`](super::FINGERPRINT_HEADERS). Calls add up.
    ///
    /// ```
    /// use tower_kit::SecurityHeadersLayer;
    /// use tower_kit::security_headers::FINGERPRINT_HEADERS;
    ///
    /// let layer = SecurityHeadersLayer::new().strip(FINGERPRINT_HEADERS);
    /// # drop(layer);
    /// ```
    #[doc(alias = "hidePoweredBy")]
    pub fn strip(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.adjust(|shared| shared.policy.strip.extend(names))
    }

    /// Lets the service send a header that [`new`](Self::new) or [`strip`](Self::strip) removes.
    ///
    /// ```
    /// use http::HeaderName;
    /// use tower_kit::SecurityHeadersLayer;
    ///
    /// let powered_by = HeaderName::from_static("x-powered-by");
    /// let layer = SecurityHeadersLayer::new().keep(powered_by);
    /// # drop(layer);
    /// ```
    #[expect(clippy::needless_pass_by_value, reason = "the names of headers are constants")]
    pub fn keep(self, name: HeaderName) -> Self {
        self.adjust(|shared| shared.policy.strip.retain(|strip| *strip != name))
    }

    /// Sends `strict-transport-security`, and `upgrade-insecure-requests` in policies, only if the
    /// predicate returns `true`: the request came by HTTPS.
    ///
    /// By default every response has both. By HTTP, browsers ignore the header (RFC 6797 §8.1), but
    /// the directive breaks pages of servers that have no HTTPS.
    ///
    /// ```
    /// use tower_kit::SecurityHeadersLayer;
    /// use tower_kit::security_headers::forwarded_proto;
    ///
    /// // Behind a proxy that sets `x-forwarded-proto`:
    /// let layer = SecurityHeadersLayer::new().https_if(forwarded_proto);
    /// // In a server that marks requests of its TLS port in their extensions:
    /// #[derive(Clone)]
    /// struct Tls;
    /// let layer = SecurityHeadersLayer::new()
    ///     .https_if(|request| request.extensions.get::<Tls>().is_some());
    /// ```
    pub fn https_if<F>(self, is_https: F) -> Self
    where
        F: Fn(&request::Parts) -> bool + Send + Sync + 'static,
    {
        self.adjust(|shared| shared.is_https = Some(Arc::new(is_https)))
    }

    /// Sends neither `strict-transport-security` nor `upgrade-insecure-requests` in responses to
    /// requests for these hosts, such as [`LOOPBACK_HOSTS`](super::LOOPBACK_HOSTS).
    ///
    /// Browsers that receive them from a server on the developer's machine use HTTPS for all other
    /// servers there, too. By default they are sent for every host. Calls add up, and
    /// [`https_if`](Self::https_if) applies as well.
    ///
    /// A host is a name or an address without a port: `localhost`, `127.0.0.1`, `[::1]`.
    /// `*.localhost` stands for all names below `localhost`. Case and port do not count.
    ///
    /// ```
    /// use tower_kit::SecurityHeadersLayer;
    /// use tower_kit::security_headers::LOOPBACK_HOSTS;
    ///
    /// let layer = SecurityHeadersLayer::new().http_hosts(LOOPBACK_HOSTS)?;
    /// # Ok::<_, tower_kit::security_headers::InvalidHeader>(())
    /// ```
    ///
    /// The layer reads the host that the request names. A proxy that sends the host of its
    /// upstream, as nginx does by default, makes all requests look as if they were for `localhost`:
    /// configure the proxy to forward the client's.
    ///
    /// # Errors
    ///
    /// A text is not a host, or has a scheme, a port or a path.
    #[doc(alias = "localhost")]
    pub fn http_hosts<T>(
        mut self,
        hosts: impl IntoIterator<Item = T>,
    ) -> Result<Self, InvalidHeader>
    where
        T: AsRef<str>,
    {
        let shared = Arc::make_mut(&mut self.shared);
        for host in hosts {
            shared.http_hosts.push(host.as_ref().parse()?);
        }
        Ok(self)
    }

    /// Records the metrics on this recorder instead of the process's.
    pub fn recorder(self, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        self.adjust(|shared| shared.misses = Arc::new(Misses::new(Metrics::to(recorder))))
    }

    /// Leaves out headers for pages and workers if the `content-type` is that of other content.
    ///
    /// Such content is: fonts, images except SVG, audio, video, style sheets, JSON, WebAssembly,
    /// event streams, `application/octet-stream` and gRPC. A response with several types, or none,
    /// may be a page. The headers are: policies for content, integrity and permissions, COOP, COEP,
    /// `origin-agent-cluster`, `x-dns-prefetch-control`, `x-frame-options` and
    /// `x-xss-protection`.
    pub fn documents_only(self) -> Self {
        self.adjust(|shared| shared.policy.documents_only = true)
    }

    fn of(policy: Policy) -> Self {
        let misses = Arc::new(Misses::new(Metrics::default()));
        let shared = Shared { policy, is_https: None, http_hosts: Vec::new(), misses };
        Self { shared: Arc::new(shared) }
    }

    fn adjust(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        change(Arc::make_mut(&mut self.shared));
        self
    }
}

impl Default for SecurityHeadersLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for SecurityHeadersLayer {
    type Service = SecurityHeaders<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SecurityHeaders::new(inner, Arc::clone(&self.shared))
    }
}
