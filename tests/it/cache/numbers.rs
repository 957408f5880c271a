//! What is counted, and stores that fail.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tower_kit::cache::{CacheLayer, Entry, MemoryStore, Store, StoreError, Usage};

use super::rig::{Fields, MINUTE, Rig, idle, request, until};
use crate::support::Metrics;

const REQUESTS: &str = "http_cache_requests_total";
const ERRORS: &str = "http_cache_store_errors_total";

fn counted(metrics: &Metrics, outcome: &str, reason: &str) -> u64 {
    metrics.counted(REQUESTS, &[("outcome", outcome), ("reason", reason)])
}

#[tokio::test]
async fn each_outcome_is_counted_once() {
    let metrics = Metrics::new();
    let fields = [("cache-control", "max-age=60"), ("etag", "\"a\"")];
    let rig = Rig::with(&fields, |layer| layer.recorder(metrics.recorder()));
    rig.get("/", &[]).await;
    assert_eq!(counted(&metrics, "miss", ""), 1);
    rig.get("/", &[]).await;
    rig.send("HEAD", "/", &[]).await;
    rig.get("/", &[("if-none-match", "\"a\"")]).await;
    assert_eq!(counted(&metrics, "hit", ""), 3);
    rig.clock.pass(61);
    rig.get("/", &[("cache-control", "max-stale")]).await;
    assert_eq!(counted(&metrics, "stale", ""), 1);
    rig.answers_with(304, &[]);
    rig.get("/", &[]).await;
    assert_eq!(counted(&metrics, "revalidated", ""), 1);
    rig.clock.pass(61);
    rig.fails();
    rig.get("/", &[]).await;
    assert_eq!(counted(&metrics, "stale", ""), 2);
    assert_eq!(metrics.counted(REQUESTS, &[]), 7);
    let statistics = rig.handle.statistics();
    assert_eq!((statistics.hits, statistics.stale, statistics.misses), (3, 2, 1));
    assert_eq!((statistics.revalidated, statistics.collapsed, statistics.bypasses), (1, 0, 0));
}

#[tokio::test]
async fn each_reason_to_pass_by_is_counted() {
    let long = "a".repeat(9000);
    let table: &[(&str, &str, Fields<'_>, &str)] = &[
        ("POST", "/", &[], "method"),
        ("OPTIONS", "/", &[], "method"),
        ("GET", "/", &[("upgrade", "websocket")], "upgrade"),
        ("GET", "/skipped", &[], "skipped"),
        ("GET", "/", &[("host", "y.org")], "key"),
        ("GET", &format!("/{long}"), &[], "key"),
        ("GET", "/", &[("content-length", "1")], "body"),
        ("GET", "/", &[("if-match", "*")], "precondition"),
        ("GET", "/", &[("cache-control", "no-store")], "no-store"),
        ("HEAD", "/", &[], "partial"),
        ("GET", "/", &[("forwarded", "host=y.org")], "override"),
    ];
    for (method, path, fields, reason) in table {
        let metrics = Metrics::new();
        let rig = Rig::with(MINUTE, |layer| {
            layer.skip_if(|head| head.uri.path() == "/skipped").recorder(metrics.recorder())
        });
        rig.send(method, path, fields).await;
        assert_eq!(counted(&metrics, "bypass", reason), 1, "{method} {fields:?} {reason}");
        assert_eq!(metrics.counted(REQUESTS, &[]), 1);
        assert_eq!(rig.handle.statistics().bypasses, 1);
    }
}

#[tokio::test]
async fn layers_are_told_apart_by_their_names() {
    // RFC 9211 §2: a token or a string. Whichever setter comes first.
    let metrics = Metrics::new();
    let over = |layer: CacheLayer| {
        let rig = Rig::over(layer);
        rig.answers_with(200, MINUTE);
        rig
    };
    let layer = || CacheLayer::new(MemoryStore::new(1 << 20));
    let recorder = || metrics.recorder();
    let named = layer().name("shop").unwrap().recorder(recorder()).namespace("a");
    let other = layer().recorder(recorder()).name("the \"blog\"").unwrap();
    let plain = layer().recorder(recorder());
    for (layer, name, written, requests) in [
        (named, "shop", "shop", 1),
        (other, "the \"blog\"", "\"the \\\"blog\\\"\"", 2),
        (plain, "tower-kit", "tower-kit", 3),
    ] {
        let rig = over(layer);
        for at in 0..requests {
            let got = rig.get("/", &[]).await;
            let expected = if at == 0 { "fwd=uri-miss; stored" } else { "hit; ttl=60" };
            assert_eq!(got.field("cache-status"), Some(&*format!("{written}; {expected}")));
        }
        assert_eq!(metrics.counted(REQUESTS, &[("cache", name)]), requests, "{name}");
        let statistics = rig.handle.statistics();
        assert_eq!(statistics.hits + statistics.misses, requests, "{name}");
    }
    let gauges = metrics.gauges("http_cache_entries");
    assert_eq!(gauges.len(), 3, "one for each name");
}

#[tokio::test]
async fn every_metric_of_a_layer_has_its_name() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let exporter = recorder.handle();
    let rig = Rig::with(MINUTE, |layer| layer.recorder(Arc::new(recorder)).name("a b").unwrap());
    rig.get("/", &[]).await;
    let shown = exporter.render();
    let lines: Vec<_> = shown.lines().filter(|line| line.starts_with("http_cache_")).collect();
    assert!(lines.len() > 30, "{shown}");
    for line in lines {
        assert!(line.contains("cache=\"a b\""), "{line}");
    }
}

