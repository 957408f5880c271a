//! The optional histograms, and what every metric says about itself.

use super::*;

#[test]
fn optional_histograms_are_off_by_default() {
    let metrics = Metrics::new();
    drop(get_body(&layer(&metrics), Response::new(full("x"))));
    let names: Vec<_> = metrics.described().into_keys().collect();
    assert_eq!(names, [OPEN, DURATION, IN_FLIGHT, REQUESTS, OVERFLOW, STREAMS]);
}

#[test]
fn every_metric_has_a_unit_and_a_help_text() {
    let metrics = Metrics::new();
    let layer = layer(&metrics).record_time_to_first_byte().record_body_sizes().max_series(1);
    record(&layer, get());
    drop(get_body(&layer, empty_response(101)));
    drop(body_of(&layer, Method::POST, empty_response(200)));
    let described = metrics.described();
    let units: Vec<_> =
        described.iter().map(|(name, (unit, _))| (name.as_str(), unit.unwrap())).collect();
    let expected = [
        (OPEN, Unit::Count),
        (DURATION, Unit::Seconds),
        (FIRST_BYTE, Unit::Seconds),
        (REQUEST_SIZE, Unit::Bytes),
        (IN_FLIGHT, Unit::Count),
        (REQUESTS, Unit::Count),
        (RESPONSE_SIZE, Unit::Bytes),
        (OVERFLOW, Unit::Count),
        (STREAM_DURATION, Unit::Seconds),
        (STREAMS, Unit::Count),
    ];
    assert_eq!(units, expected);
    assert!(described.values().all(|(_, help)| !help.is_empty()), "{described:?}");
}

#[test]
fn body_sizes_are_declared_and_sent_bytes() {
    let sizes = |request: Request<Scripted<Infallible>>, response: Scripted<Infallible>, polls| {
        let metrics = Metrics::new();
        let layer = layer(&metrics).record_body_sizes();
        let Ok(response) = call::<_, _, Infallible>(&layer, request, Ok(Response::new(response)));
        let mut body = response.into_body();
        for _ in 0..polls {
            let _ = poll_frame(&mut body);
        }
        drop(body);
        let request = metrics.samples(REQUEST_SIZE).into_iter().map(|(_, size)| size).collect();
        (request, metrics.sample(RESPONSE_SIZE).1)
    };
    let declared = |len: u64| {
        Request::post("/").header("content-length", len).body(Scripted::new([])).unwrap()
    };
    let exact = Request::new(Scripted::new([data(99)]).exact());
    let chunked = Request::new(Scripted::new([data(99)]));
    let seven = || Scripted::new([data(3), data(4)]);
    assert_eq!(sizes(declared(1_234), seven(), 3), (vec![1_234.0], 7.0));
    assert_eq!(sizes(exact, Scripted::new([]), 1), (vec![99.0], 0.0));
    assert_eq!(sizes(chunked, seven(), 1), (vec![], 3.0));
    assert_eq!(sizes(declared(0), Scripted::new([data(3), trailers()]), 2), (vec![0.0], 3.0));
}

#[test]
fn response_to_head_has_a_size_of_zero() {
    let metrics = Metrics::new();
    let response = Response::builder().header("content-length", 500).body(full("x")).unwrap();
    drop(body_of(&layer(&metrics).record_body_sizes(), Method::HEAD, response));
    assert_eq!(metrics.sample(RESPONSE_SIZE).1, 0.0);
}

#[test]
fn first_byte_is_never_later_than_the_last() {
    let metrics = Metrics::new();
    let layer = layer(&metrics).record_time_to_first_byte();
    let mut body = get_body(&layer, Response::new(Scripted::<Infallible>::new([data(1)])));
    while !matches!(poll_frame(&mut body), Poll::Ready(None)) {}
    let (labels, first) = metrics.sample(FIRST_BYTE);
    let (same, last) = metrics.sample(DURATION);
    assert_eq!(labels, same);
    assert!(0.0 <= first && first <= last, "{first} {last}");
}

#[test]
fn failed_service_has_no_response_samples() {
    let metrics = Metrics::new();
    record_error(&layer(&metrics).record_time_to_first_byte().record_body_sizes(), get());
    assert_eq!(metrics.samples(FIRST_BYTE), []);
    assert_eq!(metrics.samples(RESPONSE_SIZE), []);
    assert_eq!(metrics.samples(DURATION).len(), 1);
    assert_eq!(metrics.sample(REQUEST_SIZE).1, 0.0);
}

#[test]
fn stop_at_headers_keeps_the_outcome_of_the_body() {
    let metrics = Metrics::new();
    let layer = layer(&metrics).record_time_to_first_byte().stop_at_headers();
    let body = get_body(&layer, Response::new(Scripted::<Infallible>::new([data(1)])));
    assert_in_flight(&metrics);
    drop(body);
    assert_eq!(metrics.sample(DURATION), metrics.sample(FIRST_BYTE));
    assert_ended(&metrics, Some("200"), "disconnect");
}
