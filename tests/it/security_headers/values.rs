//! The values of each type, and those that are refused. Policies for content have files of their own.

use std::time::Duration;

use http::HeaderValue;
use http::header::{CONTENT_SECURITY_POLICY, STRICT_TRANSPORT_SECURITY, X_FRAME_OPTIONS};
use tower_kit::SecurityHeadersLayer;
use tower_kit::security_headers::{
    Allowlist, ClearSiteData, Coep, Coop, Corp, CrossDomainPolicies, Directive, DnsPrefetch,
    FINGERPRINT_HEADERS, Feature, FrameOptions, Header, Hsts, IntegrityPolicy, InvalidHeader,
    OriginAgentCluster, Overrides, PermissionsPolicy, ReferrerPolicy,
};

use super::{
    CSP, ENDPOINTS, REPORTS, assert_refused, assert_sends, backup, own, reports, sent, set,
};

const PERMISSIONS: &str = "permissions-policy";

/// Asserts that the layer sends one header, with this name and this value.
#[track_caller]
fn assert_value(header: impl TryInto<Header, Error: Into<InvalidHeader>>, name: &str, value: &str) {
    assert_sends(set(header), &[(name, value)]);
}

#[test]
fn hsts_sends_its_options() {
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
fn simple_values_send_one_word() {
    let table: [(Header, &str, &str); 20] = [
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
        (Coop::SAME_ORIGIN.try_into().unwrap(), "cross-origin-opener-policy", "same-origin"),
        (
            Coop::SAME_ORIGIN_ALLOW_POPUPS.try_into().unwrap(),
            "cross-origin-opener-policy",
            "same-origin-allow-popups",
        ),
        (
            Coop::NOOPENER_ALLOW_POPUPS.try_into().unwrap(),
            "cross-origin-opener-policy",
            "noopener-allow-popups",
        ),
        (Coop::UNSAFE_NONE.try_into().unwrap(), "cross-origin-opener-policy", "unsafe-none"),
        (Coep::REQUIRE_CORP.try_into().unwrap(), "cross-origin-embedder-policy", "require-corp"),
        (
            Coep::CREDENTIALLESS.try_into().unwrap(),
            "cross-origin-embedder-policy",
            "credentialless",
        ),
        (Coep::UNSAFE_NONE.try_into().unwrap(), "cross-origin-embedder-policy", "unsafe-none"),
    ];
    for (field, name, value) in table {
        assert_value(field, name, value);
    }
}

#[test]
fn opener_and_embedder_policies_report() {
    let table: [(Header, &str, &str); 4] = [
        (
            Coop::SAME_ORIGIN.report_to(&reports()).try_into().unwrap(),
            "cross-origin-opener-policy",
            r#"same-origin; report-to="reports""#,
        ),
        (
            Coop::SAME_ORIGIN.report_only().report_to(&reports()).try_into().unwrap(),
            "cross-origin-opener-policy-report-only",
            r#"same-origin; report-to="reports""#,
        ),
        (
            Coep::REQUIRE_CORP.report_to(&reports()).try_into().unwrap(),
            "cross-origin-embedder-policy",
            r#"require-corp; report-to="reports""#,
        ),
        (
            Coep::CREDENTIALLESS.report_to(&reports()).report_only().try_into().unwrap(),
            "cross-origin-embedder-policy-report-only",
            r#"credentialless; report-to="reports""#,
        ),
    ];
    for (field, name, value) in table {
        assert_sends(set(field), &[(name, value), REPORTS]);
    }
}

#[test]
fn report_only_stands_beside_the_blocking_policy() {
    let layer = set(Coop::UNSAFE_NONE)
        .and_then(|layer| layer.set(Coop::SAME_ORIGIN.report_only()))
        .and_then(|layer| layer.set(IntegrityPolicy::STYLES.report_to(&reports()).report_only()))
        .and_then(|layer| layer.set(IntegrityPolicy::SCRIPTS))
        .and_then(|layer| layer.set(Coep::UNSAFE_NONE))
        .and_then(|layer| layer.set(Coep::REQUIRE_CORP.report_only()))
        .and_then(|layer| layer.set(own().set(Directive::IMG_SRC, ["*"]).report_only()))
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
fn referrer_policies_are_joined_in_order() {
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
    let origins = Allowlist::SELF.origin("https://a.example").unwrap();
    let origins = origins.origin("https://*.b.example:8443").unwrap();
    let policy = PermissionsPolicy::new()
        .deny([Feature::CAMERA, Feature::XR_SPATIAL_TRACKING])
        .allow(Feature::FULLSCREEN, Allowlist::ANY)
        .allow(Feature::GEOLOCATION, origins)
        .allow(Feature::SYNC_XHR, Allowlist::SELF)
        .allow(Feature::USB, Allowlist::NONE)
        .deny([Feature::custom("interest-cohort").unwrap()]);
    let value = r#"camera=(), xr-spatial-tracking=(), fullscreen=*, geolocation=(self "https://a.example" "https://*.b.example:8443"), sync-xhr=(self), usb=(), interest-cohort=()"#;
    assert_value(policy, PERMISSIONS, value);
}

#[test]
fn the_last_call_for_a_feature_counts() {
    let deny = PermissionsPolicy::new().deny([Feature::CAMERA, Feature::USB]);
    let allow = deny.allow(Feature::CAMERA, Allowlist::SELF);
    assert_value(allow.clone(), PERMISSIONS, "camera=(self), usb=()");
    assert_value(allow.deny([Feature::CAMERA]), PERMISSIONS, "camera=(), usb=()");
}

#[test]
fn integrity_policies_list_destinations() {
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
fn clear_site_data_quotes_each_kind() {
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
fn layers_refuse_clear_site_data() {
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
fn headers_have_the_order_of_the_table() {
    let features = PermissionsPolicy::new().deny([Feature::CAMERA]);
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
fn presets_send_their_documented_headers() {
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
fn headers_are_replaced_and_removed() {
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
fn unknown_values_are_refused() {
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
fn wrong_referrer_policies_are_refused() {
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
fn features_need_a_valid_name() {
    for name in ["", "Camera", "a b", "a=()", "a,b", "1a", "caf\u{e9}", "a\n"] {
        assert_refused(Feature::custom(name), PERMISSIONS, Some(name), name);
    }
    assert_eq!(Feature::custom("camera").unwrap(), Feature::CAMERA);
    assert!(set(PermissionsPolicy::new()).is_err(), "a policy without features");
    assert!(set(PermissionsPolicy::new().deny([])).is_err(), "a policy without features");
}

#[test]
fn allowlists_have_origins_only() {
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
        "*",
    ] {
        assert_refused(Allowlist::NONE.origin(text), PERMISSIONS, None, text);
    }
    let origin = "https://a.example";
    let beside = Allowlist::ANY.origin(origin);
    assert_refused(beside, PERMISSIONS, None, "*");
    let twice = Allowlist::SELF.origin(origin).and_then(|list| list.origin(origin));
    assert_refused(twice, PERMISSIONS, None, "\"https://a.example\"");
    assert_refused(Allowlist::SELF.custom("self"), PERMISSIONS, None, "self");
}

#[test]
fn custom_headers_are_checked() {
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
fn typed_and_framing_headers_are_not_custom() {
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
fn presets_send_no_fingerprint_headers() {
    for preset in [SecurityHeadersLayer::new(), SecurityHeadersLayer::owasp()] {
        let names = sent(&preset);
        assert!(
            FINGERPRINT_HEADERS.iter().all(|leak| names.iter().all(|(name, _)| *leak != **name))
        );
    }
    assert!(FINGERPRINT_HEADERS.iter().any(|name| name == "server"));
    assert!(FINGERPRINT_HEADERS.iter().any(|name| name == "x-powered-by"));
}
