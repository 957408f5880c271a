//! The promises of the documentation, at the size that they are made for. Each part is a process of
//! its own, so that its memory is measured alone.

use std::convert::Infallible;
use std::process::Command;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_kit::cache::{CacheLayer, MemoryStore, Store};
use tower_kit::{KIB, MIB};

use crate::program::Program;
use crate::run::{ALLOCATOR, memory};

/// A million URLs and more, in stores with room for a few of them. Each in a process of its own: what
/// the allocator keeps of one would hide what the next one takes.
pub(crate) fn urls() {
    for kind in ["small", "mixed", "long"] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        assert!(command.args(["scale", "urls", kind]).status().unwrap().success(), "{kind}");
    }
}

/// A store says what it takes, and takes no more than it may.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn answers(kind: &str) {
    const CAPACITY: u64 = 64 * MIB;
    let (name, target, body, urls): (&str, u64, u64, u64) = match kind {
        "small" => ("small answers", 40, 200, 1_000_000),
        "mixed" => ("answers of up to 6 KB", 400, 6_000, 100_000),
        _ => ("answers with long URLs", 7_000, 200, 50_000),
    };
    let service = service_fn(move |request: Request<Empty<Bytes>>| {
        let length = request.uri().path()[1..8].parse::<u64>().unwrap() * 7_919 % body;
        let body = Bytes::from(vec![b'x'; length as usize]);
        let response = Response::builder().header("cache-control", "max-age=600");
        std::future::ready(Ok::<_, Infallible>(response.body(Full::new(body)).unwrap()))
    });
    let before = memory(std::process::id());
    let store = MemoryStore::new(CAPACITY);
    let mut cache = CacheLayer::new(store.clone()).layer(service);
    let (mut most, mut stated) = (0, 0);
    for number in 0..urls {
        let junk = "q".repeat((number * 104_729 % target) as usize);
        let request = Request::get(format!("http://example.com/{number:07}?{junk}"));
        let asked = cache.ready().await.unwrap().call(request.body(Empty::new()).unwrap());
        drop(asked.await.unwrap().into_body().collect().await);
        if number % 1_000 == 999 {
            most = most.max(memory(std::process::id()) - before);
            stated = stated.max(store.usage().bytes);
        }
    }
    let percent = most * 100 / CAPACITY;
    println!(
        "scale: {urls} {name} in a store of 64 MiB: {} kept in {} KiB as it states, and in {} KiB of \
         memory at most: {percent}%",
        store.usage().entries,
        stated / KIB,
        most / KIB,
    );
    assert!(stated <= CAPACITY);
    assert!(most * 100 <= CAPACITY * 105, "more than SECURITY.md promises");
}

/// Ten thousand connections at once, idle, or with an event stream each.
#[tokio::main]
pub(crate) async fn connections() {
    const COUNT: usize = 10_000;
    const ROUNDS: usize = 3;
    let mut command =
        Command::new(std::env::current_exe().unwrap().with_file_name("../examples/quickstart"));
    command.envs(ALLOCATOR).env("ADDR", "127.0.0.1:0").env_remove("REDIS_URL");
    command.env("CONNECTIONS", "10100").env("PATIENCE_MS", "600000");
    let program = Program::run(&mut command);
    // What the first ones make for all.
    drop(open(&program, 100, "/healthz").await);
    let before = memory(program.id());
    let mut levels = Vec::new();
    let kinds = [("idle", "/healthz"), ("with an event stream", "/events")];
    for (name, path) in kinds.into_iter().cycle().take(ROUNDS * kinds.len()) {
        let open = open(&program, COUNT, path).await;
        let held = memory(program.id()) - before;
        assert_eq!(program.get("/items?n=1").await.status(), 200);
        println!(
            "scale: {COUNT} connections {name}: {} KiB of memory, {} for each",
            held / KIB,
            held / KIB / COUNT as u64,
        );
        assert!(held / COUNT as u64 <= 40 * KIB);
        drop(open);
        program.wait_for("http_requests_in_flight", &[], 1.0).await;
        levels.push(held);
    }
    // The allocator keeps what was freed in pieces, for the next ones: they take no more.
    let (before, last) = (levels[levels.len() - 3], levels[levels.len() - 1]);
    assert!(last <= before + before / 20, "it grows: {levels:?}");
}

/// Opens connections, and waits on each for the start of a response.
async fn open(program: &Program, count: usize, path: &str) -> Vec<TcpStream> {
    let mut open = Vec::new();
    while open.len() < count {
        // No more at a time than wait to be accepted: what comes then is refused for a second.
        let mut asked = Vec::new();
        for _ in 0..500.min(count - open.len()) {
            let mut stream =
                TcpStream::connect(program.addr).await.expect("enough of file descriptors");
            let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            asked.push(stream);
        }
        for stream in &mut asked {
            assert!(stream.read(&mut [0; 4_096]).await.unwrap() > 0);
        }
        open.append(&mut asked);
    }
    open
}
