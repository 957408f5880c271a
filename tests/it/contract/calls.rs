//! Requests, responses and errors pass; permits of the inner service come back.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tokio::sync::Semaphore;
use tower::limit::ConcurrencyLimit;
use tower::{Service, ServiceExt};
use tower_kit::LimitLayer;

use super::{Handle, Outer, Own, Subject, layers, mock, pressure};
use crate::support::{BoxBody, Scripted, Step, data, poll_once, soon, trailers};

/// The cache looks up the one, and passes the other.
pub(super) const METHODS: [Method; 2] = [Method::GET, Method::POST];

pub(super) fn request(method: &Method) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri("http://host/healthz?a=1");
    request.header("x-own", "1").extension(7_u8).body(Full::default()).unwrap()
}

pub(super) fn response() -> Response<Scripted<Infallible>> {
    let body = Scripted::new([data(2), Step::Pending, trailers()]).exact();
    Response::builder().status(201).header("x-own", "1").body(body).unwrap()
}

/// Makes a call to which the mock responds. Returns the head that the mock has seen, and the result.
pub(super) async fn exchange(
    outer: &mut Outer,
    handle: &mut Handle,
    method: &Method,
    result: Result<Response<Scripted<Infallible>>, &str>,
) -> (Parts, Result<Response<BoxBody>, Own>) {
    let call = soon(outer.ready()).await.unwrap().call(request(method));
    // Servers clone the service for each request. No clone may be called in place of the ready one.
    drop(outer.clone());
    let serve = async {
        let (head, respond) = handle.next_request().await.unwrap();
        match result {
            Ok(response) => respond.send_response(response),
            Err(error) => respond.send_error(error),
        }
        head
    };
    soon(async { tokio::join!(serve, call) }).await
}

#[tokio::test]
async fn requests_and_responses_pass_unchanged() {
    for subject in layers() {
        for method in &METHODS {
            let (mut outer, mut handle) = subject.over_mock();
            let response = response();
            let log = response.body().log();
            let (head, result) = exchange(&mut outer, &mut handle, method, Ok(response)).await;
            assert_eq!(
                (&head.method, head.uri.path_and_query().unwrap().as_str()),
                (method, "/healthz?a=1")
            );
            assert_eq!(head.headers["x-own"], "1");
            assert_eq!(head.extensions.get(), Some(&7_u8));
            let response = result.unwrap();
            assert_eq!(response.status(), 201);
            assert_eq!(response.headers()["x-own"], "1");
            assert_eq!(response.body().size_hint().exact(), Some(2), "{}", subject.name);
            assert!(!response.body().is_end_stream(), "{}", subject.name);
            let body = response.into_body().collect().await.unwrap();
            assert_eq!(body.trailers().unwrap()["x-sum"], "1", "{}", subject.name);
            assert_eq!(body.to_bytes().len(), 2);
            assert!(!log.polled_after_end(), "{}", subject.name);
        }
    }
}

#[tokio::test]
async fn inner_errors_pass_unchanged() {
    for subject in layers() {
        for method in &METHODS {
            let (mut outer, mut handle) = subject.over_mock();
            let (_, result) = exchange(&mut outer, &mut handle, method, Err("gone")).await;
            assert_eq!(result.unwrap_err(), Own("gone".to_owned()), "{}", subject.name);
        }
    }
}

/// Returns the layer over a mock with a concurrency limit of 1, and the permits of that limit.
fn over_limit(subject: &Subject) -> (Outer, Handle, Arc<Semaphore>) {
    let permits = Arc::new(Semaphore::new(1));
    let (mock, handle) = mock();
    let limit = ConcurrencyLimit::with_semaphore(mock, Arc::clone(&permits));
    (subject.over(limit), handle, permits)
}

#[tokio::test]
async fn response_or_drop_returns_the_permit() {
    for subject in layers() {
        for method in &METHODS {
            let (mut outer, mut handle, permits) = over_limit(&subject);
            // The client does not read the body of the first response.
            let first = exchange(&mut outer, &mut handle, method, Ok(response())).await;
            assert_eq!(permits.available_permits(), 1, "{}", subject.name);
            let mut cancelled = Box::pin(soon(outer.ready()).await.unwrap().call(request(method)));
            assert!(poll_once(cancelled.as_mut()).is_pending());
            assert_eq!(permits.available_permits(), 0, "{}", subject.name);
            drop(cancelled);
            assert_eq!(permits.available_permits(), 1, "{}", subject.name);
            drop(soon(handle.next_request()).await);
            let (_, last) = exchange(&mut outer, &mut handle, method, Ok(response())).await;
            assert_eq!(last.unwrap().status(), 201);
            drop(first);
        }
    }
}

#[tokio::test]
async fn rejections_return_the_permit() {
    let limit = Subject::new("limit", |to| LimitLayer::new().default_body(1).recorder(to));
    let pressure = Subject::new("pressure", |to| pressure(950).recorder(to));
    for (subject, status) in [(limit, 413), (pressure, 503)] {
        let (outer, mut handle, permits) = over_limit(&subject);
        let rejected = async |outer: &mut Outer| {
            let request = Request::post("/").body(Full::from("xx")).unwrap();
            let response = soon(outer.ready()).await.unwrap().call(request).await;
            assert_eq!(response.unwrap().status(), status, "{}", subject.name);
        };
        let mut one = outer.clone();
        for _ in 0..2 {
            rejected(&mut one).await;
            rejected(&mut one).await;
            let (_, admitted) = exchange(&mut one, &mut handle, &Method::GET, Ok(response())).await;
            assert_eq!(admitted.unwrap().status(), 201);
        }
        rejected(&mut outer.clone()).await;
        rejected(&mut outer.clone()).await;
        assert_eq!(permits.available_permits(), 1, "{}", subject.name);
        assert!(handle.poll_request().is_pending(), "{} has called the service", subject.name);
    }
}
