//! Options of a call, those that a loader chooses, and ages.

use std::future::ready;
use std::time::Duration;

use tokio::task::JoinSet;
use tower_kit::ValueCache;
use tower_kit::values::{Loaded, ValueOptions};

use super::{Down, REQUESTS, Rig, SECOND, down, idle, keeping_stores, stores};

#[tokio::test]
async fn loader_chooses_the_ttl() {
    for (call, own, seconds) in [
        (None, None, 20),
        (Some(10), None, 10),
        (None, Some(5), 5),
        (Some(10), Some(5), 5),
        (Some(10), Some(30), 30),
    ] {
        let rig = Rig::with(keeping_stores()[0].clone(), |cache| cache.ttl(20 * SECOND));
        let load = || {
            let loaded =
                own.into_iter().fold(Loaded::new(7), |loaded, own| loaded.ttl(own * SECOND));
            ready(Ok::<_, Down>(loaded))
        };
        let ttl = call.map(|seconds| seconds * SECOND);
        assert_eq!(rig.cache.get_or_insert_with("key", ttl, load).await.unwrap(), 7);
        rig.pass(seconds - 1);
        assert_eq!(rig.cache.get("key").await, Some(7), "{call:?} {own:?}");
        rig.pass(1);
        assert_eq!(rig.cache.get::<i32>("key").await, None, "{call:?} {own:?}");
    }
}

#[tokio::test]
async fn uncached_value_is_for_those_who_wait() {
    for store in stores() {
        let rig = Rig::with(store, |cache| cache);
        let ask = || {
            let (cache, database) = (rig.cache.clone(), rig.database.clone());
            let load = async move || Ok::<_, Down>(Loaded::new(database.query().await?).uncached());
            async move { cache.get_or_insert_with("key", None, load).await.map_err(down) }
        };
        let herd: JoinSet<_> = (0..200).map(|_| ask()).collect();
        idle().await;
        rig.database.answers(1);
        assert_eq!(herd.join_all().await, [Ok(0); 200]);
        idle().await;
        rig.pass(1);
        assert_eq!(rig.cache.get::<usize>("key").await, None);
        rig.database.answers(1);
        assert_eq!(ask().await, Ok(1));
    }
}

#[tokio::test]
async fn uncached_value_removes_a_stale_one() {
    let [store, _] = keeping_stores();
    let rig = Rig::with(store, |cache| cache.stale_if_error(100 * SECOND));
    rig.cache.insert("key", &1, 10 * SECOND).await.unwrap();
    rig.pass(10);
    let load = || ready(Ok::<_, Down>(Loaded::new(2).uncached()));
    assert_eq!(rig.cache.get_or_insert_with("key", None, load).await.unwrap(), 2);
    let load = || ready(Err::<i32, _>(Down));
    assert_eq!(rig.cache.get_or_insert_with("key", None, load).await.map_err(down), Err(Down));
}

#[tokio::test]
async fn age_and_ttl_can_be_read() {
    for store in keeping_stores() {
        let rig = Rig::with(store, |cache| cache.stale_while_revalidate(10 * SECOND));
        let options = ValueOptions::new().ttl(10 * SECOND).tag("a").tag("b");
        rig.cache.insert("key", "a text", options).await.ok();
        for (passes, age, ttl, is_stale) in [(0, 0, 10, false), (4, 4, 6, false), (7, 11, 0, true)]
        {
            rig.pass(passes);
            let entry = rig.cache.get_entry::<String>("key").await.unwrap();
            assert_eq!((entry.age(), entry.ttl()), (age * SECOND, ttl * SECOND));
            assert_eq!(entry.is_stale(), is_stale);
            assert!(entry.tags().eq(["a", "b"]));
            assert_eq!(entry.into_value(), "a text");
        }
        rig.pass(9);
        assert!(rig.cache.get_entry::<String>("key").await.is_none());
        let requests = ["hit", "stale", "miss"].map(|outcome| rig.requests(outcome));
        assert_eq!(requests, [2, 1, 1]);
    }
}

#[tokio::test]
async fn clone_with_other_settings_is_the_same_cache() {
    let [store, _] = keeping_stores();
    let rig = Rig::with(store, |cache| cache.ttl(10 * SECOND));
    let patient = rig.cache.clone().stale_if_error(100 * SECOND);
    patient.insert("key", &7, None).await.unwrap();
    assert_eq!(rig.cache.get("key").await, Some(7));
    rig.pass(10);
    let load = || ready(Err::<i32, _>(Down));
    // The time is stored with the value.
    assert_eq!(rig.cache.get_or_insert_with("key", None, load).await.unwrap(), 7);
}

#[tokio::test]
async fn caches_are_counted_by_name() {
    let rig = Rig::new();
    let named = rig.cache.clone().name("rates").unwrap();
    named.get::<i32>("key").await;
    rig.cache.get::<i32>("key").await;
    rig.cache.get::<i32>("key").await;
    for (cache, misses) in [("rates", 1), ("tower-kit", 2), ("other", 0)] {
        let labels = [("cache", cache), ("outcome", "miss")];
        assert_eq!(rig.metrics.counted(REQUESTS, &labels), misses, "{cache}");
    }
    for name in ["", "a\n", "é"] {
        assert!(rig.cache.clone().name(name).is_err(), "{name:?}");
    }
}

#[test]
fn options_convert_from_a_ttl() {
    let convert = |options: ValueOptions| format!("{options:?}");
    let ttl = convert(ValueOptions::new().ttl(SECOND));
    assert_eq!(convert(SECOND.into()), ttl);
    assert_eq!(convert(Some(SECOND).into()), ttl);
    assert_eq!(convert(None::<Duration>.into()), convert(ValueOptions::new()));
    assert!(!format!("{:?}", ValueCache::new(keeping_stores()[0].clone())).is_empty());
}
