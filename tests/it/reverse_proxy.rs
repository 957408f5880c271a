//! The example `reverse_proxy`, as a process, between raw clients and origins that are scripted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Channel, StreamBody};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tower::service_fn;

use super::program::{Program, built};
use super::support::{
    BoxError, Raw, Server, boxed, empty, full, h1_client, h2_client, header_of, soon, text,
};

struct Proxy(Program);

impl Proxy {
    fn start(origin: SocketAddr) -> Self {
        Self::patient(origin, 30_000)
    }

    fn patient(origin: SocketAddr, millis: u64) -> Self {
        Self::with(origin, millis, None)
    }

    fn with(origin: SocketAddr, millis: u64, purge_token: Option<&str>) -> Self {
        let mut command = Command::new(built("reverse_proxy"));
        command
            .env("ORIGIN", format!("http://{origin}"))
            .env("ADDR", "127.0.0.1:0")
            .env("TIMEOUT_MS", millis.to_string())
            .env("PURGE_TOKEN", purge_token.unwrap_or_default());
        Self(Program::run(command.stderr(Stdio::piped())))
    }

    async fn connect(&self) -> Raw {
        self.0.connect().await
    }

    /// The answer to a request of these lines, on a connection of its own.
    async fn ask(&self, lines: &str) -> (String, String) {
        let mut raw = self.connect().await;
        raw.send(&format!("{}\r\n\r\n", lines.replace(" | ", "\r\n"))).await;
        if lines.starts_with("HEAD") {
            (raw.head().await, String::new())
        } else {
            raw.response().await
        }
    }

    async fn get(&self, path: &str) -> (String, String) {
        self.ask(&format!("GET {path} HTTP/1.1 | host: a")).await
    }
}

/// A server that is written by hand, and what it was sent: heads, with the bodies behind them.
struct Origin {
    addr: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    tasks: JoinSet<()>,
}

impl Origin {
    async fn start(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), Arc::clone(&seen));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                connections.spawn(async move {
                    while let Some(request) = read_request(&mut stream).await {
                        log.lock().unwrap().push(request.clone());
                        let answer = answer(&request);
                        drop(stream.write_all(answer.as_bytes()).await);
                        if answer.is_empty() || !answer.contains("content-length") {
                            return;
                        }
                    }
                });
            }
        });
        Self { addr, seen, tasks }
    }

    /// Listens no more.
    async fn stop(mut self) {
        self.tasks.shutdown().await;
    }

    /// The one request that it was sent since the last look.
    fn saw(&self) -> String {
        let mut seen = std::mem::take(&mut *self.seen.lock().unwrap());
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.remove(0)
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let whole = match length {
                Some(length) => body.len() >= length.parse().unwrap(),
                None if head.contains("transfer-encoding: chunked") => body.ends_with("0\r\n\r\n"),
                None => true,
            };
            if whole {
                return Some(format!("{head}\r\n\r\n{body}"));
            }
        }
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
}

/// Returns an address where no server listens.
async fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// An answer of these fields and this body.
fn answer(fields: &str, body: &str) -> String {
    let fields = fields.split(" | ").filter(|field| !field.is_empty());
    let fields: String = fields.map(|field| format!("{field}\r\n")).collect();
    format!("HTTP/1.1 200 OK\r\n{fields}content-length: {}\r\n\r\n{body}", body.len())
}

