//! Operations of the store, each with its timeout and its errors counted.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::body::budget::Charge;
use super::config::Config;
use super::entry::{Entry, StoredResponse};
use super::error::StoreError;
use super::key::Key;
use super::metrics::Fallback;
use super::policy::{has_validator, is_shareable};
use super::purge::{Purge, PurgeFuture};
use super::state::{Lead, Verdict};
use super::store::{Usage, add_variant};
use super::task::spawn_if_pending;
use super::timeout::within;
use super::vary::Variant;

/// Returns the entry of a key if the store knows it without waiting. A store that panics has none.
#[inline]
pub(crate) fn get_now(config: &Config, key: &Key) -> Poll<Option<Entry>> {
    let got = catch_unwind(AssertUnwindSafe(|| config.store.get_now(key.as_str())));
    got.unwrap_or_else(|_| {
        config.state.metrics.store_failed("get");
        Poll::Ready(None)
    })
}

/// Returns `true` if the store knows without waiting that it has no entry of a key.
pub(crate) fn is_absent(config: &Config, key: &Key) -> bool {
    !config.store.is_tiered() && matches!(get_now(config, key), Poll::Ready(None))
}

/// Returns the entry of a key.
///
/// # Errors
///
/// If the store fails or times out, which is counted.
pub(crate) async fn get(config: &Config, key: &Key) -> Result<Option<Entry>, StoreError> {
    let get = async { config.store.get(key.as_str()).await };
    let got = within(config.limits.store_timeout, get).await;
    if let Some(stored) = got.as_ref().ok().and_then(|entry| entry.as_ref()?.stored()) {
        stored.compare(&config.state.purges, key.url(), key.stays());
    }
    got.inspect_err(|_| config.state.metrics.store_failed("get"))
}

/// Shares a response with the requests that wait for it, and puts it into the store. Its body is
/// `charge`d to the budget until the store has it; without a charge, this function takes one. Returns
/// `true` if the store has the response already.
pub(crate) fn keep(
    config: Arc<Config>,
    key: Key,
    entry: Entry,
    lead: Option<Lead>,
    charge: Option<Charge>,
) -> bool {
    // The requests that wait may have asked after a soft purge, of which this response is from before.
    // One of them fetches again, with this entry to validate or to serve as stale.
    let is_outdated = |stored: &StoredResponse| {
        stored.is_usable(&config.state.purges, key.url(), key.stays()) && stored.is_soft_purged()
    };
    let shared = entry.stored().filter(|stored| !is_outdated(stored));
    if let (Some(lead), Some(stored)) = (&lead, shared) {
        lead.complete(if is_shareable(&stored.freshness) {
            Verdict::Stored(entry.clone())
        } else {
            Verdict::Alone
        });
    }
    let charge = charge.or_else(|| config.state.charge(config.limits.max_fill_bytes, entry.size()));
    let Some(charge) = charge else {
        config.state.metrics.fell_back(Fallback::Budget);
        return false;
    };
    let Some(slot) = config.state.put_slot() else {
        config.state.metrics.fell_back(Fallback::Puts);
        return false;
    };
    let stored = spawn_if_pending(Box::pin(async move {
        let is_stored = put(&config, &key, entry).await;
        // Requests that joined until now have their response, and later ones find the entry.
        drop((lead, slot, charge));
        is_stored
    }));
    stored.unwrap_or(false)
}

/// Puts a response under its key, or, if it varies, under the key of its variant.
async fn put(config: &Config, key: &Key, entry: Entry) -> bool {
    let Some(stored) = entry.stored() else { return false };
    let ttl = stored.freshness.keep(has_validator(&stored.headers));
    let (purges, at) = (&config.state.purges, stored.watermark.get());
    let Some(_fill) = purges.begin_fill(key.url(), key.as_str(), at) else {
        config.state.metrics.fell_back(Fallback::Puts);
        return false;
    };
    let done = if stored.variant.is_only() {
        put_one(config, key, &entry, ttl).await
    } else {
        let variant = &stored.variant;
        // The variant first: a request that finds it in the list finds its entry.
        let stored = put_one(config, &key.variant(&variant.suffix()), &entry, ttl).await;
        // A memory has the variant even if the store behind it fails.
        add_to_variants(config, key, variant, ttl.max(VARIANTS_TTL)).await && stored
    };
    record_usage(config);
    // A purge may have come between the last check and the put.
    let admitted = || stored.is_admitted(&config.state.purges, key.url());
    if done && !admitted() {
        remove(config, key).await;
        return false;
    }
    done
}

