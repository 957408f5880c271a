//! Confirmations: a 304 for a stored response (RFC 9111 §4.3.4).

use std::collections::HashSet;

use http::header::{
    AGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, LAST_MODIFIED, VARY,
};
use http::{HeaderMap, HeaderValue};

use super::super::entry::{Freshness, StoredResponse};
use super::conditional::{has_validator, opaque_tag};
use super::date::date_value;
use super::freshness::initial_age;
use super::request::RequestPolicy;
use super::response::{NotStorable, ResponseInfo, Storable, is_hop_by_hop, strip_tags};
use super::rules::Rules;
use super::storable::storable;

/// The outcome of a validation with a 304.
#[derive(Debug)]
pub(crate) struct Confirmed {
    /// The response for the client that asked: the stored one with the headers of the 304.
    pub(crate) response: StoredResponse,
    /// The response to store in its place.
    pub(crate) kept: Result<Box<StoredResponse>, NotStorable>,
}

/// Applies a 304 to a stored response (RFC 9111 §3.2, §4.3.4).
pub(crate) fn confirm(
    rules: &Rules,
    request: &RequestPolicy,
    stored: &StoredResponse,
    response: &ResponseInfo<'_>,
) -> Confirmed {
    if is_other(&stored.headers, response.headers) {
        return Confirmed { response: stored.clone(), kept: Err(NotStorable::Validator) };
    }
    let mut headers = updated(&stored.headers, response);
    let response = ResponseInfo { status: stored.status, headers: &headers, ..*response };
    let kept = storable(rules, request, &response).map(|new| Box::new(replacing(*new, stored)));
    // Headers that `no-cache` and `private` name are for this client, though they are not stored.
    let freshness =
        Freshness { received: response.clock, age: initial_age(&response), ..stored.freshness };
    strip_tags(rules, &mut headers);
    Confirmed { response: StoredResponse { headers, freshness, ..stored.clone() }, kept }
}

/// Returns the response that a 304 makes of a stored one.
fn replacing(new: Storable, stored: &StoredResponse) -> StoredResponse {
    let Storable { mut headers, freshness, mut variant, mut tags, links } = new;
    // The tags of a hint are not known from those of headers. Purging too much does no harm.
    let old: Vec<_> = stored.tags.iter().filter(|tag| !tags.contains(tag)).cloned().collect();
    tags.extend(old);
    if stored.headers.contains_key(CONTENT_LENGTH) {
        // Not the stored value, which may be a slice of the buffer of a store.
        headers.insert(CONTENT_LENGTH, HeaderValue::from(stored.body.len()));
    }
    // The entry still answers what it answered, unless the service varies by more now.
    if variant.varies_like(&stored.variant) {
        variant.clone_from(&stored.variant);
    }
    // The body is made of the values that its own handler has read.
    let links = stored.links.and(&links);
    StoredResponse { headers, freshness, variant, tags, links, ..stored.clone() }
}

/// Returns the headers of a stored response with those of a 304 (§3.2).
fn updated(stored: &HeaderMap, response: &ResponseInfo<'_>) -> HeaderMap {
    let mut headers = stored.clone();
    headers.remove(AGE);
    headers.insert(DATE, date_value(response.received));
    let mut news = response.headers.clone();
    let hop_by_hop = news.keys().filter(|name| is_hop_by_hop(response.headers, name)).cloned();
    for name in hop_by_hop.collect::<Vec<_>>() {
        news.remove(name);
    }
    for name in [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_RANGE] {
        news.remove(name);
    }
    // A weak tag stays: the stored bytes may differ from those that the strong one names.
    if headers.get(ETAG).is_some_and(|tag| tag.as_bytes().starts_with(b"W/")) {
        news.remove(ETAG);
    }
    // `vary` is added to, not replaced: a layer may name a header in a 200, and not in a 304.
    let varies: HashSet<_> = headers.get_all(VARY).iter().cloned().collect();
    for name in news.keys().filter(|name| *name != VARY) {
        headers.remove(name);
    }
    for (name, value) in &news {
        if *name != VARY || !varies.contains(value) {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

/// Returns `true` if a 304 is about another response than the stored one: it has validators, and they
/// are not those of the stored one (§4.3.4). Tags are compared weakly: an inner layer that encodes
/// bodies weakens the tag of a 200, and not that of a 304. A 304 without validators can only be about
/// the one response that the service was asked about.
fn is_other(stored: &HeaderMap, confirming: &HeaderMap) -> bool {
    let differs = |name, same: fn(&[u8]) -> &[u8]| {
        let (old, new) = (stored.get(&name)?, confirming.get(&name)?);
        Some(same(old.as_bytes()) != same(new.as_bytes()))
    };
    // The tag decides where both have one, as in a request.
    let differs = differs(ETAG, opaque_tag).or_else(|| differs(LAST_MODIFIED, |date| date));
    differs.unwrap_or_else(|| has_validator(confirming))
}

#[cfg(test)]
mod tests;
