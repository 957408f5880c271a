//! What one client sends does not spoil what others get.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use http::Request;
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::cache::{CacheKey, CacheLayer, MemoryStore};

use super::rig::{Fields, MINUTE, Rig, START, idle, reply, request};
use crate::support::BoxBody;

const RELOAD: (&str, &str) = ("cache-control", "no-cache");

/// A service that varies by three fields, and gives back what it got.
fn echo() -> Rig {
    let rig = Rig::new(&[]);
    rig.answers(|head| {
        let fields: Fields<'_> =
            &[("cache-control", "max-age=60"), ("vary", "x-a, cookie, accept")];
        // The cache adds a `host` that the request leaves out.
        let values = head.headers.iter().filter(|(name, _)| *name != "host");
        let values: Vec<_> = values.map(|(_, value)| value.to_str().unwrap()).collect();
        Ok(reply(200, fields, &values.join("|")))
    });
    rig
}

#[tokio::test]
async fn other_spellings_are_other_variants() {
    for (victim, attacks) in [
        (("x-a", "true"), &[&[("x-a", "true,")][..], &[("x-a", ",true")]][..]),
        (("x-a", "a, b"), &[&[("x-a", "a,b")], &[("x-a", "a ,b")]]),
        (("cookie", "theme=dark"), &[&[("cookie", "theme=dark ,")]]),
        (("cookie", "a=1, b=2"), &[&[("cookie", "a=1"), ("cookie", "b=2")]]),
        (("accept", "x/y;v=\"A\""), &[&[("accept", "x/y;v=\"a\"")]]),
    ] {
        for attack in attacks {
            let rig = echo();
            rig.get("/", attack).await;
            let got = rig.get("/", &[victim]).await;
            assert_eq!(got.body, victim.1, "{attack:?}");
        }
    }
}

#[tokio::test]
async fn odd_spellings_of_parameters_count() {
    let only = || CacheKey::new().only_query(["page"]);
    let without = || CacheKey::new().without_tracking();
    type Row<'a> = (fn() -> CacheKey, &'a str);
    let rows: [Row<'_>; 6] = [
        (only, "/?p%61ge=9"),
        (only, "/?+page=9"),
        (only, "/?page[]=9"),
        (only, "/?x=1;page=9"),
        (without, "/?utm_source=1;page=9"),
        (|| CacheKey::new().without_tracking().sorted_query(), "/?utm_source=1;page=9"),
    ];
    for (key, attack) in rows {
        let rig = Rig::with(MINUTE, |layer| layer.key(key()));
        rig.get(attack, &[]).await;
        assert!(!rig.get("/", &[]).await.is_hit(), "{attack}");
    }
    let rig = Rig::with(MINUTE, |layer| layer.key(only()));
    rig.get("/", &[]).await;
    assert!(rig.get("/?x=1&y-z_0=a%61", &[]).await.is_hit());
}

#[tokio::test]
async fn override_headers_count_in_cgi_spelling() {
    for name in ["x_forwarded_host", "x-forwarded_host", "x_original-url", "x-forwarded-uri"] {
        let rig = Rig::new(MINUTE);
        let got = rig.get("/", &[(name, "evil.org")]).await;
        assert!(got.cache().starts_with("fwd=uri-miss; detail=override:"), "{name}");
        assert!(!rig.get("/", &[]).await.is_hit(), "{name}");
    }
}

