use std::sync::Arc;

use tower::Layer;

use super::policy::Template;
use super::service::SecurityHeaders;

/// Sends the security headers of helmet; see the [module](crate::security_headers).
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until a service is stacked under it"]
pub struct SecurityHeadersLayer {
    template: Arc<Template>,
}

impl SecurityHeadersLayer {
    /// The twelve fields that helmet 8.3.0 sends by default.
    pub fn new() -> Self {
        Self { template: Arc::new(Template::helmet()) }
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
        SecurityHeaders::new(inner, Arc::clone(&self.template))
    }
}
