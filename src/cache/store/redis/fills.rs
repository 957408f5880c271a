use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::super::purge::Stamp;
use super::super::super::purge::list::Fill;

/// The entries that this process has put into Redis, until an exchange with the log has shown that none
/// of them was removed before it was put. Clones refer to the same table.
///
/// An entry that comes late is hidden by its watermark for as long as the log has the removed name. It
/// has to be gone when the log forgets the name.
// A script that compares the stamps when it puts would need the log in the slot of each entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Fills(Arc<Mutex<Table>>);

/// An entry that was put into Redis after its name had been removed there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LateFill {
    /// The hash of the name by which the entry is purged.
    pub(super) name: u128,
    pub(super) key: Box<str>,
    pub(super) watermark: Stamp,
}

#[derive(Debug, Default)]
struct Table {
    by_name: HashMap<u128, Filled>,
    /// The bytes that the table takes.
    bytes: usize,
    count: u64,
    /// The number of exchanges with the log that have begun.
    rounds: u64,
}

#[derive(Debug)]
struct Filled {
    number: u64,
    fill: LateFill,
    /// The last exchange with the log that had begun when the entry was in Redis.
    done: Option<u64>,
}

/// Notes that an entry is in Redis, or is not, when this is dropped.
struct Guard {
    fills: Fills,
    name: u128,
    number: u64,
}

impl Fills {
    /// Notes an entry that is about to be put. Returns nothing if there are too many.
    pub(super) fn begin(&self, name: u128, key: &str, watermark: Stamp) -> Option<Fill> {
        let mut table = self.lock();
        let bytes = table.bytes + key.len() + OVERHEAD;
        if bytes > MAX_BYTES && !table.by_name.contains_key(&name) {
            return None;
        }
        table.count += 1;
        let number = table.count;
        let fill = LateFill { name, key: key.into(), watermark };
        table.bytes = bytes;
        // The later entry of a name replaces the earlier one in Redis as well.
        if let Some(replaced) = table.by_name.insert(name, Filled { number, fill, done: None }) {
            table.bytes -= replaced.size();
        }
        Some(Box::new(Guard { fills: self.clone(), name, number }))
    }

    /// Forgets the entry that is in Redis under a name: this process removes or replaces it there.
    pub(super) fn forget(&self, name: u128) {
        let mut table = self.lock();
        if table.by_name.get(&name).is_some_and(|filled| filled.done.is_some()) {
            let forgotten = table.by_name.remove(&name).map_or(0, |filled| filled.size());
            table.bytes -= forgotten;
        }
    }

    /// Counts an exchange with the log that begins, and returns its number.
    pub(super) fn begin_round(&self) -> u64 {
        let mut table = self.lock();
        table.rounds += 1;
        table.rounds
    }

    /// Returns the entries that were put after their names had been removed, as far as the exchange with
    /// this number has shown, and forgets those that were not.
    pub(super) fn confirm(
        &self,
        round: u64,
        is_removed: impl Fn(u128, Stamp) -> bool,
    ) -> Vec<LateFill> {
        let mut late = Vec::new();
        let mut table = self.lock();
        let Table { by_name, bytes, .. } = &mut *table;
        by_name.retain(|_, filled| {
            // Whoever puts an entry compares it with the purges afterwards.
            let Some(done) = filled.done else { return true };
            let is_late = is_removed(filled.fill.name, filled.fill.watermark);
            if is_late {
                late.push(filled.fill.clone());
            }
            let stays = !is_late && done >= round;
            if !stays {
                *bytes -= filled.size();
            }
            stays
        });
        late
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Filled {
    fn size(&self) -> usize {
        self.fill.key.len() + OVERHEAD
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut table = self.fills.lock();
        let rounds = table.rounds;
        let filled = table.by_name.get_mut(&self.name);
        if let Some(filled) = filled.filter(|filled| filled.number == self.number) {
            filled.done = Some(rounds);
        }
    }
}

/// The maximum size of the table, in bytes.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// The bytes of an entry of the table beside its key.
const OVERHEAD: usize = 128;

#[cfg(test)]
mod tests;
