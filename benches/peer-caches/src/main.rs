//! The cases of other caches, for benches/cache.rs to call.

use std::env;
use std::time::Duration;

use axum_response_cache::CacheLayer as AxumLayer;
use bytes::Bytes;
use hitbox::Config;
use hitbox::policy::PolicyConfig;
use hitbox_http::extractors::path::PathExtractor;
use hitbox_http::extractors::query::QueryExtractor;
use hitbox_http::predicates::{request, response};
use hitbox_moka::MokaBackend;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use http_cache::{MokaCache, MokaManager};
use http_cache_tower_server::{QueryKeyer, ServerCacheLayer};
use hyper::body::Body;
use tower::{Layer, Service};
use tower_http_cache::prelude::{CacheLayer as TowerLayer, InMemoryBackend};

use cached::{CASES, On, PEERS, Requests, probe};
use support::{Bench, version_in};

#[path = "../../support/cached.rs"]
mod cached;
#[expect(dead_code, reason = "what compares and prints is for the other program")]
#[path = "../../support/mod.rs"]
mod support;

fn main() {
    let probed = env::args().any(|arg| arg == "--probe");
    let bench = Bench::from_args();
    let [server, axum, tower, hitbox] = PEERS;
    with::<_, _, Full<Bytes>, _, Full<Bytes>>(&bench, probed, server, || {
        ServerCacheLayer::with_keyer(MokaManager::new(MokaCache::new(ENTRIES)), QueryKeyer)
    });
    // It has services of axum's kind only.
    with::<_, _, axum::body::Body, _, axum::body::Body>(&bench, probed, axum, || {
        AxumLayer::with_lifespan(HOUR).add_response_headers()
    });
    with::<_, _, Full<Bytes>, _, Full<Bytes>>(&bench, probed, tower, || {
        TowerLayer::builder(InMemoryBackend::new(ENTRIES)).ttl(HOUR).build()
    });
    with::<_, _, Full<Bytes>, _, Full<Bytes>>(&bench, probed, hitbox, || {
        let Ok(get) = request::Method::new(http::Method::GET);
        let config = Config::builder()
            .request_predicate(get)
            .response_predicate(response::StatusCode::new(StatusCode::OK))
            .extractor(
                hitbox_http::extractors::Method::new().path("/{path}*").query("page".to_owned()),
            )
            .policy(PolicyConfig::builder().ttl(HOUR).build())
            .build();
        let backend = MokaBackend::builder().max_entries(ENTRIES).build();
        hitbox_tower::Cache::builder().backend(backend).config(config).build()
    });
    assert!(probed, "there is no such case");
}

/// All cases of a peer, or what its probes find.
fn with<L, S, B, R, A>(bench: &Bench, probed: bool, name: &str, layer: impl Fn() -> L)
where
    L: Layer<On<A>, Service = S>,
    S: Service<Request<B>, Response = Response<R>> + 'static,
    B: Default + 'static,
    R: Body,
{
    if probed {
        let found = probe(layer).map(|right| if right { "1" } else { "0" });
        println!("{} {name}", found.concat());
        return;
    }
    let name = version_in(include_str!("../Cargo.lock"), name);
    for case in CASES {
        bench.group(case.title).case(&name, || Requests::new(case, layer()));
    }
}

const ENTRIES: u64 = 10_000;
const HOUR: Duration = Duration::from_secs(3600);
