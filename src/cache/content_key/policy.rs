//! The requests whose content is read, and the digests of contents.

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, TRANSFER_ENCODING};
use http::{HeaderMap, Method};
use sha2::{Digest, Sha256};

use super::super::key::{ContentMethod, Unread};
use crate::headers::content_length::content_length;

/// Returns the method of a request whose content may become a part of its key.
pub(super) fn content_method(method: &Method, reads_post: bool) -> Option<ContentMethod> {
    // The comparison of an enum first: nearly all requests are GET.
    if *method == Method::GET {
        return None;
    }
    if *method == Method::POST {
        return reads_post.then_some(ContentMethod::Post);
    }
    // Methods are case-sensitive (RFC 9110 §9.1).
    (method.as_str() == ContentMethod::Query.as_str()).then_some(ContentMethod::Query)
}

/// Returns the length that a request declares.
///
/// # Errors
///
/// If the content is larger than `max` bytes, or cannot be the whole content of one request. `lower` is
/// the least length that the body states.
pub(super) fn declared_length(
    headers: &HeaderMap,
    lower: u64,
    max: u64,
) -> Result<Option<u64>, Unread> {
    // RFC 9112 §6.1: a message with both may be an attempt of smuggling. A part of a content (RFC 9110
    // §14.4) is no query.
    let ambiguous = headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH);
    if ambiguous || headers.contains_key(CONTENT_RANGE) {
        return Err(Unread::Malformed);
    }
    let declared = content_length(headers).map_err(|_| Unread::Malformed)?;
    if declared.unwrap_or(0).max(lower) > max { Err(Unread::TooLarge) } else { Ok(declared) }
}

/// Returns the SHA-256 of a content and of the headers that describe it (RFC 10008 §2.7).
///
/// These are the headers whose name starts with `content-`, byte for byte: all representation metadata
/// of RFC 9110 §8 and, as a precaution, what later standards add. The length is that of the content.
/// Nothing is normalized, since the service may see a difference that the cache does not.
pub(super) fn digest(headers: &HeaderMap, content: &[u8]) -> [u8; 32] {
    let describes = |name: &&str| name.starts_with("content-") && *name != CONTENT_LENGTH.as_str();
    let mut names: Vec<_> = headers.keys().map(|name| name.as_str()).filter(describes).collect();
    // A map has no order of its own.
    names.sort_unstable();
    let mut hasher = Sha256::new();
    hasher.update(FORMAT);
    for name in names {
        for value in headers.get_all(name) {
            part(&mut hasher, name.as_bytes());
            part(&mut hasher, value.as_bytes());
        }
    }
    // No header has an empty name.
    part(&mut hasher, b"");
    part(&mut hasher, content);
    hasher.finalize().into()
}

/// Hashes a part with its length, so that no two sequences of parts have the same bytes.
fn part(hasher: &mut Sha256, bytes: &[u8]) {
    hasher.update((bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

/// The format of what is hashed. Processes of several versions may share a store.
const FORMAT: &[u8] = b"tower-kit content 1\n";

#[cfg(test)]
mod tests;
