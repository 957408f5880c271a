use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::purge::Stamp;
use super::vary::Variant;

/// What a [`Store`](super::Store) keeps under a key: a response, or which variants of it there are.
/// Clones share it.
#[derive(Clone, Debug)]
pub struct Entry(Arc<Kept>);

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are responses")]
pub(super) enum Kept {
    Response(Stored),
    /// The variants of a URL, the newest last. Each is kept under a key of its own.
    Variants(Vec<Variant>),
}

/// A response that is complete.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stored {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) freshness: Freshness,
    pub(super) variant: Variant,
    pub(super) tags: Vec<String>,
    /// The last purge that was known before the service was asked, or that has spared it since.
    pub(super) watermark: Watermark,
}

/// Grows as the entry is found to be right still.
#[derive(Debug, Default)]
pub(super) struct Watermark(AtomicU64);

/// How long a response may be used, and how. All times are in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Freshness {
    /// When it came, since 1970.
    pub(super) received: u64,
    /// How old it was then (RFC 9111 §4.2.3, `corrected_initial_age`).
    pub(super) age: u64,
    pub(super) lifetime: u64,
    /// How long after that it may be used while it is refreshed (RFC 5861 §3).
    pub(super) while_revalidate: u64,
    /// How long after that it may be used where the service fails (RFC 5861 §4).
    pub(super) if_error: u64,
    /// How long the service took.
    pub(super) took: u64,
    /// Never without asking the service (RFC 9111 §5.2.2.4).
    pub(super) validate: bool,
    /// Never when it is stale, whatever the client says (§5.2.2.2, §5.2.2.8, §5.2.2.10).
    pub(super) strict: bool,
    /// Also for requests with `authorization` (§3.5).
    pub(super) shared: bool,
}

impl Entry {
    pub(super) fn new(kept: Kept) -> Self {
        Self(Arc::new(kept))
    }

    pub(super) fn kept(&self) -> &Kept {
        &self.0
    }

    /// Whether both are the same one.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The response, if it is one.
    pub(super) fn stored(&self) -> Option<&Stored> {
        match &*self.0 {
            Kept::Response(stored) => Some(stored),
            Kept::Variants(_) => None,
        }
    }

    /// About how many bytes of memory it takes.
    #[must_use]
    pub fn size(&self) -> u64 {
        let variant = |variant: &Variant| {
            let values = variant.fields.iter().map(|(_, value)| value.as_ref().map_or(0, Vec::len));
            64 + values.map(|value| 64 + value).sum::<usize>()
        };
        let size = match &*self.0 {
            Kept::Variants(variants) => variants.iter().map(variant).sum(),
            Kept::Response(stored) => {
                let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
                    104 + name.as_str().len() + value.len()
                };
                let fields: usize = stored.headers.iter().map(field).sum();
                let tags: usize = stored.tags.iter().map(|tag| 24 + tag.len()).sum();
                fields + tags + variant(&stored.variant) + stored.body.len()
            }
        };
        (size + BOOKKEEPING) as u64
    }
}

impl Watermark {
    pub(super) fn at(stamp: Stamp) -> Self {
        Self(AtomicU64::new(stamp))
    }

    pub(super) fn get(&self) -> Stamp {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn raise(&self, stamp: Stamp) {
        self.0.fetch_max(stamp, Ordering::Relaxed);
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
    pub(super) fn age(&self, now: u64) -> u64 {
        self.age.saturating_add(now.saturating_sub(self.received))
    }

    /// For how many milliseconds it is fresh still; negative if it is stale.
    pub(super) fn left(&self, now: u64) -> i64 {
        let millis = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        millis(self.lifetime).saturating_sub(millis(self.age(now)))
    }

    /// For how long it may be of use, from when it came.
    pub(super) fn keep(&self, validates: bool) -> Duration {
        let stale = self.while_revalidate.max(self.if_error);
        let stale = stale.max(if validates { VALIDATED } else { 0 });
        Duration::from_millis(self.lifetime.saturating_sub(self.age).saturating_add(stale))
    }
}

/// How long what is stale is kept to be validated, in milliseconds.
const VALIDATED: u64 = 60 * 60 * 1000;

/// Of a store, for each entry beside its own bytes.
const BOOKKEEPING: usize = 200;
