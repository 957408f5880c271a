//! Documents that describe other files: the table of examples, and the dashboard.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use metrics::Recorder;
use metrics_util::MetricKind;
use metrics_util::debugging::DebuggingRecorder;
use tower::{ServiceBuilder, ServiceExt};
use tower_kit::ValueCache;
use tower_kit::cache::MemoryStore;
use tower_kit::{CacheLayer, CompressLayer, LatencyLayer, LimitLayer, MIB, PressureLayer};

use crate::support::{assert_none, full};

#[test]
fn examples_are_listed_and_say_how_to_run_them() {
    let manifest = read("Cargo.toml");
    let table = read("examples/README.md");
    let examples = examples();
    assert!(examples.contains_key("quickstart"), "{examples:?}");
    let faults = examples.iter().filter_map(|(name, path)| {
        let fault =
            example_fault(name, path, &read(&format!("examples/{path}")), &manifest, &table);
        fault.map(|fault| format!("examples/{path}: {fault}"))
    });
    let mut faults: Vec<_> = faults.collect();
    let rows = table.lines().filter_map(|row| row.strip_prefix("| [`")?.split_once('`'));
    let strange = rows.filter(|(name, _)| !examples.contains_key(*name));
    faults.extend(strange.map(|(name, _)| format!("examples/README.md: there is no `{name}`")));
    assert_none(&faults);
}

#[test]
fn what_an_example_lacks_is_named() {
    let manifest = "[[example]]\nname = \"one\"\nrequired-features = [\"cache\", \"limit\"]\n";
    let table = "| [`one`](one.rs) | `cargo run --example one --features cache,limit` | it |\n";
    let head = |features| {
        format!("//! One.\n//! ```sh\n//! cargo run --example one --features {features}\n//! ```\n")
    };
    let fault = |text: &str, manifest, table| example_fault("one", "one.rs", text, manifest, table);
    let fine = head("cache,limit");
    assert_eq!(fault(&fine, manifest, table), None);
    assert_eq!(fault("//! One.\n", manifest, table), Some("no command in its first lines".into()));
    assert_eq!(fault(&fine, "", table), Some("no [[example]] entry in Cargo.toml".into()));
    assert!(fault(&head("cache"), manifest, table).unwrap().contains("without `limit`"));
    assert!(fault(&fine, manifest, "").unwrap().contains("no row"));
    assert!(fault(&head("full"), manifest, table).unwrap().contains("another command"));

    let fault = |text, table| example_fault("one", "one/src/main.rs", text, manifest, table);
    let fine = "//! One.\n//! cargo run -p example-one\n";
    let row = "| [`one`](one) | `cargo run -p example-one` | it |\n";
    assert_eq!(fault(fine, row), None);
    assert!(fault("//! One.\n", row).unwrap().contains("first lines"));
    assert!(fault(fine, table).unwrap().contains("no row"));
}

#[tokio::test]
async fn dashboard_has_every_metric_and_no_other() {
    let declared = declared();
    let recorded = recorded().await;
    let dashboard = serde_json::from_str(&read("examples/grafana.json")).unwrap();
    let queries = queries(&dashboard);
    assert!(queries.len() > 30, "{}", queries.len());

    let mut faults = Vec::new();
    let mut shown = BTreeSet::new();
    for query in &queries {
        let parsed = Query::parse(query);
        for name in &parsed.metrics {
            let base = base(name, &recorded);
            shown.insert(base.to_owned());
            if !declared.contains(base) && !recorded.contains_key(base) {
                faults.push(format!("{name} does not exist: {query}"));
            }
        }
        let known: Vec<_> =
            parsed.metrics.iter().filter_map(|name| recorded.get(base(name, &recorded))).collect();
        if known.len() < parsed.metrics.len() {
            // One that did not come about in the run.
            continue;
        }
        for label in &parsed.labels {
            let scraped = ["job", "instance", "le"].contains(&label.as_str());
            if !scraped && !known.iter().all(|(_, labels)| labels.contains(label)) {
                faults.push(format!("there is no label {label}: {query}"));
            }
        }
    }
    for name in declared.difference(&shown) {
        faults.push(format!("{name} is not on the dashboard"));
    }
    assert_none(&faults);
}

