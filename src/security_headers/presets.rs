use std::time::Duration;

use http::HeaderName;
use http::header::SERVER;

use super::cross_origin::{Coep, Coop, Corp, OriginAgentCluster};
use super::csp::Csp;
use super::feature::Feature;
use super::field::Field;
use super::hsts::Hsts;
use super::legacy::{
    ContentTypeOptions, CrossDomainPolicies, DnsPrefetch, DownloadOptions, FrameOptions,
    XssProtection,
};
use super::permissions::{Allow, PermissionsPolicy};
use super::policy::Policy;
use super::referrer::ReferrerPolicy;

/// Fields that tell attackers what a server runs on, for
/// [`strip`](crate::SecurityHeadersLayer::strip).
pub const LEAKS: [HeaderName; 8] = [
    SERVER,
    HeaderName::from_static("x-aspnet-version"),
    HeaderName::from_static("x-aspnetmvc-version"),
    HeaderName::from_static("x-generator"),
    POWERED_BY,
    HeaderName::from_static("x-runtime"),
    HeaderName::from_static("x-server"),
    HeaderName::from_static("x-version"),
];

/// helmet 8.3.0, which removes a header too.
pub(super) fn helmet() -> Policy {
    let mut policy = preset([
        Csp::helmet().into(),
        Coop::SAME_ORIGIN.into(),
        Corp::SAME_ORIGIN.into(),
        OriginAgentCluster::ON.into(),
        ReferrerPolicy::NO_REFERRER.into(),
        Hsts::new(Duration::from_secs(31_536_000)).include_subdomains().into(),
        ContentTypeOptions::NOSNIFF.into(),
        DnsPrefetch::OFF.into(),
        DownloadOptions::NOOPEN.into(),
        FrameOptions::SAMEORIGIN.into(),
        CrossDomainPolicies::NONE.into(),
        XssProtection::OFF.into(),
    ]);
    policy.strip.push(POWERED_BY);
    policy
}

/// `ci/headers_add.json` of the OWASP Secure Headers Project, of 2026-07-19. It has
/// `clear-site-data` too, which would log everybody out all the time.
pub(super) fn owasp() -> Policy {
    const POLICY: Csp = Csp::from_static(
        "default-src 'self';form-action 'self';base-uri 'self';object-src 'none';\
         frame-ancestors 'none';upgrade-insecure-requests",
    );
    let permissions = PermissionsPolicy::new()
        .deny(DENIED)
        .allow(Feature::SyncXhr, [Allow::SELF])
        .deny(DENIED_AFTER);
    preset([
        POLICY.into(),
        Coep::REQUIRE_CORP.into(),
        Coop::SAME_ORIGIN.into(),
        Corp::SAME_ORIGIN.into(),
        ReferrerPolicy::NO_REFERRER.into(),
        Hsts::new(Duration::from_secs(63_072_000)).include_subdomains().into(),
        ContentTypeOptions::NOSNIFF.into(),
        DnsPrefetch::OFF.into(),
        FrameOptions::DENY.into(),
        CrossDomainPolicies::NONE.into(),
        permissions.into(),
        Field::known("cache-control", "no-store, max-age=0"),
    ])
}

pub(super) fn api() -> Policy {
    const POLICY: Csp = Csp::from_static("default-src 'none';frame-ancestors 'none'");
    preset([
        POLICY.into(),
        Corp::SAME_ORIGIN.into(),
        ContentTypeOptions::NOSNIFF.into(),
        Field::known("cache-control", "no-store"),
    ])
}

#[expect(clippy::expect_used, reason = "nothing of a preset is input, and each has a test")]
fn preset<const N: usize>(fields: [Field; N]) -> Policy {
    Policy::of(fields).expect("a preset is valid")
}

const POWERED_BY: HeaderName = HeaderName::from_static("x-powered-by");

const DENIED: [Feature; 17] = [
    Feature::Accelerometer,
    Feature::Autoplay,
    Feature::Camera,
    Feature::CrossOriginIsolated,
    Feature::DisplayCapture,
    Feature::EncryptedMedia,
    Feature::Fullscreen,
    Feature::Geolocation,
    Feature::Gyroscope,
    Feature::KeyboardMap,
    Feature::Magnetometer,
    Feature::Microphone,
    Feature::Midi,
    Feature::Payment,
    Feature::PictureInPicture,
    Feature::PublickeyCredentialsGet,
    Feature::ScreenWakeLock,
];
const DENIED_AFTER: [Feature; 11] = [
    Feature::Usb,
    Feature::WebShare,
    Feature::XrSpatialTracking,
    Feature::ClipboardRead,
    Feature::ClipboardWrite,
    Feature::Gamepad,
    Feature::Hid,
    Feature::IdleDetection,
    Feature::Custom("interest-cohort"),
    Feature::Serial,
    Feature::Unload,
];
