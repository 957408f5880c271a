//! Pages under the presets, nonces, hashes and hosts.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use content_security_policy::{
    Destination, Element, HashAlgorithm, InlineCheckType, ParserMetadata, PolicyDisposition,
};
use tower_kit::SecurityHeadersLayer;
use tower_kit::security_headers::{Csp, Directive, Source};

use super::{Action, CODE, Handler, INLINE, LOADS, OTHER, OWN, Page, actions, csp, layer};

#[test]
fn helmet_loads_from_the_own_origin() {
    let page = Handler::default().answer(&SecurityHeadersLayer::new());
    for to in LOADS {
        assert_eq!(page.loads(to, OWN), to != Destination::Object, "{to:?}");
        let is_open = matches!(to, Destination::Style | Destination::Font);
        assert_eq!(page.loads(to, OTHER), is_open, "{to:?}");
        assert!(!page.loads(to, "http://other.example/x"), "{to:?}");
        let is_data = matches!(to, Destination::Font | Destination::Image);
        assert_eq!(page.loads(to, "data:,x"), is_data, "{to:?}");
        assert!(!page.loads(to, "blob:https://site.example/1"), "{to:?}");
    }
}

#[test]
fn helmet_runs_inline_styles_only() {
    let page = Handler::default().answer(&SecurityHeadersLayer::new());
    for kind in INLINE {
        let is_style = matches!(kind, InlineCheckType::Style | InlineCheckType::StyleAttribute);
        assert_eq!(page.runs(kind, None), is_style, "{kind:?}");
        assert_eq!(page.runs(kind, Some("nonce")), is_style, "{kind:?}");
    }
    assert!(!page.does(Action::Eval));
    assert!(!page.does(Action::Wasm));
}

#[test]
fn helmet_keeps_forms_and_frames_on_the_site() {
    let page = Handler::default().answer(&SecurityHeadersLayer::new());
    for (url, is_own) in [(OWN, true), (OTHER, false), ("http://other.example/", false)] {
        assert_eq!(page.has_base(url), is_own, "{url}");
        assert_eq!(page.sends_forms_to(url), is_own, "{url}");
        assert_eq!(page.is_framed_by(url), is_own, "{url}");
    }
    assert!(page.has("upgrade-insecure-requests"));
}

#[test]
fn owasp_forbids_frames_and_plugins() {
    let page = Handler::default().answer(&SecurityHeadersLayer::owasp());
    for to in LOADS {
        assert_eq!(page.loads(to, OWN), to != Destination::Object, "{to:?}");
        assert!(!page.loads(to, OTHER), "{to:?}");
    }
    assert!(INLINE.iter().all(|kind| !page.runs(*kind, None)));
    assert!(!page.is_framed_by(OWN));
    assert!(page.has_base(OWN) && !page.has_base(OTHER));
    assert!(page.sends_forms_to(OWN) && !page.sends_forms_to(OTHER));
}

#[test]
fn api_allows_nothing() {
    let page = Handler::default().answer(&SecurityHeadersLayer::api());
    let done: Vec<_> = actions().into_iter().filter(|action| page.does(*action)).collect();
    assert!(done.is_empty(), "{done:?}");
    assert!(!page.is_framed_by(OWN));
}

const STRICT: &str = "default-src 'self'; script-src 'nonce' 'strict-dynamic' 'unsafe-inline' https:; \
                      style-src 'nonce'; object-src 'none'; base-uri 'none'";

#[test]
fn only_elements_with_the_nonce_run() {
    let page = Page::asking(csp(STRICT));
    let nonce = page.nonce.as_deref();
    assert!(nonce.is_some_and(|nonce| nonce.len() == 22));
    for kind in INLINE {
        let takes_nonces = matches!(kind, InlineCheckType::Script | InlineCheckType::Style);
        assert_eq!(page.runs(kind, nonce), takes_nonces, "{kind:?}");
        for other in [None, Some(""), Some("nonce"), Some("AAAAAAAAAAAAAAAAAAAAAA")] {
            assert!(!page.runs(kind, other), "{kind:?} with {other:?}");
        }
    }
}

