//! Bodies of shed requests.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::KIB;
use tower_kit::pressure::{MemoryUsage, PressureLayer};

use super::adversary::{Unfinished, settled};
use super::{alone, held};

fn shedding() -> PressureLayer {
    PressureLayer::new().memory_source(|| Ok(MemoryUsage::new(95, 100)))
}

#[test]
fn only_256_shed_bodies_are_held() {
    const OWN: u64 = 64 * KIB;
    alone(async {
        let calls = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&calls);
        let inner = move |_: Request<Unfinished>| {
            seen.fetch_add(1, Ordering::SeqCst);
            async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) }
        };
        let service = shedding().layer(service_fn(inner));
        let before = held();
        for _ in 0..1_000 {
            // Below the maximum of a drain, and unfinished.
            let body = Unfinished::new(4, 1_024).with_buffer(OWN as usize);
            let response = service.clone().oneshot(Request::post("/").body(body).unwrap()).await;
            let response = response.unwrap();
            assert_eq!(response.status(), 503);
            response.into_body().collect().await.unwrap();
        }
        let taken = settled().await.saturating_sub(before);
        assert!(taken <= 256 * (OWN + 4 * KIB), "{taken}");
        assert!(taken >= 256 * OWN, "{taken}: the bound is tight");
        assert_eq!(calls.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn shed_body_is_dropped_after_8_mib() {
    alone(async {
        let inner = |_: Request<Unfinished>| async {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
        };
        let service = shedding().layer(service_fn(inner));
        let before = held();
        for _ in 0..2 {
            let body = Unfinished::new(9, 1024 * 1024).with_buffer(1024 * 1024);
            let request = Request::post("/").body(body).unwrap();
            drop(service.clone().oneshot(request).await.unwrap());
        }
        let taken = settled().await.saturating_sub(before);
        assert!(taken <= 64 * KIB, "{taken}: the bodies are held");
    });
}
