//! The response after a request body has failed.

use std::convert::Infallible;
use std::sync::Mutex;
use std::task::Poll;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full, LengthLimitError};
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::limit::RequestBody;

use super::{LimitResponse, is_closed, max_body, post, rejections, scripted};
use crate::support::{BoxError, Metrics, Scripted, Step, data, full, poll_frame, text};

/// Sends a body over the limit to a service that reads until the body fails, and then responds.
async fn fail<F, R>(metrics: &Metrics, version: Version, respond: F) -> LimitResponse
where
    F: Fn() -> R + Clone,
    R: Future<Output = Result<Response<Full<Bytes>>, BoxError>>,
{
    let inner = service_fn(move |request: Request<RequestBody<Scripted>>| {
        let respond = respond.clone();
        async move {
            assert!(request.into_body().collect().await.is_err());
            respond().await
        }
    });
    let layer = max_body(10).max_drain(0).recorder(metrics.recorder());
    let request = post().version(version).body(scripted([data(6), Step::Pending, data(6)]));
    layer.layer(inner).oneshot(request.unwrap()).await.unwrap()
}

#[tokio::test]
async fn other_responses_are_replaced_by_413() {
    for code in [200, 204, 400, 500] {
        let metrics = Metrics::new();
        let respond = || async move {
            Ok(Response::builder().status(code).header("x-own", "1").body("own".into())?)
        };
        let response = fail(&metrics, Version::HTTP_11, respond).await;
        assert_eq!(response.status(), 413, "{code}");
        assert!(is_closed(response.headers()));
        assert!(!response.headers().contains_key("x-own"));
        assert!(!text(response).await.contains("own"));
        assert_eq!(rejections(&metrics, "body_too_large"), 1);
    }
}

#[tokio::test]
async fn errors_are_replaced_by_413() {
    let metrics = Metrics::new();
    let respond = || async { Err("the body broke".into()) };
    let response = fail(&metrics, Version::HTTP_2, respond).await;
    assert_eq!(response.status(), 413);
    assert!(!response.headers().contains_key("connection"), "HTTP/2 forbids the header");
    assert_eq!(rejections(&metrics, "body_too_large"), 1);
}

#[tokio::test]
async fn a_413_of_the_service_is_kept() {
    let metrics = Metrics::new();
    let respond = || async { Ok(Response::builder().status(413).body("own".into())?) };
    let response = fail(&metrics, Version::HTTP_11, respond).await;
    assert_eq!(response.status(), 413);
    assert_eq!(text(response).await, "own");
    assert_eq!(rejections(&metrics, "body_too_large"), 1);
}

/// The server closes the connection of an undrained body, and a client that is not told so loses its
/// next request.
#[tokio::test]
async fn an_undrained_body_closes_the_connection() {
    for code in [413, 400] {
        for (version, expected) in [(Version::HTTP_11, true), (Version::HTTP_2, false)] {
            let respond =
                move || async move { Ok(Response::builder().status(code).body("own".into())?) };
            let response = fail(&Metrics::new(), version, respond).await;
            assert_eq!(is_closed(response.headers()), expected, "{code} {version:?}");
        }
    }
}

#[tokio::test]
async fn an_earlier_response_is_kept() {
    let kept = Mutex::new(None);
    let inner = service_fn(|request: Request<RequestBody<Scripted>>| {
        *kept.lock().unwrap() = Some(request.into_body());
        async { Ok::<_, Infallible>(Response::builder().status(202).body(full("mine")).unwrap()) }
    });
    let request = post().body(scripted([data(11)])).unwrap();
    let response = max_body(10).layer(inner).oneshot(request).await.unwrap();
    let mut body = kept.lock().unwrap().take().unwrap();
    let Poll::Ready(Some(Err(error))) = poll_frame(&mut body) else { panic!("no error") };
    assert!(error.is::<LengthLimitError>(), "the read fails still");
    assert_eq!(response.status(), 202);
    assert_eq!(text(response).await, "mine");
}

#[tokio::test]
async fn an_unread_body_changes_nothing() {
    let inner = service_fn(|_: Request<RequestBody<Scripted>>| async {
        Ok::<_, Infallible>(Response::builder().status(401).body(full("who?")).unwrap())
    });
    let body = scripted([data(11)]);
    let log = body.log();
    let response = max_body(10).layer(inner).oneshot(post().body(body).unwrap()).await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(log.polls(), 0);
}
