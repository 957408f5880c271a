use std::fmt;
use std::sync::Arc;

use http::{HeaderName, request};
use metrics::Recorder;
use tower::Layer;

use super::conditions::parse_host;
use super::error::InvalidField;
use super::field::Field;
use super::nonce::Misses;
use super::policy::Policy;
use super::presets;
use super::service::SecurityHeaders;
use crate::metrics::Metrics;

/// Sends security headers; see the [module](crate::security_headers).
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until a service is stacked under it"]
pub struct SecurityHeadersLayer {
    shared: Arc<Shared>,
}

#[derive(Clone)]
pub(super) struct Shared {
    pub(super) policy: Policy,
    pub(super) is_https: Option<Arc<IsHttps>>,
    /// Hosts that are taken to be asked by HTTP.
    pub(super) http_hosts: Vec<String>,
    pub(super) misses: Arc<Misses>,
}

pub(super) type IsHttps = dyn Fn(&request::Parts) -> bool + Send + Sync;

impl SecurityHeadersLayer {
    /// The twelve fields that helmet 8.3.0 sends by default: see the
    /// [module](crate::security_headers#defaults). As helmet does, it removes the `x-powered-by` of the
    /// service; [`keep`](Self::keep) leaves it.
    pub fn new() -> Self {
        Self::of(presets::helmet())
    }

    /// What the [OWASP Secure Headers Project](https://owasp.org/www-project-secure-headers/)
    /// recommends:
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
    /// As with all fields, a `cache-control` that the service sets wins.
    pub fn owasp() -> Self {
        Self::of(presets::owasp())
    }

    /// For what no browser shows, and nobody but the client keeps:
    ///
    /// ```text
    /// content-security-policy: default-src 'none';frame-ancestors 'none'
    /// cross-origin-resource-policy: same-origin
    /// x-content-type-options: nosniff
    /// cache-control: no-store
    /// ```
    ///
    /// As with all fields, a `cache-control` that the service sets wins.
    pub fn api() -> Self {
        Self::of(presets::api())
    }

    /// Nothing, to [`set`](Self::set) what is wanted.
    pub fn none() -> Self {
        Self::of(Policy::default())
    }

    /// Sends this field, in the place of the one that it has of that name.
    ///
    /// # Errors
    ///
    /// What browsers would not understand as it was meant is refused, with the directive and the
    /// value: see [`Csp`](super::Csp), [`Hsts`](super::Hsts),
    /// [`ReferrerPolicy`](super::ReferrerPolicy), [`PermissionsPolicy`](super::PermissionsPolicy)
    /// and [`Endpoint`](super::Endpoint) for what is checked.
    pub fn set(mut self, field: impl Into<Field>) -> Result<Self, InvalidField> {
        Arc::make_mut(&mut self.shared).policy.set(field.into())?;
        Ok(self)
    }

    /// Sends a header that has no type here, or a value that its type does not know. The value is
    /// sent as it is.
    ///
    /// The headers whose values have parts are refused, since each of their types has a `custom`
    /// of its own: [`Source::custom`](super::Source::custom) and
    /// [`Directive::Custom`](super::Directive::Custom) of a [`Csp`](super::Csp),
    /// [`Feature::Custom`](super::Feature::Custom) and [`Allow::custom`](super::Allow::custom) of a
    /// [`PermissionsPolicy`](super::PermissionsPolicy),
    /// [`ReferrerPolicy::custom`](super::ReferrerPolicy::custom),
    /// [`Coop::custom`](super::Coop::custom), [`Coep::custom`](super::Coep::custom),
    /// [`Corp::custom`](super::Corp::custom),
    /// [`IntegrityPolicy::custom`](super::IntegrityPolicy::custom) and
    /// [`Endpoint::custom`](super::Endpoint::custom).
    ///
    /// # Errors
    ///
    /// Refused are names and values that are none, values that are not visible ASCII, the headers
    /// above, `clear-site-data`, and those that are the service's to set, such as `content-length`.
    pub fn custom(self, name: &str, value: &str) -> Result<Self, InvalidField> {
        self.set(Field::custom(name, value))
    }

    /// Leaves this field out. [Endpoints](super::Endpoint) that other fields report to stay.
    #[expect(clippy::needless_pass_by_value, reason = "the names of fields are constants")]
    pub fn remove(self, name: HeaderName) -> Self {
        self.adjust(|shared| shared.policy.remove(&name))
    }

