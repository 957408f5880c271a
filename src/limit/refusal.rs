use std::fmt;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};

use super::policy::Head;

/// A request that the layer refused, and why.
#[derive(Clone, Debug)]
pub struct Refusal {
    reason: Reason,
    limit: Option<u64>,
    pub(super) format: Format,
    /// A part of the body is unread, on a connection whose next request would begin with it.
    close: bool,
    /// The answer to HEAD has no body (RFC 9110 §9.3.2).
    bodiless: bool,
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
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Format {
    #[default]
    Text,
    ProblemJson,
}

impl Refusal {
    pub(super) fn new(reason: Reason, limit: Option<u64>, head: &Head<'_>) -> Self {
        Self {
            reason,
            limit,
            format: format_for(head.headers),
            close: !head.no_body && head.version <= Version::HTTP_11,
            bodiless: *head.method == Method::HEAD,
        }
    }

    /// Why the request was refused.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.reason {
            Reason::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Reason::TargetTooLong => StatusCode::URI_TOO_LONG,
            Reason::HeadersTooLarge | Reason::TooManyHeaders => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Reason::InvalidContentLength => StatusCode::BAD_REQUEST,
        }
    }

    /// The limit that was crossed, in bytes (or fields, for [`Reason::TooManyHeaders`]); none for
    /// [`Reason::InvalidContentLength`].
    #[must_use]
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// The layer's own response: status, `content-type`, `vary: accept`, and a body of one line.
    #[must_use]
    pub fn to_response(&self) -> Response<Bytes> {
        let (content_type, body) = match self.format {
            Format::Text => ("text/plain; charset=utf-8", format!("{self}\n")),
            Format::ProblemJson => ("application/problem+json", self.problem()),
        };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = self.status();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
        response
    }

    /// RFC 9457. Nothing in here comes from the request, so nothing has to be escaped.
    fn problem(&self) -> String {
        let title = match self.reason {
            Reason::BodyTooLarge => "Content Too Large",
            Reason::TargetTooLong => "URI Too Long",
            Reason::HeadersTooLarge | Reason::TooManyHeaders => "Request Header Fields Too Large",
            Reason::InvalidContentLength => "Bad Request",
        };
        let limit = self.limit.map_or_else(String::new, |limit| format!(r#","limit":{limit}"#));
        let status = self.status().as_u16();
        format!(
            r#"{{"type":"about:blank","title":"{title}","status":{status},"detail":"{self}"{limit}}}"#
        )
    }

    /// What any response of the layer's to the request must be, whoever made it.
    pub(super) fn finish(&self, response: Response<Bytes>) -> Response<Bytes> {
        let mut response = self.close(response);
        if self.bodiless {
            response.body_mut().clear();
        }
        response
    }

    /// What any response at all must be.
    pub(super) fn close<B>(&self, mut response: Response<B>) -> Response<B> {
        if self.close {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
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
        }
    }
}

impl Reason {
    /// The value of the label `reason`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BodyTooLarge => "body_too_large",
            Self::TargetTooLong => "target_too_long",
            Self::HeadersTooLarge => "headers_too_large",
            Self::TooManyHeaders => "too_many_headers",
            Self::InvalidContentLength => "invalid_content_length",
        }
    }
}

/// JSON for a client that names it in `accept`, text for every other.
fn format_for(headers: &HeaderMap) -> Format {
    let lines = headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let names_json = lines.flat_map(|line| line.split(',')).any(|member| {
        let mut parts = member.split(';').map(|part| part.trim_matches([' ', '\t']));
        let json = parts.next().is_some_and(|media_type| {
            media_type.eq_ignore_ascii_case("application/problem+json")
                || media_type.eq_ignore_ascii_case("application/json")
        });
        json && !parts.any(is_zero_weight)
    });
    if names_json { Format::ProblemJson } else { Format::Text }
}

/// `q=0`, with up to three zeros behind the point (RFC 9110 §12.4.2).
fn is_zero_weight(parameter: &str) -> bool {
    parameter.split_once('=').is_some_and(|(name, value)| {
        name.eq_ignore_ascii_case("q") && matches!(value, "0" | "0." | "0.0" | "0.00" | "0.000")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_sent_to_those_who_name_it() {
        let table: &[(&[&str], Format)] = &[
            (&[], Format::Text),
            (&["*/*"], Format::Text),
            (&["text/html, */*;q=0.8"], Format::Text),
            (&["application/json"], Format::ProblemJson),
            (&["text/html", "Application/Problem+JSON ; q=0.1"], Format::ProblemJson),
            (&["application/json;q=0"], Format::Text),
            (&["application/json ; Q=0.000"], Format::Text),
            (&["application/jsonp"], Format::Text),
        ];
        for (lines, expected) in table {
            let mut headers = HeaderMap::new();
            for line in *lines {
                headers.append(ACCEPT, HeaderValue::from_static(line));
            }
            assert_eq!(format_for(&headers), *expected, "{lines:?}");
        }
    }

    #[test]
    fn a_problem_is_json() {
        let refusal = |reason, limit| Refusal {
            reason,
            limit,
            format: Format::ProblemJson,
            close: false,
            bodiless: false,
        };
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
