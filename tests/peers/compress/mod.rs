use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Display;
use std::future::ready;
use std::io::{Read, Write};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use bytes::{Buf, Bytes};
use http::request::Builder;
use http::{HeaderMap, HeaderName, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full};
use proptest::prelude::*;
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::compression::CompressionLayer;
use tower_http::decompression::{DecompressionBody, DecompressionLayer};
use tower_kit::compress::{
    CompressError, CompressHint, CompressLayer, Encoding, EtagMode, ResponseBody,
};
use tower_test::mock;

use crate::support::{
    BoxError, Metrics, Scripted, Step, data, empty, noise, now, poll_frame, poll_once, prose,
    trailers,
};

type Answer<B> = Response<ResponseBody<B>>;

const INPUT: &str = "http_compression_input_bytes_total";
const OUTPUT: &str = "http_compression_output_bytes_total";

/// What `vary` names of a compressed response.
const VARY: &str = "accept-encoding";

const ENCODINGS: [Encoding; 4] =
    [Encoding::Gzip, Encoding::Deflate, Encoding::Brotli, Encoding::Zstd];

const KIB: usize = 1024;
/// Up to this size a body that is ready is compressed at once.
const WHOLE: usize = 128 * KIB;
/// The most that one poll takes in, and the most that one frame of a stream holds.
const SLICE: usize = 64 * KIB;
const PIECE: usize = 8 * KIB;

fn get() -> Builder {
    Request::get("/").header("accept-encoding", "gzip")
}

fn accepting(encoding: Encoding) -> Builder {
    Request::get("/").header("accept-encoding", encoding.as_str())
}

fn html() -> http::response::Builder {
    Response::builder().header("content-type", "text/html; charset=utf-8")
}

/// A layer that offers every encoding.
fn every() -> CompressLayer {
    CompressLayer::new().encodings(ENCODINGS)
}

/// A layer that offers what it does without a feature for other encodings.
fn pinned() -> CompressLayer {
    CompressLayer::new().encodings([Encoding::Gzip, Encoding::Deflate])
}

/// What the layer makes of this response to this request.
fn answer<B>(layer: &CompressLayer, request: Builder, response: Response<B>) -> Answer<B>
where
    B: Body + Unpin,
    B::Data: From<Bytes>,
{
    let mut response = Some(response);
    let inner = service_fn(move |_: Request<Empty<Bytes>>| {
        ready(Ok::<_, Infallible>(response.take().unwrap()))
    });
    now(layer.layer(inner).oneshot(request.body(empty()).unwrap())).unwrap()
}

/// The same for a body of HTML under the default layer.
fn sent<B>(body: B) -> Answer<B>
where
    B: Body + Unpin,
    B::Data: From<Bytes>,
{
    answer(&CompressLayer::new(), get(), html().body(body).unwrap())
}

fn full(bytes: impl Into<Bytes>) -> Full<Bytes> {
    Full::new(bytes.into())
}

fn field<'a, B>(response: &'a Response<B>, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

/// All lines of a field, as one.
fn list<B>(response: &Response<B>, name: &str) -> String {
    let lines: Vec<_> =
        response.headers().get_all(name).iter().map(|line| line.to_str().unwrap()).collect();
    lines.join(", ")
}

fn encoding_of<B>(response: &Response<B>) -> Option<&str> {
    field(response, "content-encoding")
}

fn steps(parts: impl IntoIterator<Item = Bytes>) -> Vec<Step<BoxError>> {
    parts.into_iter().map(Step::Data).collect()
}

// Reading.

/// What was polled out of a body.
#[derive(Debug, Default)]
struct Drained {
    frames: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    error: Option<String>,
}

impl Drained {
    fn bytes(&self) -> Vec<u8> {
        self.frames.concat()
    }
}

#[derive(Debug, Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Polls a body to its end and past it, and checks what it says of itself on the way: a pending
/// body wakes, a hint bounds what comes, an end is an end.
fn drain<B>(body: &mut B) -> Drained
where
    B: Body + Unpin,
    B::Error: Display,
{
    let mut drained = Drained::default();
    let mut total = 0;
    let mut hints = Vec::new();
    let flag = Arc::new(Flag::default());
    let waker = Waker::from(Arc::clone(&flag));
    loop {
        hints.push((total, body.size_hint()));
        let says_end = body.is_end_stream();
        match Pin::new(&mut *body).poll_frame(&mut Context::from_waker(&waker)) {
            Poll::Pending => {
                assert!(!says_end, "pending after it said that it ended");
                assert!(flag.0.swap(false, Ordering::SeqCst), "pending, and nothing wakes it");
            }
            Poll::Ready(None) => break,
            Poll::Ready(Some(frame)) => {
                assert!(!says_end, "a frame after it said that it ended");
                let frame = match frame {
                    Ok(frame) => frame,
                    Err(error) => {
                        assert!(drained.error.is_none(), "a second error: {error}");
                        drained.error = Some(error.to_string());
                        break;
                    }
                };
                assert!(drained.trailers.is_none(), "a frame after the trailers");
                match frame.into_data() {
                    Ok(mut data) => {
                        total += data.remaining() as u64;
                        drained.frames.push(data.copy_to_bytes(data.remaining()));
                    }
                    Err(frame) => drained.trailers = frame.into_trailers().ok(),
                }
            }
        }
    }
    for _ in 0..3 {
        assert!(matches!(poll_frame(body), Poll::Ready(None)), "it goes on after its end");
    }
    if drained.error.is_none() {
        for (before, hint) in hints {
            let rest = total - before;
            assert!(hint.lower() <= rest, "{hint:?} before {rest} bytes");
            assert!(hint.upper().is_none_or(|upper| rest <= upper), "{hint:?} before {rest} bytes");
        }
    }
    drained
}

/// A body that is fed by hand, pending while there is nothing.
#[derive(Debug, Default, Clone)]
struct Queue(Arc<Mutex<(VecDeque<Bytes>, bool)>>);

impl Body for Queue {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut queue = self.0.lock().unwrap();
        match queue.0.pop_front() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            None if queue.1 => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

/// Decodes piece by piece, as a browser does: with tower-http's decoders.
struct Decoder {
    queue: Queue,
    body: DecompressionBody<Queue>,
    decoded: Vec<u8>,
}

impl Decoder {
    fn new(encoding: &str) -> Self {
        let queue = Queue::default();
        let mut response = Some(
            Response::builder().header("content-encoding", encoding).body(queue.clone()).unwrap(),
        );
        let inner = service_fn(move |_: Request<Empty<Bytes>>| {
            ready(Ok::<_, Infallible>(response.take().unwrap()))
        });
        let service = DecompressionLayer::new().layer(inner);
        let response = now(service.oneshot(Request::new(empty()))).unwrap();
        assert!(!response.headers().contains_key("content-encoding"), "no decoder for {encoding}");
        Self { queue, body: response.into_body(), decoded: Vec::new() }
    }

    /// All that can be decoded so far.
    fn feed(&mut self, bytes: Bytes) -> &[u8] {
        self.queue.0.lock().unwrap().0.push_back(bytes);
        while let Poll::Ready(Some(frame)) = poll_frame(&mut self.body) {
            self.decoded.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
        &self.decoded
    }

    /// All of it; an error if it is cut.
    fn finish(mut self) -> Result<Vec<u8>, String> {
        self.queue.0.lock().unwrap().1 = true;
        loop {
            match poll_frame(&mut self.body) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.decoded.extend_from_slice(&frame.into_data().unwrap());
                }
                Poll::Ready(Some(Err(error))) => return Err(error.to_string()),
                Poll::Ready(None) => return Ok(self.decoded),
                Poll::Pending => panic!("pending at the end"),
            }
        }
    }
}

/// gzip and deflate by flate2, which also sees what stands behind the end; the others by
/// tower-http.
fn try_decode(encoding: &str, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut decoded = Vec::new();
    let mut rest = bytes;
    let read = match encoding {
        "gzip" => flate2::bufread::GzDecoder::new(&mut rest).read_to_end(&mut decoded),
        "deflate" => flate2::bufread::ZlibDecoder::new(&mut rest).read_to_end(&mut decoded),
        _ => {
            let mut decoder = Decoder::new(encoding);
            decoder.feed(Bytes::copy_from_slice(bytes));
            return decoder.finish();
        }
    };
    read.map_err(|error| error.to_string())?;
    assert!(rest.is_empty(), "{} bytes after the end of {encoding}", rest.len());
    Ok(decoded)
}

fn decode(encoding: &str, bytes: &[u8]) -> Vec<u8> {
    try_decode(encoding, bytes).unwrap_or_else(|error| panic!("{encoding}: {error}"))
}

/// Decodes a response whose body has to end well, of whatever encoding.
fn read<B>(response: Response<B>) -> Vec<u8>
where
    B: Body + Unpin,
    B::Error: Display,
{
    let (head, mut body) = response.into_parts();
    let drained = drain(&mut body);
    assert_eq!(drained.error, None);
    match head.headers.get("content-encoding") {
        None => drained.bytes(),
        Some(encoding) => decode(encoding.to_str().unwrap(), &drained.bytes()),
    }
}

/// That a body which failed or was cut is nowhere taken for a complete one, and is right up to
/// where it goes.
fn assert_cut(encoding: &str, bytes: &[u8], fed: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    assert!(try_decode(encoding, bytes).is_err(), "a cut {encoding} body decodes to its end");
    let mut decoder = Decoder::new(encoding);
    let decoded = decoder.feed(Bytes::copy_from_slice(bytes));
    assert!(fed.starts_with(decoded), "{encoding}: not a prefix of what was fed");
}

// Whole bodies.

#[test]
fn a_whole_body_has_its_exact_length_and_decodes_in_every_coding() {
    for encoding in ENCODINGS {
        for len in [1_024, 1_500, 10 * KIB, 100 * KIB, WHOLE] {
            let text = prose(len, 1);
            let response = html().header("content-length", len).body(full(text.clone())).unwrap();
            let response = answer(&every(), accepting(encoding), response);
            assert_eq!(encoding_of(&response), Some(encoding.as_str()));
            assert_eq!(field(&response, "vary"), Some(VARY));
            let length: u64 = field(&response, "content-length").unwrap().parse().unwrap();
            assert_eq!(response.body().size_hint().exact(), Some(length));
            assert!(length < len as u64 * 2 / 3, "{encoding:?}: {length} of {len}");
            let mut body = response.into_body();
            let drained = drain(&mut body);
            assert_eq!(drained.bytes().len() as u64, length);
            assert_eq!(drained.frames.len(), 1, "a whole body is one frame");
            assert_eq!(decode(encoding.as_str(), &drained.bytes()), text, "{encoding:?} {len}");
        }
    }
}

#[test]
fn the_programs_of_other_people_decode_what_is_sent() {
    for (encoding, program) in
        [(Encoding::Gzip, "gzip"), (Encoding::Brotli, "brotli"), (Encoding::Zstd, "zstd")]
    {
        for len in [2 * KIB, WHOLE, WHOLE + 1] {
            let text = prose(len, 2);
            let response = html().body(full(text.clone())).unwrap();
            let response = answer(&every(), accepting(encoding), response);
            let encoded = drain(&mut response.into_body()).bytes();
            let process = Command::new(program)
                .arg("-dc")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn();
            let Ok(mut process) = process else {
                eprintln!("NOT TESTED: there is no program `{program}` here to decode with");
                continue;
            };
            let mut stdin = process.stdin.take().unwrap();
            let writer = std::thread::spawn(move || stdin.write_all(&encoded).unwrap());
            let output = process.wait_with_output().unwrap();
            writer.join().unwrap();
            assert!(output.status.success(), "{program} {len}");
            assert!(output.stdout == text, "{program} {len}");
        }
    }
}

#[test]
fn every_level_of_every_coding_decodes() {
    let text = prose(20 * KIB, 3);
    for (encoding, levels) in [
        (Encoding::Gzip, 1..=9),
        (Encoding::Deflate, 1..=9),
        (Encoding::Brotli, 0..=11),
        (Encoding::Zstd, 1..=22),
    ] {
        for level in levels.clone() {
            let layer = every().level(encoding, level).unwrap();
            // Three times, so that the pooled state is used again; once as a stream.
            for _ in 0..3 {
                let response = html().body(full(text.clone())).unwrap();
                let response = answer(&layer, accepting(encoding), response);
                assert_eq!(encoding_of(&response), Some(encoding.as_str()));
                assert_eq!(read(response), text, "{encoding:?} {level}");
            }
            let stream = Scripted::new(steps([text.slice(..9_000), text.slice(9_000..)]));
            let response = answer(&layer, accepting(encoding), html().body(stream).unwrap());
            assert_eq!(encoding_of(&response), Some(encoding.as_str()));
            assert_eq!(read(response), text, "{encoding:?} {level}");
        }
        let over = *levels.end() + 1;
        let error = CompressLayer::new().level(encoding, over).unwrap_err();
        assert!(error.to_string().contains(&over.to_string()), "{error}");
        assert!(error.to_string().contains(encoding.as_str()), "{error}");
    }
    assert!(CompressLayer::new().level(Encoding::Zstd, 0).is_err());
    assert!(CompressLayer::new().level(Encoding::Gzip, u32::MAX).is_err());
}