async fn put_one(config: &Config, key: &Key, entry: &Entry, ttl: Duration) -> bool {
    let put = async { config.store.put(key.as_str(), entry.clone(), ttl).await };
    let put = within(config.limits.store_timeout, put).await;
    put.inspect_err(|_| config.state.metrics.store_failed("put")).is_ok()
}

/// Adds a variant to the list of its URL, and removes the entries of those that make space for it. The
/// other variants may be of use for longer than this one.
async fn add_to_variants(config: &Config, key: &Key, variant: &Variant, ttl: Duration) -> bool {
    let max = config.rules.variants;
    let add = add_variant(&*config.store, key.as_str(), variant, max, ttl);
    let Ok(evicted) = within(config.limits.store_timeout, add).await else {
        config.state.metrics.store_failed("put");
        return false;
    };
    for variant in evicted {
        remove(config, &key.variant(&variant.suffix())).await;
    }
    true
}

/// Removes an entry, and returns `true` if the store has done so.
pub(crate) async fn remove(config: &Config, key: &Key) -> bool {
    let remove = async { config.store.remove(key.as_str()).await };
    let removed = within(config.limits.store_timeout, remove).await;
    let removed = removed.inspect_err(|_| config.state.metrics.store_failed("remove"));
    record_usage(config);
    removed.is_ok()
}

/// Removes an entry from a shared store when its purge is written down for other processes: what one of
/// them reads from the store once the log has the purge is not from before it, or is found to be.
pub(crate) async fn remove_everywhere(config: Arc<Config>, key: Key, purge: PurgeFuture) {
    let written = confirm_purge(&config, purge).await;
    let is_removed = remove(&config, &key).await;
    if written.is_err() || !is_removed {
        // The log forgets a name that was removed before it forgets a purge.
        drop(config.state.purges.purge(Purge::Url(key.url()), config.clock.now()));
    }
}

/// Removes all entries of the store.
///
/// # Errors
///
/// If the store fails or times out, which is counted.
pub(crate) async fn clear(config: &Config) -> Result<(), StoreError> {
    let clear = async { config.store.clear().await };
    let cleared = within(config.limits.store_timeout, clear).await;
    record_usage(config);
    cleared.inspect_err(|_| config.state.metrics.store_failed("clear"))
}

/// Waits until a purge is written down for other processes, and counts one that is not.
pub(crate) async fn confirm_purge(config: &Config, purge: PurgeFuture) -> Result<(), StoreError> {
    purge.await.inspect_err(|_| config.state.metrics.store_failed("purge"))
}

/// Waits for several purges at the same time, as [`confirm_purge`] does for one.
pub(crate) async fn confirm_purges(config: &Config, mut purges: Vec<PurgeFuture>) {
    poll_fn(|cx| {
        purges.retain_mut(|purge| match Pin::new(purge).poll(cx) {
            Poll::Pending => true,
            Poll::Ready(written) => {
                written.unwrap_or_else(|_| config.state.metrics.store_failed("purge"));
                false
            }
        });
        if purges.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Returns the usage of the store, or nothing if the store panics.
pub(crate) fn usage(config: &Config) -> Option<Usage> {
    catch_unwind(AssertUnwindSafe(|| config.store.usage())).ok()
}

fn record_usage(config: &Config) {
    usage(config).into_iter().for_each(|usage| config.state.metrics.record_usage(usage));
}

/// The list of variants tells where to look for each of them.
const VARIANTS_TTL: Duration = Duration::from_secs(24 * 60 * 60);