#[tokio::test]
async fn a_504_for_what_is_not_kept_is_a_miss() {
    let metrics = Metrics::new();
    let rig = Rig::with(MINUTE, |layer| layer.recorder(metrics.recorder()));
    rig.get("/", &[("cache-control", "only-if-cached")]).await;
    assert_eq!(counted(&metrics, "miss", ""), 1);
}

#[tokio::test]
async fn a_refresh_is_no_request_of_a_client() {
    let metrics = Metrics::new();
    let fields = [("cache-control", "max-age=60, stale-while-revalidate=300")];
    let rig = Rig::with(&fields, |layer| layer.recorder(metrics.recorder()));
    let refreshes =
        |outcome| metrics.counted("http_cache_refreshes_total", &[("outcome", outcome)]);
    rig.get("/", &[]).await;
    for (fails, outcome) in [(true, "failed"), (false, "done")] {
        rig.clock.pass(61);
        if fails {
            rig.fails();
        } else {
            rig.answers_with(200, &fields);
        }
        rig.get("/", &[]).await;
        until(|| refreshes(outcome) == 1).await;
    }
    // The entry stands in for the service within the grace, for nobody.
    assert_eq!((counted(&metrics, "miss", ""), counted(&metrics, "stale", "")), (1, 2));
    assert_eq!(metrics.counted(REQUESTS, &[]), 3);
}

#[tokio::test]
async fn refreshes_are_counted_by_how_they_end() {
    let metrics = Metrics::new();
    let fields = [("cache-control", "max-age=60, stale-while-revalidate=30, stale-if-error=0")];
    let rig = Rig::with(&fields, |layer| layer.recorder(metrics.recorder()));
    let refreshes =
        |outcome| metrics.counted("http_cache_refreshes_total", &[("outcome", outcome)]);
    rig.get("/", &[]).await;
    rig.clock.pass(61);
    rig.get("/", &[]).await;
    until(|| refreshes("done") == 1).await;
    rig.clock.pass(61);
    rig.fails();
    rig.get("/", &[]).await;
    until(|| refreshes("failed") == 1).await;
    assert_eq!(refreshes("done"), 1);
}

#[tokio::test]
async fn what_is_kept_is_shown() {
    let metrics = Metrics::new();
    let rig = Rig::with(MINUTE, |layer| layer.recorder(metrics.recorder()));
    for path in ["/a", "/b"] {
        rig.get(path, &[]).await;
    }
    let Usage { entries, bytes, .. } = rig.handle.statistics().usage;
    assert_eq!(entries, 2);
    assert!(bytes > 16, "{bytes}");
    let last = |name| {
        let all = metrics.gauges(name);
        assert_eq!(all.len(), 1);
        all[0].1
    };
    assert!(last("http_cache_entries") > 0.0);
    assert!(last("http_cache_stored_bytes") > 0.0);
}

#[tokio::test]
async fn every_metric_is_described() {
    let metrics = Metrics::new();
    let rig = Rig::with(MINUTE, |layer| layer.recorder(metrics.recorder()));
    rig.get("/", &[]).await;
    let described = metrics.described();
    for name in
        [REQUESTS, "http_cache_entries", "http_cache_stored_bytes", "http_cache_evictions_total"]
    {
        assert!(!described[name].1.is_empty(), "{name}");
    }
}

/// A memory that fails in what is chosen.
#[derive(Clone)]
struct Failing {
    memory: MemoryStore,
    get: bool,
    put: bool,
    remove: bool,
    peeks: bool,
    on: Arc<AtomicBool>,
}