    /// This field, if the layer has it, replaces what the service has set, and its
    /// [`Overrides`](super::Overrides), also where a condition leaves the layer's out.
    ///
    /// ```
    /// use http::header::CONTENT_SECURITY_POLICY;
    /// use tower_kit::SecurityHeadersLayer;
    ///
    /// // No handler can send a weaker policy.
    /// let layer = SecurityHeadersLayer::new().override_field(CONTENT_SECURITY_POLICY);
    /// # drop(layer);
    /// ```
    pub fn override_field(self, name: HeaderName) -> Self {
        self.adjust(|shared| shared.policy.override_field(name))
    }

    /// All fields replace what the service has set, also where a condition leaves the layer's out:
    /// for a policy that must not depend on what is under it.
    pub fn override_all(self) -> Self {
        self.adjust(|shared| shared.policy.override_all())
    }

    /// Takes these fields out of what the service has set, such as [`LEAKS`](super::LEAKS).
    ///
    /// ```
    /// use tower_kit::SecurityHeadersLayer;
    /// use tower_kit::security_headers::LEAKS;
    ///
    /// let layer = SecurityHeadersLayer::new().strip(LEAKS);
    /// # drop(layer);
    /// ```
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
    #[expect(clippy::needless_pass_by_value, reason = "the names of fields are constants")]
    pub fn keep(self, name: HeaderName) -> Self {
        self.adjust(|shared| shared.policy.strip.retain(|strip| *strip != name))
    }

    /// Sends `strict-transport-security`, and `upgrade-insecure-requests` in policies, only in
    /// answers to requests that came by HTTPS, as `is_https` tells. Without it they are always sent:
    /// by HTTP, browsers ignore the former (RFC 6797 §8.1), and the latter breaks pages of servers
    /// that have no HTTPS.
    ///
    /// ```
    /// use tower_kit::SecurityHeadersLayer;
    /// use tower_kit::security_headers::forwarded_proto;
    ///
    /// // Behind a proxy that sets `x-forwarded-proto`:
    /// let layer = SecurityHeadersLayer::new().https_only(forwarded_proto);
    /// // Where the server itself has TLS on one of its ports, and says so in the extensions:
    /// #[derive(Clone)]
    /// struct Tls;
    /// let layer = SecurityHeadersLayer::new()
    ///     .https_only(|request| request.extensions.get::<Tls>().is_some());
    /// ```
    pub fn https_only<F>(self, is_https: F) -> Self
    where
        F: Fn(&request::Parts) -> bool + Send + Sync + 'static,
    {
        self.adjust(|shared| shared.is_https = Some(Arc::new(is_https)))
    }

    /// Sends neither `strict-transport-security` nor `upgrade-insecure-requests` to requests for
    /// these hosts, such as [`LOOPBACK`](super::LOOPBACK): a browser that got them from a server on
    /// the developer's machine would ask all others there by HTTPS too. By default they are sent for
    /// every host. Adds up over calls, and holds beside [`https_only`](Self::https_only).
    ///
    /// A host is a name or an address without a port: `localhost`, `127.0.0.1`, `[::1]`;
    /// `*.localhost` stands for all names below it. The port and the case of letters do not count.
    ///
    /// ```
    /// use tower_kit::SecurityHeadersLayer;
    /// use tower_kit::security_headers::LOOPBACK;
    ///
    /// let layer = SecurityHeadersLayer::new().http_hosts(LOOPBACK)?;
    /// # Ok::<_, tower_kit::security_headers::InvalidField>(())
    /// ```
    ///
    /// The host is the one that the request states. A proxy that states its upstream's, as nginx does
    /// by default, makes requests of all clients look as if they were for `localhost`: let it pass
    /// on the client's.
    ///
    /// # Errors
    ///
    /// Text that is no host, or has a scheme, a port or a path.
    pub fn http_hosts<T>(mut self, hosts: impl IntoIterator<Item = T>) -> Result<Self, InvalidField>
    where
        T: AsRef<str>,
    {
        let shared = Arc::make_mut(&mut self.shared);
        for host in hosts {
            shared.http_hosts.push(parse_host(host.as_ref())?);
        }
        Ok(self)
    }

    /// Records on `recorder` instead of the process's.
    pub fn recorder(self, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        self.adjust(|shared| shared.misses = Arc::new(Misses::new(Metrics::to(recorder))))
    }

    /// Leaves out what means nothing but for pages and workers where the `content-type` is that of
    /// something else: fonts, images but for SVG, audio, video, style sheets, JSON, WebAssembly,
    /// event streams, `application/octet-stream`, gRPC. (Where there are several types, or none, it
    /// may be a page.) What is left out are policies for content, integrity
    /// and permissions, COOP, COEP, `origin-agent-cluster`, `x-dns-prefetch-control`,
    /// `x-frame-options` and `x-xss-protection`.
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

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("policy", &self.policy).finish_non_exhaustive()
    }
}
