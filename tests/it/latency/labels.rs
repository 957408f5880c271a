//! Labels of the user's own, methods, versions, and what becomes of too many routes.

use http::{Request, Response};

use super::*;
use crate::support::{Server, h1_client, h2_client, soon};

#[test]
fn labels_are_read_from_requests_and_responses() {
    #[derive(Clone)]
    struct Plan(&'static str);
    let metrics = Metrics::new();
    let layer = layer(&metrics)
        .request_label("tenant", |head| head.headers.get("x-tenant")?.to_str().ok())
        .unwrap()
        .response_label("plan", |head| head.extensions.get().map(|plan: &Plan| plan.0))
        .unwrap();
    let mut request = get();
    request.headers_mut().insert("x-tenant", "acme".parse().unwrap());
    let mut response = Response::new(full("x"));
    response.extensions_mut().insert(Plan("free"));
    drop(answer::<_, _, Infallible>(&layer, request, Ok(response)));
    drop(answer::<Full<Bytes>, _, _>(&layer, get(), Err("gone")));
    let labels: Vec<_> = metrics.samples(DURATION).into_iter().map(|(it, _)| it).collect();
    let of = |outcome: &str| labels.iter().find(|it| it["outcome"] == outcome).unwrap();
    assert_eq!((&*of("disconnect")["tenant"], &*of("disconnect")["plan"]), ("acme", "free"));
    assert!(!of("service_error").contains_key("tenant"));
    assert!(!of("service_error").contains_key("plan"));
}

#[test]
fn values_and_series_of_labels_are_bounded() {
    let metrics = Metrics::new();
    let layer = layer(&metrics)
        .max_label_values(3)
        .request_label("tenant", |head| head.uri.query())
        .unwrap();
    for n in 0..1_000 {
        let request = Request::get(format!("/?{n}")).body(empty()).unwrap();
        drop(answer::<_, _, Infallible>(&layer, request, Ok(Response::new(full("")))));
    }
    let mut values: Vec<_> =
        metrics.samples(DURATION).into_iter().map(|(labels, _)| labels["tenant"].clone()).collect();
    assert_eq!(values.len(), 1_000);
    values.sort();
    values.dedup();
    assert_eq!(values, ["0", "1", "2", "other"]);
}

#[test]
fn numbers_out_of_range_are_the_nearest() {
    for (given, taken) in [(0, 0), (250, 250), (251, 250), (usize::MAX, 250)] {
        let metrics = Metrics::new();
        let layer = layer(&metrics)
            .max_label_values(given)
            .request_label("tenant", |head| head.uri.query())
            .unwrap();
        for n in 0..300 {
            let request = Request::get(format!("/?{n}")).body(empty()).unwrap();
            drop(answer::<_, _, Infallible>(&layer, request, Ok(Response::new(full("")))));
        }
        let samples = metrics.samples(DURATION);
        let own = samples.into_iter().filter(|(labels, _)| labels["tenant"] != "other").count();
        assert_eq!(own, taken, "{given}");
    }
}

#[test]
fn overflow_keeps_the_other_labels() {
    let metrics = Metrics::new();
    let layer = layer(&metrics)
        .max_series(5)
        .route(|head| Some(head.uri.path()))
        .request_label("tenant", |head| head.uri.query())
        .unwrap();
    for n in 0..100 {
        let code = if n < 50 { 200 } else { 500 };
        let request = Request::post(format!("/{n}?a")).body(empty()).unwrap();
        let response = Response::builder().status(code).body(full("")).unwrap();
        drop(answer::<_, _, Infallible>(&layer, request, Ok(response)));
    }
    let request = Request::get("/new").body(empty()).unwrap();
    drop(answer::<Full<Bytes>, _, _>(&layer, request, Err("gone")));
    let request = Request::get("/new").body(empty()).unwrap();
    drop(answer(&layer, request, Ok::<_, Infallible>(events())));

    let samples = metrics.samples(DURATION);
    let count = |name: &str, value: &str| {
        samples.iter().filter(|(labels, _)| labels.get(name).is_some_and(|it| it == value)).count()
    };
    assert_eq!(count("status_code", "500"), 50);
    assert_eq!(count("status_code", "200"), 50);
    assert_eq!(count("method", "POST"), 100);
    assert_eq!(count("outcome", "service_error"), 1);
    assert_eq!(count("route", "_overflow"), 96);
    assert_eq!(count("tenant", "other"), 95, "and the user's are bounded");
    let (stream, _) = metrics.sample(LIFETIME);
    assert_eq!((&*stream["route"], &*stream["kind"]), ("_overflow", "event_stream"));
    assert_eq!(metrics.counted(OVERFLOW, &[]), 97);
}

fn events() -> Response<Scripted<Infallible>> {
    let response = Response::builder().header("content-type", "text/event-stream");
    response.body(Scripted::new([data(1)])).unwrap()
}

#[test]
fn methods_of_the_user_are_named() {
    let metrics = Metrics::new();
    let parse = |name: &str| Method::from_bytes(name.as_bytes()).unwrap();
    let layer = layer(&metrics).methods(["PURGE", "BAN"].map(parse));
    for method in ["PURGE", "BAN", "QUERY", "FLUSH"] {
        drop(answered(&layer, parse(method), Response::new(full(""))));
    }
    let mut methods: Vec<_> =
        metrics.samples(DURATION).into_iter().map(|(labels, _)| labels["method"].clone()).collect();
    methods.sort();
    assert_eq!(methods, ["BAN", "PURGE", "QUERY", "_OTHER"]);
}

#[test]
fn open_telemetry_gauges_name_custom_methods() {
    let metrics = Metrics::new();
    let purge = Method::from_bytes(b"PURGE").unwrap();
    let layer = layer(&metrics).names(Names::OpenTelemetry).methods([purge.clone()]);
    drop(answered(&layer, purge, Response::new(full(""))));
    let gauges = metrics.gauges("http.server.active_requests");
    let [(labels, 0.0)] = &gauges[..] else { panic!("{gauges:?}") };
    assert_eq!(labels["http.request.method"], "PURGE");
}

#[tokio::test]
async fn the_version_is_a_label_of_open_telemetry() {
    let metrics = Metrics::new();
    let open_telemetry = layer(&metrics).names(Names::OpenTelemetry);
    let service = ServiceBuilder::new().layer(open_telemetry).service_fn(
        |_: Request<hyper::body::Incoming>| async { Ok::<_, Infallible>(Response::new(full(""))) },
    );
    let server = Server::start(service).await;
    for client in [h1_client(), h2_client()] {
        let request = Request::get(server.url("/")).body(full("")).unwrap();
        soon(client.request(request)).await.unwrap();
    }
    metrics.wait_for("http.server.request.duration", 2).await;
    let samples = metrics.samples("http.server.request.duration").into_iter();
    let mut versions: Vec<_> =
        samples.map(|(labels, _)| labels["network.protocol.version"].clone()).collect();
    versions.sort();
    assert_eq!(versions, ["1.1", "2"]);
}
