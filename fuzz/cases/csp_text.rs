//! Texts as policies: a policy that parses is sent with its own words, and nothing else.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use http::header::CONTENT_SECURITY_POLICY;
use http::{Request, Response};
use tower::{Layer, Service, service_fn};
use tower_kit::SecurityHeadersLayer;
use tower_kit::security_headers::{Csp, Endpoint, Nonce};

type Words<'a> = Vec<(String, Vec<&'a str>)>;

pub(crate) fn check(text: &str) {
    let Ok(parsed) = text.parse::<Csp>() else { return };
    let given = words(text);
    let mut layer = SecurityHeadersLayer::none();
    if let Some((_, names)) = given.iter().find(|(directive, _)| directive == "report-to") {
        let endpoint = Endpoint::new(names[0], "/reports").expect("a key is a name");
        layer = layer.set(endpoint).expect("it is the only endpoint");
    }
    let policy = match given.iter().any(|(directive, _)| directive == "default-src") {
        true => parsed,
        false => parsed.without_default_src(),
    };
    let layer = layer.set(policy.clone()).expect("what parses can be set");

    let (sent, nonce) = answer(&layer, true);
    let nonce = nonce.map(|nonce| format!("'nonce-{nonce}'"));
    let with = words(&sent);
    assert_eq!(names(&with), names(&given));
    for ((_, sent), (directive, given)) in with.iter().zip(&given) {
        assert_eq!(sent.len(), given.len());
        for (sent, given) in sent.iter().zip(given) {
            let is_same = is_sent_as(directive, given, sent, nonce.as_deref());
            assert!(is_same, "{directive}: {given} is sent as {sent}");
        }
    }
    let again = nonce.map_or(sent.clone(), |nonce| sent.replace(&nonce, "'nonce'"));
    let again: Csp = again.parse().expect("what is sent parses");
    assert_eq!(again.to_string(), policy.to_string());

    let (plain, _) = answer(&layer, false);
    plain.parse::<Csp>().expect("what is sent without a nonce parses");
    let without = words(&plain);
    assert_eq!(names(&without), names(&given));
    for ((_, plain), (_, sent)) in without.iter().zip(&with) {
        assert!(plain.iter().all(|word| sent.contains(word)) || *plain == ["'none'"]);
    }
}

/// Returns the policy of a response, and its nonce if the service asks for one.
fn answer(layer: &SecurityHeadersLayer, asks: bool) -> (String, Option<String>) {
    let mut nonce = None;
    let inner = service_fn(|request: Request<()>| {
        let given = request.extensions().get::<Nonce>().filter(|_| asks);
        nonce = given.map(|nonce| nonce.as_str().to_owned());
        ready(Ok::<_, Infallible>(Response::new(())))
    });
    let mut cx = Context::from_waker(Waker::noop());
    let call = layer.layer(inner).call(Request::new(()));
    let Poll::Ready(Ok(response)) = pin!(call).poll(&mut cx) else { panic!("no response") };
    let value = &response.headers()[CONTENT_SECURITY_POLICY];
    assert!(value.as_bytes().iter().all(|byte| matches!(byte, b' '..=b'~')));
    (value.to_str().expect("visible ASCII").to_owned(), nonce)
}

/// Splits a policy into directives as a browser does (CSP3 §2.2.1).
fn words(text: &str) -> Words<'_> {
    let segments = text.split(';').map(|segment| segment.split_ascii_whitespace());
    let named = segments.filter_map(|mut words| {
        let name = words.next()?.to_ascii_lowercase();
        Some((name, words.collect()))
    });
    named.collect()
}

fn names<'a>(words: &'a Words<'_>) -> Vec<&'a str> {
    words.iter().map(|(name, _)| name.as_str()).collect()
}

/// Compares words. The case counts, except in keywords and algorithms.
fn is_sent_as(directive: &str, given: &str, sent: &str, nonce: Option<&str>) -> bool {
    if directive == "report-uri" || !given.starts_with('\'') {
        return given == sent;
    }
    let is_nonce = given.eq_ignore_ascii_case("'nonce'") && Some(sent) == nonce;
    let is_digest = given.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("'sha"));
    let is_exact = !is_digest || given.get(8..) == sent.get(8..);
    is_nonce || is_exact && given.eq_ignore_ascii_case(sent)
}
