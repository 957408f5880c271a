//! Responses that forbid storing in other words than RFC 9111 has for it are not stored, wherever
//! their lifetime comes from.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tower_kit::cache::{CacheHint, CacheLayer, Exception};

use super::rig::{Fields, Rig, date, reply};
use crate::support::status;

/// Values of `cache-control` that forbid storing, or cannot be read.
const FORBIDDING: [&[u8]; 48] = [
    b"no-cache; no-store; must-revalidate",
    b"no-store; max-age=60",
    b"private; max-age=60",
    b"max-age=60; private",
    b"max-age=60 private",
    b"max-age=60 no-store",
    b"max-age=60,private;",
    b"public, max-age=60; private",
    b"Private",
    b"PRIVATE",
    b"\"no-store\"",
    b"'no-store'",
    b"\"private, max-age=60\"",
    b"no_store",
    b"no store",
    b"nostore",
    b"NoStore",
    b"no-store=1",
    b"no-store=true",
    b"no-store=false",
    b"no-store=?0",
    b"no-store=",
    b"no-store:",
    b"no-store.",
    b"no-store|no-cache",
    b"no\tstore",
    b"no-store\tmax-age=60",
    b"\tno-store\t",
    b"no\xe2\x80\x91store",
    b"no\xadstore",
    b"\xe2\x80\x9cno-store\xe2\x80\x9d",
    b"no-store\xa0",
    b"\xff\xfeprivate",
    b"private=1",
    b"private=true",
    b"private=set-cookie",
    b"private=\"set-cookie",
    b"private:",
    b"x=\"no-store",
    b"x=\"a, private, max-age=60",
    b"x=\"a\", \"no-store",
    b"x=\"a\\\", no-store",
    b"x=\"a, no-store, y=\"b\"",
    b"cache-control: no-store",
    b"max-age=60;",
    b"max-age:60",
    b"{\"max-age\": 60}",
    b"\xff\xfe\xfd",
];

/// Whether the second of two requests is a hit, where the service says this.
async fn hits(rig: &Rig, headers: &[(&str, &[u8])]) -> bool {
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_bytes(value).unwrap())
        })
        .collect();
    rig.answers(move |_| {
        let mut response = reply(200, &[], "of one user");
        for (name, value) in &headers {
            response.headers_mut().append(name, value.clone());
        }
        Ok(response)
    });
    rig.get("/", &[]).await;
    rig.get("/", &[]).await.is_hit()
}

#[tokio::test]
async fn misspelled_directives_forbid_storing() {
    let expires = date(60);
    let elsewhere: [(&str, &[u8]); 3] = [
        ("expires", expires.as_bytes()),
        ("cache-control", b"max-age=60"),
        ("last-modified", b"Sun, 06 Nov 1994 08:00:00 GMT"),
    ];
    for value in FORBIDDING {
        let said = String::from_utf8_lossy(value);
        let own = ("cache-control", value);
        for lifetime in elsewhere {
            let rig = Rig::new(&[]);
            assert!(!hits(&rig, &[own, lifetime]).await, "{said} with {lifetime:?}");
            let rig = Rig::new(&[]);
            assert!(!hits(&rig, &[lifetime, own]).await, "{said} behind {lifetime:?}");
        }
        assert!(!hits(&Rig::aside(&[], |layer| layer), &[own]).await, "aside, {said}");
        let ttl = |layer: CacheLayer| layer.ttl(status(200), Duration::from_secs(60));
        assert!(!hits(&Rig::with(&[], ttl), &[own]).await, "by status, {said}");
        let default = |layer: CacheLayer| layer.default_ttl(Duration::from_secs(60));
        assert!(!hits(&Rig::with(&[], default), &[own]).await, "by default, {said}");
    }
}

#[tokio::test]
async fn a_hint_does_not_excuse_a_misspelling() {
    for value in FORBIDDING {
        let rig = Rig::new(&[]);
        rig.answers(move |_| {
            let mut response = reply(200, &[], "of one user");
            let value = HeaderValue::from_bytes(value).unwrap();
            response.headers_mut().insert("cache-control", value);
            response.extensions_mut().insert(CacheHint::new().ttl(Duration::from_secs(60)));
            Ok(response)
        });
        rig.get("/", &[]).await;
        assert!(!rig.get("/", &[]).await.is_hit(), "{}", String::from_utf8_lossy(value));
    }
}

#[tokio::test]
async fn well_formed_directives_are_read_as_before() {
    let table: [&[u8]; 9] = [
        b"max-age=60, x=\"no-store, private\"",
        b"max-age=60, x=\"a \\\" private\"",
        b"max-age=60, private=\"x-private-user\"",
        b"max-age=60, no-cache=\"x-a, x-b\"",
        b"max-age=60, immutable, no-transform, stale-while-revalidate=9",
        b"max-age=60, unheard-of, unheard-of=9",
        b", max-age=60 ,",
        b"MAX-AGE=\"60\"",
        b"max-age = 60",
    ];
    for value in table {
        let hit = hits(&Rig::new(&[]), &[("cache-control", value)]).await;
        assert!(hit, "{}", String::from_utf8_lossy(value));
    }
}

