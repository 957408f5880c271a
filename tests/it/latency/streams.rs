//! Event streams, upgrades and declared streams: outcome, duration and the gauge of open streams.

use http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower_kit::latency::UpgradeGuard;

use super::*;
use crate::support::{BoxBody, Server, boxed, h1_client, h2_client, soon};

fn events<B>(status: u16, body: B) -> Response<B> {
    let response = Response::builder().status(status).header("content-type", "text/event-stream");
    response.body(body).unwrap()
}

fn open(metrics: &Metrics, kind: &str) -> f64 {
    let gauges = metrics.gauges(OPEN).into_iter();
    gauges.filter(|(labels, _)| labels["kind"] == kind).map(|(_, value)| value).sum()
}

#[track_caller]
fn assert_stream_ended(metrics: &Metrics, kind: &str, status: &str, outcome: &str) {
    let (labels, _) = metrics.sample(STREAM_DURATION);
    let found = (&*labels["kind"], &*labels["status_code"], &*labels["outcome"]);
    assert_eq!(found, (kind, status, outcome));
    assert_eq!(metrics.samples(DURATION), [], "no duration");
    assert_eq!(metrics.counted(STREAMS, &[]), 1);
    assert_eq!(metrics.counted(STREAMS, &[("kind", kind)]), 1);
    assert_eq!((open(metrics, kind), metrics.gauge(IN_FLIGHT)), (0.0, 0.0));
    assert_eq!(metrics.counted(REQUESTS, &[]), 1);
    assert_eq!(metrics.counted(REQUESTS, &[("outcome", outcome)]), 1);
}

#[test]
fn event_stream_is_open_until_it_ends() {
    let reset = || Step::Error(io::Error::from(io::ErrorKind::ConnectionReset));
    let timed_out = || Step::Error(io::Error::from(io::ErrorKind::TimedOut));
    for (last, expected) in [
        (Some(Step::PendingForever), "disconnect"),
        (Some(reset()), "body_error"),
        (Some(timed_out()), "timeout"),
        (Some(Step::Panic), "panic"),
        (Some(trailers()), "ok"),
        (None, "ok"),
    ] {
        let metrics = Metrics::new();
        let layer = layer(&metrics).record_time_to_first_byte().record_body_sizes();
        let steps = [data(1), Step::Pending].into_iter().chain(last);
        let mut body = get_body(&layer, events(200, Scripted::new(steps)));
        assert_eq!((open(&metrics, "event_stream"), metrics.gauge(IN_FLIGHT)), (1.0, 1.0));
        assert_eq!(metrics.samples(FIRST_BYTE).len(), 1, "recorded with the headers");
        assert!(poll_frame(&mut body).is_ready());
        assert!(poll_frame(&mut body).is_pending());
        assert_eq!(metrics.samples(STREAM_DURATION), []);
        drop(catch_unwind(AssertUnwindSafe(|| poll_frame(&mut body).is_ready())));
        drop(body);
        assert_stream_ended(&metrics, "event_stream", "200", expected);
        assert_eq!(metrics.samples(FIRST_BYTE).len(), 1);
        assert_eq!(metrics.samples(RESPONSE_SIZE), []);
    }
}

#[test]
fn event_stream_of_another_status_is_a_response() {
    for code in [201, 400, 429, 500, 503] {
        let metrics = Metrics::new();
        let response = events(code, Scripted::<Infallible>::new([data(3)]));
        drop(now(get_body(&layer(&metrics), response).collect()));
        assert_ended(&metrics, Some(&code.to_string()), "ok");
        assert_eq!(metrics.counted(STREAMS, &[]), 0);
        assert_eq!(open(&metrics, "event_stream"), 0.0);
    }
}

#[test]
fn event_stream_of_known_length_is_a_response() {
    let metrics = Metrics::new();
    let mut response = events(200, Scripted::<Infallible>::new([data(3)]));
    response.headers_mut().insert("content-length", "3".parse().unwrap());
    let mut body = get_body(&layer(&metrics), response);
    assert!(poll_frame(&mut body).is_ready());
    assert_ended(&metrics, Some("200"), "ok");
}

