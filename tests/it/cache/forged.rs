//! What a store returns is served only if the layer could have stored it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use http::{Request, Response};
use tower::{Layer, service_fn};
use tower_kit::cache::{CacheLayer, Entry, Exception, MemoryStore, Store, StoreError, TieredStore};

use super::rig::{Fields, MINUTE, Rig, got, reply, request};
use crate::support::{Metrics, Server, full, status};

/// The parts of an entry that a forger changes.
#[derive(Clone, Debug)]
struct Forged {
    status: u16,
    headers: Vec<(String, Vec<Vec<u8>>)>,
    body: Vec<u8>,
}

type Forge = Arc<dyn Fn(&mut Forged) + Send + Sync>;

/// A store outside of the process, in which somebody changes what is kept, with a checksum that is
/// right.
#[derive(Clone)]
struct Elsewhere {
    kept: Arc<Mutex<HashMap<String, Bytes>>>,
    forge: Forge,
    peeks: bool,
}

impl Elsewhere {
    fn new(forge: impl Fn(&mut Forged) + Send + Sync + 'static) -> Self {
        Self { kept: Arc::default(), forge: Arc::new(forge), peeks: false }
    }

    fn read(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let bytes = self.kept.lock().unwrap().get(key).cloned();
        bytes.map(|bytes| Entry::from_bytes(bytes, key)).transpose().map_err(StoreError::new)
    }
}

impl Store for Elsewhere {
    fn get_now(&self, key: &str) -> Poll<Option<Entry>> {
        if self.peeks { Poll::Ready(self.read(key).unwrap()) } else { Poll::Pending }
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.read(key)
    }

    async fn put(&self, key: &str, entry: Entry, _ttl: Duration) -> Result<(), StoreError> {
        let bytes = forged(&entry.to_bytes(key), &*self.forge);
        self.kept.lock().unwrap().insert(key.to_owned(), bytes);
        Ok(())
    }

    async fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.kept.lock().unwrap().remove(key);
        Ok(())
    }

    async fn clear(&self) -> Result<(), StoreError> {
        self.kept.lock().unwrap().clear();
        Ok(())
    }
}

/// The bytes of an entry with other parts; see `src/cache/entry/codec.rs`.
fn forged(bytes: &[u8], forge: &dyn Fn(&mut Forged)) -> Bytes {
    const FIXED: usize = 22;
    const RESPONSE: u8 = 0;
    if bytes[5] != RESPONSE {
        return bytes.to_vec().into();
    }
    let mut lengths = &bytes[6..FIXED];
    let (key, head) = (lengths.get_u32() as usize, lengths.get_u32() as usize);
    let key = &bytes[FIXED..FIXED + key];
    let body = &bytes[FIXED + key.len() + head..bytes.len() - 4];
    let head = &bytes[FIXED + key.len()..][..head];
    let mut rest = head;
    let code = rest.get_u16();
    // Six times, the flags and the watermark.
    rest.advance(6 * 8 + 1 + 8);
    let text = |rest: &mut &[u8]| {
        let length = rest.get_u32() as usize;
        rest.copy_to_bytes(length).to_vec()
    };
    for _ in 0..rest.get_u32() {
        text(&mut rest);
        if rest.get_u8() == 1 {
            text(&mut rest);
        }
    }
    if rest.get_u8() == 1 {
        rest.advance(2);
    }
    // Tags, and the names and tags of values.
    for _ in 0..3 {
        for _ in 0..rest.get_u32() {
            text(&mut rest);
        }
    }
    let middle = &head[2..head.len() - rest.len()];
    let mut headers = Vec::new();
    for _ in 0..rest.get_u32() {
        let name = String::from_utf8(text(&mut rest)).unwrap();
        let lines = (0..rest.get_u32()).map(|_| {
            rest.advance(1);
            text(&mut rest)
        });
        headers.push((name, lines.collect()));
    }
    let mut changed = Forged { status: code, headers, body: body.to_vec() };
    forge(&mut changed);

    let mut head = Vec::new();
    head.put_u16(changed.status);
    head.put_slice(middle);
    head.put_u32(changed.headers.len() as u32);
    for (name, lines) in &changed.headers {
        head.put_u32(name.len() as u32);
        head.put_slice(name.as_bytes());
        head.put_u32(lines.len() as u32);
        for line in lines {
            head.put_u8(0);
            head.put_u32(line.len() as u32);
            head.put_slice(line);
        }
    }
    let mut frame = bytes[..6].to_vec();
    frame.put_u32(key.len() as u32);
    frame.put_u32(head.len() as u32);
    frame.put_u64(changed.body.len() as u64);
    frame.put_slice(key);
    frame.put_slice(&head);
    frame.put_slice(&changed.body);
    frame.put_u32(crc32fast::hash(&frame));
    frame.into()
}

