use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version};
use http_body::{Body, SizeHint};
use http_body_util::{BodyExt, Empty, Full, LengthLimitError};
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_kit::limit::{LimitLayer, Reason, RequestBody, ResponseBody, Size};
use tower_kit::{KIB, MIB};
use tower_test::mock;

mod cookies;
#[cfg(feature = "limit-decompress")]
mod decompress;
mod drain;
mod pace;
mod proxies;
mod requests;

use crate::support::{
    BoxError, Metrics, Scripted, Step, data, empty, full, now, poll_frame, poll_once, status, text,
    trailers,
};

type Answer = Response<ResponseBody<Full<Bytes>>>;

const REJECTED: &str = "http_requests_rejected_total";

fn post() -> http::request::Builder {
    Request::post("/")
}

/// Reads the whole body: 200 with its length, or 400 with the error.
async fn reads<B>(request: Request<RequestBody<B>>) -> Result<Response<Full<Bytes>>, Infallible>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let (status, says) = match request.into_body().collect().await {
        Ok(body) => (200, body.to_bytes().len().to_string()),
        Err(error) => (400, error.to_string()),
    };
    Ok(Response::builder().status(status).body(says.into()).unwrap())
}

async fn ask<B>(layer: LimitLayer, request: Request<B>) -> Answer
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    layer.layer(service_fn(reads::<B>)).oneshot(request).await.unwrap()
}

/// Which limit a body with these `content-type` lines has, `None` for no limit. A declared length
/// that is over every limit makes the layer say it.
async fn limit_for(layer: &LimitLayer, content_types: &[&[u8]]) -> Option<u64> {
    let layer = layer.clone().response(|refusal| {
        assert_eq!(refusal.reason(), Reason::BodyTooLarge);
        let mut response = Response::new(Bytes::new());
        response.headers_mut().insert("x-limit", refusal.limit().unwrap().into());
        response
    });
    let mut request = post().header("content-length", u64::MAX - 1);
    for line in content_types {
        request = request.header("content-type", *line);
    }
    let response = ask(layer, request.body(Scripted::<BoxError>::new([])).unwrap()).await;
    response.headers().get("x-limit").map(|limit| limit.to_str().unwrap().parse().unwrap())
}

// What is declared.

#[tokio::test]
async fn a_declared_length_over_the_limit_is_refused_before_the_service_is_called() {
    let (mut service, mut handle) =
        mock::spawn_layer::<Request<RequestBody<Scripted>>, Response<Full<Bytes>>, _>(
            LimitLayer::new().json(10),
        );
    handle.allow(1);
    assert!(service.poll_ready().is_ready());
    let body = Scripted::new([data(11)]);
    let log = body.log();
    let request =
        post().header("content-type", "application/json").header("content-length", 11).body(body);
    let response = now(service.call(request.unwrap())).unwrap();
    assert_eq!(response.status(), 413);
    assert!(poll_once(pin!(handle.next_request())).is_pending(), "the service was called");
    assert_eq!(log.polls(), 0, "the response does not wait for the body");
}

#[tokio::test]
async fn a_size_hint_over_the_limit_is_refused_before_the_body_is_polled() {
    let hints = [SizeHint::with_exact(11), {
        let mut hint = SizeHint::new();
        hint.set_lower(11);
        hint
    }];
    for hint in hints {
        let body = Scripted::<BoxError>::new([data(11)]).hint(&hint);
        let log = body.log();
        let response = ask(LimitLayer::new().default_body(10), post().body(body).unwrap()).await;
        assert_eq!(response.status(), 413);
        assert_eq!(log.polls(), 0);
    }
}

#[tokio::test]
async fn a_size_hint_counts_even_where_a_smaller_length_is_declared() {
    let body = Scripted::<BoxError>::new([data(11)]).exact();
    let request = post().header("content-length", 5).body(body).unwrap();
    assert_eq!(ask(LimitLayer::new().default_body(10), request).await.status(), 413);
}

#[tokio::test]
async fn a_declared_length_of_exactly_the_limit_passes_and_one_more_byte_does_not() {
    for (len, expected) in [(10_239, 200), (10_240, 200), (10_241, 413)] {
        let request = post()
            .header("content-type", "application/json")
            .header("content-length", len)
            .body(full(vec![b'x'; len]))
            .unwrap();
        assert_eq!(ask(LimitLayer::new(), request).await.status(), expected, "{len}");
    }
}

#[tokio::test]
async fn a_streamed_length_of_exactly_the_limit_passes_and_one_more_byte_does_not() {
    for (last, expected) in [(5, 200), (6, 413)] {
        let body = Scripted::<BoxError>::new([data(5), Step::Pending, data(last), data(0)]);
        let response = ask(LimitLayer::new().default_body(10), post().body(body).unwrap()).await;
        assert_eq!(response.status(), expected, "{last}");
    }
}