#[test]
fn declared_streams_have_their_own_kind() {
    let metrics = Metrics::new();
    let layer = layer(&metrics)
        .route_templates(["/prices.Prices/Watch", "/prices.Prices/Get", "/lines"])
        .stream_if("grpc", |route, _| route == "/prices.Prices/Watch")
        .stream_if("ndjson", |_, head| {
            head.headers.get(CONTENT_TYPE).is_some_and(|value| value == "application/x-ndjson")
        });
    drop(layer.layer(service_fn(|_: Request<()>| pending::<Result<(), ()>>())));
    let gauges = metrics.gauges(OPEN);
    for kind in ["event_stream", "upgrade", "grpc", "ndjson"] {
        assert!(gauges.iter().any(|(it, value)| it["kind"] == kind && *value == 0.0), "{kind}");
    }
    for (path, media, kind) in [
        ("/prices.Prices/Watch", "application/grpc", Some("grpc")),
        ("/prices.Prices/Get", "application/grpc", None),
        ("/lines", "application/x-ndjson", Some("ndjson")),
    ] {
        let request = Request::post(path).body(empty()).unwrap();
        let body = Scripted::<Infallible>::new([data(1), Step::PendingForever]);
        let response = Response::builder().header(CONTENT_TYPE, media).body(body).unwrap();
        let Ok(response) = call::<_, _, Infallible>(&layer, request, Ok(response));
        for other in ["grpc", "ndjson"] {
            assert_eq!(open(&metrics, other) == 1.0, kind == Some(other), "{path}");
        }
        drop(response);
    }
    let kinds: Vec<_> = metrics.samples(STREAM_DURATION).into_iter().map(|(it, _)| it).collect();
    assert_eq!(kinds.len(), 2, "{kinds:?}");
    assert!(kinds.iter().all(|labels| labels["outcome"] == "disconnect"));
    assert_eq!(metrics.sample(DURATION).0["route"], "/prices.Prices/Get");
}

#[test]
fn bodiless_declared_stream_is_a_response() {
    let metrics = Metrics::new();
    let layer = layer(&metrics).stream_if("all", |_, _| true);
    drop(body_of(&layer, Method::HEAD, Response::new(full("x"))));
    record(&layer, get());
    assert_eq!(metrics.samples(DURATION).len(), 2);
    assert_eq!(metrics.counted(STREAMS, &[]), 0);
}

#[test]
fn upgrade_without_a_guard_ends_with_its_headers() {
    for (method, code) in [(Method::GET, 101), (Method::CONNECT, 200), (Method::CONNECT, 204)] {
        let metrics = Metrics::new();
        let layer = layer(&metrics).record_time_to_first_byte().record_body_sizes();
        drop(body_of(&layer, method, empty_response(code)));
        assert_stream_ended(&metrics, "upgrade", &code.to_string(), "ok");
        assert_eq!(metrics.samples(FIRST_BYTE).len(), 1);
    }
}

#[test]
fn rejected_connect_is_a_response() {
    let metrics = Metrics::new();
    drop(body_of(&layer(&metrics), Method::CONNECT, empty_response(502)));
    assert_eq!(metrics.counted(STREAMS, &[]), 0);
    assert_eq!(metrics.sample(DURATION).0["outcome"], "ok");
}

/// Accepts an upgrade and echoes each byte, until the end or until a `!`, which is a failure.
#[expect(clippy::disallowed_methods, reason = "an upgrade outlives its response")]
async fn echo(mut request: Request<Incoming>) -> Result<Response<BoxBody>, Infallible> {
    let connect = request.method() == Method::CONNECT;
    let guard = request.extensions().get::<UpgradeGuard>().cloned();
    tokio::spawn(async move {
        // The guard is in the request, which lives as long as this task.
        let upgraded = hyper::upgrade::on(&mut request).await.unwrap();
        let mut upgraded = TokioIo::new(upgraded);
        let mut byte = [0];
        while matches!(upgraded.read(&mut byte).await, Ok(1..)) {
            if byte == *b"!" {
                guard.as_ref().unwrap().fail();
                return;
            }
            upgraded.write_all(&byte).await.unwrap();
        }
    });
    let response = Response::builder().status(if connect { 200 } else { 101 });
    let response = response.header(CONNECTION, "upgrade").header(UPGRADE, "echo");
    Ok(response.body(full("")).unwrap())
}

