//! Values of any type in the stores of the cache.

mod borrowed;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, yield_now};
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::MIB;
use tower_kit::ValueCache;
use tower_kit::cache::{CacheLayer, Entry, MemoryStore, Store, StoreError, TieredStore};

use crate::support::{Metrics, now, poll_once};

const SECOND: Duration = Duration::from_secs(1);
const REQUESTS: &str = "value_cache_requests_total";
const ERRORS: &str = "value_cache_errors_total";

type Answer = Result<usize, Down>;
type Asking<T = usize> = Pin<Box<dyn Future<Output = Result<T, Down>> + Send>>;

/// What a database says that does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Down;

/// A database that answers each query with its number, when the test lets it.
#[derive(Clone)]
struct Database(Arc<Queries>);

struct Queries {
    begun: AtomicUsize,
    may_end: Semaphore,
    is_down: AtomicBool,
}

/// A service, its time, in seconds, and its numbers.
struct Rig {
    cache: ValueCache,
    seconds: Arc<AtomicU64>,
    metrics: Metrics,
    database: Database,
}

/// A store that cannot tell without waiting, whose next operations fail, and whose puts wait for
/// the test.
#[derive(Clone)]
struct Remote {
    inner: MemoryStore,
    failures: Arc<AtomicUsize>,
    tries: Arc<AtomicUsize>,
    puts: Arc<Semaphore>,
}

impl Database {
    fn new() -> Self {
        let (begun, is_down) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self(Arc::new(Queries { begun, may_end: Semaphore::new(0), is_down }))
    }

    fn query(&self) -> impl Future<Output = Answer> + Send + use<> {
        let Self(queries) = self.clone();
        async move {
            let number = queries.begun.fetch_add(1, Ordering::SeqCst);
            queries.may_end.acquire().await.unwrap().forget();
            if queries.is_down.load(Ordering::SeqCst) { Err(Down) } else { Ok(number) }
        }
    }

    fn begun(&self) -> usize {
        self.0.begun.load(Ordering::SeqCst)
    }

    /// So many queries come to their end, which may not have begun.
    fn answers(&self, queries: usize) {
        self.0.may_end.add_permits(queries);
    }

    fn is_down(&self, is_down: bool) {
        self.0.is_down.store(is_down, Ordering::SeqCst);
    }
}

impl Rig {
    fn new() -> Self {
        Self::with(MemoryStore::new(16 * MIB), |cache| cache)
    }

    fn with(store: impl Store, choose: impl FnOnce(ValueCache) -> ValueCache) -> Self {
        let (seconds, metrics) = (Arc::new(AtomicU64::new(1_000_000)), Metrics::new());
        let read = Arc::clone(&seconds);
        let cache = choose(ValueCache::new(store))
            .recorder(metrics.recorder())
            .clock(move || UNIX_EPOCH + Duration::from_secs(read.load(Ordering::SeqCst)));
        Self { cache, seconds, metrics, database: Database::new() }
    }

    fn pass(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    fn asks(&self, key: &'static str) -> Asking {
        self.asks_for(key, None)
    }

    fn asks_for(&self, key: &'static str, ttl: Option<Duration>) -> Asking {
        let (cache, database) = (self.cache.clone(), self.database.clone());
        Box::pin(async move { cache.get_or_refresh_with(key, ttl, move || database.query()).await })
    }

    /// One who has come as far as they can, and is not answered.
    fn waits(&self, key: &'static str) -> Asking {
        let mut asking = self.asks(key);
        assert!(poll_once(asking.as_mut()).is_pending());
        asking
    }

    fn requests(&self, outcome: &str) -> u64 {
        self.metrics.counted(REQUESTS, &[("outcome", outcome)])
    }

    fn errors(&self, operation: &str) -> u64 {
        self.metrics.counted(ERRORS, &[("operation", operation)])
    }
}

impl Remote {
    fn new() -> Self {
        Self {
            inner: MemoryStore::new(16 * MIB),
            failures: Arc::default(),
            tries: Arc::default(),
            puts: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
        }
    }

    fn fails(&self, times: usize) {
        self.failures.store(times, Ordering::SeqCst);
    }

