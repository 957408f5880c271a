//! Policies for content: how they are put together, and what is refused; and the endpoints that
//! they report to.

use http::header::{CONTENT_SECURITY_POLICY, HeaderName};
use tower_kit::SecurityHeadersLayer;
use tower_kit::security_headers::Directive::*;
use tower_kit::security_headers::{Coop, Csp, Endpoint, InvalidField, Overrides, Source};

use crate::security_headers_values::{
    CSP, ENDPOINTS, REPORTS, assert_refused, assert_sends, backup, own, reports, sent, set,
};

#[track_caller]
fn assert_policy(policy: Csp, value: &str) {
    assert_sends(set(policy), &[(CSP, value)]);
}

/// What a layer says to a policy of text.
fn parsed(text: &str) -> Result<SecurityHeadersLayer, InvalidField> {
    text.parse::<Csp>().and_then(set)
}

// How a policy is put together.

#[test]
fn a_directive_that_is_set_keeps_its_place_and_new_ones_go_last() {
    let policy = Csp::helmet()
        .set(ConnectSrc, ["wss://a.example"])
        .set(FontSrc, [Source::NONE])
        .remove(ScriptSrcAttr)
        .set(ScriptSrc, ["'self'", "https://cdn.example.com"])
        .set(DefaultSrc, [Source::NONE])
        .flag(Sandbox)
        .set(FontSrc, ["data:"]);
    let value = "default-src 'none';base-uri 'self';font-src data:;form-action 'self';frame-ancestors 'self';img-src 'self' data:;object-src 'none';script-src 'self' https://cdn.example.com;style-src 'self' https: 'unsafe-inline';upgrade-insecure-requests;connect-src wss://a.example;sandbox";
    assert_eq!(policy.to_string(), value);
    assert_policy(policy, value);
    let moved = own().set(ImgSrc, ["*"]).remove(DefaultSrc).set(DefaultSrc, ["'self'"]);
    assert_policy(moved, "img-src *;default-src 'self'");
}

#[test]
fn what_is_appended_is_added_once_and_none_gives_way() {
    assert_policy(
        own().append(DefaultSrc, ["'self'", "a.example"]),
        "default-src 'self' a.example",
    );
    let twice = own().append(DefaultSrc, ["a.example", "a.example"]);
    assert_policy(twice, "default-src 'self' a.example");
    let none = own().set(ObjectSrc, [Source::NONE]).append(ObjectSrc, ["a.example"]);
    assert_policy(none, "default-src 'self';object-src a.example");
    let nobody = Csp::new().set(DefaultSrc, [Source::NONE]).append(ImgSrc, ["data:"]);
    assert_policy(nobody, "default-src 'none';img-src data:");
}

/// The lists of CSP3 §6.8.3, "Get fetch directive fallback list".
#[test]
fn what_is_appended_to_a_directive_that_is_not_there_starts_from_the_one_that_holds() {
    let base = || {
        Csp::new()
            .set(DefaultSrc, ["default.example"])
            .set(ScriptSrc, ["script.example"])
            .set(StyleSrc, ["style.example"])
    };
    let with_child = || base().set(ChildSrc, ["child.example"]);
    let with_frame = || with_child().set(FrameSrc, ["frame.example"]);
    let table = [
        (base(), ConnectSrc, "connect-src default.example"),
        (base(), FontSrc, "font-src default.example"),
        (base(), ImgSrc, "img-src default.example"),
        (base(), ManifestSrc, "manifest-src default.example"),
        (base(), MediaSrc, "media-src default.example"),
        (base(), ObjectSrc, "object-src default.example"),
        // It would take over workers, which `script-src` has allowed.
        (base().set(WorkerSrc, ["a.example"]), ChildSrc, "child-src default.example"),
        (base(), FrameSrc, "frame-src default.example"),
        (with_child(), FrameSrc, "frame-src child.example"),
        (with_frame(), FencedFrameSrc, "fenced-frame-src frame.example"),
        (with_child(), FencedFrameSrc, "fenced-frame-src child.example"),
        (base(), FencedFrameSrc, "fenced-frame-src default.example"),
        (base(), ScriptSrcElem, "script-src-elem script.example"),
        (base(), ScriptSrcAttr, "script-src-attr script.example"),
        (base(), StyleSrcElem, "style-src-elem style.example"),
        (base(), StyleSrcAttr, "style-src-attr style.example"),
        (with_child(), WorkerSrc, "worker-src child.example"),
        (base(), WorkerSrc, "worker-src script.example"),
        (own(), WorkerSrc, "worker-src 'self'"),
        (own(), ScriptSrcElem, "script-src-elem 'self'"),
        (own(), StyleSrcAttr, "style-src-attr 'self'"),
    ];
    for (policy, directive, begins) in table {
        let before = policy.to_string();
        let expected = format!("{before};{begins} more.example");
        assert_policy(policy.append(directive, ["more.example"]), &expected);
    }
}

