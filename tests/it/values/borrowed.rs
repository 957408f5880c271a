//! A closure that borrows what it fetches with.

use std::future::{pending, ready};

use tower_kit::MIB;
use tower_kit::ValueCache;
use tower_kit::cache::MemoryStore;

use super::{Down, Rig, SECOND, down};
use crate::support::poll_once;

#[tokio::test]
async fn load_may_borrow() {
    let rig = Rig::new();
    let (text, mut calls) = (String::from("of this caller"), 0);
    for _ in 0..2 {
        let (text, calls) = (&text, &mut calls);
        let fetch = async || {
            *calls += 1;
            Ok::<_, Down>(text.clone())
        };
        let got: String = rig.cache.get_or_insert_with("key", None, fetch).await.unwrap();
        assert_eq!(got, *text);
    }
    assert_eq!(calls, 1);
}

fn stale() -> Rig {
    Rig::with(MemoryStore::new(16 * MIB), |cache: ValueCache| {
        cache.ttl(10 * SECOND).stale_while_revalidate(10 * SECOND)
    })
}

#[tokio::test]
async fn one_caller_loads_a_stale_value() {
    let rig = stale();
    let ask = async |value| {
        rig.cache.get_or_insert_with("key", None, || ready(Ok::<i32, Down>(value))).await.unwrap()
    };
    assert_eq!(ask(1).await, 1);
    rig.pass(11);
    let fetching = rig.cache.get_or_insert_with("key", None, pending::<Result<i32, Down>>);
    let mut fetching = Box::pin(fetching);
    assert!(poll_once(fetching.as_mut()).is_pending());
    // The others do not wait, and do not fetch.
    assert_eq!(ask(2).await, 1);
    // If it leaves, the next one fetches.
    drop(fetching);
    assert_eq!(ask(3).await, 3);
    assert_eq!(ask(4).await, 3);
}

#[tokio::test]
async fn failed_load_leaves_the_stale_value() {
    let rig = stale();
    let ask = async |fetched: Result<i32, Down>| {
        rig.cache.get_or_insert_with("key", None, || ready(fetched)).await.map_err(down)
    };
    assert!(ask(Ok(1)).await == Ok(1));
    rig.pass(11);
    assert!(ask(Err(Down)).await == Ok(1));
    rig.pass(10);
    assert!(ask(Err(Down)).await == Err(Down), "it is too old by now");
}
