//! Precedence between a handler, its overrides and the layer.

use std::convert::Infallible;
use std::future::ready;
use std::time::Duration;

use axum::routing::get;
use axum::{Extension, Router};
use http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY, REFERRER_POLICY, SERVER,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderName, Request, Response, StatusCode};
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::SecurityHeadersLayer;
use tower_kit::security_headers::{
    Coop, Csp, Directive, FINGERPRINT_HEADERS, FrameOptions, Hsts, Nonce, Overrides,
    ReferrerPolicy, Source,
};

use crate::support::{Server, now};

pub(crate) const CSP: HeaderName = CONTENT_SECURITY_POLICY;
pub(crate) const REPORTED: HeaderName = CONTENT_SECURITY_POLICY_REPORT_ONLY;

/// Returns the response of the layer to this response of the handler.
pub(crate) fn stamped(layer: &SecurityHeadersLayer, response: Response<()>) -> Response<()> {
    answer(layer, Request::new(()), |_| response)
}

pub(crate) fn answer(
    layer: &SecurityHeadersLayer,
    request: Request<()>,
    handler: impl FnOnce(Request<()>) -> Response<()>,
) -> Response<()> {
    let mut handler = Some(handler);
    let handler = move |request| {
        let handler = handler.take().expect("one call");
        ready(Ok::<_, Infallible>(handler(request)))
    };
    now(layer.layer(service_fn(handler)).oneshot(request)).unwrap()
}

pub(crate) fn own(fields: &[(&HeaderName, &str)]) -> Response<()> {
    let fields = fields.iter().copied();
    fields.fold(Response::builder(), |to, (name, value)| to.header(name, value)).body(()).unwrap()
}

pub(crate) fn with(overrides: &Overrides, mut response: Response<()>) -> Response<()> {
    response.extensions_mut().insert(overrides.clone());
    response
}

pub(crate) fn lines<'a>(response: &'a Response<()>, name: &HeaderName) -> Vec<&'a str> {
    response.headers().get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

pub(crate) fn policy(text: &'static str) -> Csp {
    Csp::from_static(text)
}

pub(crate) fn strict() -> SecurityHeadersLayer {
    SecurityHeadersLayer::none()
        .set(policy("default-src 'self'; upgrade-insecure-requests"))
        .and_then(|layer| layer.set(Hsts::new(Duration::from_secs(60))))
        .and_then(|layer| layer.set(FrameOptions::DENY))
        .and_then(|layer| layer.set(ReferrerPolicy::NO_REFERRER))
        .unwrap()
}

/// Uses the nonce, and returns it in a header of the response.
pub(crate) fn asking(request: &Request<()>, mut response: Response<()>) -> Response<()> {
    let nonce = request.extensions().get::<Nonce>().expect("a nonce").as_str();
    response.headers_mut().insert("x-nonce", nonce.parse().unwrap());
    response
}

pub(crate) fn nonce(response: &Response<()>) -> &str {
    response.headers()["x-nonce"].to_str().unwrap()
}

#[test]
fn override_header_replaces_all_lines() {
    let layer = strict().override_header(CSP);
    let handler = || {
        own(&[
            (&CSP, "img-src *"),
            (&X_FRAME_OPTIONS, "SAMEORIGIN"),
            (&CSP, "font-src *"),
            (&REPORTED, "default-src *"),
        ])
    };
    let response = stamped(&layer, handler());
    assert_eq!(lines(&response, &CSP), ["default-src 'self';upgrade-insecure-requests"]);
    assert_eq!(lines(&response, &X_FRAME_OPTIONS), ["SAMEORIGIN"]);
    assert_eq!(lines(&response, &REPORTED), ["default-src *"]);
    let response = stamped(&strict().override_all(), handler());
    assert_eq!(lines(&response, &CSP), ["default-src 'self';upgrade-insecure-requests"]);
    assert_eq!(lines(&response, &X_FRAME_OPTIONS), ["DENY"]);
    assert_eq!(lines(&response, &REPORTED), ["default-src *"], "the layer has none");
}

