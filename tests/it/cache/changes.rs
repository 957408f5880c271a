//! Invalidation (RFC 9111 §4.4) and purges.

use bytes::Bytes;
use http::Response;
use http_body_util::channel::Channel;
use tower_kit::cache::{CacheHandle, CacheHint, CacheKey};

use super::rig::{Fields, MINUTE, Rig, got, idle, reply, request};
use crate::support::{BoxError, boxed};

/// A service that answers GET with these fields, and all else with this status and those.
fn over(rig: &Rig, get: Fields<'static>, status: u16, change: &[(&str, &str)]) {
    let change: Vec<_> =
        change.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut number = 0;
    rig.answers(move |head| {
        if head.method == "GET" {
            number += 1;
            return Ok(reply(200, get, &number.to_string()));
        }
        let fields: Vec<_> = change.iter().map(|(name, value)| (&**name, &**value)).collect();
        Ok(reply(status, &fields, "changed"))
    });
}

async fn dropped(rig: &Rig, url: &str) -> bool {
    !rig.get(url, &[]).await.is_hit()
}

#[tokio::test]
async fn a_change_that_succeeds_drops_its_url() {
    for method in ["POST", "PUT", "PATCH", "DELETE", "FROBNICATE"] {
        for status in [200, 201, 204, 299, 301, 303, 308] {
            let rig = Rig::new(&[]);
            over(&rig, MINUTE, status, &[]);
            rig.get("/a?q", &[]).await;
            rig.get("/a", &[]).await;
            let changed = rig.send(method, "/a?q", &[]).await;
            assert_eq!((changed.status, changed.cache()), (status, "fwd=method"));
            assert!(dropped(&rig, "/a?q").await, "{method} {status}");
            assert!(!dropped(&rig, "/a").await, "{method} {status} drops another URL");
        }
    }
}

#[tokio::test]
async fn a_change_that_fails_drops_nothing() {
    for status in [400, 401, 403, 404, 409, 418, 500, 503] {
        let rig = Rig::new(&[]);
        over(&rig, MINUTE, status, &[("location", "/b"), ("content-location", "/c")]);
        for url in ["/a", "/b", "/c"] {
            rig.get(url, &[]).await;
        }
        rig.send("POST", "/a", &[]).await;
        for url in ["/a", "/b", "/c"] {
            assert!(!dropped(&rig, url).await, "{status} {url}");
        }
    }
    let rig = Rig::new(MINUTE);
    rig.get("/a", &[]).await;
    rig.fails();
    assert!(rig.ask(request("DELETE", "/a", &[])).await.is_err());
    assert!(!dropped(&rig, "/a").await);
}

#[tokio::test]
async fn safe_methods_drop_nothing() {
    for method in ["GET", "HEAD", "OPTIONS", "TRACE"] {
        let rig = Rig::new(MINUTE);
        rig.get("/a", &[]).await;
        rig.send(method, "/a", &[]).await;
        assert!(!dropped(&rig, "/a").await, "{method}");
    }
}

#[tokio::test]
async fn change_purges_the_named_urls_of_its_host() {
    for name in ["location", "content-location"] {
        for (value, gone) in [
            ("/b/c", true),
            ("c", true),
            ("./x/../c", true),
            ("http://x.org/b/c", true),
            ("http://X.ORG/b/c", true),
            ("//x.org/b/c", true),
            ("/b/c#part", true),
            ("http://y.org/b/c", false),
            ("//y.org/b/c", false),
            ("http://x.org.evil/b/c", false),
            ("/b/d", false),
            (":::", false),
        ] {
            let rig = Rig::new(&[]);
            over(&rig, MINUTE, 201, &[(name, value)]);
            rig.get("/b/c", &[]).await;
            rig.send("POST", "/b/a", &[]).await;
            assert_eq!(dropped(&rig, "/b/c").await, gone, "{name}: {value}");
        }
    }
}

#[tokio::test]
async fn a_change_never_drops_another_hosts() {
    let rig = Rig::new(&[]);
    over(&rig, MINUTE, 201, &[("location", "http://y.org/a")]);
    rig.get("http://y.org/a", &[]).await;
    rig.send("POST", "/a", &[]).await;
    assert!(!dropped(&rig, "http://y.org/a").await);
}

#[tokio::test]
async fn a_change_drops_all_variants() {
    let rig = Rig::new(&[]);
    over(&rig, &[("cache-control", "max-age=60"), ("vary", "x-one")], 204, &[]);
    for value in ["a", "b"] {
        rig.get("/", &[("x-one", value)]).await;
    }
    rig.send("PUT", "/", &[]).await;
    for value in ["a", "b"] {
        assert!(!rig.get("/", &[("x-one", value)]).await.is_hit(), "{value}");
    }
}

