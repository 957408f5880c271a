//! Values that the crate does not know: each typed header sends them, and no value ends its place.

use std::fmt::Debug;

use http::HeaderValue;
use proptest::prelude::*;
use tower_kit::SecurityHeadersLayer;
use tower_kit::security_headers::{
    Allowlist, ClearSiteData, Coep, Coop, Corp, Csp, Directive, Endpoint, Feature, IntegrityPolicy,
    InvalidHeader, Nonce, PermissionsPolicy, ReferrerPolicy, Source,
};

use super::{CSP, ENDPOINTS, REPORTS, assert_sends, reports, sent, set};

/// Texts that end a word, a directive, a list, a string or a line, or name a nonce.
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

fn own() -> Csp {
    Csp::new().set(Directive::DEFAULT_SRC, ["'self'"])
}

fn custom(word: &str) -> Source {
    Source::custom(word).unwrap()
}

#[track_caller]
fn assert_refused<T: Debug>(given: Result<T, InvalidHeader>, header: &str, value: &str) {
    let error = given.unwrap_err();
    assert_eq!((error.header(), error.value()), (header, value), "{error}");
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
            let policy = own().set(Directive::SCRIPT_SRC, [word.clone()]);
            assert_sends(set(policy), &[(CSP, &value)]);
            assert_sends(set(value.parse::<Csp>().unwrap()), &[(CSP, &value)]);
            // The crate finds typing errors in known words.
            for wrong in [
                format!("{prefix}{name}-{digest}"),
                format!("'{prefix}{name}-{digest}"),
                format!("'{prefix}{name}-{}'", &digest[1..]),
                format!("'{prefix}{name}-A{digest}'"),
                format!("'{prefix}md5-{digest}'"),
                format!("'x-{name}-{digest}'"),
            ] {
                let policy = own().set(Directive::SCRIPT_SRC, [wrong.clone()]);
                assert_refused(set(policy), CSP, &wrong);
            }
        }
    }
}

#[test]
fn strict_dynamic_url_is_known() {
    let value = "default-src 'self';script-src 'strict-dynamic-url'";
    assert_sends(set(value.parse::<Csp>().unwrap()), &[(CSP, value)]);
    let upper = own().set(Directive::SCRIPT_SRC, ["'Strict-Dynamic-URL'"]);
    assert_sends(set(upper), &[(CSP, value)]);
}

#[test]
fn custom_words_are_sent_in_any_directive() {
    let new = || [custom("'new-keyword'"), custom("new:thing#1")];
    for directive in [
        Directive::SCRIPT_SRC,
        Directive::IMG_SRC,
        Directive::FRAME_ANCESTORS,
        Directive::SANDBOX,
        Directive::TRUSTED_TYPES,
        Directive::REPORT_URI,
        Directive::WEBRTC,
    ] {
        let policy = own().set(directive, new());
        let value = format!("default-src 'self';{directive} 'new-keyword' new:thing#1");
        assert_sends(set(policy), &[(CSP, &value)]);
        // Plain texts are refused.
        let text = own().set(directive, ["'new-keyword'"]);
        if directive != Directive::REPORT_URI {
            assert_refused(set(text), CSP, "'new-keyword'");
        }
    }
    let policy = own().set(Directive::custom("new-src").unwrap(), new());
    assert_sends(set(policy), &[(CSP, "default-src 'self';new-src 'new-keyword' new:thing#1")]);
    let known = own().set(Directive::SANDBOX, [custom("allow-forms")]);
    assert_sends(set(known), &[(CSP, "default-src 'self';sandbox allow-forms")]);
}

#[test]
fn rules_of_directives_hold_for_custom_words() {
    let with = |words: Vec<Source>| set(Csp::new().set(Directive::DEFAULT_SRC, words));
    let new = || custom("'new'");
    assert_refused(with(vec![new(), new()]), CSP, "'new'");
    assert_refused(with(vec![Source::NONE, new()]), CSP, "'none' 'new'");
    assert_refused(with(vec![custom("'NONE'"), new()]), CSP, "'none' 'new'");
    let flag = Csp::new()
        .set(Directive::DEFAULT_SRC, [new()])
        .set(Directive::UPGRADE_INSECURE_REQUESTS, [new()]);
    assert_refused(set(flag), CSP, "'new'");
    let endpoint = Csp::new()
        .set(Directive::DEFAULT_SRC, [new()])
        .set(Directive::REPORT_TO, [custom("nobody")]);
    assert_refused(set(endpoint), CSP, "nobody");
}

#[test]
fn a_custom_unsafe_inline_leaves_with_the_nonce() {
    let words = [Source::NONCE, custom("'UNSAFE-INLINE'"), custom("'new'")];
    let layer = set(Csp::new().set(Directive::DEFAULT_SRC, words)).unwrap();
    assert_eq!(sent(&layer), [(CSP.to_owned(), "default-src 'new'".to_owned())]);
}

