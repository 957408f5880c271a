//! A message that cannot be parsed, or is spelled otherwise than its key, is not served to others.

use std::time::Duration;

use http::{HeaderValue, Request, Response};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use tower_kit::cache::MemoryStore;
use tower_kit::{CacheLayer, MIB};

use super::client::send;
use super::stacks::{Boxed, Kind, Parts, from_fn, serve};
use super::story::Ask;
use super::{check, runtime};
use crate::support::{BoxBody, full};

#[test]
fn misspelled_no_store_is_obeyed() {
    let runtime = runtime();
    check(600, &pages(), |page| {
        let served = page.clone();
        let (mine, yours) = runtime.block_on(async {
            let server = serve(page.lifetime.parts().around(&[Kind::Cache], users(served))).await;
            let mut bodies = Vec::new();
            for user in ["mine", "yours"] {
                let mut ask = Ask::get();
                ask.fields.push(("x-user", user));
                let seen = send(server.addr, "/page", &ask, None).await;
                bodies.push(String::from_utf8_lossy(&seen.body).into_owned());
            }
            (bodies.remove(0), bodies.remove(0))
        });
        if (mine.as_str(), yours.as_str()) == ("mine", "yours") {
            return Ok(());
        }
        Err(format!("one got {mine:?}, the other {yours:?}"))
    });
}

#[test]
fn odd_spellings_of_a_host_fill_nothing() {
    let runtime = runtime();
    check(600, &targets(), |target| {
        let (odd, plain) = runtime.block_on(async {
            let server = serve(Parts::new().around(&[Kind::Cache], shop())).await;
            let mut bodies = Vec::new();
            for lines in [target.as_str(), "GET /page HTTP/1.1\r\nhost: shop.example"] {
                let mut client = server.connect().await;
                client.send(&format!("{lines}\r\n\r\n")).await;
                bodies.push(client.response().await);
            }
            (bodies.remove(0), bodies.remove(0))
        });
        if plain.1 == "the shop" {
            return Ok(());
        }
        Err(format!("{target:?} got {odd:?}; after that, shop.example gets {plain:?}"))
    });
}

/// The fields of a response that must not be shared.
#[derive(Clone, Debug)]
struct Page {
    fields: Vec<(&'static str, HeaderValue)>,
    lifetime: Lifetime,
}

/// The source of a response's lifetime, if nothing forbids storing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lifetime {
    Default,
    Status,
    Aside,
    Expires,
}

impl Lifetime {
    fn parts(self) -> Parts {
        let minute = Duration::from_secs(60);
        let store = || MemoryStore::new(MIB);
        let mut parts = Parts::new();
        parts.cache = match self {
            Self::Default => CacheLayer::new(store()).default_ttl(minute),
            Self::Status => CacheLayer::new(store()).ttl(http::StatusCode::OK, minute),
            Self::Aside => CacheLayer::with_ttl(store(), minute),
            Self::Expires => CacheLayer::new(store()),
        };
        parts
    }
}

/// A service whose response is the name of the user that asks.
fn users(page: Page) -> Boxed {
    from_fn(move |request: Request<BoxBody>| {
        let page = page.clone();
        async move {
            let user =
                request.headers().get("x-user").map(HeaderValue::as_bytes).unwrap_or_default();
            let mut response = Response::builder();
            if page.lifetime == Lifetime::Expires {
                response = response.header("expires", "Fri, 01 Jan 2100 00:00:00 GMT");
            }
            for (name, value) in &page.fields {
                response = response.header(*name, value);
            }
            Ok(response.body(full(user.to_vec()))?)
        }
    })
}

/// A service that knows one host, by one spelling, and lets its responses be kept.
fn shop() -> Boxed {
    from_fn(|request: Request<BoxBody>| async move {
        let host = request.headers().get("host").map(HeaderValue::as_bytes).unwrap_or_default();
        let authority = request.uri().authority().map(|authority| authority.as_str());
        let known =
            authority.unwrap_or("shop.example") == "shop.example" && host == b"shop.example";
        let response = Response::builder().header("cache-control", "max-age=60");
        let (status, text) = if known { (200, "the shop") } else { (404, "no such host") };
        Ok(response.status(status).body(full(text))?)
    })
}

fn pages() -> impl Strategy<Value = Page> {
    let lifetime =
        select(vec![Lifetime::Default, Lifetime::Status, Lifetime::Aside, Lifetime::Expires]);
    prop_oneof![
        // A time of the layer's own takes the place of `no-cache`.
        4 => (directives(select(vec!["no-store", "private"])), lifetime.clone()),
        1 => (directives(Just("no-cache")), select(vec![Lifetime::Default, Lifetime::Status, Lifetime::Expires])),
        1 => (others(), lifetime),
    ]
    .prop_map(|(fields, lifetime)| Page { fields, lifetime })
}

