//! Lookups: from a request to its entry.

use std::future::Future;
use std::hash::{BuildHasher, Hash, Hasher};
use std::task::{Poll, ready};
use std::time::Duration;

use http::HeaderMap;

use super::clock::random;
use super::config::Config;
use super::entry::{Entry, EntryKind, StoredResponse};
use super::error::StoreError;
use super::key::Key;
use super::metrics::Fallback;
use super::policy::{self, RequestPolicy};
use super::state::Lead;
use super::storage;
use super::store::{DynStore, Lease};
use super::timeout::within;
use super::vary::Variant;

/// The parts of a request that decide which entry it gets.
#[derive(Clone, Copy)]
pub(crate) struct Query<'a> {
    pub(crate) config: &'a Config,
    pub(crate) key: &'a Key,
    pub(crate) headers: &'a HeaderMap,
}

/// The result of a lookup.
#[derive(Clone, Debug)]
pub(crate) enum Lookup {
    Found(Entry),
    Nothing,
    /// Only other variants are stored. Requests with the same number would get the same variant.
    OtherVariants(u64),
}

/// The result of waiting for a turn to fetch, among the processes that share a store.
pub(crate) enum Turn<T> {
    Own(Lease),
    /// Another process has fetched, and has put this into the store.
    Other(T),
    /// The store did not tell in time. The caller may fetch.
    TimedOut,
}

/// The result of the lookup under the key of a URL.
enum First {
    Done(Lookup),
    /// The entry is a list of variants: the index of the one to look up next.
    Variant(Entry, usize),
}

impl Lookup {
    /// Returns `true` if this lookup found an entry that the lookup `before` did not.
    fn is_newer_than(&self, before: &Self) -> bool {
        match (self, before) {
            (Self::Found(entry), Self::Found(before)) => !entry.is(before),
            (Self::Found(_), _) => true,
            _ => false,
        }
    }
}

