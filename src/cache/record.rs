//! A body on its way to the store.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::{CONTENT_LENGTH, ETAG};
use http::{HeaderValue, StatusCode};
use http_body::Frame;

use super::budget::Charge;
use super::entry::{Entry, Kept, Stored, Watermark, head_size, own_values};
use super::gather::{Gathered, OverBudget};
use super::key::Key;
use super::policy::{Plan, has_validator, shareable};
use super::purge::Stamp;
use super::shared::{Lead, Mark, Shared, Verdict, settle};
use super::store::Usage;
use super::tally::Fallback;
use super::timeout::within;
use super::vary::Variant;
use crate::for_one::ForOne;

/// A response that is to be stored when its body has come.
pub(crate) struct Recording {
    pub(crate) shared: Arc<Shared>,
    pub(crate) key: Key,
    pub(crate) mark: Mark,
    pub(crate) status: StatusCode,
    pub(crate) plan: Box<Plan>,
    pub(crate) watermark: Stamp,
    pub(crate) for_one: ForOne,
    /// Those who wait. If it is dropped, one of them takes over.
    pub(crate) lead: Option<Lead>,
    /// The length that the head states, in bytes.
    pub(crate) declared: Option<u64>,
    /// How many frames without data there were.
    pub(crate) empty_frames: u32,
}

/// Why a response is not stored though its head said that it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unkept {
    /// Its body is not one that is stored.
    Refused,
    /// There was no place for it, or no time. That is nothing to remember the response for.
    Scarce(Fallback),
}

impl Recording {
    /// Adds a frame to what was gathered of the body.
    ///
    /// # Errors
    ///
    /// If the response is not to be stored any more; nothing of the frame was added then.
    pub(crate) fn push(
        &mut self,
        frame: &Frame<Bytes>,
        gathered: &mut Gathered,
    ) -> Result<(), Unkept> {
        // An entry has no place for trailers.
        let Some(data) = frame.data_ref() else { return Err(Unkept::Refused) };
        if data.is_empty() {
            self.empty_frames += 1;
            let few = self.empty_frames <= MOST_EMPTY_FRAMES;
            return if few { Ok(()) } else { Err(Unkept::Refused) };
        }
        let size = (gathered.len() as u64).saturating_add(data.len() as u64);
        if size > self.shared.rules.entry_limit {
            return Err(Unkept::Refused);
        }
        gathered.push(data).map_err(|OverBudget| Unkept::Scarce(Fallback::Budget))
    }

    /// Takes what is kept of the head out of a connection's buffers, which it would hold for as long
    /// as the body takes.
    pub(crate) fn outlast_head(&mut self) {
        own_values(&mut self.plan.headers, &[]);
    }

    /// Lets those who wait for the response go to the service, and counts why.
    pub(crate) fn leave_followers(&mut self, why: Fallback) {
        if let Some(lead) = self.lead.take() {
            self.shared.state.tally.fell_back(why);
            lead.land(Verdict::Alone);
        }
    }

    /// Stores nothing; nobody need wait for the response.
    pub(crate) fn give_up(self, why: Unkept) {
        match why {
            Unkept::Refused => self.shared.mark(self.mark, self.shared.clock.now()),
            Unkept::Scarce(fallback) => self.shared.state.tally.fell_back(fallback),
        }
        if let Some(lead) = &self.lead {
            lead.land(Verdict::Alone);
        }
    }

