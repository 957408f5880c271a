use std::fmt;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwapOption;
#[cfg(feature = "cache-redis-fred")]
use fred::clients::Pool;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, mpsc, watch};

use super::super::super::entry::Entry;
use super::super::super::purge::{Own, Purges, SharedPurges};
use super::super::super::task::spawn;
use super::super::api::{Store, StoreError};
use super::super::lease::Lease;
use super::breaker::Breaker;
use super::client::{Client, Failure};
use super::config::RedisConfig;
use super::lease;
use super::log::{Keeper, Outbox};
use super::status::{RedisStatus, Trouble};
use super::sync::Sync;
use super::tally::Tally;
use crate::clock;

/// Keeps entries in Redis or Valkey, for all processes that use the same one with the same prefix,
/// and tells them of purges. Clones are the same.
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
/// It needs Redis 6 or newer, or Valkey, and as a user of it, on keys and channels that begin with
/// its prefix, the commands of `+@read +@write +@scripting +@pubsub +@connection`, `TIME`, `INFO` and,
/// in a cluster, `CLUSTER`. Every entry has a time to live; two keys that hold the list of purges
/// have none. Where Redis evicts (`maxmemory-policy`), a policy that spares these, such as
/// `volatile-lru`, keeps their loss from being a purge of all.
///
/// The list has room for 100,000 names: tags, prefixes, and the URLs that were purged or changed
/// (by a 2xx or 3xx to an unsafe method) in the last 7 days. When there are more, the oldest are
/// forgotten, and with them all that was kept before: a service where clients change 100 URLs a
/// second has no entry that is older than a quarter of an hour. A purge is lost only if Redis loses
/// it, and every process that has read it has ended.
#[derive(Clone)]
pub struct RedisStore {
    state: Arc<State>,
    purges: SharedPurges,
    outbox: Outbox,
}

/// What requests and the task in the background share.
pub(super) struct State {
    pub(super) client: Client,
    pub(super) breaker: Breaker,
    /// The breaker has opened.
    pub(super) opened: Notify,
    tally: Tally,
    synced: watch::Sender<bool>,
    pub(super) trouble: Trouble,
    /// What keys begin with, since the last purge of all. None as long as that is not known.
    prefix: ArcSwapOption<String>,
    reads: Semaphore,
    writes: Semaphore,
    pub(super) config: RedisConfig,
}

impl RedisStore {
    /// Returns at once, and connects in the background; until then, and whenever Redis is away, it
    /// has nothing, and keeps nothing.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    #[must_use]
    pub fn connect(config: RedisConfig) -> Self {
        let (letters, received) = mpsc::unbounded_channel();
        let state = Arc::new(State::new(config));
        let outbox = Outbox { letters, state: Arc::clone(&state) };
        let purges = Arc::new(Purges::written_to(outbox.clone()));
        let keeper = Keeper {
            purges: Arc::downgrade(&purges),
            letters: received,
            sync: Sync::new(&state.config.prefix, state.config.longest),
            unheard: state.config.unheard,
            heard: None,
            deaf: false,
            next: clock::timer_now(),
            state: Arc::clone(&state),
        };
        spawn(keeper.run());
        Self { state, purges: SharedPurges(purges), outbox }
    }

    /// Connects through a pool of the caller's: [`RedisConfig::from_client`].
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    #[cfg(feature = "cache-redis-fred")]
    #[must_use]
    pub fn from_client(pool: Pool) -> Self {
        Self::connect(RedisConfig::from_client(pool))
    }

    /// Waits until the list of purges was read from Redis: entries are used only from then on. No
    /// service needs to wait for that.
    pub async fn ready(&self) {
        // It fails only if there is no sender, and this is one.
        drop(self.state.synced.subscribe().wait_for(|synced| *synced).await);
    }

    /// The state of the connection, to be shown. Keep a clone of the store for it.
    #[must_use]
    pub fn status(&self) -> RedisStatus {
        RedisStatus {
            synced: self.state.is_in_step(),
            breaker_open: self.state.breaker.is_open(),
            error: self.state.trouble.get(),
        }
    }
}

