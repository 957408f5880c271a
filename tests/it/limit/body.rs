//! `RequestBody` as the inner service polls it.

use std::task::Poll;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{Full, LengthLimitError};
use tower::{Layer, Service, ServiceExt};
use tower_kit::limit::{LimitLayer, RequestBody, Size};
use tower_test::mock;

use super::{max_body, post, scripted};
use crate::support::{BoxError, Scripted, Step, data, now, poll_frame, trailers};

/// Returns the body that the inner service gets.
fn admitted<B>(layer: &LimitLayer, body: B) -> RequestBody<B>
where
    B: Body + Send + 'static,
{
    let (inner, mut handle) = mock::pair::<Request<RequestBody<B>>, Response<Full<Bytes>>>();
    let mut service = layer.layer(inner);
    handle.allow(1);
    now(service.ready()).unwrap();
    drop(service.call(post().body(body).unwrap()));
    let (request, _) = now(handle.next_request()).expect("the request is not rejected");
    request.into_body()
}

#[tokio::test]
async fn the_exceeding_read_fails_and_ends_the_body() {
    let body = scripted([data(6), data(5), data(1)]);
    let log = body.log();
    let mut body = admitted(&max_body(10), body);
    let Poll::Ready(Some(Ok(frame))) = poll_frame(&mut body) else { panic!("no first frame") };
    assert_eq!(frame.into_data().unwrap().len(), 6);
    let Poll::Ready(Some(Err(error))) = poll_frame(&mut body) else { panic!("no error") };
    assert!(BoxError::from(error).is::<LengthLimitError>());
    assert!(body.is_end_stream());
    let polls = log.polls();
    for _ in 0..3 {
        assert!(matches!(poll_frame(&mut body), Poll::Ready(None)));
    }
    assert_eq!(log.polls(), polls, "the wrapped body is not polled again");
    assert_eq!(body.size_hint().exact(), Some(0));
}

#[tokio::test]
async fn trailers_after_a_failure_are_dropped() {
    let mut body = admitted(&max_body(10), scripted([data(11), trailers()]));
    assert!(matches!(poll_frame(&mut body), Poll::Ready(Some(Err(_)))));
    assert!(matches!(poll_frame(&mut body), Poll::Ready(None)));
}

#[test]
fn all_frames_below_the_limit_pass() {
    let body = scripted([data(1), Step::Pending, data(0), data(2), trailers()]);
    let log = body.log();
    let mut body = admitted(&LimitLayer::new(), body);
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
fn errors_of_the_wrapped_body_pass() {
    let error = std::fmt::Error;
    let mut body = admitted(&LimitLayer::new(), Scripted::new([data(1), Step::Error(error)]));
    assert!(poll_frame(&mut body).is_ready());
    let Poll::Ready(Some(Err(error))) = poll_frame(&mut body) else { panic!("no error") };
    assert!(BoxError::from(error).is::<std::fmt::Error>());
}

#[test]
fn size_and_end_of_the_wrapped_body_pass() {
    let body = scripted([data(2), data(3)]).exact().tells_end();
    let mut body = admitted(&LimitLayer::new(), body);
    for (len, ended) in [(5, false), (3, false), (0, true)] {
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(len), ended));
        assert!(poll_frame(&mut body).is_ready());
    }
}

#[test]
fn the_limit_bounds_the_size_hint() {
    for (limit, before, after) in
        [(Size::new(10), Some(10), Some(6)), (Size::UNLIMITED, None, None)]
    {
        let mut body = admitted(&LimitLayer::new().default_body(limit), scripted([data(4)]));
        assert_eq!((body.size_hint().lower(), body.size_hint().upper()), (0, before));
        assert!(poll_frame(&mut body).is_ready());
        assert_eq!((body.size_hint().lower(), body.size_hint().upper()), (0, after));
    }
}
