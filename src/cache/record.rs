//! A body on its way to the store.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, ETAG};
use http::{HeaderValue, StatusCode};
use http_body::{Body, Frame};

use super::entry::{Entry, Kept, Stored, Watermark};
use super::key::Key;
use super::policy::{Plan, has_validator, shareable};
use super::purge::Stamp;
use super::shared::{Lead, Mark, Shared, Verdict, settle};
use super::vary::Variant;
use crate::for_one::ForOne;

/// What is known of a response before its body has come, and what has come of that.
pub(super) struct Recording {
    pub(super) shared: Arc<Shared>,
    pub(super) key: Key,
    pub(super) mark: Mark,
    pub(super) status: StatusCode,
    pub(super) plan: Box<Plan>,
    pub(super) watermark: Stamp,
    pub(super) for_one: ForOne,
    /// Those who wait. If it is dropped, one of them takes over.
    pub(super) lead: Option<Lead>,
    /// The length that the head states, in bytes.
    pub(super) declared: Option<u64>,
    pub(super) chunks: Vec<Bytes>,
    pub(super) size: u64,
}

/// The service's body, which is recorded as it is read.
pub(super) struct Tap<B> {
    body: Pin<Box<B>>,
    held: Held,
}

/// A recording, until it is over.
struct Held {
    recording: Option<Recording>,
    /// Whether it is the client who reads: one that has the length which the head states reads no
    /// further, and drops the body.
    by_client: bool,
}

impl<B: Body> Tap<B> {
    pub(super) fn new(body: B, recording: Recording) -> Self {
        let held = Held { recording: Some(recording), by_client: false };
        Self { body: Box::pin(body), held }
    }

    /// From now on it is the client who reads, for whom nobody else waits: it may not read at all.
    pub(super) fn by_client(mut self) -> Self {
        self.held.by_client = true;
        let lead = self.held.recording.as_ref().and_then(|recording| recording.lead.as_ref());
        lead.iter().for_each(|lead| lead.land(Verdict::Alone));
        self
    }

    pub(super) fn is_recording(&self) -> bool {
        self.held.recording.is_some()
    }

    /// Nothing follows, and nothing is to be recorded.
    pub(super) fn is_end_stream(&self) -> bool {
        !self.is_recording() && self.body.is_end_stream()
    }

    /// The body, which is not recorded any more.
    pub(super) fn into_body(self) -> Pin<Box<B>> {
        self.body
    }

    /// Records no more; nobody need wait for this one.
    pub(super) fn give_up(&mut self) {
        if let Some(recording) = self.held.recording.take() {
            recording.give_up();
        }
    }

    /// The next frame. The entry is committed when the body ends.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = match ready!(self.body.as_mut().poll_frame(cx)).map(to_bytes) {
            None => {
                self.held.finish();
                return Poll::Ready(None);
            }
            Some(Err(error)) => {
                self.held.recording = None;
                return Poll::Ready(Some(Err(error)));
            }
            Some(Ok(frame)) => frame,
        };
        let kept = match (frame.data_ref(), &mut self.held.recording) {
            (Some(data), Some(recording)) => recording.push(data),
            // An entry has no place for trailers.
            (data, _) => data.is_some(),
        };
        if !kept {
            self.give_up();
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

impl Held {
    fn finish(&mut self) {
        if let Some(recording) = self.recording.take() {
            recording.finish();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let whole = |recording: &Recording| recording.declared == Some(recording.size);
        if self.by_client && self.recording.as_ref().is_some_and(whole) {
            self.finish();
        }
    }
}

impl Recording {
    /// Whether there is room for it.
    fn push(&mut self, data: &Bytes) -> bool {
        self.size = self.size.saturating_add(data.len() as u64);
        let fits = self.size <= self.shared.rules.entry_limit;
        if fits && !data.is_empty() {
            self.chunks.push(data.clone());
        }
        fits
    }

    fn give_up(self) {
        self.shared.mark(self.mark, self.shared.clock.now());
        if let Some(lead) = &self.lead {
            lead.land(Verdict::Alone);
        }
    }

    /// Keeps what was recorded, unless it is not what the head states, has a nonce, or was
    /// purged meanwhile.
    fn finish(self) {
        if self.declared.is_some_and(|declared| declared != self.size) {
            return;
        }
        // RFC 9110 §15.3.5: a 204 has no content, and no client would get it.
        let odd = self.status == StatusCode::NO_CONTENT && self.size > 0;
        if odd || self.for_one.has_nonce() {
            return self.give_up();
        }
        let Self { shared, key, mark, status, plan, watermark, lead, chunks, .. } = self;
        if !shared.state.purges.admits(key.url(), &plan.tags, watermark) {
            return;
        }
        shared.unmark(mark);
        let body = joined(chunks);
        let Plan { mut headers, freshness, variant, tags } = *plan;
        if status != StatusCode::NO_CONTENT {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        if shared.rules.etag && !has_validator(&headers) {
            headers.extend(tag_of(&body).map(|tag| (ETAG, tag)));
        }
        let watermark = Watermark::at(watermark);
        let stored = Stored { status, headers, body, freshness, variant, tags, watermark };
        keep(shared, key, stored, lead);
    }
}

/// Tells those who wait, and puts a response into the store.
pub(super) fn keep(shared: Arc<Shared>, key: Key, stored: Stored, lead: Option<Lead>) -> Entry {
    let entry = Entry::new(Kept::Response(stored.compact()));
    if let (Some(lead), Some(stored)) = (&lead, entry.stored()) {
        lead.land(if shareable(&stored.freshness) {
            Verdict::Stored(entry.clone())
        } else {
            Verdict::Alone
        });
    }
    let Some(slot) = shared.put_slot() else {
        shared.state.tally.store_failed("put");
        return entry;
    };
    let kept = entry.clone();
    settle(Box::pin(async move {
        shared.put(&key, kept).await;
        // Who joined until now has been told; who comes now finds it in the store.
        drop((lead, slot));
    }));
    entry
}

impl Shared {
    /// Puts a response under its key, or, if it varies, under that of its variant.
    async fn put(&self, key: &Key, entry: Entry) {
        let Some(stored) = entry.stored() else { return };
        let ttl = stored.freshness.keep(has_validator(&stored.headers));
        let put = async |key: &Key, entry: &Entry, ttl| {
            let put = self.store.put(key.as_str(), entry.clone(), ttl).await;
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
        let mut variants = match self.get(key).await.as_ref().map(Entry::kept) {
            Some(Kept::Variants(variants)) => variants.clone(),
            _ => Vec::new(),
        };
        variants.retain(|other| other.id() != variant.id());
        variants.push(variant.clone());
        variants.drain(..variants.len().saturating_sub(self.rules.variants));
        variants
    }

    pub(super) async fn remove(&self, key: &Key) {
        if self.store.remove(key.as_str()).await.is_err() {
            self.state.tally.store_failed("remove");
        }
        self.tell_usage();
    }

    pub(super) fn tell_usage(&self) {
        self.state.tally.keeps(self.store.usage());
    }
}

pub(super) fn to_bytes<D: Buf, E>(frame: Result<Frame<D>, E>) -> Result<Frame<Bytes>, E> {
    frame.map(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))
}

/// One piece as it is; several are copied once.
fn joined(mut chunks: Vec<Bytes>) -> Bytes {
    if chunks.len() <= 1 {
        return chunks.pop().unwrap_or_default();
    }
    let mut whole = BytesMut::with_capacity(chunks.iter().map(Bytes::len).sum());
    chunks.iter().for_each(|chunk| whole.extend_from_slice(chunk));
    whole.freeze()
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
