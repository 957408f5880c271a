//! Responses with a nonce are private, and late nonces are counted.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::SecurityHeadersLayer;
use tower_kit::security_headers::{Csp, Nonce};

use crate::support::{Metrics, Server, boxed, empty, h1_client, h2_client, soon};

const POLICY: Csp = Csp::from_static("default-src 'self'; script-src 'nonce'");
const MISSED: &str = "http_nonces_missed_total";

fn layer() -> SecurityHeadersLayer {
    SecurityHeadersLayer::none().set(POLICY).unwrap()
}

/// Returns the headers of a response; the handler sends `headers`, and asks for the nonce if `asks`.
fn sent(layer: &SecurityHeadersLayer, asks: bool, headers: &[(&'static str, &str)]) -> HeaderMap {
    let headers = headers.iter().map(|(name, value)| (*name, value.parse().unwrap()));
    let headers: Vec<(&str, http::HeaderValue)> = headers.collect();
    let service = layer.layer(service_fn(move |request: Request<()>| {
        let nonce = request.extensions().get::<Nonce>().unwrap();
        if asks {
            nonce.get().unwrap();
        }
        let mut response = Response::new(());
        for (name, value) in &headers {
            response.headers_mut().append(*name, value.clone());
        }
        std::future::ready(Ok::<_, Infallible>(response))
    }));
    let response = crate::support::now(service.oneshot(Request::new(()))).unwrap();
    response.into_parts().0.headers
}

#[test]
fn a_used_nonce_makes_its_response_private() {
    for (headers, expected) in [
        (&[][..], &["private"][..]),
        (&[("cache-control", "public, max-age=600")], &["private, max-age=600"]),
        (&[("cache-control", "public"), ("cache-control", "s-maxage=9")], &["private"]),
        (&[("cache-control", "no-store")], &["no-store"]),
        (&[("cache-control", "private, max-age=5")], &["private, max-age=5"]),
        (&[("expires", "Thu, 01 Dec 2044 16:00:00 GMT")], &["private"]),
    ] {
        let found = sent(&layer(), true, headers);
        let found: Vec<_> = found.get_all("cache-control").iter().collect();
        assert_eq!(found, expected, "{headers:?}");
        // A response without the nonce keeps the headers of the service.
        let found = sent(&layer(), false, headers);
        let found: Vec<_> = found.get_all("cache-control").iter().collect();
        let own: Vec<_> =
            headers.iter().filter(|(name, _)| *name == "cache-control").map(|(_, it)| it).collect();
        assert_eq!(found, own);
    }
}

#[test]
fn a_used_nonce_overrules_targeted_headers() {
    let targeted = [
        ("cdn-cache-control", "max-age=600"),
        ("surrogate-control", "max-age=600"),
        ("x-accel-expires", "600"),
    ];
    let found = sent(&layer(), true, &targeted);
    let values = targeted.map(|(name, _)| found[name].to_str().unwrap());
    assert_eq!(values, ["no-store", "no-store", "0"]);
    let found = sent(&layer(), false, &targeted);
    assert!(targeted.iter().all(|(name, value)| found[*name] == *value));
}

#[test]
fn overriding_cache_control_stays_private() {
    let public = layer().custom("cache-control", "public, max-age=600").unwrap().override_all();
    assert_eq!(
        sent(&public, true, &[("cache-control", "no-store")])["cache-control"],
        "private, max-age=600"
    );
    assert_eq!(sent(&public, false, &[])["cache-control"], "public, max-age=600");
    // A handler's own policy has the nonce too.
    let own = [("content-security-policy", "script-src 'nonce-its'"), ("cache-control", "public")];
    assert_eq!(sent(&layer(), true, &own)["cache-control"], "private");
}

/// A body that asks for the nonce when it is sent.
struct Late(Option<Nonce>);

impl Body for Late {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|nonce| {
            let error = nonce.get().unwrap_err();
            assert!(error.is_late() && !error.is_random());
            assert!(error.to_string().contains("before the response is returned"));
            Ok(Frame::data(Bytes::from(format!("<script nonce=\"{nonce}{nonce}\">"))))
        }))
    }
}

#[tokio::test]
async fn late_nonces_are_counted() {
    let metrics = Metrics::new();
    let layer = layer().recorder(metrics.recorder());
    let service = layer.layer(service_fn(|request: Request<hyper::body::Incoming>| async move {
        let nonce = request.extensions().get::<Nonce>().unwrap().clone();
        let body = match request.uri().path() {
            "/late" => Late(Some(nonce)),
            "/early" => {
                assert_eq!(nonce.get().unwrap(), nonce.as_str());
                Late(None)
            }
            _ => Late(None),
        };
        let response = Response::builder().header("cache-control", "public");
        Ok::<_, Infallible>(response.body(body).unwrap())
    }));
    let server = Server::start(service).await;
    let late = [("reason", "late")];
    let mut expected = 0;
    for client in [h1_client(), h2_client()] {
        for (path, misses, body, cached) in [
            ("/", 0, "", "public"),
            ("/early", 0, "", "private"),
            ("/late", 1, "<script nonce=\"\">", "public"),
        ] {
            let request = Request::get(server.url(path)).body(boxed(empty())).unwrap();
            let response = soon(client.request(request)).await.unwrap();
            assert_eq!(response.headers()["cache-control"], cached, "{path}");
            let collected = soon(response.into_body().collect()).await.unwrap().to_bytes();
            assert_eq!(collected, body);
            expected += misses;
            assert_eq!(metrics.counted(MISSED, &late), expected, "{path}");
            assert_eq!(metrics.counted(MISSED, &[]), expected, "no other reason");
        }
    }
}

#[test]
fn both_counters_exist_before_the_first_miss() {
    let debugging = DebuggingRecorder::new();
    let snapshotter = debugging.snapshotter();
    sent(&layer().recorder(Arc::new(debugging)), false, &[]);
    let mut reasons = Vec::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        assert_eq!((key.key().name(), value), (MISSED, DebugValue::Counter(0)));
        reasons.extend(key.key().labels().map(|label| label.value().to_owned()));
    }
    reasons.sort();
    assert_eq!(reasons, ["late", "random"]);
}
