//! Starts the example and sends requests to it.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, response};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The example as a process, which is killed when this is dropped.
pub struct Program {
    process: Child,
    pub addr: SocketAddr,
    /// The URL of the address that takes purges.
    pub purges: String,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    /// Starts the example on free ports and reads from its first line where it listens.
    pub fn start(env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_example-static-assets"));
        command.env("ADDR", "127.0.0.1:0").env("PURGES", "127.0.0.1:0").envs(env.iter().copied());
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let first = lines.next().expect("a first line").unwrap();
        let listens = first.strip_prefix("listening on http://").unwrap();
        let (addr, purges) = listens.split_once(", purges on ").unwrap();
        Self { process, addr: addr.parse().unwrap(), purges: purges.to_owned(), lines }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Waits for the next line that the program prints.
    pub fn line(&mut self) -> String {
        tokio::task::block_in_place(|| self.lines.next().expect("another line").unwrap())
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(mut self) -> ExitStatus {
        let kill = format!("kill -TERM {}", self.process.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        tokio::task::block_in_place(|| self.process.wait()).unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Sends a request on a connection of its own and returns the head and the body of the response.
pub async fn ask(method: &str, url: &str, headers: &[(&str, &str)]) -> (response::Parts, Bytes) {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = soon(client.request(request.body(Body::empty()).unwrap())).await.unwrap();
    let (head, body) = response.into_parts();
    (head, soon(to_bytes(Body::new(body), usize::MAX)).await.unwrap())
}

/// A connection whose requests are written by hand, so that their paths arrive as they are.
pub struct Raw {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Raw {
    pub async fn connect(addr: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(addr).await.unwrap(), read: Vec::new() }
    }

    /// Sends a request, and returns the head of its response in lower case and, by its
    /// `content-length`, the body.
    pub async fn ask(&mut self, request: &str) -> (String, String) {
        self.stream.write_all(request.as_bytes()).await.unwrap();
        let head = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break self.take(at + 4).to_ascii_lowercase();
            }
            self.more().await;
        };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length = length.map_or(0, |length| length.trim().parse().unwrap());
        while self.read.len() < length {
            self.more().await;
        }
        (head, self.take(length))
    }

    fn take(&mut self, length: usize) -> String {
        let rest = self.read.split_off(length);
        String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap()
    }

    async fn more(&mut self) {
        let read = soon(self.stream.read_buf(&mut self.read)).await.unwrap();
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&self.read));
    }
}

/// An empty directory, which is removed when this is dropped.
pub struct Dir(PathBuf);

impl Dir {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("static-assets-test-{}-{count}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Waits for a future, and fails the test where it takes too long.
pub async fn soon<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(30), future).await.expect("ready within 30 seconds")
}
