use super::cache_status::{CacheStatus, Fwd};
use super::clock::random;
use super::entry::Entry;
use super::flight_key::FlightKey;
use super::lookup::{Lookup, Query};
use super::markers::{Failure, Marker, Memory};
use super::metrics::Outcome;
use super::policy::{self, RequestPolicy, Reuse};

/// The action that follows from a lookup.
pub(crate) enum Action {
    Serve {
        entry: Entry,
        outcome: Outcome,
        /// Refreshes the entry in the background too.
        refresh: bool,
    },
    Fetch(Miss),
    /// The inner service has failed lately, and there is no entry to serve.
    Fail(Failure, CacheStatus),
}

/// A lookup whose result is no response.
pub(crate) struct Miss {
    pub(crate) status: CacheStatus,
    /// The entry that the inner service may confirm, or that is served if it fails.
    pub(crate) old: Option<Entry>,
    /// The request has no use for the response to another one, nor other requests for its response.
    pub(crate) alone: bool,
    /// The response to the last such request was not stored.
    pub(crate) is_uncacheable: bool,
    pub(crate) flight: FlightKey,
    pub(crate) marker: Marker,
}

/// Decides what follows from a lookup. `now` is the time in milliseconds.
#[inline]
pub(crate) fn decide(query: Query<'_>, ask: &RequestPolicy, lookup: &Lookup, now: u64) -> Action {
    let entry = match lookup {
        Lookup::Found(entry) => entry,
        Lookup::Nothing => {
            return Miss::new(query, ask, lookup, Fwd::UriMiss).recall(query, ask, now);
        }
        Lookup::OtherVariants(_) => {
            return Miss::new(query, ask, lookup, Fwd::VaryMiss).recall(query, ask, now);
        }
    };
    let miss = |fwd| Miss::new(query, ask, lookup, fwd);
    // A list of variants is no response. The lookup goes on to the variant, so that this is a store
    // that answers with something else than it was asked for.
    let Some(stored) = entry.stored() else { return miss(Fwd::UriMiss).recall(query, ask, now) };
    let serve = |outcome, refresh| Action::Serve { entry: entry.clone(), outcome, refresh };
    match policy::reuse(&query.config.rules, ask, stored, now, random) {
        Reuse::Fresh => serve(Outcome::Hit, false),
        Reuse::Refresh => {
            let outcome = if stored.left(now) > 0 { Outcome::Hit } else { Outcome::Stale };
            // A dead origin is asked once in a while, and not by every request.
            serve(outcome, !miss(Fwd::Stale).has_failed(query, now))
        }
        Reuse::Stale => serve(Outcome::Stale, false),
        Reuse::Validate { asked } => {
            let miss = miss(if asked { Fwd::Request } else { Fwd::Stale });
            let alone = !policy::is_shareable(&stored.freshness);
            Miss { old: Some(entry.clone()), alone, ..miss }.recall(query, ask, now)
        }
        // The entry stays for other clients: the response to this one says nothing about it.
        Reuse::Withhold(refusal) => {
            let miss = miss(Fwd::Bypass);
            let status = CacheStatus { detail: Some(refusal.as_str()), ..miss.status };
            Action::Fetch(Miss { status, alone: true, ..miss })
        }
    }
}

impl Miss {
    /// `fwd` is why the request goes to the inner service.
    pub(crate) fn new(query: Query<'_>, ask: &RequestPolicy, lookup: &Lookup, fwd: Fwd) -> Self {
        let flight = FlightKey::of(ask, lookup);
        Self {
            status: CacheStatus::forwarded(fwd),
            old: None,
            alone: ask.no_fill.is_some(),
            is_uncacheable: false,
            flight,
            marker: flight.marker(query.config, query.key),
        }
    }

    /// Takes into account what is remembered of earlier fetches.
    pub(crate) fn recall(mut self, query: Query<'_>, ask: &RequestPolicy, now: u64) -> Action {
        // Nobody else may have the response to a request that must not fill the cache.
        self.alone |= ask.no_fill.is_some();
        match query.config.state.markers.get(self.marker) {
            Some(Memory::Uncacheable { until }) if now < until => {
                (self.alone, self.is_uncacheable) = (true, true);
            }
            Some(Memory::Failed(failure)) => {
                // Even after the memory has ended: the probe is a refresh, and no client waits for it.
                if let Some(entry) = self.stale(ask, now) {
                    let (entry, refresh) = (entry.clone(), !failure.is_current(now));
                    return Action::Serve { entry, outcome: Outcome::Stale, refresh };
                }
                // A client that asked for a new response gets one, as far as the inner service has it.
                let waits = !self.alone && !ask.control.only_if_cached && !self.is_asked();
                if waits && failure.is_shared && failure.is_current(now) {
                    return Action::Fail(failure, self.status);
                }
            }
            Some(Memory::Uncacheable { .. } | Memory::Parts(_)) | None => {}
        }
        Action::Fetch(self)
    }

    /// Returns the entry to serve if the inner service fails or is slow, if it is stale.
    pub(crate) fn stale(&self, ask: &RequestPolicy, now: u64) -> Option<&Entry> {
        let usable = |entry: &&Entry| {
            entry.stored().is_some_and(|stored| policy::is_usable_on_error(ask, stored, now))
        };
        self.old.as_ref().filter(usable).filter(|_| !self.is_asked())
    }

    /// Returns `true` if the client asked for a new response, though there is a fresh one.
    pub(crate) fn is_asked(&self) -> bool {
        self.status.fwd == Some(Fwd::Request)
    }

    fn has_failed(&self, query: Query<'_>, now: u64) -> bool {
        let memory = query.config.state.markers.get(self.marker);
        matches!(memory, Some(Memory::Failed(failure)) if failure.is_current(now))
    }
}
