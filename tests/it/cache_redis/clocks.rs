//! Processes whose clocks differ.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tower_kit::cache::CacheLayer;

use super::rig::{Origin, Process, config, until};
use crate::cache::rig::reply;
use crate::redis_server::RedisServer;

/// A process whose clock is ahead of the machine's by this many seconds, which may be negative, and
/// that advances when the test says so.
async fn ahead(
    server: &RedisServer,
    origin: &Origin,
    seconds: i64,
    passed: &Arc<AtomicU64>,
) -> Process {
    #[expect(clippy::disallowed_methods, reason = "Redis runs by the real clock")]
    let now = move || {
        let offset = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { SystemTime::now() - offset } else { SystemTime::now() + offset }
    };
    let passed = Arc::clone(passed);
    let later = move || now() + Duration::from_secs(passed.load(Ordering::SeqCst));
    let config = config(server).clock(now);
    Process::bare_with(config, origin, |layer: CacheLayer| layer.clock(later)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lifetimes_hold_though_clocks_differ() {
    let server = RedisServer::start();
    let origin = Origin::new(async |_, number| {
        reply(200, &[("cache-control", "max-age=60")], &format!("answer {number}"))
    });
    for (round, seconds) in [-300, 0, 300].into_iter().enumerate() {
        let passed = Arc::default();
        let one = ahead(&server, &origin, 0, &passed).await;
        let other = ahead(&server, &origin, seconds, &passed).await;
        let path = format!("/{round}");
        let first = one.get(&path).await.body;
        until("the other finds it", async || other.kept(&path).await.is_some()).await;
        let got = other.get(&path).await;
        assert!(got.is_hit() && got.body == first, "{seconds} s ahead: {got:?}");
        let age: u64 = got.field("age").unwrap().parse().unwrap();
        assert!(age <= 30, "{seconds} s ahead: the age is {age} s");
        // To within a second, and what the test itself takes.
        passed.store(61, Ordering::SeqCst);
        let got = other.get(&path).await;
        assert!(!got.is_hit(), "{seconds} s ahead: {got:?}");
        let got = one.get(&path).await;
        assert!(got.body != first, "{seconds} s ahead: {got:?}");
    }
}
