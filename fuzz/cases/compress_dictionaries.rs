//! Any bodies, and any text in `available-dictionary`: what the client gets decodes to what the service
//! sent, and nothing is compressed with a dictionary that the client does not name.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use arbitrary::Arbitrary;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use sha2::{Digest, Sha256};
use tower::{Layer, Service, service_fn};
use tower_kit::CompressLayer;
use tower_kit::compress::dictionary::Dictionaries;
use tower_kit::compress::{CompressHint, Encoding};
use zstd_safe::DCtx;

#[derive(Arbitrary, Debug)]
enum Piece {
    Data(Vec<u8>),
    Run(u8, u16),
    /// A part of the body that the client has.
    Old(u16, u16),
}

#[derive(Arbitrary, Debug)]
enum Offer {
    Right,
    /// The hash of the dictionary with other text around it.
    Within(Vec<u8>, Vec<u8>),
    Text(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
pub(crate) struct Input {
    old: Vec<Piece>,
    new: Vec<Piece>,
    offer: Offer,
    cache_control: Option<Vec<u8>>,
    accept: u8,
    level: u32,
    streamed: bool,
    /// From the second use on, the dictionary is a prepared one.
    uses: u8,
}

struct Frames {
    frames: VecDeque<Bytes>,
    exact: Option<u64>,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.frames.pop_front().map(|data| Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> SizeHint {
        self.exact.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

pub(crate) fn check(input: &Input) {
    let old = body(&input.old, &[]);
    let new = body(&input.new, &old);
    let cache_control = match &input.cache_control {
        None => Ok(HeaderValue::from_static("max-age=60")),
        Some(text) => HeaderValue::from_bytes(text),
    };
    let hash = BASE64_STANDARD.encode(Sha256::digest(&old));
    let right = format!(":{hash}:").into_bytes();
    let offer = match &input.offer {
        Offer::Right => right.clone(),
        Offer::Within(before, after) => [before, &right[..], after].concat(),
        Offer::Text(text) => text.clone(),
    };
    let (Ok(cache_control), Ok(offer)) = (cache_control, HeaderValue::from_bytes(&offer)) else {
        return;
    };
    let layer = CompressLayer::new()
        .encodings([Encoding::Zstd])
        .level(Encoding::Zstd, 1 + input.level % 12)
        .unwrap()
        .dictionaries(Dictionaries::new());
    let call = |text: &[u8], headers: &[(&'static str, HeaderValue)], is_streamed: bool| {
        let exact = (!is_streamed).then_some(text.len() as u64);
        let frames = text.chunks(5_000).map(Bytes::copy_from_slice).collect();
        let mut response = Response::new(Frames { frames, exact });
        response.headers_mut().insert("cache-control", cache_control.clone());
        response.extensions_mut().insert(CompressHint::force());
        let mut response = Some(response);
        let inner = service_fn(move |_| ready(Ok::<_, Infallible>(response.take().unwrap())));
        let mut request = Request::get("http://a.test/list").body(()).unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.clone());
        }
        read(layer.clone().layer(inner), request)
    };
    let zstd = ("accept-encoding", HeaderValue::from_static("zstd"));
    let (head, sent) = call(&old, &[zstd], false);
    assert_eq!(decode(&head, &sent, &[]), old);
    let is_dictionary = head.contains_key("use-as-dictionary");
    assert!(
        input.cache_control.is_some() || is_dictionary == (256..=128 << 10).contains(&old.len())
    );

    let accept = ACCEPTED[usize::from(input.accept) % ACCEPTED.len()];
    let is_named = offer.as_bytes().trim_ascii() == right
        // The padding may be left out.
        || offer.as_bytes().trim_ascii() == format!(":{}:", hash.trim_end_matches('=')).as_bytes();
    let headers =
        [("accept-encoding", HeaderValue::from_static(accept)), ("available-dictionary", offer)];
    for _ in 0..=input.uses % 4 {
        let (head, sent) = call(&new, &headers, input.streamed);
        assert_eq!(decode(&head, &sent, &old), new);
        if head.get("content-encoding").is_some_and(|coding| coding == "dcz") {
            assert!(is_named && is_dictionary && accept.contains("dcz"));
        }
    }
}

fn body(pieces: &[Piece], old: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Data(data) => text.extend_from_slice(data),
            Piece::Run(byte, times) => text.resize(text.len() + usize::from(*times), *byte),
            Piece::Old(at, length) => {
                let part = old.get(usize::from(*at)..).unwrap_or_default();
                text.extend_from_slice(&part[..part.len().min(usize::from(*length))]);
            }
        }
        text.truncate(MAX_SIZE);
    }
    text
}

/// Calls the service, and reads the response to its end.
fn read<S, B>(mut service: S, request: Request<()>) -> (HeaderMap, Vec<u8>)
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(response)) = pin!(service.call(request)).poll(&mut cx) else {
        panic!("the response is pending");
    };
    let (head, body) = response.into_parts();
    let (mut body, mut sent) = (pin!(body), Vec::new());
    for _ in 0..100_000 {
        match body.as_mut().poll_frame(&mut cx) {
            Poll::Pending => {}
            Poll::Ready(None) => return (head.headers, sent),
            Poll::Ready(Some(Err(_))) => panic!("the body fails"),
            Poll::Ready(Some(Ok(frame))) => {
                sent.extend_from_slice(&frame.into_data().unwrap_or_default());
            }
        }
    }
    panic!("the body never ends");
}

/// Decodes a body by its headers, with the C decoder (RFC 9842 §5).
fn decode(headers: &HeaderMap, sent: &[u8], dictionary: &[u8]) -> Vec<u8> {
    if let Some(length) = headers.get("content-length") {
        assert_eq!(length.to_str().unwrap().parse(), Ok(sent.len()));
    }
    let unzstd = |frame: &[u8], dictionary: &[u8]| {
        let mut text = Vec::with_capacity(MAX_SIZE);
        let decoded = DCtx::create().decompress_using_dict(&mut text, frame, dictionary);
        decoded.unwrap_or_else(|_| panic!("the output is invalid"));
        text
    };
    match headers.get("content-encoding").map(HeaderValue::as_bytes) {
        None => sent.to_vec(),
        Some(b"zstd") => unzstd(sent, &[]),
        Some(b"dcz") => {
            let (header, frame) = sent.split_at(40);
            assert_eq!(header[..8], [0x5e, 0x2a, 0x4d, 0x18, 0x20, 0, 0, 0]);
            assert_eq!(header[8..], Sha256::digest(dictionary)[..]);
            unzstd(frame, dictionary)
        }
        other => panic!("{other:?}"),
    }
}

const ACCEPTED: [&str; 5] =
    ["zstd, dcz", "zstd;q=0.5, dcz", "zstd, dcz;q=0.5", "zstd", "dcz, identity;q=0"];

const MAX_SIZE: usize = 150 << 10;