#[track_caller]
fn assert_status(head: &str, status: u16) {
    assert!(head.starts_with(&format!("http/1.1 {status} ")), "{head}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn connection_headers_are_not_forwarded() {
    let hop = "connection: close, x-named | keep-alive: timeout=5 | proxy-connection: x | te: gzip | \
               upgrade: websocket | proxy-authorization: x | proxy-authenticate: x | x-named: 1 | x-kept: 1";
    let fields = format!("{hop} | via: 1.0 inner | cache-control: max-age=60");
    let origin = Origin::start(move |_| answer(&fields, "hello")).await;
    let proxy = Proxy::start(origin.addr);
    let gone = ["x-named", "keep-alive", "proxy-", "upgrade", "te:"];

    let (head, body) = proxy
        .ask(&format!("GET /a HTTP/1.1 | host: who.example:81 | via: 1.0 outer | {hop}"))
        .await;
    assert_status(&head, 200);
    assert_eq!(body, "hello");
    let seen = origin.saw();
    for head in [&head, &seen] {
        assert!(gone.iter().all(|name| !head.contains(&format!("\r\n{name}"))), "{head}");
        assert_eq!(header_of(head, "x-kept"), Some("1"));
    }
    assert!(seen.starts_with("get /a http/1.1\r\n"), "{seen}");
    assert_eq!(header_of(&seen, "host"), Some("who.example:81"));
    assert!(seen.contains("\r\nvia: 1.0 outer\r\nvia: 1.1 tower-kit"), "{seen}");
    assert!(!seen.contains("x-forwarded") && !seen.contains("connection"), "{seen}");
    assert!(head.contains("\r\nvia: 1.0 inner\r\nvia: 1.1 tower-kit\r\n"), "{head}");
    // The client asked for it.
    assert_eq!(header_of(&head, "connection"), Some("close"));
    assert!(header_of(&head, "date").is_some());

    // And again from the cache, for that host alone.
    let (head, _) = proxy.ask("GET /a HTTP/1.1 | host: who.example:81").await;
    assert!(head.contains("tower-kit; hit") && head.contains("via: 1.1 tower-kit\r\n"), "{head}");
    assert!(!head.contains("connection"), "{head}");
    assert!(proxy.get("/a").await.0.contains("fwd=uri-miss"));
    origin.saw();

    // Trailers go to whoever takes them, and cookies in one line.
    proxy
        .ask("GET /b HTTP/1.0 | host: a | te: trailers, deflate | cookie: a=1 | cookie: b=2")
        .await;
    let seen = origin.saw();
    assert_eq!(
        (header_of(&seen, "te"), header_of(&seen, "connection")),
        (Some("trailers"), Some("te"))
    );
    assert_eq!(
        (header_of(&seen, "cookie"), header_of(&seen, "via")),
        (Some("a=1; b=2"), Some("1.0 tower-kit"))
    );
    // HTTP/2 says its host in the target.
    let get = Request::get(format!("http://{}/c", proxy.0.addr)).header("cookie", "a=1");
    let get = get.header("cookie", "b=2").body(boxed(empty())).unwrap();
    assert_eq!(text(soon(h2_client().request(get)).await.unwrap()).await, "hello");
    let seen = origin.saw();
    assert_eq!(header_of(&seen, "host"), Some(&*proxy.0.addr.to_string()));
    assert_eq!(
        (header_of(&seen, "cookie"), header_of(&seen, "via")),
        (Some("a=1; b=2"), Some("2.0 tower-kit"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn purge_needs_the_token() {
    let fields = "cache-control: max-age=60 | surrogate-key: news home";
    let origin = Origin::start(move |_| answer(fields, "hello")).await;
    let is_hit = async |proxy: &Proxy, path| proxy.get(path).await.0.contains("tower-kit; hit");
    for (token, sent) in [
        (None, ""),
        (None, " | authorization: Bearer "),
        (Some("secret"), ""),
        (Some("secret"), " | authorization: Bearer "),
        (Some("secret"), " | authorization: Bearer secre"),
        (Some("secret"), " | authorization: Bearer secrets"),
        (Some("secret"), " | authorization: Basic secret"),
        (Some("secret"), " | authorization: secret"),
        (Some("secret"), " | x-purge-token: secret"),
    ] {
        let proxy = Proxy::with(origin.addr, 30_000, token);
        proxy.get("/a").await;
        for more in ["", " | surrogate-key: news", " | soft-purge: 1"] {
            let purge = format!("PURGE /a HTTP/1.1 | host: a{sent}{more}");
            assert_status(&proxy.ask(&purge).await.0, 403);
        }
        assert!(is_hit(&proxy, "/a").await, "{token:?} {sent}");
        origin.saw();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn purge_is_by_url_or_by_tags() {
    let fields = "cache-control: max-age=60 | etag: \"1\" | surrogate-key: news home";
    let origin = Origin::start(move |_| answer(fields, "hello")).await;
    let proxy = Proxy::with(origin.addr, 30_000, Some("secret"));
    let purge = async |target: &str, more: &str| {
        let lines = format!("PURGE {target} HTTP/1.1 | {more} | authorization: Bearer secret");
        proxy.ask(&lines).await
    };
    let said = async |path| proxy.get(path).await.0;
    let fill = async || {
        for path in ["/a", "/b?c=d"] {
            said(path).await;
            assert!(said(path).await.contains("tower-kit; hit"));
        }
        origin.seen.lock().unwrap().clear();
    };

    fill().await;
    let (head, body) = purge("/b?c=d", "host: A:80").await;
    assert_status(&head, 200);
    assert_eq!(body, "purged\n");
    assert!(!head.contains("cache-status") && said("/a").await.contains("tower-kit; hit"));
    assert!(said("/b?c=d").await.contains("fwd=uri-miss"));
    assert!(origin.saw().starts_with("get /b?c=d"), "the origin sees no PURGE");

    // The tags of the request, and not its URL.
    for (tags, hit) in [
        ("surrogate-key: other | cache-tag: x, news", true),
        ("cache-tag: home", true),
        ("surrogate-key: other", false),
    ] {
        fill().await;
        assert_status(&purge("/a", &format!("host: a | {tags}")).await.0, 200);
        for path in ["/a", "/b?c=d"] {
            assert_eq!(said(path).await.contains("fwd=uri-miss"), hit, "{tags}");
        }
    }

    // A soft purge leaves something to validate.
    for more in ["soft-purge: 1", "soft-purge: 1 | surrogate-key: news"] {
        fill().await;
        assert_status(&purge("/a", &format!("host: a | {more}")).await.0, 200);
        assert!(said("/a").await.contains("fwd=stale"));
        assert_eq!(header_of(&origin.saw(), "if-none-match"), Some("\"1\""));
    }
    assert_status(&purge("/nothing-is-here", "host: a").await.0, 200);
    assert_status(&purge(&format!("/{}", "a".repeat(9_000)), "host: a").await.0, 400);
    assert_status(&proxy.ask("PURGE / HTTP/1.1 | host: a | host: b").await.0, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_form_of_a_target_goes_to_the_origin() {
    let origin = Origin::start(|_| answer("cache-control: max-age=60", "x")).await;
    let proxy = Proxy::start(origin.addr);
    assert_status(&proxy.ask("GET http://evil.example/p?q HTTP/1.1 | host: b").await.0, 200);
    let seen = origin.saw();
    assert!(seen.starts_with("get /p?q http/1.1\r\n"), "{seen}");
    assert_eq!(header_of(&seen, "host"), Some("evil.example"));
    let (head, _) = proxy.ask("GET /p?q HTTP/1.1 | host: evil.example").await;
    assert!(head.contains("tower-kit; hit"), "the target's host is in the key: {head}");

    for (target, line) in
        [("//other/p", "get //other/p http/1.1\r\n"), ("/a%2fb", "get /a%2fb http/1.1\r\n")]
    {
        assert_status(&proxy.get(target).await.0, 200);
        let seen = origin.saw();
        assert!(seen.starts_with(line), "{seen}");
    }
    proxy.ask("OPTIONS * HTTP/1.1 | host: a | max-forwards: 7").await;
    let seen = origin.saw();
    assert!(seen.starts_with("options * http/1.1\r\n"), "{seen}");
    assert_eq!(header_of(&seen, "max-forwards"), Some("6"));
    proxy.ask("GET /m HTTP/1.1 | host: a | max-forwards: 0").await;
    assert_eq!(header_of(&origin.saw(), "max-forwards"), Some("0"));

    for (request, status) in [
        ("OPTIONS / HTTP/1.1 | host: a | max-forwards: 0", 204),
        ("TRACE / HTTP/1.1 | host: a | max-forwards: 0", 501),
        ("TRACE / HTTP/1.1 | host: a | max-forwards: x", 400),
        ("CONNECT a:80 HTTP/1.1 | host: a:80", 501),
        ("GET / HTTP/1.1", 400),
        ("GET / HTTP/1.1 | host: a | host: b", 400),
        ("GET / HTTP/1.1 | host: a b", 400),
        ("GET / HTTP/1.1 | host: ", 400),
        ("GET / HTTP/1.1 | host: me@a", 400),
        ("GET a:80 HTTP/1.1 | host: a", 400),
        ("POST / HTTP/1.1 | host: a | transfer-encoding: gzip, chunked", 501),
        ("POST / HTTP/1.1 | host: a | transfer-encoding: gzip", 400),
        ("POST / HTTP/1.1 | host: a | content-length: 1 | content-length: 2", 400),
        ("POST / HTTP/1.1 | host: a | content-length: +1", 400),
        ("POST / HTTP/1.0 | host: a | transfer-encoding: chunked", 400),
    ] {
        let head = proxy.ask(request).await.0.replace("http/1.0 ", "http/1.1 ");
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{request}: {head}");
    }
    assert_eq!(origin.seen.lock().unwrap().len(), 0, "none of them went on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn bodies_are_framed_anew() {
    let origin = Origin::start(|request| match request.split(' ').nth(1) {
        Some("/two") => "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_owned(),
        Some("/twice") => "HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\nhello".to_owned(),
        Some("/close") => "HTTP/1.0 200 OK\r\n\r\nhello".to_owned(),
        Some("/trailers") => "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n".to_owned(),
        _ => answer("", "hello"),
    })
    .await;
    let proxy = Proxy::start(origin.addr);
    // Of a length and a coding the coding counts, and the length does not go on.
    for method in ["POST", "GET"] {
        let smuggled = format!(
            "{method} / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        );
        let mut raw = proxy.connect().await;
        raw.send(&smuggled).await;
        assert_eq!(raw.response().await.1, "hello");
        assert_eq!(raw.rest().await, "", "and the connection ends");
        let seen = origin.saw();
        assert!(!seen.contains("content-length"), "{seen}");
        assert!(seen.ends_with("\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), "{seen}");
    }
    for path in ["/two", "/twice", "/close", "/trailers"] {
        let mut raw = proxy.connect().await;
        raw.send(&format!(
            "GET {path} HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te, close\r\n\r\n"
        ))
        .await;
        let whole = raw.rest().await.to_ascii_lowercase();
        assert_status(&whole, 200);
        let length = header_of(&whole, "content-length");
        if path == "/twice" {
            assert_eq!(length, Some("5"));
            assert!(whole.ends_with("\r\n\r\nhello"), "{whole}");
        } else {
            let end = if path == "/trailers" { "0\r\nx-sum: 1\r\n\r\n" } else { "0\r\n\r\n" };
            assert_eq!(length, None, "{path}: {whole}");
            assert!(whole.ends_with(&format!("5\r\nhello\r\n{end}")), "{path}: {whole}");
        }
    }
    origin.seen.lock().unwrap().clear();

    // A body that is no body is the client's fault.
    let mut raw = proxy.connect().await;
    raw.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n")
        .await;
    assert_status(&raw.head().await, 400);

    // Several requests at once are answered in their order.
    let mut raw = proxy.connect().await;
    raw.send(
        &["/1", "/2", "/3"].map(|path| format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).concat(),
    )
    .await;
    for _ in 0..3 {
        let (head, body) = raw.response().await;
        assert_status(&head, 200);
        assert_eq!(body, "hello");
    }
    let seen = std::mem::take(&mut *origin.seen.lock().unwrap());
    let paths: Vec<_> = seen.iter().map(|request| &request[..6]).collect();
    assert_eq!(paths, ["get /1", "get /2", "get /3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[expect(clippy::disallowed_methods, reason = "the origin reads while it answers")]
async fn bodies_stream_both_ways() {
    let (seen, mut requests) = mpsc::unbounded_channel::<Bytes>();
    let (bodies, mut open) = mpsc::unbounded_channel();
    let origin = Server::start(service_fn(move |request: Request<Incoming>| {
        let (sender, body) = Channel::<Bytes, BoxError>::new(1);
        drop(bodies.send(sender));
        let seen = seen.clone();
        tokio::spawn(async move {
            let mut body = request.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                drop(seen.send(frame.into_data().unwrap()));
            }
        });
        let response = Response::builder().header("cache-control", "max-age=60").body(body);
        async move { Ok::<_, BoxError>(response.unwrap()) }
    }))
    .await;
    let proxy = Proxy::start(origin.addr);

    // The origin has each piece, and answers, before the request has ended.
    let mut raw = proxy.connect().await;
    raw.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n").await;
    assert_eq!(soon(requests.recv()).await.unwrap(), "one");
    raw.send("3\r\ntwo\r\n").await;
    assert_eq!(soon(requests.recv()).await.unwrap(), "two");
    let mut body = soon(open.recv()).await.unwrap();
    assert_status(&raw.head().await, 200);
    body.send(Frame::data(Bytes::from("1"))).await.unwrap();
    assert_eq!(raw.until("1\r\n1\r\n").await, "1\r\n1\r\n");
    raw.send("0\r\n\r\n").await;
    drop(body);
    assert_eq!(raw.until("0\r\n\r\n").await, "0\r\n\r\n");

    // A response that is kept comes piece by piece too, and one that breaks off is not kept.
    for (number, whole) in [false, true].into_iter().enumerate() {
        let mut raw = proxy.connect().await;
        raw.send("GET /get HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut body = soon(open.recv()).await.unwrap();
        let head = raw.head().await;
        assert!(head.contains("cache-status: tower-kit; fwd=uri-miss\r\n"), "{number}: {head}");
        for piece in ["a", "b"] {
            body.send(Frame::data(Bytes::from(piece))).await.unwrap();
            let chunk = format!("1\r\n{piece}\r\n");
            assert_eq!(raw.until(&chunk).await, chunk);
        }
        if whole {
            drop(body);
            raw.until("0\r\n\r\n").await;
        } else {
            body.abort("no more".into());
            assert_eq!(raw.rest().await, "", "it does not seem to end");
        }
    }
    let (head, body) = proxy.get("/get").await;
    assert!(head.contains("; hit;"), "{head}");
    assert_eq!(body, "ab");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn large_bodies_pass_over_both_protocols() {
    let large = Bytes::from("0123456789abcdef".repeat(512 * 1024));
    let body = large.clone();
    let origin = Server::start(service_fn(move |request: Request<Incoming>| {
        let body = body.clone();
        async move {
            let response = Response::builder().header("cache-control", "max-age=60");
            let body = match request.uri().path() {
                "/echo" => full(request.into_body().collect().await?.to_bytes()),
                "/chunked" => {
                    let chunks: Vec<_> =
                        body.chunks(100_000).map(|of| body.slice_ref(of)).collect();
                    let frames = chunks.into_iter().map(|of| Ok::<_, BoxError>(Frame::data(of)));
                    boxed(StreamBody::new(tokio_stream::iter(frames)))
                }
                _ => full(body),
            };
            Ok::<_, BoxError>(response.body(body).unwrap())
        }
    }))
    .await;
    let proxy = Proxy::start(origin.addr);
    let url = |path| format!("http://{}{path}", proxy.0.addr);
    for client in [h1_client(), h2_client()] {
        let echo = Request::post(url("/echo")).body(full(large.clone())).unwrap();
        let response = soon(client.request(echo)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert!(soon(response.into_body().collect()).await.unwrap().to_bytes() == large);
        for path in ["/known", "/chunked"] {
            let get = Request::get(url(path)).body(boxed(empty())).unwrap();
            let response = soon(client.request(get)).await.unwrap();
            let status = response.headers()["cache-status"].to_str().unwrap().to_owned();
            assert!(status.contains("fwd=uri-miss"), "{path} is too large to be kept: {status}");
            assert!(soon(response.into_body().collect()).await.unwrap().to_bytes() == large);
        }
    }
    // The answer to HEAD has no body, which h2 clients insist on, whoever gives it.
    let head = Request::head(url("/known")).body(boxed(empty())).unwrap();
    let response = soon(h2_client().request(head)).await.unwrap();
    assert_eq!(response.headers()["content-length"], "8388608");
    assert_eq!((response.status(), text(response).await), (StatusCode::OK, String::new()));
    let lost = Proxy::start(closed().await);
    let head = Request::head(format!("http://{}/", lost.0.addr)).body(boxed(empty())).unwrap();
    let response = soon(h2_client().request(head)).await.unwrap();
    assert_eq!((response.status(), text(response).await), (StatusCode::BAD_GATEWAY, String::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_origin_that_fails_is_stood_in_for_or_a_502() {
    let origin = Origin::start(|request| match request.split(' ').nth(1) {
        Some("/kept") => answer("cache-control: max-age=60 | age: 70 | etag: \"a\"", "kept"),
        Some("/strict") => {
            answer("cache-control: max-age=60, must-revalidate | age: 70 | etag: \"a\"", "x")
        }
        Some("/long") => {
            answer("cache-control: max-age=60, stale-if-error=5 | age: 70 | etag: \"a\"", "x")
        }
        Some("/coded") => "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nx".to_owned(),
        Some("/switch") => {
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"
                .to_owned()
        }
        Some("/lengths") => {
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx".to_owned()
        }
        Some("/closed") => String::new(),
        _ => "no HTTP\r\n\r\n".to_owned(),
    })
    .await;
    let proxy = Proxy::start(origin.addr);
    for path in ["/garbage", "/coded", "/switch", "/lengths", "/closed"] {
        let (head, body) = proxy.get(path).await;
        assert_status(&head, 502);
        assert!(!body.is_empty() && header_of(&head, "via").is_none(), "{path}: {head}");
    }
    for path in ["/kept", "/strict", "/long"] {
        assert_status(&proxy.get(path).await.0, 200);
    }
    origin.stop().await;
    let (head, body) = proxy.get("/kept").await;
    assert_status(&head, 200);
    assert_eq!(body, "kept");
    assert!(head.contains("detail=service-failed") && header_of(&head, "age").is_some(), "{head}");
    for path in ["/strict", "/long", "/other"] {
        assert_status(&proxy.get(path).await.0, 502);
    }
    let (head, _) = proxy.ask("HEAD /other HTTP/1.1 | host: a | connection: close").await;
    assert_status(&head, 502);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_origin_that_is_silent_is_a_504() {
    // It takes the request, and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::patient(listener.local_addr().unwrap(), 1_000);
    let (head, _) = proxy.get("/").await;
    assert_status(&head, 504);
    assert!(soon(listener.accept()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_client_that_never_asks_is_turned_out() {
    let proxy = Proxy::patient(closed().await, 200);
    for begun in ["", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nhost"] {
        let mut raw = proxy.connect().await;
        raw.send(begun).await;
        assert_eq!(raw.rest().await, "", "{begun}");
    }
    // Over HTTP/2, where it is told so.
    let mut raw = proxy.connect().await;
    raw.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    raw.closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn settings_that_make_no_sense_are_told() {
    let built = built("reverse_proxy");
    let good = ("ORIGIN", "http://127.0.0.1:9");
    for (first, second) in [
        (("ORIGIN", ""), ("A", "")),
        (("ORIGIN", "127.0.0.1:9"), ("A", "")),
        (("ORIGIN", "https://127.0.0.1:9"), ("A", "")),
        (("ORIGIN", "http://127.0.0.1:9/path"), ("A", "")),
        (("ORIGIN", "http://me@127.0.0.1:9"), ("A", "")),
        (("ADDR", "nowhere"), good),
        (("TIMEOUT_MS", "soon"), good),
    ] {
        let mut command = Command::new(&built);
        command.env("ADDR", "127.0.0.1:0").envs([second, first]);
        let said = tokio::task::block_in_place(|| command.output()).unwrap();
        assert_eq!(said.status.code(), Some(1), "{first:?}");
        let error = String::from_utf8(said.stderr).unwrap();
        assert!(error.contains(&format!("{}={}", first.0, first.1)), "{error}");
    }
}

/// `{60}` is the date in a minute.
#[expect(clippy::disallowed_methods, reason = "the example runs by the real clock")]
fn dated(fields: &str) -> String {
    let mut parts = fields.split('{');
    let mut dated = parts.next().unwrap().to_owned();
    for part in parts {
        let (seconds, rest) = part.split_once('}').unwrap();
        let seconds: i64 = seconds.parse().unwrap();
        let by = Duration::from_secs(seconds.unsigned_abs());
        let now = SystemTime::now();
        dated += &httpdate::fmt_http_date(if seconds < 0 { now - by } else { now + by });
        dated += rest;
    }
    dated
}

/// The first request's fields, what the origin answers each time, the second request, and what
/// comes of it: its status, and whether it is a hit.
type Row = (&'static str, &'static str, &'static str, u16, bool);

const fn stored(answer: &'static str) -> Row {
    ("", answer, "", 200, true)
}

const fn missed(answer: &'static str) -> Row {
    ("", answer, "", 200, false)
}

const fn of(status: u16, answer: &'static str, hit: bool) -> Row {
    ("", answer, "", status, hit)
}

const fn asked(answer: &'static str, second: &'static str, status: u16, hit: bool) -> Row {
    ("", answer, second, status, hit)
}

const ROWS: &[Row] = &[
    // RFC 9111 §4.2: freshness.
    missed(""),
    stored("cache-control: max-age=3600"),
    missed("cache-control: max-age=0"),
    missed("cache-control: max-age=-3600"),
    stored("cache-control: max-age=2147483648"),
    stored("cache-control: max-age=99999999999999999999"),
    stored("cache-control: max-age=3600 | age: 1800"),
    missed("cache-control: max-age=3600 | age: 7200"),
    missed("cache-control: max-age=3600 | age: 7200 | age: 0"),
    stored("cache-control: max-age=3600 | age: -7200"),
    stored("cache-control: max-age=3600 | age: 7200.0"),
    missed("cache-control: max-age=60 | date: {-3600}"),
    stored("cache-control: max-age=7200 | date: {-3600}"),
    stored("cache-control: s-maxage=3600, max-age=0"),
    missed("cache-control: max-age=3600, s-maxage=0"),
    missed("cache-control: s-maxage=3600 | age: 7200"),
    stored("expires: {3600}"),
    missed("expires: {-3600}"),
    missed("expires: {0}"),
    missed("expires: 0"),
    missed("expires: soon"),
    missed("expires: {3600} | expires: {3600}"),
    missed("expires: {3600} | age: 7200"),
    missed("expires: {3600} | date: {7200}"),
    missed("expires: {3600} | cache-control: max-age=0"),
    stored("expires: {-3600} | cache-control: max-age=3600"),
    stored("expires: 0 | cache-control: s-maxage=3600"),
    stored("expires: Sun Nov  6 08:49:37 2044"),
    // §4.2.2: statuses that have a heuristic freshness, and others.
    of(200, "last-modified: {-864000}", true),
    of(203, "last-modified: {-864000}", true),
    of(204, "last-modified: {-864000}", true),
    of(300, "last-modified: {-864000}", true),
    of(301, "last-modified: {-864000}", true),
    of(308, "last-modified: {-864000}", true),
    of(404, "last-modified: {-864000}", true),
    of(410, "last-modified: {-864000}", true),
    of(501, "last-modified: {-864000}", false),
    of(201, "last-modified: {-864000}", false),
    of(302, "last-modified: {-864000}", false),
    of(403, "last-modified: {-864000}", false),
    of(503, "last-modified: {-864000}", false),
    of(599, "last-modified: {-864000}", false),
    of(302, "last-modified: {-864000} | cache-control: public", true),
    of(302, "cache-control: max-age=60", true),
    of(599, "cache-control: max-age=60", true),
    of(599, "cache-control: max-age=60, must-understand", false),
    of(200, "cache-control: max-age=60, must-understand, no-store", true),
    // §5.2: how directives are read.
    stored("cache-control: MaX-aGe=3600"),
    stored("cache-control: max-age=\"3600\""),
    stored("cache-control: max-age=003600"),
    stored("cache-control: a=\"b, no-store\", max-age=3600"),
    missed("cache-control: a=\"b, max-age=3600\""),
    missed("cache-control: max-age='3600'"),
    missed("cache-control: max-age=3600.0"),
    missed("cache-control: xmax-age=3600"),
    missed("cache-control: public"),
    stored("cache-control: max-age=3600 | cache-control: public"),
    missed("cache-control: max-age=3600 | cache-control: NO-STORE"),
    stored("cache-control: max-age=3600, nothing-new | pragma: no-cache"),
    // §5.2.2.
    missed("cache-control: max-age=3600, no-store"),
    missed("cache-control: max-age=3600, private"),
    stored("cache-control: max-age=3600, private=\"x-a\""),
    missed("cache-control: max-age=3600, no-cache"),
    missed("cache-control: max-age=3600, no-cache | etag: \"a\""),
    stored("cache-control: max-age=3600, no-cache=\"x-a\""),
    missed("cache-control: max-age=3600 | set-cookie: a=b"),
    // RFC 9213.
    stored("cdn-cache-control: max-age=60 | cache-control: no-store"),
    missed("cdn-cache-control: no-store | cache-control: max-age=60"),
    stored("cdn-cache-control: max-age=\"x | cache-control: max-age=60"),
    // RFC 9111 §3.5.
    ("authorization: a", "cache-control: max-age=60", "", 200, false),
    ("authorization: a", "cache-control: max-age=60, public", "", 200, true),
    ("authorization: a", "cache-control: max-age=60, must-revalidate", "", 200, true),
    ("authorization: a", "cache-control: s-maxage=60", "authorization: b", 200, true),
    ("", "cache-control: max-age=60", "authorization: a", 200, false),
    // §4.1.
    ("x-a: 1", "cache-control: max-age=60 | vary: X-A", "x-a: 1", 200, true),
    ("x-a: 1", "cache-control: max-age=60 | vary: x-a", "x-a: 2", 200, false),
    ("x-a: 1", "cache-control: max-age=60 | vary: x-a", "", 200, false),
    ("", "cache-control: max-age=60 | vary: x-a", "x-a: 1", 200, false),
    ("", "cache-control: max-age=60 | vary: x-a", "x-b: 1", 200, true),
    ("x-a: 1, 2", "cache-control: max-age=60 | vary: x-a", "x-a: 1 | x-a: 2", 200, true),
    ("x-a: 1 | x-b: 1", "cache-control: max-age=60 | vary: x-a | vary: x-b", "x-a: 1", 200, false),
    ("", "cache-control: max-age=60 | vary: *", "", 200, false),
    ("", "cache-control: max-age=60 | vary: x-a, *", "", 200, false),
    // §5.2.1.
    asked("cache-control: max-age=60", "cache-control: no-cache", 200, false),
    asked("cache-control: max-age=60", "pragma: no-cache", 200, false),
    asked("cache-control: max-age=60", "pragma: no-cache | cache-control: x", 200, true),
    asked("cache-control: max-age=60 | age: 30", "cache-control: max-age=20", 200, false),
    asked("cache-control: max-age=60 | age: 30", "cache-control: max-age=50", 200, true),
    asked("cache-control: max-age=60", "cache-control: min-fresh=90", 200, false),
    asked("cache-control: max-age=60", "cache-control: only-if-cached", 200, true),
    asked("", "cache-control: only-if-cached", 504, true),
    asked(
        "cache-control: max-age=60 | age: 70 | etag: \"a\"",
        "cache-control: max-stale",
        200,
        true,
    ),
    asked(
        "cache-control: max-age=60 | age: 70 | etag: \"a\"",
        "cache-control: max-stale=5",
        200,
        false,
    ),
    asked(
        "cache-control: max-age=60, must-revalidate | age: 70 | etag: \"a\"",
        "cache-control: max-stale",
        200,
        false,
    ),
    stored("cache-control: max-age=60, stale-while-revalidate=60 | age: 70"),
    missed("cache-control: s-maxage=60, stale-while-revalidate=60 | age: 70 | etag: \"a\""),
    // §4.3.2, RFC 9110 §13.
    asked("cache-control: max-age=60 | etag: \"a\"", "if-none-match: \"a\"", 304, true),
    asked("cache-control: max-age=60 | etag: W/\"a\"", "if-none-match: \"b\", \"a\"", 304, true),
    asked("cache-control: max-age=60 | etag: \"a\"", "if-none-match: *", 304, true),
    asked("cache-control: max-age=60 | etag: \"a\"", "if-none-match: \"b\"", 200, true),
    asked("cache-control: max-age=60 | etag: \"a\"", "if-match: \"b\"", 200, false),
    asked("cache-control: max-age=60 | last-modified: {-60}", "if-modified-since: {0}", 304, true),
    asked(
        "cache-control: max-age=60 | last-modified: {-60}",
        "if-modified-since: {-90}",
        200,
        true,
    ),
    asked(
        "cache-control: max-age=60 | last-modified: {-60} | etag: \"a\"",
        "if-modified-since: {0} | if-none-match: \"b\"",
        200,
        true,
    ),
    // RFC 9110 §14.
    asked("cache-control: max-age=60", "range: bytes=1-2", 206, true),
    asked("cache-control: max-age=60", "range: bytes=-2", 206, true),
    asked("cache-control: max-age=60", "range: bytes=99-", 416, true),
    asked("cache-control: max-age=60", "range: bytes=0-0,2-2", 200, true),
    asked(
        "cache-control: max-age=60 | etag: \"a\"",
        "range: bytes=1-2 | if-range: \"a\"",
        206,
        true,
    ),
    asked(
        "cache-control: max-age=60 | etag: \"a\"",
        "range: bytes=1-2 | if-range: \"b\"",
        200,
        true,
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_cache_does_what_the_fields_say() {
    let counts = Mutex::new(BTreeMap::<usize, usize>::new());
    let origin = Origin::start(move |request| {
        let path = request.split(' ').nth(1).unwrap();
        let row: usize = path[1..].parse().unwrap();
        let mut counts = counts.lock().unwrap();
        let count = counts.entry(row).or_default();
        *count += 1;
        let status = if (200..600).contains(&ROWS[row].3) && ROWS[row].2.is_empty() {
            ROWS[row].3
        } else {
            200
        };
        let answer = answer(&dated(ROWS[row].1), if status == 204 { "" } else { "body" });
        answer.replace("200 OK", &format!("{status} X\r\nx-count: {count}"))
    })
    .await;
    let proxy = Proxy::start(origin.addr);
    let mut faults = Vec::new();
    let mut raw = proxy.connect().await;
    for (number, (first, answered, second, status, hit)) in ROWS.iter().enumerate() {
        let mut heads = Vec::new();
        for fields in [first, second] {
            let fields = dated(fields).replace(" | ", "\r\n");
            let end = if fields.is_empty() { "" } else { "\r\n" };
            raw.send(&format!("GET /{number} HTTP/1.1\r\nhost: a\r\n{fields}{end}\r\n")).await;
            heads.push(raw.response().await.0);
        }
        let count = if *hit { "1" } else { "2" };
        let same = matches!(status, 416 | 504) || header_of(&heads[1], "x-count") == Some(count);
        let told = *status == 504 || heads[1].contains("; hit;") == *hit;
        if !heads[1].starts_with(&format!("http/1.1 {status} ")) || !same || !told {
            faults.push(format!("{first} / {answered} / {second}: {}", heads[1]));
        }
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), ROWS.len(), faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn changes_and_confirmations_reach_the_cache() {
    let count = Mutex::new(0);
    let origin = Origin::start(move |request| {
        let mut count = count.lock().unwrap();
        *count += 1;
        let answered = answer("cache-control: max-age=60", &count.to_string());
        match request.split(' ').next() {
            _ if request.contains("if-none-match: \"old\"") => {
                "HTTP/1.1 304 Not Modified\r\netag: \"old\"\r\nx-new: 1\r\ncache-control: max-age=60\r\ncontent-length: 9\r\n\r\n".to_owned()
            }
            _ if request.contains(" /old ") => answer("cache-control: max-age=60 | age: 70 | etag: \"old\" | x-new: 0", "old"),
            Some("post") if request.contains("x-fail") => answered.replace("200 OK", "500 No"),
            Some("post") if request.contains("x-at") => answered.replace("cache-control", "location: /y\r\ncache-control"),
            _ => answered,
        }
    })
    .await;
    let proxy = Proxy::start(origin.addr);
    // RFC 9111 §4.4.
    for (request, hits) in [
        ("POST /x HTTP/1.1 | host: a | content-length: 0", [false, true]),
        ("DELETE /x HTTP/1.1 | host: a", [false, true]),
        ("UNKNOWN /x HTTP/1.1 | host: a", [false, true]),
        ("POST /x HTTP/1.1 | host: b | content-length: 0", [true, true]),
        ("POST /x HTTP/1.1 | host: a | x-fail: 1 | content-length: 0", [true, true]),
        ("POST /z HTTP/1.1 | host: a | x-at: 1 | content-length: 0", [true, false]),
        ("OPTIONS /x HTTP/1.1 | host: a", [true, true]),
        ("HEAD /x HTTP/1.1 | host: a | connection: close", [true, true]),
    ] {
        for path in ["/x", "/y"] {
            proxy.get(path).await;
        }
        proxy.ask(request).await;
        for (path, hit) in ["/x", "/y"].into_iter().zip(hits) {
            let (head, _) = proxy.get(path).await;
            assert_eq!(head.contains("; hit;"), hit, "{request}, then {path}: {head}");
        }
    }
    // §4.3.4: the fields of the 304 are the entry's, but for its length.
    assert_eq!(header_of(&proxy.get("/old").await.0, "x-new"), Some("0"));
    for told in ["fwd=stale; fwd-status=304; stored", "; hit;"] {
        let (head, body) = proxy.get("/old").await;
        assert!(head.contains(told), "{head}");
        assert_eq!(
            (header_of(&head, "x-new"), header_of(&head, "content-length"), &*body),
            (Some("1"), Some("3"), "old")
        );
    }
}