#[test]
fn a_level_is_used_and_the_default_of_gzip_is_6() {
    let text = prose(50 * KIB, 4);
    let length = |layer: &CompressLayer| {
        let response = answer(layer, get(), html().body(full(text.clone())).unwrap());
        response.body().size_hint().exact().unwrap()
    };
    let at = |level| length(&CompressLayer::new().level(Encoding::Gzip, level).unwrap());
    assert_eq!(length(&CompressLayer::new()), at(6));
    assert!(at(1) > at(6), "{} {}", at(1), at(6));
    let mut zlib = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    zlib.write_all(&text).unwrap();
    let zlib = zlib.finish().unwrap().len() as u64;
    assert!(at(6) <= zlib + zlib / 100, "{} where zlib has {zlib}", at(6));
}

#[test]
fn a_whole_body_that_does_not_shrink_is_sent_as_it_is() {
    for encoding in ENCODINGS {
        for len in [1_024, 10_000, WHOLE] {
            let bytes = noise(len);
            let response = html()
                .header("content-length", len)
                .header("etag", "\"v1\"")
                .header("accept-ranges", "bytes")
                .header("content-digest", "sha-256=:AA==:")
                .body(full(bytes.clone()))
                .unwrap();
            let response = answer(&every(), accepting(encoding), response);
            assert_eq!(encoding_of(&response), None, "{encoding:?} {len}");
            assert_eq!(field(&response, "content-length"), Some(len.to_string().as_str()));
            assert_eq!(field(&response, "vary"), Some(VARY));
            assert_eq!(field(&response, "etag"), Some("\"v1\""));
            assert_eq!(field(&response, "accept-ranges"), Some("bytes"));
            assert!(response.headers().contains_key("content-digest"));
            assert_eq!(response.body().size_hint().exact(), Some(len as u64));
            let drained = drain(&mut response.into_body());
            assert_eq!(drained.frames, [bytes], "{encoding:?} {len}");
        }
    }
}

#[test]
fn several_frames_that_are_ready_are_one_whole_body() {
    for encoding in ENCODINGS {
        let text = prose(5_000, 5);
        for tells_end in [false, true] {
            let parts = [text.slice(..7), Bytes::new(), text.slice(7..4_000), text.slice(4_000..)];
            let mut body = Scripted::new(steps(parts)).exact();
            if tells_end {
                body = body.tells_end();
            }
            let log = body.log();
            let response = answer(&every(), accepting(encoding), html().body(body).unwrap());
            let length = response.body().size_hint().exact().expect("an exact length");
            assert_eq!(field(&response, "content-length"), Some(length.to_string().as_str()));
            assert_eq!(read(response), text);
            assert!(!log.polled_after_end());
        }
    }
}

#[test]
fn frames_that_are_ready_and_do_not_shrink_pass_one_by_one() {
    let bytes = noise(5_000);
    let parts = [bytes.slice(..1_000), bytes.slice(1_000..4_000), bytes.slice(4_000..)];
    let body = Scripted::new(steps(parts.clone())).exact();
    let log = body.log();
    let response = sent(body);
    assert_eq!(encoding_of(&response), None);
    assert_eq!(response.body().size_hint().exact(), Some(5_000));
    assert_eq!(drain(&mut response.into_body()).frames, parts);
    assert!(!log.polled_after_end());
}

#[test]
fn a_declared_length_is_as_good_as_a_known_size() {
    let text = prose(3_000, 6);
    let body = Scripted::<BoxError>::new(steps([text.clone()]));
    let response = html().header("content-length", 3_000).body(body).unwrap();
    let response = answer(&CompressLayer::new(), get(), response);
    assert!(response.body().size_hint().exact().is_some_and(|length| length < 3_000));
    assert_eq!(read(response), text);
}

#[test]
fn one_byte_over_the_bound_is_a_stream() {
    for (len, whole) in [(WHOLE, true), (WHOLE + 1, false)] {
        let text = prose(len, 7);
        let response = html().header("content-length", len).body(full(text.clone())).unwrap();
        let response = answer(&CompressLayer::new(), get(), response);
        assert_eq!(encoding_of(&response), Some("gzip"));
        assert_eq!(field(&response, "content-length").is_some(), whole);
        assert_eq!(response.body().size_hint().exact().is_some(), whole);
        assert_eq!(read(response), text);
    }
}

#[test]
fn trailers_pass_behind_the_data() {
    for encoding in ENCODINGS {
        let text = prose(5_000, 8);
        for exact in [false, true] {
            for pending in [false, true] {
                let mut all =
                    vec![Step::Data(text.slice(..2_000)), Step::Data(text.slice(2_000..))];
                if pending {
                    all.push(Step::Pending);
                }
                all.push(trailers());
                let mut body = Scripted::<BoxError>::new(all);
                if exact {
                    body = body.exact();
                }
                let log = body.log();
                let response = answer(&every(), accepting(encoding), html().body(body).unwrap());
                assert_eq!(encoding_of(&response), Some(encoding.as_str()));
                let drained = drain(&mut response.into_body());
                assert_eq!(decode(encoding.as_str(), &drained.bytes()), text);
                assert_eq!(drained.trailers.expect("the trailers")["x-sum"], "1");
                assert!(!log.polled_after_end());
            }
        }
    }
}

#[test]
fn trailers_of_a_body_that_is_left_alone_pass() {
    let bytes = noise(2_000);
    for exact in [false, true] {
        let mut body =
            Scripted::<BoxError>::new([Step::Data(bytes.clone()), Step::Pending, trailers()]);
        if exact {
            body = body.exact();
        }
        let response = Response::builder().header("content-type", "image/png").body(body).unwrap();
        let response = answer(&CompressLayer::new(), get(), response);
        let drained = drain(&mut response.into_body());
        assert_eq!(drained.frames, std::slice::from_ref(&bytes));
        assert!(drained.trailers.is_some());
    }
}

#[test]
fn a_body_of_known_size_that_is_pending_midway_is_a_stream() {
    for encoding in ENCODINGS {
        let text = prose(5_000, 9);
        for at in [0, 1, 2_500, 5_000] {
            let body = Scripted::<BoxError>::new([
                Step::Data(text.slice(..at)),
                Step::Pending,
                Step::Data(text.slice(at..)),
            ])
            .exact();
            let log = body.log();
            let response = html().header("content-length", 5_000).body(body).unwrap();
            let response = answer(&every(), accepting(encoding), response);
            assert_eq!(encoding_of(&response), Some(encoding.as_str()));
            assert_eq!(field(&response, "content-length"), None, "{at}");
            assert_eq!(read(response), text);
            assert!(!log.polled_after_end());
        }
    }
}

/// Data in several pieces, as proxies have it.
#[derive(Debug)]
struct Pieces(VecDeque<Bytes>);

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.iter().find(|piece| !piece.is_empty()).map_or(&[], |piece| piece)
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let first = self.0.front_mut().expect("so many bytes");
            let some = count.min(first.len());
            first.advance(some);
            count -= some;
            if first.is_empty() {
                self.0.pop_front();
            }
        }
    }
}

impl From<Bytes> for Pieces {
    fn from(bytes: Bytes) -> Self {
        Self([bytes].into())
    }
}

#[test]
fn a_frame_in_several_pieces_is_compressed_with_all_of_them() {
    for encoding in ENCODINGS {
        for len in [1_024, 5_000, 300 * KIB] {
            let text = prose(len, 10);
            let pieces = [text.slice(..10), Bytes::new(), text.slice(10..900), text.slice(900..)];
            let body = Full::new(Pieces(pieces.into()));
            let response = answer(&every(), accepting(encoding), html().body(body).unwrap());
            assert_eq!(encoding_of(&response), Some(encoding.as_str()));
            assert_eq!(read(response), text, "{encoding:?} {len}");
        }
    }
    let bytes = noise(3_000);
    let response = sent(Full::new(Pieces([bytes.slice(..9), bytes.slice(9..)].into())));
    assert_eq!(read(response), bytes);
}

// Whole bodies by libdeflate.

const BY_LIBDEFLATE: [Encoding; 2] = [Encoding::Gzip, Encoding::Deflate];

#[test]
fn libdeflate_makes_whole_bodies_that_decode_with_their_exact_length() {
    for encoding in BY_LIBDEFLATE {
        for level in 1..=9 {
            let layer = every().level(encoding, level).unwrap().libdeflate();
            for len in [0, 1, 2, 100, 1_023, 1_024, 1_025, 10 * KIB, 50_001, WHOLE - 1, WHOLE] {
                let text = prose(len, level.into());
                let response = html().header("content-length", len).body(full(text.clone()));
                let mut response = response.unwrap();
                response.extensions_mut().insert(CompressHint::force());
                let response = answer(&layer, accepting(encoding), response);
                let shrinks = len >= 100;
                assert_eq!(encoding_of(&response), shrinks.then_some(encoding.as_str()), "{len}");
                let length = response.body().size_hint().exact().expect("an exact length");
                assert_eq!(field(&response, "content-length"), Some(length.to_string().as_str()));
                assert!(!shrinks || length < len as u64, "{encoding:?} {level}: {length} of {len}");
                assert_eq!(read(response), text, "{encoding:?} {level} {len}");
            }
        }
    }
}

#[test]
fn libdeflate_is_used_for_what_is_compressed_at_once_and_for_nothing_else() {
    let bytes = |layer: &CompressLayer, encoding: Encoding, parts: &[Bytes], exact: bool| {
        let body = Scripted::new(steps(parts.iter().cloned()));
        let body = if exact { body.exact() } else { body };
        let response = answer(layer, accepting(encoding), html().body(body).unwrap());
        assert_eq!(encoding_of(&response), Some(encoding.as_str()));
        assert_eq!(field(&response, "content-length").is_some(), exact);
        drain(&mut response.into_body()).bytes()
    };
    let text = prose(20_000, 70);
    let parts = [text.slice(..7), Bytes::new(), text.slice(7..9_000), text.slice(9_000..)];
    for encoding in ENCODINGS {
        // One after the other, so that each could find the other's codec in the pool.
        for exact in [true, false, true, false] {
            let usual = bytes(&every(), encoding, &parts, exact);
            let other = bytes(&every().libdeflate(), encoding, &parts, exact);
            let differs = exact && BY_LIBDEFLATE.contains(&encoding);
            assert_eq!(usual != other, differs, "{encoding:?} {exact}");
            assert_eq!(decode(encoding.as_str(), &other), text);
        }
    }
}

#[test]
fn libdeflate_sends_what_does_not_shrink_as_it_is_unless_identity_is_refused() {
    let layer = every().libdeflate();
    for encoding in BY_LIBDEFLATE {
        for len in [1_024, 10_000, WHOLE] {
            let bytes = noise(len);
            let parts = [bytes.slice(..1_000), bytes.slice(1_000..)];
            let body = Scripted::new(steps(parts.clone())).exact();
            let response = answer(&layer, accepting(encoding), html().body(body).unwrap());
            assert_eq!(encoding_of(&response), None, "{encoding:?} {len}");
            assert_eq!(drain(&mut response.into_body()).frames, parts);
        }
        for len in [1, 7, 1_024, WHOLE] {
            let accept = format!("{}, identity;q=0", encoding.as_str());
            let request = Request::get("/").header("accept-encoding", accept);
            let response = answer(&layer, request, html().body(full(noise(len))).unwrap());
            assert_eq!(encoding_of(&response), Some(encoding.as_str()), "{len}");
            let length = response.body().size_hint().exact().unwrap();
            assert!(length > len as u64, "{length} of {len}");
            assert_eq!(read(response), noise(len));
        }
    }
}

#[test]
fn libdeflate_pads_where_it_is_asked_to_and_forgets_it() {
    let layer = CompressLayer::new().libdeflate();
    let text = prose(3_000, 71);
    let length = |hint: CompressHint| {
        let response = answer(&layer, get(), hinted(hint, html(), text.clone()));
        let length = response.body().size_hint().exact().unwrap();
        assert_eq!(read(response), text);
        length
    };
    let plain = length(CompressHint::default());
    assert_eq!(
        length(CompressHint::default().max_padding(1)),
        plain + 2,
        "a name of one byte and its zero"
    );
    let mut lengths: Vec<_> =
        (0..60).map(|_| length(CompressHint::default().max_padding(255))).collect();
    assert!(lengths.iter().all(|length| (plain + 2..=plain + 256).contains(length)));
    lengths.sort_unstable();
    lengths.dedup();
    assert!(lengths.len() > 20, "{lengths:?}");
    assert_eq!(length(CompressHint::default()), plain);
}

// Endings.

#[test]
fn an_error_of_the_body_passes_and_nothing_comes_after_it() {
    for encoding in ENCODINGS {
        let text = prose(3_000, 11);
        for pending in [false, true] {
            // The length is unknown, or known and longer than what comes before the error.
            for hint in [SizeHint::new(), SizeHint::with_exact(5_000), SizeHint::with_exact(3_000)]
            {
                let mut all = vec![Step::Data(text.clone())];
                if pending {
                    all.push(Step::Pending);
                }
                all.push(Step::Error("broken".into()));
                let body = Scripted::<BoxError>::new(all).hint(&hint);
                let log = body.log();
                let response = answer(&every(), accepting(encoding), html().body(body).unwrap());
                assert_eq!(encoding_of(&response), Some(encoding.as_str()));
                assert_eq!(field(&response, "content-length"), None);
                let drained = drain(&mut response.into_body());
                assert_eq!(drained.error.as_deref(), Some("broken"), "{encoding:?}");
                assert_cut(encoding.as_str(), &drained.bytes(), &text);
                assert!(!log.polled_after_end());
            }
        }
    }
}

