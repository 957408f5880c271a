//! Loads that wait for each other, which would never end.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

tokio::task_local! {
    /// The load that runs the current code, within its task.
    static LOADING: Loading;
}

/// A load, and the one whose loader asked for it.
#[derive(Clone)]
struct Loading {
    waits: Waits,
    name: Arc<str>,
    outer: Option<Arc<Loading>>,
}

/// The loads of a cache that wait for loads by other callers: the awaited names, by the name whose
/// loader waits.
#[derive(Clone, Default)]
pub(super) struct Waits(Arc<Mutex<Table>>);

type Table = HashMap<Arc<str>, Vec<Arc<str>>>;

/// The wait of a caller, over when this is dropped.
pub(super) struct Waiting {
    waits: Waits,
    /// The names whose loaders wait; empty for a caller outside of any loader.
    loading: Vec<Arc<str>>,
    awaited: Arc<str>,
}

impl Waits {
    /// Runs a loader of a name. To be called by the task that runs the loader.
    pub(super) fn during<L: Future>(
        &self,
        name: Arc<str>,
        load: L,
    ) -> impl Future<Output = L::Output> + use<L> {
        let outer = LOADING.try_with(|outer| Arc::new(outer.clone())).ok();
        // Not an async function: each of them would keep its argument twice, and loads nest.
        LOADING.scope(Loading { waits: self.clone(), name, outer }, load)
    }

    /// Begins to wait for a load by another caller. Returns `None` if that load is one of those that
    /// wait for this caller, directly or through others. A loader that spawns a task and waits for it
    /// is not seen.
    pub(super) fn begin(&self, awaited: &Arc<str>) -> Option<Waiting> {
        let loading = self.loading();
        if !loading.is_empty() {
            let mut table = self.lock();
            if reaches(&table, awaited, &loading) {
                return None;
            }
            for name in &loading {
                table.entry(Arc::clone(name)).or_default().push(Arc::clone(awaited));
            }
        }
        Some(Waiting { waits: self.clone(), loading, awaited: Arc::clone(awaited) })
    }

    /// Returns the names that this task is loading.
    fn loading(&self) -> Vec<Arc<str>> {
        let names = LOADING.try_with(|innermost| {
            let mut names = Vec::new();
            let mut next = Some(innermost);
            while let Some(loading) = next {
                // The loader of another cache may have asked for this one.
                if Arc::ptr_eq(&loading.waits.0, &self.0) {
                    names.push(Arc::clone(&loading.name));
                }
                next = loading.outer.as_deref();
            }
            names
        });
        names.unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.loading.is_empty() {
            return;
        }
        let mut table = self.waits.lock();
        for name in &self.loading {
            let Some(awaited) = table.get_mut(name) else { continue };
            // One only: two callers within a loader may wait for the same load.
            if let Some(at) = awaited.iter().position(|awaited| *awaited == self.awaited) {
                awaited.swap_remove(at);
            }
            if awaited.is_empty() {
                table.remove(name);
            }
        }
    }
}

/// Returns `true` if `from` is one of `names`, or waits for one of them, directly or through others.
fn reaches(table: &Table, from: &Arc<str>, names: &[Arc<str>]) -> bool {
    let mut seen = HashSet::new();
    let mut next = vec![from];
    while let Some(name) = next.pop() {
        if names.contains(name) {
            return true;
        }
        if seen.insert(name) {
            next.extend(table.get(name).into_iter().flatten());
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_followed_to_their_end() {
        let name = |name: &&str| Arc::<str>::from(*name);
        let table: Table = [("a", vec!["b", "c"]), ("b", vec!["a"]), ("c", vec!["d"])]
            .iter()
            .map(|(from, to)| (name(from), to.iter().map(name).collect()))
            .collect();
        for (from, to, expected) in [
            ("a", vec!["a"], true),
            ("a", vec!["d"], true),
            ("b", vec!["d"], true),
            ("d", vec!["a"], false),
            ("c", vec!["a", "b"], false),
            ("x", vec!["x"], true),
            ("x", vec![], false),
        ] {
            let to: Vec<_> = to.iter().map(name).collect();
            assert_eq!(reaches(&table, &name(&from), &to), expected, "{from} {to:?}");
        }
    }

    #[tokio::test]
    async fn wait_is_forgotten_when_it_ends() {
        let waits = Waits::default();
        let name = |name: &str| Arc::<str>::from(name);
        let within = waits.during(name("a"), async {
            assert!(waits.begin(&name("a")).is_none());
            let two = (waits.begin(&name("b")), waits.begin(&name("b")));
            let by_b = waits.during(name("b"), async { waits.begin(&name("a")).is_none() });
            assert!(by_b.await);
            assert!(two.0.is_some() && two.1.is_some());
        });
        within.await;
        assert!(waits.lock().is_empty());
        assert!(waits.begin(&name("a")).is_some_and(|waiting| waiting.loading.is_empty()));
    }
}
