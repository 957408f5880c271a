use std::fmt;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{SemaphorePermit, mpsc};

use super::super::super::entry::{Entry, Watermark};
use super::super::super::error::StoreError;
use super::super::super::purge::SharedPurges;
use super::super::super::purge::Stamp;
use super::super::super::purge::list::{LocalPurge, PurgeLog, Purges};
use super::super::super::purge::table::PurgeTarget;
use super::super::super::task::spawn;
use super::super::api::{Store, some_or};
use super::super::lease::Lease;
use super::backend::{Backend, MAX_WRITTEN_KIB, map_times};
use super::config::RedisConfig;
use super::fills::Fills;
use super::join::join_all;
use super::lease;
use super::purge_queue::PurgeQueue;
use super::status::RedisStatus;
use super::sync_task::SyncTask;

/// A store in Redis or Valkey, which all processes with the same server and the same
/// [`prefix`](RedisConfig::prefix) share. They also share their purges. Clones use one connection.
///
/// ```no_run
/// use tower_kit::cache::{CacheLayer, MemoryStore, RedisConfig, RedisStore, TieredStore};
/// use tower_kit::MIB;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // REDIS_URL, or REDIS_HOST, REDIS_PORT and REDIS_PASSWORD.
/// let redis = RedisStore::connect(RedisConfig::from_env()?);
/// let layer = CacheLayer::new(TieredStore::new(MemoryStore::new(64 * MIB), redis));
/// # drop(layer);
/// # Ok(())
/// # }
/// ```
///
/// # Requirements
///
/// The store needs Redis 6 or later, or Valkey. Its user needs the commands of `+@read +@write
/// +@scripting +@pubsub +@connection`, `TIME`, `INFO` and, in a cluster, `CLUSTER`, on keys and
/// channels that begin with the prefix.
///
/// # Clients
///
/// Two libraries can speak to Redis. The store has the same promises over both, and its tests run over
/// both.
///
/// | | `fred` | `redis` |
/// |---|---|---|
/// | feature | `cache-redis` | `cache-redis-rs` |
/// | one server, unix sockets, clusters, sentinels | yes | yes |
/// | TLS | with `cache-redis-tls` | no |
/// | connections of the program | with `cache-redis-fred` | no |
/// | protocol | RESP2 | RESP3 |
/// | commands in flight when a connection ends | time out | fail at once |
/// | version of Rust | that of this crate | 1.88 |
/// | last release | February 2025 | several each year |
///
/// Choose `redis`, unless you need TLS or share connections with the program: it is maintained, and it
/// notices the loss of a connection without the timeout of a command. `fred` is the default, so that
/// nothing changes for programs that have it. With both features, `RedisConfig::use_redis_rs` chooses
/// `redis`; with `cache-redis-rs` alone, there is nothing to choose.
///
/// # Keys
///
/// Each entry has a time to live. Three keys hold the log of purges and have none: choose a
/// `maxmemory-policy` that does not evict them, such as `volatile-lru`, since the loss of the log
/// purges everything. Control characters of a key are escaped in Redis, as `\n` for a new line.
///
/// [`CacheHandle::purge_all`](super::super::super::CacheHandle::purge_all) changes the names of the
/// keys, so that no process uses the entries from before, and then removes these in the background,
/// in batches. If the process ends or Redis fails meanwhile, they stay until they expire.
///
/// # The log of purges
///
/// The log has two sets of 100,000 names each, of the last 7 days ([`max_ttl`](RedisConfig::max_ttl)):
///
/// - The *purges* are tags, prefixes and URLs that the application has purged or soft-purged. Their
///   entries are still in Redis. Beyond the maximum the log forgets the oldest purges, and all entries
///   from before these are purged.
/// - The *removed names* are URLs that clients have changed by unsafe methods, and values that were
///   inserted or removed by a `ValueCache`. Their entries are no longer in Redis. Beyond the maximum the
///   log forgets the oldest names, which purges nothing: however many URLs clients change, no other entry
///   is dropped. A process that has not used an entry since the oldest name reads the entry from Redis
///   again.
///
/// A removed name becomes a purge if Redis does not remove its entry. The log loses a purge only if Redis
/// does and all processes that have read the purge have ended.
///
/// Processes with a version of this crate that does not know removed names may share the log, as during
/// a deployment. Each removal purges everything for them, and theirs are purges for the others.
///
/// # Clocks
///
/// The clocks of the processes need not agree. An entry in Redis has the time of Redis, and each
/// process converts it to its own clock, to within a second.
#[derive(Clone)]
pub struct RedisStore {
    backend: Arc<Backend>,
    purges: SharedPurges,
    queue: PurgeQueue,
}

