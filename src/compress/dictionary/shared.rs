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
mod tests {
    use http::header::{AUTHORIZATION, COOKIE};
    use sha2::Digest;

    use super::*;
    use crate::headers::test_headers::{TestHeaders, map};

    fn shared() -> Shared {
        Shared {
            patterns: vec!["/items/*".parse().unwrap(), "/items/*/parts".parse().unwrap()],
            user_headers: vec![AUTHORIZATION, COOKIE],
            max_size: 1 << 20,
            store: Arc::new(Store::new(1 << 20, 10)),
            prepared: Arc::new(Prepared::new(1 << 20)),
            lookups: Arc::default(),
            keys: RandomState::new(),
        }
    }

    fn look_up(shared: &Shared, uri: &str, headers: &HeaderMap) -> Option<Lookup> {
        let uri: Uri = uri.parse().unwrap();
        let extensions = Extensions::new();
        let method = &Method::GET;
        shared.look_up(RequestHead { method, uri: &uri, headers, extensions: &extensions })
    }

    #[test]
    fn slots_are_apart_by_origin_path_and_user() {
        let shared = shared();
        let slot = |uri: &str, headers: TestHeaders<'_>| {
            look_up(&shared, uri, &map(headers)).map(|lookup| lookup.slot)
        };
        let first = slot("http://a/list", &[]);
        assert!(first.is_some());
        for (uri, headers) in [
            ("http://A/list", &[][..]),
            ("/list", &[("host", "a")]),
            ("http://a/list?page=2", &[]),
            ("http://a/list", &[("host", "b")]),
            ("http://a/list", &[("x-user", "1")]),
        ] {
            assert_eq!(slot(uri, headers), first, "{uri} {headers:?}");
        }
        for (uri, headers) in [
            ("http://b/list", &[][..]),
            ("http://a:8080/list", &[]),
            ("http://a/lists", &[]),
            ("http://a/LIST", &[]),
            ("/list", &[]),
            ("/list", &[("host", "a"), ("host", "a")]),
            ("http://a/list", &[("cookie", "id=1")]),
            ("http://a/list", &[("cookie", "")]),
            ("http://a/list", &[("authorization", "id=1")]),
            ("http://a/list", &[("cookie", "id=1"), ("cookie", "a=b")]),
            ("http://a/list", &[("cookie", "id=1a=b")]),
        ] {
            assert_ne!(slot(uri, headers), first, "{uri} {headers:?}");
        }
        let [one, two, both] = [
            &[("cookie", "a")][..],
            &[("authorization", "a")],
            &[("cookie", "a"), ("authorization", "a")],
        ]
        .map(|headers| slot("http://a/list", headers));
        assert!(one != two && two != both && one != both);
    }

    #[test]
    fn longest_pattern_is_that_of_the_slot() {
        let shared = shared();
        let found =
            |path: &str| look_up(&shared, &format!("http://a{path}"), &HeaderMap::new()).unwrap();
        assert!(matches!(found("/items/1").matching, Matching::Pattern(0)));
        assert!(matches!(found("/items/1/parts").matching, Matching::Pattern(1)));
        assert!(matches!(found("/list?page=1").matching, Matching::Path(_)));
        assert_eq!(found("/items/1").slot, found("/items/2?a=b").slot);
        assert_ne!(found("/items/1").slot, found("/items/1/parts").slot);
        // The slot is that of the pattern, in whatever place a clone of the dictionaries has it.
        let pattern = shared.patterns[1].clone();
        let other = Shared { patterns: vec![pattern], ..shared.clone() };
        let slot = |uri| look_up(&other, uri, &HeaderMap::new()).unwrap().slot;
        assert_eq!(slot("http://a/items/1/parts"), found("/items/1/parts").slot);
        assert_ne!(slot("http://a/items/1"), found("/items/1").slot);
        assert_ne!(slot("http://a/items/*"), found("/items/1").slot, "a path is no pattern");
    }

    #[test]
    fn only_what_is_offered_rightly_is_known() {
        let shared = shared();
        let body = b"a body that becomes a dictionary".repeat(10);
        let slot = look_up(&shared, "http://a/list", &HeaderMap::new()).unwrap().slot;
        shared.store.keep(slot, &mut [&body[..]].into_iter(), body.len()).unwrap();
        let offer =
            |headers: TestHeaders<'_>| match look_up(&shared, "http://a/list", &map(headers)) {
                Some(Lookup { offer: Offer::Known { weight, is_public: false, .. }, .. }) => {
                    Some(weight)
                }
                Some(Lookup { offer: Offer::Known { .. }, .. }) => Some(1),
                Some(Lookup { offer: Offer::Unknown, .. }) => Some(0),
                _ => None,
            };
        let value = format!(":{}=:", encode(&sha2::Sha256::digest(&body).into()));
        let known = ("available-dictionary", value.as_str());
        for (headers, expected) in [
            (&[][..], None),
            (&[("accept-encoding", "dcz")], None),
            (&[known, ("accept-encoding", "gzip, dcz;q=0.5")], Some(500)),
            (&[known, ("accept-encoding", "gzip, dcb")], Some(0)),
            (&[known], Some(0)),
            (&[("available-dictionary", "x"), ("accept-encoding", "dcz")], Some(0)),
            // Of a request without a user: for public responses alone.
            (&[known, ("accept-encoding", "dcz"), ("cookie", "id=1")], Some(1)),
            (&[known, ("accept-encoding", "dcz"), ("sec-fetch-site", "same-origin")], Some(1000)),
            (
                &[
                    known,
                    ("accept-encoding", "dcz"),
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "cors"),
                ],
                Some(0),
            ),
        ] {
            assert_eq!(offer(headers), expected, "{headers:?}");
        }
    }

    /// Encodes 32 bytes in unpadded Base64.
    fn encode(hash: &[u8; 32]) -> String {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let bit = |at: usize| hash.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1);
        let digit =
            |at: usize| (0..6).fold(0, |value, of| value << 1 | usize::from(bit(6 * at + of)));
        (0..43).map(|at| char::from(DIGITS[digit(at)])).collect()
    }
}