fn set(forged: &mut Forged, name: &str, values: &[&str]) {
    forged.headers.retain(|(of, _)| of != name);
    let values = values.iter().map(|value| value.as_bytes().to_vec()).collect();
    forged.headers.push((name.to_owned(), values));
}

type Change = fn(&mut Forged);

const PART: (&str, &str) = ("content-range", "bytes 0-7/1000000000");

const CHANGES: [(&str, Change); 34] = [
    ("a status of 100", |forged| forged.status = 100),
    ("a status of 101", |forged| forged.status = 101),
    ("a status of 103", |forged| forged.status = 103),
    ("a status of 206", |forged| forged.status = 206),
    ("a status of 304", |forged| forged.status = 304),
    ("a status of 600", |forged| forged.status = 600),
    ("a status of 999", |forged| forged.status = 999),
    ("a 204 with a body", |forged| forged.status = 204),
    ("a length that is too short", |forged| set(forged, "content-length", &["3"])),
    ("a length that is too long", |forged| set(forged, "content-length", &["99"])),
    ("two lengths", |forged| set(forged, "content-length", &["8", "8"])),
    ("two lengths in one", |forged| set(forged, "content-length", &["8, 8"])),
    ("a length with a sign", |forged| set(forged, "content-length", &["+8"])),
    ("no length of a number", |forged| set(forged, "content-length", &["eight"])),
    ("a longer body", |forged| forged.body.extend(b"HTTP/1.1 200 OK\r\n\r\nevil")),
    ("a shorter body", |forged| forged.body.truncate(3)),
    ("chunks", |forged| set(forged, "transfer-encoding", &["chunked"])),
    ("chunks and no length", |forged| {
        forged.headers.retain(|(name, _)| name != "content-length");
        set(forged, "transfer-encoding", &["chunked"]);
    }),
    ("the end of a connection", |forged| set(forged, "connection", &["close"])),
    ("a header of a connection", |forged| {
        set(forged, "connection", &["x-hop"]);
        set(forged, "x-hop", &["1"]);
    }),
    ("an upgrade", |forged| set(forged, "upgrade", &["websocket"])),
    ("trailers", |forged| set(forged, "trailer", &["x-sum"])),
    ("keep-alive", |forged| set(forged, "keep-alive", &["timeout=1"])),
    ("proxy-authenticate", |forged| set(forged, "proxy-authenticate", &["Basic"])),
    ("proxy-connection", |forged| set(forged, "proxy-connection", &["close"])),
    ("te", |forged| set(forged, "te", &["trailers"])),
    ("a cookie", |forged| set(forged, "set-cookie", &["session=evil"])),
    ("no-store", |forged| set(forged, "cache-control", &["no-store"])),
    ("no-store in another spelling", |forged| {
        set(forged, "cache-control", &["max-age=9; no-store"]);
    }),
    ("private", |forged| set(forged, "cache-control", &["max-age=60, private"])),
    ("no-store for surrogates", |forged| set(forged, "surrogate-control", &["no-store"])),
    ("another variance", |forged| set(forged, "vary", &["cookie"])),
    ("every variance", |forged| set(forged, "vary", &["*"])),
    ("a nonce", |forged| {
        set(forged, "content-security-policy", &["script-src 'nonce-evil'"]);
    }),
];

