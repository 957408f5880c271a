//! The process under load: two servers, each with every layer and a memory of its own, that share
//! one Redis.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Path, Request, State};
use axum::http::header::{ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_TYPE, ETAG, VARY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use bytes::Bytes;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::time::{interval, sleep};
use tokio_stream::wrappers::IntervalStream;
use tokio_stream::{Stream, StreamExt};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_kit::batch::{Batch, BatchLayer};
use tower_kit::cache::{
    CacheHandle, CacheHint, CacheKey, MemoryStore, RedisConfig, RedisStore, TieredStore,
};
use tower_kit::compress::dictionary::Dictionaries;
use tower_kit::latency::{BODY_SIZE_BUCKETS, DURATION_BUCKETS};
use tower_kit::{
    CacheLayer, CompressLayer, ContentKeyLayer, LatencyLayer, LimitLayer, MIB, PressureLayer,
    SecurityHeadersLayer, ValueCache,
};

use crate::support::Server;
use crate::text::{ITEMS, PAGES, body, language_of};

/// The state that the routes of a server share.
#[derive(Clone)]
struct Node {
    cache: CacheHandle,
    redis: RedisStore,
    prometheus: PrometheusHandle,
    /// The items of both servers, as a database would have them.
    database: Batch<u64, u64>,
    /// Some of the items, to which their pages are linked.
    values: ValueCache,
    versions: Arc<[AtomicU64]>,
}

/// Serves until its standard input ends, which is when whoever started it does.
#[tokio::main]
pub(crate) async fn serve() {
    let prometheus = PrometheusBuilder::new();
    let prometheus =
        prometheus.set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &DURATION_BUCKETS);
    let prometheus = prometheus.and_then(|it| {
        it.set_buckets_for_metric(Matcher::Suffix("_bytes".into()), &BODY_SIZE_BUCKETS)
    });
    let prometheus = prometheus.and_then(PrometheusBuilder::install_recorder).unwrap();
    let versions: Arc<[AtomicU64]> = (0..ITEMS).map(|_| AtomicU64::new(0)).collect();
    let mut servers = Vec::new();
    for _ in 0..2 {
        servers.push(start(prometheus.clone(), Arc::clone(&versions)).await);
    }
    let urls: Vec<_> = servers.iter().map(|server| server.url("")).collect();
    println!("listening on {}", urls.join(", "));
    let mut ended = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    let mut upkeep = interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = upkeep.tick() => prometheus.run_upkeep(),
            _ = &mut ended => return,
        }
    }
}

async fn start(prometheus: PrometheusHandle, versions: Arc<[AtomicU64]>) -> Server {
    let redis = RedisStore::connect(RedisConfig::from_env().unwrap());
    let store = TieredStore::new(MemoryStore::new(8 * MIB), redis.clone());
    let values = ValueCache::new(store.clone());
    let cache = CacheLayer::new(store)
        .key(CacheKey::new().any_host().without_tracking_cookies())
        .fill_on_head();
    let rows = Arc::clone(&versions);
    let database = ServiceBuilder::new()
        .layer(BatchLayer::new().max_delay(Duration::from_millis(2)).max_concurrency(4))
        .service(service_fn(move |items: Vec<u64>| query(Arc::clone(&rows), items)));
    let node = Node { cache: cache.handle(), redis, prometheus, database, values, versions };
    let router = Router::new()
        .route("/item/{item}/{page}", get(item))
        .route("/cold/{number}", get(cold))
        .route("/big/{number}", get(big))
        .route("/events/{count}", get(events))
        .route("/echo", post(echo))
        .route("/change/{item}", post(change))
        .route("/metrics", get(metrics))
        .route("/state", get(state))
        .with_state(node)
        .layer((
            LatencyLayer::new()
                .route(|request| request.extensions.get().map(MatchedPath::as_str))
                .record_time_to_first_byte()
                .record_body_sizes(),
            PressureLayer::new(),
            SecurityHeadersLayer::new(),
            LimitLayer::new(),
            ContentKeyLayer::new(),
            cache,
            CompressLayer::new().dictionaries(Dictionaries::new()),
        ));
    Server::start(router).await
}

