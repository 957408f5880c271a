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
    names: Arc<[Arc<str>]>,
    outer: Option<Arc<Loading>>,
}

/// The loads of a cache that wait for loads by other callers: the awaited names, by the name whose
/// loader waits. The names that one caller awaits are a group, of which each loading name has a clone:
/// both may be many.
#[derive(Clone, Default)]
pub(super) struct Waits(Arc<Mutex<Table>>);

type Table = HashMap<Arc<str>, Vec<Group>>;
type Group = Arc<[Arc<str>]>;

/// The wait of a caller, over when this is dropped.
pub(super) struct Waiting {
    waits: Waits,
    /// The names whose loaders wait; empty for a caller outside of any loader.
    loading: Vec<Arc<str>>,
    awaited: Group,
}

impl Waits {
    /// Runs a loader of these names. To be called by the task that runs the loader.
    pub(super) fn during<L: Future>(
        &self,
        names: Group,
        load: L,
    ) -> impl Future<Output = L::Output> + use<L> {
        let outer = LOADING.try_with(|outer| Arc::new(outer.clone())).ok();
        // Not an async function: each of them would keep its argument twice, and loads nest.
        LOADING.scope(Loading { waits: self.clone(), names, outer }, load)
    }

    /// Begins to wait for loads by other callers. A loader that spawns a task and waits for it is not
    /// seen.
    ///
    /// # Errors
    ///
    /// Returns the name whose load is one of those that wait for this caller, directly or through
    /// others.
    pub(super) fn begin(&self, awaited: &[Arc<str>]) -> Result<Waiting, Arc<str>> {
        let loading = self.loading();
        // Most callers are outside of any loader, and note nothing.
        let awaited = if loading.is_empty() { Group::default() } else { awaited.into() };
        if !loading.is_empty() {
            let mut table = self.lock();
            if let Some(name) = awaited.iter().find(|name| reaches(&table, name, &loading)) {
                return Err(Arc::clone(name));
            }
            for name in &loading {
                table.entry(Arc::clone(name)).or_default().push(Arc::clone(&awaited));
            }
        }
        Ok(Waiting { waits: self.clone(), loading, awaited })
    }

    /// Returns the names that this task is loading.
    fn loading(&self) -> Vec<Arc<str>> {
        let names = LOADING.try_with(|innermost| {
            let mut names = Vec::new();
            let mut next = Some(innermost);
            while let Some(loading) = next {
                // The loader of another cache may have asked for this one.
                if Arc::ptr_eq(&loading.waits.0, &self.0) {
                    names.extend(loading.names.iter().cloned());
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
            if let Some(at) = awaited.iter().position(|group| Arc::ptr_eq(group, &self.awaited)) {
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
            next.extend(table.get(name).into_iter().flatten().flat_map(|group| group.iter()));
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
            .map(|(from, to)| (name(from), vec![to.iter().map(name).collect()]))
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
        let one = |name: Arc<str>| Group::from([name]);
        let within = waits.during(one(name("a")), async {
            assert!(waits.begin(&[name("c"), name("a")]).is_err_and(|key| *key == *"a"));
            let two = (waits.begin(&[name("b")]), waits.begin(&[name("b"), name("c")]));
            let both = Group::from([name("x"), name("b")]);
            let by_b = waits.during(both, async { waits.begin(&[name("a")]).is_err() });
            assert!(by_b.await);
            assert!(two.0.is_ok() && two.1.is_ok());
        });
        within.await;
        assert!(waits.lock().is_empty());
        assert!(waits.begin(&[name("a")]).is_ok_and(|waiting| waiting.loading.is_empty()));
    }
}
