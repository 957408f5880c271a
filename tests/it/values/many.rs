//! Several keys in one call.

use std::collections::HashMap;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tower_kit::cache::{Entry, MemoryStore, Store, StoreError, TieredStore};
use tower_kit::values::{LoadError, Loaded, ValueOptions};
use tower_kit::{MIB, ValueCache};

use super::{Down, Remote, Rig, SECOND, idle};
use crate::support::poll_once;

type Many = Pin<Box<dyn Future<Output = Result<Vec<Option<u64>>, Down>> + Send>>;

/// The keys of each load.
#[derive(Clone, Default)]
struct Loads(Arc<Mutex<Vec<Vec<u64>>>>);

impl Loads {
    fn add(&self, keys: &[u64]) {
        self.0.lock().unwrap().push(keys.to_vec());
    }

    fn take(&self) -> Vec<Vec<u64>> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Rig {
    /// Asks for several keys, each of which has itself times 10 as its value.
    fn many(&self, keys: &'static [u64], loads: &Loads) -> Many {
        let (cache, database, loads) = (self.cache.clone(), self.database.clone(), loads.clone());
        Box::pin(async move {
            let load = |keys: Vec<u64>| {
                loads.add(&keys);
                let query = database.query();
                async move {
                    query.await?;
                    Ok(keys.into_iter().filter(|key| *key < 100).map(|key| (key, key * 10)))
                }
            };
            let got = cache.get_or_insert_many_with(keys, None, load).await;
            got.map_err(|error: LoadError<Down>| *error.failure().expect("it failed"))
        })
    }

    /// Asks for one key, with another value than a call for several would load.
    fn one(&self, key: &'static str) -> super::Asking<u64> {
        let (cache, database) = (self.cache.clone(), self.database.clone());
        Box::pin(async move {
            let load = async move || database.query().await.map(|number| number as u64);
            let got = cache.get_or_insert_with(key, None, load).await;
            got.map_err(|error: LoadError<Down>| *error.failure().expect("it failed"))
        })
    }
}

#[tokio::test]
async fn values_come_in_the_order_of_keys() {
    for remote in [false, true] {
        let rig = if remote { Rig::with(Remote::new(), |cache| cache) } else { Rig::new() };
        let loads = Loads::default();
        rig.cache.insert("2", &22, None).await.unwrap();
        rig.database.answers(2);
        let got = rig.many(&[3, 2, 100, 3, 1, 2], &loads).await.unwrap();
        assert_eq!(got, [Some(30), Some(22), None, Some(30), Some(10), Some(22)]);
        assert_eq!(loads.take(), [vec![3, 100, 1]]);
        idle().await;
        // An absent value is not stored, and not an error.
        assert_eq!(rig.many(&[1, 100], &loads).await.unwrap(), [Some(10), None]);
        assert_eq!(loads.take(), [vec![100]]);
        assert_eq!(
            rig.cache.get_many::<u64, _>(&["1", "x", "3", "1"]).await,
            [Some(10), None, Some(30), Some(10)]
        );
        assert_eq!(rig.cache.get("3").await, Some(30));
        assert_eq!((rig.requests("hit"), rig.requests("miss")), (6, 5));
        assert_eq!(rig.many(&[], &loads).await.unwrap(), []);
        assert_eq!(loads.take().len(), 0, "no keys are no load");
    }
}

#[tokio::test]
async fn store_is_read_once_for_all_keys() {
    /// Counts its reads.
    #[derive(Clone)]
    struct Batched(MemoryStore, Arc<Mutex<Vec<usize>>>);

    impl Store for Batched {
        async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
            self.1.lock().unwrap().push(1);
            Store::get(&self.0, key).await
        }

        async fn get_many(&self, keys: &[&str]) -> Result<Vec<Option<Entry>>, StoreError> {
            self.1.lock().unwrap().push(keys.len());
            Store::get_many(&self.0, keys).await
        }

        async fn put(&self, key: &str, entry: Entry, ttl: Duration) -> Result<(), StoreError> {
            Store::put(&self.0, key, entry, ttl).await
        }

        async fn remove(&self, key: &str) -> Result<(), StoreError> {
            Store::remove(&self.0, key).await
        }

        async fn clear(&self) -> Result<(), StoreError> {
            Store::clear(&self.0).await
        }
    }

