//! Headers that are sent by HTTPS only, and headers that are sent with documents only.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderName, STRICT_TRANSPORT_SECURITY, X_FRAME_OPTIONS};
use http::uri::Scheme;
use http::{Request, Response};
use tower_kit::SecurityHeadersLayer;
use tower_kit::security_headers::{
    Coep, Coop, Corp, Csp, Directive, DnsPrefetch, Endpoint, Feature, FrameOptions, Hsts,
    IntegrityPolicy, Overrides, PermissionsPolicy, forwarded_proto,
};

use super::overrides::{
    CSP, REPORTED, answer, asking, lines, nonce, own, policy, stamped, strict, with,
};

/// Returns a request that came to a proxy by this protocol.
fn request(proto: &str) -> Request<()> {
    Request::builder().header("x-forwarded-proto", proto).body(()).unwrap()
}

#[test]
fn https_headers_are_left_out_by_http() {
    let only = policy("upgrade-insecure-requests").without_default_src().report_only();
    let layer = strict().set(only).unwrap().https_if(forwarded_proto);
    let response = answer(&layer, request("https"), |_| Response::new(()));
    assert_eq!(lines(&response, &STRICT_TRANSPORT_SECURITY), ["max-age=60"]);
    assert_eq!(lines(&response, &CSP), ["default-src 'self';upgrade-insecure-requests"]);
    assert_eq!(lines(&response, &REPORTED), ["upgrade-insecure-requests"]);
    let response = answer(&layer, request("http"), |_| Response::new(()));
    assert_eq!(lines(&response, &STRICT_TRANSPORT_SECURITY), [""; 0]);
    assert_eq!(lines(&response, &CSP), ["default-src 'self'"]);
    assert_eq!(lines(&response, &REPORTED), [""; 0], "nothing is left of it");
    assert_eq!(lines(&response, &X_FRAME_OPTIONS), ["DENY"]);
    let response = answer(&strict(), request("http"), |_| Response::new(()));
    assert_eq!(lines(&response, &STRICT_TRANSPORT_SECURITY), ["max-age=60"], "no condition");
}

