//! Load shedding under memory pressure.
//!
//! [`PressureLayer`] compares memory usage with the limit of the container or machine. When memory
//! gets short, the layer calls callbacks that free memory; when it gets critical, the layer also
//! rejects requests with 503, before the kernel kills the process.
//!
//! ```
//! use tower::ServiceBuilder;
//! use tower_kit::PressureLayer;
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use http_body_util::Full;
//! # async fn handler(_: Request<Full<Bytes>>)
//! #     -> Result<Response<Full<Bytes>>, std::convert::Infallible> { Ok(Response::default()) }
//!
//! let service = ServiceBuilder::new().layer(PressureLayer::new()).service_fn(handler);
//! # let _ = tower::ServiceExt::oneshot(service, Request::new(Full::default()));
//! ```
//!
//! A callback can shrink a cache, and requests can have priorities:
//!
//! ```
//! # #[cfg(not(feature = "cache"))]
//! # fn main() {}
//! # #[cfg(feature = "cache")]
//! # fn main() -> Result<(), tower_kit::pressure::InvalidThresholds> {
//! use tower_kit::MIB;
//! use tower_kit::cache::{CacheLayer, MemoryStore};
//! use tower_kit::pressure::{Level, PressureLayer, Priority};
//!
//! let store = MemoryStore::new(256 * MIB);
//! let cache = CacheLayer::new(store.clone());
//! let pressure = PressureLayer::new()
//!     .thresholds(0.70, 0.85)?
//!     .on_pressure(move |event| match event.level() {
//!         Level::Normal => {}
//!         Level::High => store.shrink_to(64 * MIB),
//!         _ => store.shrink_to(0),
//!     })
//!     .skip_paths(["/checkout"])
//!     .priority(|request| match request.uri.path() {
//!         "/reports" => Priority::Low,
//!         _ => Priority::Normal,
//!     });
//! # drop((cache, pressure));
//! # Ok(())
//! # }
//! ```
//!
//! # Behavior
//!
//! ## Levels
//!
//! | usage | level | callbacks | requests shed |
//! |---|---|---|---|
//! | from 80% | [`Level::High`] | called once | those of [`Priority::Low`], by default only prefetches |
//! | from 90% | [`Level::Critical`] | called, and again after each shedding period | all but [exempt](#exempt-paths) ones |
//!
//! A level ends 5 percentage points below its threshold, so that it does not flap. Callbacks are
//! called then too: [`Level::Normal`] means that the pressure is over.
//!
//! Browsers mark prefetches with [`sec-purpose`], and repeat a rejected one when the user follows the
//! link.
//!
//! [`sec-purpose`]: https://fetch.spec.whatwg.org/#sec-purpose-header
//!
//! ## Shedding periods
//!
//! Requests are shed for ten seconds, then admitted for ten seconds, in turn, for as long as the level
//! lasts. Shedding until usage falls could last forever, because the allocator may keep memory that
//! the process has freed. [`shed_duration`](PressureLayer::shed_duration) lists settings of common
//! allocators.
//!
//! A shedding period starts at once when the level rises, or when usage grows by 2 percentage points
//! within an admitting period. It ends at once when the level falls below the one that sheds the
//! request.
//!
//! ## Memory usage
//!
//! Usage on Linux is the highest of these ratios: the memory of each control group of the process to
//! its limit, and the memory of the process to that of the machine or to
//! [`memory_limit`](PressureLayer::memory_limit). Memory that the kernel can reclaim does not count.
//! On other systems the layer sees the process and the machine only. [`MemoryUsage`] has the details,
//! [`PressureLayer::memory_usage`] returns a reading, and [`PressureLayer::memory_source`] replaces
//! them.
//!
//! ## Readings
//!
//! The first request after the [`interval`](PressureLayer::interval) reads memory, and others do not
//! wait for it. While no requests come, nothing is read, unless the application polls
//! [`PressureLayer::watch`]. A failed reading is counted and leaves the level as it is; a shedding
//! period still ends, and no other one starts before a reading succeeds.
//!
//! ## Responses
//!
//! A shed request gets 503 Service Unavailable with `retry-after: 10` (the length of a shedding
//! period) and `cache-control: no-store`. The body is a line of `text/plain`, or
//! `application/problem+json` (RFC 9457) if the `accept` header names JSON or with
//! [`PressureLayer::problem_json`]; neither mentions memory. [`PressureLayer::response`] replaces the
//! response.
//!
//! A gRPC call gets 200 with `grpc-status: 14` (`UNAVAILABLE`), `grpc-message` and
//! `grpc-retry-pushback-ms`, because clients such as tonic's turn a 503 with a body into `INTERNAL`,
//! which they do not retry.
//!
//! The layer responds at once and drains the rest of the request body in the background: up to 8 MiB,
//! for up to 5 seconds, and for up to 256 requests at a time. A client that sends its whole body
//! first thus sees the 503 and keeps its connection. If the layer knows that it cannot drain the
//! body, the response on HTTP/1 has `connection: close`.
//!
//! ## Exempt paths
//!
//! Requests for these paths are never shed. [`skip_paths`](PressureLayer::skip_paths) adds paths,
//! [`skip_only_paths`](PressureLayer::skip_only_paths) replaces them, and
//! [`skip_if`](PressureLayer::skip_if) exempts by the request head.
//!
//! | client | paths |
//! |---|---|
//! | Kubernetes, load balancers | `/health`, `/healthz`, `/livez`, `/readyz`, `/startupz`, `/live`, `/ready`, `/liveness`, `/readiness`, `/startup`, `/healthcheck`, `/health_check`, `/health-check`, `/_health`, `/_healthz`, `/api/health`, `/api/healthz`, `/ping` |
//! | Spring Boot | `/actuator/health/**` |
//! | Quarkus | `/q/health/**` |
//! | .NET, Micronaut, MicroProfile | `/health/live`, `/health/liveness`, `/health/ready`, `/health/readiness`, `/health/started`, `/health/startup`, `/alive` |
//! | Rails | `/up` |
//! | Prometheus | `/-/healthy`, `/-/ready`, `/-/live` |
//! | gRPC | `/grpc.health.v1.Health/**` |
//! | metrics | `/metrics`, `/-/metrics`, `/q/metrics`, `/actuator/prometheus` |
//!
//! # Metrics
//!
//! | name | kind | value |
//! |---|---|---|
//! | `process_memory_usage_ratio` | gauge | usage as a fraction of the limit, at the last reading |
//! | `http_requests_rejected_total{layer="pressure", reason}` | counter | shed requests; `reason` is `memory_high` or `memory_critical` |
//! | `http_request_drains_total{layer="pressure", outcome}` | counter | drained request bodies; `outcome` is `complete`, `too_large`, `timed_out`, `failed`, or `skipped` (256 others) |
//! | `process_memory_errors_total{operation}` | counter | failed readings (`read`) and panics of callbacks (`handler`) |
//!
//! # Defaults
//!
//! | setting | default | reason |
//! |---|---|---|
//! | [`thresholds`](PressureLayer::thresholds) | 80% and 90% | callbacks get a chance before requests are lost; the rest is for requests in progress |
//! | [`interval`](PressureLayer::interval) | 1 s | memory can fill up within seconds, and a reading is cheap |
//! | [`shed_duration`](PressureLayer::shed_duration) | 10 s | long enough for requests in progress to end, short enough for clients to wait |
//! | [`skip_paths`](PressureLayer::skip_paths) | probes, metrics | a failed liveness probe restarts the process and loses all requests in progress |
//! | [`priority`](PressureLayer::priority) | [`Priority::Normal`] | the layer cannot know which requests matter less; prefetches are [`Priority::Low`] |
//! | [`memory_limit`](PressureLayer::memory_limit) | none | the limits of the system apply |
//!
//! # Placement
//!
//! Inside of `latency`, outside of all other layers: a shed request should cost next to nothing. The
//! layer decides when it is called, after the inner service is ready. A request that waits for a
//! `concurrency_limit` inside is therefore judged when its turn comes.
//!
//! # What it does not do
//!
//! The layer starts no task or thread except to drain bodies, frees no memory itself, and never
//! interrupts an admitted request. It takes no lock and does not allocate for an admitted request,
//! unless the request reads memory.

mod event;
mod exempt;
mod layer;
mod memory;
mod monitor;
mod policy;
mod rejection;
mod service;
mod state;

pub use crate::body::ResponseBody;
pub use event::PressureEvent;
pub use layer::PressureLayer;
pub use memory::MemoryUsage;
pub use policy::{InvalidThresholds, Level, Priority};
pub use rejection::PressureRejection;
pub use service::{Pressure, ResponseFuture};
