//! A response is stored under a key only if the service saw a request of that spelling.

use std::convert::Infallible;

use http::{HeaderName, Request, Response, Uri};
use tower::{Layer, service_fn};
use tower_kit::cache::{CacheKey, CacheLayer, MemoryStore};

use super::rig::{Fields, MINUTE, Rig, reply, request};
use crate::support::{BoxBody, Server, full};

/// The target and the headers of a request, byte for byte.
fn asked(method: &str, target: &str, fields: Fields<'_>) -> Request<BoxBody> {
    let mut request = request(method, "/", fields);
    *request.uri_mut() = target.parse().unwrap();
    request
}

/// A service that knows one spelling of one URL.
fn strict(choose: impl FnOnce(CacheLayer) -> CacheLayer) -> Rig {
    let rig = Rig::with(&[], choose);
    rig.answers(|head| {
        let host = head.headers.get("host").map(|host| host.as_bytes());
        let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes());
        let own = |said: Option<&[u8]>| said.is_none_or(|said| said == b"shop.example");
        let target = head.uri.path_and_query().map_or("", |target| target.as_str());
        let found = own(host) && own(authority) && target == "/p?a=1&b=2";
        Ok(reply(if found { 200 } else { 404 }, MINUTE, ""))
    });
    rig
}

/// Spellings of the host that have the key of `shop.example`.
const HOSTS: [&str; 6] = [
    "Shop.Example",
    "shop.example:",
    "shop.example:80",
    "SHOP.EXAMPLE:80",
    "shop.EXAMPLE:",
    " shop.example",
];

#[tokio::test]
async fn no_spelling_of_the_host_takes_a_page_away() {
    const TARGET: &str = "/p?a=1&b=2";
    for host in HOSTS {
        let attacks = [
            asked("GET", TARGET, &[("host", host)]),
            asked("HEAD", TARGET, &[("host", host)]),
            asked("GET", TARGET, &[("host", host), ("range", "bytes=0-1")]),
            asked("GET", TARGET, &[("host", host), ("cache-control", "no-cache")]),
            asked("POST", TARGET, &[("host", host)]),
        ];
        let absolute = (!host.starts_with(' ')).then(|| {
            let target = format!("http://{host}{TARGET}");
            [asked("GET", &target, &[]), asked("GET", &target, &[("host", host)])]
        });
        for attack in attacks.into_iter().chain(absolute.into_iter().flatten()) {
            let said = format!("{attack:?}");
            let rig = strict(|layer| layer);
            rig.ask(attack).await.unwrap();
            let victim = asked("GET", TARGET, &[("host", "shop.example")]);
            assert_eq!(rig.ask(victim).await.unwrap().status, 200, "{said}");
        }
    }
}

#[tokio::test]
async fn no_spelling_of_the_host_refreshes_an_entry() {
    for host in HOSTS {
        let rig = strict(|layer| layer);
        let get = |host| asked("GET", "/p?a=1&b=2", &[("host", host)]);
        rig.ask(get("shop.example")).await.unwrap();
        rig.clock.pass(61);
        rig.ask(get(host)).await.unwrap();
        assert_eq!(rig.ask(get("shop.example")).await.unwrap().status, 200, "{host:?}");
    }
}

#[tokio::test]
async fn other_hosts_have_entries_of_their_own() {
    for host in
        ["shop.example.", "shop.example:8080", "shop.example:080", "[::1]", "shop%2eexample"]
    {
        let rig = strict(|layer| layer);
        let get = |host| asked("GET", "/p?a=1&b=2", &[("host", host)]);
        assert_eq!(rig.ask(get(host)).await.unwrap().status, 404, "{host}");
        assert_eq!(rig.ask(get("shop.example")).await.unwrap().status, 200, "{host}");
        assert!(rig.ask(get(host)).await.unwrap().is_hit(), "{host}");
    }
}

