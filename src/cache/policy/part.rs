//! Parts of a response: 206 (RFC 9110 §14.4 and §15.3.7, RFC 9111 §3.3).

use http::header::{CONTENT_RANGE, CONTENT_TYPE, IF_RANGE};
use http::{HeaderMap, StatusCode};

use super::super::entry::StoredResponse;
use super::super::hash::Hash64;
use super::conditional::{ByteRange, evaluate};
use super::content_range::{ContentRange, Representation};
use super::request::RequestPolicy;
use super::response::{ResponseInfo, Storable};
use super::rules::Rules;
use super::storable::storable;

/// The response to a request for a range, as it is stored.
#[derive(Debug)]
pub(crate) struct RangeFill {
    pub(crate) plan: Box<Storable>,
    /// 206, or 200 if all bytes are there.
    pub(crate) status: StatusCode,
    /// The length in bytes that `content-range` states.
    pub(crate) size: Option<u64>,
    /// The representation of a 206.
    pub(crate) representation: Option<Representation>,
}

/// Decides over the response to a request for a range. A 200 is whole: the service has ignored the
/// range. A 206 is stored only if it is the part that was asked for, with a strong validator, so that
/// clients know the parts of another representation (RFC 9110 §14.4, §15.3.7.2).
pub(crate) fn storable_range(
    rules: &Rules,
    request: &RequestPolicy,
    response: &ResponseInfo<'_>,
) -> Option<RangeFill> {
    if response.status == StatusCode::OK {
        let plan = storable(rules, request, response).ok()?;
        return Some(RangeFill { plan, status: StatusCode::OK, size: None, representation: None });
    }
    // §15.3.7.1: the response to `if-range` may lack the headers that the client has already.
    if response.status != StatusCode::PARTIAL_CONTENT || response.request.contains_key(IF_RANGE) {
        return None;
    }
    let range = ContentRange::of(response.headers)?;
    let is_asked = ByteRange::of(response.request).is_some_and(|asked| range.is_asked(asked));
    let is_short = response.size.is_some_and(|size| size != range.size());
    if !is_asked || is_short || is_multipart(response.headers) {
        return None;
    }
    let representation = Representation::new(response.headers, Some(response.received), range)?;
    let size = Some(range.size());
    // The part has the lifetime of the whole, which the service would have sent with a 200.
    let whole = ResponseInfo { status: StatusCode::OK, size, ..*response };
    let mut plan = storable(rules, request, &whole).ok()?;
    let status = if range.is_whole() {
        // RFC 9111 §3.4: nothing is missing.
        plan.headers.remove(CONTENT_RANGE);
        StatusCode::OK
    } else {
        StatusCode::PARTIAL_CONTENT
    };
    Some(RangeFill { plan, status, size, representation: Some(representation) })
}

/// Returns the slot of the part that a request asks for, among `slots` of its URL. Returns `None` for a
/// range that is ignored. Each process finds the same slot.
pub(crate) fn slot(request: &HeaderMap, slots: u64) -> Option<u64> {
    let ByteRange { first, last } = ByteRange::of(request)?;
    let mut hasher = Hash64::default();
    for number in [first, last] {
        hasher.part(&number.map_or_else(Vec::new, |number| number.to_be_bytes().to_vec()));
    }
    hasher.finish().checked_rem(slots)
}

/// Returns `true` if a stored part is what a request asks for, no more and no less.
pub(crate) fn is_part_asked(stored: &StoredResponse, request: &HeaderMap) -> bool {
    let Some(range) = ContentRange::of(&stored.headers) else { return false };
    range.is(&evaluate(StatusCode::OK, &stored.headers, range.total(), request, false))
}

fn is_multipart(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(|kind| kind.as_bytes().trim_ascii_start());
    let prefix =
        |kind: &[u8]| kind.get(..10).is_some_and(|of| of.eq_ignore_ascii_case(b"multipart/"));
    kind.is_some_and(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::test_headers::{TestHeaders, map};

    /// Returns the slot of a range among four.
    fn slot_of(lines: TestHeaders<'_>) -> Option<u64> {
        slot(&map(lines), 4)
    }

    #[test]
    fn a_range_has_one_slot_of_its_url() {
        let first = slot_of(&[("range", "bytes=0-3")]);
        assert_eq!(first, slot_of(&[("range", "Bytes = 0-3")]));
        // Processes of other versions find the same slot: a change moves all parts.
        let slots = ["bytes=0-3", "bytes=4-", "bytes=-4"].map(|of| slot_of(&[("range", of)]));
        assert_eq!(slots, [Some(0), Some(3), Some(3)]);
        for range in ["bytes=0-1,3-4", "bytes=3-0", "lines=0-3", "bytes=-", ""] {
            assert_eq!(slot_of(&[("range", range)]), None, "{range}");
        }
        assert_eq!(slot_of(&[]), None);
        assert_eq!(slot(&map(&[("range", "bytes=0-3")]), 0), None);
    }

    #[test]
    fn multipart_is_known_in_any_case() {
        for (kind, expected) in [
            ("multipart/byteranges; boundary=x", true),
            (" Multipart/mixed", true),
            ("multipart", false),
            ("text/plain", false),
        ] {
            assert_eq!(is_multipart(&map(&[("content-type", kind)])), expected, "{kind}");
        }
        assert!(!is_multipart(&HeaderMap::new()));
    }
}
