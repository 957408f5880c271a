use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::super::purge::{ScopedPurges, Stamp};
use super::super::vary::Variant;
use super::freshness::Freshness;
use super::headers::{copy_headers, head_size, variant_size};

/// The two kinds of entries.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are responses")]
pub(crate) enum EntryKind {
    Response(StoredResponse),
    /// The variants of a URL, the newest last. Each has an entry under a key of its own.
    Variants(Vec<Variant>),
}

/// A complete response, or a part (206) under the key of a part.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) freshness: Freshness,
    pub(crate) variant: Variant,
    pub(crate) tags: Vec<String>,
    /// The last purge before the inner service was called, or a later one that did not affect the
    /// response.
    pub(crate) watermark: Watermark,
}

/// A stamp that is raised whenever the response is found to be current.
#[derive(Debug, Default)]
pub(crate) struct Watermark(AtomicU64);

impl EntryKind {
    /// Returns about how many bytes of memory it takes, with the overhead of the allocator.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Variants(variants) => {
                let unused = (variants.capacity() - variants.len()) * size_of::<Variant>();
                unused + variants.iter().map(variant_size).sum::<usize>()
            }
            Self::Response(StoredResponse { headers, variant, tags, body, .. }) => {
                head_size(headers, variant, tags) + body.len()
            }
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

    /// Returns `true` if nothing that the response belongs to was purged since it was requested. A
    /// later check then has fewer purges to compare.
    pub(crate) fn is_current(&self, purges: &ScopedPurges, url: &str) -> bool {
        let Self { tags, watermark, freshness, .. } = self;
        let stamp = purges.current_as_of(url, tags, watermark.get(), freshness.received);
        if let Some(stamp) = stamp {
            watermark.raise(stamp);
        }
        stamp.is_some()
    }

    /// Returns the same response in memory of its own, whatever the size of its body.
    pub(super) fn to_owned_memory(&self) -> Self {
        let headers = copy_headers(&self.headers, &|_| true, None);
        Self { headers, body: Bytes::copy_from_slice(&self.body), ..self.clone() }
    }
}

impl Watermark {
    pub(crate) fn at(stamp: Stamp) -> Self {
        Self(AtomicU64::new(stamp))
    }

    pub(crate) fn get(&self) -> Stamp {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn raise(&self, stamp: Stamp) {
        // The stamp is nearly always there already: a read does not contend for the cache line.
        if self.get() < stamp {
            self.0.fetch_max(stamp, Ordering::Relaxed);
        }
    }
}

impl Clone for Watermark {
    fn clone(&self) -> Self {
        Self::at(self.get())
    }
}

impl PartialEq for Watermark {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

/// The maximum size of a body that is copied when it is stored, in bytes. A larger one was copied when
/// it was read.
pub(crate) const MAX_COPIED_BODY: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn stored(buffer: &Bytes, body: usize) -> StoredResponse {
        let mut headers = HeaderMap::with_capacity(100);
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
            watermark: Watermark::default(),
        }
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