#[test]
fn the_order_of_override_and_set_is_free() {
    let handler = || own(&[(&X_FRAME_OPTIONS, "SAMEORIGIN"), (&REFERRER_POLICY, "origin")]);
    let none = SecurityHeadersLayer::none;
    let layers = [
        none().override_header(X_FRAME_OPTIONS).set(FrameOptions::DENY).unwrap(),
        none().set(FrameOptions::DENY).unwrap().override_header(X_FRAME_OPTIONS),
        none().override_all().set(FrameOptions::DENY).unwrap(),
        none().set(FrameOptions::DENY).unwrap().override_all().override_header(REFERRER_POLICY),
    ];
    for layer in layers {
        let response = stamped(&layer, handler());
        assert_eq!(lines(&response, &X_FRAME_OPTIONS), ["DENY"]);
        assert_eq!(lines(&response, &REFERRER_POLICY), ["origin"]);
    }
}

#[test]
fn custom_headers_override_too() {
    let name = HeaderName::from_static("x-own");
    let layer = SecurityHeadersLayer::none().custom("x-own", "layer").unwrap();
    let handler = || own(&[(&name, "1"), (&name, "2")]);
    assert_eq!(lines(&stamped(&layer, handler()), &name), ["1", "2"]);
    let layer = layer.override_header(name.clone());
    assert_eq!(lines(&stamped(&layer, handler()), &name), ["layer"]);
}

#[test]
fn overriding_policies_keep_their_nonce() {
    let layer = SecurityHeadersLayer::none().set(policy("default-src 'nonce'")).unwrap();
    let layer = layer.override_header(CSP);
    let handler = |request: Request<()>| asking(&request, own(&[(&CSP, "img-src *")]));
    let response = answer(&layer, Request::new(()), handler);
    assert_eq!(lines(&response, &CSP), [format!("default-src 'nonce-{}'", nonce(&response))]);
    assert!(response.headers()[CSP].is_sensitive());
}

/// The policy of the handler would replace the stored one, which is the layer's.
#[test]
fn a_304_drops_overridden_policies() {
    let layer = SecurityHeadersLayer::none().set(policy("default-src 'nonce'")).unwrap();
    let layer = layer.set(FrameOptions::DENY).unwrap().override_all();
    let handler = |request: Request<()>| {
        let fields = [(&CSP, "img-src *"), (&X_FRAME_OPTIONS, "SAMEORIGIN")];
        let mut response = asking(&request, own(&fields));
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    };
    let response = answer(&layer, Request::new(()), handler);
    assert_eq!(lines(&response, &CSP), [""; 0]);
    assert_eq!(lines(&response, &X_FRAME_OPTIONS), ["DENY"]);
}

#[test]
fn overrides_remove_set_and_extend() {
    let overrides = Overrides::new()
        .remove(REFERRER_POLICY)
        .set(FrameOptions::SAMEORIGIN)
        .and_then(|more| more.set(Coop::SAME_ORIGIN))
        .and_then(|more| {
            more.extend(Csp::new().set(Directive::IMG_SRC, ["https://images.example"]))
        })
        .unwrap();
    let response = stamped(&strict(), with(&overrides, Response::new(())));
    let value =
        "default-src 'self';upgrade-insecure-requests;img-src 'self' https://images.example";
    assert_eq!(lines(&response, &CSP), [value]);
    assert_eq!(lines(&response, &X_FRAME_OPTIONS), ["SAMEORIGIN"]);
    assert_eq!(lines(&response, &REFERRER_POLICY), [""; 0]);
    assert_eq!(lines(&response, &STRICT_TRANSPORT_SECURITY), ["max-age=60"]);
    let opener = HeaderName::from_static("cross-origin-opener-policy");
    assert_eq!(lines(&response, &opener), ["same-origin"]);
    assert!(response.extensions().get::<Overrides>().is_none(), "the layer takes it out");
    let next = stamped(&strict(), Response::new(()));
    assert_eq!(lines(&next, &REFERRER_POLICY), ["no-referrer"], "the next one is as ever");
}

