//! A day of what expires, is refreshed, validated and purged, by a clock that does not wait.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::cache::{CacheLayer, MemoryStore, Store};
use tower_kit::{KIB, MIB};

use crate::chance::Chance;
use crate::run::memory;
use crate::text;

/// The service behind the cache.
#[derive(Debug)]
struct Origin {
    versions: Vec<AtomicU64>,
    calls: AtomicU64,
    confirmed: AtomicU64,
}

/// The versions that may still be served for a URL.
#[derive(Clone, Debug, Default)]
struct Past {
    /// The time at which each version ended.
    ended: Vec<Duration>,
    /// The oldest one that no purge has removed.
    floor: u64,
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
pub(crate) async fn day(seed: u64) {
    let start = started();
    let origin = Arc::new(Origin {
        versions: (0..URLS).map(|_| AtomicU64::new(0)).collect(),
        calls: AtomicU64::new(0),
        confirmed: AtomicU64::new(0),
    });
    let of = Arc::clone(&origin);
    let store = MemoryStore::new(CAPACITY);
    let layer = CacheLayer::new(store.clone())
        .clock(move || UNIX_EPOCH + Duration::from_secs(1_800_000_000) + start.elapsed())
        .early_refresh(1.0)
        .unwrap();
    let handle = layer.handle();
    let cache = layer.layer(service_fn(move |request| answer(Arc::clone(&of), request)));
    let mut pasts = vec![Past::default(); URLS as usize];
    let mut chance = Chance::new(seed, 0);
    let (before, mut levels) = (memory(std::process::id()), Vec::new());
    let mut requests = 0_u64;
    while start.elapsed() < DAY {
        sleep(chance.millis(0..400)).await;
        let number = chance.skewed(URLS);
        let past = &mut pasts[number as usize];
        if chance.one_in(50) {
            let version = origin.versions[number as usize].fetch_add(1, Ordering::Relaxed) + 1;
            past.ended.push(start.elapsed());
            if chance.one_in(2) {
                drop(handle.purge_url(&format!("http://example.com/{number}")).unwrap().await);
                past.floor = version;
            }
        }
        let request = Request::get(format!("http://example.com/{number}"));
        let asked = cache.clone().oneshot(request.body(Empty::new()).unwrap()).await.unwrap();
        let body = asked.into_body().collect().await.unwrap().to_bytes();
        let version = text::check(&body, &format!("/{number}"), "any").unwrap();
        let ended = past.ended.get(version as usize).copied().unwrap_or(DAY);
        let until = ended + Duration::from_secs(control(number).1) + SLOWEST;
        assert!(version >= past.floor, "/{number}: {version} of {past:?}");
        assert!(start.elapsed() <= until, "/{number}: {version} of {past:?} until {until:?}");
        requests += 1;
        if requests % 10_000 == 0 {
            levels.push(memory(std::process::id()) - before);
        }
    }
    // What is under way ends.
    sleep(Duration::from_secs(120)).await;
    let (usage, calls) = (store.usage(), origin.calls.load(Ordering::Relaxed));
    let (noon, end) = (levels[levels.len() / 2], levels[levels.len() - 1]);
    println!(
        "scale: a day, seed {seed}, of {requests} requests for {URLS} URLs: {calls} calls, {} \
         confirmed, none too old; {} entries in {} KiB as it states, and in {} KiB of memory at \
         most, {} KiB at noon, {} KiB at the end",
        origin.confirmed.load(Ordering::Relaxed),
        usage.entries,
        usage.bytes / KIB,
        levels.iter().max().unwrap() / KIB,
        noon / KIB,
        end / KIB,
    );
    assert_eq!(handle.in_flight(), 0);
    assert!(usage.bytes <= CAPACITY && calls < requests);
    assert!(end <= noon + MIB, "{levels:?}");
}

async fn answer(
    origin: Arc<Origin>,
    request: Request<Empty<Bytes>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let url = request.uri().path();
    let number = url[1..].parse::<u64>().unwrap();
    let version = origin.versions[number as usize].load(Ordering::Relaxed);
    // Longer now and then than the next request comes.
    sleep(Duration::from_millis(number % 7 * 100)).await;
    origin.calls.fetch_add(1, Ordering::Relaxed);
    let tag = format!("\"{version}\"");
    let known = request.headers().get("if-none-match").is_some_and(|it| it == &tag);
    let response = Response::builder().header("cache-control", control(number).0);
    let response = response.header("etag", tag);
    origin.confirmed.fetch_add(u64::from(known), Ordering::Relaxed);
    let (status, body) = if known {
        (StatusCode::NOT_MODIFIED, String::new())
    } else {
        (StatusCode::OK, text::body(url, "any", version))
    };
    Ok(response.status(status).body(Full::new(Bytes::from(body))).unwrap())
}

/// The `cache-control` of a URL, and the seconds for which its responses may be used.
fn control(number: u64) -> (&'static str, u64) {
    match number % 4 {
        0 => ("max-age=60, stale-while-revalidate=30", 90),
        1 => ("max-age=600", 600),
        2 => ("max-age=5, stale-while-revalidate=600", 605),
        _ => ("max-age=3600, stale-if-error=60", 3600),
    }
}

/// The time by the clock of the runtime.
#[expect(clippy::disallowed_methods, reason = "the time of this simulation begins here")]
fn started() -> Instant {
    Instant::now()
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// An answer is made of what was there this long ago, and its age is in whole seconds.
const SLOWEST: Duration = Duration::from_secs(2);
const URLS: u64 = 3_000;
const CAPACITY: u64 = 8 * MIB;
