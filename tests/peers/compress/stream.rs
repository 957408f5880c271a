use std::convert::Infallible;
use std::io::Write;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use http::Response;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use tower_kit::compress::{CompressLayer, Encoding};

use super::harness::{
    Decoder, ENCODINGS, Flag, KIB, PIECE, SLICE, accepting, compressed, decode, drain, encoding_of,
    every, full, get, html, respond, script, sent, steps,
};
use crate::support::{BoxError, Scripted, Step, data, noise, poll_frame, prose};

#[test]
fn events_decode_before_the_next_is_read() {
    for encoding in ENCODINGS {
        let events: Vec<_> =
            (1..=20).map(|n| Bytes::from(format!("id: {n}\ndata: event {n}\n\n"))).collect();
        let parts = events.iter().flat_map(|event| [Step::Pending, Step::Data(event.clone())]);
        let body = Scripted::<BoxError>::new(parts.chain([Step::Pending]));
        let log = body.log();
        let response = Response::builder().header("content-type", "text/event-stream");
        let request = accepting(encoding.as_str());
        let response = respond(&every(), request, response.body(body).unwrap());
        assert_eq!(encoding_of(&response), Some(encoding.as_str()));
        let mut body = response.into_body();
        let mut decoder = Decoder::new(encoding.as_str());
        let mut expected = Vec::new();
        for event in events {
            expected.extend_from_slice(&event);
            while decoder.decoded != expected {
                match poll_frame(&mut body) {
                    Poll::Pending => assert!(
                        log.given() < expected.len() as u64,
                        "{encoding:?}: the stream waits before the event is decoded"
                    ),
                    Poll::Ready(frame) => {
                        decoder.feed(frame.unwrap().unwrap().into_data().unwrap());
                    }
                }
            }
            assert_eq!(log.given(), expected.len() as u64, "the next event is read already");
        }
        let rest = drain(&mut body);
        decoder.feed(rest.bytes().into());
        assert_eq!(decoder.finish().unwrap(), expected);
    }
}

#[test]
fn gzip_events_decode_in_flate2() {
    let body = Scripted::<BoxError>::new([
        Step::Data("data: 1\n\n".into()),
        Step::Pending,
        Step::Data("data: 2\n\n".into()),
        Step::PendingForever,
    ]);
    let response = Response::builder().header("content-type", "text/event-stream");
    let response = respond(&CompressLayer::new(), get(), response.body(body).unwrap());
    let mut body = response.into_body();
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
fn waiting_streams_are_decodable_at_any_size() {
    // Around the sizes at which a flush fills the output to its last byte.
    let sizes = (1..40).chain(8_100..8_260).chain([16_300, 16_384, 30_000, 65_536, 70_000]);
    let noise = noise(70_000);
    for len in sizes {
        for encoding in ENCODINGS {
            if encoding == Encoding::Brotli && len % 8 != 0 {
                continue;
            }
            let parts = [Step::Data(noise.slice(..len)), Step::PendingForever];
            let mut body = compressed(encoding, script(parts, false)).into_body();
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
                    // The stream lets other tasks run, and goes on.
                    Poll::Pending if flag.take() => {}
                    Poll::Pending => break,
                }
            }
            assert!(decoder.decoded == noise[..len], "{encoding:?} {len}");
        }
    }
}

#[test]
fn waiting_streams_are_flushed_once() {
    for (len, frames) in [(100, 1), (0, 0)] {
        let body = Scripted::<BoxError>::new([data(len), Step::PendingForever]);
        let log = body.log();
        let mut body = sent(body).into_body();
        for _ in 0..frames {
            assert!(poll_frame(&mut body).is_ready());
        }
        for _ in 0..5 {
            assert!(poll_frame(&mut body).is_pending());
        }
        assert_eq!(log.given(), len as u64);
    }
}

