use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, Entry, TRANSFER_ENCODING, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::encoding::Coding;
use crate::headers::list::members;

/// Describes a body in this coding, with its length if that is known.
pub(super) fn set_encoding_headers(headers: &mut HeaderMap, coding: Coding, length: Option<usize>) {
    strip_representation_metadata(headers);
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
    // A message with both headers has no valid length (RFC 9112 §6.1), and hyper refuses it.
    if let Some(length) = length.filter(|_| !headers.contains_key(TRANSFER_ENCODING)) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// Removes the headers that are true of the uncompressed bytes only: lengths, ranges and digests
/// (RFC 9110 §8.6, §14.3, RFC 9530 §2, §3). The entity tag is for
/// [`EtagMode::apply`](super::etag::EtagMode::apply).
pub(super) fn strip_representation_metadata(headers: &mut HeaderMap) {
    for stale in [CONTENT_LENGTH, ACCEPT_RANGES, CONTENT_DIGEST, REPR_DIGEST, DIGEST, CONTENT_MD5] {
        headers.remove(stale);
    }
}

/// Names `accept-encoding` in `vary`, and `available-dictionary` for a layer with dictionaries (RFC 9842
/// §6.2).
pub(super) fn add_vary(headers: &mut HeaderMap, by_dictionary: bool) {
    if let Entry::Vacant(vary) = headers.entry(VARY) {
        vary.insert(if by_dictionary { WITH_DICTIONARIES } else { ACCEPT_ENCODING });
        return;
    }
    add_name_to_vary(headers, ACCEPT_ENCODING);
    if by_dictionary {
        add_name_to_vary(headers, AVAILABLE_DICTIONARY);
    }
}

/// Adds the name of a request header to `vary`, unless that or `*` is there.
fn add_name_to_vary(headers: &mut HeaderMap, name: HeaderValue) {
    let covers = |member: &[u8]| member == b"*" || member.eq_ignore_ascii_case(name.as_bytes());
    if !members(headers, &VARY).any(covers) {
        headers.append(VARY, name);
    }
}

/// Keeps a response out of shared caches: puts `private` before all other directives, and removes
/// the headers that some caches obey instead of `cache-control` (RFC 9213 §2.2).
pub(super) fn make_private(headers: &mut HeaderMap) {
    let targeted = |name: &&HeaderName| {
        **name == SURROGATE_CONTROL || name.as_str().ends_with(TARGETED_SUFFIX)
    };
    let targeted: Vec<_> = headers.keys().filter(targeted).cloned().collect();
    for name in targeted {
        headers.remove(name);
    }
    let lines = headers.get_all(CACHE_CONTROL).iter().map(HeaderValue::as_bytes);
    let lines: Vec<_> = [&b"private"[..]].into_iter().chain(lines).collect();
    let value = HeaderValue::from_bytes(&lines.join(&b", "[..]));
    headers.insert(CACHE_CONTROL, value.unwrap_or(HeaderValue::from_static("private")));
}

/// Returns `true` if the response has a `content-encoding` other than identity.
pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(CONTENT_ENCODING).iter();
    lines.any(|line| !line.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}

/// Returns `true` if the response has a transfer coding other than `chunked`: the bytes of the body
/// are then not those of the content (RFC 9112 §7).
pub(super) fn is_transfer_encoded(headers: &HeaderMap) -> bool {
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let mut codings = members(headers, &TRANSFER_ENCODING).peekable();
    // hyper decides about an empty list.
    codings.peek().is_none() && headers.contains_key(TRANSFER_ENCODING)
        || codings.any(|coding| !is_chunked(coding))
}

/// Returns `true` if `cache-control` has `no-transform` (RFC 9111 §5.2.2.6).
pub(super) fn forbids_transforming(headers: &HeaderMap) -> bool {
    members(headers, &CACHE_CONTROL)
        .flat_map(|member| member.split(|&byte| byte == b';').map(<[u8]>::trim_ascii))
        .any(|directive| directive.eq_ignore_ascii_case(b"no-transform"))
}

/// The names of headers in `vary`, checked at compile time.
const ACCEPT_ENCODING: HeaderValue = HeaderValue::from_static("accept-encoding");
const AVAILABLE_DICTIONARY: HeaderValue = HeaderValue::from_static("available-dictionary");

const WITH_DICTIONARIES: HeaderValue =
    HeaderValue::from_static("accept-encoding, available-dictionary");

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const DIGEST: HeaderName = HeaderName::from_static("digest");
const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");
const SURROGATE_CONTROL: HeaderName = HeaderName::from_static("surrogate-control");

/// The end of `cdn-cache-control` and the like.
const TARGETED_SUFFIX: &str = "-cache-control";

#[cfg(test)]
mod tests;
