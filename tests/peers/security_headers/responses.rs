//! Other directives, and changes to single responses.

use content_security_policy::sandboxing_directive::SandboxingFlagSet as Flags;
use content_security_policy::{Destination, InlineCheckType};
use tower_kit::SecurityHeadersLayer;
use tower_kit::security_headers::{Csp, Directive, Overrides, Source, forwarded_proto};

use super::{Handler, INLINE, OTHER, OWN, Page, csp, extended, is_allowed, layer};

#[test]
fn sandbox_flags_lift_restrictions() {
    let sandbox = |flags: &[&'static str]| {
        let page =
            Page::of(csp("default-src 'self'").set(Directive::SANDBOX, flags.iter().copied()));
        page.policies.get_sandboxing_flag_set_for_document()
    };
    assert_eq!(sandbox(&[]), Some(Flags::all()));
    let some = sandbox(&["allow-forms", "allow-scripts"]).unwrap();
    let lifted = Flags::SANDBOXED_FORMS_BROWSING_CONTEXT_FLAG
        | Flags::SANDBOXED_SCRIPTS_BROWSING_CONTEXT_FLAG
        | Flags::SANDBOXED_AUTOMATIC_FEATURES_BROWSING_CONTEXT_FLAG;
    assert_eq!(some, Flags::all() - lifted);
    for flag in [
        "allow-downloads",
        "allow-forms",
        "allow-modals",
        "allow-orientation-lock",
        "allow-pointer-lock",
        "allow-popups",
        "allow-popups-to-escape-sandbox",
        "allow-presentation",
        "allow-same-origin",
        "allow-scripts",
        "allow-top-navigation",
        "allow-top-navigation-by-user-activation",
        "allow-top-navigation-to-custom-protocols",
    ] {
        assert_ne!(sandbox(&[flag]), Some(Flags::all()), "{flag}");
    }
    assert_eq!(Page::of(Csp::helmet()).policies.get_sandboxing_flag_set_for_document(), None);
}

#[test]
fn trusted_types_are_required_and_named() {
    let page = Page::of(
        csp("default-src 'self'")
            .set(Directive::REQUIRE_TRUSTED_TYPES_FOR, ["'script'"])
            .set(Directive::TRUSTED_TYPES, ["one", "two"]),
    );
    assert!(page.policies.does_sink_type_require_trusted_types("'script'", false));
    let creates = |name: &str, others: &[&str]| {
        is_allowed(page.policies.is_trusted_type_policy_creation_allowed(name, others))
    };
    assert!(creates("one", &[]) && creates("two", &["one"]));
    assert!(!creates("three", &[]) && !creates("one", &["one"]));
}

#[test]
fn by_http_only_the_upgrade_is_missing() {
    let layer = SecurityHeadersLayer::new().https_if(forwarded_proto);
    let by_https = Handler::default().answer(&layer);
    let by_http = Handler { by_http: true, ..Handler::default() }.answer(&layer);
    let mut expected = by_https.directives();
    expected.retain(|(name, _)| *name != "upgrade-insecure-requests");
    assert_eq!(by_http.directives(), expected);
    assert!(by_https.has("upgrade-insecure-requests"));
    assert!(by_http.loads(Destination::Script, "http://site.example/x"));
    assert!(!by_http.loads(Destination::Script, OTHER));
}

#[test]
fn nonces_work_by_http() {
    let policy = Csp::helmet().append(Directive::SCRIPT_SRC, [Source::NONCE]);
    let layer = layer(policy).https_if(forwarded_proto);
    let page = Handler { by_http: true, asks: true, ..Handler::default() }.answer(&layer);
    assert!(page.runs(InlineCheckType::Script, page.nonce.as_deref()));
    assert!(!page.runs(InlineCheckType::Script, None));
    assert!(!page.has("upgrade-insecure-requests"));
}