async fn query(versions: Arc<[AtomicU64]>, items: Vec<u64>) -> Result<Vec<u64>, Infallible> {
    let rows = items.iter().map(|item| versions[*item as usize].load(Ordering::SeqCst)).collect();
    // As long as a database may take: what changes meanwhile must not be kept.
    sleep(Duration::from_millis(2)).await;
    Ok(rows)
}

async fn item(
    State(node): State<Node>,
    Path((item, _)): Path<(u64, u64)>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    let query = || node.database.clone().oneshot(item);
    let version = if is_value(item) {
        node.values.get_or_insert_with(&item.to_string(), None, query).await.ok()
    } else {
        query().await.ok()
    };
    let Some(version) = version else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let wanted =
        if headers.get(ACCEPT_LANGUAGE).is_some_and(|it| it == "de") { "de" } else { "en" };
    let text = body(request.uri().path(), language_of(item, wanted), version);
    let control = match item % 2 {
        0 => "max-age=2, stale-while-revalidate=3",
        _ => "max-age=30",
    };
    let fields = [(CACHE_CONTROL, control), (CONTENT_TYPE, "text/plain")];
    let vary = (item % 3 == 0).then_some([(VARY, "accept-language")]);
    let hint = Extension(CacheHint::new().tag(format!("item-{item}")));
    (fields, [(ETAG, format!("\"{version}\""))], vary, hint, text).into_response()
}

async fn cold(request: Request) -> Response {
    let fields = [(CACHE_CONTROL, "max-age=60"), (CONTENT_TYPE, "text/plain")];
    (fields, body(request.uri().path(), "any", 0)).into_response()
}

/// Comes in pieces, and is kept.
async fn big(request: Request) -> Response {
    let whole = Bytes::from(body(request.uri().path(), "any", 0));
    let pieces = (0..whole.len()).step_by(16 * 1024);
    let pieces = tokio_stream::iter(
        pieces.map(move |at| Ok::<_, Infallible>(whole.slice(at..whole.len().min(at + 16 * 1024)))),
    );
    let fields = [(CACHE_CONTROL, "max-age=5"), (CONTENT_TYPE, "text/plain")];
    (fields, Body::from_stream(paced(pieces))).into_response()
}

/// Sends the pieces at intervals of a millisecond.
fn paced<T>(pieces: impl Stream<Item = T>) -> impl Stream<Item = T> {
    pieces.then(async |piece| {
        sleep(Duration::from_millis(1)).await;
        piece
    })
}

async fn events(Path(count): Path<u64>) -> Response {
    let ticks = IntervalStream::new(interval(Duration::from_millis(10)));
    let mut number = 0;
    let events = ticks.take(count as usize).map(move |_| {
        let event = format!("id: {number}\ndata: event {number}\n\n");
        number += 1;
        Ok::<_, Infallible>(event)
    });
    ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
}

async fn echo(body: Bytes) -> Bytes {
    body
}

/// Returns `true` for an item whose pages are made of a value.
const fn is_value(item: u64) -> bool {
    item % 4 == 3
}

/// Makes a new version, and purges all that is made of the old one, in one of four ways.
async fn change(State(node): State<Node>, Path(item): Path<u64>) -> String {
    let version = node.versions[item as usize].fetch_add(1, Ordering::SeqCst) + 1;
    if is_value(item) {
        // The other server may hear of it later, as below.
        drop(node.values.remove(&item.to_string()).await);
        return version.to_string();
    }
    let purges = match item % 4 {
        0 => vec![node.cache.purge_tag(&format!("item-{item}"))],
        1 => vec![node.cache.purge_prefix(&format!("/item/{item}/"))],
        _ => {
            let urls = (0..PAGES).map(|page| format!("/item/{item}/{page}"));
            urls.map(|url| node.cache.purge_url(&url).unwrap()).collect()
        }
    };
    for purge in purges {
        // An error says that the other server will hear of it later.
        drop(purge.await);
    }
    version.to_string()
}

async fn metrics(State(node): State<Node>) -> String {
    node.prometheus.render()
}

/// Gauges that have to fall to 0 when the traffic ends.
async fn state(State(node): State<Node>) -> String {
    let status = node.redis.status();
    format!("{} {} {}", node.cache.in_flight(), status.synced, status.breaker_open)
}
