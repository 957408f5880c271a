//! Responses that are linked to the values that their handlers read.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use tokio::task::yield_now;
use tower::util::BoxCloneService;
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::cache::{Cache, CacheLayer, MemoryStore, ReadScope, Store};
use tower_kit::values::{Loaded, ValueOptions};
use tower_kit::{MIB, ValueCache};

use super::SECOND;

type Text = Pin<Box<dyn Future<Output = String> + Send>>;
type Handler = BoxCloneService<Request<Empty<Bytes>>, Response<Full<Bytes>>, Infallible>;

/// Pages that are made of values, and stored beside them.
#[derive(Clone)]
struct Site {
    pages: Cache<Handler>,
    values: ValueCache,
    seconds: Arc<AtomicU64>,
}

/// A page as a client gets it.
#[derive(Debug, PartialEq)]
struct Page {
    text: String,
    status: String,
}

impl Site {
    /// `make` makes the text of a page of its path.
    fn new(make: impl Fn(ValueCache, String) -> Text + Clone + Send + 'static) -> Self {
        let store = MemoryStore::new(16 * MIB);
        Self::of(CacheLayer::new(store.clone()), ValueCache::new(store), make)
    }

    fn of(
        layer: CacheLayer,
        values: ValueCache,
        make: impl Fn(ValueCache, String) -> Text + Clone + Send + 'static,
    ) -> Self {
        let seconds = Arc::new(AtomicU64::new(1_000_000));
        let clock = || {
            let seconds = Arc::clone(&seconds);
            move || UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::SeqCst))
        };
        let values = values.clock(clock());
        let of = values.clone();
        let handler = service_fn(move |request: Request<Empty<Bytes>>| {
            let text = make(of.clone(), request.uri().path()[1..].to_owned());
            async move {
                let page = Response::builder().header("cache-control", "max-age=600");
                Ok(page.body(Full::from(text.await)).unwrap())
            }
        });
        let pages = layer.clock(clock()).layer(BoxCloneService::new(handler));
        Self { pages, values, seconds }
    }

    // The handler is not `Sync`, so that no future may hold a reference to it.
    fn get(&self, key: &str) -> impl Future<Output = Page> + Send + use<> {
        let request = Request::get(format!("http://x/{key}")).body(Empty::new()).unwrap();
        Self::page(self.pages.clone(), request)
    }

    async fn page(pages: Cache<Handler>, request: Request<Empty<Bytes>>) -> Page {
        let response = pages.oneshot(request).await.unwrap();
        let status = response.headers()["cache-status"].to_str().unwrap();
        let status = status.strip_prefix("tower-kit; ").unwrap().to_owned();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Page { text: String::from_utf8(body.into()).unwrap(), status }
    }

    fn is_hit(&self, key: &str) -> impl Future<Output = bool> + Send + use<> {
        let page = self.get(key);
        async move { page.await.status.starts_with("hit") }
    }
}

/// A page with the fresh value of its path.
fn value(values: ValueCache, key: String) -> Text {
    Box::pin(async move { format!("{:?}", values.get::<u64>(&key).await) })
}

fn page(text: &str, status: &str) -> Page {
    Page { text: text.to_owned(), status: status.to_owned() }
}

#[tokio::test]
async fn change_of_a_value_purges_its_pages() {
    for change in ["insert", "remove", "remove_by_tag", "clear"] {
        let site = Site::new(value);
        let tagged = ValueOptions::new().tag("rates");
        site.values.insert("a", &1_u64, tagged).await.unwrap();
        site.values.insert("b", &2_u64, None).await.unwrap();
        assert_eq!(site.get("a").await, page("Some(1)", "fwd=uri-miss; stored"));
        assert_eq!(site.get("b").await.text, "Some(2)");
        assert!(site.is_hit("a").await && site.is_hit("b").await);
        let expected = match change {
            "insert" => {
                site.values.insert("a", &3_u64, None).await.unwrap();
                "Some(3)"
            }
            "remove" => {
                site.values.remove("a").await.unwrap();
                "None"
            }
            "remove_by_tag" => {
                site.values.remove_by_tag("rates").await.unwrap();
                "None"
            }
            _ => {
                site.values.clear().await.unwrap();
                "None"
            }
        };
        assert_eq!(site.get("a").await.text, expected, "{change}");
        assert_eq!(site.is_hit("b").await, change != "clear", "{change}");
    }
}

#[tokio::test]
async fn expiry_of_a_value_makes_its_pages_stale() {
    let site = Site::new(value);
    site.values.insert("a", &1_u64, None).await.unwrap();
    site.seconds.fetch_add(61, Ordering::SeqCst);
    site.get("a").await;
    assert!(site.is_hit("a").await);
    site.values.expire("a").await.unwrap();
    assert_eq!(site.get("a").await.status, "fwd=stale; stored");
}

