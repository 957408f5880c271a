//! Traces of an axum service, exported by OTLP: W3C `traceparent` in and out, a span per request.
//!
//! ```sh
//! docker run --rm -p 16686:16686 -p 4317:4317 jaegertracing/jaeger
//! cargo run -p example-tracing
//! curl -i http://127.0.0.1:3000/items/7
//! curl -i -H 'traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' http://127.0.0.1:3000/items/8
//! ```
//!
//! <http://127.0.0.1:16686> shows `GET /items/{id}`, below it the request to another service, and below
//! that the span of the other service. A second request for the same item has a span with nothing below
//! it, because the tracing layer stands outside the cache.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `ADDR` | the address to listen on | `127.0.0.1:3000` |
//! | `DOWNSTREAM` | the URL of the other service | this process |
//! | `OTEL_EXPORTER_OTLP_ENDPOINT` | the collector, by gRPC | `http://127.0.0.1:4317` |
//! | `OTEL_SERVICE_NAME` | the name of the service | `tower-kit-tracing` |
//! | `OTEL_TRACES_SAMPLER_ARG` | the share of the traces started here that is kept, 0 to 1 | `1` |
//! | `PUBLIC` | with `1`, each request starts a trace of its own, which links to the client's | |
//! | `RUST_LOG` | the level of the log on stderr, whose lines begin with the trace's id | `info` |
//!
//! Without `PUBLIC=1`, clients decide which of their traces are kept. Set it where strangers call:
//! otherwise a stranger can have every request recorded, or none.
//!
//! A span ends when the response body has been polled for the last time, which is when the server has
//! the last byte. Its event `answered` marks the response headers. A client that disconnects and a body
//! that fails end the span without an error, because `TraceLayer` goes by the headers. Query strings may
//! hold secrets and are left out. The facade `metrics` has no exemplars: to find the traces of a slow
//! bucket, search by route and time.
//!
//! A collector that is down does not slow requests. The exporter drops spans beyond its queue of 2,048.
//! Ctrl-C or SIGTERM stops the service: open requests have ten seconds to finish, and the exporter then
//! has three seconds to send its spans. For server timeouts, see the example `axum`.

use std::error::Error;
use std::fmt;
use std::io::{IsTerminal, stderr};
use std::time::Duration;

use axum::extract::{MatchedPath, Path, State};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::uri::{Authority, Scheme};
use http::{Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};
use tower_http::trace::TraceLayer;
use tower_kit::cache::MemoryStore;
use tower_kit::{CacheLayer, CompressLayer, LatencyLayer, LimitLayer, MIB, SecurityHeadersLayer};
use tracing::field::Empty as Later;
use tracing::{Event, Instrument, Span, Subscriber, info, info_span, warn};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// The state of the routes.
#[derive(Clone)]
struct App {
    client: Client<HttpConnector, Empty<Bytes>>,
    downstream: String,
}

/// Writes log lines with the ids of their span.
struct WithIds<F>(F);

/// HTTP headers as a carrier of OpenTelemetry.
struct Fields<H>(H);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let provider = provider()?;
    log_and_trace(&provider)?;
    let public = variable("PUBLIC", "") == "1";
    let addr = variable("ADDR", "127.0.0.1:3000");
    let listener = TcpListener::bind(&addr).await.map_err(|error| format!("{addr}: {error}"))?;
    let addr = listener.local_addr()?;
    let downstream = variable("DOWNSTREAM", &format!("http://{addr}"));

    let trace = TraceLayer::new_for_http()
        .make_span_with(move |request: &Request<_>| server_span(request, public))
        .on_response(answered)
        .on_failure(());
    let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build_http();
    let app = Router::new()
        .route("/items/{id}", get(item))
        .route("/prices/{id}", get(price))
        .layer((
            // Its numbers need a recorder: see the example `latency`.
            LatencyLayer::new().route(|request| request.extensions.get().map(MatchedPath::as_str)),
            trace,
            SecurityHeadersLayer::new(),
            LimitLayer::new(),
            CacheLayer::new(MemoryStore::new(64 * MIB)),
            CompressLayer::new(),
        ))
        .with_state(App { client, downstream });

    println!("listening on http://{addr}");
    let (stop, stopped) = (stop_signal()?, stop_signal()?);
    tokio::select! {
        served = axum::serve(listener, app).with_graceful_shutdown(stop) => served?,
        () = async { stopped.await; sleep(Duration::from_secs(10)).await } =>
            warn!("some requests were still open after ten seconds"),
    }
    let flush = move || provider.shutdown_with_timeout(Duration::from_secs(3));
    if let Err(error) = tokio::task::spawn_blocking(flush).await? {
        warn!(%error, "some spans may not have arrived");
    }
    Ok(())
}

