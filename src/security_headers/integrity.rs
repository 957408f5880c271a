use super::endpoint::Endpoint;
use super::error::InvalidHeader;
use super::header::Header;
use super::structured::{TOKEN, is_token};

/// The header `integrity-policy`: browsers load no script or style sheet without an `integrity`
/// attribute ([SRI §3.6](https://www.w3.org/TR/sri-2/#integrity-policy-section)).
#[doc(alias = "Integrity-Policy")]
#[doc(alias = "SRI")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntegrityPolicy {
    destinations: &'static str,
    endpoints: Vec<Endpoint>,
    report_only: bool,
}

impl IntegrityPolicy {
    /// Blocks scripts without `integrity`.
    pub const SCRIPTS: Self = Self::new("script");
    /// Blocks style sheets without `integrity`.
    pub const STYLES: Self = Self::new("style");
    /// Blocks scripts and style sheets without `integrity`.
    pub const SCRIPTS_AND_STYLES: Self = Self::new("script style");

    /// Returns a policy for destinations that this crate does not know, separated by one space and
    /// sent as they are, such as `"script worker"`.
    ///
    /// # Errors
    ///
    /// A destination is not a token (RFC 9651 §3.3.4).
    pub fn custom(destinations: &'static str) -> Result<Self, InvalidHeader> {
        match destinations.split(' ').find(|word| !is_token(word)) {
            Some(word) => Err(InvalidHeader::new(NAME, word, TOKEN)),
            None => Ok(Self::new(destinations)),
        }
    }

    /// Reports violations to this endpoint, in addition to the endpoints that the policy has.
    #[must_use]
    pub fn report_to(mut self, endpoint: &Endpoint) -> Self {
        if !self.endpoints.contains(endpoint) {
            self.endpoints.push(endpoint.clone());
        }
        self
    }

    /// Reports violations and blocks nothing: the header is `integrity-policy-report-only`.
    #[must_use]
    pub fn report_only(self) -> Self {
        Self { report_only: true, ..self }
    }

    const fn new(destinations: &'static str) -> Self {
        Self { destinations, endpoints: Vec::new(), report_only: false }
    }
}

impl TryFrom<IntegrityPolicy> for Header {
    type Error = InvalidHeader;

    fn try_from(policy: IntegrityPolicy) -> Result<Self, Self::Error> {
        let IntegrityPolicy { destinations, endpoints, report_only } = policy;
        let name = if report_only { "integrity-policy-report-only" } else { NAME };
        // A dictionary of inner lists (RFC 9651 §3.2).
        let mut value = format!("blocked-destinations=({destinations})");
        if !endpoints.is_empty() {
            let names: Vec<_> = endpoints.iter().map(Endpoint::name).collect();
            value.push_str(&format!(", endpoints=({})", names.join(" ")));
        }
        Ok(Self::parse(name, &value)?.reporting_to(endpoints))
    }
}

const NAME: &str = "integrity-policy";
