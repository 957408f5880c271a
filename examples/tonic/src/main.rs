//! A gRPC server with every layer, which leave calls, streams and trailers as they are, and a page
//! of numbers on the same port.
//!
//! ```sh
//! cargo run -p example-tonic
//! grpc_health_probe -addr 127.0.0.1:3000
//! curl http://127.0.0.1:3000/metrics
//! ```
//!
//! Look at the label `route`: each method has its own. `Watch` lasts as long as its client likes, so
//! it is declared to be a stream, and its lifetime has a histogram of its own. What else the layers
//! do here:
//!
//! - `latency`: the status of HTTP is 200 for all that gRPC answers. The status of the call, which is
//!   in its trailers, is the label `grpc_status`.
//! - `pressure`: what it sheds is `UNAVAILABLE`.
//! - `security_headers`: its fields are metadata of the response, which clients pass over.
//! - `limit`: its refusals are `RESOURCE_EXHAUSTED`. But a body is *all* messages of a stream, so
//!   `application/grpc` has no limit, and tonic's own holds for each message: 4 MiB, or
//!   `max_decoding_message_size`, with `OUT_OF_RANGE`.
//! - `cache`: calls are POST, and go past it.
//! - `compress`: gRPC is left out; messages are compressed by tonic, if both sides say so.
//!
//! The last two, as `accept_http1`, are for the page. tonic's server has no time-out for the heads
//! of HTTP/1: where strangers may connect, put such pages on a port of their own.
//!
//! Ctrl-C or SIGTERM stops it: watchers are told that it serves no more, and open calls have ten
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
#[expect(
    clippy::disallowed_methods,
    reason = "the exporter's upkeep is a task of the program's own"
)]
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
                .routes([
                    "/grpc.health.v1.Health/Check",
                    "/grpc.health.v1.Health/Watch",
                    "/metrics",
                ])
                .stream("grpc", |route, _| route.ends_with("/Watch")),
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

/// The exporter keeps every sample until it is drained.
async fn upkeep(prometheus: PrometheusHandle) {
    loop {
        sleep(Duration::from_secs(5)).await;
        prometheus.run_upkeep();
    }
}

/// Ready at Ctrl-C or SIGTERM.
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
