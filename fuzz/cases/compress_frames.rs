//! Bodies of any frames, with pauses, empty frames, errors and trailers: the output decodes to the
//! input, and a body that was cut does not decode to its end.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use arbitrary::Arbitrary;
use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use tower::{Layer, Service, service_fn};
use tower_kit::CompressLayer;
use tower_kit::compress::{CompressHint, Encoding};

#[derive(Arbitrary, Clone, Debug)]
enum Step {
    Data(Vec<u8>),
    Run(u8, u16),
    Pending,
    Trailers,
    Error,
}

#[derive(Arbitrary, Debug)]
pub(crate) struct Input {
    steps: Vec<Step>,
    level: u32,
    zlib: bool,
    exact: bool,
    tells_end: bool,
    dropped_after: Option<u8>,
}

struct Scripted {
    steps: VecDeque<Step>,
    exact: Option<u64>,
    tells_end: bool,
    ended: bool,
}

impl Step {
    fn data(&self) -> Vec<u8> {
        match self {
            Self::Data(data) => data.clone(),
            Self::Run(byte, times) => vec![*byte; usize::from(*times)],
            _ => Vec::new(),
        }
    }
}

impl Body for Scripted {
    type Data = Bytes;
    type Error = ();

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ()>>> {
        assert!(!self.ended, "polled after its end");
        let step = self.steps.pop_front();
        self.ended = matches!(step, None | Some(Step::Error));
        match step {
            None => Poll::Ready(None),
            Some(Step::Pending) => Poll::Pending,
            Some(Step::Error) => Poll::Ready(Some(Err(()))),
            Some(Step::Trailers) => Poll::Ready(Some(Ok(Frame::trailers(HeaderMap::new())))),
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data.data().into())))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.tells_end && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.exact.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

pub(crate) fn check(input: &Input) {
    let encoding = if input.zlib { Encoding::Deflate } else { Encoding::Gzip };
    // Trailers and errors are the last frame.
    let ends = |step: &Step| matches!(step, Step::Trailers | Step::Error);
    let last = input.steps.iter().position(ends).map_or(input.steps.len(), |at| at + 1);
    let steps: VecDeque<_> = input.steps[..last].iter().cloned().collect();
    let fed: Vec<u8> = steps.iter().flat_map(Step::data).collect();
    let failed = matches!(steps.back(), Some(Step::Error));

    let body = Scripted {
        exact: input.exact.then_some(fed.len() as u64),
        steps,
        tells_end: input.tells_end,
        ended: false,
    };
    let mut response = Response::new(body);
    response.extensions_mut().insert(CompressHint::force());
    let mut response = Some(response);
    let inner =
        service_fn(move |_: Request<()>| ready(Ok::<_, Infallible>(response.take().unwrap())));
    let layer =
        CompressLayer::new().encodings([encoding]).level(encoding, 1 + input.level % 9).unwrap();
    let request = Request::builder().header("accept-encoding", encoding.as_str()).body(()).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(response)) = pin!(layer.layer(inner).call(request)).poll(&mut cx) else {
        panic!("the response is pending");
    };

    let encoded = response.headers().contains_key("content-encoding");
    let length = response
        .headers()
        .get("content-length")
        .map(|length| length.to_str().unwrap().parse::<usize>().unwrap());
    let mut body = pin!(response.into_body());
    let (mut sent, mut error) = (Vec::new(), false);
    for polls in 0.. {
        if input.dropped_after == Some(polls as u8) {
            return;
        }
        assert!(polls < 10_000, "the body never ends");
        match body.as_mut().poll_frame(&mut cx) {
            Poll::Pending => {}
            Poll::Ready(None) => break,
            Poll::Ready(Some(Err(failed))) => error = failed.into_inner().is_some(),
            Poll::Ready(Some(Ok(frame))) => {
                assert!(!error, "a frame after the error");
                if let Ok(data) = frame.into_data() {
                    sent.extend_from_slice(&data);
                }
            }
        }
    }
    assert_eq!(error, failed);
    if !encoded {
        assert!(failed && fed.starts_with(&sent) || sent == fed);
        return;
    }
    if let Some(length) = length {
        assert_eq!(sent.len(), length);
    }
    let (decoded, complete) = decode(&sent, input.zlib);
    assert_eq!(complete, !failed);
    assert!(fed.starts_with(&decoded));
    assert!(failed || decoded == fed);
}

/// Returns the decoded bytes, and `true` if they are complete.
fn decode(sent: &[u8], zlib: bool) -> (Vec<u8>, bool) {
    let mut decompress = if zlib { Decompress::new(true) } else { Decompress::new_gzip(15) };
    let mut decoded = Vec::with_capacity(1 << 20);
    loop {
        let at = decompress.total_in() as usize;
        let before = decompress.total_out();
        let Ok(status) =
            decompress.decompress_vec(&sent[at..], &mut decoded, FlushDecompress::None)
        else {
            panic!("the output is invalid");
        };
        if status == Status::StreamEnd {
            assert_eq!(decompress.total_in() as usize, sent.len(), "bytes after the end");
            return (decoded, true);
        }
        if decompress.total_in() as usize == at && decompress.total_out() == before {
            return (decoded, false);
        }
        decoded.reserve(1 << 16);
    }
}
