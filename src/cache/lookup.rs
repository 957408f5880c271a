//! From a request to the entry that answers it.

use std::future::Future;
use std::hash::{BuildHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;
use std::time::Duration;

use http::HeaderMap;

use super::entry::{Entry, Kept, Stored};
use super::key::Key;
use super::policy;
use super::purge::Purges;
use super::shared::{Lead, Shared, random};
use super::store::{Erased, Lease, StoreError};
use super::tally::Fallback;
use super::timeout::within;
use super::vary::Variant;

/// What is in the store for a request.
#[derive(Clone, Debug)]
pub(crate) enum Looked {
    Found(Entry),
    Nothing,
    /// Other variants only. Requests with the same number would get the same one.
    Others(u64),
}

/// Whose turn it was to fetch.
pub(crate) enum Turn<T> {
    Own(Lease),
    /// Another process's, which has put this into the store.
    Other(T),
    /// It was not told in time. Whoever asked may fetch.
    Late,
}

/// What the entry under a URL's key tells.
enum First {
    Done(Looked),
    /// Under which key to look next, and which one of these variants that is.
    Variant(Key, Entry, usize),
}

impl Looked {
    /// Whether it is an entry that was not found before.
    pub(crate) fn is_news(&self, before: &Self) -> bool {
        match (self, before) {
            (Self::Found(entry), Self::Found(before)) => !entry.is(before),
            (Self::Found(_), _) => true,
            _ => false,
        }
    }
}

impl Shared {
    /// What is in the store, if it can tell that without waiting.
    pub(crate) fn get_now(&self, key: &Key, request: &HeaderMap) -> Poll<Looked> {
        let entry = std::task::ready!(self.peek_at(key));
        match self.first(key, request, entry) {
            First::Done(looked) => Poll::Ready(looked),
            First::Variant(variant, names, at) => {
                let entry = std::task::ready!(self.peek_at(&variant));
                Poll::Ready(self.second(key, request, entry, &names, at))
            }
        }
    }

    /// What is in the store, though it has to be waited for.
    ///
    /// # Errors
    ///
    /// If the store fails, or takes too long. It was counted.
    pub(crate) async fn look_up(
        &self,
        key: &Key,
        request: &HeaderMap,
    ) -> Result<Looked, StoreError> {
        let entry = self.get(key).await?;
        Ok(match self.first(key, request, entry) {
            First::Done(looked) => looked,
            First::Variant(variant, names, at) => {
                let entry = self.get(&variant).await?;
                self.second(key, request, entry, &names, at)
            }
        })
    }

    /// What has come since the look: another leader may have landed, or another process may have
    /// put something into a store that both share. `further` is whether the look was not further than
    /// into memory, or is not the last thing that was waited for.
    pub(crate) async fn look_again(
        &self,
        key: &Key,
        request: &HeaderMap,
        looked: &Looked,
        further: bool,
        lead: &mut Lead,
    ) -> Option<Looked> {
        if let Poll::Ready(again @ Looked::Found(_)) = self.get_now(key, request) {
            if again.is_news(looked) {
                return Some(again);
            }
        }
        let further = if further { self.look_further(key, request).await } else { None };
        if matches!(further, Some(Looked::Found(_))) || matches!(looked, Looked::Found(_)) {
            return further;
        }
        let look = || async {
            let looked = self.look_up(key, request).await.ok();
            looked.filter(|looked| matches!(looked, Looked::Found(_)))
        };
        match take_turn(&*self.store, key.as_str(), look).await {
            Turn::Other(found) => Some(found),
            Turn::Own(lease) => {
                lead.lease = lease;
                further
            }
            Turn::Late => {
                self.state.tally.fell_back(Fallback::Lease);
                further
            }
        }
    }

    /// Looks where nothing that is of use was told without waiting. None if that tells nothing new.
    pub(crate) async fn look_further(&self, key: &Key, request: &HeaderMap) -> Option<Looked> {
        if self.store.is_tiered() { self.look_up(key, request).await.ok() } else { None }
    }

    /// The entry of a key. A store that fails, or takes too long, is counted.
    pub(crate) async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let got = within(self.limits.store, async { self.store.get(key.as_str()).await }).await;
        got.inspect_err(|_| self.state.tally.store_failed("get"))
    }

    /// The entry of a key, if the store can tell it without waiting. A store that panics has none.
    fn peek_at(&self, key: &Key) -> Poll<Option<Entry>> {
        let peeked = catch_unwind(AssertUnwindSafe(|| self.store.get_now(key.as_str())));
        peeked.unwrap_or_else(|_| {
            self.state.tally.store_failed("get");
            Poll::Ready(None)
        })
    }

    fn first(&self, key: &Key, request: &HeaderMap, entry: Option<Entry>) -> First {
        let Some(entry) = entry else { return First::Done(Looked::Nothing) };
        match entry.kept() {
            Kept::Response(stored) => {
                let right = self.is_sound(&entry, stored) && self.is_right(key, request, stored);
                First::Done(if right { Looked::Found(entry) } else { Looked::Nothing })
            }
            // More than a URL may have come from elsewhere.
            Kept::Variants(variants) if variants.len() > self.rules.variants => {
                First::Done(Looked::Nothing)
            }
            Kept::Variants(variants) => {
                match variants.iter().rposition(|variant| variant.answers(request)) {
                    Some(at) => First::Variant(key.variant(variants[at].id()), entry, at),
                    None => First::Done(self.others(&entry, request)),
                }
            }
        }
    }

    fn second(
        &self,
        key: &Key,
        request: &HeaderMap,
        entry: Option<Entry>,
        names: &Entry,
        at: usize,
    ) -> Looked {
        let is_named = |stored: &Stored| match names.kept() {
            Kept::Variants(variants) => variants.get(at) == Some(&stored.variant),
            Kept::Response(_) => false,
        };
        match entry {
            Some(entry)
                if entry.stored().is_some_and(|it| {
                    is_named(it)
                        && self.is_sound(&entry, it)
                        && spares(&self.state.purges, key.url(), it)
                }) =>
            {
                Looked::Found(entry)
            }
            _ => self.others(names, request),
        }
    }

    /// Returns `true` for an entry that this layer could have stored, and counts any other one as an
    /// error of the store.
    fn is_sound(&self, entry: &Entry, stored: &Stored) -> bool {
        let sound = entry.is_checked(|| policy::is_sound(&self.rules, stored));
        if !sound {
            self.state.tally.store_failed("get");
        }
        sound
    }

    /// Whether it answers this request, and was not purged.
    pub(crate) fn is_right(&self, key: &Key, request: &HeaderMap, stored: &Stored) -> bool {
        stored.variant.answers(request) && spares(&self.state.purges, key.url(), stored)
    }

    fn others(&self, names: &Entry, request: &HeaderMap) -> Looked {
        match names.kept() {
            Kept::Variants(variants) => Looked::Others(self.class(variants, request)),
            Kept::Response(_) => Looked::Nothing,
        }
    }

    /// The same for requests that no known variant tells apart.
    pub(crate) fn class(&self, variants: &[Variant], request: &HeaderMap) -> u64 {
        let mut hasher = self.state.hasher.build_hasher();
        for variant in variants {
            variant.like(request).id().hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// Whether this process may fetch, or another one does and what `look` then finds is there.
pub(crate) async fn take_turn<T, F>(
    store: &dyn Erased,
    key: &str,
    mut look: impl FnMut() -> F,
) -> Turn<T>
where
    F: Future<Output = Option<T>>,
{
    let taking = async {
        let mut pause = FIRST_LOOK;
        let mut lease = store.lease(key).await;
        while lease.is_taken() {
            tokio::time::sleep(pause.mul_f64(0.5 + random() / 2.0)).await;
            pause = (pause * 2).min(LAST_LOOK);
            // In this order: whoever gives a lease back has put before.
            lease = store.lease(key).await;
            if let Some(found) = look().await {
                return Turn::Other(found);
            }
        }
        Turn::Own(lease)
    };
    within(LONGEST_TURN, async { Ok(taking.await) }).await.unwrap_or(Turn::Late)
}

/// Whether nothing that it is part of was purged since it was fetched.
pub(crate) fn spares(purges: &Purges, url: &str, stored: &Stored) -> bool {
    let Stored { tags, watermark, freshness, .. } = stored;
    let spared = purges.spares(url, tags, watermark.get(), freshness.received);
    if let Some(stamp) = spared {
        watermark.raise(stamp);
    }
    spared.is_some()
}

/// How long another process is waited for: it looks so often in between, the longer the less.
const LONGEST_TURN: Duration = Duration::from_millis(500);
const FIRST_LOOK: Duration = Duration::from_millis(10);
const LAST_LOOK: Duration = Duration::from_millis(50);
