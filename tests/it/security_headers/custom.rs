//! Values that the crate does not know: each typed header sends them, and none of them ends its place.

use http::HeaderValue;
use proptest::prelude::*;
use tower_kit::SecurityHeadersLayer;
use tower_kit::security_headers::Directive::*;
use tower_kit::security_headers::{
    Allow, ClearSiteData, Coep, Coop, Corp, Csp, Endpoint, Feature, Field, IntegrityPolicy,
    InvalidField, Nonce, PermissionsPolicy, ReferrerPolicy, Source,
};

use crate::security_headers_values::{ENDPOINTS, REPORTS, assert_sends, reports, sent, set};

const CSP: &str = "content-security-policy";

/// What could end a word, a directive, a list, a string, a line, or mean a nonce.
const INJECTIONS: [&str; 18] = [
    "",
    " ",
    "a b",
    "a\tb",
    "a;b",
    "a,b",
    "a\rb",
    "a\nb",
    "a\r\nx-evil: 1",
    "a\0b",
    "a\u{7f}",
    "caf\u{e9}",
    "a\u{2028}b",
    "'nonce'",
    "'NONCE'",
    "'nonce-AAAA'",
    "'Nonce-AAAA'",
    "'nonce-'",
];

fn policy(word: &str) -> Csp {
    Csp::new().set(DefaultSrc, ["'self'"]).set(ScriptSrc, [Source::custom(word)])
}

#[track_caller]
fn assert_refused(layer: Result<SecurityHeadersLayer, InvalidField>, field: &str, value: &str) {
    let error = layer.unwrap_err();
    assert_eq!((error.field(), error.value()), (field, value), "{error}");
}

#[test]
fn hashes_of_addresses_and_of_eval_are_known() {
    let digest = |length, padding| "A".repeat(length) + padding;
    for algorithm in
        [("sha256", digest(43, "=")), ("sha384", digest(64, "")), ("sha512", digest(86, "=="))]
    {
        let (name, digest) = algorithm;
        for prefix in ["", "url-", "eval-"] {
            let word = format!("'{prefix}{name}-{digest}'");
            let value = format!("default-src 'self';script-src {word}");
            let policy = Csp::new().set(DefaultSrc, ["'self'"]).set(ScriptSrc, [word.clone()]);
            assert_sends(set(policy), &[(CSP, &value)]);
            assert_sends(set(value.parse::<Csp>().unwrap()), &[(CSP, &value)]);
            // Typing errors in what is known are found.
            for wrong in [
                format!("{prefix}{name}-{digest}"),
                format!("'{prefix}{name}-{digest}"),
                format!("'{prefix}{name}-{}'", &digest[1..]),
                format!("'{prefix}{name}-A{digest}'"),
                format!("'{prefix}md5-{digest}'"),
                format!("'x-{name}-{digest}'"),
            ] {
                let policy = Csp::new().set(DefaultSrc, ["'self'"]).set(ScriptSrc, [wrong.clone()]);
                assert_refused(set(policy), CSP, &wrong);
            }
        }
    }
}

#[test]
fn strict_dynamic_url_is_known() {
    let value = "default-src 'self';script-src 'strict-dynamic-url'";
    assert_sends(set(value.parse::<Csp>().unwrap()), &[(CSP, value)]);
    let upper = Csp::new().set(DefaultSrc, ["'self'"]).set(ScriptSrc, ["'Strict-Dynamic-URL'"]);
    assert_sends(set(upper), &[(CSP, value)]);
}

#[test]
fn a_word_that_is_unknown_is_sent_in_any_directive() {
    let new = || [Source::custom("'new-keyword'"), Source::custom("new:thing#1")];
    for directive in [ScriptSrc, ImgSrc, FrameAncestors, Sandbox, TrustedTypes, ReportUri, Webrtc] {
        let policy = Csp::new().set(DefaultSrc, ["'self'"]).set(directive, new());
        let value = format!("default-src 'self';{directive} 'new-keyword' new:thing#1");
        assert_sends(set(policy), &[(CSP, &value)]);
        // As text they are refused.
        let text = Csp::new().set(DefaultSrc, ["'self'"]).set(directive, ["'new-keyword'"]);
        if directive != ReportUri {
            assert_refused(set(text), CSP, "'new-keyword'");
        }
    }
    let policy = Csp::new().set(DefaultSrc, ["'self'"]).set(Custom("new-src"), new());
    assert_sends(set(policy), &[(CSP, "default-src 'self';new-src 'new-keyword' new:thing#1")]);
    let known =
        Csp::new().set(DefaultSrc, ["'self'"]).set(Sandbox, [Source::custom("allow-forms")]);
    assert_sends(set(known), &[(CSP, "default-src 'self';sandbox allow-forms")]);
}