#[test]
fn an_error_keeps_its_type() {
    #[derive(Debug, PartialEq)]
    struct Own(u8);
    let mut body = sent(Scripted::new([data(2_000), Step::Error(Own(7))])).into_body();
    let error = loop {
        match poll_frame(&mut body) {
            Poll::Ready(Some(Err(error))) => break error,
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
            Poll::Ready(None) => panic!("no error"),
        }
    };
    assert_eq!(error.into_inner(), Some(Own(7)));
}

#[test]
fn an_error_at_once_is_the_only_thing_that_comes() {
    for hint in [SizeHint::new(), SizeHint::with_exact(5_000)] {
        let body = Scripted::<BoxError>::new([Step::Error("broken".into())]).hint(&hint);
        let drained = drain(&mut sent(body).into_body());
        assert_eq!(drained.error.as_deref(), Some("broken"));
        assert!(drained.frames.is_empty());
    }
}

/// Without the layer the server, or the client, sees that the declared length is not what came. A
/// complete gzip body would say that all is well.
#[test]
fn a_body_of_another_length_than_declared_fails() {
    for encoding in ENCODINGS {
        for (declared, given) in
            [(5_000, 3_000), (3_000, 5_000), (200_000, 3_000), (3_000, 200_000)]
        {
            for (header, exact, pending) in [
                (true, true, false),
                (true, false, true),
                (false, true, false),
                (false, true, true),
            ] {
                let text = prose(given, 12);
                let mut all = steps([text.slice(..2_000), text.slice(2_000..)]);
                if pending {
                    all.insert(1, Step::Pending);
                }
                let mut body = Scripted::new(all);
                if exact {
                    body = body.hint(&SizeHint::with_exact(declared));
                }
                let mut response = html();
                if header {
                    response = response.header("content-length", declared);
                }
                let response = answer(&every(), accepting(encoding), response.body(body).unwrap());
                assert_eq!(encoding_of(&response), Some(encoding.as_str()));
                assert_eq!(field(&response, "content-length"), None);
                let drained = drain(&mut response.into_body());
                let error = drained.error.as_deref().expect("an error");
                assert!(error.contains(&declared.to_string()), "{error}");
                assert_cut(encoding.as_str(), &drained.bytes(), &text);
            }
        }
    }
}

#[test]
fn the_inner_body_is_never_asked_again_after_its_end() {
    let text = prose(2_000, 14);
    let noise = noise(2_000);
    for (bytes, media_type) in [(&text, "text/html"), (&noise, "text/html"), (&text, "image/png")] {
        for pending in [false, true] {
            for exact in [false, true] {
                let mut all = vec![Step::<BoxError>::Data(bytes.clone())];
                if pending {
                    all.push(Step::Pending);
                }
                let mut body = Scripted::new(all);
                if exact {
                    body = body.exact();
                }
                let log = body.log();
                let response = Response::builder().header("content-type", media_type);
                let response = answer(&CompressLayer::new(), get(), response.body(body).unwrap());
                assert_eq!(read(response), *bytes);
                assert!(!log.polled_after_end(), "{media_type} {pending} {exact}");
            }
        }
    }
}

#[test]
fn a_stream_that_is_empty_or_has_only_empty_frames_is_valid() {
    for encoding in ENCODINGS {
        for parts in [vec![], vec![data(0)], vec![data(0), Step::Pending, data(0)]] {
            let body = Scripted::<BoxError>::new(parts);
            let response = answer(&every(), accepting(encoding), html().body(body).unwrap());
            assert_eq!(read(response), b"", "{encoding:?}");
        }
    }
}

/// What clients hold open must not fill the memory with codecs.
#[test]
fn beyond_the_most_streams_bodies_are_sent_as_they_are() {
    let layer = every().max_streams(2);
    let stream = |encoding| {
        let body = Scripted::<BoxError>::new([data(2_000), Step::Pending, data(2_000)]);
        answer(&layer, accepting(encoding), html().body(body).unwrap())
    };
    for encoding in ENCODINGS {
        let mut first = stream(encoding);
        let second = stream(encoding);
        assert_eq!([&first, &second].map(encoding_of), [Some(encoding.as_str()); 2]);
        let mut third = stream(encoding);
        assert_eq!((encoding_of(&third), list(&third, "vary").as_str()), (None, VARY));
        assert_eq!(drain(third.body_mut()).bytes(), [b'x'; 4_000]);
        // What is compressed at once takes no place.
        let whole = full(vec![b'x'; 2_000]);
        let whole = answer(&layer, accepting(encoding), html().body(whole).unwrap());
        assert_eq!(encoding_of(&whole), Some(encoding.as_str()));
        // The end of one is the place of another, and so is its being dropped.
        drain(first.body_mut());
        let next = stream(encoding);
        assert_eq!(encoding_of(&next), Some(encoding.as_str()));
        assert_eq!(encoding_of(&stream(encoding)), None);
        drop(second);
        assert_eq!(encoding_of(&stream(encoding)), Some(encoding.as_str()));
    }
    // Nor does one that fails hold it.
    let body = Scripted::<BoxError>::new([data(2_000), Step::Error("broken".into())]);
    let mut failed = answer(&layer, get(), html().body(body).unwrap());
    drain(failed.body_mut());
    let both = [stream(Encoding::Gzip), stream(Encoding::Gzip)];
    assert_eq!(both.each_ref().map(encoding_of), [Some("gzip"); 2]);
}

#[test]
fn a_stream_that_is_dropped_midway_drops_the_inner_body_and_spoils_nothing() {
    let layer = every();
    for encoding in ENCODINGS {
        for round in 0..5 {
            let secret = prose(30_000, 100 + round);
            let body = Scripted::<BoxError>::new([Step::Data(secret), Step::PendingForever]);
            let log = body.log();
            let response = answer(&layer, accepting(encoding), html().body(body).unwrap());
            let mut body = response.into_body();
            for _ in 0..round {
                assert!(poll_frame(&mut body).is_ready() || round > 1);
            }
            drop(body);
            assert!(log.dropped());
            let text = prose(20_000, 15);
            let whole =
                answer(&layer, accepting(encoding), html().body(full(text.clone())).unwrap());
            assert_eq!(read(whole), text);
        }
    }
}

#[test]
fn a_body_after_an_abandoned_one_is_the_same_to_the_byte() {
    // Nothing of what one client was sent may show in what another one gets.
    for encoding in ENCODINGS {
        let text = prose(20_000, 16);
        let encode = || {
            let response = html().body(full(text.clone())).unwrap();
            drain(&mut answer(&every(), accepting(encoding), response).into_body()).bytes()
        };
        let fresh = std::thread::scope(|scope| scope.spawn(encode).join().unwrap());
        for len in [1, 500, 20_000, 90_000] {
            for wait in [false, true] {
                let mut all = steps([noise(len)]);
                if wait {
                    all.push(Step::Pending);
                    all.push(Step::Data(text.slice(..len.min(5_000))));
                }
                all.push(Step::PendingForever);
                let body = Scripted::new(all);
                let response = answer(&every(), accepting(encoding), html().body(body).unwrap());
                let mut body = response.into_body();
                for _ in 0..30 {
                    drop(poll_frame(&mut body));
                }
                drop(body);
                assert_eq!(encode(), fresh, "{encoding:?} {len}");
            }
        }
    }
}

// Streams.

#[test]
fn each_event_of_a_slow_stream_decodes_before_the_next_one_is_produced() {
    for encoding in ENCODINGS {
        let events: Vec<_> =
            (1..=20).map(|n| Bytes::from(format!("id: {n}\ndata: event {n}\n\n"))).collect();
        let mut all = Vec::new();
        for event in &events {
            all.extend([Step::Pending, Step::Data(event.clone())]);
        }
        all.push(Step::Pending);
        let body = Scripted::<BoxError>::new(all);
        let log = body.log();
        let response =
            Response::builder().header("content-type", "text/event-stream").body(body).unwrap();
        let response = answer(&every(), accepting(encoding), response);
        assert_eq!(encoding_of(&response), Some(encoding.as_str()));
        let mut body = response.into_body();
        let mut decoder = Decoder::new(encoding.as_str());
        let mut expected = Vec::new();
        for event in events {
            expected.extend_from_slice(&event);
            // What is pending comes first, and then the event.
            while log.given() < expected.len() as u64 {
                match poll_frame(&mut body) {
                    Poll::Pending => {}
                    Poll::Ready(frame) => {
                        decoder.feed(frame.unwrap().unwrap().into_data().unwrap());
                    }
                }
            }
            while decoder.decoded != expected {
                let Poll::Ready(frame) = poll_frame(&mut body) else {
                    panic!("{encoding:?}: the stream waits, and the event is not there")
                };
                decoder.feed(frame.unwrap().unwrap().into_data().unwrap());
            }
            assert_eq!(log.given(), expected.len() as u64, "the next event is there already");
        }
        let rest = drain(&mut body);
        decoder.feed(rest.bytes().into());
        assert_eq!(decoder.finish().unwrap(), expected);
    }
}

#[test]
fn gzip_events_decode_in_flate2_too() {
    let body = Scripted::<BoxError>::new([
        Step::Data("data: 1\n\n".into()),
        Step::Pending,
        Step::Data("data: 2\n\n".into()),
        Step::PendingForever,
    ]);
    let response =
        Response::builder().header("content-type", "text/event-stream").body(body).unwrap();
    let mut body = answer(&CompressLayer::new(), get(), response).into_body();
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    for expected in ["data: 1\n\n", "data: 1\n\ndata: 2\n\n"] {
        while decoder.get_ref() != expected.as_bytes() {
            match poll_frame(&mut body) {
                Poll::Ready(frame) => {
                    let data = frame.unwrap().unwrap().into_data().unwrap();
                    decoder.write_all(&data).unwrap();
                    decoder.flush().unwrap();
                }
                Poll::Pending => assert!(!decoder.get_ref().is_empty(), "nothing came"),
            }
        }
    }
}

#[test]
fn all_that_was_fed_is_decodable_when_the_stream_waits_whatever_its_size() {
    // Around the sizes at which a flush fills the output to its last byte.
    let sizes = (1..40).chain(8_100..8_260).chain([16_300, 16_384, 30_000, 65_536, 70_000]);
    let noise = noise(70_000);
    for len in sizes {
        for encoding in ENCODINGS {
            if encoding == Encoding::Brotli && len % 8 != 0 {
                continue;
            }
            let body =
                Scripted::<BoxError>::new([Step::Data(noise.slice(..len)), Step::PendingForever]);
            let mut body =
                answer(&every(), accepting(encoding), html().body(body).unwrap()).into_body();
            let mut decoder = Decoder::new(encoding.as_str());
            let flag = Arc::new(Flag::default());
            let waker = Waker::from(Arc::clone(&flag));
            loop {
                match Pin::new(&mut body).poll_frame(&mut Context::from_waker(&waker)) {
                    Poll::Ready(frame) => {
                        let data = frame.unwrap().unwrap().into_data().unwrap();
                        assert!(!data.is_empty() && data.len() <= PIECE, "{}", data.len());
                        decoder.feed(data);
                    }
                    // It lets others run, and goes on.
                    Poll::Pending if flag.0.swap(false, Ordering::SeqCst) => {}
                    Poll::Pending => break,
                }
            }
            assert!(decoder.decoded == noise[..len], "{encoding:?} {len}");
        }
    }
}

#[test]
fn a_waiting_stream_is_flushed_once_and_not_again_each_time_it_is_asked() {
    let body = Scripted::<BoxError>::new([data(100), Step::PendingForever]);
    let log = body.log();
    let mut body = sent(body).into_body();
    assert!(poll_frame(&mut body).is_ready());
    for _ in 0..5 {
        assert!(poll_frame(&mut body).is_pending());
    }
    assert_eq!(log.given(), 100);
}

#[test]
fn a_stream_that_waits_before_its_first_byte_sends_nothing() {
    let body = Scripted::<BoxError>::new([data(0), Step::PendingForever]);
    let mut body = sent(body).into_body();
    for _ in 0..3 {
        assert!(poll_frame(&mut body).is_pending());
    }
}

