//! The layers that axum services usually have, set up as the documentation of each crate says.

use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use axum_prometheus::PrometheusMetricLayer;
use axum_response_cache::CacheLayer;
use tower::ServiceBuilder;
use tower_helmet::HelmetLayer;
use tower_http::compression::CompressionLayer;
use tower_http::limit::RequestBodyLimitLayer;

use crate::app::MOST_JSON;
use crate::on_axum::router;

/// Starts a task, and installs the recorder of the process: once.
///
/// The cache stands inside of the compression, on the one route that may be kept: it keeps whatever
/// comes, under the path alone, so outside it would give gzip to clients that do not take it.
pub(crate) fn usual() -> Router {
    let (prometheus, metrics) = PrometheusMetricLayer::pair();
    let layers = ServiceBuilder::new()
        .layer(prometheus)
        .layer(HelmetLayer::with_defaults())
        .layer(DefaultBodyLimit::disable())
        .layer(RequestBodyLimitLayer::new(MOST_JSON as usize))
        .layer(CompressionLayer::new());
    router(|cached| cached.layer(CacheLayer::with_lifespan(HOUR)))
        .route("/metrics", get(|| async move { metrics.render() }))
        .layer(layers)
}

const HOUR: Duration = Duration::from_secs(3600);
