//! The label `outcome`, for each way that a request ends.

use std::error::Error;
use std::fmt;

use super::*;

#[test]
fn complete_response_is_ok() {
    let metrics = Metrics::new();
    let response = Response::new(Scripted::<Infallible>::new([data(3), Step::Pending]));
    let mut body = get_body(&layer(&metrics), response);
    assert!(poll_frame(&mut body).is_ready());
    assert_in_flight(&metrics);
    assert!(poll_frame(&mut body).is_pending());
    assert_in_flight(&metrics);
    assert!(matches!(poll_frame(&mut body), Poll::Ready(None)));
    assert_ended(&metrics, Some("200"), "ok");
    drop(body);
    assert_ended(&metrics, Some("200"), "ok");
}

#[test]
fn every_status_is_ok() {
    for code in [100, 204, 301, 304, 404, 500, 503, 999] {
        let metrics = Metrics::new();
        drop(get_body(&layer(&metrics), empty_response(code)));
        assert_ended(&metrics, Some(&code.to_string()), "ok");
    }
}

/// Asserts the outcome of a request whose service fails with `error`. Returns the error that
/// passed the layer.
#[track_caller]
fn assert_service_error<E: fmt::Debug + 'static>(error: E, outcome: &str) -> E {
    let metrics = Metrics::new();
    let error = call::<Full<Bytes>, _, _>(&layer(&metrics), get(), Err(error)).unwrap_err();
    assert_ended(&metrics, None, outcome);
    error
}

#[test]
fn service_error_passes_unchanged() {
    #[derive(Debug, PartialEq)]
    struct Own(u8);
    assert_eq!(assert_service_error(Own(7), "service_error"), Own(7));
}

#[test]
fn timeout_of_the_service_is_found_in_sources() {
    #[derive(Debug)]
    struct Outer(io::Error);
    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("outer")
        }
    }
    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }
    let timed_out = || io::Error::from(io::ErrorKind::TimedOut);
    assert_service_error(timed_out(), "timeout");
    assert_service_error(BoxError::from(timed_out()), "timeout");
    assert_service_error(BoxError::from(Outer(timed_out())), "timeout");
}

#[tokio::test(start_paused = true)]
async fn inner_timeout_layer_is_a_timeout() {
    let metrics = Metrics::new();
    let service = ServiceBuilder::new()
        .layer(layer(&metrics))
        .timeout(Duration::from_secs(5))
        .service_fn(|_| pending::<Result<Response<Full<Bytes>>, BoxError>>());
    let error = service.oneshot(get()).await.unwrap_err();
    assert!(error.is::<tower::timeout::error::Elapsed>());
    assert_ended(&metrics, None, "timeout");
}

#[tokio::test(start_paused = true)]
async fn inner_tokio_timeout_is_a_timeout() {
    let metrics = Metrics::new();
    let service = ServiceBuilder::new().layer(layer(&metrics)).service_fn(|_| async {
        let never = pending::<Response<Full<Bytes>>>();
        tokio::time::timeout(Duration::from_secs(1), never).await
    });
    let error = service.oneshot(get()).await.unwrap_err();
    assert!((&error as &dyn Error).is::<tokio::time::error::Elapsed>());
    assert_ended(&metrics, None, "timeout");
}

#[tokio::test(start_paused = true)]
async fn outer_timeout_layer_cancels() {
    let metrics = Metrics::new();
    let service = ServiceBuilder::new()
        .timeout(Duration::from_secs(5))
        .layer(layer(&metrics))
        .service_fn(|_| pending::<Result<Response<Full<Bytes>>, Infallible>>());
    let error = service.oneshot(get()).await.unwrap_err();
    assert!(error.is::<tower::timeout::error::Elapsed>());
    assert_ended(&metrics, None, "cancelled");
}

#[test]
fn dropped_future_is_cancelled() {
    for polls in 0..2 {
        let metrics = Metrics::new();
        let inner = service_fn(|_| pending::<Result<Response<Full<Bytes>>, Infallible>>());
        let mut future = Box::pin(layer(&metrics).layer(inner).call(get()));
        for _ in 0..polls {
            assert!(poll_once(future.as_mut()).is_pending());
        }
        assert_in_flight(&metrics);
        drop(future);
        assert_ended(&metrics, None, "cancelled");
    }
}

