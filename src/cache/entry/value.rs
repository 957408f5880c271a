use std::any::Any;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::freshness::Freshness;
use super::headers::tags_size;
use super::watermark::Watermark;

/// A value of a `ValueCache`: the bytes of a codec, and beside them the decoded value.
#[derive(Clone, Debug)]
pub(crate) struct StoredValue {
    /// The name of the codec that made the bytes. No other codec reads them.
    pub(crate) codec: Bytes,
    pub(crate) bytes: Bytes,
    pub(crate) freshness: Freshness,
    pub(crate) tags: Vec<String>,
    /// The last purge before the value was fetched, or a later one that did not affect the value.
    pub(crate) watermark: Watermark,
    /// The bytes of memory that `decoded` counts, or 0 if the value is decoded for each caller.
    ///
    /// A store weighs an entry when it is put and again when it is evicted, and needs the same result.
    /// So the number counts from the beginning, and is a part of the encoded entry, since another
    /// process may have made that.
    pub(crate) decoded_size: u32,
    /// The value, once a caller has decoded it. Stays empty if `decoded_size` is 0.
    pub(crate) decoded: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl StoredValue {
    /// Returns about how many bytes of memory it takes, with the overhead of the allocator.
    pub(super) fn size(&self) -> usize {
        let own = self.codec.len() + self.bytes.len() + tags_size(&self.tags);
        own.saturating_add(self.decoded_size as usize)
    }

    /// Returns the same value in memory of its own.
    pub(super) fn to_owned_memory(&self) -> Self {
        let [codec, bytes] = [&self.codec, &self.bytes].map(|bytes| Bytes::copy_from_slice(bytes));
        let Self { freshness, decoded_size, .. } = *self;
        let (tags, watermark) = (self.tags.clone(), self.watermark.clone());
        let decoded = self.decoded.clone();
        Self { codec, bytes, freshness, tags, watermark, decoded_size, decoded }
    }
}
