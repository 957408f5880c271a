//! Starts the example and reads its metrics.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Uri;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

/// The example as a process, which is killed when this is dropped.
pub struct Program {
    process: Child,
    addr: SocketAddr,
}

impl Program {
    /// Starts the example on a free port and reads from its first line where it listens.
    pub fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_example-tonic"));
        command.env("ADDR", "127.0.0.1:0").stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut first = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let addr = first.trim_end().strip_prefix("listening on http://").unwrap();
        Self { process, addr: addr.parse().unwrap() }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Returns the sum of a counter or gauge on the page `/metrics`, as [`sum`] does.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build_http();
        let page = soon(client.get(self.url("/metrics").parse::<Uri>().unwrap())).await.unwrap();
        let page = soon(to_bytes(Body::new(page.into_body()), usize::MAX)).await.unwrap();
        sum(&String::from_utf8_lossy(&page), name, labels)
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let kill = format!("kill -TERM {}", self.process.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Waits for the end of the program.
    pub fn ended(mut self) -> ExitStatus {
        tokio::task::block_in_place(|| self.process.wait()).unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Returns the sum of the samples of this name that have all of these labels, in the text format of
/// Prometheus.
pub fn sum(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let samples = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (metric, given) = series.split_once('{').unwrap_or((series, ""));
        let has = |(label, value): &(&str, &str)| given.contains(&format!("{label}=\"{value}\""));
        (metric == name && labels.iter().all(has)).then(|| value.parse::<f64>().unwrap())
    });
    samples.sum()
}

/// Waits for a future, and fails the test where it takes too long.
pub async fn soon<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(30), future).await.expect("ready within 30 seconds")
}