#[tokio::test]
async fn ignored_query_takes_no_page_away() {
    type By = fn(CacheKey) -> CacheKey;
    let all: [(By, &[&str]); 5] = [
        (CacheKey::without_tracking, &["/p?a=1&b=2&utm_source=x", "/p?gclid=%00&a=1&b=2"]),
        (CacheKey::sorted_query, &["/p?b=2&a=1"]),
        (|by| by.without_tracking().sorted_query(), &["/p?b=2&fbclid=1&a=1"]),
        (|by| by.only_query(["a", "b"]), &["/p?a=1&x=9&b=2", "/p?x&a=1&b=2&y"]),
        (|by| by.without_query(["x*"]), &["/p?x1=9&a=1&x2=&b=2"]),
    ];
    for (by, targets) in all {
        for target in targets {
            let rig = strict(|layer| layer.key(by(CacheKey::new())));
            rig.ask(asked("GET", target, &[("host", "shop.example")])).await.unwrap();
            let victim = asked("GET", "/p?a=1&b=2", &[("host", "shop.example")]);
            let got = rig.ask(victim).await.unwrap();
            assert_eq!(got.status, 200, "{target}");
            assert!(got.is_hit(), "the service saw {}, and was sent {target}", rig.last().uri);
        }
    }
}

#[tokio::test]
async fn ignored_query_is_reflected_to_nobody() {
    let rig = Rig::with(&[], |layer| layer.key(CacheKey::new().no_query()));
    rig.answers(|head| Ok(reply(200, MINUTE, head.uri.query().unwrap_or("none"))));
    assert_eq!(rig.get("/p?evil=%3Cscript%3E", &[]).await.body, "none");
    assert_eq!(rig.get("/p", &[]).await.body, "none");
    let part = rig.get("/q?x", &[("range", "bytes=0-99")]).await;
    assert_eq!((part.body.as_str(), part.cache()), ("none", "fwd=uri-miss; stored"));
    // One that fills nothing goes on as it is.
    let head = rig.send("HEAD", "/r?x", &[]).await;
    assert_eq!((head.body.as_str(), head.cache()), ("x", "fwd=uri-miss; detail=partial"));
    assert_eq!(rig.get("/q", &[]).await.body, "none");
}

#[tokio::test]
async fn a_post_of_another_spelling_answers_no_get() {
    for target in ["http://X.org/", "http://x.org:80/", "http://x.org/?utm_id=1"] {
        let rig = Rig::with(&[], |layer| layer.key(CacheKey::new().without_tracking()));
        rig.answers_with(200, &[("cache-control", "max-age=60"), ("content-location", "/")]);
        rig.ask(asked("POST", target, &[])).await.unwrap();
        assert!(!rig.get("/", &[]).await.is_hit(), "{target}");
    }
}

#[tokio::test]
async fn url_of_an_extension_fills_as_it_is_spelled() {
    let by = || CacheKey::new().without_tracking().uri(|head| head.extensions.get::<Uri>());
    let asked = |original: &'static str| {
        let mut request = asked("GET", "/p", &[]);
        request.extensions_mut().insert(Uri::from_static(original));
        request
    };
    for odd in ["http://x.org/a/p?utm_id=1", "http://X.org/a/p", "http://x.org:80/a/p"] {
        let rig = Rig::with(MINUTE, |layer| layer.key(by()));
        let got = rig.ask(asked(odd)).await.unwrap();
        assert_eq!(got.cache(), "fwd=uri-miss; detail=spelling", "{odd}");
        assert!(!rig.ask(asked("http://x.org/a/p")).await.unwrap().is_hit(), "{odd}");
        assert!(rig.ask(asked(odd)).await.unwrap().is_hit(), "{odd}");
    }
}

#[tokio::test]
async fn an_empty_host_is_not_a_missing_one() {
    let rig = Rig::new(&[]);
    rig.answers(|head| Ok(reply(200, MINUTE, &head.headers.contains_key("host").to_string())));
    rig.ask(asked("GET", "/", &[("host", "")])).await.unwrap();
    assert_eq!(rig.ask(asked("GET", "/", &[])).await.unwrap().body, "false");
}

