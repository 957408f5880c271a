//! The layers on each host: the examples `axum`, `hyper` and `client`, as processes.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tower::service_fn;

use super::program::{Program, built, sample_sum};
use super::support::{
    BoxBody, Server, boxed, empty, full, gunzip, h1_client, h2_client, soon, text,
};

const DURATION: &str = "http_request_duration_seconds";

async fn get(program: &Program, path: &str, over_h2: bool) -> Response<Incoming> {
    let request = Request::get(program.url(path)).header("accept-encoding", "gzip");
    let client = if over_h2 { h2_client() } else { h1_client() };
    soon(client.request(request.body(boxed(empty())).unwrap())).await.unwrap()
}

async fn post(program: &Program, path: &str, body: BoxBody) -> Response<Incoming> {
    let request = Request::post(program.url(path)).header("content-type", "application/json");
    soon(h1_client().request(request.body(body).unwrap())).await.unwrap()
}

/// Asserts that a cached page has the marks of every layer; `latency` is checked by its metrics.
async fn every_layer_has_been_there(program: &Program, path: &str) {
    // Before there is anything to answer it with, and after.
    let head = async || {
        let head = Request::head(program.url(path)).body(boxed(empty())).unwrap();
        let head = soon(h2_client().request(head)).await.unwrap();
        assert_eq!((head.status(), text(head).await), (StatusCode::OK, String::new()));
    };
    head().await;
    for (over_h2, cache) in [(false, "fwd=uri-miss; stored"), (true, "hit;"), (false, "hit;")] {
        let (head, body) = get(program, path, over_h2).await.into_parts();
        assert_eq!(head.status, StatusCode::OK);
        assert_eq!(head.headers["x-content-type-options"], "nosniff");
        let said = head.headers["cache-status"].to_str().unwrap();
        assert!(said.contains(cache), "{said}");
        assert_eq!(head.headers["content-encoding"], "gzip");
        let body = soon(body.collect()).await.unwrap().to_bytes();
        assert!(gunzip(&body).len() > body.len());
    }
    head().await;
}

/// A head that does not come to its end closes its connection; a body that does not gets an answer.
async fn neither_heads_nor_bodies_are_waited_for(program: &Program, path: &str, status: &str) {
    let mut half = program.connect().await;
    half.send("GET / HTTP/1.1\r\nhost: a\r\nx-half: ").await;
    let mut slow = program.connect().await;
    let head = "content-type: application/json\r\ncontent-length: 2\r\n\r\n{";
    slow.send(&format!("POST {path} HTTP/1.1\r\nhost: a\r\n{head}")).await;
    let answer = slow.head().await;
    assert!(answer.starts_with(&format!("http/1.1 {status} ")), "{answer}");
    assert!(answer.contains("\r\nx-content-type-options: nosniff\r\n"), "{answer}");
    half.rest().await;
}

