//! Content security policies that are refused, with the directive and the value in the error.

use tower_kit::security_headers::{Csp, Directive, Overrides, Source};

use super::policies::{assert_policy, parsed};
use super::{CSP, assert_refused, own, set};

#[test]
fn wrong_sources_are_refused() {
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
        let policy = Csp::helmet().append(Directive::SCRIPT_SRC, [word]);
        assert_refused(set(policy), CSP, Some("script-src"), word);
        let extended = Overrides::new().extend(Csp::new().set(Directive::SCRIPT_SRC, [word]));
        assert_refused(extended, CSP, Some("script-src"), word);
        let text = format!("default-src 'none'; script-src {word} a.example");
        assert_refused(parsed(&text), CSP, Some("script-src"), word);
    }
}

/// Users search their configuration for the word of the error.
#[test]
fn errors_keep_the_case_of_words() {
    for word in ["'Self-Made'", "'sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk='", "Unsafe-Inline", "'Self"] {
        let policy = own().set(Directive::SCRIPT_SRC, [word]);
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
        let policy = Csp::helmet().set(Directive::IMG_SRC, [source]);
        assert_refused(set(policy), CSP, Some("img-src"), source);
        let policy = own().set(Directive::custom("new-src").unwrap(), [source]);
        assert_refused(set(policy), CSP, Some("new-src"), source);
        assert!(set(own().set(Directive::REPORT_URI, [source])).is_err(), "{source:?}");
        assert!(set(own().set(Directive::SANDBOX, [source])).is_err(), "{source:?}");
        assert!(set(own().set(Directive::TRUSTED_TYPES, [source])).is_err(), "{source:?}");
    }
    for text in ["default-src 'self'\nimg-src *", "default-src caf\u{e9}.example"] {
        assert!(parsed(text).is_err(), "{text:?}");
    }
    let comma = parsed("default-src 'self', script-src *");
    assert_refused(comma, CSP, Some("default-src"), "'self',");
}

#[test]
fn hosts_are_neither_keywords_nor_schemes() {
    for host in [
        "http",
        "wss",
        "self",
        "none",
        "'self'",
        "'nonce'",
        "'unsafe-inline'",
        "*",
        "https:",
        "data:",
        "",
        "a b",
        "a;b",
    ] {
        assert_refused(Source::host(host), CSP, None, host);
    }
    for scheme in ["", "a b", "'self'", "https:", "https://a.example", "1a", "a;b"] {
        assert_refused(Source::scheme(scheme), CSP, None, scheme);
    }
}

/// A word that ends in a colon is a scheme, which may have dots (RFC 3986 §3.1).
#[test]
fn a_host_with_a_colon_has_a_port() {
    for host in ["a.example:/js/", "https://a.example:", "a.example:65536", "a.example:1:2"] {
        let policy = parsed(&format!("default-src {host}"));
        assert_refused(policy, CSP, Some("default-src"), host);
    }
    assert!(parsed("default-src a.example: a.example:65535 https://a.example:*").is_ok());
}

#[test]
fn the_nonce_keyword_needs_quotes() {
    assert_refused(parsed("default-src nonce"), CSP, Some("default-src"), "nonce");
}

#[test]
fn trusted_types_keywords_need_quotes() {
    for word in ["none", "allow-duplicates"] {
        let policy = own().set(Directive::TRUSTED_TYPES, [word]);
        assert_refused(set(policy), CSP, Some("trusted-types"), word);
    }
}

