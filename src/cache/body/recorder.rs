//! The recording of a response on its way to the store.

use std::error::Error;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::task::Poll;

use bytes::{Buf, Bytes};
use http::header::{CONTENT_LENGTH, ETAG};
use http::{HeaderValue, StatusCode};
use http_body::Frame;

use super::super::config::Config;
use super::super::entry::{Entry, EntryKind, StoredResponse, Watermark, head_size};
use super::super::hit_for_miss::Mark;
use super::super::key::Key;
use super::super::markers::Marker;
use super::super::metrics::Fallback;
use super::super::policy::{Storable, has_validator, is_shareable};
use super::super::purge::Stamp;
use super::super::state::{Lead, Streaming, Verdict};
use super::super::storage;
use super::super::task::Slot;
use super::budget::Charge;
use super::buffer::{Buffer, OverBudget};
use super::error::BodyError;
use super::shared::SharedBody;
use crate::single_use::SingleUse;

/// A response that is stored when its body has been read.
pub(crate) struct Recording {
    pub(crate) config: Arc<Config>,
    pub(crate) key: Key,
    pub(crate) marker: Marker,
    pub(crate) mark: Option<Mark>,
    pub(crate) status: StatusCode,
    pub(crate) plan: Box<Storable>,
    pub(crate) watermark: Stamp,
    pub(crate) single_use: SingleUse,
    /// The requests that wait for the response. One of them takes over if this is dropped.
    pub(crate) lead: Option<Lead>,
    /// The length in bytes that the head states.
    pub(crate) declared: Option<u64>,
    /// The length that the body must have to be stored: the declared one, or that of the part.
    pub(crate) size: Option<u64>,
    /// The bytes that the head takes in memory, once the body is buffered.
    pub(crate) head: usize,
    pub(crate) empty_frames: u32,
}

/// The reason why a response is not stored though its head said that it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Abandoned {
    /// Its body is not one that is stored.
    Refused,
    /// There was no memory for it, or no time. That says nothing about the next response.
    Scarce(Fallback),
}

impl Recording {
    /// Begins to buffer the body, unless the budget has no place for it, which is counted.
    pub(crate) fn buffer(&mut self) -> Option<Buffer> {
        let Storable { headers, variant, tags, links, .. } = &*self.plan;
        self.head = head_size(headers, variant, tags, links);
        let fixed = (RECORDING + self.key.as_str().len() + self.head) as u64;
        let charge = self.config.state.charge(self.config.limits.max_fill_bytes, fixed);
        charge.map(|charge| Buffer::new(charge, fixed))
    }

    /// Takes a place among the bodies that are read in the background.
    pub(crate) fn slot(&self) -> Option<Slot> {
        self.config.state.fill_slot(self.config.limits.max_fills)
    }

    /// Adds a frame to the buffer of the body.
    ///
    /// # Errors
    ///
    /// If the response is not to be stored any more. The buffer does not have the frame then.
    pub(crate) fn push(
        &mut self,
        frame: &Frame<Bytes>,
        buffer: &mut Buffer,
    ) -> Result<(), Abandoned> {
        // An entry has no place for trailers.
        let Some(data) = frame.data_ref() else { return Err(Abandoned::Refused) };
        if data.is_empty() {
            self.empty_frames += 1;
            let few = self.empty_frames <= MAX_EMPTY_FRAMES;
            return if few { Ok(()) } else { Err(Abandoned::Refused) };
        }
        let size = (buffer.len() as u64).saturating_add(data.len() as u64);
        if size > self.config.rules.entry_limit {
            return Err(Abandoned::Refused);
        }
        buffer.push(data).map_err(Abandoned::from)
    }

    /// Lets other requests follow the body while it is read.
    pub(crate) fn share(&self, body: &Arc<SharedBody>) {
        let Some(lead) = &self.lead else { return };
        if !is_shareable(&self.plan.freshness) {
            return lead.complete(Verdict::Alone);
        }
        // A nonce may turn up in the body at any time. It is for one client.
        if self.single_use.may_be_set() {
            return;
        }
        let Storable { headers, freshness, variant, tags, links } = &*self.plan;
        let head = StoredResponse {
            status: self.status,
            headers: headers.clone(),
            body: Bytes::new(),
            freshness: *freshness,
            variant: variant.clone(),
            tags: tags.clone(),
            links: links.clone(),
            watermark: Watermark::at(self.watermark),
        };
        let head = Arc::new(head);
        lead.complete(Verdict::Streaming(Streaming { head, body: Arc::clone(body) }));
    }

