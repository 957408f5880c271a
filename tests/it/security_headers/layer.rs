use std::convert::Infallible;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use proptest::prelude::*;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_kit::SecurityHeadersLayer;
use tower_kit::security_headers::{
    Allowlist, Csp, Directive, Endpoint, Feature, InvalidHeader, Overrides, PermissionsPolicy,
    ReferrerPolicy, Source,
};

use super::own;
use crate::support::{
    BoxBody, Scripted, Server, boxed, data, empty, h1_client, h2_client, now, poll_frame, soon,
};

/// The headers that helmet 8.3.0 sends by default, to the byte.
const HELMET: [(&str, &str); 12] = [
    (
        "content-security-policy",
        "default-src 'self';base-uri 'self';font-src 'self' https: data:;form-action 'self';frame-ancestors 'self';img-src 'self' data:;object-src 'none';script-src 'self';script-src-attr 'none';style-src 'self' https: 'unsafe-inline';upgrade-insecure-requests",
    ),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("origin-agent-cluster", "?1"),
    ("referrer-policy", "no-referrer"),
    ("strict-transport-security", "max-age=31536000; includeSubDomains"),
    ("x-content-type-options", "nosniff"),
    ("x-dns-prefetch-control", "off"),
    ("x-download-options", "noopen"),
    ("x-frame-options", "SAMEORIGIN"),
    ("x-permitted-cross-domain-policies", "none"),
    ("x-xss-protection", "0"),
];

async fn stamped(response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    let mut response = Some(response);
    let answer = move |_: Request<()>| std::future::ready(response.take().ok_or("called twice"));
    let service = SecurityHeadersLayer::new().layer(service_fn(answer));
    service.oneshot(Request::new(())).await.unwrap()
}

fn lines<B>(response: &Response<B>) -> Vec<(&str, &str)> {
    let fields = response.headers().iter();
    fields.map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect()
}

#[tokio::test]
async fn helmets_headers_are_sent_in_order() {
    let response = stamped(Response::default()).await;
    assert_eq!(lines(&response), HELMET);
}

#[tokio::test]
async fn every_status_gets_the_headers() {
    for status in [200, 204, 301, 304, 404, 413, 500] {
        let response = Response::builder().status(status).body(Full::default()).unwrap();
        let response = stamped(response).await;
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(lines(&response), HELMET, "{status}");
    }
}

#[tokio::test]
async fn headers_of_the_handler_win() {
    for (own, _) in HELMET {
        let response = Response::builder().header(own, "mine").body(Full::default()).unwrap();
        let response = stamped(response).await;
        for (name, value) in HELMET {
            let expected = if name == own { "mine" } else { value };
            let found: Vec<_> = response.headers().get_all(name).iter().collect();
            assert_eq!(found, [expected], "{name} where the handler sets {own}");
        }
    }
}

#[tokio::test]
async fn several_lines_keep_their_order() {
    let response = Response::builder()
        .header("content-security-policy", "default-src 'none'")
        .header("x-own", "1")
        .header("content-security-policy", "img-src 'self'")
        .header("content-security-policy", "script-src 'self'")
        .body(Full::default())
        .unwrap();
    let response = stamped(response).await;
    let policies: Vec<_> = response.headers().get_all("content-security-policy").iter().collect();
    assert_eq!(policies, ["default-src 'none'", "img-src 'self'", "script-src 'self'"]);
    assert_eq!(response.headers().len(), 12 + 2 + 1);
}

#[tokio::test]
async fn cookies_keep_their_order() {
    let mut response = Response::builder().header("content-type", "text/html");
    for n in 0..40 {
        response = response.header("set-cookie", format!("c{n}={n}"));
    }
    let response = response.header("x-last", "1").body(Full::default()).unwrap();
    let response = stamped(response).await;
    let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().cloned().collect();
    let expected: Vec<_> =
        (0..40).map(|n| HeaderValue::try_from(format!("c{n}={n}")).unwrap()).collect();
    assert_eq!(cookies, expected);
    assert_eq!(response.headers()["content-type"], "text/html");
    assert_eq!(response.headers()["x-last"], "1");
    for (name, value) in HELMET {
        assert_eq!(response.headers()[name], value);
    }
}

