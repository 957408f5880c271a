//! How responses end: complete, short, long, or by a timeout somewhere in an error's sources.

use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::body::Body as AxumBody;
use http::{Request, Response};
use tower_http::timeout::TimeoutBody;

use super::*;
use crate::support::{Server, boxed, h1_client, h2_client, soon};

/// Reads a body of these frames to its end, under a head that declares this length.
fn outcome_of(declared: Option<&str>, body: Scripted<Infallible>) -> String {
    let metrics = Metrics::new();
    let mut response = Response::new(body);
    if let Some(declared) = declared {
        response.headers_mut().insert("content-length", declared.parse().unwrap());
    }
    let mut body = answered(&layer(&metrics), Method::GET, response);
    while let Poll::Ready(Some(_)) = poll_frame(&mut body) {}
    drop(body);
    assert_eq!(metrics.gauge(IN_FLIGHT), 0.0);
    metrics.sample(DURATION).0["outcome"].clone()
}

#[test]
fn a_body_of_a_wrong_length_is_a_body_error() {
    let body = |lens: &[usize]| Scripted::new(lens.iter().map(|len| data(*len)));
    for (declared, frames, expected) in [
        (None, &[5][..], "ok"),
        (Some("5"), &[5], "ok"),
        (Some("5"), &[2, 3], "ok"),
        (Some("5"), &[4], "body_error"),
        (Some("5"), &[2, 2], "body_error"),
        (Some("5"), &[], "body_error"),
        (Some("5"), &[6], "body_error"),
        (Some("5"), &[3, 3], "body_error"),
        (Some("0"), &[], "ok"),
    ] {
        for tells_end in [true, false] {
            let scripted = body(frames);
            let scripted = if tells_end { scripted.tells_end() } else { scripted };
            let found = outcome_of(declared, scripted);
            assert_eq!(found, expected, "{declared:?} {frames:?} {tells_end}");
        }
    }
    // The body states another length than the head: the head is what the client has.
    assert_eq!(outcome_of(Some("9"), body(&[5]).exact()), "body_error");
    assert_eq!(outcome_of(Some("5"), body(&[5, 5]).exact()), "body_error");
    assert_eq!(outcome_of(Some("5"), body(&[5]).exact()), "ok");
    // A hint that does not follow what was read.
    let lower = |lower| {
        let mut hint = SizeHint::new();
        hint.set_lower(lower);
        hint
    };
    assert_eq!(outcome_of(Some("5"), body(&[5]).hint(&lower(5))), "ok");
    assert_eq!(outcome_of(Some("5"), body(&[5]).hint(&SizeHint::with_exact(5))), "ok");
    // Trailers end a body as well.
    assert_eq!(outcome_of(Some("5"), Scripted::new([data(5), trailers()])), "ok");
    assert_eq!(outcome_of(Some("5"), Scripted::new([data(4), trailers()])), "body_error");
}

#[test]
fn a_wrong_size_hint_is_a_body_error() {
    let hint = SizeHint::with_exact(5);
    assert_eq!(outcome_of(None, Scripted::new([data(3)]).hint(&hint)), "body_error");
}

#[tokio::test]
async fn short_bodies_over_sockets_are_body_errors() {
    let short = |request: Request<hyper::body::Incoming>| async move {
        let step = (request.uri().path() != "/empty").then(|| data(3));
        let body = boxed(Scripted::<Infallible>::new(step).tells_end());
        let status = request.uri().query().unwrap_or("200").parse::<u16>().unwrap();
        Response::builder().status(status).header("content-length", 10).body(body)
    };
    for (h2, client) in [(false, h1_client()), (true, h2_client())] {
        for (method, path, expected) in [
            ("GET", "/", "body_error"),
            ("GET", "/empty", "body_error"),
            ("GET", "/?500", "body_error"),
            ("HEAD", "/empty", "ok"),
            ("GET", "/empty?304", "ok"),
        ] {
            let metrics = Metrics::new();
            let service = ServiceBuilder::new().layer(layer(&metrics)).service_fn(short);
            let server = Server::start(service).await;
            let request = Request::builder().method(method).uri(server.url(path));
            let seen = async {
                let response = client.request(request.body(full("")).unwrap()).await?;
                response.into_body().collect().await.map_err(BoxError::from)?;
                Ok::<_, BoxError>(())
            };
            let seen = soon(seen).await;
            metrics.wait_for(DURATION, 1).await;
            let (labels, _) = metrics.sample(DURATION);
            assert_eq!(labels["outcome"], expected, "{method} {path}: the client saw {seen:?}");
            // An HTTP/1 server of hyper takes the length away where there is no body at all.
            let hidden = labels["status_code"] == "200" && path == "/empty" && !h2;
            assert_eq!(seen.is_ok(), expected == "ok" || hidden, "{method} {path}: {seen:?}");
        }
    }
}

