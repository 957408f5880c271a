use std::time::Duration;

use http::HeaderName;
use http::header::SERVER;

use super::cross_origin::{Coep, Coop, Corp, OriginAgentCluster};
use super::csp::Csp;
use super::error::InvalidHeader;
use super::feature::Feature;
use super::header::Header;
use super::hsts::Hsts;
use super::legacy::{
    ContentTypeOptions, CrossDomainPolicies, DnsPrefetch, DownloadOptions, FrameOptions,
    XssProtection,
};
use super::permissions::{Allowlist, PermissionsPolicy};
use super::policy::Policy;
use super::referrer::ReferrerPolicy;

/// Headers that reveal the software of a server to attackers, for
/// [`strip`](crate::SecurityHeadersLayer::strip).
#[doc(alias = "hidePoweredBy")]
#[doc(alias = "X-Powered-By")]
pub const FINGERPRINT_HEADERS: [HeaderName; 8] = [
    SERVER,
    HeaderName::from_static("x-aspnet-version"),
    HeaderName::from_static("x-aspnetmvc-version"),
    HeaderName::from_static("x-generator"),
    POWERED_BY,
    HeaderName::from_static("x-runtime"),
    HeaderName::from_static("x-server"),
    HeaderName::from_static("x-version"),
];

/// Returns the headers of helmet 8.3.0. Like helmet, the policy removes `x-powered-by`.
pub(super) fn helmet() -> Policy {
    let mut policy = valid(|| {
        Ok([
            Csp::helmet().try_into()?,
            Coop::SAME_ORIGIN.try_into()?,
            Corp::SAME_ORIGIN.into(),
            OriginAgentCluster::ON.into(),
            ReferrerPolicy::NO_REFERRER.try_into()?,
            Hsts::new(Duration::from_secs(31_536_000)).include_subdomains().try_into()?,
            ContentTypeOptions::NOSNIFF.into(),
            DnsPrefetch::OFF.into(),
            DownloadOptions::NOOPEN.into(),
            FrameOptions::SAMEORIGIN.into(),
            CrossDomainPolicies::NONE.into(),
            XssProtection::OFF.into(),
        ])
    });
    policy.strip.push(POWERED_BY);
    policy
}

/// Returns the headers of `ci/headers_add.json` of the OWASP Secure Headers Project, as of
/// 2026-07-19, without `clear-site-data`: that header would log users out with each response.
pub(super) fn owasp() -> Policy {
    const POLICY: Csp = Csp::from_static(
        "default-src 'self';form-action 'self';base-uri 'self';object-src 'none';\
         frame-ancestors 'none';upgrade-insecure-requests",
    );
    valid(|| {
        let permissions = PermissionsPolicy::new()
            .deny(DENIED_FIRST)
            .allow(Feature::SYNC_XHR, Allowlist::SELF)
            .deny(DENIED_LAST)
            .deny([Feature::custom("interest-cohort")?, Feature::SERIAL, Feature::UNLOAD]);
        Ok([
            POLICY.try_into()?,
            Coep::REQUIRE_CORP.try_into()?,
            Coop::SAME_ORIGIN.try_into()?,
            Corp::SAME_ORIGIN.into(),
            ReferrerPolicy::NO_REFERRER.try_into()?,
            Hsts::new(Duration::from_secs(63_072_000)).include_subdomains().try_into()?,
            ContentTypeOptions::NOSNIFF.into(),
            DnsPrefetch::OFF.into(),
            FrameOptions::DENY.into(),
            CrossDomainPolicies::NONE.into(),
            permissions.try_into()?,
            Header::from_static("cache-control", "no-store, max-age=0"),
        ])
    })
}

/// Returns headers for responses that no browser shows as a page.
pub(super) fn api() -> Policy {
    const POLICY: Csp = Csp::from_static("default-src 'none';frame-ancestors 'none'");
    valid(|| {
        Ok([
            POLICY.try_into()?,
            Corp::SAME_ORIGIN.into(),
            ContentTypeOptions::NOSNIFF.into(),
            Header::from_static("cache-control", "no-store"),
        ])
    })
}

#[expect(clippy::expect_used, reason = "a preset depends on no input, and each has a test")]
fn valid<const N: usize>(headers: impl FnOnce() -> Result<[Header; N], InvalidHeader>) -> Policy {
    headers().and_then(Policy::of).expect("a preset is valid")
}

const POWERED_BY: HeaderName = HeaderName::from_static("x-powered-by");

/// The features in the order of the OWASP file, up to `sync-xhr`.
const DENIED_FIRST: [Feature; 17] = [
    Feature::ACCELEROMETER,
    Feature::AUTOPLAY,
    Feature::CAMERA,
    Feature::CROSS_ORIGIN_ISOLATED,
    Feature::DISPLAY_CAPTURE,
    Feature::ENCRYPTED_MEDIA,
    Feature::FULLSCREEN,
    Feature::GEOLOCATION,
    Feature::GYROSCOPE,
    Feature::KEYBOARD_MAP,
    Feature::MAGNETOMETER,
    Feature::MICROPHONE,
    Feature::MIDI,
    Feature::PAYMENT,
    Feature::PICTURE_IN_PICTURE,
    Feature::PUBLICKEY_CREDENTIALS_GET,
    Feature::SCREEN_WAKE_LOCK,
];
/// The features after `sync-xhr`, up to `interest-cohort`.
const DENIED_LAST: [Feature; 8] = [
    Feature::USB,
    Feature::WEB_SHARE,
    Feature::XR_SPATIAL_TRACKING,
    Feature::CLIPBOARD_READ,
    Feature::CLIPBOARD_WRITE,
    Feature::GAMEPAD,
    Feature::HID,
    Feature::IDLE_DETECTION,
];
