use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use sha2::{Digest, Sha256};

use super::policy::{DictionaryHash, is_zstd_dictionary};

/// A bounded store of dictionaries.
///
/// Each slot has the dictionaries of one origin, one pattern and one user. Nothing is found across
/// slots: a client that knows the hash of another user's page finds none.
pub(super) struct Store {
    table: Mutex<Table>,
    pub(super) max_bytes: usize,
    pub(super) max_count: usize,
}

/// A response body that later bodies are compressed with.
pub(super) struct Dictionary {
    /// A number that no other dictionary of the store has.
    pub(super) id: u64,
    pub(super) bytes: Box<[u8]>,
    /// The hash, computed when a client names one first: most clients never do.
    hash: OnceLock<DictionaryHash>,
    /// The dictionary was used since the store last looked for one to evict.
    is_used: AtomicBool,
}

#[derive(Default)]
struct Table {
    /// The dictionaries of each slot, the newest last.
    slots: HashMap<u64, Vec<Arc<Dictionary>>>,
    /// The slots and ids of all dictionaries, and of some that are gone, in the order of eviction.
    queue: VecDeque<(u64, u64)>,
    count: usize,
    bytes: usize,
    next_id: u64,
}

impl Store {
    pub(super) fn new(max_bytes: usize, max_count: usize) -> Self {
        Self { table: Mutex::default(), max_bytes, max_count }
    }

    /// Finds a dictionary by its hash.
    pub(super) fn find(&self, slot: u64, hash: &DictionaryHash) -> Option<Arc<Dictionary>> {
        let mut unhashed = Vec::new();
        {
            let table = self.lock();
            let mut bytes = 0;
            for dictionary in table.slots.get(&slot)?.iter().rev() {
                match dictionary.hash.get() {
                    Some(known) if known == hash => return Some(dictionary.touched()),
                    Some(_) => {}
                    // Older ones wait for the next request: each is hashed once, but a client must
                    // not make one request hash all of them.
                    None if bytes < MAX_HASHED => {
                        bytes += dictionary.bytes.len();
                        unhashed.push(Arc::clone(dictionary));
                    }
                    None => {}
                }
            }
        }
        // Hashed without the lock, which other requests wait for.
        unhashed.into_iter().find(|it| it.hash() == hash).map(|it| it.touched())
    }

    /// Keeps a body of `size` bytes, or finds the equal dictionary that is there already.
    pub(super) fn keep(
        &self,
        slot: u64,
        body: &mut dyn Iterator<Item = &[u8]>,
        size: usize,
    ) -> Option<Arc<Dictionary>> {
        if self.max_count == 0 || cost(size) > self.max_bytes {
            return None;
        }
        // Nearly always one chunk, which is compared before it is copied.
        let first = body.next().unwrap_or_default();
        let gathered: Vec<u8>;
        let bytes = if first.len() == size {
            first
        } else {
            gathered = gather(first, body, size);
            &gathered
        };
        if is_zstd_dictionary(bytes) {
            return None;
        }
        if let Some(same) = self.lock().find_equal(slot, bytes) {
            return Some(same);
        }
        let bytes = Box::from(bytes);
        let mut table = self.lock();
        let kept = table.insert(slot, bytes);
        table.evict(self.max_bytes, self.max_count);
        Some(kept)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing within a lock panics, and a table that is behind is still right.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a body of `size` bytes in one piece.
pub(super) fn gather(first: &[u8], rest: &mut dyn Iterator<Item = &[u8]>, size: usize) -> Vec<u8> {
    let mut all = Vec::with_capacity(size);
    all.extend_from_slice(first);
    rest.for_each(|chunk| all.extend_from_slice(chunk));
    all
}

impl Dictionary {
    /// Returns the hash, which the first call computes.
    pub(super) fn hash(&self) -> &DictionaryHash {
        self.hash.get_or_init(|| Sha256::digest(&self.bytes).into())
    }

    /// Keeps the dictionary from the next eviction.
    pub(super) fn touch(&self) {
        self.is_used.store(true, Ordering::Relaxed);
    }

    fn touched(self: &Arc<Self>) -> Arc<Self> {
        self.touch();
        Arc::clone(self)
    }
}

impl Table {
    /// Finds an equal one among the newest dictionaries of a slot.
    fn find_equal(&self, slot: u64, bytes: &[u8]) -> Option<Arc<Dictionary>> {
        let newest = self.slots.get(&slot)?.iter().rev().take(MAX_COMPARED);
        newest.into_iter().find(|it| *it.bytes == *bytes).map(Dictionary::touched)
    }

    fn insert(&mut self, slot: u64, bytes: Box<[u8]>) -> Arc<Dictionary> {
        let id = self.next_id;
        self.next_id += 1;
        self.count += 1;
        self.bytes += cost(bytes.len());
        let is_used = AtomicBool::new(false);
        let dictionary = Arc::new(Dictionary { id, bytes, hash: OnceLock::new(), is_used });
        let versions = self.slots.entry(slot).or_default();
        versions.push(Arc::clone(&dictionary));
        if versions.len() > MAX_VERSIONS {
            self.count -= 1;
            self.bytes -= cost(versions.remove(0).bytes.len());
        }
        self.queue.push_back((slot, id));
        if self.queue.len() > 2 * self.count + MAX_VERSIONS {
            let slots = &self.slots;
            self.queue.retain(|(slot, id)| {
                slots.get(slot).is_some_and(|versions| versions.iter().any(|it| it.id == *id))
            });
        }
        dictionary
    }

    /// Evicts dictionaries down to the bounds: the oldest that were not used since the last look.
    /// So a storm of new URLs evicts itself, and not what clients use.
    fn evict(&mut self, max_bytes: usize, max_count: usize) {
        while self.bytes > max_bytes || self.count > max_count {
            let Some((slot, id)) = self.queue.pop_front() else { return };
            let Entry::Occupied(mut versions) = self.slots.entry(slot) else { continue };
            let Some(at) = versions.get().iter().position(|it| it.id == id) else { continue };
            if versions.get()[at].is_used.swap(false, Ordering::Relaxed) {
                self.queue.push_back((slot, id));
                continue;
            }
            let evicted = versions.get_mut().remove(at);
            if versions.get().is_empty() {
                versions.remove();
            }
            self.count -= 1;
            self.bytes -= cost(evicted.bytes.len());
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.lock();
        f.debug_struct("Store")
            .field("count", &table.count)
            .field("bytes", &table.bytes)
            .finish_non_exhaustive()
    }
}

/// Returns the bytes that a dictionary of `size` bytes takes in the store.
const fn cost(size: usize) -> usize {
    size + OVERHEAD
}

/// The bytes that a dictionary takes beside its body: its hash, and its share of the tables.
const OVERHEAD: usize = 512;

/// The maximum number of dictionaries of a slot: clients that come back later have lost theirs.
const MAX_VERSIONS: usize = 64;

/// The number of dictionaries that a new body is compared with.
const MAX_COMPARED: usize = 4;

/// The bytes of which one request may compute the hashes, beside those of the body that crosses the
/// bound: about a millisecond of work.
const MAX_HASHED: usize = 128 * 1024;

#[cfg(test)]
mod tests;