#[test]
fn empty_overrides_change_nothing() {
    let plain = stamped(&strict(), Response::new(()));
    let response = stamped(&strict(), with(&Overrides::new(), Response::new(())));
    assert_eq!(response.headers(), plain.headers());
}

#[test]
fn the_last_override_of_a_header_counts() {
    let set = || Overrides::new().set(FrameOptions::SAMEORIGIN).unwrap();
    let response = stamped(&strict(), with(&set().remove(X_FRAME_OPTIONS), Response::new(())));
    assert_eq!(lines(&response, &X_FRAME_OPTIONS), [""; 0]);
    let again = Overrides::new().remove(X_FRAME_OPTIONS).set(FrameOptions::SAMEORIGIN).unwrap();
    let response = stamped(&strict(), with(&again, Response::new(())));
    assert_eq!(lines(&response, &X_FRAME_OPTIONS), ["SAMEORIGIN"]);
    let twice = set().set(FrameOptions::DENY).unwrap();
    let response = stamped(&strict(), with(&twice, Response::new(())));
    assert_eq!(lines(&response, &X_FRAME_OPTIONS), ["DENY"]);
}

#[test]
fn extensions_add_up_by_disposition() {
    let images = |host| Csp::new().set(Directive::IMG_SRC, [Source::host(host).unwrap()]);
    let overrides = Overrides::new()
        .extend(images("a.example"))
        .and_then(|more| more.extend(images("b.example")))
        .and_then(|more| more.extend(images("c.example").report_only()))
        .unwrap();
    let layer = SecurityHeadersLayer::none().set(policy("default-src 'none'")).unwrap();
    let response = stamped(&layer, with(&overrides, Response::new(())));
    assert_eq!(lines(&response, &CSP), ["default-src 'none';img-src a.example b.example"]);
    assert_eq!(lines(&response, &REPORTED), [""; 0], "there is no such policy to extend");
    let layer = layer.set(policy("default-src 'self'").report_only()).unwrap();
    let response = stamped(&layer, with(&overrides, Response::new(())));
    assert_eq!(lines(&response, &REPORTED), ["default-src 'self';img-src 'self' c.example"]);
}

/// Browsers ignore `'none'` beside other sources, and `Csp` refuses it.
#[test]
fn extensions_put_none_beside_nothing() {
    let none = Csp::new()
        .set(Directive::IMG_SRC, [Source::NONE])
        .set(Directive::CONNECT_SRC, [Source::NONE]);
    let layer = SecurityHeadersLayer::none().set(policy("default-src 'self'; img-src a.example"));
    let Ok(overrides) = Overrides::new().extend(none) else { return };
    let response = stamped(&layer.unwrap(), with(&overrides, Response::new(())));
    for directive in lines(&response, &CSP)[0].split(';') {
        let mut words = directive.split(' ').skip(1);
        let none = words.clone().any(|word| word == "'none'");
        assert!(!none || words.nth(1).is_none(), "{directive}");
    }
}

/// `Csp` refuses a second value too.
#[test]
fn extensions_keep_single_values_single() {
    let allow = Csp::new().set(Directive::WEBRTC, ["'allow'"]);
    let layer = SecurityHeadersLayer::none().set(policy("default-src 'self'; webrtc 'block'"));
    let Ok(overrides) = Overrides::new().extend(allow) else { return };
    let response = stamped(&layer.unwrap(), with(&overrides, Response::new(())));
    let one = ["default-src 'self';webrtc 'block'", "default-src 'self';webrtc 'allow'"];
    assert!(one.contains(&lines(&response, &CSP)[0]), "{:?}", lines(&response, &CSP));
}

