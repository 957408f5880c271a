use std::sync::Arc;

use super::super::namespace::Namespace;
use super::list::{Fill, PurgeFuture, Purges, Standing};
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

    /// Returns the purges of all namespaces.
    pub(crate) const fn list(&self) -> &Arc<Purges> {
        &self.purges
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
        self.with_queries(what, |what| self.purges.purge(what, now))
    }

    /// Makes a target of this namespace stale, as [`Purges::soft_purge`] does.
    pub(crate) fn soft_purge(&self, what: Purge<'_>, now: u64) -> PurgeFuture {
        self.with_queries(what, |what| self.purges.soft_purge(what, now))
    }

    /// Purges a target, and with a URL that has a query also all entries of its path that answer several
    /// queries: they may answer that URL. Their rules need not be known here. The URL with an empty query
    /// stands for them.
    fn with_queries(&self, what: Purge<'_>, act: impl Fn(Purge<'_>) -> PurgeFuture) -> PurgeFuture {
        let purge = self.in_namespace(what, &act);
        let (Purge::Url(url) | Purge::Removed(url) | Purge::Prefix(url)) = what else {
            return purge;
        };
        let Some(end) = url.bytes().position(|byte| byte == b'?') else { return purge };
        let queries = self.in_namespace(Purge::Removed(&url[..=end]), act);
        if !self.is_shared() {
            return purge;
        }
        PurgeFuture::new(async move {
            let written = purge.await;
            queries.await.and(written)
        })
    }

    fn in_namespace<T>(&self, what: Purge<'_>, act: impl FnOnce(Purge<'_>) -> T) -> T {
        let qualify = |text| self.namespace.qualify(text);
        match what {
            Purge::All => act(what),
            Purge::Removed(url) => act(Purge::Removed(&qualify(url))),
            Purge::Url(url) => act(Purge::Url(&qualify(url))),
            Purge::Prefix(prefix) => act(Purge::Prefix(&qualify(prefix))),
            Purge::Tag(tag) => act(Purge::Tag(&qualify(tag))),
        }
    }

    /// Compares an entry with the purges, as [`Purges::standing`] does.
    #[inline]
    pub(crate) fn standing(
        &self,
        url: &str,
        tags: &[String],
        watermark: Stamp,
        received: u64,
    ) -> Standing {
        // Nothing was purged since: no name is compared, and none has to be qualified.
        if self.namespace.is_empty() || self.purges.is_latest(watermark) {
            return self.purges.standing(url, tags, watermark, received);
        }
        let tags: Vec<_> = tags.iter().map(|tag| self.namespace.qualify(tag).into()).collect();
        self.purges.standing(&self.namespace.qualify(url), &tags, watermark, received)
    }

    /// Returns `true` if no purge after `watermark` was forgotten, as [`Purges::remembers`] does.
    pub(crate) fn remembers(&self, watermark: Stamp) -> bool {
        self.purges.remembers(watermark)
    }

    /// Returns `true` if a memory may have an entry that is no longer in the shared store, as
    /// [`Purges::is_outdated`] does.
    pub(crate) fn is_outdated(&self, seen: Stamp) -> bool {
        self.purges.is_outdated(seen)
    }

    /// Notes that an entry with this watermark is about to be put under a key of this namespace, as
    /// [`Purges::begin_fill`] does.
    pub(crate) fn begin_fill(&self, url: &str, key: &str, watermark: Stamp) -> Option<Fill> {
        // Most stores are not shared, and no name has to be qualified.
        if !self.is_shared() {
            return self.purges.begin_fill(url, key, watermark);
        }
        let qualify = |text| self.namespace.qualify(text);
        self.purges.begin_fill(&qualify(url), &qualify(key), watermark)
    }

    /// Compares an entry that answers several queries with the purges of any of them.
    pub(crate) fn standing_of_queries(
        &self,
        url: &str,
        watermark: Stamp,
        received: u64,
    ) -> Standing {
        let standing = |name: &String| {
            self.purges.standing(&self.namespace.qualify(name), &[], watermark, received)
        };
        let [path, queries] = names_of_queries(url);
        standing(&path).and(standing(&queries))
    }

    /// Returns `true` if a response that answers several queries may be stored.
    pub(crate) fn admits_queries(&self, url: &str, watermark: Stamp) -> bool {
        names_of_queries(url).iter().all(|name| self.admits(name, &[], watermark))
    }

    /// Compares values, which have no namespace of layers, with the purges.
    pub(crate) fn standing_of_values(
        &self,
        names: &[Arc<str>],
        tags: &[String],
        watermark: Stamp,
        received: u64,
    ) -> Standing {
        let standing = |name: &str, tags| self.purges.standing(name, tags, watermark, received);
        // The tags once, and not with each name.
        let of_tags = standing(NO_NAME, tags);
        names.iter().map(|name| standing(name, &[])).fold(of_tags, Standing::and)
    }

    /// Returns `true` if a response that is made of values may be stored.
    pub(crate) fn admits_values(
        &self,
        names: &[Arc<str>],
        tags: &[String],
        watermark: Stamp,
    ) -> bool {
        let admits = |name: &str, tags| self.purges.admits(name, tags, watermark);
        admits(NO_NAME, tags) && names.iter().all(|name| admits(name, &[]))
    }

    /// Returns `true` if nothing was purged after `watermark`, in any namespace.
    pub(crate) fn is_latest(&self, watermark: Stamp) -> bool {
        self.purges.is_latest(watermark)
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

/// The name of no entry, and with no prefix but that of all.
const NO_NAME: &str = "";

/// Returns the URL without its query, and the one that stands for all queries.
fn names_of_queries(url: &str) -> [String; 2] {
    let path = url.split('?').next().unwrap_or_default();
    [path.to_owned(), format!("{path}?")]
}
