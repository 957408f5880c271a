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
