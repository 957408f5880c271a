use std::borrow::Cow;
use std::cmp::Ordering;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode, Version};
use http_body::SizeHint;

use super::methods::MethodId;

/// The template of a request's route, such as `/items/{id}`: put it into the extensions of the
/// request (outside of the layer) or of the response (inside of it).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route(Cow<'static, str>);

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    Ok,
    ServiceError,
    Timeout,
    BodyError,
    Disconnect,
    Cancelled,
    Panic,
}

/// What follows the head of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyKind {
    /// Nothing: the body, if there is one, will not be sent.
    Empty,
    /// Nothing, although the head declares a length.
    Missing,
    /// Another protocol.
    Upgrade,
    /// A response that lasts as long as its client likes, of this kind.
    Stream(StreamKind),
    /// A body, which is complete after so many bytes; [`UNDECLARED`] where the head does not say.
    Body { declared: u64 },
}

/// A kind of stream: its place in the list of kinds, from 1 on; 0 for what is no stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreamKind(pub(super) u8);

/// The status of a gRPC call, as a label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum GrpcStatus {
    /// The response is not gRPC, or it has not come to its end.
    #[default]
    Absent,
    /// The response is gRPC and is complete without a status.
    Missing,
    /// A number that is not a code.
    Unknown,
    Code(u8),
}

impl Route {
    /// The route with this template.
    pub fn new(template: impl Into<Cow<'static, str>>) -> Self {
        Self(template.into())
    }

    /// The template.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Outcome {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ServiceError => "service_error",
            Self::Timeout => "timeout",
            Self::BodyError => "body_error",
            Self::Disconnect => "disconnect",
            Self::Cancelled => "cancelled",
            Self::Panic => "panic",
        }
    }
}

impl StreamKind {
    pub(super) const NONE: Self = Self(0);
    pub(super) const EVENT_STREAM: Self = Self(1);
    pub(super) const UPGRADE: Self = Self(2);
}

/// How much of a body was sent, compared with the declared length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// No length is declared.
    Open,
    Short,
    Exact,
    Long,
}

impl Progress {
    #[inline]
    pub(super) fn of(sent: u64, declared: u64) -> Self {
        match sent.cmp(&declared) {
            _ if declared == UNDECLARED => Self::Open,
            Ordering::Less => Self::Short,
            Ordering::Equal => Self::Exact,
            Ordering::Greater => Self::Long,
        }
    }
}

impl GrpcStatus {
    /// Reads the status of the headers or trailers of a response that is gRPC.
    pub(super) fn of(fields: &HeaderMap) -> Option<Self> {
        let text = fields.get("grpc-status")?.to_str().ok()?;
        Some(match text.parse() {
            Ok(code @ 0..=LAST_GRPC_CODE) => Self::Code(code),
            _ => Self::Unknown,
        })
    }

    /// Returns the status of a response that is complete.
    pub(super) fn or_missing(self) -> Self {
        if self == Self::Absent { Self::Missing } else { self }
    }

    pub(super) fn packed(self) -> u8 {
        match self {
            Self::Absent => 0,
            Self::Missing => 1,
            Self::Unknown => 2,
            Self::Code(code) => 3 + code,
        }
    }

    pub(super) fn label(self) -> Option<Cow<'static, str>> {
        match self {
            Self::Absent => None,
            Self::Missing => Some("missing".into()),
            Self::Unknown => Some("other".into()),
            Self::Code(code) => Some(code.to_string().into()),
        }
    }
}

/// Returns what follows the head of a response (RFC 9110 §6.4.1, §9.3.6). `ended` is whether the
/// body says that it is at its end, and `length` the length that it states.
#[inline]
pub(super) fn body_kind(
    method: MethodId,
    status: StatusCode,
    headers: &HeaderMap,
    ended: bool,
    length: &SizeHint,
) -> BodyKind {
    let connected = method == MethodId::CONNECT && status.is_success();
    if status == StatusCode::SWITCHING_PROTOCOLS || connected {
        return BodyKind::Upgrade;
    }
    let bodiless = method == MethodId::HEAD
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED;
    if bodiless {
        return BodyKind::Empty;
    }
    match declared_length(headers, length) {
        Some(1..) if ended => BodyKind::Missing,
        _ if ended => BodyKind::Empty,
        Some(0) if length.lower() == 0 => BodyKind::Empty,
        Some(declared) => BodyKind::Body { declared },
        // Clients reconnect after no other status, and see what came as an error (WHATWG HTML
        // §9.2.3). What declares its length has an end, and is no stream either.
        None if status == StatusCode::OK && has_type(headers, b"text/event-stream") => {
            BodyKind::Stream(StreamKind::EVENT_STREAM)
        }
        None => BodyKind::Body { declared: UNDECLARED },
    }
}

/// Returns the length that the head declares, or else the exact one that the body states, which
/// servers then declare.
pub(super) fn declared_length(headers: &HeaderMap, length: &SizeHint) -> Option<u64> {
    content_length(headers).or_else(|| length.exact())
}

/// Reads the header `content-length`, which is of digits alone (RFC 9110 §8.6).
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    // To hash the name costs as much as to compare it with half a dozen others.
    let value = if headers.len() <= 6 {
        headers.iter().find(|(name, _)| **name == CONTENT_LENGTH).map(|(_, value)| value)
    } else {
        headers.get(CONTENT_LENGTH)
    };
    let value = value?.as_bytes();
    // So few digits do not overflow.
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    let mut length = 0;
    for byte in value {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        length = length * 10 + u64::from(digit);
    }
    Some(length)
}

