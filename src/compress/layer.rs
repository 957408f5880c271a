use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, request, response};
use metrics::Recorder;
use tower::Layer;

use super::codec::Library;
use super::coding::{Coding, InvalidLevel};
use super::etag::EtagMode;
use super::media::MediaTypes;
use super::policy::Rules;
use super::pool::Semaphore;
use super::service::Compress;
use super::tally::Counters;
use crate::media_type::InvalidMediaType;
use crate::metrics::Metrics;

/// Compresses responses; see the [module](crate::compress).
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until a service is stacked under it"]
pub struct CompressLayer {
    shared: Arc<Shared>,
}

#[derive(Clone)]
pub(super) struct Shared {
    pub(super) rules: Rules,
    pub(super) library: Library,
    pub(super) only_if: Option<Arc<OnlyIf>>,
    pub(super) streams: Semaphore,
    /// Of event streams, which are open for long: they take none of the other streams' permits.
    pub(super) events: Semaphore,
    pub(super) flush_after: Duration,
    pub(super) counters: Arc<Counters>,
}

pub(super) type OnlyIf = dyn Fn(&request::Parts, &response::Parts) -> bool + Send + Sync;

impl CompressLayer {
    /// Creates a layer of all codings whose feature is on: where a client likes several equally, zstd
    /// at level 3, br at level 4, gzip or deflate at level 6, in this order. It is for bodies from 1,024 bytes on whose media
    /// type is worth it, unless the request has a header `x-no-compression`.
    pub fn new() -> Self {
        Self { shared: Arc::default() }
    }

    /// Sets the codings to send, and no others, the first one preferred where a client likes several
    /// equally. By default zstd, br, gzip, deflate, as far as the features `compress-zstd` and
    /// `compress-br` are on. Another part of the program may turn a feature on: pin the codings where
    /// that must change nothing.
    ///
    /// Event streams are sent in gzip or deflate where these are among the codings and the client
    /// takes them: an idle stream in one of these holds no codec.
    ///
    /// ```
    /// use tower_kit::CompressLayer;
    /// use tower_kit::compress::Coding;
    ///
    /// // gzip alone, whichever features are on.
    /// let layer = CompressLayer::new().codings([Coding::Gzip]);
    /// # drop(layer);
    /// ```
    pub fn codings(self, codings: impl IntoIterator<Item = Coding>) -> Self {
        let order = codings.into_iter().collect();
        self.edit(|shared| shared.rules.order = order)
    }

    /// Sets the level of a coding: 6 for gzip and deflate, 4 for br and 3 for zstd by default.
    ///
    /// # Errors
    ///
    /// If the coding has no such level: gzip and deflate have 1 to 9, br has 0 to 11 and zstd has 1 to
    /// 22.
    pub fn level(self, coding: Coding, level: u32) -> Result<Self, InvalidLevel> {
        let level = coding.check(level)?;
        Ok(self.edit(|shared| shared.rules.levels[coding.index()] = level))
    }

    /// Compresses bodies that are there at once, up to 128 KiB, by libdeflate where the coding is
    /// gzip or deflate: in up to 30% less time at level 6, for 0.7 MB a thread. Levels, padding
    /// and streams stay as they are, and so does what is sent where a body does not become smaller.
    /// The [module](crate::compress#streams) has more.
    ///
    /// ```
    /// use tower_kit::CompressLayer;
    ///
    /// let layer = CompressLayer::new().libdeflate();
    /// # drop(layer);
    /// ```
    #[cfg(feature = "compress-libdeflate")]
    pub fn libdeflate(self) -> Self {
        self.edit(|shared| shared.library = Library::Libdeflate)
    }

    /// Sets the least size in bytes of a body that is compressed. 1,024 by default.
    ///
    /// A body whose size is not known is read ahead until so many bytes have come, up to 128 KiB, it
    /// ends, or it pauses. It is left alone if it ended; otherwise it is compressed as it comes.
    pub fn threshold(self, bytes: u64) -> Self {
        self.edit(|shared| shared.rules.threshold = bytes)
    }

    /// Sets the maximum number of responses that hold a codec while they are compressed as they
    /// come: 380 KB each for gzip. Further ones are sent as they are, which
    /// `http_compression_fallbacks_total` counts and [`CacheLayer`](crate#order) does not store.
    /// 256 by default.
    ///
    /// Responses that are compressed at once do not count, nor do streams in gzip and deflate while
    /// they have nothing to send. Event streams never take a place from other responses: in gzip and
    /// deflate they need none, and those in br and zstd have as many of their own.
    pub fn streams(self, max: usize) -> Self {
        self.edit(|shared| {
            shared.streams.permits = max;
            shared.events.permits = max;
        })
    }

