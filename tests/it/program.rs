//! Examples as processes, driven by real clients.

use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::support::{Raw, boxed, empty, h1_client, soon, text};
use http::{Request, Response};
use hyper::body::Incoming;

/// An example that listens, which is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Program {
    process: Child,
    pub(crate) addr: SocketAddr,
    /// The rest of the first line, after the address.
    pub(crate) said: String,
    lines: Lines<BufReader<ChildStdout>>,
    errors: Arc<Mutex<String>>,
    listening: Option<JoinHandle<()>>,
}

impl Program {
    /// Starts an example of this crate on a free port, without Redis.
    pub(crate) fn start(example: &str, env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(built(example));
        command.env("ADDR", "127.0.0.1:0").env_remove("REDIS_URL").envs(env.iter().copied());
        Self::run(command.stderr(Stdio::piped()))
    }

    /// Starts a program whose first line says where it listens: `http://127.0.0.1:3000`, and what
    /// may come behind a comma. Its standard error is kept where it is a pipe.
    pub(crate) fn run(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let errors = Arc::new(Mutex::new(String::new()));
        let listening = process.stderr.take().map(|stderr| {
            let written = Arc::clone(&errors);
            thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    *written.lock().unwrap() += &(line + "\n");
                }
            })
        });
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let first = lines.next().expect("it says something").unwrap();
        let (_, listens) = first.split_once("http://").expect("it says where it listens");
        let (addr, said) = listens.split_once(',').unwrap_or((listens, ""));
        let (addr, said) = (addr.parse().unwrap(), said.trim().to_owned());
        Self { process, addr, said, lines, errors, listening }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// A new connection, on which HTTP/1 is written by hand.
    pub(crate) async fn connect(&self) -> Raw {
        Raw::connect(self.addr).await
    }

    pub(crate) async fn get(&self, path: &str) -> Response<Incoming> {
        fetch(&self.url(path)).await
    }

    /// The next line that it prints; waits for it.
    pub(crate) fn line(&mut self) -> String {
        let next = || self.lines.next().expect("it prints on").unwrap();
        tokio::task::block_in_place(next)
    }

    /// Returns the standard error of the program: all of it, once the program has ended.
    pub(crate) fn errors(&mut self) -> String {
        if self.process.try_wait().is_ok_and(|ended| ended.is_some()) {
            self.listening.take().map(JoinHandle::join);
        }
        self.errors.lock().unwrap().clone()
    }

    /// The sum of a counter or gauge, or of the samples of a histogram, that have these labels, on
    /// its page `/metrics`.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        sample_sum(&text(self.get("/metrics").await).await, name, labels)
    }

    pub(crate) async fn wait_for(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        soon(async { while self.metric(name, labels).await != value {} }).await;
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let process = &mut self.process;
        tokio::task::block_in_place(|| process.wait()).unwrap()
    }

    /// Signals the program to stop, and waits until it has ended.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Gone already, if it was stopped.
        drop(self.process.kill());
        drop(self.process.wait());
        if thread::panicking() {
            eprintln!("{}", self.errors());
        }
    }
}

/// Returns the sum of a counter's, a gauge's or a histogram's samples that have these labels, in
/// Prometheus' text format. A histogram counts by its `_count`.
pub(crate) fn sample_sum(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let samples = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))?;
        let (metric, given) = series.split_once('{').unwrap_or((series, ""));
        // No label of these programs has an escaped quotation mark in its value.
        let has = |(label, value): &(&str, &str)| {
            let pair = format!("{label}=\"{value}\"");
            given
                .trim_end_matches('}')
                .split_inclusive("\",")
                .any(|part| part.trim_end_matches(',') == pair)
        };
        let is_named = metric == name || metric.strip_suffix("_count") == Some(name);
        (is_named && labels.iter().all(has)).then(|| value.parse::<f64>().unwrap())
    });
    samples.sum()
}

/// The response to a GET, on a connection of its own.
pub(crate) async fn fetch(url: &str) -> Response<Incoming> {
    let request = Request::get(url).body(boxed(empty())).unwrap();
    soon(h1_client().request(request)).await.unwrap()
}

pub(crate) fn signal(process: u32, name: &str) {
    // The one of the shell: a bare Debian has no other.
    let kill = format!("kill -{name} {process}");
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

/// Returns the path of an example, which cargo builds with the tests, or else now.
pub(crate) fn built(example: &str) -> PathBuf {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--locked", "--quiet", "--all-features", "--example", example]);
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    // What `cargo test` tells tests: ring's build script looks at it too, and so ring, and all that
    // needs it, would be built anew, here and by the next `cargo test`.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_MANIFEST_") || name.starts_with("CARGO_PKG_") {
            build.env_remove(&*name);
        }
    }
    assert!(build.status().unwrap().success());
    // This test is in `deps`, beside `examples`.
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(example)
}
