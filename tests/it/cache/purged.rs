//! Entries that are purged while a request waits are not stored again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use http::{Request, Response};
use tokio::sync::Semaphore;
use tower_kit::MIB;
use tower_kit::cache::{
    CacheHandle, CacheLayer, Entry, MemoryStore, Store, StoreError, TieredStore,
};

use super::mocked::{Mocked, Text, channel, fresh, full};
use super::rig::{MINUTE, Rig, idle};
use crate::support::soon;

type Purge = fn(&CacheHandle);

const PURGES: [Purge; 4] = [
    |handle| drop(handle.purge_url("http://x/").unwrap()),
    |handle| drop(handle.purge_prefix("http://x")),
    |handle| drop(handle.purge_tag("t")),
    |handle| drop(crate::support::poll_once(std::pin::pin!(handle.purge_all()))),
];

fn validated(body: &'static str) -> Response<Text> {
    let control = "max-age=1, stale-while-revalidate=100";
    Response::builder()
        .header("cache-control", control)
        .header("etag", "\"a\"")
        .header("surrogate-key", "t")
        .body(full(body))
        .unwrap()
}

fn not_modified() -> Response<Text> {
    Response::builder()
        .status(304)
        .header("etag", "\"a\"")
        .header("cache-control", "max-age=60")
        .body(full(""))
        .unwrap()
}

/// An entry that has been stale for so many seconds.
async fn stale(store: impl Store, by: u64) -> (Mocked, Arc<AtomicU64>) {
    let seconds = Arc::new(AtomicU64::new(0));
    let read = Arc::clone(&seconds);
    let now = move || UNIX_EPOCH + Duration::from_secs(read.load(Ordering::SeqCst));
    let mut mocked = Mocked::new(&CacheLayer::new(store).clock(now).cancel_on_disconnect());
    drop(mocked.opens("/", validated("old")).await);
    idle().await;
    seconds.store(1 + by, Ordering::SeqCst);
    (mocked, seconds)
}

#[tokio::test]
async fn purge_behind_a_leader_drops_the_old_entry() {
    for purge in PURGES {
        let (mut mocked, _) = stale(MemoryStore::new(MIB), 200).await;
        let leader = mocked.waits("/");
        let (asked, call) = mocked.call().await;
        assert!(asked.headers().contains_key("if-none-match"));
        let mut follower = mocked.waits("/");
        purge(&mocked.handle);
        drop((leader, call));
        assert!(crate::support::poll_once(follower.as_mut()).is_pending());
        let (asked, call) = mocked.call().await;
        assert!(!asked.headers().contains_key("if-none-match"), "what was purged is not confirmed");
        call.send_response(fresh(full("new")));
        assert_eq!(crate::support::text(soon(follower).await.unwrap()).await, "new");
        assert!(mocked.is_hit("/"));
    }
}

#[tokio::test]
async fn purge_during_a_validation_wins_over_a_304() {
    for purge in PURGES {
        let (mut mocked, _) = stale(MemoryStore::new(MIB), 200).await;
        let asking = mocked.waits("/");
        let mut follower = mocked.waits("/");
        let (_, call) = mocked.call().await;
        purge(&mocked.handle);
        call.send_response(not_modified());
        drop(soon(asking).await.unwrap());
        assert!(!mocked.is_hit("/"));
        // Nor is it given to those who waited for it.
        assert!(crate::support::poll_once(follower.as_mut()).is_pending());
        let (asked, _) = mocked.call().await;
        assert!(!asked.headers().contains_key("if-none-match"));
    }
}

#[tokio::test]
async fn purge_during_a_refresh_wins_over_a_304() {
    for purge in PURGES {
        let (mut mocked, _) = stale(MemoryStore::new(MIB), 5).await;
        assert!(mocked.is_hit("/"), "stale, and being refreshed");
        let (_, call) = mocked.call().await;
        purge(&mocked.handle);
        call.send_response(not_modified());
        idle().await;
        assert!(!mocked.is_hit("/"));
    }
}

#[tokio::test]
async fn purge_during_a_failure_leaves_no_stand_in() {
    for purge in PURGES {
        let (mut mocked, _) = stale(MemoryStore::new(MIB), 200).await;
        let asking = mocked.waits("/");
        let (_, call) = mocked.call().await;
        purge(&mocked.handle);
        call.send_error("gone");
        assert!(soon(asking).await.is_err());
    }
}

/// A store whose reads wait for permits.
#[derive(Clone)]
struct Waits {
    inner: MemoryStore,
    reads: Arc<Semaphore>,
}

