use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::super::purge::{ScopedPurges, Stamp};
use super::super::vary::Variant;
use super::freshness::Freshness;

/// The two kinds of entries.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are responses")]
pub(crate) enum EntryKind {
    Response(StoredResponse),
    /// The variants of a URL, the newest last. Each has an entry under a key of its own.
    Variants(Vec<Variant>),
}

/// A complete response.
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
    /// Returns the same response in as little memory as possible: a header value or a body that was
    /// read from a connection is a slice of its buffer, and keeps all of it alive. The caller has
    /// copied a body of over [`MAX_COPIED_BODY`] into memory of its own.
    pub(crate) fn compact(mut self) -> Self {
        let body = if self.body.len() <= MAX_COPIED_BODY { &*self.body } else { &[] };
        let copied = copy_values(&mut self.headers, body);
        if self.body.len() <= MAX_COPIED_BODY {
            self.body = copied;
        }
        // A map that has grown has space for up to twice its headers, and cloning drops that. A map
        // with space for many more has a large index, which cloning retains.
        let many = 4 * self.headers.keys_len().max(8);
        if self.headers.capacity() > many {
            let mut headers = HeaderMap::with_capacity(self.headers.keys_len());
            for (name, value) in &self.headers {
                headers.append(name, value.clone());
            }
            self.headers = headers;
        } else {
            self.headers = self.headers.clone();
        }
        self
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
        let body = Bytes::from(Box::from(&*self.body));
        Self { body, ..self.clone() }.compact()
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

/// Copies the values of `headers`, and `body` behind them, into one new buffer. Returns the copy of
/// the body.
pub(crate) fn copy_values(headers: &mut HeaderMap, body: &[u8]) -> Bytes {
    let values: usize = headers.values().map(HeaderValue::len).sum();
    let mut copy = BytesMut::with_capacity(values + body.len());
    headers.values().for_each(|value| copy.extend_from_slice(value.as_bytes()));
    copy.extend_from_slice(body);
    let mut copy = copy.freeze();
    for value in headers.values_mut() {
        let sensitive = value.is_sensitive();
        if let Ok(copied) = HeaderValue::from_maybe_shared(copy.split_to(value.len())) {
            *value = copied;
            value.set_sensitive(sensitive);
        }
    }
    copy
}

/// Returns about how many bytes of memory the head of a stored response takes.
pub(crate) fn head_size(headers: &HeaderMap, variant: &Variant, tags: &[String]) -> usize {
    let line =
        |(name, value): (&HeaderName, &HeaderValue)| LINE + name.as_str().len() + value.len();
    let lines: usize = headers.iter().map(line).sum();
    let tags: usize = tags.iter().map(|tag| ALLOCATION + tag.capacity()).sum();
    lines + tags + variant_size(variant)
}

fn variant_size(variant: &Variant) -> usize {
    let field = |(name, value): &(HeaderName, Option<Vec<u8>>)| {
        // Counted as a name that is not a standard one, which has an allocation.
        ALLOCATION
            + name.as_str().len()
            + value.as_ref().map_or(0, |value| ALLOCATION + value.capacity())
    };
    let fields = variant.fields.capacity() * size_of::<(HeaderName, Option<Vec<u8>>)>();
    size_of::<Variant>() + fields + variant.fields.iter().map(field).sum::<usize>()
}

/// The memory of a header beside its name and value: its place in the map, and often an allocation,
/// in bytes. Like the two below it is what `benches/cache_memory.rs` measures.
const LINE: usize = 144;

/// The overhead of an allocation, in bytes.
const ALLOCATION: usize = 48;

/// The maximum size of a body that is copied next to the header values, in bytes.
pub(crate) const MAX_COPIED_BODY: usize = 64 * 1024;

#[cfg(test)]
mod tests {
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
    fn compact_copies_out_of_the_buffer() {
        let buffer = Bytes::from(vec![b'x'; MAX_COPIED_BODY + 1]);
        let range = buffer.as_ptr_range();
        for body in [0, 100, MAX_COPIED_BODY, MAX_COPIED_BODY + 1] {
            let before = stored(&buffer, body);
            for (after, copies_all) in
                [(before.clone().compact(), false), (before.to_owned_memory(), true)]
            {
                assert_eq!(after, before);
                assert_eq!(format!("{:?}", after.headers), format!("{:?}", before.headers));
                for value in after.headers.values() {
                    assert!(!range.contains(&value.as_bytes().as_ptr()));
                }
                let shares = body > MAX_COPIED_BODY && !copies_all;
                assert!(body == 0 || range.contains(&after.body.as_ptr()) == shares, "{body}");
            }
        }
    }
}
