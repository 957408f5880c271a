//! Decompression of request bodies within the limit.

use std::convert::Infallible;
use std::io::Write;
use std::sync::Mutex;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, LengthLimitError};
use proptest::prelude::*;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_kit::limit::{LimitLayer, MalformedBodyError, RequestBody, Size};

use super::{max_body, reads, rejections, scripted};
use crate::support::{
    BoxError, Metrics, Scripted, Server, Step, boxed, full, h1_client, h2_client, noise,
    poll_frame, prose, soon, text, trailers,
};

type Encode = fn(&[u8]) -> Vec<u8>;

/// The codings with their encoders.
const CODINGS: &[(&str, Encode)] = &[
    ("gzip", gzip),
    ("x-gzip", gzip),
    ("GZip", gzip),
    ("deflate", zlib),
    #[cfg(feature = "limit-decompress-br")]
    ("br", brotli),
    #[cfg(feature = "limit-decompress-zstd")]
    ("zstd", zstd),
];

/// A request as the service read it, and the head of the response.
#[derive(Debug, Default)]
struct Exchange {
    headers: HeaderMap,
    bytes: Vec<u8>,
    trailers: Option<HeaderMap>,
    error: Option<BoxError>,
    status: u16,
    response: HeaderMap,
}

impl Exchange {
    fn is_malformed(&self) -> bool {
        self.status == 400 && self.error.as_ref().is_some_and(|it| it.is::<MalformedBodyError>())
    }

