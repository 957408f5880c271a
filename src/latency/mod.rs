//! Histograms of request durations, measured to the last byte of the response.
//!
//! [`LatencyLayer`] records how long the clients of an HTTP service wait, by route, status and
//! outcome, for any service of the `hyper` ecosystem. The metrics go through the
//! [`metrics`](https://docs.rs/metrics) facade, so they reach Prometheus, OpenTelemetry or any other
//! exporter.
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
//! A service without a router takes its route templates from the layer:
//!
//! ```
//! use tower_kit::latency::{LatencyLayer, MetricNames};
//!
//! # fn main() -> Result<(), tower_kit::latency::InvalidLabel> {
//! let layer = LatencyLayer::new()
//!     .metric_names(MetricNames::OpenTelemetry)
//!     .route_templates(["/", "/items", "/items/{id}", "/files/{*path}"])
//!     .request_label("tenant", |request| request.headers.get("x-tenant")?.to_str().ok())?
//!     .stream_if("ndjson", |route, _| route == "/items")
//!     .record_time_to_first_byte()
//!     .record_body_sizes();
//! # drop(layer);
//! # Ok(())
//! # }
//! ```
//!
//! # Behavior
//!
//! ## Duration
//!
//! The clock starts when the layer is called, and stops when the last byte of the response body is
//! handed to the server. The duration includes the time that the inner service takes to become
//! ready: see [Placement](#placement). [`stop_at_headers`](LatencyLayer::stop_at_headers) stops the
//! clock at the response headers instead. A request counts as in flight from the call to the last
//! byte.
//!
//! ## Outcome
//!
//! | `outcome` | meaning |
//! |---|---|
//! | `ok` | the response is complete, whatever its status |
//! | `service_error` | the inner service returned an error instead of a response |
//! | `timeout` | the inner service or the response body failed with a timeout |
//! | `body_error` | the response body failed, or was shorter or longer than its declared length |
//! | `disconnect` | the client disconnected before the response body was complete |
//! | `cancelled` | the client disconnected, or an outer layer gave up, before there was a response |
//! | `panic` | the inner service or the response body panicked |
//!
//! An error is a timeout if the error or one of its sources is `Elapsed` of `tower` or `tokio`, an
//! I/O error of the kind `TimedOut`, a timeout of hyper, or the timeout error of tower-http,
//! reqwest or tonic. The layer reads the sources of boxed errors and of the error types of axum 0.8,
//! hyper 1 and `std::io`, but not those of other types.
//!
//! ## Streams
//!
//! A stream lasts as long as its client stays connected. Its duration says nothing about latency,
//! and is recorded in a histogram of its own. Streams are:
//!
//! - event streams: responses with the status 200, the type `text/event-stream` and no declared
//!   length. Clients treat any other status as an error, so such a response is not a stream;
//! - upgrades: responses with the status 101, and 2xx responses to CONNECT, which starts a WebSocket
//!   over HTTP/2 (RFC 8441);
//! - responses that [`stream_if`](LatencyLayer::stream_if) declares, such as gRPC server streams,
//!   `ndjson` or `multipart/x-mixed-replace`.
//!
//! A stream counts as started and open once its headers are sent. When the stream ends, its duration
//! and outcome are recorded. The outcome of most event streams is `disconnect`. An upgraded
//! connection is no longer in flight, and stays open while its [`UpgradeGuard`] lives.
//!
//! ## Cardinality
//!
//! No request can add an unbounded number of time series. The route is a template, never the path.
//! The layer takes the first template that it finds in:
//!
//! 1. a [`Route`] in the extensions of the response;
//! 2. the callback [`route`](LatencyLayer::route);
//! 3. a [`Route`] in the extensions of the request;
//! 4. the [`route_templates`](LatencyLayer::route_templates) that match the path;
//! 5. axum's `MatchedPath` in the extensions of the request, with the feature `axum`.
//!
//! Once [`max_series`](LatencyLayer::max_series) sets of label values exist, new sets are reported
//! with the route `_overflow`, custom labels as `other`, and their own method, status and outcome.
//! `http_series_overflow_total` counts these requests. The layer never reads a path, a host or the
//! text of an error into a label.
//!
//! # Metrics
//!
//! | [`Prometheus`](MetricNames::Prometheus) | [`OpenTelemetry`](MetricNames::OpenTelemetry) | kind | recorded |
//! |---|---|---|---|
//! | `http_request_duration_seconds` | `http.server.request.duration` | histogram, s | always |
//! | `http_stream_duration_seconds` | `http.server.stream.duration` | histogram, s | always |
//! | `http_request_first_byte_seconds` | `http.server.request.first_byte` | histogram, s | [`record_time_to_first_byte`](LatencyLayer::record_time_to_first_byte) |
//! | `http_request_size_bytes` | `http.server.request.body.size` | histogram, bytes | [`record_body_sizes`](LatencyLayer::record_body_sizes) |
//! | `http_response_size_bytes` | `http.server.response.body.size` | histogram, bytes | [`record_body_sizes`](LatencyLayer::record_body_sizes) |
//! | `http_requests_in_flight` | `http.server.active_requests` | gauge | always |
//! | `http_open_streams` | `http.server.open_streams` | gauge | always |
//! | `http_requests_total` | `http.server.requests` | counter | always |
//! | `http_streams_total` | `http.server.streams` | counter | always |
//! | `http_series_overflow_total` | `http.server.series_overflow` | counter | always |
//!
//! Each response is in exactly one of the two duration histograms.
//!
//! | `Prometheus` | `OpenTelemetry` | values |
//! |---|---|---|
//! | `method` | `http.request.method` | methods registered at IANA and [`extra_methods`](LatencyLayer::extra_methods); `_OTHER` for all others |
//! | `route` | `http.route` | a template; `unmatched`, or left out under OpenTelemetry |
//! | `status_code` | `http.response.status_code` | left out if there was no response |
//! | `outcome` | `error.type` | an [outcome](#outcome); under OpenTelemetry only failures and the codes of 5xx responses |
//! | `grpc_status` | `rpc.grpc.status_code` | the status code of a gRPC response, `other` or `missing` |
//! | `kind` | `kind` | for streams: `event_stream`, `upgrade` or a declared kind |
//! | | `url.scheme` | `http`, `https` |
//! | | `network.protocol.version` | `1.0`, `1.1`, `2`, `3` |
//! | custom | custom | [`request_label`](LatencyLayer::request_label), [`response_label`](LatencyLayer::response_label) |
//!
//! `http_requests_total` counts ended requests and streams by `status_class` (`2xx` and so on, or
//! `none`) and `outcome`. Alerts should read this counter, because all of its label sets are
//! exported as 0 from the start, and Prometheus computes no increase for the first event of a
//! counter that starts with it. The layer also exports `http_open_streams`,
//! `http_series_overflow_total` and, under the Prometheus names, `http_streams_total` for GET and the
//! route templates as 0.
//!
//! # Defaults
//!
//! | setting | default | reason |
//! |---|---|---|
//! | names | `Prometheus` | most dashboards query these names |
//! | end of the duration | last byte | clients wait for the whole response |
//! | time to first byte, body sizes | off | each histogram is a dozen time series for each set of labels |
//! | maximum of label sets | 2,000 | the default of OpenTelemetry's SDKs; a service has a few hundred |
//! | maximum of values of a custom label | 100 | clients may choose the values |
//! | skipped requests | none | a health check is a request |
//!
//! # Exporters
//!
//! `metrics-exporter-prometheus` exports *summaries* unless it is given buckets, and summaries of
//! several processes cannot be added up. [`DURATION_BUCKETS`], [`STREAM_DURATION_BUCKETS`] and
//! [`BODY_SIZE_BUCKETS`] suit the three kinds of histograms:
//!
//! ```
//! use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
//! use tower_kit::latency::{
//!     BODY_SIZE_BUCKETS, DURATION_BUCKETS, MetricNames, STREAM_DURATION_BUCKETS,
//! };
//!
//! # fn main() -> Result<(), metrics_exporter_prometheus::BuildError> {
//! let names = MetricNames::Prometheus; // As in `LatencyLayer::metric_names`.
//! let mut builder = PrometheusBuilder::new();
//! for (names, buckets) in [
//!     (&names.durations()[..], &DURATION_BUCKETS[..]),
//!     (&names.stream_durations(), &STREAM_DURATION_BUCKETS),
//!     (&names.body_sizes(), &BODY_SIZE_BUCKETS),
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
//! The exporter keeps every sample (16 bytes) until its upkeep runs or `/metrics` is read. Call
//! `PrometheusHandle::run_upkeep` every few seconds.
//!
//! The layer may be built before the recorder is installed, and an exporter may expire idle metrics:
//! the layer registers its metrics again every ten seconds and sets gauges to absolute values. Two
//! layers on one recorder would overwrite each other's gauges, so clone one layer instead.
//!
//! # Placement
//!
//! The layer stands outermost, so that it records the responses of the other layers and the time
//! they take. axum inserts `MatchedPath` for layers added with `Router::layer`, but not for a layer
//! around the whole `Router`, which needs
//! [`route_templates`](LatencyLayer::route_templates).
//!
//! The service is always ready, so that the time in the queue of an inner `concurrency_limit` or
//! `buffer` is part of the duration. Two rules follow:
//!
//! - The inner service must be `Clone`. Put a `buffer` between this layer and a service that is not,
//!   such as `rate_limit`.
//! - Outer layers do not see that the inner service is busy. Put `load_shed` inside this layer,
//!   outside the limit: the layer then records its rejections.
//!
//! # What it does not do
//!
//! The layer changes no response, takes no lock, and allocates nothing for a known set of labels
//! unless the inner service is not ready. It adds an [`UpgradeGuard`] to the extensions of requests
//! that ask for an upgrade. It does not export the metrics, and it does not trace requests.

mod append_only_map;
mod body;
mod future;
mod in_flight;
mod labels;
mod layer;
mod methods;
mod names;
mod policy;
mod registrar;
mod registry;
mod request_totals;
mod route;
mod series;
mod service;
mod shared;
mod sync;
mod timeout;
mod upgrade;

pub use body::ResponseBody;
pub use future::ResponseFuture;
pub use labels::InvalidLabel;
pub use layer::LatencyLayer;
pub use names::{BODY_SIZE_BUCKETS, DURATION_BUCKETS, MetricNames, STREAM_DURATION_BUCKETS};
pub use route::Route;
pub use service::Latency;
pub use upgrade::UpgradeGuard;
