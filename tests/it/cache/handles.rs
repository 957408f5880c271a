//! A handle that is older than the layer's settings.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, request};
use metrics::NoopRecorder;
use tower_kit::cache::{CacheHandle, CacheKey, CacheLayer, MemoryStore};

use super::rig::{MINUTE, Rig};

const URL: &str = "http://x.org/items?a=1&b=2";

fn layer() -> CacheLayer {
    CacheLayer::new(MemoryStore::new(1 << 24))
}

/// A cache whose entry for `/items?b=2&utm_id=7&a=1` `purge` purges by a handle that was taken
/// before `choose`.
async fn is_purged(choose: impl FnOnce(CacheLayer) -> CacheLayer, purge: impl Fn(&CacheHandle)) {
    let layer = layer();
    let handle = layer.handle();
    let rig = Rig::over(choose(layer));
    rig.answers_with(200, MINUTE);
    let path = "/items?b=2&utm_id=7&a=1";
    let host = [("host", "x.org")];
    rig.get(path, &host).await;
    assert!(rig.get(path, &host).await.is_hit());
    purge(&handle);
    assert!(!rig.get(path, &host).await.is_hit());
    assert!(rig.get(path, &host).await.is_hit(), "only what was there is purged");
    let counted = handle.statistics();
    assert_eq!((counted.hits, counted.misses), (2, 2));
    assert_eq!(counted, rig.handle.statistics());
}

fn key() -> CacheKey {
    CacheKey::new().without_tracking().sorted_query()
}

#[tokio::test]
async fn an_early_handle_purges_by_the_later_key() {
    let url = |handle: &CacheHandle| drop(handle.purge_url(URL).unwrap());
    is_purged(|layer| layer.key(key()), url).await;
    // Settings before, after and in between do not matter.
    is_purged(|layer| layer.jitter(0.0).unwrap().key(key()).stale_if_error(Duration::ZERO), url)
        .await;
    is_purged(|layer| layer.key(CacheKey::new()).key(key()), url).await;
    is_purged(|layer| layer.key(key()).recorder(Arc::new(NoopRecorder)), url).await;
    let twice = |layer: CacheLayer| {
        layer.recorder(Arc::new(NoopRecorder)).key(key()).recorder(Arc::new(NoopRecorder))
    };
    is_purged(twice, url).await;
    is_purged(
        |layer| layer.key(key().any_host()),
        |handle| drop(handle.purge_url("/items?a=1&b=2").unwrap()),
    )
    .await;
    let prefix = |handle: &CacheHandle| drop(handle.purge_prefix("http://x.org/it"));
    is_purged(|layer| layer.key(key()), prefix).await;
}

#[tokio::test]
async fn a_handle_purges_for_all_layers_made_of_one() {
    let layer = layer();
    let handle = layer.handle();
    let rigs =
        [layer.clone().key(key()), layer.clone().key(key().any_host()), layer].map(Rig::over);
    for rig in &rigs {
        rig.answers_with(200, MINUTE);
    }
    let path = "/items?a=1&b=2";
    for rig in &rigs {
        rig.get(path, &[("host", "x.org")]).await;
        assert!(rig.get(path, &[("host", "x.org")]).await.is_hit());
    }
    handle.purge_url(URL).unwrap().await.unwrap();
    for rig in &rigs[..2] {
        assert!(!rig.get(path, &[("host", "x.org")]).await.is_hit());
    }
}

#[tokio::test]
async fn a_url_that_no_key_could_have_is_an_error() {
    let layer = layer();
    let handle = layer.handle();
    let layer = layer.key(CacheKey::new().no_query());
    assert!(handle.purge_url("/items").is_err(), "hosts count in both keys");
    let layer = layer.key(CacheKey::new().any_host());
    assert!(handle.purge_url("/items").is_ok());
    assert!(handle.purge_url("items").is_err());
    // A key that no layer has any more is no key.
    drop(layer.key(CacheKey::new()));
    assert!(handle.purge_url("/items").is_err());
    assert!(handle.purge_url(URL).is_ok());
}

/// The head of a `PURGE` as a proxy gets it.
fn purge(uri: &str, hosts: &[&str]) -> request::Parts {
    let request = hosts.iter().fold(Request::builder(), |of, host| of.header("host", *host));
    request.method("PURGE").uri(uri).body(()).unwrap().into_parts().0
}

#[tokio::test]
async fn request_purges_its_url_as_the_key_has_it() {
    let request = purge("/items?a=1&utm_source=x&b=2", &["X.org:80"]);
    let hard = |handle: &CacheHandle| drop(handle.purge_request(&request).unwrap());
    is_purged(|layer| layer.key(key()), hard).await;
    is_purged(|layer| layer.key(key().any_host()), hard).await;
    is_purged(|layer| layer.key(key()).trust_forwarded().namespace("a"), hard).await;
    is_purged(
        |layer| layer.key(key()),
        |handle| drop(handle.soft_purge_request(&request).unwrap()),
    )
    .await;
    let absolute = purge("http://x.org/items?b=2&a=1", &[]);
    is_purged(|layer| layer.key(key()), |handle| drop(handle.purge_request(&absolute).unwrap()))
        .await;
}

#[tokio::test]
async fn request_purges_all_variants_of_its_url() {
    let rig = Rig::over(layer().trust_forwarded());
    rig.answers_with(200, &[("cache-control", "max-age=60"), ("vary", "accept")]);
    let sites = [("one.org", "a"), ("one.org", "b"), ("two.org", "a")];
    let get = async |host, accept| {
        rig.get("/a", &[("x-forwarded-host", host), ("accept", accept)]).await.is_hit()
    };
    for (host, accept) in sites {
        assert!(!get(host, accept).await && get(host, accept).await);
    }
    rig.handle.purge_request(&purge("/a", &["x.org"])).unwrap().await.unwrap();
    for (host, accept) in sites {
        assert!(!get(host, accept).await);
    }
}

#[test]
fn request_without_a_key_purges_nothing() {
    let handle = layer().handle();
    let long = format!("/{}", "a".repeat(9_000));
    for (uri, hosts) in
        [("/a", &["a", "a"][..]), ("/a", &["a b"]), ("http://a/", &["b"]), (&*long, &["a"])]
    {
        let error = handle.purge_request(&purge(uri, hosts)).map(drop).unwrap_err();
        assert!(error.to_string().contains(uri), "{error}");
        assert!(handle.soft_purge_request(&purge(uri, hosts)).is_err());
    }
}