#[test]
fn the_rules_of_a_directive_hold_for_custom_words() {
    let with = |words: Vec<Source>| set(Csp::new().set(DefaultSrc, words));
    let new = || Source::custom("'new'");
    assert_refused(with(vec![new(), new()]), CSP, "'new'");
    assert_refused(with(vec![Source::NONE, new()]), CSP, "'none' 'new'");
    assert_refused(with(vec![Source::custom("'NONE'"), new()]), CSP, "'none' 'new'");
    let flag = Csp::new().set(DefaultSrc, [new()]).set(UpgradeInsecureRequests, [new()]);
    assert_refused(set(flag), CSP, "'new'");
    let endpoint = Csp::new().set(DefaultSrc, [new()]).set(ReportTo, [Source::custom("nobody")]);
    assert_refused(set(endpoint), CSP, "nobody");
}

#[test]
fn a_custom_unsafe_inline_leaves_with_the_nonce() {
    let words = [Source::NONCE, Source::custom("'UNSAFE-INLINE'"), Source::custom("'new'")];
    let layer = set(Csp::new().set(DefaultSrc, words)).unwrap();
    assert_eq!(sent(&layer), [(CSP.to_owned(), "default-src 'new'".to_owned())]);
}

#[test]
fn a_custom_word_ends_nothing() {
    for text in INJECTIONS {
        assert_refused(set(policy(text)), CSP, &text.replace("'NONCE'", "'nonce'"));
        let custom = Csp::new().set(DefaultSrc, ["'self'"]);
        let custom = custom.set(Custom("new-src"), [Source::custom(text)]);
        assert!(set(custom).is_err(), "{text:?}");
    }
    for name in ["", "a b", "a;b", "a,b", "a\nb", "A", "a=b", "caf\u{e9}", "script-src"] {
        let custom = Csp::new().set(DefaultSrc, ["'self'"]).set(Custom(name), ["x"]);
        assert!(set(custom).is_err(), "{name:?}");
    }
    // Nor does text in a directive that is not known: a nonce would be the same each time.
    for text in ["'nonce-AAAA'", "'Nonce-AAAA'"] {
        let custom = Csp::new().set(DefaultSrc, ["'self'"]).set(Custom("new-src"), [text]);
        assert_refused(set(custom), CSP, text);
    }
}

#[test]
fn tokens_that_are_unknown_are_sent() {
    let cases: Vec<(Field, &str, &str)> = vec![
        (Coop::custom("new-value").into(), "cross-origin-opener-policy", "new-value"),
        (Coep::custom("new-value").into(), "cross-origin-embedder-policy", "new-value"),
        (
            Coep::custom("new-value").report_only().into(),
            "cross-origin-embedder-policy-report-only",
            "new-value",
        ),
        (Corp::custom("new-value").into(), "cross-origin-resource-policy", "new-value"),
        (
            ReferrerPolicy::ORIGIN.or(ReferrerPolicy::custom("new-value")).into(),
            "referrer-policy",
            "origin,new-value",
        ),
        (
            IntegrityPolicy::custom("script worker").into(),
            "integrity-policy",
            "blocked-destinations=(script worker)",
        ),
    ];
    for (field, name, value) in cases {
        assert_sends(set(field), &[(name, value)]);
    }
    let coop = Coop::custom("new-value").report_to(&reports());
    let value = "new-value; report-to=\"reports\"";
    assert_sends(set(coop), &[("cross-origin-opener-policy", value), REPORTS]);
}

