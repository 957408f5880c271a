//! Every layer of this crate for services of HTTP, in the recommended order, as each is by default.

use tower_kit::{
    CacheLayer, CompressLayer, LatencyLayer, LimitLayer, PressureLayer, SecurityHeadersLayer,
};

pub(crate) type Layers =
    (LatencyLayer, PressureLayer, SecurityHeadersLayer, LimitLayer, CacheLayer, CompressLayer);

pub(crate) fn layers(latency: LatencyLayer, cache: CacheLayer) -> Layers {
    compressed_by(CompressLayer::new(), latency, cache)
}

pub(crate) fn compressed_by(
    compress: CompressLayer,
    latency: LatencyLayer,
    cache: CacheLayer,
) -> Layers {
    let (pressure, headers) = (PressureLayer::new(), SecurityHeadersLayer::new());
    (latency, pressure, headers, LimitLayer::new(), cache, compress)
}