#[test]
fn extensions_replace_none() {
    let partner = Csp::new().set(Directive::FRAME_ANCESTORS, ["https://partner.example"]);
    let overrides = Overrides::new().extend(partner).unwrap();
    let response = stamped(&SecurityHeadersLayer::api(), with(&overrides, Response::new(())));
    let value = "default-src 'none';frame-ancestors https://partner.example";
    assert_eq!(lines(&response, &CSP), [value]);
}

#[test]
fn headers_of_the_handler_beat_overrides() {
    let overrides = Overrides::new()
        .remove(REFERRER_POLICY)
        .set(FrameOptions::SAMEORIGIN)
        .and_then(|more| more.extend(Csp::new().set(Directive::IMG_SRC, ["*"])))
        .unwrap();
    let handler = own(&[
        (&REFERRER_POLICY, "origin"),
        (&X_FRAME_OPTIONS, "ALLOWALL"),
        (&CSP, "img-src a.example"),
    ]);
    let response = stamped(&strict(), with(&overrides, handler));
    assert_eq!(lines(&response, &REFERRER_POLICY), ["origin"]);
    assert_eq!(lines(&response, &X_FRAME_OPTIONS), ["ALLOWALL"]);
    assert_eq!(lines(&response, &CSP), ["img-src a.example"]);
}

#[test]
fn overridden_headers_ignore_overrides() {
    let overrides = Overrides::new()
        .remove(REFERRER_POLICY)
        .set(FrameOptions::SAMEORIGIN)
        .and_then(|more| more.extend(Csp::new().set(Directive::IMG_SRC, ["*"])))
        .unwrap();
    let plain = stamped(&strict(), Response::new(()));
    let all = stamped(&strict().override_all(), with(&overrides, Response::new(())));
    assert_eq!(all.headers(), plain.headers());
    let one = strict().override_header(X_FRAME_OPTIONS);
    let response = stamped(&one, with(&overrides, Response::new(())));
    assert_eq!(lines(&response, &X_FRAME_OPTIONS), ["DENY"]);
    assert_eq!(lines(&response, &REFERRER_POLICY), [""; 0]);
}

#[test]
fn overrides_may_use_the_nonce() {
    let layer = SecurityHeadersLayer::none().set(policy("default-src 'none'; script-src 'nonce'"));
    let layer = layer.unwrap();
    let scripts = || Csp::new().set(Directive::STYLE_SRC, [Source::NONCE]);
    let extend = Overrides::new().extend(scripts()).unwrap();
    let set = Overrides::new().set(scripts().without_default_src()).unwrap();
    let handler = |overrides: Overrides, asks: bool| {
        answer(&layer, Request::new(()), move |request| {
            let response = with(&overrides, Response::new(()));
            if asks { asking(&request, response) } else { response }
        })
    };
    let response = handler(extend.clone(), true);
    let value = nonce(&response);
    let expected =
        format!("default-src 'none';script-src 'nonce-{value}';style-src 'nonce-{value}'");
    assert_eq!(lines(&response, &CSP), [expected]);
    assert!(response.headers()[CSP].is_sensitive());
    let response = handler(set, true);
    assert_eq!(lines(&response, &CSP), [format!("style-src 'nonce-{}'", nonce(&response))]);
    assert!(response.headers()[CSP].is_sensitive());
    let response = handler(extend, false);
    assert_eq!(lines(&response, &CSP), ["default-src 'none';script-src 'none';style-src 'none'"]);
}

#[test]
fn overrides_may_remove_the_nonce() {
    let layer = SecurityHeadersLayer::none().set(policy("default-src 'nonce'")).unwrap();
    let overrides = Overrides::new().set(policy("default-src 'self'")).unwrap();
    for status in [StatusCode::OK, StatusCode::NOT_MODIFIED] {
        let response = answer(&layer, Request::new(()), |request| {
            let mut response = asking(&request, with(&overrides, Response::new(())));
            *response.status_mut() = status;
            response
        });
        assert_eq!(lines(&response, &CSP), ["default-src 'self'"], "{status}");
        assert!(!response.headers()[CSP].is_sensitive());
    }
}

