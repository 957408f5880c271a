//! The layers, alone and in pairs, around one service.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use proptest::prelude::*;
use proptest::sample::select;
use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_kit::cache::{MemoryStore, content_key};
use tower_kit::compress::Encoding;
use tower_kit::pressure::MemoryUsage;
use tower_kit::{
    CacheLayer, CompressLayer, ContentKeyLayer, LatencyLayer, LimitLayer, MIB, PressureLayer,
    SecurityHeadersLayer, limit,
};

use super::client::{Seen, send};
use super::story::Ask;
use crate::support::{BoxBody, BoxError, Metrics, Server, boxed, soon};

pub(super) type Boxed = BoxCloneService<Request<BoxBody>, Response<BoxBody>, BoxError>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Latency,
    Pressure,
    SecurityHeaders,
    Limit,
    ContentKey,
    Cache,
    Compress,
}

/// Layers from the outside in.
pub(super) type Stack = &'static [Kind];

/// A server with a stack of layers around a service.
#[derive(Debug)]
pub(super) struct Layered {
    pub(super) stack: Stack,
    pub(super) server: Server,
    pub(super) parts: Parts,
}

/// The layers of one server, with the handles to inspect them.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) metrics: Arc<Metrics>,
    pub(super) cache: CacheLayer,
    pub(super) compress: CompressLayer,
    /// Memory is short: the pressure layer sheds.
    short: Arc<AtomicBool>,
}

impl Parts {
    pub(super) fn new() -> Self {
        let metrics = Arc::new(Metrics::new());
        let cache = CacheLayer::new(MemoryStore::new(32 * MIB))
            .default_ttl(Duration::from_secs(60))
            .recorder(metrics.recorder());
        let encodings = [Encoding::Gzip, Encoding::Deflate, Encoding::Brotli, Encoding::Zstd];
        let compress = CompressLayer::new().encodings(encodings).recorder(metrics.recorder());
        Self { metrics, cache, compress, short: Arc::default() }
    }

    /// Lets the tasks of the cache run until none of them fetches anything.
    pub(super) async fn settle(&self) {
        let handle = self.cache.handle();
        let settled = async {
            while handle.in_flight() > 0 {
                tokio::task::yield_now().await;
            }
        };
        soon(settled).await;
    }

    fn pressure(&self) -> PressureLayer {
        let short = Arc::clone(&self.short);
        PressureLayer::new()
            .interval(Duration::ZERO)
            .memory_source(move || {
                let used = if short.load(Ordering::SeqCst) { 99 } else { 1 };
                io::Result::Ok(MemoryUsage::new(used, 100))
            })
            .recorder(self.metrics.recorder())
    }

    /// Makes memory short, or no longer so, and asks until the pressure layer has seen it. Returns
    /// the responses.
    pub(super) async fn set_short(&self, server: &Server, short: bool) -> Vec<Seen> {
        self.short.store(short, Ordering::SeqCst);
        let mut probe = Ask::get();
        probe.method = Method::POST;
        let mut probes = Vec::new();
        let seen = async {
            loop {
                let seen = send(server.addr, PROBE, &probe, None).await;
                let is_shed = seen.status == Some(503);
                probes.push(seen);
                if is_shed == short {
                    return;
                }
            }
        };
        soon(seen).await;
        probes
    }

    /// Puts the layers around a service.
    pub(super) fn around(&self, stack: &[Kind], service: Boxed) -> Boxed {
        stack.iter().rev().fold(service, |inner, kind| self.layer(*kind, inner))
    }

    fn layer(&self, kind: Kind, inner: Boxed) -> Boxed {
        let recorder = self.metrics.recorder();
        match kind {
            Kind::Latency => erase(LatencyLayer::new().recorder(recorder).layer(inner)),
            Kind::Pressure => erase(self.pressure().layer(inner)),
            Kind::SecurityHeaders => erase(SecurityHeadersLayer::new().layer(inner)),
            Kind::Limit => {
                let inner = inner.map_request(|request: Request<limit::RequestBody<BoxBody>>| {
                    request.map(boxed)
                });
                erase(LimitLayer::new().recorder(recorder).layer(inner))
            }
            Kind::ContentKey => {
                let inner =
                    inner.map_request(|request: Request<content_key::RequestBody<BoxBody>>| {
                        request.map(boxed)
                    });
                erase(ContentKeyLayer::new().post_if(|_, _| true).layer(inner))
            }
            Kind::Cache => erase(self.cache.layer(inner)),
            Kind::Compress => erase(self.compress.layer(inner)),
        }
    }
}

impl Layered {
    pub(super) async fn start(stack: Stack, service: Boxed) -> Self {
        let parts = Parts::new();
        let server = serve(parts.around(stack, service)).await;
        Self { stack, server, parts }
    }

    pub(super) fn has(&self, kind: Kind) -> bool {
        self.stack.contains(&kind)
    }
}

/// Serves a service over a socket.
pub(super) async fn serve(service: Boxed) -> Server {
    let service = ServiceBuilder::new()
        .map_request(|request: Request<Incoming>| request.map(boxed))
        .service(service);
    Server::start(service).await
}

/// Makes a service of a function of a request.
pub(super) fn from_fn<F, R>(call: F) -> Boxed
where
    F: Fn(Request<BoxBody>) -> R + Clone + Send + 'static,
    R: Future<Output = Result<Response<BoxBody>, BoxError>> + Send + 'static,
{
    BoxCloneService::new(service_fn(call))
}

fn erase<S, B>(service: S) -> Boxed
where
    S: Service<Request<BoxBody>, Response = Response<B>, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    BoxCloneService::new(service.map_response(|response| response.map(boxed)))
}

/// Picks one of [`STACKS`]: each second time, one that compresses, since that changes most.
pub(super) fn stack() -> impl Strategy<Value = usize> {
    let compresses = |at: &usize| STACKS[*at].contains(&Kind::Compress);
    let compressing: Vec<_> = (0..STACKS.len()).filter(compresses).collect();
    prop_oneof![0..STACKS.len(), select(compressing)]
}

/// The target of a request to which a service responds with 200 and no body.
pub(super) const PROBE: &str = "/probe";

/// Each layer alone, and with the cache on either side of it.
pub(super) const STACKS: [Stack; 20] = [
    &[Kind::Latency],
    &[Kind::Pressure],
    &[Kind::SecurityHeaders],
    &[Kind::Limit],
    &[Kind::ContentKey],
    &[Kind::Cache],
    &[Kind::Compress],
    &[Kind::Cache, Kind::Latency],
    &[Kind::Cache, Kind::Pressure],
    &[Kind::Cache, Kind::SecurityHeaders],
    &[Kind::Cache, Kind::Limit],
    &[Kind::Cache, Kind::ContentKey],
    &[Kind::Cache, Kind::Compress],
    &[Kind::Latency, Kind::Cache],
    &[Kind::Pressure, Kind::Cache],
    &[Kind::SecurityHeaders, Kind::Cache],
    &[Kind::Limit, Kind::Cache],
    &[Kind::ContentKey, Kind::Cache],
    &[Kind::Compress, Kind::Cache],
    &ALL,
];

/// Every layer, in the order that the crate recommends.
pub(super) const ALL: [Kind; 7] = [
    Kind::Latency,
    Kind::Pressure,
    Kind::SecurityHeaders,
    Kind::Limit,
    Kind::ContentKey,
    Kind::Cache,
    Kind::Compress,
];
