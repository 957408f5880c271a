//! Every layer around a plain hyper service, with the time-outs and the stop that a server needs.
//!
//! ```sh
//! cargo run --example hyper --features full
//! curl -i --compressed http://127.0.0.1:3000/
//! curl -i --data 'a body' http://127.0.0.1:3000/
//! curl http://127.0.0.1:3000/metrics
//! ```
//!
//! Send the first one twice, and look at `cache-status`. Each head has five seconds to come, and so
//! has the body. Ctrl-C or SIGTERM stops it: open requests have ten seconds to finish. The example
//! `quickstart` has more: routes, streams, Redis.

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};
use tower::ServiceBuilder;
use tower_kit::cache::MemoryStore;
use tower_kit::latency::DURATION_BUCKETS;
use tower_kit::{
    CacheLayer, CompressLayer, LatencyLayer, LimitLayer, MIB, PressureLayer, SecurityHeadersLayer,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let prometheus = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &DURATION_BUCKETS)?
        .install_recorder()?;
    tokio::spawn(upkeep(prometheus.clone()));
    let service = ServiceBuilder::new()
        .layer(LatencyLayer::new().route_templates(["/", "/metrics"]))
        .layer(PressureLayer::new())
        .layer(SecurityHeadersLayer::new())
        .layer(LimitLayer::new())
        .layer(CacheLayer::new(MemoryStore::new(64 * MIB)))
        .layer(CompressLayer::new())
        .service_fn(move |request| serve(prometheus.clone(), request));
    let service = TowerToHyperService::new(service);

    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    server.http2().timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(20));

    let addr = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&addr).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, say: existing connections go on, and make room.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let connection = server.serve_connection(TokioIo::new(stream), service.clone());
        // An error here is a client that left or does not speak HTTP: nothing to tell.
        let connection = connections.watch(connection.into_owned());
        tokio::spawn(async move { drop(connection.await) });
    }
    drop(listener);
    if timeout(Duration::from_secs(10), connections.shutdown()).await.is_err() {
        println!("some requests were still open after ten seconds");
    }
    Ok(())
}

async fn serve<B>(
    prometheus: PrometheusHandle,
    request: Request<B>,
) -> Result<Response<Full<Bytes>>, Infallible>
where
    B: Body<Data = Bytes>,
{
    let head_only = *request.method() == Method::HEAD;
    let response = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/") => {
            let mut response = reply(StatusCode::OK, "a page of text\n".repeat(100));
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
            response
        }
        (&Method::POST, "/") => match timeout(PATIENCE, request.into_body().collect()).await {
            Ok(Ok(body)) => reply(StatusCode::OK, body.to_bytes()),
            // If it is over its limit, the layer says so instead.
            Ok(Err(_)) => reply(StatusCode::BAD_REQUEST, "the body cannot be read\n"),
            Err(_) => reply(StatusCode::REQUEST_TIMEOUT, "the body is too slow\n"),
        },
        (&Method::GET, "/metrics") => reply(StatusCode::OK, prometheus.render()),
        _ => reply(StatusCode::NOT_FOUND, "no such page\n"),
    };
    // Over HTTP/2, hyper would send the body.
    Ok(if head_only { response.map(|_| Full::default()) } else { response })
}

fn reply(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    response
}

/// The exporter keeps every sample until it is drained.
async fn upkeep(prometheus: PrometheusHandle) {
    loop {
        sleep(Duration::from_secs(5)).await;
        prometheus.run_upkeep();
    }
}

const PATIENCE: Duration = Duration::from_secs(5);
