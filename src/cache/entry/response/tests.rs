use std::sync::Arc;

use http::HeaderValue;

use super::super::super::namespace::Namespace;
use super::super::super::purge::Purge;
use super::super::super::purge::table::MAX_NAMES;
use super::super::headers::add_places;
use super::*;

fn stored(buffer: &Bytes, body: usize) -> StoredResponse {
    let mut headers = HeaderMap::with_capacity(100);
    add_places(&mut headers);
    let mut value = HeaderValue::from_maybe_shared(buffer.slice(..5)).unwrap();
    headers.append("x-a", value.clone());
    value.set_sensitive(true);
    headers.append("x-b", value);
    headers.append("x-a", HeaderValue::from_maybe_shared(buffer.slice(5..9)).unwrap());
    StoredResponse {
        status: StatusCode::OK,
        headers,
        body: buffer.slice(..body),
        freshness: Freshness::default(),
        variant: Variant::default(),
        tags: Vec::new(),
        links: Links::default(),
        watermark: Watermark::default(),
    }
}

/// A response, and one that answers several queries.
fn plain_and_ruled() -> [StoredResponse; 2] {
    let plain = || stored(&Bytes::from_static(&[b'x'; 9]), 0);
    let mut ruled = plain();
    ruled.headers.append("no-vary-search", HeaderValue::from_static("params=(\"utm\")"));
    [plain(), ruled]
}

#[test]
fn purge_of_a_query_hits_all_that_may_answer_it() {
    // The target, and `true` if the response to `/a?b` is purged, by its own URL or by a rule.
    for (purge, plain, ruled) in [
        (Purge::Url("http://x/a?b"), true, true),
        (Purge::Url("http://x/a?c"), false, true),
        (Purge::Removed("http://x/a?c"), false, true),
        (Purge::Url("http://x/a"), false, true),
        (Purge::Prefix("http://x/a?c"), false, true),
        (Purge::Prefix("http://x/a?"), true, true),
        (Purge::Prefix("http://x/"), true, true),
        (Purge::Url("http://x/a/?b"), false, false),
        (Purge::Url("http://x/b?b"), false, false),
        (Purge::Prefix("http://x/ab"), false, false),
        (Purge::Tag("http://x/a?b"), false, false),
    ] {
        for namespace in ["", "a?b"] {
            let purges = ScopedPurges::new(Arc::default(), Namespace::named(namespace));
            drop(purges.purge(purge, 5));
            for (stored, expected) in plain_and_ruled().iter().zip([plain, ruled]) {
                assert_eq!(stored.is_admitted(&purges, "http://x/a?b"), !expected, "{purge:?}");
                let is_usable = stored.is_usable(&purges, "http://x/a?b", false);
                assert_eq!(is_usable, !expected, "{purge:?}");
            }
            let purges = ScopedPurges::new(Arc::default(), Namespace::named(namespace));
            drop(purges.soft_purge(purge, 5));
            for (stored, expected) in plain_and_ruled().iter().zip([plain, ruled]) {
                assert!(stored.is_usable(&purges, "http://x/a?b", false), "{purge:?}");
                assert_eq!(stored.is_soft_purged(), expected, "{purge:?}");
            }
        }
    }
}

#[test]
fn comparison_with_all_purges_is_noted() {
    let purges = ScopedPurges::new(Arc::default(), Namespace::default());
    drop(purges.purge(Purge::Url("http://x/other"), 5));
    let [plain, ruled] = plain_and_ruled();
    let links = Links::new(vec!["value".into()], vec!["tag".to_owned()]);
    let linked = StoredResponse { links, ..plain.clone() };
    for stored in [plain, ruled, linked] {
        assert!(stored.is_usable(&purges, "http://x/a", false));
        assert_eq!(stored.watermark.get(), purges.watermark());
    }
}

#[test]
fn links_are_purged_by_name_tag_and_prefix() {
    for namespace in ["", "pages"] {
        for (purge, is_hit) in [
            (Purge::Url("value"), true),
            (Purge::Removed("value"), true),
            (Purge::Prefix("val"), true),
            (Purge::Tag("tag"), true),
            (Purge::Url("values"), false),
            (Purge::Tag("value"), false),
            (Purge::Url("tag"), false),
        ] {
            let purges = ScopedPurges::new(Arc::default(), Namespace::named(namespace));
            let links = Links::new(vec!["value".into()], vec!["tag".to_owned()]);
            let stored = StoredResponse { links, ..plain_and_ruled()[0].clone() };
            drop(purges.list().purge(purge, 5));
            assert_eq!(stored.is_admitted(&purges, "http://x/a"), !is_hit, "{purge:?}");
            assert_eq!(stored.is_usable(&purges, "http://x/a", false), !is_hit, "{purge:?}");
        }
    }
}

#[test]
fn forgotten_changes_purge_what_answers_queries() {
    let purges = ScopedPurges::new(Arc::default(), Namespace::default());
    for number in 0..=MAX_NAMES {
        drop(purges.purge(Purge::Removed(&format!("http://x/{number}?b")), 0));
    }
    let usable = plain_and_ruled().map(|stored| stored.is_usable(&purges, "http://x/0?c", false));
    assert_eq!(usable, [true, false]);
}

#[test]
fn soft_purge_ends_a_lifetime_and_lengthens_none() {
    let freshness = Freshness { received: 1_000, lifetime: 500, ..Freshness::default() };
    let stored = StoredResponse { freshness, ..stored(&Bytes::from_static(&[b'x'; 9]), 0) };
    assert_eq!((stored.left(1_100), stored.is_soft_purged()), (400, false));
    stored.watermark.mark_stale(1_100);
    for (now, left) in [(0, 0), (1_100, 0), (1_150, -50), (1_600, -500), (u64::MAX, -i64::MAX)] {
        assert_eq!(stored.left(now), left, "{now}");
    }
    // The first one counts, as far as it is known.
    stored.watermark.mark_stale(1_200);
    assert_eq!((stored.left(1_250), stored.is_soft_purged()), (-150, true));
    let late = StoredResponse { watermark: Watermark::at(0), ..stored };
    late.watermark.mark_stale(1_700);
    assert_eq!(late.left(1_750), -250, "it was stale before");
}

#[test]
fn owned_response_has_no_part_of_the_buffer() {
    let buffer = Bytes::from(vec![b'x'; MAX_COPIED_BODY + 1]);
    let range = buffer.as_ptr_range();
    for body in [0, 100, MAX_COPIED_BODY, MAX_COPIED_BODY + 1] {
        let before = stored(&buffer, body);
        let after = before.to_owned_memory();
        assert_eq!(after, before);
        assert_eq!(format!("{:?}", after.headers), format!("{:?}", before.headers));
        for value in after.headers.values() {
            assert!(!range.contains(&value.as_bytes().as_ptr()));
        }
        assert!(body == 0 || !range.contains(&after.body.as_ptr()));
        let own_body = before.clone().with_own_body();
        assert_eq!(own_body, before);
        let shares = body > MAX_COPIED_BODY;
        assert!(body == 0 || range.contains(&own_body.body.as_ptr()) == shares, "{body}");
    }
}
