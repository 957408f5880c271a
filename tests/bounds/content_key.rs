//! Contents that are a part of their key.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use tokio::sync::Semaphore;
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::cache::content_key::{ContentKeyLayer, RequestBody};
use tower_kit::cache::{CacheLayer, MemoryStore};
use tower_kit::{KIB, MIB};

use super::adversary::{Frames, Unfinished, settled, spawn};
use super::alone;

/// The memory of a request beside its content: the futures of both layers, a task, and a timer.
const REQUEST: u64 = 8 * KIB;

fn query<B>(number: usize, body: B) -> Request<B> {
    let uri = format!("http://x/{number}");
    Request::builder().method("QUERY").uri(uri).body(body).unwrap()
}

/// Starts so many requests with this content, over a service that responds to none of them. Returns
/// the bytes that are held when nothing goes on any more.
async fn stalled<B>(requests: usize, body: impl Fn() -> B) -> u64
where
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let never = Arc::new(Semaphore::new(0));
    let service = service_fn(move |request: Request<RequestBody<B>>| {
        let never = Arc::clone(&never);
        async move {
            drop(never.acquire().await);
            drop(request);
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
        }
    });
    let layers = (ContentKeyLayer::new(), CacheLayer::new(MemoryStore::new(MIB)));
    let service = layers.layer(service);
    let before = settled().await;
    for number in 0..requests {
        let call = service.clone().oneshot(query(number, body()));
        spawn(async move { drop(call.await) });
    }
    settled().await.saturating_sub(before)
}

#[test]
fn contents_that_do_not_end_stay_in_the_budget() {
    const REQUESTS: usize = 400;
    // Together 25 MiB.
    for size in [1, 1_000, 65_000] {
        alone(async {
            let held = stalled(REQUESTS, || Unfinished::new(65_000 / size, size)).await;
            let most = 16 * MIB + REQUESTS as u64 * (REQUEST + size as u64);
            assert!(held <= most, "{held} bytes for frames of {size}, {most} expected");
        });
    }
}

#[test]
fn contents_of_small_slices_take_their_size() {
    const REQUESTS: u64 = 200;
    const SIZE: usize = 10_000;
    alone(async {
        // Each byte is a slice of 4 KiB.
        let frames = || Frames { buffer: 4096, ..Frames::new(SIZE, 1) };
        let held = stalled(REQUESTS as usize, frames).await;
        let most = REQUESTS * (2 * SIZE as u64 + REQUEST);
        assert!(held <= most, "{held} bytes, {most} expected");
    });
}