impl Store for Waits {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let entry = self.inner.get(key).await;
        self.reads.acquire().await.map_err(StoreError::new)?.forget();
        entry
    }

    async fn put(&self, key: &str, entry: Entry, ttl: Duration) -> Result<(), StoreError> {
        self.inner.put(key, entry, ttl).await
    }

    async fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.inner.remove(key).await
    }

    async fn clear(&self) -> Result<(), StoreError> {
        self.inner.clear().await
    }
}

fn waits() -> (Waits, Arc<Semaphore>) {
    let reads = Arc::new(Semaphore::new(100));
    (Waits { inner: MemoryStore::new(MIB), reads: Arc::clone(&reads) }, reads)
}

#[tokio::test]
async fn purge_during_a_look_drops_what_it_found() {
    for purge in PURGES {
        let (store, reads) = waits();
        let (mut mocked, seconds) = stale(store, 0).await;
        seconds.store(0, Ordering::SeqCst);
        reads.forget_permits(100);
        let mut asking = mocked.waits("/");
        assert!(mocked.called().is_none(), "it looks");
        purge(&mocked.handle);
        reads.add_permits(100);
        assert!(crate::support::poll_once(asking.as_mut()).is_pending());
        let (asked, _) = mocked.call().await;
        assert!(!asked.headers().contains_key("if-none-match"));
    }
}

#[tokio::test]
async fn purge_during_a_refresh_drops_the_old_entry() {
    for purge in PURGES {
        let (behind, reads) = waits();
        let store = TieredStore::new(MemoryStore::new(MIB), behind);
        let (mut mocked, _) = stale(store, 5).await;
        reads.forget_permits(100);
        assert!(mocked.is_hit("/"), "stale, and being refreshed");
        idle().await;
        assert!(mocked.called().is_none(), "the refresh looks behind the memory");
        purge(&mocked.handle);
        reads.add_permits(100);
        let (asked, call) = mocked.call().await;
        assert!(!asked.headers().contains_key("if-none-match"));
        call.send_response(not_modified());
        idle().await;
        assert!(!mocked.is_hit("/"));
    }
}

const SOFT_PURGES: [Purge; 4] = [
    |handle| drop(handle.soft_purge_url("http://x/").unwrap()),
    |handle| drop(handle.soft_purge_prefix("http://x")),
    |handle| drop(handle.soft_purge_tag("t")),
    |handle| drop(handle.soft_purge_all()),
];

/// A response that is fresh for a minute, and is served stale only to those who accept that.
fn tagged(body: Text) -> Response<Text> {
    let builder = Response::builder().header("cache-control", "max-age=60");
    builder.header("etag", "\"a\"").header("surrogate-key", "t").body(body).unwrap()
}

fn mocked() -> Mocked {
    Mocked::new(&CacheLayer::new(MemoryStore::new(MIB)))
}

#[tokio::test]
async fn soft_purge_during_a_fetch_stores_it_stale() {
    for purge in SOFT_PURGES {
        let mut mocked = mocked();
        let asking = mocked.waits("/");
        let (_, call) = mocked.call().await;
        purge(&mocked.handle);
        call.send_response(tagged(full("old")));
        assert_eq!(crate::support::text(soon(asking).await.unwrap()).await, "old");
        idle().await;
        let asking = mocked.waits("/");
        let (asked, call) = mocked.call().await;
        assert!(asked.headers().contains_key("if-none-match"), "it was stored");
        call.send_response(not_modified());
        assert_eq!(crate::support::text(soon(asking).await.unwrap()).await, "old");
        assert!(mocked.is_hit("/"), "it was confirmed since");
    }
}

#[tokio::test]
async fn soft_purge_behind_a_leader_hands_over() {
    for purge in SOFT_PURGES {
        let mut mocked = mocked();
        let leader = mocked.waits("/");
        let (_, call) = mocked.call().await;
        purge(&mocked.handle);
        let followers = [mocked.waits("/"), mocked.waits("/"), mocked.waits("/")];
        call.send_response(tagged(full("old")));
        assert_eq!(crate::support::text(soon(leader).await.unwrap()).await, "old");
        let mut followers = followers.map(|mut follower| {
            assert!(crate::support::poll_once(follower.as_mut()).is_pending());
            follower
        });
        let (asked, call) = mocked.call().await;
        assert!(asked.headers().contains_key("if-none-match"), "one of them validates");
        for follower in &mut followers {
            assert!(crate::support::poll_once(follower.as_mut()).is_pending());
        }
        assert!(mocked.called().is_none(), "and the others wait for it");
        call.send_response(tagged(full("new")));
        for follower in followers {
            assert_eq!(crate::support::text(soon(follower).await.unwrap()).await, "new");
        }
        assert!(mocked.is_hit("/"));
    }
}

