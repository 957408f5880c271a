//! The `x-` fields.

use std::str::FromStr;

use super::error::{InvalidField, one_of};
use super::field::Field;

/// `x-content-type-options: nosniff`: what a response says that it is, it is
/// ([Fetch §3.6](https://fetch.spec.whatwg.org/#x-content-type-options-header)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentTypeOptions(&'static str);

/// `x-dns-prefetch-control`: whether the names in links are looked up before they are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnsPrefetch(&'static str);

/// `x-download-options: noopen`: old Internet Explorer does not open downloads in the site's
/// context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DownloadOptions(&'static str);

/// `x-frame-options` (RFC 7034): what may frame the page, for browsers without `frame-ancestors`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameOptions(&'static str);

/// `x-permitted-cross-domain-policies`: which policy files Flash and Acrobat heed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrossDomainPolicies(&'static str);

/// `x-xss-protection: 0`: switches off a filter of old browsers that could itself be used for
/// attacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XssProtection(&'static str);

impl ContentTypeOptions {
    /// `nosniff`
    pub const NOSNIFF: Self = Self("nosniff");
}

impl DownloadOptions {
    /// `noopen`
    pub const NOOPEN: Self = Self("noopen");
}

impl XssProtection {
    /// `0`
    pub const OFF: Self = Self("0");
}

impl DnsPrefetch {
    /// They are.
    pub const ON: Self = Self("on");
    /// They are not.
    pub const OFF: Self = Self("off");
}

impl FrameOptions {
    /// Nothing.
    pub const DENY: Self = Self("DENY");
    /// The same origin.
    pub const SAMEORIGIN: Self = Self("SAMEORIGIN");
}

impl CrossDomainPolicies {
    /// None.
    pub const NONE: Self = Self("none");
    /// The one at `/crossdomain.xml`.
    pub const MASTER_ONLY: Self = Self("master-only");
    /// Those that are sent as `text/x-cross-domain-policy`.
    pub const BY_CONTENT_TYPE: Self = Self("by-content-type");
    /// All.
    pub const ALL: Self = Self("all");
}

impl From<ContentTypeOptions> for Field {
    fn from(options: ContentTypeOptions) -> Self {
        Self::known("x-content-type-options", options.0)
    }
}

impl From<DnsPrefetch> for Field {
    fn from(prefetch: DnsPrefetch) -> Self {
        Self::known("x-dns-prefetch-control", prefetch.0)
    }
}

impl From<DownloadOptions> for Field {
    fn from(options: DownloadOptions) -> Self {
        Self::known("x-download-options", options.0)
    }
}

impl From<FrameOptions> for Field {
    fn from(options: FrameOptions) -> Self {
        Self::known(FRAME_OPTIONS, options.0)
    }
}

impl From<CrossDomainPolicies> for Field {
    fn from(policies: CrossDomainPolicies) -> Self {
        Self::known(CROSS_DOMAIN, policies.0)
    }
}

impl From<XssProtection> for Field {
    fn from(protection: XssProtection) -> Self {
        Self::known("x-xss-protection", protection.0)
    }
}

/// In upper or lower case: browsers take both (HTML §7.5).
impl FromStr for FrameOptions {
    type Err = InvalidField;

    fn from_str(options: &str) -> Result<Self, Self::Err> {
        let known = [Self::DENY, Self::SAMEORIGIN].map(|known| known.0);
        let found = one_of(FRAME_OPTIONS, &options.to_ascii_uppercase(), &known);
        found.map(Self).or_else(|_| one_of(FRAME_OPTIONS, options, &known).map(Self))
    }
}

impl FromStr for CrossDomainPolicies {
    type Err = InvalidField;

    fn from_str(policies: &str) -> Result<Self, Self::Err> {
        let known = [Self::NONE, Self::MASTER_ONLY, Self::BY_CONTENT_TYPE, Self::ALL];
        one_of(CROSS_DOMAIN, policies, &known.map(|known| known.0)).map(Self)
    }
}

const FRAME_OPTIONS: &str = "x-frame-options";
const CROSS_DOMAIN: &str = "x-permitted-cross-domain-policies";
