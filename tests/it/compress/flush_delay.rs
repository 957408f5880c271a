use std::convert::Infallible;
use std::future::ready;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::compress::{CompressLayer, Encoding, ResponseBody};

use crate::support::{clock, empty, gunzip, noise, poll_frame, prose};

type Body = ResponseBody<Channel<Bytes, Infallible>>;

async fn stream(
    layer: CompressLayer,
    media_type: &str,
    accept: &str,
) -> (Sender<Bytes, Infallible>, Body) {
    let (sender, body) = Channel::new(64);
    let response = Response::builder().header("content-type", media_type).body(body).unwrap();
    let mut response = Some(response);
    let inner = service_fn(move |_| ready(Ok::<_, Infallible>(response.take().unwrap())));
    let request = Request::get("/").header("accept-encoding", accept).body(empty()).unwrap();
    let response = layer.layer(inner).oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-encoding"], accept);
    (sender, response.into_body())
}

fn every() -> CompressLayer {
    CompressLayer::new().encodings([
        Encoding::Gzip,
        Encoding::Deflate,
        Encoding::Brotli,
        Encoding::Zstd,
    ])
}

#[tokio::test(start_paused = true)]
async fn data_is_flushed_after_the_delay() {
    for accept in ["gzip", "deflate", "br", "zstd"] {
        for (layer, delay) in [
            (every(), Duration::from_millis(10)),
            (every().flush_delay(Duration::from_millis(70)), Duration::from_millis(70)),
        ] {
            let (mut sender, mut body) = stream(layer, "text/html", accept).await;
            for round in 0..3 {
                sender.send_data(prose(1_400, round)).await.unwrap();
                let start = clock();
                assert!(body.frame().await.unwrap().unwrap().is_data());
                assert_eq!(start.elapsed(), delay, "{accept} {round}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn later_data_does_not_postpone_the_flush() {
    let (mut sender, mut body) = stream(every(), "text/html", "gzip").await;
    let start = clock();
    sender.send_data(prose(100, 1)).await.unwrap();
    let write = async {
        for at in 0..6 {
            tokio::time::sleep(Duration::from_millis(3)).await;
            sender.send_data(prose(100, at)).await.unwrap();
        }
        sender
    };
    let (_sender, elapsed) = tokio::join!(write, async {
        assert!(body.frame().await.unwrap().unwrap().is_data());
        start.elapsed()
    });
    assert_eq!(elapsed, Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn events_are_flushed_at_once() {
    for (layer, media_type) in
        [(every(), "text/event-stream"), (every().flush_delay(Duration::ZERO), "text/html")]
    {
        for accept in ["gzip", "deflate", "br", "zstd"] {
            let (mut sender, mut body) = stream(layer.clone(), media_type, accept).await;
            for _ in 0..3 {
                sender.send_data("data: 1\n\n".into()).await.unwrap();
                let start = clock();
                assert!(body.frame().await.unwrap().unwrap().is_data());
                assert_eq!(start.elapsed(), Duration::ZERO, "{accept}");
                assert!(poll_frame(&mut body).is_pending(), "a second flush");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_delay_saves_bytes() {
    for (accept, percent) in [("gzip", 96), ("br", 94), ("zstd", 95)] {
        let mut sizes = Vec::new();
        for delay in [Duration::ZERO, Duration::from_millis(10)] {
            let (mut sender, body) = stream(every().flush_delay(delay), "text/html", accept).await;
            let text = prose(140_000, 1);
            let write = async move {
                for piece in text.chunks(1_400) {
                    sender.send_data(Bytes::copy_from_slice(piece)).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            let ((), read) = tokio::join!(write, body.collect());
            sizes.push(read.unwrap().to_bytes().len());
        }
        assert!(sizes[1] * 100 < sizes[0] * percent, "{accept}: {sizes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn events_of_any_size_are_one_gzip_stream() {
    for sizes in [&[0, 1, 70_000, 5][..], &[200_000, 300_000], &[8_192; 20], &[65_536, 65_537, 1]] {
        for pauses in [false, true] {
            let (mut sender, body) = stream(every(), "text/event-stream", "gzip").await;
            let events: Vec<_> = sizes
                .iter()
                .enumerate()
                .map(|(at, size)| if at % 2 == 0 { noise(*size) } else { prose(*size, 7) })
                .collect();
            let expected = events.concat();
            let write = async move {
                for event in events {
                    sender.send_data(event).await.unwrap();
                    if pauses {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
            };
            let ((), read) = tokio::join!(write, body.collect());
            assert!(gunzip(&read.unwrap().to_bytes()) == expected, "{sizes:?} {pauses}");
        }
    }
}