#[tokio::test]
async fn soft_purged_stream_is_not_joined() {
    for purge in SOFT_PURGES {
        let mut mocked = mocked();
        let (mut body, stream) = channel();
        let opened = mocked.opens("/", tagged(stream)).await;
        purge(&mocked.handle);
        let follower = mocked.waits("/");
        let (_, call) = mocked.call().await;
        call.send_response(tagged(full("new")));
        assert_eq!(crate::support::text(soon(follower).await.unwrap()).await, "new");
        body.send_data("old".into()).await.unwrap();
        drop(body);
        assert_eq!(opened.text().await, "old");
    }
}

#[tokio::test]
async fn soft_purge_during_a_validation_outlives_a_304() {
    for purge in SOFT_PURGES {
        let (mut mocked, _) = stale(MemoryStore::new(MIB), 200).await;
        let asking = mocked.waits("/");
        let (_, call) = mocked.call().await;
        purge(&mocked.handle);
        call.send_response(not_modified());
        assert_eq!(crate::support::text(soon(asking).await.unwrap()).await, "old");
        idle().await;
        let _asking = mocked.waits("/");
        let (asked, _call) = mocked.call().await;
        assert!(asked.headers().contains_key("if-none-match"), "that 304 is from before");
    }
}

#[tokio::test]
async fn group_invalidation_during_a_fetch_wins() {
    let mut mocked = mocked();
    let asking = mocked.waits("/");
    let (_, call) = mocked.call().await;
    let post = Request::post("http://x/other").body(full("")).unwrap();
    let posting = mocked.ask(post);
    let answered = async {
        let (_, post) = mocked.call().await;
        let changed = Response::builder().header("cache-group-invalidation", "\"a\"");
        post.send_response(changed.body(full("")).unwrap());
        mocked
    };
    let (posted, mocked) = tokio::join!(soon(posting), answered);
    drop(posted.unwrap());
    let builder = Response::builder().header("cache-control", "max-age=60");
    call.send_response(builder.header("cache-groups", "\"a\"").body(full("old")).unwrap());
    assert_eq!(crate::support::text(soon(asking).await.unwrap()).await, "old");
    assert!(!mocked.is_hit("/"));
}

#[tokio::test]
async fn soft_purge_hits_its_namespace_alone() {
    let memory = MemoryStore::new(MIB);
    let layer = |name| CacheLayer::new(memory.clone()).namespace(name);
    let [one, same, other] = ["a", "a", "b"].map(|name| {
        let rig = Rig::over(layer(name));
        rig.answers_with(200, &[("cache-control", "max-age=60"), ("surrogate-key", "t")]);
        rig
    });
    let is_fresh = async |rig: &Rig| rig.get("/", &[]).await.cache().starts_with("hit; ttl=60");
    for purge in [
        |handle: &CacheHandle| drop(handle.soft_purge_url("http://x.org/").unwrap()),
        |handle: &CacheHandle| drop(handle.soft_purge_prefix("")),
        |handle: &CacheHandle| drop(handle.soft_purge_tag("t")),
    ] {
        one.get("/", &[]).await;
        other.get("/", &[]).await;
        assert!(is_fresh(&same).await && is_fresh(&other).await);
        purge(&one.handle);
        assert!(!is_fresh(&same).await);
        assert!(is_fresh(&other).await);
        assert!(is_fresh(&one).await, "what was stored since is fresh");
    }
    one.handle.soft_purge_all().await.unwrap();
    assert!(!is_fresh(&one).await && !is_fresh(&other).await);
}

#[tokio::test]
async fn layers_over_one_memory_share_purges() {
    let memory = MemoryStore::new(MIB);
    let [one, other] = [(); 2].map(|()| {
        let rig = Rig::over(CacheLayer::new(memory.clone()).namespace("shared"));
        rig.answers_with(200, MINUTE);
        rig
    });
    one.get("/", &[]).await;
    assert!(other.get("/", &[]).await.is_hit());
    drop(other.handle.purge_url("http://x.org/").unwrap());
    // A later purge of something else, and a look of the layer that knows only that.
    one.clock.pass(1);
    drop(one.handle.purge_url("http://x.org/else").unwrap());
    assert!(!one.get("/", &[]).await.is_hit());
    one.get("/", &[]).await;
    assert!(other.get("/", &[]).await.is_hit());
}

#[tokio::test]
async fn many_prefix_purges_leave_strangers() {
    let rig = Rig::new(MINUTE);
    for path in ["/7/a", "/other"] {
        rig.get(path, &[]).await;
    }
    for number in 0..1_000 {
        drop(rig.handle.purge_prefix(&format!("http://x.org/{number}/")));
    }
    assert!(rig.get("/other", &[]).await.is_hit());
    assert!(!rig.get("/7/a", &[]).await.is_hit());
}