    fn is_too_large(&self) -> bool {
        self.status == 413 && self.error.as_ref().is_some_and(|it| it.is::<LengthLimitError>())
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[cfg(feature = "limit-decompress-br")]
fn brotli(bytes: &[u8]) -> Vec<u8> {
    use async_compression::codecs::EncodeV2;
    use async_compression::codecs::brotli::BrotliEncoder;
    use async_compression::codecs::brotli::params::EncoderParams;
    use async_compression::codecs::core::Level;
    use async_compression::codecs::core::util::{PartialBuffer, WriteBuffer};

    let mut encoder = BrotliEncoder::new(EncoderParams::default().quality(Level::Fastest));
    let mut output = vec![0; bytes.len() + 1_000];
    let mut written = WriteBuffer::new_initialized(&mut output);
    let mut input = PartialBuffer::new(bytes);
    while !input.unwritten().is_empty() {
        EncodeV2::encode(&mut encoder, &mut input, &mut written).unwrap();
    }
    while !EncodeV2::finish(&mut encoder, &mut written).unwrap() {}
    let len = written.written_len();
    output.truncate(len);
    output
}

#[cfg(feature = "limit-decompress-zstd")]
fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut output = Vec::with_capacity(zstd_safe::compress_bound(bytes.len()));
    zstd_safe::compress(&mut output, bytes, 3).unwrap();
    output
}

/// A body in frames of `size` bytes.
fn frames(bytes: &[u8], size: usize) -> Scripted {
    scripted(bytes.chunks(size).map(|chunk| Step::Data(Bytes::copy_from_slice(chunk))))
}

fn layer() -> LimitLayer {
    LimitLayer::new().decompress()
}

fn post(coding: &str) -> http::request::Builder {
    super::post().header("content-encoding", coding).header("content-type", "text/plain")
}

/// Sends a request to a service that reads the body and always responds with 200.
async fn send_request<B>(layer: &LimitLayer, request: Request<B>) -> Exchange
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let seen = Mutex::new(Exchange::default());
    let inner = service_fn(|request: Request<RequestBody<B>>| async {
        let (head, mut body) = request.into_parts();
        let mut read = Exchange { headers: head.headers, ..Exchange::default() };
        while let Some(frame) = body.frame().await {
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => read.bytes.extend_from_slice(&data),
                Ok(Err(frame)) => read.trailers = frame.into_trailers().ok(),
                Err(error) => read.error = Some(error.into()),
            }
        }
        *seen.lock().unwrap() = read;
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let response = layer.layer(inner).oneshot(request).await.unwrap();
    let mut exchange = seen.into_inner().unwrap();
    exchange.status = response.status().as_u16();
    exchange.response = response.into_parts().0.headers;
    exchange
}

async fn send(layer: &LimitLayer, coding: &str, body: Scripted) -> Exchange {
    send_request(layer, post(coding).body(body).unwrap()).await
}

#[tokio::test]
async fn frames_of_any_size_are_decompressed() {
    for text in [prose(100_000, 1), noise(70_000), Bytes::from_static(b"x"), Bytes::new()] {
        for (coding, encode) in CODINGS {
            let encoded = encode(&text);
            for size in [1, 7, 4_096, 1 << 20] {
                let request = post(coding)
                    .header("content-length", encoded.len())
                    .header("content-digest", "sha-256=:x:")
                    .header("x-other", "1")
                    .body(frames(&encoded, size));
                let seen = send_request(&layer(), request.unwrap()).await;
                assert_eq!(seen.status, 200, "{coding} {size}: {:?}", seen.error);
                assert_eq!(seen.bytes, text, "{coding} {size}");
                assert!(seen.error.is_none());
                let mut names: Vec<_> = seen.headers.keys().map(|name| name.as_str()).collect();
                names.sort_unstable();
                assert_eq!(names, ["content-type", "x-other"]);
            }
        }
    }
}

#[tokio::test]
async fn the_last_coding_is_decoded_first() {
    let text = prose(50_000, 2);
    for (first, encode_first) in CODINGS {
        for (second, encode_second) in CODINGS {
            let encoded = encode_second(&encode_first(&text));
            for size in [3, 1 << 20] {
                let listed = post(&format!("{first}, identity , {second}"));
                let lines = post(first).header("content-encoding", *second);
                for request in [listed, lines] {
                    let request = request.body(frames(&encoded, size)).unwrap();
                    let seen = send_request(&layer(), request).await;
                    assert_eq!(seen.status, 200, "{first}, {second}: {:?}", seen.error);
                    assert_eq!(seen.bytes, text, "{first}, {second}");
                }
            }
        }
    }
}

#[tokio::test]
async fn trailers_follow_the_decompressed_body() {
    let encoded = Bytes::from(gzip(b"hello"));
    let steps = [Step::Data(encoded.clone()), Step::Pending, trailers()];
    let seen = send(&layer(), "gzip", scripted(steps)).await;
    assert_eq!((seen.status, &*seen.bytes), (200, &b"hello"[..]));
    assert_eq!(seen.trailers.unwrap()["x-sum"], "1");
    // Trailers do not complete a truncated body.
    let steps = [Step::Data(encoded.slice(..15)), trailers()];
    let seen = send(&layer(), "gzip", scripted(steps)).await;
    assert!(seen.is_malformed() && seen.trailers.is_none());
}

#[tokio::test]
async fn other_bodies_pass_unchanged() {
    let off = LimitLayer::new();
    for (layer, coding) in [
        (&off, "gzip"),
        (&off, "unknown"),
        (&off, "gzip, gzip, gzip"),
        (&layer(), "identity"),
        (&layer(), ""),
    ] {
        let request = post(coding).header("content-length", 5).body(frames(b"hello", 2));
        let seen = send_request(layer, request.unwrap()).await;
        assert_eq!((seen.status, &*seen.bytes), (200, &b"hello"[..]), "{coding}");
        assert_eq!(seen.headers["content-encoding"], coding);
        assert_eq!(seen.headers["content-length"], "5");
    }
    let request = super::post().header("content-length", 5).body(frames(b"hello", 2));
    let seen = send_request(&layer(), request.unwrap()).await;
    assert_eq!((seen.status, &*seen.bytes), (200, &b"hello"[..]));
    assert_eq!(seen.headers["content-length"], "5");
}

#[tokio::test]
async fn unknown_codings_get_415() {
    for coding in ["compress", "gzip, unknown", "gzip;q=1", "*", "gzip, gzip, gzip", "\"gzip\""] {
        let metrics = Metrics::new();
        let layer = layer().recorder(metrics.recorder());
        let request = post(coding).header("accept", "application/json");
        let seen = send_request(&layer, request.body(frames(b"hello", 2)).unwrap()).await;
        assert_eq!(seen.status, 415, "{coding}");
        assert!(seen.headers.is_empty(), "the service is not called");
        let accepted = seen.response["accept-encoding"].to_str().unwrap();
        assert!(accepted.starts_with("gzip, deflate"), "{accepted}");
        assert_eq!(seen.response["content-type"], "application/problem+json");
        assert_eq!(rejections(&metrics, "unsupported_encoding"), 1);
    }
    // A client that waits for `100 Continue` never sends the body.
    let body = frames(b"hello", 2);
    let log = body.log();
    let request = post("unknown").header("expect", "100-continue").body(body);
    let seen = send_request(&layer(), request.unwrap()).await;
    assert_eq!((seen.status, log.polls()), (415, 0));
}

#[tokio::test]
async fn empty_bodies_may_name_any_coding() {
    for coding in ["gzip", "unknown"] {
        let seen = send_request(&layer(), post(coding).body(full("")).unwrap()).await;
        assert_eq!((seen.status, seen.bytes.len()), (200, 0), "{coding}");
    }
    // A body may turn out to be empty only at its end.
    let seen = send(&layer(), "gzip", scripted([Step::Pending])).await;
    assert_eq!((seen.status, seen.bytes.len(), seen.error.is_none()), (200, 0, true));
}

#[tokio::test]
async fn truncated_bodies_fail_at_every_byte() {
    let text = prose(300, 3);
    for (coding, encode) in CODINGS {
        let encoded = encode(&text);
        for len in 1..encoded.len() {
            let metrics = Metrics::new();
            let layer = layer().recorder(metrics.recorder());
            let seen = send(&layer, coding, frames(&encoded[..len], 64)).await;
            assert!(seen.is_malformed(), "{coding} cut at {len}: {:?}", seen.error);
            assert!(text.starts_with(&seen.bytes));
            assert_eq!(rejections(&metrics, "malformed_encoding"), 1);
        }
    }
}

#[tokio::test]
async fn data_after_the_end_is_malformed() {
    let text = prose(300, 4);
    for (coding, encode) in CODINGS {
        for garbage in [&b"x"[..], b"\0", b"\x1f\x8b", b"garbage that is long enough for a header"]
        {
            let encoded = [&encode(&text), garbage].concat();
            for size in [1, 1 << 20] {
                let seen = send(&layer(), coding, frames(&encoded, size)).await;
                assert!(seen.is_malformed(), "{coding} {garbage:?}: {:?}", seen.error);
            }
        }
    }
}

#[tokio::test]
async fn raw_deflate_is_malformed() {
    // RFC 9110 §8.4.1.2: `deflate` is the zlib format.
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(b"hello, hello, hello").unwrap();
    let body = frames(&encoder.finish().unwrap(), 64);
    assert_eq!(send(&layer(), "deflate", body).await.status, 400);
}

#[tokio::test]
async fn members_and_frames_are_joined() {
    let gzip_members = [gzip(b"one, "), gzip(b""), gzip(b"two")].concat();
    #[cfg(feature = "limit-decompress-zstd")]
    let zstd_frames = {
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
        [&zstd(b"one, ")[..], &skippable, &zstd(b"two")].concat()
    };
    for (coding, encoded) in [
        ("gzip", &gzip_members),
        #[cfg(feature = "limit-decompress-zstd")]
        ("zstd", &zstd_frames),
    ] {
        for size in [1, 20, 1 << 20] {
            let seen = send(&layer(), coding, frames(encoded, size)).await;
            assert_eq!((seen.status, &*seen.bytes), (200, &b"one, two"[..]), "{coding} {size}");
        }
    }
    // Each member costs a state of its own, and no client sends many empty ones.
    let encoded = gzip(b"").repeat(2_000);
    assert!(send(&layer(), "gzip", frames(&encoded, 4_096)).await.is_malformed());
}

#[cfg(feature = "limit-decompress-zstd")]
#[tokio::test]
async fn zstd_windows_are_at_most_8_mib() {
    // RFC 8878 §3.1.1.1: a frame without a content size, and a window of 16 MiB or 8 MiB.
    for (window, expected) in [(0x70, 400), (0x68, 200)] {
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, window, 0x01, 0x00, 0x00];
        let seen = send(&layer(), "zstd", frames(&frame, 64)).await;
        assert_eq!(seen.status, expected, "{window:#x}");
    }
}

