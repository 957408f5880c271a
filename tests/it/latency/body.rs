//! The end of a response body: complete, short, long, or with an error.

use axum::Router;
use axum::body::Body as AxumBody;
use hyper::body::Incoming;
use tower_http::timeout::TimeoutBody;

use super::*;
use crate::support::{Server, boxed, h1_client, h2_client, soon};

#[test]
fn request_ends_with_the_last_byte() {
    let body = |steps: Vec<Step<Infallible>>| Scripted::new(steps);
    let five = || body(vec![data(2), Step::Pending, data(3)]);
    let none = SizeHint::with_exact(0);
    for (case, declared, body, polls) in [
        ("trailers", None, body(vec![data(1), trailers()]), 2),
        ("end of stream", None, body(vec![data(1), data(1)]).tells_end(), 2),
        ("end of stream with the headers", None, body(vec![]).tells_end(), 0),
        ("size hint", None, five().exact(), 3),
        ("content-length", Some("5"), five(), 3),
        ("size hint and content-length", Some("5"), five().exact(), 3),
        ("size hint of 0", None, body(vec![]).hint(&none), 0),
        ("content-length of 0", Some("0"), body(vec![]), 0),
    ] {
        let metrics = Metrics::new();
        let mut response = Response::new(body);
        if let Some(declared) = declared {
            response.headers_mut().insert("content-length", declared.parse().unwrap());
        }
        let mut body = get_body(&layer(&metrics), response);
        for _ in 0..polls {
            assert_eq!(metrics.samples(DURATION), [], "{case}");
            let _ = poll_frame(&mut body);
        }
        assert_eq!(metrics.samples(DURATION).len(), 1, "{case}");
        drop(body);
        assert_ended(&metrics, Some("200"), "ok");
    }
}

#[test]
fn bodiless_response_ends_with_its_headers() {
    for (method, code) in [
        (Method::HEAD, 200),
        (Method::HEAD, 404),
        (Method::GET, 204),
        (Method::GET, 304),
        (Method::GET, 103),
    ] {
        let metrics = Metrics::new();
        let response = Response::builder().status(code).header("content-length", 3);
        let response = response.body(Scripted::<Infallible>::new([data(3)])).unwrap();
        drop(body_of(&layer(&metrics), method, response));
        assert_eq!(values(&metrics, DURATION, "outcome"), ["ok"], "{code}");
        assert_eq!(metrics.gauge(IN_FLIGHT), 0.0);
    }
}

#[test]
fn frames_after_the_end_are_not_recorded() {
    let metrics = Metrics::new();
    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
    let body = Scripted::new([data(5), trailers(), Step::Error(reset)]);
    let response = Response::builder().header("content-length", 5).body(body).unwrap();
    let mut body = get_body(&layer(&metrics), response);
    for _ in 0..4 {
        assert!(poll_frame(&mut body).is_ready());
    }
    drop(body);
    assert_ended(&metrics, Some("200"), "ok");
}

#[test]
fn malformed_content_length_is_ignored() {
    let metrics = Metrics::new();
    let body = Scripted::<Infallible>::new([data(5)]);
    let response = Response::builder().header("content-length", "-5").body(body).unwrap();
    let mut body = get_body(&layer(&metrics), response);
    assert!(poll_frame(&mut body).is_ready());
    assert_in_flight(&metrics);
    drop(body);
    assert_ended(&metrics, Some("200"), "disconnect");
}

#[test]
fn body_passes_unchanged() {
    let body = Scripted::<io::Error>::new([data(2), data(3), trailers()]).exact().tells_end();
    let log = body.log();
    let metrics = Metrics::new();
    let mut body = get_body(&layer(&metrics), Response::new(body));
    assert_eq!((body.size_hint().exact(), body.is_end_stream(), log.polls()), (Some(5), false, 0));
    assert!(poll_frame(&mut body).is_ready());
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(3), false));
    let rest = now(body.collect()).unwrap();
    assert_eq!(rest.trailers().unwrap()["x-sum"], "1");
    assert_eq!(rest.to_bytes().len(), 3);
    assert!(!log.polled_after_end());
}

