//! The cache over mock services and real ones.

mod abuse;
mod aside;
mod boxed;
mod changes;
mod clients;
#[cfg(feature = "cache-query")]
mod content_key;
mod cookies;
mod directives;
mod forged;
mod forwarded;
mod freshness;
mod handles;
mod hanging;
mod herds;
mod hit_for_miss;
mod keys;
mod memory;
mod methods;
mod mocked;
mod model;
mod namespaces;
mod numbers;
mod purged;
mod queries;
mod ranges;
pub(crate) mod rig;
mod spelling;
mod stale;
mod standards;
mod statuses;
mod storage;
#[cfg(feature = "test-util")]
mod store;
#[cfg(feature = "test-util")]
mod user_store;
mod variants;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_kit::cache::{CacheLayer, MemoryStore};

#[tokio::test]
async fn a_response_that_is_fresh_is_given_again() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let service = service_fn(move |_: Request<Empty<Bytes>>| {
        let number = counted.fetch_add(1, Ordering::Relaxed);
        let body = Full::new(Bytes::from(format!("answer {number}")));
        let response = Response::builder().header("cache-control", "max-age=60").body(body);
        async move { Ok::<_, Infallible>(response.unwrap()) }
    });
    let mut cache = CacheLayer::new(MemoryStore::new(1 << 20)).clock(|| UNIX_EPOCH).layer(service);
    for status in ["tower-kit; fwd=uri-miss; stored", "tower-kit; hit; ttl=60"] {
        let request = Request::get("http://x/").body(Empty::new()).unwrap();
        let response = cache.ready().await.unwrap().call(request).await.unwrap();
        assert_eq!(response.headers()["cache-status"], status);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "answer 0");
    }
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}
