//! Memory of drains and decoders.

use std::convert::Infallible;
use std::future::pending;
use std::io::Write;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_compression::codecs::EncodeV2;
use async_compression::codecs::brotli::BrotliEncoder;
use async_compression::codecs::brotli::params::EncoderParams;
use async_compression::codecs::core::Level;
use async_compression::codecs::core::util::{PartialBuffer, WriteBuffer};
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::limit::{LimitLayer, RequestBody};
use tower_kit::{KIB, MIB};

use super::adversary::{Unfinished, serve, settled, spawn};
use super::{alone, held};

/// Reads the body until it is pending, and never responds.
async fn holds<B>(request: Request<RequestBody<B>>) -> Result<Response<Full<Bytes>>, Infallible>
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        frame.unwrap();
    }
    pending().await
}

/// Sends `count` concurrent requests, and returns the bytes that they hold once all of them wait.
async fn open<B>(layer: LimitLayer, count: u64, request: impl Fn() -> Request<B>) -> u64
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    let service = layer.layer(service_fn(holds::<B>));
    let before = held();
    for _ in 0..count {
        let response = service.clone().oneshot(request());
        spawn(async move { drop(response.await) });
    }
    settled().await.saturating_sub(before)
}

#[test]
fn at_most_256_drains_hold_bodies() {
    const OWN: u64 = 64 * KIB;
    alone(async {
        let inner = |_| async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) };
        let service = LimitLayer::new().default_body(10).layer(service_fn(inner));
        let before = held();
        for _ in 0..1_000 {
            let body = Unfinished::new(4, 1_024).with_buffer(OWN as usize);
            let request = Request::post("/").header("content-length", 8_000_000);
            let response = service.clone().oneshot(request.body(body).unwrap()).await.unwrap();
            assert_eq!(response.status(), 413);
        }
        let taken = settled().await.saturating_sub(before);
        assert!(taken <= 256 * (OWN + 4 * KIB), "{taken}");
        assert!(taken >= 256 * OWN, "{taken}: the drains hold their bodies");
    });
}

/// Returns the bytes that a server holds for [`CLIENTS`] clients, each of which declares 8 MiB and
/// sends a part of them.
async fn stalled_uploads(addr: SocketAddr, http2: bool) -> u64 {
    const SENT: usize = 256 * 1024;
    // Earlier connections are closed by then.
    let before = settled().await;
    let mut peak = 0;
    let mut open = Vec::new();
    let mut bodies = Vec::new();
    for _ in 0..CLIENTS {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        if http2 {
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            spawn(async move { drop(connection.await) });
            let (mut send, body) = Channel::<Bytes, Infallible>::new(1);
            let request = Request::post(format!("http://{addr}/"));
            let request = request.header("content-length", 8 * MIB).body(body).unwrap();
            let response = sender.send_request(request);
            spawn(async move { drop(response.await) });
            for _ in 0..SENT / 16_384 {
                if send.send_data(Bytes::from_static(&[b'x'; 16_384])).await.is_err() {
                    break;
                }
            }
            bodies.push((sender, send));
        } else {
            let head = format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\r\n", 8 * MIB);
            stream.write_all(head.as_bytes()).await.unwrap();
            for _ in 0..SENT / 16_384 {
                stream.write_all(&[b'x'; 16_384]).await.unwrap();
            }
            open.push(stream);
        }
        peak = peak.max(held().saturating_sub(before));
    }
    peak.max(settled().await.saturating_sub(before))
}

#[test]
fn drains_discard_data_as_it_arrives() {
    for http2 in [false, true] {
        alone(async {
            // The baseline: a service that reads and discards by itself, and never responds.
            let reads = |request: Request<Incoming>| async {
                let mut body = request.into_body();
                while let Some(Ok(_)) = body.frame().await {}
                pending::<Result<Response<Full<Bytes>>, Infallible>>().await
            };
            let without = stalled_uploads(serve(service_fn(reads)).await, http2).await;
            let waits = |_: Request<RequestBody<Incoming>>| {
                pending::<Result<Response<Full<Bytes>>, Infallible>>()
            };
            let limit = LimitLayer::new().default_body(10).layer(service_fn(waits));
            let taken = stalled_uploads(serve(limit).await, http2).await;
            let max = without + CLIENTS * 16 * KIB;
            assert!(taken <= max, "{taken}, and {without} without, HTTP/2: {http2}");
        });
    }
}

