use super::cache_status::{CacheStatus, Fwd};
use super::clock::random;
use super::config::Config;
use super::entry::Entry;
use super::lookup::Lookup;
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
}

/// A lookup whose result is no response.
pub(crate) struct Miss {
    pub(crate) status: CacheStatus,
    /// The entry that the inner service may confirm, or that is served if it fails.
    pub(crate) old: Option<Entry>,
    /// The request has no use for the response to another one, nor other requests for its response.
    pub(crate) alone: bool,
}

/// Decides what follows from a lookup. `now` is in milliseconds since 1970.
pub(crate) fn decide(config: &Config, ask: &RequestPolicy, lookup: &Lookup, now: u64) -> Action {
    let entry = match lookup {
        Lookup::Nothing => return Action::Fetch(Miss::of(Fwd::UriMiss)),
        Lookup::OtherVariants(_) => return Action::Fetch(Miss::of(Fwd::VaryMiss)),
        Lookup::Found(entry) => entry,
    };
    let Some(stored) = entry.stored() else { return Action::Fetch(Miss::of(Fwd::UriMiss)) };
    let serve = |outcome, refresh| Action::Serve { entry: entry.clone(), outcome, refresh };
    match policy::reuse(&config.rules, ask, stored, now, random) {
        Reuse::Fresh => serve(Outcome::Hit, false),
        Reuse::Refresh if stored.freshness.left(now) > 0 => serve(Outcome::Hit, true),
        Reuse::Refresh => serve(Outcome::Stale, true),
        Reuse::Stale => serve(Outcome::Stale, false),
        Reuse::Validate { asked } => Action::Fetch(Miss {
            old: Some(entry.clone()),
            alone: asked || !policy::is_shareable(&stored.freshness),
            ..Miss::of(if asked { Fwd::Request } else { Fwd::Stale })
        }),
        Reuse::Withhold(refusal) => {
            let bypass = CacheStatus::forwarded(Fwd::Bypass);
            let status = CacheStatus { detail: Some(refusal.as_str()), ..bypass };
            Action::Fetch(Miss { status, old: None, alone: true })
        }
    }
}

impl Miss {
    fn of(fwd: Fwd) -> Self {
        Self { status: CacheStatus::forwarded(fwd), old: None, alone: false }
    }
}