#[test]
fn the_first_proxy_tells_the_protocol() {
    let table: [(&[&str], bool); 12] = [
        (&[], false),
        (&["https"], true),
        (&["HTTPS"], true),
        (&["http"], false),
        (&[""], false),
        (&["httpsx"], false),
        (&["wss"], false),
        (&["https, http"], true),
        (&["https ,http"], true),
        (&["http, https"], false),
        (&["https", "http"], true),
        (&["http", "https"], false),
    ];
    for (proxies, https) in table {
        let request =
            proxies.iter().fold(Request::builder(), |to, by| to.header("x-forwarded-proto", *by));
        let (parts, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(forwarded_proto(&parts), https, "{proxies:?}");
    }
}

#[test]
fn the_predicate_sees_the_whole_request() {
    let layer = strict().https_if(|request| {
        let https = request.uri.scheme() == Some(&Scheme::HTTPS);
        https && request.extensions.get() == Some(&7_u8) && request.method == "PUT"
    });
    let request = |uri: &str| {
        let request = Request::builder().method("PUT").uri(uri).header("x-a", "1").extension(7_u8);
        request.body(()).unwrap()
    };
    for (uri, there) in [("https://a.example/x?y", 1), ("http://a.example/x?y", 0), ("/x?y", 0)] {
        let seen = Rc::new(Cell::new(false));
        let response = answer(&layer, request(uri), |request| {
            seen.set(request.uri() == uri && request.headers()["x-a"] == "1");
            assert_eq!(request.extensions().get(), Some(&7_u8));
            assert_eq!(request.method(), "PUT");
            Response::new(())
        });
        assert!(seen.get());
        assert_eq!(lines(&response, &STRICT_TRANSPORT_SECURITY).len(), there, "{uri}");
    }
}

#[test]
fn hsts_of_the_handler_stays_by_http() {
    let handler = || own(&[(&STRICT_TRANSPORT_SECURITY, "max-age=1")]);
    for (layer, lines_there) in [(strict(), &["max-age=1"][..]), (strict().override_all(), &[])] {
        let layer = layer.https_if(forwarded_proto);
        let response = answer(&layer, request("http"), |_| handler());
        assert_eq!(lines(&response, &STRICT_TRANSPORT_SECURITY), lines_there);
    }
    let layer = strict().override_all().https_if(forwarded_proto);
    let response = answer(&layer, request("https"), |_| handler());
    assert_eq!(lines(&response, &STRICT_TRANSPORT_SECURITY), ["max-age=60"]);
}

#[test]
fn by_http_a_stripped_hsts_is_gone() {
    let layer = strict().strip([STRICT_TRANSPORT_SECURITY]).https_if(forwarded_proto);
    let handler = || own(&[(&STRICT_TRANSPORT_SECURITY, "max-age=1")]);
    let response = answer(&layer, request("http"), |_| handler());
    assert_eq!(lines(&response, &STRICT_TRANSPORT_SECURITY), [""; 0]);
    let response = answer(&layer, request("https"), |_| handler());
    assert_eq!(lines(&response, &STRICT_TRANSPORT_SECURITY), ["max-age=60"]);
}

#[test]
fn https_if_holds_for_an_overriding_hsts() {
    let layer = strict().https_if(forwarded_proto);
    let overrides = Overrides::new().set(Hsts::new(Duration::from_secs(5))).unwrap();
    let response = answer(&layer, request("https"), |_| with(&overrides, Response::new(())));
    assert_eq!(lines(&response, &STRICT_TRANSPORT_SECURITY), ["max-age=5"]);
    let response = answer(&layer, request("http"), |_| with(&overrides, Response::new(())));
    assert_eq!(lines(&response, &STRICT_TRANSPORT_SECURITY), [""; 0]);
}

#[test]
fn https_if_holds_for_an_overriding_policy() {
    let layer = strict().https_if(forwarded_proto);
    let set = Overrides::new().set(policy("default-src *; upgrade-insecure-requests")).unwrap();
    let more = Csp::new().set(Directive::IMG_SRC, ["*"]).flag(Directive::UPGRADE_INSECURE_REQUESTS);
    let extend = Overrides::new().extend(more).unwrap();
    for (overrides, value) in
        [(set, "default-src *"), (extend, "default-src 'self';img-src 'self' *")]
    {
        let response = answer(&layer, request("http"), |_| with(&overrides, Response::new(())));
        assert_eq!(lines(&response, &CSP), [value]);
        let response = answer(&layer, request("https"), |_| with(&overrides, Response::new(())));
        assert!(lines(&response, &CSP)[0].contains(";upgrade-insecure-requests"));
    }
}

#[test]
fn by_http_nonces_stay_without_the_upgrade() {
    let text = "default-src 'self'; script-src 'nonce'; upgrade-insecure-requests; img-src *";
    let layer = SecurityHeadersLayer::none().set(policy(text)).unwrap();
    let layer = layer.https_if(forwarded_proto);
    for (proto, upgrade) in [("http", ""), ("https", ";upgrade-insecure-requests")] {
        let handler = |request: Request<()>| asking(&request, Response::new(()));
        let response = answer(&layer, request(proto), handler);
        let nonce = nonce(&response);
        let value = format!("default-src 'self';script-src 'nonce-{nonce}'{upgrade};img-src *");
        assert_eq!(lines(&response, &CSP), [value]);
        assert!(response.headers()[CSP].is_sensitive());
        let response = answer(&layer, request(proto), |_| Response::new(()));
        let value = format!("default-src 'self';script-src 'none'{upgrade};img-src *");
        assert_eq!(lines(&response, &CSP), [value]);
    }
}

/// Returns a layer with every header for documents, and some others.
fn everything() -> SecurityHeadersLayer {
    let features = PermissionsPolicy::new().deny([Feature::CAMERA]);
    let reports = Endpoint::new("reports", "/reports").unwrap();
    SecurityHeadersLayer::new()
        .set(policy("default-src 'self'").report_only())
        .and_then(|layer| layer.set(Coep::REQUIRE_CORP))
        .and_then(|layer| layer.set(Coep::REQUIRE_CORP.report_only()))
        .and_then(|layer| layer.set(Coop::SAME_ORIGIN.report_only()))
        .and_then(|layer| layer.set(Corp::SAME_SITE))
        .and_then(|layer| layer.set(DnsPrefetch::ON))
        .and_then(|layer| layer.set(IntegrityPolicy::SCRIPTS))
        .and_then(|layer| layer.set(IntegrityPolicy::SCRIPTS.report_to(&reports).report_only()))
        .and_then(|layer| layer.set(features))
        .and_then(|layer| layer.custom("x-own", "1"))
        .unwrap()
}

/// Returns the names of the headers of a response with this content-type.
fn typed(layer: &SecurityHeadersLayer, content_type: &str) -> Vec<String> {
    let response = stamped(layer, own(&[(&CONTENT_TYPE, content_type)]));
    let mut names = response.headers().keys().map(ToString::to_string).collect::<Vec<_>>();
    names.sort_unstable();
    names
}

#[test]
fn data_gets_no_document_headers() {
    let layer = everything().documents_only();
    let rest = [
        "content-type",
        "cross-origin-resource-policy",
        "referrer-policy",
        "reporting-endpoints",
        "strict-transport-security",
        "x-content-type-options",
        "x-download-options",
        "x-own",
        "x-permitted-cross-domain-policies",
    ];
    for content_type in [
        "font/woff2",
        "image/png",
        "image/vnd.microsoft.icon",
        "audio/mpeg",
        "video/mp4",
        "text/css",
        "text/css; charset=utf-8",
        "Text/CSS",
        "IMAGE/PNG;x=y",
        "application/json",
        "application/json;charset=UTF-8",
        "application/problem+json",
        "application/wasm",
        "text/event-stream",
        "application/octet-stream",
        "application/grpc",
    ] {
        assert_eq!(typed(&layer, content_type), rest, "{content_type}");
    }
}

/// The content-type of gRPC also names the format of messages (gRPC over HTTP/2, "Responses").
#[test]
fn grpc_is_no_document() {
    let layer = everything().documents_only();
    for content_type in ["application/grpc+proto", "application/grpc+json", "application/grpc+own"]
    {
        assert_eq!(
            typed(&layer, content_type),
            typed(&layer, "application/grpc"),
            "{content_type}"
        );
    }
}

#[test]
fn documents_and_unknown_types_get_all() {
    let layer = everything().documents_only();
    for content_type in [
        "text/html",
        "text/html; charset=utf-8",
        "application/xhtml+xml",
        "application/xml",
        "text/xml",
        "image/svg+xml",
        "Image/SVG+XML; charset=utf-8",
        "text/javascript",
        "application/javascript",
        "text/plain",
        "application/pdf",
        "multipart/x-mixed-replace",
        "x/unknown",
        "no type",
        "image",
        "json",
        "",
    ] {
        assert_eq!(typed(&layer, content_type), typed(&everything(), content_type));
    }
    let untyped = stamped(&layer, Response::new(()));
    assert_eq!(untyped.headers(), stamped(&everything(), Response::new(())).headers());
    for content_type in ["image/png", "text/css"] {
        assert!(typed(&everything(), content_type).len() > 20, "no condition");
    }
}

/// Browsers take the last type that they understand (Fetch, "extract a MIME type").
#[test]
fn several_types_may_be_a_document() {
    let layer = everything().documents_only();
    let one_line = typed(&layer, "image/png, text/html");
    assert_eq!(one_line, typed(&everything(), "image/png, text/html"));
    let two_lines = own(&[(&CONTENT_TYPE, "image/png"), (&CONTENT_TYPE, "text/html")]);
    let response = stamped(&layer, two_lines);
    assert!(response.headers().contains_key(CSP), "{:?}", response.headers());
}

#[test]
fn data_keeps_the_policy_of_the_handler() {
    let layer = SecurityHeadersLayer::none().set(policy("default-src 'nonce'")).unwrap();
    let layer = layer.set(FrameOptions::DENY).unwrap().documents_only();
    let image = |request: &Request<()>, more: &[(&HeaderName, &str)]| {
        let fields = [&[(&CONTENT_TYPE, "image/png")], more].concat();
        asking(request, own(&fields))
    };
    let response = answer(&layer, Request::new(()), |request| image(&request, &[]));
    assert!(!response.headers().contains_key(CSP) && !nonce(&response).is_empty());
    let more = [(&CSP, "img-src *"), (&X_FRAME_OPTIONS, "SAMEORIGIN")];
    let response = answer(&layer, Request::new(()), |request| image(&request, &more));
    assert_eq!(lines(&response, &CSP), ["img-src *"]);
    assert_eq!(lines(&response, &X_FRAME_OPTIONS), ["SAMEORIGIN"]);
    let layer = layer.override_all();
    let response = answer(&layer, Request::new(()), |request| image(&request, &more));
    assert!(lines(&response, &CSP).is_empty() && lines(&response, &X_FRAME_OPTIONS).is_empty());
}
