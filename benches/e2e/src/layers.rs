//! Every room of this crate, in the recommended order, as each is by default.

use tower_kit::{CacheLayer, CompressLayer, LatencyLayer, LimitLayer, SecurityHeadersLayer};

pub(crate) type Layers =
    (LatencyLayer, SecurityHeadersLayer, LimitLayer, CacheLayer, CompressLayer);

pub(crate) fn layers(latency: LatencyLayer, cache: CacheLayer) -> Layers {
    (latency, SecurityHeadersLayer::new(), LimitLayer::new(), cache, CompressLayer::new())
}
