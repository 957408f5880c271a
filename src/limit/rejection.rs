use std::fmt;

use bytes::Bytes;
use http::header::ACCEPT_ENCODING;
use http::{Response, StatusCode};

use super::body_status::BodyFailure;
use super::decompress::accept_encoding;
use crate::error_response::{ErrorFormat, Format};

/// A request that [`LimitLayer`](super::LimitLayer) rejected, as the callback of
/// [`LimitLayer::response`](super::LimitLayer::response) sees it.
///
/// Its `Display` is the sentence that the response contains, such as "The request body is larger
/// than 10240 bytes."
#[derive(Clone, Debug)]
pub struct LimitRejection {
    reason: Reason,
    limit: Option<u64>,
    format: ErrorFormat,
}

/// The reason of a [`LimitRejection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The body is larger than the limit of its media type (413).
    BodyTooLarge,
    /// The request URI is longer than its limit (414).
    UriTooLong,
    /// The headers are larger than their limit in bytes (431).
    HeadersTooLarge,
    /// The request has more headers than their limit (431).
    TooManyHeaders,
    /// The `content-length` is not a number, or several values differ (400, RFC 9110 §8.6).
    InvalidContentLength,
    /// The `content-encoding` names a coding that the layer does not decompress, or more than two
    /// codings (415).
    UnsupportedEncoding,
    /// The body is not valid in its `content-encoding` (400).
    MalformedEncoding,
    /// The body arrives below the minimum data rate (408).
    BodyTooSlow,
}

impl LimitRejection {
    pub(super) fn new(reason: Reason, limit: Option<u64>, format: ErrorFormat) -> Self {
        Self { reason, limit, format }
    }

    /// Returns the reason of the rejection.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Returns the status of the response.
    ///
    /// The response to a gRPC call has status 200 instead, with a `grpc-status` header.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.reason {
            Reason::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Reason::UriTooLong => StatusCode::URI_TOO_LONG,
            Reason::HeadersTooLarge | Reason::TooManyHeaders => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Reason::InvalidContentLength | Reason::MalformedEncoding => StatusCode::BAD_REQUEST,
            Reason::UnsupportedEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Reason::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// Returns the exceeded limit: in bytes, or in headers for [`Reason::TooManyHeaders`].
    ///
    /// Returns `None` for reasons without a limit, such as [`Reason::InvalidContentLength`].
    #[must_use]
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Returns the response that the layer sends by default.
    ///
    /// Its body is one line of text or an `application/problem+json` document (RFC 9457), with
    /// `content-type` and `vary: accept`. A 415 response lists the supported codings in
    /// `accept-encoding` (RFC 9110 §12.5.3).
    ///
    /// The response to a gRPC call (a POST over HTTP/2 of `application/grpc` or
    /// `application/grpc+...`) is a
    /// [Trailers-Only](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses) one:
    /// status 200, no body, `grpc-message`, and a `grpc-status` that stands for the status:
    ///
    /// | status | `grpc-status` |
    /// |---|---|
    /// | 413, 414, 431 | 8 (`RESOURCE_EXHAUSTED`) |
    /// | 400 | 13 (`INTERNAL`) |
    /// | 415 | 12 (`UNIMPLEMENTED`) |
    /// | 408 | 4 (`DEADLINE_EXCEEDED`) |
    ///
    /// gRPC-Web calls get an ordinary response.
    #[must_use]
    pub fn to_response(&self) -> Response<Bytes> {
        // RFC 9110's phrases, as RFC 9457 §4.2.1 recommends. `canonical_reason` has older ones.
        let title = match self.reason {
            Reason::BodyTooLarge => "Content Too Large",
            Reason::UriTooLong => "URI Too Long",
            Reason::HeadersTooLarge | Reason::TooManyHeaders => "Request Header Fields Too Large",
            Reason::InvalidContentLength | Reason::MalformedEncoding => "Bad Request",
            Reason::UnsupportedEncoding => "Unsupported Media Type",
            Reason::BodyTooSlow => "Request Timeout",
        };
        let limit = self.limit.map_or_else(String::new, |limit| format!(r#","limit":{limit}"#));
        let mut response = self.format.write(self.status(), title, self, &limit);
        if self.reason == Reason::UnsupportedEncoding {
            response.headers_mut().insert(ACCEPT_ENCODING, accept_encoding());
        }
        response
    }

    /// Replaces the reason by the failure of the body.
    pub(super) fn set_failure(&mut self, failure: BodyFailure) {
        self.reason = match failure {
            BodyFailure::TooLarge => Reason::BodyTooLarge,
            BodyFailure::Malformed => Reason::MalformedEncoding,
            BodyFailure::TooSlow => Reason::BodyTooSlow,
        };
        if failure != BodyFailure::TooLarge {
            self.limit = None;
        }
    }

    /// Sets the format of the response, unless the request determines one.
    pub(super) fn set_default_format(&mut self, format: Format) {
        self.format.or(format);
    }

    /// Leaves `connection: close` out, because the body is at its end or will be drained.
    pub(super) fn keep_alive(&mut self) {
        self.format.keep_alive();
    }

    /// Adjusts a response of the layer to the request: closes the connection where necessary, and
    /// removes the body of a response to HEAD.
    pub(super) fn finish(&self, response: Response<Bytes>) -> Response<Bytes> {
        self.format.finish(response)
    }

    /// Adds `connection: close` to any response, where necessary.
    pub(super) fn close<B>(&self, response: Response<B>) -> Response<B> {
        self.format.close(response)
    }
}

impl Reason {
    pub(super) const ALL: [Self; 8] = [
        Self::BodyTooLarge,
        Self::UriTooLong,
        Self::HeadersTooLarge,
        Self::TooManyHeaders,
        Self::InvalidContentLength,
        Self::UnsupportedEncoding,
        Self::MalformedEncoding,
        Self::BodyTooSlow,
    ];

    /// Returns the value of the metric's label `reason`, such as `body_too_large`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BodyTooLarge => "body_too_large",
            Self::UriTooLong => "uri_too_long",
            Self::HeadersTooLarge => "headers_too_large",
            Self::TooManyHeaders => "too_many_headers",
            Self::InvalidContentLength => "invalid_content_length",
            Self::UnsupportedEncoding => "unsupported_encoding",
            Self::MalformedEncoding => "malformed_encoding",
            Self::BodyTooSlow => "body_too_slow",
        }
    }
}

