//! Serves bare hyper, bare axum, or either with every layer of this crate: `kit SERVER`. `fields` is
//! hyper that sends for `/hello` what the layers do, without them.

use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::io::Write;
use std::time::Duration;

use axum::extract::MatchedPath;
use axum::routing::get;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_kit::cache::{MemoryStore, RedisConfig, RedisStore};
use tower_kit::latency::DURATION_BUCKETS;
use tower_kit::{CacheLayer, CompressLayer, LatencyLayer, MIB};

use layers::{compressed_by, layers};
use on_axum::router;
use on_hyper::{ROUTES, answer, by_hand, items};

mod app;
mod layers;
mod on_axum;
mod on_hyper;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let memory = || CacheLayer::new(MemoryStore::new(64 * MIB));
    let compressed = || gzip(&items());
    match env::args().nth(1).as_deref() {
        Some("bare") => {
            let compressed = compressed()?;
            serve(listener, service_fn(move |request| by_hand(compressed.clone(), request))).await
        }
        Some("fields") => {
            let (compressed, fields) = (compressed()?, fields(memory()).await?);
            let service = service_fn(move |request| {
                let (answer, mut fields) = (by_hand(compressed.clone(), request), fields.clone());
                async move {
                    let mut response = answer.await?;
                    std::mem::swap(response.headers_mut(), &mut fields);
                    response.headers_mut().extend(fields);
                    Ok(response)
                }
            });
            serve(listener, service).await
        }
        Some("axum") => Ok(axum::serve(listener, router(|cached| cached)).await?),
        Some("kit") => with_layers(listener, CompressLayer::new(), memory()).await,
        Some("kit-libdeflate") => {
            with_layers(listener, CompressLayer::new().libdeflate(), memory()).await
        }
        Some("kit-axum") => {
            let metrics = prometheus()?;
            let latency = LatencyLayer::new()
                .route(|request| request.extensions.get().map(MatchedPath::as_str));
            let app = router(|cached| cached)
                .route("/metrics", get(|| async move { metrics.render() }))
                .layer(layers(latency, memory()));
            Ok(axum::serve(listener, app).await?)
        }
        Some("kit-redis") => {
            let redis = RedisStore::connect(RedisConfig::from_env()?);
            with_layers(listener, CompressLayer::new(), CacheLayer::new(redis)).await
        }
        other => Err(format!("no such server: {other:?}").into()),
    }
}

async fn with_layers(
    listener: TcpListener,
    compress: CompressLayer,
    cache: CacheLayer,
) -> Result<(), Box<dyn Error>> {
    let metrics = prometheus()?;
    let latency = LatencyLayer::new().route_templates(ROUTES);
    let service = compressed_by(compress, latency, cache).layer(service_fn(move |request| {
        let metrics = metrics.clone();
        async move { answer_or_metrics(&metrics, request).await }
    }));
    serve(listener, service).await
}

/// Headers that the layers add to `/hello`.
async fn fields(cache: CacheLayer) -> Result<HeaderMap, Box<dyn Error>> {
    let service = layers(LatencyLayer::new(), cache).layer(service_fn(answer));
    let request = Request::get("/hello").header(HOST, "localhost").body(Full::<Bytes>::default())?;
    let (mut head, _) = service.oneshot(request).await?.into_parts();
    head.headers.remove(CONTENT_TYPE);
    Ok(head.headers)
}

async fn answer_or_metrics<B: Body>(
    metrics: &PrometheusHandle,
    request: Request<B>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() == "/metrics" {
        return Ok(Response::new(Full::from(metrics.render())));
    }
    answer(request).await
}

async fn serve<S, B>(listener: TcpListener, service: S) -> Result<(), Box<dyn Error>>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await?;
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new());
            // An error here is a client that left.
            drop(server.serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

/// The recorder of the process, with its upkeep, as the documentation of `latency` says.
fn prometheus() -> Result<PrometheusHandle, Box<dyn Error>> {
    let metrics = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &DURATION_BUCKETS)?
        .install_recorder()?;
    let kept_up = metrics.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            kept_up.run_upkeep();
        }
    });
    Ok(metrics)
}

fn gzip(plain: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(plain)?;
    Ok(encoder.finish()?.into())
}