/// Asserts the outcome of a body that fails with `error`. Returns the error that passed the layer.
#[track_caller]
fn assert_body_error<E: Unpin + 'static>(error: E, outcome: &str) -> E {
    let metrics = Metrics::new();
    let response = Response::new(Scripted::new([data(1), Step::Error(error)]));
    let mut body = get_body(&layer(&metrics), response);
    assert!(poll_frame(&mut body).is_ready());
    let Poll::Ready(Some(Err(error))) = poll_frame(&mut body) else { panic!("no error") };
    assert_ended(&metrics, Some("200"), outcome);
    drop(body);
    assert_ended(&metrics, Some("200"), outcome);
    error
}

#[test]
fn body_errors_are_timeouts_or_body_errors() {
    let timed_out = || io::Error::from(io::ErrorKind::TimedOut);
    assert_eq!(assert_body_error(timed_out(), "timeout").kind(), io::ErrorKind::TimedOut);
    assert_body_error(BoxError::from(timed_out()), "timeout");
    assert_body_error(io::Error::from(io::ErrorKind::ConnectionReset), "body_error");
}

#[test]
fn body_dropped_before_its_end_is_a_disconnect() {
    // Dropped before the first poll, after some data, while pending, and one byte too early.
    let unknown = || Scripted::<Infallible>::new([data(1), Step::PendingForever]);
    let declared = Scripted::new([data(9), data(1)]).exact();
    for (body, polls) in [(unknown(), 0), (unknown(), 1), (unknown(), 2), (declared, 1)] {
        let metrics = Metrics::new();
        let mut body = get_body(&layer(&metrics), Response::new(body));
        for _ in 0..polls {
            let _ = poll_frame(&mut body);
        }
        assert_in_flight(&metrics);
        drop(body);
        assert_ended(&metrics, Some("200"), "disconnect");
    }
}

#[test]
fn panic_in_the_call_is_a_panic() {
    let metrics = Metrics::new();
    let inner = service_fn(|_: Request<_>| {
        if true {
            panic!("in the call");
        }
        ready(Ok::<_, Infallible>(empty_response(200)))
    });
    let mut service = layer(&metrics).layer(inner);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(service.call(get())))).is_err());
    assert_ended(&metrics, None, "panic");
}

#[test]
fn panic_in_the_future_is_a_panic() {
    let metrics = Metrics::new();
    let inner = service_fn(|_: Request<_>| async {
        if true {
            panic!("in the future");
        }
        Ok::<_, Infallible>(empty_response(200))
    });
    let mut future = Box::pin(layer(&metrics).layer(inner).call(get()));
    assert!(catch_unwind(AssertUnwindSafe(|| poll_once(future.as_mut()).is_ready())).is_err());
    drop(future);
    assert_ended(&metrics, None, "panic");
}

#[test]
fn panic_in_the_body_is_a_panic() {
    let metrics = Metrics::new();
    let response = Response::new(Scripted::<Infallible>::new([data(1), Step::Panic]));
    let mut body = get_body(&layer(&metrics), response);
    assert!(poll_frame(&mut body).is_ready());
    assert!(catch_unwind(AssertUnwindSafe(|| poll_frame(&mut body).is_ready())).is_err());
    drop(body);
    assert_ended(&metrics, Some("200"), "panic");
}

#[test]
fn panic_in_a_callback_is_a_panic() {
    let metrics = Metrics::new();
    let layer = layer(&metrics).stream_if("all", |_, _| panic!("in a callback"));
    let ran = catch_unwind(AssertUnwindSafe(|| drop(get_body(&layer, Response::new(full("x"))))));
    assert!(ran.is_err());
    assert_ended(&metrics, None, "panic");
}

#[test]
fn panic_elsewhere_after_the_end_stays_ok() {
    let metrics = Metrics::new();
    let response = Response::new(Scripted::<Infallible>::new([data(1)]).exact());
    let mut body = get_body(&layer(&metrics), response);
    assert!(poll_frame(&mut body).is_ready());
    let unwound = catch_unwind(AssertUnwindSafe(move || {
        let _body = body;
        panic!("elsewhere");
    }));
    assert!(unwound.is_err());
    assert_ended(&metrics, Some("200"), "ok");
}
