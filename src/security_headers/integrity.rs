use super::csp::is_token;
use super::error::{InvalidField, TOKEN};
use super::field::Field;
use super::reporting::Endpoint;

/// `integrity-policy`: what is not loaded without an `integrity` attribute
/// ([SRI §3.6](https://www.w3.org/TR/sri-2/#integrity-policy-section)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntegrityPolicy {
    destinations: &'static str,
    endpoints: Vec<Endpoint>,
    report_only: bool,
}

impl IntegrityPolicy {
    /// Scripts.
    pub const SCRIPTS: Self = Self::new("script");
    /// Style sheets.
    pub const STYLES: Self = Self::new("style");
    /// Scripts and style sheets.
    pub const SCRIPTS_AND_STYLES: Self = Self::new("script style");

    /// Destinations that this crate does not know, separated by a space and sent as they are, such
    /// as `"script worker"`. What is not a token is refused when it is set.
    #[must_use]
    pub const fn custom(destinations: &'static str) -> Self {
        Self::new(destinations)
    }

    /// Reports what it blocks to this endpoint, beside those that it has.
    #[must_use]
    pub fn report_to(mut self, endpoint: &Endpoint) -> Self {
        if !self.endpoints.contains(endpoint) {
            self.endpoints.push(endpoint.clone());
        }
        self
    }

    /// Blocks nothing and only reports: `integrity-policy-report-only`.
    #[must_use]
    pub fn report_only(self) -> Self {
        Self { report_only: true, ..self }
    }

    const fn new(destinations: &'static str) -> Self {
        Self { destinations, endpoints: Vec::new(), report_only: false }
    }
}

impl From<IntegrityPolicy> for Field {
    fn from(policy: IntegrityPolicy) -> Self {
        let IntegrityPolicy { destinations, endpoints, report_only } = policy;
        let name = if report_only { "integrity-policy-report-only" } else { "integrity-policy" };
        if let Some(other) = destinations.split(' ').find(|word| !is_token(word.as_bytes())) {
            return Self::refused(InvalidField::new(name, other, TOKEN));
        }
        let mut value = format!("blocked-destinations=({destinations})");
        if !endpoints.is_empty() {
            let names: Vec<_> = endpoints.iter().map(Endpoint::name).collect();
            value.push_str(&format!(", endpoints=({})", names.join(" ")));
        }
        endpoints.into_iter().fold(Self::new(name, &value), Self::reporting_to)
    }
}
