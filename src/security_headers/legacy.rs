//! Headers whose names start with `x-`.

use std::str::FromStr;

use super::error::{InvalidHeader, parse_keyword};
use super::header::Header;

/// The header `x-content-type-options: nosniff`: browsers do not guess a type other than
/// `content-type` ([Fetch §3.6](https://fetch.spec.whatwg.org/#x-content-type-options-header)).
#[doc(alias = "X-Content-Type-Options")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentTypeOptions(&'static str);

/// The header `x-dns-prefetch-control`: browsers look up the hosts of links ahead of a click, or
/// do not.
#[doc(alias = "X-DNS-Prefetch-Control")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnsPrefetch(&'static str);

/// The header `x-download-options: noopen`: old Internet Explorer does not open downloads in the
/// context of the site.
#[doc(alias = "X-Download-Options")]
#[doc(alias = "ieNoOpen")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DownloadOptions(&'static str);

/// The header `x-frame-options` (RFC 7034): the pages that may frame the response, for browsers
/// without `frame-ancestors`.
#[doc(alias = "X-Frame-Options")]
#[doc(alias = "frameguard")]
#[doc(alias = "clickjacking")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameOptions(&'static str);

/// The header `x-permitted-cross-domain-policies`: the policy files that Flash and Acrobat obey.
#[doc(alias = "X-Permitted-Cross-Domain-Policies")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrossDomainPolicies(&'static str);

/// The header `x-xss-protection: 0`: turns off a filter of old browsers that attacks can use.
#[doc(alias = "X-XSS-Protection")]
#[doc(alias = "xssFilter")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XssProtection(&'static str);

impl ContentTypeOptions {
    /// Turns sniffing off: `nosniff`.
    pub const NOSNIFF: Self = Self("nosniff");
}

impl DownloadOptions {
    /// Forbids to open downloads at once: `noopen`.
    pub const NOOPEN: Self = Self("noopen");
}

impl XssProtection {
    /// Turns the filter off: `0`.
    pub const OFF: Self = Self("0");
}

impl DnsPrefetch {
    /// Allows lookups ahead of a click: `on`.
    pub const ON: Self = Self("on");
    /// Forbids lookups ahead of a click: `off`.
    pub const OFF: Self = Self("off");
}

impl FrameOptions {
    /// Forbids every page to frame the response.
    pub const DENY: Self = Self("DENY");
    /// Allows pages of the same origin to frame the response.
    pub const SAMEORIGIN: Self = Self("SAMEORIGIN");
}

impl CrossDomainPolicies {
    /// Allows no policy file: `none`.
    pub const NONE: Self = Self("none");
    /// Allows the policy file at `/crossdomain.xml`.
    pub const MASTER_ONLY: Self = Self("master-only");
    /// Allows files of the type `text/x-cross-domain-policy`.
    pub const BY_CONTENT_TYPE: Self = Self("by-content-type");
    /// Allows all policy files: `all`.
    pub const ALL: Self = Self("all");
}

impl From<ContentTypeOptions> for Header {
    fn from(options: ContentTypeOptions) -> Self {
        Self::from_static("x-content-type-options", options.0)
    }
}

impl From<DnsPrefetch> for Header {
    fn from(prefetch: DnsPrefetch) -> Self {
        Self::from_static("x-dns-prefetch-control", prefetch.0)
    }
}

impl From<DownloadOptions> for Header {
    fn from(options: DownloadOptions) -> Self {
        Self::from_static("x-download-options", options.0)
    }
}

impl From<FrameOptions> for Header {
    fn from(options: FrameOptions) -> Self {
        Self::from_static(FRAME_OPTIONS, options.0)
    }
}

impl From<CrossDomainPolicies> for Header {
    fn from(policies: CrossDomainPolicies) -> Self {
        Self::from_static(CROSS_DOMAIN, policies.0)
    }
}

impl From<XssProtection> for Header {
    fn from(protection: XssProtection) -> Self {
        Self::from_static("x-xss-protection", protection.0)
    }
}

/// Parses `DENY` or `SAMEORIGIN` in any case, as browsers do (HTML §7.5).
impl FromStr for FrameOptions {
    type Err = InvalidHeader;

    fn from_str(options: &str) -> Result<Self, Self::Err> {
        let known = [Self::DENY, Self::SAMEORIGIN];
        let found = known.into_iter().find(|known| known.0.eq_ignore_ascii_case(options));
        found.map_or_else(|| parse_keyword(FRAME_OPTIONS, options, &[]).map(Self), Ok)
    }
}

impl FromStr for CrossDomainPolicies {
    type Err = InvalidHeader;

    fn from_str(policies: &str) -> Result<Self, Self::Err> {
        let known = [Self::NONE, Self::MASTER_ONLY, Self::BY_CONTENT_TYPE, Self::ALL];
        parse_keyword(CROSS_DOMAIN, policies, &known.map(|known| known.0)).map(Self)
    }
}

const FRAME_OPTIONS: &str = "x-frame-options";
const CROSS_DOMAIN: &str = "x-permitted-cross-domain-policies";
