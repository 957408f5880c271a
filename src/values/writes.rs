use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use crate::cache::entry::Entry;
use crate::cache::purge::Stamp;

/// The values on their way into a shared store.
#[derive(Debug)]
pub(super) struct Writes {
    /// The number of values. Most lookups find none, and take no lock.
    count: AtomicUsize,
    values: Mutex<HashMap<Arc<str>, Written>>,
    /// The space for values, in units of [`SPACE_UNIT`].
    space: Arc<Semaphore>,
}

/// The last value that was inserted under a name, before the store has it.
#[derive(Debug)]
struct Written {
    /// The stamp of the insert among those of this process.
    at: Stamp,
    entry: Entry,
}

impl Writes {
    /// Returns the value of a name that the store does not have yet.
    pub(super) fn get(&self, name: &str) -> Option<Entry> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.lock().get(name).map(|written| written.entry.clone())
    }

    /// Forgets the value of a name, unless it was inserted after `at`.
    pub(super) fn forget(&self, name: &str, at: Stamp) {
        let mut values = self.lock();
        if values.get(name).is_some_and(|written| written.at <= at) {
            values.remove(name);
        }
        self.count.store(values.len(), Ordering::Release);
    }

    /// Begins a write, with its value unless it is a removal. `begin` tells the stamp of the write; writes
    /// begin one after the other.
    pub(super) fn begin<T>(
        &self,
        name: &Arc<str>,
        entry: Option<&Entry>,
        begin: impl FnOnce() -> (Stamp, T),
    ) -> (Stamp, T) {
        let mut values = self.lock();
        let (at, begun) = begin();
        match entry {
            Some(entry) => {
                values.insert(Arc::clone(name), Written { at, entry: entry.clone() });
            }
            None => drop(values.remove(name)),
        }
        self.count.store(values.len(), Ordering::Release);
        (at, begun)
    }

    /// Runs `work` while no write begins.
    pub(super) fn hold<T>(&self, work: impl FnOnce() -> T) -> T {
        let _values = self.lock();
        work()
    }

    /// Returns the space for values, in units of [`SPACE_UNIT`].
    pub(super) fn space(&self) -> Arc<Semaphore> {
        Arc::clone(&self.space)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Written>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Writes {
    fn default() -> Self {
        let space = Arc::new(Semaphore::new(MAX_SPACE as usize));
        Self { count: AtomicUsize::new(0), values: Mutex::default(), space }
    }
}

/// The maximum number of units that all values on their way into a shared store take.
pub(super) const MAX_SPACE: u32 = 4096;

/// The bytes of a unit: a small value takes one.
pub(super) const SPACE_UNIT: usize = 4 * 1024;
