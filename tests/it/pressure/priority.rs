//! The priorities of requests, and speculative requests of browsers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Method, Request};
use tokio::time::advance;
use tower::{Layer, service_fn};
use tower_kit::pressure::{PressureLayer, Priority};

use super::{Memory, REJECTED, SECOND, get, hello, send};
use crate::support::{Metrics, Server, boxed, empty, h1_client, h2_client, soon};

async fn get_for(layer: &PressureLayer, path: &str, purpose: &str) -> u16 {
    let request = Request::get(path).header("sec-purpose", purpose).body(empty()).unwrap();
    send(layer, request).await.status().as_u16()
}

#[tokio::test(start_paused = true)]
async fn low_priority_is_shed_before_normal() {
    let memory = Memory::new(850);
    let calls = Arc::new(AtomicUsize::new(0));
    let (priorities, skips) = (Arc::clone(&calls), Arc::clone(&calls));
    let metrics = Metrics::new();
    let layer = memory.layer().recorder(metrics.recorder());
    let layer = layer.skip_if(move |request| {
        skips.fetch_add(1, Ordering::SeqCst);
        request.method == Method::DELETE
    });
    let layer = layer.priority(move |request| {
        priorities.fetch_add(1, Ordering::SeqCst);
        assert_ne!(request.method, Method::DELETE, "an exempt request needs no priority");
        if request.uri.path() == "/reports" { Priority::Low } else { Priority::Normal }
    });
    let delete = async || {
        let request = Request::delete("/reports").body(empty()).unwrap();
        send(&layer, request).await.status().as_u16()
    };
    let all = async || [get(&layer, "/reports").await, get(&layer, "/").await, delete().await];
    assert_eq!(all().await, [503, 200, 200]);
    memory.set(950);
    advance(SECOND).await;
    assert_eq!(all().await, [503, 503, 200]);
    let calls_before = calls.load(Ordering::SeqCst);
    memory.set(100);
    advance(SECOND).await;
    assert_eq!(all().await, [200, 200, 200]);
    assert_eq!(calls.load(Ordering::SeqCst), calls_before, "called outside of shedding periods");
    let by = |reason| metrics.counted(REJECTED, &[("layer", "pressure"), ("reason", reason)]);
    assert_eq!((by("memory_high"), by("memory_critical")), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn prefetch_has_low_priority() {
    let memory = Memory::new(790);
    let layer = memory.layer().skip_if(|request| request.uri.path() == "/skipped");
    let layer = layer.priority(|request| match request.uri.path() {
        "/low" => Priority::Low,
        _ => Priority::Normal,
    });
    assert_eq!(get_for(&layer, "/", "prefetch").await, 200, "usage is normal");
    memory.set(850);
    advance(SECOND).await;
    for (path, purpose, status) in [
        ("/", "prefetch", 503),
        ("/", "prefetch;prerender", 503),
        ("/", "prerender", 503),
        ("/", "prefetch, navigate", 200),
        ("/", "\"prefetch\"", 200),
        ("/low", "prefetch", 503),
        ("/skipped", "prefetch", 200),
        ("/healthz", "prefetch", 200),
    ] {
        assert_eq!(get_for(&layer, path, purpose).await, status, "{path} {purpose}");
    }
    advance(10 * SECOND).await;
    assert_eq!(get_for(&layer, "/", "prefetch").await, 200, "the shedding period is over");
}

#[tokio::test]
async fn prefetch_is_rejected_on_the_wire() {
    let layer = Memory::new(850).layer();
    let server = Server::start(layer.layer(service_fn(hello))).await;
    for client in [h1_client(), h2_client()] {
        for (purpose, status) in [(Some("prefetch;prerender"), 503), (None, 200)] {
            let mut request = Request::get(server.url("/"));
            if let Some(purpose) = purpose {
                request = request.header("sec-purpose", purpose);
            }
            let request = request.body(boxed(empty())).unwrap();
            let response = soon(client.request(request)).await.unwrap();
            assert_eq!(response.status(), status);
            let cache_control = response.headers().get("cache-control");
            let expected = (status == 503).then_some(&b"no-store"[..]);
            assert_eq!(cache_control.map(|value| value.as_bytes()), expected);
        }
    }
}
