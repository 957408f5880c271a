use http::{HeaderName, HeaderValue};

use super::csp::{Csp, Rendered, is_token};
use super::error::{InvalidField, TOKEN, VISIBLE};
use super::reporting::{self, Endpoint};

/// A field with its value: what the values of this module become when they are
/// [set](crate::SecurityHeadersLayer::set).
#[derive(Clone, Debug)]
pub struct Field(Result<Setting, InvalidField>);

#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) name: HeaderName,
    pub(super) value: Value,
    /// What it reports to, which the layer has to define.
    pub(super) endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Fixed(HeaderValue),
    Csp {
        https: Box<Rendered>,
        /// Without `upgrade-insecure-requests`.
        http: Box<Rendered>,
    },
    /// Only an endpoint.
    Endpoint,
}

impl Field {
    /// One of the values that this crate knows: it is cheaper to clone than others.
    pub(super) fn known(name: &'static str, value: &'static str) -> Self {
        let (name, value) = (HeaderName::from_static(name), HeaderValue::from_static(value));
        Self(Ok(Setting::new(name, Value::Fixed(value))))
    }

    pub(super) fn new(name: &str, value: &str) -> Self {
        Self(match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Err(_), _) => Err(InvalidField::new(name, name, "not the name of a field")),
            (_, Err(_)) => Err(InvalidField::new(name, value, VISIBLE)),
            (Ok(name), Ok(value)) => Ok(Setting::new(name, Value::Fixed(value))),
        })
    }

    /// A field of one token, which may be one that this crate does not know.
    pub(super) fn token(name: &'static str, value: &'static str) -> Self {
        if is_token(value.as_bytes()) {
            return Self::known(name, value);
        }
        Self::refused(InvalidField::new(name, value, TOKEN))
    }

    /// A field that has no type of its own here, or one of those in [`PLAIN`].
    pub(super) fn custom(name: &str, value: &str) -> Self {
        let lower = name.to_ascii_lowercase();
        let refused = |why| Self::refused(InvalidField::new(name, value, why));
        match () {
            () if rank(&lower) < FIELDS.len() && !PLAIN.contains(&lower.as_str()) => {
                refused("the field has a type of its own: see `custom` of that type")
            }
            () if lower == "clear-site-data" => refused("it is for single responses"),
            () if OTHERS.contains(&lower.as_str()) => refused("it is the service's to set"),
            () if value.is_empty() => refused("it is empty"),
            () if value.trim() != value => refused("space around a value is not sent"),
            () if !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) => refused(VISIBLE),
            () => Self::new(name, value),
        }
    }

    pub(super) fn refused(error: InvalidField) -> Self {
        Self(Err(error))
    }

    pub(super) fn endpoint(endpoint: Endpoint) -> Self {
        Self(Ok(Setting::endpoints())).reporting_to(endpoint)
    }

    pub(super) fn reporting_to(self, endpoint: Endpoint) -> Self {
        Self(self.0.and_then(|mut setting| {
            endpoint.check()?;
            setting.endpoints.push(endpoint);
            Ok(setting)
        }))
    }

    pub(super) fn into_setting(self) -> Result<Setting, InvalidField> {
        self.0
    }
}

impl Setting {
    fn new(name: HeaderName, value: Value) -> Self {
        Self { name, value, endpoints: Vec::new() }
    }

    /// The field that defines all endpoints.
    pub(super) fn endpoints() -> Self {
        Self::new(HeaderName::from_static(reporting::NAME), Value::Endpoint)
    }

    fn csp(policy: Csp) -> Result<Self, InvalidField> {
        policy.check()?;
        let name = policy.name();
        let endpoints: Vec<_> = policy.endpoint().cloned().into_iter().collect();
        endpoints.iter().try_for_each(Endpoint::check)?;
        let rendered = |policy| Rendered::new(policy).map(Box::new);
        let http = rendered(policy.without_upgrade())?;
        let value = Value::Csp { https: rendered(policy)?, http };
        Ok(Self { name, value, endpoints })
    }

    /// The endpoint that it names and nobody has defined yet.
    pub(super) fn undefined(&self) -> Option<String> {
        match &self.value {
            Value::Csp { https, .. } => https.policy().undefined(),
            Value::Fixed(_) | Value::Endpoint => None,
        }
    }
}

impl From<Csp> for Field {
    fn from(policy: Csp) -> Self {
        Self(Setting::csp(policy))
    }
}

/// The place of a field among the others.
pub(super) fn rank(name: &str) -> usize {
    FIELDS.iter().position(|(other, _)| *other == name).unwrap_or(FIELDS.len())
}

/// Whether the field means nothing but for pages and workers.
pub(super) fn is_for_documents(name: &str) -> bool {
    FIELDS.iter().any(|(other, is_for_documents)| *is_for_documents && *other == name)
}

/// The fields that have types, in the order in which they are sent, and whether they mean
/// nothing but for pages and workers. Others follow as they are set.
const FIELDS: [(&str, bool); 20] = [
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
    (reporting::NAME, false),
];

/// The fields that have types and no parts which the layer would have to know: no nonce and no
/// endpoint. Any value of theirs can be sent.
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

/// What speaks of the connection, or of the body.
const OTHERS: [&str; 12] = [
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
