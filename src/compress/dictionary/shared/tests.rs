use http::header::{AUTHORIZATION, COOKIE};
use sha2::Digest;

use super::*;
use crate::headers::test_headers::{TestHeaders, map};

fn shared() -> Shared {
    Shared {
        patterns: vec!["/items/*".parse().unwrap(), "/items/*/parts".parse().unwrap()],
        user_headers: vec![AUTHORIZATION, COOKIE],
        max_size: 1 << 20,
        store: Arc::new(Store::new(1 << 20, 10)),
        prepared: Arc::new(Prepared::new(1 << 20)),
        lookups: Arc::default(),
        keys: RandomState::new(),
    }
}

fn look_up(shared: &Shared, uri: &str, headers: &HeaderMap) -> Option<Lookup> {
    let uri: Uri = uri.parse().unwrap();
    let extensions = Extensions::new();
    let method = &Method::GET;
    shared.look_up(RequestHead { method, uri: &uri, headers, extensions: &extensions })
}

#[test]
fn slots_are_apart_by_origin_path_and_user() {
    let shared = shared();
    let slot = |uri: &str, headers: TestHeaders<'_>| {
        look_up(&shared, uri, &map(headers)).map(|lookup| lookup.slot)
    };
    let first = slot("http://a/list", &[]);
    assert!(first.is_some());
    for (uri, headers) in [
        ("http://A/list", &[][..]),
        ("/list", &[("host", "a")]),
        ("http://a/list?page=2", &[]),
        ("http://a/list", &[("host", "b")]),
        ("http://a/list", &[("x-user", "1")]),
    ] {
        assert_eq!(slot(uri, headers), first, "{uri} {headers:?}");
    }
    for (uri, headers) in [
        ("http://b/list", &[][..]),
        ("http://a:8080/list", &[]),
        ("http://a/lists", &[]),
        ("http://a/LIST", &[]),
        ("/list", &[]),
        ("/list", &[("host", "a"), ("host", "a")]),
        ("http://a/list", &[("cookie", "id=1")]),
        ("http://a/list", &[("cookie", "")]),
        ("http://a/list", &[("authorization", "id=1")]),
        ("http://a/list", &[("cookie", "id=1"), ("cookie", "a=b")]),
        ("http://a/list", &[("cookie", "id=1a=b")]),
    ] {
        assert_ne!(slot(uri, headers), first, "{uri} {headers:?}");
    }
    let [one, two, both] = [
        &[("cookie", "a")][..],
        &[("authorization", "a")],
        &[("cookie", "a"), ("authorization", "a")],
    ]
    .map(|headers| slot("http://a/list", headers));
    assert!(one != two && two != both && one != both);
}

#[test]
fn longest_pattern_is_that_of_the_slot() {
    let shared = shared();
    let found =
        |path: &str| look_up(&shared, &format!("http://a{path}"), &HeaderMap::new()).unwrap();
    assert!(matches!(found("/items/1").matching, Matching::Pattern(0)));
    assert!(matches!(found("/items/1/parts").matching, Matching::Pattern(1)));
    assert!(matches!(found("/list?page=1").matching, Matching::Path(_)));
    assert_eq!(found("/items/1").slot, found("/items/2?a=b").slot);
    assert_ne!(found("/items/1").slot, found("/items/1/parts").slot);
    // The slot is that of the pattern, in whatever place a clone of the dictionaries has it.
    let pattern = shared.patterns[1].clone();
    let other = Shared { patterns: vec![pattern], ..shared.clone() };
    let slot = |uri| look_up(&other, uri, &HeaderMap::new()).unwrap().slot;
    assert_eq!(slot("http://a/items/1/parts"), found("/items/1/parts").slot);
    assert_ne!(slot("http://a/items/1"), found("/items/1").slot);
    assert_ne!(slot("http://a/items/*"), found("/items/1").slot, "a path is no pattern");
}

#[test]
fn only_what_is_offered_rightly_is_known() {
    let shared = shared();
    let body = b"a body that becomes a dictionary".repeat(10);
    let slot = look_up(&shared, "http://a/list", &HeaderMap::new()).unwrap().slot;
    shared.store.keep(slot, &mut [&body[..]].into_iter(), body.len()).unwrap();
    let offer = |headers: TestHeaders<'_>| match look_up(&shared, "http://a/list", &map(headers)) {
        Some(Lookup { offer: Offer::Known { weight, is_public: false, .. }, .. }) => Some(weight),
        Some(Lookup { offer: Offer::Known { .. }, .. }) => Some(1),
        Some(Lookup { offer: Offer::Unknown, .. }) => Some(0),
        _ => None,
    };
    let value = format!(":{}=:", encode(&sha2::Sha256::digest(&body).into()));
    let known = ("available-dictionary", value.as_str());
    for (headers, expected) in [
        (&[][..], None),
        (&[("accept-encoding", "dcz")], None),
        (&[known, ("accept-encoding", "gzip, dcz;q=0.5")], Some(500)),
        (&[known, ("accept-encoding", "gzip, dcb")], Some(0)),
        (&[known], Some(0)),
        (&[("available-dictionary", "x"), ("accept-encoding", "dcz")], Some(0)),
        // Of a request without a user: for public responses alone.
        (&[known, ("accept-encoding", "dcz"), ("cookie", "id=1")], Some(1)),
        (&[known, ("accept-encoding", "dcz"), ("sec-fetch-site", "same-origin")], Some(1000)),
        (
            &[
                known,
                ("accept-encoding", "dcz"),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "cors"),
            ],
            Some(0),
        ),
    ] {
        assert_eq!(offer(headers), expected, "{headers:?}");
    }
}

/// Encodes 32 bytes in unpadded Base64.
fn encode(hash: &[u8; 32]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bit = |at: usize| hash.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1);
    let digit = |at: usize| (0..6).fold(0, |value, of| value << 1 | usize::from(bit(6 * at + of)));
    (0..43).map(|at| char::from(DIGITS[digit(at)])).collect()
}
