//! The example `workers`, as processes.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Request;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinSet, yield_now};

use super::program::{Program, built, signal};
use super::support::{Dir, Raw, boxed, empty, h1_client, header_of, soon, text};

/// The parent, with two workers that are ready.
struct Pool {
    parent: Program,
    workers: Vec<Worker>,
}

#[derive(Clone, Debug, PartialEq)]
struct Worker {
    id: u32,
    /// The address of the worker's metrics.
    numbers: SocketAddr,
}

impl Pool {
    fn start(env: &[(&str, &str)]) -> Self {
        Self::of(Program::start("workers", env))
    }

    fn of(mut parent: Program) -> Self {
        assert_eq!(parent.said, format!("2 workers of {}", parent.id()));
        let workers = (0..2).map(|_| ready(&parent.line())).collect();
        Self { parent, workers }
    }

    /// A connection to this worker, for which all others may have to be tried.
    async fn connect(&self, worker: u32) -> Client {
        loop {
            let mut client = Client::connect(self.parent.addr).await.unwrap();
            if client.ask().await.unwrap().worker == worker {
                return client;
            }
        }
    }

    /// The same, for what [`Client`] cannot do.
    async fn raw(&self) -> (Raw, Worker) {
        let mut raw = self.parent.connect().await;
        raw.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let (head, _) = raw.response().await;
        let id: u32 = header_of(&head, "x-worker").expect("a worker").parse().unwrap();
        let worker = self.workers.iter().find(|worker| worker.id == id).expect("one of these");
        (raw, worker.clone())
    }

    /// A connection with a request whose body is not there yet, and who has it.
    async fn open_request(&self) -> (Raw, Worker) {
        let (mut raw, worker) = self.raw().await;
        raw.send("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nab").await;
        let in_flight = "\nhttp_requests_in_flight 1\n";
        soon(async { while !worker.metrics().await.contains(in_flight) {} }).await;
        (raw, worker)
    }

    /// Waits until nobody can connect any more.
    async fn refuses(&self) {
        soon(async { while TcpStream::connect(self.parent.addr).await.is_ok() {} }).await;
    }
}

impl Worker {
    async fn metrics(&self) -> String {
        let page = format!("http://{}/metrics", self.numbers);
        let request = Request::get(page).body(boxed(empty())).unwrap();
        text(soon(h1_client().request(request)).await.unwrap()).await
    }
}

/// Parses the line that says that a worker is ready.
#[track_caller]
fn ready(line: &str) -> Worker {
    let (id, numbers) = line.split_once(" is ready, its numbers are on http://").expect(line);
    let id = id.strip_prefix("worker ").expect(line).parse().unwrap();
    Worker { id, numbers: numbers.strip_suffix("/metrics").expect(line).parse().unwrap() }
}

fn stopped(worker: u32) -> String {
    format!("worker {worker} has stopped: exit status: 0")
}

/// A connection of HTTP/1 that may break.
struct Client {
    stream: BufReader<TcpStream>,
}

struct Answer {
    worker: u32,
    is_last: bool,
}

impl Client {
    async fn connect(addr: SocketAddr) -> io::Result<Self> {
        Ok(Self { stream: BufReader::new(TcpStream::connect(addr).await?) })
    }

    async fn ask(&mut self) -> io::Result<Answer> {
        soon(self.try_to_ask()).await
    }

    async fn try_to_ask(&mut self) -> io::Result<Answer> {
        self.stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let number = |name| header_of(&head, name).expect("the header").parse().unwrap();
        let mut body = vec![0; number("content-length") as usize];
        self.stream.read_exact(&mut body).await?;
        let worker = number("x-worker");
        assert_eq!(String::from_utf8_lossy(&body), format!("hello from {worker}\n"));
        Ok(Answer { worker, is_last: header_of(&head, "connection") == Some("close") })
    }
}

/// Clients that ask until they are told to stop, each on a connection of its own.
struct Load {
    clients: JoinSet<Result<u32, (u32, io::Error)>>,
    /// The number of responses that each client has read.
    answers: Vec<watch::Receiver<u64>>,
    enough: Arc<AtomicBool>,
}