#[tokio::test]
async fn axum_handlers_attach_overrides() {
    let framed = Overrides::new().remove(X_FRAME_OPTIONS);
    let app = Router::new()
        .route("/framed", get(move || ready((Extension(framed.clone()), "framed"))))
        .route("/", get(|| async { "plain" }))
        .layer(SecurityHeadersLayer::new());
    let server = Server::start(app).await;
    let mut client = server.connect().await;
    for (path, there) in [("/framed", false), ("/", true), ("/nowhere", true)] {
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        let (head, _) = client.response().await;
        assert_eq!(head.contains("\r\nx-frame-options: "), there, "{path}");
        assert!(head.contains("\r\nx-content-type-options: nosniff\r\n"));
    }
}

#[test]
fn strip_removes_all_lines() {
    let layer = SecurityHeadersLayer::none().strip(FINGERPRINT_HEADERS);
    let mut handler = Response::builder().status(500).header("x-kept", "1");
    for name in FINGERPRINT_HEADERS {
        handler = handler.header(&name, "a").header(&name, "b");
    }
    let response = stamped(&layer, handler.body(()).unwrap());
    let names: Vec<_> = response.headers().keys().collect();
    assert_eq!(names, ["x-kept"]);
    let kept = stamped(&SecurityHeadersLayer::new(), own(&[(&SERVER, "a")]));
    assert_eq!(lines(&kept, &SERVER), ["a"], "only where a layer is told to");
}

#[test]
fn keep_leaves_x_powered_by() {
    let powered_by = HeaderName::from_static("x-powered-by");
    let of = |layer: &SecurityHeadersLayer| {
        let response = stamped(layer, own(&[(&powered_by, "Axum"), (&powered_by, "PHP")]));
        response.headers().get_all(&powered_by).iter().count()
    };
    assert_eq!(of(&SecurityHeadersLayer::new()), 0);
    assert_eq!(of(&SecurityHeadersLayer::default()), 0);
    assert_eq!(of(&SecurityHeadersLayer::new().keep(powered_by.clone())), 2);
    assert_eq!(
        of(&SecurityHeadersLayer::new().strip(FINGERPRINT_HEADERS).keep(powered_by.clone())),
        2
    );
    assert_eq!(
        of(&SecurityHeadersLayer::new().keep(powered_by.clone()).strip(FINGERPRINT_HEADERS)),
        0
    );
    assert_eq!(of(&SecurityHeadersLayer::new().strip([SERVER])), 0);
    assert_eq!(of(&SecurityHeadersLayer::none()), 2);
    let own = SecurityHeadersLayer::new().custom("x-powered-by", "us").unwrap();
    assert_eq!(of(&own), 1, "the layer's own is sent");
}

#[test]
fn stripping_twice_strips_both() {
    let layer = SecurityHeadersLayer::none().strip([SERVER]).strip([REFERRER_POLICY]);
    let response = stamped(&layer, own(&[(&SERVER, "a"), (&REFERRER_POLICY, "origin")]));
    assert!(response.headers().is_empty(), "{:?}", response.headers());
}

#[test]
fn stripped_headers_of_the_layer_are_sent() {
    let layer = strict().strip([X_FRAME_OPTIONS, SERVER]).custom("server", "mine").unwrap();
    let handler = own(&[(&X_FRAME_OPTIONS, "ALLOWALL"), (&SERVER, "nginx")]);
    let response = stamped(&layer, handler);
    assert_eq!(lines(&response, &X_FRAME_OPTIONS), ["DENY"]);
    assert_eq!(lines(&response, &SERVER), ["mine"]);
}

