//! The answers that benches/compress.rs and its peer compress.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::pin::Pin;
use std::slice;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Request, Response};
use hyper::body::{Body, Frame, SizeHint};
use tower::{Layer, Service};

use crate::support::{Work, call, read};

/// A service that gives always the same answer.
#[derive(Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) title: &'static str,
    media_type: &'static str,
    accepted: &'static str,
    pub(crate) frames: &'static [Bytes],
    /// The length is known, as of a body in memory.
    pub(crate) size: Option<u64>,
    /// `true` if the body is pending after each frame.
    pub(crate) pauses: bool,
}

pub(crate) struct Frames {
    left: slice::Iter<'static, Bytes>,
    size: Option<u64>,
    pauses: bool,
    paused: bool,
}

/// Requests whose answer is read to its end.
pub(crate) struct Requests<S> {
    service: S,
    head: Request<()>,
}

/// Requests whose answer is kept when the first of it is read, as while a client is slow.
pub(crate) struct Held<S, B> {
    requests: Requests<S>,
    held: Vec<Pin<Box<B>>>,
}

/// Two requests with different answers, one after the other.
pub(crate) struct Turns<S>([Requests<S>; 2]);

/// Requests of whose answer only the longest poll counts.
pub(crate) struct Longest<S>(Requests<S>);

impl Answer {
    pub(crate) fn all() -> Vec<Self> {
        let frames = json(100 * KIB).chunks(KIB).map(Bytes::from_static).collect::<Vec<_>>();
        vec![
            Self::whole("JSON of 1 KiB in one frame", JSON, json(KIB)),
            Self::whole("JSON of 10 KiB in one frame", JSON, json(10 * KIB)),
            Self::whole("JSON of 100 KiB in one frame", JSON, json(100 * KIB)),
            Self::whole("JSON of 1 MiB in one frame", JSON, json(KIB * KIB)),
            Self::stream("JSON of 100 KiB in 100 frames, all ready", JSON, frames, false),
            // tower-http leaves `text/event-stream` as it is.
            Self::stream("100 events, each flushed", "application/x-ndjson", events(), true),
            Self::whole("random bytes of 10 KiB, called JSON", JSON, random(10 * KIB)),
            Self {
                accepted: "gzip, deflate, br, zstd",
                ..Self::whole("an image of 10 KiB for a browser", "image/png", random(10 * KIB))
            },
        ]
    }

    /// The second one is shorter than the first.
    pub(crate) fn turns() -> [Self; 2] {
        [10 * KIB, KIB].map(|size| {
            Self::whole("JSON of 10 KiB and then of 1 KiB, each in one frame", JSON, json(size))
        })
    }

    pub(crate) fn held() -> Self {
        Self::whole("JSON of 10 KiB, held after its first frame", JSON, json(10 * KIB))
    }

    pub(crate) fn huge() -> Self {
        // So much alike that hardly anything comes out, after which a poll could end.
        let alike = json(256).repeat(32 * KIB).leak();
        Self::whole("longest poll of 8 MiB in one frame, much alike", JSON, alike)
    }

    fn whole(title: &'static str, media_type: &'static str, body: &'static [u8]) -> Self {
        let size = Some(body.len() as u64);
        Self { size, ..Self::stream(title, media_type, vec![Bytes::from_static(body)], false) }
    }

    fn stream(
        title: &'static str,
        media_type: &'static str,
        frames: Vec<Bytes>,
        pauses: bool,
    ) -> Self {
        Self { title, media_type, accepted: "gzip", frames: frames.leak(), size: None, pauses }
    }
}