    /// Sets how long a stream may hold back what the service has written while no more comes. 10 ms
    /// by default.
    ///
    /// Each flush costs bytes: pieces of 1,400 bytes that are flushed one by one take up to half
    /// as many bytes again as those that are not. With [`Duration::ZERO`] a stream is flushed
    /// whenever the service has nothing ready. Event streams (`text/event-stream`) always are.
    ///
    /// The delay is measured by tokio's timer, which a runtime that has been built by hand must have
    /// enabled (`enable_time`) unless the delay is zero. Outside of tokio there is no delay.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_kit::CompressLayer;
    ///
    /// let layer = CompressLayer::new().flush_after(Duration::from_millis(50));
    /// # drop(layer);
    /// ```
    pub fn flush_after(self, delay: Duration) -> Self {
        self.edit(|shared| shared.flush_after = delay)
    }

    /// Sets what becomes of the strong entity tag of a compressed response:
    /// [`EtagMode::Suffix`] by default.
    ///
    /// ```
    /// use tower_kit::compress::{CompressLayer, EtagMode};
    ///
    /// let layer = CompressLayer::new().etags(EtagMode::Weaken);
    /// # drop(layer);
    /// ```
    pub fn etags(self, mode: EtagMode) -> Self {
        self.edit(|shared| shared.rules.etags = mode)
    }

    /// Compresses this media type too: one of `type/subtype`, `type/*` or `+suffix`, in any case
    /// and without parameters. Of several that match a response, the last one set counts.
    ///
    /// # Errors
    ///
    /// If `media_type` is of none of these forms.
    pub fn media_type(self, media_type: &str) -> Result<Self, InvalidMediaType> {
        let media_type = media_type.parse()?;
        Ok(self.edit(|shared| shared.rules.media_types.set(media_type, true)))
    }

    /// Does not compress this media type, given as for [`media_type`](Self::media_type).
    ///
    /// # Errors
    ///
    /// If `media_type` is of none of the forms.
    pub fn without_media_type(self, media_type: &str) -> Result<Self, InvalidMediaType> {
        let media_type = media_type.parse()?;
        Ok(self.edit(|shared| shared.rules.media_types.set(media_type, false)))
    }

    /// Chooses the media types in place of the table and of what was set before. The closure is
    /// given `type/subtype` as the response spells it, without parameters.
    ///
    /// ```
    /// use tower_kit::CompressLayer;
    ///
    /// let layer = CompressLayer::new()
    ///     .media_types(|media_type| media_type.eq_ignore_ascii_case("application/json"));
    /// # drop(layer);
    /// ```
    pub fn media_types<F>(self, choose: F) -> Self
    where
        F: Fn(&str) -> bool + Send + Sync + 'static,
    {
        self.edit(|shared| shared.rules.media_types = MediaTypes::Chosen(Arc::new(choose)))
    }

    /// Sets the request header that turns compression off, whatever its value, or `None` for no
    /// such header. `x-no-compression` by default.
    ///
    /// `vary` does not name it. The [module](crate::compress#caches) says what caches do instead.
    ///
    /// ```
    /// use http::HeaderName;
    /// use tower_kit::CompressLayer;
    ///
    /// let renamed = CompressLayer::new().opt_out(HeaderName::from_static("x-plain"));
    /// let without = CompressLayer::new().opt_out(None);
    /// # drop((renamed, without));
    /// ```
    pub fn opt_out(self, name: impl Into<Option<HeaderName>>) -> Self {
        let opt_out = name.into();
        self.edit(|shared| shared.rules.opt_out = opt_out)
    }

    /// Compresses only responses for which `compresses` returns `true`, given the heads of request and
    /// response. All by default. A handler's [`Hint`](super::Hint) wins over it. For this the head of
    /// each request is cloned.
    #[doc(alias = "when")]
    #[doc(alias = "skip_if")]
    pub fn only_if<F>(self, compresses: F) -> Self
    where
        F: Fn(&request::Parts, &response::Parts) -> bool + Send + Sync + 'static,
    {
        self.edit(|shared| shared.only_if = Some(Arc::new(compresses)))
    }

    /// Counts bytes on `recorder` instead of the process's.
    pub fn recorder(self, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        self.edit(|shared| shared.counters = Arc::new(Counters::new(Metrics::to(recorder))))
    }

    fn edit(mut self, edit: impl FnOnce(&mut Shared)) -> Self {
        edit(Arc::make_mut(&mut self.shared));
        self
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            library: Library::default(),
            only_if: None,
            streams: Semaphore::default(),
            events: Semaphore::default(),
            flush_after: DEFAULT_FLUSH_AFTER,
            counters: Arc::default(),
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl Default for CompressLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for CompressLayer {
    type Service = Compress<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Compress::new(inner, Arc::clone(&self.shared))
    }
}

/// Long enough that the packets of one burst are compressed together, too short to be seen.
const DEFAULT_FLUSH_AFTER: Duration = Duration::from_millis(10);
