//! The recording of a response on its way to the store.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use http::header::{CONTENT_LENGTH, ETAG};
use http::{HeaderValue, StatusCode};
use http_body::Frame;

use super::super::budget::Charge;
use super::super::buffer::{Buffer, OverBudget};
use super::super::config::Config;
use super::super::entry::{StoredResponse, Watermark, copy_values, head_size};
use super::super::hit_for_miss::Marker;
use super::super::key::Key;
use super::super::metrics::Fallback;
use super::super::policy::{Storable, has_validator};
use super::super::purge::Stamp;
use super::super::state::{Lead, Verdict};
use super::super::storage;
use super::super::task::Slot;
use crate::single_use::SingleUse;

/// A response that is to be stored when its body has come.
pub(crate) struct Recording {
    pub(crate) config: Arc<Config>,
    pub(crate) key: Key,
    pub(crate) marker: Marker,
    pub(crate) status: StatusCode,
    pub(crate) plan: Box<Storable>,
    pub(crate) watermark: Stamp,
    pub(crate) single_use: SingleUse,
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
    /// Begins to buffer the body, unless the budget has no place for it, which is counted.
    pub(crate) fn buffer(&self) -> Option<Buffer> {
        let Storable { headers, variant, tags, .. } = &*self.plan;
        let head = self.key.as_str().len() + head_size(headers, variant, tags);
        let fixed = (RECORDING + head) as u64;
        let charge = self.config.state.charge(self.config.limits.max_fill_bytes, fixed);
        if charge.is_none() {
            self.config.state.metrics.fell_back(Fallback::Budget);
        }
        charge.map(|charge| Buffer::new(charge, fixed, self.declared))
    }

    /// Takes a place among the bodies that are read in the background.
    pub(crate) fn slot(&self) -> Option<Slot> {
        self.config.state.fill_slot(self.config.limits.max_fills)
    }

    /// Lets the requests that wait for the response go to the inner service.
    pub(crate) fn abandon(self) {
        if let Some(lead) = &self.lead {
            lead.complete(Verdict::Alone);
        }
    }

    /// Adds a frame to what was buffer of the body.
    ///
    /// # Errors
    ///
    /// If the response is not to be stored any more; nothing of the frame was added then.
    pub(crate) fn push(&mut self, frame: &Frame<Bytes>, buffer: &mut Buffer) -> Result<(), Unkept> {
        // An entry has no place for trailers.
        let Some(data) = frame.data_ref() else { return Err(Unkept::Refused) };
        if data.is_empty() {
            self.empty_frames += 1;
            let few = self.empty_frames <= MOST_EMPTY_FRAMES;
            return if few { Ok(()) } else { Err(Unkept::Refused) };
        }
        let size = (buffer.len() as u64).saturating_add(data.len() as u64);
        if size > self.config.rules.entry_limit {
            return Err(Unkept::Refused);
        }
        buffer.push(data).map_err(|OverBudget| Unkept::Scarce(Fallback::Budget))
    }

    /// Takes what is kept of the head out of a connection's buffers, which it would hold for as long
    /// as the body takes.
    pub(crate) fn outlast_head(&mut self) {
        copy_values(&mut self.plan.headers, &[]);
    }

    /// Lets those who wait for the response go to the service, and counts why.
    pub(crate) fn leave_followers(&mut self, why: Fallback) {
        if let Some(lead) = self.lead.take() {
            self.config.state.metrics.fell_back(why);
            lead.complete(Verdict::Alone);
        }
    }

    /// Stores nothing; nobody need wait for the response.
    pub(crate) fn give_up(self, why: Unkept) {
        match why {
            Unkept::Refused => {
                let Self { config, marker, .. } = &self;
                let now = config.clock.now();
                config.state.hit_for_miss.mark(*marker, now, config.limits.hit_for_miss);
            }
            Unkept::Scarce(fallback) => self.config.state.metrics.fell_back(fallback),
        }
        if let Some(lead) = &self.lead {
            lead.complete(Verdict::Alone);
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
        if odd || self.single_use.is_set() {
            return self.give_up(Unkept::Refused);
        }
        let Self { config, key, marker, status, plan, watermark, lead, .. } = self;
        if !config.state.purges.admits(key.url(), &plan.tags, watermark) {
            return;
        }
        config.state.hit_for_miss.clear(marker);
        let Storable { mut headers, freshness, variant, tags } = *plan;
        if status != StatusCode::NO_CONTENT {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        if config.rules.etag && !has_validator(&headers) {
            headers.extend(tag_of(&body).map(|tag| (ETAG, tag)));
        }
        let watermark = Watermark::at(watermark);
        let stored = StoredResponse { status, headers, body, freshness, variant, tags, watermark };
        storage::keep(config, key, stored, lead, Some(charge.clone()));
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

/// What a response takes beside its head and body while it is recorded, in bytes: a task, its timer,
/// and what the client and the task share.
const RECORDING: usize = 2 * 1024;

/// The most frames without data that a body may have: they never reach the limit of an entry.
const MOST_EMPTY_FRAMES: u32 = 1000;
