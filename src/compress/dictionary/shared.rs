use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use http::header::HOST;
use http::uri::PathAndQuery;
use http::{Extensions, HeaderMap, HeaderName, Method, Uri};

use super::metrics::Lookups;
use super::pattern::MatchPattern;
use super::policy::{self, AVAILABLE_DICTIONARY};
use super::prepared::Prepared;
use super::store::{Dictionary, Store};
use crate::axum_extensions::{is_nested, original_uri};
use crate::headers::qvalue::QValue;

/// The configuration and the state that clones of the dictionaries share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) patterns: Vec<MatchPattern>,
    /// The request headers that tell users apart.
    pub(super) user_headers: Vec<HeaderName>,
    /// The size of the largest dictionary.
    pub(super) max_size: usize,
    pub(super) store: Arc<Store>,
    pub(super) prepared: Arc<Prepared>,
    pub(super) lookups: Arc<Lookups>,
    /// The keys of the slots. Clients cannot compute them, and so not make two slots one.
    pub(super) keys: RandomState,
}

/// The head of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestHead<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
    pub(super) extensions: &'a Extensions,
}

/// The dictionaries that a request can have a part in.
pub(super) struct Lookup {
    /// The slot of the store that belongs to the origin, the pattern and the user.
    pub(super) slot: u64,
    /// The slot of requests without a user, whose dictionaries also serve public responses to others.
    pub(super) public_slot: u64,
    pub(super) matching: Matching,
    pub(super) offer: Offer,
    /// The request has a header that tells its user.
    pub(super) has_user: bool,
}

/// The URLs that a dictionary serves.
#[derive(Debug)]
pub(super) enum Matching {
    /// Those of the pattern with this index.
    Pattern(usize),
    /// Those with the path of the request.
    Path(PathAndQuery),
    /// None: the page that sent the request may not read the response.
    None,
}

/// The dictionary that a client offers.
pub(super) enum Offer {
    None,
    /// The client names a dictionary that is not there, or that must not be used for the request.
    Unknown,
    Known {
        dictionary: Arc<Dictionary>,
        /// The weight of `dcz`.
        weight: QValue,
        /// The dictionary serves only responses that are the same for all users.
        is_public: bool,
    },
}

impl RequestHead<'_> {
    /// Returns `true` for GET and HEAD. Other methods have responses to their content, of which no
    /// later one is a version.
    pub(super) fn is_safe(self) -> bool {
        matches!(*self.method, Method::GET | Method::HEAD)
    }

    /// Returns `true` if the client names a dictionary, known or not.
    pub(super) fn is_offered(self) -> bool {
        self.headers.contains_key(&AVAILABLE_DICTIONARY)
    }
}

impl Shared {
    /// Reads a request. Returns `None` for methods other than GET and HEAD, and for requests without
    /// an origin.
    pub(super) fn look_up(&self, request: RequestHead<'_>) -> Option<Lookup> {
        if !request.is_safe() {
            return None;
        }
        let host = host(request)?;
        // The client knows the path from before axum's nested routers have shortened it.
        let original = original_uri(request.extensions);
        let uri = original.filter(|it| is_nested(it, request.uri)).unwrap_or(request.uri);
        let path = uri.path_and_query()?;
        let mut hasher = self.keys.build_hasher();
        // Hosts are the same in any case (RFC 9110 §4.2.3). Clients send lower case.
        if host.iter().any(u8::is_ascii_uppercase) {
            write(&mut hasher, &host.to_ascii_lowercase());
        } else {
            write(&mut hasher, host);
        }
        let patterns = self.patterns.iter().enumerate();
        let matching = patterns.filter(|(_, pattern)| pattern.matches(path.path()));
        // Clients choose the dictionary with the longest pattern (RFC 9842 §2.2.3).
        let matching = match matching.max_by_key(|(_, pattern)| pattern.as_str().len()) {
            Some((index, pattern)) => {
                hasher.write_usize(PATTERN);
                write(&mut hasher, pattern.as_str().as_bytes());
                Matching::Pattern(index)
            }
            None => {
                hasher.write_usize(PATH);
                write(&mut hasher, path.path().as_bytes());
                Matching::Path(path.clone())
            }
        };
        let public_slot = hasher.finish();
        let has_user = self.write_user(&mut hasher, request);
        let slot = hasher.finish();
        // The size of a delta would tell the page about a response that it cannot read.
        if !policy::is_readable(request.headers) {
            let offer = if request.is_offered() { Offer::Unknown } else { Offer::None };
            return Some(Lookup { slot, public_slot, matching: Matching::None, offer, has_user });
        }
        let offer = self.offer(slot, public_slot, request);
        Some(Lookup { slot, public_slot, matching, offer, has_user })
    }

    /// Finds the dictionary that a client offers.
    fn offer(&self, slot: u64, public_slot: u64, request: RequestHead<'_>) -> Offer {
        if !request.is_offered() {
            return Offer::None;
        }
        let weight = policy::weight(request.headers);
        let hash = policy::available_dictionary(request.headers).filter(|_| weight > 0);
        let Some(hash) = hash else { return Offer::Unknown };
        if let Some(dictionary) = self.store.find(slot, &hash) {
            return Offer::Known { dictionary, weight, is_public: false };
        }
        // Without a user, the two slots are one.
        let is_other = slot != public_slot;
        match is_other.then(|| self.store.find(public_slot, &hash)).flatten() {
            Some(dictionary) => Offer::Known { dictionary, weight, is_public: true },
            None => Offer::Unknown,
        }
    }

    /// Writes the headers that tell users apart. Returns `true` if the request has one.
    fn write_user(&self, hasher: &mut impl Hasher, request: RequestHead<'_>) -> bool {
        let mut has_user = false;
        for name in &self.user_headers {
            for line in request.headers.get_all(name) {
                write(hasher, name.as_str().as_bytes());
                write(hasher, line.as_bytes());
                has_user = true;
            }
        }
        has_user
    }
}

/// Returns the host and the port of a request, or `None` if it has none, or several.
fn host(request: RequestHead<'_>) -> Option<&[u8]> {
    if let Some(authority) = request.uri.authority() {
        return Some(authority.as_str().as_bytes());
    }
    // Of several hosts, the service may take another one than the client meant.
    let mut lines = request.headers.get_all(HOST).iter();
    let host = lines.next()?.as_bytes();
    (lines.next().is_none() && !host.is_empty()).then_some(host)
}

/// Writes a text so that no two sequences of texts are the same bytes.
fn write(hasher: &mut impl Hasher, text: &[u8]) {
    hasher.write_usize(text.len());
    hasher.write(text);
}

/// Marks between the texts of a slot, which are the lengths of no text.
const PATTERN: usize = usize::MAX;
const PATH: usize = usize::MAX - 1;

#[cfg(test)]
mod tests;
