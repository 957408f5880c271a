//! Responses on their way to the store.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Request;
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Empty};
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::cache::{CacheLayer, MemoryStore};
use tower_kit::{KIB, MIB};

use super::adversary::{Frames, fresh, serve, settled, stall};
use super::{alone, held};

fn get(path: impl std::fmt::Display) -> Request<Empty<Bytes>> {
    Request::get(format!("http://x/{path}")).body(Empty::new()).unwrap()
}

fn layer(budget: u64) -> CacheLayer {
    CacheLayer::new(MemoryStore::new(4 * MIB)).max_fill_bytes(budget)
}

/// The memory of a stream beside the budget: a piece of 16 KiB that the server was handed, a key, and
/// futures and bodies in their boxes.
const STREAM: u64 = 28 * KIB;

#[test]
fn streams_that_do_not_read_stay_in_the_budget() {
    const STREAMS: usize = 400;
    let sizes = [(64, 16 * 1024), (1_000, 1_000), (3, 300_000)];
    for (count, size) in sizes {
        for fills in [0, 256] {
            alone(async {
                let service =
                    move |_| async move { Ok::<_, Infallible>(fresh(Frames::new(count, size))) };
                let bare = serve(service_fn(service)).await;
                let before = held();
                let opened = stall(bare, STREAMS).await;
                let without = settled().await.saturating_sub(before);
                drop(opened);
                let before = settled().await;
                let cached =
                    serve(layer(16 * MIB).max_fills(fills).layer(service_fn(service))).await;
                let opened = stall(cached, STREAMS).await;
                let with = settled().await.saturating_sub(before);
                let most = without + (4 + 16) * MIB + STREAMS as u64 * STREAM;
                assert!(
                    with <= most,
                    "{with} bytes with the cache, {without} without: {count} frames of {size}, \
                     {fills} fills"
                );
                drop(opened);
            });
        }
    }
}

#[test]
fn unread_bodies_of_small_frames_take_their_size() {
    const SIZE: usize = 128 * 1024;
    const COUNT: u64 = 20;
    for size in [1, 7, 64] {
        alone(async {
            let service =
                move |_| async move { Ok::<_, Infallible>(fresh(Frames::new(SIZE / size, size))) };
            let cache = layer(64 * MIB).layer(service_fn(service));
            let before = held();
            let mut opened = Vec::new();
            for number in 0..COUNT {
                opened.push(cache.clone().oneshot(get(number)).await.unwrap());
            }
            let taken = settled().await.saturating_sub(before);
            // Once for those who read slowly, and once in the store.
            let most = COUNT * (2 * SIZE as u64 + 8 * KIB);
            assert!(taken <= most, "{taken} for frames of {size}");
            for response in opened {
                let body = response.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(body.len(), SIZE / size * size);
            }
        });
    }
}

#[test]
fn slices_do_not_keep_their_buffers() {
    const COUNT: u64 = 40;
    for (fills, paused) in [(0, false), (256, false), (256, true)] {
        alone(async {
            // Ten frames of 1 KiB, each a slice of a buffer of 1 MiB.
            let body = Frames { buffer: 1024 * 1024, paused, ..Frames::new(10, 1024) };
            let service = move |_| async move { Ok::<_, Infallible>(fresh(body)) };
            let cache = layer(16 * MIB).max_fills(fills).layer(service_fn(service));
            let before = held();
            let mut opened = Vec::new();
            for number in 0..COUNT {
                let mut response = cache.clone().oneshot(get(number)).await.unwrap();
                // The client reads one frame, and then no more.
                drop(response.body_mut().frame().await.unwrap().unwrap());
                opened.push(response);
            }
            let taken = settled().await.saturating_sub(before);
            assert!(taken <= COUNT * 48 * KIB, "{taken} with {fills} fills, at once: {paused}");
        });
    }
}

#[test]
fn followers_share_one_copy_of_a_body() {
    const FOLLOWERS: usize = 10_000;
    const FRAME: usize = 16 * 1024;
    const FRAMES: usize = 64;
    alone(async {
        let calls = Arc::new(AtomicUsize::new(0));
        let (mut sender, body) = Channel::<Bytes, Infallible>::new(FRAMES);
        let body = Arc::new(Mutex::new(Some(body)));
        let (counted, given) = (Arc::clone(&calls), Arc::clone(&body));
        let service = service_fn(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            let body = given.lock().unwrap().take().unwrap();
            async move { Ok::<_, Infallible>(fresh(body)) }
        });
        let cache = CacheLayer::new(MemoryStore::new(16 * MIB)).layer(service);
        let mut clients = Vec::new();
        for _ in 0..FOLLOWERS {
            let response = cache.clone().oneshot(get("page")).await.unwrap();
            // What a client keeps of the body is not the cache's.
            clients.push((response.into_body(), Vec::<Bytes>::with_capacity(4 * FRAMES)));
        }
        let before = settled().await;
        let mut most = 0;
        for _ in 0..FRAMES {
            sender.send_data(vec![b'x'; FRAME].into()).await.unwrap();
            settled().await;
            for (body, frames) in &mut clients {
                let frame = body.frame().await.unwrap().unwrap();
                frames.push(frame.into_data().unwrap());
            }
            most = held().saturating_sub(before).max(most);
        }
        drop(sender);
        for (body, frames) in &mut clients {
            assert!(body.frame().await.is_none());
            assert_eq!(frames.iter().map(Bytes::len).sum::<usize>(), FRAMES * FRAME);
        }
        most = held().saturating_sub(before).max(most);
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        assert!(most < 4 * MIB, "{most} bytes for {FOLLOWERS} clients of one body of 1 MiB");
    });
}
