use http::header::{
    ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CACHE_CONTROL, ORIGIN, SET_COOKIE,
    VARY,
};
use http::{HeaderMap, HeaderName, StatusCode};

use super::super::encoding::DICTIONARY;
use crate::headers::list::members;
use crate::headers::qvalue::{QValue, parse_member};

/// A SHA-256 hash (RFC 6234), by which clients name dictionaries.
pub(super) type DictionaryHash = [u8; 32];

/// The part that dictionaries may have in a response that may be compressed with one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// The response may become a dictionary itself.
    pub(super) is_kept: bool,
    /// The response says that it is the same for all users.
    pub(super) is_public: bool,
}

/// The facts about a request that the usage depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestFacts<'a> {
    pub(super) is_get: bool,
    /// The request has a header that tells its user.
    pub(super) has_user: bool,
    /// The headers that tell users apart.
    pub(super) user_headers: &'a [HeaderName],
}

/// Decides about a response by the head that the inner service gave it. Returns `None` if no dictionary
/// may have a part in the response.
pub(super) fn usage(
    status: StatusCode,
    headers: &HeaderMap,
    request: RequestFacts<'_>,
) -> Option<Usage> {
    let cache_control = CacheControl::parse(headers);
    // Without a user, a private response is private by something that the layer does not see.
    if cache_control.no_store || cache_control.private && !request.has_user {
        return None;
    }
    let is_kept = request.is_get
        && status == StatusCode::OK
        // A client may use a dictionary while it is fresh, or may be served stale (RFC 9842 §2.2.1).
        && cache_control.is_reusable
        && !headers.contains_key(SET_COOKIE)
        && !headers.contains_key(USE_AS_DICTIONARY)
        && varies_only_by(headers, request.user_headers);
    let is_public = cache_control.public && !cache_control.private && varies_only_by(headers, &[]);
    Some(Usage { is_kept, is_public })
}

/// Returns `true` if `vary` names no other headers that may tell users apart than these.
fn varies_only_by(headers: &HeaderMap, user_headers: &[HeaderName]) -> bool {
    let is_known = |member: &[u8]| {
        let is = |name: &HeaderName| member.eq_ignore_ascii_case(name.as_str().as_bytes());
        IMPERSONAL.iter().any(is) || user_headers.iter().any(is) || is(&AVAILABLE_DICTIONARY)
    };
    members(headers, &VARY).all(is_known)
}

/// The directives of `cache-control` that matter to dictionaries.
#[derive(Debug, Default)]
struct CacheControl {
    no_store: bool,
    private: bool,
    public: bool,
    /// A client may use the response again, while it is fresh or stale.
    is_reusable: bool,
}

impl CacheControl {
    fn parse(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        let mut is_clear = true;
        // Some services separate directives by semicolons.
        let directives = members(headers, &CACHE_CONTROL)
            .flat_map(|member| member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii));
        for member in directives {
            let name = member.split(|byte| *byte == b'=').next().unwrap_or_default();
            let value = member.get(name.len() + 1..);
            let is = |directive: &str| name.eq_ignore_ascii_case(directive.as_bytes());
            if is("no-store") {
                found.no_store = true;
            } else if is("private") {
                // A list of fields makes only these private, but not every client knows that.
                found.private = true;
            } else if is("public") {
                found.public = true;
            } else if is("max-age") || is("stale-while-revalidate") {
                match value.map(seconds) {
                    Some(Some(seconds)) => found.is_reusable |= seconds > 0,
                    _ => is_clear = false,
                }
            } else {
                // `no-cache` forbids reuse, and so may a directive that is misspelled.
                is_clear &= HARMLESS.iter().any(|directive| is(directive));
            }
        }
        found.is_reusable &= is_clear;
        found
    }
}

fn seconds(text: &[u8]) -> Option<u64> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    // A number that overflows is a long time (RFC 9111 §1.2.2).
    is_number.then(|| std::str::from_utf8(text).ok()?.parse().ok().or(Some(u64::MAX))).flatten()
}