#[tokio::test]
async fn absence_of_a_value_is_linked() {
    let site = Site::new(value);
    assert_eq!(site.get("a").await.text, "None");
    assert!(site.is_hit("a").await);
    site.values.insert("a", &1_u64, None).await.unwrap();
    assert_eq!(site.get("a").await.text, "Some(1)");
    // An insert may follow.
    site.values.remove("a").await.unwrap();
    assert_eq!(site.get("a").await, page("None", "fwd=uri-miss; detail=stale-value"));
    site.seconds.fetch_add(61, Ordering::SeqCst);
    assert_eq!(site.get("a").await, page("None", "fwd=uri-miss; stored"));
}

#[tokio::test]
async fn a_load_purges_nothing() {
    let calls = Arc::new(AtomicUsize::new(0));
    let loads = Arc::clone(&calls);
    let site = Site::new(move |values, key| {
        let loads = Arc::clone(&loads);
        Box::pin(async move {
            let load = async || {
                yield_now().await;
                Ok::<_, ()>(loads.fetch_add(1, Ordering::SeqCst))
            };
            format!("{:?}", values.get_or_insert_with(&key, None, load).await.ok())
        })
    });
    assert_eq!(site.get("a").await, page("Some(0)", "fwd=uri-miss; stored"));
    assert!(site.is_hit("a").await);
    site.values.remove("a").await.unwrap();
    assert_eq!(site.get("a").await, page("Some(1)", "fwd=uri-miss; stored"));
    assert!(site.is_hit("a").await);
}

#[tokio::test]
async fn a_page_is_fresh_no_longer_than_its_values() {
    let site = Site::new(value);
    site.values.insert("a", &1_u64, 10 * SECOND).await.unwrap();
    site.seconds.fetch_add(4, Ordering::SeqCst);
    site.get("a").await;
    site.seconds.fetch_add(1, Ordering::SeqCst);
    assert_eq!(site.get("a").await.status, "hit; ttl=5");
    site.seconds.fetch_add(5, Ordering::SeqCst);
    assert_eq!(site.get("a").await.text, "None");
}

#[tokio::test]
async fn a_page_of_a_stale_value_is_not_stored() {
    let store = MemoryStore::new(16 * MIB);
    let values = ValueCache::new(store.clone()).stale_if_error(600 * SECOND);
    let site = Site::of(CacheLayer::new(store), values, |values, key| {
        Box::pin(async move {
            let load = async || Err::<u64, _>("down");
            format!("{:?}", values.get_or_insert_with(&key, None, load).await.ok())
        })
    });
    site.values.insert("a", &1_u64, SECOND).await.unwrap();
    site.seconds.fetch_add(2, Ordering::SeqCst);
    assert_eq!(site.get("a").await, page("Some(1)", "fwd=uri-miss; detail=stale-value"));
    site.values.insert("a", &2_u64, None).await.unwrap();
    // The first response that may be stored shows that.
    assert_eq!(site.get("a").await.text, "Some(2)");
    assert_eq!(site.get("a").await, page("Some(2)", "fwd=uri-miss; stored"));
    assert!(site.is_hit("a").await);
}

#[tokio::test]
async fn a_page_of_an_unkept_value_is_not_stored() {
    let site = Site::new(|values, key| {
        Box::pin(async move {
            let load = async || Ok::<_, ()>(Loaded::new(1_u64).uncached());
            format!("{:?}", values.get_or_insert_with(&key, None, load).await.ok())
        })
    });
    assert_eq!(site.get("a").await.status, "fwd=uri-miss; detail=stale-value");
}

#[tokio::test]
async fn a_page_of_too_many_values_is_not_stored() {
    // The path is the number of values, each of which is read twice.
    let site = Site::new(|values, count| {
        Box::pin(async move {
            let keys: Vec<u64> = (0..count.parse().unwrap()).collect();
            let found: Vec<Option<u64>> = values.get_many(&keys).await;
            for key in &keys {
                values.get::<u64>(&key.to_string()).await;
            }
            found.iter().flatten().count().to_string()
        })
    });
    for key in 0..2_000_u64 {
        site.values.insert(&key.to_string(), &key, None).await.unwrap();
    }
    assert_eq!(site.get("256").await, page("256", "fwd=uri-miss; stored"));
    for count in ["257", "2000"] {
        assert_eq!(site.get(count).await, page(count, "fwd=uri-miss; detail=values"));
    }
    site.values.insert("255", &0_u64, None).await.unwrap();
    assert!(!site.is_hit("256").await);
}

