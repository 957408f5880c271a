use std::sync::atomic::Ordering;

use super::sync::{AtomicUsize, OnceLock};

/// A map that only grows, up to a bound, and is read without a lock: chains of cells that are
/// written once. Threads that insert at the same moment may pass the bound by one each.
#[derive(Debug)]
pub(super) struct GrowOnly<K, V> {
    heads: Box<[Cell<K, V>]>,
    len: AtomicUsize,
    most: usize,
}

type Cell<K, V> = OnceLock<Box<Node<K, V>>>;

#[derive(Debug)]
struct Node<K, V> {
    key: K,
    value: V,
    next: Cell<K, V>,
}

impl<K, V> GrowOnly<K, V> {
    /// An empty map that takes up to `most` entries.
    pub(super) fn new(most: usize) -> Self {
        let heads = (most / 2).clamp(MIN_HEADS, MAX_HEADS).next_power_of_two();
        let heads = (0..heads).map(|_| OnceLock::new()).collect();
        Self { heads, len: AtomicUsize::new(0), most }
    }

    /// The entry whose key has this hash and `is` the one looked for, or else what `make` makes.
    /// `None` if the map is full.
    #[inline]
    pub(super) fn find_or_insert(
        &self,
        hash: u64,
        is: impl Fn(&K) -> bool,
        make: impl FnOnce() -> (K, V),
    ) -> Option<(&K, &V)> {
        // The upper bits are the well mixed ones; the number of heads is a power of two.
        let mut cell = &self.heads[(hash >> 32) as usize & (self.heads.len() - 1)];
        while let Some(node) = cell.get() {
            if is(&node.key) {
                return Some((&node.key, &node.value));
            }
            cell = &node.next;
        }
        self.insert(cell, is, make)
    }

    /// Returns the first key whose value `is` the one looked for. Reads the whole map.
    #[cold]
    pub(super) fn find(&self, is: impl Fn(&V) -> bool) -> Option<&K> {
        for head in &self.heads {
            let mut cell = head;
            while let Some(node) = cell.get() {
                if is(&node.value) {
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
        is: impl Fn(&K) -> bool,
        make: impl FnOnce() -> (K, V),
    ) -> Option<(&'a K, &'a V)> {
        let mut make = Some(make);
        let mut node = None;
        loop {
            // Read before the search: what made the map full is then seen by it.
            let full = self.len.load(Ordering::Acquire) >= self.most;
            while let Some(other) = cell.get() {
                if is(&other.key) {
                    return Some((&other.key, &other.value));
                }
                cell = &other.next;
            }
            if full {
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
                // Another thread was faster, with this key or with one of the same hash.
                Err(not_set) => node = Some(not_set),
            }
        }
    }
}

/// Mixes a number in. The keys are the service's own templates, so no secret is needed.
pub(super) const fn hash_u64(state: u64, number: u64) -> u64 {
    (state.rotate_left(5) ^ number).wrapping_mul(MULTIPLIER)
}

pub(super) fn hash_str(text: &str) -> u64 {
    let mut state = text.len() as u64;
    let mut rest = text.as_bytes();
    while let Some((word, others)) = rest.split_first_chunk::<8>() {
        state = hash_u64(state, u64::from_le_bytes(*word));
        rest = others;
    }
    rest.iter().fold(state, |state, byte| hash_u64(state, u64::from(*byte)))
}

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
const MIN_HEADS: usize = 16;
const MAX_HEADS: usize = 4096;
