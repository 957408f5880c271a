use std::hash::RandomState;
use std::sync::Arc;

use http::header::{AUTHORIZATION, COOKIE};
use http::{Extensions, HeaderMap, HeaderName, Method, Uri};
use metrics::Recorder;

use super::super::dictionary_source::{DictionaryExchange, DictionarySource};
use super::super::layer::CompressLayer;
use super::exchange::{Bystander, Exchange};
use super::filter::FilterLayer;
use super::metrics::Lookups;
use super::pattern::InvalidPattern;
use super::policy::{self, Usage};
use super::prepared::Prepared;
use super::shared::{Lookup, Offer, RequestHead, Shared};
use super::store::Store;
use crate::metrics::Metrics;

/// The dictionaries of a [`CompressLayer`]: earlier responses, with which later ones are compressed
/// for clients that have them.
///
/// Clones share the dictionaries. See the [module](super) for the exchange and the bounds.
///
/// ```
/// use tower_kit::CompressLayer;
/// use tower_kit::compress::dictionary::Dictionaries;
///
/// let layer = CompressLayer::new().dictionaries(Dictionaries::new());
/// # drop(layer);
/// ```
#[derive(Clone, Debug)]
#[must_use = "dictionaries do nothing until a layer has them"]
#[doc(alias = "dcz")]
#[doc(alias = "RFC 9842")]
#[doc(alias = "use-as-dictionary")]
#[doc(alias = "available-dictionary")]
#[doc(alias = "delta")]
pub struct Dictionaries {
    shared: Arc<Shared>,
}

impl Dictionaries {
    /// Creates an empty store with the [defaults](super#defaults). A response is a dictionary for
    /// later ones of the same path.
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                patterns: Vec::new(),
                user_headers: vec![AUTHORIZATION, COOKIE],
                max_size: DEFAULT_MAX_SIZE,
                store: Arc::new(Store::new(DEFAULT_MAX_BYTES, DEFAULT_MAX_COUNT)),
                prepared: Arc::new(Prepared::new(DEFAULT_MAX_PREPARED_BYTES)),
                lookups: Arc::default(),
                keys: RandomState::new(),
            }),
        }
    }

    /// Adds a pattern of paths whose responses are dictionaries for each other. By default a response
    /// is a dictionary for its own path, with any query.
    ///
    /// A pattern is a path in which `*` stands for any text. Of several patterns that match a path,
    /// the longest counts, as it does for clients.
    ///
    /// ```
    /// use tower_kit::compress::dictionary::Dictionaries;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // The first product that a client sees makes all others small.
    /// let dictionaries = Dictionaries::new().pattern("/products/*")?;
    /// # drop(dictionaries);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the text is not a percent-encoded path from its first slash with single
    /// asterisks, of at most 1,024 bytes, or has a character with another meaning in URL patterns,
    /// such as `:` or `?`.
    #[doc(alias = "match")]
    pub fn pattern(self, pattern: &str) -> Result<Self, InvalidPattern> {
        let pattern = pattern.parse()?;
        Ok(self.edit(|shared| shared.patterns.push(pattern)))
    }

    /// Sets the request headers that tell users apart. The default is `authorization` and `cookie`.
    ///
    /// A dictionary serves only requests with the same values of these headers as the request that
    /// it comes from, unless both responses say `cache-control: public`. Name the header of your API keys here, and leave out nothing that a response
    /// depends on: [safety](super#safety) says why.
    ///
    /// ```
    /// use http::HeaderName;
    /// use tower_kit::compress::dictionary::Dictionaries;
    ///
    /// let by_key = Dictionaries::new().user_headers([HeaderName::from_static("x-api-key")]);
    /// // For a service whose responses are the same for everyone.
    /// let public = Dictionaries::new().user_headers([]);
    /// # drop((by_key, public));
    /// ```
    #[doc(alias = "scope")]
    #[doc(alias = "credentials")]
    pub fn user_headers(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        let names = names.into_iter().collect();
        self.edit(|shared| shared.user_headers = names)
    }

    /// Sets the maximum size of all dictionaries in bytes. The default is 16 MiB. 0 keeps none.
    ///
    /// Each dictionary counts as its body and 512 bytes. Those that clients use are evicted last.
    #[doc(alias = "capacity")]
    pub fn max_bytes(self, bytes: usize) -> Self {
        self.edit(|shared| shared.store = Arc::new(Store::new(bytes, shared.store.max_count)))
    }

    /// Sets the maximum number of dictionaries. The default is 10,000.
    pub fn max_count(self, max: usize) -> Self {
        self.edit(|shared| shared.store = Arc::new(Store::new(shared.store.max_bytes, max)))
    }

    /// Sets the size in bytes of the largest body that becomes a dictionary. The default, and the
    /// maximum, is 128 KiB: larger bodies are streams.
    pub fn max_size(self, bytes: usize) -> Self {
        self.edit(|shared| shared.max_size = bytes)
    }

    /// Sets the maximum size in bytes of all prepared dictionaries. The default is 16 MiB.
    ///
    /// A dictionary is prepared at its second use, which makes further uses several times faster,
    /// and takes some 200 KB for a body of 10 KiB. 0 prepares none.
    pub fn max_prepared_bytes(self, bytes: usize) -> Self {
        self.edit(|shared| shared.prepared = Arc::new(Prepared::new(bytes)))
    }

    /// Sets the recorder of the counter of [lookups](super#metrics). The default is the recorder of
    /// the process.
    pub fn recorder(self, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        self.edit(|shared| shared.lookups = Arc::new(Lookups::new(Metrics::to(recorder))))
    }

    /// Returns a layer that removes the names of unknown dictionaries from requests. Put it outside
    /// of a cache: see [caches](super#caches).
    pub fn filter(&self) -> FilterLayer {
        FilterLayer::new(Arc::clone(&self.shared))
    }

    fn edit(mut self, edit: impl FnOnce(&mut Shared)) -> Self {
        // Clones keep their configuration: a layer that is in use must not change.
        edit(Arc::make_mut(&mut self.shared));
        self
    }
}

