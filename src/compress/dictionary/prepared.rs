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
mod tests {
    use super::super::store::Store;
    use super::*;

    const BODY: &[u8] = &[b'a'; 10_000];

    fn prepare() -> Option<PreparedDictionary> {
        PreparedDictionary::new(BODY, 3)
    }

    /// Returns a dictionary with the first id of its store.
    fn dictionary() -> Arc<Dictionary> {
        Store::new(1 << 20, 1).keep(1, &mut [BODY].into_iter(), BODY.len()).unwrap()
    }

    fn held(prepared: &Prepared) -> usize {
        prepared.lock().iter().filter(|entry| entry.prepared.is_some()).count()
    }

    #[test]
    fn second_use_prepares() {
        let prepared = Prepared::new(16 << 20);
        let (one, other) = (dictionary(), dictionary());
        assert!(prepared.get(&one, 3, || panic!("not for the first use")).is_none());
        let second = prepared.get(&one, 3, prepare).unwrap();
        let third = prepared.get(&one, 3, || panic!("prepared already")).unwrap();
        assert!(Arc::ptr_eq(&second, &third));
        assert!(prepared.get(&one, 4, || panic!("another level")).is_none());
        assert_eq!(one.id, other.id);
        assert!(prepared.get(&other, 3, || panic!("of another store")).is_none());
    }

    #[test]
    fn prepared_bytes_are_bounded() {
        let size = prepare().unwrap().size();
        let prepared = Prepared::new(3 * size);
        let dictionaries: Vec<_> = (0..1_000).map(|_| dictionary()).collect();
        for dictionary in &dictionaries {
            assert!(prepared.get(dictionary, 3, prepare).is_none());
            assert!(prepared.get(dictionary, 3, prepare).is_some());
            assert!(held(&prepared) <= 3);
        }
        assert!(prepared.lock().len() <= MAX_ENTRIES);
        for (max, expected) in [(0, false), (size - 1, false), (size, true)] {
            let (prepared, dictionary) = (Prepared::new(max), dictionary());
            assert!(prepared.get(&dictionary, 3, prepare).is_none());
            assert_eq!(prepared.get(&dictionary, 3, prepare).is_some(), expected, "{max}");
        }
    }

    #[test]
    fn evicted_dictionaries_are_not_held() {
        let (prepared, dictionary) = (Prepared::new(16 << 20), dictionary());
        assert!(prepared.get(&dictionary, 3, prepare).is_none());
        assert_eq!(Arc::strong_count(&dictionary), 1);
    }
}