#[test]
fn ready_frames_are_not_flushed_one_by_one() {
    for encoding in ENCODINGS {
        let text = prose(400 * KIB, 17);
        let encoded = |frame: usize| {
            let parts = text.chunks(frame).map(Bytes::copy_from_slice);
            let response = compressed(encoding, script(steps(parts), false));
            let drained = drain(&mut response.into_body());
            assert_eq!(decode(encoding.as_str(), &drained.bytes()), text);
            (drained.bytes().len(), drained.frames.len())
        };
        let (at_once, _) = encoded(text.len());
        let (in_frames, frames) = encoded(KIB);
        assert!(in_frames * 100 <= at_once * 103, "{encoding:?}: {in_frames} and {at_once} bytes");
        assert!(frames <= in_frames / PIECE + 2, "{encoding:?}: {frames} frames");
        if encoding == Encoding::Gzip {
            let mut zlib = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
            zlib.write_all(&text).unwrap();
            let zlib = zlib.finish().unwrap().len();
            assert!(in_frames * 100 <= zlib * 103, "{in_frames}, and {zlib} at once");
        }
    }
}

/// Bytes that count how many of them were read.
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
fn polls_read_64_kib_and_frames_hold_8_kib() {
    let mib = 1024 * KIB;
    for (encoding, bytes) in [
        // A handler may well send as much in one frame.
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
        let response = compressed(encoding, body);
        assert_eq!(taken.load(Ordering::SeqCst), 0, "read before the first poll");
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

#[test]
fn polls_read_a_bounded_number_of_frames() {
    let body = script(steps((0..100_000).map(|_| Bytes::new())), false);
    let log = body.log();
    let mut body = compressed(Encoding::Gzip, body).into_body();
    assert!(poll_frame(&mut body).is_pending());
    assert!(log.polls() < 2_000, "{} frames in one poll", log.polls());
}

#[tokio::test]
async fn other_tasks_run_during_compression() {
    let response = sent(full(vec![0; 8 * 1024 * KIB]));
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
    let frame = 16 * KIB;
    let noise = noise(100 * frame);
    let body = script(steps(noise.chunks(frame).map(Bytes::copy_from_slice)), false);
    let log = body.log();
    let response = sent(body);
    assert_eq!(log.given(), frame as u64, "only the read-ahead for the threshold");
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
                // Noise keeps its size, except for a block that deflate holds.
                let ahead = log.given().saturating_sub(out);
                assert!(ahead <= (SLICE + 2 * frame) as u64, "{ahead} bytes ahead");
            }
        }
    }
    assert_eq!(log.given(), 100 * frame as u64);
}

#[test]
fn streams_tell_their_end_but_no_length() {
    let text = prose(20_000, 19);
    let mut at_least = SizeHint::new();
    at_least.set_lower(20_000);
    let ready = Scripted::new(steps([text.slice(..9), text.slice(9..)])).hint(&at_least);
    let pending = script([Step::Pending, Step::Data(text)], true);
    for body in [ready, pending] {
        let mut body = sent(body).into_body();
        assert_eq!((body.size_hint().lower(), body.size_hint().upper()), (0, None));
        assert!(!body.is_end_stream());
        let mut frames = 0;
        while !body.is_end_stream() {
            if let Poll::Ready(frame) = poll_frame(&mut body) {
                assert!(frame.is_some(), "is_end_stream was false after the last frame");
                frames += 1;
            }
        }
        assert!(frames > 0);
        assert!(matches!(poll_frame(&mut body), Poll::Ready(None)));
    }
}

/// A body that is pending until it is given data.
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

#[test]
fn pending_streams_are_woken_by_the_inner_body() {
    // Of unknown length, and of a length for which the layer tries to read the whole body.
    for declared in [None, Some(5_000)] {
        let told = Told::default();
        let handle = Arc::clone(&told.0);
        let mut response = html();
        if let Some(length) = declared {
            response = response.header("content-length", length);
        }
        let response = respond(&CompressLayer::new(), get(), response.body(told).unwrap());
        let mut body = response.into_body();
        for _ in 0..2 {
            let flag = Arc::new(Flag::default());
            let waker = Waker::from(Arc::clone(&flag));
            let mut cx = Context::from_waker(&waker);
            let mut poll = || Pin::new(&mut body).poll_frame(&mut cx);
            assert!(poll().is_pending());
            assert!(!flag.take(), "the stream wakes itself");
            let waiting = {
                let mut told = handle.lock().unwrap();
                told.0 = Some("data: 1\n\n".into());
                told.1.take()
            };
            waiting.expect("the inner body was polled").wake();
            assert!(flag.take(), "the task is not woken");
            assert!(matches!(poll(), Poll::Ready(Some(Ok(_)))));
        }
    }
}