impl Service<Request<()>> for Answer {
    type Response = Response<Frames>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Frames>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        let (size, pauses) = (self.size, self.pauses);
        let mut response =
            Response::new(Frames { left: self.frames.iter(), size, pauses, paused: true });
        let media_type = HeaderValue::from_static(self.media_type);
        response.headers_mut().insert(CONTENT_TYPE, media_type);
        ready(Ok(response))
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.paused = !self.paused;
        if self.pauses && self.paused {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.left.next().map(|frame| Ok(Frame::data(frame.clone()))))
    }

    fn is_end_stream(&self) -> bool {
        self.size.is_some() && self.left.len() == 0
    }

    fn size_hint(&self) -> SizeHint {
        let left = |size| if self.left.len() == 0 { 0 } else { size };
        self.size.map(left).map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

impl<S, B> Requests<S>
where
    S: Service<Request<()>, Response = Response<B>>,
    B: Body,
{
    pub(crate) fn new<L>(answer: Answer, layer: L) -> Self
    where
        L: Layer<Answer, Service = S>,
    {
        let mut head = Request::new(());
        let fields = head.headers_mut();
        fields.insert(HOST, HeaderValue::from_static("shop.example"));
        fields.insert(USER_AGENT, HeaderValue::from_static("Mozilla/5.0 (X11; Linux x86_64)"));
        fields.insert(ACCEPT, HeaderValue::from_static("*/*"));
        fields.insert(ACCEPT_ENCODING, HeaderValue::from_static(answer.accepted));
        Self { service: layer.layer(answer), head }
    }

    fn body(&mut self) -> B {
        let (head, body) = call(&mut self.service, black_box(self.head.clone())).into_parts();
        black_box(&head);
        body
    }
}

impl<S, B> Work for Requests<S>
where
    S: Service<Request<()>, Response = Response<B>>,
    B: Body,
{
    fn time(&mut self, times: u32) -> Duration {
        let mut request = || {
            black_box(read(self.body(), None));
        };
        request.time(times)
    }
}

impl<S, B> Held<S, B>
where
    S: Service<Request<()>, Response = Response<B>>,
    B: Body,
{
    pub(crate) fn new<L>(answer: Answer, layer: L) -> Self
    where
        L: Layer<Answer, Service = S>,
    {
        Self { requests: Requests::new(answer, layer), held: Vec::new() }
    }
}

impl<S, B> Work for Held<S, B>
where
    S: Service<Request<()>, Response = Response<B>>,
    B: Body,
{
    fn time(&mut self, times: u32) -> Duration {
        self.held = Vec::new();
        let mut request = || {
            let mut body = Box::pin(self.requests.body());
            let frame = body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(frame, Poll::Ready(Some(Ok(_)))));
            self.held.push(body);
        };
        request.time(times)
    }
}

impl<S, B> Turns<S>
where
    S: Service<Request<()>, Response = Response<B>>,
    B: Body,
{
    pub(crate) fn new<L>(answers: [Answer; 2], layer: L) -> Self
    where
        L: Layer<Answer, Service = S> + Clone,
    {
        Self(answers.map(|answer| Requests::new(answer, layer.clone())))
    }
}

impl<S, B> Work for Turns<S>
where
    S: Service<Request<()>, Response = Response<B>>,
    B: Body,
{
    fn time(&mut self, times: u32) -> Duration {
        let mut turn = || {
            for requests in &mut self.0 {
                black_box(read(requests.body(), None));
            }
        };
        turn.time(times)
    }
}

impl<S, B> Longest<S>
where
    S: Service<Request<()>, Response = Response<B>>,
    B: Body,
{
    pub(crate) fn new<L>(answer: Answer, layer: L) -> Self
    where
        L: Layer<Answer, Service = S>,
    {
        Self(Requests::new(answer, layer))
    }
}

impl<S, B> Work for Longest<S>
where
    S: Service<Request<()>, Response = Response<B>>,
    B: Body,
{
    #[expect(clippy::disallowed_methods, reason = "a bench is about time")]
    fn time(&mut self, times: u32) -> Duration {
        let mut cx = Context::from_waker(Waker::noop());
        let mut longest = || {
            let mut body = Box::pin(self.0.body());
            let mut longest = Duration::ZERO;
            loop {
                let start = Instant::now();
                let polled = black_box(body.as_mut().poll_frame(&mut cx));
                longest = longest.max(start.elapsed());
                if matches!(polled, Poll::Ready(None)) {
                    return longest;
                }
            }
        };
        (0..times).map(|_| longest()).sum()
    }
}