#[tokio::test]
async fn namespaces_and_stores_are_apart() {
    let store = MemoryStore::new(16 * MIB);
    let values = ValueCache::new(store.clone());
    let site = Site::of(CacheLayer::new(store), values.clone().namespace("mine"), value);
    let other = values.namespace("other");
    let elsewhere = ValueCache::new(MemoryStore::new(MIB)).namespace("mine");
    site.values.insert("a", &1_u64, None).await.unwrap();
    site.get("a").await;
    for values in [other, elsewhere] {
        values.insert("a", &2_u64, None).await.unwrap();
        values.remove("a").await.unwrap();
        values.clear().await.unwrap();
        assert!(site.is_hit("a").await);
    }
    site.values.clear().await.unwrap();
    assert!(!site.is_hit("a").await);
}

#[tokio::test]
async fn values_of_another_store_are_not_linked() {
    let values = ValueCache::new(MemoryStore::new(MIB));
    let site = Site::of(CacheLayer::new(MemoryStore::new(MIB)), values, value);
    site.values.insert("a", &1_u64, SECOND).await.unwrap();
    site.get("a").await;
    assert_eq!(site.get("a").await.status, "hit; ttl=600");
}

#[tokio::test]
async fn an_unlinked_layer_keeps_its_pages() {
    let store = MemoryStore::new(16 * MIB);
    let layer = CacheLayer::new(store.clone()).unlinked();
    let site = Site::of(layer, ValueCache::new(store), value);
    site.values.insert("a", &1_u64, SECOND).await.unwrap();
    site.get("a").await;
    site.values.insert("a", &2_u64, None).await.unwrap();
    assert_eq!(site.get("a").await, page("Some(1)", "hit; ttl=600"));
}

#[tokio::test]
async fn a_spawned_task_is_linked_by_its_scope() {
    for is_linked in [true, false] {
        let site = Site::new(move |values, key| {
            let scope = ReadScope::current();
            let read = value(values, key);
            Box::pin(async move {
                let read =
                    if is_linked { tokio::spawn(scope.link(read)) } else { tokio::spawn(read) };
                read.await.unwrap()
            })
        });
        site.values.insert("a", &1_u64, None).await.unwrap();
        site.get("a").await;
        site.values.insert("a", &2_u64, None).await.unwrap();
        assert_eq!(site.is_hit("a").await, !is_linked);
    }
}

#[tokio::test]
async fn a_page_of_a_linked_page_is_linked() {
    let store = MemoryStore::new(16 * MIB);
    let inner = Site::of(CacheLayer::new(store.clone()), ValueCache::new(store.clone()), value);
    inner.values.insert("a", &1_u64, None).await.unwrap();
    // A hit of the inner cache, and a miss of it.
    for is_warm in [true, false] {
        let of = inner.clone();
        let outer = Site::of(
            CacheLayer::new(store.clone()),
            ValueCache::new(store.clone()),
            move |_, key| {
                let of = of.clone();
                Box::pin(async move { of.get(&key).await.text })
            },
        );
        if is_warm {
            inner.get("a").await;
        }
        assert_eq!(outer.get("a").await.text, "Some(1)");
        assert!(outer.is_hit("a").await);
        inner.values.insert("a", &1_u64, None).await.unwrap();
        assert!(!outer.is_hit("a").await, "warm {is_warm}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_page_is_older_than_an_insert() {
    let site = Site::new(|values, key| {
        Box::pin(async move {
            let found = values.get::<u64>(&key).await;
            // The value may change between its read and the response.
            yield_now().await;
            found.unwrap_or(0).to_string()
        })
    });
    for round in 1..=150_u64 {
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let site = site.clone();
                tokio::spawn(async move {
                    for _ in 0..20 {
                        site.get("a").await;
                    }
                })
            })
            .collect();
        site.values.insert("a", &round, None).await.unwrap();
        assert_eq!(site.get("a").await.text, round.to_string());
        for reader in readers {
            reader.await.unwrap();
        }
        assert_eq!(site.get("a").await.text, round.to_string());
    }
}

/// Over every store that shares its purges with what is made of its clones.
#[tokio::test]
async fn tiers_are_linked() {
    let back = MemoryStore::new(16 * MIB);
    let tiers = tower_kit::cache::TieredStore::new(MemoryStore::new(MIB), back);
    let is_shared = Store::purges(&tiers).is_some();
    let site = Site::of(CacheLayer::new(tiers.clone()), ValueCache::new(tiers), value);
    site.values.insert("a", &1_u64, None).await.unwrap();
    site.get("a").await;
    site.values.insert("a", &2_u64, None).await.unwrap();
    assert!(is_shared);
    assert_eq!(site.get("a").await.text, "Some(2)");
}
