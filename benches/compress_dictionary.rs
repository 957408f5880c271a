//! The cost of deltas, compared with whole responses in gzip and zstd: of a list in which one item
//! changes, polled by clients that have the version before.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderName, HeaderValue, Request, Response, Uri};
use http_body_util::{Empty, Full};
use hyper::body::Body;
use sha2::{Digest, Sha256};
use tower::{Layer, Service};
use tower_kit::cache::MemoryStore;
use tower_kit::compress::dictionary::Dictionaries;
use tower_kit::{CacheLayer, CompressLayer, LatencyLayer, MIB};

use layers::compressed_by;
use support::{Bench, Cost, Costs, Work, bar, call, read};

#[path = "e2e/src/layers.rs"]
#[expect(dead_code, reason = "other benches have the layers without dictionaries")]
mod layers;
#[expect(dead_code, reason = "other benches compare versions of peers")]
mod support;

fn main() {
    let bench = Bench::from_args();
    let lists = [(SIZES[0], 10 << 10), (SIZES[1], 100 << 10)]
        .map(|(title, size)| (title, Versions::new(size)));
    let costs = lists.map(|(title, versions)| (title, compare(&bench, title, versions), versions));
    let bystanders = bystanders(&bench, lists[0].1);
    let whole = whole_stack(&bench, lists[0].1);

    for (title, costs, versions) in &costs {
        let sent = |accepted| Polls::new(*versions, accepted, 1, dictionaries()).sent(9) as f64;
        let percent = sent(Accepted::Delta) / sent(Accepted::Gzip) * 100.0;
        bar(&format!("bytes, % of gzip: {title}"), Some(percent), 3.0);
        for case in [OF_MANY, OF_ONE] {
            bar(
                &format!("instructions, % of gzip: {title}, {case}"),
                instructions(costs, case),
                8.0,
            );
            bar(&format!("time, % of gzip: {title}, {case}"), time(costs, case), 8.0);
        }
        // Valgrind does not have the instructions for SHA-256.
        let rest = instructions(costs, OF_ONE).zip(instructions(costs, HASH)).map(|(a, b)| a - b);
        bar(&format!("instructions without SHA-256, % of gzip: {title}, {OF_ONE}"), rest, 8.0);
    }
    for (accepted, costs) in ["gzip", "zstd"].into_iter().zip(bystanders) {
        let net = costs.net(WITH).map(|net| net.instructions);
        bar(&format!("instructions more without an offer, for clients of {accepted}"), net, 300.0);
    }
    for case in [OF_MANY, OF_ONE] {
        let cost = find(&whole, case).and_then(|cost| cost.counted);
        let instructions = cost.map(|counted| counted.instructions);
        bar(&format!("instructions through all layers: {case}"), instructions, 200_000.0);
    }
}

/// The same versions to clients with and without a dictionary.
fn compare(bench: &Bench, title: &'static str, versions: Versions) -> Costs {
    let mut group = bench.group(title);
    let layer = CompressLayer::new;
    group.case(GZIP, move || Polls::new(versions, Accepted::Gzip, 1, layer()));
    group.case("zstd 3", move || Polls::new(versions, Accepted::Zstd, 1, layer()));
    group.case(OF_MANY, move || Polls::new(versions, Accepted::Delta, 20, dictionaries()));
    group.case(OF_ONE, move || Polls::new(versions, Accepted::Delta, 1, dictionaries()));
    group.case(HASH, move || {
        move || {
            black_box(Sha256::digest(black_box(&versions.get(0).text)));
        }
    });
    group.run()
}

/// Clients that offer no dictionary, of a body that stays the same.
fn bystanders(bench: &Bench, versions: Versions) -> [Costs; 2] {
    [("gzip, nothing offered", Accepted::Gzip), ("zstd, nothing offered", Accepted::Zstd)].map(
        |(title, accepted)| {
            let mut group = bench.group(title);
            let polls = move |layer| Polls::new(versions, accepted, usize::MAX, layer);
            group.case("without dictionaries", move || polls(CompressLayer::new()));
            group.case(WITH, move || polls(dictionaries()));
            group.run()
        },
    )
}

/// All layers in the recommended order, over a cache that misses each version once.
fn whole_stack(bench: &Bench, versions: Versions) -> Costs {
    let mut group = bench.group("10 KiB, one item changed, through all layers");
    let layers = |dictionaries: Dictionaries| {
        let latency = LatencyLayer::new().route_templates(["/items"]);
        let cache = CacheLayer::new(MemoryStore::new(MIB));
        let compress = CompressLayer::new().dictionaries(dictionaries.clone());
        (dictionaries.filter(), compressed_by(compress, latency, cache))
    };
    for (name, accepted, shared) in
        [(GZIP, Accepted::Gzip, 1), (OF_MANY, Accepted::Delta, 20), (OF_ONE, Accepted::Delta, 1)]
    {
        let layers = layers(Dictionaries::new());
        group.case(name, move || Polls::new(versions, accepted, shared, layers));
    }
    group.run()
}