#[tokio::test]
async fn hundreds_of_headers_are_kept() {
    let mut response = Response::builder();
    for n in 0..500 {
        response = response.header(format!("x-{n}"), n);
    }
    let response = stamped(response.body(Full::default()).unwrap()).await;
    assert_eq!(response.headers().len(), 512);
    for n in 0..500 {
        assert_eq!(response.headers()[format!("x-{n}")], n.to_string());
    }
}

#[tokio::test]
async fn opaque_and_sensitive_values_pass() {
    let mut value = HeaderValue::from_bytes(b"caf\xe9").unwrap();
    value.set_sensitive(true);
    let response = Response::builder().header("x-own", value.clone()).body(Full::default());
    let response = stamped(response.unwrap()).await;
    assert_eq!(response.headers()["x-own"], value);
    assert!(response.headers()["x-own"].is_sensitive());
}

#[tokio::test]
async fn responses_do_not_leak_into_the_next() {
    let mut first = true;
    let answer = move |_: Request<()>| {
        let mut response = Response::new(());
        if std::mem::take(&mut first) {
            response.headers_mut().insert("referrer-policy", HeaderValue::from_static("origin"));
            response.headers_mut().insert("x-own", HeaderValue::from_static("1"));
        }
        std::future::ready(Ok::<_, Infallible>(response))
    };
    let mut service = SecurityHeadersLayer::new().layer(service_fn(answer));
    drop(service.call(Request::new(())).await);
    let second = service.call(Request::new(())).await.unwrap();
    assert_eq!(lines(&second), HELMET);
}

#[tokio::test]
async fn body_and_head_pass_untouched() {
    let body = Scripted::<Infallible>::new([data(3)]).exact();
    let log = body.log();
    let mut response = Response::builder().status(201).version(http::Version::HTTP_2).body(body);
    response.as_mut().unwrap().extensions_mut().insert(7_u8);
    let mut response = Some(response.unwrap());
    let answer =
        move |_: Request<()>| std::future::ready(Ok::<_, Infallible>(response.take().unwrap()));
    let service = SecurityHeadersLayer::new().layer(service_fn(answer));
    // The annotation asserts that the layer keeps the type of the body.
    let mut response: Response<Scripted<Infallible>> =
        service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(response.version(), http::Version::HTTP_2);
    assert_eq!(response.extensions().get::<u8>(), Some(&7));
    assert_eq!(log.polls(), 0);
    assert!(poll_frame(response.body_mut()).is_ready());
    assert_eq!(log.given(), 3);
}

#[tokio::test]
async fn works_over_hyper_and_axum() {
    let hyper = SecurityHeadersLayer::new().layer(service_fn(|_: Request<Incoming>| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello"))))
    }));
    let axum =
        Router::new().route("/", get(|| async { "hello" })).layer(SecurityHeadersLayer::new());
    for server in [Server::start(hyper).await, Server::start(axum).await] {
        for (client, method) in [
            (h1_client(), Method::GET),
            (h1_client(), Method::HEAD),
            (h2_client(), Method::GET),
            (h2_client(), Method::HEAD),
        ] {
            let request = Request::builder().method(method).uri(server.url("/"));
            let request = request.body(boxed(empty()) as BoxBody).unwrap();
            let response = soon(client.request(request)).await.unwrap();
            for (name, value) in HELMET {
                let found: Vec<_> = response.headers().get_all(name).iter().collect();
                assert_eq!(found, [value], "{name}");
            }
        }
    }
}