#[tokio::test]
async fn change_purges_a_url_under_all_its_keys() {
    let by = || CacheKey::new().header(http::HeaderName::from_static("x-tenant"));
    let rig = Rig::with(&[], |layer| layer.key(by()));
    over(&rig, MINUTE, 204, &[]);
    for tenant in ["a", "b"] {
        rig.get("/", &[("x-tenant", tenant)]).await;
    }
    rig.send("PUT", "/", &[("x-tenant", "a")]).await;
    for tenant in ["a", "b"] {
        assert!(!rig.get("/", &[("x-tenant", tenant)]).await.is_hit(), "{tenant}");
    }
}

#[tokio::test]
async fn a_change_that_is_skipped_still_drops() {
    let rig = Rig::with(&[], |layer| layer.skip_if(|head| head.method == "PUT"));
    over(&rig, MINUTE, 204, &[]);
    rig.get("/", &[]).await;
    rig.send("PUT", "/", &[]).await;
    assert!(dropped(&rig, "/").await);
}

#[tokio::test]
async fn change_in_a_nested_router_purges_its_urls() {
    // The service sees `/items` of `/api/items`.
    let by = CacheKey::new().uri(|head| head.extensions.get::<http::Uri>());
    let rig = Rig::with(&[], |layer| layer.key(by));
    let nested = |method: &str, url: &str| {
        let mut request = request(method, url.strip_prefix("/api").unwrap(), &[]);
        let full: http::Uri = format!("http://x.org{url}").parse().unwrap();
        request.extensions_mut().insert(full);
        request
    };
    for location in ["/api/items/1", "items/1", "http://x.org/api/items/1"] {
        over(&rig, MINUTE, 201, &[("location", location)]);
        rig.ask(nested("GET", "/api/items/1")).await.unwrap();
        rig.ask(nested("GET", "/api/items")).await.unwrap();
        rig.ask(nested("POST", "/api/items")).await.unwrap();
        let own = rig.ask(nested("GET", "/api/items")).await.unwrap();
        assert!(!own.is_hit(), "its own, {location}");
        let named = rig.ask(nested("GET", "/api/items/1")).await.unwrap();
        assert!(!named.is_hit(), "{location}");
    }
}

// What a POST says of a GET.

#[tokio::test]
async fn post_fills_the_get_unless_that_was_purged() {
    type Purge = fn(&CacheHandle);
    let purges: [(Purge, bool); 4] = [
        (|handle| drop(handle.purge_url("http://x.org/b").unwrap()), true),
        (|handle| drop(handle.purge_url("http://x.org/a").unwrap()), false),
        (|handle| drop(handle.soft_purge_prefix("http://x.org/")), false),
        (|handle| drop(handle.purge_prefix("http://x.org/a")), false),
    ];
    for (at, (purge, is_stored)) in purges.into_iter().enumerate() {
        for tags in [&[][..], &[("cache-tag", "t")]] {
            let rig = Rig::ignoring(&[]);
            let handle = rig.handle.clone();
            rig.answers(move |_| {
                purge(&handle);
                let fields = [("cache-control", "max-age=60"), ("content-location", "/a")];
                Ok(reply(200, &[&fields, tags].concat(), "body"))
            });
            let posted = rig.send("POST", "/a", &[]).await;
            let is_expected = is_stored && tags.is_empty();
            assert_eq!(posted.cache() == "fwd=method; stored", is_expected, "{at} {tags:?}");
        }
    }
}

#[tokio::test]
async fn post_with_content_location_fills_the_get() {
    // RFC 9110 §9.3.3.
    for location in ["/a", "http://x.org/a"] {
        let rig = Rig::new(&[]);
        let fields = [("cache-control", "max-age=60"), ("content-location", location)];
        over(&rig, MINUTE, 200, &fields);
        let posted = rig.send("POST", "/a", &[]).await;
        assert_eq!(posted.cache(), "fwd=method; stored");
        let get = rig.get("/a", &[]).await;
        assert_eq!((get.body.as_str(), get.is_hit()), ("changed", true), "{location}");
    }
}