#[tokio::test]
async fn a_long_body_over_h2_is_a_body_error() {
    let metrics = Metrics::new();
    let long = |_: Request<hyper::body::Incoming>| async {
        let body = boxed(Scripted::<Infallible>::new([data(5), Step::Pending, data(5)]));
        Response::builder().header("content-length", 5).body(body)
    };
    let service = ServiceBuilder::new().layer(layer(&metrics)).service_fn(long);
    let server = Server::start(service).await;
    let request = Request::get(server.url("/")).body(full("")).unwrap();
    let response = h2_client().request(request).await.unwrap();
    assert!(soon(response.into_body().collect()).await.is_err());
    metrics.wait_for(DURATION, 1).await;
    assert_ended(&metrics, Some("200"), "body_error");
}

#[test]
fn http_2_is_followed_behind_the_declared_length() {
    let of = |steps: Vec<Step<io::Error>>| {
        let metrics = Metrics::new();
        let mut request = get();
        *request.version_mut() = http::Version::HTTP_2;
        let response = Response::builder().header("content-length", 5);
        let response = response.body(Scripted::new(steps)).unwrap();
        let response = answer::<_, _, Infallible>(&layer(&metrics), request, Ok(response));
        let mut body = response.unwrap().into_body();
        while let Poll::Ready(Some(Ok(_))) = poll_frame(&mut body) {}
        drop(body);
        metrics.sample(DURATION).0["outcome"].clone()
    };
    let reset = || Step::Error(io::Error::from(io::ErrorKind::ConnectionReset));
    assert_eq!(of(vec![data(5)]), "ok");
    assert_eq!(of(vec![data(5), trailers()]), "ok");
    assert_eq!(of(vec![data(5), Step::PendingForever]), "ok", "the client has all of it");
    assert_eq!(of(vec![data(5), reset()]), "body_error", "the stream was reset");
    assert_eq!(of(vec![data(5), data(1)]), "body_error");
}

/// The outcome of a response of axum whose body fails with this error.
async fn in_axum(error: impl Fn() -> BoxError + Clone + Send + Sync + 'static) -> String {
    let metrics = Metrics::new();
    let handler = move || async move {
        AxumBody::new(Scripted::<BoxError>::new([data(1), Step::Error(error())]))
    };
    let app = Router::new().fallback(handler).layer(layer(&metrics));
    let request = Request::get("/").body(AxumBody::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
    metrics.sample(DURATION).0["outcome"].clone()
}

#[tokio::test]
async fn a_timeout_in_a_body_of_axum_is_a_timeout() {
    let timed_out = || io::Error::from(io::ErrorKind::TimedOut);
    assert_eq!(in_axum(move || timed_out().into()).await, "timeout");
    assert_eq!(in_axum(move || io::Error::other(timed_out()).into()).await, "timeout");
    assert_eq!(in_axum(|| tower::timeout::error::Elapsed::new().into()).await, "timeout");
    assert_eq!(in_axum(move || axum::Error::new(timed_out()).into()).await, "timeout");
    assert_eq!(in_axum(|| "refused".into()).await, "body_error");
}

#[tokio::test(start_paused = true)]
async fn the_timeout_body_of_tower_http_is_a_timeout() {
    let metrics = Metrics::new();
    let handler = || async {
        let inner = Scripted::<Infallible>::new([data(1), Step::PendingForever]);
        AxumBody::new(TimeoutBody::new(Duration::from_secs(5), inner))
    };
    let app = Router::new().fallback(handler).layer(layer(&metrics));
    let request = Request::get("/").body(AxumBody::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
    assert_ended(&metrics, Some("200"), "timeout");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_of_tokio_is_a_timeout() {
    let metrics = Metrics::new();
    let service = ServiceBuilder::new().layer(layer(&metrics)).service_fn(|_| async {
        let never = pending::<Response<Full<Bytes>>>();
        tokio::time::timeout(Duration::from_secs(1), never).await
    });
    let error = service.oneshot(get()).await.unwrap_err();
    assert!((&error as &dyn Error).is::<tokio::time::error::Elapsed>());
    assert_ended(&metrics, None, "timeout");
}
