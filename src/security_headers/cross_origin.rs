use std::str::FromStr;

use super::endpoint::Endpoint;
use super::error::{InvalidHeader, parse_keyword};
use super::header::Header;
use super::structured::{TOKEN, is_token};

/// The header `cross-origin-opener-policy`: the windows that share a browsing context group with
/// the page ([HTML §7.1.3](https://html.spec.whatwg.org/multipage/browsers.html#cross-origin-opener-policies)).
#[doc(alias = "Cross-Origin-Opener-Policy")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coop(Isolation);

/// The header `cross-origin-embedder-policy`: the resources of other origins that the page may
/// embed ([HTML §7.1.4](https://html.spec.whatwg.org/multipage/browsers.html#coep)).
///
/// Together with [`Coop::SAME_ORIGIN`] it isolates the page, which `SharedArrayBuffer` needs.
#[doc(alias = "Cross-Origin-Embedder-Policy")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coep(Isolation);

/// The header `cross-origin-resource-policy`: the pages that may embed the response
/// ([Fetch §3.7](https://fetch.spec.whatwg.org/#cross-origin-resource-policy-header)).
#[doc(alias = "Cross-Origin-Resource-Policy")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corp(&'static str);

/// The header `origin-agent-cluster`: the origin gets a heap of its own, apart from its site's
/// ([HTML §7.1.2](https://html.spec.whatwg.org/multipage/browsers.html#origin-keyed-agent-clusters)).
#[doc(alias = "Origin-Agent-Cluster")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginAgentCluster(&'static str);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Isolation {
    policy: &'static str,
    endpoint: Option<Endpoint>,
    report_only: bool,
}

impl Coop {
    /// Keeps windows of the same origin only.
    pub const SAME_ORIGIN: Self = Self(Isolation::new("same-origin"));
    /// Keeps windows of the same origin, and those that the page opens.
    pub const SAME_ORIGIN_ALLOW_POPUPS: Self = Self(Isolation::new("same-origin-allow-popups"));
    /// Cuts off the window that opened the page, even one of the same origin.
    pub const NOOPENER_ALLOW_POPUPS: Self = Self(Isolation::new("noopener-allow-popups"));
    /// Keeps windows of every origin.
    pub const UNSAFE_NONE: Self = Self(Isolation::new("unsafe-none"));

    /// Returns a policy that this crate does not know, sent as it is.
    ///
    /// # Errors
    ///
    /// The value is not a token (RFC 9651 §3.3.4).
    pub fn custom(value: &'static str) -> Result<Self, InvalidHeader> {
        token(COOP, value).map(|value| Self(Isolation::new(value)))
    }

    /// Reports violations to this endpoint.
    #[must_use]
    pub fn report_to(self, endpoint: &Endpoint) -> Self {
        Self(self.0.report_to(endpoint))
    }

    /// Reports violations and separates nothing: the header is
    /// `cross-origin-opener-policy-report-only`.
    #[must_use]
    pub fn report_only(self) -> Self {
        Self(self.0.report_only())
    }
}

impl Coep {
    /// Allows resources that agree by `cross-origin-resource-policy` or CORS.
    pub const REQUIRE_CORP: Self = Self(Isolation::new("require-corp"));
    /// Allows every resource, but requests it without credentials.
    pub const CREDENTIALLESS: Self = Self(Isolation::new("credentialless"));
    /// Allows every resource, as without the header.
    pub const UNSAFE_NONE: Self = Self(Isolation::new("unsafe-none"));

    /// Returns a policy that this crate does not know, sent as it is.
    ///
    /// # Errors
    ///
    /// The value is not a token (RFC 9651 §3.3.4).
    pub fn custom(value: &'static str) -> Result<Self, InvalidHeader> {
        token(COEP, value).map(|value| Self(Isolation::new(value)))
    }

    /// Reports violations to this endpoint.
    #[must_use]
    pub fn report_to(self, endpoint: &Endpoint) -> Self {
        Self(self.0.report_to(endpoint))
    }

