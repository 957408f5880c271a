//! Request bodies that the layer decompresses under its limit.

use std::convert::Infallible;
use std::io::Write;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use http::{HeaderMap, Request, Response, Version};
use http_body::Body;
use http_body_util::{BodyExt, Full, LengthLimitError};
use hyper::body::Incoming;
use proptest::prelude::*;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_kit::limit::{LimitLayer, MalformedBodyError, RequestBody, Size};

use crate::support::{
    BoxError, Metrics, Scripted, Server, Step, boxed, full, h1_client, h2_client, noise,
    poll_frame, prose, soon, text, trailers,
};

const REJECTED: &str = "http_requests_rejected_total";

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

type Encode = fn(&[u8]) -> Vec<u8>;

/// Each coding, and what makes it.
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

/// What the service read, and how the body ended for it.
#[derive(Debug, Default)]
struct Seen {
    headers: HeaderMap,
    bytes: Vec<u8>,
    trailers: Option<HeaderMap>,
    error: Option<BoxError>,
}

/// A body of such frames.
fn frames(bytes: &[u8], size: usize) -> Scripted {
    Scripted::new(bytes.chunks(size).map(|piece| Step::Data(Bytes::copy_from_slice(piece))))
}

fn post(coding: &str) -> http::request::Builder {
    Request::post("/").header("content-encoding", coding).header("content-type", "text/plain")
}

/// Sends a request to a service that reads its body, and answers 200 whatever comes of it.
async fn send<B>(layer: LimitLayer, request: Request<B>) -> (http::response::Parts, Seen)
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    let seen = Arc::new(Mutex::new(Seen::default()));
    let inner = {
        let seen = Arc::clone(&seen);
        service_fn(move |request: Request<RequestBody<B>>| {
            let seen = Arc::clone(&seen);
            async move {
                let (head, mut body) = request.into_parts();
                let mut now = Seen { headers: head.headers, ..Seen::default() };
                while let Some(frame) = body.frame().await {
                    match frame.map(http_body::Frame::into_data) {
                        Ok(Ok(data)) => now.bytes.extend_from_slice(&data),
                        Ok(Err(frame)) => now.trailers = frame.into_trailers().ok(),
                        Err(error) => now.error = Some(error.into()),
                    }
                }
                *seen.lock().unwrap() = now;
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
            }
        })
    };
    let response = layer.layer(inner).oneshot(request).await.unwrap();
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    (response.into_parts().0, seen)
}

fn layer() -> LimitLayer {
    LimitLayer::new().decompress()
}

fn is_malformed(seen: &Seen) -> bool {
    seen.error.as_ref().is_some_and(|error| error.is::<MalformedBodyError>())
}

