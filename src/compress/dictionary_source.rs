//! The seam between the layer and compression dictionaries (RFC 9842), which stand behind a feature
//! of their own.

use std::fmt;

use bytes::Bytes;
use http::{Extensions, HeaderMap, Method, Uri, response};

use super::codec::{Codec, CodecError};
use super::encoding::Encoding;
use crate::headers::qvalue::QValue;

/// The dictionaries of a layer.
pub(super) trait DictionarySource: fmt::Debug + Send + Sync {
    /// Reads the head of a request as it has reached the layer. Returns `None` if the request neither
    /// has a dictionary nor leaves one.
    fn read(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Option<Box<dyn DictionaryExchange>>;
}

/// One request and its response, as far as dictionaries are concerned.
pub(super) trait DictionaryExchange: Send + Sync {
    /// Reads the head of the response. Returns `false` if no dictionary may have a part in it.
    fn read_response(&mut self, head: &response::Parts) -> bool;

    /// Returns the weight of `dcz` in the request, or 0 if there is no dictionary to use.
    fn weight(&self) -> QValue;

    /// Returns `true` if the client has named a dictionary that is not there.
    fn is_unknown(&self) -> bool;

    /// Keeps a body of `size` bytes as a dictionary, and says so in the headers, if the response
    /// allows it.
    fn keep(&mut self, headers: &mut HeaderMap, body: &mut dyn Iterator<Item = &[u8]>, size: usize);

    /// Compresses a whole body with the dictionary. Returns `None` if there is none.
    fn compress(
        &mut self,
        body: &mut dyn Iterator<Item = &[u8]>,
        levels: &Levels,
    ) -> Result<Option<Bytes>, CodecError>;

    /// Creates a codec for a stream with the dictionary.
    fn codec(&self, levels: &Levels) -> Result<Box<dyn Codec>, CodecError>;
}

/// The levels of a layer, by [`Encoding::index`].
pub(super) type Levels = [u32; Encoding::COUNT];
