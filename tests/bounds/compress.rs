//! The memory of streams, of bodies that are read ahead, and of whole bodies.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use tokio::time::timeout;
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::KIB;
use tower_kit::compress::{CompressLayer, Encoding, ResponseBody};

use super::adversary::{Frames, Unfinished, noise};
use super::{alone, held};

/// The bytes that a thread keeps: two codecs of gzip, and a buffer.
const THREAD: u64 = 2 * CODEC + 256 * KIB;

const CODEC: u64 = 385_000;

/// Sends `count` requests, and returns the responses with unread bodies.
async fn ask<B>(
    layer: &CompressLayer,
    count: u64,
    encoding: &str,
    media_type: &str,
    body: impl Fn() -> B,
) -> Vec<Response<ResponseBody<B>>>
where
    B: Body<Data = Bytes> + Unpin,
{
    let inner = service_fn(|_: Request<()>| async {
        let response = Response::builder().header("content-type", media_type);
        Ok::<_, Infallible>(response.body(body()).unwrap())
    });
    let service = layer.layer(inner);
    let mut open = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let request = Request::get("/").header("accept-encoding", encoding).body(()).unwrap();
        open.push(service.clone().oneshot(request).await.unwrap());
    }
    open
}

/// Reads the bodies until they pause.
async fn read<B>(open: &mut [Response<ResponseBody<B>>])
where
    B: Body<Data = Bytes, Error = Infallible> + Unpin,
{
    for response in open {
        // The paused clock runs on only when there is nothing to do.
        while let Ok(frame) = timeout(Duration::from_secs(1), response.body_mut().frame()).await {
            assert!(frame.unwrap().is_ok());
        }
    }
}

fn compressed<B>(open: &[Response<B>]) -> usize {
    open.iter().filter(|response| response.headers().contains_key("content-encoding")).count()
}

#[test]
fn idle_event_streams_take_16_kib() {
    const COUNT: u64 = 100;
    for encoding in ["gzip", "deflate"] {
        for (count, size) in [(1, 10), (20, 500), (1, 40_000)] {
            alone(async {
                let layer = CompressLayer::new().encodings([Encoding::Gzip, Encoding::Deflate]);
                let before = held();
                let body = || Unfinished::new(count, size);
                let mut open = ask(&layer, COUNT, encoding, "text/event-stream", body).await;
                read(&mut open).await;
                assert_eq!(compressed(&open), COUNT as usize);
                let taken = held().saturating_sub(before);
                let most = COUNT * 16 * KIB + THREAD;
                assert!(taken <= most, "{taken} for {encoding}, events of {size}");
            });
        }
    }
}

#[test]
fn event_streams_in_br_and_zstd_are_bounded() {
    const STREAMS: u64 = 2;
    const COUNT: u64 = 10;
    let cases = [
        (Encoding::Brotli, "br", 4, 4_000_000),
        (Encoding::Brotli, "br", 6, 5_500_000),
        (Encoding::Brotli, "br", 9, 40_000_000),
        (Encoding::Brotli, "br", 11, 10_000_000),
        // This allocator does not see the codec of zstd, which is C; only the streams are counted.
        (Encoding::Zstd, "zstd", 3, 0),
    ];
    for (encoding, name, level, codec) in cases {
        alone(async {
            let layer = CompressLayer::new().encodings([encoding]).level(encoding, level).unwrap();
            let layer = layer.max_streams(STREAMS as usize);
            let before = held();
            let body = || Unfinished::new(30, 20_000);
            let mut open = ask(&layer, COUNT, name, "text/event-stream", body).await;
            read(&mut open).await;
            assert_eq!(compressed(&open), STREAMS as usize, "{name}");
            let taken = held().saturating_sub(before);
            let most = STREAMS * codec + COUNT * 16 * KIB;
            assert!(taken <= most, "{taken} for {name} at {level}");
        });
    }
}