#[test]
fn a_custom_token_ends_nothing() {
    for text in INJECTIONS.into_iter().chain(["1a", "\"a\"", "(a)", "a=b", "'a'"]) {
        let cases: [(Field, &str); 5] = [
            (Coop::custom(text).into(), "cross-origin-opener-policy"),
            (Coep::custom(text).report_to(&reports()).into(), "cross-origin-embedder-policy"),
            (Corp::custom(text).into(), "cross-origin-resource-policy"),
            (ReferrerPolicy::custom(text).into(), "referrer-policy"),
            (ReferrerPolicy::ORIGIN.or(ReferrerPolicy::custom(text)).into(), "referrer-policy"),
        ];
        for (field, name) in cases {
            assert_refused(set(field), name, text);
        }
        // Here a space separates two destinations.
        if text != "a b" {
            assert!(set(IntegrityPolicy::custom(text)).is_err(), "{text:?}");
        }
    }
}

#[test]
fn members_of_a_permissions_policy_that_are_unknown_are_sent() {
    let new = Feature::Custom("new-feature");
    let policy = PermissionsPolicy::new()
        .allow(new, [Allow::SELF, Allow::custom("src"), Allow::custom("\"wss://a.example\"")]);
    let value = "new-feature=(self src \"wss://a.example\")";
    assert_sends(set(policy), &[("permissions-policy", value)]);
    let any = PermissionsPolicy::new().allow(new, [Allow::custom("*")]);
    assert_sends(set(any), &[("permissions-policy", "new-feature=*")]);
    let more = PermissionsPolicy::new().allow(new, [Allow::custom("*"), Allow::SELF]);
    assert_refused(set(more), "permissions-policy", "*");
    for text in
        INJECTIONS.into_iter().chain(["\"", "\"a", "a\"", "\"a\"b\"", "\"a\\\"", "(a)", "\"\n\""])
    {
        let policy = PermissionsPolicy::new().allow(new, [Allow::custom(text)]);
        assert_refused(set(policy), "permissions-policy", text);
    }
}

#[test]
fn a_feature_reports_to_an_endpoint() {
    let policy = PermissionsPolicy::new()
        .deny([Feature::Camera, Feature::Microphone])
        .allow(Feature::Geolocation, [Allow::SELF])
        .allow(Feature::Fullscreen, [Allow::ANY])
        .report_to(Feature::Camera, &Endpoint::new("old", "/old"))
        .report_to(Feature::Camera, &reports())
        .report_to(Feature::Geolocation, &reports())
        .report_to(Feature::Fullscreen, &reports());
    let value = "camera=();report-to=reports, microphone=(), geolocation=(self);report-to=reports, \
                 fullscreen=*;report-to=reports";
    assert_sends(set(policy), &[("permissions-policy", value), REPORTS]);
    let nothing =
        PermissionsPolicy::new().deny([Feature::Microphone]).report_to(Feature::Camera, &reports());
    assert_refused(set(nothing), "permissions-policy", "camera");
    for name in ["", "Upper", "a b", "a;b", "a\"b"] {
        let policy = PermissionsPolicy::new()
            .deny([Feature::Camera])
            .report_to(Feature::Camera, &Endpoint::new(name, "/reports"));
        assert_refused(set(policy), ENDPOINTS, name);
    }
}