#[test]
fn frames_that_are_ready_together_are_not_flushed_one_by_one() {
    for encoding in ENCODINGS {
        let text = prose(400 * KIB, 17);
        let encoded = |frame: usize| {
            let parts = (0..text.len()).step_by(frame);
            let parts = parts.map(|at| text.slice(at..text.len().min(at + frame)));
            let body = Scripted::new(steps(parts));
            let response = answer(&every(), accepting(encoding), html().body(body).unwrap());
            assert_eq!(encoding_of(&response), Some(encoding.as_str()));
            let drained = drain(&mut response.into_body());
            assert_eq!(decode(encoding.as_str(), &drained.bytes()), text);
            (drained.bytes().len(), drained.frames.len())
        };
        let (at_once, _) = encoded(text.len());
        let (in_frames, frames) = encoded(KIB);
        assert!(in_frames * 100 <= at_once * 103, "{encoding:?}: {in_frames} and {at_once} bytes");
        assert!(
            frames <= in_frames / PIECE + 2,
            "{encoding:?}: {frames} frames of {in_frames} bytes"
        );
        if encoding == Encoding::Gzip {
            let mut zlib = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
            zlib.write_all(&text).unwrap();
            let zlib = zlib.finish().unwrap().len();
            assert!(in_frames * 100 <= zlib * 103, "{in_frames}, and {zlib} at once");
        }
    }
}

/// Bytes that write down how many of them were taken.
#[derive(Debug)]
struct Counted {
    bytes: Bytes,
    taken: Arc<AtomicU64>,
}

impl Buf for Counted {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.taken.fetch_add(count as u64, Ordering::SeqCst);
        self.bytes.advance(count);
    }
}

impl From<Bytes> for Counted {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, taken: Arc::default() }
    }
}

#[test]
fn a_poll_takes_in_64_kib_at_most_and_a_frame_holds_8_kib_at_most() {
    let mib = 1024 * KIB;
    for (encoding, bytes) in [
        // What a handler may well send as one frame.
        (Encoding::Gzip, Bytes::from(vec![0; 64 * mib])),
        (Encoding::Gzip, noise(2 * mib)),
        (Encoding::Deflate, prose(2 * mib, 18)),
        (Encoding::Brotli, prose(mib, 18)),
        (Encoding::Brotli, noise(mib)),
        (Encoding::Zstd, Bytes::from(vec![0; 16 * mib])),
        (Encoding::Zstd, noise(2 * mib)),
    ] {
        let taken = Arc::<AtomicU64>::default();
        let body = Full::new(Counted { bytes: bytes.clone(), taken: Arc::clone(&taken) });
        let response = answer(&every(), accepting(encoding), html().body(body).unwrap());
        assert_eq!(encoding_of(&response), Some(encoding.as_str()));
        assert_eq!(taken.load(Ordering::SeqCst), 0, "nothing is taken before it is asked for");
        let mut body = response.into_body();
        let mut encoded = Vec::new();
        let mut polls = 0;
        loop {
            let before = taken.load(Ordering::SeqCst);
            let polled = poll_frame(&mut body);
            let now = taken.load(Ordering::SeqCst) - before;
            assert!(now <= SLICE as u64, "{encoding:?}: {now} bytes in one poll");
            polls += 1;
            match polled {
                Poll::Pending => {}
                Poll::Ready(Some(frame)) => {
                    let data = frame.unwrap().into_data().unwrap().bytes;
                    assert!(data.len() <= PIECE, "{encoding:?}: a frame of {}", data.len());
                    encoded.extend_from_slice(&data);
                }
                Poll::Ready(None) => break,
            }
        }
        assert!(polls >= bytes.len() / SLICE, "{encoding:?}: {polls} polls");
        assert!(decode(encoding.as_str(), &encoded) == bytes, "{encoding:?}");
    }
}

#[tokio::test]
async fn other_tasks_run_while_a_large_body_is_compressed() {
    let body = full(vec![0; 8 * 1024 * KIB]);
    let response = sent(body);
    let done = AtomicBool::new(false);
    let compress = async {
        let encoded = response.into_body().collect().await.unwrap().to_bytes();
        done.store(true, Ordering::SeqCst);
        encoded.len()
    };
    let other = async {
        let mut turns = 0;
        while !done.load(Ordering::SeqCst) {
            turns += 1;
            tokio::task::yield_now().await;
        }
        turns
    };
    let (encoded, turns) = tokio::join!(compress, other);
    assert!(encoded < 64 * KIB);
    assert!(turns >= 8 * 1024 * KIB / SLICE - 1, "{turns} turns");
}

#[test]
fn nothing_is_read_ahead_of_the_client() {
    // Each poll reads what it compresses, and between polls nothing is read.
    let frame = 16 * KIB;
    let noise = noise(100 * frame);
    let parts = (0..100).map(|at| noise.slice(at * frame..(at + 1) * frame));
    let body = Scripted::new(steps(parts));
    let log = body.log();
    let response = sent(body);
    assert_eq!(log.given(), frame as u64, "no more is read than shows that it is not small");
    let mut body = response.into_body();
    let mut out = 0;
    loop {
        let before = log.given();
        let polled = poll_frame(&mut body);
        assert!(log.given() - before <= (SLICE + frame) as u64);
        match polled {
            Poll::Pending => {}
            Poll::Ready(None) => break,
            Poll::Ready(Some(data)) => {
                out += data.unwrap().into_data().unwrap().len() as u64;
                // Noise comes out as it goes in, but for a block that deflate holds.
                let ahead = log.given().saturating_sub(out);
                assert!(ahead <= (SLICE + 2 * frame) as u64, "{ahead} bytes ahead");
            }
        }
    }
    assert_eq!(log.given(), 100 * frame as u64);
}

#[test]
fn a_stream_says_when_it_ends_and_nothing_of_its_length() {
    let text = prose(20_000, 19);
    let body = Scripted::new(steps([text.slice(..9), text.slice(9..)])).exact().hint(&{
        let mut hint = SizeHint::new();
        hint.set_lower(20_000);
        hint
    });
    let with_pending = Scripted::<BoxError>::new([Step::Pending, Step::Data(text)]).exact();
    for body in [body, with_pending] {
        let mut body = sent(body).into_body();
        if body.size_hint().exact().is_some() {
            continue;
        }
        assert_eq!((body.size_hint().lower(), body.size_hint().upper()), (0, None));
        assert!(!body.is_end_stream());
        let mut frames = 0;
        while !body.is_end_stream() {
            match poll_frame(&mut body) {
                Poll::Ready(frame) => {
                    assert!(frame.is_some(), "the last frame did not say that it is the last");
                    frames += 1;
                }
                Poll::Pending => {}
            }
        }
        assert!(frames > 0);
        assert!(matches!(poll_frame(&mut body), Poll::Ready(None)));
    }
}

#[test]
fn a_whole_body_says_that_it_has_ended_behind_its_only_frame() {
    let mut body = sent(full(prose(5_000, 20))).into_body();
    assert!(!body.is_end_stream());
    assert!(matches!(poll_frame(&mut body), Poll::Ready(Some(Ok(_)))));
    assert!(body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(0));
}