#[tokio::test]
async fn an_odd_accept_encoding_is_its_own_variant() {
    for odd in ["gzip, <script>", "gzip;q=2", "gzip; q=0.12345", "gzip;level=1", "gzip br"] {
        let rig = Rig::new(&[]);
        rig.answers(|head| {
            let fields = [
                ("cache-control", "max-age=60"),
                ("vary", "accept-encoding"),
                ("content-encoding", "gzip"),
            ];
            let accept = head.headers.get("accept-encoding").unwrap().to_str().unwrap();
            Ok(reply(200, &fields, accept))
        });
        rig.get("/", &[("accept-encoding", odd)]).await;
        let victim = rig.get("/", &[("accept-encoding", "gzip, deflate, br, zstd")]).await;
        assert_eq!(victim.body, "gzip, deflate, br, zstd", "{odd}");
        assert!(rig.get("/", &[("accept-encoding", odd)]).await.is_hit(), "{odd}");
    }
}

#[tokio::test]
async fn too_many_vary_names_are_not_stored() {
    let names = |most: usize| (0..most).map(|at| format!("x-{at}")).collect::<Vec<_>>().join(",");
    for (most, stored) in [(64, true), (65, false), (5_000, false)] {
        let vary = names(most);
        let rig = Rig::new(&[("cache-control", "max-age=60"), ("vary", &*vary)]);
        rig.get("/", &[]).await;
        assert_eq!(rig.get("/", &[]).await.is_hit(), stored, "{most}");
    }
}

#[tokio::test]
async fn a_field_of_the_key_counts_byte_for_byte() {
    let by = CacheKey::new().header(HeaderName::from_static("x-tenant"));
    let rig = Rig::with(&[], |layer| layer.key(by));
    rig.answers(|head| {
        let tenant = head.headers.get("x-tenant").unwrap().to_str().unwrap();
        Ok(reply(200, MINUTE, tenant))
    });
    for odd in ["A", "a ", " a", "a,", "a\t"] {
        rig.get("/", &[("x-tenant", odd)]).await;
        assert_eq!(rig.get("/", &[("x-tenant", "a")]).await.body, "a", "{odd:?}");
    }
}

/// A server that knows its host in one spelling, and tells others that there is nothing.
async fn shop() -> Server {
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let host = request.headers().get("host").map(|host| host.as_bytes().to_vec());
        let authority = request.uri().authority().map(|host| host.as_str().as_bytes().to_vec());
        let own = host.into_iter().chain(authority).all(|host| host == b"shop.example");
        let (status, body) = if own { (200, "the shop") } else { (404, "nothing") };
        let response = Response::builder().status(status).header("cache-control", "max-age=600");
        async move { Ok::<_, Infallible>(response.body(full(body)).unwrap()) }
    });
    Server::start(CacheLayer::new(MemoryStore::new(1 << 20)).layer(service)).await
}

#[tokio::test]
async fn over_h1_no_spelling_takes_a_page_away() {
    for odd in [
        "GET / HTTP/1.1\r\nhost: shop.example:\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: SHOP.example\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: shop.example:80\r\n\r\n",
        "GET / HTTP/1.1\r\nhost:   shop.example:  \r\n\r\n",
        "GET http://SHOP.example/ HTTP/1.1\r\nhost: shop.example\r\n\r\n",
        "GET http://shop.example:80/ HTTP/1.1\r\nhost: shop.example:80\r\n\r\n",
        "GET http://shop.example HTTP/1.1\r\nhost: SHOP.example\r\n\r\n",
        "GET http://shop.example/ HTTP/1.1\r\nhost: evil.example\r\n\r\n",
        "GET http://me@shop.example/ HTTP/1.1\r\nhost: shop.example\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: shop.example\r\nhost: evil.example\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: shop.example, evil.example\r\n\r\n",
        "HEAD / HTTP/1.1\r\nhost: shop.example:\r\n\r\n",
    ] {
        let server = shop().await;
        let mut attacker = server.connect().await;
        attacker.send(odd).await;
        attacker.head().await;
        let mut victim = server.connect().await;
        victim.send("GET / HTTP/1.1\r\nhost: shop.example\r\n\r\n").await;
        let (head, body) = victim.response().await;
        assert!(head.starts_with("http/1.1 200 "), "{odd}{head}");
        assert_eq!(body, "the shop", "{odd}");
    }
}
