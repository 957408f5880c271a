use metrics::Counter;

/// Counts on the counter that has the place of `name` among `names`.
pub(crate) fn count_named(names: &[&'static str], counters: &[Counter], name: &'static str) {
    let found = names.iter().position(|known| *known == name);
    found.and_then(|at| counters.get(at)).into_iter().for_each(|counter| counter.increment(1));
}
