//! What each typed value sends, and which are refused when a layer is built. Policies for content
//! are next door.

use std::convert::Infallible;
use std::time::Duration;

use http::header::{CONTENT_SECURITY_POLICY, STRICT_TRANSPORT_SECURITY, X_FRAME_OPTIONS};
use http::{HeaderValue, Request, Response};
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::SecurityHeadersLayer;
use tower_kit::security_headers::Directive::*;
use tower_kit::security_headers::{
    Allow, ClearSiteData, Coep, Coop, Corp, CrossDomainPolicies, Csp, DnsPrefetch, Endpoint,
    Feature, Field, FrameOptions, Hsts, IntegrityPolicy, InvalidField, LEAKS, OriginAgentCluster,
    Overrides, PermissionsPolicy, ReferrerPolicy, Source,
};

use crate::support::now;

pub(crate) const CSP: &str = "content-security-policy";
pub(crate) const ENDPOINTS: &str = "reporting-endpoints";
const PERMISSIONS: &str = "permissions-policy";

pub(crate) fn reports() -> Endpoint {
    Endpoint::new("reports", "https://reports.example.com/")
}

pub(crate) fn backup() -> Endpoint {
    Endpoint::new("backup", "/reports")
}

pub(crate) const REPORTS: (&str, &str) = (ENDPOINTS, r#"reports="https://reports.example.com/""#);

/// What a layer adds to an answer that has no fields.
pub(crate) fn sent(layer: &SecurityHeadersLayer) -> Vec<(String, String)> {
    let answer = |_: Request<()>| std::future::ready(Ok::<_, Infallible>(Response::new(())));
    let response = now(layer.layer(service_fn(answer)).oneshot(Request::new(()))).unwrap();
    let fields = response.headers().iter();
    fields.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}

pub(crate) fn set(field: impl Into<Field>) -> Result<SecurityHeadersLayer, InvalidField> {
    SecurityHeadersLayer::none().set(field)
}

#[track_caller]
pub(crate) fn assert_sends(
    layer: Result<SecurityHeadersLayer, InvalidField>,
    fields: &[(&str, &str)],
) {
    let found = sent(&layer.unwrap());
    let found: Vec<_> = found.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(found, fields);
}

/// The only field that is sent has this name and this value.
#[track_caller]
fn assert_value(field: impl Into<Field>, name: &str, value: &str) {
    assert_sends(set(field), &[(name, value)]);
}

#[track_caller]
pub(crate) fn assert_refused<T>(
    given: Result<T, InvalidField>,
    field: &str,
    directive: Option<&str>,
    value: &str,
) {
    let Err(error) = given else { panic!("{field}: {value:?} is not refused") };
    assert_eq!((error.field(), error.directive(), error.value()), (field, directive, value));
    let text = error.to_string();
    assert!(text.starts_with(&format!("{field}: ")), "{text}");
    assert!(directive.is_none_or(|directive| text.contains(directive.trim_end())), "{text}");
    assert!(text.contains(&format!("{value:?}")), "{text}");
}

pub(crate) fn own() -> Csp {
    Csp::new().set(DefaultSrc, [Source::SELF])
}

// The values.

#[test]
fn hsts_sends_its_seconds_and_what_was_agreed_to() {
    let year = Hsts::new(Duration::from_secs(31_536_000));
    let table = [
        (Hsts::new(Duration::from_secs(0)), "max-age=0"),
        (Hsts::new(Duration::from_millis(1)), "max-age=1"),
        (Hsts::new(Duration::MAX), "max-age=18446744073709551615"),
        (Hsts::new(Duration::from_secs(0)).include_subdomains(), "max-age=0; includeSubDomains"),
        (Hsts::new(Duration::from_secs(u64::MAX)), "max-age=18446744073709551615"),
        (year, "max-age=31536000"),
        (year.include_subdomains().preload(), "max-age=31536000; includeSubDomains; preload"),
        (year.preload().include_subdomains(), "max-age=31536000; includeSubDomains; preload"),
    ];
    for (hsts, value) in table {
        assert_value(hsts, "strict-transport-security", value);
    }
}

#[test]
fn the_values_without_parts_send_one_word() {
    let table: [(Field, &str, &str); 20] = [
        (Corp::SAME_ORIGIN.into(), "cross-origin-resource-policy", "same-origin"),
        (Corp::SAME_SITE.into(), "cross-origin-resource-policy", "same-site"),
        (Corp::CROSS_ORIGIN.into(), "cross-origin-resource-policy", "cross-origin"),
        (OriginAgentCluster::ON.into(), "origin-agent-cluster", "?1"),
        (OriginAgentCluster::OFF.into(), "origin-agent-cluster", "?0"),
        (DnsPrefetch::ON.into(), "x-dns-prefetch-control", "on"),
        (DnsPrefetch::OFF.into(), "x-dns-prefetch-control", "off"),
        (FrameOptions::DENY.into(), "x-frame-options", "DENY"),
        (FrameOptions::SAMEORIGIN.into(), "x-frame-options", "SAMEORIGIN"),
        (CrossDomainPolicies::NONE.into(), "x-permitted-cross-domain-policies", "none"),
        (
            CrossDomainPolicies::MASTER_ONLY.into(),
            "x-permitted-cross-domain-policies",
            "master-only",
        ),
        (
            CrossDomainPolicies::BY_CONTENT_TYPE.into(),
            "x-permitted-cross-domain-policies",
            "by-content-type",
        ),
        (CrossDomainPolicies::ALL.into(), "x-permitted-cross-domain-policies", "all"),
        (Coop::SAME_ORIGIN.into(), "cross-origin-opener-policy", "same-origin"),
        (
            Coop::SAME_ORIGIN_ALLOW_POPUPS.into(),
            "cross-origin-opener-policy",
            "same-origin-allow-popups",
        ),
        (Coop::NOOPENER_ALLOW_POPUPS.into(), "cross-origin-opener-policy", "noopener-allow-popups"),
        (Coop::UNSAFE_NONE.into(), "cross-origin-opener-policy", "unsafe-none"),
        (Coep::REQUIRE_CORP.into(), "cross-origin-embedder-policy", "require-corp"),
        (Coep::CREDENTIALLESS.into(), "cross-origin-embedder-policy", "credentialless"),
        (Coep::UNSAFE_NONE.into(), "cross-origin-embedder-policy", "unsafe-none"),
    ];
    for (field, name, value) in table {
        assert_value(field, name, value);
    }
}

#[test]
fn opener_and_embedder_policies_report_and_only_report() {
    let table: [(Field, &str, &str); 4] = [
        (
            Coop::SAME_ORIGIN.report_to(&reports()).into(),
            "cross-origin-opener-policy",
            r#"same-origin; report-to="reports""#,
        ),
        (
            Coop::SAME_ORIGIN.report_only().report_to(&reports()).into(),
            "cross-origin-opener-policy-report-only",
            r#"same-origin; report-to="reports""#,
        ),
        (
            Coep::REQUIRE_CORP.report_to(&reports()).into(),
            "cross-origin-embedder-policy",
            r#"require-corp; report-to="reports""#,
        ),
        (
            Coep::CREDENTIALLESS.report_to(&reports()).report_only().into(),
            "cross-origin-embedder-policy-report-only",
            r#"credentialless; report-to="reports""#,
        ),
    ];
    for (field, name, value) in table {
        assert_sends(set(field), &[(name, value), REPORTS]);
    }
}

#[test]
fn a_policy_that_only_reports_stands_beside_the_one_that_blocks() {
    let layer = set(Coop::UNSAFE_NONE)
        .and_then(|layer| layer.set(Coop::SAME_ORIGIN.report_only()))
        .and_then(|layer| layer.set(IntegrityPolicy::STYLES.report_to(&reports()).report_only()))
        .and_then(|layer| layer.set(IntegrityPolicy::SCRIPTS))
        .and_then(|layer| layer.set(Coep::UNSAFE_NONE))
        .and_then(|layer| layer.set(Coep::REQUIRE_CORP.report_only()))
        .and_then(|layer| layer.set(own().set(ImgSrc, ["*"]).report_only()))
        .and_then(|layer| layer.set(own()));
    let expected = [
        (CSP, "default-src 'self'"),
        ("content-security-policy-report-only", "default-src 'self';img-src *"),
        ("cross-origin-embedder-policy", "unsafe-none"),
        ("cross-origin-embedder-policy-report-only", "require-corp"),
        ("cross-origin-opener-policy", "unsafe-none"),
        ("cross-origin-opener-policy-report-only", "same-origin"),
        ("integrity-policy", "blocked-destinations=(script)"),
        ("integrity-policy-report-only", "blocked-destinations=(style), endpoints=(reports)"),
        REPORTS,
    ];
    assert_sends(layer, &expected);
}

#[test]
fn referrer_policies_keep_their_order_and_are_joined_by_commas() {
    let name = "referrer-policy";
    let table = [
        (ReferrerPolicy::NO_REFERRER, "no-referrer"),
        (ReferrerPolicy::NO_REFERRER_WHEN_DOWNGRADE, "no-referrer-when-downgrade"),
        (ReferrerPolicy::SAME_ORIGIN, "same-origin"),
        (ReferrerPolicy::ORIGIN, "origin"),
        (ReferrerPolicy::STRICT_ORIGIN, "strict-origin"),
        (ReferrerPolicy::ORIGIN_WHEN_CROSS_ORIGIN, "origin-when-cross-origin"),
        (ReferrerPolicy::STRICT_ORIGIN_WHEN_CROSS_ORIGIN, "strict-origin-when-cross-origin"),
        (ReferrerPolicy::UNSAFE_URL, "unsafe-url"),
    ];
    for (policy, value) in table {
        assert_eq!(value.parse::<ReferrerPolicy>().unwrap(), policy);
        assert_value(policy, name, value);
    }
    let newer = ReferrerPolicy::SAME_ORIGIN.or(ReferrerPolicy::ORIGIN);
    let both = ReferrerPolicy::UNSAFE_URL.or(newer);
    assert_value(both.clone(), name, "unsafe-url,same-origin,origin");
    assert_eq!("unsafe-url, same-origin,origin".parse::<ReferrerPolicy>().unwrap(), both);
}

#[test]
fn a_permissions_policy_is_a_structured_field() {
    let who = [Allow::SELF, "https://a.example".into(), "https://*.b.example:8443".into()];
    let policy = PermissionsPolicy::new()
        .deny([Feature::Camera, Feature::XrSpatialTracking])
        .allow(Feature::Fullscreen, [Allow::ANY])
        .allow(Feature::Geolocation, who)
        .allow(Feature::SyncXhr, [Allow::SELF])
        .allow(Feature::Usb, [])
        .deny([Feature::Custom("interest-cohort")]);
    let value = r#"camera=(), xr-spatial-tracking=(), fullscreen=*, geolocation=(self "https://a.example" "https://*.b.example:8443"), sync-xhr=(self), usb=(), interest-cohort=()"#;
    let layer = set(policy).unwrap();
    let [(name, found)] = &sent(&layer)[..] else { panic!("one field") };
    assert_eq!(name, PERMISSIONS);
    // A list of one may or may not be in parentheses; both mean the same.
    assert_eq!(found.replace("fullscreen=(*)", "fullscreen=*"), value);
}

#[test]
fn what_is_said_last_of_a_feature_counts() {
    let deny = PermissionsPolicy::new().deny([Feature::Camera, Feature::Usb]);
    let allow = deny.allow(Feature::Camera, [Allow::SELF]);
    assert_value(allow.clone(), PERMISSIONS, "camera=(self), usb=()");
    assert_value(allow.deny([Feature::Camera]), PERMISSIONS, "camera=(), usb=()");
}

#[test]
fn an_integrity_policy_names_what_it_blocks_and_where_it_reports() {
    let name = "integrity-policy";
    assert_value(IntegrityPolicy::SCRIPTS, name, "blocked-destinations=(script)");
    assert_value(IntegrityPolicy::STYLES, name, "blocked-destinations=(style)");
    assert_value(IntegrityPolicy::SCRIPTS_AND_STYLES, name, "blocked-destinations=(script style)");
    let both = IntegrityPolicy::SCRIPTS.report_to(&reports()).report_to(&backup()).report_only();
    let expected = [
        (
            "integrity-policy-report-only",
            "blocked-destinations=(script), endpoints=(reports backup)",
        ),
        (ENDPOINTS, r#"reports="https://reports.example.com/", backup="/reports""#),
    ];
    assert_sends(set(both), &expected);
}

#[test]
fn an_integrity_policy_names_an_endpoint_once() {
    let twice = IntegrityPolicy::SCRIPTS.report_to(&reports()).report_to(&reports());
    let value = "blocked-destinations=(script), endpoints=(reports)";
    assert_sends(set(twice), &[("integrity-policy", value), REPORTS]);
}

#[test]
fn clear_site_data_quotes_each_kind_and_all_stands_for_every_one() {
    let every = ClearSiteData::PRERENDER_CACHE
        .and(ClearSiteData::PREFETCH_CACHE)
        .and(ClearSiteData::CLIENT_HINTS)
        .and(ClearSiteData::EXECUTION_CONTEXTS)
        .and(ClearSiteData::STORAGE)
        .and(ClearSiteData::COOKIES)
        .and(ClearSiteData::CACHE);
    let all = r#""cache", "cookies", "storage", "executionContexts", "clientHints", "prefetchCache", "prerenderCache""#;
    let mut kinds: Vec<_> = all.split(", ").collect();
    kinds.sort_unstable();
    let value = HeaderValue::from(every);
    let mut found: Vec<_> = value.to_str().unwrap().split(", ").collect();
    found.sort_unstable();
    assert_eq!(found, kinds);
    assert_eq!(HeaderValue::from(ClearSiteData::CACHE.and(ClearSiteData::CACHE)), r#""cache""#);
    assert_eq!(HeaderValue::from(ClearSiteData::ALL), r#""*""#);
    assert_eq!(HeaderValue::from(ClearSiteData::COOKIES.and(ClearSiteData::ALL)), r#""*""#);
    assert_eq!(ClearSiteData::NAME, "clear-site-data");
}

#[test]
fn clear_site_data_is_no_setting_of_a_layer() {
    let layer = SecurityHeadersLayer::none().custom("Clear-Site-Data", r#""*""#);
    assert!(layer.is_err(), "{layer:?}");
    let presets = [
        SecurityHeadersLayer::new(),
        SecurityHeadersLayer::owasp(),
        SecurityHeadersLayer::api(),
        SecurityHeadersLayer::none(),
    ];
    for preset in presets {
        assert!(sent(&preset).iter().all(|(name, _)| name != "clear-site-data"));
    }
}

#[test]
fn fields_go_out_in_the_order_of_the_table_whatever_the_order_they_are_set_in() {
    let features = PermissionsPolicy::new().deny([Feature::Camera]);
    let layer = SecurityHeadersLayer::new()
        .custom("x-own", "1")
        .and_then(|layer| layer.set(features))
        .and_then(|layer| layer.set(IntegrityPolicy::SCRIPTS))
        .and_then(|layer| layer.set(CrossDomainPolicies::NONE))
        .and_then(|layer| layer.set(FrameOptions::DENY))
        .and_then(|layer| layer.set(DnsPrefetch::ON))
        .and_then(|layer| layer.set(Hsts::new(Duration::from_secs(1))))
        .and_then(|layer| layer.set(ReferrerPolicy::ORIGIN))
        .and_then(|layer| layer.set(OriginAgentCluster::OFF))
        .and_then(|layer| layer.set(Corp::SAME_SITE))
        .and_then(|layer| layer.set(Coop::SAME_ORIGIN))
        .and_then(|layer| layer.set(Coep::REQUIRE_CORP))
        .and_then(|layer| layer.set(backup()))
        .and_then(|layer| layer.set(own().report_only()))
        .and_then(|layer| layer.set(own()));
    let names: Vec<_> = sent(&layer.unwrap()).into_iter().map(|(name, _)| name).collect();
    let expected = [
        CSP,
        "content-security-policy-report-only",
        "cross-origin-embedder-policy",
        "cross-origin-opener-policy",
        "cross-origin-resource-policy",
        "origin-agent-cluster",
        "referrer-policy",
        "strict-transport-security",
        "x-content-type-options",
        "x-dns-prefetch-control",
        "x-download-options",
        "x-frame-options",
        "x-permitted-cross-domain-policies",
        "x-xss-protection",
        "integrity-policy",
        PERMISSIONS,
        ENDPOINTS,
        "x-own",
    ];
    assert_eq!(names, expected);
}

#[test]
fn the_presets_send_what_their_pages_say() {
    let owasp = [
        (
            CSP,
            "default-src 'self';form-action 'self';base-uri 'self';object-src 'none';frame-ancestors 'none';upgrade-insecure-requests",
        ),
        ("cross-origin-embedder-policy", "require-corp"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("referrer-policy", "no-referrer"),
        ("strict-transport-security", "max-age=63072000; includeSubDomains"),
        ("x-content-type-options", "nosniff"),
        ("x-dns-prefetch-control", "off"),
        ("x-frame-options", "DENY"),
        ("x-permitted-cross-domain-policies", "none"),
        (
            PERMISSIONS,
            "accelerometer=(), autoplay=(), camera=(), cross-origin-isolated=(), display-capture=(), encrypted-media=(), fullscreen=(), geolocation=(), gyroscope=(), keyboard-map=(), magnetometer=(), microphone=(), midi=(), payment=(), picture-in-picture=(), publickey-credentials-get=(), screen-wake-lock=(), sync-xhr=(self), usb=(), web-share=(), xr-spatial-tracking=(), clipboard-read=(), clipboard-write=(), gamepad=(), hid=(), idle-detection=(), interest-cohort=(), serial=(), unload=()",
        ),
        ("cache-control", "no-store, max-age=0"),
    ];
    assert_sends(Ok(SecurityHeadersLayer::owasp()), &owasp);
    let api = [
        (CSP, "default-src 'none';frame-ancestors 'none'"),
        ("cross-origin-resource-policy", "same-origin"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
    ];
    assert_sends(Ok(SecurityHeadersLayer::api()), &api);
    assert_sends(Ok(SecurityHeadersLayer::none()), &[]);
    assert_eq!(sent(&SecurityHeadersLayer::default()), sent(&SecurityHeadersLayer::new()));
}

#[test]
fn a_field_is_set_anew_and_removed() {
    let layer = SecurityHeadersLayer::api()
        .set(Corp::CROSS_ORIGIN)
        .and_then(|layer| layer.custom("Cache-Control", "no-cache"))
        .map(|layer| layer.remove(CONTENT_SECURITY_POLICY).remove(X_FRAME_OPTIONS));
    let expected = [
        ("cross-origin-resource-policy", "cross-origin"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-cache"),
    ];
    assert_sends(layer, &expected);
    let layer = set(own()).unwrap().remove(CONTENT_SECURITY_POLICY);
    assert_sends(
        layer.set(Hsts::new(Duration::from_secs(1))),
        &[("strict-transport-security", "max-age=1")],
    );
    let layer = set(Hsts::new(Duration::from_secs(1))).unwrap().remove(STRICT_TRANSPORT_SECURITY);
    assert_sends(Ok(layer), &[]);
}

// What is refused.

#[test]
fn preload_needs_all_subdomains_and_a_year() {
    let name = "strict-transport-security";
    let table = [
        (Hsts::new(Duration::from_secs(31_536_000)).preload(), "max-age=31536000; preload"),
        (
            Hsts::new(Duration::from_secs(31_535_999)).include_subdomains().preload(),
            "max-age=31535999; includeSubDomains; preload",
        ),
        (
            Hsts::new(Duration::from_secs(0)).preload().include_subdomains(),
            "max-age=0; includeSubDomains; preload",
        ),
    ];
    for (hsts, value) in table {
        assert_refused(set(hsts), name, None, value);
        assert_refused(Overrides::new().set(hsts), name, None, value);
    }
}

#[test]
fn text_that_is_no_value_of_a_field_is_refused() {
    for text in ["", "SAME_ORIGIN", "same-site", "require-corp", "same-origin\n", "caf\u{e9}"] {
        let refused = text.parse::<Coop>();
        assert_refused(refused, "cross-origin-opener-policy", None, text);
    }
    for text in ["", "same-origin", "credential-less", "require-corp, x"] {
        assert_refused(text.parse::<Coep>(), "cross-origin-embedder-policy", None, text);
    }
    for text in ["", "same origin", "unsafe-none", "*"] {
        assert_refused(text.parse::<Corp>(), "cross-origin-resource-policy", None, text);
    }
    for text in ["", "ALLOW-FROM https://a.example", "ALLOWALL", "DENY;", " DENY"] {
        assert_refused(text.parse::<FrameOptions>(), "x-frame-options", None, text);
    }
    for text in ["", "never", "master", "none, all"] {
        let refused = text.parse::<CrossDomainPolicies>();
        assert_refused(refused, "x-permitted-cross-domain-policies", None, text);
    }
    assert_eq!("noopener-allow-popups".parse::<Coop>().unwrap(), Coop::NOOPENER_ALLOW_POPUPS);
    assert_eq!("credentialless".parse::<Coep>().unwrap(), Coep::CREDENTIALLESS);
    assert_eq!("cross-origin".parse::<Corp>().unwrap(), Corp::CROSS_ORIGIN);
    for text in ["sameorigin", "SAMEORIGIN", "SameOrigin"] {
        assert_eq!(text.parse::<FrameOptions>().unwrap(), FrameOptions::SAMEORIGIN);
    }
    let parsed = "by-content-type".parse::<CrossDomainPolicies>().unwrap();
    assert_eq!(parsed, CrossDomainPolicies::BY_CONTENT_TYPE);
}

#[test]
fn a_referrer_policy_that_is_empty_unknown_or_there_twice_is_refused() {
    let name = "referrer-policy";
    let table = [
        ("", ""),
        (",", ""),
        ("origin,", ""),
        ("origin,,unsafe-url", ""),
        ("always", "always"),
        ("origin, never", "never"),
        ("origin unsafe-url", "origin unsafe-url"),
        ("origin;unsafe-url", "origin;unsafe-url"),
        ("origin,origin", "origin"),
        ("origin,unsafe-url,origin", "origin"),
    ];
    for (text, value) in table {
        assert_refused(text.parse::<ReferrerPolicy>().and_then(set), name, None, value);
    }
    let twice = ReferrerPolicy::ORIGIN.or(ReferrerPolicy::UNSAFE_URL).or(ReferrerPolicy::ORIGIN);
    assert_refused(set(twice), name, None, "origin");
}

#[test]
fn a_feature_has_a_name_that_no_typed_one_has() {
    for name in ["", "Camera", "camera", "a b", "a=()", "a,b", "1a", "caf\u{e9}", "a\n"] {
        let policy = PermissionsPolicy::new().deny([Feature::Custom(name)]);
        assert_refused(set(policy), PERMISSIONS, Some(name), name);
    }
    assert!(set(PermissionsPolicy::new()).is_err(), "a policy without features");
    assert!(set(PermissionsPolicy::new().deny([])).is_err(), "a policy without features");
}

#[test]
fn a_feature_is_left_to_origins_only() {
    for text in [
        "",
        "SELF",
        "'self'",
        "src",
        "none",
        "a.example",
        "https://",
        "https://a.example/path",
        "https://a.example?",
        "https://a.example https://b.example",
        "https://a.example,b",
        "https://a.example\")",
        "https://a.example\\",
        "https://caf\u{e9}.example",
        "https://a.example\r\n",
        "data:",
        "null",
    ] {
        let policy = PermissionsPolicy::new().allow(Feature::Usb, [text.into()]);
        assert_refused(set(policy), PERMISSIONS, Some("usb"), text);
    }
    let beside = PermissionsPolicy::new().allow(Feature::Usb, [Allow::SELF, Allow::ANY]);
    assert_refused(set(beside), PERMISSIONS, Some("usb"), "*");
    let twice = PermissionsPolicy::new().allow(Feature::Usb, [Allow::SELF, Allow::SELF]);
    assert_refused(set(twice), PERMISSIONS, Some("usb"), "self");
}

/// Whether the text is taken for `Allow::ANY` or refused: an error has it as it was given.
#[test]
fn a_star_of_text_is_anyone_or_is_refused_as_it_was_given() {
    let policy = PermissionsPolicy::new().allow(Feature::Usb, ["*".into()]);
    match set(policy) {
        Ok(layer) => assert_sends(Ok(layer), &[(PERMISSIONS, "usb=*")]),
        refused => assert_refused(refused, PERMISSIONS, Some("usb"), "*"),
    }
}

#[test]
fn a_custom_field_has_a_name_and_a_value_of_its_own() {
    let layer = SecurityHeadersLayer::none()
        .custom("X-Robots-Tag", "noindex, nofollow")
        .and_then(|layer| layer.custom("x-other", "a;b=\"c\""));
    let expected = [("x-robots-tag", "noindex, nofollow"), ("x-other", "a;b=\"c\"")];
    assert_sends(layer, &expected);
    let refused = |name, value| SecurityHeadersLayer::none().custom(name, value);
    for name in ["", "x y", "x:y", "x\n", "caf\u{e9}", "(x)"] {
        assert!(refused(name, "1").is_err(), "{name:?}");
    }
    for value in ["a\nb", "a\r\nset-cookie: b", "caf\u{e9}", "a\0", "\u{7f}"] {
        assert_refused(refused("x-own", value), "x-own", None, value);
    }
}

#[test]
fn a_custom_field_has_no_parts_and_is_not_the_servers() {
    let typed = [
        CSP,
        "content-security-policy-report-only",
        "cross-origin-embedder-policy",
        "cross-origin-embedder-policy-report-only",
        "cross-origin-opener-policy",
        "cross-origin-opener-policy-report-only",
        "cross-origin-resource-policy",
        "referrer-policy",
        "integrity-policy",
        "integrity-policy-report-only",
        PERMISSIONS,
        ENDPOINTS,
        "clear-site-data",
        "content-length",
        "transfer-encoding",
        "connection",
    ];
    for name in typed {
        let refused = SecurityHeadersLayer::none().custom(name, "1");
        assert_refused(refused, name, None, "1");
        assert!(SecurityHeadersLayer::none().custom(&name.to_uppercase(), "1").is_err(), "{name}");
    }
}

#[test]
fn the_fields_that_leak_are_none_that_a_layer_sends() {
    for preset in [SecurityHeadersLayer::new(), SecurityHeadersLayer::owasp()] {
        let names = sent(&preset);
        assert!(LEAKS.iter().all(|leak| names.iter().all(|(name, _)| *leak != **name)));
    }
    assert!(LEAKS.iter().any(|name| name == "server"));
    assert!(LEAKS.iter().any(|name| name == "x-powered-by"));
}