#[test]
fn strict_dynamic_trusts_loaded_scripts() {
    let page = Page::asking(csp(STRICT));
    assert!(!page.loads(Destination::Script, OTHER));
    let mut script = page.request(Destination::Script, OTHER);
    script.nonce = page.nonce.clone().unwrap();
    assert!(page.may_fetch(&script));
    script.nonce = "AAAAAAAAAAAAAAAAAAAAAA".into();
    assert!(!page.may_fetch(&script));
    script.parser_metadata = ParserMetadata::NotParserInserted;
    assert!(page.may_fetch(&script));
}

#[test]
fn nonces_hold_for_one_response() {
    let layer = layer(csp(STRICT));
    let handler = Handler { asks: true, ..Handler::default() };
    let (first, second) = (handler.clone().answer(&layer), handler.answer(&layer));
    assert!(first.runs(InlineCheckType::Script, first.nonce.as_deref()));
    assert!(second.runs(InlineCheckType::Script, second.nonce.as_deref()));
    assert!(!first.runs(InlineCheckType::Script, second.nonce.as_deref()));
    assert!(!second.runs(InlineCheckType::Script, first.nonce.as_deref()));
}

#[test]
fn unused_nonces_run_nothing_inline() {
    for policy in [
        STRICT,
        "default-src 'nonce' 'unsafe-inline'",
        "DEFAULT-SRC 'UNSAFE-INLINE' 'NONCE'",
        "default-src 'unsafe-inline'; script-src 'nonce' 'unsafe-inline'; style-src 'nonce' 'unsafe-inline'",
        "default-src 'unsafe-inline'; script-src-elem 'unsafe-inline' 'nonce'; script-src-attr 'none'; \
         style-src-elem 'nonce' 'unsafe-inline'; style-src-attr 'none'",
    ] {
        let page = Page::of(csp(policy));
        for kind in INLINE {
            for nonce in [None, Some(""), Some("nonce")] {
                assert!(!page.runs(kind, nonce), "{policy}: {kind:?} with {nonce:?}");
            }
        }
    }
}

#[test]
fn unused_nonces_keep_hosts_and_hashes() {
    let hash = format!("'sha256-{}'", HashAlgorithm::Sha256.apply(CODE));
    let policy = csp("default-src 'self'; script-src 'nonce' 'unsafe-inline' https://a.example");
    let page = Page::of(policy.append(Directive::SCRIPT_SRC, [hash]));
    assert!(page.loads(Destination::Script, "https://a.example/x"));
    assert!(!page.loads(Destination::Script, OTHER));
    assert!(page.runs(InlineCheckType::Script, None));
    assert!(!page.runs(InlineCheckType::ScriptAttribute, None));
}

#[test]
fn only_scripts_with_a_listed_hash_run() {
    let decoded = |hash: HashAlgorithm| STANDARD.decode(hash.apply(CODE)).unwrap();
    for source in [
        Source::sha256(decoded(HashAlgorithm::Sha256).try_into().unwrap()),
        Source::sha384(decoded(HashAlgorithm::Sha384).try_into().unwrap()),
        Source::sha512(decoded(HashAlgorithm::Sha512).try_into().unwrap()),
    ] {
        let page = Page::of(Csp::helmet().append(Directive::SCRIPT_SRC, [source.clone()]));
        assert!(page.runs(InlineCheckType::Script, None), "{source}");
        let other =
            Page::of(Csp::helmet().append(Directive::SCRIPT_SRC, [Source::sha256([0; 32])]));
        assert!(!other.runs(InlineCheckType::Script, None));
    }
}

#[test]
fn digests_keep_their_case() {
    let digest = HashAlgorithm::Sha256.apply(CODE);
    for algorithm in ["sha256", "SHA256", "Sha256"] {
        let policy = csp(&format!("default-src 'none'; script-src '{algorithm}-{digest}'"));
        assert!(Page::of(policy).runs(InlineCheckType::Script, None), "{algorithm}");
    }
}