/// The media type can be compressed.
pub(crate) fn is_eligible(answer: &Answer) -> bool {
    !answer.media_type.starts_with("image/")
}

/// Returns the size of the response body under the layer.
pub(crate) fn size<L, B>(answer: Answer, layer: L) -> u64
where
    L: Layer<Answer, Service: Service<Request<()>, Response = Response<B>>>,
    B: Body,
{
    read(Requests::new(answer, layer).body(), None)
}

/// The first `size` bytes of a shop's catalogue.
fn json(size: usize) -> &'static [u8] {
    let mut text = String::from(r#"{"total":48213,"items":["#);
    let mut random = Random::new();
    while text.len() < size {
        text.push_str(&item(&mut random));
        text.push(',');
    }
    let mut bytes = text.into_bytes();
    bytes.truncate(size);
    bytes.leak()
}

fn events() -> Vec<Bytes> {
    let mut random = Random::new();
    (0..100).map(|_| Bytes::from(item(&mut random) + "\n")).collect()
}

fn item(random: &mut Random) -> String {
    let id = 100_000 + random.below(900_000);
    let (first, second) = (random.of(ADJECTIVES), random.of(NOUNS));
    let cents = 99 + random.below(50_000);
    let (euros, cents) = (cents / 100, cents % 100);
    let stock = random.below(400);
    let in_stock = stock > 40;
    let tags = [random.of(TAGS), random.of(TAGS)].join(r#"",""#);
    let (month, day) = (1 + random.below(12), 1 + random.below(28));
    let (hour, minute) = (random.below(24), random.below(60));
    let words: Vec<_> = (0..6 + random.below(10)).map(|_| random.of(WORDS)).collect();
    let words = words.join(" ");
    let picture = random.next();
    format!(r#"{{"id":{id},"name":"{first} {second}","price":{euros}.{cents:02},"currency":"EUR","#)
        + &format!(r#""stock":{stock},"available":{in_stock},"tags":["{tags}"],"#)
        + &format!(r#""updated":"2025-{month:02}-{day:02}T{hour:02}:{minute:02}:00Z","#)
        + &format!(r#""picture":"/img/{picture:016x}.webp","description":"{words}"}}"#)
}

fn random(size: usize) -> &'static [u8] {
    let mut random = Random::new();
    let mut bytes: Vec<_> = (0..size / 8).flat_map(|_| random.next().to_le_bytes()).collect();
    bytes.truncate(size);
    bytes.leak()
}

/// Always the same numbers: splitmix64.
struct Random(u64);

impl Random {
    fn new() -> Self {
        Self(0x7477_7235_6b69_7421)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }

    fn of(&mut self, words: &str) -> String {
        let words: Vec<_> = words.split(' ').collect();
        words[self.below(words.len() as u64) as usize].to_owned()
    }
}

/// The name of the peer's cases.
pub(crate) const ON_MINIZ: &str = "tower-http on miniz_oxide, its default";

const KIB: usize = 1024;
const JSON: &str = "application/json";
const ADJECTIVES: &str = "Small Large Red Blue Green Heavy Light Round Square Old New Soft Hard \
                          Folding Wireless Wooden Steel Cotton Leather Classic";
const NOUNS: &str = "Lamp Table Chair Kettle Mug Plate Knife Fork Blanket Pillow Shelf Clock \
                     Radio Basket Ladder Hammer Bottle Backpack Umbrella Candle";
const TAGS: &str = "kitchen garden office outdoor kids sale new gift bath bedroom travel sports";
const WORDS: &str = "the a of with and for made by hand from solid oak brushed steel recycled \
                     paper easy to clean fits any room our best selling model ships in two days \
                     not suitable under three years warranty colour may vary slightly machine \
                     washable at forty degrees comes in a box";
