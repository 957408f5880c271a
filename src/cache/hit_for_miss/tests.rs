use http::Request;

use super::*;

const TTL: Duration = Duration::from_secs(10);

fn mark(table: &HitForMiss, uri: &str, fields: &[(&str, &str)]) -> Option<Mark> {
    let mut request = Request::get(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let (head, ()) = request.body(()).unwrap().into_parts();
    table.mark(&CacheKey::new(), &RequestPolicy::default(), &head)
}

#[test]
fn request_is_remembered_for_its_time() {
    let table = HitForMiss::default();
    let mark = mark(&table, "http://a/1", &[]).unwrap();
    assert!(!table.has(mark, 5));
    assert!(table.set(mark, 5, TTL));
    assert!(table.has(mark, 10_004) && !table.has(mark, 10_005));
    // A sixteenth of the time has to pass before the time begins anew.
    for (again, until) in [(600, 10_005), (700, 10_700)] {
        assert!(table.set(mark, again, TTL));
        assert!(table.has(mark, until - 1) && !table.has(mark, until), "{again}");
    }
}

#[test]
fn storable_request_is_not_remembered_again() {
    let table = HitForMiss::default();
    let mark = mark(&table, "http://a/1", &[]).unwrap();
    assert!(table.set(mark, 0, TTL));
    table.clear(mark, 1, TTL);
    assert!(!table.has(mark, 2));
    assert!(!table.set(mark, 10_000, TTL));
    assert!(table.set(mark, 10_001, TTL) && table.has(mark, 10_002));
}

#[test]
fn each_part_of_the_url_counts() {
    let table = HitForMiss::default();
    let first = mark(&table, "/1", &[("host", "a")]).unwrap();
    assert!(table.set(first, 0, TTL));
    for (uri, host, is_same) in [
        ("/1", "a", true),
        ("/1?", "a", false),
        ("/2", "a", false),
        ("/1", "b", false),
        ("http://a/1", "a", false),
    ] {
        let other = mark(&table, uri, &[("host", host), ("accept", "*/*")]).unwrap();
        assert_eq!(table.has(other, 0), is_same, "{uri} {host}");
    }
}
