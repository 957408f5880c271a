//! Limits of declared lengths and size hints, before the body is polled.

use std::pin::pin;

use bytes::Bytes;
use http::{Request, Response};
use http_body::SizeHint;
use http_body_util::{BodyExt, Full, LengthLimitError};
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::limit::{LimitLayer, RequestBody};
use tower_test::mock;

use super::{max_body, post, scripted, send};
use crate::support::{Scripted, Step, data, empty, full, now, poll_once};

#[tokio::test]
async fn rejects_before_calling_the_service() {
    let (mut service, mut handle) =
        mock::spawn_layer::<Request<RequestBody<Scripted>>, Response<Full<Bytes>>, _>(
            LimitLayer::new().json(10),
        );
    handle.allow(1);
    assert!(service.poll_ready().is_ready());
    let body = scripted([data(11)]);
    let log = body.log();
    let request =
        post().header("content-type", "application/json").header("content-length", 11).body(body);
    let response = now(service.call(request.unwrap())).unwrap();
    assert_eq!(response.status(), 413);
    assert!(poll_once(pin!(handle.next_request())).is_pending(), "the service was called");
    assert_eq!(log.polls(), 0, "the response does not wait for the body");
}

#[tokio::test]
async fn size_hints_count_as_declared_lengths() {
    let mut lower = SizeHint::new();
    lower.set_lower(11);
    for hint in [SizeHint::with_exact(11), lower] {
        for request in [post(), post().header("content-length", 5)] {
            let body = scripted([data(11)]).hint(&hint);
            let log = body.log();
            let response = send(&max_body(10), request.body(body).unwrap()).await;
            assert_eq!((response.status().as_u16(), log.polls()), (413, 0), "{hint:?}");
        }
    }
}

#[tokio::test]
async fn the_limit_itself_is_admitted() {
    for (len, expected) in [(10_239, 200), (10_240, 200), (10_241, 413)] {
        let request = post()
            .header("content-type", "application/json")
            .header("content-length", len)
            .body(full(vec![b'x'; len]));
        let response = send(&LimitLayer::new(), request.unwrap()).await;
        assert_eq!(response.status(), expected, "{len} declared");
    }
    for (last, expected) in [(5, 200), (6, 413)] {
        // Without `decompress`, a coding changes nothing.
        for request in [post(), post().header("content-encoding", "gzip")] {
            let body = scripted([data(5), Step::Pending, data(last), data(0)]);
            let response = send(&max_body(10), request.body(body).unwrap()).await;
            assert_eq!(response.status(), expected, "{last} streamed");
        }
    }
}

#[tokio::test]
async fn a_limit_of_zero_admits_empty_bodies() {
    let layer = max_body(0);
    assert_eq!(send(&layer, post().body(empty()).unwrap()).await.status(), 200);
    for (text, status) in [("", 200), ("1", 413)] {
        assert_eq!(send(&layer, post().body(full(text)).unwrap()).await.status(), status);
    }
    for (steps, status) in [(vec![], 200), (vec![data(1)], 413)] {
        let request = post().body(scripted(steps)).unwrap();
        assert_eq!(send(&layer, request).await.status(), status);
    }
}

#[tokio::test]
async fn invalid_content_length_is_a_bad_request() {
    let cases: [(&[&str], u16); 19] = [
        (&["3"], 200),
        (&["003"], 200),
        (&["11"], 413),
        (&["18446744073709551615"], 413),
        (&["18446744073709551616"], 413),
        (&["99999999999999999999999999999999"], 413),
        (&["-1"], 400),
        (&["+3"], 400),
        (&["3.0"], 400),
        (&["0x3"], 400),
        (&["three"], 400),
        (&[""], 400),
        (&["3", "3"], 200),
        (&["3, 3"], 200),
        (&["3", "4"], 400),
        (&["3, 4"], 400),
        (&["3,"], 400),
        (&["3", "11"], 400),
        (&["11", "3"], 400),
    ];
    for (lines, expected) in cases {
        let request = lines.iter().fold(post(), |it, line| it.header("content-length", *line));
        let body = scripted([data(3)]);
        let log = body.log();
        let response = send(&max_body(10), request.body(body).unwrap()).await;
        assert_eq!(response.status(), expected, "{lines:?}");
        assert_eq!(log.polls() > 0, expected == 200, "{lines:?}");
    }
}

#[tokio::test]
async fn bodies_beyond_their_length_are_cut_off() {
    let body = scripted([data(8), data(8)]);
    let log = body.log();
    let inner = service_fn(|request: Request<RequestBody<Scripted>>| async {
        let error = request.into_body().collect().await.unwrap_err();
        assert!(error.is_too_large() && error.is::<LengthLimitError>());
        Ok::<_, std::convert::Infallible>(Response::new(full("")))
    });
    let request = post().header("content-length", 5).body(body).unwrap();
    let response = max_body(10).layer(inner).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 413);
    assert!(log.given() <= 16);
}