#[tokio::test]
async fn the_limit_applies_to_decoded_bytes() {
    for (coding, encode) in CODINGS {
        for (len, fits) in [(9_999, true), (10_000, true), (10_001, false)] {
            let encoded = encode(&vec![b'x'; len]);
            for size in [1, 1 << 20] {
                let metrics = Metrics::new();
                let layer = layer().default_body(10_000).recorder(metrics.recorder());
                let seen = send(&layer, coding, frames(&encoded, size)).await;
                if fits {
                    assert_eq!((seen.status, seen.bytes.len()), (200, len), "{coding}");
                } else {
                    assert!(seen.is_too_large(), "{coding} {:?}", seen.error);
                    assert!(seen.bytes.len() <= 10_000);
                }
                assert_eq!(rejections(&metrics, "body_too_large"), u64::from(!fits));
            }
        }
    }
}

#[tokio::test]
async fn the_limit_applies_to_encoded_bytes() {
    let text = noise(20_000);
    for (coding, encode) in CODINGS {
        let encoded = encode(&text);
        assert!(encoded.len() > 10_000);
        let declared = post(coding).header("content-length", encoded.len());
        for request in [declared, post(coding)] {
            let request = request.body(frames(&encoded, 1_000)).unwrap();
            let seen = send_request(&layer().default_body(10_000), request).await;
            assert_eq!(seen.status, 413, "{coding}");
            assert!(seen.bytes.len() <= 10_000, "{coding}");
        }
    }
}