    /// Stores the response with its body, which is in memory of its own and `charge`d to the budget,
    /// unless it is not as long as the head states, has a nonce, or was purged meanwhile.
    pub(crate) fn finish(self, body: Bytes, charge: &Charge) {
        if self.declared.is_some_and(|declared| declared != body.len() as u64) {
            return;
        }
        // RFC 9110 §15.3.5: a 204 has no content, and no client would get it.
        let odd = self.status == StatusCode::NO_CONTENT && !body.is_empty();
        if odd || self.for_one.has_nonce() {
            return self.give_up(Unkept::Refused);
        }
        let Self { shared, key, mark, status, plan, watermark, lead, .. } = self;
        if !shared.state.purges.admits(key.url(), &plan.tags, watermark) {
            return;
        }
        shared.unmark(mark);
        let Plan { mut headers, freshness, variant, tags } = *plan;
        if status != StatusCode::NO_CONTENT {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        if shared.rules.etag && !has_validator(&headers) {
            headers.extend(tag_of(&body).map(|tag| (ETAG, tag)));
        }
        let watermark = Watermark::at(watermark);
        let stored = Stored { status, headers, body, freshness, variant, tags, watermark };
        keep(shared, key, stored, lead, Some(charge.clone()));
    }
}

/// Tells those who wait, and puts a response into the store. Its body is `charge`d to the budget
/// until the store has it; without a charge, one is taken.
pub(crate) fn keep(
    shared: Arc<Shared>,
    key: Key,
    stored: Stored,
    lead: Option<Lead>,
    charge: Option<Charge>,
) -> Entry {
    let entry = Entry::new(Kept::Response(stored.compact()));
    if let (Some(lead), Some(stored)) = (&lead, entry.stored()) {
        lead.land(if shareable(&stored.freshness) {
            Verdict::Stored(entry.clone())
        } else {
            Verdict::Alone
        });
    }
    let Some(charge) = charge.or_else(|| shared.charge(entry.size())) else {
        shared.state.tally.fell_back(Fallback::Budget);
        return entry;
    };
    let Some(slot) = shared.put_slot() else {
        shared.state.tally.fell_back(Fallback::Puts);
        return entry;
    };
    let kept = entry.clone();
    settle(Box::pin(async move {
        shared.put(&key, kept).await;
        // Who joined until now has been told; who comes now finds it in the store.
        drop((lead, slot, charge));
    }));
    entry
}

impl Shared {
    /// Begins to gather a body, unless there is no place for that, which is counted.
    pub(crate) fn gather(&self, key: &Key, plan: &Plan, declared: Option<u64>) -> Option<Gathered> {
        let head = key.as_str().len() + head_size(&plan.headers, &plan.variant, &plan.tags);
        let fixed = (RECORDING + head) as u64;
        let charge = self.charge(fixed);
        if charge.is_none() {
            self.state.tally.fell_back(Fallback::Budget);
        }
        charge.map(|charge| Gathered::new(charge, fixed, declared))
    }

    /// Puts a response under its key, or, if it varies, under that of its variant.
    async fn put(&self, key: &Key, entry: Entry) {
        let Some(stored) = entry.stored() else { return };
        let ttl = stored.freshness.keep(has_validator(&stored.headers));
        let put = async |key: &Key, entry: &Entry, ttl| {
            let put = async { self.store.put(key.as_str(), entry.clone(), ttl).await };
            let put = within(self.limits.store, put).await;
            put.inspect_err(|_| self.state.tally.store_failed("put")).is_ok()
        };
        let done = if stored.variant.is_only() {
            put(key, &entry, ttl).await
        } else {
            let variant = &stored.variant;
            // The variant first: whoever finds it named finds it there.
            put(&key.variant(variant.id()), &entry, ttl).await && {
                let variants = self.with_variant(key, variant).await;
                // The others may be of use for longer than this one.
                put(key, &Entry::new(Kept::Variants(variants)), ttl.max(LONGEST)).await
            }
        };
        self.tell_usage();
        // A purge may have come between the last look and the store.
        if done && !self.state.purges.admits(key.url(), &stored.tags, stored.watermark.get()) {
            self.remove(key).await;
        }
    }

    /// The variants of a URL, with this one as the newest.
    async fn with_variant(&self, key: &Key, variant: &Variant) -> Vec<Variant> {
        let known = self.get(key).await.ok().flatten();
        let mut variants = match known.as_ref().map(Entry::kept) {
            Some(Kept::Variants(variants)) => variants.clone(),
            _ => Vec::new(),
        };
        variants.retain(|other| other.id() != variant.id());
        variants.push(variant.clone());
        variants.drain(..variants.len().saturating_sub(self.rules.variants));
        variants
    }

    pub(crate) async fn remove(&self, key: &Key) {
        let removing = async { self.store.remove(key.as_str()).await };
        if within(self.limits.store, removing).await.is_err() {
            self.state.tally.store_failed("remove");
        }
        self.tell_usage();
    }

    pub(crate) fn tell_usage(&self) {
        self.usage().into_iter().for_each(|usage| self.state.tally.keeps(usage));
    }

    /// What the store says that it keeps. None if it panics.
    pub(crate) fn usage(&self) -> Option<Usage> {
        catch_unwind(AssertUnwindSafe(|| self.store.usage())).ok()
    }
}

pub(crate) fn to_bytes<D: Buf, E>(frame: Result<Frame<D>, E>) -> Result<Frame<Bytes>, E> {
    frame.map(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))
}

/// 128 bits of the body's hash.
fn tag_of(body: &Bytes) -> Option<HeaderValue> {
    let [high, low] = [0_u8, 1].map(|seed| {
        let mut hasher = DefaultHasher::new();
        (seed, body).hash(&mut hasher);
        hasher.finish()
    });
    HeaderValue::try_from(format!("\"{high:016x}{low:016x}\"")).ok()
}

/// How long the list of a URL's variants is of use: it tells where to look.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What a response takes beside its head and body while it is recorded, in bytes: a task, its timer,
/// and what the client and the task share.
const RECORDING: usize = 2 * 1024;

/// The most frames without data that a body may have: they never reach the limit of an entry.
const MOST_EMPTY_FRAMES: u32 = 1000;