/// The versions of a list, and what a client sends that has one.
#[derive(Clone, Copy)]
struct Versions(&'static [Version]);

struct Version {
    text: Bytes,
    offer: HeaderValue,
}

/// A service that responds with the version that the query names.
#[derive(Clone)]
struct Lists {
    versions: Versions,
}

/// The content codings of the clients.
#[derive(Clone, Copy)]
enum Accepted {
    Gzip,
    Zstd,
    /// The clients have the version before.
    Delta,
}

/// Requests for one version after the other, each by `shared` clients.
struct Polls<S> {
    service: S,
    versions: Versions,
    accepted: Accepted,
    shared: usize,
    at: usize,
    /// More than a cache of 1 MiB keeps, one for each version.
    uris: Vec<Uri>,
}

impl Versions {
    /// More versions than are kept of one URL, so that none is there when it comes again.
    fn new(size: usize) -> Self {
        let version = |number: u64| {
            let text = list(size, 1_000_000 + number);
            let offer = format!(":{}:", BASE64_STANDARD.encode(Sha256::digest(&text)));
            match HeaderValue::from_str(&offer) {
                Ok(offer) => Version { text, offer },
                Err(error) => panic!("{offer}: {error}"),
            }
        };
        Self((0..128).map(version).collect::<Vec<_>>().leak())
    }

    fn get(self, number: usize) -> &'static Version {
        &self.0[number % self.0.len()]
    }
}

impl<B> Service<Request<B>> for Lists {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let query = request.uri().query().and_then(|query| query.strip_prefix("v="));
        let number = query.and_then(|number| number.parse().ok()).unwrap_or(0);
        let mut response = Response::new(Full::new(self.versions.get(number).text.clone()));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
        ready(Ok(response))
    }
}

impl<S, B> Polls<S>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>>,
    B: Body,
{
    fn new<L>(versions: Versions, accepted: Accepted, shared: usize, layer: L) -> Self
    where
        L: Layer<Lists, Service = S>,
    {
        let uri = |number: usize| {
            let uri = format!("http://shop.example/items?v={number}");
            uri.parse().unwrap_or_else(|error| panic!("{uri}: {error}"))
        };
        let uris = (0..4_096).map(uri).collect();
        Self { service: layer.layer(Lists { versions }), versions, accepted, shared, at: 0, uris }
    }

    fn request(&mut self) -> u64 {
        let number = self.at / self.shared;
        self.at += 1;
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.uris[number % self.uris.len()].clone();
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_static("shop.example"));
        headers.insert(USER_AGENT, HeaderValue::from_static("Mozilla/5.0 (X11; Linux x86_64)"));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        let codings = match self.accepted {
            Accepted::Gzip => "gzip, deflate",
            Accepted::Zstd => "gzip, deflate, br;q=0.9, zstd",
            Accepted::Delta => "gzip, deflate, br, zstd, dcb, dcz",
        };
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(codings));
        if matches!(self.accepted, Accepted::Delta) && number > 0 {
            headers.insert(AVAILABLE_DICTIONARY, self.versions.get(number - 1).offer.clone());
        }
        let response = call(&mut self.service, black_box(request));
        black_box(read(response.into_body(), None))
    }

    /// Returns the size of the last of so many responses.
    fn sent(mut self, times: usize) -> u64 {
        (0..times).map(|_| self.request()).last().unwrap_or(0)
    }
}

impl<S, B> Work for Polls<S>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>>,
    B: Body,
{
    fn time(&mut self, times: u32) -> Duration {
        let mut request = || {
            self.request();
        };
        request.time(times)
    }
}

/// A list of items as JSON, of which one has this price.
fn list(size: usize, price: u64) -> Bytes {
    let mut text = String::from("[");
    let mut number = 7_u64;
    for at in 0.. {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let price = if at == 3 { price } else { number >> 44 };
        text += &format!(
            "{{\"id\":{at},\"name\":\"Item {}\",\"price\":{price},\"tags\":[\"t{}\",\"t{}\"]}},\n",
            number >> 40,
            number >> 60,
            number >> 56,
        );
        if text.len() >= size {
            break;
        }
    }
    text.truncate(size);
    text.into()
}

fn dictionaries() -> CompressLayer {
    CompressLayer::new().dictionaries(Dictionaries::new())
}

fn instructions(costs: &Costs, case: &str) -> Option<f64> {
    let instructions = |name| Some(find(costs, name)?.counted?.instructions);
    Some(instructions(case)? / instructions(GZIP)? * 100.0)
}

fn time(costs: &Costs, case: &str) -> Option<f64> {
    Some(find(costs, case)?.nanoseconds / find(costs, GZIP)?.nanoseconds * 100.0)
}

fn find<'a>(costs: &'a Costs, name: &str) -> Option<&'a Cost> {
    costs.0.iter().find(|cost| cost.name == name)
}

const AVAILABLE_DICTIONARY: HeaderName = HeaderName::from_static("available-dictionary");

const SIZES: [&str; 2] = ["10 KiB, one item changed", "100 KiB, one item changed"];

const GZIP: &str = "gzip 6";
const OF_MANY: &str = "delta, 20 clients have the dictionary";
const OF_ONE: &str = "delta, one client has the dictionary";
const HASH: &str = "SHA-256 of the list";
const WITH: &str = "with dictionaries";