/// Returns the hash in `available-dictionary`, or `None` if there is no such header, or it is not one
/// byte sequence of 32 bytes (RFC 9842 §2.2, RFC 9651 §3.3.5).
pub(super) fn available_dictionary(headers: &HeaderMap) -> Option<DictionaryHash> {
    let mut lines = headers.get_all(AVAILABLE_DICTIONARY).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    let text = line.as_bytes().trim_ascii().strip_prefix(b":")?.strip_suffix(b":")?;
    base64(text.strip_suffix(b"=").unwrap_or(text))
}

/// Decodes 32 bytes of unpadded Base64 (RFC 4648 §4).
fn base64(text: &[u8]) -> Option<DictionaryHash> {
    let mut hash = [0; 32];
    if text.len() != 43 {
        return None;
    }
    for (four, bytes) in text.chunks(4).zip(hash.chunks_mut(3)) {
        let mut bits = 0_u32;
        for byte in four {
            let digit = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(digit);
        }
        let [_, decoded @ ..] = (bits << (6 * (4 - four.len()))).to_be_bytes();
        // The last two bits belong to no byte: another spelling of the same hash.
        if decoded[bytes.len()..].iter().any(|rest| *rest != 0) {
            return None;
        }
        bytes.copy_from_slice(&decoded[..bytes.len()]);
    }
    Some(hash)
}

/// Returns the weight of `dcz` in `accept-encoding`, or 0 if it is not named or malformed. `*` does
/// not name it: a client has to (RFC 9842 §6.1).
pub(super) fn weight(headers: &HeaderMap) -> QValue {
    let mut found = None;
    for member in members(headers, &ACCEPT_ENCODING) {
        let Some((name, weight)) = parse_member(member) else { continue };
        if !name.eq_ignore_ascii_case(DICTIONARY.as_bytes()) {
            continue;
        }
        match weight {
            None | Some(0) => return 0,
            Some(weight) => _ = found.get_or_insert(weight),
        }
    }
    found.unwrap_or(0)
}

/// Returns `true` if the client offers a dictionary, or may come back for a delta: a client that decodes
/// `dcz` decodes zstd, and browsers name `dcz` only beside a dictionary.
pub(super) fn may_take_deltas(headers: &HeaderMap) -> bool {
    // By the text alone, since nothing is promised yet: the weights count when there is an offer. One
    // pass over the names costs less than hashing two for a lookup each.
    headers.iter().any(|(name, line)| {
        *name == AVAILABLE_DICTIONARY
            || *name == ACCEPT_ENCODING && line.as_bytes().windows(4).any(|text| text == b"zstd")
    })
}

/// Returns `true` if the page that made the request may read the response, as far as the request
/// tells (RFC 9842 §9.3.3). A request by CORS may not: the layer does not see the headers that a
/// layer outside of it adds to the response.
pub(super) fn is_readable(headers: &HeaderMap) -> bool {
    let is_one_of = |name: &HeaderName, values: &[&str]| {
        headers.get_all(name).iter().all(|line| values.iter().any(|value| line == value))
    };
    is_one_of(&SEC_FETCH_SITE, &["same-origin"])
        || is_one_of(&SEC_FETCH_MODE, &["navigate", "same-origin"])
}

/// Returns `true` if zstd would take the bytes for a dictionary of its own format (RFC 8878 §5),
/// instead of plain content.
pub(super) fn is_zstd_dictionary(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x37, 0xa4, 0x30, 0xec])
}

/// The request header by which a client names the dictionary that it has (RFC 9842 §2.2).
pub(super) const AVAILABLE_DICTIONARY: HeaderName = HeaderName::from_static("available-dictionary");

/// The response header by which a response becomes a dictionary (RFC 9842 §2.1).
pub(super) const USE_AS_DICTIONARY: HeaderName = HeaderName::from_static("use-as-dictionary");

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Headers that select a variant, but no user.
const IMPERSONAL: [HeaderName; 5] =
    [ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, ORIGIN];

/// The directives of IANA's registry that say nothing about reuse by the client of a fresh response.
const HARMLESS: [&str; 7] = [
    "immutable",
    "must-revalidate",
    "must-understand",
    "no-transform",
    "proxy-revalidate",
    "s-maxage",
    "stale-if-error",
];

#[cfg(test)]
mod tests;
