use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Response, StatusCode, request};

use super::body::ResponseBody;
use super::cache_status::CacheStatus;
use super::clock::random;
use super::config::Config;
use super::entry::{Entry, StoredResponse};
use super::hit_for_miss::Mark;
use super::key::Key;
use super::lookup::Query;
use super::markers::{Failure, Marker, in_millis};
use super::metrics::Outcome;
use super::policy::RequestControl;
use super::policy::{self, RequestPolicy, Reuse};
use super::response;
use super::state::{Streaming, Verdict};

/// A request that the cache looks up, with the inner service that it may go to.
pub(crate) struct Exchange<S, B> {
    pub(crate) config: Arc<Config>,
    pub(crate) inner: S,
    pub(crate) head: request::Parts,
    pub(crate) body: B,
    pub(crate) key: Key,
    pub(crate) ask: RequestPolicy,
    /// The mark by which requests like this one pass if the response is not stored.
    pub(crate) mark: Option<Mark>,
}

/// A stale response, for a client that has waited long enough for a new one.
pub(crate) struct StaleReply {
    config: Arc<Config>,
    key: Key,
    ask: RequestPolicy,
    headers: HeaderMap,
    entry: Entry,
    marker: Marker,
}

impl<S, B> Exchange<S, B> {
    pub(crate) fn query(&self) -> Query<'_> {
        Query { config: &self.config, key: &self.key, headers: &self.head.headers }
    }

    /// Returns the stale entry, and counts it. Returns `None` if it may not be served any more.
    pub(crate) fn stale<R>(&self, entry: &Entry) -> Option<Response<ResponseBody<R>>> {
        let (query, now) = (self.query(), self.config.clock.now());
        let is_usable = query.is_usable_on_error(&self.ask, entry, now);
        is_usable.then(|| response::hit(query, &self.ask, entry, Outcome::Stale, now))
    }

    /// Returns an entry of the store in the form in which other requests may have it.
    pub(crate) fn verdict(&self, entry: &Entry, now: u64) -> Verdict {
        let is_stale = entry.stored().is_some_and(|stored| {
            stored.left(now) <= 0 && policy::is_usable_on_error(&self.ask, stored, now)
        });
        let entry = entry.clone();
        if is_stale { Verdict::StaleOnError(entry) } else { Verdict::Found(entry) }
    }

    /// Returns the class of requests for the variant of this request, if a leader got another
    /// variant.
    pub(crate) fn other_class(&self, verdict: &Verdict) -> Option<u64> {
        let variant = match verdict {
            Verdict::Stored(entry) | Verdict::Found(entry) => &entry.stored()?.variant,
            Verdict::Streaming(streaming) => &streaming.head.variant,
            Verdict::StaleOnError(_) | Verdict::Failed(_) | Verdict::Alone => return None,
        };
        // The leader and this request differ in a header that nobody knew to matter before the
        // response came. Requests of the same class find each other in a new flight.
        let other = !variant.answers(&self.head.headers);
        other.then(|| self.query().class(std::slice::from_ref(variant)))
    }

    /// Returns the response that a leader got, if this request may have it too.
    pub(crate) fn collapse<R>(
        &self,
        verdict: &Verdict,
        status: &CacheStatus,
    ) -> Option<Response<ResponseBody<R>>> {
        let now = self.config.clock.now();
        let query = self.query();
        let (response, outcome) = match verdict {
            Verdict::Alone => return None,
            // It may be from before the client asked for a new one.
            Verdict::Found(_) if self.ask.control.no_cache => return None,
            Verdict::Failed(failure) => {
                return Some(response::failed(&self.config, *failure, now, status));
            }
            Verdict::Stored(entry) | Verdict::Found(entry) => {
                entry.stored().filter(|stored| self.may_use(stored, now))?;
                let response = response::from_entry(query, &self.ask, entry, now, status);
                (response, Outcome::Collapsed)
            }
            Verdict::StaleOnError(entry) => {
                let usable =
                    |stored: &&StoredResponse| policy::is_usable_on_error(&self.ask, stored, now);
                // In this order: a soft purge ends the lifetime.
                entry.stored().filter(|stored| query.is_shared(stored)).filter(usable)?;
                let response = response::from_entry(query, &self.ask, entry, now, status);
                (response, Outcome::Stale)
            }
            Verdict::Streaming(Streaming { head, body }) => {
                let reader = Some(body).filter(|_| self.may_use(head, now))?.join()?;
                let response = response::from_stream(query, &self.ask, head, reader, status);
                (response, Outcome::Collapsed)
            }
        };
        self.config.state.metrics.count(outcome);
        Some(response)
    }

    /// Stops other requests from following a stream that this request cannot join, because its entry
    /// was purged or is being stored. Returns `false` if other requests may follow.
    pub(crate) fn retires(&self, verdict: &Verdict, flight: &str) -> bool {
        let Verdict::Streaming(Streaming { head, body }) = verdict else { return false };
        if !head.variant.answers(&self.head.headers) {
            return false;
        }
        // Another request may have retired this flight and begun the next one meanwhile.
        let is_same = |verdict: &Verdict| match verdict {
            Verdict::Streaming(other) => Arc::ptr_eq(&other.body, body),
            _ => false,
        };
        self.config.state.coalescer.retire(flight, is_same);
        true
    }

    /// Returns `true` if this request may have a response that another one fetched.
    fn may_use(&self, stored: &StoredResponse, now: u64) -> bool {
        // A new response is what a request for one waited for.
        let ask = RequestPolicy { control: RequestControl::default(), ..self.ask };
        let reuse = || policy::reuse(&self.config.rules, &ask, stored, now, random);
        self.query().is_shared(stored)
            && matches!(reuse(), Reuse::Fresh | Reuse::Refresh | Reuse::Stale)
    }
}

impl StaleReply {
    pub(crate) fn new<S, B>(exchange: &Exchange<S, B>, entry: Entry, marker: Marker) -> Self {
        let Exchange { config, key, ask, head, .. } = exchange;
        let (config, key, headers) = (Arc::clone(config), key.clone(), head.headers.clone());
        Self { config, key, ask: *ask, headers, entry, marker }
    }

    /// Returns the time that the client waits before it gets the response.
    pub(crate) fn soft_limit(&self) -> Duration {
        self.config.limits.soft_limit(&self.entry)
    }

    /// Returns the response, counts it, and lets the requests of the next while not wait at all. Returns
    /// `None` if the entry may not be served any more.
    pub(crate) fn respond<R>(&self) -> Option<Response<ResponseBody<R>>> {
        let Self { config, key, ask, headers, entry, marker } = self;
        let now = config.clock.now();
        let query = Query { config, key, headers };
        // The wait may have been long enough for a purge, or for the end of the time to be stale.
        if !query.is_usable_on_error(ask, entry, now) {
            return None;
        }
        let until = now.saturating_add(in_millis(config.limits.failure_ttl));
        let status = StatusCode::GATEWAY_TIMEOUT;
        // Slow is not failed: requests without a stale entry still wait for the fetch.
        let failure = Failure { status, until, is_shared: false };
        config.state.markers.mark_failed(*marker, failure);
        Some(response::hit(query, ask, entry, Outcome::Stale, now))
    }
}

/// Returns `true` for requests that do not lead, so that no later step queries the backend of a tiered
/// store for them.
pub(crate) const fn is_looked_up_once(ask: &RequestPolicy) -> bool {
    ask.control.only_if_cached || ask.no_fill.is_some()
}
