//! The log of the clients compared with the metrics: each request is recorded once, with the status
//! that its client saw.

use std::collections::BTreeMap;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::Notify;

use super::*;
use crate::support::{BoxBody, Server, boxed, h1_client, h2_client, soon};

/// The number of requests by status and outcome.
type Log = BTreeMap<(String, &'static str), usize>;

const OUTCOMES: [&str; 7] =
    ["ok", "service_error", "timeout", "body_error", "disconnect", "cancelled", "panic"];

/// The path, its status (`none` if there is no response) and its outcome.
const CASES: [(&str, &str, &str); 13] = [
    ("/ok", "200", "ok"),
    ("/missing", "404", "ok"),
    ("/rejected", "503", "ok"),
    ("/rejected-stream", "429", "ok"),
    ("/stream", "200", "ok"),
    ("/stream-broken", "200", "body_error"),
    ("/stream-dropped", "200", "disconnect"),
    ("/dropped", "200", "disconnect"),
    ("/short", "200", "body_error"),
    ("/slow-body", "200", "timeout"),
    ("/panic-body", "200", "panic"),
    ("/panic", "none", "panic"),
    ("/cancelled", "none", "cancelled"),
];

async fn serve(
    request: Request<Incoming>,
    arrived: std::sync::Arc<Notify>,
) -> Result<Response<BoxBody>, Infallible> {
    let body = |steps: Vec<Step<BoxError>>| boxed(Scripted::<BoxError>::new(steps));
    let events = || Response::builder().header("content-type", "text/event-stream");
    let broken = || Step::Error("broken".into());
    let timed_out = || Step::Error(io::Error::from(io::ErrorKind::TimedOut).into());
    let response = match request.uri().path() {
        "/ok" => Response::builder().body(full("ok")),
        "/missing" => Response::builder().status(404).body(full("")),
        "/rejected" => Response::builder().status(503).body(full("busy")),
        "/rejected-stream" => events().status(429).body(body(vec![data(3), data(2)])),
        "/stream" => events().body(body(vec![data(3), Step::Pending, data(2)])),
        "/stream-broken" => events().body(body(vec![data(3), broken()])),
        "/stream-dropped" => events().body(body(vec![data(3), Step::PendingForever])),
        "/dropped" => Response::builder().body(body(vec![data(3), Step::PendingForever])),
        "/short" => Response::builder().header("content-length", 9).body(body(vec![data(3)])),
        "/slow-body" => Response::builder().body(body(vec![data(3), timed_out()])),
        "/panic-body" => Response::builder().body(body(vec![data(3), Step::Panic])),
        "/panic" => panic!("in the handler"),
        "/cancelled" => {
            arrived.notify_one();
            pending().await
        }
        path => panic!("{path}"),
    };
    Ok(response.unwrap())
}

/// Sends a request as its path demands. Returns the status, and `true` if the body was complete.
async fn send(h2: bool, server: &Server, path: &str, arrived: &Notify) -> (String, bool) {
    let client = if h2 { h2_client() } else { h1_client() };
    let request = Request::get(server.url(path)).body(full("")).unwrap();
    if path == "/cancelled" {
        let response = client.request(request);
        tokio::select! {
            _ = response => panic!("a response"),
            () = arrived.notified() => {}
        }
        return ("none".to_owned(), false);
    }
    let Ok(response) = soon(client.request(request)).await else {
        return ("none".to_owned(), false);
    };
    let status = response.status().as_str().to_owned();
    let mut body = response.into_body();
    if path.ends_with("dropped") {
        assert!(soon(body.frame()).await.unwrap().is_ok());
        return (status, false);
    }
    (status, soon(body.collect()).await.is_ok())
}

#[tokio::test]
async fn totals_match_the_log_of_the_clients() {
    // In the second run, most sets of labels are over the maximum.
    for max_series in [2_000, 3] {
        let metrics = Metrics::new();
        let arrived = std::sync::Arc::new(Notify::new());
        let notify = std::sync::Arc::clone(&arrived);
        let service = ServiceBuilder::new()
            .layer(layer(&metrics).max_series(max_series).route_templates(["/ok", "/missing"]))
            .service_fn(move |request| serve(request, std::sync::Arc::clone(&notify)));
        let server = Server::start(service).await;
        let mut expected = Log::new();
        for (path, status, outcome) in CASES {
            for (h2, times) in [(false, 2), (true, 3)] {
                for _ in 0..times {
                    let (seen, complete) = send(h2, &server, path, &arrived).await;
                    // hyper may reset an HTTP/2 stream before it has sent the headers.
                    let lost = seen == "none" && !complete && outcome != "ok";
                    assert!(seen == status || lost, "{path}: {seen}");
                    assert_eq!(complete, outcome == "ok", "{path}");
                    *expected.entry((status.to_owned(), outcome)).or_default() += 1;
                }
            }
        }
        let total: usize = expected.values().sum();
        let streams = 15;
        metrics.wait_for(STREAM_DURATION, streams).await;
        metrics.wait_for(DURATION, total as u64 - streams).await;

        let mut found = Log::new();
        for (labels, _) in [metrics.samples(DURATION), metrics.samples(STREAM_DURATION)].concat() {
            let status = labels.get("status_code").cloned().unwrap_or_else(|| "none".to_owned());
            let outcome = OUTCOMES.into_iter().find(|it| *it == labels["outcome"]).unwrap();
            *found.entry((status, outcome)).or_default() += 1;
        }
        assert_eq!(found, expected, "max_series: {max_series}");
        for outcome in OUTCOMES {
            let sent: usize =
                expected.iter().filter(|((_, it), _)| *it == outcome).map(|(_, count)| count).sum();
            let counted = metrics.counted(REQUESTS, &[("outcome", outcome)]);
            assert_eq!(counted, sent as u64, "{outcome}");
        }
        assert_eq!(metrics.counted(REQUESTS, &[("status_class", "5xx")]), 5);
        assert_eq!(metrics.gauge(IN_FLIGHT), 0.0);
        assert_eq!(metrics.gauge(OPEN), 0.0);
        assert_eq!(metrics.counted(OVERFLOW, &[]) > 0, max_series == 3);
    }
}
