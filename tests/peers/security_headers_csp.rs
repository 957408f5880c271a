//! What the policies that were sent mean to a browser: `content-security-policy`, which is Servo's,
//! reads them from the response and judges by them.

use std::convert::Infallible;
use std::future::ready;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use content_security_policy::sandboxing_directive::SandboxingFlagSet as Flags;
use content_security_policy::{
    CheckResult, CspList, Destination, Element, HashAlgorithm, Initiator, InlineCheckType,
    NavigationCheckType, Origin, ParserMetadata, PolicyDisposition, PolicySource, Request,
    Response, Url, Violation,
};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::SecurityHeadersLayer;
use tower_kit::security_headers::Directive;
use tower_kit::security_headers::{Csp, Endpoint, Nonce, Overrides, Source, forwarded_proto};

use crate::directives::DIRECTIVES;
use crate::support::now;

/// What the handler of a page does.
#[derive(Clone, Default)]
struct Handler {
    asks: bool,
    overrides: Option<Overrides>,
    by_http: bool,
}

/// A page of `site.example`, with the policies that came with it.
struct Page {
    policies: CspList,
    /// The nonce, if there is one and the handler has asked for it.
    nonce: Option<String>,
    origin: Origin,
}

/// What a page may want to do, without a nonce.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Load(Destination, &'static str),
    Inline(InlineCheckType),
    Eval,
    Wasm,
}

impl Handler {
    fn answer(self, layer: &SecurityHeadersLayer) -> Page {
        let mut nonce = None;
        let service = layer.layer(service_fn(|request: http::Request<()>| {
            if self.asks {
                nonce = request.extensions().get::<Nonce>().map(Nonce::to_string);
            }
            let mut response = http::Response::new(());
            if let Some(overrides) = self.overrides.clone() {
                response.extensions_mut().insert(overrides);
            }
            ready(Ok::<_, Infallible>(response))
        }));
        let scheme = if self.by_http { "http" } else { "https" };
        let request = http::Request::builder().header("x-forwarded-proto", scheme).body(());
        let response = now(service.oneshot(request.unwrap())).unwrap();
        let mut policies = CspList(Vec::new());
        for (name, disposition) in [
            (CONTENT_SECURITY_POLICY, PolicyDisposition::Enforce),
            (CONTENT_SECURITY_POLICY_REPORT_ONLY, PolicyDisposition::Report),
        ] {
            for line in response.headers().get_all(name) {
                let line = line.to_str().unwrap();
                policies.append(CspList::parse(line, PolicySource::Header, disposition));
            }
        }
        let origin = address(&format!("{scheme}://site.example/")).origin();
        Page { policies, nonce, origin }
    }
}

impl Page {
    /// Of a handler that asks for no nonce.
    fn of(policy: Csp) -> Self {
        Handler::default().answer(&layer(policy))
    }

    fn asking(policy: Csp) -> Self {
        Handler { asks: true, ..Handler::default() }.answer(&layer(policy))
    }

    /// An element in the page that fetches this.
    fn request(&self, destination: Destination, url: &str) -> Request {
        Request {
            url: address(url),
            current_url: address(url),
            origin: self.origin.clone(),
            redirect_count: 0,
            destination,
            initiator: Initiator::None,
            nonce: String::new(),
            integrity_metadata: String::new(),
            parser_metadata: ParserMetadata::ParserInserted,
        }
    }

    fn may_fetch(&self, request: &Request) -> bool {
        let response = Response { url: request.current_url.clone(), redirect_count: 0 };
        let before = self.policies.should_request_be_blocked(request);
        let after = self.policies.should_response_to_request_be_blocked(request, &response);
        is_allowed(before) && is_allowed(after)
    }

    fn loads(&self, destination: Destination, url: &str) -> bool {
        self.may_fetch(&self.request(destination, url))
    }

    fn runs(&self, kind: InlineCheckType, nonce: Option<&str>) -> bool {
        let element = Element { nonce: nonce.map(Into::into) };
        let policies = &self.policies;
        is_allowed(policies.should_elements_inline_type_behavior_be_blocked(&element, kind, CODE))
    }