#[test]
fn a_pending_stream_is_woken_by_the_inner_body() {
    /// Pending until it is told.
    #[derive(Debug, Default)]
    struct Told(Arc<Mutex<(Option<Bytes>, Option<Waker>)>>);
    impl Body for Told {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let mut told = self.0.lock().unwrap();
            match told.0.take() {
                Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                None => {
                    told.1 = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        }
    }
    // Of unknown length, and of a length that makes the layer try to read all of it at first.
    for declared in [None, Some(5_000)] {
        let told = Told::default();
        let handle = Arc::clone(&told.0);
        let mut response = html();
        if let Some(length) = declared {
            response = response.header("content-length", length);
        }
        let response = answer(&CompressLayer::new(), get(), response.body(told).unwrap());
        let mut body = response.into_body();
        for _ in 0..2 {
            let flag = Arc::new(Flag::default());
            let waker = Waker::from(Arc::clone(&flag));
            let mut cx = Context::from_waker(&waker);
            let mut poll = || Pin::new(&mut body).poll_frame(&mut cx);
            assert!(poll().is_pending());
            assert!(!flag.0.load(Ordering::SeqCst), "it wakes itself");
            let waiting = {
                let mut told = handle.lock().unwrap();
                told.0 = Some("data: 1\n\n".into());
                told.1.take()
            };
            waiting.expect("the inner body was asked").wake();
            assert!(flag.0.load(Ordering::SeqCst), "the task is not woken");
            assert!(matches!(poll(), Poll::Ready(Some(Ok(_)))));
        }
    }
}

// Heads.

type Fields<'a> = &'a [(&'a str, &'a str)];

#[test]
fn what_may_not_be_touched_is_passed_with_head_and_body_as_they_are() {
    let cases: &[(&str, u16, Fields<'_>)] = &[
        ("GET", 204, &[]),
        ("GET", 205, &[]),
        ("GET", 206, &[("content-range", "bytes 0-4999/10000")]),
        ("GET", 206, &[]),
        ("GET", 416, &[("content-range", "bytes */10000")]),
        ("GET", 200, &[("content-range", "bytes 0-4999/10000")]),
        ("GET", 101, &[]),
        ("CONNECT", 200, &[]),
        ("GET", 200, &[("cache-control", "no-transform")]),
        ("GET", 200, &[("cache-control", "public, max-age=60 , No-Transform")]),
        ("GET", 200, &[("cache-control", "public"), ("cache-control", "no-transform")]),
        ("GET", 200, &[("content-encoding", "br")]),
        ("GET", 200, &[("content-encoding", "gzip")]),
        ("GET", 200, &[("content-encoding", "identity, gzip")]),
    ];
    for (method, status, fields) in cases {
        for exact in [false, true] {
            let mut response =
                html().status(*status).header("etag", "\"v1\"").header("accept-ranges", "bytes");
            for (name, value) in *fields {
                response = response.header(*name, *value);
            }
            let text = prose(5_000, 21);
            let mut body = Scripted::<BoxError>::new(steps([text.clone()]));
            if exact {
                body = body.exact();
            }
            let response = response.body(body).unwrap();
            let before = response.headers().clone();
            let request =
                Request::builder().method(*method).uri("/").header("accept-encoding", "gzip");
            let response = answer(&CompressLayer::new(), request, response);
            assert_eq!(*response.headers(), before, "{method} {status} {fields:?}");
            assert_eq!(response.body().size_hint().exact(), exact.then_some(5_000));
            assert_eq!(drain(&mut response.into_body()).frames, [text], "{method} {status}");
        }
    }
}

#[test]
fn an_empty_body_is_left_alone() {
    let response = sent(full(""));
    assert_eq!(encoding_of(&response), None);
    assert!(response.body().is_end_stream());
    assert_eq!(read(response), b"");
}

#[test]
fn identity_as_a_coding_is_none() {
    for value in ["identity", "Identity"] {
        let response = html().header("content-encoding", value).body(full(prose(5_000, 22)));
        let response = answer(&CompressLayer::new(), get(), response.unwrap());
        assert_eq!(list(&response, "content-encoding"), "gzip");
        assert_eq!(read(response), prose(5_000, 22));
    }
}

#[test]
fn errors_and_answers_to_any_method_are_compressed_too() {
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "QUERY"] {
        for status in [200, 201, 203, 404, 500, 503] {
            let request = Request::builder().method(method).header("accept-encoding", "gzip");
            let response = html().status(status).body(full(prose(5_000, 23))).unwrap();
            let response = answer(&CompressLayer::new(), request, response);
            assert_eq!(encoding_of(&response), Some("gzip"), "{method} {status}");
            assert_eq!(response.status(), status);
        }
    }
}

#[test]
fn a_head_request_gets_the_head_of_a_get_without_a_length() {
    // Services answer HEAD with the body of a GET, which the server drops, or with a length alone.
    for (body, declared) in
        [(full(prose(5_000, 24)), false), (full(prose(5_000, 24)), true), (full(""), true)]
    {
        let mut response = html().header("etag", "\"v1\"");
        if declared {
            response = response.header("content-length", 5_000);
        }
        let request = Request::head("/").header("accept-encoding", "gzip");
        let response = answer(&CompressLayer::new(), request, response.body(body).unwrap());
        assert_eq!(encoding_of(&response), Some("gzip"));
        assert_eq!(field(&response, "content-length"), None);
        assert_eq!(field(&response, "vary"), Some(VARY));
        assert_eq!(field(&response, "etag"), Some("\"v1--gzip\""));
    }
    // That of a GET that is not compressed: the media type, the size, the client.
    for (media_type, length, accept, vary) in [
        ("image/png", 5_000, "gzip", None),
        ("text/html", 1_023, "gzip", Some("accept-encoding")),
        ("text/html", 5_000, "br", Some("accept-encoding")),
    ] {
        let response = Response::builder()
            .header("content-type", media_type)
            .header("content-length", length)
            .header("etag", "\"v1\"");
        let request = Request::head("/").header("accept-encoding", accept);
        let response = answer(&pinned(), request, response.body(empty()).unwrap());
        assert_eq!(field(&response, "content-length"), Some(length.to_string().as_str()));
        assert_eq!(field(&response, "etag"), Some("\"v1\""));
        assert_eq!(field(&response, "vary"), vary, "{media_type} {length} {accept}");
    }
}

#[test]
fn a_head_request_to_a_service_that_gives_a_small_body_gets_the_tag_of_a_get() {
    let get_tag = {
        let response = html().header("etag", "\"v1\"").body(full("small")).unwrap();
        list(&answer(&CompressLayer::new(), get(), response), "etag")
    };
    let request = Request::head("/").header("accept-encoding", "gzip");
    let response = html().header("etag", "\"v1\"").body(full("small")).unwrap();
    let head_tag = list(&answer(&CompressLayer::new(), request, response), "etag");
    assert_eq!(head_tag, get_tag);
}

#[test]
fn a_304_has_the_tag_that_the_client_was_given() {
    let layer = CompressLayer::new().etag_mode(EtagMode::Weaken);
    let revalidate = |if_none_match: &str, etag: &str| {
        let request = get().header("if-none-match", if_none_match);
        let response = Response::builder().status(304).header("etag", etag).body(empty()).unwrap();
        list(&answer(&layer, request, response), "etag")
    };
    // As a service that compares weakly answers a client that has the compressed body.
    let compressed = html().header("etag", "\"v1\"").body(full(prose(5_000, 25))).unwrap();
    let given = list(&answer(&layer, get(), compressed), "etag");
    assert_eq!(given, "W/\"v1\"");
    assert_eq!(revalidate(&given, "\"v1\""), given);
    assert_eq!(revalidate("\"other\", W/\"v1\"", "\"v1\""), given);
    // That of a 200 to the same request (RFC 9110 §15.4.5).
    assert_eq!(revalidate("\"v1\"", "\"v1\""), given);
}

/// RFC 9110 §8.8.3: a comma may stand in a tag.
#[test]
fn a_304_has_the_tag_that_the_client_was_given_where_there_is_a_comma_in_it() {
    let request = get().header("if-none-match", "\"b\", \"a,b--gzip\"");
    let response = Response::builder().status(304).header("etag", "\"a,b\"").body(empty()).unwrap();
    let response = answer(&CompressLayer::new(), request, response);
    assert_eq!(field(&response, "etag"), Some("\"a,b--gzip\""));
}

#[test]
fn a_strong_tag_names_its_coding_and_a_weak_one_stays() {
    for (before, after) in [
        ("\"v1\"", "\"v1--gzip\""),
        ("W/\"v1\"", "W/\"v1\""),
        ("\"\"", "\"--gzip\""),
        ("\"a,b\"", "\"a,b--gzip\""),
    ] {
        for body in [boxed_whole(), boxed_stream()] {
            let response = html().header("etag", before).body(body).unwrap();
            let response = answer(&CompressLayer::new(), get(), response);
            assert_eq!(encoding_of(&response), Some("gzip"));
            assert_eq!(list(&response, "etag"), after);
        }
    }
}

fn boxed_whole() -> Scripted {
    Scripted::new(steps([prose(5_000, 26)])).exact()
}

fn boxed_stream() -> Scripted {
    Scripted::new(steps([prose(5_000, 26)]))
}

#[test]
fn fields_that_speak_of_other_bytes_go_only_where_the_bytes_are_others() {
    let stale = [
        ("accept-ranges", "bytes"),
        ("content-digest", "sha-256=:AA==:"),
        ("repr-digest", "sha-256=:AA==:"),
        ("digest", "sha-256=AA=="),
        ("content-md5", "AA=="),
    ];
    let with_all = |body: Scripted| {
        let mut response = html().header("x-own", "1").header("last-modified", "then");
        for (name, value) in stale {
            response = response.header(name, value);
        }
        response.body(body).unwrap()
    };
    for body in [boxed_whole(), boxed_stream()] {
        let response = answer(&CompressLayer::new(), get(), with_all(body));
        assert_eq!(encoding_of(&response), Some("gzip"));
        for (name, _) in stale {
            assert_eq!(field(&response, name), None, "{name}");
        }
        assert_eq!(field(&response, "x-own"), Some("1"));
        assert_eq!(field(&response, "last-modified"), Some("then"));
    }
    for request in [Request::get("/"), get().header("x-no-compression", "1")] {
        let response = answer(&CompressLayer::new(), request, with_all(boxed_whole()));
        for (name, value) in stale {
            assert_eq!(field(&response, name), Some(value), "{name}");
        }
    }
}

#[test]
fn vary_is_merged_once_and_names_what_could_have_changed_the_answer() {
    let one = "accept-encoding";
    for (lines, expected) in [
        (&[][..], &[one][..]),
        (&["origin"], &["origin", one]),
        (&["origin", "cookie"], &["origin", "cookie", one]),
        (&["Accept-Encoding"], &["Accept-Encoding"]),
        (&["origin ,ACCEPT-ENCODING, cookie"], &["origin ,ACCEPT-ENCODING, cookie"]),
        (&["x-accept-encoding"], &["x-accept-encoding", one]),
        (&["accept-encoding-x"], &["accept-encoding-x", one]),
    ] {
        let expected = expected.join(", ");
        // Left for lack of a encoding, which opting out would not change; compressed; opted out.
        for (request, encoding, expected) in [
            (Request::get("/"), None, &expected),
            (Request::get("/").header("accept-encoding", "br"), None, &expected),
            (Request::get("/").header("accept-encoding", "gzip;q=0"), None, &expected),
            (get(), Some("gzip"), &expected),
            (get().header("x-no-compression", ""), None, &expected),
        ] {
            let mut response = html();
            for line in lines {
                response = response.header("vary", *line);
            }
            let response = response.body(full(prose(5_000, 27))).unwrap();
            let response = answer(&pinned(), request, response);
            assert_eq!(encoding_of(&response), encoding);
            assert_eq!(list(&response, "vary"), *expected);
        }
    }
    for line in ["*", "x-no-compression, Accept-Encoding"] {
        let response = html().header("vary", line).body(full(prose(5_000, 27))).unwrap();
        assert_eq!(list(&answer(&CompressLayer::new(), get(), response), "vary"), line);
    }
    let response = html().body(full(prose(1_023, 27))).unwrap();
    let response = answer(&CompressLayer::new(), get(), response);
    assert_eq!(list(&response, "vary"), one, "under the threshold");
    let image = Response::builder().header("content-type", "image/png").header("vary", "origin");
    let response = answer(&CompressLayer::new(), get(), image.body(full(noise(5_000))).unwrap());
    assert_eq!(list(&response, "vary"), "origin", "never eligible");
}

#[test]
fn a_client_opts_out_by_a_field_of_any_value() {
    for value in ["", "1", "true", "false", "0", "no"] {
        let request = get().header("x-no-compression", value);
        let response = html().body(full(prose(5_000, 28))).unwrap();
        let response = answer(&CompressLayer::new(), request, response);
        assert_eq!(encoding_of(&response), None, "{value:?}");
        assert_eq!(list(&response, "vary"), VARY);
        assert_eq!(read(response), prose(5_000, 28));
    }
}

#[test]
fn the_field_that_opts_out_has_another_name_by_choice_or_is_off() {
    let named = CompressLayer::new().opt_out_header(HeaderName::from_static("x-raw"));
    let off = CompressLayer::new().opt_out_header(None);
    for (layer, name, encoding, vary) in [
        (&named, "x-raw", None, VARY),
        (&named, "x-no-compression", Some("gzip"), VARY),
        (&off, "x-no-compression", Some("gzip"), "accept-encoding"),
    ] {
        let response = html().body(full(prose(5_000, 29))).unwrap();
        let response = answer(layer, get().header(name, "1"), response);
        assert_eq!(encoding_of(&response), encoding, "{name}");
        assert_eq!(list(&response, "vary"), vary);
    }
    let request = get().header("x-no-compression", "1");
    let image = Response::builder().header("content-type", "image/png");
    let response = answer(&CompressLayer::new(), request, image.body(full(noise(5_000))).unwrap());
    assert_eq!(field(&response, "vary"), None, "never eligible");
}

#[test]
fn accept_encoding_is_read_by_the_book() {
    let all = CompressLayer::new().encodings([Encoding::Zstd, Encoding::Brotli, Encoding::Gzip]);
    let default = pinned();
    let cases: &[(&CompressLayer, &[&str], Option<&str>)] = &[
        (&default, &["gzip"], Some("gzip")),
        (&default, &["x-gzip"], Some("gzip")),
        (&default, &["GZip"], Some("gzip")),
        (&default, &["deflate"], Some("deflate")),
        (&default, &["deflate, gzip"], Some("gzip")),
        (&default, &["gzip, deflate, br, zstd"], Some("gzip")),
        (&default, &["gzip;q=0.5, deflate;q=0.501"], Some("deflate")),
        (&default, &["gzip;q=0.5", "deflate;q=0.6"], Some("deflate")),
        (&default, &["\tgzip \t; \tq=0.5 , deflate ;Q=0.4"], Some("gzip")),
        (&default, &["*"], Some("gzip")),
        (&default, &["gzip;q=0, *"], Some("deflate")),
        (&default, &["gzip;q=0"], None),
        (&default, &["gzip;q=0.000"], None),
        (&default, &["identity"], None),
        (&default, &["identity, gzip;q=0.5"], None),
        (&default, &["identity;q=0.5, gzip"], Some("gzip")),
        (&default, &["identity;q=0, gzip"], Some("gzip")),
        (&default, &["identity;q=0"], None),
        (&default, &["*;q=0"], None),
        (&default, &["br"], None),
        (&default, &[""], None),
        (&default, &[",, ,gzip,,"], Some("gzip")),
        (&default, &["gzip;q=x, deflate"], Some("deflate")),
        (&default, &["gzip;q=1.5, deflate;q=0.1"], Some("deflate")),
        (&default, &["gzip;q=0.1234, deflate;q=0.1"], Some("deflate")),
        (&default, &["\"gzip\", deflate"], Some("deflate")),
        (&default, &["gzip deflate"], None),
        (&all, &["gzip, deflate, br, zstd"], Some("zstd")),
        (&all, &["gzip, deflate, br"], Some("br")),
        (&all, &["gzip, deflate"], Some("gzip")),
        (&all, &["deflate"], None),
        (&all, &["*"], Some("zstd")),
        (&all, &["zstd;q=0.1, *;q=0.2"], Some("br")),
    ];
    for (layer, lines, expected) in cases {
        let mut request = Request::get("/");
        for line in *lines {
            request = request.header("accept-encoding", *line);
        }
        let response = answer(layer, request, html().body(full(prose(5_000, 30))).unwrap());
        assert_eq!(response.status(), 200, "{lines:?}");
        assert_eq!(encoding_of(&response), *expected, "{lines:?}");
        assert_eq!(read(response), prose(5_000, 30));
    }
}

#[test]
fn a_client_that_refuses_identity_gets_a_small_body_compressed() {
    let small = Bytes::from("a".repeat(500));
    for (accept, expected) in [("gzip, identity;q=0", Some("gzip")), ("gzip", None)] {
        let request = Request::get("/").header("accept-encoding", accept);
        let response = html().body(full(small.clone())).unwrap();
        let response = answer(&CompressLayer::new(), request, response);
        assert_eq!(encoding_of(&response), expected);
        assert_eq!(read(response), small);
    }
}

#[test]
fn a_client_that_refuses_identity_gets_what_becomes_larger_too() {
    for body in [Bytes::from("nine byte"), noise(2_000)] {
        let request = Request::get("/").header("accept-encoding", "gzip, identity;q=0");
        let response = html().body(full(body.clone())).unwrap();
        let response = answer(&CompressLayer::new(), request, response);
        assert_eq!(encoding_of(&response), Some("gzip"));
        assert_eq!(read(response), body);
    }
}

#[test]
fn a_body_of_many_tiny_frames_is_not_gathered() {
    let text = prose(10 * KIB, 3);
    let frames = text.chunks(1).map(Bytes::copy_from_slice);
    let body = Scripted::new(steps(frames)).exact();
    let log = body.log();
    let response = answer(&every(), accepting(Encoding::Gzip), html().body(body).unwrap());
    assert!(log.polls() < 100, "{} frames are held", log.polls());
    assert_eq!(field(&response, "content-length"), None);
    assert_eq!(read(response), text);
}

#[test]
fn a_poll_takes_some_frames_at_most_even_empty_ones() {
    let frames = (0..100_000).map(|_| Bytes::new());
    let body = Scripted::new(steps(frames));
    let log = body.log();
    let response = answer(&every(), accepting(Encoding::Gzip), html().body(body).unwrap());
    let mut body = response.into_body();
    assert!(poll_frame(&mut body).is_pending());
    assert!(log.polls() < 2_000, "{} frames in one poll", log.polls());
}

#[test]
fn digests_of_other_bytes_are_no_trailers() {
    let mut map = HeaderMap::new();
    map.insert("content-digest", "sha-256=:AA==:".parse().unwrap());
    map.insert("x-sum", "1".parse().unwrap());
    let body = Scripted::<BoxError>::new([data(2_000), Step::Trailers(map)]);
    let response = answer(&every(), accepting(Encoding::Gzip), html().body(body).unwrap());
    let collected = now(response.into_body().collect()).unwrap();
    let trailers = collected.trailers().unwrap();
    assert_eq!(trailers.len(), 1, "{trailers:?}");
    assert!(trailers.contains_key("x-sum"));
}

#[test]
fn padding_turns_on_no_coding_that_the_layer_does_not_have() {
    let layer = CompressLayer::new().encodings([]);
    let response = html()
        .extension(CompressHint::default().max_padding(9))
        .body(full(prose(9_000, 3)))
        .unwrap();
    assert_eq!(encoding_of(&answer(&layer, accepting(Encoding::Gzip), response)), None);
}

#[test]
fn bodies_are_compressed_from_the_threshold_on() {
    let sizes = [
        (CompressLayer::new(), 1_024),
        (CompressLayer::new().threshold(512), 512),
        (CompressLayer::new().threshold(3_000), 3_000),
        (CompressLayer::new().threshold(u64::MAX), usize::MAX),
    ];
    for (layer, least) in sizes {
        for len in [511, 512, 1_023, 1_024, 2_999, 3_000, 200_000] {
            let text = prose(len, 31);
            let response = answer(&layer, get(), html().body(full(text.clone())).unwrap());
            assert_eq!(encoding_of(&response).is_some(), len >= least, "{len} from {least} on");
            assert_eq!(read(response), text);
        }
    }
    let layer = CompressLayer::new().threshold(0);
    let repeated = Bytes::from("a".repeat(60));
    let response = answer(&layer, get(), html().body(full(repeated.clone())).unwrap());
    assert_eq!(encoding_of(&response), Some("gzip"));
    assert_eq!(read(response), repeated);
    // A body whose size is not known is looked at until it ends, pauses, or is large enough.
    let stream = |steps: Vec<Step<BoxError>>| sent(Scripted::new(steps));
    for (steps, compressed) in [
        (vec![data(3)], false),
        (vec![data(0), data(3), data(0)], false),
        (vec![data(1_023), trailers()], false),
        ((0..200).map(|_| data(1)).collect(), false),
        (vec![data(1_024)], true),
        (vec![data(512), data(512)], true),
        (vec![data(3), Step::Pending], true),
        (vec![Step::Pending, data(3)], true),
        (vec![data(3), Step::Error("broken".into())], true),
    ] {
        let shown = format!("{steps:?}");
        assert_eq!(encoding_of(&stream(steps)).is_some(), compressed, "{shown}");
    }
    let response = sent(Scripted::<BoxError>::new((0..200).map(|_| data(1))));
    assert_eq!(read(response), [b'x'; 200]);
}

#[test]
fn only_media_types_that_shrink_are_compressed() {
    let yes = [
        "text/html",
        "TEXT/HTML; Charset=UTF-8",
        "text/css",
        "text/event-stream",
        "text/anything",
        "application/json",
        "application/problem+json",
        "application/atom+xml",
        "application/javascript",
        "text/javascript",
        "application/wasm",
        "image/svg+xml",
        "font/ttf",
        "font/otf",
        "application/xml ;x=y",
    ];
    let no = [
        "image/png",
        "Image/PNG",
        "image/jpeg",
        "video/mp4",
        "audio/mpeg",
        "application/zip",
        "application/gzip",
        "application/octet-stream",
        "application/pdf",
        "font/woff2",
        "application/grpc",
        "application/grpc+proto",
        "application/grpc+json",
        "Application/GRPC+JSON",
        "application/grpc-web",
        "text",
        "",
        "json",
    ];
    let types = yes.map(|it| (it, true)).into_iter().chain(no.map(|it| (it, false)));
    for (media_type, expected) in types {
        let response = Response::builder().header("content-type", media_type);
        let response = response.body(full(prose(5_000, 32))).unwrap();
        let response = answer(&CompressLayer::new(), get(), response);
        assert_eq!(encoding_of(&response).is_some(), expected, "{media_type}");
        assert_eq!(response.headers().contains_key("vary"), expected, "{media_type}");
        assert_eq!(read(response), prose(5_000, 32));
    }
    let untyped = Response::new(full(prose(5_000, 32)));
    assert_eq!(encoding_of(&answer(&CompressLayer::new(), get(), untyped)), None);
}

/// Whether a response of this media type is compressed.
fn takes(layer: &CompressLayer, media_type: &str) -> bool {
    let response = Response::builder().header("content-type", media_type);
    let response = answer(layer, get(), response.body(full(prose(5_000, 33))).unwrap());
    encoding_of(&response).is_some()
}

#[test]
fn media_types_are_added_and_removed_in_any_case() {
    let layer = CompressLayer::new()
        .media_type("Application/vnd.SQLite3")
        .and_then(|layer| layer.media_type("image/png"))
        .and_then(|layer| layer.skip_media_type("TEXT/css"))
        .and_then(|layer| layer.skip_media_type("application/ld+json"))
        .unwrap();
    assert!(takes(&layer, "application/vnd.sqlite3"));
    assert!(takes(&layer, "APPLICATION/VND.SQLITE3; version=3"));
    assert!(takes(&layer, "image/png"));
    assert!(!takes(&layer, "image/jpeg"));
    assert!(!takes(&layer, "text/css"));
    assert!(!takes(&layer, "text/css; charset=utf-8"));
    assert!(!takes(&layer, "Application/LD+json"));
    assert!(takes(&layer, "text/html"));
    assert!(takes(&layer, "application/problem+json"));
    // The last word counts.
    assert!(takes(&layer.clone().media_type("text/*").unwrap(), "text/css"));
    assert!(!takes(&layer.skip_media_type("image/*").unwrap(), "image/png"));
}

#[test]
fn a_closure_chooses_the_media_types_in_place_of_the_table() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let layer = {
        let seen = Arc::clone(&seen);
        CompressLayer::new().media_type_if(move |media_type| {
            seen.lock().unwrap().push(media_type.to_owned());
            media_type == "Image/PNG"
        })
    };
    assert!(takes(&layer, "Image/PNG ; x=y"));
    assert!(!takes(&layer, "text/html;charset=utf-8"));
    assert_eq!(*seen.lock().unwrap(), ["Image/PNG", "text/html"]);
}

