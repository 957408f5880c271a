pub(crate) mod control_group;
mod groups;
mod speculative;

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Version};
use http_body::{Body, SizeHint};
use http_body_util::{BodyExt, Empty, Full};
use tokio::time::advance;
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_kit::pressure::{Level, Pressure, PressureLayer, Priority, MemoryUsage, ResponseBody};
use tower_test::mock;

mod drain;
mod exempt;

use crate::support::{
    BoxError, Metrics, Scripted, Server, Step, data, empty, full, h1_client, h2_client, now,
    poll_once, soon, text, trailers,
};

type Answer = Response<ResponseBody<Full<Bytes>>>;

const RATIO: &str = "process_memory_usage_ratio";
const REJECTED: &str = "http_requests_rejected_total";
const ERRORS: &str = "process_memory_errors_total";

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Memory of which a test says how full it is, and which counts how often it is read.
#[derive(Clone, Debug)]
struct Memory {
    per_mille: Arc<AtomicU64>,
    reads: Arc<AtomicUsize>,
}

/// Stands for memory that cannot be read.
const BROKEN: u64 = u64::MAX;

impl Memory {
    fn new(per_mille: u64) -> Self {
        Self { per_mille: Arc::new(AtomicU64::new(per_mille)), reads: Arc::default() }
    }

    fn layer(&self) -> PressureLayer {
        let memory = self.clone();
        PressureLayer::new().memory_source(move || {
            memory.reads.fetch_add(1, Ordering::SeqCst);
            match memory.per_mille.load(Ordering::SeqCst) {
                BROKEN => Err(io::Error::other("broken")),
                per_mille => Ok(MemoryUsage::new(per_mille, 1_000)),
            }
        })
    }

    fn set(&self, per_mille: u64) {
        self.per_mille.store(per_mille, Ordering::SeqCst);
    }

    fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }
}

async fn hello<B>(_: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("hello")))
}

async fn ask<B: Body + Send + 'static>(layer: &PressureLayer, request: Request<B>) -> Answer {
    layer.layer(service_fn(hello::<B>)).oneshot(request).await.unwrap()
}

async fn get(layer: &PressureLayer, path: &str) -> u16 {
    ask(layer, Request::get(path).body(empty()).unwrap()).await.status().as_u16()
}

/// A layer whose handler writes down the levels before and after, and the reading.
fn told(layer: PressureLayer) -> (PressureLayer, impl Fn() -> Vec<(Level, Level, u64)>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let write = Arc::clone(&told);
    let layer = layer.on_pressure(move |event| {
        write.lock().unwrap().push((event.previous(), event.level(), event.memory_usage().used()));
    });
    (layer, move || std::mem::take(&mut *told.lock().unwrap()))
}

// When memory is read.

