//! The decoded values of a cache, which are a part of the memory store's bound, and links to values.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use serde::{Deserialize, Serialize};
use tower::{Layer, ServiceExt};
use tower_kit::cache::{CacheLayer, MemoryStore, Store};
use tower_kit::values::{Loaded, TypedCache};
use tower_kit::{MIB, ValueCache};

use super::{allocations, alone, held};

const CAPACITY: u64 = 16 * MIB;

/// A value with many small allocations.
#[derive(Serialize, Deserialize)]
struct User {
    id: u64,
    name: String,
    email: Option<String>,
    roles: Vec<String>,
    scores: Vec<f64>,
}

fn user(id: u64) -> User {
    let roles = (0..id % 8).map(|role| format!("role {role}")).collect();
    let scores = (0..id % 32).map(|score| score as f64 + 0.5).collect();
    User { id, name: format!("user {id}"), email: Some(format!("{id}@x.org")), roles, scores }
}

async fn ask(cache: &TypedCache<User>, id: u64) -> Arc<User> {
    let load = || ready(Ok::<_, Infallible>(Loaded::new(user(id))));
    cache.get_or_insert_with(&id.to_string(), None, load).await.unwrap()
}

#[test]
fn decoded_values_are_within_the_bound_of_memory() {
    alone(async {
        let cache = |store: &MemoryStore| ValueCache::new(store.clone()).typed::<User>();
        // What the cache takes for itself.
        ask(&cache(&MemoryStore::new(MIB)), 0).await;
        let before = held();
        let store = MemoryStore::new(CAPACITY);
        let cache = cache(&store);
        for id in 0..30_000 {
            ask(&cache, id).await;
        }
        let (taken, said) = (held() - before, store.usage().bytes);
        assert!(store.usage().evictions > 0, "the store is full");
        assert!(taken <= CAPACITY + CAPACITY / 20, "{taken} of {CAPACITY}, which counts {said}");
    });
}

#[test]
fn hit_of_a_decoded_value_allocates_its_name_alone() {
    alone(async {
        let cache = ValueCache::new(MemoryStore::new(MIB)).typed::<User>();
        let first = ask(&cache, 31).await;
        let load = || ready(Err::<User, _>("it is there"));
        for _ in 0..3 {
            let before = allocations();
            let hit = cache.get_or_insert_with("31", None, load).await;
            let after = allocations();
            assert!(hit.is_ok_and(|hit| Arc::ptr_eq(&hit, &first)));
            assert!(after - before <= 2, "{} allocations", after - before);
        }
    });
}

/// Pages whose handlers read more values than a page may be linked to.
#[test]
fn links_of_open_requests_are_bounded() {
    const OPEN: usize = 20;
    const READS: usize = 20_000;
    alone(async {
        let store = MemoryStore::new(MIB);
        let values = ValueCache::new(store.clone());
        let handler = tower::service_fn(move |_: Request<Empty<Bytes>>| {
            let values = values.clone();
            async move {
                for key in 0..READS {
                    values.get::<u64>(&format!("{key:01000}")).await;
                }
                std::future::pending::<Result<Response<Empty<Bytes>>, Infallible>>().await
            }
        });
        let layer = CacheLayer::new(store);
        let mut open = Vec::new();
        let before = held();
        for page in 0..OPEN {
            let request = Request::get(format!("http://x/{page}")).body(Empty::new()).unwrap();
            let mut response = Box::pin(layer.layer(handler.clone()).oneshot(request));
            std::future::poll_fn(|cx| {
                assert!(response.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            open.push(response);
        }
        // 512 names of 1,000 bytes, a request, and what an allocation takes.
        let taken = (held() - before) / OPEN as u64;
        assert!(taken < 512 * 1_100 + 64 * 1024, "{taken}");
    });
}