/// The page: gRPC is never touched, "which compresses by itself".
#[test]
fn grpc_is_not_touched_where_a_closure_wants_every_media_type() {
    let layer = CompressLayer::new().media_type_if(|_| true);
    assert!(takes(&layer, "image/png"));
    assert!(!takes(&layer, "application/grpc"));
    assert!(!takes(&layer, "application/grpc+proto"));
}

#[test]
fn a_closure_over_both_heads_decides() {
    let layer = CompressLayer::new().only_if(|request, response| {
        request.uri.path() != "/raw" && !response.headers.contains_key("x-raw")
    });
    for (path, own, expected) in
        [("/", "x-own", true), ("/raw", "x-own", false), ("/", "x-raw", false)]
    {
        let request = Request::get(path).header("accept-encoding", "gzip").header("x-seen", "1");
        let response = html().header(own, "1").body(full(prose(5_000, 34))).unwrap();
        let response = answer(&layer, request, response);
        assert_eq!(encoding_of(&response).is_some(), expected, "{path} {own}");
        assert_eq!(read(response), prose(5_000, 34));
    }
    // The service gets its request whole.
    let inner = service_fn(|request: Request<Full<Bytes>>| async move {
        assert_eq!(request.headers()["x-seen"], "1");
        assert_eq!(request.extensions().get::<u8>(), Some(&7));
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Ok::<_, Infallible>(html().body(full(body)).unwrap())
    });
    let mut request = get().header("x-seen", "1").body(full(prose(2_000, 35))).unwrap();
    request.extensions_mut().insert(7_u8);
    let response = now(layer.layer(inner).oneshot(request)).unwrap();
    assert_eq!(encoding_of(&response), Some("gzip"));
    assert_eq!(read(response), prose(2_000, 35));
}

#[test]
fn a_closure_cannot_make_the_layer_touch_what_may_not_be_touched() {
    let layer = CompressLayer::new().only_if(|_, _| true);
    let response = html().header("cache-control", "no-transform").body(full(prose(5_000, 36)));
    assert_eq!(encoding_of(&answer(&layer, get(), response.unwrap())), None);
    let response = Response::builder().header("content-type", "image/png");
    assert_eq!(
        encoding_of(&answer(&layer, get(), response.body(full(prose(5_000, 36))).unwrap())),
        None
    );
}

fn hinted(
    hint: CompressHint,
    response: http::response::Builder,
    body: Bytes,
) -> Response<Full<Bytes>> {
    response.extension(hint).body(full(body)).unwrap()
}

#[test]
fn a_handler_forces_compression_of_its_own_answer() {
    let text = Bytes::from("a".repeat(200));
    let png = || Response::builder().header("content-type", "image/png");
    let response =
        answer(&CompressLayer::new(), get(), hinted(CompressHint::force(), png(), text.clone()));
    assert_eq!(encoding_of(&response), Some("gzip"));
    assert_eq!(field(&response, "vary"), Some(VARY));
    assert_eq!(read(response), text);

    // Not where the client does not take it, or HTTP forbids it, or nothing is gained.
    let force = CompressHint::force();
    for (request, response) in [
        (Request::get("/"), hinted(force, html(), prose(5_000, 37))),
        (get().header("x-no-compression", "1"), hinted(force, html(), prose(5_000, 37))),
        (get(), hinted(force, html().status(206), prose(5_000, 37))),
        (get(), hinted(force, html().header("cache-control", "no-transform"), prose(5_000, 37))),
        (get(), hinted(force, html().header("content-encoding", "br"), prose(5_000, 37))),
        (get(), hinted(force, html(), noise(5_000))),
        (get(), hinted(force, html(), Bytes::new())),
    ] {
        let response = answer(&CompressLayer::new(), request, response);
        assert_ne!(encoding_of(&response), Some("gzip"));
    }
}

#[test]
fn a_handler_forbids_compression_of_its_own_answer() {
    let response =
        hinted(CompressHint::forbid(), html().header("etag", "\"v1\""), prose(5_000, 38));
    let response = answer(&CompressLayer::new(), get(), response);
    assert_eq!(encoding_of(&response), None);
    assert_eq!(field(&response, "etag"), Some("\"v1\""));
    assert_eq!(field(&response, "vary"), None, "it is compressed for nobody");
    assert_eq!(read(response), prose(5_000, 38));
    // The hint has nothing to say of other answers.
    let response = hinted(CompressHint::default(), html(), prose(5_000, 38));
    assert_eq!(encoding_of(&answer(&CompressLayer::new(), get(), response)), Some("gzip"));
}

#[test]
fn padding_makes_the_length_vary_and_is_skipped_by_decoders() {
    let text = prose(3_000, 39);
    let plain = sent(full(text.clone())).body().size_hint().exact().unwrap();
    let mut lengths = Vec::new();
    for _ in 0..60 {
        let response = hinted(CompressHint::default().max_padding(100), html(), text.clone());
        let response = answer(&CompressLayer::new(), get(), response);
        let length = response.body().size_hint().exact().unwrap();
        // A name of 1 to 100 bytes and the zero behind it.
        assert!((plain + 1..=plain + 101).contains(&length), "{length}, and {plain} without");
        assert_eq!(field(&response, "content-length"), Some(length.to_string().as_str()));
        assert_eq!(read(response), text);
        lengths.push(length);
    }
    lengths.sort_unstable();
    lengths.dedup();
    assert!(lengths.len() > 20, "{lengths:?}");
    // The pool does not keep the padding.
    assert_eq!(sent(full(text)).body().size_hint().exact(), Some(plain));

    // The most that there can be, of a stream too, and together with a wish.
    for hint in [CompressHint::force().max_padding(255), CompressHint::default().max_padding(1)] {
        let mut response = html().body(boxed_stream()).unwrap();
        response.extensions_mut().insert(hint);
        let response = answer(&CompressLayer::new(), get(), response);
        assert_eq!(encoding_of(&response), Some("gzip"));
        assert_eq!(read(response), prose(5_000, 26));
    }
}

#[test]
fn only_gzip_is_padded_and_so_no_other_coding_is_chosen() {
    for (accept, expected) in [("br, gzip;q=0.1", Some("gzip")), ("br, deflate, zstd", None)] {
        let request = Request::get("/").header("accept-encoding", accept);
        let response = hinted(CompressHint::default().max_padding(50), html(), prose(3_000, 40));
        let response = answer(&every(), request, response);
        assert_eq!(encoding_of(&response), expected, "{accept}");
        assert_eq!(read(response), prose(3_000, 40));
    }
    let response = hinted(CompressHint::forbid().max_padding(50), html(), prose(3_000, 40));
    assert_eq!(encoding_of(&answer(&every(), get(), response)), None);
}

// Beside tower-http.

/// A request and a response to it.
#[derive(Debug, Clone)]
struct Case {
    method: &'static str,
    request: Vec<(&'static str, &'static str)>,
    status: u16,
    response: Vec<(&'static str, &'static str)>,
    body: Bytes,
    streamed: bool,
}

impl Case {
    fn new() -> Self {
        Self {
            method: "GET",
            request: vec![("accept-encoding", "gzip")],
            status: 200,
            response: vec![
                ("content-type", "text/html"),
                ("etag", "\"v1\""),
                ("accept-ranges", "bytes"),
            ],
            body: prose(4_000, 50),
            streamed: false,
        }
    }

    fn with(mut self, edit: impl FnOnce(&mut Self)) -> Self {
        edit(&mut self);
        self
    }

    fn accepts(self, value: &'static str) -> Self {
        self.with(|case| case.request = vec![("accept-encoding", value)])
    }

    fn media_type(self, value: &'static str) -> Self {
        self.with(|case| case.response[0].1 = value)
    }

