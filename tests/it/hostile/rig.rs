//! The program under attack, and what has to hold after it.

use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::program::Program;
use crate::support::{soon, text};

/// The repetitions of an attack. The allocator and the program's own buffers grow in the first
/// rounds; from then on only what leaks does.
pub(super) const ROUNDS: usize = 6;
const WARM: usize = 3;

/// The bytes by which the least of the later rounds may exceed the most of the first ones. A
/// round has a hundred requests or connections at least, so that what each of them leaves shows from
/// three kilobytes on.
const TOLERANCE: i64 = 1 << 20;

/// glibc's allocator gives back what is free at once, and not when it likes to.
const ALLOCATOR: [(&str, &str); 3] = [
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_MMAP_THRESHOLD_", "65536"),
    ("MALLOC_TRIM_THRESHOLD_", "65536"),
];

#[derive(Debug)]
pub(super) struct Target {
    program: Program,
    pub(super) addr: SocketAddr,
}

impl Target {
    /// Starts the program with these variables in its environment.
    pub(super) fn start(env: &[(&str, &str)]) -> Self {
        let program = Program::start("quickstart", &[env, &ALLOCATOR].concat());
        Self { addr: program.addr, program }
    }

    /// Attacks it again and again.
    pub(super) async fn survives(&self, attack: impl AsyncFn(usize)) {
        let mut levels = Vec::new();
        for round in 0..ROUNDS {
            attack(round).await;
            self.is_well().await;
            // Beside what its cache is there to keep.
            levels.push(self.memory() - self.metric("http_cache_stored_bytes", &[]).await as i64);
        }
        let (early, late) = levels.split_at(WARM);
        let (early, late) = (early.iter().max().unwrap(), late.iter().min().unwrap());
        println!("bytes of memory after each round: {levels:?}");
        assert!(*late <= early + TOLERANCE, "it grows: {levels:?}");
    }

    /// Asserts that the program responds correctly and has no other work.
    pub(super) async fn is_well(&self) {
        let health = self.program.get("/healthz").await;
        assert_eq!((health.status().as_u16(), text(health).await.as_str()), (200, "ok\n"));
        let items = text(self.program.get("/items?n=2").await).await;
        let items: serde_json::Value = serde_json::from_str(&items).unwrap();
        assert_eq!(items["items"][1]["name"], "Item 2");
        // The one that asks.
        self.program.wait_for("http_requests_in_flight", &[], 1.0).await;
    }

    /// Returns the bytes of memory that the program has written to, without its code.
    pub(super) fn memory(&self) -> i64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.program.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<i64>().unwrap() << 10
    }

    pub(super) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.program.metric(name, labels).await
    }

    pub(super) async fn connect(&self) -> Victim {
        connect(self.addr).await
    }

    /// Stops it, which has to be clean.
    pub(super) fn stop(mut self) {
        self.program.signal("TERM");
        assert!(self.program.ended().success());
        let errors = self.program.errors();
        assert_eq!(errors, "", "nothing panics, and nothing is logged");
    }
}

/// A connection to it, as bytes. It may be gone at any time: a server may close what is hostile.
#[derive(Debug)]
pub(super) struct Victim(pub(super) TcpStream);

impl Victim {
    /// Returns `true` if the server took all of the bytes.
    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        soon(self.0.write_all(bytes.as_ref())).await.is_ok()
    }

    /// Returns the bytes that the server takes while the client reads nothing.
    pub(super) async fn push(&mut self, bytes: impl AsRef<[u8]>) {
        let sending = self.0.write_all(bytes.as_ref());
        drop(timeout(Duration::from_millis(100), sending).await);
    }

    /// Reads up to this mark, and the mark.
    pub(super) async fn text_until(&mut self, mark: &str) -> String {
        let mut read = Vec::new();
        while !read.ends_with(mark.as_bytes()) {
            match soon(self.0.read_u8()).await {
                Ok(byte) => read.push(byte),
                Err(_) => break,
            }
        }
        String::from_utf8_lossy(&read).into_owned()
    }

    /// Reads `most` bytes, or fewer if the connection ends.
    pub(super) async fn read(&mut self, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; most];
        let mut filled = 0;
        while filled < most {
            match soon(self.0.read(&mut bytes[filled..])).await {
                Ok(read @ 1..) => filled += read,
                _ => break,
            }
        }
        bytes.truncate(filled);
        bytes
    }

    /// Reads until the server ends the connection.
    pub(super) async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        // An error is a reset: what came before it counts.
        drop(soon(self.0.read_to_end(&mut bytes)).await);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Sends, and gives all that is answered until the server ends the connection.
    pub(super) async fn exchange(mut self, bytes: impl AsRef<[u8]>) -> String {
        self.send(bytes).await;
        self.rest().await
    }

    /// The same, but says that nothing follows, on which hyper drops a request that is not answered.
    pub(super) async fn cut(mut self, bytes: impl AsRef<[u8]>) -> String {
        self.send(bytes).await;
        drop(self.0.shutdown().await);
        self.rest().await
    }
}

pub(super) async fn connect(addr: SocketAddr) -> Victim {
    Victim(soon(TcpStream::connect(addr)).await.unwrap())
}

/// Runs them at the same time, so many in all, 32 at once.
pub(super) async fn each<F>(count: usize, mut start: impl FnMut(usize) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for number in 0..count {
        if tasks.len() >= 32 {
            tasks.join_next().await.unwrap().unwrap();
        }
        tasks.spawn(start(number));
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

/// Returns a request of HTTP/1.1.
pub(super) fn get(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: a\r\n{fields}\r\n")
}

/// Returns a request that closes the connection.
pub(super) fn last(target: &str, fields: &str) -> String {
    get(target, &format!("connection: close\r\n{fields}"))
}

/// Returns `count` requests in one text, the last of which closes the connection.
pub(super) fn pipeline(count: usize, request: impl Fn(usize) -> String) -> String {
    let all: String = (0..count).map(request).collect();
    let last = all.rfind("\r\n\r\n").unwrap();
    format!("{}\r\nconnection: close\r\n\r\n", &all[..last])
}

/// Returns the statuses of all responses in `read`.
pub(super) fn statuses(read: &str) -> Vec<&str> {
    let heads = read.match_indices("HTTP/1.1 ");
    heads.filter_map(|(at, head)| read.get(at + head.len()..at + head.len() + 3)).collect()
}
