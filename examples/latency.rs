//! An axum service that exports its latency histograms to Prometheus.
//!
//! ```sh
//! cargo run --example latency --features latency
//! curl http://127.0.0.1:3000/items/7
//! curl http://127.0.0.1:3000/metrics
//! ```
//!
//! The label `route` of `http_request_duration_seconds` is the template `/items/{id}` for every id.
//! The example `job_queue` also exports the memory, CPU time and open files of the process.

use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Path, State};
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tower_kit::LatencyLayer;
use tower_kit::latency::{DURATION_BUCKETS, STREAM_DURATION_BUCKETS};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let prometheus = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &DURATION_BUCKETS)?
        // Streams may last for hours. A full name takes precedence over a suffix.
        .set_buckets_for_metric(
            Matcher::Full("http_stream_duration_seconds".into()),
            &STREAM_DURATION_BUCKETS,
        )?
        .install_recorder()?;

    let latency = LatencyLayer::new()
        .route(|request| request.extensions.get().map(MatchedPath::as_str))
        .skip_if(|request| request.uri.path() == "/metrics");
    let app = Router::new()
        .route("/items/{id}", get(item))
        .route("/metrics", get(metrics))
        .layer(latency)
        .with_state(prometheus.clone());

    let addr = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&addr).await?;
    println!("listening on http://{}", listener.local_addr()?);
    tokio::select! {
        served = axum::serve(listener, app) => served?,
        () = upkeep(prometheus) => {}
    }
    Ok(())
}

async fn item(Path(id): Path<u64>) -> String {
    format!("item {id}\n")
}

async fn metrics(State(prometheus): State<PrometheusHandle>) -> String {
    prometheus.render()
}

/// Drains the exporter every five seconds, because it keeps each sample until then.
async fn upkeep(prometheus: PrometheusHandle) {
    let mut every = tokio::time::interval(Duration::from_secs(5));
    loop {
        every.tick().await;
        prometheus.run_upkeep();
    }
}