#[tokio::test]
async fn other_headers_of_caches_forbid_storing_too() {
    let table: &[Fields<'_>] = &[
        &[("surrogate-control", "no-store")],
        &[("surrogate-control", "No-Store;edge")],
        &[("surrogate-control", "max-age=60, no-store")],
        &[("surrogate-control", "private")],
        &[("surrogate-control", "no-store"), ("cache-control", "max-age=60")],
        &[("surrogate-control", "no-store"), ("cdn-cache-control", "max-age=60")],
        &[("pragma", "no-cache")],
        &[("pragma", "No-Cache; x")],
        &[("pragma", "x"), ("pragma", "no_cache")],
        &[("cdn-cache-control", "no-store; x;;")],
        &[("cdn-cache-control", "no-store=1"), ("cache-control", "max-age=60")],
        &[("cdn-cache-control", "max-age=60 no-store"), ("cache-control", "max-age=60")],
        &[("cdn-cache-control", "No-Store"), ("cache-control", "max-age=60")],
        &[("cdn-cache-control", "Private, max-age=60"), ("cache-control", "max-age=60")],
        &[("cdn-cache-control", "x=\"no-store"), ("cache-control", "max-age=60")],
        &[("cdn-cache-control", "no-store, no-store=?0"), ("cache-control", "max-age=60")],
        &[("cdn-cache-control", "&")],
    ];
    for fields in table {
        let bytes: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        assert!(!hits(&Rig::aside(&[], |layer| layer), &bytes).await, "{fields:?}");
        let expires = date(60);
        let pragma = bytes.iter().any(|(name, _)| *name == "pragma");
        let cache_control = bytes.iter().any(|(name, _)| *name == "cache-control");
        if pragma || cache_control {
            let with_expires = [&bytes[..], &[("expires", expires.as_bytes())]].concat();
            assert!(!hits(&Rig::new(&[]), &with_expires).await, "{fields:?}");
        }
    }
    // What `cache-control` says comes before `pragma`, and a lifetime for surrogates is no ban.
    for fields in [
        [("cache-control", &b"max-age=60"[..]), ("pragma", b"no-cache")],
        [("cache-control", b"max-age=60"), ("surrogate-control", b"max-age=9+9, content=\"ESI\"")],
    ] {
        assert!(hits(&Rig::new(&[]), &fields).await, "{fields:?}");
    }
}

#[tokio::test]
async fn of_two_lifetimes_the_shorter_counts() {
    for (lines, expected) in [
        (&["max-age=60, max-age=5"][..], Some(5)),
        (&["max-age=5, max-age=60"], Some(5)),
        (&["max-age=60", "max-age=5"], Some(5)),
        (&["s-maxage=60, s-maxage=5"], Some(5)),
        (&["max-age=60, max-age=-1"], None),
        (&["max-age=-1, max-age=60"], None),
        (&["max-age=60, max-age=1.5"], None),
        (&["max-age=60, max-age"], None),
        (&["s-maxage=x, max-age=60"], None),
        (&["max-age=+60"], None),
        (&["max-age=6e1"], None),
        (&["max-age=0x60"], None),
        (&["max-age=99999999999999999999999"], Some(1 << 31)),
    ] {
        let rig = Rig::new(&[]);
        let lines: Vec<_> = lines.iter().map(|line| ("cache-control", *line)).collect();
        rig.answers_with(200, &lines);
        rig.get("/", &[]).await;
        let second = rig.get("/", &[]).await;
        assert_eq!(second.is_hit().then(|| second.ttl()), expected, "{lines:?}");
    }
}

#[tokio::test]
async fn exceptions_excuse_misspellings_too() {
    let keep = |exception| move |layer: CacheLayer| layer.allow(exception);
    for (exception, value) in [
        (Exception::NoStore, &b"no-store; x"[..]),
        (Exception::NoStore, b"max-age:60"),
        (Exception::Private, b"max-age=60, private=1"),
    ] {
        let rig = Rig::aside(&[], keep(exception));
        assert!(hits(&rig, &[("cache-control", value)]).await, "{exception:?}");
    }
    let rig = Rig::aside(&[], keep(Exception::Private));
    assert!(!hits(&rig, &[("cache-control", b"private; no-store")]).await);
}

#[tokio::test]
async fn a_304_with_a_misspelling_ends_an_entry() {
    for value in ["no-cache; no-store", "private; x", "max-age:60"] {
        let rig = Rig::new(&[("cache-control", "max-age=60"), ("etag", "\"a\"")]);
        rig.get("/", &[]).await;
        rig.clock.pass(61);
        rig.answers_with(304, &[("cache-control", value)]);
        rig.get("/", &[]).await;
        rig.answers_with(200, &[("cache-control", "max-age=60")]);
        assert!(!rig.get("/", &[]).await.is_hit(), "{value}");
    }
}

#[tokio::test]
async fn a_page_with_a_nonce_is_not_stored() {
    let table: &[(Fields<'_>, bool)] = &[
        (&[("content-security-policy", "script-src 'nonce-abc'")], false),
        (&[("content-security-policy", "script-src 'NoNcE-abc'")], false),
        (&[("content-security-policy-report-only", "script-src 'nonce-abc'")], false),
        (
            &[
                ("content-security-policy", "default-src 'self'"),
                ("content-security-policy", "default-src 'self', style-src 'nonce-abc' 'self'"),
            ],
            false,
        ),
        (&[("content-security-policy", "script-src 'self' 'sha256-abc'")], true),
        (&[("content-security-policy", "script-src nonce-abc.org")], true),
    ];
    for (fields, stored) in table {
        let bytes: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        assert_eq!(hits(&Rig::aside(&[], |layer| layer), &bytes).await, *stored, "{fields:?}");
        let stated = [&bytes[..], &[("cache-control", &b"public, max-age=60"[..])]].concat();
        assert_eq!(hits(&Rig::new(&[]), &stated).await, *stored, "{fields:?}");
    }
}

#[tokio::test]
async fn odd_no_store_of_a_request_fills_nothing() {
    let rig = Rig::new(&[("cache-control", "max-age=60")]);
    rig.get("/", &[("cache-control", "no-cache; no-store")]).await;
    assert!(!rig.get("/", &[]).await.is_hit());
}
