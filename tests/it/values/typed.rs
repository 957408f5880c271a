//! Values that stay decoded in memory.

use std::convert::Infallible;
use std::error::Error;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tower_kit::cache::{Entry, MemoryStore, Store, TieredStore};
use tower_kit::values::{Codec, Loaded, TypedCache};
use tower_kit::{MIB, ValueCache};

use super::{Down, Remote, Rig, SECOND, idle};

/// A value without `serde`, and without `Clone`.
#[derive(Debug, PartialEq)]
struct Text(String);

/// A codec that counts its calls.
#[derive(Clone)]
struct Counting {
    name: &'static str,
    encoded: Arc<AtomicUsize>,
    decoded: Arc<AtomicUsize>,
    size: Option<usize>,
}

impl Counting {
    fn new() -> Self {
        Self::named("text/1")
    }

    fn named(name: &'static str) -> Self {
        Self { name, encoded: Arc::default(), decoded: Arc::default(), size: None }
    }

    fn counts(&self) -> (usize, usize) {
        (self.encoded.load(Ordering::SeqCst), self.decoded.load(Ordering::SeqCst))
    }
}

impl Codec<Text> for Counting {
    fn name(&self) -> &'static str {
        self.name
    }

    fn encode(&self, Text(text): &Text) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        self.encoded.fetch_add(1, Ordering::SeqCst);
        if text.contains('!') { Err("too loud".into()) } else { Ok(text.clone().into_bytes()) }
    }

    fn decode(&self, bytes: &[u8]) -> Result<Text, Box<dyn Error + Send + Sync>> {
        self.decoded.fetch_add(1, Ordering::SeqCst);
        Ok(Text(String::from_utf8(bytes.to_vec())?))
    }

    fn is_absent(&self, bytes: &[u8]) -> bool {
        bytes.is_empty()
    }

    fn decoded_size(&self, Text(text): &Text, encoded: usize) -> usize {
        assert_eq!(text.len(), encoded);
        self.size.unwrap_or(encoded)
    }
}

fn text(text: &str) -> Text {
    Text(text.to_owned())
}

async fn load(cache: &TypedCache<Text>, loaded: &str) -> Arc<Text> {
    let load = || ready(Ok::<_, Infallible>(Loaded::new(text(loaded))));
    cache.get_or_insert_with("key", None, load).await.unwrap()
}

#[tokio::test]
async fn hit_decodes_nothing() {
    let (rig, codec) = (Rig::new(), Counting::new());
    let cache = rig.cache.typed_with(codec.clone());
    let first = load(&cache, "a").await;
    for _ in 0..3 {
        assert!(Arc::ptr_eq(&load(&cache, "b").await, &first));
        assert!(Arc::ptr_eq(&cache.get("key").await.unwrap(), &first));
        assert!(Arc::ptr_eq(cache.get_entry("key").await.unwrap().value(), &first));
    }
    let inserted = Arc::new(text("c"));
    cache.insert("key", Arc::clone(&inserted), None).await.unwrap();
    assert!(Arc::ptr_eq(&cache.clone().get("key").await.unwrap(), &inserted));
    assert_eq!(codec.counts(), (2, 0));
}

#[tokio::test]
async fn herd_shares_one_value() {
    let (rig, codec) = (Rig::new(), Counting::new());
    let cache = rig.cache.typed_with(codec.clone());
    let ask = || {
        let (cache, database) = (cache.clone(), rig.database.clone());
        async move {
            let load = async move || {
                database.query().await.map(|number| Loaded::new(text(&number.to_string())))
            };
            cache.get_or_insert_with("key", None, load).await
        }
    };
    let herd: JoinSet<_> = (0..20).map(|_| ask()).collect();
    idle().await;
    rig.database.answers(1);
    let got: Vec<_> = herd.join_all().await.into_iter().map(Result::unwrap).collect();
    assert!(got.iter().all(|value| Arc::ptr_eq(value, &got[0])));
    assert_eq!((rig.database.begun(), codec.counts()), (1, (1, 0)));
}