    let behind = Batched(MemoryStore::new(16 * MIB), Arc::default());
    let store = TieredStore::new(MemoryStore::new(16 * MIB), behind.clone());
    let (rig, loads) = (Rig::with(store, |cache| cache), Loads::default());
    rig.cache.insert("1", &11, None).await.unwrap();
    rig.database.answers(1);
    let got = rig.many(&[1, 2, 3, 4], &loads).await.unwrap();
    assert_eq!(got, [Some(11), Some(20), Some(30), Some(40)]);
    // Once for the values that the memory lacks, and once for what others stored meanwhile.
    assert_eq!(std::mem::take(&mut *behind.1.lock().unwrap()), [3, 3]);
    assert_eq!(rig.cache.get_many::<u64, _>(&[4, 3, 2, 1]).await, [40, 30, 20, 11].map(Some));
    assert_eq!(*behind.1.lock().unwrap(), [0; 0], "the memory has them all");
}

#[tokio::test]
async fn many_keys_are_loaded_in_parts() {
    let (rig, calls) = (Rig::new(), Arc::new(AtomicUsize::new(0)));
    let keys: Vec<u32> = (0..2_500).collect();
    let load = |keys: Vec<u32>| {
        calls.fetch_add(1, Ordering::SeqCst);
        assert!(keys.len() <= 1_000);
        ready(Ok::<HashMap<_, _>, Down>(keys.into_iter().map(|key| (key, key)).collect()))
    };
    let got = rig.cache.get_or_insert_many_with(&keys, None, load).await.unwrap();
    assert!(got.into_iter().map(Option::unwrap).eq(keys.iter().copied()));
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    let hits = rig.cache.get_many::<u32, _>(&keys).await;
    assert!(hits.into_iter().eq(keys.into_iter().map(Some)), "all of them are stored");
}

#[tokio::test]
async fn callers_of_many_and_one_share_loads() {
    let (rig, loads) = (Rig::new(), Loads::default());
    let mut first = rig.many(&[1, 2], &loads);
    assert!(poll_once(first.as_mut()).is_pending());
    let mut second = rig.many(&[3, 2], &loads);
    assert!(poll_once(second.as_mut()).is_pending());
    let mut one = rig.one("2");
    assert!(poll_once(one.as_mut()).is_pending());
    let mut other = rig.one("3");
    assert!(poll_once(other.as_mut()).is_pending());
    rig.database.answers(2);
    assert_eq!(first.await, Ok(vec![Some(10), Some(20)]));
    assert_eq!(second.await, Ok(vec![Some(30), Some(20)]));
    assert_eq!((one.await, other.await), (Ok(20), Ok(30)));
    assert_eq!(loads.take(), [vec![1, 2], vec![3]]);
    assert_eq!((rig.requests("miss"), rig.requests("collapsed")), (3, 3));
}