impl Store for RedisStore {
    /// Nothing, if Redis would not be asked.
    fn get_now(&self, _key: &str) -> Poll<Option<Entry>> {
        if self.state.is_asked() {
            return Poll::Pending;
        }
        self.state.tally.failed("breaker");
        Poll::Ready(None)
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let state = &self.state;
        let Ok(name) = state.name(key) else { return Ok(None) };
        let permit = match state.reads.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                let waiting = tokio::time::timeout(state.config.budget, state.reads.acquire());
                let Ok(Ok(permit)) = waiting.await else { return Err(state.failed("busy")) };
                if !state.is_asked() {
                    // Those that it waited for got no answer: it need not wait for one too.
                    return Ok(None);
                }
                permit
            }
        };
        let most = usize::try_from(state.config.largest).unwrap_or(usize::MAX);
        let bytes = state.heard(state.client.get(&name, most.saturating_add(1)).await)?;
        drop(permit);
        if bytes.is_empty() {
            return Ok(None);
        }
        let decoded = if bytes.len() > most { None } else { Some(Entry::from_bytes(bytes, key)) };
        match decoded {
            Some(Ok(entry)) => Ok(Some(entry.known_at(self.purges.0.learned()))),
            // Of another version: it is of use to other processes.
            Some(Err(invalid)) if invalid.is_other_version() => Err(state.failed("version")),
            strange => {
                let of_use = Arc::clone(state);
                spawn(async move { drop(of_use.heard(of_use.client.remove(&name).await)) });
                let large = strange.is_none();
                Err(state.failed(if large { "too-large" } else { "damaged" }))
            }
        }
    }

    async fn put(&self, key: &str, entry: Entry, ttl: Duration) -> Result<(), StoreError> {
        let state = &self.state;
        let name = state.name(key)?;
        let bytes = entry.to_bytes(key);
        if bytes.len() as u64 > state.config.largest {
            return Err(state.failed("too-large"));
        }
        // What waits to be written is bounded in bytes.
        let weight = u32::try_from(bytes.len() / 1024 + 1).unwrap_or(u32::MAX);
        let Ok(_permit) = state.writes.try_acquire_many(weight.min(MOST_WRITES)) else {
            return Err(state.failed("busy"));
        };
        let millis = ttl.min(state.config.longest).as_millis();
        let millis = i64::try_from(millis).unwrap_or(i64::MAX).max(1);
        state.heard(state.client.set(&name, bytes, millis).await)
    }

    async fn remove(&self, key: &str) -> Result<(), StoreError> {
        let state = &self.state;
        let name = state.name(key)?;
        state.heard(state.client.remove(&name).await)
    }

    /// Of all processes, and all that has this prefix. It is not used any more; Redis forgets it when
    /// its time comes.
    async fn clear(&self) -> Result<(), StoreError> {
        self.outbox.send(Own { name: None, number: 0 }).await
    }

    fn purges(&self) -> Option<SharedPurges> {
        Some(self.purges.clone())
    }

    async fn lease(&self, key: &str) -> Lease {
        let state = &self.state;
        let Some(time) = state.config.lease else { return Lease::free() };
        let Ok(name) = state.name(&format!("lease:{key}")) else { return Lease::free() };
        lease::take(state, name, time).await
    }
}

impl State {
    fn new(config: RedisConfig) -> Self {
        let state = Self {
            client: Client::new(config.server.clone(), config.budget),
            breaker: Breaker::default(),
            opened: Notify::new(),
            tally: Tally::new(config.metrics.clone()),
            synced: watch::Sender::new(false),
            trouble: Trouble::default(),
            prefix: ArcSwapOption::empty(),
            reads: Semaphore::new(MOST_READS),
            writes: Semaphore::new(MOST_WRITES as usize),
            config,
        };
        state.tally.open(false);
        state.tally.synced(false);
        state
    }

    /// What Redis calls a key. An error, which is counted, if it is not to be asked, or cannot: a body
    /// may be dropped where there is no runtime any more.
    fn name(&self, key: &str) -> Result<String, StoreError> {
        let open = self.breaker.is_open();
        let prefix = self.prefix.load();
        let prefix = prefix.as_ref().filter(|_| !open && Handle::try_current().is_ok());
        let reason = if open { "breaker" } else { "connection" };
        let prefix = prefix.ok_or_else(|| self.failed(reason))?;
        let mut name = String::with_capacity(prefix.len() + key.len());
        name.push_str(prefix);
        name.push_str(key);
        Ok(name)
    }

    fn is_asked(&self) -> bool {
        !self.breaker.is_open()
    }

    pub(super) fn is_in_step(&self) -> bool {
        *self.synced.borrow()
    }

    /// `flushed` is the stamp of the last purge of all.
    pub(super) fn synced(&self, flushed: u64) {
        // Empty braces: clients choose what follows, and shall not choose the slot in a cluster.
        let prefix = format!("{}1:{flushed:x}{{}}:", self.config.prefix);
        if self.prefix.load().as_ref().is_none_or(|old| **old != prefix) {
            self.prefix.store(Some(Arc::new(prefix)));
        }
        self.trouble.clear();
        if self.breaker.is_open() {
            self.tally.open(false);
        }
        self.breaker.close();
        if !self.synced.send_replace(true) {
            self.tally.synced(true);
        }
    }

    fn refused(&self, failure: &Failure) {
        self.tally.failed(failure.name());
        self.trouble.of_command(failure);
    }

    pub(super) fn out_of_step(&self, failure: &Failure) {
        self.refused(failure);
        if failure.is_outage() && self.breaker.open() {
            self.tally.open(true);
        }
        self.lose_step();
    }

    pub(super) fn lose_step(&self) {
        if self.synced.send_replace(false) {
            self.tally.synced(false);
        }
    }

    /// What a command's outcome says of the connection.
    pub(super) fn heard<T>(&self, outcome: Result<T, Failure>) -> Result<T, StoreError> {
        outcome.inspect(|_| self.breaker.succeeded()).map_err(|failure| {
            self.refused(&failure);
            if !failure.is_outage() {
                self.breaker.succeeded();
            } else if self.breaker.failed() {
                self.tally.open(true);
                self.opened.notify_one();
            }
            StoreError::new(failure)
        })
    }

    fn failed(&self, reason: &'static str) -> StoreError {
        self.tally.failed(reason);
        StoreError::new(reason)
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("config", &self.state.config)
            .field("status", &self.status())
            .finish()
    }
}

/// Reads at a time; further ones wait for one of these.
const MOST_READS: usize = 256;

/// What is being written at a time, in KiB; further ones are not.
const MOST_WRITES: u32 = 32 * 1024;
