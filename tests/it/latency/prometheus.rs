//! A real Prometheus that scrapes a server with all layers. Each panel of the dashboard shows a
//! number before the first request, and each alert fires on its first event.
//!
//! Without Prometheus on the machine, the tests print that they are skipped. With
//! `TOWER_KIT_PROMETHEUS=required`, they fail instead.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use http::{Request, Response};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tower_kit::cache::MemoryStore;
use tower_kit::latency::DURATION_BUCKETS;
use tower_kit::{CacheLayer, CompressLayer, LimitLayer, MIB, PressureLayer};

use super::*;
use crate::support::{BoxBody, Dir, Server, boxed, h1_client, soon, text};

/// A Prometheus that scrapes one server each second.
struct Prometheus {
    port: u16,
    _process: Child,
    _dir: Dir,
}

/// A server with all layers, and the number of its scrapes.
struct Target {
    server: Server,
    scrapes: watch::Receiver<u64>,
}

impl Prometheus {
    /// Starts a Prometheus, if this machine has the program.
    async fn start(test: &str, target: &Target) -> Option<Self> {
        let mut version = Command::new("prometheus");
        let version = version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        if !version.status().await.is_ok_and(|status| status.success()) {
            let required = std::env::var("TOWER_KIT_PROMETHEUS");
            assert!(!required.is_ok_and(|it| it == "required"), "there is no Prometheus");
            // The test harness captures the output of `eprintln!`.
            let line = format!("SKIPPED: {test}: there is no Prometheus\n");
            io::stderr().write_all(line.as_bytes()).unwrap();
            return None;
        }
        let dir = Dir::new();
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/alerts.yml");
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: ['{}']\n\
             scrape_configs:\n\
             - job_name: test\n  static_configs: [{{targets: ['{}']}}]\n",
            rules.display(),
            target.server.addr,
        );
        let config_file = dir.path().join("prometheus.yml");
        fs::write(&config_file, config).unwrap();
        // Prometheus does not report the port of `:0`, so the test picks one that is free now.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", config_file.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Some(Self { port, _process: process, _dir: dir })
    }

    async fn get(&self, path: &str) -> Value {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let response = h1_client().request(Request::get(url).body(full("")).unwrap()).await;
        serde_json::from_str(&text(response.unwrap()).await).unwrap()
    }

    /// Returns the values of a query as text, since a value can be `NaN`.
    async fn query(&self, query: &str) -> Vec<String> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = self.get(&format!("/api/v1/query?query={encoded}")).await;
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let results = answer["data"]["result"].as_array().unwrap();
        results.iter().map(|it| it["value"][1].as_str().unwrap().to_owned()).collect()
    }

    async fn firing(&self) -> Vec<String> {
        let answer = self.get("/api/v1/alerts").await;
        let alerts = answer["data"]["alerts"].as_array().unwrap().iter();
        let firing = alerts.filter(|alert| alert["state"] == "firing");
        firing.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect()
    }
}

impl Target {
    async fn start() -> Self {
        let seconds = Matcher::Suffix("_seconds".into());
        let bytes = Matcher::Suffix("_bytes".into());
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(seconds, &DURATION_BUCKETS)
            .and_then(|it| it.set_buckets_for_metric(bytes, &[1e3, 1e6]))
            .unwrap()
            .build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, process_metrics);
        let recorder: Arc<dyn metrics::Recorder + Send + Sync> = Arc::new(recorder);
        let shared = || Arc::clone(&recorder);
        let (scraped, scrapes) = watch::channel(0);
        let service = ServiceBuilder::new()
            .layer(
                LatencyLayer::new()
                    .record_time_to_first_byte()
                    .record_body_sizes()
                    .max_series(6)
                    .route(|head| Some(head.uri.path()))
                    .skip_if(|head| head.uri.path() == "/metrics")
                    .recorder(shared()),
            )
            .layer(PressureLayer::new().recorder(shared()))
            .layer(LimitLayer::new().recorder(shared()))
            .layer(CacheLayer::new(MemoryStore::new(MIB)).recorder(shared()))
            .layer(CompressLayer::new().recorder(shared()))
            .service_fn(move |request| ready(serve(&request, &handle, &scraped)));
        Self { server: Server::start(service).await, scrapes }
    }

    /// Waits for this many more scrapes. Prometheus has stored a scrape before it starts the next.
    async fn scraped(&mut self, times: u64) {
        let now = *self.scrapes.borrow();
        soon(self.scrapes.wait_for(|count| *count >= now + times)).await.unwrap();
    }

    async fn send(&self, path: &str) {
        let request = Request::get(self.server.url(path)).body(full("")).unwrap();
        if let Ok(response) = soon(h1_client().request(request)).await {
            drop(soon(response.into_body().collect()).await);
        }
    }
}