    async fn works(&self) -> Result<(), StoreError> {
        yield_now().await;
        self.tries.fetch_add(1, Ordering::SeqCst);
        let less = |failures: usize| failures.checked_sub(1);
        match self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) {
            Ok(_) => Err(StoreError::new("the connection broke")),
            Err(_) => Ok(()),
        }
    }
}

impl Store for Remote {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.works().await?;
        self.inner.get(key).await
    }

    async fn put(&self, key: &str, entry: Entry, ttl: Duration) -> Result<(), StoreError> {
        self.works().await?;
        self.puts.acquire().await.unwrap().forget();
        self.inner.put(key, entry, ttl).await
    }

    async fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.works().await?;
        self.inner.remove(key).await
    }

    async fn clear(&self) -> Result<(), StoreError> {
        self.works().await?;
        self.inner.clear().await
    }
}

/// Lets the tasks that can run do so.
async fn idle() {
    for _ in 0..100 {
        yield_now().await;
    }
}

#[tokio::test]
async fn what_is_set_is_there_until_its_ttl_is_over() {
    let rig = Rig::with(MemoryStore::new(16 * MIB), |cache| cache.ttl(20 * SECOND));
    let cache = &rig.cache;
    cache.insert("own", "a text", 10 * SECOND).await.unwrap();
    cache.insert("default", &[1, 2], None).await.unwrap();
    cache.insert("none", &1, Duration::ZERO).await.unwrap();
    assert_eq!(cache.get::<i32>("none").await, None);
    rig.pass(9);
    assert_eq!(cache.get("own").await, Some("a text".to_owned()));
    rig.pass(1);
    assert_eq!(cache.get::<String>("own").await, None);
    rig.pass(9);
    assert_eq!(cache.get("default").await, Some(vec![1, 2]));
    rig.pass(1);
    assert_eq!(cache.get::<Vec<i32>>("default").await, None);
    assert_eq!((rig.requests("hit"), rig.requests("miss")), (2, 3));
}

#[tokio::test]
async fn values_that_were_kept_together_do_not_end_together_with_jitter() {
    let rig = Rig::with(MemoryStore::new(16 * MIB), |cache| cache.jitter(1.0).unwrap());
    let keys: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    for key in &keys {
        rig.cache.insert(key, &1, 100 * SECOND).await.unwrap();
    }
    rig.pass(50);
    for key in &keys {
        rig.cache.get::<i32>(key).await;
    }
    assert!(rig.requests("hit") > 0 && rig.requests("miss") > 0);
}

