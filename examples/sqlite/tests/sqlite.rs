//! The example as two processes over one database and one Redis.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The time that a test waits for an event that has to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that is killed when this is dropped.
struct Process(Child);

/// Two processes of the example, and what they share.
struct Site {
    processes: [Program; 2],
    redis: Process,
    _folder: Folder,
}

struct Program {
    addr: SocketAddr,
    process: Process,
    _stdout: BufReader<ChildStdout>,
}

/// A folder that is removed when this is dropped.
struct Folder(PathBuf);

/// A response: its status, its head in lower case, and its body.
struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Site {
    fn start() -> Self {
        let (redis, url) = start_redis();
        let folder = std::env::temp_dir().join(format!("example-sqlite-{}", url.replace('/', "")));
        fs::create_dir(&folder).unwrap();
        let database = folder.join("rates.db");
        let processes = [(); 2].map(|()| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_example-sqlite"));
            command.env("ADDR", "127.0.0.1:0").env("REDIS_URL", &url).env("DATABASE", &database);
            let mut process = Process(command.stdout(Stdio::piped()).spawn().unwrap());
            let mut stdout = BufReader::new(process.0.stdout.take().unwrap());
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            let addr = line.trim().strip_prefix("listening on http://").unwrap().parse().unwrap();
            Program { addr, process, _stdout: stdout }
        });
        Self { processes, redis, _folder: Folder(folder) }
    }
}

impl Program {
    fn get(&self, path: &str) -> Response {
        self.ask("GET", path, "")
    }

    fn put(&self, path: &str, body: &str) -> Response {
        self.ask("PUT", path, body)
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Response {
        let mut stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n{body}",
            self.addr
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Response { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }
}

impl Response {
    fn is_hit(&self) -> bool {
        self.head.contains("\r\ncache-status: tower-kit; hit")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Starts a redis-server on a free port, and returns it with its URL.
fn start_redis() -> (Process, String) {
    // Below the ports that the system gives to clients: none takes it while the server is down.
    let seed = RandomState::new().hash_one(std::process::id()) as u16;
    let mut ports = (0..20_000).map(|n| 10_000 + seed.wrapping_add(n) % 20_000);
    let port = ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap();
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""]);
    let process = Process(command.stdout(Stdio::null()).spawn().expect("redis-server in PATH"));
    until("redis-server listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    (process, format!("redis://127.0.0.1:{port}"))
}

/// Waits for something in another process, of which no event tells.
#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "not within a minute: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn change_purges_pages_in_both_processes() {
    let site = Site::start();
    let [one, other] = &site.processes;
    for process in [one, other] {
        until("it is connected to Redis", || process.put("/rates/CHF", "0.95").status == 200);
    }
    for path in ["/convert/EUR/CHF", "/convert/CHF/EUR", "/convert/EUR/SEK"] {
        // A process may make its own page until Redis has that of the other.
        until("a process serves the page of the other", || {
            let made = one.get(path);
            let shared = other.get(path);
            assert_eq!((shared.status, &shared.body), (200, &made.body));
            shared.is_hit() && one.get(path).is_hit()
        });
    }
    assert_eq!(one.get("/convert/EUR/CHF").body, "100 EUR are 95.00 CHF\n");

    for n in 1..=20 {
        let (changed, read) = if n % 2 == 0 { (one, other) } else { (other, one) };
        let changing = changed.put("/rates/CHF", &format!("{n}"));
        // 202 if Redis is slow.
        assert!(matches!(changing.status, 200 | 202), "{}", changing.body);
        let page = format!("100 EUR are {n}00.00 CHF\n");
        assert_eq!(changed.get("/convert/EUR/CHF").body, page);
        until("the other process makes the page anew", || {
            read.get("/convert/EUR/CHF").body == page
        });
        let inverse = format!("100 CHF are {:.2} EUR\n", 100.0 / f64::from(n));
        until("and the other page", || read.get("/convert/CHF/EUR").body == inverse);
        until("the new page is kept", || read.get("/convert/EUR/CHF").is_hit());
        assert!(read.get("/convert/EUR/SEK").is_hit(), "its rates did not change");
    }
}

#[test]
fn changes_hold_without_redis() {
    let mut site = Site::start();
    let [one, _] = &site.processes;
    until("it is connected to Redis", || one.put("/rates/CHF", "2").status == 200);
    assert_eq!(one.get("/convert/EUR/CHF").body, "100 EUR are 200.00 CHF\n");
    site.redis.0.kill().unwrap();
    site.redis.0.wait().unwrap();
    let changing = one.put("/rates/CHF", "3");
    assert_eq!(changing.status, 202, "{}", changing.body);
    assert_eq!(one.get("/convert/EUR/CHF").body, "100 EUR are 300.00 CHF\n");
}

#[test]
fn bad_requests_are_answered_with_the_reason() {
    let mut site = Site::start();
    let [one, _] = &mut site.processes;
    for rate in ["", "abc", "0", "-1", "NaN", "inf", "1e999"] {
        let refused = one.put("/rates/CHF", rate);
        assert_eq!(
            (refused.status, &*refused.body),
            (400, "the body is a number above 0\n"),
            "{rate}"
        );
    }
    let unknown = (404, "there is no such currency\n");
    for path in ["/convert/EUR/XXX", "/convert/XXX/EUR", "/convert/EUR/x%27%20OR%201%3D1"] {
        let refused = one.get(path);
        assert_eq!((refused.status, &*refused.body), unknown, "{path}");
        assert!(!one.get(path).is_hit());
    }
    let refused = one.put("/rates/XXX", "1");
    assert_eq!((refused.status, &*refused.body), unknown);
    assert!(one.process.0.try_wait().unwrap().is_none());
}
