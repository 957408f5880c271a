//! The cost of all layers together, over hyper and over axum, compared with bare hyper and with the
//! layers that axum services usually have. hyper is measured, the kernel is not: benches/e2e does that.

use std::io::Write;
use std::sync::LazyLock;

use axum::extract::MatchedPath;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tower::{Layer, service_fn};
use tower_kit::cache::MemoryStore;
use tower_kit::latency::DURATION_BUCKETS;
use tower_kit::{
    CacheLayer, CompressLayer, LatencyLayer, LimitLayer, MIB, PressureLayer, SecurityHeadersLayer,
};

use layers::layers;
use on_axum::router;
use on_hyper::{ROUTES, answer, by_hand, items};
use peer::Package;
use support::{Bench, Cost, Costs, bar, versioned};
use wire::{Exchanges, USUAL, WORKLOADS, Workload};

#[path = "e2e/src/app.rs"]
mod app;
#[path = "e2e/src/layers.rs"]
mod layers;
#[path = "e2e/src/on_axum.rs"]
mod on_axum;
#[path = "e2e/src/on_hyper.rs"]
mod on_hyper;
#[expect(dead_code, reason = "other benches print what a peer says")]
#[path = "support/peer.rs"]
mod peer;
#[expect(dead_code, reason = "other benches call services without hyper")]
mod support;
#[path = "support/wire.rs"]
mod wire;

fn main() {
    let bench = Bench::from_args();
    install_exporter();
    let costs = WORKLOADS.map(|workload| compare(&bench, &workload));
    room_by_room(&bench, &WORKLOADS[0]);

    for (costs, (text, most)) in costs.iter().zip(BARS) {
        bar(
            &format!("{text}, % of the usual stack over axum"),
            percent(costs, &kit(), USUAL),
            most,
        );
    }
    for (costs, workload) in costs.iter().zip(&WORKLOADS) {
        if let Some(percent) = percent(costs, &kit(), BARE) {
            println!("     {}: {percent:.0} % of bare hyper, without the kernel", workload.title);
        }
    }
}

/// The same requests to all of them.
fn compare(bench: &Bench, workload: &Workload) -> Costs {
    let mut group = bench.group(workload.title);
    group.case(BARE, || {
        let compressed = gzip(&items());
        Exchanges::new(workload, || service_fn(move |request| by_hand(compressed.clone(), request)))
    });
    group.case(kit(), || {
        let layers = layers(LatencyLayer::new().route_templates(ROUTES), cache());
        Exchanges::new(workload, || layers.layer(service_fn(answer)))
    });
    if workload.status == 200 {
        group.case(AXUM, || Exchanges::new(workload, || router(|cached| cached)));
    }
    group.case(format!("axum, {}", kit()), || {
        let latency =
            LatencyLayer::new().route(|request| request.extensions.get().map(MatchedPath::as_str));
        Exchanges::new(workload, || router(|cached| cached).layer(layers(latency, cache())))
    });
    group.case(USUAL, || PEER.serve(&format!("{}/{USUAL}", workload.title)));
    group.run()
}

/// Adds a layer in each case, from the inside out.
fn room_by_room(bench: &Bench, workload: &Workload) {
    let mut group = bench.group("GET /hello, one layer more each time");
    let compress = CompressLayer::new;
    group.case(BARE, || Exchanges::new(workload, || service_fn(answer)));
    group.case("compress", || Exchanges::new(workload, || compress().layer(service_fn(answer))));
    group.case("cache", || {
        Exchanges::new(workload, || (cache(), compress()).layer(service_fn(answer)))
    });
    group.case("limit", || {
        let layers = (LimitLayer::new(), cache(), compress());
        Exchanges::new(workload, || layers.layer(service_fn(answer)))
    });
    group.case("security_headers", || {
        let layers = (SecurityHeadersLayer::new(), LimitLayer::new(), cache(), compress());
        Exchanges::new(workload, || layers.layer(service_fn(answer)))
    });
    group.case("pressure", || {
        let (pressure, headers) = (PressureLayer::new(), SecurityHeadersLayer::new());
        let layers = (pressure, headers, LimitLayer::new(), cache(), compress());
        Exchanges::new(workload, || layers.layer(service_fn(answer)))
    });
    group.case("latency", || {
        let layers = layers(LatencyLayer::new().route_templates(ROUTES), cache());
        Exchanges::new(workload, || layers.layer(service_fn(answer)))
    });
    group.run();
}

/// Instructions where they are counted, otherwise the time.
fn percent(costs: &Costs, ours: &str, peer: &str) -> Option<f64> {
    let find = |name: &str| costs.0.iter().find(|cost| cost.name == name);
    let (ours, peer): (&Cost, &Cost) = (find(ours)?, find(peer)?);
    let ratio = match (ours.counted, peer.counted) {
        (Some(ours), Some(peer)) => ours.instructions / peer.instructions,
        _ => ours.nanoseconds / peer.nanoseconds,
    };
    Some(ratio * 100.0)
}

fn cache() -> CacheLayer {
    CacheLayer::new(MemoryStore::new(64 * MIB))
}

fn gzip(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    match encoder.write_all(plain).and_then(|()| encoder.finish()) {
        Ok(compressed) => compressed.into(),
        Err(error) => panic!("flate2 fails: {error}"),
    }
}

/// The process's recorder, set up as `latency` says.
fn install_exporter() {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &DURATION_BUCKETS);
    let installed = builder.and_then(PrometheusBuilder::install_recorder);
    assert!(installed.is_ok(), "there is a recorder already");
}

fn kit() -> String {
    versioned("tower-kit")
}

static PEER: LazyLock<Package> =
    LazyLock::new(|| Package::build_program("e2e", "usual_cases", &["--features", "usual"]));

const BARE: &str = "bare hyper";
const AXUM: &str = "bare axum";

/// The bars of benches/e2e, which includes the kernel.
const BARS: [(&str, f64); 3] = [("/hello", 55.0), ("/items", 60.0), ("/cached/items", 12.0)];
