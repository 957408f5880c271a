use std::sync::atomic::Ordering;

use super::sync::{AtomicUsize, OnceLock};

/// A bounded hash map whose entries are never changed or removed, read without a lock.
///
/// Each bucket is a linked list of cells that are written once, so a reader follows plain
/// references and needs no reference count, no hazard pointer and no unsafe code.
// An `ArcSwap<HashMap>` was tried instead: its guards and its hashing added 8% to the instructions of
// the layer for each request (bench `latency`), and it copies the map for each insertion.
#[derive(Debug)]
pub(super) struct AppendOnlyMap<K, V> {
    buckets: Box<[Cell<K, V>]>,
    len: AtomicUsize,
    max: usize,
}

type Cell<K, V> = OnceLock<Box<Node<K, V>>>;

#[derive(Debug)]
struct Node<K, V> {
    key: K,
    value: V,
    next: Cell<K, V>,
}

impl<K, V> AppendOnlyMap<K, V> {
    /// Creates an empty map of at most `max` entries.
    ///
    /// Threads that insert at the same moment may exceed `max` by one entry each.
    pub(super) fn new(max: usize) -> Self {
        let buckets = (max / 2).clamp(MIN_BUCKETS, MAX_BUCKETS).next_power_of_two();
        let buckets = (0..buckets).map(|_| OnceLock::new()).collect();
        Self { buckets, len: AtomicUsize::new(0), max }
    }

    /// Returns the entry with this hash whose key satisfies `is_key`, and inserts the entry that
    /// `make` returns if there is none. Returns `None` if the map is full.
    #[inline]
    pub(super) fn get_or_insert_with(
        &self,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        make: impl FnOnce() -> (K, V),
    ) -> Option<(&K, &V)> {
        // Multiplication mixes the upper bits best. The number of buckets is a power of two.
        let mut cell = &self.buckets[(hash >> 32) as usize & (self.buckets.len() - 1)];
        while let Some(node) = cell.get() {
            if is_key(&node.key) {
                return Some((&node.key, &node.value));
            }
            cell = &node.next;
        }
        self.insert(cell, is_key, make)
    }

    /// Returns the first key whose value satisfies `is_value`, by a search of the whole map.
    #[cold]
    pub(super) fn find_key(&self, is_value: impl Fn(&V) -> bool) -> Option<&K> {
        for bucket in &self.buckets {
            let mut cell = bucket;
            while let Some(node) = cell.get() {
                if is_value(&node.value) {
                    return Some(&node.key);
                }
                cell = &node.next;
            }
        }
        None
    }

    #[cold]
    fn insert<'a>(
        &'a self,
        mut cell: &'a Cell<K, V>,
        is_key: impl Fn(&K) -> bool,
        make: impl FnOnce() -> (K, V),
    ) -> Option<(&'a K, &'a V)> {
        let mut make = Some(make);
        let mut node = None;
        loop {
            // Read before the search, so that the search sees the entries that filled the map.
            // Otherwise a key that another thread inserts last could be reported as refused.
            let is_full = self.len.load(Ordering::Acquire) >= self.max;
            while let Some(other) = cell.get() {
                if is_key(&other.key) {
                    return Some((&other.key, &other.value));
                }
                cell = &other.next;
            }
            if is_full {
                return None;
            }
            if let Some(make) = make.take() {
                let (key, value) = make();
                node = Some(Box::new(Node { key, value, next: OnceLock::new() }));
            }
            match cell.set(node.take()?) {
                Ok(()) => {
                    self.len.fetch_add(1, Ordering::Release);
                    return cell.get().map(|node| (&node.key, &node.value));
                }
                // Another thread has appended to the list, perhaps this very key: search on.
                Err(not_set) => node = Some(not_set),
            }
        }
    }
}

/// Mixes `number` into the hash `state`.
///
/// The hash has no secret: keys are templates and labels of the service, and the maps that hold
/// values chosen by clients are bounded.
pub(super) const fn hash_u64(state: u64, number: u64) -> u64 {
    (state.rotate_left(5) ^ number).wrapping_mul(MULTIPLIER)
}

/// Returns the hash of `text`, eight bytes at a time.
pub(super) fn hash_str(text: &str) -> u64 {
    let mut state = text.len() as u64;
    let mut rest = text.as_bytes();
    while let Some((word, others)) = rest.split_first_chunk::<8>() {
        state = hash_u64(state, u64::from_le_bytes(*word));
        rest = others;
    }
    rest.iter().fold(state, |state, byte| hash_u64(state, u64::from(*byte)))
}

/// The odd number nearest to 2⁶⁴ divided by the golden ratio (Fibonacci hashing).
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
const MIN_BUCKETS: usize = 16;
const MAX_BUCKETS: usize = 4096;
