use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::super::key::SearchRule;
use super::super::purge::{ScopedPurges, Stamp, Standing};
use super::super::vary::Variant;
use super::freshness::Freshness;
use super::headers::{Added, copy_headers, head_size, variant_size};
use super::links::Links;
use super::value::StoredValue;
use super::watermark::Watermark;

/// The kinds of entries.
#[derive(Clone, Debug)]
pub(crate) enum EntryKind {
    Response(StoredResponse),
    /// The variants of a URL, the newest last. Each has an entry under a key of its own.
    Variants(Vec<Variant>),
    Value(StoredValue),
}

/// A complete response, or a part (206) under the key of a part.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredResponse {
    pub(crate) status: StatusCode,
    /// The headers that are stored, and [`PLACES`].
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) freshness: Freshness,
    pub(crate) variant: Variant,
    pub(crate) tags: Vec<String>,
    pub(crate) links: Links,
    /// The last purge before the inner service was called, or a later one that did not affect the
    /// response.
    pub(crate) watermark: Watermark,
}

impl EntryKind {
    /// Returns about how many bytes of memory it takes, with the overhead of the allocator.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Variants(variants) => {
                let unused = (variants.capacity() - variants.len()) * size_of::<Variant>();
                unused + variants.iter().map(variant_size).sum::<usize>()
            }
            Self::Response(StoredResponse { headers, variant, tags, links, body, .. }) => {
                head_size(headers, variant, tags, links) + body.len()
            }
            Self::Value(value) => value.size(),
        }
    }
}

impl StoredResponse {
    /// Returns the same response with its body in memory of its own. Its headers have that already, and
    /// so has a body of over [`MAX_COPIED_BODY`].
    pub(crate) fn with_own_body(self) -> Self {
        let is_copied = self.body.len() > MAX_COPIED_BODY;
        let body = if is_copied { self.body } else { Bytes::copy_from_slice(&self.body) };
        Self { body, ..self }
    }

    /// Returns `true` unless something that the response belongs to was purged since it was requested.
    /// A soft purge makes the response stale: see [`left`](Self::left).
    ///
    /// `stays`: the entry stays in the store when a change of its URL removes the others.
    #[inline]
    pub(crate) fn is_usable(&self, purges: &ScopedPurges, url: &str, stays: bool) -> bool {
        let Self { tags, watermark, freshness, .. } = self;
        let requested = watermark.get();
        let mut standing = purges.standing(url, tags, requested, freshness.received);
        // Most hits have no purge to compare, and cost no look at the headers.
        if !purges.is_latest(requested) {
            standing = standing.and(self.standing_by_others(purges, url, requested));
            // In this order: a name that was forgotten before the comparison is known here.
            if purges.is_outdated(watermark.newest()) {
                return false;
            }
        }
        // In this order: a purge that was forgotten before the first check is known to the second.
        if stays && !purges.remembers(requested) {
            return false;
        }
        watermark.admits(standing)
    }

    /// Compares a response that was just read from a store with the purges, as
    /// [`is_usable`](Self::is_usable) does. Until it is read again, a memory may use it although names
    /// that were removed before it was read are forgotten.
    pub(crate) fn compare(&self, purges: &ScopedPurges, url: &str, stays: bool) {
        if purges.is_shared() {
            self.is_usable(purges, url, stays);
        }
    }

    /// Returns the standing of a response by purges of other names than its own: those of the values that
    /// it is made of, and of the queries that it may answer.
    #[inline(never)]
    fn standing_by_others(&self, purges: &ScopedPurges, url: &str, requested: Stamp) -> Standing {
        let received = self.freshness.received;
        let standing = self.links.standing(purges, requested, received);
        if !SearchRule::is_stated(&self.headers) {
            return standing;
        }
        let standing = standing.and(purges.standing_of_queries(url, requested, received));
        // The entry of one query stays in the store when a change of another one removes that of the
        // other.
        if purges.remembers(requested) { standing } else { Standing::Purged }
    }

    /// Returns `true` if the response was not purged since it was requested, and may be stored.
    #[inline]
    pub(crate) fn is_admitted(&self, purges: &ScopedPurges, url: &str) -> bool {
        let watermark = self.watermark.get();
        purges.is_latest(watermark)
            || purges.admits(url, &self.tags, watermark)
                && self.links.are_admitted(purges, watermark)
                && (!SearchRule::is_stated(&self.headers) || purges.admits_queries(url, watermark))
    }

    /// Returns the milliseconds until the response is stale: by its lifetime, or since it was
    /// soft-purged. Negative if it is stale.
    #[inline]
    pub(crate) fn left(&self, now: u64) -> i64 {
        self.watermark.left(self.freshness.left(now), now)
    }

    /// Returns `true` if a soft purge was found that made the response stale.
    pub(crate) fn is_soft_purged(&self) -> bool {
        self.watermark.is_soft_purged()
    }

    /// Returns the same response in memory of its own, whatever the size of its body.
    pub(super) fn to_owned_memory(&self) -> Self {
        let headers = copy_headers(&self.headers, &|_| true, Added::default());
        Self { headers, body: Bytes::copy_from_slice(&self.body), ..self.clone() }
    }
}

/// The maximum size of a body that is copied when it is stored, in bytes. A larger one was copied when
/// it was read.
pub(crate) const MAX_COPIED_BODY: usize = 64 * 1024;

#[cfg(test)]
mod tests {
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
        let usable =
            plain_and_ruled().map(|stored| stored.is_usable(&purges, "http://x/0?c", false));
        assert_eq!(usable, [true, false]);
    }

    #[test]
    fn soft_purge_ends_a_lifetime_and_lengthens_none() {
        let freshness = Freshness { received: 1_000, lifetime: 500, ..Freshness::default() };
        let stored = StoredResponse { freshness, ..stored(&Bytes::from_static(&[b'x'; 9]), 0) };
        assert_eq!((stored.left(1_100), stored.is_soft_purged()), (400, false));
        stored.watermark.mark_stale(1_100);
        for (now, left) in [(0, 0), (1_100, 0), (1_150, -50), (1_600, -500), (u64::MAX, -i64::MAX)]
        {
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
}
