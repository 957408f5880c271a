//! Histograms of how long clients waited, to the last byte of the response, for any service of
//! `hyper`. Numbers go through the [`metrics`](https://docs.rs/metrics) facade, so any exporter
//! takes them.
//!
//! ```
//! use axum::{Router, extract::MatchedPath, routing::get};
//! use tower_kit::LatencyLayer;
//!
//! let app: Router = Router::new().route("/items/{id}", get(|| async { "an item" })).layer(
//!     LatencyLayer::new()
//!         .route(|request| request.extensions.get().map(MatchedPath::as_str))
//!         .skip_if(|request| request.uri.path() == "/healthz"),
//! );
//! ```
//!
//! Without a router that knows its templates, give them:
//!
//! ```
//! use tower_kit::latency::{LatencyLayer, Names};
//!
//! # fn main() -> Result<(), tower_kit::latency::InvalidLabel> {
//! let layer = LatencyLayer::new()
//!     .names(Names::OpenTelemetry)
//!     .routes(["/", "/items", "/items/{id}", "/files/{*path}"])
//!     .request_label("tenant", |request| request.headers.get("x-tenant")?.to_str().ok())?
//!     .stream("ndjson", |route, _| route == "/items")
//!     .first_byte()
//!     .sizes();
//! # drop(layer);
//! # Ok(())
//! # }
//! ```
//!
//! # Metrics
//!
//! | [`Names::Prometheus`] | [`Names::OpenTelemetry`] | kind | on |
//! |---|---|---|---|
//! | `http_request_duration_seconds` | `http.server.request.duration` | histogram, s | always |
//! | `http_stream_duration_seconds` | `http.server.stream.duration` | histogram, s | always |
//! | `http_request_first_byte_seconds` | `http.server.request.first_byte` | histogram, s | [`first_byte`](LatencyLayer::first_byte) |
//! | `http_request_size_bytes` | `http.server.request.body.size` | histogram, bytes | [`sizes`](LatencyLayer::sizes) |
//! | `http_response_size_bytes` | `http.server.response.body.size` | histogram, bytes | [`sizes`](LatencyLayer::sizes) |
//! | `http_requests_in_flight` | `http.server.active_requests` | gauge | always |
//! | `http_open_streams` | `http.server.open_streams` | gauge | always |
//! | `http_requests_total` | `http.server.requests` | counter | always |
//! | `http_streams_total` | `http.server.streams` | counter | always |
//! | `http_series_overflow_total` | `http.server.series_overflow` | counter | always |
//!
//! The duration is the time from the call of this layer to the *last byte* of the response body,
//! as it is handed to the server; [`until_first_byte`](LatencyLayer::until_first_byte) ends it
//! with the head. Each response is in exactly one of the histograms of durations: that of
//! requests, or that of streams.
//!
//! The clock starts with the call, and the wait for the inner service is a part of the duration:
//! see [Placement](#placement). The gauge counts requests, from the call to the last byte.
//!
//! The request size is the declared one (`content-length`, or the exact length that the body
//! states): a chunked request body is not counted, since that would change its type for the
//! service. The response size is what was handed to the server.
//!
//! `http_requests_total` counts requests that have ended, streams among them, by two labels alone:
//! `status_class` (`2xx` and so on, or `none`) and `outcome`. All its sets of labels, those of
//! `http_open_streams`, and the counters without labels are exported as 0 as soon as a service is
//! stacked under the layer, or at the first request where the recorder was installed later. Alerts
//! should read these counters: Prometheus computes no increase for the first event of a counter that
//! begins with it. Under the names of Prometheus, `http_streams_total` begins at 0 for GET and the
//! templates of [`routes`](LatencyLayer::routes).
//!
//! # Labels
//!
//! | `Prometheus` | `OpenTelemetry` | values |
//! |---|---|---|
//! | `method` | `http.request.method` | registered at IANA, or named by [`methods`](LatencyLayer::methods); any other is `_OTHER` |
//! | `route` | `http.route` | a template; `unmatched`, or left out under OpenTelemetry |
//! | `status_code` | `http.response.status_code` | left out where there was no response |
//! | `outcome` | `error.type` | below; under OpenTelemetry only what failed, and the code of a 5xx |
//! | `grpc_status` | `rpc.grpc.status_code` | where the response is gRPC: its code, `other`, or `missing` |
//! | `kind` | `kind` | of streams: `event_stream`, `upgrade`, or what [`stream`](LatencyLayer::stream) declares |
//! | | `url.scheme` | `http`, `https` |
//! | | `network.protocol.version` | `1.0`, `1.1`, `2`, `3` |
//! | yours | yours | [`request_label`](LatencyLayer::request_label), [`response_label`](LatencyLayer::response_label) |
//!
//! | `outcome` | how the request ended |
//! |---|---|
//! | `ok` | the response is complete, whatever its status |
//! | `service_error` | the service failed, so there was no response |
//! | `timeout` | the service or the body failed for want of time |
//! | `body_error` | the response body failed, or was shorter or longer than its declared length |
//! | `disconnect` | the client left before the response body was complete |
//! | `cancelled` | the client left, or an outer layer gave up, before there was a response |
//! | `panic` | the service or the body panicked |
//!
//! An error is a timeout if it, or a source of it, is `Elapsed` of `tower` or `tokio`, an I/O error
//! of the kind `TimedOut`, a timeout of hyper, or that of tower-http, reqwest or tonic. The layer
//! reads the sources of boxed errors, and of the error types of axum 0.8, hyper 1 and `std::io`;
//! it cannot read those of other types.
//!
//! Labels cannot explode. A route is a template, never the path: the first there is of
//!
//! 1. a [`Route`] among the extensions of the response,
//! 2. what [`route`](LatencyLayer::route) finds,
//! 3. a [`Route`] among the extensions of the request,
//! 4. the template of [`routes`](LatencyLayer::routes) that matches the path,
//! 5. with the feature `axum`, axum's `MatchedPath` among the extensions of the request.
//!
//! After [`max_series`](LatencyLayer::max_series) sets of labels, the route of new ones is
//! `_overflow`, and each value of your labels is `other`; status, outcome and method stay what they
//! are. Each such request counts on `http_series_overflow_total`.
//!
//! # Streams
//!
//! A stream lasts as long as its client likes: its lifetime would poison the percentiles of
//! requests, and has a histogram of its own. Streams are
//!
//! - event streams: responses of the status 200 with the type `text/event-stream`, and without a
//!   declared length. With any other status (429, 503) such a response is one like any other, since
//!   that is what it is to its client;
//! - upgrades: a 101, or a 2xx to CONNECT, which on HTTP/2 is how a WebSocket begins (RFC 8441);
//! - what [`stream`](LatencyLayer::stream) declares, such as gRPC server streams, `ndjson` or
//!   `multipart/x-mixed-replace`.
//!
//! A stream counts on `http_streams_total` and `http_open_streams` from its head on, and its time to
//! the first byte is recorded then. When it ends, its lifetime is recorded with its outcome, which
//! for most event streams is `disconnect`. An upgrade leaves the requests in flight with its head,
//! and is open while its [`UpgradeGuard`] lives.
//!
//! # Defaults
//!
//! | what | default | why |
//! |---|---|---|
//! | names | `Prometheus` | what most dashboards query |
//! | duration until | the last byte | that is what a client waits for |
//! | first byte, sizes | off | each histogram is a dozen time series per set of labels |
//! | sets of labels | at most 2,000 | what OpenTelemetry's SDKs allow; a service has a few hundred |
//! | values of a label of yours | at most 100 | clients may choose them |
//! | skipped | nothing | a health check is a request too |
//!
//! # The exporter
//!
//! `metrics-exporter-prometheus` exports a *summary* unless it is given buckets, and summaries of
//! several processes cannot be added up. It also keeps every sample (16 bytes) until its upkeep
//! runs or `/metrics` is asked for: call `PrometheusHandle::run_upkeep` every few seconds.
//!
//! ```
//! use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
//! use tower_kit::latency::{DURATION_BUCKETS, LIFETIME_BUCKETS, Names, SIZE_BUCKETS};
//!
//! # fn main() -> Result<(), metrics_exporter_prometheus::BuildError> {
//! let names = Names::Prometheus; // Or that of `LatencyLayer::names`.
//! let mut builder = PrometheusBuilder::new();
//! for (names, buckets) in [
//!     (&names.durations()[..], &DURATION_BUCKETS[..]),
//!     (&names.lifetimes(), &LIFETIME_BUCKETS),
//!     (&names.sizes(), &SIZE_BUCKETS),
//! ] {
//!     for name in names {
//!         builder = builder.set_buckets_for_metric(Matcher::Full((*name).into()), buckets)?;
//!     }
//! }
//! let recorder = builder.build_recorder();
//! # drop(recorder);
//! # Ok(())
//! # }
//! ```
//!
//! For native histograms, which have no buckets to choose, give `set_native_histogram_for_metric`
//! the same matchers. The exporter, from 0.18 on, sends them in the Protobuf format alone: turn on
//! its feature `protobuf`, and `native-histograms` in Prometheus. In the text format these
//! histograms are missing.
//!
//! The layer may be built before the recorder is installed, and an exporter may expire idle
//! metrics: handles are registered again every ten seconds, and gauges are set, not incremented.
//! So a recorder has one layer: clone it, instead of making a second one.
//!
//! # Placement
//!
//! Outermost, so that what the other layers answer and take counts too. With axum, `MatchedPath` is
//! there for layers that are added with `Router::layer`, not for one around the whole `Router`: use
//! [`routes`](LatencyLayer::routes) there. The feature `axum` takes it from the extensions.
//!
//! The service is always ready. A request exists from the call on, so the clock starts there, and
//! the inner service is waited for by the response's future, with a clone in its place: its time
//! in the queue of a `concurrency_limit` or a `buffer` is measured, however the layers are stacked.
//! With axum, that is the same for layers in one `ServiceBuilder` or tuple as for separate calls
//! of `Router::layer`, where each `Router` is always ready anyway. Two things follow:
//!
//! - The inner service has to be `Clone`. What is not, such as `rate_limit`, goes behind a `buffer`
//!   inside of this layer.
//! - Layers outside do not see that the inner service is busy. Put `load_shed` *inside*, between
//!   this layer and the limit, where it sheds as before and its refusals are recorded; outside it
//!   would never shed.
//!
//! # What it does not do
//!
//! It changes no response, takes no lock, and allocates nothing for a set of labels that it has
//! seen, but while a request waits for the inner service. It adds an [`UpgradeGuard`] to the
//! extensions of requests that ask for an upgrade. It never reads the path, the host or an error's
//! text into a label.

mod body;
mod errors;
mod future;
mod grow;
mod labels;
mod layer;
mod methods;
mod names;
mod policy;
mod register;
mod series;
mod service;
mod shared;
mod sync;
mod totals;
mod upgrade;
mod watch;

pub use body::ResponseBody;
pub use future::ResponseFuture;
pub use labels::InvalidLabel;
pub use layer::LatencyLayer;
pub use names::{DURATION_BUCKETS, LIFETIME_BUCKETS, Names, SIZE_BUCKETS};
pub use policy::Route;
pub use service::Latency;
pub use upgrade::UpgradeGuard;
