//! Loads that take long.

use std::future::pending;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::advance;
use tower_kit::ValueCache;
use tower_kit::cache::Store;
use tower_kit::values::LoadError;

use super::{Database, Down, Rig, SECOND, down, idle, keeping_stores, stores};

const HERD: usize = 200;
const SOFT: Duration = Duration::from_millis(200);

/// A cache with a stale value, and a soft timeout.
async fn stale(store: impl Store, choose: impl FnOnce(ValueCache) -> ValueCache) -> Rig {
    let rig = Rig::with(store, |cache| {
        choose(cache.ttl(10 * SECOND).stale_if_error(100 * SECOND).soft_timeout(SOFT))
    });
    rig.database.answers(1);
    assert_eq!(rig.asks("key").await, Ok(0));
    idle().await;
    rig.pass(10);
    rig
}

#[tokio::test(start_paused = true)]
async fn soft_timeout_returns_the_stale_value() {
    for store in keeping_stores() {
        let rig = stale(store, |cache| cache).await;
        let herd: JoinSet<_> = (0..HERD).map(|_| rig.asks("key")).collect();
        idle().await;
        advance(SOFT).await;
        assert_eq!(herd.join_all().await, [Ok(0); HERD]);
        assert_eq!((rig.database.begun(), rig.requests("stale")), (2, HERD as u64));
        // The load goes on without a caller.
        rig.database.answers(1);
        idle().await;
        assert_eq!(rig.cache.get("key").await, Some(1_usize));
        assert_eq!(rig.asks("key").await, Ok(1));
        assert_eq!(rig.database.begun(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn load_within_the_soft_timeout_is_awaited() {
    for store in keeping_stores() {
        let rig = stale(store, |cache| cache).await;
        let herd: JoinSet<_> = (0..HERD).map(|_| rig.asks("key")).collect();
        idle().await;
        advance(SOFT / 2).await;
        rig.database.answers(1);
        assert_eq!(herd.join_all().await, [Ok(1); HERD]);
    }
}

#[tokio::test(start_paused = true)]
async fn failure_in_the_background_delays_the_next() {
    let [store, _] = keeping_stores();
    let rig = stale(store, |cache| cache).await;
    assert_eq!(rig.asks("key").await, Ok(0));
    rig.database.is_down(true);
    rig.database.answers(1);
    idle().await;
    assert_eq!((rig.asks("key").await, rig.database.begun()), (Ok(0), 2));
    rig.pass(1);
    assert_eq!((rig.asks("key").await, rig.database.begun()), (Ok(0), 3));
    // The load in the background has a timeout although none is set.
    idle().await;
    advance(61 * SECOND).await;
    idle().await;
    assert_eq!((rig.errors("load"), rig.errors("load-timeout")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn borrowed_load_is_awaited_by_its_own_caller() {
    let [store, _] = keeping_stores();
    let rig = stale(store, |cache| cache).await;
    let mut leader = JoinSet::new();
    leader.spawn(rig.asks_borrowed("key"));
    idle().await;
    let others: JoinSet<_> = (0..HERD).map(|_| rig.asks_borrowed("key")).collect();
    idle().await;
    advance(SOFT).await;
    assert_eq!(others.join_all().await, [Ok(0); HERD]);
    rig.database.answers(1);
    assert_eq!(leader.join_all().await, [Ok(1)]);
}

#[tokio::test(start_paused = true)]
async fn soft_timeout_after_a_leader_left() {
    for store in keeping_stores() {
        let rig = stale(store, |cache| cache).await;
        let mut leader = JoinSet::new();
        leader.spawn(rig.asks("key"));
        idle().await;
        let herd: JoinSet<_> = (0..HERD).map(|_| rig.asks("key")).collect();
        idle().await;
        drop(leader);
        idle().await;
        advance(SOFT).await;
        assert_eq!(herd.join_all().await, [Ok(0); HERD]);
        rig.database.answers(1);
        idle().await;
        assert_eq!(rig.cache.get("key").await, Some(2_usize), "its successor's load goes on");
    }
}

#[tokio::test(start_paused = true)]
async fn loads_in_the_background_have_a_maximum() {
    let [store, _] = keeping_stores();
    let rig = stale(store, |cache| cache.max_refreshes(0)).await;
    assert_eq!(rig.asks("key").await, Ok(0));
    rig.database.answers(1);
    idle().await;
    assert_eq!(rig.cache.get::<usize>("key").await, None, "the load was dropped");
    assert_eq!(rig.errors("refreshes"), 1);
}

#[tokio::test(start_paused = true)]
async fn hard_timeout_is_an_error_of_all() {
    let ask = |cache: &ValueCache, database: &Database| {
        let (cache, database) = (cache.clone(), database.clone());
        async move { cache.get_or_insert_with("key", None, || database.query()).await }
    };
    for store in stores() {
        let rig = Rig::with(store, |cache| cache.hard_timeout(5 * SECOND).failure_ttl(SECOND));
        let herd: JoinSet<_> = (0..HERD).map(|_| ask(&rig.cache, &rig.database)).collect();
        let errors: Vec<Result<usize, LoadError<Down>>> = herd.join_all().await;
        assert!(errors.iter().all(|error| error.as_ref().is_err_and(LoadError::is_timeout)));
        let error = ask(&rig.cache, &rig.database).await.unwrap_err();
        assert!(error.is_timeout() && error.failure().is_none(), "it is remembered: {error:?}");
        assert_eq!((rig.database.begun(), rig.errors("load-timeout")), (1, 1));
        rig.pass(1);
        rig.database.answers(1);
        assert_eq!(rig.asks("key").await, Ok(1), "the load was dropped");
    }
}

#[tokio::test(start_paused = true)]
async fn stale_value_stands_in_after_a_hard_timeout() {
    for store in keeping_stores() {
        let rig = stale(store, |cache| cache.soft_timeout(10 * SECOND).hard_timeout(SECOND)).await;
        for _ in 0..2 {
            assert_eq!(rig.asks("key").await, Ok(0));
            assert_eq!(rig.asks_borrowed("key").await, Ok(0));
        }
        assert_eq!((rig.database.begun(), rig.errors("load-timeout")), (2, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn hard_timeout_ends_a_load_in_the_background() {
    let [store, _] = keeping_stores();
    let rig = stale(store, |cache| cache.hard_timeout(SECOND)).await;
    assert_eq!(rig.asks("key").await, Ok(0));
    advance(SECOND).await;
    idle().await;
    assert_eq!(rig.errors("load-timeout"), 1);
}

#[tokio::test(start_paused = true)]
async fn wait_for_a_borrowed_load_is_bounded() {
    for store in stores() {
        let rig = Rig::with(store, |cache| cache.coalesce_timeout(SECOND));
        let cache = rig.cache.clone();
        let mut leader = JoinSet::new();
        leader.spawn(async move {
            let load = pending::<Result<usize, Down>>;
            cache.get_or_insert_with("key", None, load).await.map_err(down)
        });
        idle().await;
        rig.database.answers(1);
        assert_eq!(rig.asks("key").await, Ok(0));
        assert_eq!(rig.errors("wait"), 1);
    }
}