#[tokio::test]
async fn a_body_is_decompressed_whatever_its_frames() {
    for text in [prose(100_000, 1), noise(70_000), Bytes::from_static(b"x"), Bytes::new()] {
        for (coding, encode) in CODINGS {
            let encoded = encode(&text);
            for size in [1, 7, 4_096, 1 << 20] {
                let request = post(coding)
                    .header("content-length", encoded.len())
                    .header("content-digest", "sha-256=:x:")
                    .header("x-other", "1")
                    .body(frames(&encoded, size))
                    .unwrap();
                let (head, seen) = send(layer(), request).await;
                assert_eq!(head.status, 200, "{coding} {size}: {:?}", seen.error);
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
async fn codings_are_taken_off_from_the_last_to_the_first() {
    let text = prose(50_000, 2);
    for (first, encode_first) in CODINGS {
        for (second, encode_second) in CODINGS {
            let encoded = encode_second(&encode_first(&text));
            for size in [3, 1 << 20] {
                let listed = post(&format!("{first}, identity , {second}"));
                let lines = post(first).header("content-encoding", *second);
                for request in [listed, lines] {
                    let request = request.body(frames(&encoded, size)).unwrap();
                    let (head, seen) = send(layer(), request).await;
                    assert_eq!(head.status, 200, "{first}, {second}: {:?}", seen.error);
                    assert_eq!(seen.bytes, text, "{first}, {second}");
                }
            }
        }
    }
}

#[tokio::test]
async fn trailers_follow_the_decompressed_body() {
    let encoded = gzip(b"hello");
    let steps = [Step::Data(encoded.into()), Step::Pending, trailers()];
    let (head, seen) =
        send(layer(), post("gzip").body(Scripted::<BoxError>::new(steps)).unwrap()).await;
    assert_eq!((head.status.as_u16(), &*seen.bytes), (200, &b"hello"[..]));
    assert_eq!(seen.trailers.unwrap()["x-sum"], "1");
    // They do not make up for a body that is cut.
    let cut = Bytes::from(gzip(b"hello")).slice(..15);
    let body = Scripted::<BoxError>::new([Step::Data(cut), trailers()]);
    let (head, seen) = send(layer(), post("gzip").body(body).unwrap()).await;
    assert_eq!(head.status, 400);
    assert!(is_malformed(&seen) && seen.trailers.is_none());
}

#[tokio::test]
async fn without_the_option_bodies_pass_as_they_are() {
    let encoded = gzip(b"hello");
    for coding in ["gzip", "unknown", "gzip, gzip, gzip"] {
        let request = post(coding).header("content-length", encoded.len());
        let request = request.body(frames(&encoded, 5)).unwrap();
        let (head, seen) = send(LimitLayer::new(), request).await;
        assert_eq!((head.status.as_u16(), &seen.bytes), (200, &encoded));
        assert_eq!(seen.headers["content-encoding"], coding);
        assert!(seen.headers.contains_key("content-length"));
    }
}

#[tokio::test]
async fn without_a_coding_nothing_changes() {
    for coding in [None, Some("identity"), Some("")] {
        let mut request = Request::post("/").header("content-length", 5);
        if let Some(coding) = coding {
            request = request.header("content-encoding", coding);
        }
        let (head, seen) = send(layer(), request.body(frames(b"hello", 2)).unwrap()).await;
        assert_eq!((head.status.as_u16(), &*seen.bytes), (200, &b"hello"[..]), "{coding:?}");
        assert_eq!(seen.headers["content-length"], "5");
    }
}

#[tokio::test]
async fn an_unknown_coding_is_refused_with_415() {
    for coding in ["compress", "gzip, unknown", "gzip;q=1", "*", "gzip, gzip, gzip", "\"gzip\""] {
        let metrics = Metrics::new();
        let layer = layer().recorder(metrics.recorder());
        let request = post(coding).header("accept", "application/json");
        let (head, seen) = send(layer, request.body(frames(b"hello", 2)).unwrap()).await;
        assert_eq!(head.status, 415, "{coding}");
        assert!(seen.headers.is_empty(), "the service is not called");
        let accepted = head.headers["accept-encoding"].to_str().unwrap().to_owned();
        assert!(accepted.starts_with("gzip, deflate"), "{accepted}");
        assert_eq!(head.headers["content-type"], "application/problem+json");
        assert_eq!(metrics.counted(REJECTED, &[("reason", "unsupported_encoding")]), 1);
    }
    // Nothing is sent in vain.
    let request = post("unknown").version(Version::HTTP_11).header("expect", "100-continue");
    let body = frames(b"hello", 2);
    let log = body.log();
    let (head, _) = send(layer(), request.body(body).unwrap()).await;
    assert_eq!((head.status.as_u16(), log.polls()), (415, 0));
}

#[tokio::test]
async fn a_request_without_a_body_may_name_any_coding() {
    for coding in ["gzip", "unknown"] {
        let request = post(coding).body(full("")).unwrap();
        let (head, seen) = send(layer(), request).await;
        assert_eq!((head.status.as_u16(), seen.bytes.len()), (200, 0), "{coding}");
    }
    // It may be known only at the end that there is none.
    let request = post("gzip").body(Scripted::<BoxError>::new([Step::Pending])).unwrap();
    let (head, seen) = send(layer(), request).await;
    assert_eq!((head.status.as_u16(), seen.bytes.len(), seen.error.is_none()), (200, 0, true));
}

#[tokio::test]
async fn a_body_that_is_cut_fails_at_every_byte() {
    let text = prose(300, 3);
    for (coding, encode) in CODINGS {
        let encoded = encode(&text);
        for len in 1..encoded.len() {
            let metrics = Metrics::new();
            let layer = layer().recorder(metrics.recorder());
            let request = post(coding).body(frames(&encoded[..len], 64)).unwrap();
            let (head, seen) = send(layer, request).await;
            assert_eq!(head.status, 400, "{coding} cut at {len}");
            assert!(is_malformed(&seen), "{coding} cut at {len}: {:?}", seen.error);
            assert!(text.starts_with(&seen.bytes));
            assert_eq!(metrics.counted(REJECTED, &[("reason", "malformed_encoding")]), 1);
        }
    }
}

#[tokio::test]
async fn what_follows_the_end_is_refused() {
    let text = prose(300, 4);
    for (coding, encode) in CODINGS {
        for garbage in [&b"x"[..], b"\0", b"\x1f\x8b", b"garbage that is long enough for a header"]
        {
            let encoded = [&encode(&text), garbage].concat();
            for size in [1, 1 << 20] {
                let request = post(coding).body(frames(&encoded, size)).unwrap();
                let (head, seen) = send(layer(), request).await;
                assert_eq!(head.status, 400, "{coding} {garbage:?}");
                assert!(is_malformed(&seen), "{coding} {garbage:?}: {:?}", seen.error);
            }
        }
    }
}

#[tokio::test]
async fn a_raw_deflate_stream_is_malformed() {
    // RFC 9110 §8.4.1.2: `deflate` is the zlib format.
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(b"hello, hello, hello").unwrap();
    let request = post("deflate").body(frames(&encoder.finish().unwrap(), 64)).unwrap();
    assert_eq!(send(layer(), request).await.0.status, 400);
}

#[tokio::test]
async fn a_gzip_body_may_have_several_members() {
    let encoded = [gzip(b"one, "), gzip(b""), gzip(b"two")].concat();
    for size in [1, 20, 1 << 20] {
        let (head, seen) = send(layer(), post("gzip").body(frames(&encoded, size)).unwrap()).await;
        assert_eq!((head.status.as_u16(), &*seen.bytes), (200, &b"one, two"[..]), "{size}");
    }
    // Each costs a state of its own: many empty ones are no body that anybody sends.
    let encoded = gzip(b"").repeat(2_000);
    let (head, seen) = send(layer(), post("gzip").body(frames(&encoded, 4_096)).unwrap()).await;
    assert_eq!(head.status, 400);
    assert!(is_malformed(&seen));
}

#[cfg(feature = "limit-decompress-zstd")]
#[tokio::test]
async fn a_zstd_body_may_have_several_frames() {
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    let encoded = [&zstd(b"one, ")[..], &skippable, &zstd(b"two")].concat();
    for size in [1, 1 << 20] {
        let (head, seen) = send(layer(), post("zstd").body(frames(&encoded, size)).unwrap()).await;
        assert_eq!((head.status.as_u16(), &*seen.bytes), (200, &b"one, two"[..]), "{size}");
    }
}

#[cfg(feature = "limit-decompress-zstd")]
#[tokio::test]
async fn a_zstd_window_over_8_mib_is_refused() {
    // RFC 8878 §3.1.1.1: a frame without a content size, and a window of 16 MiB or 8 MiB.
    for (window, expected) in [(0x70, 400), (0x68, 200)] {
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, window, 0x01, 0x00, 0x00];
        let (head, _) = send(layer(), post("zstd").body(frames(&frame, 64)).unwrap()).await;
        assert_eq!(head.status, expected, "{window:#x}");
    }
}

#[tokio::test]
async fn the_limit_holds_for_what_comes_out() {
    for (coding, encode) in CODINGS {
        for (len, expected) in [(9_999, 200), (10_000, 200), (10_001, 413)] {
            let encoded = encode(&vec![b'x'; len]);
            for size in [1, 1 << 20] {
                let metrics = Metrics::new();
                let layer = layer().default_body(10_000).recorder(metrics.recorder());
                let request = post(coding).body(frames(&encoded, size)).unwrap();
                let (head, seen) = send(layer, request).await;
                assert_eq!(head.status, expected, "{coding} {len}");
                if expected == 413 {
                    assert!(seen.error.unwrap().is::<LengthLimitError>());
                    assert!(seen.bytes.len() <= 10_000);
                    assert_eq!(metrics.counted(REJECTED, &[("reason", "body_too_large")]), 1);
                } else {
                    assert_eq!(seen.bytes.len(), len);
                }
            }
        }
    }
}

#[tokio::test]
async fn the_limit_holds_for_what_comes_in() {
    let text = noise(20_000);
    for (coding, encode) in CODINGS {
        let encoded = encode(&text);
        assert!(encoded.len() > 10_000);
        let declared = post(coding).header("content-length", encoded.len());
        for request in [declared, post(coding)] {
            let layer = layer().default_body(10_000);
            let (head, seen) = send(layer, request.body(frames(&encoded, 1_000)).unwrap()).await;
            assert_eq!(head.status, 413, "{coding}");
            assert!(seen.bytes.len() <= 10_000, "{coding}");
        }
    }
}

#[tokio::test]
async fn a_bomb_is_cut_off_at_the_limit() {
    for (coding, encode) in CODINGS {
        let bomb = encode(&vec![0; 10_000_000]);
        assert!(bomb.len() < 20_000, "{coding}: {} bytes", bomb.len());
        // In small frames, so that it shows how many of them were decoded.
        let body = frames(&bomb, 8);
        let log = body.log();
        let layer = layer().default_body(20_000).max_drain(0);
        let (head, seen) = send(layer, post(coding).body(body).unwrap()).await;
        assert_eq!(head.status, 413, "{coding}");
        assert!(seen.bytes.len() <= 20_000, "{coding}: {} bytes", seen.bytes.len());
        assert!(seen.error.unwrap().is::<LengthLimitError>());
        assert!(log.given() <= 1_000, "{coding}: {} of {}", log.given(), bomb.len());
    }
}

/// A body that is small in the end may be huge in between.
#[tokio::test]
async fn the_limit_holds_between_two_codings() {
    let empty = gzip(b"").repeat(10);
    let padded = [&gzip(b"hello")[..], &empty].concat();
    let fine = post("gzip, gzip").body(frames(&gzip(&padded), 64)).unwrap();
    let (head, seen) = send(layer(), fine).await;
    assert_eq!((head.status.as_u16(), &*seen.bytes), (200, &b"hello"[..]));

    let huge = gzip(&vec![0; 10_000_000]);
    let request = post("deflate, gzip").body(frames(&huge, 64)).unwrap();
    let (head, seen) = send(layer().default_body(20_000), request).await;
    assert!([400, 413].contains(&head.status.as_u16()), "{}", head.status);
    assert!(seen.bytes.is_empty());

    #[cfg(feature = "limit-decompress-zstd")]
    {
        // Skippable frames, of which nothing comes out, and which shrink well.
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 0, 0, 16, 0][..], &vec![0; 1 << 20]].concat();
        let inner = [&zstd(b"hello")[..], &skippable.repeat(10)].concat();
        let request = post("zstd, gzip").body(frames(&gzip(&inner), 64)).unwrap();
        let (head, seen) = send(layer().default_body(20_000).max_drain(0), request).await;
        assert_eq!((head.status.as_u16(), &*seen.bytes), (413, &b"hello"[..]));
    }
}

#[tokio::test]
async fn an_unlimited_body_is_decompressed_too() {
    let text = prose(4 << 20, 5);
    let request = post("gzip").body(frames(&gzip(&text), 64 * 1024)).unwrap();
    let (head, seen) = send(layer().default_body(Size::UNLIMITED), request).await;
    assert_eq!(head.status, 200);
    assert_eq!(seen.bytes, text);
}

#[tokio::test]
async fn an_error_of_the_body_passes_as_it_is() {
    let encoded = Bytes::from(gzip(b"hello"));
    let body =
        Scripted::<BoxError>::new([Step::Data(encoded.slice(..12)), Step::Error("own".into())]);
    let (head, seen) = send(layer(), post("gzip").body(body).unwrap()).await;
    assert_eq!(head.status, 200, "the service answers as it likes");
    assert_eq!(seen.error.unwrap().to_string(), "own");
}

#[tokio::test]
async fn the_length_of_what_comes_out_is_not_known() {
    let encoded = gzip(b"hello");
    let inner = service_fn(|request: Request<RequestBody<Full<Bytes>>>| async move {
        let mut body = request.into_body();
        let hint = body.size_hint();
        assert_eq!((hint.lower(), hint.upper(), body.is_end_stream()), (0, Some(10), false));
        let mut len = 0;
        while let std::task::Poll::Ready(Some(frame)) = poll_frame(&mut body) {
            len += frame.unwrap().into_data().unwrap().len();
        }
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(len.to_string())))
    });
    let request = post("gzip").body(Full::from(encoded.clone())).unwrap();
    let layer = layer().default_body(10).max_drain(0);
    // What arrives is over the limit of 10 bytes.
    assert_eq!(layer.clone().layer(inner).oneshot(request).await.unwrap().status(), 413);
}