#[tokio::test(start_paused = true)]
async fn memory_is_read_once_an_interval_by_a_request_and_not_before_the_first_one() {
    let memory = Memory::new(500);
    let layer = memory.layer();
    assert_eq!(memory.reads(), 0);
    for seconds in 1..4 {
        for _ in 0..100 {
            assert_eq!(get(&layer, "/").await, 200);
        }
        assert_eq!(memory.reads(), seconds);
        advance(SECOND - MILLISECOND).await;
        assert_eq!(get(&layer, "/").await, 200);
        assert_eq!(memory.reads(), seconds, "a millisecond before it is time");
        advance(MILLISECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_interval_is_the_users_but_not_nothing() {
    let memory = Memory::new(500);
    let minute = memory.layer().interval(60 * SECOND);
    let never = memory.layer().interval(Duration::MAX);
    let always = memory.layer().interval(Duration::ZERO);
    for layer in [&minute, &never, &always] {
        assert_eq!(get(layer, "/").await, 200);
    }
    assert_eq!(memory.reads(), 3);
    advance(59 * SECOND).await;
    assert_eq!(get(&minute, "/").await, 200);
    assert_eq!(memory.reads(), 3);
    advance(SECOND).await;
    assert_eq!(get(&minute, "/").await, 200);
    assert_eq!(memory.reads(), 4);
    advance(1_000_000 * SECOND).await;
    assert_eq!(get(&never, "/").await, 200);
    assert_eq!(memory.reads(), 4);
    for _ in 0..100 {
        assert_eq!(get(&always, "/").await, 200);
    }
    assert_eq!(memory.reads(), 5);
    advance(10 * MILLISECOND).await;
    assert_eq!(get(&always, "/").await, 200);
    assert_eq!(memory.reads(), 6);
}

#[test]
fn of_requests_at_the_same_time_one_reads() {
    let memory = Memory::new(500);
    let layer = memory.layer().interval(3_600 * SECOND);
    let barrier = Barrier::new(8);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut service = layer.layer(service_fn(hello));
                barrier.wait();
                for _ in 0..1_000 {
                    let request = Request::new(empty());
                    assert_eq!(now(service.call(request)).unwrap().status(), 200);
                }
            });
        }
    });
    assert_eq!(memory.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn requests_go_on_while_one_reads_and_nobody_reads_beside_it() {
    let reads = Arc::new(AtomicUsize::new(0));
    let own = Arc::new(Mutex::new(None));
    let (count, used) = (Arc::clone(&reads), Arc::clone(&own));
    // A reading that takes more than one interval, while requests come.
    let layer = PressureLayer::new().memory_source(move || {
        count.fetch_add(1, Ordering::SeqCst);
        let layer = used.lock().unwrap().take();
        while_called(layer.as_ref(), 3 * SECOND, 200);
        Ok(MemoryUsage::new(95, 100))
    });
    *own.lock().unwrap() = Some(layer.clone());
    assert_eq!(get(&layer, "/").await, 503);
    assert_eq!(reads.load(Ordering::SeqCst), 1);
}

/// What happens in the middle of a call of a source or a handler: requests, and time that passes.
fn while_called(layer: Option<&PressureLayer>, time: Duration, expected: u16) {
    let Some(layer) = layer else { return };
    for _ in 0..3 {
        assert_eq!(now(get(layer, "/")), expected);
        // Time has passed once it is polled.
        assert!(poll_once(pin!(advance(time / 3))).is_pending());
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_reads_where_no_requests_come_and_shares_the_interval_with_those_that_do() {
    let memory = Memory::new(500);
    let (layer, told) = told(memory.layer());
    let mut watch = pin!(layer.watch());
    assert_eq!(memory.reads(), 0, "it is a future, not a task");
    let mut wait = async |time| {
        let waited = tokio::time::timeout(time, watch.as_mut()).await;
        assert!(waited.is_err(), "it watches for ever");
    };
    wait(SECOND / 2).await;
    assert_eq!(memory.reads(), 1);
    wait(10 * SECOND).await;
    assert_eq!(memory.reads(), 11);
    memory.set(850);
    wait(SECOND).await;
    assert_eq!(told(), [(Level::Normal, Level::High, 850)]);
    let reads = memory.reads();
    advance(SECOND).await;
    assert_eq!(get(&layer, "/").await, 200);
    assert_eq!(memory.reads(), reads + 1);
    wait(SECOND / 10).await;
    assert_eq!(memory.reads(), reads + 1, "the request has read already");
    // What a watch has seen, requests know.
    memory.set(950);
    wait(SECOND).await;
    let reads = memory.reads();
    assert_eq!(get(&layer, "/").await, 503);
    assert_eq!(memory.reads(), reads);
}

#[tokio::test(start_paused = true)]
async fn clones_services_and_their_clones_share_the_readings() {
    let memory = Memory::new(950);
    let layer = memory.layer();
    let service = layer.clone().layer(service_fn(hello));
    for service in [service.clone(), service, layer.layer(service_fn(hello))] {
        let response = service.oneshot(Request::new(empty())).await.unwrap();
        assert_eq!(response.status(), 503);
    }
    assert_eq!(memory.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn two_apps_in_a_process_share_nothing() {
    let (full, free) = (Memory::new(950), Memory::new(100));
    let metrics = [Metrics::new(), Metrics::new()];
    let full = full.layer().recorder(metrics[0].recorder());
    let free = free.layer().recorder(metrics[1].recorder());
    assert_eq!((get(&full, "/").await, get(&free, "/").await), (503, 200));
    assert_eq!((metrics[0].gauge(RATIO), metrics[1].gauge(RATIO)), (0.95, 0.1));
    assert_eq!((metrics[0].counted(REJECTED, &[]), metrics[1].counted(REJECTED, &[])), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn changing_a_clone_of_a_layer_leaves_the_other_as_it_was() {
    let memory = Memory::new(950);
    let layer = memory.layer();
    let other = layer.clone().shed_duration(Duration::ZERO);
    assert_eq!((get(&layer, "/").await, get(&other, "/").await), (503, 200));
}

// Levels and periods.

#[tokio::test(start_paused = true)]
async fn critical_memory_is_shed_for_until_it_falls() {
    let memory = Memory::new(899);
    let (layer, told) = told(memory.layer());
    assert_eq!(get(&layer, "/").await, 200);
    assert_eq!(told(), [(Level::Normal, Level::High, 899)]);
    memory.set(900);
    assert_eq!(get(&layer, "/").await, 200, "it is not known yet");
    advance(SECOND).await;
    assert_eq!(get(&layer, "/").await, 503, "the request that reads is shed already");
    memory.set(851);
    advance(SECOND).await;
    assert_eq!(get(&layer, "/").await, 503);
    memory.set(849);
    advance(SECOND).await;
    assert_eq!(get(&layer, "/").await, 200);
    memory.set(500);
    advance(SECOND).await;
    assert_eq!(get(&layer, "/").await, 200);
    let levels = [(Level::High, Level::Critical, 900), (Level::Critical, Level::High, 849)];
    assert_eq!(told(), [levels[0], levels[1], (Level::High, Level::Normal, 500)]);
}

#[tokio::test(start_paused = true)]
async fn memory_that_stays_critical_lets_requests_in_half_of_the_time() {
    let memory = Memory::new(950);
    // Read far less often than requests are let in: the end of a period is kept all the same.
    for interval in [SECOND, 3_600 * SECOND] {
        let (layer, told) = told(memory.layer().interval(interval).shed_duration(5 * SECOND));
        let mut let_in = Vec::new();
        for _ in 0..20 {
            let_in.push(get(&layer, "/").await == 200);
            advance(SECOND).await;
        }
        let (shed, admitted) = ([false; 5], [true; 5]);
        assert_eq!(let_in, [shed, admitted, shed, admitted].concat(), "{interval:?}");
        let again = (Level::Critical, Level::Critical, 950);
        assert_eq!(told(), [(Level::Normal, Level::Critical, 950), again, again]);
    }
}

#[tokio::test(start_paused = true)]
async fn memory_that_grows_while_requests_are_let_in_ends_that() {
    let memory = Memory::new(910);
    let layer = memory.layer();
    assert_eq!(get(&layer, "/").await, 503);
    advance(10 * SECOND).await;
    assert_eq!(get(&layer, "/").await, 200);
    memory.set(925);
    advance(SECOND).await;
    assert_eq!(get(&layer, "/").await, 200);
    memory.set(931);
    advance(SECOND).await;
    assert_eq!(get(&layer, "/").await, 503);
}

#[tokio::test(start_paused = true)]
async fn shedding_ends_even_where_a_handler_does_not() {
    let own = Arc::new(Mutex::new(None));
    let used = Arc::clone(&own);
    let metrics = Metrics::new();
    let layer = Memory::new(950).layer().recorder(metrics.recorder()).on_pressure(move |_| {
        let layer = used.lock().unwrap().take();
        while_called(layer.as_ref(), 12 * SECOND, 503);
        while_called(layer.as_ref(), 90 * SECOND, 200);
    });
    *own.lock().unwrap() = Some(layer.clone());
    // The one that calls the handler is judged as of when it came.
    assert_eq!(get(&layer, "/").await, 503);
    assert_eq!(get(&layer, "/").await, 200);
    assert_eq!(metrics.counted(ERRORS, &[]), 0, "no assertion of the handler failed");
}

#[tokio::test(start_paused = true)]
async fn thresholds_are_the_users() {
    let memory = Memory::new(550);
    let (layer, told) = told(memory.layer().thresholds(0.5, 0.6).unwrap());
    assert_eq!(get(&layer, "/").await, 200);
    memory.set(600);
    advance(SECOND).await;
    assert_eq!(get(&layer, "/").await, 503);
    let levels = [(Level::Normal, Level::High, 550), (Level::High, Level::Critical, 600)];
    assert_eq!(told(), levels);
    let error = PressureLayer::new().thresholds(0.9, 0.8).unwrap_err();
    assert_eq!(error.to_string(), "thresholds of 0.9 and 0.8 are not 0 < high <= critical <= 1");
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_the_users_counts_where_it_is_lower() {
    let memory = Memory::new(500);
    for (limit, expected) in [(0, 1_000), (510, 510), (5_000, 1_000)] {
        let layer = memory.layer().limit(limit);
        assert_eq!(layer.memory_usage().unwrap(), MemoryUsage::new(500, expected), "{limit}");
        assert_eq!(get(&layer, "/").await, if expected == 510 { 503 } else { 200 });
    }
}

#[tokio::test(start_paused = true)]
async fn a_reading_that_fails_is_counted_and_is_no_pressure() {
    let memory = Memory::new(BROKEN);
    let metrics = Metrics::new();
    let (layer, told) = told(memory.layer().recorder(metrics.recorder()));
    assert_eq!(layer.memory_usage().unwrap_err().to_string(), "broken");
    assert_eq!(get(&layer, "/").await, 200);
    assert_eq!(metrics.counted(ERRORS, &[("operation", "read")]), 1);
    assert!(metrics.gauges(RATIO).is_empty(), "it is not known");
    assert!(format!("{layer:?}").contains("failed_readings: 1"), "{layer:?}");
    memory.set(950);
    advance(SECOND).await;
    assert_eq!(get(&layer, "/").await, 503);
    memory.set(BROKEN);
    for (seconds, expected) in [(1, 503), (8, 503), (1, 200), (10, 200), (100, 200)] {
        advance(seconds * SECOND).await;
        assert_eq!(get(&layer, "/").await, expected);
    }
    assert_eq!(told(), [(Level::Normal, Level::Critical, 950)]);
    memory.set(950);
    advance(SECOND).await;
    assert_eq!(get(&layer, "/").await, 503);
    assert!(format!("{layer:?}").contains("level: Critical"), "{layer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_is_one_that_fails() {
    let metrics = Metrics::new();
    let layer = PressureLayer::new().recorder(metrics.recorder()).memory_source(|| panic!("no reading"));
    for _ in 0..3 {
        assert_eq!(get(&layer, "/").await, 200);
        advance(SECOND).await;
    }
    assert_eq!(metrics.counted(ERRORS, &[("operation", "read")]), 3);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_is_counted_and_the_others_are_told() {
    let memory = Memory::new(950);
    let metrics = Metrics::new();
    let layer = memory.layer().recorder(metrics.recorder()).on_pressure(|_| panic!("a handler"));
    let (layer, told) = told(layer);
    assert_eq!(get(&layer, "/").await, 503);
    memory.set(100);
    advance(SECOND).await;
    assert_eq!(get(&layer, "/").await, 200);
    assert_eq!(metrics.counted(ERRORS, &[("operation", "handler")]), 2);
    assert_eq!(told().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_use_the_layer_that_tells_it() {
    let memory = Memory::new(950);
    let metrics = Metrics::new();
    let layer = memory.layer().recorder(metrics.recorder());
    let own = Arc::new(Mutex::new(None::<PressureLayer>));
    let used = Arc::clone(&own);
    let layer = layer.on_pressure(move |_| {
        let layer = used.lock().unwrap().clone().unwrap();
        assert_eq!(layer.memory_usage().unwrap().used(), 950);
        assert!(format!("{layer:?}").starts_with("PressureLayer"));
        assert_eq!(now(get(&layer, "/")), 503);
    });
    *own.lock().unwrap() = Some(layer.clone());
    assert_eq!(get(&layer, "/").await, 503);
    assert_eq!(metrics.counted(ERRORS, &[]), 0, "no assertion of the handler failed");
    assert_eq!(metrics.counted(REJECTED, &[]), 2);
    *own.lock().unwrap() = None;
}

// Which requests are shed.

#[tokio::test(start_paused = true)]
async fn health_checks_and_metrics_are_not_shed_unless_the_user_says_so() {
    let memory = Memory::new(950);
    let layer = memory.layer().priority(|_| Priority::Low);
    for path in [
        "/health",
        "/healthz",
        "/livez?verbose",
        "/readyz",
        "/startupz",
        "/metrics",
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
    ] {
        assert_eq!(get(&layer, path).await, 200, "{path}");
    }
    for path in ["/", "/healthy", "/health/records", "/upload", "/metrics/x"] {
        assert_eq!(get(&layer, path).await, 503, "{path}");
    }
    let none = layer.skip_only_paths([""; 0]);
    assert_eq!(get(&none, "/healthz").await, 503);
}

#[tokio::test(start_paused = true)]
async fn priorities_are_shed_by_level() {
    let memory = Memory::new(850);
    let asked = Arc::new(AtomicUsize::new(0));
    let (asks, skips) = (Arc::clone(&asked), Arc::clone(&asked));
    let metrics = Metrics::new();
    let layer = memory.layer().recorder(metrics.recorder());
    let layer = layer.skip_if(move |request| {
        skips.fetch_add(1, Ordering::SeqCst);
        request.method == Method::DELETE
    });
    let layer = layer.priority(move |request| {
        asks.fetch_add(1, Ordering::SeqCst);
        assert_ne!(request.method, Method::DELETE, "what is skipped has no priority");
        if request.uri.path() == "/reports" { Priority::Low } else { Priority::Normal }
    });
    let delete = async || {
        let request = Request::delete("/reports").body(empty()).unwrap();
        ask(&layer, request).await.status().as_u16()
    };
    let all = async || [get(&layer, "/reports").await, get(&layer, "/").await, delete().await];
    assert_eq!(all().await, [503, 200, 200]);
    memory.set(950);
    advance(SECOND).await;
    assert_eq!(all().await, [503, 503, 200]);
    let asked_before = asked.load(Ordering::SeqCst);
    memory.set(100);
    advance(SECOND).await;
    assert_eq!(all().await, [200, 200, 200]);
    assert_eq!(asked.load(Ordering::SeqCst), asked_before, "nothing is shed: nobody asks");
    let by = |reason| metrics.counted(REJECTED, &[("layer", "pressure"), ("reason", reason)]);
    assert_eq!((by("memory_high"), by("memory_critical")), (1, 2));
}

// The answer.

#[tokio::test(start_paused = true)]
async fn a_request_that_is_shed_is_told_when_to_come_back() {
    let layer = Memory::new(950).layer();
    let response = ask(&layer, Request::new(empty())).await;
    assert_eq!(response.status(), 503);
    let fields = [
        ("retry-after", "10"),
        ("cache-control", "no-store"),
        ("content-type", "text/plain; charset=utf-8"),
        ("vary", "accept"),
    ];
    assert_eq!(response.headers().len(), fields.len());
    for (name, value) in fields {
        assert_eq!(response.headers()[name], value);
    }
    assert_eq!(text(response).await, "The service is overloaded: try again in 10 seconds.\n");
    let layer = layer.shed_duration(Duration::from_millis(2_500));
    let response = ask(&layer, Request::new(empty())).await;
    assert_eq!(response.headers()["retry-after"], "3");
}

#[tokio::test(start_paused = true)]
async fn json_is_for_those_who_name_it_or_for_all() {
    let layer = Memory::new(950).layer();
    let json = layer.clone().problem_json();
    let accepts = || Request::get("/").header("accept", "application/json").body(empty()).unwrap();
    for response in [ask(&layer, accepts()).await, ask(&json, Request::new(empty())).await] {
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["retry-after"], "10");
        let problem: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(problem["status"], 503);
        assert_eq!(problem["title"], "Service Unavailable");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_of_grpc_that_is_shed_is_told_that_the_service_is_unavailable() {
    let layer = Memory::new(950).layer().problem_json();
    let call = Request::post("/a.Service/Method").version(Version::HTTP_2);
    let call = call.header("content-type", "application/grpc").body(empty()).unwrap();
    let response = ask(&layer, call).await;
    assert_eq!(response.status(), 200);
    let fields = [
        ("content-type", "application/grpc"),
        ("grpc-status", "14"),
        ("grpc-message", "The service is overloaded: try again in 10 seconds."),
        ("retry-after", "10"),
        ("grpc-retry-pushback-ms", "10000"),
        ("cache-control", "no-store"),
    ];
    assert_eq!(response.headers().len(), fields.len());
    for (name, value) in fields {
        assert_eq!(response.headers()[name], value);
    }
    assert!(response.body().is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn a_closure_replaces_the_answer_and_the_layer_adds_only_what_it_must() {
    let layer = Memory::new(950).layer().response(|refusal| {
        assert_eq!((refusal.level(), refusal.retry_after()), (Level::Critical, 10 * SECOND));
        let mut response = refusal.to_response().map(|_| "own".into());
        response.headers_mut().insert("x-own", HeaderValue::from_static("1"));
        response
    });
    // Too much to be discarded.
    let body = Scripted::<BoxError>::new([data(1)]).hint(&SizeHint::with_exact(10 << 30));
    let response = ask(&layer, Request::post("/").body(body).unwrap()).await;
    assert_eq!(response.headers()["x-own"], "1");
    assert_eq!(response.headers()["retry-after"], "10");
    assert_eq!(response.headers()["connection"], "close");
    assert_eq!(text(response).await, "own");
    let head = ask(&layer, Request::head("/").body(empty()).unwrap()).await;
    assert!(head.body().is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn the_connection_is_closed_only_on_http_1_and_only_where_a_body_is_unread() {
    let layer = Memory::new(950).layer();
    for (version, expected) in [
        (Version::HTTP_10, true),
        (Version::HTTP_11, true),
        (Version::HTTP_2, false),
        (Version::HTTP_3, false),
    ] {
        // Too much to be discarded.
        let body = Scripted::<BoxError>::new([data(1)]).hint(&SizeHint::with_exact(10 << 30));
        let log = body.log();
        let request = Request::post("/").version(version).body(body).unwrap();
        let response = ask(&layer, request).await;
        let close = response.headers().get("connection").is_some_and(|value| value == "close");
        assert_eq!(close, expected, "{version:?}");
        assert_eq!(log.polls(), 0, "the response does not wait for the body");
    }
    let response = ask(&layer, Request::get("/").body(empty()).unwrap()).await;
    assert!(!response.headers().contains_key("connection"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_head_has_no_body() {
    let layer = Memory::new(950).layer();
    let response = ask(&layer, Request::head("/").body(empty()).unwrap()).await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "10");
    assert_eq!(text(response).await, "");
}

// The service.

#[test]
fn a_request_that_is_shed_does_not_reach_the_service() {
    let (mut service, mut handle) =
        mock::spawn_layer::<Request<Empty<Bytes>>, Response<Full<Bytes>>, _>(
            Memory::new(950).layer(),
        );
    handle.allow(1);
    assert!(service.poll_ready().is_ready());
    assert_eq!(now(service.call(Request::new(empty()))).unwrap().status(), 503);
    assert!(poll_once(pin!(handle.next_request())).is_pending());
}

#[test]
fn readiness_passes_through() {
    for per_mille in [100, 950] {
        let (mut service, mut handle) =
            mock::spawn_layer::<Request<Empty<Bytes>>, Response<Full<Bytes>>, _>(
                Memory::new(per_mille).layer(),
            );
        handle.allow(0);
        assert!(service.poll_ready().is_pending());
        handle.allow(1);
        assert!(service.is_woken());
        assert!(matches!(service.poll_ready(), Poll::Ready(Ok(()))));
        handle.send_error("gone");
        let Poll::Ready(Err(error)) = service.poll_ready() else { panic!("no error") };
        assert_eq!(error.to_string(), "gone");
    }
}

/// Ready at every other poll, and not callable unless it is: it panics as `concurrency_limit` does.
#[derive(Debug)]
struct Strict {
    ready: bool,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { ready: false }
    }
}

impl Service<Request<Empty<Bytes>>> for Strict {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Empty<Bytes>>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without being ready");
        std::future::ready(Ok(Response::new(Full::from("hello"))))
    }
}

#[tokio::test(start_paused = true)]
async fn the_service_that_is_ready_is_the_one_that_is_called() {
    let memory = Memory::new(950);
    let layer = memory.layer();
    let mut service: Pressure<Strict> = layer.layer(Strict { ready: false });
    for (per_mille, expected) in [(950, 503), (100, 200), (950, 503), (100, 200)] {
        memory.set(per_mille);
        advance(SECOND).await;
        let ready = service.ready().await.unwrap();
        let response = ready.call(Request::new(empty()));
        // A clone beside it changes nothing.
        drop(service.clone());
        assert_eq!(response.await.unwrap().status(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_gives_the_place_under_a_concurrency_limit_back() {
    let memory = Memory::new(950);
    let service = ServiceBuilder::new()
        .layer(memory.layer())
        .layer(ConcurrencyLimitLayer::new(1))
        .service(service_fn(hello));
    let mut one = service.clone();
    for _ in 0..3 {
        let response = one.ready().await.unwrap().call(Request::new(empty()));
        assert_eq!(response.await.unwrap().status(), 503);
    }
    // A server makes a clone for each request, and drops it.
    drop(one);
    for (per_mille, expected) in [(950, 503), (100, 200), (100, 200)] {
        memory.set(per_mille);
        advance(SECOND).await;
        let response = service.clone().oneshot(Request::new(empty())).await.unwrap();
        assert_eq!(response.status(), expected);
    }
}

#[tokio::test]
async fn an_error_of_the_service_passes_untouched() {
    #[derive(Debug, PartialEq)]
    struct Own(u8);
    let inner =
        service_fn(|_: Request<Empty<Bytes>>| async { Err::<Response<Full<Bytes>>, _>(Own(7)) });
    let layer = Memory::new(100).layer();
    let error: Own = layer.layer(inner).oneshot(Request::new(empty())).await.unwrap_err();
    assert_eq!(error, Own(7));
}

#[test]
fn an_infallible_service_stays_infallible() {
    fn infallible<S, R>(_: &S)
    where
        S: Service<R, Error = Infallible>,
    {
    }
    let service = PressureLayer::new().layer(service_fn(hello::<Full<Bytes>>));
    infallible::<_, Request<Full<Bytes>>>(&service);
}

#[tokio::test]
async fn the_request_and_the_answer_pass_as_they_are() {
    // While something is shed the request is taken apart, and put together again.
    for per_mille in [100, 950] {
        let body = Scripted::<Infallible>::new([data(2), Step::Pending, trailers()]).exact();
        let log = body.log();
        let mut response = Some(Response::builder().status(201).body(body).unwrap());
        let inner = service_fn(move |request: Request<Empty<Bytes>>| {
            assert_eq!(request.method(), Method::PUT);
            assert_eq!(request.uri(), "/healthz?a=1");
            assert_eq!(request.headers()["x-own"], "1");
            assert_eq!(request.extensions().get(), Some(&7_u8));
            std::future::ready(Ok::<_, Infallible>(response.take().unwrap()))
        });
        let request = Request::put("/healthz?a=1").header("x-own", "1").extension(7_u8);
        let request = request.body(empty()).unwrap();
        let layer = Memory::new(per_mille).layer();
        let response = layer.layer(inner).oneshot(request).await.unwrap();
        assert_eq!((response.status().as_u16(), response.headers().len()), (201, 0));
        assert_eq!(response.body().size_hint().exact(), Some(2));
        assert!(!response.body().is_end_stream());
        let collected = response.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["x-sum"], "1");
        assert_eq!(collected.to_bytes().len(), 2);
        assert!(!log.polled_after_end());
    }
}

// Metrics.

#[tokio::test(start_paused = true)]
async fn the_gauge_is_what_was_read_last_and_all_is_described() {
    let memory = Memory::new(250);
    let metrics = Metrics::new();
    let layer = memory.layer().recorder(metrics.recorder()).on_pressure(|_| panic!("a handler"));
    for (per_mille, ratio) in [(250, 0.25), (950, 0.95), (300, 0.3)] {
        memory.set(per_mille);
        advance(SECOND).await;
        get(&layer, "/").await;
        let [(labels, value)] = &metrics.gauges(RATIO)[..] else { panic!("one gauge") };
        assert!(labels.is_empty() && (value - ratio).abs() < 1e-9, "{labels:?} {value}");
    }
    let described = metrics.described();
    for name in [RATIO, REJECTED, ERRORS] {
        assert!(!described[name].1.is_empty(), "{name}");
    }
}

// Real servers and the real system.

#[tokio::test]
async fn real_clients_are_shed_and_let_in_again() {
    let memory = Memory::new(950);
    let layer = memory.layer().interval(Duration::ZERO);
    let server = Server::start(layer.layer(service_fn(hello))).await;
    for client in [h1_client(), h2_client()] {
        let post = || Request::post(server.url("/")).body(full(vec![0; 100_000])).unwrap();
        memory.set(950);
        let wait = async |status| {
            let ask = async || soon(client.request(post())).await.unwrap();
            loop {
                let response = ask().await;
                if response.status() == status {
                    break response;
                }
            }
        };
        let response = wait(http::StatusCode::SERVICE_UNAVAILABLE).await;
        assert_eq!(response.headers()["retry-after"], "10");
        assert!(text(response).await.starts_with("The service is overloaded"));
        let health = Request::get(server.url("/healthz")).body(full("")).unwrap();
        assert_eq!(soon(client.request(health)).await.unwrap().status(), 200);
        memory.set(100);
        assert_eq!(text(wait(http::StatusCode::OK).await).await, "hello");
    }
}

#[tokio::test]
async fn the_system_can_be_read() {
    let layer = PressureLayer::new();
    let reading = layer.memory_usage().unwrap();
    assert!(reading.used() > 0 && reading.used() < reading.limit(), "{reading:?}");
    // More than any process has, and less than any process takes.
    assert_eq!(layer.clone().limit(u64::MAX).memory_usage().unwrap().limit(), reading.limit());
    let tight = layer.limit(4_096);
    assert_eq!(tight.memory_usage().unwrap().limit(), 4_096);
    assert!(tight.memory_usage().unwrap().ratio() > 1.0);
    assert_eq!(get(&tight, "/").await, 503);
}