#[test]
fn workers_keep_what_script_src_allows_them_where_child_src_is_new() {
    let policy = Csp::from_static("default-src 'none';script-src a.example");
    let value = "default-src 'none';script-src a.example;child-src b.example;\
                 worker-src a.example b.example";
    assert_policy(policy.append(ChildSrc, ["b.example"]), value);
}

/// They have no other directive in their place (CSP3 §6.3, §6.4).
#[test]
fn what_is_appended_for_forms_frames_and_bases_starts_from_nothing() {
    for directive in [BaseUri, FormAction, FrameAncestors] {
        let value = format!("default-src 'self';{directive} a.example");
        assert_policy(own().append(directive, ["a.example"]), &value);
    }
}

#[test]
fn a_merged_policy_allows_what_either_allows() {
    let more = Csp::new()
        .set(ImgSrc, ["'self'", "https://images.example"])
        .set(ObjectSrc, ["https://plugins.example"])
        .set(ConnectSrc, ["https://api.example"])
        .flag(UpgradeInsecureRequests);
    let value = "default-src 'self';base-uri 'self';font-src 'self' https: data:;form-action 'self';frame-ancestors 'self';img-src 'self' data: https://images.example;object-src https://plugins.example;script-src 'self';script-src-attr 'none';style-src 'self' https: 'unsafe-inline';upgrade-insecure-requests;connect-src 'self' https://api.example";
    assert_policy(Csp::helmet().merge(&more), value);
    assert_policy(Csp::helmet().merge(&Csp::helmet()), &Csp::helmet().to_string());
    assert_policy(Csp::helmet().merge(&Csp::new()), &Csp::helmet().to_string());
    let both = own().report_to(&reports()).merge(&Csp::new().report_to(&backup()));
    let expected =
        [(CSP, "default-src 'self';report-to backup"), (ENDPOINTS, r#"backup="/reports""#)];
    assert_sends(set(both), &expected);
    let kept = own().report_to(&reports()).merge(&own());
    assert_sends(set(kept), &[(CSP, "default-src 'self';report-to reports"), REPORTS]);
}

#[test]
fn sources_are_written_as_browsers_read_them() {
    let sources = [
        Source::SELF,
        Source::STRICT_DYNAMIC,
        Source::UNSAFE_INLINE,
        Source::UNSAFE_EVAL,
        Source::WASM_UNSAFE_EVAL,
        Source::UNSAFE_HASHES,
        Source::INLINE_SPECULATION_RULES,
        Source::REPORT_SAMPLE,
        Source::ANY,
        Source::HTTPS,
        Source::DATA,
        Source::BLOB,
        Source::host("*.a.example:*"),
        Source::host("https://a.example:8443"),
        Source::scheme("wss"),
        Source::sha256([0xff; 32]),
        Source::sha384([0; 48]),
        Source::sha512([0xff; 64]),
    ];
    let value = format!(
        "default-src 'self' 'strict-dynamic' 'unsafe-inline' 'unsafe-eval' 'wasm-unsafe-eval' 'unsafe-hashes' 'inline-speculation-rules' 'report-sample' * https: data: blob: *.a.example:* https://a.example:8443 wss: 'sha256-{}8=' 'sha384-{}' 'sha512-{}w=='",
        "/".repeat(42),
        "A".repeat(64),
        "/".repeat(85),
    );
    let policy = Csp::new().set(DefaultSrc, sources);
    assert_eq!(value.parse::<Csp>().unwrap(), policy);
    assert_policy(policy, &value);
}

#[test]
fn text_becomes_the_policy_that_it_is() {
    let helmet = Csp::helmet().to_string();
    assert_eq!(helmet.parse::<Csp>().unwrap(), Csp::helmet());
    let table = [
        ("default-src 'self'; img-src *", "default-src 'self';img-src *"),
        (" default-src  'self' ;;img-src * ; ", "default-src 'self';img-src *"),
        ("Default-Src 'self'; IMG-SRC *", "default-src 'self';img-src *"),
        ("default-src 'self'; sandbox", "default-src 'self';sandbox"),
        (
            "default-src 'self'; sandbox allow-forms allow-scripts",
            "default-src 'self';sandbox allow-forms allow-scripts",
        ),
        (
            "default-src 'self'; require-trusted-types-for 'script'; trusted-types a 'allow-duplicates'",
            "default-src 'self';require-trusted-types-for 'script';trusted-types a 'allow-duplicates'",
        ),
        ("default-src 'self'; webrtc 'block'", "default-src 'self';webrtc 'block'"),
        (
            "default-src 'self'; report-uri /csp https://a.example/csp?x=1",
            "default-src 'self';report-uri /csp https://a.example/csp?x=1",
        ),
        (
            "default-src localhost:3000 127.0.0.1 *.com https://* a.example/js/",
            "default-src localhost:3000 127.0.0.1 *.com https://* a.example/js/",
        ),
    ];
    for (text, value) in table {
        assert_sends(parsed(text), &[(CSP, value)]);
    }
}

/// The name of the algorithm may be in any case, the digest is one of base64.
#[test]
fn a_hash_keeps_its_digest_to_the_byte() {
    let digest = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789+/AbCdE=";
    let lower = format!("default-src 'sha256-{digest}'");
    assert_sends(parsed(&lower), &[(CSP, &lower)]);
    let upper = format!("default-src 'SHA256-{digest}'");
    if let Ok(layer) = parsed(&upper) {
        let found = &sent(&layer)[0].1;
        assert!(found.contains(digest), "{upper} became {found}");
    }
}

#[test]
fn a_policy_without_default_src_has_to_be_meant() {
    let images = || Csp::new().set(ImgSrc, ["*"]);
    assert_refused(set(images()), CSP, Some("default-src"), "");
    assert_refused(set(Csp::helmet().remove(DefaultSrc)), CSP, Some("default-src"), "");
    assert_refused(parsed("img-src *"), CSP, Some("default-src"), "");
    let name = "content-security-policy-report-only";
    assert_refused(set(images().report_only()), name, Some("default-src"), "");
    assert_policy(images().without_default_src(), "img-src *");
    let kept = own().without_default_src();
    assert_policy(kept, "default-src 'self'");
    let extended = Overrides::new().extend(images());
    assert!(extended.is_ok(), "{extended:?}");
}

#[test]
fn a_policy_says_something() {
    for policy in [Csp::new(), Csp::new().without_default_src(), Csp::new().report_only()] {
        assert!(set(policy).is_err());
    }
    for text in ["", " ", ";", " ; ; "] {
        assert!(parsed(text).is_err(), "{text:?}");
    }
}

// Endpoints.

#[test]
fn the_layer_defines_the_endpoints_that_are_reported_to_and_those_set_alone() {
    let layer = set(own().report_to(&reports()))
        .and_then(|layer| layer.set(Coop::SAME_ORIGIN.report_to(&reports())))
        .and_then(|layer| layer.set(Endpoint::new("default", "/all?of=them")));
    let expected = [
        (CSP, "default-src 'self';report-to reports"),
        ("cross-origin-opener-policy", r#"same-origin; report-to="reports""#),
        (ENDPOINTS, r#"reports="https://reports.example.com/", default="/all?of=them""#),
    ];
    assert_sends(layer, &expected);
}

#[test]
fn an_endpoint_goes_with_the_last_field_that_reports_to_it() {
    let layer = || set(own().report_to(&reports())).unwrap();
    assert_sends(Ok(layer().remove(CONTENT_SECURITY_POLICY)), &[]);
    assert_sends(layer().set(own()), &[(CSP, "default-src 'self'")]);
    let policy = (CSP, "default-src 'self';report-to reports");
    let endpoints = HeaderName::from_static(ENDPOINTS);
    let both = layer().set(backup()).unwrap();
    assert_sends(Ok(both.remove(endpoints)), &[policy, REPORTS]);
}

#[test]
fn a_policy_of_text_reports_to_endpoints_that_the_layer_has() {
    let text = "default-src 'self'; report-to reports";
    let policy = || text.parse::<Csp>();
    assert_refused(policy().and_then(set), CSP, Some("report-to"), "reports");
    let other = set(backup()).unwrap();
    let typo = policy().and_then(|policy| other.set(policy));
    assert_refused(typo, CSP, Some("report-to"), "reports");
    let defined = set(reports()).unwrap();
    let layer = policy().and_then(|policy| defined.set(policy));
    assert_sends(layer, &[(CSP, "default-src 'self';report-to reports"), REPORTS]);
}

#[test]
fn an_endpoint_has_one_address() {
    let other = Endpoint::new("reports", "/elsewhere");
    let twice = set(reports()).and_then(|layer| layer.set(&other));
    assert_refused(twice, ENDPOINTS, Some("reports"), "/elsewhere");
    let used = set(own().report_to(&reports()))
        .and_then(|layer| layer.set(Coop::SAME_ORIGIN.report_to(&other)));
    assert_refused(used, ENDPOINTS, Some("reports"), "/elsewhere");
    assert_sends(set(reports()).and_then(|layer| layer.set(reports())), &[REPORTS]);
}

#[test]
fn a_name_or_an_address_that_is_none_makes_no_endpoint() {
    for name in ["", "Reports", "1st", "-a", "a b", "a\"", "a,b", "a;b", "a=b", "caf\u{e9}", "a\n"]
    {
        let layer = set(Endpoint::new(name, "/"));
        assert_refused(layer, ENDPOINTS, None, name);
    }
    for url in [
        "",
        "reports",
        "http://a.example/",
        "//a.example/",
        "/\\a.example/",
        "https:a.example",
        "https://",
        "https:///reports",
        "wss://a.example/",
        "/a b",
        "/\"",
        "/\\",
        "/caf\u{e9}",
        "/a\r\nset-cookie: a=b",
    ] {
        let layer = set(Endpoint::new("reports", url));
        assert_refused(layer, ENDPOINTS, Some("reports"), url);
    }
}

/// It is the key of a structured field (RFC 9651 §3.1.2).
#[test]
fn the_name_of_an_endpoint_begins_with_a_lower_case_letter_or_a_star() {
    for name in ["Reports", "1", "-a", ""] {
        assert_refused(set(Endpoint::new(name, "/")), ENDPOINTS, None, name);
    }
    assert!(set(Endpoint::new("*a1_-.*", "/")).is_ok());
}

#[test]
fn an_override_reports_to_no_endpoint_of_its_own() {
    let policy = own().report_to(&reports());
    assert_refused(Overrides::new().set(policy), CSP, Some("report-to"), "reports");
    let more = Csp::new().report_to(&reports());
    assert_refused(Overrides::new().extend(more), CSP, Some("report-to"), "reports");
    let coop = Coop::SAME_ORIGIN.report_to(&reports());
    let coop = Overrides::new().set(coop);
    assert_refused(coop, "cross-origin-opener-policy", Some("report-to"), "reports");
    assert!(Overrides::new().set(reports()).is_err());
}

// What is refused.

#[test]
fn a_word_that_is_no_source_is_refused_with_its_directive() {
    for word in [
        "self",
        "SELF",
        "none",
        "unsafe-inline",
        "Unsafe-Eval",
        "strict-dynamic",
        "report-sample",
        "wasm-unsafe-eval",
        "nonce-abc",
        "NONCE-abc",
        "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "SHA512-abc",
        "'sefl'",
        "'self",
        "self'",
        "''",
        "'",
        "\"self\"",
        "'nonce-abc'",
        "'nonce-'",
        "'sha256-'",
        "'sha256-abc'",
        "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=A'",
        "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hS!FU='",
        "'sha384-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='",
        "'sha512-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='",
        "'sha1-abc='",
        "'md5-abc=='",
        "http",
        "https",
        "data",
        "blob",
        "wss",
        "https://",
        "//a.example",
        "https:a.example",
        "a.example:port",
        "a.*",
        "*.*.example",
        "a..example",
        ".example",
        "user@a.example",
        "a.example?query",
        "a.example#part",
        "a.example/path?query",
    ] {
        let policy = Csp::helmet().append(ScriptSrc, [word]);
        assert_refused(set(policy), CSP, Some("script-src"), word);
        let extended = Overrides::new().extend(Csp::new().set(ScriptSrc, [word]));
        assert_refused(extended, CSP, Some("script-src"), word);
        let text = format!("default-src 'none'; script-src {word} a.example");
        assert_refused(parsed(&text), CSP, Some("script-src"), word);
    }
}

/// As it was given, so that it is found in what was given.
#[test]
fn a_word_that_is_refused_is_named_in_its_own_case() {
    for word in ["'Self-Made'", "'sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk='", "Unsafe-Inline", "'Self"] {
        let policy = own().set(ScriptSrc, [word]);
        assert_refused(set(policy), CSP, Some("script-src"), word);
        let text = format!("default-src 'self'; script-src {word}");
        assert_refused(parsed(&text), CSP, Some("script-src"), word);
    }
}

#[test]
fn one_source_is_one_word_of_visible_ascii() {
    for source in [
        "",
        " ",
        "self x.com",
        "'self' x.com",
        " 'self'",
        "'self' ",
        "a.example;script-src *",
        "a.example,b.example",
        "a.example\r\nset-cookie: a=b",
        "a.example\n",
        "a\tb",
        "a.example\0",
        "a.example\u{7f}",
        "https://caf\u{e9}.example",
        "\u{2018}self\u{2019}",
    ] {
        let policy = Csp::helmet().set(ImgSrc, [source]);
        assert_refused(set(policy), CSP, Some("img-src"), source);
        let policy = own().set(Custom("new-src"), [source]);
        assert_refused(set(policy), CSP, Some("new-src"), source);
        assert!(set(own().set(ReportUri, [source])).is_err(), "{source:?}");
        assert!(set(own().set(Sandbox, [source])).is_err(), "{source:?}");
        assert!(set(own().set(TrustedTypes, [source])).is_err(), "{source:?}");
    }
    for text in ["default-src 'self'\nimg-src *", "default-src caf\u{e9}.example"] {
        assert!(parsed(text).is_err(), "{text:?}");
    }
    let comma = parsed("default-src 'self', script-src *");
    assert_refused(comma, CSP, Some("default-src"), "'self',");
}

#[test]
fn what_is_to_be_a_host_is_no_keyword_and_no_scheme() {
    for host in ["'self'", "'nonce'", "'unsafe-inline'", "*", "https:", "data:", "", "a b", "a;b"] {
        let policy = own().set(ScriptSrc, [Source::host(host)]);
        assert_refused(set(policy), CSP, Some("script-src"), host);
    }
    for scheme in ["", "a b", "'self'", "https:", "https://a.example", "1a", "a;b"] {
        let policy = own().set(ScriptSrc, [Source::scheme(scheme)]);
        assert!(set(policy).is_err(), "{scheme:?}");
    }
}

/// Alone it is a scheme, which may have dots (RFC 3986 §3.1).
#[test]
fn a_host_with_a_colon_has_a_port() {
    for host in ["a.example:/js/", "https://a.example:", "a.example:65536", "a.example:1:2"] {
        let policy = parsed(&format!("default-src {host}"));
        assert_refused(policy, CSP, Some("default-src"), host);
    }
    assert!(parsed("default-src a.example: a.example:65535 https://a.example:*").is_ok());
}

/// The keyword is this crate's own, but who writes it without quotes means it all the same.
#[test]
fn the_keyword_for_the_nonce_is_written_in_quotes_too() {
    assert_refused(parsed("default-src nonce"), CSP, Some("default-src"), "nonce");
}

#[test]
fn the_keywords_of_trusted_types_are_written_in_quotes_too() {
    for word in ["none", "allow-duplicates"] {
        let policy = own().set(TrustedTypes, [word]);
        assert_refused(set(policy), CSP, Some("trusted-types"), word);
    }
}

#[test]
fn a_word_belongs_to_its_directive() {
    let table = [
        (FrameAncestors, "'unsafe-inline'"),
        (FrameAncestors, "'nonce'"),
        (FrameAncestors, "'strict-dynamic'"),
        (Sandbox, "'self'"),
        (Sandbox, "allow-everything"),
        (RequireTrustedTypesFor, "script"),
        (RequireTrustedTypesFor, "'style'"),
        (TrustedTypes, "'self'"),
        (TrustedTypes, "a$b"),
        (Webrtc, "allow"),
        (Webrtc, "'self'"),
        (UpgradeInsecureRequests, "1"),
        (ReportTo, "nobody"),
    ];
    for (directive, word) in table {
        let policy = own().set(directive, [word]);
        assert_refused(set(policy), CSP, Some(directive.name()), word);
    }
}

#[test]
fn a_source_is_there_once_and_none_stands_alone() {
    let twice = own().set(ImgSrc, ["a.example", "data:", "a.example"]);
    assert_refused(set(twice), CSP, Some("img-src"), "a.example");
    let table = [
        (own().set(ImgSrc, ["'none'", "a.example"]), "'none' a.example"),
        (own().set(ImgSrc, ["a.example", "'none'"]), "a.example 'none'"),
        (own().set(ImgSrc, ["a.example", "'NONE'"]), "a.example 'none'"),
    ];
    for (policy, value) in table {
        assert_refused(set(policy), CSP, Some("img-src"), value);
    }
}

/// As it was given: without the space that parts it from the directive's name.
#[test]
fn the_value_of_a_policy_of_text_is_named_without_the_space_around_it() {
    let table = [
        ("default-src 'none' https:", "default-src", "'none' https:"),
        ("default-src 'self'; upgrade-insecure-requests 1", "upgrade-insecure-requests", "1"),
        ("default-src 'self'; webrtc 'allow' 'block'", "webrtc", "'allow' 'block'"),
        ("default-src 'self'; foo-src x", "foo-src", "x"),
        ("default-src 'self'; navigate-to a.example", "navigate-to", "a.example"),
    ];
    for (text, directive, value) in table {
        assert_refused(parsed(text), CSP, Some(directive), value);
    }
}

#[test]
fn a_directive_is_known_current_and_there_once() {
    for name in [
        "foo-src",
        "default_src",
        "script-scr",
        "block-all-mixed-content",
        "plugin-types",
        "prefetch-src",
        "navigate-to",
        "require-sri-for",
        "reflected-xss",
        "referrer",
    ] {
        let error = parsed(&format!("default-src 'self'; {name}")).unwrap_err();
        assert_eq!((error.field(), error.directive()), (CSP, Some(name)));
    }
    for text in [
        "default-src 'none'; default-src *",
        "default-src 'none'; Default-Src 'none'",
        "default-src 'none'; img-src *; default-src *",
    ] {
        let error = parsed(text).unwrap_err();
        assert_eq!((error.field(), error.directive()), (CSP, Some("default-src")), "{text}");
    }
}

/// Browsers take the first, so that the second one is what does not hold.
#[test]
fn of_two_directives_of_a_name_the_one_that_does_not_hold_is_named() {
    let error = parsed("default-src 'none'; img-src *; default-src a.example").unwrap_err();
    assert_eq!(error.value().trim(), "a.example");
}

#[test]
fn a_directive_has_the_value_that_it_needs() {
    for directive in [DefaultSrc, ScriptSrc, FrameAncestors, ReportUri, ReportTo, Webrtc] {
        let policy = own().flag(directive);
        assert_refused(set(policy), CSP, Some(directive.name()), "");
        let none: [Source; 0] = [];
        assert_refused(set(own().set(directive, none)), CSP, Some(directive.name()), "");
    }
    for text in ["default-src", "default-src ;img-src *", "default-src 'self';img-src"] {
        assert!(parsed(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_custom_directive_has_a_name_of_its_own() {
    let value = "default-src 'self';new-src a.example 'whatever';newer";
    let policy = own().set(Custom("new-src"), ["a.example", "'whatever'"]).flag(Custom("newer"));
    assert_policy(policy, value);
    for name in ["", "a b", "a;b", "a,b", "a_b", "caf\u{e9}", "a\n", "img-src", "IMG-SRC"] {
        assert_refused(set(own().flag(Custom(name))), CSP, Some(name), name);
    }
}

#[test]
fn a_fault_of_a_policy_that_only_reports_names_its_field() {
    let name = "content-security-policy-report-only";
    let policy = Csp::helmet().append(ImgSrc, ["self"]).report_only();
    assert_refused(set(policy.clone()), name, Some("img-src"), "self");
    assert_refused(Overrides::new().set(policy), name, Some("img-src"), "self");
}

#[test]
#[should_panic(expected = "self")]
fn a_text_in_code_that_is_no_policy_is_no_constant() {
    drop(Csp::from_static("default-src self"));
}

/// A file ends with one; within a policy it would be no header.
#[test]
fn a_line_break_is_refused_but_at_the_end() {
    let whole = Csp::from_static("\n default-src 'self' \r\n");
    assert_eq!(whole, "default-src 'self'\n".parse().unwrap());
    assert_policy(whole, "default-src 'self'");
    let inside = parsed("default-src 'self';\nimg-src *");
    assert_refused(inside, CSP, None, "\nimg-src");
}
