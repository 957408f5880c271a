//! The bytes that the memory store holds, to within 5% of its bound.

use std::convert::Infallible;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Either, Empty, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::MIB;
use tower_kit::cache::{CacheLayer, Entry, MemoryStore, Store};

use super::adversary::{Frames, fresh, odd_fields, serve, settled};
use super::{alone, held};

const CAPACITY: u64 = 16 * MIB;

/// Requests this many URLs through a cache in front of a hyper client. Returns the memory that the
/// store then takes, in bytes.
async fn fill(
    urls: usize,
    http2: bool,
    head: HeaderMap,
    asking: HeaderMap,
    body: impl Fn() -> Either<Full<Bytes>, Frames> + Clone + Send + Sync + 'static,
) -> u64 {
    let origin = move |_| {
        let (body, head) = (body.clone(), head.clone());
        async move {
            let mut response: Response<_> = fresh(body());
            response.headers_mut().extend(head);
            Ok::<_, Infallible>(response)
        }
    };
    let addr = serve(service_fn(origin)).await;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Empty<Bytes>> =
        Client::builder(TokioExecutor::new()).http2_only(http2).build(connector);
    let get = |number: usize| {
        let mut request = Request::get(format!("http://{addr}/{number}"));
        *request.headers_mut().unwrap() = asking.clone();
        request.body(Empty::new()).unwrap()
    };
    let ask = async |store: &MemoryStore, urls| {
        let cache = CacheLayer::new(store.clone()).namespace("").layer(client.clone());
        for number in 0..urls {
            let response = cache.clone().oneshot(get(number)).await.unwrap();
            response.into_body().collect().await.unwrap();
        }
    };
    // What connections and the runtime take for themselves.
    ask(&MemoryStore::new(MIB), 20).await;
    let before = settled().await;
    let store = MemoryStore::new(CAPACITY);
    ask(&store, urls).await;
    settled().await.saturating_sub(before)
}

#[test]
fn large_bodies_through_hyper_stay_in_the_bound() {
    for size in [30_000, 66_000, 80_000, 100_000, 200_000, 256 * 1024] {
        for (http2, chunked) in [(false, false), (false, true), (true, false), (true, true)] {
            alone(async {
                let urls = 24 * 1024 * 1024 / size;
                let body = move || match chunked {
                    true => Either::Right(Frames::new(10, size / 10)),
                    false => Either::Left(Full::new(Bytes::from(vec![b'x'; size]))),
                };
                let taken = fill(urls, http2, HeaderMap::new(), HeaderMap::new(), body).await;
                let most = CAPACITY + CAPACITY / 20;
                assert!(taken <= most, "{taken} for {size}, {http2} {chunked}");
                assert!(taken >= CAPACITY / 2, "{taken} for {size}: it is used");
            });
        }
    }
}

#[test]
fn odd_heads_stay_in_the_bound() {
    let names: Vec<_> = odd_fields(50, 1).keys().map(ToString::to_string).collect();
    let mut varies = HeaderMap::new();
    varies.insert("vary", HeaderValue::try_from(names.join(", ")).unwrap());
    let heads = [
        (3_000, varies.clone(), HeaderMap::new()),
        (3_000, varies, odd_fields(50, 20)),
        (1_500, odd_fields(50, 300), HeaderMap::new()),
        (8_000, odd_fields(20, 1), HeaderMap::new()),
    ];
    for (number, (urls, head, asking)) in heads.into_iter().enumerate() {
        alone(async {
            let body = || Either::Left(Full::new(Bytes::from_static(b"body")));
            let taken = fill(urls, false, head, asking, body).await;
            let most = CAPACITY + CAPACITY / 20;
            assert!(taken <= most, "{taken} for head {number}");
            assert!(taken >= CAPACITY / 2, "{taken} for head {number}: it is used");
        });
    }
}

#[test]
fn maps_with_spare_capacity_stay_in_the_bound() {
    alone(async {
        let service = |_: Request<Empty<Bytes>>| async {
            let mut response = fresh(Full::new(Bytes::from_static(b"body")));
            let mut headers = HeaderMap::with_capacity(10_000);
            headers.extend(std::mem::take(response.headers_mut()));
            *response.headers_mut() = headers;
            Ok::<_, Infallible>(response)
        };
        let before = held();
        let layer = CacheLayer::with_ttl(MemoryStore::new(CAPACITY), Duration::from_secs(60));
        let cache = layer.layer(service_fn(service));
        for number in 0..2_000 {
            let request = Request::get(format!("http://x/{number}")).body(Empty::new()).unwrap();
            cache.clone().oneshot(request).await.unwrap().into_body().collect().await.unwrap();
        }
        let taken = settled().await.saturating_sub(before);
        assert!(taken <= CAPACITY + CAPACITY / 20, "{taken}");
    });
}

/// The memory that 100 entries take, and what the store says that they take.
async fn slices(put: impl AsyncFn(&MemoryStore, usize, Bytes), size: usize) -> (u64, u64) {
    let before = settled().await;
    let store = MemoryStore::new(64 * MIB);
    let empty = held();
    for number in 0..100 {
        let buffer = Bytes::from(vec![b'x'; 4 * 1024 * 1024]);
        put(&store, number, buffer.slice(1000..1000 + size)).await;
    }
    let taken = settled().await.saturating_sub(empty);
    assert!(empty >= before);
    assert_eq!(store.usage().entries, 100);
    (taken, store.usage().bytes)
}

#[test]
fn slices_of_large_buffers_are_copied() {
    for size in [100, 60_000, 100_000] {
        alone(async {
            let through_layer = async |store: &MemoryStore, number: usize, body: Bytes| {
                let service = service_fn(move |_: Request<Empty<Bytes>>| {
                    let response = fresh(Full::new(body.clone()));
                    async move { Ok::<_, Infallible>(response) }
                });
                let cache = CacheLayer::new(store.clone()).namespace("").layer(service);
                let request = Request::get(format!("http://x/{number}")).body(Empty::new());
                let response = cache.oneshot(request.unwrap()).await.unwrap();
                response.into_body().collect().await.unwrap();
            };
            let first = MemoryStore::new(MIB);
            through_layer(&first, 0, Bytes::from(vec![b'x'; size])).await;
            let Poll::Ready(Some(first)) = first.get_now("http://x/0") else { panic!("no entry") };
            let encoded = first.to_bytes("http://x/0");
            // As a store outside of the process reads an entry into its buffer.
            let directly = async |store: &MemoryStore, number: usize, _: Bytes| {
                let mut buffer = vec![0; 4 * 1024 * 1024];
                buffer[..encoded.len()].copy_from_slice(&encoded);
                let read = Bytes::from(buffer).slice(..encoded.len());
                let entry = Entry::from_bytes(read, "http://x/0").unwrap();
                store.put(&number.to_string(), entry, Duration::from_secs(60)).await.unwrap();
            };
            for (taken, said) in [slices(through_layer, size).await, slices(directly, size).await] {
                assert!(taken <= said + said / 2, "{taken} for {said}, bodies of {size}");
            }
        });
    }
}
