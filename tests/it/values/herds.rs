//! Callers that miss the same key.

use std::future::ready;
use std::time::Duration;

use tokio::task::JoinSet;

use super::{Answer, Database, Down, Remote, Rig, SECOND, idle};
use crate::support::poll_once;

#[tokio::test]
async fn one_caller_of_a_herd_fetches() {
    for remote in [false, true] {
        let rig = if remote { Rig::with(Remote::new(), |cache| cache) } else { Rig::new() };
        let herd: JoinSet<_> = (0..1000).map(|_| rig.asks("key")).collect();
        idle().await;
        rig.database.answers(1);
        assert_eq!(herd.join_all().await, [Ok(0); 1000]);
        assert_eq!((rig.requests("miss"), rig.requests("collapsed")), (1, 999));
        idle().await;
        assert_eq!(rig.asks("key").await, Ok(0));
        assert_eq!((rig.database.begun(), rig.requests("hit")), (1, 1));
    }
}

#[tokio::test]
async fn herd_shares_what_is_not_stored() {
    let rig = Rig::new();
    let herd: JoinSet<_> = (0..10).map(|_| rig.asks_for("key", Some(Duration::ZERO))).collect();
    idle().await;
    rig.database.answers(2);
    assert_eq!(herd.join_all().await, [Ok(0); 10]);
    rig.pass(1);
    assert_eq!(rig.asks("key").await, Ok(1));
}

#[tokio::test]
async fn leader_drop_hands_over() {
    let rig = Rig::new();
    let (leader, follower) = (rig.waits("key"), rig.waits("key"));
    drop(leader);
    rig.database.answers(1);
    assert_eq!(follower.await, Ok(1));
    assert_eq!(rig.asks("key").await, Ok(1));
}

#[tokio::test]
async fn leader_panic_hands_over() {
    async fn panics(database: Database) -> Answer {
        panic!("the query panics: {:?}", database.query().await);
    }
    let rig = Rig::new();
    let (cache, database) = (rig.cache.clone(), rig.database.clone());
    let mut leader = JoinSet::new();
    leader.spawn(
        async move { cache.get_or_insert_with("key", None, move || panics(database)).await },
    );
    idle().await;
    let follower = rig.waits("key");
    rig.database.answers(2);
    assert!(leader.join_next().await.unwrap().unwrap_err().is_panic());
    assert_eq!(follower.await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn wait_for_another_is_bounded() {
    let rig = Rig::new();
    let (_leader, mut follower) = (rig.waits("key"), rig.waits("key"));
    tokio::time::advance(10 * SECOND - Duration::from_millis(1)).await;
    assert!(poll_once(follower.as_mut()).is_pending());
    assert_eq!(rig.database.begun(), 1);
    tokio::time::advance(Duration::from_millis(2)).await;
    assert!(poll_once(follower.as_mut()).is_pending());
    assert_eq!(rig.database.begun(), 2);
}

#[tokio::test]
async fn clones_are_one_cache() {
    let rig = Rig::new();
    let clone = rig.cache.clone().ttl(SECOND);
    clone.insert("key", &1, None).await.unwrap();
    assert_eq!(rig.cache.get("key").await, Some(1));
    rig.cache.remove("key").await.unwrap();
    assert_eq!(clone.get::<i32>("key").await, None);
    let leader = rig.waits("key");
    let mut follower = Box::pin(clone.get_or_insert_with("key", None, || ready(Ok::<_, Down>(9))));
    assert!(poll_once(follower.as_mut()).is_pending());
    rig.database.answers(1);
    assert_eq!(leader.await, Ok(0));
    assert_eq!(follower.await.unwrap(), 0);
}