/// `cache-control` with a word that forbids to share, among others, however they are separated.
fn directives(
    word: impl Strategy<Value = &'static str>,
) -> impl Strategy<Value = Vec<(&'static str, HeaderValue)>> {
    let others = subsequence(OTHERS.to_vec(), 0..3);
    let separators = prop::collection::vec(select(SEPARATORS.to_vec()), 4);
    let flags = (any::<u32>(), 0_usize..3, select(AROUND.to_vec()), prop::bool::weighted(0.2));
    (word, others, separators, flags).prop_map(|(word, others, separators, flags)| {
        let (cases, at, (before, after), split) = flags;
        let word = word.char_indices().map(|(at, letter)| {
            if cases >> at & 1 == 1 { letter.to_ascii_uppercase() } else { letter }
        });
        let word = [before, word.collect::<String>().as_bytes(), after].concat();
        let mut members: Vec<_> = others.iter().map(|other| other.as_bytes().to_vec()).collect();
        members.insert(at.min(members.len()), word);
        let mut lines = vec![Vec::new()];
        for (member, separator) in members.iter().zip(separators) {
            if split && lines.len() == 1 && !lines[0].is_empty() {
                lines.push(Vec::new());
            }
            let line = lines.last_mut().unwrap();
            if !line.is_empty() {
                line.extend(separator.as_bytes());
            }
            line.extend(member);
        }
        let value = |line: Vec<u8>| HeaderValue::from_bytes(&line).unwrap();
        lines.into_iter().map(|line| ("cache-control", value(line))).collect()
    })
}

/// Other ways to forbid to share a response.
fn others() -> impl Strategy<Value = Vec<(&'static str, HeaderValue)>> {
    let fields = select(vec![
        vec![("surrogate-control", "no-store")],
        vec![("surrogate-control", "max-age=60, No-Store")],
        vec![("surrogate-control", "content=\"ESI/1.0\", no-store")],
        vec![("cdn-cache-control", "private; max-age=60"), ("cache-control", "max-age=60")],
        vec![("cdn-cache-control", "max-age=60; no-store"), ("cache-control", "max-age=60")],
        vec![("cdn-cache-control", "max-age=60 no-store"), ("cache-control", "max-age=60")],
        vec![("cdn-cache-control", "Private, max-age=60"), ("cache-control", "max-age=60")],
        vec![("set-cookie", "")],
        vec![("set-cookie", "a=1"), ("cache-control", "public, max-age=60")],
        vec![("vary", "*")],
        vec![("vary", "accept,*")],
        vec![("vary", "accept; *")],
        vec![("vary", "accept *")],
        vec![("vary", "accept"), ("vary", " *")],
        vec![("vary", "x-user")],
        vec![("vary", "X-User;accept")],
        vec![("vary", "accept x-user")],
    ]);
    fields.prop_map(|fields| {
        let value = HeaderValue::from_static;
        fields.into_iter().map(|(name, text)| (name, value(text))).collect()
    })
}

/// Requests for something like `shop.example`, without the end of their heads.
fn targets() -> impl Strategy<Value = String> {
    let host = (select(USERINFO.to_vec()), select(NAMES.to_vec()), select(ENDS.to_vec()));
    let host = move || host.clone().prop_map(|(user, name, end)| format!("{user}{name}{end}"));
    let forms = select(vec!["", "http://", "HTTP://", "https://"]);
    let absolute = (forms, host(), host()).prop_map(|(form, target, host)| {
        let target = if form.is_empty() { String::new() } else { format!("{form}{target}") };
        format!("GET {target}/page HTTP/1.1\r\nhost: {host}")
    });
    let spaced = (host(), select(vec!["\t", "  ", " \t"]))
        .prop_map(|(host, space)| format!("GET /page HTTP/1.1\r\nhost:{space}{host}{space}"));
    let none = Just("GET http://shop.example/page HTTP/1.0".to_owned());
    let two =
        host().prop_map(|host| format!("GET /page HTTP/1.1\r\nhost: shop.example\r\nhost: {host}"));
    prop_oneof![6 => absolute, 1 => spaced, 1 => none, 1 => two]
}

const SEPARATORS: [&str; 12] =
    [",", ", ", ";", "; ", " ", "\t", " ; ", ",,", ",;", " , ", "|", "/"];

const OTHERS: [&str; 12] = [
    "max-age=60",
    "s-maxage=60",
    "public",
    "must-revalidate",
    "proxy-revalidate",
    "immutable",
    "max-age=\"60\"",
    "max-age=abc",
    "stale-while-revalidate=60",
    "ext=\"open",
    "ext=\"a,b\"",
    "=",
];

/// Text before and after a word.
const AROUND: [(&[u8], &[u8]); 14] = [
    (b"", b""),
    (b"", b""),
    (b"", b""),
    (b"", b"="),
    (b"", b"=\"\""),
    (b"", b"=1"),
    (b"", b"=true"),
    (b"", b";"),
    (b"\"", b"\""),
    (b"'", b"'"),
    (b"\"", b""),
    (b"\xff", b""),
    (b"", b"\xa0"),
    (b"max-age=60;", b""),
];

const USERINFO: [&str; 4] = ["", "", "user@", "user:secret@"];

const NAMES: [&str; 8] = [
    "shop.example",
    "shop.example",
    "Shop.Example",
    "SHOP.example",
    "shop.example.",
    "shop%2Eexample",
    "shop.example..",
    "shop.exampl%65",
];

const ENDS: [&str; 10] = ["", "", "", ":", ":80", ":080", ":0", ":443", ":8080", "."];
