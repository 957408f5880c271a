//! Formats error responses that a layer sends in place of the inner service.

use std::fmt;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use metrics::{Label, Unit};

use crate::headers::list;
use crate::headers::media_type::{content_type, essence};
use crate::headers::qvalue::parse_qvalue;
use crate::metrics::{Metrics, Name};

/// The requirements of a request on any response that is sent before its body was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ErrorFormat {
    pub(crate) format: Format,
    /// A part of the body is unread, and the next request on the connection would begin with it.
    close: bool,
    /// A response to HEAD has no body (RFC 9110 §9.3.2).
    bodiless: bool,
}

/// The formats of an error response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    #[default]
    Text,
    /// Problem details (RFC 9457).
    ProblemJson,
    /// The status of a call in headers, and no body: "Trailers-Only" of gRPC over HTTP/2.
    Grpc,
}

impl ErrorFormat {
    /// Returns the format for a request. `no_body` is `true` if the request has no body, or if its
    /// body was read.
    pub(crate) fn of(
        method: &Method,
        version: Version,
        headers: &HeaderMap,
        no_body: bool,
    ) -> Self {
        Self {
            format: format_for(method, version, headers),
            close: !no_body && version <= Version::HTTP_11,
            bodiless: *method == Method::HEAD,
        }
    }

    /// Uses the layer's own format, if the request asks for none.
    pub(crate) fn or(&mut self, format: Format) {
        if self.format == Format::Text {
            self.format = format;
        }
    }

    /// Keeps the connection: the body has been read to its end, or will be.
    pub(crate) fn keep_alive(&mut self) {
        self.close = false;
    }

    /// Builds the response: a line of text, problem details with `title` and `members`, or the
    /// headers of gRPC.
    ///
    /// No part of it may come from the request, so that nothing has to be escaped, and `detail` has
    /// no `%`, which `grpc-message` would have to encode.
    pub(crate) fn write(
        self,
        status: StatusCode,
        title: &str,
        detail: impl fmt::Display,
        members: &str,
    ) -> Response<Bytes> {
        let (content_type, body) = match self.format {
            Format::Text => ("text/plain; charset=utf-8", format!("{detail}\n")),
            Format::ProblemJson => {
                let status = status.as_u16();
                let problem = format!(
                    r#"{{"type":"about:blank","title":"{title}","status":{status},"detail":"{detail}"{members}}}"#
                );
                ("application/problem+json", problem)
            }
            Format::Grpc => return trailers_only(status, detail),
        };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
        response
    }

    /// Makes a response of the layer valid for the request, whoever built the response.
    pub(crate) fn finish(self, response: Response<Bytes>) -> Response<Bytes> {
        let mut response = self.close(response);
        if self.bodiless {
            response.body_mut().clear();
        }
        response
    }

    /// Sends `connection: close` if the body was not read.
    pub(crate) fn close<B>(self, mut response: Response<B>) -> Response<B> {
        if self.close {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    #[cfg(test)]
    pub(crate) fn json() -> Self {
        Self { format: Format::ProblemJson, close: false, bodiless: false }
    }
}

/// Counts requests that a layer rejected. A `count` of 0 registers the series: Prometheus does not see
/// an increase from nothing to 1.
pub(crate) fn count_rejected(
    metrics: &Metrics,
    layer: &'static str,
    reason: &'static str,
    count: u64,
) {
    let labels = [("layer", layer), ("reason", reason)];
    let labels = labels.map(|(name, value)| Label::from_static_parts(name, value));
    metrics.counter(REJECTED, labels.to_vec()).increment(count);
}

/// Builds a response of gRPC. Without its headers a client makes up a status: for a response with a
/// body, tonic reports `INTERNAL`, even for 503.
fn trailers_only(status: StatusCode, detail: impl fmt::Display) -> Response<Bytes> {
    // By "Status codes and their use in gRPC": a message over a limit is RESOURCE_EXHAUSTED, and a
    // violation of the protocol INTERNAL. Only the application sends INVALID_ARGUMENT.
    let code = match status {
        StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::URI_TOO_LONG
        | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => RESOURCE_EXHAUSTED,
        StatusCode::BAD_REQUEST => INTERNAL,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => UNIMPLEMENTED,
        StatusCode::REQUEST_TIMEOUT => DEADLINE_EXCEEDED,
        StatusCode::SERVICE_UNAVAILABLE => UNAVAILABLE,
        _ => UNKNOWN,
    };
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from_static(code));
    if let Ok(message) = HeaderValue::try_from(detail.to_string()) {
        headers.insert("grpc-message", message);
    }
    response
}

/// Returns gRPC for a call of gRPC, JSON for a client that names JSON in `accept`, and text for
/// every other request.
fn format_for(method: &Method, version: Version, headers: &HeaderMap) -> Format {
    // A cache might store the 200 of gRPC for any other method. Over HTTP/1, which has no gRPC, any
    // client could hide a rejection in it.
    let may_call = *method == Method::POST && version > Version::HTTP_11;
    if may_call && content_type(headers).is_some_and(|essence| essence.is_grpc()) {
        return Format::Grpc;
    }
    if list::members(headers, &ACCEPT).any(accepts_json) {
        Format::ProblemJson
    } else {
        Format::Text
    }
}

/// Returns `true` for a member of `accept` that names JSON with another weight than 0.
fn accepts_json(member: &[u8]) -> bool {
    let is_json = essence(member).is_some_and(|essence| {
        essence.whole.eq_ignore_ascii_case(b"application/problem+json")
            || essence.whole.eq_ignore_ascii_case(b"application/json")
    });
    let mut parameters = member.split(|&byte| byte == b';').skip(1).map(<[u8]>::trim_ascii);
    is_json
        && !parameters.any(|parameter| match parameter {
            [b'q' | b'Q', b'=', value @ ..] => parse_qvalue(value) == Some(0),
            _ => false,
        })
}

const UNKNOWN: &str = "2";
const DEADLINE_EXCEEDED: &str = "4";
const RESOURCE_EXHAUSTED: &str = "8";
const UNIMPLEMENTED: &str = "12";
const INTERNAL: &str = "13";
const UNAVAILABLE: &str = "14";

const REJECTED: Name = Name::new(
    "http_requests_rejected_total",
    Unit::Count,
    "Requests that a layer rejected before the inner service saw them, by layer and reason.",
);

#[cfg(test)]
mod tests;
