use std::time::Duration;

use super::super::entry::{Entry, EntryKind};
use super::super::error::StoreError;
use super::super::vary::Variant;
use super::api::DynStore;

/// Adds a variant to the list under the key of its URL, as the newest. Returns the variants that made
/// space for it: at most `max` stay. Their entries are of no use any more, since nothing leads to
/// them.
pub(crate) async fn add_variant(
    store: &dyn DynStore,
    key: &str,
    variant: &Variant,
    max: usize,
    ttl: Duration,
) -> Result<Vec<Variant>, StoreError> {
    let mut evicted = Vec::new();
    // May run several times, when other processes add variants meanwhile; the last run counts.
    let mut add = |list: Option<Entry>| {
        let mut variants = match list.as_ref().map(Entry::kind) {
            Some(EntryKind::Variants(variants)) => variants.clone(),
            _ => Vec::new(),
        };
        // The newest at the end: variants that are stored often stay.
        variants.retain(|other| other.id() != variant.id());
        variants.push(variant.clone());
        evicted = variants.drain(..variants.len().saturating_sub(max)).collect();
        Entry::new(EntryKind::Variants(variants))
    };
    store.update(key, ttl, &mut add).await?;
    Ok(evicted)
}
