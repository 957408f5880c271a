//! Insertions into a store that processes share, and removals from it.
//!
//! A store behind others may be slow, or away for a while. A process returns what it has inserted last
//! from the beginning. Other processes return the previous value until the log has the purge of the name,
//! and from then on the new one or none.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;

use super::form::Encoded;
use super::shared::{MAX_INSERT_TIME, Shared, value_of};
use super::since::Since;
use super::writes::{MAX_SPACE, SPACE_UNIT};
use crate::cache::entry::{Entry, EntryKind, Watermark};
use crate::cache::error::StoreError;
use crate::cache::hash::hash128;
use crate::cache::purge::list::{Purges, StampFuture};
use crate::cache::purge::table::{Names, PurgeTarget};
use crate::cache::purge::{Purge, Stamp, Standing};
use crate::cache::task::spawn;
use crate::cache::timeout::within;

/// An insert that a task brings to its end.
struct Insert {
    shared: Arc<Shared>,
    name: Arc<str>,
    at: Stamp,
    entry: Entry,
    _space: OwnedSemaphorePermit,
}

impl Shared {
    /// Stores a value, in place of what is being fetched.
    pub(super) async fn insert(
        self: &Arc<Self>,
        name: &Arc<str>,
        ttl: Option<Duration>,
        tags: Vec<String>,
        encoded: Encoded,
    ) -> Result<(), StoreError> {
        let Some(log) = self.state.list.log() else {
            self.begin_write(name);
            self.purge_responses(name);
            // An insert does not yield to a later one.
            let since = Since { inserted: Stamp::MAX, ..self.since() };
            return self.put(name, self.entry(ttl, tags, encoded, since), since).await;
        };
        let size =
            u32::try_from(encoded.bytes.len() / SPACE_UNIT + 1).unwrap_or(MAX_SPACE).min(MAX_SPACE);
        let space = self.state.writes.space().acquire_many_owned(size);
        let space = async { space.await.map_err(StoreError::new) };
        // A store that is away frees no space.
        let wait = if log.is_away() { Duration::ZERO } else { MAX_SPACE_WAIT };
        let space = match within(wait, space).await {
            Ok(space) => space,
            Err(error) => {
                self.metrics.failed("puts");
                return self.remove(name).await.and(Err(error));
            }
        };
        let entry = self.entry(ttl, tags, encoded, self.since());
        let (at, written) = self.begin_shared_write(name, Some(&entry));
        let insert =
            Insert { shared: Arc::clone(self), name: Arc::clone(name), at, entry, _space: space };
        let (confirm, confirmed) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        // A caller that leaves, or that has waited long enough, does not end the insert.
        spawn(async move {
            let _ = end.send(insert.run(written, confirm).await);
        });
        let confirmed = log.confirm(Box::pin(async move { confirmed.await.ok() }));
        confirmed.await.inspect_err(|_| self.metrics.failed("purge"))?;
        let ended = async { ended.await.unwrap_or_else(|error| Err(StoreError::new(error))) };
        let late = |_| Err(StoreError::deferred("the store has the value later"));
        timeout(self.store_timeout, ended).await.unwrap_or_else(late)
    }

    /// Purges the responses that are linked to a name of a store without a log, if there are layers over
    /// the store: the value is replaced where it is.
    fn purge_responses(&self, name: &str) {
        // Before the put: the value gets a later watermark than this purge, and stays.
        if self.state.list.has_layers() {
            drop(self.state.list.purge(Purge::Removed(name), self.clock.now()));
        }
    }

    /// Removes a value.
    pub(super) async fn remove(self: &Arc<Self>, name: &Arc<str>) -> Result<(), StoreError> {
        let Some(log) = self.state.list.log() else {
            self.begin_write(name);
            let purged = self.purge(Purge::Removed(name)).await;
            return purged.and(self.remove_entry(name).await);
        };
        let (at, written) = self.begin_shared_write(name, None);
        // A removal that has no space is soon a purge, which needs no task.
        let space = self.state.writes.space().try_acquire_owned().ok();
        let wait = if space.is_some() { MAX_INSERT_TIME } else { self.store_timeout };
        let (shared, name) = (Arc::clone(self), Arc::clone(name));
        let (end, ended) = oneshot::channel();
        // The log forgets the name of a value that is not removed: a caller that leaves does not keep
        // the removal from its end.
        spawn(async move {
            let written = timeout(wait, written).await.ok().flatten();
            let _ = end.send(shared.remove_everywhere(&name, at, written).await);
            drop(space);
        });
        let ended = log.confirm(Box::pin(async move { ended.await.ok()? })).await;
        ended.inspect_err(|_| self.metrics.failed("purge"))
    }

    /// Removes a value from the store, whose purge has been written with this stamp. Returns the stamp of
    /// the purge that holds for all processes.
    async fn remove_everywhere(
        &self,
        name: &Arc<str>,
        at: Stamp,
        written: Option<Stamp>,
    ) -> Option<Stamp> {
        // A value that was inserted meanwhile stays.
        let removed = !self.is_last_write(name, at) || self.remove_entry(name).await.is_ok();
        if written.is_some() && removed {
            return written;
        }
        let purged = self.purge_stale(name, at)?;
        timeout(self.store_timeout, purged).await.ok().flatten()
    }

