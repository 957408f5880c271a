use std::fmt;
use std::sync::Arc;

use http::{HeaderName, request, response};
use metrics::Recorder;
use tower::Layer;

use super::codec::Library;
use super::coding::{Coding, InvalidLevel};
use super::media::MediaTypes;
use super::policy::{OptOut, Rules};
use super::pool::Places;
use super::service::Compress;
use super::tally::Counters;
use crate::media_type::InvalidMediaType;
use crate::meter::Meter;

/// Compresses responses; see the [module](crate::compress).
///
/// The service's body must be [`Unpin`], as those of hyper, axum and http-body-util are. Box another
/// one with `BodyExt::boxed_unsync`.
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until a service is stacked under it"]
pub struct CompressLayer {
    shared: Arc<Shared>,
}

#[derive(Clone, Default)]
pub(super) struct Shared {
    pub(super) rules: Rules,
    pub(super) library: Library,
    pub(super) when: Option<Arc<When>>,
    pub(super) places: Places,
    pub(super) counters: Arc<Counters>,
}

pub(super) type When = dyn Fn(&request::Parts, &response::Parts) -> bool + Send + Sync;

impl CompressLayer {
    /// gzip (or deflate) at level 6, for bodies from 1,024 bytes on whose media type is worth it,
    /// unless the request has a field `x-no-compression`.
    pub fn new() -> Self {
        Self { shared: Arc::default() }
    }

    /// The codings to send, the first one preferred where a client likes several equally. gzip and
    /// deflate by default; the features `compress-br` and `compress-zstd` make the others
    /// available, and this turns them on.
    ///
    /// ```
    /// use tower_kit::CompressLayer;
    /// use tower_kit::compress::Coding;
    ///
    /// // gzip alone; with the feature `compress-br`, put `Coding::Brotli` before it.
    /// let layer = CompressLayer::new().codings([Coding::Gzip]);
    /// # drop(layer);
    /// ```
    pub fn codings(self, codings: impl IntoIterator<Item = Coding>) -> Self {
        let order = codings.into_iter().collect();
        self.edit(|shared| shared.rules.order = order)
    }

    /// The level of a coding: 6 for gzip and deflate, 4 for br and 3 for zstd by default.
    ///
    /// # Errors
    ///
    /// If the coding has no such level.
    pub fn level(self, coding: Coding, level: u32) -> Result<Self, InvalidLevel> {
        let level = coding.check(level)?;
        Ok(self.edit(|shared| shared.rules.levels[coding.index()] = level))
    }

    /// Compresses bodies that are there at once, up to 128 KiB, by libdeflate where the coding is
    /// gzip or deflate: in up to 30% less time at level 6, for 0.7 MB a thread. Levels, padding
    /// and streams stay as they are, and so does what is sent where a body does not become smaller.
    /// The [module](crate::compress#how) has more.
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

    /// The least size in bytes of a body that is compressed, where its size is known. 1,024 by
    /// default.
    pub fn threshold(self, bytes: u64) -> Self {
        self.edit(|shared| shared.rules.threshold = bytes)
    }

    /// The most responses that are compressed as they come at a time, each of which holds a codec
    /// until it ends: 380 KB for gzip. Further ones are sent as they are. 256 by default.
    ///
    /// Responses that are compressed at once do not count.
    pub fn streams(self, most: usize) -> Self {
        self.edit(|shared| shared.places.most = most)
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

    /// The request field, with any value, that turns compression off, or `None` for no such field.
    /// `x-no-compression` by default. The `vary` of a compressed response names it; turn it off
    /// where a cache keeps nothing whose `vary` names more than `accept-encoding`.
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
        let opt_out = name.into().map(OptOut::by);
        self.edit(|shared| shared.rules.opt_out = opt_out)
    }

    /// Compresses only where `when` says so, given the heads of request and response. A handler's
    /// [`Hint`](super::Hint) wins over it. For this the head of each request is cloned.
    pub fn when<F>(self, when: F) -> Self
    where
        F: Fn(&request::Parts, &response::Parts) -> bool + Send + Sync + 'static,
    {
        self.edit(|shared| shared.when = Some(Arc::new(when)))
    }

    /// Counts bytes on `recorder` instead of the process's.
    pub fn recorder(self, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        self.edit(|shared| shared.counters = Arc::new(Counters::new(Meter::to(recorder))))
    }

    fn edit(mut self, edit: impl FnOnce(&mut Shared)) -> Self {
        edit(Arc::make_mut(&mut self.shared));
        self
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
