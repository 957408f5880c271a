//! The counts of the responses that the clients have checked.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Counts by kind of request.
    kinds: Mutex<BTreeMap<&'static str, u64>>,
    pub(crate) hits: AtomicU64,
    /// Connections that a refusal has closed while its client was still sending.
    pub(crate) cut: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

impl Tally {
    pub(crate) fn count(&self, kind: &'static str) {
        *self.kinds.lock().unwrap().entry(kind).or_default() += 1;
    }

    /// Counts a wrong response, and prints the first ten at once.
    pub(crate) fn wrong(&self, what: String) {
        let mut wrong = self.wrong.lock().unwrap();
        if wrong.len() < 10 {
            eprintln!("WRONG: {what}");
        }
        wrong.push(what);
    }

    pub(crate) fn mistakes(&self) -> usize {
        self.wrong.lock().unwrap().len()
    }

    pub(crate) fn requests(&self) -> u64 {
        self.kinds.lock().unwrap().values().sum()
    }

    /// Returns the counts as a line of text.
    pub(crate) fn line(&self) -> String {
        let kinds = self.kinds.lock().unwrap();
        let kinds: Vec<_> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        format!(
            "{}; {} hits, {} refused while sending",
            kinds.join(", "),
            self.hits.load(Ordering::Relaxed),
            self.cut.load(Ordering::Relaxed),
        )
    }
}