#[tokio::test]
async fn h1_upgrade_is_open_while_its_task_lives() {
    for (last, outcome) in [("", "ok"), ("!", "body_error")] {
        let metrics = Metrics::new();
        let service = ServiceBuilder::new().layer(layer(&metrics)).service_fn(echo);
        let server = Server::start(service).await;
        let mut client = server.connect().await;
        client
            .send("GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
            .await;
        assert!(client.head().await.starts_with("http/1.1 101 "));
        client.send("a").await;
        client.until("a").await;
        assert_eq!((open(&metrics, "upgrade"), metrics.gauge(IN_FLIGHT)), (1.0, 0.0));
        assert_eq!(metrics.samples(STREAM_DURATION), []);
        client.send(last).await;
        drop(client);
        metrics.wait_for(STREAM_DURATION, 1).await;
        assert_stream_ended(&metrics, "upgrade", "101", outcome);
    }
}

#[tokio::test]
async fn nested_layers_record_the_same_upgrade() {
    let (outer, inner) = (Metrics::new(), Metrics::new());
    let service = ServiceBuilder::new().layer(layer(&outer)).layer(layer(&inner)).service_fn(echo);
    let server = Server::start(service).await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\na").await;
    client.until("\r\n\r\na").await;
    assert_eq!((open(&outer, "upgrade"), open(&inner, "upgrade")), (1.0, 1.0));
    client.send("!").await;
    client.closed().await;
    for metrics in [&outer, &inner] {
        metrics.wait_for(STREAM_DURATION, 1).await;
        assert_stream_ended(metrics, "upgrade", "101", "body_error");
    }
}

#[tokio::test]
async fn h2_connect_is_open_while_its_task_lives() {
    let metrics = Metrics::new();
    let service = ServiceBuilder::new().layer(layer(&metrics)).service_fn(echo);
    let server = Server::start(service).await;
    let request = Request::builder().method(Method::CONNECT).uri(server.url("/"));
    let response = h2_client().request(request.body(full("")).unwrap()).await.unwrap();
    assert_eq!(response.status(), status(200));
    let mut upgraded = TokioIo::new(soon(hyper::upgrade::on(response)).await.unwrap());
    upgraded.write_all(b"a").await.unwrap();
    assert_eq!(soon(upgraded.read_u8()).await.unwrap(), b'a');
    assert_eq!((open(&metrics, "upgrade"), metrics.gauge(IN_FLIGHT)), (1.0, 0.0));
    soon(upgraded.shutdown()).await.unwrap();
    drop(upgraded);
    metrics.wait_for(STREAM_DURATION, 1).await;
    assert_stream_ended(&metrics, "upgrade", "200", "ok");
}

#[tokio::test]
async fn rejected_upgrade_is_a_response() {
    let metrics = Metrics::new();
    let service = ServiceBuilder::new().layer(layer(&metrics)).service_fn(
        |request: Request<Incoming>| async move {
            assert!(request.extensions().get::<UpgradeGuard>().is_some());
            Response::builder().status(426).body(full("no"))
        },
    );
    let server = Server::start(service).await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n").await;
    client.response().await;
    metrics.wait_for(DURATION, 1).await;
    assert_ended(&metrics, Some("426"), "ok");
    assert_eq!(open(&metrics, "upgrade"), 0.0);
}

#[tokio::test]
async fn request_without_an_upgrade_has_no_guard() {
    let metrics = Metrics::new();
    let service = ServiceBuilder::new().layer(layer(&metrics)).service_fn(
        |request: Request<Incoming>| async move {
            assert!(request.extensions().get::<UpgradeGuard>().is_none());
            Ok::<_, Infallible>(empty_response(200))
        },
    );
    let server = Server::start(service).await;
    for client in [h1_client(), h2_client()] {
        let request = Request::get(server.url("/")).body(full("")).unwrap();
        assert_eq!(soon(client.request(request)).await.unwrap().status(), status(200));
    }
}

#[tokio::test]
async fn dropped_event_stream_is_a_disconnect() {
    let metrics = Metrics::new();
    let service =
        ServiceBuilder::new().layer(layer(&metrics)).service_fn(|_: Request<Incoming>| async {
            let steps = [data(1), Step::PendingForever];
            Ok::<_, Infallible>(events(200, boxed(Scripted::<Infallible>::new(steps))))
        });
    let server = Server::start(service).await;
    for (client, count) in [(h1_client(), 1), (h2_client(), 2)] {
        let request = Request::get(server.url("/")).body(full("")).unwrap();
        let mut response = soon(client.request(request)).await.unwrap();
        assert!(soon(response.body_mut().frame()).await.unwrap().is_ok());
        assert_eq!(open(&metrics, "event_stream"), 1.0);
        drop(response);
        drop(client);
        metrics.wait_for(STREAM_DURATION, count).await;
        assert_eq!(open(&metrics, "event_stream"), 0.0);
    }
    let outcomes = metrics.samples(STREAM_DURATION);
    assert!(outcomes.iter().all(|(labels, _)| labels["outcome"] == "disconnect"), "{outcomes:?}");
}

#[test]
fn grpc_status_is_a_label() {
    let headers = |status: &'static str| -> HeaderMap {
        [("grpc-status", status)]
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .into_iter()
            .collect()
    };
    let call = |method: &str, media: &str, head: HeaderMap, steps: Vec<Step<Infallible>>| {
        let metrics = Metrics::new();
        let mut response = Response::new(Scripted::new(steps).tells_end());
        *response.headers_mut() = head;
        response.headers_mut().insert(CONTENT_TYPE, media.parse().unwrap());
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut body = body_of(&layer(&metrics), method, response);
        while let Poll::Ready(Some(_)) = poll_frame(&mut body) {}
        drop(body);
        let (labels, _) = metrics.sample(DURATION);
        labels.get("grpc_status").cloned().unwrap_or_else(|| "none".to_owned())
    };
    let none = HeaderMap::new;
    let end = |status| vec![data(3), Step::Trailers(headers(status))];
    for (media, expected) in
        [("application/grpc", "5"), ("application/grpc+proto", "5"), ("application/json", "none")]
    {
        assert_eq!(call("POST", media, none(), end("5")), expected, "{media}");
        assert_eq!(call("POST", media, headers("5"), vec![]), expected, "trailers only, {media}");
    }
    let grpc = "application/grpc";
    assert_eq!(call("POST", grpc, none(), end("0")), "0");
    assert_eq!(call("POST", grpc, none(), end("17")), "other");
    assert_eq!(call("POST", grpc, none(), vec![data(3)]), "missing");
    assert_eq!(call("POST", grpc, none(), vec![data(3), Step::PendingForever]), "none");
}