    fn does(&self, deed: Deed) -> bool {
        match deed {
            Deed::Load(destination, url) => self.loads(destination, url),
            Deed::Inline(kind) => self.runs(kind, None),
            Deed::Eval => is_allowed(self.policies.is_js_evaluation_allowed(CODE)),
            Deed::Wasm => is_allowed(self.policies.is_wasm_evaluation_allowed()),
        }
    }

    /// Whether one of the policies has a directive that judges this.
    fn judges(&self, deed: Deed) -> bool {
        let mut found = self.policies.0.iter().flat_map(|policy| &policy.directive_set);
        found.any(|directive| judges(deed).contains(&directive.name.as_str()))
    }

    fn has_base(&self, url: &str) -> bool {
        is_allowed(self.policies.is_base_allowed_for_document(&address(url), &self.origin))
    }

    fn sends_forms_to(&self, url: &str) -> bool {
        let mut request = self.request(Destination::Document, url);
        let kind = NavigationCheckType::FormSubmission;
        let same = |url: &str| Some(url.to_owned());
        is_allowed(self.policies.should_navigation_request_be_blocked(&mut request, kind, same))
    }

    fn is_framed_by(&self, url: &str) -> bool {
        let response = Response { url: address("https://site.example/"), redirect_count: 0 };
        let parents = vec![address(url)];
        let policies = &self.policies;
        is_allowed(policies.should_navigation_response_to_navigation_request_be_blocked(
            &response,
            &self.origin,
            &parents,
        ))
    }

    /// The directives of its only policy.
    fn directives(&self) -> Vec<(&str, Vec<&str>)> {
        assert_eq!(self.policies.0.len(), 1);
        let directives = self.policies.0[0].directive_set.iter();
        let named = directives.map(|directive| {
            let words = directive.value.iter().map(String::as_str).collect();
            (directive.name.as_str(), words)
        });
        named.collect()
    }

    fn has(&self, directive: &str) -> bool {
        self.directives().iter().any(|(name, _)| *name == directive)
    }
}

/// The names of the directives that judge this, the first of them that there is (CSP3 §6.8.3).
fn judges(deed: Deed) -> &'static [&'static str] {
    use Destination as To;
    use InlineCheckType as Type;
    match deed {
        Deed::Eval | Deed::Wasm => &["script-src", "default-src"],
        Deed::Inline(Type::Script | Type::Navigation) | Deed::Load(To::Script, _) => {
            &["script-src-elem", "script-src", "default-src"]
        }
        Deed::Inline(Type::ScriptAttribute) => &["script-src-attr", "script-src", "default-src"],
        Deed::Inline(Type::Style) | Deed::Load(To::Style, _) => {
            &["style-src-elem", "style-src", "default-src"]
        }
        Deed::Inline(Type::StyleAttribute) => &["style-src-attr", "style-src", "default-src"],
        Deed::Load(To::Worker, _) => &["worker-src", "child-src", "script-src", "default-src"],
        Deed::Load(To::IFrame, _) => &["frame-src", "child-src", "default-src"],
        Deed::Load(To::Image, _) => &["img-src", "default-src"],
        Deed::Load(To::Font, _) => &["font-src", "default-src"],
        Deed::Load(To::Object, _) => &["object-src", "default-src"],
        Deed::Load(To::Video, _) => &["media-src", "default-src"],
        Deed::Load(To::Manifest, _) => &["manifest-src", "default-src"],
        Deed::Load(..) => &["connect-src", "default-src"],
    }
}

fn deeds() -> Vec<Deed> {
    let urls = [
        "https://site.example/x",
        "https://a.example/x",
        "https://b.example/x",
        "http://c.example/x",
        "data:,x",
    ];
    let loads = LOADS.iter().flat_map(|to| urls.map(|url| Deed::Load(*to, url)));
    loads.chain(INLINE.map(Deed::Inline)).chain([Deed::Eval, Deed::Wasm]).collect()
}

fn layer(policy: Csp) -> SecurityHeadersLayer {
    SecurityHeadersLayer::none().set(policy).unwrap()
}

/// A policy from text, which may be meant to have no `default-src`.
fn csp(text: &str) -> Csp {
    meant(text.parse().unwrap())
}

fn meant(policy: Csp) -> Csp {
    let text = policy.to_string();
    let has_default = text.split(';').any(|one| one.split(' ').next() == Some("default-src"));
    if has_default { policy } else { policy.without_default_src() }
}

