use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::purge::Stamp;
use super::vary::Variant;

/// What a [`Store`](super::Store) keeps under a key: a response, or which variants of it there are.
/// Clones share it.
#[derive(Clone, Debug)]
pub struct Entry(Arc<Held>);

#[derive(Debug)]
struct Held {
    kept: Kept,
    /// Whether it may be served: it was made in this process, or has been checked since it was read.
    checked: AtomicBool,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are responses")]
pub(crate) enum Kept {
    Response(Stored),
    /// The variants of a URL, the newest last. Each is kept under a key of its own.
    Variants(Vec<Variant>),
}

/// A response that is complete.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) freshness: Freshness,
    pub(crate) variant: Variant,
    pub(crate) tags: Vec<String>,
    /// The last purge that was known before the service was asked, or that has spared it since.
    pub(crate) watermark: Watermark,
}

/// Grows as the entry is found to be right still.
#[derive(Debug, Default)]
pub(crate) struct Watermark(AtomicU64);

/// How long a response may be used, and how. All times are in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Freshness {
    /// When it came, since 1970.
    pub(crate) received: u64,
    /// How old it was then (RFC 9111 §4.2.3, `corrected_initial_age`).
    pub(crate) age: u64,
    pub(crate) lifetime: u64,
    /// How long after that it may be used while it is refreshed (RFC 5861 §3).
    pub(crate) while_revalidate: u64,
    /// How long after that it may be used where the service fails (RFC 5861 §4).
    pub(crate) if_error: u64,
    /// How long the service took.
    pub(crate) took: u64,
    /// Never without asking the service (RFC 9111 §5.2.2.4).
    pub(crate) validate: bool,
    /// Never when it is stale, whatever the client says (§5.2.2.2, §5.2.2.8, §5.2.2.10).
    pub(crate) strict: bool,
    /// Also for requests with `authorization` (§3.5).
    pub(crate) shared: bool,
    /// Also for requests with `cookie`: the lifetime comes from the response or its handler, and not
    /// from the layer's configuration.
    pub(crate) stated: bool,
}

impl Entry {
    pub(crate) fn new(kept: Kept) -> Self {
        Self(Arc::new(Held { kept, checked: AtomicBool::new(true) }))
    }

    /// Makes an entry of what was read from outside of the process.
    pub(crate) fn read(kept: Kept) -> Self {
        Self(Arc::new(Held { kept, checked: AtomicBool::new(false) }))
    }

    /// Returns `true` if it may be served: `is_sound` is asked once, and only for what was read.
    pub(crate) fn is_checked(&self, is_sound: impl FnOnce() -> bool) -> bool {
        if self.0.checked.load(Ordering::Relaxed) {
            return true;
        }
        let sound = is_sound();
        self.0.checked.store(sound, Ordering::Relaxed);
        sound
    }

    pub(crate) fn kept(&self) -> &Kept {
        &self.0.kept
    }

    /// Whether both are the same one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The response, if it is one.
    pub(crate) fn stored(&self) -> Option<&Stored> {
        match self.kept() {
            Kept::Response(stored) => Some(stored),
            Kept::Variants(_) => None,
        }
    }

    /// The same in memory of its own: what was read from another store may be slices of its buffers.
    /// An entry that was not checked yet stays so.
    pub(crate) fn to_owned_memory(&self) -> Self {
        match self.kept() {
            Kept::Variants(_) => self.clone(),
            Kept::Response(stored) => {
                let body = Bytes::from(Box::from(&*stored.body));
                let kept = Kept::Response(Stored { body, ..stored.clone() }.compact());
                let checked = AtomicBool::new(self.0.checked.load(Ordering::Relaxed));
                Self(Arc::new(Held { kept, checked }))
            }
        }
    }

    /// About how many bytes of memory it takes, with what the allocator adds.
    #[must_use]
    pub fn size(&self) -> u64 {
        let size = match self.kept() {
            Kept::Variants(variants) => {
                let unused = (variants.capacity() - variants.len()) * size_of::<Variant>();
                unused + variants.iter().map(variant_size).sum::<usize>()
            }
            Kept::Response(Stored { headers, variant, tags, body, .. }) => {
                head_size(headers, variant, tags) + body.len()
            }
        };
        (size + BOOKKEEPING) as u64
    }
}

