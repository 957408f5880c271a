use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderMap;
use quick_cache::DefaultHashBuilder;
use quick_cache::sync::Cache;

use super::key::{Key, SearchRule};

/// A bounded memory of the last `no-vary-search` of each path.
///
/// A rule only tells where to look: an entry is served by the rule that it states itself. So a rule
/// that is forgotten, or not the one of all responses of its path, costs misses.
pub(crate) struct SearchRules {
    rules: Cache<u64, Arc<SearchRule>>,
    /// A rule has been learned.
    any: AtomicBool,
    hasher: DefaultHashBuilder,
}

impl SearchRules {
    /// Changes the key of a request to the one under which it is looked up.
    #[inline]
    pub(crate) fn apply(&self, key: &mut Key) {
        // Most services state no rule, and their requests cost no lookup of one.
        if self.any.load(Ordering::Relaxed) && key.has_query {
            self.apply_known(key);
        }
    }

    #[inline(never)]
    fn apply_known(&self, key: &mut Key) {
        if let Some(rule) = self.rules.get(&self.path(key)) {
            *key = key.by_rule(Some(&rule));
        }
    }

    /// Changes the key of a request to the one under which a response to it is stored, and remembers
    /// its rule.
    #[inline]
    pub(crate) fn rekey(&self, key: &mut Key, response: &HeaderMap) {
        if key.has_query && (key.is_searched() || SearchRule::is_stated(response)) {
            self.rekey_by_rule(key, response);
        }
    }

    #[inline(never)]
    fn rekey_by_rule(&self, key: &mut Key, response: &HeaderMap) {
        *key = key.by_rule(self.learn(key, response).as_ref());
    }

    /// Remembers the rule that a response to a request states, and returns it. A response without a
    /// rule, such as an error, says nothing about the others of its path.
    pub(crate) fn learn(&self, key: &Key, response: &HeaderMap) -> Option<Arc<SearchRule>> {
        if !SearchRule::is_stated(response) {
            return None;
        }
        let path = self.path(key);
        if let Some(known) = self.rules.get(&path).filter(|known| known.is_of(response)) {
            return Some(known);
        }
        let rule = Arc::new(SearchRule::of(response)?);
        self.rules.insert(path, Arc::clone(&rule));
        self.any.store(true, Ordering::Relaxed);
        Some(rule)
    }

    /// Clients choose what is hashed. If two paths collide, the rule of one costs misses of the other.
    fn path(&self, key: &Key) -> u64 {
        self.hasher.hash_one(key.path_url())
    }
}

impl Default for SearchRules {
    fn default() -> Self {
        let any = AtomicBool::new(false);
        Self { rules: Cache::new(MAX_RULES), any, hasher: DefaultHashBuilder::default() }
    }
}

impl fmt::Debug for SearchRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SearchRules").finish_non_exhaustive()
    }
}

/// The maximum number of paths whose rule is remembered.
const MAX_RULES: usize = 10_000;

#[cfg(test)]
mod tests;
