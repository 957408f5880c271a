//! The example `quickstart`, as a process, driven by real clients.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use prometheus_parse::{Scrape, Value};

use super::support::{BoxBody, Raw, boxed, empty, full, gunzip, h1_client, h2_client, soon, text};

struct Quickstart {
    process: Child,
    addr: String,
    /// What it prints, which has to go somewhere.
    _stdout: BufReader<ChildStdout>,
}

impl Quickstart {
    fn start() -> Self {
        let mut process = Command::new(built("quickstart"))
            .env("ADDR", "127.0.0.1:0")
            .env_remove("REDIS_URL")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        stdout.read_line(&mut said).unwrap();
        let (_, addr) = said.split_once("http://").expect("it says where it listens");
        let addr = addr.split(',').next().unwrap().to_owned();
        Self { process, addr, _stdout: stdout }
    }

    async fn connect(&self) -> Raw {
        Raw::connect(self.addr.parse().unwrap()).await
    }

    fn post(&self, path: &str, content_type: &str, body: BoxBody) -> Request<BoxBody> {
        let request = Request::post(format!("http://{}{path}", self.addr));
        request.header("content-type", content_type).body(body).unwrap()
    }

    async fn get(&self, path: &str) -> Response<Incoming> {
        let request = Request::get(format!("http://{}{path}", self.addr)).body(boxed(empty()));
        soon(h1_client().request(request.unwrap())).await.unwrap()
    }

    /// The value of a counter or gauge, or the samples of a histogram, with these labels.
    async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let text = text(self.get("/metrics").await).await;
        let scrape = Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
        let has = |sample: &&prometheus_parse::Sample| {
            sample.metric == name
                && labels.iter().all(|(name, value)| sample.labels.get(name) == Some(value))
        };
        let values = scrape.samples.iter().filter(has).map(|sample| match &sample.value {
            Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => *value,
            Value::Histogram(buckets) => buckets.last().map_or(0.0, |last| last.count),
            Value::Summary(_) => panic!("{name} is a summary"),
        });
        values.sum()
    }

    async fn wait_for(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        soon(async { while self.metric(name, labels).await != value {} }).await;
    }

    /// Asks it to stop, and waits until it has.
    async fn stop(mut self) -> ExitStatus {
        // The one of the shell: a bare Debian has no other.
        let kill = format!("kill -TERM {}", self.process.id());
        let kill = Command::new("sh").args(["-c", &kill]).status();
        assert!(kill.unwrap().success());
        let process = &mut self.process;
        let exited = tokio::task::block_in_place(|| process.wait());
        exited.unwrap()
    }
}