#[tokio::test]
async fn value_behind_the_memory_is_decoded_once() {
    let (behind, codec) = (Remote::new(), Counting::new());
    let process = || {
        let store = TieredStore::new(MemoryStore::new(16 * MIB), behind.clone());
        ValueCache::new(store).typed_with(codec.clone())
    };
    let (one, other) = (process(), process());
    // As bytes, since the memory behind would share the entry itself.
    one.insert("key", text("a"), None).await.unwrap();
    let Ok(Some(entry)) = behind.inner.get("value=:key").await else { panic!("it is stored") };
    let entry = Entry::from_bytes(entry.to_bytes("value=:key"), "value=:key").unwrap();
    behind.inner.put("value=:key", entry, SECOND).await.unwrap();
    let first = other.get("key").await.unwrap();
    assert_eq!((&*first, codec.counts()), (&text("a"), (1, 1)));
    for _ in 0..3 {
        assert!(Arc::ptr_eq(&other.get("key").await.unwrap(), &first));
    }
    assert_eq!(codec.counts(), (1, 1));
}

#[tokio::test]
async fn bytes_of_another_codec_are_not_decoded() {
    let rig = Rig::new();
    let (one, other) = (Counting::named("text/1"), Counting::named("text/2"));
    rig.cache.typed_with(one).insert("key", text("7"), None).await.unwrap();
    let cache = rig.cache.typed_with(other.clone());
    assert_eq!(cache.get("key").await, None);
    assert_eq!(rig.cache.get::<i32>("key").await, None, "nor are they JSON");
    assert_eq!(rig.cache.typed::<i32>().get("key").await, None);
    assert_eq!(load(&cache, "b").await.0, "b");
    // The load looks twice: another caller may have stored the value meanwhile.
    assert_eq!((other.counts(), rig.errors("decode")), ((1, 0), 5));
}

#[tokio::test]
async fn json_is_shared_with_the_untyped_cache() {
    let rig = Rig::new();
    let numbers = rig.cache.typed::<Vec<i32>>();
    numbers.insert("typed", vec![1, 2], None).await.unwrap();
    assert_eq!(rig.cache.get("typed").await, Some(vec![1, 2]));
    // Another type of the same JSON leaves the decoded value in its place.
    let other = rig.cache.typed::<[i64; 2]>();
    assert_eq!(other.get("typed").await.as_deref(), Some(&[1, 2]));
    let twice = (numbers.get("typed").await.unwrap(), numbers.get("typed").await.unwrap());
    assert!(Arc::ptr_eq(&twice.0, &twice.1));
    rig.cache.insert("untyped", &[3], None).await.unwrap();
    let twice = (numbers.get("untyped").await.unwrap(), numbers.get("untyped").await.unwrap());
    assert_eq!(*twice.0, [3]);
    assert!(!Arc::ptr_eq(&twice.0, &twice.1), "it is not counted as decoded, and not kept so");
}

#[tokio::test]
async fn decoded_value_counts_in_memory() {
    let used = async |size| {
        let store = MemoryStore::new(16 * MIB);
        let codec = Counting { size, ..Counting::new() };
        let cache = ValueCache::new(store.clone()).typed_with(codec.clone());
        cache.insert("key", text(&"a".repeat(100)), None).await.unwrap();
        let bytes = store.usage().bytes;
        cache.get("key").await.unwrap();
        cache.get("key").await.unwrap();
        assert_eq!(store.usage().bytes, bytes, "a hit changes no weight");
        cache.remove("key").await.unwrap();
        assert_eq!(store.usage().bytes, 0);
        (bytes, codec.counts().1)
    };
    let (none, decodes) = used(Some(0)).await;
    assert_eq!(decodes, 2, "a value that counts nothing is not kept");
    assert_eq!(used(None).await, (none + 100, 0));
    assert_eq!(used(Some(10_000)).await, (none + 10_000, 0));
}

