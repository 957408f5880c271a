//! Lookups for requests of a range that no whole response answers.

use std::task::Poll;

use super::cache_status::Fwd;
use super::clock::random;
use super::config::Config;
use super::decide::Miss;
use super::entry::{Entry, StoredResponse};
use super::key::Key;
use super::lookup::{Lookup, Query, look_up_now};
use super::markers::{Marker, Memory};
use super::policy::{self, Representation, RequestPolicy, Reuse};

/// The result of a lookup for a range.
pub(crate) enum RangeLookup {
    /// The part that the request asks for.
    Part(Entry),
    /// No part, and the whole response fits into an entry: fetched once, it answers every range.
    Whole,
    Nothing,
}

/// Looks up the part that a request asks for. `miss` is the lookup of the whole response.
pub(crate) async fn look_up_range(
    query: Query<'_>,
    ask: &RequestPolicy,
    miss: &Miss,
) -> RangeLookup {
    let Query { config, key, .. } = query;
    let known = match config.state.markers.get(parts_marker(config, key)) {
        Some(Memory::Parts(representation)) => Some(representation),
        _ => None,
    };
    if let Some(part) = part(query, ask, known).await {
        return RangeLookup::Part(part);
    }
    // What is stored is for other clients, and so is the whole response.
    let is_withheld = miss.status.fwd == Some(Fwd::Bypass);
    let fits = miss.old.is_some() || known.is_some_and(|known| known.fits(&config.rules));
    if fits && !is_withheld && !miss.is_uncacheable {
        RangeLookup::Whole
    } else {
        RangeLookup::Nothing
    }
}

/// Returns the marker of the parts of a URL, which is not that of the whole response.
pub(crate) fn parts_marker(config: &Config, key: &Key) -> Marker {
    config.state.markers.marker((key.as_str(), "parts"))
}

/// Returns the stored part that a request asks for. `known` is the representation that the last part
/// belongs to.
async fn part(
    query: Query<'_>,
    ask: &RequestPolicy,
    known: Option<Representation>,
) -> Option<Entry> {
    let Query { config, headers, .. } = query;
    let mut key = query.key.part(policy::slot(headers, config.rules.parts)?);
    let found = look_up_now(config, &mut key, headers);
    let query = Query { key: &key, ..query };
    let found = match found {
        Poll::Ready(found @ Lookup::Found(_)) => Some(found),
        Poll::Ready(_) => query.look_up_backend().await,
        Poll::Pending => query.look_up().await.ok(),
    };
    let Some(Lookup::Found(entry)) = found else { return None };
    let now = config.clock.now();
    let is_usable = |stored: &StoredResponse| {
        // A client would take parts of two representations for one, unless it looks at validators.
        let is_mixed = known.is_some() && stored.variant.is_only();
        let is_current = !is_mixed || Representation::of(stored) == known;
        // A stale part is fetched again: it is as large as what would be validated.
        let reuse = policy::reuse(&config.rules, ask, stored, now, random);
        let is_fresh = matches!(reuse, Reuse::Fresh | Reuse::Refresh) && stored.left(now) > 0;
        is_current && is_fresh && policy::is_part_asked(stored, headers)
    };
    entry.stored().is_some_and(is_usable).then_some(entry)
}