#[test]
fn queries_are_read_as_prometheus_reads_them() {
    let query = Query::parse(
        "histogram_quantile(0.9, sum by (le, route) (rate(a_bucket{job=~\"$job\",x!=\"b{c}\"}[5m]))) / -1 * a_b",
    );
    assert_eq!(query.metrics, ["a_bucket", "a_b"].map(String::from).into());
    assert_eq!(query.labels, ["job", "le", "route", "x"].map(String::from).into());
    let variable = Query::parse("label_values(a_b{job=~\"$job\"}, instance)");
    assert_eq!(variable.metrics, ["a_b"].map(String::from).into());
}

/// Their names, and their files in `examples`.
fn examples() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        if let Some(name) = file.strip_suffix(".rs") {
            found.insert(name.to_owned(), file.clone());
        } else if path.join("main.rs").exists() {
            found.insert(file.clone(), format!("{file}/main.rs"));
        } else if path.join("Cargo.toml").exists() {
            found.insert(file.clone(), format!("{file}/src/main.rs"));
        }
    }
    found
}

fn example_fault(
    name: &str,
    path: &str,
    text: &str,
    manifest: &str,
    table: &str,
) -> Option<String> {
    if path.ends_with("/src/main.rs") {
        return package_fault(name, path, text, table);
    }
    let run = format!("cargo run --example {name} --features ");
    let head = text.lines().take_while(|line| line.starts_with("//!")).take(15);
    let Some(features) = head.filter_map(|line| line.split_once(&run)).next() else {
        return Some("no command in its first lines".into());
    };
    let features = features.1.split(' ').next().unwrap();

    let mut entries = manifest.split("[[example]]\n").skip(1);
    let Some(entry) = entries.find(|it| it.starts_with(&format!("name = \"{name}\"\n"))) else {
        return Some("no [[example]] entry in Cargo.toml".into());
    };
    let required = entry.lines().nth(1).and_then(|line| line.strip_prefix("required-features = "));
    for required in required.unwrap_or_default().split('"').skip(1).step_by(2) {
        if features != "full" && !features.split(',').any(|feature| feature == required) {
            return Some(format!("its command is without `{required}`, which its entry requires"));
        }
    }

    let Some(row) = table.lines().find(|row| row.starts_with(&format!("| [`{name}`]({path}) |")))
    else {
        return Some("no row in examples/README.md".into());
    };
    let same = row.split_once(&run).and_then(|(_, rest)| rest.strip_prefix(features));
    let same = same.is_some_and(|rest| rest.starts_with(['`', ' ']));
    (!same).then(|| format!("another command in examples/README.md than `{run}{features}`"))
}

/// The same for an example that is a package of its own, to be copied as a whole folder.
fn package_fault(name: &str, path: &str, text: &str, table: &str) -> Option<String> {
    let run = format!("cargo run -p example-{}", name.replace('_', "-"));
    let mut head = text.lines().take_while(|line| line.starts_with("//!")).take(15);
    if !head.any(|line| line == format!("//! {run}")) {
        return Some(format!("no `{run}` in its first lines"));
    }
    let folder = path.trim_end_matches("/src/main.rs");
    let row = format!("| [`{name}`]({folder}) | `{run}` |");
    let found = table.lines().any(|line| line.starts_with(&row));
    (!found).then(|| format!("no row in examples/README.md that begins {row}"))
}

/// The names that the sources have, in the convention of Prometheus.
fn declared() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(path).unwrap();
            let calls = text.split(" Name::new(").skip(1);
            let quoted = calls.filter_map(|call| call.trim_start().strip_prefix('"'));
            names.extend(quoted.map(|rest| rest.split('"').next().unwrap().to_owned()));
        }
    }
    names.retain(|name| !name.contains('.'));
    assert!(names.contains("http_request_duration_seconds"), "{names:?}");
    names
}

type Recorded = BTreeMap<String, (MetricKind, BTreeSet<String>)>;