#[test]
fn a_custom_word_ends_nothing() {
    for text in INJECTIONS {
        assert_refused(Source::custom(text), CSP, text);
    }
    for name in ["", "a b", "a;b", "a,b", "a\nb", "A", "a=b", "caf\u{e9}"] {
        assert_refused(Directive::custom(name), CSP, name);
    }
    // A nonce in a text would be the same each time.
    for text in ["'nonce-AAAA'", "'Nonce-AAAA'"] {
        let custom = own().set(Directive::custom("new-src").unwrap(), [text]);
        assert_refused(set(custom), CSP, text);
    }
}

#[test]
fn custom_tokens_are_sent() {
    let coop = || Coop::custom("new-value").unwrap();
    assert_sends(set(coop()), &[("cross-origin-opener-policy", "new-value")]);
    let value = "new-value; report-to=\"reports\"";
    let reporting = set(coop().report_to(&reports()));
    assert_sends(reporting, &[("cross-origin-opener-policy", value), REPORTS]);
    let coep = || Coep::custom("new-value").unwrap();
    assert_sends(set(coep()), &[("cross-origin-embedder-policy", "new-value")]);
    let name = "cross-origin-embedder-policy-report-only";
    assert_sends(set(coep().report_only()), &[(name, "new-value")]);
    let corp = Corp::custom("new-value").unwrap();
    assert_sends(set(corp), &[("cross-origin-resource-policy", "new-value")]);
    let referrer = ReferrerPolicy::ORIGIN.or(ReferrerPolicy::custom("new-value").unwrap());
    assert_sends(set(referrer), &[("referrer-policy", "origin,new-value")]);
    let integrity = IntegrityPolicy::custom("script worker").unwrap();
    let value = "blocked-destinations=(script worker)";
    assert_sends(set(integrity), &[("integrity-policy", value)]);
}

#[test]
fn a_custom_token_ends_nothing() {
    for text in INJECTIONS.into_iter().chain(["1a", "\"a\"", "(a)", "a=b", "'a'"]) {
        assert_refused(Coop::custom(text), "cross-origin-opener-policy", text);
        assert_refused(Coep::custom(text), "cross-origin-embedder-policy", text);
        assert_refused(Corp::custom(text), "cross-origin-resource-policy", text);
        assert_refused(ReferrerPolicy::custom(text), "referrer-policy", text);
        // A space separates two destinations.
        assert_eq!(IntegrityPolicy::custom(text).is_ok(), text == "a b", "{text:?}");
    }
}

#[test]
fn custom_allowlist_members_are_sent() {
    let new = Feature::custom("new-feature").unwrap();
    let members = Allowlist::SELF.custom("src").unwrap().custom("\"wss://a.example\"").unwrap();
    let policy = PermissionsPolicy::new().allow(new, members);
    let value = "new-feature=(self src \"wss://a.example\")";
    assert_sends(set(policy), &[("permissions-policy", value)]);
    let any = PermissionsPolicy::new().allow(new, Allowlist::NONE.custom("*").unwrap());
    assert_sends(set(any), &[("permissions-policy", "new-feature=*")]);
    assert_refused(Allowlist::SELF.custom("*"), "permissions-policy", "*");
    assert_refused(Allowlist::ANY.custom("self"), "permissions-policy", "*");
    for text in
        INJECTIONS.into_iter().chain(["\"", "\"a", "a\"", "\"a\"b\"", "\"a\\\"", "(a)", "\"\n\""])
    {
        assert_refused(Allowlist::NONE.custom(text), "permissions-policy", text);
    }
}

#[test]
fn a_feature_reports_to_an_endpoint() {
    let policy = PermissionsPolicy::new()
        .deny([Feature::CAMERA, Feature::MICROPHONE])
        .allow(Feature::GEOLOCATION, Allowlist::SELF)
        .allow(Feature::FULLSCREEN, Allowlist::ANY)
        .report_to(Feature::CAMERA, &Endpoint::new("old", "/old").unwrap())
        .report_to(Feature::CAMERA, &reports())
        .report_to(Feature::GEOLOCATION, &reports())
        .report_to(Feature::FULLSCREEN, &reports());
    let value = "camera=();report-to=reports, microphone=(), geolocation=(self);report-to=reports, \
                 fullscreen=*;report-to=reports";
    assert_sends(set(policy), &[("permissions-policy", value), REPORTS]);
    let nothing =
        PermissionsPolicy::new().deny([Feature::MICROPHONE]).report_to(Feature::CAMERA, &reports());
    assert_refused(set(nothing), "permissions-policy", "camera");
    for name in ["", "Upper", "a b", "a;b", "a\"b"] {
        assert_refused(Endpoint::new(name, "/reports"), ENDPOINTS, name);
    }
}