/// Generates texts that are almost policies.
fn words() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("default-src".to_owned()),
        Just("script-src".to_owned()),
        Just("sandbox".to_owned()),
        Just("report-to".to_owned()),
        Just("upgrade-insecure-requests".to_owned()),
        Just("'self'".to_owned()),
        Just("'none'".to_owned()),
        Just("'nonce'".to_owned()),
        Just("'NONCE-a'".to_owned()),
        Just("'sha256-".to_owned()),
        Just("https:".to_owned()),
        Just("*.a.example:*/b".to_owned()),
        "[ -~]{0,6}",
        "\\PC{0,3}",
        any::<char>().prop_map(String::from),
    ];
    let part =
        prop_oneof![4 => Just(" "), 2 => Just(";"), 1 => Just(""), 1 => Just(","), 1 => Just("\n")];
    proptest::collection::vec((word, part), 0..8)
        .prop_map(|words| words.into_iter().map(|(word, part)| word + part).collect())
}

/// Returns the response of a layer, or checks that its error is one line.
fn sent(layer: Result<SecurityHeadersLayer, InvalidHeader>) -> Option<Response<()>> {
    let layer = match layer {
        Ok(layer) => layer,
        Err(error) => {
            let text = error.to_string();
            assert!(!text.is_empty() && !text.contains(char::is_control), "{text}");
            return None;
        }
    };
    let answer = |_: Request<()>| std::future::ready(Ok::<_, Infallible>(Response::new(())));
    let response = now(layer.layer(service_fn(answer)).oneshot(Request::new(()))).unwrap();
    for value in response.headers().values() {
        let text = value.to_str().expect("visible ASCII");
        assert_eq!(text.trim(), text);
        assert!(!text.is_empty());
    }
    Some(response)
}

proptest! {
    #[test]
    fn policies_of_text_read_back_as_themselves(text in words()) {
        if let Ok(policy) = text.parse::<Csp>() {
            prop_assert_eq!(&policy.to_string().parse::<Csp>().unwrap(), &policy);
            if let Some(response) = sent(SecurityHeadersLayer::none().set(policy)) {
                let value = response.headers()["content-security-policy"].to_str().unwrap();
                prop_assert!(!value.contains(','), "{}", value);
                let again = value.parse::<Csp>().unwrap();
                prop_assert_eq!(again.to_string(), value);
            }
        }
    }

    #[test]
    fn sources_stay_in_their_directive(text in words()) {
        let policy = || own().set(Directive::IMG_SRC, [text.as_str()]);
        if let Some(response) = sent(SecurityHeadersLayer::none().set(policy())) {
            let value = response.headers()["content-security-policy"].to_str().unwrap();
            prop_assert_eq!(value.matches([' ', ';', ',']).count(), 3, "{}", value);
        }
        if let Ok(overrides) = Overrides::new().extend(policy()) {
            let answer = |_: Request<()>| {
                let mut response = Response::new(());
                response.extensions_mut().insert(overrides.clone());
                std::future::ready(Ok::<_, Infallible>(response))
            };
            let layer = SecurityHeadersLayer::new().layer(service_fn(answer));
            let response = now(layer.oneshot(Request::new(()))).unwrap();
            let value = response.headers()["content-security-policy"].to_str().unwrap();
            prop_assert_eq!(value.matches(';').count(), 10, "{}", value);
        }
    }

    #[test]
    fn no_text_makes_a_value_panic(text in words(), other in words()) {
        let none = SecurityHeadersLayer::none;
        sent(text.parse::<ReferrerPolicy>().and_then(|policy| none().set(policy)));
        let features = |list| PermissionsPolicy::new().allow(Feature::USB, list);
        sent(Allowlist::SELF.origin(&text).and_then(|list| none().set(features(list))));
        sent(Endpoint::new(text.as_str(), other.as_str()).and_then(|one| none().set(one)));
        sent(Endpoint::new("reports", text.as_str()).and_then(|one| none().set(one)));
        let scripts = |source| own().append(Directive::SCRIPT_SRC, [source]);
        sent(Source::host(text.clone()).and_then(|host| none().set(scripts(host))));
        sent(Source::scheme(&text).and_then(|scheme| none().set(scripts(scheme))));
        sent(none().set(own().set(Directive::SANDBOX, [text.as_str()])));
        sent(none().set(own().set(Directive::REPORT_URI, [text.as_str()])));
        if !other.is_empty() {
            sent(none().custom(&text, &other));
            sent(none().custom("x-own", &other));
        }
    }
}