#[test]
fn hosts_match_as_written() {
    for (host, url, is_it) in [
        ("a.example", "https://a.example/x", true),
        ("a.example", "http://a.example/x", false),
        ("a.example", "https://b.a.example/x", false),
        ("a.example", "https://a.example:8443/x", false),
        ("*.a.example", "https://b.a.example/x", true),
        ("*.a.example", "https://a.example/x", false),
        ("*.a.example", "https://bad-a.example/x", false),
        ("http://a.example", "https://a.example/x", true),
        ("HTTPS://A.EXAMPLE", "https://a.example/x", true),
        ("https://a.example:8443", "https://a.example:8443/x", true),
        ("https://a.example:8443", "https://a.example/x", false),
        ("a.example:*", "https://a.example:8443/x", true),
        ("a.example/scripts/", "https://a.example/scripts/x.js", true),
        ("a.example/scripts/", "https://a.example/x.js", false),
        ("a.example/x.js", "https://a.example/x.js", true),
        ("a.example/x.js", "https://a.example/x.js/y", false),
        ("a.example/a%2Cb", "https://a.example/a,b", true),
        ("wss://a.example", "wss://a.example/x", true),
        ("wss://a.example", "ws://a.example/x", false),
        ("127.0.0.1:3000", "https://127.0.0.1:3000/x", true),
    ] {
        for source in [Source::host(host).unwrap(), Source::from(host)] {
            let page = Page::of(Csp::new().set(Directive::DEFAULT_SRC, [source]));
            assert_eq!(page.loads(Destination::None, url), is_it, "{host} and {url}");
        }
    }
}

#[test]
fn parsed_policies_can_be_set() {
    for text in [
        "default-src 'self' 'SELF'",
        "script-src 'Nonce' 'nonce'; default-src 'none'",
        "default-src 'self'; webrtc 'ALLOW'",
        "DEFAULT-SRC 'SELF' HTTPS:; SANDBOX ALLOW-FORMS",
    ] {
        let Ok(policy) = text.parse::<Csp>() else { continue };
        assert_eq!(SecurityHeadersLayer::none().set(policy).err(), None, "{text}");
    }
}

#[test]
fn nonces_are_words_of_their_own() {
    for policy in [
        "default-src 'self'; img-src https://a.example/'nonce'",
        "default-src 'self'; img-src https://a.example/'nonce'/x",
        "default-src 'self'; report-uri /reports?'nonce'",
    ] {
        let page = Page::asking(csp(policy));
        let sent = page.policies.to_string();
        assert!(sent.contains("'nonce'"), "{policy} is sent as {sent}");
    }
}

#[test]
fn both_dispositions_share_the_nonce() {
    let layer = layer(Csp::helmet().append(Directive::SCRIPT_SRC, [Source::NONCE]))
        .set(csp("default-src 'none'; script-src 'nonce'").report_only())
        .unwrap();
    let page = Handler { asks: true, ..Handler::default() }.answer(&layer);
    assert_eq!(page.policies.0.len(), 2);
    assert!(page.runs(InlineCheckType::Script, page.nonce.as_deref()));
    let reports = |nonce: Option<&str>| {
        let element = Element { nonce: nonce.map(Into::into) };
        let kind = InlineCheckType::Script;
        let checked =
            page.policies.should_elements_inline_type_behavior_be_blocked(&element, kind, CODE);
        checked.1.iter().map(|violation| violation.policy.disposition).collect::<Vec<_>>()
    };
    assert_eq!(reports(page.nonce.as_deref()), []);
    assert_eq!(reports(None), [PolicyDisposition::Enforce, PolicyDisposition::Report]);
    // An own script is only reported.
    let own = page.request(Destination::Script, OWN);
    assert!(page.may_fetch(&own));
    assert_eq!(page.policies.report_violations_for_request(&own).len(), 1);
    let silent = Handler::default().answer(&layer);
    assert!(!silent.runs(InlineCheckType::Script, page.nonce.as_deref()));
}