    /// Lets the requests that wait for the response go to the inner service, and counts why.
    pub(crate) fn leave_followers(&mut self, why: Fallback) {
        if let Some(lead) = self.lead.take() {
            self.config.state.metrics.fell_back(why);
            lead.complete(Verdict::Alone);
        }
    }

    /// Stores nothing. No request waits for the response from now on.
    pub(crate) fn abandon(self, why: Abandoned) {
        match why {
            Abandoned::Refused => {
                let Self { config, marker, .. } = &self;
                let now = config.clock.now();
                config.state.markers.mark_uncacheable(*marker, now, config.limits.hit_for_miss);
            }
            Abandoned::Scarce(fallback) => self.config.state.metrics.fell_back(fallback),
        }
        if let Some(lead) = &self.lead {
            lead.complete(Verdict::Alone);
        }
    }

    /// Stores the response as [`finish`](Self::finish) does, after a body that took its time. A newer
    /// response that came meanwhile stays: the most recent one is used (RFC 9111 §4).
    pub(crate) fn finish_late(self, body: Bytes, charge: &Charge) {
        if !self.is_outdated() {
            self.finish(body, charge);
        }
    }

    /// Returns `true` if the store has a newer response, as far as it knows without waiting.
    fn is_outdated(&self) -> bool {
        let Storable { freshness, variant, .. } = &*self.plan;
        let own = (!variant.is_only()).then(|| self.key.variant(&variant.suffix()));
        let found = storage::get_now(&self.config, own.as_ref().unwrap_or(&self.key));
        let Poll::Ready(Some(entry)) = found else { return false };
        entry.stored().is_some_and(|stored| stored.freshness.received > freshness.received)
    }

    /// Stores the response with its body, which is in memory of its own and `charge`d to the budget,
    /// unless it is not as long as the head states, has a nonce, or was purged meanwhile. Returns `true`
    /// if the store has the response already.
    pub(crate) fn finish(self, body: Bytes, charge: &Charge) -> bool {
        if self.size.is_some_and(|size| size != body.len() as u64) {
            return false;
        }
        // RFC 9110 §15.3.5: a 204 has no content, and no client would get it.
        let odd = self.status == StatusCode::NO_CONTENT && !body.is_empty();
        if odd || self.single_use.is_set() {
            self.abandon(Abandoned::Refused);
            return false;
        }
        let Self { config, key, marker, mark, status, plan, watermark, lead, size, .. } = self;
        let Storable { mut headers, freshness, variant, tags, links } = *plan;
        let lines = headers.len();
        // The head has a length that was known before the body.
        if size.is_none() && status != StatusCode::NO_CONTENT {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        if config.rules.etag && !has_validator(&headers) {
            headers.extend(tag_of(&body).map(|tag| (ETAG, tag)));
        }
        // Nothing is replaced: what the head takes is the same if it has no more lines.
        let counted = (headers.len() == lines).then(|| self.head + body.len());
        let watermark = Watermark::at(watermark);
        let stored =
            StoredResponse { status, headers, body, freshness, variant, tags, links, watermark };
        if !stored.is_admitted(&config.state.purges, key.url()) {
            return false;
        }
        config.state.markers.clear(marker);
        mark.into_iter().for_each(|mark| config.state.hit_for_miss.forget(mark));
        let kind = EntryKind::Response(stored.with_own_body());
        let entry = match counted {
            Some(size) => Entry::sized(kind, size),
            None => Entry::new(kind),
        };
        storage::keep(config, key, entry, lead, Some(charge.clone()))
    }
}

impl From<OverBudget> for Abandoned {
    fn from(_: OverBudget) -> Self {
        Self::Scarce(Fallback::Budget)
    }
}

pub(crate) fn to_bytes<D, E>(frame: Result<Frame<D>, E>) -> Result<Frame<Bytes>, BodyError>
where
    D: Buf,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let frame = frame.map_err(BodyError::inner)?;
    Ok(frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))
}

/// Returns an entity tag of 128 bits of the hash of the body.
fn tag_of(body: &Bytes) -> Option<HeaderValue> {
    let [high, low] = [0_u8, 1].map(|seed| {
        let mut hasher = DefaultHasher::new();
        (seed, body).hash(&mut hasher);
        hasher.finish()
    });
    HeaderValue::try_from(format!("\"{high:016x}{low:016x}\"")).ok()
}

/// The bytes that a recording takes beside head and body: a task, its timer, and what the client and
/// the task share.
const RECORDING: usize = 2 * 1024;

/// The most frames without data that a body may have: they never reach the limit of an entry.
const MAX_EMPTY_FRAMES: u32 = 1000;
