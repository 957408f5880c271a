//! The contract between an HTTP layer and its inner service: one check for all layers.
//!
//! A layer joins with a line in [`layers`]. The bounds of [`Subject::new`] are part of the contract.

mod calls;
mod readiness;
mod sharing;

use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use metrics::Recorder;
use tower::util::{BoxCloneSyncService, MapErr};
use tower::{Layer, Service, ServiceExt};
use tower_kit::cache::MemoryStore;
use tower_kit::pressure::MemoryUsage;
use tower_kit::security_headers::{Csp, forwarded_proto};
use tower_kit::{
    CacheLayer, CompressLayer, ContentKeyLayer, LatencyLayer, LimitLayer, MIB, PressureLayer,
    SecurityHeadersLayer,
};
use tower_test::mock;

use crate::support::{BoxBody, BoxError, Metrics, Scripted, boxed};

/// Returns every layer, in each mode in which a request takes another way through it.
fn layers() -> Vec<Subject> {
    vec![
        Subject::new("cache", |to| CacheLayer::new(MemoryStore::new(MIB)).recorder(to)),
        Subject::new("content_key", |_| ContentKeyLayer::new()),
        Subject::new("content_key", |_| ContentKeyLayer::new().post_if(|_, _| true)),
        Subject::new("compress", |to| CompressLayer::new().recorder(to)),
        Subject::new("compress", |to| CompressLayer::new().only_if(|_, _| true).recorder(to)),
        Subject::new("latency", |to| LatencyLayer::new().recorder(to)),
        Subject::new("latency", |to| {
            LatencyLayer::new().skip_if(|it| it.method == "POST").recorder(to)
        }),
        Subject::new("limit", |to| LimitLayer::new().recorder(to)),
        Subject::new("pressure", |to| pressure(100).recorder(to)),
        // The requests below have an exempt path.
        Subject::new("pressure", |to| pressure(950).recorder(to)),
        Subject::new("security_headers", |to| SecurityHeadersLayer::new().recorder(to)),
        Subject::new("security_headers", |to| with_nonce().recorder(to)),
    ]
}

/// Returns a layer for a process that uses this share of its memory, in thousandths.
fn pressure(per_mille: u64) -> PressureLayer {
    PressureLayer::new().memory_source(move || Ok(MemoryUsage::new(per_mille, 1_000)))
}

fn with_nonce() -> SecurityHeadersLayer {
    let policy = Csp::from_static("default-src 'self'; script-src 'nonce'");
    let layer = SecurityHeadersLayer::new().set(policy).unwrap();
    layer.https_if(forwarded_proto).override_all().documents_only()
}

/// A layer under test.
struct Subject {
    name: &'static str,
    layer: Box<dyn Fn(Inner<Own>) -> Outer>,
    metrics: Metrics,
}

/// A layer over an [`Inner`].
type Outer = BoxCloneSyncService<Request<Full<Bytes>>, Response<BoxBody>, Own>;

impl Subject {
    fn new<L, B>(
        name: &'static str,
        layer: impl FnOnce(Arc<dyn Recorder + Send + Sync>) -> L,
    ) -> Self
    where
        L: Layer<Inner<Own>> + Layer<Inner<Infallible>> + Shareable,
        <L as Layer<Inner<Own>>>::Service: Shareable
            + Service<
                Request<Full<Bytes>>,
                Response = Response<B>,
                Error = Own,
                Future: Debug + Send + 'static,
            >,
        <L as Layer<Inner<Infallible>>>::Service: Service<Request<Full<Bytes>>, Error = Infallible>,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Debug + Send + 'static,
    {
        const {
            // A service that clones more than a pointer is not cheap.
            let added = size_of::<<L as Layer<Inner<Own>>>::Service>() - size_of::<Inner<Own>>();
            assert!(added == size_of::<Arc<()>>());
        }
        let metrics = Metrics::new();
        let layer = layer(metrics.recorder());
        let layer = move |inner| {
            let service = Layer::<Inner<Own>>::layer(&layer.clone(), inner);
            Outer::new(service.map_response(|response| response.map(boxed)))
        };
        Self { name, layer: Box::new(layer), metrics }
    }

    /// Returns the layer over `service`.
    fn over<S>(&self, service: S) -> Outer
    where
        S: Service<Parts, Response = Response<Scripted<Infallible>>, Error = Own> + Shareable,
        S::Future: Send,
    {
        (self.layer)(Inner(BoxCloneSyncService::new(service)))
    }

    /// Returns the layer over a mock.
    fn over_mock(&self) -> (Outer, Handle) {
        let (mock, handle) = mock();
        (self.over(mock), handle)
    }
}

/// The traits that layers and services have in common.
trait Shareable: Clone + Debug + Send + Sync + 'static {}

impl<T: Clone + Debug + Send + Sync + 'static> Shareable for T {}

/// An inner service for request bodies of any type, which it drops.
#[derive(Clone, Debug)]
struct Inner<E>(BoxCloneSyncService<Parts, Response<Scripted<Infallible>>, E>);

impl<B, E> Service<Request<B>> for Inner<E> {
    type Response = Response<Scripted<Infallible>>;
    type Error = E;
    type Future = <BoxCloneSyncService<Parts, Self::Response, E> as Service<Parts>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.0.call(request.into_parts().0)
    }
}

/// The error of the inner service.
#[derive(Clone, Debug, PartialEq)]
struct Own(String);

type Mock = MapErr<mock::Mock<Parts, Response<Scripted<Infallible>>>, fn(BoxError) -> Own>;
type Handle = mock::Handle<Parts, Response<Scripted<Infallible>>>;

/// Returns a service that panics if the called instance was not polled to readiness.
fn mock() -> (Mock, Handle) {
    let (mock, handle) = mock::pair();
    (mock.map_err(|error| Own(error.to_string())), handle)
}
