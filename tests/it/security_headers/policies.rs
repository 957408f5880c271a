//! Content security policies: how they are built, and the endpoints that they report to.

use http::header::{CONTENT_SECURITY_POLICY, HeaderName};
use tower_kit::SecurityHeadersLayer;
use tower_kit::security_headers::{
    Coop, Csp, Directive, Endpoint, InvalidHeader, Overrides, Source,
};

use super::{
    CSP, ENDPOINTS, REPORTS, assert_refused, assert_sends, backup, own, reports, sent, set,
};

#[track_caller]
pub(super) fn assert_policy(policy: Csp, value: &str) {
    assert_sends(set(policy), &[(CSP, value)]);
}

/// Parses a policy and sets it.
pub(super) fn parsed(text: &str) -> Result<SecurityHeadersLayer, InvalidHeader> {
    text.parse::<Csp>().and_then(set)
}

#[test]
fn set_keeps_the_place_of_a_directive() {
    let policy = Csp::helmet()
        .set(Directive::CONNECT_SRC, ["wss://a.example"])
        .set(Directive::FONT_SRC, [Source::NONE])
        .remove(Directive::SCRIPT_SRC_ATTR)
        .set(Directive::SCRIPT_SRC, ["'self'", "https://cdn.example.com"])
        .set(Directive::DEFAULT_SRC, [Source::NONE])
        .flag(Directive::SANDBOX)
        .set(Directive::FONT_SRC, ["data:"]);
    let value = "default-src 'none';base-uri 'self';font-src data:;form-action 'self';frame-ancestors 'self';img-src 'self' data:;object-src 'none';script-src 'self' https://cdn.example.com;style-src 'self' https: 'unsafe-inline';upgrade-insecure-requests;connect-src wss://a.example;sandbox";
    assert_eq!(policy.to_string(), value);
    assert_policy(policy, value);
    let moved = own()
        .set(Directive::IMG_SRC, ["*"])
        .remove(Directive::DEFAULT_SRC)
        .set(Directive::DEFAULT_SRC, ["'self'"]);
    assert_policy(moved, "img-src *;default-src 'self'");
}

#[test]
fn append_adds_once_and_replaces_none() {
    assert_policy(
        own().append(Directive::DEFAULT_SRC, ["'self'", "a.example"]),
        "default-src 'self' a.example",
    );
    let twice = own().append(Directive::DEFAULT_SRC, ["a.example", "a.example"]);
    assert_policy(twice, "default-src 'self' a.example");
    let none = own()
        .set(Directive::OBJECT_SRC, [Source::NONE])
        .append(Directive::OBJECT_SRC, ["a.example"]);
    assert_policy(none, "default-src 'self';object-src a.example");
    let nobody = Csp::new()
        .set(Directive::DEFAULT_SRC, [Source::NONE])
        .append(Directive::IMG_SRC, ["data:"]);
    assert_policy(nobody, "default-src 'none';img-src data:");
}

/// The lists of CSP3 §6.8.3, "Get fetch directive fallback list".
#[test]
fn append_starts_from_the_fallback() {
    let base = || {
        Csp::new()
            .set(Directive::DEFAULT_SRC, ["default.example"])
            .set(Directive::SCRIPT_SRC, ["script.example"])
            .set(Directive::STYLE_SRC, ["style.example"])
    };
    let with_child = || base().set(Directive::CHILD_SRC, ["child.example"]);
    let with_frame = || with_child().set(Directive::FRAME_SRC, ["frame.example"]);
    let table = [
        (base(), Directive::CONNECT_SRC, "connect-src default.example"),
        (base(), Directive::FONT_SRC, "font-src default.example"),
        (base(), Directive::IMG_SRC, "img-src default.example"),
        (base(), Directive::MANIFEST_SRC, "manifest-src default.example"),
        (base(), Directive::MEDIA_SRC, "media-src default.example"),
        (base(), Directive::OBJECT_SRC, "object-src default.example"),
        // Without `worker-src`, a new `child-src` would apply to workers too.
        (
            base().set(Directive::WORKER_SRC, ["a.example"]),
            Directive::CHILD_SRC,
            "child-src default.example",
        ),
        (base(), Directive::FRAME_SRC, "frame-src default.example"),
        (with_child(), Directive::FRAME_SRC, "frame-src child.example"),
        (with_frame(), Directive::FENCED_FRAME_SRC, "fenced-frame-src frame.example"),
        (with_child(), Directive::FENCED_FRAME_SRC, "fenced-frame-src child.example"),
        (base(), Directive::FENCED_FRAME_SRC, "fenced-frame-src default.example"),
        (base(), Directive::SCRIPT_SRC_ELEM, "script-src-elem script.example"),
        (base(), Directive::SCRIPT_SRC_ATTR, "script-src-attr script.example"),
        (base(), Directive::STYLE_SRC_ELEM, "style-src-elem style.example"),
        (base(), Directive::STYLE_SRC_ATTR, "style-src-attr style.example"),
        (with_child(), Directive::WORKER_SRC, "worker-src child.example"),
        (base(), Directive::WORKER_SRC, "worker-src script.example"),
        (own(), Directive::WORKER_SRC, "worker-src 'self'"),
        (own(), Directive::SCRIPT_SRC_ELEM, "script-src-elem 'self'"),
        (own(), Directive::STYLE_SRC_ATTR, "style-src-attr 'self'"),
    ];
    for (policy, directive, begins) in table {
        let before = policy.to_string();
        let expected = format!("{before};{begins} more.example");
        assert_policy(policy.append(directive, ["more.example"]), &expected);
    }
}