impl RedisStore {
    /// Creates a store that connects in the background. Without a connection the store has no
    /// entries and stores none.
    ///
    /// # Panics
    ///
    /// Panics outside of a Tokio runtime.
    #[must_use]
    pub fn connect(config: RedisConfig) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let backend = Arc::new(Backend::new(config));
        let fills = Fills::default();
        let queue = PurgeQueue { sender, backend: Arc::clone(&backend), fills: fills.clone() };
        let purges = Arc::new(Purges::with_log(queue.clone()));
        let task = SyncTask::new(Arc::clone(&backend), Arc::downgrade(&purges), receiver, fills);
        spawn(task.run());
        Self { backend, purges: SharedPurges(purges), queue }
    }

    /// Waits until the store has read the log of purges, and from then on uses entries. A service
    /// need not wait for that.
    pub async fn ready(&self) {
        self.backend.wait_synced().await;
    }

    /// Returns the state of the connection, for display. Keep a clone of the store for that.
    #[must_use]
    pub fn status(&self) -> RedisStatus {
        RedisStatus {
            synced: self.backend.is_synced(),
            breaker_open: self.backend.breaker.is_open(),
            error: self.backend.last_error.get(),
        }
    }

    /// Takes a permit for this number of entries to read, or returns `None` if no command is to be
    /// sent.
    async fn permit_reads(&self, number: u32) -> Result<Option<SemaphorePermit<'_>>, StoreError> {
        let backend = &self.backend;
        if let Ok(permit) = backend.reads.try_acquire_many(number) {
            return Ok(Some(permit));
        }
        let permit = backend.reads.acquire_many(number);
        let permit = tokio::time::timeout(backend.config.command_timeout, permit).await;
        let Ok(Ok(permit)) = permit else { return Err(backend.failed("busy")) };
        // The reads before this one got no reply: this one would wait in vain.
        Ok(Some(permit).filter(|_| !backend.breaker.is_open()))
    }

    /// Reads up to [`MAX_BATCH`] keys in one round trip.
    ///
    /// The commands go out together, since the client pipelines them, and in a cluster each to its own
    /// node. One MGET would read values of any size, and could not cross the slots of a cluster.
    async fn get_batch(&self, keys: &[&str]) -> Result<Vec<Option<Entry>>, StoreError> {
        let backend = &self.backend;
        let names: Vec<_> = keys.iter().map_while(|key| backend.name(key).ok()).collect();
        let permits = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        let permit = match names.len() == keys.len() {
            true => self.permit_reads(permits).await?,
            // Misses, as in `get`.
            false => None,
        };
        let Some(permit) = permit else { return Ok(vec![None; keys.len()]) };
        let max = self.max_bytes().saturating_add(1);
        let (client, seen) = (backend.client(), self.purges.0.learned());
        let reads = names.iter().map(|name| client.get(name, max)).collect();
        let (mut entries, mut result) = (Vec::with_capacity(keys.len()), Ok(()));
        for ((key, name), read) in keys.iter().zip(&names).zip(join_all(reads).await) {
            entries.push(match read {
                Ok(bytes) if bytes.is_empty() => None,
                Ok(bytes) => self.decode(bytes, key, name.clone(), seen).ok(),
                Err(error) => {
                    result = result.and(Err(error));
                    None
                }
            });
        }
        drop(permit);
        // A batch counts once for the breaker, which opens after a few failures in a row.
        some_or(entries, backend.record_result(result).err())
    }

    /// Decodes the value of the key `name`, which was read when this process knew the purges up to
    /// `seen`. An unusable value is removed, except one of another version of this crate, which is of
    /// use to other processes.
    fn decode(
        &self,
        bytes: Bytes,
        key: &str,
        name: String,
        seen: Stamp,
    ) -> Result<Entry, StoreError> {
        let is_too_large = bytes.len() > self.max_bytes();
        let decoded = if is_too_large { None } else { Some(Entry::from_bytes(bytes, key)) };
        match decoded {
            Some(Ok(entry)) => {
                let learned = self.purges.0.learned();
                let entry = map_times(entry, |_, watermark| {
                    *watermark = Watermark::seen(watermark.get().min(learned), seen);
                });
                Ok(self.backend.to_local(entry))
            }
            Some(Err(invalid)) if invalid.is_other_version() => Err(self.backend.failed("version")),
            _ => {
                let backend = Arc::clone(&self.backend);
                spawn(async move {
                    drop(backend.record_result(backend.client().remove(&name).await));
                });
                Err(self.backend.failed(if is_too_large { "too-large" } else { "damaged" }))
            }
        }
    }

    /// Encodes an entry, and takes a permit for its bytes.
    fn encode(&self, entry: Entry, key: &str) -> Result<(Bytes, SemaphorePermit<'_>), StoreError> {
        let bytes = self.backend.to_server(entry).to_bytes(key);
        if bytes.len() > self.max_bytes() {
            return Err(self.backend.failed("too-large"));
        }
        let kib = u32::try_from(bytes.len() / 1024 + 1).unwrap_or(u32::MAX);
        let permit = self.backend.writes.try_acquire_many(kib.min(MAX_WRITTEN_KIB));
        Ok((bytes, permit.map_err(|_| self.backend.failed("busy"))?))
    }

    /// Returns the expiration of a key, in milliseconds, which Redis requires to be above 0.
    fn expiration(&self, ttl: Duration) -> i64 {
        let millis = ttl.min(self.backend.config.max_ttl).as_millis();
        i64::try_from(millis).unwrap_or(i64::MAX).max(1)
    }

    fn max_bytes(&self) -> usize {
        usize::try_from(self.backend.config.max_entry_size).unwrap_or(usize::MAX)
    }
}

