use std::sync::Arc;

use super::super::namespace::Namespace;
use super::list::{PurgeFuture, Purges};
use super::table::{Purge, Stamp};

/// The purges of a store, as the layer of a namespace sees them: its URLs, prefixes and tags are
/// those of the namespace. Only a purge of everything is the same in all namespaces.
#[derive(Clone, Debug)]
pub(crate) struct ScopedPurges {
    purges: Arc<Purges>,
    namespace: Namespace,
}

impl ScopedPurges {
    pub(crate) fn new(purges: Arc<Purges>, namespace: Namespace) -> Self {
        Self { purges, namespace }
    }

    /// Returns the same purges in another namespace.
    pub(crate) fn with_namespace(&self, namespace: Namespace) -> Self {
        Self { purges: Arc::clone(&self.purges), namespace }
    }

    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Returns `true` if other processes learn of the purges.
    pub(crate) fn is_shared(&self) -> bool {
        self.purges.is_shared()
    }

    /// Returns the stamp of the last purge in any namespace.
    pub(crate) fn watermark(&self) -> Stamp {
        self.purges.watermark()
    }

    /// Purges a target of this namespace, as [`Purges::purge`] does.
    pub(crate) fn purge(&self, what: Purge<'_>, now: u64) -> PurgeFuture {
        let qualify = |text| self.namespace.qualify(text);
        match what {
            Purge::All => self.purges.purge(what, now),
            Purge::Removed(url) => self.purges.purge(Purge::Removed(&qualify(url)), now),
            Purge::Url(url) => self.purges.purge(Purge::Url(&qualify(url)), now),
            Purge::Prefix(prefix) => self.purges.purge(Purge::Prefix(&qualify(prefix)), now),
            Purge::Tag(tag) => self.purges.purge(Purge::Tag(&qualify(tag)), now),
        }
    }

    /// Returns the stamp up to which an entry is current, as [`Purges::current_as_of`] does.
    pub(crate) fn current_as_of(
        &self,
        url: &str,
        tags: &[String],
        watermark: Stamp,
        received: u64,
    ) -> Option<Stamp> {
        // Nothing was purged since: no name is compared, and none has to be qualified.
        if self.namespace.is_empty() || watermark >= self.watermark() {
            return self.purges.current_as_of(url, tags, watermark, received);
        }
        let tags: Vec<_> = tags.iter().map(|tag| self.namespace.qualify(tag).into()).collect();
        self.purges.current_as_of(&self.namespace.qualify(url), &tags, watermark, received)
    }

    /// Returns `true` if no purge after `watermark` was forgotten, as [`Purges::remembers`] does.
    pub(crate) fn remembers(&self, watermark: Stamp) -> bool {
        self.purges.remembers(watermark)
    }

    /// Returns `true` if a response may be stored, as [`Purges::admits`] does.
    pub(crate) fn admits(&self, url: &str, tags: &[String], watermark: Stamp) -> bool {
        if self.namespace.is_empty() {
            return self.purges.admits(url, tags, watermark);
        }
        let tags: Vec<_> = tags.iter().map(|tag| self.namespace.qualify(tag).into()).collect();
        self.purges.admits(&self.namespace.qualify(url), &tags, watermark)
    }
}
