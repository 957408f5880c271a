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
mod tests;
