//! A gRPC server behind every layer, with a metrics page on the same port.
//!
//! ```sh
//! cargo run -p example-tonic
//! grpc_health_probe -addr 127.0.0.1:3000
//! curl http://127.0.0.1:3000/metrics
//! ```
//!
//! Calls, streams and trailers pass the layers unchanged. In `/metrics`, each method has its own
//! value of the label `route`. A `Watch` lasts as long as its client likes: it is declared to be a stream,
//! so that its lifetime does not count among the durations.
//!
//! | layer | with gRPC |
//! |---|---|
//! | `latency` | the HTTP status is 200 for every call; the status of the call is the label `grpc_status` |
//! | `pressure` | rejects with `UNAVAILABLE` |
//! | `security_headers` | its headers are metadata of the response, which clients ignore |
//! | `limit` | rejects with `RESOURCE_EXHAUSTED` |
//! | `cache` | does not store calls, which are POST requests |
//! | `compress` | does not compress calls; tonic compresses messages if both sides agree |
//!
//! `limit` counts a whole request body, which is all messages of a stream. This example therefore sets
//! no limit for `application/grpc`. tonic limits each message to 4 MiB and answers `OUT_OF_RANGE`
//! beyond that; `max_decoding_message_size` changes the limit.
//!
//! `cache`, `compress` and `accept_http1` serve the metrics page. tonic's server has no timeout for the
//! headers of an HTTP/1 request. Where strangers may connect, serve such pages on a port of their own.
//!
//! Ctrl-C or SIGTERM stops the server. It reports `NOT_SERVING` to watchers, and open calls have ten
//! seconds to finish.

use std::error::Error;
use std::time::Duration;

use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tower_kit::cache::MemoryStore;
use tower_kit::latency::DURATION_BUCKETS;
use tower_kit::limit::Size;
use tower_kit::{
    CacheLayer, CompressLayer, LatencyLayer, LimitLayer, MIB, PressureLayer, SecurityHeadersLayer,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let prometheus = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &DURATION_BUCKETS)?
        .install_recorder()?;
    tokio::spawn(upkeep(prometheus.clone()));
    let (reporter, health) = tonic_health::server::health_reporter();
    let health = health
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip);
    let page = get(move || async move { prometheus.render() });
    let routes = Routes::new(health).into_axum_router().route("/metrics", page);
    let server = Server::builder()
        .accept_http1(true)
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .timeout(Duration::from_secs(10))
        .layer((
            LatencyLayer::new()
                .route_templates([
                    "/grpc.health.v1.Health/Check",
                    "/grpc.health.v1.Health/Watch",
                    "/metrics",
                ])
                .stream_if("grpc", |route, _| route.ends_with("/Watch")),
            PressureLayer::new(),
            SecurityHeadersLayer::new(),
            LimitLayer::new()
                .media_type("application/grpc", Size::UNLIMITED)?
                .media_type("application/grpc+proto", Size::UNLIMITED)?,
            CacheLayer::new(MemoryStore::new(64 * MIB)),
            CompressLayer::new(),
        ))
        .add_routes(routes.into());

    let addr = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&addr).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let (stop, stopped) = (stop_signal()?, stop_signal()?);
    let stop = async move {
        stop.await;
        reporter.set_service_status("", ServingStatus::NotServing).await;
    };
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    tokio::select! {
        served = server.serve_with_incoming_shutdown(incoming, stop) => served?,
        () = async { stopped.await; sleep(Duration::from_secs(10)).await } =>
            println!("some calls were still open after ten seconds"),
    }
    Ok(())
}

/// Drains the exporter, which keeps every sample until then.
async fn upkeep(prometheus: PrometheusHandle) {
    loop {
        sleep(Duration::from_secs(5)).await;
        prometheus.run_upkeep();
    }
}

/// Completes at Ctrl-C or SIGTERM.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
