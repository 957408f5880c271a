//! Policies of responses as a browser applies them: the parser and the rules are those of Servo's
//! `content-security-policy`.

mod edits;
mod pages;
mod properties;
mod responses;

use std::convert::Infallible;
use std::future::ready;

use content_security_policy::{
    CheckResult, CspList, Destination, Element, Initiator, InlineCheckType, NavigationCheckType,
    Origin, ParserMetadata, PolicyDisposition, PolicySource, Request, Response, Url, Violation,
};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY};
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::SecurityHeadersLayer;
use tower_kit::security_headers::{Csp, Nonce, Overrides};

use crate::support::now;

/// The behavior of the handler of a page.
#[derive(Clone, Default)]
struct Handler {
    asks: bool,
    overrides: Option<Overrides>,
    by_http: bool,
}

/// A page of `site.example` with its policies.
struct Page {
    policies: CspList,
    /// The nonce, if the handler has asked for one.
    nonce: Option<String>,
    origin: Origin,
}

/// An action of a page that a policy may forbid, without a nonce.
#[derive(Clone, Copy, Debug)]
enum Action {
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
    /// Returns the page of a handler that does not ask for the nonce.
    fn of(policy: Csp) -> Self {
        Handler::default().answer(&layer(policy))
    }

    fn asking(policy: Csp) -> Self {
        Handler { asks: true, ..Handler::default() }.answer(&layer(policy))
    }

    /// Returns the request of an element in the page.
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

    fn does(&self, action: Action) -> bool {
        match action {
            Action::Load(destination, url) => self.loads(destination, url),
            Action::Inline(kind) => self.runs(kind, None),
            Action::Eval => is_allowed(self.policies.is_js_evaluation_allowed(CODE)),
            Action::Wasm => is_allowed(self.policies.is_wasm_evaluation_allowed()),
        }
    }

    /// Returns `true` if a policy has a directive for this action.
    fn governs(&self, action: Action) -> bool {
        let mut found = self.policies.0.iter().flat_map(|policy| &policy.directive_set);
        found.any(|directive| governs(action).contains(&directive.name.as_str()))
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

    /// Returns the directives of the only policy.
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

/// Returns the directives for an action, in the order of their fallbacks (CSP3 §6.8.3).
fn governs(action: Action) -> &'static [&'static str] {
    use Destination as To;
    use InlineCheckType as Type;
    match action {
        Action::Eval | Action::Wasm => &["script-src", "default-src"],
        Action::Inline(Type::Script | Type::Navigation) | Action::Load(To::Script, _) => {
            &["script-src-elem", "script-src", "default-src"]
        }
        Action::Inline(Type::ScriptAttribute) => &["script-src-attr", "script-src", "default-src"],
        Action::Inline(Type::Style) | Action::Load(To::Style, _) => {
            &["style-src-elem", "style-src", "default-src"]
        }
        Action::Inline(Type::StyleAttribute) => &["style-src-attr", "style-src", "default-src"],
        Action::Load(To::Worker, _) => &["worker-src", "child-src", "script-src", "default-src"],
        Action::Load(To::IFrame, _) => &["frame-src", "child-src", "default-src"],
        Action::Load(To::Image, _) => &["img-src", "default-src"],
        Action::Load(To::Font, _) => &["font-src", "default-src"],
        Action::Load(To::Object, _) => &["object-src", "default-src"],
        Action::Load(To::Video, _) => &["media-src", "default-src"],
        Action::Load(To::Manifest, _) => &["manifest-src", "default-src"],
        Action::Load(..) => &["connect-src", "default-src"],
    }
}

fn actions() -> Vec<Action> {
    let urls = [
        "https://site.example/x",
        "https://a.example/x",
        "https://b.example/x",
        "http://c.example/x",
        "data:,x",
    ];
    let loads = LOADS.iter().flat_map(|to| urls.map(|url| Action::Load(*to, url)));
    loads.chain(INLINE.map(Action::Inline)).chain([Action::Eval, Action::Wasm]).collect()
}

fn layer(policy: Csp) -> SecurityHeadersLayer {
    SecurityHeadersLayer::none().set(policy).unwrap()
}

/// Parses a policy, which need not have a `default-src`.
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