impl Store for RedisStore {
    /// Returns nothing if no command would be sent.
    fn get_now(&self, _key: &str) -> Poll<Option<Entry>> {
        if !self.backend.breaker.is_open() {
            return Poll::Pending;
        }
        drop(self.backend.failed("breaker"));
        Poll::Ready(None)
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let backend = &self.backend;
        // A miss rather than an error, which the layer would count a second time.
        let Ok(name) = backend.name(key) else { return Ok(None) };
        let Some(permit) = self.permit_reads(1).await? else { return Ok(None) };
        // One byte more shows that a value is too large.
        let max = self.max_bytes().saturating_add(1);
        let seen = self.purges.0.learned();
        let bytes = backend.record_result(backend.client().get(&name, max).await)?;
        drop(permit);
        if bytes.is_empty() { Ok(None) } else { self.decode(bytes, key, name, seen).map(Some) }
    }

    async fn get_many(&self, keys: &[&str]) -> Result<Vec<Option<Entry>>, StoreError> {
        let (mut entries, mut failure) = (Vec::with_capacity(keys.len()), None);
        for keys in keys.chunks(MAX_BATCH) {
            match self.get_batch(keys).await {
                Ok(batch) => entries.extend(batch),
                Err(error) => {
                    entries.resize(entries.len() + keys.len(), None);
                    failure = Some(error);
                }
            }
        }
        some_or(entries, failure)
    }

    async fn put(&self, key: &str, entry: Entry, ttl: Duration) -> Result<(), StoreError> {
        let backend = &self.backend;
        let name = backend.name(key)?;
        let (bytes, _permit) = self.encode(entry, key)?;
        backend.record_result(backend.client().set(&name, bytes, self.expiration(ttl)).await)
    }

    async fn update(
        &self,
        key: &str,
        ttl: Duration,
        change: &mut (dyn FnMut(Option<Entry>) -> Entry + Send),
    ) -> Result<(), StoreError> {
        let backend = &self.backend;
        let name = backend.name(key)?;
        let max = self.max_bytes().saturating_add(1);
        // Each round that fails is one in which another process has succeeded.
        for _ in 0..MAX_UPDATE_ROUNDS {
            let old = backend.record_result(backend.client().get_to_update(&name, max).await)?;
            // An unusable value is replaced.
            let entry = Entry::from_bytes(old.clone(), key).ok().map(|old| backend.to_local(old));
            let (new, _permit) = self.encode(change(entry), key)?;
            let set = backend.client().compare_and_set(&name, old, new, self.expiration(ttl)).await;
            if backend.record_result(set)? {
                return Ok(());
            }
        }
        Err(backend.failed("busy"))
    }

    async fn remove(&self, key: &str) -> Result<(), StoreError> {
        let backend = &self.backend;
        let name = backend.name(key)?;
        backend.record_result(backend.client().remove(&name).await)
    }

    /// Purges the entries of all processes with this prefix. The background task removes them.
    async fn clear(&self) -> Result<(), StoreError> {
        let all = LocalPurge { target: PurgeTarget::ALL, number: 0 };
        self.queue.confirm(self.queue.write(all)).await
    }

    fn purges(&self) -> Option<SharedPurges> {
        Some(self.purges.clone())
    }

    fn max_entry_size(&self) -> u64 {
        self.backend.config.max_entry_size
    }

    async fn lease(&self, key: &str) -> Lease {
        let backend = &self.backend;
        // A Redis that is away must not keep anyone from fetching.
        let Some(time) = backend.config.lease_ttl else { return Lease::free() };
        let Ok(name) = backend.name(&format!("lease:{key}")) else { return Lease::free() };
        lease::take(backend, name, time).await
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("config", &self.backend.config)
            .field("status", &self.status())
            .finish()
    }
}

/// The maximum number of keys of a round trip: a quarter of the entries that may be read at the same
/// time, so that a batch leaves permits for others.
const MAX_BATCH: usize = 64;

/// The maximum number of attempts to update an entry that other processes update as well.
const MAX_UPDATE_ROUNDS: usize = 64;
