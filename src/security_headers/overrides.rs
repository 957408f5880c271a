use std::sync::Arc;

use http::HeaderName;

use super::csp::Csp;
use super::error::InvalidHeader;
use super::header::{Header, Value};

/// Changes to the headers of one response, in the extensions of that response.
///
/// ```
/// use axum::{Extension, Router, routing::get};
/// use http::header::X_FRAME_OPTIONS;
/// use tower_kit::SecurityHeadersLayer;
/// use tower_kit::security_headers::{Csp, Directive, InvalidHeader, Overrides};
///
/// fn app() -> Result<Router, InvalidHeader> {
///     let partners = Csp::new().set(Directive::FRAME_ANCESTORS, ["https://partner.example"]);
///     let framed = Overrides::new().remove(X_FRAME_OPTIONS).extend(partners)?;
///     let widget = async move || (Extension(framed.clone()), "embed me");
///     Ok(Router::new().route("/widget", get(widget)).layer(SecurityHeadersLayer::new()))
/// }
/// # app().unwrap();
/// ```
///
/// Create the value once and clone it for each response: a clone is cheap. A policy that is
/// extended is written anew for each response. Headers that the layer
/// [overrides](crate::SecurityHeadersLayer::override_header) do not change.
///
/// The last of two changes to the same header counts, but extensions add up. A change may use
/// the nonce only if the layer's own policy has one.
///
/// The layer removes the value from the response, so a layer further out does not see it. A
/// [cache](crate#order) of this crate between the handler and the layer stores no response with
/// overrides, because it stores no extensions.
#[derive(Clone, Debug, Default)]
pub struct Overrides(Arc<Changes>);

#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    pub(super) remove: Vec<HeaderName>,
    pub(super) set: Vec<Header>,
    pub(super) extend: Vec<Csp>,
}

impl Overrides {
    /// Creates overrides that change nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves a header of the layer out of the response.
    #[must_use]
    pub fn remove(self, name: HeaderName) -> Self {
        self.change(|changes| {
            changes.forget(&name);
            changes.remove.push(name);
        })
    }

    /// Sends this header instead of the layer's.
    ///
    /// The conditions of [`https_if`](crate::SecurityHeadersLayer::https_if) and
    /// [`http_hosts`](crate::SecurityHeadersLayer::http_hosts) apply to it too.
    ///
    /// # Errors
    ///
    /// The errors of [`SecurityHeadersLayer::set`](crate::SecurityHeadersLayer::set), and headers
    /// that report to an endpoint: only the layer defines endpoints.
    pub fn set<H>(self, header: H) -> Result<Self, InvalidHeader>
    where
        H: TryInto<Header>,
        H::Error: Into<InvalidHeader>,
    {
        let header = header.try_into().map_err(Into::into)?;
        // `reporting-endpoints` is part of the layer's template, and is the same for all responses.
        let endpoint = header.endpoints.first().map(|endpoint| endpoint.name().to_owned());
        if let Some(endpoint) = endpoint.or(header.undefined_endpoint()) {
            return Err(refused(header.name.as_str(), endpoint));
        }
        Ok(self.change(|changes| {
            changes.forget(&header.name);
            changes.set.push(header);
        }))
    }

    /// [Merges](Csp::merge) a policy into the layer's: into the one that blocks, or into the one
    /// that only reports.
    ///
    /// If the layer has no such policy, or the overrides remove it, nothing is sent.
    ///
    /// # Errors
    ///
    /// The errors of [`set`](Self::set), except that the policy needs no `default-src`.
    pub fn extend(self, policy: Csp) -> Result<Self, InvalidHeader> {
        policy.check_directives()?;
        if let Some(endpoint) = policy.reports_to() {
            return Err(refused(policy.name().as_str(), endpoint));
        }
        // A policy that these overrides set is not yet in the layer, so the extension is merged
        // into it here.
        let own = self.0.set.iter().find_map(|header| match &header.value {
            Value::Csp { https, .. } if header.name == policy.name() => Some(https.policy()),
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
    /// Removes earlier changes to a header.
    fn forget(&mut self, name: &HeaderName) {
        self.remove.retain(|other| other != name);
        self.set.retain(|other| other.name != *name);
        self.extend.retain(|other| other.name() != *name);
    }
}

fn refused(header: &str, endpoint: String) -> InvalidHeader {
    let reason = "a single response has no endpoints of its own";
    InvalidHeader::new(header, endpoint, reason).in_directive("report-to")
}