#[tokio::test]
async fn real_clients_over_http_1_and_2() {
    async fn echo(
        request: Request<RequestBody<Incoming>>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        Ok(match request.into_body().collect().await {
            Ok(body) => Response::new(body.to_bytes().into()),
            Err(error) => Response::builder().status(500).body(error.to_string().into()).unwrap(),
        })
    }
    let layer = layer().default_body(100_000);
    let server = Server::start(ServiceBuilder::new().layer(layer).service_fn(echo)).await;
    let text_sent = prose(90_000, 6);
    for client in [h1_client(), h2_client()] {
        for (coding, encode) in CODINGS {
            let encoded = encode(&text_sent);
            let whole = full(encoded.clone());
            let streamed = boxed(frames(&encoded, 1_000));
            let cut = full(encoded[..encoded.len() - 1].to_vec());
            let large = full(encode(&vec![b'x'; 100_001]));
            for (body, status) in [(whole, 200), (streamed, 200), (cut, 400), (large, 413)] {
                let request = Request::post(server.url("/")).header("content-encoding", *coding);
                let response = soon(client.request(request.body(body).unwrap())).await.unwrap();
                assert_eq!(response.status(), status, "{coding}");
                if status == 200 {
                    assert_eq!(soon(text(response)).await, text_sent, "{coding}");
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
async fn extractors_of_axum_read_what_comes_out() {
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
    fn no_bytes_make_a_decoder_panic_or_exceed_the_limit(
        junk in prop::collection::vec(any::<u8>(), 0..200),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        coding in 0..CODINGS.len(),
        size in 1..80_usize,
    ) {
        let (coding, encode) = CODINGS[coding];
        let mut bent = encode(&prose(2_000, 7));
        for (at, byte) in flips {
            let at = at.index(bent.len());
            bent[at] = byte;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for bytes in [junk, bent] {
            let request = post(coding).body(frames(&bytes, size)).unwrap();
            let (head, seen) = runtime.block_on(send(layer().default_body(1_500).max_drain(0), request));
            prop_assert!(seen.bytes.len() <= 1_500);
            prop_assert!([200, 400, 413].contains(&head.status.as_u16()));
            prop_assert_eq!(head.status == 200, seen.error.is_none());
        }
    }
}
