//! Media types of `content-type` (RFC 9110 §8.3).

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::token::split_token;

/// The `type/subtype` of a header value, without its parameters. Both are tokens, and so ASCII.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Essence<'a> {
    pub(crate) whole: &'a [u8],
    pub(crate) class: &'a [u8],
    pub(crate) subtype: &'a [u8],
}

impl<'a> Essence<'a> {
    /// Returns `true` for gRPC over HTTP/2: `application/grpc`, which may name the format of its
    /// messages (`+proto`). gRPC-Web is another protocol.
    pub(crate) fn is_grpc(&self) -> bool {
        let is_format = |subtype: &[u8]| matches!(subtype.get(4), None | Some(b'+'));
        starts_with(self.subtype, b"grpc")
            && is_format(self.subtype)
            && self.class.eq_ignore_ascii_case(b"application")
    }

    /// Returns `true` for gRPC-Web (`application/grpc-web`, `application/grpc-web-text`).
    pub(crate) fn is_grpc_web(&self) -> bool {
        starts_with(self.subtype, b"grpc-web") && self.class.eq_ignore_ascii_case(b"application")
    }

    /// Returns `true` for an event stream, `text/event-stream` (WHATWG HTML §9.2).
    pub(crate) fn is_event_stream(&self) -> bool {
        self.whole.eq_ignore_ascii_case(b"text/event-stream")
    }

    /// Returns the suffix of the subtype: `json` of `application/problem+json` (RFC 6838 §4.2.8).
    pub(crate) fn suffix(&self) -> Option<&'a [u8]> {
        let plus = self.subtype.iter().rposition(|&byte| byte == b'+')?;
        Some(&self.subtype[plus + 1..])
    }
}

/// Returns the media type of the first `content-type` of a head.
pub(crate) fn content_type(headers: &HeaderMap) -> Option<Essence<'_>> {
    essence(headers.get(CONTENT_TYPE)?.as_bytes())
}

/// Returns `true` for the `content-type` of an event stream or of gRPC, whose bodies have no end to wait
/// for.
pub(crate) fn is_stream(value: &[u8]) -> bool {
    let start = value.trim_ascii_start();
    // Most responses are neither, and to see that costs less than to parse the media type.
    let may_be =
        starts_with(start, b"text/event-stream") || starts_with(start, b"application/grpc");
    may_be
        && essence(value).is_some_and(|essence| {
            essence.is_event_stream() || essence.is_grpc() || essence.is_grpc_web()
        })
}

/// Returns the media type of a header value, or `None` if the value is malformed.
pub(crate) fn essence(value: &[u8]) -> Option<Essence<'_>> {
    let value = value.trim_ascii_start();
    let (class, rest) = split_token(value)?;
    let (subtype, rest) = split_token(rest.strip_prefix(b"/")?)?;
    let whole = &value[..value.len() - rest.len()];
    let ends = matches!(rest.trim_ascii_start(), [] | [b';', ..]);
    ends.then_some(Essence { whole, class, subtype })
}

fn starts_with(text: &[u8], start: &[u8]) -> bool {
    text.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start))
}

#[cfg(test)]
mod tests;