    /// Of a known size, and small enough to be compressed at once.
    fn is_whole(&self) -> bool {
        let known = !self.streamed || self.says("content-length", "");
        known && self.body.len() <= WHOLE
    }

    fn asks(&self, name: &str) -> bool {
        self.request.iter().any(|(at, _)| *at == name)
    }

    fn says(&self, name: &str, part: &str) -> bool {
        let has = |value: &str| value.to_ascii_lowercase().contains(part);
        self.response.iter().any(|(at, value)| *at == name && has(value))
    }

    fn is_media_type(&self, types: &[&str]) -> bool {
        self.response.iter().any(|(at, value)| *at == "content-type" && types.contains(value))
    }

    fn request(&self) -> Request<Empty<Bytes>> {
        let mut request = Request::builder().method(self.method).uri("/");
        for (name, value) in &self.request {
            request = request.header(*name, *value);
        }
        request.body(empty()).unwrap()
    }

    fn response(&self) -> Response<Scripted> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.response.iter().filter(|(_, value)| *value != "(none)") {
            response = response.header(*name, *value);
        }
        let body = Scripted::new(steps([self.body.clone()]));
        response.body(if self.streamed { body } else { body.exact() }).unwrap()
    }
}

/// What a client sees of an answer.
#[derive(Debug, PartialEq)]
struct View {
    status: u16,
    encoding: Option<String>,
    /// Whether `vary` names `accept-encoding`, and all of its lines.
    varies: bool,
    vary: String,
    /// As the server would send it: of the head, or of the body.
    length: Option<u64>,
    etag: String,
    ranges: bool,
    digest: bool,
}

impl View {
    /// And the decoded body.
    fn of<S, B>(case: &Case, service: S) -> (Self, Vec<u8>)
    where
        S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error = Infallible>,
        B: Body<Data = Bytes> + Unpin,
        B::Error: Display,
    {
        let response = now(service.oneshot(case.request())).unwrap();
        let vary = list(&response, "vary");
        let declared = field(&response, "content-length").map(|length| length.parse().unwrap());
        let encoding = encoding_of(&response).map(str::to_owned);
        let view = Self {
            status: response.status().as_u16(),
            varies: vary.to_ascii_lowercase().contains("accept-encoding") || vary == "*",
            length: declared.or(response
                .body()
                .size_hint()
                .exact()
                .filter(|_| case.method != "HEAD")),
            etag: list(&response, "etag"),
            ranges: response.headers().contains_key("accept-ranges"),
            digest: response.headers().contains_key("content-digest"),
            vary,
            encoding: encoding.clone(),
        };
        let mut body = response.into_body();
        let drained = drain(&mut body);
        assert_eq!(drained.error, None, "{case:?}");
        let bytes = drained.bytes();
        let own = case.says("content-encoding", "");
        let bytes = match encoding {
            Some(encoding) if (!own || encoding == "gzip") && !bytes.is_empty() => {
                decode(&encoding, &bytes)
            }
            _ => bytes,
        };
        (view, bytes)
    }
}

/// A way in which the two differ on purpose.
struct Difference {
    name: &'static str,
    /// Whether it explains all by which these two views differ.
    explains: fn(&Case, ours: &View, theirs: &View) -> bool,
}

/// They compress, for this client or for others, where this layer passes the answer as it is.
fn only_they_would(case: &Case, ours: &View, theirs: &View) -> bool {
    let untouched = !case.says("etag", "\"v1\"") || ours.etag == "\"v1\"";
    let would = theirs.encoding.is_some() || theirs.varies;
    ours.encoding.is_none() && untouched && would && ours.status == theirs.status
}

/// Both name the same headers in `vary`.
fn varies_alike(ours: &View, theirs: &View) -> bool {
    ours.vary == theirs.vary
}

/// Both compress in the same encoding.
fn both_compress(ours: &View, theirs: &View) -> bool {
    ours.encoding.is_some() && ours.encoding == theirs.encoding && ours.status == theirs.status
}

const NOT_WORTH_IT: [&str; 9] = [
    "Image/PNG",
    "video/mp4",
    "audio/mpeg",
    "application/zip",
    "application/octet-stream",
    "application/pdf",
    "font/woff2",
    "text",
    "(none)",
];

/// Each one is argued for. Whatever differs beside them fails the test, as does one that explains
/// nothing any more.
const DIFFERENCES: [Difference; 18] = [
    Difference {
        // The exact length lets clients show progress and keep connections of HTTP/1.0; the tag is
        // of other bytes than the strong one was (RFC 9110 §8.8.1), as are the digests (RFC 9530).
        name: "the head of what both compress: exact length, tag of the encoding, no digest",
        explains: |case, ours, theirs| {
            let length = theirs.length.is_none() && ours.length.is_some() == case.is_whole();
            let encoding = format!("--{}\"", ours.encoding.as_deref().unwrap_or_default());
            let own = ours.etag.is_empty()
                || ours.etag.ends_with(&encoding)
                || ours.etag.starts_with("W/");
            let same = varies_alike(ours, theirs) && ours.ranges == theirs.ranges;
            both_compress(ours, theirs) && length && own && same && !ours.digest
        },
    },
    Difference {
        // Below a packet nothing is saved. That a client which refuses identity gets such a body
        // compressed is what `vary` tells.
        name: "bodies under 1,024 bytes are left",
        explains: |case, ours, theirs| {
            let small = case.body.len() < 1_024;
            small && only_they_would(case, ours, theirs) && ours.varies
        },
    },
    Difference {
        // It asks for no other answer (RFC 9110 §12.5.3), and the smallest one can be given.
        name: "a client that refuses identity gets small bodies compressed",
        explains: |case, ours, theirs| {
            let refuses =
                |value: &str| ["identity;q=0", "*;q=0"].iter().any(|no| value.contains(no));
            let refused = case.request.iter().any(|(_, value)| refuses(value));
            let small = !case.streamed && (1..1_024).contains(&case.body.len());
            refused && small && ours.encoding.is_some() && theirs.encoding.is_none()
        },
    },
    Difference {
        // The same rule for the sizes under their threshold: they could have been compressed, for
        // a client that refuses identity.
        name: "bodies under 32 bytes vary too",
        explains: |case, ours, theirs| {
            let small = !case.streamed && (1..32).contains(&case.body.len());
            small && ours.encoding == theirs.encoding && ours.varies && !theirs.varies
        },
    },
    Difference {
        // They have no content (RFC 9110 §15.3.5, §15.3.6), and 206 has a part of other bytes.
        name: "204, 205 and 206 are left",
        explains: |case, ours, theirs| {
            let left = matches!(case.status, 204..=206);
            left && only_they_would(case, ours, theirs) && !ours.varies
        },
    },
    Difference {
        // RFC 9110 §15.4.5.
        name: "a 304 has no encoding, and the tag of the 200",
        explains: |case, ours, _| case.status == 304 && ours.encoding.is_none() && ours.varies,
    },
    Difference {
        // A list of what shrinks, in place of three names that are compared with their case.
        name: "media types that do not shrink, or that nobody knows, are left",
        explains: |case, ours, theirs| {
            case.is_media_type(&NOT_WORTH_IT) && only_they_would(case, ours, theirs) && !ours.varies
        },
    },
    Difference {
        // gRPC-web frames its own compression as gRPC does.
        name: "gRPC-web is left as gRPC is, in any case",
        explains: |case, ours, theirs| {
            case.says("content-type", "application/grpc")
                && only_they_would(case, ours, theirs)
                && !ours.varies
        },
    },
    Difference {
        // Each event is flushed at once here, so that there is no reason to leave them out.
        name: "event streams are compressed",
        explains: |case, ours, theirs| {
            let events = case.is_media_type(&["text/event-stream", "text/event-stream; a=b"]);
            events && theirs.encoding.is_none() && ours.varies
        },
    },
    Difference {
        // These image types are raw pixels.
        name: "images that are not packed are compressed",
        explains: |case, ours, theirs| {
            case.is_media_type(&["image/bmp"])
                && theirs.encoding.is_none()
                && ours.encoding.is_some()
        },
    },
    Difference {
        // RFC 9111 §5.2.2.6: a MUST.
        name: "no-transform is obeyed",
        explains: |case, ours, theirs| {
            case.says("cache-control", "no-transform")
                && only_they_would(case, ours, theirs)
                && !ours.varies
        },
    },
    Difference {
        // It has the encoding of a GET's (RFC 9110 §9.3.2), whose length is not known.
        name: "the answer to HEAD has the tag of the encoding and no wrong length",
        explains: |case, ours, _| {
            let length = if ours.encoding.is_some() { 0 } else { 1_023 };
            case.method == "HEAD" && ours.length.is_none_or(|it| it <= length)
        },
    },
    Difference {
        // RFC 9110 §9.3.6: what follows is a tunnel.
        name: "2xx to CONNECT is left",
        explains: |case, ours, theirs| {
            case.method == "CONNECT" && only_they_would(case, ours, theirs) && !ours.varies
        },
    },
    Difference {
        name: "what does not become smaller is left",
        explains: |case, ours, theirs| {
            let random = case.body == noise(case.body.len());
            random && only_they_would(case, ours, theirs) && varies_alike(ours, theirs)
        },
    },
    Difference {
        // The answer is there already, and RFC 9110 §12.5.3 lets a server send it; they put 406 on
        // a complete answer, even on one to a POST that has done its work.
        name: "identity where nothing is acceptable, and not 406",
        explains: |_, ours, theirs| {
            theirs.status == 406 && ours.status != 406 && ours.encoding.is_none()
        },
    },
    Difference {
        // It is no encoding (RFC 9110 §8.4.1).
        name: "content-encoding: identity is compressed",
        explains: |case, ours, theirs| {
            case.says("content-encoding", "identity")
                && theirs.encoding.as_deref().is_some_and(|it| it.eq_ignore_ascii_case("identity"))
                && ours.encoding.as_deref() == Some("gzip")
        },
    },
    Difference {
        name: "a client opts out by x-no-compression",
        explains: |case, ours, theirs| {
            let vary = varies_alike(ours, theirs);
            case.asks("x-no-compression") && vary && only_they_would(case, ours, theirs)
        },
    },
    Difference {
        // `*` on its own says that everything is covered; they compare parts of words, so that a
        // field whose name has that of ours inside it is enough.
        name: "vary is compared name by name, and * is enough",
        explains: |case, ours, theirs| {
            let star = case.says("vary", "*") && ours.vary == "*";
            let inside = case.says("vary", "x-accept-encoding")
                && ours.vary == "x-accept-encoding, accept-encoding";
            (star || inside) && both_compress(ours, theirs)
        },
    },
];

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let accepts = [
        "",
        "gzip",
        "x-gzip",
        "GZIP",
        "deflate",
        "br",
        "zstd",
        "gzip, deflate, br, zstd",
        "deflate, gzip",
        "gzip;q=0.5, deflate",
        "gzip;q=0.5, br;q=0.4, identity;q=0.1",
        "gzip;q=0.001",
        "gzip;q=0",
        "gzip;q=0, deflate",
        "identity",
        "identity, gzip;q=0.5",
        "identity;q=0",
        "identity;q=0, gzip",
        "*",
        "*;q=0",
        "*;q=0, gzip",
        "*;q=0.5, gzip;q=0.1",
        "gzip;q=0, *",
        "gzip;q=2",
        "gzip;q=0.1234",
        "gzip;q=abc, deflate",
        "gzip; q=0.7 , deflate ; q=0.8",
        "compress, gzip",
        "snappy",
        ",,gzip,",
        "gzip deflate",
    ];
    let types = [
        "text/html",
        "text/html; charset=utf-8",
        "TEXT/HTML",
        "application/json",
        "application/problem+json",
        "application/javascript",
        "application/wasm",
        "image/svg+xml",
        "image/png",
        "image/jpeg",
        "image/bmp",
        "text/event-stream",
        "text/event-stream; a=b",
        "application/grpc",
        "application/grpc+proto",
        "application/grpc-web",
        "Application/GRPC",
    ];
    let types: Vec<_> = types.into_iter().chain(NOT_WORTH_IT).collect();
    let methods = ["GET", "HEAD", "POST", "OPTIONS", "CONNECT"];
    let statuses = [200, 201, 204, 205, 206, 301, 304, 404, 416, 500];
    for accept in accepts {
        cases.push(Case::new().accepts(accept));
        cases.push(Case::new().accepts(accept).with(|case| case.streamed = true));
        for media_type in ["image/png", "text/event-stream", "video/mp4"] {
            cases.push(Case::new().accepts(accept).media_type(media_type));
        }
        for len in [20, 500] {
            cases.push(Case::new().accepts(accept).with(|case| case.body = prose(len, 51)));
        }
    }
    for media_type in &types {
        for status in statuses {
            cases.push(Case::new().media_type(media_type).with(|case| case.status = status));
        }
        for method in methods {
            cases.push(Case::new().media_type(media_type).with(|case| case.method = method));
        }
    }
    for method in methods {
        for status in statuses {
            cases.push(Case::new().with(|case| (case.method, case.status) = (method, status)));
        }
    }
    for len in [0, 1, 31, 32, 100, 1_023, 1_024, 4_000, WHOLE, WHOLE + 1] {
        for random in [false, true] {
            cases.push(Case::new().with(|case| {
                case.body = if random { noise(len) } else { prose(len, 52) };
            }));
        }
    }
    for field in [
        ("content-encoding", "br"),
        ("content-encoding", "identity"),
        ("content-range", "bytes 0-3999/9000"),
        ("cache-control", "no-transform"),
        ("cache-control", "public, No-Transform"),
        ("cache-control", "public, max-age=60"),
        ("content-length", "4000"),
        ("content-digest", "sha-256=:AA==:"),
        ("vary", "origin"),
        ("vary", "Accept-Encoding"),
        ("vary", "*"),
        ("vary", "x-accept-encoding"),
        ("x-own", "1"),
    ] {
        for streamed in [false, true] {
            for method in ["GET", "POST"] {
                cases.push(Case::new().with(|case| {
                    (case.streamed, case.method) = (streamed, method);
                    case.response.push(field);
                }));
            }
        }
    }
    for field in [
        ("x-no-compression", "1"),
        ("range", "bytes=0-9"),
        ("if-none-match", "\"v1\""),
        ("cache-control", "no-transform"),
    ] {
        cases.push(Case::new().with(|case| case.request.push(field)));
    }
    cases
}

