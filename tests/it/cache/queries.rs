//! Requests that share an entry by `no-vary-search`, at a time and under purges. The stories have the
//! rules themselves.

use http::header::HeaderName;
use http::{Request, Response};
use tower_kit::MIB;
use tower_kit::cache::{CacheKey, CacheLayer, MemoryStore};

use super::mocked::{Mocked, Opened, Text, fresh, full};
use super::rig::{Fields, Rig, idle, reply};
use crate::support::soon;

const RULE: Fields<'static> =
    &[("cache-control", "max-age=60"), ("no-vary-search", "params=(\"utm\")")];

fn ruled(body: &'static str) -> Response<Text> {
    let mut response = fresh(full(body));
    response.headers_mut().insert("no-vary-search", "params=(\"utm\")".parse().unwrap());
    response
}

fn mocked() -> Mocked {
    Mocked::new(&CacheLayer::new(MemoryStore::new(MIB)))
}

/// A cache that knows the rule of `/a`.
async fn with_rule() -> Mocked {
    let mut mocked = mocked();
    assert_eq!(mocked.opens("/a?utm=0", ruled("first")).await.text().await, "first");
    idle().await;
    mocked
}

fn query_of(request: &Request<Text>) -> &str {
    request.uri().query().unwrap_or("")
}

#[tokio::test]
async fn service_sees_the_whole_query() {
    let rig = Rig::with(RULE, |layer| layer.key(CacheKey::new().without_query(["gclid"])));
    for path in ["/a?utm=1&b=2&gclid=3", "/a?b=%33&utm=1&gclid=3"] {
        rig.get(path, &[]).await;
    }
    assert_eq!(rig.last().uri.query(), Some("b=%33&utm=1"));
    assert!(rig.get("/a?b=3", &[]).await.is_hit());
    assert!(rig.get("/a?gclid=4&utm&b=2", &[]).await.is_hit());
}

#[tokio::test]
async fn other_parts_of_the_key_still_count() {
    let by = CacheKey::new().header(HeaderName::from_static("x-tenant")).cookie("lang");
    let rig = Rig::with(RULE, |layer| layer.key(by));
    let first: Fields<'_> = &[("x-tenant", "1"), ("cookie", "lang=de")];
    rig.get("/a?b=1&utm=1", first).await;
    assert!(rig.get("/a?b=1&utm=2", first).await.is_hit());
    let others: [Fields<'_>; 3] =
        [&[("x-tenant", "2"), ("cookie", "lang=de")], &[("x-tenant", "1")], &[]];
    for other in others {
        assert!(!rig.get("/a?b=1&utm=1", other).await.is_hit(), "{other:?}");
    }
}

#[tokio::test]
async fn requests_by_a_known_rule_are_coalesced() {
    let mut mocked = with_rule().await;
    let herd: Vec<_> = (0..5).map(|at| mocked.waits(&format!("/a?b=1&utm={at}"))).collect();
    let other = mocked.waits("/a?b=2&utm=0");
    let (request, call) = mocked.call().await;
    assert_eq!(query_of(&request), "b=1&utm=0");
    call.send_response(ruled("one"));
    let (request, call) = mocked.call().await;
    assert_eq!(query_of(&request), "b=2&utm=0");
    call.send_response(ruled("two"));
    for asking in herd {
        assert_eq!(Opened(soon(asking).await.unwrap()).text().await, "one");
    }
    assert_eq!(Opened(soon(other).await.unwrap()).text().await, "two");
    assert!(mocked.called().is_none());
}

#[tokio::test]
async fn follower_gets_no_response_of_another_rule() {
    // Without a rule, with a malformed one, with one by which the URLs differ.
    for header in [None, Some("params=utm"), Some("params=(\"ref\")"), Some("key-order")] {
        let mut mocked = with_rule().await;
        let (first, second) = (mocked.waits("/a?b=1&utm=1"), mocked.waits("/a?b=1&utm=2"));
        let mut response = fresh(full("one"));
        if let Some(header) = header {
            response.headers_mut().insert("no-vary-search", header.parse().unwrap());
        }
        mocked.call().await.1.send_response(response);
        assert_eq!(Opened(soon(first).await.unwrap()).text().await, "one");
        let second = tokio::spawn(second);
        let (request, call) = mocked.call().await;
        assert_eq!(query_of(&request), "b=1&utm=2", "{header:?}");
        call.send_response(fresh(full("two")));
        let got = soon(second).await.unwrap().unwrap();
        assert_eq!(Opened(got).text().await, "two", "{header:?}");
    }
}

#[tokio::test]
async fn purge_hits_a_fetch_of_an_equal_url() {
    for purged in ["/a?b=1&utm=9", "/a?b=1", "/a", "/a?c"] {
        for known in [false, true] {
            let mut mocked = if known { with_rule().await } else { mocked() };
            let asking = mocked.waits("/a?b=1&utm=1");
            let call = mocked.call().await.1;
            drop(mocked.handle.purge_url(&format!("http://x{purged}")).unwrap());
            call.send_response(ruled("old"));
            assert_eq!(Opened(soon(asking).await.unwrap()).text().await, "old");
            idle().await;
            assert!(!mocked.is_hit("/a?b=1&utm=2"), "{purged} {known}");
            assert!(!mocked.is_hit("/a?b=1"), "{purged} {known}");
        }
    }
}

#[tokio::test]
async fn other_purges_leave_a_fetch_by_a_rule() {
    let mut mocked = with_rule().await;
    let asking = mocked.waits("/a?b=1&utm=1");
    let call = mocked.call().await.1;
    for other in ["http://x/b?b=1&utm=1", "http://y/a?b=1", "http://x/a/b"] {
        drop(mocked.handle.purge_url(other).unwrap());
    }
    drop(mocked.handle.purge_prefix("http://x/a/"));
    call.send_response(ruled("new"));
    assert_eq!(Opened(soon(asking).await.unwrap()).text().await, "new");
    idle().await;
    assert!(mocked.is_hit("/a?b=1&utm=2"));
}

#[tokio::test]
async fn a_post_answers_the_get_of_equal_urls() {
    let rig = Rig::new(&[]);
    rig.answers(|head| {
        let mut response = reply(200, RULE, head.method.as_str());
        let location = head.uri.path_and_query().unwrap().as_str().parse().unwrap();
        response.headers_mut().insert("content-location", location);
        Ok(response)
    });
    rig.get("/a?b=1&utm=1", &[]).await;
    rig.send("POST", "/a?utm=2&b=1", &[]).await;
    let got = rig.get("/a?b=1&utm=3", &[]).await;
    assert!(got.is_hit() && got.body == "POST", "{got:?}");
}

#[tokio::test]
async fn a_long_query_by_a_rule_stays_itself() {
    // Each byte takes three in a normalized query, and a key has at most 8 KiB.
    let rig = Rig::new(RULE);
    let long = format!("/a?b={}", "!".repeat(4_000));
    rig.get(&long, &[]).await;
    assert!(rig.get(&long, &[]).await.is_hit());
    assert!(!rig.get(&format!("{long}&utm=1"), &[]).await.is_hit());
}