/// Metrics that a run of the layers records, with their labels.
async fn recorded() -> Recorded {
    let debugging = DebuggingRecorder::new();
    let snapshotter = debugging.snapshotter();
    let recorder: Arc<dyn Recorder + Send + Sync> = Arc::new(debugging);
    let of = || Arc::clone(&recorder);

    let latency = LatencyLayer::new()
        .route_templates(["/items"])
        .stream_if("events", |route, _| route == "unmatched")
        .record_time_to_first_byte()
        .record_body_sizes()
        .recorder(of());
    let store = MemoryStore::new(MIB);
    let cache = CacheLayer::with_ttl(store.clone(), Duration::from_secs(60)).recorder(of());
    let service = ServiceBuilder::new()
        .layer(latency)
        .layer(PressureLayer::new().recorder(of()))
        .layer(LimitLayer::new().recorder(of()))
        .layer(cache)
        .layer(CompressLayer::new().recorder(of()))
        .service_fn(serve);
    let get = |path| Request::get(path).header("host", "a").header("accept-encoding", "gzip");
    let large = Request::post("/items").header("content-length", "9000000");
    for (request, status) in [
        (get("/items").body(full("")), 200),
        (get("/events").body(full("")), 200),
        (large.body(full("")), 413),
    ] {
        let response = service.clone().oneshot(request.unwrap()).await.unwrap();
        assert_eq!(response.status(), status);
        response.into_body().collect().await.unwrap();
    }
    ValueCache::new(store).recorder(of()).get::<u8>("a").await;

    let process = PROCESS.map(|name| (name.to_owned(), (MetricKind::Gauge, BTreeSet::new())));
    let mut recorded = Recorded::from(process);
    for (key, ..) in snapshotter.snapshot().into_vec() {
        let labels = key.key().labels().map(|label| label.key().to_owned());
        let entry = recorded.entry(key.key().name().to_owned());
        entry.or_insert((key.kind(), BTreeSet::new())).1.extend(labels);
    }
    recorded
}

async fn serve<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    let events = request.uri().path() == "/events";
    let content_type = if events { "text/event-stream" } else { "text/plain" };
    let response = Response::builder().header("content-type", content_type);
    Ok(response.body("an item ".repeat(1_000).into()).unwrap())
}

/// The metric that the exporter makes a name of: a histogram's has three.
fn base<'a>(name: &'a str, recorded: &Recorded) -> &'a str {
    let stripped = ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end));
    let is_histogram =
        |name: &&str| recorded.get(*name).is_some_and(|(kind, _)| *kind == MetricKind::Histogram);
    stripped.filter(is_histogram).unwrap_or(name)
}

/// Queries of panels and variables.
fn queries(value: &serde_json::Value) -> Vec<String> {
    match value {
        serde_json::Value::Array(values) => values.iter().flat_map(queries).collect(),
        serde_json::Value::Object(fields) => {
            let of = |(name, value): (&String, &serde_json::Value)| match value.as_str() {
                Some(text) if name == "expr" => vec![text.to_owned()],
                Some(text) if text.starts_with("label_values(") => vec![text.to_owned()],
                _ => queries(value),
            };
            fields.iter().flat_map(of).collect()
        }
        _ => Vec::new(),
    }
}

#[derive(Debug, Default)]
struct Query {
    metrics: BTreeSet<String>,
    labels: BTreeSet<String>,
}

impl Query {
    fn parse(text: &str) -> Self {
        let mut query = Self::default();
        // Without what is quoted, in which there may be anything.
        let text: String = text.split('"').step_by(2).collect::<Vec<_>>().join("''");
        let text = match text.strip_prefix("label_values(").and_then(|it| it.rsplit_once(", ")) {
            Some((of, label)) => format!("{of} by ({label}"),
            None => text,
        };
        // Labels stand in braces, and in parentheses behind `by`.
        let mut labels_until = None;
        let mut rest = &*text;
        while let Some(start) = rest.find(|c: char| !c.is_whitespace()) {
            rest = &rest[start..];
            let length =
                rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let (word, behind) = rest.split_at(length.max(1));
            let called = ["(", "by ("].iter().any(|it| behind.trim_start().starts_with(it));
            match word {
                "{" => labels_until = Some("}"),
                "[" => labels_until = Some("]"),
                "by" => labels_until = Some(")"),
                word if labels_until == Some(word) => labels_until = None,
                word if !word.starts_with(|c: char| c.is_alphabetic() || c == '_') => {}
                _ if labels_until == Some("]") => {}
                word if labels_until.is_some() => _ = query.labels.insert(word.to_owned()),
                _ if called || word == "or" => {}
                word => _ = query.metrics.insert(word.to_owned()),
            }
            rest = behind;
        }
        query
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The metrics of a process that the dashboard shows, by the names that Prometheus' guidelines give
/// them. The crate `metrics-process` exports them.
const PROCESS: [&str; 3] =
    ["process_cpu_seconds_total", "process_open_fds", "process_resident_memory_bytes"];
