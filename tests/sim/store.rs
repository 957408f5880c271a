//! A store outside of the processes, which fails as such stores do.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;
use tower_kit::cache::{Entry, Lease, SharedPurges, Store, StoreError};

use crate::chance::Chance;
use crate::driver::Pauses;
use crate::text::checksum;
use crate::time::Time;

/// The connection of one process to the store.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    shared: Arc<Shared>,
    purges: SharedPurges,
    link: Arc<Link>,
    process: u64,
    time: Arc<Time>,
    pauses: Arc<Pauses>,
}

/// The contents of the store.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// All that was ever put under a key: a replica may lag behind.
    entries: Mutex<HashMap<String, Vec<Bytes>>>,
    leases: Mutex<HashSet<String>>,
}

/// The faults of one process's connection.
#[derive(Debug)]
pub(crate) struct Link {
    /// Nothing passes.
    pub(crate) partitioned: AtomicBool,
    /// Of 1,000 operations so many fail in some way.
    pub(crate) faults: AtomicU64,
    chance: Mutex<Chance>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Error,
    /// The operation takes effect, but its result comes too late.
    Slow,
    /// A write is executed long after its result was given up, or a read sees an older entry.
    Late,
    /// A write is lost, though it seems to succeed; a read finds nothing.
    Lost,
    /// A read returns bytes that are damaged.
    Damaged,
}

impl Remote {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        purges: &SharedPurges,
        process: u64,
        time: &Arc<Time>,
        pauses: &Arc<Pauses>,
        chance: Chance,
    ) -> Self {
        let link = Link {
            partitioned: AtomicBool::new(false),
            faults: AtomicU64::new(0),
            chance: Mutex::new(chance),
        };
        Self {
            shared: Arc::clone(shared),
            purges: purges.clone(),
            link: Arc::new(link),
            process,
            time: Arc::clone(time),
            pauses: Arc::clone(pauses),
        }
    }

    pub(crate) fn link(&self) -> Arc<Link> {
        Arc::clone(&self.link)
    }

    /// Waits as long as the operation takes.
    async fn travel(&self) -> Result<Fault, StoreError> {
        let (fault, yields, delay, hangs) = {
            let mut chance = self.link.chance.lock().unwrap();
            let faulty = chance.among(0..1000) < self.link.faults.load(Ordering::Relaxed);
            let fault = match chance.among(0..5) {
                _ if !faulty => Fault::None,
                0 => Fault::Error,
                1 => Fault::Slow,
                2 => Fault::Late,
                3 => Fault::Lost,
                _ => Fault::Damaged,
            };
            let delay = if chance.one_in(3) { chance.among(1..20) } else { 0 };
            (fault, chance.among(0..3), delay, chance.one_in(2))
        };
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        if delay > 0 {
            sleep(Duration::from_millis(delay)).await;
        }
        if self.link.partitioned.load(Ordering::Relaxed) {
            if hangs {
                sleep(Duration::from_secs(5)).await;
            }
            return Err(StoreError::new("the store is cut off"));
        }
        match fault {
            Fault::Error => Err(StoreError::new("the store fails")),
            other => Ok(other),
        }
    }

    /// Waits longer than the cache does.
    async fn hang(&self) -> StoreError {
        sleep(Duration::from_millis(1500)).await;
        StoreError::new("the store is slow")
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<String, Vec<Bytes>>> {
        self.shared.entries.lock().unwrap()
    }

    fn write(&self, key: &str, bytes: Bytes) {
        self.entries().entry(key.to_owned()).or_default().push(bytes);
    }

    fn read(&self, key: &str, fault: Fault) -> Result<Option<Entry>, StoreError> {
        let entries = self.entries();
        let Some(versions) = entries.get(key) else { return Ok(None) };
        let found = match fault {
            Fault::Lost => None,
            Fault::Late => {
                let back = self.link.chance.lock().unwrap().among(0..versions.len() as u64 + 1);
                versions.iter().rev().nth(back as usize).cloned()
            }
            Fault::Damaged => versions.last().map(|bytes| {
                let mut bytes = bytes.to_vec();
                let at = self.link.chance.lock().unwrap().among(0..bytes.len() as u64);
                bytes[at as usize] ^= 1;
                Bytes::from(bytes)
            }),
            _ => versions.last().cloned(),
        };
        found.map(|bytes| Entry::from_bytes(bytes, key)).transpose().map_err(StoreError::new)
    }
}

impl Shared {
    pub(crate) fn leases(&self) -> usize {
        self.leases.lock().unwrap().len()
    }

    /// Returns how many keys begin with this URL.
    pub(crate) fn keys_of(&self, url: &str) -> usize {
        self.entries.lock().unwrap().keys().filter(|key| key.contains(url)).count()
    }
}

impl Store for Remote {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let fault = self.travel().await?;
        if fault == Fault::Slow {
            return Err(self.hang().await);
        }
        self.read(key, fault)
    }

    async fn put(&self, key: &str, entry: Entry, _ttl: Duration) -> Result<(), StoreError> {
        let bytes = entry.to_bytes(key);
        match self.travel().await? {
            Fault::Lost => {}
            Fault::Late => {
                let (own, key) = (self.clone(), key.to_owned());
                tokio::spawn(async move {
                    sleep(Duration::from_secs(4)).await;
                    own.write(&key, bytes);
                });
                return Err(self.hang().await);
            }
            Fault::Slow => {
                self.write(key, bytes);
                return Err(self.hang().await);
            }
            _ => self.write(key, bytes),
        }
        Ok(())
    }

    async fn update(
        &self,
        key: &str,
        _ttl: Duration,
        change: &mut (dyn FnMut(Option<Entry>) -> Entry + Send),
    ) -> Result<(), StoreError> {
        let fault = self.travel().await?;
        let bytes = change(self.read(key, Fault::None)?).to_bytes(key);
        match fault {
            Fault::Lost => {}
            Fault::Slow | Fault::Late => {
                self.write(key, bytes);
                return Err(self.hang().await);
            }
            _ => self.write(key, bytes),
        }
        Ok(())
    }

    async fn remove(&self, key: &str) -> Result<(), StoreError> {
        let fault = self.travel().await?;
        if fault != Fault::Lost {
            self.entries().remove(key);
        }
        Ok(())
    }

    async fn clear(&self) -> Result<(), StoreError> {
        self.travel().await?;
        self.entries().clear();
        Ok(())
    }

    fn purges(&self) -> Option<SharedPurges> {
        Some(self.purges.clone())
    }

    async fn lease(&self, key: &str) -> Lease {
        // The cache waits for a random time between two attempts. From here on each attempt is at a
        // time that only the key and the process decide, so that a seed is always the same story.
        let turn = checksum(key.as_bytes()).wrapping_add(self.process * 31) % TICK;
        let past = self.time.elapsed() % TICK;
        sleep(Duration::from_millis((TICK + turn - past) % TICK)).await;
        if self.link.partitioned.load(Ordering::Relaxed) {
            return Lease::free();
        }
        let is_free = self.shared.leases.lock().unwrap().insert(key.to_owned());
        self.pauses.note(!is_free);
        if is_free {
            return Lease::held(Held(Arc::clone(&self.shared), key.to_owned()));
        }
        Lease::taken()
    }
}

struct Held(Arc<Shared>, String);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.leases.lock().unwrap().remove(&self.1);
    }
}

/// Longer than a pause of the cache between two attempts and two reads, in milliseconds.
const TICK: u64 = 100;