/// Returns `true` if the response belongs to a gRPC call. Calls of gRPC are POST, which spares
/// all other requests the look.
pub(super) fn is_grpc(method: MethodId, headers: &HeaderMap) -> bool {
    method == MethodId::POST
        && essence(headers).is_some_and(|essence| {
            let rest = strip_prefix(essence, b"application/grpc");
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+"))
        })
}

/// Returns `true` if a body on this version of HTTP is polled up to its end, although its
/// declared length was reached: HTTP/1 servers drop it there.
pub(super) fn is_polled_to_its_end(version: Version) -> bool {
    version >= Version::HTTP_2
}

fn has_type(headers: &HeaderMap, expected: &[u8]) -> bool {
    essence(headers).is_some_and(|essence| essence.eq_ignore_ascii_case(expected))
}

fn essence(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(CONTENT_TYPE)?.as_bytes();
    value.split(|&byte| byte == b';').next().map(<[u8]>::trim_ascii)
}

fn strip_prefix<'a>(value: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = value.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// The declared length of a body that declares none.
pub(super) const UNDECLARED: u64 = u64::MAX;

/// `UNAUTHENTICATED`, the last of the codes of gRPC.
const LAST_GRPC_CODE: u8 = 16;

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method};

    use super::*;
    use crate::latency::methods::Methods;

    #[test]
    fn head_tells_what_follows() {
        let body = BodyKind::Body { declared: UNDECLARED };
        let declared = |declared| BodyKind::Body { declared };
        let events = BodyKind::Stream(StreamKind::EVENT_STREAM);
        let (empty, missing, upgrade) = (BodyKind::Empty, BodyKind::Missing, BodyKind::Upgrade);
        let length = |value| Some(("content-length", value));
        let of_type = |value| Some(("content-type", value));
        // Method, status, one field, whether the body says that it is at its end, its exact
        // length, and what follows (RFC 9110 §6.4.1, §9.3.2, §9.3.6, §15.2.2).
        type Row = (Method, u16, Option<(&'static str, &'static str)>, bool, Option<u64>, BodyKind);
        let table: &[Row] = &[
            (Method::GET, 200, None, false, None, body),
            (Method::GET, 200, None, false, Some(5), declared(5)),
            (Method::GET, 200, length("7"), false, None, declared(7)),
            (Method::GET, 200, length("7"), false, Some(5), declared(7)),
            (Method::GET, 200, length("7"), true, None, missing),
            (Method::GET, 200, length("7"), true, Some(0), missing),
            (Method::GET, 200, length("0"), true, Some(0), empty),
            (Method::GET, 200, length("0"), false, Some(5), declared(0)),
            (Method::GET, 200, length("0"), false, None, empty),
            (Method::GET, 200, length("junk"), false, Some(5), declared(5)),
            (Method::GET, 200, None, false, Some(0), empty),
            (Method::GET, 200, None, true, None, empty),
            (Method::HEAD, 200, length("7"), false, Some(7), empty),
            (Method::HEAD, 200, length("7"), true, Some(0), empty),
            (Method::GET, 204, None, false, None, empty),
            (Method::GET, 204, length("7"), true, None, empty),
            (Method::GET, 304, length("7"), false, None, empty),
            (Method::GET, 304, length("7"), true, Some(0), empty),
            (Method::GET, 103, None, false, None, empty),
            (Method::GET, 101, None, false, None, upgrade),
            (Method::CONNECT, 200, None, false, None, upgrade),
            (Method::CONNECT, 502, None, false, None, body),
            (Method::GET, 200, of_type("Text/Event-Stream; charset=utf-8"), false, None, events),
            (Method::GET, 200, of_type("text/event-stream"), false, Some(9), declared(9)),
            (Method::GET, 201, of_type("text/event-stream"), false, None, body),
            (Method::GET, 429, of_type("text/event-stream"), false, None, body),
            (Method::GET, 503, of_type("text/event-stream"), false, None, body),
            (Method::HEAD, 200, of_type("text/event-stream"), false, None, empty),
            (Method::GET, 200, of_type("text/event-streams"), false, None, body),
        ];
        let methods = Methods::default();
        for (method, status, field, ended, length, expected) in table {
            let mut headers = HeaderMap::new();
            if let Some((name, value)) = field {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            let found = body_kind(
                methods.id(method),
                StatusCode::from_u16(*status).unwrap(),
                &headers,
                *ended,
                &length.map_or_else(SizeHint::new, SizeHint::with_exact),
            );
            assert_eq!(found, *expected, "{method} {status} {field:?} {ended} {length:?}");
        }
    }

    #[test]
    fn grpc_is_known_by_its_media_type() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/gRPC ; a=b", true),
            ("application/grpc-web", false),
            ("application/json", false),
            ("", false),
        ] {
            let headers = [(CONTENT_TYPE, HeaderValue::from_static(value))].into_iter().collect();
            assert_eq!(is_grpc(MethodId::POST, &headers), expected, "{value}");
            assert!(!is_grpc(MethodId::HEAD, &headers));
        }
    }

    #[test]
    fn grpc_status_is_one_of_its_codes() {
        let of = |value| {
            let fields = [("grpc-status", value)].map(|(name, value)| {
                (http::HeaderName::from_static(name), HeaderValue::from_static(value))
            });
            GrpcStatus::of(&fields.into_iter().collect()).and_then(GrpcStatus::label)
        };
        assert_eq!(of("0").unwrap(), "0");
        assert_eq!(of("16").unwrap(), "16");
        for other in ["17", "-1", "999", "OK", ""] {
            assert_eq!(of(other).unwrap(), "other", "{other}");
        }
        assert_eq!(GrpcStatus::of(&HeaderMap::new()), None);
    }
}
