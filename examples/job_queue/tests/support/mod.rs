//! Starts the example and redis servers, as processes, and sends requests to the example.

use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Lines};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use redis::{Connection, FromRedisValue};
use tokio::time::timeout;

/// The time that a test waits for an event that has to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// The example as a process, which is killed when this is dropped.
pub struct Program {
    process: Child,
    addr: SocketAddr,
    /// The rest of the first line, behind the address.
    pub said: String,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    /// Starts the example on a free port and reads from its first line where it listens.
    pub fn start(command: &mut Command) -> Self {
        let mut process =
            command.env("ADDR", "127.0.0.1:0").stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let first = lines.next().expect("a first line").unwrap();
        let listens = first.strip_prefix("listening on http://").unwrap();
        let (addr, said) = listens.split_once(", ").unwrap();
        Self { process, addr: addr.parse().unwrap(), said: said.to_owned(), lines }
    }

    /// Sends a request of JSON on a connection of its own.
    pub async fn ask(&self, method: Method, path: &str, body: impl Into<Body>) -> Response<Body> {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.addr))
            .header("content-type", "application/json");
        self.send(request.body(body.into()).unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Response<Body> {
        self.ask(Method::GET, path, Body::empty()).await
    }

    /// Sends a POST without a content type.
    pub async fn post_untyped(&self, path: &str, body: impl Into<Body>) -> Response<Body> {
        let request = Request::post(format!("http://{}{path}", self.addr));
        self.send(request.body(body.into()).unwrap()).await
    }

    async fn send(&self, request: Request<Body>) -> Response<Body> {
        let client = Client::builder(TokioExecutor::new()).build_http();
        soon(client.request(request)).await.unwrap().map(Body::new)
    }

    /// Returns the sum of a counter's or gauge's samples that have all of these labels, on the page
    /// `/metrics`.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let page = text(self.get("/metrics").await).await;
        let samples = page.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (metric, given) = series.split_once('{').unwrap_or((series, ""));
            let has =
                |(label, value): &(&str, &str)| given.contains(&format!("{label}=\"{value}\""));
            (metric == name && labels.iter().all(has)).then(|| value.parse::<f64>().unwrap())
        });
        samples.sum()
    }

    /// Waits for the next line that the program prints.
    pub fn line(&mut self) -> String {
        tokio::task::block_in_place(|| self.lines.next().expect("another line").unwrap())
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        signal(&self.process, name);
    }

    /// Waits for the end of the program.
    pub fn ended(&mut self) -> ExitStatus {
        tokio::task::block_in_place(|| self.process.wait()).unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A redis server on a port and with a folder of its own, which keeps each write. It is killed when
/// this is dropped.
pub struct Redis {
    port: u16,
    folder: PathBuf,
    process: Option<Child>,
}

impl Redis {
    pub fn start() -> Self {
        // Below the ports that the system gives to clients: none takes it while the server is down.
        let seed = RandomState::new().hash_one(std::process::id()) as u16;
        let mut ports = (0..20_000).map(|n| 10_000 + seed.wrapping_add(n) % 20_000);
        let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        let port = ports.find(is_free).expect("a free port");
        let folder = std::env::temp_dir().join(format!("job-queue-redis-{port}"));
        std::fs::create_dir_all(&folder).unwrap();
        let mut redis = Self { port, folder, process: None };
        redis.run();
        redis
    }

    /// Starts the server, with what it has kept, at the same port.
    pub fn run(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", ""]);
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--dir"]);
        let process = command.arg(&self.folder).stdout(Stdio::null()).spawn();
        self.process = Some(process.expect("redis-server in PATH"));
        until("redis-server answers", || {
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "redis-server has ended: {ended:?}");
            self.connect().is_ok_and(|mut server| redis::cmd("PING").exec(&mut server).is_ok())
        });
    }

    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Sends a command on a connection of its own, and waits for the answer as long as it takes.
    #[track_caller]
    pub fn ask<T: FromRedisValue>(&self, command: &[&str]) -> T {
        redis::cmd(command[0]).arg(&command[1..]).query(&mut self.connect().unwrap()).unwrap()
    }

    /// Stops the server from answering for so long.
    pub fn pause(&self, span: Duration) {
        let () = self.ask(&["CLIENT", "PAUSE", &span.as_millis().to_string(), "ALL"]);
    }

    /// Stops the server from answering until it is thawed.
    pub fn freeze(&self) {
        signal(self.process.as_ref().unwrap(), "STOP");
    }

    pub fn thaw(&self) {
        signal(self.process.as_ref().unwrap(), "CONT");
    }

    fn connect(&self) -> redis::RedisResult<Connection> {
        redis::Client::open(self.url())?.get_connection()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn signal(process: &Child, name: &str) {
    let kill = format!("kill -{name} {}", process.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

pub async fn text(response: Response<Body>) -> String {
    let bytes = soon(to_bytes(response.into_body(), usize::MAX)).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Waits for a future, and fails the test where it takes too long.
pub async fn soon<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("ready within a minute")
}

/// Waits for something in another process, of which no event tells.
#[track_caller]
pub fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < PATIENCE, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