/// Returns the outcome of a response with this `content-length` whose body is read to its end.
fn outcome_of(declared: Option<&str>, body: Scripted<Infallible>) -> String {
    let metrics = Metrics::new();
    let mut response = Response::new(body);
    if let Some(declared) = declared {
        response.headers_mut().insert("content-length", declared.parse().unwrap());
    }
    let mut body = get_body(&layer(&metrics), response);
    while let Poll::Ready(Some(_)) = poll_frame(&mut body) {}
    drop(body);
    assert_eq!(metrics.gauge(IN_FLIGHT), 0.0);
    metrics.sample(DURATION).0["outcome"].clone()
}

#[test]
fn wrong_length_is_a_body_error() {
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
    // If the size hint contradicts the headers, the client expects the length of the headers.
    assert_eq!(outcome_of(Some("9"), body(&[5]).exact()), "body_error");
    assert_eq!(outcome_of(Some("5"), body(&[5, 5]).exact()), "body_error");
    assert_eq!(outcome_of(Some("5"), body(&[5]).exact()), "ok");
    // A size hint that stays the same while the body is read.
    let lower = |lower| {
        let mut hint = SizeHint::new();
        hint.set_lower(lower);
        hint
    };
    assert_eq!(outcome_of(Some("5"), body(&[5]).hint(&lower(5))), "ok");
    assert_eq!(outcome_of(Some("5"), body(&[5]).hint(&SizeHint::with_exact(5))), "ok");
    let hint = SizeHint::with_exact(5);
    assert_eq!(outcome_of(None, body(&[3]).hint(&hint)), "body_error", "a wrong size hint");
    // Trailers end the body.
    assert_eq!(outcome_of(Some("5"), Scripted::new([data(5), trailers()])), "ok");
    assert_eq!(outcome_of(Some("5"), Scripted::new([data(4), trailers()])), "body_error");
}

#[tokio::test]
async fn short_bodies_over_sockets_are_errors() {
    let short = |request: Request<Incoming>| async move {
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
            // hyper's HTTP/1 server removes the length of a response without a body.
            let hidden = labels["status_code"] == "200" && path == "/empty" && !h2;
            assert_eq!(seen.is_ok(), expected == "ok" || hidden, "{method} {path}: {seen:?}");
        }
    }
}

#[tokio::test]
async fn long_body_over_h2_is_a_body_error() {
    let metrics = Metrics::new();
    let long = |_: Request<Incoming>| async {
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
fn h2_body_is_polled_past_its_declared_length() {
    let outcome = |steps: Vec<Step<io::Error>>| {
        let metrics = Metrics::new();
        let mut request = get();
        *request.version_mut() = http::Version::HTTP_2;
        let response = Response::builder().header("content-length", 5);
        let response = response.body(Scripted::new(steps)).unwrap();
        let Ok(response) = call::<_, _, Infallible>(&layer(&metrics), request, Ok(response));
        let mut body = response.into_body();
        while let Poll::Ready(Some(Ok(_))) = poll_frame(&mut body) {}
        drop(body);
        metrics.sample(DURATION).0["outcome"].clone()
    };
    let reset = || Step::Error(io::Error::from(io::ErrorKind::ConnectionReset));
    assert_eq!(outcome(vec![data(5)]), "ok");
    assert_eq!(outcome(vec![data(5), trailers()]), "ok");
    assert_eq!(outcome(vec![data(5), Step::PendingForever]), "ok", "the client has the whole body");
    assert_eq!(outcome(vec![data(5), reset()]), "body_error", "the stream was reset");
    assert_eq!(outcome(vec![data(5), data(1)]), "body_error");
}

/// Returns the outcome of an axum response whose body fails with this error.
async fn outcome_in_axum(error: impl Fn() -> BoxError + Clone + Send + Sync + 'static) -> String {
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
async fn timeout_in_an_axum_body_is_a_timeout() {
    let timed_out = || io::Error::from(io::ErrorKind::TimedOut);
    assert_eq!(outcome_in_axum(move || timed_out().into()).await, "timeout");
    assert_eq!(outcome_in_axum(move || io::Error::other(timed_out()).into()).await, "timeout");
    assert_eq!(outcome_in_axum(|| tower::timeout::error::Elapsed::new().into()).await, "timeout");
    assert_eq!(outcome_in_axum(move || axum::Error::new(timed_out()).into()).await, "timeout");
    assert_eq!(outcome_in_axum(|| "refused".into()).await, "body_error");
}

#[tokio::test(start_paused = true)]
async fn tower_http_timeout_body_is_a_timeout() {
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