#[tokio::test]
async fn any_other_post_answers_no_get() {
    let table: &[(&str, u16, Fields<'_>, Fields<'_>)] = &[
        ("POST", 200, &[("cache-control", "max-age=60")], &[]),
        ("POST", 200, &[("content-location", "/a")], &[]),
        ("POST", 200, &[("cache-control", "max-age=60"), ("content-location", "/b")], &[]),
        (
            "POST",
            200,
            &[("cache-control", "max-age=60"), ("content-location", "http://y.org/a")],
            &[],
        ),
        ("POST", 200, &[("cache-control", "max-age=0"), ("content-location", "/a")], &[]),
        (
            "POST",
            200,
            &[("cache-control", "max-age=60, no-store"), ("content-location", "/a")],
            &[],
        ),
        ("POST", 400, &[("cache-control", "max-age=60"), ("content-location", "/a")], &[]),
        ("PUT", 200, &[("cache-control", "max-age=60"), ("content-location", "/a")], &[]),
        (
            "POST",
            200,
            &[("cache-control", "max-age=60"), ("content-location", "/a")],
            &[("authorization", "Basic x")],
        ),
        (
            "POST",
            200,
            &[("cache-control", "max-age=60"), ("content-location", "/a")],
            &[("x-http-method-override", "PUT")],
        ),
        (
            "POST",
            200,
            &[("cache-control", "max-age=60"), ("content-location", "/a")],
            &[("cache-control", "no-store")],
        ),
    ];
    for (method, status, fields, asking) in table {
        let rig = Rig::new(&[]);
        over(&rig, MINUTE, *status, fields);
        rig.send(method, "/a", asking).await;
        assert!(dropped(&rig, "/a").await, "{method} {status} {fields:?} {asking:?}");
    }
}

#[tokio::test]
async fn post_in_a_nested_router_fills_no_other_url() {
    // The service sees `/items` of `/api/items`, and means `/items`, which is another resource.
    let by = CacheKey::new().uri(|head| head.extensions.get::<http::Uri>());
    let rig = Rig::with(&[], |layer| layer.key(by));
    for (location, answers) in [("/items", false), ("/api/items", true)] {
        let fields = [("cache-control", "max-age=60"), ("content-location", location)];
        over(&rig, MINUTE, 200, &fields);
        for (method, hit) in [("POST", false), ("GET", answers)] {
            let mut request = request(method, "/items", &[]);
            request.extensions_mut().insert(http::Uri::from_static("http://x.org/api/items"));
            assert_eq!(rig.ask(request).await.unwrap().is_hit(), hit, "{location}");
        }
    }
}

// Purges.

#[tokio::test]
async fn a_url_is_purged_in_all_its_variants() {
    let rig = Rig::new(&[("cache-control", "max-age=60"), ("vary", "x-one")]);
    for value in ["a", "b"] {
        rig.get("/p?q=1", &[("x-one", value)]).await;
    }
    rig.get("/p", &[]).await;
    rig.handle.purge_url("http://x.org/p?q=1").unwrap();
    for value in ["a", "b"] {
        assert!(!rig.get("/p?q=1", &[("x-one", value)]).await.is_hit(), "{value}");
    }
    assert!(!dropped(&rig, "/p").await);
}

#[tokio::test]
async fn a_url_is_purged_as_the_key_forms_it() {
    for url in ["http://X.ORG:80/p?b=2&a=1", "http://x.org/p?a=1&utm_source=y&b=2"] {
        let rig =
            Rig::with(MINUTE, |layer| layer.key(CacheKey::new().without_tracking().sorted_query()));
        rig.get("/p?a=1&b=2&gclid=7", &[]).await;
        rig.handle.purge_url(url).unwrap();
        assert!(dropped(&rig, "/p?b=2&a=1").await, "{url}");
    }
    let rig = Rig::with(MINUTE, |layer| layer.key(CacheKey::new().any_host()));
    rig.get("/p", &[]).await;
    rig.handle.purge_url("/p").unwrap();
    assert!(dropped(&rig, "/p").await);
}

#[tokio::test]
async fn what_is_no_url_is_not_purged() {
    let rig = Rig::new(MINUTE);
    // Without its scheme, a host is the target of a CONNECT.
    for url in ["", "http://", "http://a b/", "http://me@x.org/", "\u{0}", "x.org", "x.org:80"] {
        let error = rig.handle.purge_url(url).unwrap_err();
        assert!(error.to_string().contains("not the URL of an entry"), "{error}");
    }
    let rig = Rig::with(MINUTE, |layer| layer.key(CacheKey::new().any_host()));
    assert!(rig.handle.purge_url("x.org").is_err());
}

#[tokio::test]
async fn tags_of_all_kinds_are_purged() {
    for (tag, gone) in [
        ("from-hint", true),
        ("second", true),
        ("key-one", true),
        ("key-two", true),
        ("cache-one", true),
        ("cache two", true),
        ("key", false),
        ("", false),
    ] {
        let rig = Rig::new(&[]);
        rig.answers(|_| {
            let fields = [
                ("cache-control", "max-age=60"),
                ("surrogate-key", "key-one  key-two"),
                ("cache-tag", "cache-one, cache two"),
            ];
            let mut response = reply(200, &fields, "");
            response.extensions_mut().insert(CacheHint::new().tag("from-hint").tag("second"));
            Ok(response)
        });
        rig.get("/", &[]).await;
        rig.handle.purge_tag(tag);
        assert_eq!(dropped(&rig, "/").await, gone, "{tag}");
    }
}