/// The first answer is stored and changed; the next one must be the service's.
async fn is_refused(rig: &Rig, what: &str) {
    rig.answers_with(200, MINUTE);
    rig.get("/", &[]).await;
    for number in 1..3 {
        let got = rig.get("/", &[]).await;
        assert_eq!((got.status, got.body), (200, format!("answer {number}")), "{what}");
        let names = ["set-cookie", "connection", "transfer-encoding", "x-hop", "trailer"];
        assert!(names.iter().all(|name| got.headers.get(*name).is_none()), "{what}");
    }
}

#[tokio::test]
async fn a_changed_entry_is_a_miss() {
    for (what, change) in CHANGES {
        is_refused(&Rig::over(CacheLayer::new(Elsewhere::new(change))), what).await;
        let peeking = Elsewhere { peeks: true, ..Elsewhere::new(change) };
        is_refused(&Rig::over(CacheLayer::new(peeking)), what).await;
    }
}

#[tokio::test]
async fn a_changed_variant_is_a_miss() {
    const FIELDS: Fields<'static> = &[("cache-control", "max-age=60"), ("vary", "x-a")];
    for (what, change) in CHANGES {
        let rig = Rig::over(CacheLayer::new(Elsewhere::new(change)));
        rig.answers_with(200, FIELDS);
        rig.get("/", &[("x-a", "1")]).await;
        assert_eq!(rig.get("/", &[("x-a", "1")]).await.body, "answer 1", "{what}");
    }
}

#[tokio::test]
async fn a_changed_part_is_a_miss() {
    const RANGE: Fields<'static> = &[("range", "bytes=0-7")];
    let own: [(&str, Change); 6] = [
        ("a whole response", |forged| forged.status = 200),
        ("other bytes", |forged| set(forged, "content-range", &["bytes 8-15/1000000000"])),
        ("more bytes", |forged| set(forged, "content-range", &["bytes 0-8/1000000000"])),
        ("two ranges", |forged| {
            set(forged, "content-range", &["bytes 0-7/1000000000", "bytes 0-7/1000000000"]);
        }),
        ("no range", |forged| set(forged, "content-range", &[])),
        ("a weak tag", |forged| set(forged, "etag", &["W/\"a\""])),
    ];
    let unchanged: (&str, Change) = ("nothing", |_| {});
    let changes = CHANGES.into_iter().filter(|(what, _)| *what != "a status of 206");
    for (what, change) in changes.chain(own).chain([unchanged]) {
        let rig = Rig::over(CacheLayer::new(Elsewhere::new(change)));
        rig.answers_with(206, &[MINUTE[0], ("etag", "\"a\""), PART]);
        rig.get("/", RANGE).await;
        let expected = if what == "nothing" { "answer 0" } else { "answer 1" };
        let got = rig.get("/", RANGE).await;
        assert_eq!((got.status, &*got.body), (206, expected), "{what}");
    }
}

#[tokio::test]
async fn a_memory_in_front_does_not_hide_a_change() {
    for (what, change) in CHANGES {
        let behind = Elsewhere::new(change);
        let rig = Rig::over(CacheLayer::new(behind.clone()));
        rig.answers_with(200, MINUTE);
        rig.get("/", &[]).await;
        // Another process, whose memory is empty.
        let tiered = TieredStore::new(MemoryStore::new(1 << 20), behind);
        let rig = Rig::over(CacheLayer::new(tiered));
        rig.answers(|_| Ok(reply(200, MINUTE, "of the service")));
        assert_eq!(rig.get("/", &[]).await.body, "of the service", "{what}");
        assert_eq!(rig.get("/", &[]).await.body, "of the service", "{what}");
    }
}

#[tokio::test]
async fn changed_entry_is_neither_served_nor_confirmed() {
    for (what, change) in CHANGES {
        let rig = Rig::over(CacheLayer::new(Elsewhere::new(change)));
        rig.answers_with(200, &[("cache-control", "max-age=60"), ("etag", "\"a\"")]);
        rig.get("/", &[]).await;
        rig.clock.pass(61);
        rig.answers(|_| Ok(reply(503, &[], "down")));
        assert_eq!(rig.get("/", &[]).await.status, 503, "{what}");
        assert_eq!(rig.asked("if-none-match"), None, "{what}");
        rig.handle.warm(rig.service(), request("GET", "/", &[])).await.unwrap();
        assert_eq!(rig.asked("if-none-match"), None, "{what}");
    }
}

