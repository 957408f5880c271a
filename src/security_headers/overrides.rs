use std::sync::Arc;

use http::HeaderName;

use super::csp::Csp;
use super::error::InvalidField;
use super::field::{Field, Setting};

/// What is different for one response: in its extensions.
///
/// ```
/// use axum::{Extension, response::IntoResponse};
/// use http::header::X_FRAME_OPTIONS;
/// use tower_kit::security_headers::{Csp, Directive, InvalidField, Overrides};
///
/// /// Partners may frame the page that has this.
/// fn framed() -> Result<Overrides, InvalidField> {
///     let partners = Csp::new().set(Directive::FrameAncestors, ["https://partner.example"]);
///     Overrides::new().remove(X_FRAME_OPTIONS).extend(partners)
/// }
///
/// async fn page(framed: Overrides) -> impl IntoResponse {
///     (Extension(framed), "embed me")
/// }
/// # framed().unwrap();
/// ```
///
/// Make it once and clone it, which is cheap. Fields that the layer
/// [overrides](crate::SecurityHeadersLayer::override_field) stay as they are.
///
/// The layer takes it out of the response. A [cache](crate#order) of this crate that stands inside
/// of the layer keeps no response that has it, since it keeps no extensions.
#[derive(Clone, Debug, Default)]
pub struct Overrides(Arc<Changes>);

#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    pub(super) remove: Vec<HeaderName>,
    pub(super) set: Vec<Setting>,
    pub(super) extend: Vec<Csp>,
}

impl Overrides {
    /// Changes nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves the layer's field out.
    #[must_use]
    pub fn remove(self, name: HeaderName) -> Self {
        self.change(|changes| changes.remove.push(name))
    }

    /// Sends this field in the place of the layer's.
    ///
    /// # Errors
    ///
    /// As [`SecurityHeadersLayer::set`](crate::SecurityHeadersLayer::set) has them, and for what
    /// reports to an endpoint: the layer defines these.
    pub fn set(self, field: impl Into<Field>) -> Result<Self, InvalidField> {
        let setting = field.into().into_setting()?;
        let endpoint = setting.endpoints.first().map(|endpoint| endpoint.name().to_owned());
        if let Some(endpoint) = endpoint.or(setting.undefined()) {
            return Err(InvalidField::new(setting.name.as_str(), endpoint, ENDPOINT));
        }
        Ok(self.change(|changes| changes.set.push(setting)))
    }

    /// [Merges](Csp::merge) this into the layer's policy: into the one that blocks, or the one that
    /// only reports. Where the layer has no such policy, nothing is sent.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set) has them, but that `default-src` need not be there.
    pub fn extend(self, policy: Csp) -> Result<Self, InvalidField> {
        policy.check_part()?;
        if policy.endpoint().is_some() || policy.undefined().is_some() {
            return Err(InvalidField::new(policy.name(), policy.to_string(), ENDPOINT));
        }
        Ok(self.change(|changes| changes.extend.push(policy)))
    }

    pub(super) fn changes(&self) -> &Changes {
        &self.0
    }

    fn change(mut self, change: impl FnOnce(&mut Changes)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}

const ENDPOINT: &str = "a single response has no endpoints of its own";
