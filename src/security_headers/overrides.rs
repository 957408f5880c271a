use std::sync::Arc;

use http::HeaderName;

use super::csp::Csp;
use super::error::InvalidField;
use super::field::{Field, Setting, Value};

/// What is different for one response: in its extensions.
///
/// ```
/// use axum::{Extension, Router, routing::get};
/// use http::header::X_FRAME_OPTIONS;
/// use tower_kit::SecurityHeadersLayer;
/// use tower_kit::security_headers::{Csp, Directive, InvalidField, Overrides};
///
/// fn app() -> Result<Router, InvalidField> {
///     let partners = Csp::new().set(Directive::FrameAncestors, ["https://partner.example"]);
///     let framed = Overrides::new().remove(X_FRAME_OPTIONS).extend(partners)?;
///     let widget = async move || (Extension(framed.clone()), "embed me");
///     Ok(Router::new().route("/widget", get(widget)).layer(SecurityHeadersLayer::new()))
/// }
/// # app().unwrap();
/// ```
///
/// Make it once and clone it, which is cheap; a policy that is extended is written anew for each
/// response. Fields that the layer
/// [overrides](crate::SecurityHeadersLayer::override_field) stay as they are.
///
/// Of two changes of the same field, the last one counts, but extensions add up. A nonce is in it
/// only if the layer's own policy has one.
///
/// The layer takes it out of the response, so that one further out does not see it. A
/// [cache](crate#order) of this crate that stands inside of the layer keeps no response that has
/// it, since it keeps no extensions.
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
        self.change(|changes| {
            changes.forget(&name);
            changes.remove.push(name);
        })
    }

    /// Sends this field in the place of the layer's. By HTTP, what is
    /// [for HTTPS only](crate::SecurityHeadersLayer::https_only) is not sent.
    ///
    /// # Errors
    ///
    /// As [`SecurityHeadersLayer::set`](crate::SecurityHeadersLayer::set) has them, and for what
    /// reports to an endpoint: the layer defines these.
    pub fn set(self, field: impl Into<Field>) -> Result<Self, InvalidField> {
        let setting = field.into().into_setting()?;
        let endpoint = setting.endpoints.first().map(|endpoint| endpoint.name().to_owned());
        if let Some(endpoint) = endpoint.or(setting.undefined()) {
            return Err(refused(setting.name.as_str(), endpoint));
        }
        Ok(self.change(|changes| {
            changes.forget(&setting.name);
            changes.set.push(setting);
        }))
    }

    /// [Merges](Csp::merge) this into the layer's policy: into the one that blocks, or the one that
    /// only reports. Where the layer has no such policy, or it was removed, nothing is sent.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set) has them, but that `default-src` need not be there.
    pub fn extend(self, policy: Csp) -> Result<Self, InvalidField> {
        policy.check_part()?;
        if let Some(endpoint) = policy.reports_to() {
            return Err(refused(policy.name().as_str(), endpoint));
        }
        let own = self.0.set.iter().find_map(|setting| match &setting.value {
            Value::Csp { https, .. } if setting.name == policy.name() => Some(https.policy()),
            _ => None,
        });
        match own.cloned() {
            Some(own) => self.set(own.merge(&policy)),
            None => Ok(self.change(|changes| changes.extend.push(policy))),
        }
    }

    pub(super) fn changes(&self) -> &Changes {
        &self.0
    }

    fn change(mut self, change: impl FnOnce(&mut Changes)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}

impl Changes {
    /// Of two changes of a field, the last counts.
    fn forget(&mut self, name: &HeaderName) {
        self.remove.retain(|other| other != name);
        self.set.retain(|other| other.name != *name);
        self.extend.retain(|other| other.name() != *name);
    }
}

fn refused(field: &str, endpoint: String) -> InvalidField {
    let why = "a single response has no endpoints of its own";
    InvalidField::new(field, endpoint, why).directive_of("report-to")
}