#[tokio::test]
async fn a_limit_of_zero_lets_only_an_empty_body_pass() {
    let layer = LimitLayer::new().default_body(0);
    assert_eq!(ask(layer.clone(), post().body(empty()).unwrap()).await.status(), 200);
    assert_eq!(ask(layer.clone(), post().body(full("")).unwrap()).await.status(), 200);
    assert_eq!(ask(layer.clone(), post().body(full("1")).unwrap()).await.status(), 413);
    let nothing = Scripted::<BoxError>::new([]);
    assert_eq!(ask(layer.clone(), post().body(nothing).unwrap()).await.status(), 200);
    let one = Scripted::<BoxError>::new([data(1)]);
    assert_eq!(ask(layer, post().body(one).unwrap()).await.status(), 413);
}

#[tokio::test]
async fn a_wrong_content_length_is_bad_input() {
    let over = "99999999999999999999999999999999";
    let cases: [(&[&str], u16); 15] = [
        (&["3"], 200),
        (&["003"], 200),
        (&["11"], 413),
        (&["18446744073709551615"], 413),
        (&["18446744073709551616"], 413),
        (&[over], 413),
        (&["-1"], 400),
        (&["+3"], 400),
        (&["3.0"], 400),
        (&["0x3"], 400),
        (&["three"], 400),
        (&[""], 400),
        (&["3", "3"], 200),
        (&["3, 3"], 200),
        (&["3", "4"], 400),
    ];
    for (lines, expected) in cases {
        let mut request = post();
        for line in lines {
            request = request.header("content-length", *line);
        }
        let body = Scripted::<BoxError>::new([data(3)]);
        let log = body.log();
        let response = ask(LimitLayer::new().default_body(10), request.body(body).unwrap()).await;
        assert_eq!(response.status(), expected, "{lines:?}");
        assert_eq!(log.polls() > 0, expected == 200, "{lines:?}");
    }
    for lines in [&["3, 4"][..], &["3,"], &["3", "11"], &["11", "3"]] {
        let mut request = post();
        for line in lines {
            request = request.header("content-length", *line);
        }
        let body = Scripted::<BoxError>::new([data(3)]);
        let response = ask(LimitLayer::new().default_body(10), request.body(body).unwrap()).await;
        assert_eq!(response.status(), 400, "{lines:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_longer_than_it_declares_is_still_cut_off() {
    let body = Scripted::<BoxError>::new([data(8), data(8)]);
    let log = body.log();
    let seen = Arc::new(Mutex::new(None));
    let inner = {
        let seen = Arc::clone(&seen);
        service_fn(move |request: Request<RequestBody<Scripted>>| {
            let seen = Arc::clone(&seen);
            async move {
                let error = request.into_body().collect().await.unwrap_err();
                *seen.lock().unwrap() = Some(error.is::<LengthLimitError>());
                Ok::<_, Infallible>(Response::new(full("")))
            }
        })
    };
    let request = post().header("content-length", 5).body(body).unwrap();
    drop(LimitLayer::new().default_body(10).layer(inner).oneshot(request).await.unwrap());
    assert_eq!(*seen.lock().unwrap(), Some(true));
    assert!(log.given() <= 16);
}

// Media types.

#[tokio::test]
async fn the_defaults_are_ten_kib_of_json_or_form_and_two_mib_of_anything_else() {
    let layer = LimitLayer::new();
    assert_eq!(layer_limit(&layer, "application/json").await, 10_240);
    assert_eq!(layer_limit(&layer, "application/problem+json").await, 10_240);
    assert_eq!(layer_limit(&layer, "image/vnd.any+json").await, 10_240);
    assert_eq!(layer_limit(&layer, "application/x-www-form-urlencoded").await, 10_240);
    for other in ["text/plain", "multipart/form-data; boundary=x", "application/json5", "text/json"]
    {
        assert_eq!(layer_limit(&layer, other).await, 2_097_152, "{other}");
    }
    assert_eq!(limit_for(&layer, &[]).await, Some(2_097_152));
}

async fn layer_limit(layer: &LimitLayer, content_type: &str) -> u64 {
    limit_for(layer, &[content_type.as_bytes()]).await.unwrap()
}

#[tokio::test]
async fn case_spaces_and_parameters_of_a_media_type_do_not_matter() {
    let layer = LimitLayer::new();
    for json in [
        "APPLICATION/JSON",
        "Application/Json; charset=utf-8",
        "application/json;charset=\"a;b\"",
        "application/json ; x=1",
        "  application/json\t",
        "application/LD+JSON;profile=\"x\"",
        "application/json;",
    ] {
        assert_eq!(layer_limit(&layer, json).await, 10_240, "{json}");
    }
}

#[tokio::test]
async fn a_malformed_media_type_falls_to_the_catch_all() {
    let layer = LimitLayer::new().media_type("image/*", 5).unwrap().default_body(77);
    let malformed: [&[u8]; 10] = [
        b"",
        b"application",
        b"/json",
        b"application/",
        b"application json",
        b"application/json/json",
        b"application/js on",
        b"image/\xff",
        b"\xff\xfe",
        b"; application/json",
    ];
    for line in malformed {
        assert_eq!(limit_for(&layer, &[line]).await, Some(77), "{line:?}");
    }
}

#[tokio::test]
async fn the_exact_type_wins_over_the_suffix_and_the_suffix_over_the_class() {
    // Set in every order, and each lower and higher than the other: only exactness decides.
    let set = |order: [usize; 3], sizes: [u64; 3]| {
        order.into_iter().fold(LimitLayer::new().default_body(4), |layer, at| {
            let media_type = ["image/svg+xml", "+xml", "image/*"][at];
            layer.media_type(media_type, sizes[at]).unwrap()
        })
    };
    for sizes in [[1, 2, 3], [30, 20, 10]] {
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
            let layer = set(order, sizes);
            assert_eq!(layer_limit(&layer, "image/svg+xml").await, sizes[0]);
            assert_eq!(layer_limit(&layer, "image/other+xml").await, sizes[1]);
            assert_eq!(layer_limit(&layer, "text/other+XML").await, sizes[1]);
            assert_eq!(layer_limit(&layer, "Image/PNG").await, sizes[2]);
            assert_eq!(layer_limit(&layer, "text/xml").await, 4);
        }
    }
}

#[tokio::test]
async fn setting_a_media_type_again_replaces_it() {
    let layer = LimitLayer::new().media_type("image/*", 1).unwrap();
    let layer = layer.media_type("IMAGE/*", 2).unwrap();
    assert_eq!(layer_limit(&layer, "image/png").await, 2);
    let layer = LimitLayer::new().json(7).media_type("application/json", 8).unwrap();
    assert_eq!(layer_limit(&layer, "application/json").await, 8);
    assert_eq!(layer_limit(&layer, "application/x+json").await, 7);
    let layer = LimitLayer::new().form(9);
    assert_eq!(layer_limit(&layer, "application/x-www-form-urlencoded").await, 9);
}

#[tokio::test]
async fn of_several_content_type_lines_the_lowest_limit_counts() {
    let layer = LimitLayer::new().media_type("image/*", 5).unwrap();
    assert_eq!(limit_for(&layer, &[b"text/plain", b"application/json"]).await, Some(10_240));
    assert_eq!(limit_for(&layer, &[b"application/json", b"text/plain"]).await, Some(10_240));
    assert_eq!(limit_for(&layer, &[b"application/json", b"image/png"]).await, Some(5));
    assert_eq!(limit_for(&layer, &[b"broken", b"application/json"]).await, Some(10_240));
}

#[tokio::test]
async fn unlimited_is_explicit_and_passes_any_length() {
    let layer = LimitLayer::new().media_type("application/grpc", Size::UNLIMITED).unwrap();
    assert_eq!(limit_for(&layer, &[b"application/grpc"]).await, None);
    assert_eq!(limit_for(&layer, &[b"application/grpc+proto"]).await, Some(2 * MIB));
    let body = Scripted::<BoxError>::new((0..64).map(|_| data(64 * 1024)));
    let request = post().header("content-type", "application/grpc").body(body).unwrap();
    let response = ask(layer, request).await;
    assert_eq!(response.status(), 200);
    assert_eq!(text(response).await, (4 * MIB).to_string());
}

#[test]
fn a_media_type_of_no_known_form_is_an_error_when_the_layer_is_built() {
    for wrong in ["", "*", "*/*", "image", "image/", "/png", "+", "image/p*", "*/png", "a/b; c=d"] {
        let error = LimitLayer::new().media_type(wrong, 1).unwrap_err();
        assert!(error.to_string().contains(&format!("{wrong:?}")), "{error}");
    }
    for right in ["image/png", "image/*", "+json", "IMAGE/PNG", "application/vnd.a-b_c+d"] {
        assert!(LimitLayer::new().media_type(right, 1).is_ok(), "{right}");
    }
}

// The read that crosses.

#[tokio::test]
async fn the_read_that_crosses_fails_with_exactly_the_length_limit_error_and_then_the_body_ends() {
    let body = Scripted::<BoxError>::new([data(6), data(5), data(1)]);
    let log = body.log();
    let mut body = passed(&LimitLayer::new().default_body(10), post().body(body).unwrap());
    let Poll::Ready(Some(Ok(frame))) = poll_frame(&mut body) else { panic!("no first frame") };
    assert_eq!(frame.into_data().unwrap().len(), 6);
    let Poll::Ready(Some(Err(error))) = poll_frame(&mut body) else { panic!("no error") };
    let error: BoxError = error.into();
    assert!(error.downcast::<LengthLimitError>().is_ok());
    assert!(body.is_end_stream());
    let polls = log.polls();
    for _ in 0..3 {
        assert!(matches!(poll_frame(&mut body), Poll::Ready(None)));
    }
    assert_eq!(log.polls(), polls, "the inner body is left alone");
    assert_eq!(body.size_hint().exact(), Some(0));
}

/// The body as the service gets it.
fn passed<B>(layer: &LimitLayer, request: Request<B>) -> RequestBody<B>
where
    B: Body + Send + 'static,
{
    let (inner, mut handle) = mock::pair::<Request<RequestBody<B>>, Response<Full<Bytes>>>();
    let mut service = layer.layer(inner);
    handle.allow(1);
    now(service.ready()).unwrap();
    drop(service.call(request));
    let (request, _) = now(handle.next_request()).expect("the request is not refused");
    request.into_body()
}

#[test]
fn a_body_below_its_limit_passes_with_all_its_frames() {
    let body = Scripted::<BoxError>::new([data(1), Step::Pending, data(0), data(2), trailers()]);
    let log = body.log();
    let mut body = passed(&LimitLayer::new(), post().body(body).unwrap());
    let mut frames = Vec::new();
    loop {
        match poll_frame(&mut body) {
            Poll::Pending => frames.push("pending".to_owned()),
            Poll::Ready(None) => break,
            Poll::Ready(Some(frame)) => match frame.unwrap().into_data() {
                Ok(data) => frames.push(data.len().to_string()),
                Err(frame) => frames.push(format!("{:?}", frame.into_trailers().unwrap()["x-sum"])),
            },
        }
    }
    assert_eq!(frames, ["1", "pending", "0", "2", "\"1\""]);
    assert!(!log.polled_after_end());
}

#[test]
fn an_error_of_the_body_passes_as_it_is() {
    #[derive(Debug)]
    struct Own;
    impl std::fmt::Display for Own {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("own")
        }
    }
    impl std::error::Error for Own {}
    let body = Scripted::new([data(1), Step::Error(Own)]);
    let mut body = passed(&LimitLayer::new(), post().body(body).unwrap());
    assert!(poll_frame(&mut body).is_ready());
    let Poll::Ready(Some(Err(error))) = poll_frame(&mut body) else { panic!("no error") };
    assert!(BoxError::from(error).downcast::<Own>().is_ok());
}