    /// Reports violations and blocks nothing: the header is
    /// `cross-origin-embedder-policy-report-only`.
    #[must_use]
    pub fn report_only(self) -> Self {
        Self(self.0.report_only())
    }
}

impl Corp {
    /// Allows pages of the same origin.
    pub const SAME_ORIGIN: Self = Self("same-origin");
    /// Allows pages of the same site.
    pub const SAME_SITE: Self = Self("same-site");
    /// Allows pages of every origin.
    pub const CROSS_ORIGIN: Self = Self("cross-origin");

    /// Returns a policy that this crate does not know, sent as it is.
    ///
    /// # Errors
    ///
    /// The value is not a token (RFC 9651 §3.3.4).
    pub fn custom(value: &'static str) -> Result<Self, InvalidHeader> {
        token(CORP, value).map(Self)
    }
}

impl OriginAgentCluster {
    /// Asks for an origin-keyed agent cluster: `?1`.
    pub const ON: Self = Self("?1");
    /// Asks for a site-keyed agent cluster: `?0`.
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

    fn header(
        self,
        name: &'static str,
        report_only: &'static str,
    ) -> Result<Header, InvalidHeader> {
        let name = if self.report_only { report_only } else { name };
        let Some(endpoint) = self.endpoint else {
            return Ok(Header::from_static(name, self.policy));
        };
        // A structured item with a parameter (RFC 9651 §3.3): here `report-to` is a string, in a
        // permissions policy a token.
        let value = format!("{}; report-to=\"{}\"", self.policy, endpoint.name());
        Ok(Header::parse(name, &value)?.reporting_to([endpoint]))
    }
}

impl TryFrom<Coop> for Header {
    type Error = InvalidHeader;

    fn try_from(coop: Coop) -> Result<Self, Self::Error> {
        coop.0.header(COOP, "cross-origin-opener-policy-report-only")
    }
}

impl TryFrom<Coep> for Header {
    type Error = InvalidHeader;

    fn try_from(coep: Coep) -> Result<Self, Self::Error> {
        coep.0.header(COEP, "cross-origin-embedder-policy-report-only")
    }
}

impl From<Corp> for Header {
    fn from(corp: Corp) -> Self {
        Self::from_static(CORP, corp.0)
    }
}

impl From<OriginAgentCluster> for Header {
    fn from(cluster: OriginAgentCluster) -> Self {
        Self::from_static("origin-agent-cluster", cluster.0)
    }
}

impl FromStr for Coop {
    type Err = InvalidHeader;

    fn from_str(policy: &str) -> Result<Self, Self::Err> {
        let known = [
            Self::SAME_ORIGIN,
            Self::SAME_ORIGIN_ALLOW_POPUPS,
            Self::NOOPENER_ALLOW_POPUPS,
            Self::UNSAFE_NONE,
        ];
        let known = known.map(|known| known.0.policy);
        parse_keyword(COOP, policy, &known).map(|policy| Self(Isolation::new(policy)))
    }
}

impl FromStr for Coep {
    type Err = InvalidHeader;

    fn from_str(policy: &str) -> Result<Self, Self::Err> {
        let known = [Self::REQUIRE_CORP, Self::CREDENTIALLESS, Self::UNSAFE_NONE];
        let known = known.map(|known| known.0.policy);
        parse_keyword(COEP, policy, &known).map(|policy| Self(Isolation::new(policy)))
    }
}

impl FromStr for Corp {
    type Err = InvalidHeader;

    fn from_str(policy: &str) -> Result<Self, Self::Err> {
        let known = [Self::SAME_ORIGIN, Self::SAME_SITE, Self::CROSS_ORIGIN];
        parse_keyword(CORP, policy, &known.map(|known| known.0)).map(Self)
    }
}

fn token(header: &str, value: &'static str) -> Result<&'static str, InvalidHeader> {
    if is_token(value) { Ok(value) } else { Err(InvalidHeader::new(header, value, TOKEN)) }
}

const COOP: &str = "cross-origin-opener-policy";
const COEP: &str = "cross-origin-embedder-policy";
const CORP: &str = "cross-origin-resource-policy";