fn extended(policy: &str, by: &str) -> Page {
    let overrides = Overrides::new().extend(by.parse().unwrap()).unwrap();
    Handler { overrides: Some(overrides), ..Handler::default() }.answer(&layer(csp(policy)))
}

fn is_allowed((result, _): (CheckResult, Vec<Violation>)) -> bool {
    result == CheckResult::Allowed
}

fn address(url: &str) -> Url {
    Url::parse(url).unwrap()
}

const CODE: &str = "start()";
const OWN: &str = "https://site.example/x";
const OTHER: &str = "https://other.example/x";
const LOADS: [Destination; 10] = [
    Destination::Script,
    Destination::Style,
    Destination::Worker,
    Destination::IFrame,
    Destination::Image,
    Destination::Font,
    Destination::Object,
    Destination::Video,
    Destination::Manifest,
    Destination::None,
];
const INLINE: [InlineCheckType; 5] = [
    InlineCheckType::Script,
    InlineCheckType::ScriptAttribute,
    InlineCheckType::Style,
    InlineCheckType::StyleAttribute,
    InlineCheckType::Navigation,
];

// Presets.

#[test]
fn helmets_policy_lets_a_page_load_its_own_and_little_else() {
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
fn helmets_policy_runs_inline_styles_and_no_inline_scripts() {
    let page = Handler::default().answer(&SecurityHeadersLayer::new());
    for kind in INLINE {
        let is_style = matches!(kind, InlineCheckType::Style | InlineCheckType::StyleAttribute);
        assert_eq!(page.runs(kind, None), is_style, "{kind:?}");
        assert_eq!(page.runs(kind, Some("nonce")), is_style, "{kind:?}");
    }
    assert!(!page.does(Deed::Eval));
    assert!(!page.does(Deed::Wasm));
}

#[test]
fn helmets_policy_keeps_bases_forms_and_frames_on_the_site() {
    let page = Handler::default().answer(&SecurityHeadersLayer::new());
    for (url, is_own) in [(OWN, true), (OTHER, false), ("http://other.example/", false)] {
        assert_eq!(page.has_base(url), is_own, "{url}");
        assert_eq!(page.sends_forms_to(url), is_own, "{url}");
        assert_eq!(page.is_framed_by(url), is_own, "{url}");
    }
    assert!(page.has("upgrade-insecure-requests"));
}

#[test]
fn owasps_policy_lets_nobody_frame_a_page_and_no_plugin_in() {
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
fn the_policy_for_an_api_allows_nothing() {
    let page = Handler::default().answer(&SecurityHeadersLayer::api());
    let done: Vec<_> = deeds().into_iter().filter(|deed| page.does(*deed)).collect();
    assert!(done.is_empty(), "{done:?}");
    assert!(!page.is_framed_by(OWN));
}

// Nonces and hashes.

const STRICT: &str = "default-src 'self'; script-src 'nonce' 'strict-dynamic' 'unsafe-inline' https:; \
                      style-src 'nonce'; object-src 'none'; base-uri 'none'";

#[test]
fn what_has_the_nonce_of_the_response_runs_and_nothing_else_inline() {
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
fn a_script_that_was_loaded_by_one_with_the_nonce_may_be_from_anywhere() {
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
fn the_nonce_of_one_response_runs_nothing_in_the_next() {
    let layer = layer(csp(STRICT));
    let handler = Handler { asks: true, ..Handler::default() };
    let (first, second) = (handler.clone().answer(&layer), handler.answer(&layer));
    assert!(first.runs(InlineCheckType::Script, first.nonce.as_deref()));
    assert!(second.runs(InlineCheckType::Script, second.nonce.as_deref()));
    assert!(!first.runs(InlineCheckType::Script, second.nonce.as_deref()));
    assert!(!second.runs(InlineCheckType::Script, first.nonce.as_deref()));
}

#[test]
fn where_nobody_asked_for_the_nonce_nothing_runs_inline_whatever_is_said_for_old_browsers() {
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
fn where_nobody_asked_for_the_nonce_hosts_and_hashes_still_count() {
    let hash = format!("'sha256-{}'", HashAlgorithm::Sha256.apply(CODE));
    let policy = csp("default-src 'self'; script-src 'nonce' 'unsafe-inline' https://a.example");
    let page = Page::of(policy.append(Directive::SCRIPT_SRC, [hash]));
    assert!(page.loads(Destination::Script, "https://a.example/x"));
    assert!(!page.loads(Destination::Script, OTHER));
    assert!(page.runs(InlineCheckType::Script, None));
    assert!(!page.runs(InlineCheckType::ScriptAttribute, None));
}

#[test]
fn a_script_whose_hash_is_named_runs_inline_and_no_other() {
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
fn a_digest_stays_as_it_is_however_its_algorithm_is_written() {
    let digest = HashAlgorithm::Sha256.apply(CODE);
    for algorithm in ["sha256", "SHA256", "Sha256"] {
        let policy = csp(&format!("default-src 'none'; script-src '{algorithm}-{digest}'"));
        assert!(Page::of(policy).runs(InlineCheckType::Script, None), "{algorithm}");
    }
}

#[test]
fn a_host_stands_for_what_it_says() {
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
        for source in [Source::host(host), Source::from(host)] {
            let page = Page::of(Csp::new().set(Directive::DEFAULT_SRC, [source]));
            assert_eq!(page.loads(Destination::None, url), is_it, "{host} and {url}");
        }
    }
}

#[test]
fn what_only_looks_like_a_nonce_or_a_hash_is_refused() {
    let digest = HashAlgorithm::Sha256.apply(CODE);
    for source in [
        "nonce".to_owned(),
        format!("'sha256-{digest}"),
        format!("'sha256-{digest}x"),
        format!("'sha256-{digest}\""),
        format!("'sha256-{digest}="),
        format!("sha256-{digest}"),
        format!("'sha384-{digest}'"),
        "'nonce-'".to_owned(),
        "'nonce-abc'".to_owned(),
        "'nonce".to_owned(),
    ] {
        let text = format!("default-src {source}");
        assert!(text.parse::<Csp>().is_err(), "{text}");
        let policy = Csp::new().set(Directive::DEFAULT_SRC, [source]);
        assert!(SecurityHeadersLayer::none().set(policy).is_err(), "{text}");
    }
}

#[test]
fn a_policy_that_parses_can_be_set() {
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
fn a_nonce_stands_only_where_it_is_a_word_of_its_own() {
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
fn a_policy_that_only_reports_has_the_nonce_of_the_one_that_blocks() {
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

// Changing a policy.

#[test]
fn what_is_appended_is_allowed_beside_what_held_before() {
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
fn workers_and_frames_keep_what_the_directive_in_their_place_allowed() {
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
fn an_own_child_src_does_not_take_workers_from_the_scripts() {
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
        let differ = |deed: &Deed| page.does(*deed) != before.does(*deed);
        assert_eq!(deeds().iter().filter(|deed| differ(deed)).count(), 0, "{directive}");
    }
}

#[test]
fn what_is_removed_is_judged_by_what_stands_behind_it() {
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
fn a_merged_policy_allows_what_either_of_both_allowed() {
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
fn merging_a_policy_that_allows_nothing_more_changes_nothing() {
    let more = csp("default-src 'none'; script-src 'none'; frame-ancestors 'none'");
    let merged = SecurityHeadersLayer::none().set(Csp::helmet().merge(&more));
    let page = Handler::default().answer(&merged.unwrap());
    assert_eq!(page.directives(), Page::of(Csp::helmet()).directives());
}

#[test]
fn what_a_merged_default_src_allows_goes_to_no_directive_that_neither_policy_had_it_for() {
    let first = csp("default-src 'self'");
    let second = csp("default-src https://b.example; script-src https://s.example");
    let script = |policy: Csp| Page::of(policy).loads(Destination::Script, "https://b.example/x");
    assert!(!script(first.clone()));
    assert!(!script(second.clone()));
    assert!(!script(first.merge(&second)));
}

#[test]
fn what_a_merged_default_src_allows_goes_to_the_directives_that_it_stood_in_for() {
    let first = csp("default-src 'none'; img-src https://a.example");
    let second = csp("default-src https://b.example");
    let page = Page::of(first.merge(&second));
    assert!(page.loads(Destination::Image, "https://a.example/x"));
    assert!(page.loads(Destination::Image, "https://b.example/x"));
}

// The other directives.

#[test]
fn each_flag_of_a_sandbox_allows_something() {
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
fn by_http_the_policy_is_the_same_but_that_it_upgrades_nothing() {
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
fn by_http_a_nonce_counts_too() {
    let policy = Csp::helmet().append(Directive::SCRIPT_SRC, [Source::NONCE]);
    let layer = layer(policy).https_if(forwarded_proto);
    let page = Handler { by_http: true, asks: true, ..Handler::default() }.answer(&layer);
    assert!(page.runs(InlineCheckType::Script, page.nonce.as_deref()));
    assert!(!page.runs(InlineCheckType::Script, None));
    assert!(!page.has("upgrade-insecure-requests"));
}

// One response.

#[test]
fn an_extension_holds_for_its_response_alone() {
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
fn an_extension_changes_the_policy_of_its_kind_and_no_other() {
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
fn an_extended_policy_has_the_nonce_as_the_other_has() {
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
fn an_extension_for_inline_code_does_not_open_a_page_that_did_not_ask_for_its_nonce() {
    let page = extended("default-src 'self'; script-src 'nonce'", "script-src 'unsafe-inline'");
    assert!(!page.runs(InlineCheckType::Script, None));
    assert!(!page.runs(InlineCheckType::ScriptAttribute, None));
}

#[test]
fn an_extended_policy_is_still_one_that_parses() {
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
fn an_extension_is_sent_by_http_where_the_layers_policy_only_upgrades() {
    let layer = layer(csp("upgrade-insecure-requests")).https_if(forwarded_proto);
    let more = Overrides::new().extend(csp("frame-ancestors 'none'")).unwrap();
    for by_http in [false, true] {
        let handler = Handler { by_http, overrides: Some(more.clone()), ..Handler::default() };
        assert!(!handler.answer(&layer).is_framed_by(OTHER), "by HTTP: {by_http}");
    }
}

// Properties.

/// What is done to a policy.
#[derive(Clone, Debug)]
enum Edit {
    Set(Directive, Vec<String>),
    Append(Directive, Vec<String>),
    Remove(Directive),
    Merge(Csp),
}

/// Where what is allowed does not depend on what else is.
const FETCH: [Directive; 12] = [
    Directive::DEFAULT_SRC,
    Directive::SCRIPT_SRC,
    Directive::SCRIPT_SRC_ELEM,
    Directive::SCRIPT_SRC_ATTR,
    Directive::STYLE_SRC,
    Directive::STYLE_SRC_ELEM,
    Directive::STYLE_SRC_ATTR,
    Directive::CHILD_SRC,
    Directive::FRAME_SRC,
    Directive::WORKER_SRC,
    Directive::IMG_SRC,
    Directive::CONNECT_SRC,
];
const SOURCES: [&str; 10] = [
    "'self'",
    "https://a.example",
    "https://b.example",
    "http://c.example",
    "https:",
    "data:",
    "*",
    "'unsafe-inline'",
    "'unsafe-eval'",
    "'wasm-unsafe-eval'",
];

/// Words that this directive may have together.
fn words(directive: Directive) -> BoxedStrategy<Vec<String>> {
    let some = |words: &[&str], least: usize| {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        let most = words.len();
        subsequence(words, least..=most).prop_shuffle().boxed()
    };
    match directive {
        Directive::REPORT_TO => Just(vec!["reports".to_owned()]).boxed(),
        Directive::REPORT_URI => some(&["/reports", "https://r.example/a?b=c%2Cd"], 1),
        Directive::REQUIRE_TRUSTED_TYPES_FOR => some(&["'script'"], 1),
        Directive::SANDBOX => some(&["allow-forms", "allow-scripts", "allow-same-origin"], 0),
        Directive::TRUSTED_TYPES => some(&["one", "a#=_/@.%-", "*", "'allow-duplicates'"], 0),
        Directive::UPGRADE_INSECURE_REQUESTS => some(&[], 0),
        Directive::WEBRTC => Just(vec!["'block'".to_owned()]).boxed(),
        Directive::FRAME_ANCESTORS => prop_oneof![
            1 => some(&["'none'"], 1),
            4 => some(&["'self'", "https:", "*.a.example", "https://b.example:8443"], 1),
        ]
        .boxed(),
        _ => prop_oneof![
            1 => some(&["'none'"], 1),
            9 => prop::collection::hash_set(source(), 1..5).prop_map(Vec::from_iter),
        ]
        .boxed(),
    }
}

fn source() -> impl Strategy<Value = String> {
    let keywords = [
        "'self'",
        "'nonce'",
        "'unsafe-inline'",
        "'unsafe-eval'",
        "'unsafe-hashes'",
        "'strict-dynamic'",
        "'report-sample'",
        "'wasm-unsafe-eval'",
        "*",
        "data:",
        "wss:",
        "web+x.y:",
    ];
    prop_oneof![
        select(keywords.to_vec()).prop_map(str::to_owned),
        any::<[u8; 32]>().prop_map(|digest| Source::sha256(digest).to_string()),
        any::<([u8; 32], [u8; 32])>().prop_map(|digest| {
            let digest = [digest.0, digest.1].concat();
            Source::sha512(digest.try_into().unwrap()).to_string()
        }),
        "((https|wss|x)://)?(\\*\\.)?x[a-zA-Z0-9-]{0,5}(\\.[a-z0-9-]{1,5}){0,2}(:([0-9]{1,4}|\\*))?(/[a-z0-9._~!$&'()*+=:@%-]{1,6}){0,3}",
    ]
}

fn policy() -> impl Strategy<Value = Csp> {
    let directives = subsequence(DIRECTIVES.to_vec(), 1..7).prop_shuffle();
    let valued = directives.prop_flat_map(|directives| {
        let one = |directive| (Just(directive), words(directive));
        directives.into_iter().map(one).collect::<Vec<_>>()
    });
    valued.prop_map(|list| {
        list.into_iter().fold(Csp::new(), |policy, (name, words)| policy.set(name, words))
    })
}

fn edit() -> impl Strategy<Value = Edit> {
    let of =
        || select(&DIRECTIVES[..]).prop_flat_map(|directive| (Just(directive), words(directive)));
    let more = of().prop_filter("nothing is appended where 'none' is", |(_, words)| {
        !words.iter().any(|word| word == "'none'")
    });
    prop_oneof![
        of().prop_map(|(directive, words)| Edit::Set(directive, words)),
        more.prop_map(|(directive, words)| Edit::Append(directive, words)),
        select(&DIRECTIVES[..]).prop_map(Edit::Remove),
        policy().prop_map(Edit::Merge),
    ]
}

fn edited(policy: Csp, edit: Edit) -> Csp {
    match edit {
        Edit::Set(directive, words) => policy.set(directive, words),
        Edit::Append(directive, words) => policy.append(directive, words),
        Edit::Remove(directive) => policy.remove(directive),
        Edit::Merge(other) => policy.merge(&other),
    }
}

/// A policy of hosts, schemes and what else counts whatever stands beside it: no nonces, no hashes.
fn fetch_policy() -> impl Strategy<Value = Csp> {
    let directives = subsequence(FETCH.to_vec(), 1..6).prop_shuffle();
    let words = prop_oneof![1 => Just(vec!["'none'"]), 3 => fetch_words()];
    let words = prop::collection::vec(words, FETCH.len());
    (directives, words).prop_map(|(directives, words)| {
        let one = |policy: Csp, (directive, words): (_, Vec<_>)| policy.set(directive, words);
        meant(directives.into_iter().zip(words).fold(Csp::new(), one))
    })
}

fn fetch_words() -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(SOURCES.to_vec(), 1..4)
}

fn with_reports(policy: Csp) -> SecurityHeadersLayer {
    let reports = Endpoint::new("reports", "/reports");
    SecurityHeadersLayer::none().set(&reports).unwrap().set(policy).unwrap()
}

/// What a word may be sent as: the case of keywords and of algorithms does not count.
fn is_sent_as(directive: &str, given: &str, sent: &str, nonce: Option<&str>) -> bool {
    if directive == "report-uri" || !given.starts_with('\'') {
        return given == sent;
    }
    let is_nonce = given.eq_ignore_ascii_case("'nonce'")
        && nonce.is_some_and(|nonce| sent == format!("'nonce-{nonce}'"));
    let is_digest = given.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("'sha"));
    let is_exact = !is_digest || given.get(8..) == sent.get(8..);
    is_nonce || is_exact && given.eq_ignore_ascii_case(sent)
}

/// What may come into a policy from where it should not.
fn hostile() -> impl Strategy<Value = String> {
    let nasty = [
        "",
        " ",
        ";",
        ",",
        "'",
        "\n",
        "\r\n",
        "\t",
        "\0",
        "\u{b}",
        "\u{a0}",
        "\u{e9}",
        "\u{2028}",
        "*",
        "'none'",
        "'nonce'",
        "'self'",
        "'unsafe-inline'",
        "script-src",
        "h.example",
        "h.example/'nonce'",
        "https://",
        "/",
        ":",
        "%3B",
        "\\",
        "\"",
    ];
    let pieces = prop::collection::vec(select(nasty.to_vec()), 1..4).prop_map(|list| list.concat());
    prop_oneof![2 => pieces, 1 => "[ -~]{0,12}", 1 => any::<String>(), 3 => source()]
}

/// Text that is nearly a policy, or nothing like one.
fn text() -> impl Strategy<Value = String> {
    let names = DIRECTIVES.map(Directive::name);
    let name = prop_oneof![
        9 => select(names.to_vec()).prop_map(str::to_owned),
        1 => select(names.to_vec()).prop_map(str::to_ascii_uppercase),
        1 => hostile(),
    ];
    let word = prop_oneof![
        6 => select(&DIRECTIVES[..]).prop_flat_map(words).prop_map(|words| words.join(" ")),
        3 => source(),
        1 => source().prop_map(|source| source.to_ascii_uppercase()),
        1 => hostile(),
    ];
    let gap = || select(&[" ", "  ", "\t", ""][..]);
    let directive = (gap(), name, prop::collection::vec(word, 0..3), gap()).prop_map(
        |(before, name, words, after)| format!("{before}{name} {}{after}", words.join(" ")),
    );
    let policy = prop::collection::vec(directive, 0..4).prop_map(|list| list.join(";"));
    prop_oneof![9 => policy, 1 => any::<String>()]
}

fn judged_before(page: &Page) -> Vec<Deed> {
    deeds().into_iter().filter(|deed| page.judges(*deed) && page.does(*deed)).collect()
}

proptest! {
    #[test]
    fn whatever_is_done_to_a_policy_it_is_sent_as_it_parses(
        first in policy(),
        edits in prop::collection::vec(edit(), 0..5),
    ) {
        let policy = edits.into_iter().fold(first, edited);
        let text = policy.to_string();
        if text.is_empty() {
            return Ok(());
        }
        prop_assert_eq!(&csp(&text), &meant(policy.clone()), "{}", text);
        let page = Handler { asks: true, ..Handler::default() }.answer(&with_reports(meant(policy)));
        let expected = CspList::parse(&text, PolicySource::Header, PolicyDisposition::Enforce);
        let sent = page.directives();
        prop_assert_eq!(sent.len(), expected.0[0].directive_set.len());
        prop_assert!(page.policies.is_valid());
        for ((name, sent), expected) in sent.iter().zip(&expected.0[0].directive_set) {
            prop_assert_eq!(name, &expected.name);
            prop_assert_eq!(sent.len(), expected.value.len());
            for (sent, given) in sent.iter().zip(&expected.value) {
                let nonce = page.nonce.as_deref();
                prop_assert!(is_sent_as(name, given, sent, nonce), "{given} as {sent}");
            }
        }
    }

    #[test]
    fn a_word_stays_in_the_directive_that_it_was_given_to(
        directive in prop_oneof![
            4 => select(&DIRECTIVES[..]),
            1 => select(&["x", "x;script-src", "x,y", "x y", "", "X", "x\n", "plugin-types"][..])
                .prop_map(Custom),
        ],
        given in prop::collection::vec(hostile(), 0..4),
        asks in any::<bool>(),
    ) {
        let policy = Csp::new().set(Directive::DEFAULT_SRC, [Source::SELF]).set(directive, given.clone());
        let reports = SecurityHeadersLayer::none().set(Endpoint::new("reports", "/")).unwrap();
        let Ok(layer) = reports.set(policy) else { return Ok(()) };
        let page = Handler { asks, ..Handler::default() }.answer(&layer);
        let sent = page.directives();
        let mut names = vec!["default-src", directive.name()];
        names.dedup();
        prop_assert_eq!(sent.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names);
        let (name, words) = sent.last().unwrap();
        let asked = page.nonce.as_deref();
        if asks || !given.iter().any(|word| word.eq_ignore_ascii_case("'nonce'")) {
            prop_assert_eq!(words.len(), given.len());
            for (sent, given) in words.iter().zip(&given) {
                prop_assert!(is_sent_as(name, given, sent, asked), "{given:?} as {sent}");
            }
        }
    }

    #[test]
    fn what_is_said_to_be_a_host_opens_nothing_but_a_host(
        given in prop_oneof![
            hostile(),
            "(https?://)?\\*?\\.?[a-z]{0,3}:?[0-9*]{0,2}/?",
        ],
    ) {
        let policy = Csp::new().set(Directive::DEFAULT_SRC, [Source::host(given.clone())]);
        let Ok(layer) = SecurityHeadersLayer::none().set(policy) else { return Ok(()) };
        let page = Handler::default().answer(&layer);
        for deed in deeds() {
            prop_assert!(!page.does(deed), "{given:?} lets the page {deed:?}");
        }
    }

    #[test]
    fn what_parses_is_sent_with_the_words_that_it_has(text in text()) {
        let Ok(policy) = text.parse::<Csp>() else { return Ok(()) };
        let checked = Csp::from_static(Box::leak(text.clone().into_boxed_str()));
        prop_assert_eq!(&checked, &policy);
        let again: Csp = policy.to_string().parse().map_err(|error| {
            TestCaseError::fail(format!("{text:?} as {policy}: {error}"))
        })?;
        prop_assert_eq!(again.to_string(), policy.to_string());
        prop_assert_eq!(&again, &policy);
        let has_reports = policy.to_string().split(';').any(|one| one == "report-to reports");
        if !has_reports && policy.to_string().contains("report-to") {
            return Ok(());
        }
        let page = Handler { asks: true, ..Handler::default() }.answer(&with_reports(meant(policy)));
        let given = CspList::parse(&text, PolicySource::Header, PolicyDisposition::Enforce);
        let sent = page.directives();
        prop_assert_eq!(sent.len(), given.0[0].directive_set.len());
        for ((name, sent), given) in sent.iter().zip(&given.0[0].directive_set) {
            prop_assert_eq!(name, &given.name);
            prop_assert_eq!(sent.len(), given.value.len());
            for (sent, given) in sent.iter().zip(&given.value) {
                let nonce = page.nonce.as_deref();
                prop_assert!(is_sent_as(name, given, sent, nonce), "{given} as {sent}");
            }
        }
    }

    #[test]
    fn a_page_that_did_not_ask_for_its_nonce_does_what_it_does_without_one(policy in policy()) {
        let policy = meant(policy);
        let layer = with_reports(policy);
        let asked = Handler { asks: true, ..Handler::default() }.answer(&layer);
        let silent = Handler::default().answer(&layer);
        for deed in deeds() {
            prop_assert_eq!(silent.does(deed), asked.does(deed), "{:?}", deed);
        }
    }

    #[test]
    fn what_is_appended_takes_nothing_away_and_adds_nothing_else(
        policy in fetch_policy(),
        directive in select(&FETCH[..]),
        words in fetch_words(),
    ) {
        let before = Page::of(policy.clone());
        let alone = Page::of(meant(Csp::new().set(directive, words.clone())));
        let after = Page::of(meant(policy.append(directive, words)));
        for deed in judged_before(&before) {
            prop_assert!(after.does(deed), "{deed:?} before, not after");
        }
        for deed in deeds() {
            let may = before.does(deed) || alone.does(deed);
            prop_assert!(may || !after.does(deed), "{deed:?} after, not before");
            if judges(deed)[0] == directive.name() && alone.does(deed) {
                prop_assert!(after.does(deed), "{deed:?} is not added");
            }
        }
    }

    #[test]
    fn a_merged_policy_allows_what_either_allows_and_nothing_else(
        first in fetch_policy(),
        second in fetch_policy(),
    ) {
        let pages = [Page::of(first.clone()), Page::of(second.clone())];
        let merged = Page::of(first.merge(&second));
        for page in &pages {
            for deed in judged_before(page) {
                prop_assert!(merged.does(deed), "{deed:?} before, not after");
            }
        }
        for deed in deeds() {
            let may = pages.iter().any(|page| page.does(deed));
            prop_assert!(may || !merged.does(deed), "{deed:?} after, not before");
        }
    }
}