/// Returns an item with its price, which another service knows. The cache keeps it for ten seconds.
async fn item(State(app): State<App>, Path(id): Path<u64>) -> axum::response::Response {
    match app.price(id).await {
        Ok((StatusCode::OK, price)) => {
            let price = String::from_utf8_lossy(&price);
            let item = Json(serde_json::json!({ "id": id, "price": price }));
            ([(CACHE_CONTROL, "max-age=10")], item).into_response()
        }
        Ok((StatusCode::NOT_FOUND, _)) => StatusCode::NOT_FOUND.into_response(),
        Ok((status, _)) => {
            warn!(status = status.as_u16(), "no price");
            StatusCode::BAD_GATEWAY.into_response()
        }
        Err(reason) => {
            warn!(reason, "no price");
            StatusCode::BAD_GATEWAY.into_response()
        }
    }
}

/// Returns the price of one of a thousand items, in the role of the other service.
async fn price(Path(id): Path<u64>) -> Result<String, StatusCode> {
    if id > 1_000 {
        return Err(StatusCode::NOT_FOUND);
    }
    Ok(format!("{}.50", id * 7_919 % 100))
}

impl App {
    /// Requests a price in a span of its own. The error is a value of `error.type`.
    async fn price(&self, id: u64) -> Result<(StatusCode, Bytes), &'static str> {
        let target = format!("{}/prices/{id}", self.downstream);
        let request = Request::get(target).body(Empty::new());
        let mut request = request.map_err(|_| "invalid_url")?;
        let span = client_span(request.uri());
        let propagator = TraceContextPropagator::new();
        propagator.inject_context(&span.context(), &mut Fields(request.headers_mut()));
        let asked = async {
            let response = self.client.request(request).await.map_err(|_| "connection")?;
            let status = response.status();
            record(&Span::current(), status);
            let body = Limited::new(response.into_body(), 1_024).collect().await;
            Ok((status, body.map_err(|_| "body_error")?.to_bytes()))
        };
        let asked = timeout(Duration::from_secs(2), asked.instrument(span.clone())).await;
        let answer = asked.unwrap_or(Err("timeout"));
        match &answer {
            Err(kind) => fail(&span, kind),
            // By the conventions, a 4xx is an error of the client span too.
            Ok((status, _)) if status.is_client_error() || status.is_server_error() => {
                fail(&span, status.as_str());
            }
            Ok(_) => {}
        }
        answer
    }
}

/// Creates the span of a request by OpenTelemetry's conventions for HTTP servers. Its name consists of
/// the route and a known method, so that the number of names is bounded.
fn server_span<B>(request: &Request<B>, public: bool) -> Span {
    let (uri, headers) = (request.uri(), request.headers());
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let (method, verb, original) = match request.method().as_str() {
        known @ ("CONNECT" | "DELETE" | "GET" | "HEAD" | "OPTIONS" | "PATCH" | "POST" | "PUT"
        | "TRACE") => (known, known, None),
        other => ("_OTHER", "HTTP", Some(other)),
    };
    let route = request.extensions().get().map(MatchedPath::as_str);
    let host = uri.authority().cloned();
    let host = host.or_else(|| text(HOST).and_then(|host| host.parse::<Authority>().ok()));
    let span = info_span!(
        "request",
        otel.name = route.map_or(verb.to_owned(), |route| format!("{verb} {route}")),
        otel.kind = "server",
        otel.status_code = Later,
        http.request.method = method,
        http.request.method_original = original,
        http.route = route,
        http.response.status_code = Later,
        network.protocol.version = if request.version() == Version::HTTP_2 { "2" } else { "1.1" },
        url.path = uri.path(),
        url.scheme = uri.scheme_str().unwrap_or("http"),
        server.address = host.as_ref().map(Authority::host),
        server.port = host.as_ref().and_then(Authority::port_u16).map(i64::from),
        user_agent.original = text(USER_AGENT),
        error.type = Later,
    );
    let parent = TraceContextPropagator::new().extract(&Fields(headers));
    if public {
        span.add_link(parent.span().span_context().clone());
    } else if let Err(error) = span.set_parent(parent) {
        warn!(%error, "the span has no parent");
    }
    span
}