impl Stored {
    /// The same in little memory: a value or a body that came over a connection is a part of its
    /// buffer, and keeps all of that. A body of over 64 KiB is in memory of its own already.
    pub(crate) fn compact(mut self) -> Self {
        let body = if self.body.len() <= COPIED { &*self.body } else { &[] };
        let own = own_values(&mut self.headers, body);
        if self.body.len() <= COPIED {
            self.body = own;
        }
        // A map that has grown has room for up to twice as many; a copy has not. One that was made
        // for many more has a large index, which a copy has too.
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
}

/// Copies the values of `headers`, and `body` behind them, into one buffer of its own. Returns the
/// body in it.
pub(crate) fn own_values(headers: &mut HeaderMap, body: &[u8]) -> Bytes {
    let values: usize = headers.values().map(HeaderValue::len).sum();
    let mut own = BytesMut::with_capacity(values + body.len());
    headers.values().for_each(|value| own.extend_from_slice(value.as_bytes()));
    own.extend_from_slice(body);
    let mut own = own.freeze();
    for value in headers.values_mut() {
        let sensitive = value.is_sensitive();
        if let Ok(copy) = HeaderValue::from_maybe_shared(own.split_to(value.len())) {
            *value = copy;
            value.set_sensitive(sensitive);
        }
    }
    own
}

/// About how many bytes of memory the head of a stored response takes.
pub(crate) fn head_size(headers: &HeaderMap, variant: &Variant, tags: &[String]) -> usize {
    let line =
        |(name, value): (&HeaderName, &HeaderValue)| LINE + name.as_str().len() + value.len();
    let lines: usize = headers.iter().map(line).sum();
    let tags: usize = tags.iter().map(|tag| VALUE + tag.capacity()).sum();
    lines + tags + variant_size(variant)
}

fn variant_size(variant: &Variant) -> usize {
    let field = |(name, value): &(HeaderName, Option<Vec<u8>>)| {
        // The name is counted as one that is not a standard one, and has memory of its own.
        VALUE + name.as_str().len() + value.as_ref().map_or(0, |value| VALUE + value.capacity())
    };
    let fields = variant.fields.capacity() * size_of::<(HeaderName, Option<Vec<u8>>)>();
    size_of::<Variant>() + fields + variant.fields.iter().map(field).sum::<usize>()
}

impl Watermark {
    pub(crate) fn at(stamp: Stamp) -> Self {
        Self(AtomicU64::new(stamp))
    }

    pub(crate) fn get(&self) -> Stamp {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn raise(&self, stamp: Stamp) {
        // Nearly always it is there already, and nobody need wait for the write.
        if self.get() < stamp {
            self.0.fetch_max(stamp, Ordering::Relaxed);
        }
    }
}

#[cfg(feature = "cache-redis")]
impl Entry {
    /// With this watermark at most.
    pub(crate) fn known_at(self, stamp: Stamp) -> Self {
        if let Some(stored) = self.stored() {
            stored.watermark.0.fetch_min(stamp, Ordering::Relaxed);
        }
        self
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

impl Freshness {
    /// In milliseconds (RFC 9111 §4.2.3, `current_age`).
    pub(crate) fn age(&self, now: u64) -> u64 {
        self.age.saturating_add(now.saturating_sub(self.received))
    }

    /// For how many milliseconds it is fresh still; negative if it is stale.
    pub(crate) fn left(&self, now: u64) -> i64 {
        let millis = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        millis(self.lifetime).saturating_sub(millis(self.age(now)))
    }

    /// A lifetime without a part of it, from 0 to 1.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a part of a time, not below 0"
    )]
    pub(crate) fn shortened(lifetime: u64, part: f64) -> u64 {
        lifetime.saturating_sub((lifetime as f64 * part) as u64)
    }

    /// For how long it may be of use, from when it came.
    pub(crate) fn keep(&self, validates: bool) -> Duration {
        let stale = self.while_revalidate.max(self.if_error);
        let stale = stale.max(if validates { VALIDATED } else { 0 });
        Duration::from_millis(self.lifetime.saturating_sub(self.age).saturating_add(stale))
    }
}

/// How long what is stale is kept to be validated, in milliseconds.
const VALIDATED: u64 = 60 * 60 * 1000;

/// For each entry beside its own bytes: what holds it, its key and its place in a store, in bytes.
/// This and those below are as `benches/cache_memory.rs` measures them.
const BOOKKEEPING: usize = 400;

/// For each line beside name and value: its place in the map, and often an allocation of its own.
const LINE: usize = 144;

/// For what is allocated by itself.
const VALUE: usize = 48;

/// Bodies up to this are copied next to the values of the head, in bytes.
pub(crate) const COPIED: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(buffer: &Bytes, body: usize) -> Stored {
        let mut headers = HeaderMap::with_capacity(100);
        let mut value = HeaderValue::from_maybe_shared(buffer.slice(..5)).unwrap();
        headers.append("x-a", value.clone());
        value.set_sensitive(true);
        headers.append("x-b", value);
        headers.append("x-a", HeaderValue::from_maybe_shared(buffer.slice(5..9)).unwrap());
        Stored {
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
    fn what_is_kept_is_no_part_of_a_connection_s_buffer() {
        let buffer = Bytes::from(vec![b'x'; COPIED + 1]);
        let range = buffer.as_ptr_range();
        for body in [0, 100, COPIED, COPIED + 1] {
            let (before, after) = (stored(&buffer, body), stored(&buffer, body).compact());
            assert_eq!(after, before);
            assert_eq!(format!("{:?}", after.headers), format!("{:?}", before.headers));
            for value in after.headers.values() {
                assert!(!range.contains(&value.as_bytes().as_ptr()));
            }
            let large = body > COPIED;
            assert!(body == 0 || range.contains(&after.body.as_ptr()) == large, "{body}");
        }
    }
}