#[test]
fn an_endpoint_may_have_any_address() {
    let local = Endpoint::custom("local", "http://localhost:3000/reports#x");
    let value = r#"local="http://localhost:3000/reports#x""#;
    assert_sends(set(&local), &[(ENDPOINTS, value)]);
    assert!(set(Endpoint::new("local", "http://localhost:3000/reports")).is_err());
    for url in ["", "a b", "a\"b", "a\\b", "a\nb", "a\r\nx: 1", "caf\u{e9}", "\0"] {
        assert_refused(set(Endpoint::custom("local", url)), ENDPOINTS, url);
    }
    // The same address is the same endpoint, however it was made.
    let one = Endpoint::new("reports", "/reports");
    let layer = set(&one)
        .unwrap()
        .set(Coop::SAME_ORIGIN.report_to(&Endpoint::custom("reports", "/reports")));
    let coop = ("cross-origin-opener-policy", "same-origin; report-to=\"reports\"");
    assert_sends(layer, &[coop, (ENDPOINTS, r#"reports="/reports""#)]);
}

#[test]
fn a_type_of_site_data_that_is_unknown_is_sent() {
    let new = || ClearSiteData::custom("newThings").unwrap();
    let both = ClearSiteData::COOKIES.and(new()).and(ClearSiteData::CACHE).and(new());
    assert_eq!(HeaderValue::from(both), r#""cache", "cookies", "newThings""#);
    assert_eq!(HeaderValue::from(new().and(ClearSiteData::ALL)), r#""*""#);
    assert_eq!(HeaderValue::from(new()), r#""newThings""#);
    for name in ["", "a b", "a,b", "a;b", "a\"b", "a\\b", "a\nb", "caf\u{e9}", "\u{7f}"] {
        let error = ClearSiteData::custom(name).unwrap_err();
        assert_eq!((error.field(), error.value()), ("clear-site-data", name));
    }
}

#[test]
fn headers_without_parts_send_any_value() {
    for (name, value) in [
        ("strict-transport-security", "max-age=60; newDirective"),
        ("x-frame-options", "ALLOW-FROM https://a.example/"),
        ("x-xss-protection", "1; mode=block"),
        ("x-permitted-cross-domain-policies", "none-this-response"),
        ("origin-agent-cluster", "?1;new"),
        ("x-content-type-options", "new"),
        ("x-dns-prefetch-control", "new"),
        ("x-download-options", "new"),
    ] {
        assert_sends(SecurityHeadersLayer::none().custom(name, value), &[(name, value)]);
        // In the place of the preset's, and by its conditions.
        let layer = SecurityHeadersLayer::new().custom(name, value).unwrap();
        let same: Vec<_> = sent(&layer).into_iter().filter(|(other, _)| other == name).collect();
        assert_eq!(same, [(name.to_owned(), value.to_owned())]);
        for value in ["a\nb", "a\r\nx: 1", "\0", "caf\u{e9}", "", " a"] {
            assert!(SecurityHeadersLayer::none().custom(name, value).is_err(), "{value:?}");
        }
    }
    let hsts = SecurityHeadersLayer::none().custom("strict-transport-security", "max-age=60; new");
    assert!(sent(&hsts.unwrap().https_only(|_| false)).is_empty());
}

proptest! {
    /// Whatever the word is: what is sent has it, as one word of one directive, or it is refused.
    #[test]
    fn a_custom_word_stays_one_word(word in "\\PC{0,12}|[ -~\\t\\r\\n]{0,12}|'?[nN]once[-'a-z]{0,4}") {
        if let Ok(layer) = set(policy(&word)) {
            let fields = sent(&layer);
            prop_assert_eq!(fields.len(), 1);
            let directives: Vec<_> = fields[0].1.split(';').collect();
            prop_assert_eq!(directives.len(), 2);
            let words: Vec<_> = directives[1].split(' ').collect();
            prop_assert_eq!(words.len(), 2);
            prop_assert_eq!(words[1].to_ascii_lowercase(), word.to_ascii_lowercase());
            prop_assert!(!fields[0].1.contains(',') && !fields[0].1.to_lowercase().contains("'nonce"));
        }
    }

    #[test]
    fn a_custom_member_stays_one_member(text in "[ -~\\t\\n]{0,8}|\"[ -~]{0,8}\"") {
        let allow = [Allow::custom(text.as_str())];
        let policy = PermissionsPolicy::new().allow(Feature::Camera, allow);
        if let Ok(layer) = set(policy) {
            let value = &sent(&layer)[0].1;
            let inside = value.strip_prefix("camera=(").and_then(|rest| rest.strip_suffix(')'));
            prop_assert!(value == "camera=*" || inside == Some(&text));
            // Nothing but the text in quotes has what means something there.
            let quoted = text.starts_with('"') && text[1..].find('"') == Some(text.len() - 2);
            prop_assert!(quoted || !text.contains([' ', '(', ')', ';', ',', '=', '"']));
        }
    }
}

/// No placeholder for a nonce comes of a custom word: nothing is drawn for it.
#[test]
fn a_custom_word_asks_for_no_nonce() {
    use std::convert::Infallible;

    use http::{Request, Response};
    use tower::{Layer, ServiceExt, service_fn};

    let layer = set(policy("'noncense'")).err().map(|error| error.to_string());
    assert!(layer.is_some_and(|error| error.contains("Source::NONCE")));
    let layer = set(policy("nonce")).unwrap();
    let service = layer.layer(service_fn(|request: Request<()>| {
        let has_nonce = request.extensions().get::<Nonce>().is_some();
        std::future::ready(Ok::<_, Infallible>(Response::new(has_nonce)))
    }));
    let response = crate::support::now(service.oneshot(Request::new(()))).unwrap();
    assert!(!response.into_body());
}
