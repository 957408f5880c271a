//! The whole stack of one process.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::sync::Semaphore;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::util::BoxCloneService;
use tower::{ServiceBuilder, ServiceExt};
use tower_kit::cache::{BoxStore, CacheHandle};
use tower_kit::compress::Encoding;
use tower_kit::pressure::MemoryUsage;
use tower_kit::{
    CacheLayer, CompressLayer, LatencyLayer, LimitLayer, PressureLayer, SecurityHeadersLayer,
};

use crate::client::{MAX_HEADER_BYTES, MAX_UPLOAD, Upload};
use crate::origin::{Origin, Shared};
use crate::recorder::{Recorded, has_label};
use crate::{BoxBody, BoxError};

pub(crate) type Stack = BoxCloneService<Request<Upload>, Response<BoxBody>, BoxError>;

/// One process: its layers around the service, and what is looked at afterwards.
pub(crate) struct Process {
    pub(crate) stack: Stack,
    pub(crate) handle: CacheHandle,
    pub(crate) tally: Arc<Tally>,
    /// Memory is short.
    pub(crate) short: Arc<AtomicBool>,
    permits: Arc<Semaphore>,
    max_permits: usize,
    recorded: Arc<Recorded>,
}

/// The requests to one process, as its clients count them.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    started: u64,
    /// By the class of the status.
    answered: BTreeMap<u16, u64>,
}

/// The settings of the layers that a seed chooses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) ttl: Option<Duration>,
    pub(crate) default_ttl: Option<Duration>,
    /// The service is called at so many times at once.
    pub(crate) permits: usize,
    /// Few places and little memory for bodies on their way to the store.
    pub(crate) is_tight: bool,
    pub(crate) fills_on_head: bool,
    /// The cache obeys `cache-control` of requests.
    pub(crate) heeds_requests: bool,
    pub(crate) has_namespace: bool,
    /// A fetch ends if its client leaves.
    pub(crate) cancels: bool,
}

fn boxed<B>(response: Response<B>) -> Response<BoxBody>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    response.map(|body| BoxBody::new(body.map_err(Into::into)))
}

impl Process {
    pub(crate) fn new(shared: &Arc<Shared>, store: BoxStore, settings: &Settings) -> Self {
        let recorded = Arc::new(Recorded::default());
        let short = Arc::new(AtomicBool::new(false));
        let permits = Arc::new(Semaphore::new(settings.permits));
        let is_short = Arc::clone(&short);
        let pressure = PressureLayer::new()
            .interval(Duration::ZERO)
            .shed_duration(Duration::from_secs(1))
            .memory_source(move || {
                let used = if is_short.load(Ordering::Relaxed) { 99 } else { 1 };
                io::Result::Ok(MemoryUsage::new(used, 100))
            })
            .recorder(Arc::clone(&recorded) as _);
        let time = Arc::clone(&shared.time);
        let mut cache = match settings.ttl {
            Some(ttl) => CacheLayer::with_ttl(store, ttl),
            None => CacheLayer::new(store),
        };
        cache = cache.clock(move || time.wall()).recorder(Arc::clone(&recorded) as _);
        if let Some(ttl) = settings.default_ttl {
            cache = cache.default_ttl(ttl);
        }
        if settings.is_tight {
            cache = cache
                .max_fills(2)
                .max_refreshes(1)
                .max_fill_bytes(64 * 1024)
                .max_entry_size(24 * 1024);
        }
        if settings.fills_on_head {
            cache = cache.fill_on_head();
        }
        if settings.heeds_requests {
            cache = cache.honor_request_control();
        }
        if settings.cancels {
            cache = cache.cancel_on_disconnect();
        }
        if settings.has_namespace {
            cache = cache.namespace("simulated");
        }
        let handle = cache.handle();
        let service = ServiceBuilder::new()
            .layer(LatencyLayer::new().recorder(Arc::clone(&recorded) as _))
            .layer(pressure)
            .layer(SecurityHeadersLayer::new())
            .layer(
                LimitLayer::new()
                    .default_body(MAX_UPLOAD)
                    .header_bytes(MAX_HEADER_BYTES)
                    .recorder(Arc::clone(&recorded) as _),
            )
            .layer(cache)
            .layer(
                CompressLayer::new()
                    .encodings([Encoding::Gzip, Encoding::Zstd])
                    .threshold(200)
                    .recorder(Arc::clone(&recorded) as _),
            )
            .layer(GlobalConcurrencyLimitLayer::with_semaphore(Arc::clone(&permits)))
            .service(Origin::new(shared));
        let stack = ServiceExt::<Request<Upload>>::map_response(service, boxed);
        let max_permits = settings.permits;
        let stack = BoxCloneService::new(stack);
        Self { stack, handle, tally: Arc::default(), short, permits, max_permits, recorded }
    }

    /// Returns what is left of requests that are over.
    pub(crate) fn leaks(&self) -> Vec<String> {
        let mut leaks = Vec::new();
        let mut check = |name: &str, found: u64, expected: u64| {
            if found != expected {
                leaks.push(format!("{name} at the end: {found}, not {expected}"));
            }
        };
        check("fetches in flight", self.handle.in_flight() as u64, 0);
        check("free permits", self.permits.available_permits() as u64, self.max_permits as u64);
        let in_flight = self.recorded.gauge("http_requests_in_flight");
        check("requests in flight", in_flight as u64, 0);
        let counts = self.tally.0.lock().unwrap();
        let total = self.recorded.counted("http_requests_total", |_| true);
        check("requests that were counted", total, counts.started);
        for (status, answered) in &counts.answered {
            let class = format!("{status}xx");
            let has = |key: &_| has_label(key, "status_class", &class);
            let counted = self.recorded.counted("http_requests_total", has);
            check(&format!("requests with a status of {class}"), counted, *answered);
        }
        let panics = self.recorded.counted("http_cache_panics_total", |_| true);
        check("panics", panics, 0);
        leaks
    }
}

impl Tally {
    pub(crate) fn started(&self) {
        self.0.lock().unwrap().started += 1;
    }

    pub(crate) fn answered(&self, status: StatusCode) {
        *self.0.lock().unwrap().answered.entry(status.as_u16() / 100).or_default() += 1;
    }
}
