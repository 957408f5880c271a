use std::sync::Arc;

use http::{Response, request};
use http_body::Body;

use super::body::ResponseBody;
use super::cache_status::CacheStatus;
use super::clock::random;
use super::config::Config;
use super::decide::Miss;
use super::hit_for_miss::Marker;
use super::key::Key;
use super::lookup::{Lookup, Query};
use super::metrics::Outcome;
use super::policy::{self, RequestPolicy, Reuse};
use super::response;
use super::state::Verdict;

/// A request that the cache looks up, with the inner service that it may go to.
pub(crate) struct Exchange<S, B> {
    pub(crate) config: Arc<Config>,
    pub(crate) inner: S,
    pub(crate) head: request::Parts,
    pub(crate) body: B,
    pub(crate) key: Key,
    pub(crate) ask: RequestPolicy,
}

/// What requests with one key have in common that would get the same response.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(crate) struct FlightKey {
    class: u64,
    /// A response to a request with credentials may be for that request only.
    authorized: bool,
    /// So may a response to a request with `cookie`, where the layer gives lifetimes.
    cookie: bool,
}

impl<S, B> Exchange<S, B> {
    pub(crate) fn query(&self) -> Query<'_> {
        Query { config: &self.config, key: &self.key, headers: &self.head.headers }
    }

    pub(crate) fn flight_key(&self, lookup: &Lookup) -> FlightKey {
        let class = match lookup {
            Lookup::OtherVariants(class) => *class,
            Lookup::Found(entry) => entry.stored().map_or(0, |stored| stored.variant.class()),
            Lookup::Nothing => 0,
        };
        FlightKey { class, authorized: self.ask.authorized, cookie: self.ask.cookie }
    }

    /// Returns the marker of a request that waits for nothing but the inner service, or nothing if
    /// the request may have to wait for a store or for another request.
    pub(crate) fn direct(&self, lookup: &Lookup, miss: &Miss, now: u64) -> Option<Marker> {
        if self.is_looked_up_once() {
            return None;
        }
        let marker = self.flight_key(lookup).marker(&self.config, &self.key);
        self.is_alone(miss, marker, now).then_some(marker)
    }

    /// Returns `true` if the request does not lead, and so no later step queries the backend of a
    /// tiered store.
    pub(crate) fn is_looked_up_once(&self) -> bool {
        self.ask.control.only_if_cached || self.ask.no_fill.is_some()
    }

    /// Returns `true` if the request neither waits for others that want the same, nor they for it.
    pub(crate) fn is_alone(&self, miss: &Miss, marker: Marker, now: u64) -> bool {
        miss.alone
            || self.ask.no_fill.is_some()
            || self.config.state.hit_for_miss.is_marked(marker, now)
    }

    /// Returns the class of requests for the variant of this request, if a leader got another
    /// variant.
    pub(crate) fn other_class(&self, verdict: &Verdict) -> Option<u64> {
        let Verdict::Stored(entry) = verdict else { return None };
        let variant = &entry.stored()?.variant;
        let other = !variant.answers(&self.head.headers);
        other.then(|| self.query().class(std::slice::from_ref(variant)))
    }

    /// Returns the response that a leader got, if this request may have it too.
    pub(crate) fn collapse<R: Body>(
        &self,
        verdict: &Verdict,
        status: &CacheStatus,
    ) -> Option<Response<ResponseBody<R>>> {
        let now = self.config.clock.now();
        let (entry, outcome) = match verdict {
            Verdict::Alone => return None,
            Verdict::Stored(entry) => (entry, Outcome::Collapsed),
            Verdict::StaleOnError(entry) => (entry, Outcome::Stale),
        };
        let stored = entry.stored()?;
        let usable = match verdict {
            Verdict::StaleOnError(_) => policy::is_usable_on_error(&self.ask, stored, now),
            _ => {
                let found = policy::reuse(&self.config.rules, &self.ask, stored, now, random);
                matches!(found, Reuse::Fresh | Reuse::Refresh | Reuse::Stale)
            }
        };
        if !usable || !self.query().is_valid(stored) {
            return None;
        }
        self.config.state.metrics.count(outcome);
        Some(response::from_entry(self.query(), &self.ask, entry, now, status))
    }
}

impl FlightKey {
    pub(crate) fn marker(self, config: &Config, key: &Key) -> Marker {
        config.state.hit_for_miss.marker((key.as_str(), self))
    }

    /// Returns the key under which the requests are coalesced.
    pub(crate) fn name(self, key: &Key) -> Arc<str> {
        let Self { class, authorized, cookie } = self;
        let credentials = u8::from(authorized) + 2 * u8::from(cookie);
        format!("{}\n{class:x}{credentials}", key.as_str()).into()
    }
}
