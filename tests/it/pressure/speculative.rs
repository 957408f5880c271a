//! Requests that a browser makes ahead of a navigation, and handlers that ask for the level.

use std::time::Duration;

use http::{Request, Response};
use http_body_util::Full;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tokio::time::advance;
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::pressure::{Level, PressureLayer, Priority};

use super::{Memory, REJECTED, SECOND, ask};
use crate::support::{Metrics, Server, boxed, empty, h1_client, h2_client, soon};

async fn asked(layer: &PressureLayer, path: &str, purpose: &str) -> u16 {
    let request = Request::get(path).header("sec-purpose", purpose).body(empty()).unwrap();
    ask(layer, request).await.status().as_u16()
}

#[tokio::test(start_paused = true)]
async fn a_prefetch_is_shed_at_high() {
    let metrics = Metrics::new();
    let memory = Memory::new(790);
    let layer = memory.layer().recorder(metrics.recorder());
    assert_eq!(asked(&layer, "/", "prefetch").await, 200, "memory is not short");
    memory.set(850);
    advance(SECOND).await;
    for (purpose, status) in [
        ("prefetch", 503),
        ("prefetch;prerender", 503),
        ("prerender", 503),
        ("prefetch, navigate", 200),
        ("\"prefetch\"", 200),
    ] {
        assert_eq!(asked(&layer, "/", purpose).await, status, "{purpose}");
    }
    let high = [("layer", "pressure"), ("reason", "memory_high")];
    assert_eq!(metrics.counted(REJECTED, &high), 3);
    assert_eq!(asked(&layer, "/healthz", "prefetch").await, 200, "its path is exempt");
    // As with all low priorities, it ends.
    advance(10 * SECOND).await;
    assert_eq!(asked(&layer, "/", "prefetch").await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_prefetch_keeps_the_users_priority_unless_normal() {
    let memory = Memory::new(850);
    let layer = memory.layer().skip_if(|request| request.uri.path() == "/skipped");
    let layer = layer.priority(|request| match request.uri.path() {
        "/low" => Priority::Low,
        _ => Priority::Normal,
    });
    for (path, status) in [("/skipped", 200), ("/low", 503), ("/", 503)] {
        assert_eq!(asked(&layer, path, "prefetch").await, status, "{path}");
    }
}

#[tokio::test]
async fn a_prefetch_is_refused_on_the_wire() {
    let layer = Memory::new(850).layer();
    let service = layer.layer(service_fn(super::hello));
    let server = Server::start(service).await;
    for client in [h1_client(), h2_client()] {
        for (purpose, status) in [(Some("prefetch;prerender"), 503), (None, 200)] {
            let mut request = Request::get(server.url("/"));
            if let Some(purpose) = purpose {
                request = request.header("sec-purpose", purpose);
            }
            let request = request.body(boxed(empty())).unwrap();
            let response = soon(client.request(request)).await.unwrap();
            assert_eq!(response.status(), status);
            let kept = response.headers().get("cache-control").map(|value| value.as_bytes());
            assert_eq!(kept, (status == 503).then_some(&b"no-store"[..]));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_learns_the_level() {
    let memory = Memory::new(500);
    let layer = memory.layer();
    let own = layer.clone();
    let ready = service_fn(move |_: Request<_>| {
        let level = own.level();
        async move {
            let status = if level == Level::Normal { 200 } else { 503 };
            let response = Response::builder().status(status);
            Ok::<_, std::convert::Infallible>(
                response.body(Full::<bytes::Bytes>::default()).unwrap(),
            )
        }
    });
    let service = layer.layer(ready);
    for (per_mille, status) in [(500, 200), (850, 503), (950, 503), (700, 200)] {
        memory.set(per_mille);
        advance(SECOND).await;
        let request = Request::get("/readyz").body(empty()).unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{per_mille}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_level_is_read_where_no_request_is() {
    let memory = Memory::new(950);
    let layer = memory.layer();
    assert_eq!(memory.reads(), 0);
    assert_eq!((layer.level(), memory.reads()), (Level::Critical, 1));
    assert_eq!((layer.level(), memory.reads()), (Level::Critical, 1));
    // Requests are admitted for a while, and memory is as full as before.
    advance(10 * SECOND).await;
    assert_eq!(layer.level(), Level::Critical);
    assert_eq!(super::get(&layer, "/").await, 200);
    memory.set(super::BROKEN);
    advance(SECOND).await;
    assert_eq!(layer.level(), Level::Critical, "what cannot be read has not changed");
    memory.set(100);
    advance(SECOND).await;
    assert_eq!(layer.level(), Level::Normal);
}

#[tokio::test(start_paused = true)]
async fn the_level_can_be_asked_for_in_its_own_callbacks() {
    use std::sync::{Arc, Mutex, OnceLock};

    let own = Arc::new(OnceLock::<PressureLayer>::new());
    let told = Arc::new(Mutex::new(Vec::new()));
    let (asked, write) = (Arc::clone(&own), Arc::clone(&told));
    let memory = Memory::new(950);
    let layer = memory.layer().shed_duration(Duration::ZERO).on_pressure(move |event| {
        let level = asked.get().map(PressureLayer::level);
        write.lock().unwrap().push((event.level(), level));
    });
    own.set(layer.clone()).unwrap();
    assert_eq!(layer.level(), Level::Critical);
    assert_eq!(*told.lock().unwrap(), [(Level::Critical, Some(Level::Critical))]);
}

#[tokio::test(start_paused = true)]
async fn counters_exist_before_they_count() {
    let debugging = DebuggingRecorder::new();
    let snapshotter = debugging.snapshotter();
    let layer = Memory::new(100).layer().recorder(std::sync::Arc::new(debugging));
    assert_eq!(super::get(&layer, "/").await, 200);
    let mut counters = Vec::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        if value == DebugValue::Counter(0) {
            let labels = key.key().labels().map(|label| label.value());
            counters.push(labels.collect::<Vec<_>>().join(" "));
        }
    }
    counters.sort();
    assert_eq!(counters, ["handler", "pressure memory_critical", "pressure memory_high", "read"]);
}
