use http::HeaderValue;
use proptest::prelude::*;

use super::*;
use crate::headers::test_headers::map;

fn response(lines: &[&str]) -> ResponseControl {
    let fields: Vec<_> = lines.iter().map(|line| ("cache-control", *line)).collect();
    ResponseControl::parse(&map(&fields))
}

fn request(line: &str) -> RequestControl {
    RequestControl::parse(&map(&[("cache-control", line)]))
}

#[test]
fn the_directives_of_a_response_are_read() {
    let none = ResponseControl::default;
    let fields = |names: &[&'static str]| {
        Some(Scope::Fields(names.iter().map(|name| HeaderName::from_static(name)).collect()))
    };
    let table: &[(&[&str], ResponseControl)] = &[
        (&[], none()),
        (&["max-age=60"], ResponseControl { max_age: Some(60), ..none() }),
        // RFC 9111 §5.2: names in any case, both forms of arguments.
        (&["Max-Age=60, PUBLIC"], ResponseControl { max_age: Some(60), public: true, ..none() }),
        (&["max-age=\"60\""], ResponseControl { max_age: Some(60), ..none() }),
        (&["max-age = 60"], ResponseControl { max_age: Some(60), ..none() }),
        // §4.2.1: the shorter of two, and what is invalid is stale.
        (&["max-age=1, max-age=2"], ResponseControl { max_age: Some(1), ..none() }),
        (&["max-age=2", "max-age=1"], ResponseControl { max_age: Some(1), ..none() }),
        (&["max-age=2, max-age=-1"], ResponseControl { max_age: Some(0), ..none() }),
        (&["max-age"], ResponseControl { max_age: Some(0), ..none() }),
        (&["max-age=-1"], ResponseControl { max_age: Some(0), ..none() }),
        (&["max-age=1.5"], ResponseControl { max_age: Some(0), ..none() }),
        (&["max-age=+1"], ResponseControl { max_age: Some(0), ..none() }),
        (&["max-age='1'"], ResponseControl { max_age: Some(0), ..none() }),
        // §1.2.2.
        (
            &["s-maxage=99999999999999999999999"],
            ResponseControl { s_maxage: Some(MAX_SECONDS), ..none() },
        ),
        // A comma within quotes separates nothing.
        (&["x=\"a, no-store\", public"], ResponseControl { public: true, ..none() }),
        (&["x=\"\\\", no-store\""], none()),
        // §5.2.2.4, §5.2.2.7.
        (&["private"], ResponseControl { private: Some(Scope::Response), ..none() }),
        (
            &["private=\"set-cookie, X-User\""],
            ResponseControl { private: fields(&["set-cookie", "x-user"]), ..none() },
        ),
        (&["no-cache=\"\""], ResponseControl { no_cache: Some(Scope::Response), ..none() }),
        (&["no-cache=\"a b\""], ResponseControl { no_cache: Some(Scope::Response), ..none() }),
        (&["no-cache=a, no-cache"], ResponseControl { no_cache: Some(Scope::Response), ..none() }),
        (&["no-cache, no-cache=a"], ResponseControl { no_cache: Some(Scope::Response), ..none() }),
        (&[",, no-store ,"], ResponseControl { no_store: true, ..none() }),
    ];
    for (lines, expected) in table {
        assert_eq!(response(lines), *expected, "{lines:?}");
    }
}