#[tokio::test]
async fn forced_reload_takes_the_entry_from_nobody() {
    let refusals: [(u16, Fields<'_>); 5] = [
        (200, &[("cache-control", "private")]),
        (200, &[("cache-control", "max-age=60"), ("set-cookie", "a=b")]),
        (304, &[("set-cookie", "a=b")]),
        (406, &[]),
        (302, &[("location", "/login")]),
    ];
    for (status, fields) in refusals {
        let rig = Rig::new(&[("cache-control", "max-age=60"), ("etag", "\"a\"")]);
        rig.get("/", &[]).await;
        rig.answers_with(status, fields);
        let own = rig.get("/", &[RELOAD, ("cookie", "mine")]).await;
        assert!(!own.is_hit());
        assert_eq!(own.field("set-cookie").is_some(), fields.len() > 1 || status == 304);
        let got = rig.get("/", &[]).await;
        assert_eq!((got.body.as_str(), got.is_hit()), ("answer 0", true), "{status} {fields:?}");
        assert_eq!(got.field("set-cookie"), None);
    }
    // One that speaks of another response shows that it is outdated.
    let rig = Rig::new(&[("cache-control", "max-age=60"), ("etag", "\"a\"")]);
    rig.get("/", &[]).await;
    rig.answers_with(304, &[("etag", "\"b\"")]);
    rig.get("/", &[RELOAD]).await;
    assert!(!rig.get("/", &[]).await.is_hit());
}

#[tokio::test]
async fn private_response_drops_no_public_entry() {
    let rig = Rig::new(&[("cache-control", "public, max-age=60, stale-while-revalidate=60")]);
    rig.get("/", &[]).await;
    rig.clock.pass(61);
    rig.answers_with(401, MINUTE);
    assert!(rig.get("/", &[("authorization", "junk")]).await.is_hit());
    idle().await;
    assert_eq!(rig.calls(), 2);
    assert_eq!(rig.get("/", &[]).await.body, "answer 0");
}

#[tokio::test]
async fn a_head_to_another_host_drops_nothing() {
    let rig = Rig::new(&[("cache-control", "max-age=60"), ("etag", "\"a\"")]);
    rig.get("/", &[]).await;
    rig.answers_with(200, &[("etag", "\"b\"")]);
    rig.send("HEAD", "/", &[RELOAD, ("x-forwarded-host", "y.org")]).await;
    assert!(rig.get("/", &[]).await.is_hit());
}

#[tokio::test]
async fn weak_etag_stays_weak_when_confirmed() {
    let rig = Rig::new(&[("cache-control", "max-age=60"), ("etag", "W/\"a\"")]);
    rig.get("/", &[]).await;
    rig.clock.pass(61);
    rig.answers_with(304, &[("etag", "\"a\"")]);
    rig.get("/", &[]).await;
    let part = rig.get("/", &[("range", "bytes=0-1"), ("if-range", "\"a\"")]).await;
    assert_eq!((part.status, part.field("etag")), (200, Some("W/\"a\"")));
}

#[tokio::test]
async fn purge_during_a_post_wins_over_its_response() {
    let rig = Rig::new(&[]);
    let handle = rig.handle.clone();
    rig.answers(move |_| {
        handle.purge_tag("t");
        let fields =
            [("cache-control", "max-age=60"), ("content-location", "/"), ("surrogate-key", "t")];
        Ok(reply(200, &fields, "old"))
    });
    rig.send("POST", "/", &[]).await;
    rig.answers_with(200, MINUTE);
    assert_eq!(rig.get("/", &[]).await.body, "answer 0");
}

#[test]
fn no_size_of_a_store_is_a_panic() {
    for bytes in [0, 1, 1 << 20, 1 << 62, u64::MAX] {
        for largest in [0, 1, 1 << 20, 1 << 62, u64::MAX] {
            drop(MemoryStore::with_max_entry_size(bytes, largest));
        }
    }
}

#[tokio::test]
async fn times_and_numbers_of_any_size_are_no_panic() {
    let most = u64::MAX.to_string();
    let far = "Fri, 31 Dec 9999 23:59:59 GMT";
    let control = format!(
        "max-age={most}, stale-while-revalidate={most}, stale-if-error={most}, s-maxage={most}"
    );
    let answers: [Fields<'_>; 4] = [
        &[("cache-control", &control), ("age", &most)],
        &[("expires", far), ("date", "Thu, 01 Jan 1970 00:00:00 GMT"), ("etag", "\"\"")],
        &[("expires", far), ("date", far), ("last-modified", far)],
        &[("last-modified", "Thu, 01 Jan 1970 00:00:00 GMT"), ("date", far)],
    ];
    let asks = format!("max-age={most}, min-fresh={most}, max-stale={most}");
    for fields in answers {
        let rig = Rig::with(fields, |layer| {
            layer
                .jitter(1.0)
                .unwrap()
                .early_refresh(1000.0)
                .unwrap()
                .stale_if_error(Duration::MAX)
                .max_entry_size(u64::MAX)
        });
        for _ in 0..3 {
            rig.get("/", &[]).await;
            rig.get("/", &[("cache-control", &asks)]).await;
            rig.get("/", &[("range", &*format!("bytes={most}{most}-{most}"))]).await;
            rig.get("/", &[("range", &*format!("bytes=-{most}"))]).await;
            rig.clock.pass(1 << 31);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_bad_response_ends_no_coalescing() {
    let calls = Arc::new(AtomicU64::new(0));
    let time = Arc::new(AtomicU64::new(START));
    let (counted, read) = (Arc::clone(&calls), Arc::clone(&time));
    let service = service_fn(move |request: Request<BoxBody>| {
        counted.fetch_add(1, Ordering::SeqCst);
        let bad = request.headers().contains_key("x-bad");
        let control = if bad { "private" } else { "max-age=1" };
        async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<_, Infallible>(reply(200, &[("cache-control", control)], "body"))
        }
    });
    let cache = CacheLayer::new(MemoryStore::new(1 << 20))
        .clock(move || UNIX_EPOCH + Duration::from_secs(read.load(Ordering::SeqCst)))
        .layer(service);
    let get = |fields| cache.clone().oneshot(request("GET", "/", fields));
    get(&[("x-bad", "1")]).await.unwrap();
    get(&[]).await.unwrap();
    time.fetch_add(2, Ordering::SeqCst);
    let all: [Fields<'_>; 3] = [&[]; 3];
    let [one, two, three] = all.map(get);
    let (one, two, three) = tokio::join!(one, two, three);
    for response in [one, two, three] {
        response.unwrap();
    }
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}
