//! The label `route`, and the maximum of sets of labels.

use super::*;

/// Returns the route of a request and response with these extensions.
fn route_of(
    edit: impl Fn(LatencyLayer) -> LatencyLayer,
    in_request: Option<&'static str>,
    in_response: Option<&'static str>,
) -> String {
    let metrics = Metrics::new();
    let (mut request, mut response) = (get(), empty_response(200));
    if let Some(route) = in_request {
        request.extensions_mut().insert(Route::new(route));
    }
    if let Some(route) = in_response {
        response.extensions_mut().insert(Route::new(route));
    }
    drop(call::<_, _, Infallible>(&edit(layer(&metrics)), request, Ok(response)));
    metrics.sample(DURATION).0["route"].clone()
}

#[test]
fn first_source_of_a_route_wins() {
    let none = |layer: LatencyLayer| layer;
    let callback = |layer: LatencyLayer| layer.route(|_| Some("/callback"));
    let templates = |layer: LatencyLayer| layer.route_templates(["/items/{id}"]);
    let both = |layer: LatencyLayer| callback(templates(layer));
    let silent = |layer: LatencyLayer| templates(layer).route(|_| None);
    let (request, response) = (Some("/request"), Some("/response"));
    assert_eq!(route_of(none, None, None), "unmatched");
    assert_eq!(route_of(|layer| layer.route(|_| None), None, None), "unmatched");
    assert_eq!(route_of(|layer| layer.route_templates(["/other"]), None, None), "unmatched");
    assert_eq!(route_of(none, request, None), "/request");
    assert_eq!(route_of(none, None, response), "/response");
    assert_eq!(route_of(callback, None, None), "/callback");
    assert_eq!(route_of(templates, None, None), "/items/{id}");
    assert_eq!(route_of(both, request, response), "/response");
    assert_eq!(route_of(both, request, None), "/callback");
    assert_eq!(route_of(silent, request, None), "/request");
    assert_eq!(route_of(silent, None, None), "/items/{id}");
}

#[test]
fn first_template_that_matches_wins() {
    let templates =
        ["/", "/items", "/items/{id}", "/items/new", "/items/{id}/parts", "/files/{*path}"];
    for (path, expected) in [
        ("/", "/"),
        ("/items", "/items"),
        ("/items?n=1", "/items"),
        ("/items/1", "/items/{id}"),
        ("/items/1/parts", "/items/{id}/parts"),
        ("/items/new", "/items/{id}"),
        ("/files/a/b/c", "/files/{*path}"),
        ("/files/", "unmatched"),
        ("/files", "unmatched"),
        ("/items/", "unmatched"),
        ("/items/1/", "unmatched"),
        ("/ITEMS", "unmatched"),
        ("//", "unmatched"),
        ("/items/1/parts/2", "unmatched"),
    ] {
        let metrics = Metrics::new();
        record(&layer(&metrics).route_templates(templates), get_path(path));
        assert_eq!(metrics.sample(DURATION).0["route"], expected, "{path}");
    }
}

#[test]
fn failed_request_keeps_its_route() {
    let metrics = Metrics::new();
    record_error(&layer(&metrics).route_templates(["/items/{id}"]), get());
    assert_eq!(metrics.sample(DURATION).0["route"], "/items/{id}");
}

#[test]
fn routes_over_the_maximum_overflow() {
    let metrics = Metrics::new();
    let layer = layer(&metrics).max_series(2).route(|request| Some(request.uri.path()));
    for path in ["/a", "/b", "/c", "/d", "/a", "/b", "/c"] {
        record(&layer, get_path(path));
    }
    let expected = ["/a", "/a", "/b", "/b", "_overflow", "_overflow", "_overflow"];
    assert_eq!(values(&metrics, DURATION, "route"), expected);
    assert_eq!(metrics.counted(OVERFLOW, &[]), 3);
    assert_eq!(metrics.gauge(IN_FLIGHT), 0.0);
    let mut samples = metrics.samples(DURATION).into_iter();
    let (overflow, _) = samples.find(|(labels, _)| labels["route"] == "_overflow").unwrap();
    let expected = labels_of([
        ("method", "GET"),
        ("route", "_overflow"),
        ("status_code", "200"),
        ("outcome", "ok"),
    ]);
    assert_eq!(overflow, expected, "the other labels stay");
}

#[test]
fn statuses_count_towards_the_maximum() {
    let metrics = Metrics::new();
    let layer = layer(&metrics).max_series(3);
    for code in [200, 201, 202, 203, 206, 200] {
        drop(get_body(&layer, empty_response(code)));
    }
    assert_eq!(metrics.counted(OVERFLOW, &[]), 2);
    assert_eq!(metrics.samples(DURATION).len(), 6, "each request is recorded once");
}

#[test]
fn overflow_keeps_method_status_and_outcome() {
    let metrics = Metrics::new();
    let layer = layer(&metrics)
        .max_series(5)
        .route(|request| Some(request.uri.path()))
        .request_label("tenant", |request| request.uri.query())
        .unwrap();
    for n in 0..100 {
        let request = Request::post(format!("/{n}?a")).body(empty()).unwrap();
        let response = empty_response(if n < 50 { 200 } else { 500 });
        drop(call::<_, _, Infallible>(&layer, request, Ok(response)));
    }
    record_error(&layer, get_path("/new"));
    let events = Response::builder().header("content-type", "text/event-stream");
    let events = events.body(Scripted::<Infallible>::new([data(1)])).unwrap();
    drop(call::<_, _, Infallible>(&layer, get_path("/new"), Ok(events)));

    let samples = metrics.samples(DURATION);
    let count = |name: &str, value: &str| {
        samples.iter().filter(|(labels, _)| labels.get(name).is_some_and(|it| it == value)).count()
    };
    assert_eq!(count("status_code", "500"), 50);
    assert_eq!(count("status_code", "200"), 50);
    assert_eq!(count("method", "POST"), 100);
    assert_eq!(count("outcome", "service_error"), 1);
    assert_eq!(count("route", "_overflow"), 96);
    assert_eq!(count("tenant", "other"), 95, "custom labels are bounded");
    let (stream, _) = metrics.sample(STREAM_DURATION);
    assert_eq!((&*stream["route"], &*stream["kind"]), ("_overflow", "event_stream"));
    assert_eq!(metrics.counted(OVERFLOW, &[]), 97);
}