#[test]
fn unread_streams_take_one_codec_each() {
    const STREAMS: u64 = 20;
    const COUNT: u64 = 200;
    const FRAME: usize = 100_000;
    alone(async {
        let layer = CompressLayer::new().max_streams(STREAMS as usize);
        let before = held();
        let body = || Unfinished::new(4, FRAME);
        let mut open = ask(&layer, COUNT, "gzip", "text/plain", body).await;
        for response in &mut open {
            // The client stops after one frame.
            drop(response.body_mut().frame().await.unwrap().unwrap());
        }
        assert_eq!(compressed(&open), STREAMS as usize);
        let taken = held().saturating_sub(before);
        let most = STREAMS * (CODEC + FRAME as u64) + COUNT * 16 * KIB;
        assert!(taken <= most, "{taken}");
        assert!(taken >= STREAMS * CODEC / 2, "{taken}: the streams hold no codecs");
        drop(open);
        let kept = held().saturating_sub(before);
        assert!(kept <= THREAD, "{kept} by the thread");
    });
}

#[test]
fn streams_without_a_permit_take_their_output() {
    const COUNT: u64 = 100;
    alone(async {
        let layer = CompressLayer::new().max_streams(1).flush_delay(Duration::ZERO);
        let before = held();
        let mut open = Vec::with_capacity(COUNT as usize);
        let goes_on = Arc::new(AtomicBool::new(false));
        // Each stream pauses at once, and gives its permit to the next.
        for _ in 0..COUNT {
            let body = || Pausing {
                began: false,
                open: Arc::clone(&goes_on),
                rest: Unfinished::new(20, 50_000),
            };
            let mut one = ask(&layer, 1, "gzip", "text/plain", body).await;
            read(&mut one).await;
            open.append(&mut one);
        }
        assert_eq!(compressed(&open), COUNT as usize);
        goes_on.store(true, Ordering::SeqCst);
        let mut frames = Vec::with_capacity(COUNT as usize);
        for response in &mut open {
            frames.push(response.body_mut().frame().await.unwrap().unwrap());
        }
        let taken = held().saturating_sub(before);
        let most = COUNT * (16 + 64 + 8 + 50) * KIB + CODEC + THREAD;
        assert!(taken <= most, "{taken}");
    });
}

/// A body of one small frame, a pause while `open` is `false`, and the rest.
struct Pausing {
    began: bool,
    open: Arc<AtomicBool>,
    rest: Unfinished,
}

impl Body for Pausing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !self.began {
            self.began = true;
            return Poll::Ready(Some(Ok(Frame::data(noise(2_000, 1).into()))));
        }
        match self.open.load(Ordering::SeqCst) {
            true => Pin::new(&mut self.rest).poll_frame(cx),
            false => Poll::Pending,
        }
    }
}

#[test]
fn read_ahead_is_bounded() {
    const COUNT: u64 = 100;
    // The layer reads 512 frames at most, and 128 KiB.
    for (size, most) in [(1, 8), (7, 12), (64, 48), (256, 136), (4_096, 136), (16_384, 152)] {
        for threshold in [1_024, 1 << 30] {
            alone(async {
                let layer = CompressLayer::new().threshold(threshold);
                let before = held();
                let body = || Frames { paused: true, ..Frames::new(100_000, size) };
                let open = ask(&layer, COUNT, "gzip", "text/plain", body).await;
                let taken = held().saturating_sub(before);
                let most = COUNT * (most + 4) * KIB + THREAD;
                assert!(taken <= most, "{taken} for frames of {size}, {threshold}");
                assert_eq!(open.len(), COUNT as usize);
            });
        }
    }
}

#[test]
fn whole_bodies_take_their_size() {
    const COUNT: u64 = 30;
    const SIZE: usize = 128 * 1024;
    for (encoding, name) in
        [(Encoding::Gzip, "gzip"), (Encoding::Brotli, "br"), (Encoding::Zstd, "zstd")]
    {
        for libdeflate in [false, true] {
            alone(async {
                let layer = CompressLayer::new().encodings([encoding]);
                let layer = if libdeflate { layer.libdeflate() } else { layer };
                // Only a small part is compressible.
                let mut text = noise(SIZE, 7);
                text[..SIZE / 16].fill(b'x');
                let before = held();
                let body = || Full::new(Bytes::from(text.clone()));
                let open = ask(&layer, COUNT, name, "text/plain", body).await;
                assert_eq!(compressed(&open), COUNT as usize);
                let taken = held().saturating_sub(before);
                assert!(taken <= COUNT * 129 * KIB + THREAD, "{taken} for {name}");
                drop(open);
                let kept = held().saturating_sub(before);
                assert!(kept <= THREAD, "{kept} for {name}, by the thread");
            });
        }
    }
}