    /// Purges what the store has under a name, for as long as entries live: the log forgets a name that
    /// was removed sooner. Does nothing if a later write has taken that over.
    fn purge_stale(&self, name: &str, at: Stamp) -> Option<StampFuture> {
        // Under the lock: the purge of a later write must get the later stamp.
        self.state.writes.hold(|| {
            let is_last = self.is_last_write(name, at);
            is_last.then(|| stamp(&self.state.list, Purge::Url(name), self.clock.now()))
        })
    }

    /// Begins a write of a shared store, and purges the name.
    fn begin_shared_write(&self, name: &Arc<str>, entry: Option<&Entry>) -> (Stamp, StampFuture) {
        self.state.writes.begin(name, entry, || {
            let at = self.begin_write(name);
            (at, stamp(&self.state.list, Purge::Removed(name), self.clock.now()))
        })
    }

    /// Returns the stamp of a new insert or removal. A fetch that started earlier does not replace it.
    fn begin_write(&self, name: &str) -> Stamp {
        self.state.inserts.hold(PurgeTarget::Hard(Names::Removed(hash128(name))), 0).0
    }

    /// Returns `true` if no insert and no removal of the name began later.
    fn is_last_write(&self, name: &str, at: Stamp) -> bool {
        self.state.inserts.admits(name, &[], at)
    }

    /// Returns a value that the store does not have yet, unless its namespace was purged since.
    pub(super) fn written(&self, name: &str) -> Option<Entry> {
        let entry = self.state.writes.get(name)?;
        let received = entry.freshness()?.received;
        self.is_spared(name, &entry, received).then_some(entry)
    }

    /// Returns `true` if no purge of more than the name came after the watermark of the entry.
    fn is_spared(&self, name: &str, entry: &Entry, received: u64) -> bool {
        let Some(stored) = value_of(entry) else { return false };
        // All prefixes of the name are those of this text, which is no name of its own.
        let text = format!("{name}\n");
        let watermark = stored.watermark.get();
        let standing = self.state.purges.standing(&text, &stored.tags, watermark, received);
        !matches!(standing, Standing::Purged)
    }
}

impl Insert {
    /// Puts the value when its purge is written. What cannot be put is dropped in all processes.
    async fn run(
        self,
        written: StampFuture,
        confirm: oneshot::Sender<Stamp>,
    ) -> Result<(), StoreError> {
        let Self { shared, name, at, .. } = &self;
        // The log gets the purges of this process in their order, so that the value must not survive those
        // that came after it.
        let written = timeout(MAX_INSERT_TIME, written).await.ok().flatten();
        let mut done = match written {
            Some(stamp) => {
                // The caller may have left.
                let _ = confirm.send(stamp);
                self.put(stamp).await
            }
            None => Err(StoreError::new("Redis did not respond in time")),
        };
        // Once more, after what the store still has is purged.
        if let Some(purged) = done.is_err().then(|| shared.purge_stale(name, *at)).flatten() {
            if let Ok(Some(stamp)) = timeout(shared.store_timeout, purged).await {
                // The new stamp is later than those of purges that the value must not survive.
                if shared.is_spared(name, &self.entry, u64::MAX) {
                    done = self.put(stamp).await;
                }
            }
            if done.is_err() {
                drop(shared.purge_stale(name, *at));
            }
        }
        shared.state.writes.forget(name, *at);
        done
    }

    /// Puts the value with the stamp of its purge, unless another write of this process began later.
    async fn put(&self, stamp: Stamp) -> Result<(), StoreError> {
        let Self { shared, name, at, .. } = self;
        if !shared.is_last_write(name, *at) {
            return Ok(());
        }
        let entry = self.entry.clone().map(|kind| {
            if let EntryKind::Value(stored) = kind {
                stored.watermark = Watermark::at(stamp);
            }
        });
        let ttl = entry.freshness().map_or(Duration::ZERO, |freshness| freshness.keep(false));
        let fill = shared.state.purges.begin_fill(name, name, stamp);
        let _fill = fill.ok_or_else(|| StoreError::new("too many values are being stored"))?;
        shared.tried("put", || shared.store.put(name, entry.clone(), ttl)).await?;
        // A later write may have come before this one. It has purged the name, and may put once more.
        if shared.is_last_write(name, *at) { Ok(()) } else { shared.remove_entry(name).await }
    }
}

/// Purges a name, and returns a future of the stamp that the log assigns.
fn stamp(purges: &Purges, what: Purge<'_>, now: u64) -> StampFuture {
    let (stamp, purge) = purges.hold(PurgeTarget::Hard(what.names()), now);
    match (purge, purges.log()) {
        (Some(purge), Some(log)) => log.write(purge),
        _ => Box::pin(std::future::ready(Some(stamp))),
    }
}

/// The maximum wait for other values to be written.
const MAX_SPACE_WAIT: Duration = Duration::from_secs(10);
