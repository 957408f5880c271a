//! Nonces: the requests and the headers that have one, and one nonce for each response.

use std::collections::HashSet;
use std::convert::Infallible;
use std::future::ready;
use std::sync::{Arc, Barrier};
use std::thread;

use http::header::{CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY};
use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use tokio::task::JoinSet;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_kit::SecurityHeadersLayer;
use tower_kit::security_headers::{Csp, Nonce};

use crate::support::now;

pub(super) const ENFORCED: HeaderName = CONTENT_SECURITY_POLICY;
const REPORTED: HeaderName = CONTENT_SECURITY_POLICY_REPORT_ONLY;
pub(super) const POLICY: Csp = Csp::from_static("default-src 'self'; script-src 'self' 'nonce'");
pub(super) const STATIC: &str = "default-src 'self';script-src 'self'";

fn layer() -> SecurityHeadersLayer {
    SecurityHeadersLayer::none().set(POLICY).unwrap()
}

pub(super) fn with(nonce: &str) -> String {
    format!("default-src 'self';script-src 'self' 'nonce-{nonce}'")
}

/// Returns the response of a handler under a layer.
fn answer(
    layer: &SecurityHeadersLayer,
    handler: impl Fn(&Request<()>) -> Response<()>,
) -> Response<()> {
    let handler = |request| ready(Ok::<_, Infallible>(handler(&request)));
    now(layer.layer(service_fn(handler)).oneshot(Request::new(()))).unwrap()
}

fn nonce_of<B>(request: &Request<B>) -> Nonce {
    request.extensions().get::<Nonce>().expect("a nonce").clone()
}

/// Uses the nonce, and returns it in a header of the response.
fn asking(request: &Request<()>) -> Response<()> {
    let nonce = nonce_of(request);
    Response::builder().header("x-nonce", nonce.as_str()).body(()).unwrap()
}

fn asked(headers: &HeaderMap) -> &str {
    headers["x-nonce"].to_str().unwrap()
}

pub(super) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next().expect("the header").to_str().unwrap();
    assert_eq!(lines.next(), None);
    line
}

/// Asserts 22 characters of base64url for 128 bits: the last character has two of them.
pub(super) fn assert_shape(nonce: &str) {
    assert_eq!(nonce.len(), 22, "{nonce}");
    let url = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    assert!(nonce.chars().all(url), "{nonce}");
    assert!(nonce.ends_with(['A', 'Q', 'g', 'w']), "{nonce}");
}

#[test]
fn used_nonces_are_in_the_policy() {
    let response = answer(&layer(), asking);
    let nonce = asked(response.headers());
    assert_shape(nonce);
    assert_eq!(only(response.headers(), &ENFORCED), with(nonce));
    assert!(response.headers()[ENFORCED].is_sensitive());
}

#[test]
fn unused_nonces_are_not_in_the_policy() {
    let response = answer(&layer(), |request| {
        assert!(!nonce_of(request).is_used());
        Response::new(())
    });
    assert_eq!(only(response.headers(), &ENFORCED), STATIC);
    assert!(!response.headers()[ENFORCED].is_sensitive());
}

/// An empty directive would fall back to `default-src`.
#[test]
fn directives_without_their_nonce_forbid_all() {
    let policy = Csp::from_static("default-src *; script-src 'nonce'; style-src 'nonce' https:");
    let layer = SecurityHeadersLayer::none().set(policy).unwrap();
    let response = answer(&layer, |_| Response::new(()));
    let value = "default-src *;script-src 'none';style-src https:";
    assert_eq!(only(response.headers(), &ENFORCED), value);
    let response = answer(&layer, asking);
    let nonce = asked(response.headers());
    let value =
        format!("default-src *;script-src 'nonce-{nonce}';style-src 'nonce-{nonce}' https:");
    assert_eq!(only(response.headers(), &ENFORCED), value);
}

#[test]
fn every_call_returns_the_same_nonce() {
    let response = answer(&layer(), |request| {
        let nonce = nonce_of(request);
        let other = nonce_of(request);
        assert!(!other.is_used());
        let shown = nonce.to_string();
        assert!(other.is_used());
        assert_eq!(shown, nonce.as_str());
        assert_eq!(shown, other.as_str());
        asking(request)
    });
    assert_eq!(only(response.headers(), &ENFORCED), with(asked(response.headers())));
}

#[test]
fn debug_leaves_the_nonce_out() {
    answer(&layer(), |request| {
        let nonce = nonce_of(request);
        let unused = format!("{nonce:?}");
        assert!(!nonce.is_used(), "to write it is not to ask for it");
        let text = nonce.as_str().to_owned();
        for written in [unused, format!("{nonce:?}"), format!("{request:?}")] {
            assert!(!written.contains(&text), "{written}");
        }
        Response::new(())
    });
}