impl Query<'_> {
    /// Looks up what is in the store.
    ///
    /// # Errors
    ///
    /// If the store fails or times out, which is counted.
    pub(crate) async fn look_up(self) -> Result<Lookup, StoreError> {
        let entry = storage::get(self.config, self.key).await?;
        let lookup = match self.first(entry) {
            First::Done(lookup) => lookup,
            First::Variant(names, at) => {
                let variant = self.key.variant(names.variant_suffix(at));
                let entry = storage::get(self.config, &variant).await?;
                self.second(entry, &names, at)
            }
        };
        // Another process may have stored the entry, and be the only one that knows its rule.
        if let Lookup::Found(entry) = &lookup {
            let headers = entry.stored().map(|stored| &stored.headers);
            headers.and_then(|headers| self.config.state.search_rules.learn(self.key, headers));
        }
        Ok(lookup)
    }

    /// Looks up in the backend of a tiered store too, since [`look_up_now`] sees
    /// only its memory. Returns nothing if there is no backend, or it fails.
    pub(crate) async fn look_up_backend(self) -> Option<Lookup> {
        if self.config.store.is_tiered() { self.look_up().await.ok() } else { None }
    }

    /// Looks up what was stored since the lookup `before`: the leader before this one may have
    /// completed, or another process may have put something into a store that both share.
    ///
    /// `now` is what the store knows without waiting. `query_backend`: also query the backend of the
    /// store, because the lookup before saw only memory or is out of date.
    pub(crate) async fn look_up_again(
        self,
        now: Poll<Lookup>,
        before: &Lookup,
        query_backend: bool,
        lead: &mut Lead,
    ) -> Option<Lookup> {
        // The memory first: what the leader before has stored is there, and costs no wait.
        let is_local = now.is_ready() && !self.config.store.is_tiered();
        if let Poll::Ready(again @ Lookup::Found(_)) = now {
            if again.is_newer_than(before) {
                return Some(again);
            }
        }
        // No other process has this store.
        if is_local {
            return None;
        }
        let backend = if query_backend { self.look_up_backend().await } else { None };
        // A validation needs no lease: at worst two processes send a conditional request.
        if matches!(backend, Some(Lookup::Found(_))) || matches!(before, Lookup::Found(_)) {
            return backend;
        }
        let look_up = || async {
            let lookup = self.look_up().await.ok();
            lookup.filter(|lookup| matches!(lookup, Lookup::Found(_)))
        };
        match take_turn(&*self.config.store, self.key.as_str(), look_up).await {
            Turn::Other(found) => Some(found),
            Turn::Own(lease) => {
                lead.lease = lease;
                backend
            }
            Turn::TimedOut => {
                self.config.state.metrics.fell_back(Fallback::Lease);
                backend
            }
        }
    }

    /// Returns `true` if an entry answers the request and was not purged. A soft purge makes the entry
    /// stale.
    #[inline]
    pub(crate) fn is_valid(self, stored: &StoredResponse) -> bool {
        stored.variant.answers(self.headers)
            && self.key.finds(&stored.headers)
            && self.is_current(stored)
    }

    /// Returns `true` if an entry that another request with the same key got answers the request too.
    pub(crate) fn is_shared(self, stored: &StoredResponse) -> bool {
        self.key.shares(&stored.headers) && self.is_valid(stored)
    }

    /// Returns `true` if an entry of an earlier lookup may be served because the service failed, or is
    /// slow. It may have been purged meanwhile.
    pub(crate) fn is_usable_on_error(self, ask: &RequestPolicy, entry: &Entry, now: u64) -> bool {
        let usable = |stored| policy::is_usable_on_error(ask, stored, now);
        entry.stored().is_some_and(|stored| self.is_valid(stored) && usable(stored))
    }

    /// Returns the number that the request shares with those that none of the variants tells from
    /// it.
    pub(crate) fn class(self, variants: &[Variant]) -> u64 {
        // Clients choose the headers: a hash with a secret key keeps them from colliding on purpose.
        let mut hasher = self.config.state.hasher.build_hasher();
        for variant in variants {
            variant.like(self.headers).id().hash(&mut hasher);
        }
        hasher.finish()
    }

    fn first(self, entry: Option<Entry>) -> First {
        let Some(entry) = entry else { return First::Done(Lookup::Nothing) };
        match entry.kind() {
            EntryKind::Response(stored) => {
                let valid = self.is_sound(&entry, stored) && self.is_valid(stored);
                First::Done(if valid { Lookup::Found(entry) } else { Lookup::Nothing })
            }
            // The entry of a shared store may name more variants than this layer stores.
            EntryKind::Variants(variants) if variants.len() > self.config.rules.variants => {
                First::Done(Lookup::Nothing)
            }
            // A value is no response, whatever the store has under the key of one.
            EntryKind::Value(_) => First::Done(Lookup::Nothing),
            EntryKind::Variants(variants) => match Variant::newest(variants, self.headers) {
                Some(at) => First::Variant(entry, at),
                None => First::Done(self.other_variants(&entry)),
            },
        }
    }

    fn second(self, entry: Option<Entry>, names: &Entry, at: usize) -> Lookup {
        let is_named = |stored: &StoredResponse| match names.kind() {
            EntryKind::Variants(variants) => variants.get(at) == Some(&stored.variant),
            EntryKind::Response(_) | EntryKind::Value(_) => false,
        };
        match entry {
            Some(entry)
                if entry.stored().is_some_and(|stored| {
                    is_named(stored)
                        && self.key.finds(&stored.headers)
                        && self.is_sound(&entry, stored)
                        && self.is_current(stored)
                }) =>
            {
                Lookup::Found(entry)
            }
            _ => self.other_variants(names),
        }
    }

    /// Returns `true` if an entry was not purged.
    fn is_current(self, stored: &StoredResponse) -> bool {
        stored.is_usable(&self.config.state.purges, self.key.url(), self.key.stays())
    }

    /// Returns `true` for an entry that this layer could have stored. Any other entry counts as an
    /// error of the store.
    fn is_sound(self, entry: &Entry, stored: &StoredResponse) -> bool {
        let sound =
            entry.is_checked(|| policy::is_sound(&self.config.rules, stored, self.key.is_part()));
        if !sound {
            self.config.state.metrics.store_failed("get");
        }
        sound
    }

    fn other_variants(self, names: &Entry) -> Lookup {
        match names.kind() {
            EntryKind::Variants(variants) => Lookup::OtherVariants(self.class(variants)),
            EntryKind::Response(_) | EntryKind::Value(_) => Lookup::Nothing,
        }
    }
}

/// Looks up what the store knows without waiting. The key is the same afterwards.
#[inline]
pub(crate) fn look_up_now(config: &Config, key: &mut Key, headers: &HeaderMap) -> Poll<Lookup> {
    let entry = ready!(storage::get_now(config, key));
    let (names, at) = match (Query { config, key, headers }).first(entry) {
        First::Done(lookup) => return Poll::Ready(lookup),
        First::Variant(names, at) => (names, at),
    };
    // In the memory of the key, which has space: a hit of a variant allocates no second one.
    let length = key.text.len();
    key.text.push_str(names.variant_suffix(at));
    let entry = storage::get_now(config, key);
    key.text.truncate(length);
    Poll::Ready(Query { config, key, headers }.second(ready!(entry), &names, at))
}

/// Waits until this process may fetch, or until `look_up` finds what another process has fetched.
pub(crate) async fn take_turn<T, F>(
    store: &dyn DynStore,
    key: &str,
    mut look_up: impl FnMut() -> F,
) -> Turn<T>
where
    F: Future<Output = Option<T>>,
{
    let taking = async {
        let mut pause = FIRST_PAUSE;
        let mut lease = store.lease(key).await;
        while lease.is_taken() {
            tokio::time::sleep(pause.mul_f64(0.5 + random() / 2.0)).await;
            pause = (pause * 2).min(MAX_PAUSE);
            // In this order: a process puts an entry before it gives its lease back.
            lease = store.lease(key).await;
            if let Some(found) = look_up().await {
                return Turn::Other(found);
            }
        }
        Turn::Own(lease)
    };
    within(MAX_TURN, async { Ok(taking.await) }).await.unwrap_or(Turn::TimedOut)
}

/// The longest wait for another process. The pauses between two lookups grow.
const MAX_TURN: Duration = Duration::from_millis(500);
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_millis(50);