#[test]
fn open_bodies_are_not_buffered() {
    for (count, size) in [(4_000, 1), (100, 64), (4, 20_000)] {
        alone(async {
            let request = || Request::post("/").body(Unfinished::new(count, size)).unwrap();
            let taken = open(LimitLayer::new(), 100, request).await;
            assert!(taken <= 100 * 2 * KIB, "{taken} for frames of {size}");
        });
    }
}

/// A request with an encoded body of one frame, after which the body stays pending.
fn sent(coding: &'static str, body: &Bytes) -> Request<Sent> {
    let request = Request::post("/").header("content-encoding", coding);
    request.body(Sent(Some(body.clone()))).unwrap()
}

struct Sent(Option<Bytes>);

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(body) => Poll::Ready(Some(Ok(Frame::data(body)))),
            None => Poll::Pending,
        }
    }
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap().into()
}

fn deflate(bytes: &[u8]) -> Bytes {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap().into()
}

fn brotli(bytes: &[u8]) -> Bytes {
    let params = EncoderParams::default().quality(Level::Precise(1)).window_size(24);
    let mut encoder = BrotliEncoder::new(params);
    let mut space = vec![0; 1024 * 1024];
    let mut output = WriteBuffer::new_initialized(&mut space[..]);
    let mut input = PartialBuffer::new(bytes);
    while !input.unwritten().is_empty() {
        encoder.encode(&mut input, &mut output).unwrap();
    }
    while !encoder.finish(&mut output).unwrap() {}
    let length = output.written_len();
    space.truncate(length);
    space.into()
}

#[test]
fn inflate_decoders_take_64_kib() {
    const COUNT: u64 = 50;
    alone(async {
        let zeros = vec![0; 256 * 1024];
        let (zipped, deflated) = (gzip(&zeros), deflate(&zeros));
        let twice = gzip(&zipped);
        for (coding, body, codings) in
            [("gzip", &zipped, 1), ("deflate", &deflated, 1), ("gzip, gzip", &twice, 2)]
        {
            let layer = LimitLayer::new().decompress();
            let taken = open(layer, COUNT, || sent(coding, body)).await;
            let max = COUNT * (codings * (16 + 48) + 2) * KIB;
            assert!(taken <= max, "{taken} for {coding}");
        }
    });
}

#[test]
fn brotli_decoders_take_16_mib() {
    const COUNT: u64 = 3;
    alone(async {
        let bomb = brotli(&vec![0; 20 * 1024 * 1024]);
        let small = brotli(&vec![0; 10 * 1024]);
        let layer = LimitLayer::new().default_body(64 * MIB).decompress();
        let taken = open(layer, COUNT, || sent("br", &bomb)).await;
        let max = COUNT * (16 * MIB + 64 * KIB);
        assert!(taken <= max, "{taken}");
        let layer = LimitLayer::new().default_body(64 * MIB).decompress();
        let taken = open(layer, COUNT, || sent("br", &small)).await;
        assert!(taken <= COUNT * 128 * KIB, "{taken} for a small body");
    });
}

#[test]
fn larger_windows_are_rejected() {
    // Empty streams of large window brotli, 2^24 to 2^30 bytes, which RFC 7932 §9.1 does not allow.
    let br = (24..=30).map(|bits| ("br", vec![0x11, 0xc0 | bits]));
    // RFC 8878 §3.1.1.1: a frame without a content size, and a window of 16 MiB.
    let zstd = [("zstd", vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x70, 0x01, 0x00, 0x00])];
    for (coding, bytes) in br.chain(zstd) {
        alone(async {
            let reads = |request: Request<RequestBody<Full<Bytes>>>| async {
                let read = request.into_body().collect().await;
                assert!(read.is_err());
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
            };
            let service = LimitLayer::new().decompress().layer(service_fn(reads));
            let request = Request::post("/").header("content-encoding", coding);
            let request = request.body(Full::new(Bytes::from(bytes))).unwrap();
            let response = service.oneshot(request).await.unwrap();
            assert_eq!(response.status(), 400, "{coding}");
        });
    }
}

const CLIENTS: u64 = 256;