impl Default for Dictionaries {
    fn default() -> Self {
        Self::new()
    }
}

impl DictionarySource for Dictionaries {
    fn read(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Option<Box<dyn DictionaryExchange>> {
        let request = RequestHead { method, uri, headers, extensions };
        if request.is_safe() && !policy::may_take_deltas(headers) {
            // A box of nothing allocates nothing.
            return Some(Box::new(Bystander));
        }
        let Lookup { slot, public_slot, matching, offer, has_user } =
            self.shared.look_up(request)?;
        // Behind the filter, misses have been counted, and come here without an offer.
        match offer {
            Offer::None => {}
            Offer::Unknown => self.shared.lookups.record(false),
            Offer::Known { .. } => self.shared.lookups.record(true),
        }
        Some(Box::new(Exchange {
            shared: Arc::clone(&self.shared),
            slot,
            public_slot,
            matching,
            offer,
            is_get: *method == Method::GET,
            has_user,
            usage: Usage::default(),
            kept: None,
        }))
    }
}

impl CompressLayer {
    /// Compresses responses with earlier ones, for clients that have these. The default is none.
    ///
    /// See [`dictionary`](crate::compress::dictionary) for the exchange, and for the responses that
    /// become dictionaries. The `vary` of responses then names `available-dictionary`, too.
    ///
    /// ```
    /// use tower_kit::CompressLayer;
    /// use tower_kit::compress::dictionary::Dictionaries;
    ///
    /// let layer = CompressLayer::new().dictionaries(Dictionaries::new());
    /// # drop(layer);
    /// ```
    #[doc(alias = "dcz")]
    #[doc(alias = "delta")]
    pub fn dictionaries(self, dictionaries: Dictionaries) -> Self {
        self.edit(|settings| settings.dictionaries = Some(Arc::new(dictionaries)))
    }
}

/// About 1,500 responses of 10 KiB.
const DEFAULT_MAX_BYTES: usize = 16 * 1024 * 1024;
const DEFAULT_MAX_COUNT: usize = 10_000;

/// The size of the largest body that is compressed in one go.
const DEFAULT_MAX_SIZE: usize = 128 * 1024;

/// About 70 dictionaries of 10 KiB.
const DEFAULT_MAX_PREPARED_BYTES: usize = 16 * 1024 * 1024;
