use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, request, response};
use metrics::Recorder;
use tower::Layer;

use super::encoding::{Encoding, InvalidLevel};
use super::etag::EtagMode;
use super::media_types::MediaTypes;
use super::metrics::Counters;
use super::service::Compress;
use super::settings::Settings;
use crate::media_type::InvalidMediaType;
use crate::metrics::Metrics;

/// A layer that compresses response bodies with gzip, deflate, Brotli or Zstandard.
///
/// See the [module](crate::compress) for examples, the defaults and the placement in the stack.
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until a service is stacked under it"]
#[doc(alias = "compression")]
#[doc(alias = "CompressionLayer")]
#[doc(alias = "gzip")]
#[doc(alias = "deflate")]
#[doc(alias = "brotli")]
#[doc(alias = "zstd")]
pub struct CompressLayer {
    settings: Arc<Settings>,
}

impl CompressLayer {
    /// Creates a layer with the [defaults](crate::compress#defaults): all encodings whose feature
    /// is on, for bodies of at least 1,024 bytes whose media type is worth compressing.
    pub fn new() -> Self {
        Self { settings: Arc::default() }
    }

    /// Sets the encodings, in the order in which the layer prefers them if a client accepts several
    /// equally.
    ///
    /// The default is zstd, br, gzip, deflate, without those whose feature is off. Since another
    /// crate of the program may turn a feature on, set the encodings if that must change nothing.
    ///
    /// Event streams prefer gzip and deflate, if these are among the encodings and the client
    /// accepts one of them: an idle event stream in gzip or deflate holds no codec.
    ///
    /// ```
    /// use tower_kit::CompressLayer;
    /// use tower_kit::compress::Encoding;
    ///
    /// // gzip only, whichever features are on.
    /// let layer = CompressLayer::new().encodings([Encoding::Gzip]);
    /// # drop(layer);
    /// ```
    #[doc(alias = "codings")]
    #[doc(alias = "algorithms")]
    pub fn encodings(self, encodings: impl IntoIterator<Item = Encoding>) -> Self {
        let encodings = encodings.into_iter().collect();
        self.edit(|settings| settings.rules.encodings = encodings)
    }

    /// Sets the compression level of an encoding. The default is 6 for gzip and deflate, 4 for br
    /// and 3 for zstd.
    ///
    /// br from level 9 and zstd from level 19 are slow enough to hold up the other tasks of the
    /// thread: use such levels only for responses that a cache stores.
    ///
    /// # Errors
    ///
    /// Returns an error if the encoding has no such level: gzip and deflate have 1 to 9, br has 0
    /// to 11, and zstd has 1 to 22.
    #[doc(alias = "quality")]
    pub fn level(self, encoding: Encoding, level: u32) -> Result<Self, InvalidLevel> {
        let level = encoding.check_level(level)?;
        Ok(self.edit(|settings| settings.rules.levels[encoding.index()] = level))
    }

    /// Sets the minimum size in bytes of a body that is compressed. The default is 1,024.
    ///
    /// A body of unknown size is read ahead until it has that many bytes (128 KiB at most), it
    /// ends, or it pauses. It is left uncompressed if it has ended, and compressed otherwise.
    #[doc(alias = "min_size")]
    #[doc(alias = "minimum")]
    pub fn threshold(self, bytes: u64) -> Self {
        self.edit(|settings| settings.rules.threshold = bytes)
    }

    /// Sets the maximum number of streams that hold a codec at the same time. The default is 256,
    /// which bounds the memory to 100 MB for gzip.
    ///
    /// A response above the maximum is sent uncompressed, counted by
    /// `http_compression_fallbacks_total`, and not stored by [`CacheLayer`](crate#the-stack). All
    /// services of this layer share the maximum.
    ///
    /// Whole bodies do not count, nor do streams in gzip and deflate while they have nothing to
    /// send. Event streams never take a codec away from other responses: in gzip and deflate they
    /// need none, and in br and zstd they have the same maximum to themselves.
    #[doc(alias = "streams")]
    pub fn max_streams(self, max: usize) -> Self {
        self.edit(|settings| settings.set_max_streams(max))
    }

    /// Sets the delay after which a stream is flushed if the inner service sends no more data. The
    /// default is 10 ms.
    ///
    /// Each flush costs bytes, and the pieces of one burst are compressed better together. With
    /// [`Duration::ZERO`] a stream is flushed whenever the inner service has no data ready. Event
    /// streams (`text/event-stream`) always are.
    ///
    /// The timer is tokio's: a runtime that is built by hand must have it enabled (`enable_time`)
    /// unless the delay is zero. Outside of tokio there is no delay.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_kit::CompressLayer;
    ///
    /// let layer = CompressLayer::new().flush_delay(Duration::from_millis(50));
    /// # drop(layer);
    /// ```
    #[doc(alias = "flush_after")]
    #[doc(alias = "flush_interval")]
    pub fn flush_delay(self, delay: Duration) -> Self {
        self.edit(|settings| settings.flush_delay = delay)
    }