#[test]
fn the_end_and_the_length_are_told_as_the_body_tells_them() {
    let body = Scripted::<BoxError>::new([data(2), data(3)]).exact().tells_end();
    let mut body = passed(&LimitLayer::new(), post().body(body).unwrap());
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(5), false));
    assert!(poll_frame(&mut body).is_ready());
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(3), false));
    assert!(poll_frame(&mut body).is_ready());
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(0), true));
}

#[test]
fn a_body_of_unknown_length_has_its_limit_as_the_upper_bound() {
    let body = Scripted::<BoxError>::new([data(4)]);
    let mut body = passed(&LimitLayer::new().default_body(10), post().body(body).unwrap());
    assert_eq!((body.size_hint().lower(), body.size_hint().upper()), (0, Some(10)));
    assert!(poll_frame(&mut body).is_ready());
    assert_eq!((body.size_hint().lower(), body.size_hint().upper()), (0, Some(6)));
}

#[test]
fn an_unlimited_body_of_unknown_length_never_has_an_upper_bound() {
    let layer = LimitLayer::new().default_body(Size::UNLIMITED);
    let body = Scripted::<BoxError>::new([data(4)]);
    let mut body = passed(&layer, post().body(body).unwrap());
    assert_eq!(body.size_hint().upper(), None);
    assert!(poll_frame(&mut body).is_ready());
    assert_eq!(body.size_hint().upper(), None);
}