#[test]
fn strip_reaches_headers_of_inner_layers() {
    let outer = SecurityHeadersLayer::none().strip([X_FRAME_OPTIONS]);
    let handler = service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(()))));
    let response = now(outer.layer(strict().layer(handler)).oneshot(Request::new(()))).unwrap();
    assert_eq!(lines(&response, &X_FRAME_OPTIONS), [""; 0]);
    assert_eq!(lines(&response, &REFERRER_POLICY), ["no-referrer"]);
}

#[test]
fn the_inner_layer_wins_without_override() {
    let inner = SecurityHeadersLayer::none().set(FrameOptions::SAMEORIGIN).unwrap();
    let nested = |outer: SecurityHeadersLayer, response: fn() -> Response<()>| {
        let handler = service_fn(move |_: Request<()>| ready(Ok::<_, Infallible>(response())));
        now(outer.layer(inner.layer(handler)).oneshot(Request::new(()))).unwrap()
    };
    let response = nested(strict(), || Response::new(()));
    assert_eq!(lines(&response, &X_FRAME_OPTIONS), ["SAMEORIGIN"]);
    assert_eq!(lines(&response, &REFERRER_POLICY), ["no-referrer"]);
    let response = nested(strict().override_all(), || Response::new(()));
    assert_eq!(lines(&response, &X_FRAME_OPTIONS), ["DENY"]);
    // The inner layer removes the overrides from the response.
    let removing =
        || with(&Overrides::new().remove(X_FRAME_OPTIONS).remove(REFERRER_POLICY), own(&[]));
    let response = nested(strict(), removing);
    assert_eq!(lines(&response, &X_FRAME_OPTIONS), ["DENY"]);
    assert_eq!(lines(&response, &REFERRER_POLICY), ["no-referrer"]);
}

#[test]
fn a_304_has_the_headers_without_a_nonce() {
    let overrides = Overrides::new().remove(X_FRAME_OPTIONS);
    let layer = strict().strip([SERVER]);
    let mut handler = with(&overrides, own(&[(&SERVER, "a"), (&REFERRER_POLICY, "origin")]));
    *handler.status_mut() = StatusCode::NOT_MODIFIED;
    let response = stamped(&layer, handler);
    assert_eq!(lines(&response, &SERVER), [""; 0]);
    assert_eq!(lines(&response, &X_FRAME_OPTIONS), [""; 0]);
    assert_eq!(lines(&response, &REFERRER_POLICY), ["origin"]);
    assert_eq!(lines(&response, &CSP), ["default-src 'self';upgrade-insecure-requests"]);
    assert_eq!(lines(&response, &X_CONTENT_TYPE_OPTIONS), [""; 0]);
}

/// The table of headers promises their order.
#[test]
fn removed_headers_leave_the_order() {
    let layer = SecurityHeadersLayer::new().set(policy("default-src 'nonce'")).unwrap();
    let names = |response: Response<()>| {
        response.headers().keys().map(ToString::to_string).collect::<Vec<_>>()
    };
    let all = names(stamped(&layer, Response::new(())));
    let mut not_modified = Response::new(());
    *not_modified.status_mut() = StatusCode::NOT_MODIFIED;
    assert_eq!(names(stamped(&layer, not_modified)), all[1..]);
    let without = Overrides::new().remove(CSP);
    assert_eq!(names(stamped(&layer, with(&without, Response::new(())))), all[1..]);
}

#[test]
fn extend_adds_to_the_policy_of_overrides() {
    let overrides = Overrides::new()
        .set(Csp::from_static("default-src 'none'"))
        .unwrap()
        .extend(Csp::from_static("img-src https://a.example"))
        .unwrap();
    let layer = SecurityHeadersLayer::none().set(policy("default-src 'self'")).unwrap();
    let response = stamped(&layer, with(&overrides, own(&[])));
    assert_eq!(lines(&response, &CSP), ["default-src 'none';img-src https://a.example"]);
}
