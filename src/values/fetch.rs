//! The way from a key to its value: looked up, awaited, or fetched and stored.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::metrics::Outcome;
use super::policy::{self, Age};
use super::shared::{Found, Shared, Verdict};
use crate::cache::coalesce::{Ended, Leader, Role};
use crate::cache::lookup::{Turn, take_turn};
use crate::cache::store::Lease;
use crate::cache::task::{Slot, spawn, spawn_if_pending};

/// The role of the caller that fetches, held until the store has the value.
struct Lead {
    leader: Leader<Arc<str>, Verdict>,
    _lease: Lease,
}

/// Returns a value. A stale value is fetched again by one of its callers.
pub(super) async fn get_or_fetch<T, E, F, Fut>(
    shared: &Arc<Shared>,
    name: Arc<str>,
    ttl: Option<Duration>,
    load: F,
) -> Result<T, E>
where
    T: Serialize + DeserializeOwned,
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let asked = shared.clock.now();
    let Some(found) = shared.look(&name, true).await else {
        return miss(shared, name, ttl, load, asked).await;
    };
    shared.metrics.count(if found.is_fresh { Outcome::Hit } else { Outcome::Stale });
    if found.is_fresh {
        return Ok(found.value);
    }
    // The others do not wait: they have the stale value.
    let Role::Leader(leader) = shared.state.flights.join(Arc::clone(&name)) else {
        return Ok(found.value);
    };
    let lead = match turn(shared, &name, leader).await {
        Ok(value) => return Ok(value),
        Err(lead) => lead,
    };
    let fetched = fetch(shared, name, ttl, Some(lead), load).await;
    Ok(fetched.unwrap_or_else(|_: E| {
        shared.metrics.failed("refresh");
        found.value
    }))
}

/// Returns a value. A stale value is fetched again in the background.
pub(super) async fn get_or_refresh<T, E, F, Fut>(
    shared: &Arc<Shared>,
    name: Arc<str>,
    ttl: Option<Duration>,
    load: F,
) -> Result<T, E>
where
    T: Serialize + DeserializeOwned + Send + 'static,
    E: Send + 'static,
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
{
    let asked = shared.clock.now();
    let Some(found) = shared.look(&name, true).await else {
        return miss(shared, name, ttl, load, asked).await;
    };
    shared.metrics.count(if found.is_fresh { Outcome::Hit } else { Outcome::Stale });
    if !found.is_fresh {
        refresh(shared, name, ttl, load);
    }
    Ok(found.value)
}

/// Waits for another caller that fetches the same value, or fetches it.
async fn miss<T, E, F, Fut>(
    shared: &Arc<Shared>,
    name: Arc<str>,
    ttl: Option<Duration>,
    load: F,
    asked: u64,
) -> Result<T, E>
where
    T: Serialize + DeserializeOwned,
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let ended = match shared.state.flights.join(Arc::clone(&name)) {
        Role::Leader(leader) => Ended::Lead(leader),
        Role::Follower(follower) => {
            let ended = tokio::time::timeout(MAX_WAIT, follower).await;
            ended.unwrap_or_else(|_| {
                shared.metrics.failed("wait");
                Ended::Completed(Verdict::Alone)
            })
        }
    };
    let (found, lead) = match ended {
        Ended::Completed(verdict) => (collapsed(shared, &name, &verdict, asked), None),
        Ended::Lead(leader) => match turn(shared, &name, leader).await {
            Ok(value) => (Some(value), None),
            Err(lead) => (None, Some(lead)),
        },
    };
    if let Some(value) = found {
        shared.metrics.count(Outcome::Collapsed);
        return Ok(value);
    }
    shared.metrics.count(Outcome::Miss);
    fetch(shared, name, ttl, lead, load).await
}