#[tokio::test]
async fn trailers_after_a_crossing_are_not_given() {
    let body = Scripted::<BoxError>::new([data(11), trailers()]);
    let mut body = passed(&LimitLayer::new().default_body(10), post().body(body).unwrap());
    assert!(matches!(poll_frame(&mut body), Poll::Ready(Some(Err(_)))));
    assert!(matches!(poll_frame(&mut body), Poll::Ready(None)));
}

// Who answers after a crossing.

/// A service that reads until the body ends or fails, and then does this.
async fn after_crossing<F, R>(metrics: &Metrics, version: Version, answer: F) -> Answer
where
    F: Fn() -> R + Clone,
    R: Future<Output = Result<Response<Full<Bytes>>, BoxError>>,
{
    let inner = service_fn(move |request: Request<RequestBody<Scripted>>| {
        let answer = answer.clone();
        async move {
            assert!(request.into_body().collect().await.is_err());
            answer().await
        }
    });
    let layer = LimitLayer::new().default_body(10).max_drain(0).recorder(metrics.recorder());
    let request = post().version(version).body(Scripted::new([data(6), Step::Pending, data(6)]));
    layer.layer(inner).oneshot(request.unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_service_that_answers_something_else_after_a_crossing_has_its_answer_replaced_by_413() {
    for code in [200, 204, 400, 500] {
        let metrics = Metrics::new();
        let answer = || async move {
            Ok(Response::builder().status(code).header("x-own", "1").body("own".into())?)
        };
        let response = after_crossing(&metrics, Version::HTTP_11, answer).await;
        assert_eq!(response.status(), 413, "{code}");
        assert_eq!(response.headers()["connection"], "close");
        assert!(!response.headers().contains_key("x-own"));
        assert!(!text(response).await.contains("own"));
        let labels = [("layer", "limit"), ("reason", "body_too_large")];
        assert_eq!(metrics.counted(REJECTED, &labels), 1);
    }
}

#[tokio::test]
async fn a_service_that_fails_after_a_crossing_has_its_error_replaced_by_413() {
    let metrics = Metrics::new();
    let answer = || async { Err("the body broke".into()) };
    let response = after_crossing(&metrics, Version::HTTP_2, answer).await;
    assert_eq!(response.status(), 413);
    assert!(!response.headers().contains_key("connection"), "there is none in HTTP/2");
    assert_eq!(metrics.counted(REJECTED, &[("reason", "body_too_large")]), 1);
}

#[tokio::test]
async fn a_service_that_answers_413_by_itself_keeps_its_answer_and_is_counted_once() {
    let metrics = Metrics::new();
    let answer = || async { Ok(Response::builder().status(413).body("own".into())?) };
    let response = after_crossing(&metrics, Version::HTTP_11, answer).await;
    assert_eq!(response.status(), 413);
    assert_eq!(text(response).await, "own");
    assert_eq!(metrics.counted(REJECTED, &[("reason", "body_too_large")]), 1);
}

/// Where nothing is discarded, the server closes the connection, and a client that is not told so
/// loses its next request.
#[tokio::test]
async fn a_body_left_unread_closes_the_connection() {
    for code in [413, 400] {
        for (version, expected) in [(Version::HTTP_11, true), (Version::HTTP_2, false)] {
            let answer =
                move || async move { Ok(Response::builder().status(code).body("own".into())?) };
            let response = after_crossing(&Metrics::new(), version, answer).await;
            let closes = response.headers().get("connection").is_some_and(|it| it == "close");
            assert_eq!(closes, expected, "{code} {version:?}");
        }
    }
}

#[tokio::test]
async fn a_service_that_answered_before_the_crossing_keeps_its_answer() {
    let kept = Arc::new(Mutex::new(None));
    let inner = {
        let kept = Arc::clone(&kept);
        service_fn(move |request: Request<RequestBody<Scripted>>| {
            *kept.lock().unwrap() = Some(request.into_body());
            async {
                Ok::<_, Infallible>(Response::builder().status(202).body(full("mine")).unwrap())
            }
        })
    };
    let request = post().body(Scripted::new([data(11)])).unwrap();
    let response = LimitLayer::new().default_body(10).layer(inner).oneshot(request).await.unwrap();
    let mut body = kept.lock().unwrap().take().unwrap();
    let Poll::Ready(Some(Err(error))) = poll_frame(&mut body) else { panic!("no error") };
    assert!(error.is::<LengthLimitError>(), "the read fails still");
    assert_eq!(response.status(), 202);
    assert_eq!(text(response).await, "mine");
}

#[tokio::test]
async fn a_service_that_does_not_read_the_body_answers_as_it_likes() {
    let inner = service_fn(|_: Request<RequestBody<Scripted>>| async {
        Ok::<_, Infallible>(Response::builder().status(401).body(full("who?")).unwrap())
    });
    let body = Scripted::new([data(11)]);
    let log = body.log();
    let request = post().body(body).unwrap();
    let response = LimitLayer::new().default_body(10).layer(inner).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(log.polls(), 0);
}

// The target and the header section.

#[tokio::test]
async fn a_target_over_its_limit_is_refused_with_414_and_one_of_exactly_the_limit_passes() {
    for (len, expected) in [(8_192, 200), (8_193, 414)] {
        let target = format!("/{}?q={}", "a".repeat(4_000), "b".repeat(len - 4_004));
        assert_eq!(target.len(), len);
        let request = Request::get(&target).body(empty()).unwrap();
        assert_eq!(ask(LimitLayer::new(), request).await.status(), expected, "{len}");
    }
}

#[tokio::test]
async fn scheme_and_authority_count_where_the_target_carries_them() {
    let layer = LimitLayer::new().uri(20);
    for (target, expected) in [("http://h.example/abc", 200), ("http://h.example/abcd", 414)] {
        let request = Request::get(target).version(Version::HTTP_2).body(empty()).unwrap();
        assert_eq!(ask(layer.clone(), request).await.status(), expected, "{target}");
    }
    let request = Request::get("*").body(empty()).unwrap();
    assert_eq!(ask(layer, request).await.status(), 200);
}

#[tokio::test]
async fn more_header_fields_than_their_limit_are_refused_with_431_each_line_counted() {
    for (count, expected) in [(100, 200), (101, 431)] {
        let mut same = Request::get("/");
        let mut different = Request::get("/");
        for n in 0..count {
            same = same.header("x-a", "");
            different = different.header(format!("x-{n}"), "");
        }
        for request in [same, different] {
            let response = ask(LimitLayer::new(), request.body(empty()).unwrap()).await;
            assert_eq!(response.status(), expected, "{count}");
        }
    }
}

#[tokio::test]
async fn a_header_section_over_its_limit_is_refused_with_431_names_and_values_and_four_counted() {
    // Two fields: 2 * (3 + 4) + 16,370 = 16,384.
    for (len, expected) in [(16_370, 200), (16_371, 431)] {
        let request = Request::get("/")
            .header("x-a", "b".repeat(10))
            .header("x-a", "b".repeat(len - 10))
            .body(empty())
            .unwrap();
        assert_eq!(ask(LimitLayer::new(), request).await.status(), expected, "{len}");
    }
}

#[tokio::test]
async fn every_limit_of_the_head_can_be_set_and_lifted() {
    let big = || {
        let mut request = Request::get(format!("/{}", "a".repeat(20_000)));
        for n in 0..200 {
            request = request.header(format!("x-{n}"), "b".repeat(200));
        }
        request.body(empty()).unwrap()
    };
    let none = Size::UNLIMITED;
    let lifted = LimitLayer::new().uri(none).header_bytes(none).header_count(none);
    assert_eq!(ask(lifted.clone(), big()).await.status(), 200);
    assert_eq!(ask(lifted.clone().uri(20_000), big()).await.status(), 414);
    assert_eq!(ask(lifted.clone().header_count(199), big()).await.status(), 431);
    assert_eq!(ask(lifted.header_bytes(200 * 200), big()).await.status(), 431);
}

// The answer.

#[tokio::test]
async fn each_reason_has_its_status_and_its_counter_and_a_complete_answer() {
    let cases = [
        ("body_too_large", 413, post().header("content-length", 3_000_000)),
        ("uri_too_long", 414, Request::post(format!("/{}", "a".repeat(9_000)))),
        ("headers_too_large", 431, post().header("x-a", "b".repeat(17_000))),
        ("too_many_headers", 431, (0..101).fold(post(), |it, _| it.header("x-a", "b"))),
        ("invalid_content_length", 400, post().header("content-length", "-1")),
    ];
    for (reason, code, request) in cases {
        let metrics = Metrics::new();
        let layer = LimitLayer::new().max_drain(0).recorder(metrics.recorder());
        let response = ask(layer, request.body(Scripted::<BoxError>::new([])).unwrap()).await;
        assert_eq!(response.status(), code, "{reason}");
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8", "{reason}");
        assert_eq!(response.headers()["connection"], "close", "{reason}");
        let length = response.body().size_hint().exact();
        let body = text(response).await;
        assert_eq!(length, Some(body.len() as u64), "{reason}");
        assert!(body.ends_with('\n') && body.lines().count() == 1, "{reason}: {body:?}");
        let labels = metrics.counter_labels(REJECTED);
        let expected = [("layer", "limit"), ("reason", reason)];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(labels, [expected.into()], "{reason}");
        assert_eq!(metrics.counted(REJECTED, &[]), 1, "{reason}");
        assert!(!metrics.described()[REJECTED].1.is_empty(), "the counter is described");
    }
}

#[tokio::test]
async fn a_request_that_passes_is_not_counted() {
    let metrics = Metrics::new();
    let layer = LimitLayer::new().recorder(metrics.recorder());
    assert_eq!(ask(layer, post().body(full("x")).unwrap()).await.status(), 200);
    assert_eq!(metrics.counted(REJECTED, &[]), 0);
}

#[test]
fn without_a_recorder_of_its_own_the_layer_counts_on_the_one_of_the_process() {
    let mut service = LimitLayer::new().default_body(0).layer(service_fn(reads));
    let metrics = Metrics::new();
    let request = post().body(full("x")).unwrap();
    let response =
        metrics::with_local_recorder(&*metrics.recorder(), || now(service.call(request)));
    assert_eq!(response.unwrap().status(), 413);
    assert_eq!(metrics.counted(REJECTED, &[("reason", "body_too_large")]), 1);
}

#[tokio::test]
async fn problem_json_is_sent_by_choice() {
    let request = post().header("accept", "text/html").header("content-length", 3_000_000);
    let request = request.body(Scripted::<BoxError>::new([])).unwrap();
    let response = ask(LimitLayer::new().problem_json(), request).await;
    assert_problem(response, 413, "Content Too Large").await;
}

#[tokio::test]
async fn problem_json_is_valid_for_every_reason() {
    let cases = [
        (413, "Content Too Large", post().header("content-length", 3_000_000)),
        (414, "URI Too Long", Request::post(format!("/{}", "a".repeat(9_000)))),
        (431, "Request Header Fields Too Large", post().header("x-a", "b".repeat(17_000))),
        (
            431,
            "Request Header Fields Too Large",
            (0..101).fold(post(), |it, _| it.header("x-a", "b")),
        ),
        (400, "Bad Request", post().header("content-length", "\"},\"x\":\"")),
    ];
    for (code, title, request) in cases {
        let request = request.body(Scripted::<BoxError>::new([])).unwrap();
        let response = ask(LimitLayer::new().problem_json(), request).await;
        assert_problem(response, code, title).await;
    }
}

async fn assert_problem(response: Answer, code: u16, title: &str) {
    assert_eq!(response.status(), code);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(problem["status"], code);
    assert_eq!(problem["title"], title);
    // RFC 9457, section 3.1.1: what is meant where there is none.
    assert_eq!(problem["type"].as_str().unwrap_or("about:blank"), "about:blank");
    assert!(problem["detail"].is_string());
}

#[tokio::test]
async fn problem_json_is_sent_to_clients_that_name_json_in_accept() {
    let json = "application/problem+json";
    let plain = "text/plain; charset=utf-8";
    let cases: [(&[&str], &str); 12] = [
        (&["application/json"], json),
        (&["application/problem+json"], json),
        (&["Application/JSON; q=0.9, text/html"], json),
        (&["text/html", "application/json"], json),
        (&["text/html,application/json;q=0.001"], json),
        (&[], plain),
        (&["*/*"], plain),
        (&["application/*"], plain),
        (&["text/html"], plain),
        (&["application/json;q=0"], plain),
        (&["application/json; Q=0.000"], plain),
        (&["application/jsonp"], plain),
    ];
    for (lines, expected) in cases {
        let mut request = post().header("content-length", 3_000_000);
        for line in lines {
            request = request.header("accept", *line);
        }
        let request = request.body(Scripted::<BoxError>::new([])).unwrap();
        let response = ask(LimitLayer::new(), request).await;
        assert_eq!(response.headers()["content-type"], expected, "{lines:?}");
    }
}

#[tokio::test]
async fn a_call_of_grpc_is_refused_with_a_status_of_grpc_in_fields_and_no_body() {
    let call = |path: &str| Request::post(path).header("content-type", "application/grpc+proto");
    let body = |steps| Scripted::<BoxError>::new(steps);
    let cases = [
        ("body_too_large", "8", call("/").header("content-length", 3_000_000).body(body(vec![]))),
        ("body_too_large", "8", call("/").body(body(vec![data(2_097_152), data(1)]))),
        ("uri_too_long", "8", call(&format!("/{}", "a".repeat(9_000))).body(body(vec![]))),
        ("headers_too_large", "8", call("/").header("x-a", "b".repeat(17_000)).body(body(vec![]))),
        (
            "too_many_headers",
            "8",
            (0..100).fold(call("/"), |it, _| it.header("x-a", "b")).body(body(vec![])),
        ),
        (
            "invalid_content_length",
            "13",
            call("/").header("content-length", "-1").body(body(vec![])),
        ),
    ];
    for (reason, code, request) in cases {
        let metrics = Metrics::new();
        // JSON would be of no use to such a client.
        let layer = LimitLayer::new().problem_json().recorder(metrics.recorder());
        let mut request = request.unwrap();
        *request.version_mut() = Version::HTTP_2;
        let response = ask(layer, request).await;
        assert_eq!(response.status(), 200, "{reason}");
        assert_eq!(response.headers()["content-type"], "application/grpc", "{reason}");
        assert_eq!(response.headers()["grpc-status"], code, "{reason}");
        let message = response.headers()["grpc-message"].to_str().unwrap();
        assert!(message.starts_with("The ") && message.ends_with('.'), "{reason}: {message}");
        assert!(!message.contains('%'), "{reason}: {message}");
        assert_eq!(response.headers().len(), 3, "{reason}");
        assert!(response.body().is_end_stream(), "the fields are the trailers: {reason}");
        assert_eq!(metrics.counted(REJECTED, &[("reason", reason)]), 1, "{reason}");
    }
}

#[tokio::test]
async fn a_closure_replaces_the_answer_to_grpc_too() {
    let layer = LimitLayer::new().response(|refusal| {
        assert_eq!(refusal.status(), 413);
        let mut response = refusal.to_response();
        response.headers_mut().insert("grpc-message", HeaderValue::from_static("own"));
        response
    });
    let request = post().version(Version::HTTP_2).header("content-type", "application/grpc");
    let request = request.header("content-length", 3_000_000);
    let response = ask(layer, request.body(Scripted::<BoxError>::new([])).unwrap()).await;
    assert_eq!(response.headers()["grpc-status"], "8");
    assert_eq!(response.headers()["grpc-message"], "own");
}

#[tokio::test]
async fn a_closure_replaces_the_answer_and_the_layer_adds_only_what_it_must() {
    let layer = LimitLayer::new().default_body(10).max_drain(0).response(|refusal| {
        assert_eq!(refusal.reason(), Reason::BodyTooLarge);
        assert_eq!(refusal.reason().as_str(), "body_too_large");
        assert_eq!((refusal.status(), refusal.limit()), (status(413), Some(10)));
        Response::builder().status(418).header("x-own", "1").body("own".into()).unwrap()
    });
    let declared = post().header("content-length", 11).body(Scripted::<BoxError>::new([]));
    let streamed = post().body(Scripted::<BoxError>::new([data(11)]));
    for request in [declared, streamed] {
        let response = ask(layer.clone(), request.unwrap()).await;
        assert_eq!(response.status(), 418);
        assert_eq!(response.headers()["x-own"], "1");
        assert_eq!(response.headers()["connection"], "close");
        assert!(!response.headers().contains_key("content-type"));
        assert_eq!(text(response).await, "own");
    }
}

#[tokio::test]
async fn a_closure_can_start_from_the_answer_that_is_sent_otherwise() {
    let layer = LimitLayer::new().response(|refusal| {
        let mut response = refusal.to_response();
        response.headers_mut().insert("x-own", HeaderValue::from_static("1"));
        response
    });
    let request = || {
        let request =
            post().header("content-length", 3_000_000).header("accept", "application/json");
        request.body(Scripted::<BoxError>::new([])).unwrap()
    };
    let response = ask(layer, request()).await;
    assert_eq!(response.headers()["x-own"], "1");
    let expected = text(ask(LimitLayer::new(), request()).await).await;
    assert_eq!(text(response).await, expected);
}

#[tokio::test]
async fn the_connection_is_closed_only_on_http_1_and_only_where_a_body_is_unread() {
    let close = |response: &Answer| {
        response.headers().get("connection").is_some_and(|value| value == "close")
    };
    for (version, expected) in [
        (Version::HTTP_10, true),
        (Version::HTTP_11, true),
        (Version::HTTP_2, false),
        (Version::HTTP_3, false),
    ] {
        let request = post().version(version).header("content-length", 10_u64 << 30);
        let request = request.body(Scripted::<BoxError>::new([])).unwrap();
        assert_eq!(close(&ask(LimitLayer::new(), request).await), expected, "{version:?}");
    }
    let bodiless = Request::get(format!("/{}", "a".repeat(9_000))).body(empty()).unwrap();
    let response = ask(LimitLayer::new(), bodiless).await;
    assert_eq!(response.status(), 414);
    assert!(!close(&response));
}

// Compressed requests.

#[tokio::test]
async fn without_an_inflater_outside_what_arrives_is_counted() {
    let body = Scripted::<BoxError>::new([data(10)]);
    let request = post().header("content-encoding", "gzip").body(body).unwrap();
    assert_eq!(ask(LimitLayer::new().default_body(10), request).await.status(), 200);
}

// The service.

#[tokio::test]
async fn it_works_over_a_concurrency_limit() {
    let mut service = ServiceBuilder::new()
        .layer(LimitLayer::new())
        .layer(ConcurrencyLimitLayer::new(1))
        .service(service_fn(reads));
    for _ in 0..3 {
        let response = service.ready().await.unwrap().call(post().body(full("x")).unwrap());
        assert_eq!(response.await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_refusal_gives_the_place_under_a_concurrency_limit_back() {
    let mut service = ServiceBuilder::new()
        .layer(LimitLayer::new().default_body(1))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(service_fn(reads));
    for _ in 0..3 {
        let response = service.ready().await.unwrap().call(post().body(full("xx")).unwrap());
        assert_eq!(response.await.unwrap().status(), 413);
    }
    let response = service.ready().await.unwrap().call(post().body(full("x")).unwrap());
    assert_eq!(response.await.unwrap().status(), 200);
}

#[test]
fn readiness_passes_through() {
    let (mut service, mut handle) =
        mock::spawn_layer::<Request<RequestBody<Scripted>>, Response<Full<Bytes>>, _>(
            LimitLayer::new(),
        );
    handle.allow(0);
    assert!(service.poll_ready().is_pending());
    handle.allow(1);
    assert!(service.is_woken());
    assert!(matches!(service.poll_ready(), Poll::Ready(Ok(()))));
    handle.send_error("gone");
    let Poll::Ready(Err(error)) = service.poll_ready() else { panic!("no error") };
    assert_eq!(error.to_string(), "gone");
}

#[tokio::test]
async fn an_error_of_the_service_passes_untouched() {
    #[derive(Debug, PartialEq)]
    struct Own(u8);
    let inner = service_fn(|_: Request<RequestBody<Empty<Bytes>>>| async {
        Err::<Response<Full<Bytes>>, _>(Own(7))
    });
    let error: Own =
        LimitLayer::new().layer(inner).oneshot(Request::new(empty())).await.unwrap_err();
    assert_eq!(error, Own(7));
}

#[test]
fn an_infallible_service_stays_infallible() {
    fn infallible<S, R>(_: &S)
    where
        S: Service<R, Error = Infallible>,
    {
    }
    let service = LimitLayer::new().layer(service_fn(reads::<Full<Bytes>>));
    infallible::<_, Request<Full<Bytes>>>(&service);
}

#[tokio::test]
async fn the_answer_of_the_service_passes_with_its_body_as_it_is() {
    let body = Scripted::<Infallible>::new([data(2), trailers()]).exact();
    let log = body.log();
    let mut response =
        Some(Response::builder().status(201).header("x-own", "1").body(body).unwrap());
    let inner = service_fn(move |_: Request<RequestBody<Empty<Bytes>>>| {
        std::future::ready(Ok::<_, Infallible>(response.take().unwrap()))
    });
    let response = LimitLayer::new().layer(inner).oneshot(Request::new(empty())).await;
    let response = response.unwrap();
    assert_eq!((response.status(), response.headers().len()), (status(201), 1));
    assert_eq!(response.body().size_hint().exact(), Some(2));
    assert!(!response.body().is_end_stream());
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-sum"], "1");
    assert_eq!(collected.to_bytes().len(), 2);
    assert!(!log.polled_after_end());
}

#[tokio::test]
async fn changing_a_clone_of_a_layer_leaves_the_other_as_it_was() {
    let strict = LimitLayer::new().default_body(KIB);
    let loose = strict.clone().default_body(2 * KIB);
    let request = || post().body(full(vec![0; 1_500])).unwrap();
    assert_eq!(ask(strict, request()).await.status(), 413);
    assert_eq!(ask(loose, request()).await.status(), 200);
}