fn client_span(uri: &Uri) -> Span {
    let default = if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    info_span!(
        "ask",
        otel.name = "GET",
        otel.kind = "client",
        otel.status_code = Later,
        http.request.method = "GET",
        http.response.status_code = Later,
        url.full = uri.to_string(),
        server.address = uri.host(),
        server.port = i64::from(uri.port_u16().unwrap_or(default)),
        error.type = Later,
    )
}

fn answered<B>(response: &Response<B>, latency: Duration, span: &Span) {
    let status = response.status();
    record(span, status);
    if status.is_server_error() {
        fail(span, status.as_str());
    }
    info!(status = status.as_u16(), ?latency, "answered");
}

fn record(span: &Span, status: StatusCode) {
    // An unsigned number would become text.
    span.record("http.response.status_code", i64::from(status.as_u16()));
}

fn fail(span: &Span, kind: &str) {
    span.record("error.type", kind);
    span.record("otel.status_code", "error");
}

impl Extractor for Fields<&HeaderMap> {
    fn get(&self, name: &str) -> Option<&str> {
        let mut lines = self.0.get_all(name).iter();
        let value = lines.next()?.to_str().ok()?;
        let usable = lines.next().is_none() && (name != "traceparent" || is_traceparent(value));
        usable.then_some(value)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

impl Injector for Fields<&mut HeaderMap> {
    fn set(&mut self, name: &str, value: String) {
        // A trace without a state has an empty one.
        if let (Ok(name), Ok(value), false) =
            (name.parse::<HeaderName>(), HeaderValue::try_from(&value), value.is_empty())
        {
            self.0.insert(name, value);
        }
    }
}

/// Returns `true` if the lengths and digits are right: the propagator accepts short ids and signs.
fn is_traceparent(value: &str) -> bool {
    let mut parts = value.split('-');
    let is_hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut is_part = |len| parts.next().is_some_and(|part| part.len() == len && is_hex(part));
    [2, 32, 16, 2].into_iter().all(&mut is_part)
        && (!value.starts_with("00") || parts.next().is_none())
}

/// Creates a provider that exports in the background, in batches, every five seconds. The exporter
/// reads its other settings from `OTEL_*`.
fn provider() -> Result<SdkTracerProvider, Box<dyn Error>> {
    let ratio = variable("OTEL_TRACES_SAMPLER_ARG", "1");
    let kept = ratio.parse().ok().filter(|kept| (0.0..=1.0).contains(kept));
    let kept = kept.ok_or(format!("OTEL_TRACES_SAMPLER_ARG={ratio}: has to be 0 to 1"))?;
    let name = variable("OTEL_SERVICE_NAME", "tower-kit-tracing");
    Ok(SdkTracerProvider::builder()
        .with_resource(Resource::builder().with_service_name(name).build())
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(kept))))
        .with_batch_exporter(SpanExporter::builder().with_tonic().build()?)
        .build())
}

/// Installs the log and the export of spans. `RUST_LOG` applies to the log alone.
fn log_and_trace(provider: &SdkTracerProvider) -> Result<(), Box<dyn Error>> {
    // Those of this program alone: the exporter's client has spans too.
    let ours = Targets::new().with_target(env!("CARGO_CRATE_NAME"), LevelFilter::INFO);
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("tower-kit"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(ours);
    let level = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .map_event_format(WithIds)
        .with_filter(level.from_env()?);
    Ok(tracing_subscriber::registry().with(spans).with(lines).try_init()?)
}

impl<S, N, F> FormatEvent<S, N> for WithIds<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let current = Context::current();
        let span = current.span();
        let ids = span.span_context();
        if ids.is_valid() {
            write!(writer, "trace_id={} span_id={} ", ids.trace_id(), ids.span_id())?;
        }
        self.0.format_event(context, writer, event)
    }
}

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// Completes at Ctrl-C or SIGTERM.
fn stop_signal() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
