use std::borrow::Cow;
use std::cmp::Ordering;

use http::{HeaderMap, StatusCode, Version};
use http_body::SizeHint;

use super::methods::MethodId;
use crate::headers::content_length::content_length;
use crate::headers::media_type;

/// The way a request ended, as the value of the label `outcome`.
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

/// The content that follows the headers of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyKind {
    /// No content: the server sends no byte of the body, if there is one.
    Empty,
    /// No content, although the headers declare a length above 0.
    Missing,
    /// Another protocol.
    Upgrade,
    /// A stream, which lasts as long as its client stays connected.
    Stream(StreamKind),
    /// A body that is complete after `declared` bytes, or at its end if this is [`UNDECLARED`].
    Body { declared: u64 },
}

/// The kind of a stream: its index in the list of kinds plus one, or 0 for a plain response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreamKind(pub(super) u8);

/// The status of a gRPC call, as the value of the label `grpc_status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum GrpcStatus {
    /// The response is not gRPC, or is not complete.
    #[default]
    Absent,
    /// The response is a complete gRPC response without a status.
    Missing,
    /// The status is not a code that gRPC defines.
    Unknown,
    Code(u8),
}

/// The bytes of a body that were sent, compared with its declared length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Undeclared,
    Short,
    Exact,
    Long,
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

impl Progress {
    #[inline]
    pub(super) fn of(sent: u64, declared: u64) -> Self {
        match sent.cmp(&declared) {
            _ if declared == UNDECLARED => Self::Undeclared,
            Ordering::Less => Self::Short,
            Ordering::Equal => Self::Exact,
            Ordering::Greater => Self::Long,
        }
    }
}

impl GrpcStatus {
    /// Parses the header or trailer `grpc-status` of a gRPC response.
    pub(super) fn parse(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get("grpc-status")?.to_str().ok()?;
        Some(match text.parse() {
            Ok(code @ 0..=LAST_GRPC_CODE) => Self::Code(code),
            _ => Self::Unknown,
        })
    }

    /// Returns the status, or `Missing` if a complete response has none.
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

/// Returns the content that follows the headers of a response (RFC 9110 §6.4.1, §9.3.6).
///
/// `ended` is the body's `is_end_stream`, and `length` its size hint.
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
        // A body with data under a declared length of 0 is polled, and ends as a body error.
        Some(0) if length.lower() == 0 => BodyKind::Empty,
        Some(declared) => BodyKind::Body { declared },
        // Clients treat an event stream with any other status as an error (WHATWG HTML §9.2.3),
        // and a body with a declared length ends by itself: both are plain responses.
        None if status == StatusCode::OK && is_event_stream(headers) => {
            BodyKind::Stream(StreamKind::EVENT_STREAM)
        }
        None => BodyKind::Body { declared: UNDECLARED },
    }
}

/// Returns the length that the headers of a response declare, or the exact size hint of the body,
/// which servers send as `content-length`.
fn declared_length(headers: &HeaderMap, length: &SizeHint) -> Option<u64> {
    content_length(headers).ok().flatten().or_else(|| length.exact())
}

/// Returns the size of a request body: the exact size hint, or the length that the headers declare.
pub(super) fn request_size(headers: &HeaderMap, length: &SizeHint) -> Option<u64> {
    length.exact().or_else(|| content_length(headers).ok().flatten())
}

/// Returns `true` if the response belongs to a gRPC call.
pub(super) fn is_grpc(method: MethodId, headers: &HeaderMap) -> bool {
    // All gRPC calls are POST, so no other request pays for the header lookup.
    method == MethodId::POST && media_type::content_type(headers).is_some_and(|it| it.is_grpc())
}

/// Returns `true` if servers poll a body of this HTTP version to its end even after its declared
/// length was reached. HTTP/1 servers drop the body at that point.
pub(super) fn is_polled_to_end(version: Version) -> bool {
    version >= Version::HTTP_2
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    media_type::content_type(headers).is_some_and(|it| it.is_event_stream())
}

/// The declared length of a body that declares none.
pub(super) const UNDECLARED: u64 = u64::MAX;

/// `UNAUTHENTICATED`, the highest status code of gRPC.
const LAST_GRPC_CODE: u8 = 16;

#[cfg(test)]
mod tests;