#[test]
fn all_differences_to_tower_http_are_listed_and_argued() {
    // The order is theirs, which is by their own taste; ours is the user's.
    let ours = CompressLayer::new().encodings([
        Encoding::Zstd,
        Encoding::Brotli,
        Encoding::Gzip,
        Encoding::Deflate,
    ]);
    let mut used = [0; DIFFERENCES.len()];
    let cases = cases();
    for case in &cases {
        let inner = || {
            let response = Mutex::new(Some(case.response()));
            service_fn(move |_: Request<Empty<Bytes>>| {
                ready(Ok::<_, Infallible>(response.lock().unwrap().take().unwrap()))
            })
        };
        let (ours, our_text) = View::of(case, ours.layer(inner()));
        let (theirs, their_text) = View::of(case, CompressionLayer::new().layer(inner()));
        // To HEAD, a body is left out where its length would be told wrong.
        assert!(our_text == case.body || case.method == "HEAD" && our_text.is_empty(), "{case:?}");
        assert_eq!(their_text, case.body, "{case:?}");
        if ours == theirs {
            continue;
        }
        let explained = DIFFERENCES.iter().position(|it| (it.explains)(case, &ours, &theirs));
        let shown = Case { body: Bytes::new(), ..case.clone() };
        let len = case.body.len();
        let at = explained
            .unwrap_or_else(|| panic!("{shown:?} of {len}\nours   {ours:?}\ntheirs {theirs:?}"));
        used[at] += 1;
    }
    for (difference, used) in DIFFERENCES.iter().zip(used) {
        assert!(used > 0, "explains nothing: {}", difference.name);
    }
}

// Any body.

/// How a body goes on after its frames.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ending {
    End,
    Trailers,
    Error,
    /// The client leaves after so many polls.
    Drop(usize),
}

fn frames() -> impl Strategy<Value = Vec<Option<Bytes>>> {
    let shrinks = (0..20_000_usize, any::<u64>()).prop_map(|(len, seed)| prose(len, seed));
    let random = prop::collection::vec(any::<u8>(), 0..10_000).prop_map(Bytes::from);
    let small = prop::collection::vec(any::<u8>(), 0..3).prop_map(Bytes::from);
    let frame = prop_oneof![
        2 => Just(None),
        2 => shrinks.prop_map(Some),
        1 => random.prop_map(Some),
        2 => small.prop_map(Some),
        1 => Just(Some(Bytes::new())),
    ];
    prop::collection::vec(frame, 0..12)
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        3 => Just(Ending::End),
        1 => Just(Ending::Trailers),
        2 => Just(Ending::Error),
        2 => (0..12_usize).prop_map(Ending::Drop),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_decodes_is_what_was_fed(
        frames in frames(),
        ending in ending(),
        encoding in 0..ENCODINGS.len(),
        exact in any::<bool>(),
        tells_end in any::<bool>(),
        libdeflate in any::<bool>(),
    ) {
        let layer = if libdeflate { every().libdeflate() } else { every() };
        let encoding = ENCODINGS[encoding];
        let fed = frames.iter().flatten().flatten().copied().collect::<Vec<_>>();
        // An endless pending is one that the client does not wait for.
        let frames = frames.into_iter().map(|frame| frame.map_or(Step::Pending, Step::Data));
        let last = match ending {
            Ending::End => None,
            Ending::Trailers => Some(trailers()),
            Ending::Error => Some(Step::Error(BoxError::from("broken"))),
            Ending::Drop(_) => Some(Step::PendingForever),
        };
        let mut body = Scripted::new(frames.chain(last));
        if exact {
            body = body.exact();
        }
        if tells_end {
            body = body.tells_end();
        }
        let log = body.log();
        let response = answer(&layer, accepting(encoding), html().body(body).unwrap());
        let encoded = encoding_of(&response).map(str::to_owned);
        let declared = field(&response, "content-length").map(|length| length.parse().unwrap());
        let mut body = response.into_body();
        if let Ending::Drop(polls) = ending {
            let mut bytes = Vec::new();
            for _ in 0..polls {
                if let Poll::Ready(Some(frame)) = poll_frame(&mut body) {
                    bytes.extend_from_slice(&frame.unwrap().into_data().unwrap());
                }
            }
            match encoded {
                Some(encoding) => assert_cut(&encoding, &bytes, &fed),
                None => prop_assert!(fed.starts_with(&bytes)),
            }
            return Ok(());
        }
        let drained = drain(&mut body);
        prop_assert!(!log.polled_after_end());
        prop_assert_eq!(drained.error.is_some(), ending == Ending::Error);
        prop_assert_eq!(drained.trailers.is_some(), ending == Ending::Trailers);
        let bytes = drained.bytes();
        match encoded {
            None => prop_assert!(bytes == fed, "identity"),
            Some(encoding) if ending == Ending::Error => assert_cut(&encoding, &bytes, &fed),
            Some(encoding) => {
                prop_assert!(decode(&encoding, &bytes) == fed, "{encoding}");
                prop_assert!(declared.is_none_or(|length: usize| length == bytes.len()));
            }
        }
    }
}

// Counters.

#[test]
fn the_bytes_in_and_out_are_counted_by_coding() {
    for (encoding, layer) in ENCODINGS
        .into_iter()
        .flat_map(|encoding| [(encoding, every()), (encoding, every().libdeflate())])
    {
        for streamed in [false, true] {
            let metrics = Metrics::new();
            let layer = layer.clone().recorder(metrics.recorder());
            let text = prose(20_000, 60);
            let mut body = Scripted::<BoxError>::new(steps([text.slice(..9), text.slice(9..)]));
            if !streamed {
                body = body.exact();
            }
            let response = answer(&layer, accepting(encoding), html().body(body).unwrap());
            let mut body = response.into_body();
            let encoded = drain(&mut body).bytes().len() as u64;
            drop(body);
            let labels = [("encoding", encoding.as_str())];
            assert_eq!(metrics.counted(INPUT, &labels), 20_000, "{encoding:?} {streamed}");
            assert_eq!(metrics.counted(OUTPUT, &labels), encoded, "{encoding:?} {streamed}");
            assert_eq!(metrics.counter_labels(INPUT).len(), 1);
            assert_eq!(metrics.counter_labels(INPUT)[0].len(), 1, "no other label");
            assert!(!metrics.described()[INPUT].1.is_empty());
            assert!(!metrics.described()[OUTPUT].1.is_empty());
        }
    }
}

#[test]
fn a_stream_that_is_dropped_or_fails_has_counted_what_it_has_compressed() {
    for end in [Step::PendingForever, Step::Error(BoxError::from("broken"))] {
        let metrics = Metrics::new();
        let layer = CompressLayer::new().recorder(metrics.recorder());
        let body = Scripted::new([Step::Data(prose(3_000, 61)), Step::Pending, end]);
        let mut body = answer(&layer, get(), html().body(body).unwrap()).into_body();
        let Poll::Ready(Some(Ok(frame))) = poll_frame(&mut body) else { panic!("no frame") };
        let length = frame.into_data().unwrap().len() as u64;
        drop(poll_frame(&mut body));
        drop(body);
        assert_eq!(metrics.counted(INPUT, &[("encoding", "gzip")]), 3_000);
        assert_eq!(metrics.counted(OUTPUT, &[("encoding", "gzip")]), length);
    }
}

#[test]
fn what_is_not_compressed_is_not_counted() {
    let metrics = Metrics::new();
    let layer = CompressLayer::new().recorder(metrics.recorder());
    for (request, response) in [
        (Request::get("/"), html().body(full(prose(5_000, 62)))),
        (get().header("x-no-compression", "1"), html().body(full(prose(5_000, 62)))),
        (get(), html().body(full(noise(5_000)))),
        (get(), html().body(full("small"))),
        (get(), Response::builder().header("content-type", "image/png").body(full(noise(5_000)))),
        (Request::head("/").header("accept-encoding", "gzip"), html().body(full(noise(5_000)))),
    ] {
        drain(&mut answer(&layer, request, response.unwrap()).into_body());
    }
    assert!(metrics.counter_labels(INPUT).is_empty());
    assert!(metrics.counter_labels(OUTPUT).is_empty());
}

#[test]
fn without_a_recorder_of_its_own_the_layer_counts_on_the_one_of_the_process() {
    let metrics = Metrics::new();
    metrics::with_local_recorder(&*metrics.recorder(), || {
        drain(&mut sent(full(prose(5_000, 63))).into_body());
    });
    assert_eq!(metrics.counted(INPUT, &[("encoding", "gzip")]), 5_000);
}

// The service.

type Plain = Request<Empty<Bytes>>;

async fn page(_: Plain) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(html().body(full(prose(5_000, 64))).unwrap())
}

#[test]
fn readiness_passes_through() {
    let (mut service, mut handle) =
        mock::spawn_layer::<Plain, Response<Full<Bytes>>, _>(CompressLayer::new());
    handle.allow(0);
    assert!(service.poll_ready().is_pending());
    handle.allow(1);
    assert!(service.is_woken());
    assert!(matches!(service.poll_ready(), Poll::Ready(Ok(()))));
    let mut answer = Box::pin(service.call(get().body(empty()).unwrap()));
    assert!(poll_once(answer.as_mut()).is_pending(), "the service has not answered");
    let (request, respond) = now(handle.next_request()).unwrap();
    assert_eq!(request.headers()["accept-encoding"], "gzip", "the request passes as it is");
    respond.send_response(html().body(full(prose(5_000, 65))).unwrap());
    let Poll::Ready(Ok(response)) = poll_once(answer.as_mut()) else { panic!("no answer") };
    assert_eq!(encoding_of(&response), Some("gzip"));
    handle.send_error("gone");
    let Poll::Ready(Err(error)) = service.poll_ready() else { panic!("no error") };
    assert_eq!(error.to_string(), "gone");
}

#[tokio::test]
async fn it_works_over_a_concurrency_limit() {
    let mut service = ServiceBuilder::new()
        .layer(CompressLayer::new())
        .layer(ConcurrencyLimitLayer::new(1))
        .service(service_fn(page));
    for _ in 0..3 {
        let response = service.ready().await.unwrap().call(get().body(empty()).unwrap()).await;
        assert_eq!(read(response.unwrap()), prose(5_000, 64));
    }
}

#[tokio::test]
async fn an_error_of_the_service_passes_untouched() {
    #[derive(Debug, PartialEq)]
    struct Own(u8);
    let inner = service_fn(|_: Plain| async { Err::<Response<Full<Bytes>>, _>(Own(7)) });
    let service = CompressLayer::new().only_if(|_, _| true).layer(inner);
    let error: Own = service.oneshot(get().body(empty()).unwrap()).await.unwrap_err();
    assert_eq!(error, Own(7));
}

#[test]
fn an_infallible_service_stays_infallible() {
    fn infallible<S, B>(_: &S)
    where
        S: Service<Plain, Response = Response<B>, Error = Infallible>,
        B: Body<Data = Bytes, Error = CompressError<Infallible>>,
    {
    }
    infallible(&CompressLayer::new().layer(service_fn(page)));
}

#[tokio::test]
async fn twice_in_a_stack_it_compresses_once() {
    let service = ServiceBuilder::new()
        .layer(CompressLayer::new())
        .layer(CompressLayer::new())
        .service(service_fn(page));
    let response = service.oneshot(get().body(empty()).unwrap()).await.unwrap();
    assert_eq!(list(&response, "content-encoding"), "gzip");
    assert_eq!(list(&response, "vary"), VARY);
    assert_eq!(read(response), prose(5_000, 64));
}

#[tokio::test]
async fn one_layer_makes_several_services_and_a_changed_clone_leaves_it_as_it_was() {
    let layer = CompressLayer::new();
    let other = layer.clone().threshold(6_000);
    for (layer, expected) in [(&layer, Some("gzip")), (&layer, Some("gzip")), (&other, None)] {
        let service = layer.layer(service_fn(page));
        let response = service.clone().oneshot(get().body(empty()).unwrap()).await.unwrap();
        assert_eq!(encoding_of(&response), expected);
    }
}