#[test]
fn a_new_child_src_keeps_workers_allowed() {
    let policy = Csp::from_static("default-src 'none';script-src a.example");
    let value = "default-src 'none';script-src a.example;child-src b.example;\
                 worker-src a.example b.example";
    assert_policy(policy.append(Directive::CHILD_SRC, ["b.example"]), value);
}

/// These directives have no fallback (CSP3 §6.3, §6.4).
#[test]
fn append_without_a_fallback_starts_empty() {
    for directive in [Directive::BASE_URI, Directive::FORM_ACTION, Directive::FRAME_ANCESTORS] {
        let value = format!("default-src 'self';{directive} a.example");
        assert_policy(own().append(directive, ["a.example"]), &value);
    }
}

#[test]
fn merge_allows_the_sources_of_both() {
    let more = Csp::new()
        .set(Directive::IMG_SRC, ["'self'", "https://images.example"])
        .set(Directive::OBJECT_SRC, ["https://plugins.example"])
        .set(Directive::CONNECT_SRC, ["https://api.example"])
        .flag(Directive::UPGRADE_INSECURE_REQUESTS);
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
        Source::host("*.a.example:*").unwrap(),
        Source::host("https://a.example:8443").unwrap(),
        Source::scheme("wss").unwrap(),
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
    let policy = Csp::new().set(Directive::DEFAULT_SRC, sources);
    assert_eq!(value.parse::<Csp>().unwrap(), policy);
    assert_policy(policy, &value);
}

#[test]
fn texts_parse_to_policies() {
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

/// The case of the algorithm does not count, that of the digest does.
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
fn default_src_is_left_out_explicitly_only() {
    let images = || Csp::new().set(Directive::IMG_SRC, ["*"]);
    assert_refused(set(images()), CSP, Some("default-src"), "");
    assert_refused(set(Csp::helmet().remove(Directive::DEFAULT_SRC)), CSP, Some("default-src"), "");
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
fn empty_policies_are_refused() {
    for policy in [Csp::new(), Csp::new().without_default_src(), Csp::new().report_only()] {
        assert!(set(policy).is_err());
    }
    for text in ["", " ", ";", " ; ; "] {
        assert!(parsed(text).is_err(), "{text:?}");
    }
}

#[test]
fn the_layer_defines_all_endpoints() {
    let layer = set(own().report_to(&reports()))
        .and_then(|layer| layer.set(Coop::SAME_ORIGIN.report_to(&reports())))
        .and_then(|layer| layer.set(Endpoint::new("default", "/all?of=them").unwrap()));
    let expected = [
        (CSP, "default-src 'self';report-to reports"),
        ("cross-origin-opener-policy", r#"same-origin; report-to="reports""#),
        (ENDPOINTS, r#"reports="https://reports.example.com/", default="/all?of=them""#),
    ];
    assert_sends(layer, &expected);
}

#[test]
fn unused_endpoints_are_removed() {
    let layer = || set(own().report_to(&reports())).unwrap();
    assert_sends(Ok(layer().remove(CONTENT_SECURITY_POLICY)), &[]);
    assert_sends(layer().set(own()), &[(CSP, "default-src 'self'")]);
    let policy = (CSP, "default-src 'self';report-to reports");
    let endpoints = HeaderName::from_static(ENDPOINTS);
    let both = layer().set(backup()).unwrap();
    assert_sends(Ok(both.remove(endpoints)), &[policy, REPORTS]);
}

#[test]
fn texts_report_to_defined_endpoints() {
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
fn endpoints_have_one_url() {
    let other = Endpoint::new("reports", "/elsewhere").unwrap();
    let twice = set(reports()).and_then(|layer| layer.set(&other));
    assert_refused(twice, ENDPOINTS, Some("reports"), "/elsewhere");
    let used = set(own().report_to(&reports()))
        .and_then(|layer| layer.set(Coop::SAME_ORIGIN.report_to(&other)));
    assert_refused(used, ENDPOINTS, Some("reports"), "/elsewhere");
    assert_sends(set(reports()).and_then(|layer| layer.set(reports())), &[REPORTS]);
}

#[test]
fn wrong_endpoints_are_refused() {
    for name in ["", "Reports", "1", "-a", "a b", "a\"", "a,b", "a;b", "a=b", "caf\u{e9}", "a\n"] {
        assert_refused(Endpoint::new(name, "/"), ENDPOINTS, None, name);
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
        assert_refused(Endpoint::new("reports", url), ENDPOINTS, Some("reports"), url);
    }
    // A name is a key of a structured field (RFC 9651 §3.1.2).
    assert!(Endpoint::new("*a1_-.*", "/").is_ok());
}

#[test]
fn overrides_have_no_endpoints() {
    let policy = own().report_to(&reports());
    assert_refused(Overrides::new().set(policy), CSP, Some("report-to"), "reports");
    let more = Csp::new().report_to(&reports());
    assert_refused(Overrides::new().extend(more), CSP, Some("report-to"), "reports");
    let coop = Coop::SAME_ORIGIN.report_to(&reports());
    let coop = Overrides::new().set(coop);
    assert_refused(coop, "cross-origin-opener-policy", Some("report-to"), "reports");
    assert!(Overrides::new().set(reports()).is_err());
}