#[tokio::test]
async fn a_prefix_and_all_are_purged() {
    let urls = ["/p", "/p/1", "/p2", "/q", "http://y.org/p/1"];
    let rig = Rig::new(MINUTE);
    for url in urls {
        rig.get(url, &[]).await;
    }
    rig.handle.purge_prefix("http://x.org/p");
    for (url, gone) in urls.into_iter().zip([true, true, true, false, false]) {
        assert_eq!(dropped(&rig, url).await, gone, "{url}");
    }
    rig.handle.purge_all().await.unwrap();
    assert_eq!(rig.handle.statistics().usage.entries, 0);
    for url in urls {
        assert!(dropped(&rig, url).await, "{url}");
    }
}

#[tokio::test]
async fn what_comes_after_a_purge_is_kept() {
    let rig = Rig::new(MINUTE);
    for _ in 0..3 {
        rig.handle.purge_url("http://x.org/").unwrap();
        rig.handle.purge_prefix("http://x.org/");
        rig.handle.purge_all().await.unwrap();
        assert!(!rig.get("/", &[]).await.is_hit());
        assert!(rig.get("/", &[]).await.is_hit());
    }
}

#[tokio::test]
async fn a_purge_while_the_service_thinks_wins() {
    type Purge = fn(&CacheHandle);
    let purges: [(&str, Purge); 3] = [
        ("url", |handle| drop(handle.purge_url("http://x.org/").unwrap())),
        ("prefix", |handle| drop(handle.purge_prefix("http://x.org"))),
        ("tag", |handle| drop(handle.purge_tag("t"))),
    ];
    for (what, purge) in purges {
        let rig = Rig::new(&[]);
        let handle = rig.handle.clone();
        let mut number = 0;
        rig.answers(move |_| {
            number += 1;
            if number == 1 {
                purge(&handle);
            }
            let fields = [("cache-control", "max-age=60"), ("cache-tag", "t")];
            Ok(reply(200, &fields, &number.to_string()))
        });
        assert_eq!(rig.get("/", &[]).await.body, "1");
        assert_eq!(rig.get("/", &[]).await.body, "2", "{what}");
        assert!(rig.get("/", &[]).await.is_hit());
    }
}

#[tokio::test]
async fn a_purge_while_the_body_comes_wins() {
    for what in ["url", "prefix", "tag", "all", "change"] {
        let rig = Rig::new(&[]);
        let (mut send, body) = Channel::<Bytes, BoxError>::new(4);
        let mut body = Some(body);
        rig.answers(move |head| {
            if head.method != "GET" {
                return Ok(reply(204, &[], ""));
            }
            let Some(body) = body.take() else { return Ok(reply(200, MINUTE, "new")) };
            let response = Response::builder().header("cache-control", "max-age=60");
            Ok(response.header("surrogate-key", "t").body(boxed(body)).unwrap())
        });
        let first = rig.open(request("GET", "/", &[])).await.unwrap();
        send.send_data("the old ".into()).await.unwrap();
        idle().await;
        match what {
            "url" => rig.handle.purge_url("http://x.org/").unwrap().await.unwrap(),
            "prefix" => rig.handle.purge_prefix("http://x.org/").await.unwrap(),
            "tag" => rig.handle.purge_tag("t").await.unwrap(),
            "all" => rig.handle.purge_all().await.unwrap(),
            _ => drop(rig.send("POST", "/", &[]).await),
        }
        send.send_data("one".into()).await.unwrap();
        drop(send);
        assert_eq!(got(first).await.body, "the old one", "its client gets it all the same");
        idle().await;
        assert_eq!(rig.get("/", &[]).await.body, "new", "{what}");
    }
}

#[tokio::test]
async fn a_purge_while_an_entry_is_validated_wins() {
    let rig = Rig::new(&[("cache-control", "max-age=60"), ("etag", "\"a\"")]);
    rig.get("/", &[]).await;
    rig.clock.pass(61);
    let handle = rig.handle.clone();
    rig.answers(move |_| {
        handle.purge_url("http://x.org/").unwrap();
        Ok(reply(304, &[], ""))
    });
    assert_eq!(rig.get("/", &[]).await.status, 200);
    rig.answers_with(200, MINUTE);
    assert!(!rig.get("/", &[]).await.is_hit());
    assert_eq!(rig.asked("if-none-match"), None);
}

#[tokio::test]
async fn what_was_purged_does_not_stand_in() {
    let rig = Rig::new(MINUTE);
    rig.get("/", &[]).await;
    rig.handle.purge_url("http://x.org/").unwrap();
    rig.fails();
    assert!(rig.ask(request("GET", "/", &[])).await.is_err());
}
