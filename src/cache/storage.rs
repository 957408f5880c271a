//! Operations of the store, each with its timeout and its errors counted.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::body::budget::Charge;
use super::config::Config;
use super::entry::{Entry, Kept as Content, Stored};
use super::key::Key;
use super::metrics::Fallback;
use super::policy::{has_validator, shareable};
use super::purge::PurgeFuture;
use super::state::{Lead, Verdict};
use super::store::{StoreError, Usage};
use super::task::spawn_if_pending;
use super::timeout::within;
use super::vary::Variant;

/// An entry that was put into the store.
pub(crate) struct Kept {
    pub(crate) entry: Entry,
    /// The store has the entry already.
    pub(crate) is_stored: bool,
}

/// Returns the entry of a key if the store knows it without waiting. A store that panics has none.
pub(crate) fn get_now(config: &Config, key: &Key) -> Poll<Option<Entry>> {
    let got = catch_unwind(AssertUnwindSafe(|| config.store.get_now(key.as_str())));
    got.unwrap_or_else(|_| {
        config.state.metrics.store_failed("get");
        Poll::Ready(None)
    })
}

/// Returns the entry of a key.
///
/// # Errors
///
/// If the store fails or times out, which is counted.
pub(crate) async fn get(config: &Config, key: &Key) -> Result<Option<Entry>, StoreError> {
    let get = async { config.store.get(key.as_str()).await };
    let got = within(config.limits.store_timeout, get).await;
    got.inspect_err(|_| config.state.metrics.store_failed("get"))
}

/// Shares a response with the requests that wait for it, and puts it into the store. Its body is
/// `charge`d to the budget until the store has it; without a charge, this function takes one.
pub(crate) fn keep(
    config: Arc<Config>,
    key: Key,
    stored: Stored,
    lead: Option<Lead>,
    charge: Option<Charge>,
) -> Kept {
    let entry = Entry::new(Content::Response(stored.compact()));
    if let (Some(lead), Some(stored)) = (&lead, entry.stored()) {
        lead.complete(if shareable(&stored.freshness) {
            Verdict::Stored(entry.clone())
        } else {
            Verdict::Alone
        });
    }
    let charge = charge.or_else(|| config.state.charge(config.limits.max_fill_bytes, entry.size()));
    let Some(charge) = charge else {
        config.state.metrics.fell_back(Fallback::Budget);
        return Kept { entry, is_stored: false };
    };
    let Some(slot) = config.state.put_slot() else {
        config.state.metrics.fell_back(Fallback::Puts);
        return Kept { entry, is_stored: false };
    };
    let kept = entry.clone();
    let stored = spawn_if_pending(Box::pin(async move {
        let is_stored = put(&config, &key, kept).await;
        // Requests that joined until now have their response, and later ones find the entry.
        drop((lead, slot, charge));
        is_stored
    }));
    Kept { entry, is_stored: stored.unwrap_or(false) }
}

/// Puts a response under its key, or, if it varies, under the key of its variant.
async fn put(config: &Config, key: &Key, entry: Entry) -> bool {
    let Some(stored) = entry.stored() else { return false };
    let ttl = stored.freshness.keep(has_validator(&stored.headers));
    let done = if stored.variant.is_only() {
        put_one(config, key, &entry, ttl).await
    } else {
        let variant = &stored.variant;
        // The variant first: a request that finds it in the list finds its entry.
        put_one(config, &key.variant(variant.id()), &entry, ttl).await && {
            let variants = with_variant(config, key, variant).await;
            // The other variants may be of use for longer than this one.
            let ttl = ttl.max(VARIANTS_TTL);
            put_one(config, key, &Entry::new(Content::Variants(variants)), ttl).await
        }
    };
    record_usage(config);
    // A purge may have come between the last check and the put.
    let admitted = || config.state.purges.admits(key.url(), &stored.tags, stored.watermark.get());
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

/// Returns the variants of a URL, with this one as the newest.
async fn with_variant(config: &Config, key: &Key, variant: &Variant) -> Vec<Variant> {
    let known = get(config, key).await.ok().flatten();
    let mut variants = match known.as_ref().map(Entry::kept) {
        Some(Content::Variants(variants)) => variants.clone(),
        _ => Vec::new(),
    };
    variants.retain(|other| other.id() != variant.id());
    variants.push(variant.clone());
    variants.drain(..variants.len().saturating_sub(config.rules.variants));
    variants
}

pub(crate) async fn remove(config: &Config, key: &Key) {
    let remove = async { config.store.remove(key.as_str()).await };
    if within(config.limits.store_timeout, remove).await.is_err() {
        config.state.metrics.store_failed("remove");
    }
    record_usage(config);
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

/// Returns the usage of the store, or nothing if the store panics.
pub(crate) fn usage(config: &Config) -> Option<Usage> {
    catch_unwind(AssertUnwindSafe(|| config.store.usage())).ok()
}

fn record_usage(config: &Config) {
    usage(config).into_iter().for_each(|usage| config.state.metrics.record_usage(usage));
}

/// The list of variants tells where to look for each of them.
const VARIANTS_TTL: Duration = Duration::from_secs(24 * 60 * 60);