#[test]
fn requests_without_a_nonce_policy_have_none() {
    for layer in [SecurityHeadersLayer::new(), SecurityHeadersLayer::none()] {
        answer(&layer, |request| {
            assert!(request.extensions().get::<Nonce>().is_none());
            Response::new(())
        });
    }
}

#[test]
fn late_nonces_stay_empty() {
    let (send, receive) = std::sync::mpsc::channel();
    let response = answer(&layer(), |request| {
        send.send(nonce_of(request)).unwrap();
        Response::new(())
    });
    assert_eq!(only(response.headers(), &ENFORCED), STATIC);
    let late = receive.recv().unwrap();
    assert_eq!(late.as_str(), "");
    assert_eq!(late.to_string(), "");
}

#[test]
fn nonces_stay_after_the_response() {
    let (send, receive) = std::sync::mpsc::channel();
    let response = answer(&layer(), |request| {
        send.send(nonce_of(request)).unwrap();
        asking(request)
    });
    assert_eq!(receive.recv().unwrap().as_str(), asked(response.headers()));
}

#[test]
fn racing_calls_get_the_policys_nonce_or_none() {
    for _ in 0..300 {
        let start = Arc::new(Barrier::new(2));
        let (send, receive) = std::sync::mpsc::channel();
        let response = answer(&layer(), |request| {
            let (nonce, start_there) = (nonce_of(request), Arc::clone(&start));
            send.send(thread::spawn(move || {
                start_there.wait();
                nonce.as_str().to_owned()
            }))
            .unwrap();
            start.wait();
            Response::new(())
        });
        let nonce = receive.recv().unwrap().join().unwrap();
        let expected = if nonce.is_empty() { STATIC.to_owned() } else { with(&nonce) };
        assert_eq!(only(response.headers(), &ENFORCED), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_responses_share_no_nonce() {
    let service = layer().layer(service_fn(|request: Request<()>| async move {
        tokio::task::yield_now().await;
        Ok::<_, Infallible>(asking(&request))
    }));
    let mut tasks = JoinSet::new();
    for _ in 0..5000 {
        let service = service.clone();
        tasks.spawn(async move { service.oneshot(Request::new(())).await.unwrap() });
    }
    let mut seen = HashSet::new();
    while let Some(response) = tasks.join_next().await {
        let response = response.unwrap();
        let nonce = asked(response.headers());
        assert_shape(nonce);
        assert_eq!(only(response.headers(), &ENFORCED), with(nonce));
        assert!(seen.insert(nonce.to_owned()), "{nonce} is there twice");
    }
    assert_eq!(seen.len(), 5000);
}

#[test]
fn each_request_gets_a_nonce_of_its_own() {
    let mut service =
        layer().layer(service_fn(|request| ready(Ok::<_, Infallible>(asking(&request)))));
    let mut next = || {
        let response = now(service.call(Request::new(()))).unwrap();
        let nonce = asked(response.headers()).to_owned();
        assert_eq!(only(response.headers(), &ENFORCED), with(&nonce));
        nonce
    };
    assert_ne!(next(), next());
}

#[test]
fn both_policies_share_the_nonce() {
    let strict = Csp::from_static("default-src 'none'; script-src 'nonce' 'strict-dynamic'");
    let layer = layer().set(strict.report_only()).unwrap();
    let response = answer(&layer, asking);
    let nonce = asked(response.headers());
    assert_eq!(only(response.headers(), &ENFORCED), with(nonce));
    let reported = format!("default-src 'none';script-src 'nonce-{nonce}' 'strict-dynamic'");
    assert_eq!(only(response.headers(), &REPORTED), reported);
    assert!(response.headers()[REPORTED].is_sensitive());
    let only_reports =
        SecurityHeadersLayer::new().set(POLICY.report_only()).unwrap().remove(ENFORCED);
    let response = answer(&only_reports, asking);
    assert_eq!(only(response.headers(), &REPORTED), with(asked(response.headers())));
}

#[test]
fn nested_layers_share_one_nonce() {
    let blocks = layer();
    let reports = SecurityHeadersLayer::none().set(POLICY.report_only()).unwrap();
    for (outer, inner) in [(&blocks, &reports), (&reports, &blocks)] {
        let handler = service_fn(|request| ready(Ok::<_, Infallible>(asking(&request))));
        let service = outer.layer(inner.layer(handler));
        let response = now(service.oneshot(Request::new(()))).unwrap();
        let nonce = asked(response.headers());
        assert_shape(nonce);
        for name in [ENFORCED, REPORTED] {
            assert_eq!(only(response.headers(), &name), with(nonce), "{name}");
            assert!(response.headers()[name].is_sensitive());
        }
        let handler = service_fn(|_| ready(Ok::<_, Infallible>(Response::new(()))));
        let service = outer.layer(inner.layer(handler));
        let response = now(service.oneshot(Request::new(()))).unwrap();
        for name in [ENFORCED, REPORTED] {
            assert_eq!(only(response.headers(), &name), STATIC, "{name}");
        }
    }
}

#[test]
fn inner_policies_use_the_outer_nonce() {
    let service = layer()
        .layer(layer().layer(service_fn(|request| ready(Ok::<_, Infallible>(asking(&request))))));
    let response = now(service.oneshot(Request::new(()))).unwrap();
    assert_eq!(only(response.headers(), &ENFORCED), with(asked(response.headers())));
}

/// A middleware between the layers asks for the nonce after the inner layer has responded.
#[test]
fn inner_layers_leave_the_outer_nonce_open() {
    let reports = SecurityHeadersLayer::none().set(POLICY.report_only()).unwrap();
    let inner = reports.layer(service_fn(|_| ready(Ok::<_, Infallible>(Response::new(())))));
    let between = service_fn(move |request: Request<()>| {
        let (nonce, inner) = (nonce_of(&request), inner.clone());
        let mut response = now(inner.oneshot(request)).unwrap();
        response.headers_mut().insert("x-nonce", nonce.as_str().parse().unwrap());
        ready(Ok::<_, Infallible>(response))
    });
    let response = now(layer().layer(between).oneshot(Request::new(()))).unwrap();
    let nonce = asked(response.headers());
    assert_shape(nonce);
    assert_eq!(only(response.headers(), &ENFORCED), with(nonce));
    assert_eq!(only(response.headers(), &REPORTED), STATIC);
}

#[test]
fn policies_of_the_handler_beat_the_nonce() {
    let layer = layer().set(POLICY.report_only()).unwrap();
    let response = answer(&layer, |request| {
        let mut response = asking(request);
        let own = "default-src 'none'".parse().unwrap();
        response.headers_mut().insert(ENFORCED, own);
        response
    });
    assert_eq!(only(response.headers(), &ENFORCED), "default-src 'none'");
    assert!(response.headers()[ENFORCED].is_sensitive());
    assert_eq!(only(response.headers(), &REPORTED), with(asked(response.headers())));
}

#[test]
fn a_304_has_no_policy_with_a_nonce() {
    let layer = SecurityHeadersLayer::new().set(POLICY).unwrap();
    let layer = layer.set(POLICY.report_only()).unwrap();
    let response = answer(&layer, |request| {
        let mut response = asking(request);
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    });
    assert!(!response.headers().contains_key(ENFORCED));
    assert!(!response.headers().contains_key(REPORTED));
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
}

/// The policy of a 304 would replace the stored one, and the stored page has the old nonce.
#[test]
fn a_304_without_a_nonce_has_no_policy() {
    let layer = SecurityHeadersLayer::new().set(POLICY).unwrap();
    let response =
        answer(&layer, |_| Response::builder().status(StatusCode::NOT_MODIFIED).body(()).unwrap());
    assert!(!response.headers().contains_key(ENFORCED));
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
}

#[test]
fn a_304_keeps_policies_without_a_nonce() {
    let plain = Csp::from_static("default-src 'self'").report_only();
    let layer = layer().set(plain).unwrap();
    let own = |own: bool| {
        answer(&layer, move |request| {
            let mut response = asking(request);
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            if own {
                response.headers_mut().insert(ENFORCED, "img-src *".parse().unwrap());
            }
            response
        })
    };
    assert_eq!(only(own(false).headers(), &REPORTED), "default-src 'self'");
    assert_eq!(only(own(true).headers(), &ENFORCED), "img-src *");
}

#[test]
fn every_other_status_has_the_nonce() {
    for status in [200, 201, 206, 301, 400, 404, 412, 416, 500, 503] {
        let response = answer(&layer(), |request| {
            let mut response = asking(request);
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response
        });
        let expected = with(asked(response.headers()));
        assert_eq!(only(response.headers(), &ENFORCED), expected, "{status}");
    }
}

#[test]
fn errors_pass_after_a_used_nonce() {
    let service = layer().layer(service_fn(|request: Request<()>| {
        let nonce = nonce_of(&request);
        ready(Err::<Response<()>, _>(nonce.as_str().len()))
    }));
    assert_eq!(now(service.oneshot(Request::new(()))).unwrap_err(), 22);
}

#[test]
fn given_nonces_are_used() {
    let (send, receive) = std::sync::mpsc::channel();
    answer(&layer(), |request| {
        send.send(nonce_of(request)).unwrap();
        asking(request)
    });
    let given = receive.recv().unwrap();
    let mut request = Request::new(());
    request.extensions_mut().insert(given.clone());
    let handler = service_fn(|request| ready(Ok::<_, Infallible>(asking(&request))));
    let response = now(layer().layer(handler).oneshot(request)).unwrap();
    assert_eq!(asked(response.headers()), given.as_str());
    assert_eq!(only(response.headers(), &ENFORCED), with(given.as_str()));
}
