use std::fmt;

use bytes::Bytes;
use http::header::ACCEPT_ENCODING;
use http::{Response, StatusCode};

use super::coding;
use super::failure::Failure;
use super::policy::Head;
use crate::error_response::ErrorFormat;

/// A request that the layer refused, and why.
#[derive(Clone, Debug)]
pub struct Refusal {
    reason: Reason,
    limit: Option<u64>,
    pub(super) format: ErrorFormat,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The body is larger than its media type's limit: 413.
    BodyTooLarge,
    /// The target is longer than its limit: 414.
    TargetTooLong,
    /// The header section is larger than its limit: 431.
    HeadersTooLarge,
    /// There are more header fields than their limit: 431.
    TooManyHeaders,
    /// `content-length` is not a number, or several of them differ: 400.
    InvalidContentLength,
    /// `content-encoding` names a coding that the layer does not decompress, or more than two of
    /// them: 415.
    UnsupportedEncoding,
    /// The body is not valid in the coding that `content-encoding` names: 400.
    MalformedEncoding,
    /// The body arrives at less than the minimum data rate: 408.
    TooSlow,
}

impl Refusal {
    pub(super) fn new(reason: Reason, limit: Option<u64>, head: &Head<'_>) -> Self {
        Self {
            reason,
            limit,
            format: ErrorFormat::of(head.method, head.version, head.headers, head.no_body),
        }
    }

    /// Takes the reason from how the body has failed.
    pub(super) fn failed(&mut self, failure: Failure) {
        self.reason = match failure {
            Failure::TooLarge => Reason::BodyTooLarge,
            Failure::Malformed => Reason::MalformedEncoding,
            Failure::TooSlow => Reason::TooSlow,
        };
        if failure != Failure::TooLarge {
            self.limit = None;
        }
    }

    /// Why the request was refused.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The status of the response. To gRPC it is 200 instead, and `grpc-status` says the rest.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.reason {
            Reason::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Reason::TargetTooLong => StatusCode::URI_TOO_LONG,
            Reason::HeadersTooLarge | Reason::TooManyHeaders => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Reason::InvalidContentLength | Reason::MalformedEncoding => StatusCode::BAD_REQUEST,
            Reason::UnsupportedEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Reason::TooSlow => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// The limit that was crossed, in bytes (or fields, for [`Reason::TooManyHeaders`]); `None` for
    /// the reasons that have none.
    #[must_use]
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// The layer's own response: status, `content-type`, `vary: accept`, and a body of one line; to
    /// gRPC 200, `grpc-status` and `grpc-message`. With 415, `accept-encoding` names the codings that
    /// the layer decompresses (RFC 9110 §12.5.3).
    #[must_use]
    pub fn to_response(&self) -> Response<Bytes> {
        let title = match self.reason {
            Reason::BodyTooLarge => "Content Too Large",
            Reason::TargetTooLong => "URI Too Long",
            Reason::HeadersTooLarge | Reason::TooManyHeaders => "Request Header Fields Too Large",
            Reason::InvalidContentLength | Reason::MalformedEncoding => "Bad Request",
            Reason::UnsupportedEncoding => "Unsupported Media Type",
            Reason::TooSlow => "Request Timeout",
        };
        let limit = self.limit.map_or_else(String::new, |limit| format!(r#","limit":{limit}"#));
        let mut response = self.format.write(self.status(), title, self, &limit);
        if self.reason == Reason::UnsupportedEncoding {
            response.headers_mut().insert(ACCEPT_ENCODING, coding::accept_encoding());
        }
        response
    }

    /// What any response of the layer's to the request must be, whoever made it.
    pub(super) fn finish(&self, response: Response<Bytes>) -> Response<Bytes> {
        self.format.finish(response)
    }

    /// What any response at all must be.
    pub(super) fn close<B>(&self, response: Response<B>) -> Response<B> {
        self.format.close(response)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = self.limit.unwrap_or_default();
        match self.reason {
            Reason::BodyTooLarge => write!(f, "The request body is larger than {limit} bytes."),
            Reason::TargetTooLong => write!(f, "The request target is longer than {limit} bytes."),
            Reason::HeadersTooLarge => {
                write!(f, "The request header section is larger than {limit} bytes.")
            }
            Reason::TooManyHeaders => {
                write!(f, "The request has more than {limit} header fields.")
            }
            Reason::InvalidContentLength => f.write_str("The content-length is not valid."),
            Reason::UnsupportedEncoding => {
                f.write_str("The content-encoding of the request is not supported.")
            }
            Reason::MalformedEncoding => {
                f.write_str("The request body is not valid in its content-encoding.")
            }
            Reason::TooSlow => f.write_str("The request body arrives too slowly."),
        }
    }
}

impl Reason {
    /// Every reason.
    pub(super) const ALL: [Self; 8] = [
        Self::BodyTooLarge,
        Self::TargetTooLong,
        Self::HeadersTooLarge,
        Self::TooManyHeaders,
        Self::InvalidContentLength,
        Self::UnsupportedEncoding,
        Self::MalformedEncoding,
        Self::TooSlow,
    ];

    /// The value of the label `reason`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BodyTooLarge => "body_too_large",
            Self::TargetTooLong => "target_too_long",
            Self::HeadersTooLarge => "headers_too_large",
            Self::TooManyHeaders => "too_many_headers",
            Self::InvalidContentLength => "invalid_content_length",
            Self::UnsupportedEncoding => "unsupported_encoding",
            Self::MalformedEncoding => "malformed_encoding",
            Self::TooSlow => "body_too_slow",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_json() {
        let refusal = |reason, limit| Refusal { reason, limit, format: ErrorFormat::json() };
        for (refusal, expected) in [
            (
                refusal(Reason::BodyTooLarge, Some(7)),
                serde_json::json!({
                    "type": "about:blank", "title": "Content Too Large", "status": 413,
                    "detail": "The request body is larger than 7 bytes.", "limit": 7,
                }),
            ),
            (
                refusal(Reason::InvalidContentLength, None),
                serde_json::json!({
                    "type": "about:blank", "title": "Bad Request", "status": 400,
                    "detail": "The content-length is not valid.",
                }),
            ),
        ] {
            let body = refusal.to_response().into_body();
            assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap(), expected);
        }
    }
}
