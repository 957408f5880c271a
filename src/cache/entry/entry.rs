use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::super::vary::Variant;
use super::codec::{self, InvalidEntry};
use super::freshness::Freshness;
use super::response::{EntryKind, StoredResponse};
use super::value::StoredValue;

/// A stored response, the list of a URL's variants, or a value: what a
/// [`Store`](super::super::Store) keeps under a key. Clones share the memory.
///
/// A store in memory should keep the entry itself rather than its bytes: the value of a
/// `TypedCache` then stays decoded.
#[derive(Clone, Debug)]
pub struct Entry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kind: EntryKind,
    /// The [suffixes](Variant::suffix) of the variants, so that no hit hashes its variant.
    suffixes: Box<[String]>,
    /// The entry may be served: it was made in this process, or has been checked since it was read.
    checked: AtomicBool,
    /// The bytes of the entry are in memory of their own, rather than slices of larger buffers.
    is_owned: bool,
    /// The memory that the entry takes: stores ask for it several times.
    size: OnceLock<u64>,
}

impl Entry {
    /// Creates an entry of this process, whose bytes are in memory of their own.
    pub(crate) fn new(kind: EntryKind) -> Self {
        Self(Arc::new(Inner::new(kind, true, true)))
    }

    /// Creates an entry of this process whose response takes `size` bytes, which were counted before.
    pub(crate) fn sized(kind: EntryKind, size: usize) -> Self {
        debug_assert_eq!(kind.size(), size);
        let size = OnceLock::from(size.saturating_add(BOOKKEEPING) as u64);
        Self(Arc::new(Inner { size, ..Inner::new(kind, true, true) }))
    }

    /// Encodes the entry for a store outside of the process, together with its key, which
    /// [`from_bytes`](Self::from_bytes) verifies.
    #[must_use]
    pub fn to_bytes(&self, key: &str) -> Bytes {
        codec::encode(&self.0.kind, key)
    }

    /// Decodes the entry of a key from the output of [`to_bytes`](Self::to_bytes). The body and the
    /// header values are slices of `bytes` and are not copied.
    ///
    /// The maxima of an entry are 1 MiB for everything but the body, and in that 4,096 header lines,
    /// tags, variants, and headers that a variant depends on. The length of the body is not limited.
    ///
    /// # Errors
    ///
    /// Returns an error if the bytes have the format of another version of this crate, belong to
    /// another key, exceed one of the maxima, or are not exactly the output of `to_bytes`. A store
    /// treats each of these as a miss.
    pub fn from_bytes(bytes: Bytes, key: &str) -> Result<Self, InvalidEntry> {
        let kind = codec::decode(bytes, key)?;
        Ok(Self(Arc::new(Inner::new(kind, false, false))))
    }

    /// Returns about how many bytes of memory the entry takes, with the overhead of the allocator.
    #[must_use]
    pub fn size(&self) -> u64 {
        *self.0.size.get_or_init(|| self.0.kind.size().saturating_add(BOOKKEEPING) as u64)
    }

    /// Returns `true` if the entry may be served. `is_sound` is called once, and only for an entry
    /// that was read from outside of the process.
    pub(crate) fn is_checked(&self, is_sound: impl FnOnce() -> bool) -> bool {
        // Two requests may check the entry at the same time, with the same result.
        if self.0.checked.load(Ordering::Relaxed) {
            return true;
        }
        let sound = is_sound();
        self.0.checked.store(sound, Ordering::Relaxed);
        sound
    }

    pub(crate) fn kind(&self) -> &EntryKind {
        &self.0.kind
    }

    /// Returns `true` if both are clones of the same entry.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns the stored response, or `None` for another kind of entry.
    pub(crate) fn stored(&self) -> Option<&StoredResponse> {
        match self.kind() {
            EntryKind::Response(stored) => Some(stored),
            EntryKind::Variants(_) | EntryKind::Value(_) => None,
        }
    }

    /// Returns the times of a response or of a value.
    pub(crate) fn freshness(&self) -> Option<&Freshness> {
        match self.kind() {
            EntryKind::Response(StoredResponse { freshness, .. })
            | EntryKind::Value(StoredValue { freshness, .. }) => Some(freshness),
            EntryKind::Variants(_) => None,
        }
    }

    /// Returns the entry in memory of its own: one that was read may be slices of the buffers of
    /// another store. An entry that is not checked yet stays so.
    pub(crate) fn into_owned_memory(self) -> Self {
        if self.0.is_owned {
            return self;
        }
        let mut owned = self.map(|kind| match kind {
            EntryKind::Response(stored) => *stored = stored.to_owned_memory(),
            EntryKind::Value(value) => *value = value.to_owned_memory(),
            EntryKind::Variants(_) => {}
        });
        // A list of variants is decoded into memory of its own, and may be shared.
        if let Some(inner) = Arc::get_mut(&mut owned.0) {
            inner.is_owned = true;
        }
        owned
    }

    /// Returns the entry with a response or a value that `edit` has changed. A list of variants stays
    /// as it is.
    pub(crate) fn map(mut self, edit: impl FnOnce(&mut EntryKind)) -> Self {
        // Nobody else has an entry that was just decoded.
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            edit(&mut inner.kind);
            inner.size = OnceLock::new();
            return self;
        }
        if let EntryKind::Variants(_) = self.kind() {
            return self;
        }
        let mut kind = self.kind().clone();
        edit(&mut kind);
        let checked = self.0.checked.load(Ordering::Relaxed);
        Self(Arc::new(Inner::new(kind, checked, self.0.is_owned)))
    }

    /// Returns the [suffix](Variant::suffix) of one of the variants.
    pub(crate) fn variant_suffix(&self, at: usize) -> &str {
        self.0.suffixes.get(at).map_or("", String::as_str)
    }
}

impl Inner {
    fn new(kind: EntryKind, checked: bool, is_owned: bool) -> Self {
        let suffixes = match &kind {
            EntryKind::Response(_) | EntryKind::Value(_) => Box::default(),
            EntryKind::Variants(variants) => variants.iter().map(Variant::suffix).collect(),
        };
        let checked = AtomicBool::new(checked);
        Self { kind, suffixes, checked, is_owned, size: OnceLock::new() }
    }
}

/// The memory of an entry beside its own bytes: the entry, its key and its place in a store, in
/// bytes, as `benches/cache_memory.rs` measures it.
const BOOKKEEPING: usize = 400;