    /// Sets the treatment of the strong entity tags of compressed responses. The default is
    /// [`EtagMode::Suffix`].
    ///
    /// ```
    /// use tower_kit::compress::{CompressLayer, EtagMode};
    ///
    /// let layer = CompressLayer::new().etag_mode(EtagMode::Weaken);
    /// # drop(layer);
    /// ```
    #[doc(alias = "etags")]
    pub fn etag_mode(self, mode: EtagMode) -> Self {
        self.edit(|settings| settings.rules.etag_mode = mode)
    }

    /// Adds a media type to those that are compressed: `type/subtype`, `type/*` or `+suffix`, in
    /// any case and without parameters. If several match a response, the last one that was set
    /// counts.
    ///
    /// ```
    /// use tower_kit::CompressLayer;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let layer = CompressLayer::new()
    ///     .media_type("application/vnd.sqlite3")?
    ///     .skip_media_type("text/css")?;
    /// # drop(layer);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if `media_type` has none of these forms.
    #[doc(alias = "content_type")]
    pub fn media_type(self, media_type: &str) -> Result<Self, InvalidMediaType> {
        let media_type = media_type.parse()?;
        Ok(self.edit(|settings| settings.rules.media_types.set(media_type, true)))
    }

    /// Removes a media type from those that are compressed, given as for
    /// [`media_type`](Self::media_type).
    ///
    /// # Errors
    ///
    /// Returns an error if `media_type` has none of the forms.
    #[doc(alias = "without_media_type")]
    pub fn skip_media_type(self, media_type: &str) -> Result<Self, InvalidMediaType> {
        let media_type = media_type.parse()?;
        Ok(self.edit(|settings| settings.rules.media_types.set(media_type, false)))
    }

    /// Compresses only the media types for which `includes` returns `true`, instead of those of the
    /// table and of earlier calls.
    ///
    /// The callback gets `type/subtype` as the response spells it, without parameters.
    ///
    /// ```
    /// use tower_kit::CompressLayer;
    ///
    /// let layer = CompressLayer::new()
    ///     .media_type_if(|media_type| media_type.eq_ignore_ascii_case("application/json"));
    /// # drop(layer);
    /// ```
    #[doc(alias = "media_types")]
    pub fn media_type_if<F>(self, includes: F) -> Self
    where
        F: Fn(&str) -> bool + Send + Sync + 'static,
    {
        self.edit(|settings| {
            settings.rules.media_types = MediaTypes::Predicate(Arc::new(includes));
        })
    }

    /// Sets the request header that turns compression off, whatever its value, or `None` for no
    /// such header. The default is `x-no-compression`.
    ///
    /// `vary` does not name the header; see [caches](crate::compress#caches).
    ///
    /// ```
    /// use http::HeaderName;
    /// use tower_kit::CompressLayer;
    ///
    /// let renamed = CompressLayer::new().opt_out_header(HeaderName::from_static("x-plain"));
    /// let none = CompressLayer::new().opt_out_header(None);
    /// # drop((renamed, none));
    /// ```
    #[doc(alias = "opt_out")]
    #[doc(alias = "x-no-compression")]
    pub fn opt_out_header(self, name: impl Into<Option<HeaderName>>) -> Self {
        let name = name.into();
        self.edit(|settings| settings.rules.opt_out_header = name)
    }

    /// Compresses only responses for which `compresses` returns `true`, given the heads of request
    /// and response. By default all eligible responses are compressed.
    ///
    /// The [`CompressHint`](super::CompressHint) of a handler takes precedence. With a callback,
    /// the head of each request is cloned.
    #[doc(alias = "when")]
    #[doc(alias = "filter")]
    #[doc(alias = "skip_if")]
    pub fn only_if<F>(self, compresses: F) -> Self
    where
        F: Fn(&request::Parts, &response::Parts) -> bool + Send + Sync + 'static,
    {
        self.edit(|settings| settings.only_if = Some(Arc::new(compresses)))
    }

    /// Sets the recorder of the [metrics](crate::compress#metrics). The default is the recorder of
    /// the process.
    pub fn recorder(self, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        self.edit(|settings| settings.counters = Arc::new(Counters::new(Metrics::to(recorder))))
    }

    pub(super) fn edit(mut self, edit: impl FnOnce(&mut Settings)) -> Self {
        edit(Arc::make_mut(&mut self.settings));
        self
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
        Compress::new(inner, Arc::clone(&self.settings))
    }
}