#[test]
fn words_belong_to_their_directive() {
    let table = [
        (Directive::FRAME_ANCESTORS, "'unsafe-inline'"),
        (Directive::FRAME_ANCESTORS, "'nonce'"),
        (Directive::FRAME_ANCESTORS, "'strict-dynamic'"),
        (Directive::SANDBOX, "'self'"),
        (Directive::SANDBOX, "allow-everything"),
        (Directive::REQUIRE_TRUSTED_TYPES_FOR, "script"),
        (Directive::REQUIRE_TRUSTED_TYPES_FOR, "'style'"),
        (Directive::TRUSTED_TYPES, "'self'"),
        (Directive::TRUSTED_TYPES, "a$b"),
        (Directive::WEBRTC, "allow"),
        (Directive::WEBRTC, "'self'"),
        (Directive::UPGRADE_INSECURE_REQUESTS, "1"),
        (Directive::REPORT_TO, "nobody"),
    ];
    for (directive, word) in table {
        let policy = own().set(directive, [word]);
        assert_refused(set(policy), CSP, Some(directive.name()), word);
    }
}

#[test]
fn sources_are_unique_and_none_is_alone() {
    let twice = own().set(Directive::IMG_SRC, ["a.example", "data:", "a.example"]);
    assert_refused(set(twice), CSP, Some("img-src"), "a.example");
    let table = [
        (own().set(Directive::IMG_SRC, ["'none'", "a.example"]), "'none' a.example"),
        (own().set(Directive::IMG_SRC, ["a.example", "'none'"]), "a.example 'none'"),
        (own().set(Directive::IMG_SRC, ["a.example", "'NONE'"]), "a.example 'none'"),
    ];
    for (policy, value) in table {
        assert_refused(set(policy), CSP, Some("img-src"), value);
    }
}

#[test]
fn errors_trim_the_value() {
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
fn directives_are_known_current_and_unique() {
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
        assert_eq!((error.header(), error.directive()), (CSP, Some(name)));
    }
    for text in [
        "default-src 'none'; default-src *",
        "default-src 'none'; Default-Src 'none'",
        "default-src 'none'; img-src *; default-src *",
    ] {
        let error = parsed(text).unwrap_err();
        assert_eq!((error.header(), error.directive()), (CSP, Some("default-src")), "{text}");
    }
}

/// Browsers take the first directive, so the error names the second.
#[test]
fn errors_name_the_ignored_duplicate() {
    let error = parsed("default-src 'none'; img-src *; default-src a.example").unwrap_err();
    assert_eq!(error.value().trim(), "a.example");
}

#[test]
fn directives_need_their_value() {
    for directive in [
        Directive::DEFAULT_SRC,
        Directive::SCRIPT_SRC,
        Directive::FRAME_ANCESTORS,
        Directive::REPORT_URI,
        Directive::REPORT_TO,
        Directive::WEBRTC,
    ] {
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
fn custom_directives_need_a_valid_name() {
    let value = "default-src 'self';new-src a.example 'whatever';newer";
    let custom = |name| Directive::custom(name).unwrap();
    let policy = own().set(custom("new-src"), ["a.example", "'whatever'"]).flag(custom("newer"));
    assert_policy(policy, value);
    for name in ["", "a b", "a;b", "a,b", "a_b", "caf\u{e9}", "a\n", "IMG-SRC"] {
        assert_refused(Directive::custom(name), CSP, Some(name), name);
    }
    assert_eq!(custom("img-src"), Directive::IMG_SRC);
}

#[test]
fn errors_name_the_report_only_header() {
    let name = "content-security-policy-report-only";
    let policy = Csp::helmet().append(Directive::IMG_SRC, ["self"]).report_only();
    assert_refused(set(policy.clone()), name, Some("img-src"), "self");
    assert_refused(Overrides::new().set(policy), name, Some("img-src"), "self");
}

#[test]
#[should_panic(expected = "self")]
fn wrong_static_texts_panic() {
    drop(Csp::from_static("default-src self"));
}

/// A policy from a file ends with a line break.
#[test]
fn line_breaks_are_refused_except_at_the_end() {
    let whole = Csp::from_static("\n default-src 'self' \r\n");
    assert_eq!(whole, "default-src 'self'\n".parse().unwrap());
    assert_policy(whole, "default-src 'self'");
    let inside = parsed("default-src 'self';\nimg-src *");
    assert_refused(inside, CSP, None, "\nimg-src");
}
