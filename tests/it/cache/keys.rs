//! Keys (RFC 9110 §7.2), and requests that would poison what is kept.

use axum::Router;
use axum::extract::OriginalUri;
use axum::routing::get;
use http::uri::Scheme;
use http::{HeaderName, Request, Uri};
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_kit::cache::{CacheKey, CacheLayer, MemoryStore};

use super::rig::{Fields, MINUTE, Rig, idle, reply, request};
use crate::support::{BoxBody, Metrics, empty};

/// Whether the second request is answered with what was kept for the first.
async fn same(by: CacheKey, first: (&str, Fields<'_>), second: (&str, Fields<'_>)) -> bool {
    let rig = Rig::with(MINUTE, |layer| layer.key(by));
    rig.ask(of(first)).await.unwrap();
    let hit = rig.ask(of(second)).await.unwrap().is_hit();
    assert_eq!(rig.calls(), if hit { 1 } else { 2 });
    hit
}

/// A request to a target that is taken as it is.
fn of((target, fields): (&str, Fields<'_>)) -> Request<BoxBody> {
    let mut request = request("GET", "/", fields);
    *request.uri_mut() = target.parse().unwrap();
    request
}

#[tokio::test]
async fn scheme_host_path_and_query_are_the_key() {
    let table: &[(&str, &str, bool)] = &[
        ("http://x.org/a?b", "http://x.org/a?b", true),
        ("http://x.org/a", "http://X.ORG/a", true),
        ("http://x.org/a", "http://x.org:80/a", true),
        ("https://x.org/a", "https://x.org:443/a", true),
        ("http://x.org/a", "http://x.org:/a", true),
        ("http://[::1]/a", "http://[::1]:80/a", true),
        ("http://x.org/a", "http://x.org:8080/a", false),
        ("http://x.org/a", "http://x.org:443/a", false),
        ("https://x.org/a", "https://x.org:80/a", false),
        ("http://x.org/a", "https://x.org/a", false),
        ("http://x.org/a", "http://y.org/a", false),
        ("http://x.org/a", "http://x.org./a", false),
        ("http://x.org/a", "http://x.org/A", false),
        ("http://x.org/a", "http://x.org/a/", false),
        ("http://x.org/a", "http://x.org/%61", false),
        ("http://x.org/a", "http://x.org//a", false),
        ("http://x.org/a", "http://x.org/a?", false),
        ("http://x.org/a?b", "http://x.org/a?B", false),
        ("http://x.org/a?b=1&c", "http://x.org/a?c&b=1", false),
        ("http://x.org", "http://x.org/", true),
    ];
    for (first, second, expected) in table {
        let hit = same(CacheKey::new(), (first, &[]), (second, &[])).await;
        assert_eq!(hit, *expected, "{first} {second}");
    }
}

#[tokio::test]
async fn the_host_comes_from_the_target_or_the_field() {
    type Asked<'a> = (&'a str, Fields<'a>);
    let table: &[(Asked<'_>, Asked<'_>, bool)] = &[
        (("/a", &[("host", "x.org")]), ("http://x.org/a", &[("host", "x.org")]), true),
        (("/a", &[("host", "X.org:80")]), ("/a", &[("host", "x.ORG")]), true),
        (("/a", &[("host", "x.org")]), ("/a", &[("host", "y.org")]), false),
        (("/a", &[("host", "")]), ("/a", &[("host", "y.org")]), false),
    ];
    for (first, second, expected) in table {
        assert_eq!(same(CacheKey::new(), *first, *second).await, *expected, "{first:?} {second:?}");
    }
    assert!(same(CacheKey::new(), ("/a", &[]), ("/a", &[])).await);
}

#[tokio::test]
async fn request_with_an_untrusted_host_is_bypassed() {
    let table: &[(&str, Fields<'_>)] = &[
        ("http://x.org/a", &[("host", "y.org")]),
        ("http://x.org/a", &[("host", "x.org.evil")]),
        ("http://x.org/a", &[("host", "")]),
        ("http://x.org/a", &[("host", "x.org"), ("host", "y.org")]),
        ("/a", &[("host", "x.org"), ("host", "x.org")]),
        ("/a", &[("host", "x.org"), ("host", "y.org")]),
        ("/a", &[("host", "x.org/b")]),
        ("/a", &[("host", "me@x.org")]),
        ("/a", &[("host", "x.org, y.org evil")]),
        ("/a", &[("host", "x.org?b")]),
        ("/a", &[("host", "x.org#b")]),
        ("/a", &[("host", "x.org\\b")]),
        ("http://me@x.org/a", &[]),
        ("http://me:secret@x.org/a", &[("host", "x.org")]),
    ];
    for (target, fields) in table {
        let rig = Rig::new(MINUTE);
        rig.get("/a", &[]).await;
        for _ in 0..2 {
            let got = rig.ask(of((target, fields))).await.unwrap();
            assert_eq!(got.cache(), "fwd=bypass; detail=key", "{target} {fields:?}");
        }
        assert_eq!(rig.calls(), 3);
    }
}

#[tokio::test]
async fn default_scheme_is_configurable() {
    let by = || CacheKey::new().scheme(Scheme::HTTPS);
    let plain: (&str, Fields<'_>) = ("/a", &[("host", "x.org:443")]);
    assert!(same(by(), plain, ("https://x.org/a", &[])).await);
    assert!(!same(by(), plain, ("http://x.org/a", &[])).await);
    let by = CacheKey::new().any_host();
    assert!(same(by, plain, ("http://y.org/a", &[])).await);
}

#[tokio::test]
async fn any_host_takes_requests_that_say_two() {
    let by = CacheKey::new().any_host();
    let odd: (&str, Fields<'_>) = ("http://x.org/a", &[("host", "y.org"), ("host", "z.org")]);
    assert!(same(by, odd, ("/a", &[])).await);
}

#[tokio::test]
async fn query_parameters_count_as_chosen() {
    let all = "/?b=2&utm_source=x&a=1&b=1&gclid=7";
    for (by, other, expected) in [
        (CacheKey::new().no_query(), "/", true),
        (CacheKey::new().no_query(), "/x", false),
        (CacheKey::new().only_query(["b"]), "/?b=2&b=1&c", true),
        (CacheKey::new().only_query(["b"]), "/?b=1&b=2", false),
        (CacheKey::new().only_query(["u*"]), "/?utm_source=x", true),
        (CacheKey::new().without_query(["b", "g*"]), "/?utm_source=x&a=1", true),
        (CacheKey::new().without_tracking(), "/?b=2&a=1&b=1&fbclid=3", true),
        (CacheKey::new().without_tracking(), "/?b=1&a=1&b=2", false),
        (CacheKey::new().without_tracking().sorted_query(), "/?a=1&b=2&b=1", true),
        (CacheKey::new().without_tracking().sorted_query(), "/?a=1&b=1&b=2", false),
        (CacheKey::new().sorted_query(), "/?utm_source=x&gclid=7&b=2&b=1&a=1", true),
    ] {
        assert_eq!(same(by.clone(), (all, &[]), (other, &[])).await, expected, "{by:?} {other}");
    }
}

#[tokio::test]
async fn a_field_of_the_key_counts_in_all_its_lines() {
    let by = || CacheKey::new().header(HeaderName::from_static("x-tenant"));
    let rows: [Fields<'_>; 5] = [
        &[],
        &[("x-tenant", "")],
        &[("x-tenant", "a")],
        &[("x-tenant", "a"), ("x-tenant", "b")],
        &[("x-tenant", "a\\0ax-tenant=b")],
    ];
    for first in rows {
        for second in rows {
            assert_eq!(same(by(), ("/", first), ("/", second)).await, first == second);
        }
    }
}

#[tokio::test]
async fn what_a_function_returns_counts() {
    let by = || {
        CacheKey::new().with(|head| {
            head.headers.get("x-tenant").map(|tenant| tenant.to_str().unwrap().to_owned())
        })
    };
    let rows: [Fields<'_>; 3] = [&[], &[("x-tenant", "a")], &[("x-tenant", "b")]];
    for first in rows {
        for second in rows {
            assert_eq!(same(by(), ("/", first), ("/", second)).await, first == second);
        }
    }
}

#[tokio::test]
async fn custom_keys_cannot_be_forged() {
    let by = CacheKey::new()
        .header(HeaderName::from_static("x-a"))
        .with(|_| Some("b\nx-a=c".to_owned()));
    assert!(!same(by, ("/", &[("x-a", "c")]), ("/", &[])).await);
}

#[tokio::test]
async fn panicking_callback_bypasses_its_request() {
    type With = fn(CacheLayer) -> CacheLayer;
    let all: [(With, &str); 3] = [
        (|layer| layer.key(CacheKey::new().with(|_| panic!("as a test has it"))), "key"),
        (|layer| layer.key(CacheKey::new().uri(|_| panic!("as a test has it"))), "key"),
        (|layer| layer.skip_if(|_| panic!("as a test has it")), "skipped"),
    ];
    for (with, detail) in all {
        let metrics = Metrics::new();
        let rig = Rig::with(MINUTE, |layer| with(layer).recorder(metrics.recorder()));
        for _ in 0..2 {
            let got = rig.get("/", &[]).await;
            assert_eq!(got.status, 200);
            assert_eq!(got.cache(), format!("fwd=bypass; detail={detail}"));
        }
        assert_eq!(metrics.counted("http_cache_panics_total", &[]), 2);
        assert_eq!(metrics.counted("http_cache_requests_total", &[("reason", detail)]), 2);
    }
}

#[tokio::test]
async fn a_key_over_8_kib_passes_by() {
    let rig = Rig::new(MINUTE);
    // `http://x.org/` is a part of it.
    for (length, expected) in
        [(8 * 1024 - 13, "fwd=uri-miss; stored"), (8 * 1024 - 12, "fwd=bypass; detail=key")]
    {
        let got = rig.get(&format!("/{}", "a".repeat(length)), &[]).await;
        assert_eq!(got.cache(), expected, "{length}");
    }
    let by = CacheKey::new().header(HeaderName::from_static("x-tenant"));
    let rig = Rig::with(MINUTE, |layer| layer.key(by));
    let long = "a".repeat(8 * 1024);
    assert_eq!(rig.get("/", &[("x-tenant", &long)]).await.cache(), "fwd=bypass; detail=key");
}

#[tokio::test]
async fn what_is_skipped_passes_by() {
    let rig =
        Rig::with(MINUTE, |layer| layer.skip_if(|head| head.uri.path().starts_with("/admin")));
    for _ in 0..2 {
        assert_eq!(rig.get("/admin/a", &[]).await.cache(), "fwd=bypass; detail=skipped");
    }
    rig.get("/", &[]).await;
    assert!(rig.get("/", &[]).await.is_hit());
}

#[tokio::test]
async fn nested_routers_of_axum_keep_their_urls_apart() {
    let by = CacheKey::new()
        .uri(|request| request.extensions.get::<OriginalUri>().map(|original| &original.0));
    let layer = CacheLayer::new(MemoryStore::new(1 << 20)).key(by);
    let handle = layer.handle();
    let page =
        |text: &'static str| get(move || async move { ([("cache-control", "max-age=60")], text) });
    let nested = |text| Router::new().route("/page", page(text)).layer(layer.clone());
    let app = Router::new().nest("/a", nested("of a")).nest("/b", nested("of b"));
    for pass in 0..2 {
        for (path, text) in [("/a/page", "of a"), ("/b/page", "of b")] {
            let request = Request::get(path).header("host", "x.org");
            let request = request.body(axum::body::Body::empty()).unwrap();
            let response = app.clone().oneshot(request).await.unwrap();
            let status = response.headers()["cache-status"].to_str().unwrap();
            assert_eq!(status.starts_with("tower-kit; hit"), pass == 1, "{status}");
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), text);
        }
    }
    handle.purge_url("http://x.org/a/page").unwrap();
    assert_eq!(handle.statistics().hits, 2);
    let request = Request::get("/a/page").header("host", "x.org");
    let response = app.oneshot(request.body(axum::body::Body::new(empty())).unwrap()).await;
    assert!(!response.unwrap().headers()["cache-status"].to_str().unwrap().contains("hit"));
}

// Poison.

/// What services are known to take the host, the URL or the method from.
const OVERRIDES: [&str; 19] = [
    "forwarded",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-url",
    "x-rewrite-url",
    "x-url-scheme",
    "X-Forwarded-Host",
    "X-Original-URL",
];

#[tokio::test]
async fn override_header_may_hit_and_never_fills() {
    for name in OVERRIDES {
        let rig = Rig::new(&[]);
        rig.answers(move |head| {
            let said = head.headers.get(name).map_or("good", |said| said.to_str().unwrap());
            Ok(reply(200, MINUTE, said))
        });
        let evil = [(name, "evil")];
        let poisoned = rig.get("/", &evil).await;
        let expected = format!("fwd=uri-miss; detail=override:{}", name.to_ascii_lowercase());
        assert_eq!(poisoned.cache(), expected);
        assert_eq!(rig.get("/", &[]).await.body, "good", "{name}");
        let hit = rig.get("/", &evil).await;
        assert_eq!((hit.body.as_str(), hit.is_hit()), ("good", true), "{name}");
        // Nor does it when the entry is stale, or when it asks for a newer one.
        rig.clock.pass(61);
        rig.get("/", &evil).await;
        rig.get("/", &[("cache-control", "no-cache"), evil[0]]).await;
        assert_eq!(rig.get("/", &[]).await.body, "good", "{name}");
    }
}

#[tokio::test]
async fn trusted_or_keyed_header_may_fill() {
    for name in OVERRIDES {
        let header = || HeaderName::from_bytes(name.as_bytes()).unwrap();
        let rig = Rig::with(MINUTE, |layer| layer.trust(header()));
        rig.get("/", &[(name, "a")]).await;
        assert!(rig.get("/", &[(name, "b")]).await.is_hit(), "{name}");
        let rig = Rig::with(MINUTE, |layer| layer.key(CacheKey::new().header(header())));
        rig.get("/", &[(name, "a")]).await;
        assert!(rig.get("/", &[(name, "a")]).await.is_hit(), "{name}");
        assert!(!rig.get("/", &[(name, "b")]).await.is_hit(), "{name}");
        assert!(!rig.get("/", &[]).await.is_hit(), "{name}");
    }
}

#[tokio::test]
async fn one_trusted_header_does_not_excuse_another() {
    let rig = Rig::with(MINUTE, |layer| layer.trust(HeaderName::from_static("x-forwarded-proto")));
    let fields = [("x-forwarded-proto", "https"), ("x-forwarded-host", "evil")];
    let expected = "fwd=uri-miss; detail=override:x-forwarded-host";
    assert_eq!(rig.get("/", &fields).await.cache(), expected);
    assert!(!rig.get("/", &[]).await.is_hit());
}

#[tokio::test]
async fn fields_that_tell_only_who_asks_do_fill() {
    let rig = Rig::new(MINUTE);
    let fields = [("x-forwarded-for", "192.0.2.1"), ("x-real-ip", "192.0.2.1"), ("cookie", "a=b")];
    rig.get("/", &fields).await;
    assert!(rig.get("/", &[]).await.is_hit());
}

#[tokio::test]
async fn an_upgrade_passes_by() {
    let rig = Rig::new(MINUTE);
    rig.get("/", &[]).await;
    let got = rig.get("/", &[("connection", "upgrade"), ("upgrade", "websocket")]).await;
    assert_eq!(got.cache(), "fwd=bypass; detail=upgrade");
}

#[tokio::test]
async fn overriding_requests_do_not_share_responses() {
    // It may not fill, so it must not be the one whom others wait for either.
    let rig = Rig::new(&[]);
    rig.answers(|head| {
        let evil = head.headers.contains_key("x-forwarded-host");
        Ok(reply(200, MINUTE, if evil { "evil" } else { "good" }))
    });
    let evil = rig.open(request("GET", "/", &[("x-forwarded-host", "evil")]));
    let good = rig.get("/", &[]);
    let (_, good) = tokio::join!(evil, good);
    assert_eq!(good.body, "good");
    idle().await;
    assert_eq!(rig.get("/", &[]).await.body, "good");
}

#[tokio::test]
async fn a_target_without_a_path_is_no_trouble() {
    let rig = Rig::new(MINUTE);
    let mut options = request("OPTIONS", "/", &[]);
    *options.uri_mut() = Uri::from_static("*");
    assert_eq!(rig.ask(options).await.unwrap().status, 200);
    let mut get = request("GET", "/", &[]);
    *get.uri_mut() = Uri::from_static("x.org:80");
    assert_eq!(rig.ask(get).await.unwrap().status, 200);
}