#[tokio::test]
async fn of_a_herd_one_fetches() {
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
async fn a_herd_gets_even_what_is_not_kept() {
    let rig = Rig::new();
    let herd: JoinSet<_> = (0..10).map(|_| rig.asks_for("key", Some(Duration::ZERO))).collect();
    idle().await;
    rig.database.answers(2);
    assert_eq!(herd.join_all().await, [Ok(0); 10]);
    rig.pass(1);
    assert_eq!(rig.asks("key").await, Ok(1));
}

#[tokio::test]
async fn a_leader_who_leaves_hands_over() {
    let rig = Rig::new();
    let (leader, follower) = (rig.waits("key"), rig.waits("key"));
    drop(leader);
    rig.database.answers(1);
    assert_eq!(follower.await, Ok(1));
    assert_eq!(rig.asks("key").await, Ok(1));
}

#[tokio::test]
async fn a_leader_who_panics_hands_over() {
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

#[tokio::test]
async fn a_leader_who_fails_lets_all_others_fetch_at_once() {
    let rig = Rig::new();
    let mut herd: Vec<_> = (0..5).map(|_| rig.waits("key")).collect();
    rig.database.is_down(true);
    rig.database.answers(1);
    assert_eq!(now(herd.remove(0)), Err(Down));
    for follower in &mut herd {
        assert!(poll_once(follower.as_mut()).is_pending());
    }
    assert_eq!(rig.database.begun(), 5);
    rig.database.answers(3);
    let last = herd.pop().unwrap();
    for follower in herd {
        assert_eq!(follower.await, Err(Down));
    }
    rig.database.is_down(false);
    rig.database.answers(1);
    assert_eq!(last.await, Ok(4));
    assert_eq!(rig.asks("key").await, Ok(4), "what one of them got is kept, errors are not");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_another_for_more_than_10_s() {
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
async fn an_absence_is_kept_for_a_shorter_time_and_never_used_stale() {
    for (chosen, seconds) in [(None, 60), (Some(5 * SECOND), 5)] {
        let rig = Rig::with(MemoryStore::new(16 * MIB), |cache| {
            let cache = cache.stale_while_revalidate(1000 * SECOND);
            chosen.into_iter().fold(cache, ValueCache::negative_ttl)
        });
        let asks = async |found: Option<i32>| {
            let fetch = move || ready(Ok::<_, Down>(found));
            rig.cache.get_or_insert_with("key", 3600 * SECOND, fetch).await.unwrap()
        };
        assert_eq!(asks(None).await, None);
        rig.pass(seconds - 1);
        assert_eq!(asks(Some(1)).await, None);
        assert_eq!(rig.cache.get::<Option<i32>>("key").await, Some(None));
        rig.pass(1);
        assert_eq!(asks(Some(2)).await, Some(2));
        rig.pass(3599);
        assert_eq!(asks(None).await, Some(2));
    }
}

#[tokio::test]
async fn a_stale_value_is_given_at_once_and_refreshed_once() {
    let rig = Rig::with(MemoryStore::new(16 * MIB), |cache| {
        cache.ttl(10 * SECOND).stale_while_revalidate(10 * SECOND)
    });
    rig.database.answers(1);
    assert_eq!(rig.asks("key").await, Ok(0));
    rig.pass(10);
    for _ in 0..3 {
        assert_eq!(now(rig.asks("key")), Ok(0));
        idle().await;
    }
    assert_eq!(rig.cache.get::<usize>("key").await, None, "only what may be refreshed is stale");
    assert_eq!((rig.database.begun(), rig.requests("stale")), (2, 3));
    rig.database.answers(1);
    idle().await;
    assert_eq!(now(rig.asks("key")), Ok(1));
    rig.pass(20);
    drop(rig.waits("key"));
    assert_eq!(rig.requests("miss"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_fails_or_hangs_leaves_what_is_stale_and_is_tried_again() {
    let rig = Rig::with(MemoryStore::new(16 * MIB), |cache| {
        cache.ttl(10 * SECOND).stale_while_revalidate(10 * SECOND)
    });
    rig.database.answers(1);
    assert_eq!(rig.asks("key").await, Ok(0));
    rig.pass(10);
    rig.database.is_down(true);
    rig.database.answers(1);
    assert_eq!(rig.asks("key").await, Ok(0));
    idle().await;
    assert_eq!(rig.errors("refresh"), 1);
    assert_eq!(rig.asks("key").await, Ok(0));
    idle().await;
    tokio::time::advance(61 * SECOND).await;
    idle().await;
    assert_eq!((rig.errors("refresh"), rig.database.begun()), (2, 3));
    rig.database.is_down(false);
    rig.database.answers(1);
    assert_eq!(rig.asks("key").await, Ok(0));
    idle().await;
    assert_eq!(rig.asks("key").await, Ok(3));
}

#[tokio::test]
async fn what_is_forgotten_during_a_fetch_is_fetched_again() {
    for flush in [false, true] {
        let rig = Rig::new();
        let (leader, follower) = (rig.waits("key"), rig.waits("key"));
        if flush {
            rig.cache.clear().await.unwrap();
        } else {
            rig.cache.remove("key").await.unwrap();
        }
        rig.database.answers(2);
        assert_eq!(leader.await, Ok(0), "its caller began before");
        assert_eq!(rig.cache.get::<usize>("key").await, None);
        assert_eq!(follower.await, Ok(1));
        assert_eq!(rig.asks("key").await, Ok(1));
    }
}

#[tokio::test]
async fn what_is_forgotten_while_it_is_put_is_removed() {
    let store = Remote::new();
    let rig = Rig::with(store.clone(), |cache| cache);
    store.puts.forget_permits(Semaphore::MAX_PERMITS);
    rig.database.answers(1);
    assert_eq!(rig.asks("key").await, Ok(0), "nobody waits for the store");
    assert_eq!(rig.asks("key").await, Ok(0), "until it is there, it is given as what was fetched");
    rig.cache.remove("key").await.unwrap();
    store.puts.add_permits(1);
    idle().await;
    assert_eq!(store.inner.usage().entries, 0);
}

#[tokio::test]
async fn what_is_set_during_a_fetch_stays() {
    let rig = Rig::new();
    let (leader, follower) = (rig.waits("key"), rig.waits("key"));
    rig.cache.insert("key", &100, None).await.unwrap();
    rig.database.answers(1);
    assert_eq!(leader.await, Ok(0));
    assert_eq!(follower.await, Ok(100));
    assert_eq!(rig.cache.get("key").await, Some(100));
    rig.cache.insert("key", &101, None).await.unwrap();
    assert_eq!(rig.cache.get("key").await, Some(101));
}

#[tokio::test]
async fn a_value_of_another_type_is_a_miss_and_replaced() {
    let rig = Rig::new();
    rig.cache.insert("key", "a text", None).await.unwrap();
    assert_eq!(rig.cache.get::<usize>("key").await, None);
    assert_eq!(rig.errors("decode"), 1);
    rig.database.answers(1);
    assert_eq!(rig.asks("key").await, Ok(0));
    assert_eq!(rig.cache.get("key").await, Some(0));
}

#[tokio::test]
async fn a_store_that_is_down_is_no_error_of_who_fetches() {
    let store = Remote::new();
    let rig = Rig::with(store.clone(), |cache| cache);
    rig.cache.insert("key", &7, None).await.unwrap();
    store.fails(usize::MAX);
    rig.database.answers(2);
    for number in 0..2 {
        assert_eq!(rig.asks("key").await, Ok(number));
        idle().await;
    }
    assert_eq!(rig.cache.get::<usize>("key").await, None);
    assert!(rig.cache.insert("key", &1, None).await.unwrap_err().is_store());
    assert!(rig.cache.remove("key").await.unwrap_err().is_store());
    assert_eq!(rig.errors("put"), 3);
    store.fails(0);
    assert_eq!(rig.cache.get::<usize>("key").await, None, "what was not removed is not given out");
}

#[tokio::test]
async fn an_operation_of_the_store_is_tried_as_often_as_it_may() {
    for (attempts, failures, works) in
        [(None, 2, true), (None, 3, false), (Some(1), 1, false), (Some(0), 0, true)]
    {
        let store = Remote::new();
        let rig = Rig::with(store.clone(), |cache| {
            attempts.into_iter().fold(cache, ValueCache::max_attempts)
        });
        store.fails(failures);
        assert_eq!(
            rig.cache.insert("key", &1, None).await.is_ok(),
            works,
            "{attempts:?} {failures}"
        );
        assert_eq!(rig.errors("put"), u64::from(!works));
        let tries = attempts.map_or(3, |attempts| attempts.max(1));
        assert_eq!(store.tries.load(Ordering::SeqCst), tries);
        store.fails(failures);
        assert_eq!(rig.cache.get::<i32>("key").await.is_some(), works);
        store.fails(failures);
        assert_eq!(rig.cache.remove("key").await.is_ok(), works);
    }
}

#[tokio::test]
async fn a_value_that_is_too_large_is_given_to_all_who_wait_and_not_kept() {
    let rig = Rig::new();
    let large = "x".repeat(1024 * 1024);
    assert!(rig.cache.insert("key", &large, None).await.unwrap_err().is_too_large());
    rig.cache.insert("key", &large[2..], None).await.unwrap();
    rig.cache.remove("key").await.unwrap();
    let asks = || -> Asking<String> {
        let (cache, database, large) = (rig.cache.clone(), rig.database.clone(), large.clone());
        let fetch = async move || database.query().await.map(|_| large);
        Box::pin(async move { cache.get_or_insert_with("key", None, fetch).await })
    };
    let herd: JoinSet<_> = (0..5).map(|_| asks()).collect();
    idle().await;
    rig.database.answers(1);
    assert_eq!(herd.join_all().await, vec![Ok(large); 5]);
    assert_eq!(rig.cache.get::<String>("key").await, None);
    assert_eq!((rig.database.begun(), rig.errors("too-large")), (1, 2));
}

#[tokio::test]
async fn a_value_that_is_no_json_is_given_and_not_kept() {
    let rig = Rig::new();
    let value = BTreeMap::from([(vec![1], 1)]);
    assert!(rig.cache.insert("key", &value, None).await.unwrap_err().is_json());
    let fetched = value.clone();
    let fetch = move || ready(Ok::<_, Down>(fetched));
    assert_eq!(rig.cache.get_or_insert_with("key", None, fetch).await, Ok(value));
    assert_eq!(rig.errors("encode"), 2);
}

#[tokio::test]
async fn a_key_that_is_too_long_is_not_kept() {
    let rig = Rig::new();
    let long: &'static str = "k".repeat(8 * 1024).leak();
    assert!(rig.cache.insert(long, &1, None).await.unwrap_err().is_too_large());
    assert_eq!(rig.cache.get::<i32>(long).await, None);
    rig.cache.remove(long).await.unwrap();
    rig.database.answers(2);
    for number in 0..2 {
        assert_eq!(rig.asks(long).await, Ok(number));
    }
    assert_eq!(rig.requests("miss"), 3);
}

#[tokio::test]
async fn name_spaces_are_flushed_one_by_one() {
    let all = Rig::new().cache;
    let users = all.clone().namespace("users");
    let odd = all.clone().namespace("users:a");
    all.insert("users:a", &1, None).await.unwrap();
    users.insert("a", &2, None).await.unwrap();
    odd.insert("", &3, None).await.unwrap();
    let kept = async || {
        let odd = odd.get::<i32>("").await;
        (all.get::<i32>("users:a").await, users.get::<i32>("a").await, odd)
    };
    assert_eq!(kept().await, (Some(1), Some(2), Some(3)));
    users.clear().await.unwrap();
    assert_eq!(kept().await, (Some(1), None, Some(3)));
    all.clear().await.unwrap();
    assert_eq!(kept().await, (None, None, Some(3)));
    users.insert("a", &4, None).await.unwrap();
    assert_eq!(kept().await, (None, Some(4), Some(3)));
}

#[tokio::test]
async fn a_flush_leaves_what_a_layer_keeps_in_the_same_store() {
    let store = MemoryStore::new(16 * MIB);
    let cache = ValueCache::new(store.clone());
    let service = service_fn(|_: Request<Empty<Bytes>>| {
        ready(Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("a page")))))
    });
    let service = CacheLayer::with_ttl(store, 60 * SECOND).layer(service);
    let status = async || {
        let request = Request::get("http://x.org/").body(Empty::new()).unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        response.headers()["cache-status"].to_str().unwrap().to_owned()
    };
    // The client reads nothing: a body of one piece is kept all the same.
    drop(status().await);
    idle().await;
    cache.insert("http://x.org/", "a value", None).await.unwrap();
    cache.clear().await.unwrap();
    assert!(status().await.starts_with("tower-kit; hit"));
    assert_eq!(cache.get::<String>("http://x.org/").await, None);
}

#[tokio::test]
async fn all_that_it_does_can_be_done_by_a_task() {
    let cache = ValueCache::new(MemoryStore::new(16 * MIB));
    let mut task = JoinSet::new();
    task.spawn(async move {
        cache.insert("key", "a text", None).await.unwrap();
        cache.remove("key").await.unwrap();
        cache.clear().await.unwrap();
        cache.get::<String>("key").await
    });
    assert_eq!(task.join_all().await, [None]);
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
    assert_eq!(follower.await, Ok(0));
}

#[tokio::test]
async fn what_another_process_has_put_behind_the_memory_is_found() {
    let behind = Remote::new();
    let tiered = || TieredStore::new(MemoryStore::new(16 * MIB), behind.clone());
    let rig = Rig::with(tiered(), |cache| cache.ttl(10 * SECOND));
    rig.database.answers(1);
    assert_eq!(rig.asks("key").await, Ok(0));
    idle().await;
    rig.pass(10);
    let other = Rig::with(tiered(), |cache| cache);
    other.pass(10);
    other.cache.insert("key", &100, None).await.unwrap();
    assert_eq!(rig.asks("key").await, Ok(100));
    let tries = behind.tries.load(Ordering::SeqCst);
    assert_eq!(rig.asks("key").await, Ok(100));
    assert_eq!(behind.tries.load(Ordering::SeqCst), tries, "the memory has it now");
}
