//! Requests whose response was not stored lately (hit-for-miss). They go to the inner service at once,
//! without a key and without a lookup, until a response may be stored again.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderValue, Method, request};
use quick_cache::DefaultHashBuilder;

use super::key::{CacheKey, only_host};
use super::markers::in_millis;
use super::policy::{RequestControl, RequestPolicy};

/// A bounded memory of requests whose responses were not stored.
///
/// While nothing is remembered, a request pays for one load. The table forgets: a request takes the
/// place of another one whose hash shares its slot.
#[derive(Debug, Default)]
pub(crate) struct HitForMiss {
    /// The time until which any request is remembered.
    until: AtomicU64,
    /// A time in milliseconds in each slot, above it [`STORABLE`], and above that a part of the hash.
    slots: OnceLock<Box<[AtomicU64]>>,
    hasher: DefaultHashBuilder,
}

/// A hash of the parts of a request that its key is made of. Clients choose them, and so the hash is a
/// keyed one. Of two requests whose hashes collide, one goes without the cache for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(u64);

impl HitForMiss {
    /// Returns the mark of a request, if it is remembered. `now` is the time in milliseconds.
    pub(crate) fn recall(
        &self,
        key: &CacheKey,
        ask: &RequestPolicy,
        head: &request::Parts,
        now: u64,
    ) -> Option<Mark> {
        let is_plain = || ask.control == RequestControl::default();
        if now >= self.until.load(Ordering::Relaxed) || !is_plain() {
            return None;
        }
        self.mark(key, ask, head).filter(|mark| self.has(*mark, now))
    }

    /// Returns the mark of a request, or `None` if callbacks or other headers than one `host` are part
    /// of its key, or if its response fills nothing.
    pub(crate) fn mark(
        &self,
        key: &CacheKey,
        ask: &RequestPolicy,
        head: &request::Parts,
    ) -> Option<Mark> {
        // A HEAD that would fill the cache stays a HEAD: the service makes no body that nobody stores.
        let fills = head.method == Method::GET || ask.is_filling_head();
        if ask.no_fill.is_some() || !fills {
            return None;
        }
        let uri = key.plain_uri(head)?;
        let mut hasher = self.hasher.build_hasher();
        let texts = [
            uri.scheme_str(),
            uri.authority().map(|authority| authority.as_str()),
            uri.path_and_query().map(PathAndQuery::as_str),
        ];
        let host = only_host(&head.headers).ok()?.map(HeaderValue::as_bytes);
        // One byte for what there is and what there is not, which are hashed one by one otherwise.
        let bit = |bits: u8, bit: bool| bits << 1 | u8::from(bit);
        let bits = texts.iter().fold(0, |bits, text| bit(bits, text.is_some()));
        [host.is_some(), ask.authorized, ask.cookie].into_iter().fold(bits, bit).hash(&mut hasher);
        texts.iter().flatten().for_each(|text| text.hash(&mut hasher));
        host.into_iter().for_each(|host| host.hash(&mut hasher));
        Some(Mark(hasher.finish()))
    }

    /// Remembers a request for `ttl`. Returns `false` if its response could be stored lately: then one
    /// odd request would keep the others from the cache.
    pub(crate) fn set(&self, mark: Mark, now: u64, ttl: Duration) -> bool {
        let slots = self.slots.get_or_init(|| (0..SLOTS).map(|_| AtomicU64::new(0)).collect());
        let slot = &slots[mark.slot()];
        let known = slot.load(Ordering::Relaxed);
        if mark.has(known, STORABLE, now) {
            return false;
        }
        let ttl = in_millis(ttl);
        let until = now.saturating_add(ttl).min(MAX_TIME);
        // A request that is remembered anyway writes to no memory that other cores read.
        if !mark.has(known, 0, now.saturating_add(ttl - ttl / 16)) {
            slot.store(mark.tag() | until, Ordering::Relaxed);
            self.until.fetch_max(until, Ordering::Relaxed);
        }
        true
    }

    /// Returns `true` if a request is remembered.
    pub(crate) fn has(&self, mark: Mark, now: u64) -> bool {
        let slot = self.slots.get().map(|slots| slots[mark.slot()].load(Ordering::Relaxed));
        slot.is_some_and(|slot| mark.has(slot, 0, now))
    }

    /// Forgets a request whose response was stored: other requests have use for it.
    pub(crate) fn forget(&self, mark: Mark) {
        let slot = self.slots.get().map(|slots| &slots[mark.slot()]);
        if let Some(slot) = slot.filter(|slot| mark.has(slot.load(Ordering::Relaxed), 0, 0)) {
            slot.store(0, Ordering::Relaxed);
        }
    }

    /// Forgets a request, whose response can be stored again, and does not remember it for `ttl`.
    pub(crate) fn clear(&self, mark: Mark, now: u64, ttl: Duration) {
        if let Some(slots) = self.slots.get() {
            let until = now.saturating_add(in_millis(ttl)).min(MAX_TIME);
            slots[mark.slot()].store(mark.tag() | STORABLE | until, Ordering::Relaxed);
        }
    }
}

impl Mark {
    /// Returns the index of the slot: bits of the hash that the tag does not have.
    #[expect(clippy::cast_possible_truncation, reason = "the lowest bits count")]
    const fn slot(self) -> usize {
        self.0 as usize % SLOTS
    }

    const fn tag(self) -> u64 {
        self.0 & !(MAX_TIME | STORABLE)
    }

    /// Returns `true` if a slot is of this mark and of this `kind`.
    const fn has(self, slot: u64, kind: u64, now: u64) -> bool {
        slot & !MAX_TIME == self.tag() | kind && now < slot & MAX_TIME
    }
}

/// The number of slots, of 8 bytes each.
const SLOTS: usize = 8 * 1024;

/// The bit of a slot whose request had a response that can be stored.
const STORABLE: u64 = 1 << 42;

/// The largest time that a slot can have, in milliseconds since 1970: the year 2109.
const MAX_TIME: u64 = (1 << 42) - 1;

#[cfg(test)]
mod tests;
