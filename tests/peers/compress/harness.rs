//! Requests, responses and decoders for the tests of the layer.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Display;
use std::future::ready;
use std::io::Read;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use bytes::{Buf, Bytes};
use http::request::Builder;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{Empty, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_http::decompression::{DecompressionBody, DecompressionLayer};
use tower_kit::compress::{CompressHint, CompressLayer, Encoding, ResponseBody};

use crate::support::{BoxError, Scripted, Step, empty, now, poll_frame};

pub(super) type Compressed<B> = Response<ResponseBody<B>>;

pub(super) const ENCODINGS: [Encoding; 4] =
    [Encoding::Gzip, Encoding::Deflate, Encoding::Brotli, Encoding::Zstd];

pub(super) const KIB: usize = 1024;
/// The largest body that is compressed in one go.
pub(super) const WHOLE: usize = 128 * KIB;
/// The most bytes that one poll compresses.
pub(super) const SLICE: usize = 64 * KIB;
/// The most bytes in one frame of a stream.
pub(super) const PIECE: usize = 8 * KIB;

pub(super) fn get() -> Builder {
    accepting("gzip")
}

pub(super) fn accepting(value: &str) -> Builder {
    Request::get("/").header("accept-encoding", value)
}

pub(super) fn html() -> http::response::Builder {
    Response::builder().header("content-type", "text/html; charset=utf-8")
}

/// Creates a layer with all encodings.
pub(super) fn every() -> CompressLayer {
    CompressLayer::new().encodings(ENCODINGS)
}

/// Sends a request through the layer to a service that gives this response.
pub(super) fn respond<B>(
    layer: &CompressLayer,
    request: Builder,
    response: Response<B>,
) -> Compressed<B>
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

/// Sends a body of HTML through the default layer to a client of gzip.
pub(super) fn sent<B>(body: B) -> Compressed<B>
where
    B: Body + Unpin,
    B::Data: From<Bytes>,
{
    respond(&CompressLayer::new(), get(), html().body(body).unwrap())
}

/// Sends a body of HTML to a client of this encoding, which has to get it compressed.
pub(super) fn compressed<B>(encoding: Encoding, body: B) -> Compressed<B>
where
    B: Body + Unpin,
    B::Data: From<Bytes>,
{
    let response = respond(&every(), accepting(encoding.as_str()), html().body(body).unwrap());
    assert_eq!(encoding_of(&response), Some(encoding.as_str()));
    response
}

pub(super) fn hinted(
    hint: CompressHint,
    response: http::response::Builder,
    body: Bytes,
) -> Response<Full<Bytes>> {
    response.extension(hint).body(full(body)).unwrap()
}

pub(super) fn full(bytes: impl Into<Bytes>) -> Full<Bytes> {
    Full::new(bytes.into())
}

/// Creates a body of these steps, which tells its size or not.
pub(super) fn script(steps: impl IntoIterator<Item = Step>, exact: bool) -> Scripted {
    let body = Scripted::new(steps);
    if exact { body.exact() } else { body }
}

pub(super) fn steps(parts: impl IntoIterator<Item = Bytes>) -> Vec<Step<BoxError>> {
    parts.into_iter().map(Step::Data).collect()
}

pub(super) fn header<'a, B>(response: &'a Response<B>, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

/// Returns all values of a header as one list.
pub(super) fn list<B>(response: &Response<B>, name: &str) -> String {
    let lines = response.headers().get_all(name).iter().map(|line| line.to_str().unwrap());
    lines.collect::<Vec<_>>().join(", ")
}

pub(super) fn encoding_of<B>(response: &Response<B>) -> Option<&str> {
    header(response, "content-encoding")
}

/// The frames, the trailers and the error of a body.
#[derive(Debug, Default)]
pub(super) struct Drained {
    pub(super) frames: Vec<Bytes>,
    pub(super) trailers: Option<HeaderMap>,
    pub(super) error: Option<String>,
}

impl Drained {
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.frames.concat()
    }
}

/// A waker that notes that it was woken.
#[derive(Debug, Default)]
pub(super) struct Flag(AtomicBool);

impl Flag {
    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Polls a body to its end and past it, and checks its promises: a pending body wakes, a size hint
/// holds, and nothing follows an end.
pub(super) fn drain<B>(body: &mut B) -> Drained
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
                assert!(!says_end, "pending after is_end_stream");
                assert!(flag.take(), "pending, and nothing wakes the body");
            }
            Poll::Ready(None) => break,
            Poll::Ready(Some(frame)) => {
                assert!(!says_end, "a frame after is_end_stream");
                let frame = match frame {
                    Ok(frame) => frame,
                    Err(error) => {
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
        assert!(matches!(poll_frame(body), Poll::Ready(None)), "a frame after the end");
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

/// A body that is fed by hand, and pending while it has nothing.
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

/// Decodes piece by piece, as a browser does, with the decoders of tower-http.
pub(super) struct Decoder {
    queue: Queue,
    body: DecompressionBody<Queue>,
    pub(super) decoded: Vec<u8>,
}

impl Decoder {
    pub(super) fn new(encoding: &str) -> Self {
        let queue = Queue::default();
        let response = Response::builder().header("content-encoding", encoding);
        let mut response = Some(response.body(queue.clone()).unwrap());
        let inner = service_fn(move |_: Request<Empty<Bytes>>| {
            ready(Ok::<_, Infallible>(response.take().unwrap()))
        });
        let service = DecompressionLayer::new().layer(inner);
        let response = now(service.oneshot(Request::new(empty()))).unwrap();
        assert!(!response.headers().contains_key("content-encoding"), "no decoder for {encoding}");
        Self { queue, body: response.into_body(), decoded: Vec::new() }
    }

    /// Returns all data that can be decoded so far.
    pub(super) fn feed(&mut self, bytes: Bytes) -> &[u8] {
        self.queue.0.lock().unwrap().0.push_back(bytes);
        while let Poll::Ready(Some(frame)) = poll_frame(&mut self.body) {
            self.decoded.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
        &self.decoded
    }

    /// Returns all data, or an error if the body is cut.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, String> {
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

/// Decodes gzip and deflate with flate2, which also shows bytes after the end, and other encodings
/// with tower-http.
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

pub(super) fn decode(encoding: &str, bytes: &[u8]) -> Vec<u8> {
    try_decode(encoding, bytes).unwrap_or_else(|error| panic!("{encoding}: {error}"))
}

/// Decodes a complete response of any encoding.
pub(super) fn read<B>(response: Response<B>) -> Vec<u8>
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

/// Asserts that no decoder takes a body that failed or was cut for complete, and that it decodes to
/// the start of the input.
pub(super) fn assert_cut(encoding: &str, bytes: &[u8], fed: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    assert!(try_decode(encoding, bytes).is_err(), "a cut {encoding} body decodes to its end");
    let mut decoder = Decoder::new(encoding);
    let decoded = decoder.feed(Bytes::copy_from_slice(bytes));
    assert!(fed.starts_with(decoded), "{encoding}: not a prefix of the input");
}
