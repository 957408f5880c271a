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
mod tests {
    use super::*;

    #[test]
    fn late_fill_is_found_by_a_later_exchange() {
        let fills = Fills::default();
        let removed = |name: u128, watermark: Stamp| name == 1 && watermark < 5;
        let early = fills.begin_round();
        let [late, other, in_time] = [(1, "late", 4), (2, "other", 4), (3, "new", 5)]
            .map(|(name, key, at)| fills.begin(name, key, at));
        assert_eq!(fills.confirm(early, removed), [], "they are under way");
        drop((late, other, in_time));
        assert_eq!(fills.confirm(early, |_, _| false), [], "it began before they were done");
        let later = fills.begin_round();
        let late = LateFill { name: 1, key: "late".into(), watermark: 4 };
        assert_eq!(fills.confirm(later, removed), [late]);
        let table = fills.lock();
        assert!(table.by_name.is_empty() && table.bytes == 0, "{table:?}");
    }

    #[test]
    fn later_fill_replaces_an_earlier_one() {
        let fills = Fills::default();
        let first = fills.begin(1, "key", 4);
        let second = fills.begin(1, "key", 6);
        drop((first, second));
        assert_eq!(fills.confirm(fills.begin_round(), |_, at| at < 5), []);
        assert_eq!(fills.lock().bytes, 0);
    }

    #[test]
    fn own_removal_takes_over_what_is_done() {
        let fills = Fills::default();
        let under_way = fills.begin(1, "key", 4);
        drop(fills.begin(2, "done", 4));
        for name in [1, 2, 3] {
            fills.forget(name);
        }
        drop(under_way);
        let late = LateFill { name: 1, key: "key".into(), watermark: 4 };
        assert_eq!(fills.confirm(fills.begin_round(), |_, _| true), [late]);
        assert_eq!(fills.lock().bytes, 0);
    }

    #[test]
    fn number_of_fills_is_bounded() {
        let fills = Fills::default();
        let begun = (0..).map(|name| fills.begin(name, &"k".repeat(8192), 0));
        let begun: Vec<_> = begun.take_while(Option::is_some).collect();
        assert_eq!(begun.len(), MAX_BYTES / (8192 + OVERHEAD));
        assert!(fills.begin(0, "k", 1).is_some(), "in place of an earlier one");
        drop(begun);
        fills.confirm(fills.begin_round(), |_, _| false);
        assert!(fills.begin(1 << 20, "k", 0).is_some());
    }
}
