//! Loaders that ask for their own key.

use std::future::{Future, ready};
use std::pin::Pin;

use tokio::task::JoinSet;
use tokio::time::advance;
use tower_kit::ValueCache;
use tower_kit::values::LoadError;

use super::{Rig, SECOND, idle, stores};

/// Turns the error of an inner call into that of a loader, which tells the cause.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn cause(error: LoadError<&'static str>) -> &'static str {
    let own = if error.is_recursive() { "recursive" } else { "other" };
    error.failure().copied().unwrap_or(own)
}

/// Returns the value of a key whose loader asks for `next`.
fn ask<'a>(
    cache: &'a ValueCache,
    key: &'static str,
    next: impl Future<Output = Result<i32, &'static str>> + Send + 'a,
) -> Pin<Box<dyn Future<Output = Result<i32, &'static str>> + Send + 'a>> {
    Box::pin(async move { cache.get_or_insert_with(key, None, || next).await.map_err(cause) })
}

/// The time is paused, and the runtime has nothing else to do: a wait for a timeout would end at once.
async fn without_a_wait<T>(future: impl Future<Output = T>) -> T {
    let before = tokio::time::Instant::now();
    let output = future.await;
    assert_eq!(before.elapsed(), std::time::Duration::ZERO);
    output
}

#[tokio::test(start_paused = true)]
async fn loader_of_its_own_key_fails_at_once() {
    for store in stores() {
        let rig = Rig::with(store, |cache| cache);
        let cache = &rig.cache;
        let inner = ask(cache, "a", ready(Ok(1)));
        assert_eq!(without_a_wait(ask(cache, "a", inner)).await, Err("recursive"));
        assert_eq!(rig.errors("recursion"), 1);
        assert_eq!(ask(cache, "a", ready(Ok(2))).await, Ok(2), "the key can be loaded");
    }
}

#[tokio::test(start_paused = true)]
async fn loader_of_an_outer_key_fails_at_once() {
    for store in stores() {
        let rig = Rig::with(store, |cache| cache);
        let cache = &rig.cache;
        let middle = ask(cache, "b", ask(cache, "a", ready(Ok(1))));
        assert_eq!(without_a_wait(ask(cache, "a", middle)).await, Err("recursive"));
        // Keys that are not loaded by this task are awaited, and loaded.
        let middle = ask(cache, "b", ask(cache, "c", ready(Ok(3))));
        assert_eq!(ask(cache, "a", middle).await, Ok(3));
    }
}

#[tokio::test(start_paused = true)]
async fn loads_of_two_tasks_do_not_deadlock() {
    for store in stores() {
        let rig = Rig::with(store, |cache| cache);
        let start = std::sync::Arc::new(tokio::sync::Barrier::new(2));
        let crossing = |key: &'static str, other: &'static str| {
            let (cache, start) = (rig.cache.clone(), start.clone());
            async move {
                let inner = async {
                    start.wait().await;
                    ask(&cache, other, ready(Ok(1))).await
                };
                ask(&cache, key, inner).await
            }
        };
        let tasks: JoinSet<_> = [crossing("a", "b"), crossing("b", "a")].into_iter().collect();
        let results = without_a_wait(tasks.join_all()).await;
        assert_eq!(results, [Err("recursive"); 2], "one fails, and the other shares its failure");
        assert_eq!(rig.errors("recursion"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn recursion_through_a_task_is_bounded() {
    let rig = Rig::new();
    let cache = rig.cache.clone();
    let inner = async {
        let mut task = JoinSet::new();
        task.spawn(async move { ask(&cache, "a", ready(Ok(1))).await });
        task.join_next().await.unwrap().unwrap()
    };
    assert_eq!(ask(&rig.cache, "a", inner).await, Ok(1));
    assert_eq!(rig.errors("wait"), 1);
}

#[tokio::test(start_paused = true)]
async fn refresh_may_load_what_waits_for_its_value() {
    let rig = Rig::with(stores()[0].clone(), |cache| cache.stale_while_revalidate(10 * SECOND));
    let cache = rig.cache.clone();
    cache.insert("b", &1, SECOND).await.unwrap();
    rig.pass(1);
    // The loader of `a` gets the stale `b`, whose new value needs `a`.
    let refresh = {
        let cache = cache.clone();
        async move || ask(&cache, "a", ready(Ok(9))).await
    };
    let inner = async { cache.get_or_refresh_with("b", None, refresh).await.map_err(cause) };
    assert_eq!(ask(&cache, "a", inner).await, Ok(1));
    idle().await;
    advance(SECOND).await;
    assert_eq!(cache.get("b").await, Some(1));
    assert_eq!(rig.errors("recursion"), 0);
}

#[tokio::test(start_paused = true)]
async fn leader_that_left_is_waited_for_no_more() {
    let rig = Rig::new();
    let (cache, waiting) = (rig.cache.clone(), rig.waits("b"));
    // The loader of `a` waits for `b`, and its caller leaves.
    let mut outer = JoinSet::new();
    outer.spawn(async move {
        let cache = &cache;
        let inner =
            async { cache.get_or_insert_with("b", None, || ready(Ok(1))).await.map_err(cause) };
        ask(cache, "a", inner).await
    });
    idle().await;
    drop(outer);
    idle().await;
    drop(waiting);
    let inner = ask(&rig.cache, "a", ready(Ok(1)));
    assert_eq!(without_a_wait(ask(&rig.cache, "b", inner)).await, Ok(1));
}