#[tokio::test]
async fn an_entry_that_is_as_it_was_put_is_a_hit() {
    let unchanged = |_: &mut Forged| {};
    for (code, fields) in [
        (200, MINUTE),
        (204, MINUTE),
        (301, &[("cache-control", "max-age=60"), ("location", "/b")]),
        (404, &[("cache-control", "max-age=60"), ("vary", "accept-encoding, x-a")]),
        (200, &[("cache-control", "max-age=60, private=\"vary\""), ("vary", "x-a")]),
        (200, &[("cdn-cache-control", "max-age=60"), ("cache-control", "private")]),
        (200, &[("cache-control", "max-age=60"), ("connection", "close, x-b"), ("x-b", "1")]),
    ] {
        let rig = Rig::over(CacheLayer::new(Elsewhere::new(unchanged)));
        rig.answers_with(code, fields);
        rig.get("/", &[]).await;
        for _ in 0..2 {
            let hit = rig.get("/", &[]).await;
            assert_eq!((hit.status, hit.is_hit()), (code, true), "{code} {fields:?}");
        }
    }
}

#[tokio::test]
async fn what_an_exception_allows_is_a_hit() {
    for (exception, change) in [
        (Exception::SetCookie, CHANGES[26].1),
        (Exception::NoStore, CHANGES[27].1),
        (Exception::Private, CHANGES[29].1),
        (Exception::VaryAll, CHANGES[32].1),
    ] {
        let rig = Rig::over(CacheLayer::new(Elsewhere::new(change)).allow(exception));
        rig.answers_with(200, MINUTE);
        rig.get("/", &[]).await;
        assert!(rig.get("/", &[]).await.is_hit(), "{exception:?}");
    }
}

#[tokio::test]
async fn a_status_of_a_hint_is_a_hit_from_elsewhere() {
    let rig = Rig::over(CacheLayer::new(Elsewhere::new(|_| {})));
    rig.answers(|_| {
        let mut response = reply(418, &[], "");
        let hint = tower_kit::cache::CacheHint::new().ttl(Duration::from_secs(60));
        response.extensions_mut().insert(hint);
        Ok(response)
    });
    rig.get("/", &[]).await;
    assert!(rig.get("/", &[]).await.is_hit());
}

#[tokio::test]
async fn a_changed_entry_is_counted() {
    let metrics = Metrics::new();
    let layer = CacheLayer::new(Elsewhere::new(|forged| forged.status = 101));
    let rig = Rig::over(layer.recorder(metrics.recorder()));
    is_refused(&rig, "a status of 101").await;
    let errors = metrics.counted("http_cache_store_errors_total", &[("operation", "get")]);
    assert!(errors > 0, "{errors}");
}

#[tokio::test]
async fn over_h1_a_changed_entry_splits_no_response() {
    for (what, change) in CHANGES {
        let service = service_fn(|_: Request<hyper::body::Incoming>| async {
            let response = Response::builder().header("cache-control", "max-age=600");
            Ok::<_, std::convert::Infallible>(response.body(full("the page")).unwrap())
        });
        let layer = CacheLayer::new(Elsewhere::new(change));
        let server = Server::start(layer.layer(service)).await;
        let mut client = server.connect().await;
        for _ in 0..3 {
            client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            let (head, body) = client.response().await;
            assert!(head.starts_with("http/1.1 200 "), "{what}: {head}");
            assert_eq!(body, "the page", "{what}");
        }
    }
}

#[tokio::test]
async fn a_changed_entry_reaches_no_client_of_a_herd() {
    let rig = Rig::over(CacheLayer::new(Elsewhere::new(|forged| forged.status = 101)));
    rig.answers_with(200, MINUTE);
    rig.get("/", &[]).await;
    let open = || async { got(rig.open(request("GET", "/", &[])).await.unwrap()).await };
    let (one, two) = tokio::join!(open(), open());
    assert_eq!([one.status, two.status], [status(200).as_u16(); 2]);
}
