use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, response};

use super::super::codec::{Codec, CodecError};
use super::super::dictionary_source::{DictionaryExchange, Levels};
use super::super::encoding::Encoding;
use super::hint::DictionaryHint;
use super::pattern::header_of_path;
use super::policy::{self, RequestFacts, USE_AS_DICTIONARY, Usage};
use super::shared::{Matching, Offer, Shared};
use super::store::{Dictionary, gather};
use super::zstd;
use crate::headers::qvalue::QValue;

/// A request to a layer with dictionaries, and its response.
pub(super) struct Exchange {
    pub(super) shared: Arc<Shared>,
    /// The slot of the store that belongs to the origin, the pattern and the user.
    pub(super) slot: u64,
    /// The slot of the origin and the pattern, for responses that are the same for all users.
    pub(super) public_slot: u64,
    pub(super) matching: Matching,
    pub(super) offer: Offer,
    pub(super) is_get: bool,
    pub(super) has_user: bool,
    pub(super) usage: Usage,
    /// The body of the response, once it has become a dictionary.
    pub(super) kept: Option<Arc<Dictionary>>,
}

/// A request of a client that does not use dictionaries. Its response only says that others do.
pub(super) struct Bystander;

impl Exchange {
    fn dictionary(&self) -> Option<&Arc<Dictionary>> {
        match &self.offer {
            Offer::Known { dictionary, .. } => Some(dictionary),
            Offer::None | Offer::Unknown => None,
        }
    }
}

impl DictionaryExchange for Exchange {
    fn read_response(&mut self, head: &response::Parts) -> bool {
        if is_forbidden(head) {
            return false;
        }
        let facts = RequestFacts {
            is_get: self.is_get,
            has_user: self.has_user,
            user_headers: &self.shared.user_headers,
        };
        let usage = policy::usage(head.status, &head.headers, facts);
        self.usage = usage.unwrap_or_default();
        if matches!(self.offer, Offer::Known { is_public: true, .. }) && !self.usage.is_public {
            self.offer = Offer::None;
        }
        usage.is_some()
    }

    fn weight(&self) -> QValue {
        match &self.offer {
            Offer::Known { weight, .. } => *weight,
            Offer::None | Offer::Unknown => 0,
        }
    }

    fn is_unknown(&self) -> bool {
        matches!(self.offer, Offer::Unknown)
    }

    fn keep(
        &mut self,
        headers: &mut HeaderMap,
        body: &mut dyn Iterator<Item = &[u8]>,
        size: usize,
    ) {
        let sizes = MIN_SIZE..=self.shared.max_size;
        if !self.usage.is_kept || !sizes.contains(&size) {
            return;
        }
        let header = match &self.matching {
            Matching::Pattern(index) => self.shared.patterns.get(*index).map(|it| it.header()),
            Matching::Path(path) => header_of_path(path.path()),
            Matching::None => None,
        };
        let Some(header) = header else { return };
        // The header goes out only if the body is kept: a client would offer it in vain.
        let slot = if self.usage.is_public { self.public_slot } else { self.slot };
        self.kept = self.shared.store.keep(slot, body, size);
        if let Some(kept) = &self.kept {
            if matches!(self.offer, Offer::Known { .. }) {
                // The client has come back with a dictionary before, and will with this one.
                kept.touch();
            }
            headers.insert(USE_AS_DICTIONARY, header);
        }
    }

    fn compress(
        &mut self,
        body: &mut dyn Iterator<Item = &[u8]>,
        levels: &Levels,
    ) -> Result<Option<Bytes>, CodecError> {
        let Some(dictionary) = self.dictionary() else { return Ok(None) };
        let level = levels[Encoding::Zstd.index()];
        let prepare = || zstd::PreparedDictionary::new(&dictionary.bytes, level);
        let prepared = self.shared.prepared.get(dictionary, level, prepare);
        let first = body.next().unwrap_or_default();
        let gathered: Vec<u8>;
        let body = match (&self.kept, body.next()) {
            // The copy in the store is in one piece already.
            (Some(kept), _) => &kept.bytes,
            (None, None) => first,
            (None, Some(second)) => {
                gathered = gather(&[first, second].concat(), body, 0);
                &gathered
            }
        };
        zstd::compress(body, dictionary, prepared.as_deref(), level).map(Some)
    }

    fn codec(&self, levels: &Levels) -> Result<Box<dyn Codec>, CodecError> {
        let dictionary = self.dictionary().ok_or(CodecError)?;
        zstd::stream_codec(dictionary, levels[Encoding::Zstd.index()])
    }
}

impl DictionaryExchange for Bystander {
    fn read_response(&mut self, head: &response::Parts) -> bool {
        !is_forbidden(head)
    }

    fn weight(&self) -> QValue {
        0
    }

    fn is_unknown(&self) -> bool {
        false
    }

    fn keep(&mut self, _: &mut HeaderMap, _: &mut dyn Iterator<Item = &[u8]>, _: usize) {}

    fn compress(
        &mut self,
        _: &mut dyn Iterator<Item = &[u8]>,
        _: &Levels,
    ) -> Result<Option<Bytes>, CodecError> {
        Ok(None)
    }

    fn codec(&self, _: &Levels) -> Result<Box<dyn Codec>, CodecError> {
        Err(CodecError)
    }
}

fn is_forbidden(head: &response::Parts) -> bool {
    head.extensions.get::<DictionaryHint>().is_some_and(|hint| hint.is_forbidden)
}

/// The size of the smallest dictionary: a smaller one saves less than the header of the body takes.
const MIN_SIZE: usize = 256;