impl Failing {
    fn new(what: &str, peeks: bool) -> Self {
        let memory = MemoryStore::new(1 << 20);
        let on = Arc::new(AtomicBool::new(true));
        Self { memory, get: what == "get", put: what == "put", remove: what == "remove", peeks, on }
    }

    fn check(&self, fails: bool) -> Result<(), StoreError> {
        if fails && self.on.load(Ordering::SeqCst) {
            return Err(StoreError::new("as a test has it"));
        }
        Ok(())
    }
}

impl Store for Failing {
    fn get_now(&self, key: &str) -> std::task::Poll<Option<Entry>> {
        if self.peeks { self.memory.get_now(key) } else { std::task::Poll::Pending }
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        tokio::task::yield_now().await;
        self.check(self.get)?;
        self.memory.get(key).await
    }

    async fn put(&self, key: &str, entry: Entry, ttl: Duration) -> Result<(), StoreError> {
        tokio::task::yield_now().await;
        self.check(self.put)?;
        self.memory.put(key, entry, ttl).await
    }

    async fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.check(self.remove)?;
        self.memory.remove(key).await
    }

    fn clear(&self) -> impl Future<Output = Result<(), StoreError>> + Send {
        std::future::ready(Err(StoreError::new("as a test has it")))
    }
}

fn failing(what: &str, metrics: &Metrics) -> (Rig, Arc<AtomicBool>) {
    let store = Failing::new(what, false);
    let on = Arc::clone(&store.on);
    let rig = Rig::over(CacheLayer::new(store).recorder(metrics.recorder()));
    rig.answers_with(200, MINUTE);
    (rig, on)
}

#[tokio::test]
async fn a_store_that_has_to_be_waited_for_is_a_store() {
    let metrics = Metrics::new();
    let (rig, _) = failing("nothing", &metrics);
    rig.get("/", &[]).await;
    idle().await;
    let hit = rig.get("/", &[]).await;
    assert_eq!((hit.body.as_str(), hit.is_hit()), ("answer 0", true));
    rig.answers_with(200, &[("cache-control", "max-age=60"), ("vary", "x-one")]);
    for value in ["a", "b"] {
        rig.get("/v", &[("x-one", value)]).await;
        idle().await;
        assert!(rig.get("/v", &[("x-one", value)]).await.is_hit(), "{value}");
    }
    assert_eq!(metrics.counted(ERRORS, &[]), 0);
}

#[tokio::test]
async fn failing_store_is_a_miss() {
    for what in ["get", "put"] {
        let metrics = Metrics::new();
        let (rig, on) = failing(what, &metrics);
        for number in 0..2 {
            let got = rig.get("/", &[]).await;
            assert_eq!(got.body, format!("answer {number}"), "{what}");
            assert!(!got.is_hit());
            idle().await;
        }
        assert!(metrics.counted(ERRORS, &[("operation", what)]) >= 2, "{what}");
        on.store(false, Ordering::SeqCst);
        rig.get("/", &[]).await;
        idle().await;
        assert!(rig.get("/", &[]).await.is_hit(), "{what}: it works again");
    }
}

#[tokio::test]
async fn store_that_cannot_remove_serves_nothing_old() {
    let metrics = Metrics::new();
    let (rig, _) = failing("remove", &metrics);
    rig.get("/", &[]).await;
    idle().await;
    let changed = rig.send("POST", "/", &[]).await;
    assert_eq!(changed.status, 200);
    assert_eq!(metrics.counted(ERRORS, &[("operation", "remove")]), 1);
    assert!(!rig.get("/", &[]).await.is_hit());
}

#[tokio::test]
async fn store_that_cannot_clear_serves_nothing() {
    let metrics = Metrics::new();
    let (rig, _) = failing("nothing", &metrics);
    rig.get("/", &[]).await;
    idle().await;
    let error = rig.handle.purge_all().await.unwrap_err();
    assert!(error.to_string().len() > "the cache's store failed: ".len(), "{error}");
    assert!(!error.is_deferred());
    assert!(!rig.get("/", &[]).await.is_hit());
}

#[tokio::test]
async fn failing_store_does_not_hide_an_inner_error() {
    let metrics = Metrics::new();
    let (rig, _) = failing("get", &metrics);
    rig.fails();
    let error = rig.ask(request("GET", "/", &[])).await.unwrap_err();
    assert_eq!(error.to_string(), "the service is gone");
}

#[tokio::test]
async fn a_store_that_peeks_is_not_asked_twice() {
    let rig = Rig::over(CacheLayer::new(Failing::new("get", true)));
    rig.answers_with(200, MINUTE);
    rig.get("/", &[]).await;
    idle().await;
    assert!(rig.get("/", &[]).await.is_hit());
}