/// Registers process metrics under the names of the crate `metrics-process`.
fn process_metrics() {
    metrics::gauge!("process_resident_memory_bytes").set(1e6);
    metrics::gauge!("process_open_fds").set(10.0);
    metrics::counter!("process_cpu_seconds_total").absolute(1);
}

fn serve(
    request: &Request<impl Sized>,
    metrics: &PrometheusHandle,
    scraped: &watch::Sender<u64>,
) -> Result<Response<BoxBody>, BoxError> {
    Ok(match request.uri().path() {
        "/metrics" => {
            scraped.send_modify(|count| *count += 1);
            Response::new(full(metrics.render()))
        }
        "/503" => Response::builder().status(503).body(full("busy"))?,
        "/panic" => panic!("in the handler"),
        "/failed" => return Err("failed".into()),
        "/broken" => {
            let steps = [data(1), Step::Error(BoxError::from("broken"))];
            Response::new(boxed(Scripted::new(steps)))
        }
        _ => Response::new(full("ok")),
    })
}

/// Returns the titles of the dashboard's panels with their queries.
fn panels() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/grafana.json");
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap();
            let query = query.replace("$__rate_interval", "1m");
            let query = ["$job", "$instance", "$cache"]
                .iter()
                .fold(query, |query, of| query.replace(of, ".*"));
            queries.push((panel["title"].as_str().unwrap().to_owned(), query));
        }
    }
    queries
}

#[tokio::test]
async fn every_panel_shows_a_number_at_the_start() {
    let mut target = Target::start().await;
    let Some(prometheus) = Prometheus::start("the dashboard", &target).await else { return };
    let panels = panels();
    assert!(panels.len() > 30, "{}", panels.len());
    target.scraped(3).await;
    let number = |value: &String| value.parse::<f64>().is_ok_and(f64::is_finite);
    let mut faults = Vec::new();
    for (title, query) in &panels {
        let values = prometheus.query(query).await;
        if values.is_empty() || !values.iter().all(number) {
            faults.push(format!("{title}: {values:?}: {query}"));
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[tokio::test]
async fn dashboard_shows_the_first_failures() {
    let mut target = Target::start().await;
    let Some(prometheus) = Prometheus::start("the first failures", &target).await else { return };
    target.scraped(3).await;
    let failed = panels().into_iter().find(|(title, _)| title == "Failed, of all requests");
    let (_, query) = failed.unwrap();
    assert_eq!(prometheus.query(&query).await, ["0"]);
    for path in ["/503", "/panic", "/failed", "/broken"] {
        target.send(path).await;
    }
    target.scraped(2).await;
    assert_eq!(prometheus.query(&query).await, ["1"]);
}

#[tokio::test]
async fn alerts_fire_on_their_first_event() {
    let mut target = Target::start().await;
    let Some(prometheus) = Prometheus::start("the alerts", &target).await else { return };
    target.scraped(3).await;
    assert_eq!(prometheus.firing().await, Vec::<String>::new());
    for (path, alert) in
        [("/503", "ServerErrors"), ("/panic", "Panics"), ("/failed", "FailedRequests")]
    {
        target.send(path).await;
        assert_fires(&mut target, &prometheus, alert).await;
    }
    // There are three sets of labels, and the maximum is six.
    for route in 0..3 {
        target.send(&format!("/{route}")).await;
    }
    target.scraped(3).await;
    assert!(!prometheus.firing().await.contains(&"LabelOverflow".to_owned()));
    target.send("/3").await;
    assert_fires(&mut target, &prometheus, "LabelOverflow").await;
}

async fn assert_fires(target: &mut Target, prometheus: &Prometheus, alert: &str) {
    for _ in 0..10 {
        target.scraped(1).await;
        if prometheus.firing().await.iter().any(|it| it == alert) {
            return;
        }
    }
    panic!("{alert} does not fire: {:?}", prometheus.firing().await);
}