/// A request that is open when it is asked to stop gets its answer.
async fn it_stops_when_open_requests_are_answered(program: Program, path: &str, status: &str) {
    let mut open = program.connect().await;
    let head = "expect: 100-continue\r\ncontent-type: application/json\r\ncontent-length: 2\r\n";
    open.send(&format!("POST {path} HTTP/1.1\r\nhost: a\r\n{head}\r\n")).await;
    // It waits for the body then.
    assert!(open.head().await.starts_with("http/1.1 100 "));
    program.signal("TERM");
    let addr = program.addr;
    soon(async { while tokio::net::TcpStream::connect(addr).await.is_ok() {} }).await;
    open.send("{}").await;
    let answer = open.rest().await;
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert!(answer.ends_with("\r\n\r\n{}"), "{answer}");
    assert!(program.stop().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn axum_example_has_layers_and_timeouts() {
    let program = Program::start("axum", &[]);
    every_layer_has_been_there(&program, "/items/7").await;
    let made = post(&program, "/items", full("{\"name\":1}")).await;
    assert_eq!((made.status(), text(made).await), (StatusCode::CREATED, "{\"name\":1}".into()));
    let large = post(&program, "/items", full(vec![b' '; 20_000])).await;
    assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(get(&program, "/nowhere", false).await.status(), StatusCode::NOT_FOUND);
    neither_heads_nor_bodies_are_waited_for(&program, "/items", "503").await;
    let numbers = text(program.get("/metrics").await).await;
    for (method, route, code, count) in [
        ("GET", "/items/{id}", 200, 3),
        ("HEAD", "/items/{id}", 200, 2),
        ("POST", "/items", 201, 1),
        ("POST", "/items", 413, 1),
        ("POST", "/items", 503, 1),
        ("GET", "unmatched", 404, 1),
    ] {
        // The parser takes no braces in labels.
        let labels = format!("method=\"{method}\",route=\"{route}\",status_code=\"{code}\"");
        let line = format!("{DURATION}_count{{{labels},outcome=\"ok\"}} {count}\n");
        assert!(numbers.contains(&line), "no {line} in {numbers}");
    }
    it_stops_when_open_requests_are_answered(program, "/items", "201").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn hyper_example_has_layers_and_timeouts() {
    let program = Program::start("hyper", &[]);
    every_layer_has_been_there(&program, "/").await;
    let echo = post(&program, "/", full("{}")).await;
    assert_eq!((echo.status(), text(echo).await), (StatusCode::OK, "{}".into()));
    let large = post(&program, "/", full(vec![b' '; 20_000])).await;
    assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(get(&program, "/nowhere", true).await.status(), StatusCode::NOT_FOUND);
    neither_heads_nor_bodies_are_waited_for(&program, "/", "408").await;
    for (labels, count) in [
        ([("route", "/"), ("status_code", "200")], 6.0),
        ([("route", "/"), ("status_code", "413")], 1.0),
        ([("route", "/"), ("status_code", "408")], 1.0),
        ([("route", "unmatched"), ("status_code", "404")], 1.0),
    ] {
        assert_eq!(program.metric(DURATION, &labels).await, count, "{labels:?}");
    }
    it_stops_when_open_requests_are_answered(program, "/", "200").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn client_example_measures_and_caches() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let server = Server::start(service_fn(move |request: Request<Incoming>| {
        counted.fetch_add(1, Ordering::SeqCst);
        let control = match request.uri().path() {
            "/for-all" => "max-age=60",
            _ => "private, max-age=60",
        };
        let never = request.uri().path() == "/never";
        let response = Response::builder().header("cache-control", control);
        async move {
            if never {
                std::future::pending::<()>().await;
            }
            Ok::<_, Infallible>(response.body(full("an answer")).unwrap())
        }
    }));
    let server = server.await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (all, one, never) = (server.url("/for-all"), server.url("/for-one"), server.url("/never"));
    let gone = format!("http://localhost:{}/", gone.port());
    let with_password = one.replace("//", "//user:secret@");
    // Refused, or answered by whatever listens there.
    let default_port = "http://127.0.0.1:80/";
    let mut command = tokio::process::Command::new(built("client"));
    command
        .args([&all, &all, &one, &one, &with_password, &gone, &never, default_port])
        .kill_on_drop(true);
    let output = soon(command.output()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 5);

    let printed = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = printed.lines().collect();
    let miss = "200 OK, 9 bytes, tower-kit; fwd=uri-miss";
    // `stored` is said only if the whole body had come with the head.
    assert_eq!(lines[0].trim_end_matches("; stored"), format!("{all}: {miss}"));
    assert!(lines[1].starts_with(&format!("{all}: 200 OK, 9 bytes, tower-kit; hit;")), "{printed}");
    for line in &lines[2..4] {
        assert!(line.starts_with(&format!("{one}: {miss}; detail=private")), "{printed}");
    }
    assert!(lines[4].starts_with(&format!("{with_password}: 200 OK")), "{printed}");
    assert!(lines[5].starts_with(&gone) && lines[5].contains("Connect"), "{printed}");
    assert_eq!(lines[6], format!("{never}: Elapsed(())"));

    assert!(lines[7].starts_with(default_port), "{printed}");

    let text = lines[8..].join("\n");
    assert!(!text.contains("secret"), "{text}");
    let count = |name: &str, labels: &[(&str, &str)]| sample_sum(&text, name, labels);
    let (duration, requests) = (&*format!("client_{DURATION}"), "client_http_cache_requests_total");
    let (server, gone) = (server.addr.to_string(), gone.split('/').nth(2).unwrap());
    assert_eq!(count(duration, &[("route", &server), ("outcome", "ok")]), 5.0);
    assert_eq!(count(duration, &[("route", gone), ("outcome", "service_error")]), 1.0);
    assert_eq!(count(duration, &[("route", &server), ("outcome", "timeout")]), 1.0);
    assert_eq!(count(requests, &[("outcome", "hit")]), 1.0);
    assert_eq!(count(duration, &[("route", "127.0.0.1")]), 1.0);
    let answered = count(duration, &[("route", "127.0.0.1"), ("outcome", "ok")]);
    assert_eq!(count(requests, &[("outcome", "miss")]), 3.0 + answered);
}
