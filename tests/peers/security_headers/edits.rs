//! Policies that are appended to, merged and cut.

use content_security_policy::{Destination, InlineCheckType};
use tower_kit::SecurityHeadersLayer;
use tower_kit::security_headers::{Csp, Directive, Source};

use super::{Action, Handler, OTHER, OWN, Page, actions, csp};

#[test]
fn append_keeps_the_sources_before() {
    for (directive, to) in [
        (Directive::SCRIPT_SRC, Destination::Script),
        (Directive::SCRIPT_SRC_ELEM, Destination::Script),
        (Directive::STYLE_SRC_ELEM, Destination::Style),
        (Directive::CONNECT_SRC, Destination::None),
        (Directive::WORKER_SRC, Destination::Worker),
        (Directive::CHILD_SRC, Destination::Worker),
        (Directive::CHILD_SRC, Destination::IFrame),
        (Directive::FRAME_SRC, Destination::IFrame),
        (Directive::IMG_SRC, Destination::Image),
        (Directive::MEDIA_SRC, Destination::Video),
        (Directive::MANIFEST_SRC, Destination::Manifest),
    ] {
        let page = Page::of(Csp::helmet().append(directive, ["https://other.example"]));
        assert!(page.loads(to, OWN), "{directive}");
        assert!(page.loads(to, OTHER), "{directive}");
        assert!(!page.loads(to, "https://third.example/x") || to == Destination::Style);
        let object = page.loads(Destination::Object, OTHER);
        assert!(!object, "{directive}");
    }
}

#[test]
fn append_keeps_the_sources_of_fallbacks() {
    let policy = csp("default-src 'none'; child-src https://a.example; script-src 'self'");
    for (directive, to) in
        [(Directive::WORKER_SRC, Destination::Worker), (Directive::FRAME_SRC, Destination::IFrame)]
    {
        let page = Page::of(policy.clone().append(directive, ["https://other.example"]));
        assert!(page.loads(to, "https://a.example/x") && page.loads(to, OTHER), "{directive}");
        assert!(!page.loads(to, OWN), "{directive}");
    }
    let page = Page::of(
        csp("default-src 'none'; script-src 'self'").append(Directive::WORKER_SRC, [OTHER]),
    );
    assert!(page.loads(Destination::Worker, OWN) && page.loads(Destination::Worker, OTHER));
}

#[test]
fn a_new_child_src_keeps_workers() {
    let policy = csp("default-src 'none'; script-src 'self'");
    assert!(Page::of(policy.clone()).loads(Destination::Worker, OWN));
    let page = Page::of(policy.append(Directive::CHILD_SRC, ["https://other.example"]));
    assert!(page.loads(Destination::IFrame, OTHER));
    assert!(page.loads(Destination::Worker, OWN));
}

#[test]
fn appending_nothing_changes_nothing() {
    let none: [Source; 0] = [];
    for directive in [Directive::OBJECT_SRC, Directive::SCRIPT_SRC, Directive::CONNECT_SRC] {
        let layer = SecurityHeadersLayer::none().set(Csp::helmet().append(directive, none.clone()));
        let page = Handler::default().answer(&layer.unwrap());
        let before = Page::of(Csp::helmet());
        let differ = |action: &Action| page.does(*action) != before.does(*action);
        assert_eq!(actions().iter().filter(|action| differ(action)).count(), 0, "{directive}");
    }
}

#[test]
fn removed_directives_fall_back() {
    let page = Page::of(Csp::helmet().remove(Directive::OBJECT_SRC).remove(Directive::STYLE_SRC));
    assert!(page.loads(Destination::Object, OWN) && !page.loads(Destination::Object, OTHER));
    assert!(page.loads(Destination::Style, OWN) && !page.loads(Destination::Style, OTHER));
    assert!(!page.runs(InlineCheckType::Style, None));
    let page = Page::of(
        Csp::helmet()
            .remove(Directive::FRAME_ANCESTORS)
            .remove(Directive::FORM_ACTION)
            .remove(Directive::BASE_URI),
    );
    assert!(page.is_framed_by(OTHER) && page.sends_forms_to(OTHER) && page.has_base(OTHER));
    let page = Page::of(Csp::helmet().remove(Directive::DEFAULT_SRC).without_default_src());
    assert!(page.loads(Destination::None, OTHER));
    assert!(!page.loads(Destination::Script, OTHER));
}

#[test]
fn merge_allows_the_sources_of_both() {
    let more = "default-src 'self'; connect-src https://a.example; form-action https://a.example; \
                object-src https://a.example; script-src 'nonce'";
    let page = Page::asking(Csp::helmet().merge(&csp(more)));
    for to in [Destination::None, Destination::Object] {
        assert!(page.loads(to, "https://a.example/x"), "{to:?}");
        assert!(!page.loads(to, OTHER), "{to:?}");
    }
    assert!(page.loads(Destination::None, OWN) && page.loads(Destination::Script, OWN));
    assert!(page.sends_forms_to(OWN) && page.sends_forms_to("https://a.example/x"));
    assert!(page.runs(InlineCheckType::Script, page.nonce.as_deref()));
    assert!(!page.runs(InlineCheckType::Script, None));
}

#[test]
fn merging_a_stricter_policy_changes_nothing() {
    let more = csp("default-src 'none'; script-src 'none'; frame-ancestors 'none'");
    let merged = SecurityHeadersLayer::none().set(Csp::helmet().merge(&more));
    let page = Handler::default().answer(&merged.unwrap());
    assert_eq!(page.directives(), Page::of(Csp::helmet()).directives());
}

#[test]
fn a_merged_default_src_opens_no_other_directive() {
    let first = csp("default-src 'self'");
    let second = csp("default-src https://b.example; script-src https://s.example");
    let script = |policy: Csp| Page::of(policy).loads(Destination::Script, "https://b.example/x");
    assert!(!script(first.clone()));
    assert!(!script(second.clone()));
    assert!(!script(first.merge(&second)));
}

#[test]
fn a_merged_default_src_opens_its_directives() {
    let first = csp("default-src 'none'; img-src https://a.example");
    let second = csp("default-src https://b.example");
    let page = Page::of(first.merge(&second));
    assert!(page.loads(Destination::Image, "https://a.example/x"));
    assert!(page.loads(Destination::Image, "https://b.example/x"));
}
