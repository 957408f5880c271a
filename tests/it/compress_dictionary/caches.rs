use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Request, Response};
use http_body_util::Full;
use tower::{ServiceBuilder, ServiceExt};
use tower_kit::cache::{CacheHandle, CacheLayer, MemoryStore};
use tower_kit::compress::dictionary::Dictionaries;
use tower_kit::{CompressLayer, MIB};

use super::support::{Client, Erased, URI, changing, erased, fresh, list, offer};
use crate::support::empty;

struct Cached {
    service: Erased,
    handle: CacheHandle,
    calls: Arc<AtomicU64>,
    version: Arc<AtomicU64>,
}

impl Cached {
    fn new(is_filtered: bool) -> Self {
        Self::with("max-age=60", is_filtered)
    }

    fn with(cache_control: &'static str, is_filtered: bool) -> Self {
        let version = Arc::new(AtomicU64::new(0));
        let current = Arc::clone(&version);
        let respond = move |_: &Request<()>, _| -> Response<Full<bytes::Bytes>> {
            let mut response = fresh(list(10_240, 3, current.load(Ordering::SeqCst)));
            response.headers_mut().insert("cache-control", cache_control.parse().unwrap());
            response
        };
        let (inner, calls) = changing(respond);
        let dictionaries = Dictionaries::new();
        let cache = CacheLayer::new(MemoryStore::new(8 * MIB));
        let handle = cache.handle();
        let filter = is_filtered.then(|| dictionaries.filter());
        let service = ServiceBuilder::new()
            .map_request(|request: Request<()>| request.map(|()| empty()))
            .option_layer(filter)
            .layer(cache)
            .layer(CompressLayer::new().dictionaries(dictionaries))
            .service(inner);
        Self { service: erased(service), handle, calls, version }
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    async fn change(&self) {
        self.version.fetch_add(1, Ordering::SeqCst);
        self.handle.purge_url(URI).unwrap().await.unwrap();
    }
}

#[tokio::test]
async fn delta_of_two_versions_is_made_once() {
    for is_filtered in [true, false] {
        let cached = Cached::new(is_filtered);
        let mut clients = vec![Client::default(); 10];
        for client in &mut clients {
            client.get(&cached.service, URI).await;
        }
        assert_eq!(cached.calls(), 1);
        for version in 1..4 {
            cached.change().await;
            for client in &mut clients {
                let read = client.get(&cached.service, URI).await;
                assert!(read.is_delta());
                assert_eq!(read.text, list(10_240, 3, version));
            }
            assert_eq!(cached.calls(), 1 + version, "the others get what is stored");
            let mut newcomer = Client::default();
            let read = newcomer.get(&cached.service, URI).await;
            assert!(!read.is_delta());
            assert_eq!(read.text, list(10_240, 3, version));
            cached.calls.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[tokio::test]
async fn users_share_deltas_of_public_responses() {
    for (cache_control, is_shared) in [("public, max-age=60", true), ("max-age=60", false)] {
        let cached = Cached::with(cache_control, true);
        let user = |number| Client::with(&[("cookie", &format!("id={number}"))]);
        let mut users: Vec<_> = (0..10).map(user).collect();
        for user in &mut users {
            user.get(&cached.service, URI).await;
        }
        cached.change().await;
        for (at, user) in users.iter_mut().enumerate() {
            let read = user.get(&cached.service, URI).await;
            // The response that the cache has stored was a response to the first user.
            assert_eq!(read.is_delta(), is_shared || at == 0, "{cache_control}, {at}");
            assert_eq!(read.text, list(10_240, 3, 1));
        }
        assert_eq!(cached.calls(), if is_shared { 2 } else { 3 });
    }
}

#[tokio::test]
async fn unknown_hashes_are_one_variant_behind_the_filter() {
    let cached = Cached::new(true);
    for number in 0..200_u32 {
        let mut client =
            Client { dictionary: Some(number.to_string().into()), ..Client::default() };
        let read = client.get(&cached.service, URI).await;
        assert_eq!(read.text, list(10_240, 3, 0));
    }
    // The codings of the client are all that the responses vary by.
    assert_eq!(cached.calls(), 1);
}

#[tokio::test]
async fn unknown_hashes_store_nothing_without_the_filter() {
    let cached = Cached::new(false);
    let mut known = Client::default();
    known.get(&cached.service, URI).await;
    let entries = cached.handle.statistics().usage.entries;
    for number in 0..100_u32 {
        let mut client =
            Client { dictionary: Some(number.to_string().into()), ..Client::default() };
        client.get(&cached.service, URI).await;
    }
    assert_eq!(cached.calls(), 101);
    assert_eq!(cached.handle.statistics().usage.entries, entries);
    // The others still get what is stored.
    Client::default().get(&cached.service, URI).await;
    assert_eq!(cached.calls(), 101);
}

#[tokio::test]
async fn filter_removes_only_what_is_unknown() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let dictionaries = Dictionaries::new();
    let (inner, _) = changing(move |request: &Request<()>, _| {
        let names = ["available-dictionary", "dictionary-id", "accept-encoding"];
        log.lock().unwrap().push(names.map(|name| request.headers().contains_key(name)));
        fresh(list(10_240, 3, 1))
    });
    let service = ServiceBuilder::new()
        .layer(dictionaries.filter())
        .layer(CompressLayer::new().dictionaries(dictionaries))
        .service(inner);
    let service = erased(service);
    let mut client = Client::default();
    let text = client.get(&service, URI).await.text;
    for (hash, uri) in [
        (offer(&text), URI),
        (offer(b"unknown"), URI),
        (offer(&text), "http://b.test/items"),
        ("x".to_owned(), URI),
    ] {
        let mut request = client.request(uri);
        request.headers_mut().insert("available-dictionary", hash.parse().unwrap());
        request.headers_mut().insert("dictionary-id", "\"1\"".parse().unwrap());
        service.clone().oneshot(request).await.unwrap();
    }
    let all = [true; 3];
    let removed = [false, false, true];
    assert_eq!(*seen.lock().unwrap(), [removed, all, removed, removed, removed]);
}