/// Fetches a value in the background, unless that is under way.
fn refresh<T, E, F, Fut>(shared: &Arc<Shared>, name: Arc<str>, ttl: Option<Duration>, load: F)
where
    T: Serialize + DeserializeOwned + Send + 'static,
    E: Send + 'static,
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
{
    let Some(slot) = Slot::take(&shared.state.refreshes, MAX_REFRESHES) else {
        return shared.metrics.failed("refreshes");
    };
    let Role::Leader(leader) = shared.state.flights.join(Arc::clone(&name)) else { return };
    let shared = Arc::clone(shared);
    spawn(async move {
        let refreshing = async {
            match turn::<T>(&shared, &name, leader).await {
                Ok(_) => true,
                Err(lead) => fetch(&shared, Arc::clone(&name), ttl, Some(lead), load).await.is_ok(),
            }
        };
        // No caller could end the refresh by leaving.
        let done = tokio::time::timeout(MAX_REFRESH_TIME, refreshing).await;
        if !done.unwrap_or(false) {
            shared.metrics.failed("refresh");
        }
        drop(slot);
    });
}

/// Returns a value that another caller or another process has stored since the lookup, or else the
/// role to fetch it.
async fn turn<T>(shared: &Shared, name: &str, leader: Leader<Arc<str>, Verdict>) -> Result<T, Lead>
where
    T: DeserializeOwned,
{
    let look = || shared.look(name, false);
    let (found, lease) = match take_turn(&*shared.store, name, look).await {
        Turn::Other(found) => (Some(found), Lease::free()),
        Turn::Own(lease) => (look().await, lease),
        Turn::TimedOut => {
            shared.metrics.failed("lease");
            (look().await, Lease::free())
        }
    };
    match found {
        Some(Found { entry, value, .. }) => {
            leader.complete(Verdict::Found(entry));
            Ok(value)
        }
        None => Err(Lead { leader, _lease: lease }),
    }
}

/// Calls `load` and stores the value.
async fn fetch<T, E, Fut>(
    shared: &Arc<Shared>,
    name: Arc<str>,
    ttl: Option<Duration>,
    lead: Option<Lead>,
    load: impl FnOnce() -> Fut,
) -> Result<T, E>
where
    T: Serialize,
    Fut: Future<Output = Result<T, E>>,
{
    // Before the load: what is removed during it must not be stored.
    let since = shared.since();
    let fetched = load().await;
    let land = |verdict| {
        if let Some(lead) = &lead {
            lead.leader.complete(verdict);
        }
    };
    let Some(json) = fetched.as_ref().ok().and_then(|value| shared.encode(value).ok()) else {
        land(Verdict::Alone);
        return fetched;
    };
    // After a removal, one of the waiting callers fetches the value that is current now.
    if shared.admits(&name, since) {
        let slot = if shared.fits(&json) { shared.put_slot() } else { None };
        let entry = shared.entry(ttl, json, since);
        land(Verdict::Found(entry.clone()));
        if let Some(slot) = slot {
            let shared = Arc::clone(shared);
            spawn_if_pending(Box::pin(async move {
                // The error is counted. The caller has its value and does not need the store.
                drop(shared.put(&name, entry, since).await);
                drop((lead, slot));
            }));
        }
    }
    fetched
}

/// Returns the value that another caller has fetched, unless it was fetched before `asked` and has
/// expired since.
fn collapsed<T: DeserializeOwned>(
    shared: &Shared,
    name: &str,
    verdict: &Verdict,
    asked: u64,
) -> Option<T> {
    let Verdict::Found(entry) = verdict else { return None };
    let stored = entry.stored().filter(|stored| shared.is_usable(name, stored))?;
    // A value with a ttl of 0 is for those who waited for it.
    let is_new = stored.freshness.received >= asked;
    let age = || policy::age(&stored.freshness, stored.left(shared.clock.now()));
    if is_new || age() == Age::Fresh { shared.decode(stored) } else { None }
}

/// The maximum wait for another caller that fetches the same value.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The maximum duration of a background refresh.
const MAX_REFRESH_TIME: Duration = Duration::from_secs(60);

const MAX_REFRESHES: usize = 64;