#[test]
fn an_endpoint_may_have_any_address() {
    let local = Endpoint::custom("local", "http://localhost:3000/reports#x").unwrap();
    let value = r#"local="http://localhost:3000/reports#x""#;
    assert_sends(set(&local), &[(ENDPOINTS, value)]);
    assert!(Endpoint::new("local", "http://localhost:3000/reports").is_err());
    for url in ["", "a b", "a\"b", "a\\b", "a\nb", "a\r\nx: 1", "caf\u{e9}", "\0"] {
        assert_refused(Endpoint::custom("local", url), ENDPOINTS, url);
    }
    // Endpoints of the same name and URL are the same.
    let [one, two] =
        [Endpoint::new, Endpoint::custom].map(|new| new("reports", "/reports").unwrap());
    let layer = set(&one).unwrap().set(Coop::SAME_ORIGIN.report_to(&two));
    let coop = ("cross-origin-opener-policy", "same-origin; report-to=\"reports\"");
    assert_sends(layer, &[coop, (ENDPOINTS, r#"reports="/reports""#)]);
}

#[test]
fn custom_kinds_of_site_data_are_sent() {
    let new = || ClearSiteData::custom("newThings").unwrap();
    let both = ClearSiteData::COOKIES.and(new()).and(ClearSiteData::CACHE).and(new());
    assert_eq!(HeaderValue::from(both), r#""cache", "cookies", "newThings""#);
    assert_eq!(HeaderValue::from(new().and(ClearSiteData::ALL)), r#""*""#);
    assert_eq!(HeaderValue::from(new()), r#""newThings""#);
    for name in ["", "a b", "a,b", "a;b", "a\"b", "a\\b", "a\nb", "caf\u{e9}", "\u{7f}"] {
        let error = ClearSiteData::custom(name).unwrap_err();
        assert_eq!((error.header(), error.value()), ("clear-site-data", name));
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
        // The custom value replaces that of the preset.
        let layer = SecurityHeadersLayer::new().custom(name, value).unwrap();
        let same: Vec<_> = sent(&layer).into_iter().filter(|(other, _)| other == name).collect();
        assert_eq!(same, [(name.to_owned(), value.to_owned())]);
        for value in ["a\nb", "a\r\nx: 1", "\0", "caf\u{e9}", "", " a"] {
            assert!(SecurityHeadersLayer::none().custom(name, value).is_err(), "{value:?}");
        }
    }
    let hsts = SecurityHeadersLayer::none().custom("strict-transport-security", "max-age=60; new");
    assert!(sent(&hsts.unwrap().https_if(|_| false)).is_empty());
}

proptest! {
    /// A custom word is refused, or is sent as one word of one directive.
    #[test]
    fn a_custom_word_stays_one_word(word in "\\PC{0,12}|[ -~\\t\\r\\n]{0,12}|'?[nN]once[-'a-z]{0,4}") {
        if let Ok(source) = Source::custom(word.as_str()) {
            let layer = set(own().set(Directive::SCRIPT_SRC, [source]));
            // A known keyword may be wrong in this place.
            let Ok(layer) = layer else { return Ok(()) };
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
        if let Ok(list) = Allowlist::NONE.custom(text.as_str()) {
            let layer = set(PermissionsPolicy::new().allow(Feature::CAMERA, list)).unwrap();
            let value = &sent(&layer)[0].1;
            let inside = value.strip_prefix("camera=(").and_then(|rest| rest.strip_suffix(')'));
            prop_assert!(value == "camera=*" || inside == Some(&text));
            // Only a text in quotes may have characters of the syntax.
            let quoted = text.starts_with('"') && text[1..].find('"') == Some(text.len() - 2);
            prop_assert!(quoted || !text.contains([' ', '(', ')', ';', ',', '=', '"']));
        }
    }
}

#[test]
fn a_custom_word_asks_for_no_nonce() {
    use std::convert::Infallible;

    use http::{Request, Response};
    use tower::{Layer, ServiceExt, service_fn};

    let error = Source::custom("'noncense'").unwrap_err();
    assert!(error.to_string().contains("Source::NONCE"));
    let layer = set(own().set(Directive::SCRIPT_SRC, [custom("nonce")])).unwrap();
    let service = layer.layer(service_fn(|request: Request<()>| {
        let has_nonce = request.extensions().get::<Nonce>().is_some();
        std::future::ready(Ok::<_, Infallible>(Response::new(has_nonce)))
    }));
    let response = crate::support::now(service.oneshot(Request::new(()))).unwrap();
    assert!(!response.into_body());
}