impl fmt::Display for LimitRejection {
    // No part of the request is quoted: the text goes into JSON and `grpc-message` unescaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = self.limit.unwrap_or_default();
        match self.reason {
            Reason::BodyTooLarge => write!(f, "The request body is larger than {limit} bytes."),
            Reason::UriTooLong => write!(f, "The request URI is longer than {limit} bytes."),
            Reason::HeadersTooLarge => {
                write!(f, "The request headers are larger than {limit} bytes.")
            }
            Reason::TooManyHeaders => write!(f, "The request has more than {limit} headers."),
            Reason::InvalidContentLength => f.write_str("The content-length is not valid."),
            Reason::UnsupportedEncoding => {
                f.write_str("The content-encoding of the request is not supported.")
            }
            Reason::MalformedEncoding => {
                f.write_str("The request body is not valid in its content-encoding.")
            }
            Reason::BodyTooSlow => {
                f.write_str("The request body arrives below the minimum data rate.")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_details_are_valid_json() {
        let rejection = |reason, limit| LimitRejection::new(reason, limit, ErrorFormat::json());
        for (rejection, expected) in [
            (
                rejection(Reason::BodyTooLarge, Some(7)),
                serde_json::json!({
                    "type": "about:blank", "title": "Content Too Large", "status": 413,
                    "detail": "The request body is larger than 7 bytes.", "limit": 7,
                }),
            ),
            (
                rejection(Reason::InvalidContentLength, None),
                serde_json::json!({
                    "type": "about:blank", "title": "Bad Request", "status": 400,
                    "detail": "The content-length is not valid.",
                }),
            ),
        ] {
            let body = rejection.to_response().into_body();
            assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap(), expected);
        }
    }
}