#[test]
fn misspelled_directives_still_forbid_storing() {
    const NO_STORE: [bool; 3] = [true, false, false];
    const PRIVATE: [bool; 3] = [false, true, false];
    const NO_CACHE: [bool; 3] = [false, false, true];
    let table: &[(&[&str], [bool; 3])] = &[
        (&["no-cache; no-store; must-revalidate"], [true, false, true]),
        (&["private; max-age=60"], PRIVATE),
        (&["max-age=60; private"], PRIVATE),
        (&["max-age=60 private"], PRIVATE),
        (&["max-age=60|private"], PRIVATE),
        (&["max-age=\"60, private\""], PRIVATE),
        (&["\"max-age=60, private\""], PRIVATE),
        (&["public", "max-age=60 private"], PRIVATE),
        (&["\"no-store\""], NO_STORE),
        (&["'no-store'"], NO_STORE),
        (&["no_store"], NO_STORE),
        (&["NoStore"], NO_STORE),
        (&["no\tstore"], NO_STORE),
        (&["no store"], NO_STORE),
        (&["no-storex"], NO_STORE),
        (&["no-store:"], NO_STORE),
        (&["no-store=1"], NO_STORE),
        (&["no-store=?0"], NO_STORE),
        (&["no-store=false"], NO_STORE),
        (&["no-store="], NO_STORE),
        (&["no-store/max-age=60"], NO_STORE),
        (&["no\u{2011}store"], NO_STORE),
        (&["no-store\u{a0}"], NO_STORE),
        (&["\u{201c}no-store\u{201d}"], NO_STORE),
        (&["cache-control: no-store"], NO_STORE),
        (&["x=\"no-store"], NO_STORE),
        (&["x=\"a, no-store", "public"], NO_STORE),
        (&["x=\"a, no-store, y=\"b\""], NO_STORE),
        (&["x=\"\\\", no-store"], NO_STORE),
        (&["private=1"], PRIVATE),
        (&["private=true"], PRIVATE),
        (&["private=set-cookie"], PRIVATE),
        (&["private=\"set-cookie"], PRIVATE),
        (&["private=\"set-cookie\"; x"], PRIVATE),
        (&["private:"], PRIVATE),
        (&["no_cache"], NO_CACHE),
        (&["no-cache=1"], NO_CACHE),
    ];
    for (lines, expected) in table {
        let control = response(lines);
        let says = [
            control.no_store,
            control.private == Some(Scope::Response),
            control.no_cache == Some(Scope::Response),
        ];
        assert_eq!(says, *expected, "{lines:?}");
    }
}

#[test]
fn unreadable_members_are_noticed() {
    for (line, malformed) in [
        ("max-age=60, x=\"a b\", y=1, z", false),
        ("max-age=1.5, max-age=-1", false),
        ("", false),
        (",,", false),
        ("max-age=60;", true),
        ("max-age=60, &?", true),
        ("max-age:60", true),
        ("max-age=", true),
        ("\u{fe}\u{ff}", true),
        ("x=\"", true),
        ("{}", true),
    ] {
        assert_eq!(response(&[line]).malformed, malformed, "{line}");
    }
}

#[test]
fn a_pragma_forbids_in_any_spelling() {
    for (line, forbids) in [
        ("no-cache", true),
        ("No_Cache; x", true),
        ("x, no-cache", true),
        ("no-store", true),
        ("private", true),
        ("public", false),
        ("", false),
    ] {
        assert_eq!(pragma_forbids(&map(&[("pragma", line)])), forbids, "{line}");
    }
}

#[test]
fn the_directives_of_a_request_are_read() {
    let none = RequestControl::default;
    for (line, expected) in [
        ("no-cache", RequestControl { no_cache: true, ..none() }),
        ("NO-STORE", RequestControl { no_store: true, ..none() }),
        ("no-store; x", RequestControl { no_store: true, ..none() }),
        ("no-cache; x", RequestControl { no_cache: true, ..none() }),
        ("max-age=0", RequestControl { max_age: Some(0), ..none() }),
        ("max-age=x", RequestControl { max_age: Some(0), ..none() }),
        ("min-fresh=5", RequestControl { min_fresh: Some(5), ..none() }),
        ("max-stale", RequestControl { max_stale: Some(MAX_SECONDS), ..none() }),
        ("max-stale=5", RequestControl { max_stale: Some(5), ..none() }),
        ("max-stale=x", none()),
        ("only-if-cached", RequestControl { only_if_cached: true, ..none() }),
    ] {
        assert_eq!(request(line), expected, "{line}");
    }
    // RFC 9111 §5.4.
    assert!(RequestControl::parse(&map(&[("pragma", "x, No-Cache")])).no_cache);
    assert!(
        !RequestControl::parse(&map(&[("pragma", "no-cache"), ("cache-control", "a")])).no_cache
    );
}

proptest! {
    #[test]
    fn no_header_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(value) = HeaderValue::from_bytes(&bytes) {
            let headers: HeaderMap =
                [CACHE_CONTROL, PRAGMA].map(|name| (name, value.clone())).into_iter().collect();
            ResponseControl::parse(&headers);
            RequestControl::parse(&headers);
            pragma_forbids(&headers);
        }
    }
}
