use std::str::FromStr;

use super::csp::is_token;
use super::error::{InvalidField, one_of};
use super::field::Field;
use super::reporting::Endpoint;

/// `cross-origin-opener-policy`: which windows share a group with this one
/// ([HTML §7.1.3](https://html.spec.whatwg.org/multipage/browsers.html#cross-origin-opener-policies)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coop(Isolation);

/// `cross-origin-embedder-policy`: what may be embedded without having agreed
/// ([HTML §7.1.4](https://html.spec.whatwg.org/multipage/browsers.html#coep)). Together with
/// [`Coop::SAME_ORIGIN`] it isolates the page, which `SharedArrayBuffer` needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coep(Isolation);

/// `cross-origin-resource-policy`: who may embed the response
/// ([Fetch §3.7](https://fetch.spec.whatwg.org/#cross-origin-resource-policy-header)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corp(&'static str);

/// `origin-agent-cluster`: whether the origin gets a heap of its own, apart from its site's
/// ([HTML §7.1.2](https://html.spec.whatwg.org/multipage/browsers.html#origin-keyed-agent-clusters)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginAgentCluster(&'static str);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Isolation {
    policy: &'static str,
    endpoint: Option<Endpoint>,
    report_only: bool,
}

impl Coop {
    /// Windows of the same origin only.
    pub const SAME_ORIGIN: Self = Self(Isolation::new("same-origin"));
    /// Windows of the same origin, and those that it opens.
    pub const SAME_ORIGIN_ALLOW_POPUPS: Self = Self(Isolation::new("same-origin-allow-popups"));
    /// No window that has opened it, of the same origin either.
    pub const NOOPENER_ALLOW_POPUPS: Self = Self(Isolation::new("noopener-allow-popups"));
    /// Any window.
    pub const UNSAFE_NONE: Self = Self(Isolation::new("unsafe-none"));

    /// A value that this crate does not know, sent as it is. What is not a token (RFC 9651 §3.3.4) is
    /// refused when it is set.
    #[must_use]
    pub const fn custom(value: &'static str) -> Self {
        Self(Isolation::new(value))
    }

    /// Reports what it parts to this endpoint.
    #[must_use]
    pub fn report_to(self, endpoint: &Endpoint) -> Self {
        Self(self.0.report_to(endpoint))
    }

    /// Parts nothing and only reports: `cross-origin-opener-policy-report-only`.
    #[must_use]
    pub fn report_only(self) -> Self {
        Self(self.0.report_only())
    }
}

impl Coep {
    /// What has agreed by `cross-origin-resource-policy` or CORS.
    pub const REQUIRE_CORP: Self = Self(Isolation::new("require-corp"));
    /// Anything, but without cookies.
    pub const CREDENTIALLESS: Self = Self(Isolation::new("credentialless"));
    /// Anything.
    pub const UNSAFE_NONE: Self = Self(Isolation::new("unsafe-none"));

    /// A value that this crate does not know, sent as it is. What is not a token (RFC 9651 §3.3.4) is
    /// refused when it is set.
    #[must_use]
    pub const fn custom(value: &'static str) -> Self {
        Self(Isolation::new(value))
    }

    /// Reports what it blocks to this endpoint.
    #[must_use]
    pub fn report_to(self, endpoint: &Endpoint) -> Self {
        Self(self.0.report_to(endpoint))
    }

    /// Blocks nothing and only reports: `cross-origin-embedder-policy-report-only`.
    #[must_use]
    pub fn report_only(self) -> Self {
        Self(self.0.report_only())
    }
}

impl Corp {
    /// The same origin.
    pub const SAME_ORIGIN: Self = Self("same-origin");
    /// The same site.
    pub const SAME_SITE: Self = Self("same-site");
    /// Anyone.
    pub const CROSS_ORIGIN: Self = Self("cross-origin");

    /// A value that this crate does not know, sent as it is. What is not a token (RFC 9651 §3.3.4) is
    /// refused when it is set.
    #[must_use]
    pub const fn custom(value: &'static str) -> Self {
        Self(value)
    }
}

impl OriginAgentCluster {
    /// `?1`
    pub const ON: Self = Self("?1");
    /// `?0`
    pub const OFF: Self = Self("?0");
}

impl Isolation {
    const fn new(policy: &'static str) -> Self {
        Self { policy, endpoint: None, report_only: false }
    }

    fn report_to(self, endpoint: &Endpoint) -> Self {
        Self { endpoint: Some(endpoint.clone()), ..self }
    }

    fn report_only(self) -> Self {
        Self { report_only: true, ..self }
    }

    fn field(self, name: &'static str, report_only: &'static str) -> Field {
        let name = if self.report_only { report_only } else { name };
        match self.endpoint {
            None => Field::token(name, self.policy),
            Some(_) if !is_token(self.policy.as_bytes()) => Field::token(name, self.policy),
            Some(endpoint) => {
                let value = format!("{}; report-to=\"{}\"", self.policy, endpoint.name());
                Field::new(name, &value).reporting_to(endpoint)
            }
        }
    }
}

impl From<Coop> for Field {
    fn from(coop: Coop) -> Self {
        coop.0.field(COOP, "cross-origin-opener-policy-report-only")
    }
}

impl From<Coep> for Field {
    fn from(coep: Coep) -> Self {
        coep.0.field(COEP, "cross-origin-embedder-policy-report-only")
    }
}

impl From<Corp> for Field {
    fn from(corp: Corp) -> Self {
        Self::token(CORP, corp.0)
    }
}

impl From<OriginAgentCluster> for Field {
    fn from(cluster: OriginAgentCluster) -> Self {
        Self::known("origin-agent-cluster", cluster.0)
    }
}

impl FromStr for Coop {
    type Err = InvalidField;

    fn from_str(policy: &str) -> Result<Self, Self::Err> {
        let known = [
            Self::SAME_ORIGIN,
            Self::SAME_ORIGIN_ALLOW_POPUPS,
            Self::NOOPENER_ALLOW_POPUPS,
            Self::UNSAFE_NONE,
        ];
        let known = known.map(|known| known.0.policy);
        one_of(COOP, policy, &known).map(|policy| Self(Isolation::new(policy)))
    }
}

impl FromStr for Coep {
    type Err = InvalidField;

    fn from_str(policy: &str) -> Result<Self, Self::Err> {
        let known = [Self::REQUIRE_CORP, Self::CREDENTIALLESS, Self::UNSAFE_NONE];
        let known = known.map(|known| known.0.policy);
        one_of(COEP, policy, &known).map(|policy| Self(Isolation::new(policy)))
    }
}

impl FromStr for Corp {
    type Err = InvalidField;

    fn from_str(policy: &str) -> Result<Self, Self::Err> {
        let known = [Self::SAME_ORIGIN, Self::SAME_SITE, Self::CROSS_ORIGIN];
        one_of(CORP, policy, &known.map(|known| known.0)).map(Self)
    }
}

const COOP: &str = "cross-origin-opener-policy";
const COEP: &str = "cross-origin-embedder-policy";
const CORP: &str = "cross-origin-resource-policy";