impl Drop for Quickstart {
    fn drop(&mut self) {
        // Gone already, if it was stopped.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Where cargo puts an example, which it builds along with the tests, or else right now.
pub(super) fn built(example: &str) -> PathBuf {
    let build = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--quiet", "--features", "full", "--example", example])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(build.unwrap().success());
    // This test is in `deps`, beside `examples`.
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(example)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_quickstart_serves_every_layer_to_real_clients() {
    let server = Quickstart::start();
    let json = "application/json";

    // Over HTTP/1, several requests on one connection.
    let mut raw = server.connect().await;
    for path in ["/", "/page.js", "/items?n=3", "/healthz"] {
        raw.send(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        let (head, body) = raw.response().await;
        assert!(head.starts_with("http/1.1 200 "), "{path}: {head}");
        assert!(head.contains("\r\ncontent-security-policy: default-src 'self';"), "{head}");
        assert!(!body.is_empty());
    }
    for (path, status) in [("/items?n=x", "400"), ("/items?n=10001", "400"), ("/nowhere", "404")] {
        raw.send(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        let (head, _) = raw.response().await;
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{path}: {head}");
    }
    raw.send("DELETE /items HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(raw.response().await.0.starts_with("http/1.1 405 "));
    let items: serde_json::Value =
        serde_json::from_str(&text(server.get("/items?n=3").await).await).unwrap();
    assert_eq!(items["items"].as_array().unwrap().len(), 3);

    // A body is echoed, and one that is too large is refused, over both protocols.
    for client in [h1_client(), h2_client()] {
        let echo = server.post("/echo", json, full("[1, 2]"));
        let response = soon(client.request(echo)).await.unwrap();
        assert_eq!((response.status(), text(response).await), (StatusCode::OK, "[1, 2]".into()));
        let large = server.post("/echo", json, full(vec![b'1'; 20 * 1024]));
        let response = soon(client.request(large)).await.unwrap();
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(text(response).await, "The request body is larger than 10240 bytes.\n");
    }
    // The answer to HEAD has no body, which h2 clients insist on.
    let head = Request::head(format!("http://{}/", server.addr)).body(boxed(empty())).unwrap();
    let head = soon(h2_client().request(head)).await.unwrap();
    assert_eq!((head.status(), text(head).await), (StatusCode::OK, String::new()));
    let refused = [("layer", "limit"), ("reason", "body_too_large")];
    assert_eq!(server.metric("http_requests_rejected_total", &refused).await, 2.0);
    let too_large = [("route", "/echo"), ("status_code", "413"), ("outcome", "ok")];
    assert_eq!(server.metric("http_request_duration_seconds", &too_large).await, 2.0);

    // Compressed for whoever takes it, unless it opts out.
    for client in [h1_client(), h2_client()] {
        let mut lengths = Vec::new();
        for (name, value) in
            [("accept-encoding", "gzip"), ("x-other", "1"), ("x-no-compression", "1")]
        {
            let request = Request::get(format!("http://{}/items?n=100", server.addr));
            let mut request = request.header(name, value).body(boxed(empty())).unwrap();
            if name == "x-no-compression" {
                request.headers_mut().insert("accept-encoding", "gzip".parse().unwrap());
            }
            let (head, body) = soon(client.request(request)).await.unwrap().into_parts();
            let body = soon(body.collect()).await.unwrap().to_bytes();
            let coding = head.headers.get("content-encoding");
            assert_eq!(coding.is_some(), name == "accept-encoding", "{head:?}");
            let vary = head.headers.get_all("vary").iter().map(|line| line.to_str().unwrap());
            let vary = vary.collect::<Vec<_>>().join(", ");
            assert!(vary.contains("accept-encoding"), "{vary}");
            assert_eq!(vary.contains("x-no-compression"), name != "x-other", "{vary}");
            lengths.push(body.len());
            let json = if coding.is_some() { gunzip(&body) } else { body.to_vec() };
            let items: serde_json::Value = serde_json::from_slice(&json).unwrap();
            assert_eq!(items["items"].as_array().unwrap().len(), 100);
        }
        assert!(lengths[0] * 4 < lengths[1] && lengths[1] == lengths[2], "{lengths:?}");
    }
    let gzip = [("encoding", "gzip")];
    assert!(server.metric("http_compression_input_bytes_total", &gzip).await > 0.0);

    // Compressed events come one by one too.
    let events = Request::get(format!("http://{}/events", server.addr));
    let events = events.header("accept-encoding", "gzip").body(boxed(empty())).unwrap();
    let events = soon(h1_client().request(events)).await.unwrap();
    assert_eq!(events.headers()["content-encoding"], "gzip");
    let mut events = events.into_body();
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    for expected in ["id: 1\ndata: event 1\n\n", "id: 2\ndata: event 2\n\n"] {
        while decoder.get_ref() != expected.as_bytes() {
            assert!(decoder.get_ref().len() < expected.len(), "more than an event at once");
            let data = soon(events.frame()).await.unwrap().unwrap().into_data().unwrap();
            decoder.write_all(&data).unwrap();
            decoder.flush().unwrap();
        }
        decoder.get_mut().clear();
    }
    drop(events);
    // The one that asks.
    server.wait_for("http_requests_in_flight", &[], 1.0).await;

    // A client that leaves while it waits for its answer.
    let mut gone = server.connect().await;
    gone.send("GET /slow?ms=60000 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    // This request, and the one that asks.
    server.wait_for("http_requests_in_flight", &[], 2.0).await;
    drop(gone);
    let cancelled = [("route", "/slow"), ("outcome", "cancelled")];
    server.wait_for("http_request_duration_seconds", &cancelled, 1.0).await;
    assert_eq!(server.metric("http_requests_in_flight", &[]).await, 1.0);

    // An event comes at once, and a stop ends the stream.
    let mut events = server.get("/events").await.into_body();
    let first = soon(events.frame()).await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "id: 1\ndata: event 1\n\n");
    assert_eq!(server.metric("http_streams_total", &[("kind", "event_stream")]).await, 2.0);
    assert!(server.stop().await.success());
    assert!(soon(events.collect()).await.is_ok(), "the stream ends as it should");
}