#[tokio::test]
async fn oversized_value_is_not_in_memory() {
    let store = MemoryStore::new(16 * MIB);
    let codec = Counting { size: Some(usize::MAX), ..Counting::new() };
    let cache = ValueCache::new(store.clone()).typed_with(codec);
    assert_eq!(load(&cache, "a").await.0, "a");
    assert_eq!((cache.get("key").await, store.usage().entries), (None, 0));
}

#[tokio::test]
async fn evicted_value_leaves_the_memory() {
    let store = MemoryStore::new(MIB);
    let codec = Counting { size: Some(100_000), ..Counting::new() };
    let cache = ValueCache::new(store.clone()).typed_with(codec);
    let mut values = Vec::new();
    for number in 0..100 {
        let value = Arc::new(text(&number.to_string()));
        values.push(Arc::downgrade(&value));
        cache.insert(&number.to_string(), value, None).await.unwrap();
    }
    let alive = values.iter().filter(|value| value.strong_count() > 0).count();
    assert_eq!(alive as u64, store.usage().entries);
    assert!((1..=10).contains(&alive), "{alive}");
}

#[tokio::test]
async fn value_that_cannot_be_encoded_is_returned() {
    let rig = Rig::new();
    let cache = rig.cache.typed_with(Counting::new());
    let error = cache.insert("key", text("a!"), None).await.unwrap_err();
    assert!(error.is_encode());
    assert_eq!(error.to_string(), "the value for the cache cannot be encoded: too loud");
    assert_eq!(load(&cache, "b!").await.0, "b!");
    assert_eq!((cache.get("key").await, rig.errors("encode")), (None, 2));
}

#[tokio::test]
async fn absent_value_of_a_codec_has_a_shorter_ttl() {
    let rig = Rig::with(MemoryStore::new(16 * MIB), |cache| cache.negative_ttl(5 * SECOND));
    let cache = rig.cache.typed_with(Counting::new());
    assert_eq!(load(&cache, "").await.0, "");
    rig.pass(5);
    assert_eq!(load(&cache, "a").await.0, "a");
    rig.pass(3599);
    assert_eq!(load(&cache, "b").await.0, "a");
}

#[tokio::test]
async fn removal_and_expiry_hold_for_typed_values() {
    let rig = Rig::with(MemoryStore::new(16 * MIB), |cache| {
        cache.ttl(10 * SECOND).stale_while_revalidate(10 * SECOND)
    });
    let cache = rig.cache.typed::<u64>();
    let ask = async |value| {
        let load = move || ready(Ok::<u64, Down>(value));
        let got = *cache.get_or_refresh_with("key", None, load).await.unwrap();
        idle().await;
        got
    };
    assert_eq!(ask(1).await, 1);
    rig.pass(10);
    assert_eq!((ask(2).await, ask(3).await), (1, 2), "it is refreshed in the background");
    cache.untyped().expire("key").await.unwrap();
    assert_eq!((cache.get("key").await, ask(4).await, ask(5).await), (None, 2, 4));
    cache.remove("key").await.unwrap();
    assert_eq!(ask(6).await, 6);
    cache.insert("key", 7, Duration::ZERO).await.unwrap();
    assert_eq!(cache.get("key").await, None);
}

#[tokio::test]
async fn unchanged_value_stays_the_same() {
    let rig = Rig::with(MemoryStore::new(16 * MIB), |cache| {
        cache.ttl(10 * SECOND).stale_if_error(60 * SECOND)
    });
    let cache = rig.cache.typed_with(Counting::new());
    let first = load(&cache, "a").await;
    rig.pass(11);
    let load = move |stale: Option<tower_kit::values::ValueEntry<Arc<Text>>>| {
        ready(Ok::<_, Down>(stale.expect("it is stale").unchanged()))
    };
    let again = cache.get_or_revalidate_with("key", None, load).await.unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    assert!(Arc::ptr_eq(&first, &cache.get("key").await.unwrap()), "it is fresh");
}
