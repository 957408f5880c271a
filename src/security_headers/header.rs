use http::{HeaderName, HeaderValue};

use super::csp::{Csp, Rendered};
use super::endpoint::{self, Endpoint};
use super::error::{InvalidHeader, VISIBLE};

/// A response header with its value, ready for a layer.
///
/// The types of this module convert to it in [`set`](crate::SecurityHeadersLayer::set).
#[derive(Clone, Debug)]
pub struct Header {
    pub(super) name: HeaderName,
    pub(super) value: Value,
    /// The endpoints that the header reports to. The layer defines them in `reporting-endpoints`.
    pub(super) endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Fixed(HeaderValue),
    Csp {
        https: Box<Rendered>,
        /// The policy without `upgrade-insecure-requests`.
        http: Box<Rendered>,
    },
    /// The header `reporting-endpoints`, whose value the layer makes from all endpoints.
    Endpoints,
}

impl Header {
    /// Returns a header whose value is a constant of this crate, which is cheap to clone.
    pub(super) fn from_static(name: &'static str, value: &'static str) -> Self {
        Self::fixed(HeaderName::from_static(name), HeaderValue::from_static(value))
    }

    pub(super) fn parse(name: &str, value: &str) -> Result<Self, InvalidHeader> {
        let header = HeaderName::try_from(name)
            .map_err(|_| InvalidHeader::new(name, name, "not the name of a header"))?;
        let value =
            HeaderValue::try_from(value).map_err(|_| InvalidHeader::new(name, value, VISIBLE))?;
        Ok(Self::fixed(header, value))
    }

    /// Parses a header that has no type in this crate, or one of [`PLAIN`].
    pub(super) fn custom(name: &str, value: &str) -> Result<Self, InvalidHeader> {
        let lower = name.to_ascii_lowercase();
        let refused = |reason| Err(InvalidHeader::new(name, value, reason));
        match () {
            () if rank(&lower) < HEADERS.len() && !PLAIN.contains(&lower.as_str()) => {
                refused("the header has a type of its own: see `custom` of that type")
            }
            () if lower == "clear-site-data" => refused("it is for single responses"),
            () if FRAMING.contains(&lower.as_str()) => refused("it is the service's to set"),
            () if value.is_empty() => refused("it is empty"),
            // Parsers remove such space, so the value would not arrive as it was given.
            () if value.trim() != value => refused("space around a value is not sent"),
            // `HeaderValue` also takes bytes above ASCII, which browsers read in different ways.
            () if !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) => refused(VISIBLE),
            () => Self::parse(name, value),
        }
    }

    /// Returns the header `reporting-endpoints`, which defines all endpoints of the layer.
    pub(super) fn reporting_endpoints() -> Self {
        let name = HeaderName::from_static(endpoint::NAME);
        Self { name, value: Value::Endpoints, endpoints: Vec::new() }
    }

    pub(super) fn reporting_to(self, endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        Self { endpoints: endpoints.into_iter().collect(), ..self }
    }

    /// Returns the name of the endpoint that the header names and does not define.
    pub(super) fn undefined_endpoint(&self) -> Option<String> {
        match &self.value {
            Value::Csp { https, .. } => https.policy().undefined_endpoint(),
            Value::Fixed(_) | Value::Endpoints => None,
        }
    }

    fn fixed(name: HeaderName, value: HeaderValue) -> Self {
        Self { name, value: Value::Fixed(value), endpoints: Vec::new() }
    }
}

impl TryFrom<Csp> for Header {
    type Error = InvalidHeader;

    fn try_from(policy: Csp) -> Result<Self, Self::Error> {
        policy.check()?;
        let name = policy.name();
        let endpoints = policy.endpoint().cloned().into_iter().collect();
        // Both are rendered once, here, and not for each response.
        let http = Box::new(Rendered::new(policy.without_upgrade())?);
        let https = Box::new(Rendered::new(policy)?);
        Ok(Self { name, value: Value::Csp { https, http }, endpoints })
    }
}

impl From<Endpoint> for Header {
    fn from(endpoint: Endpoint) -> Self {
        Self::reporting_endpoints().reporting_to([endpoint])
    }
}

impl From<&Endpoint> for Header {
    fn from(endpoint: &Endpoint) -> Self {
        endpoint.clone().into()
    }
}

/// Returns the position of a header among those that a layer sends.
pub(super) fn rank(name: &str) -> usize {
    HEADERS.iter().position(|(other, _)| *other == name).unwrap_or(HEADERS.len())
}

/// Returns `true` if the header has a meaning for pages and workers only.
pub(super) fn is_for_documents(name: &str) -> bool {
    HEADERS.iter().any(|(other, is_for_documents)| *is_for_documents && *other == name)
}

/// The headers that have types, in the order in which they are sent. The second member is `true`
/// for those that have a meaning for pages and workers only. Other headers follow as they are set.
const HEADERS: [(&str, bool); 20] = [
    ("content-security-policy", true),
    ("content-security-policy-report-only", true),
    ("cross-origin-embedder-policy", true),
    ("cross-origin-embedder-policy-report-only", true),
    ("cross-origin-opener-policy", true),
    ("cross-origin-opener-policy-report-only", true),
    ("cross-origin-resource-policy", false),
    ("origin-agent-cluster", true),
    ("referrer-policy", false),
    ("strict-transport-security", false),
    ("x-content-type-options", false),
    ("x-dns-prefetch-control", true),
    ("x-download-options", false),
    ("x-frame-options", true),
    ("x-permitted-cross-domain-policies", false),
    ("x-xss-protection", true),
    ("integrity-policy", true),
    ("integrity-policy-report-only", true),
    ("permissions-policy", true),
    (endpoint::NAME, false),
];

/// The typed headers that name neither a nonce nor an endpoint. The layer does not have to
/// understand their values, so `custom` takes any value for them.
const PLAIN: [&str; 8] = [
    "origin-agent-cluster",
    "strict-transport-security",
    "x-content-type-options",
    "x-dns-prefetch-control",
    "x-download-options",
    "x-frame-options",
    "x-permitted-cross-domain-policies",
    "x-xss-protection",
];

/// Headers of the connection and of the content, which differ for each response.
const FRAMING: [&str; 12] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
