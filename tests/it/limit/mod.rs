//! Tests of `LimitLayer`, with a mock service and scripted bodies, and over real sockets.

mod body;
mod data_rate;
mod declared;
#[cfg(feature = "limit-decompress")]
mod decompress;
mod drain;
mod failed_body;
mod head;
mod media_types;
mod overrides;
mod proxies;
mod responses;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::limit::{LimitLayer, RequestBody, ResponseBody};

use crate::support::{BoxError, Metrics, Scripted, Step, reads};

type LimitResponse = Response<ResponseBody<Full<Bytes>>>;

const REJECTED: &str = "http_requests_rejected_total";

fn post() -> http::request::Builder {
    Request::post("/")
}

/// A layer with a limit of `size` for bodies without a limit of their own.
fn max_body(size: u64) -> LimitLayer {
    LimitLayer::new().default_body(size)
}

fn scripted(steps: impl IntoIterator<Item = Step>) -> Scripted {
    Scripted::new(steps)
}

/// Sends a request through the layer to a service that reads the body.
async fn send<B>(layer: &LimitLayer, request: Request<B>) -> LimitResponse
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    layer.layer(service_fn(reads::<RequestBody<B>>)).oneshot(request).await.unwrap()
}

fn is_closed(headers: &http::HeaderMap) -> bool {
    headers.get("connection").is_some_and(|value| value == "close")
}

/// The number of rejections for a reason.
fn rejections(metrics: &Metrics, reason: &str) -> u64 {
    metrics.counted(REJECTED, &[("layer", "limit"), ("reason", reason)])
}