#[tokio::test]
async fn bombs_are_stopped_at_the_limit() {
    let layer = layer().default_body(20_000).max_drain(0);
    for (coding, encode) in CODINGS {
        let bomb = encode(&vec![0; 10_000_000]);
        assert!(bomb.len() < 20_000, "{coding}: {} bytes", bomb.len());
        // In small frames, which show how much was decoded.
        let body = frames(&bomb, 8);
        let log = body.log();
        let seen = send(&layer, coding, body).await;
        assert!(seen.is_too_large(), "{coding}: {:?}", seen.error);
        assert!(seen.bytes.len() <= 20_000, "{coding}: {} bytes", seen.bytes.len());
        assert!(log.given() <= 1_000, "{coding}: {} of {}", log.given(), bomb.len());
    }
}

/// The intermediate data may be huge although the final data is small.
#[tokio::test]
async fn the_limit_applies_between_two_codings() {
    let padded = [&gzip(b"hello")[..], &gzip(b"").repeat(10)].concat();
    let seen = send(&layer(), "gzip, gzip", frames(&gzip(&padded), 64)).await;
    assert_eq!((seen.status, &*seen.bytes), (200, &b"hello"[..]));

    let limited = layer().default_body(20_000).max_drain(0);
    let huge = gzip(&vec![0; 10_000_000]);
    let seen = send(&limited, "deflate, gzip", frames(&huge, 64)).await;
    assert!([400, 413].contains(&seen.status), "{}", seen.status);
    assert!(seen.bytes.is_empty());

    #[cfg(feature = "limit-decompress-zstd")]
    {
        // Skippable frames produce nothing and compress well.
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 0, 0, 16, 0][..], &vec![0; 1 << 20]].concat();
        let inner = [&zstd(b"hello")[..], &skippable.repeat(10)].concat();
        let seen = send(&limited, "zstd, gzip", frames(&gzip(&inner), 64)).await;
        assert_eq!((seen.status, &*seen.bytes), (413, &b"hello"[..]));
    }
}

#[tokio::test]
async fn unlimited_bodies_are_decompressed() {
    let text = prose(4 << 20, 5);
    let unlimited = layer().default_body(Size::UNLIMITED);
    let seen = send(&unlimited, "gzip", frames(&gzip(&text), 64 * 1024)).await;
    assert_eq!(seen.status, 200);
    assert_eq!(seen.bytes, text);
}

