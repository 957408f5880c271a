//! The way of a value: looked up, waited for, or fetched and kept.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::policy::{self, Age};
use super::shared::{Found, Shared, Verdict};
use super::tally::Outcome;
use crate::cache::coalesce::{Ended, Leader, Role};
use crate::cache::lookup::{Turn, take_turn};
use crate::cache::store::Lease;
use crate::cache::task::{Slot, spawn, spawn_if_pending};

/// Held until the store has what was fetched.
struct Lead {
    leader: Leader<Arc<str>, Verdict>,
    _lease: Lease,
}

impl Shared {
    /// A stale value is fetched anew by one of its callers.
    pub(super) async fn get_or_fetch<T, E, F, Fut>(
        self: &Arc<Self>,
        name: Arc<str>,
        ttl: Option<Duration>,
        fetch: F,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let asked = self.clock.now();
        let Some(found) = self.look(&name, true).await else {
            return self.miss(name, ttl, fetch, asked).await;
        };
        self.tally.count(if found.is_fresh { Outcome::Hit } else { Outcome::Stale });
        if found.is_fresh {
            return Ok(found.value);
        }
        let Role::Leader(leader) = self.state.flights.join(Arc::clone(&name)) else {
            return Ok(found.value);
        };
        let lead = match self.turn(&name, leader).await {
            Ok(value) => return Ok(value),
            Err(lead) => lead,
        };
        let fetched = self.fetch(name, ttl, Some(lead), fetch).await;
        Ok(fetched.unwrap_or_else(|_: E| {
            self.tally.failed("refresh");
            found.value
        }))
    }

    /// A stale value is fetched anew in the background.
    pub(super) async fn get_or_refresh<T, E, F, Fut>(
        self: &Arc<Self>,
        name: Arc<str>,
        ttl: Option<Duration>,
        fetch: F,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        E: Send + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let asked = self.clock.now();
        let Some(found) = self.look(&name, true).await else {
            return self.miss(name, ttl, fetch, asked).await;
        };
        self.tally.count(if found.is_fresh { Outcome::Hit } else { Outcome::Stale });
        if !found.is_fresh {
            self.refresh(name, ttl, fetch);
        }
        Ok(found.value)
    }

    /// Waits for another caller that fetches the same, or fetches.
    async fn miss<T, E, F, Fut>(
        self: &Arc<Self>,
        name: Arc<str>,
        ttl: Option<Duration>,
        fetch: F,
        asked: u64,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let ended = match self.state.flights.join(Arc::clone(&name)) {
            Role::Leader(leader) => Ended::Lead(leader),
            Role::Follower(follower) => {
                let ended = tokio::time::timeout(LONGEST_WAIT, follower).await;
                ended.unwrap_or_else(|_| {
                    self.tally.failed("wait");
                    Ended::Completed(Verdict::Alone)
                })
            }
        };
        let (found, lead) = match ended {
            Ended::Completed(verdict) => (self.collapsed(&name, &verdict, asked), None),
            Ended::Lead(leader) => match self.turn(&name, leader).await {
                Ok(value) => (Some(value), None),
                Err(lead) => (None, Some(lead)),
            },
        };
        if let Some(value) = found {
            self.tally.count(Outcome::Collapsed);
            return Ok(value);
        }
        self.tally.count(Outcome::Miss);
        self.fetch(name, ttl, lead, fetch).await
    }

    /// Fetches in the background, unless that is being done.
    fn refresh<T, E, F, Fut>(self: &Arc<Self>, name: Arc<str>, ttl: Option<Duration>, fetch: F)
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        E: Send + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let Some(slot) = Slot::take(&self.state.refreshes, MOST_REFRESHES) else {
            return self.tally.failed("refreshes");
        };
        let Role::Leader(leader) = self.state.flights.join(Arc::clone(&name)) else { return };
        let shared = Arc::clone(self);
        spawn(async move {
            let refreshing = async {
                match shared.turn::<T>(&name, leader).await {
                    Ok(_) => true,
                    Err(lead) => {
                        shared.fetch(Arc::clone(&name), ttl, Some(lead), fetch).await.is_ok()
                    }
                }
            };
            // Nobody else would end it: it has no caller who leaves.
            let done = tokio::time::timeout(LONGEST_REFRESH, refreshing).await;
            if !done.unwrap_or(false) {
                shared.tally.failed("refresh");
            }
            drop(slot);
        });
    }

    /// What has come since the look, from another leader or another process. Otherwise it is this
    /// one's turn to fetch.
    async fn turn<T>(&self, name: &str, leader: Leader<Arc<str>, Verdict>) -> Result<T, Lead>
    where
        T: DeserializeOwned,
    {
        let look = || self.look(name, false);
        let (found, lease) = match take_turn(&*self.store, name, look).await {
            Turn::Other(found) => (Some(found), Lease::free()),
            Turn::Own(lease) => (look().await, lease),
            Turn::TimedOut => {
                self.tally.failed("lease");
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

    async fn fetch<T, E, Fut>(
        self: &Arc<Self>,
        name: Arc<str>,
        ttl: Option<Duration>,
        lead: Option<Lead>,
        fetch: impl FnOnce() -> Fut,
    ) -> Result<T, E>
    where
        T: Serialize,
        Fut: Future<Output = Result<T, E>>,
    {
        let since = self.since();
        let fetched = fetch().await;
        let land = |verdict| {
            if let Some(lead) = &lead {
                lead.leader.complete(verdict);
            }
        };
        let Some(json) = fetched.as_ref().ok().and_then(|value| self.encode(value).ok()) else {
            land(Verdict::Alone);
            return fetched;
        };
        // If not, one of those who wait fetches what is right now.
        if self.admits(&name, since) {
            let slot = if self.fits(&json) { self.put_slot() } else { None };
            let entry = self.entry(ttl, json, since);
            land(Verdict::Found(entry.clone()));
            if let Some(slot) = slot {
                let shared = Arc::clone(self);
                spawn_if_pending(Box::pin(async move {
                    // Counted there; to whoever fetched it is no error.
                    drop(shared.put(&name, entry, since).await);
                    drop((lead, slot));
                }));
            }
        }
        fetched
    }

    /// What a leader found, unless it had landed long before that was `asked` for.
    fn collapsed<T: DeserializeOwned>(
        &self,
        name: &str,
        verdict: &Verdict,
        asked: u64,
    ) -> Option<T> {
        let Verdict::Found(entry) = verdict else { return None };
        let stored = entry.stored()?;
        let is_new = stored.freshness.received >= asked;
        let usable = is_new || policy::age(&stored.freshness, self.clock.now()) == Age::Fresh;
        if usable { self.decode(name, stored) } else { None }
    }
}

/// How long one waits for another who fetches the same.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

const LONGEST_REFRESH: Duration = Duration::from_secs(60);
const MOST_REFRESHES: usize = 64;