#[test]
fn extensions_hold_for_one_response() {
    let layer = SecurityHeadersLayer::new().https_if(forwarded_proto);
    let more = Csp::new()
        .set(Directive::FRAME_ANCESTORS, ["https://partner.example"])
        .set(Directive::CONNECT_SRC, ["https://api.example"]);
    let handler =
        Handler { overrides: Some(Overrides::new().extend(more).unwrap()), ..Handler::default() };
    for by_http in [false, true] {
        let page = Handler { by_http, ..handler.clone() }.answer(&layer);
        let own = if by_http { "http://site.example/x" } else { OWN };
        assert!(page.is_framed_by("https://partner.example/"));
        assert!(!page.is_framed_by(OTHER));
        assert!(page.loads(Destination::None, "https://api.example/x"));
        assert!(page.loads(Destination::None, own) && page.loads(Destination::Script, own));
        assert!(!page.loads(Destination::Script, "https://api.example/x"));
        assert_eq!(page.has("upgrade-insecure-requests"), !by_http);
    }
    let page = Handler::default().answer(&layer);
    assert!(!page.is_framed_by("https://partner.example/"));
    assert!(!page.loads(Destination::None, "https://api.example/x"));
}

#[test]
fn extensions_change_one_disposition() {
    let layer =
        layer(csp("default-src 'self'")).set(csp("default-src 'none'").report_only()).unwrap();
    let judged = |more: Csp| {
        let overrides = Some(Overrides::new().extend(more).unwrap());
        let page = Handler { overrides, ..Handler::default() }.answer(&layer);
        let script = page.request(Destination::Script, OTHER);
        (page.may_fetch(&script), page.policies.report_violations_for_request(&script).len())
    };
    let more = Csp::new().set(Directive::SCRIPT_SRC, ["https://other.example"]);
    assert_eq!(judged(more.clone()), (true, 1));
    assert_eq!(judged(more.report_only()), (false, 0));
}

#[test]
fn extended_policies_have_the_nonce() {
    let layer = layer(csp("default-src 'self'; script-src 'nonce'"));
    let more = Overrides::new().extend(csp("style-src 'nonce' 'unsafe-inline'")).unwrap();
    let handler = Handler { overrides: Some(more), ..Handler::default() };
    let page = Handler { asks: true, ..handler.clone() }.answer(&layer);
    for kind in [InlineCheckType::Script, InlineCheckType::Style] {
        assert!(page.runs(kind, page.nonce.as_deref()), "{kind:?}");
        assert!(!page.runs(kind, None), "{kind:?}");
    }
    let page = handler.answer(&layer);
    assert!(INLINE.iter().all(|kind| !page.runs(*kind, None)));
}

#[test]
fn extensions_do_not_open_unused_nonces() {
    let page = extended("default-src 'self'; script-src 'nonce'", "script-src 'unsafe-inline'");
    assert!(!page.runs(InlineCheckType::Script, None));
    assert!(!page.runs(InlineCheckType::ScriptAttribute, None));
}

#[test]
fn extended_policies_still_parse() {
    for (policy, more) in [
        ("default-src 'self'", "default-src 'none'"),
        ("default-src 'self'", "img-src 'none'"),
        ("default-src 'self'; frame-ancestors 'self'", "frame-ancestors 'none'"),
        ("default-src 'self'; webrtc 'block'", "webrtc 'allow'"),
        ("default-src 'self'; trusted-types one", "trusted-types 'none'"),
        ("default-src 'self'; sandbox allow-forms", "sandbox"),
        ("default-src 'self'; img-src https://a.example", "img-src https://a.example 'self'"),
    ] {
        let sent = extended(policy, more).policies.to_string();
        assert_eq!(sent.parse::<Csp>().err(), None, "{policy} and {more}");
    }
}

#[test]
fn extensions_are_sent_by_http() {
    let layer = layer(csp("upgrade-insecure-requests")).https_if(forwarded_proto);
    let more = Overrides::new().extend(csp("frame-ancestors 'none'")).unwrap();
    for by_http in [false, true] {
        let handler = Handler { by_http, overrides: Some(more.clone()), ..Handler::default() };
        assert!(!handler.answer(&layer).is_framed_by(OTHER), "by HTTP: {by_http}");
    }
}