#[tokio::test]
async fn errors_of_the_wrapped_body_pass() {
    let encoded = Bytes::from(gzip(b"hello"));
    let body = scripted([Step::Data(encoded.slice(..12)), Step::Error("own".into())]);
    let seen = send(&layer(), "gzip", body).await;
    assert_eq!(seen.status, 200, "the layer does not replace the response");
    assert_eq!(seen.error.unwrap().to_string(), "own");
}

#[tokio::test]
async fn the_decoded_length_is_unknown() {
    let encoded = gzip(b"hello");
    let inner = service_fn(|request: Request<RequestBody<Full<Bytes>>>| async move {
        let mut body = request.into_body();
        let hint = body.size_hint();
        assert_eq!((hint.lower(), hint.upper(), body.is_end_stream()), (0, Some(100), false));
        assert!(poll_frame(&mut body).is_ready());
        let hint = body.size_hint();
        assert_eq!((hint.lower(), hint.upper(), body.is_end_stream()), (0, Some(95), false));
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let request = post("gzip").body(Full::from(encoded)).unwrap();
    let response = layer().default_body(100).layer(inner).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn clients_over_http_1_and_2() {
    let layer = max_body(100_000).decompress();
    let server = Server::start(ServiceBuilder::new().layer(layer).service_fn(reads)).await;
    let plain = prose(90_000, 6);
    for client in [h1_client(), h2_client()] {
        for (coding, encode) in CODINGS {
            let encoded = encode(&plain);
            let whole = full(encoded.clone());
            let streamed = boxed(frames(&encoded, 1_000));
            let cut = full(encoded[..encoded.len() - 1].to_vec());
            let large = full(encode(&vec![b'x'; 100_001]));
            for (body, status) in [(whole, 200), (streamed, 200), (cut, 400), (large, 413)] {
                let request = Request::post(server.url("/")).header("content-encoding", *coding);
                let response = soon(client.request(request.body(body).unwrap())).await.unwrap();
                assert_eq!(response.status(), status, "{coding}");
                if status == 200 {
                    assert_eq!(soon(text(response)).await, "90000", "{coding}");
                }
            }
        }
        let request = Request::post(server.url("/")).header("content-encoding", "unknown");
        let response = soon(client.request(request.body(full("x")).unwrap())).await.unwrap();
        assert_eq!(response.status(), 415);
        assert!(response.headers().contains_key("accept-encoding"));
    }
}

#[tokio::test]
async fn axum_extractors_read_decoded_bodies() {
    use axum::Json;
    use axum::routing::post;

    type Item = serde_json::Value;
    let app = axum::Router::new()
        .route("/", post(|Json(item): Json<Item>| async move { Json(item) }))
        .layer(layer());
    let json = |len| serde_json::json!({ "name": "x".repeat(len) }).to_string();
    for (body, coding, expected) in [
        (gzip(json(5_000).as_bytes()), "gzip", 200),
        (zlib(json(5_000).as_bytes()), "deflate", 200),
        (gzip(json(20_000).as_bytes()), "gzip", 413),
        (b"not gzip".to_vec(), "gzip", 400),
        (gzip(json(5).as_bytes()), "unknown", 415),
    ] {
        let request = Request::post("/")
            .header("content-type", "application/json")
            .header("content-encoding", coding)
            .body(axum::body::Body::from(body))
            .unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), expected, "{coding}");
    }
}

proptest! {
    #[test]
    fn any_bytes_stay_within_the_limit(
        junk in prop::collection::vec(any::<u8>(), 0..200),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        coding in 0..CODINGS.len(),
        size in 1..80_usize,
    ) {
        let (coding, encode) = CODINGS[coding];
        let mut corrupt = encode(&prose(2_000, 7));
        for (at, byte) in flips {
            let at = at.index(corrupt.len());
            corrupt[at] = byte;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let layer = layer().default_body(1_500).max_drain(0);
        for bytes in [junk, corrupt] {
            let seen = runtime.block_on(send(&layer, coding, frames(&bytes, size)));
            prop_assert!(seen.bytes.len() <= 1_500);
            prop_assert!([200, 400, 413].contains(&seen.status));
            prop_assert_eq!(seen.status == 200, seen.error.is_none());
        }
    }
}