impl Load {
    fn new() -> Self {
        Self { clients: JoinSet::new(), answers: Vec::new(), enough: Arc::default() }
    }

    /// Adds a client, which reconnects after `connection: close`. Ends with the worker that answered last, or with
    /// the first error and the worker that the connection was to.
    fn add(&mut self, addr: SocketAddr, mut client: Client, mut worker: u32) {
        let answers = watch::Sender::new(0);
        self.answers.push(answers.subscribe());
        let enough = Arc::clone(&self.enough);
        self.clients.spawn(async move {
            while !enough.load(Ordering::SeqCst) {
                let answer = client.ask().await.map_err(|error| (worker, error))?;
                answers.send_modify(|count| *count += 1);
                worker = answer.worker;
                if answer.is_last {
                    client = Client::connect(addr).await.map_err(|error| (worker, error))?;
                }
            }
            Ok(worker)
        });
    }

    /// Waits until these have got so many answers from now on.
    async fn go_on(&self, clients: Range<usize>, more: u64) {
        for answers in &self.answers[clients] {
            let mut answers = answers.clone();
            let until = *answers.borrow() + more;
            soon(answers.wait_for(|count| *count >= until)).await.expect("it asks still");
        }
    }

    async fn end(self) -> Vec<Result<u32, (u32, io::Error)>> {
        self.enough.store(true, Ordering::SeqCst);
        soon(self.clients.join_all()).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_worker_is_replaced() {
    let dir = Dir::new();
    let targets = dir.path().join("targets.json");
    let mut pool = Pool::start(&[("TARGETS", targets.to_str().unwrap())]);
    let [killed, other] = [pool.workers[0].id, pool.workers[1].id];
    let mut load = Load::new();
    for worker in [killed, killed, killed, other, other, other] {
        let client = pool.connect(worker).await;
        load.add(pool.parent.addr, client, worker);
    }
    load.go_on(0..6, 10).await;

    signal(killed, "KILL");
    let ended = format!("worker {killed} has ended: signal: 9 (SIGKILL)");
    assert_eq!(pool.parent.line(), ended);
    assert_eq!(pool.parent.line(), "another one starts in 100 ms");
    let new = ready(&pool.parent.line());
    assert!(![killed, other].contains(&new.id));
    soon(pool.connect(new.id)).await;
    load.go_on(3..6, 10).await;
    let (mut broken, mut kept) = (0, 0);
    for outcome in load.end().await {
        match outcome {
            Ok(worker) => kept += u32::from(worker == other),
            Err((worker, _)) => broken += u32::from(worker == killed),
        }
    }
    assert_eq!((broken, kept), (3, 3));

    // Prometheus finds whoever is there now, each with its own numbers.
    let listed = serde_json::json!([{ "targets": [pool.workers[1].numbers, new.numbers] }]);
    let listed = listed.to_string();
    let is_listed = || std::fs::read_to_string(&targets).unwrap() == listed;
    let comes = async {
        while !is_listed() {
            yield_now().await;
        }
    };
    soon(comes).await;
    let metrics = pool.workers[1].metrics().await;
    assert!(metrics.contains("http_request_duration_seconds_count"), "{metrics}");

    // The next one is put off for longer, as it came soon.
    signal(new.id, "KILL");
    pool.parent.line();
    assert_eq!(pool.parent.line(), "another one starts in 200 ms");
    ready(&pool.parent.line());
    assert!(pool.parent.stop().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restart_loses_no_request() {
    let mut pool = Pool::start(&[]);
    let old = [pool.workers[0].id, pool.workers[1].id];
    let mut load = Load::new();
    for worker in [old[0], old[1], old[0], old[1]] {
        let client = pool.connect(worker).await;
        load.add(pool.parent.addr, client, worker);
    }
    let mut pairs = Vec::new();
    for worker in old {
        pairs.push((pool.connect(worker).await, pool.connect(worker).await));
    }
    load.go_on(0..4, 10).await;

    pool.parent.signal("HUP");
    let mut new = vec![ready(&pool.parent.line()).id];
    // A request that is on its way when the worker has begun to stop is answered.
    let (first, idle) = 'stopping: loop {
        for (worker, (busy, idle)) in old.into_iter().zip(&mut pairs) {
            if busy.ask().await.unwrap().is_last {
                break 'stopping (worker, idle);
            }
        }
    };
    let answer = idle.ask().await.unwrap();
    assert_eq!((answer.worker, answer.is_last), (first, true));
    assert_eq!(pool.parent.line(), stopped(first));
    new.push(ready(&pool.parent.line()).id);
    let second = if first == old[0] { old[1] } else { old[0] };
    assert_eq!(pool.parent.line(), stopped(second));

    load.go_on(0..4, 10).await;
    for outcome in load.end().await {
        let worker = outcome.unwrap();
        assert!(new.contains(&worker), "{worker} is none of {new:?}");
    }
    assert!(pool.parent.stop().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn version_that_fails_to_start_keeps_the_old_one() {
    let dir = Dir::new();
    let program = dir.path().join("workers");
    let release = |version: &Path| {
        drop(std::fs::remove_file(&program));
        std::os::unix::fs::symlink(version, &program).unwrap();
    };
    let works = built("workers");
    release(&works);
    let mut command = Command::new(&program);
    let mut pool = Pool::of(Program::run(command.env("ADDR", "127.0.0.1:0")));

    release(Path::new("/bin/false"));
    pool.parent.signal("HUP");
    let ended = pool.parent.line();
    assert!(ended.ends_with(" has ended: exit status: 1"), "{ended}");
    assert_eq!(pool.parent.line(), "the restart is given up");
    let (_, worker) = pool.raw().await;
    assert!(pool.workers.contains(&worker));

    release(&works);
    pool.parent.signal("HUP");
    for _ in 0..2 {
        ready(&pool.parent.line());
        let line = pool.parent.line();
        assert!(pool.workers.iter().any(|old| stopped(old.id) == line), "{line}");
    }
    assert!(pool.parent.stop().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn stop_finishes_open_requests() {
    let mut pool = Pool::start(&[]);
    let (mut open, _) = pool.open_request().await;
    pool.parent.signal("TERM");
    assert_eq!(pool.parent.line(), "stopping");
    pool.refuses().await;
    // Whether or not its worker has begun to stop by now: it was another one, if not.
    open.send("cde").await;
    let (head, body) = open.response().await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert_eq!((&*body, &*open.rest().await), ("abcde", ""));
    let lines = [pool.parent.line(), pool.parent.line()];
    assert!(pool.workers.iter().all(|worker| lines.contains(&stopped(worker.id))), "{lines:?}");
    assert!(pool.parent.ended().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn orphaned_workers_finish_open_requests() {
    let pool = Pool::start(&[]);
    let (mut open, _) = pool.open_request().await;
    pool.parent.signal("KILL");
    pool.refuses().await;
    // Whether or not its worker has begun to stop by now: it was another one, if not.
    open.send("cde").await;
    let (head, body) = open.response().await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert_eq!((&*body, &*open.rest().await), ("abcde", ""));
    for worker in &pool.workers {
        soon(async { while TcpStream::connect(worker.numbers).await.is_ok() {} }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn panic_ends_its_connection_alone() {
    let mut pool = Pool::start(&[]);
    let (mut raw, worker) = pool.raw().await;
    let mut other = soon(pool.connect(worker.id)).await;
    raw.send("GET /panic HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(raw.rest().await, "");
    assert_eq!(other.ask().await.unwrap().worker, worker.id);
    let panics = "outcome=\"panic\"";
    soon(async { while !worker.metrics().await.contains(panics) {} }).await;
    pool.parent.signal("TERM");
    // No worker has ended before.
    assert_eq!(pool.parent.line(), "stopping");
    assert!(pool.parent.ended().success());
}
