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
mod tests {
    use http::{HeaderValue, Request};

    use super::super::key::CacheKey;
    use super::*;

    fn key(path: usize, query: &str) -> Key {
        let request = Request::get(format!("http://x/{path}?{query}")).body(()).unwrap();
        CacheKey::new().of(&request.into_parts().0).unwrap()
    }

    fn response(rule: &'static str) -> HeaderMap {
        [("no-vary-search".parse().unwrap(), HeaderValue::from_static(rule))].into_iter().collect()
    }

    fn applied(rules: &SearchRules, path: usize, query: &str) -> Key {
        let mut key = key(path, query);
        rules.apply(&mut key);
        key
    }

    #[test]
    fn rules_are_bounded_and_forgotten_for_misses() {
        let (rules, response) = (SearchRules::default(), response("params=(\"utm\")"));
        for path in 0..MAX_RULES + 2_000 {
            rules.learn(&key(path, "utm"), &response);
        }
        assert!(rules.rules.len() <= MAX_RULES);
        let all = (0..MAX_RULES + 2_000).map(|path| applied(&rules, path, "utm"));
        let forgotten = all.filter(|key| !key.is_searched()).count();
        assert!((2_000..MAX_RULES).contains(&forgotten), "{forgotten}");
    }

    #[test]
    fn a_response_without_a_rule_forgets_none() {
        let (rules, stated) = (SearchRules::default(), response("params=(\"utm\")"));
        let asked = || key(1, "utm=1&a=2");
        assert_eq!(applied(&rules, 1, "utm=1&a=2"), asked());
        let rekeyed = |mut key: Key, response: &HeaderMap| {
            rules.rekey(&mut key, response);
            key
        };
        let stored = rekeyed(asked(), &stated);
        assert_eq!(stored.as_str(), "http://x/1?a=2");
        for other in [HeaderMap::new(), response("params"), response("key-order=1")] {
            assert_eq!(rekeyed(stored.clone(), &other), asked());
            assert_eq!(applied(&rules, 1, "a=2&utm").as_str(), stored.as_str());
        }
        assert_eq!(rekeyed(stored, &response("except=()")).as_str(), "http://x/1");
        assert_eq!(applied(&rules, 1, "utm=1").as_str(), "http://x/1");
        assert_eq!(applied(&rules, 2, "utm=1"), key(2, "utm=1"));
    }

    #[test]
    fn response_is_found_by_its_own_rule() {
        let rules = SearchRules::default();
        let utm = response("params=(\"utm\")");
        rules.learn(&key(1, "a"), &utm);
        let order = || response("params=(\"utm\"), key-order");
        // The query of a request that is looked up by `utm`, the rule of the response under that key,
        // and `true` if the response answers the request, and all others with that key.
        for (query, stated, finds, shares) in [
            ("a=1&utm", utm.clone(), true, true),
            ("a=1&b=2&utm", order(), true, false),
            ("b=2&a=1&utm", order(), false, false),
            ("a=1&utm", response("params=(\"b\")"), false, false),
            ("a=1&utm", response("params=utm"), false, false),
            ("a=1&utm", HeaderMap::new(), false, false),
            ("a=1", HeaderMap::new(), true, false),
            ("%61=1", HeaderMap::new(), false, false),
        ] {
            let key = applied(&rules, 1, query);
            assert!(key.is_searched());
            assert_eq!((key.finds(&stated), key.shares(&stated)), (finds, shares), "{query}");
        }
        let exact = key(2, "a=1");
        assert!(exact.finds(&utm) && exact.shares(&HeaderMap::new()));
    }
}