#[tokio::test]
async fn calls_that_overlap_both_ways_end() {
    let (rig, loads) = (Rig::new(), Loads::default());
    let mut single = rig.one("3");
    assert!(poll_once(single.as_mut()).is_pending());
    let calls: JoinSet<_> = [&[1, 2, 3][..], &[2, 1, 4], &[4, 3, 2], &[3, 4, 1]]
        .map(|keys: &'static [u64]| rig.many(keys, &loads))
        .into_iter()
        .collect();
    idle().await;
    rig.database.answers(3);
    // The single caller has begun first, with the number of its query.
    assert_eq!(single.await, Ok(0));
    let got = calls.join_all().await;
    assert!(got.iter().all(|values| values.as_ref().unwrap().iter().all(Option::is_some)));
    assert_eq!((rig.database.begun(), loads.take().concat().len()), (3, 3));
}

#[tokio::test]
async fn absence_is_shared_among_calls_for_many() {
    let (rig, loads) = (Rig::new(), Loads::default());
    let herd: JoinSet<_> = (0..10).map(|_| rig.many(&[100, 1], &loads)).collect();
    let mut one = rig.one("100");
    idle().await;
    assert!(poll_once(one.as_mut()).is_pending());
    rig.database.answers(1);
    assert_eq!(herd.join_all().await, vec![Ok(vec![None, Some(10)]); 10]);
    assert_eq!(loads.take(), [vec![100, 1]]);
    // One who asks for the key alone may know of another way to load it.
    rig.database.answers(1);
    assert_eq!(one.await, Ok(1));
}

#[tokio::test]
async fn failure_is_shared_with_all_that_wait() {
    let (rig, loads) = (Rig::new(), Loads::default());
    rig.cache.insert("5", &5, None).await.unwrap();
    let mut first = rig.many(&[5, 1, 2], &loads);
    assert!(poll_once(first.as_mut()).is_pending());
    let (mut second, mut one) = (rig.many(&[2, 3], &loads), rig.one("1"));
    assert!(poll_once(second.as_mut()).is_pending());
    assert!(poll_once(one.as_mut()).is_pending());
    rig.database.is_down(true);
    rig.database.answers(1);
    assert_eq!(first.await, Err(Down));
    assert_eq!(one.await, Err(Down));
    rig.database.is_down(false);
    rig.database.answers(1);
    assert_eq!(second.await, Err(Down), "a key of its own load does not make up for the other");
    assert_eq!(rig.cache.get("3").await, Some(30), "what it loaded is stored");
    assert_eq!((rig.errors("load"), rig.database.begun()), (1, 2));
    rig.database.answers(1);
    assert_eq!(rig.many(&[1, 3], &loads).await, Ok(vec![Some(10), Some(30)]));
    assert_eq!(loads.take().last(), Some(&vec![1]));
}

#[tokio::test]
async fn stale_values_stand_in_for_a_failed_load() {
    let rig = Rig::with(MemoryStore::new(16 * MIB), |cache| {
        cache.ttl(10 * SECOND).stale_if_error(60 * SECOND)
    });
    let loads = Loads::default();
    rig.database.answers(1);
    assert_eq!(rig.many(&[1, 2], &loads).await, Ok(vec![Some(10), Some(20)]));
    rig.pass(11);
    rig.database.is_down(true);
    rig.database.answers(2);
    assert_eq!(rig.many(&[2, 1], &loads).await, Ok(vec![Some(20), Some(10)]));
    assert_eq!(rig.many(&[1, 3], &loads).await, Err(Down));
    // The load failed a moment ago, and is not tried again for keys that have a value.
    assert_eq!(loads.take(), [vec![1, 2], vec![2, 1], vec![3]]);
    assert_eq!(rig.requests("stale"), 3);
}

#[tokio::test]
async fn one_call_loads_stale_values() {
    let rig = Rig::with(MemoryStore::new(16 * MIB), |cache| {
        cache.ttl(10 * SECOND).stale_while_revalidate(60 * SECOND)
    });
    let loads = Loads::default();
    rig.cache.insert("1", &1, None).await.unwrap();
    rig.cache.insert("100", &2, None).await.unwrap();
    rig.pass(11);
    let mut first = rig.many(&[1, 100], &loads);
    assert!(poll_once(first.as_mut()).is_pending());
    assert_eq!(rig.many(&[100, 1], &loads).await, Ok(vec![Some(2), Some(1)]));
    rig.database.answers(1);
    assert_eq!(first.await, Ok(vec![Some(10), None]));
    assert_eq!(loads.take(), [vec![1, 100]]);
    assert!(rig.cache.get_entry::<u64>("100").await.is_none(), "the database has it no more");
}

#[tokio::test]
async fn call_that_leaves_hands_its_keys_over() {
    let (rig, loads) = (Rig::new(), Loads::default());
    let mut first = rig.many(&[1, 2], &loads);
    assert!(poll_once(first.as_mut()).is_pending());
    let (mut second, mut one) = (rig.many(&[2, 3], &loads), rig.one("1"));
    assert!(poll_once(second.as_mut()).is_pending());
    assert!(poll_once(one.as_mut()).is_pending());
    drop(first);
    assert!(poll_once(one.as_mut()).is_pending());
    // The first of these ends the load of 3, the others those of 1 and 2.
    rig.database.answers(3);
    assert_eq!(second.await, Ok(vec![Some(20), Some(30)]));
    assert_eq!(one.await, Ok(2));
    assert_eq!(loads.take(), [vec![1, 2], vec![3], vec![2]]);
}

#[tokio::test(start_paused = true)]
async fn wait_for_others_is_bounded() {
    let rig = Rig::with(MemoryStore::new(16 * MIB), |cache| cache.coalesce_timeout(3 * SECOND));
    let loads = Loads::default();
    let mut first = rig.many(&[1, 2], &loads);
    assert!(poll_once(first.as_mut()).is_pending());
    let mut second = rig.many(&[1, 2], &loads);
    assert!(poll_once(second.as_mut()).is_pending());
    assert_eq!(rig.database.begun(), 1);
    tokio::time::advance(3 * SECOND + Duration::from_millis(1)).await;
    assert!(poll_once(second.as_mut()).is_pending());
    assert_eq!((loads.take(), rig.errors("wait")), (vec![vec![1, 2]; 2], 2));
}

#[tokio::test(start_paused = true)]
async fn hard_timeout_ends_a_load_of_many() {
    let rig = Rig::with(MemoryStore::new(16 * MIB), |cache| cache.hard_timeout(SECOND));
    let load = |_: Vec<u64>| std::future::pending::<Result<Vec<(u64, u64)>, Down>>();
    let got = rig.cache.get_or_insert_many_with(&[1, 2], None, load).await;
    assert!(got.is_err_and(|error| error.is_timeout()));
    assert_eq!(rig.errors("load-timeout"), 1);
}

#[tokio::test]
async fn loader_that_asks_for_its_own_keys_fails() {
    let rig = Rig::new();
    let (cache, inner) = (rig.cache.clone(), rig.cache.clone());
    let load = |_: Vec<u64>| {
        let inner = inner.clone();
        async move {
            let load = |_: Vec<u64>| ready(Ok::<_, Down>([(3, 3)]));
            let inner = inner.get_or_insert_many_with(&[3_u64, 2], None, load).await;
            let is_recursive = inner.is_err_and(|error| error.is_recursive());
            Err::<Vec<(u64, u64)>, _>(is_recursive)
        }
    };
    let error = cache.get_or_insert_many_with(&[1, 2], None, load).await.unwrap_err();
    assert_eq!(error.failure(), Some(&true));
}

#[tokio::test]
async fn odd_results_of_a_loader_are_ignored() {
    let rig = Rig::new();
    let load = |_: Vec<&str>| ready(Ok::<_, Down>(vec![("b", 1), ("x", 2), ("b", 3), ("a", 4)]));
    let got = rig.cache.get_or_insert_many_with(&["a", "b"], None, load).await.unwrap();
    assert_eq!(got, [Some(4), Some(1)], "the first value of a key counts");
    assert_eq!(rig.cache.get::<i32>("x").await, None, "it was not asked for");
}

#[tokio::test]
async fn long_key_is_loaded_and_not_stored() {
    let rig = Rig::new();
    let long = "k".repeat(8 * 1024);
    let keys = [long.as_str(), "short"];
    for expected in [2, 1] {
        let load = |keys: Vec<&str>| {
            assert_eq!(keys.len(), expected);
            ready(Ok::<_, Down>(
                keys.into_iter().map(|key| (key.to_owned(), 7)).collect::<Vec<_>>(),
            ))
        };
        let got = rig.cache.get_or_insert_many_with(&keys, None, load).await.unwrap();
        assert_eq!(got, [Some(7), Some(7)]);
    }
    assert_eq!(rig.cache.get_many::<i32, _>(&keys).await, [None, Some(7)]);
    assert_eq!(rig.errors("too-large"), 2);
}

#[tokio::test]
async fn options_hold_for_each_loaded_value() {
    let rig = Rig::new();
    let load = |keys: Vec<u64>| {
        let value = |key| match key {
            1 => Loaded::new(key).ttl(5 * SECOND),
            2 => Loaded::new(key).uncached(),
            _ => Loaded::new(key).tag("odd"),
        };
        ready(Ok::<_, Down>(keys.into_iter().map(move |key| (key, value(key))).collect::<Vec<_>>()))
    };
    let options = ValueOptions::new().ttl(20 * SECOND).tag("all");
    let got = rig.cache.get_or_insert_many_with(&[1, 2, 3, 4], options, load).await.unwrap();
    assert_eq!(got, [1, 2, 3, 4].map(Some));
    let kept = async || rig.cache.get_many::<u64, _>(&[1, 2, 3, 4]).await;
    assert_eq!(kept().await, [Some(1), None, Some(3), Some(4)]);
    rig.pass(5);
    assert_eq!(kept().await, [None, None, Some(3), Some(4)]);
    rig.cache.remove_by_tag("odd").await.unwrap();
    assert_eq!(kept().await, [None; 4]);
}

#[tokio::test]
async fn removal_during_a_load_of_many_wins() {
    let (rig, loads) = (Rig::new(), Loads::default());
    let mut call = rig.many(&[1, 2], &loads);
    assert!(poll_once(call.as_mut()).is_pending());
    rig.cache.remove("2").await.unwrap();
    rig.database.answers(1);
    assert_eq!(call.await, Ok(vec![Some(10), Some(20)]), "its caller began before");
    assert_eq!(rig.cache.get_many::<u64, _>(&[1, 2]).await, [Some(10), None]);
}

#[tokio::test]
async fn failing_store_fails_no_call_for_many() {
    let store = Remote::new();
    let (rig, loads) = (Rig::with(store.clone(), |cache| cache), Loads::default());
    rig.cache.insert("1", &1, None).await.unwrap();
    store.fails(usize::MAX);
    rig.database.answers(1);
    assert_eq!(rig.many(&[1, 2], &loads).await, Ok(vec![Some(10), Some(20)]));
    assert_eq!(rig.cache.get_many::<u64, _>(&[1, 2]).await, [None, None]);
    idle().await;
    assert_eq!((rig.errors("get"), rig.errors("put")), (3, 2));
}

#[tokio::test]
async fn typed_values_of_many_are_shared() {
    let rig = Rig::new();
    let cache = rig.cache.typed::<String>();
    let mut task = JoinSet::new();
    task.spawn(async move {
        let load = |keys: Vec<u64>| {
            ready(Ok::<_, Down>(keys.into_iter().map(|key| (key, key.to_string()))))
        };
        let got = cache.get_or_insert_many_with(&[7, 8, 7], None, load).await.unwrap();
        let [Some(first), _, Some(last)] = &got[..] else { panic!("{got:?}") };
        assert!(Arc::ptr_eq(first, last), "a key that is asked for twice has one value");
        let hits = cache.get_many(&[8, 7]).await;
        assert!(Arc::ptr_eq(first, hits[1].as_ref().unwrap()));
        assert_eq!(hits[0].as_deref().map(String::as_str), Some("8"));
    });
    task.join_all().await;
    drop(ValueCache::new(MemoryStore::new(1)));
}
