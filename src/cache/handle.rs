use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;

use http::{HeaderMap, Request, Response, Uri};
use http_body::Body;
use tower::Service;

use super::body::{FRAMES_AT_ONCE, LONGEST_FILL};
use super::classify::Warm;
use super::config::Config;
use super::fetch::Call;
use super::metrics::Statistics;
use super::purge::{Purge, PurgeFuture};
use super::storage;
use super::store::StoreError;

/// A handle to purge the entries of a layer, to warm them, and to read its statistics. Clones are the
/// same handle.
///
/// The handle may be taken before the layer is finished: it purges, and counts, for all layers that
/// setters make of that one, and for their clones. Only a
/// [`store_timeout`](super::CacheLayer::store_timeout) that is set later does not bound its
/// [`purge_all`](Self::purge_all).
///
/// A purge holds in this process as soon as the method returns, before any await: it also hits what is
/// being fetched meanwhile. Purged entries are not given out any more; their memory is free when
/// others take their place. Where processes share a store, await the [`PurgeFuture`] to know that the
/// purge has been written down for all: they read of it within milliseconds.
#[derive(Clone, Debug)]
pub struct CacheHandle {
    config: Arc<Config>,
}

/// The error of a URL that no entry could have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidUrl {
    given: String,
}

impl CacheHandle {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Self { config }
    }

    /// Purges a URL in all its variants: `https://host/path?query`, or `/path?query` where hosts do
    /// not count. What of the query does not count for the layer's [`CacheKey`](super::CacheKey) does not
    /// here. The scheme does: it is `http` for requests of HTTP/1, also behind a proxy that speaks
    /// TLS, unless [`CacheKey::scheme`](super::CacheKey::scheme) says otherwise.
    ///
    /// ```
    /// use tower_kit::cache::{CacheLayer, MemoryStore};
    /// use tower_kit::MIB;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = CacheLayer::new(MemoryStore::new(64 * MIB)).handle();
    /// handle.purge_url("http://example.org/items?page=2")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If it is no URL, as a host without its scheme is none, or has no host where hosts count.
    pub fn purge_url(&self, url: &str) -> Result<PurgeFuture, InvalidUrl> {
        let invalid = || InvalidUrl { given: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| invalid())?;
        // A word alone is a URI too, that of CONNECT: a host without a path.
        if uri.path().is_empty() {
            return Err(invalid());
        }
        // Entries may be under a key that the layer got after this handle was taken.
        let keys = self.config.state.family.keys();
        let keys = keys.iter().filter(|key| key.is_complete(&uri));
        let keys = keys.filter_map(|key| key.url(&uri, &HeaderMap::new()).ok());
        let urls: BTreeSet<_> = keys.map(|key| key.url().to_owned()).collect();
        let purgings = urls.iter().map(|url| self.purge(Purge::Url(url)));
        all(purgings.collect()).ok_or_else(invalid)
    }

    /// Purges all URLs that begin so, `http://host/path` and `http://host/path2` for
    /// `http://host/path`. It is compared byte for byte with URLs as keys have them: the scheme as
    /// for [`purge_url`](Self::purge_url), the host in lower case and without its default port.
    #[expect(clippy::must_use_candidate, reason = "it holds whether or not it is awaited")]
    pub fn purge_prefix(&self, prefix: &str) -> PurgeFuture {
        self.purge(Purge::Prefix(prefix))
    }

    /// Purges all responses that have this tag, from a [`CacheHint`](super::CacheHint), `surrogate-key` or
    /// `cache-tag`.
    #[expect(clippy::must_use_candidate, reason = "it holds whether or not it is awaited")]
    pub fn purge_tag(&self, tag: &str) -> PurgeFuture {
        self.purge(Purge::Tag(tag))
    }

    /// Purges all, and empties the store. Unlike the other purges, it has to be awaited.
    ///
    /// # Errors
    ///
    /// If the store fails to forget what is purged, or to tell other processes, or takes longer than
    /// [`store_timeout`](super::CacheLayer::store_timeout): this one does not give it out, but it
    /// stays there.
    pub async fn purge_all(&self) -> Result<(), StoreError> {
        drop(self.purge(Purge::All));
        storage::clear(&self.config).await
    }

    /// Returns the number of requests by outcome, and the usage of the store.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let usage = storage::usage(&self.config).unwrap_or_default();
        let states = self.config.state.family.states();
        let none = Statistics { usage, ..Statistics::default() };
        states.iter().fold(none, |sum, state| state.metrics.add_to(sum))
    }

    /// Returns the number of fetches that other requests may wait for.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.config.state.family.states().iter().map(|state| state.coalescer.len()).sum()
    }

    /// Asks `service`, which has this layer, for a new response, though there may be a fresh one,
    /// and reads it to its end, so that it is kept if it may be. The body is read for 60 s at most:
    /// one that takes longer is not kept. How long the service takes to respond is for a timeout of
    /// its own to bound. The request has to be as clients send theirs: with their host, in its URI
    /// or in `host`, and with what `vary` names.
    ///
    /// # Errors
    ///
    /// Those of the service; one of the response's body is no more than a response that is not kept.
    pub async fn warm<S, B, ResBody>(
        &self,
        service: S,
        mut request: Request<B>,
    ) -> Result<(), S::Error>
    where
        S: Service<Request<B>, Response = Response<ResBody>>,
        ResBody: Body,
    {
        request.extensions_mut().insert(Warm);
        let response = Call::new(service, request).await?;
        let mut body = std::pin::pin!(response.into_body());
        let reading = async {
            let mut frames = 0;
            while let Some(Ok(_)) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
                frames += 1;
                // A body that is always ready would keep other tasks from running, and the timer too.
                if frames % FRAMES_AT_ONCE == 0 {
                    tokio::task::yield_now().await;
                }
            }
        };
        drop(tokio::time::timeout(LONGEST_FILL, reading).await);
        Ok(())
    }

    fn purge(&self, what: Purge<'_>) -> PurgeFuture {
        let purging = self.config.state.purges.purge(what, self.config.clock.now());
        if !self.config.state.purges.is_shared() {
            return purging;
        }
        let config = Arc::clone(&self.config);
        PurgeFuture(Box::pin(async move { storage::confirm_purge(&config, purging).await }))
    }
}

/// Returns a future that waits for all purges, and fails if one of them does, or nothing if there are
/// none.
fn all(mut purgings: Vec<PurgeFuture>) -> Option<PurgeFuture> {
    let last = purgings.pop()?;
    if purgings.is_empty() {
        return Some(last);
    }
    Some(PurgeFuture(Box::pin(async move {
        let mut written = last.await;
        for purging in purgings {
            written = purging.await.and(written);
        }
        written
    })))
}

impl fmt::Display for InvalidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no URL that an entry could have, with its host where hosts count: {:?}",
            self.given
        )
    }
}

impl Error for InvalidUrl {}
