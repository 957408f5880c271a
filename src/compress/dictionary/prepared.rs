use std::collections::VecDeque;
use std::fmt;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::store::Dictionary;
use super::zstd::PreparedDictionary;

/// A bounded store of dictionaries in the form that zstd works with.
///
/// To prepare a dictionary takes the time of several compressions, and twenty times its size in
/// memory. So a dictionary is prepared for its second use.
pub(super) struct Prepared {
    entries: Mutex<VecDeque<Prepare>>,
    max_bytes: usize,
}

/// A dictionary that was used, the least recently used first.
struct Prepare {
    /// The dictionary itself, since another store may have the same id. It does not keep the body.
    dictionary: Weak<Dictionary>,
    level: u32,
    prepared: Option<Arc<PreparedDictionary>>,
}

impl Prepare {
    fn is_of(&self, dictionary: &Arc<Dictionary>, level: u32) -> bool {
        ptr::eq(self.dictionary.as_ptr(), Arc::as_ptr(dictionary)) && self.level == level
    }
}

impl Prepared {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { entries: Mutex::default(), max_bytes }
    }

    /// Returns a dictionary in its prepared form, or `None` for the first use. `prepare` returns
    /// `None` if it fails.
    pub(super) fn get(
        &self,
        dictionary: &Arc<Dictionary>,
        level: u32,
        prepare: impl FnOnce() -> Option<PreparedDictionary>,
    ) -> Option<Arc<PreparedDictionary>> {
        if self.max_bytes == 0 {
            return None;
        }
        {
            let mut entries = self.lock();
            let at = entries.iter().position(|entry| entry.is_of(dictionary, level));
            let entry = at.and_then(|at| entries.remove(at));
            let is_first = entry.is_none();
            let entry = entry.unwrap_or_else(|| {
                let dictionary = Arc::downgrade(dictionary);
                Prepare { dictionary, level, prepared: None }
            });
            let prepared = entry.prepared.clone();
            entries.push_back(entry);
            if entries.len() > MAX_ENTRIES {
                entries.pop_front();
            }
            if is_first || prepared.is_some() {
                return prepared;
            }
        }
        // Prepared without the lock. Two requests may do so at once: one result is dropped.
        let prepared =
            prepare().filter(|prepared| prepared.size() <= self.max_bytes).map(Arc::new)?;
        let mut entries = self.lock();
        if let Some(entry) = entries.iter_mut().find(|it| it.is_of(dictionary, level)) {
            entry.prepared = Some(Arc::clone(&prepared));
        }
        // Summed up each time, since an entry may be evicted while its dictionary is prepared.
        let size = |entry: &Prepare| entry.prepared.as_ref().map_or(0, |prepared| prepared.size());
        let mut bytes: usize = entries.iter().map(size).sum();
        while bytes > self.max_bytes {
            let Some(evicted) = entries.pop_front() else { break };
            bytes -= size(&evicted);
        }
        Some(prepared)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Prepare>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("max_bytes", &self.max_bytes).finish_non_exhaustive()
    }
}

/// The maximum number of dictionaries whose first use is remembered, since all are looked through.
const MAX_ENTRIES: usize = 256;

#[cfg(test)]
mod tests;
