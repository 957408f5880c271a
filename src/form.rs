//! How an answer is written that a layer gives in the service's place.

use std::fmt;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};

/// What a request asks of any answer that is given before its body is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    pub(crate) format: Format,
    /// A part of the body is unread, on a connection whose next request would begin with it.
    close: bool,
    /// The answer to HEAD has no body (RFC 9110 §9.3.2).
    bodiless: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    #[default]
    Text,
    ProblemJson,
}

impl Form {
    pub(crate) fn of(
        method: &Method,
        version: Version,
        headers: &HeaderMap,
        no_body: bool,
    ) -> Self {
        Self {
            format: format_for(headers),
            close: !no_body && version <= Version::HTTP_11,
            bodiless: *method == Method::HEAD,
        }
    }

    /// A line of text, or RFC 9457: `title` and `members` are for that, and none of it may come from
    /// the request, so that nothing has to be escaped.
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
        };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
        response
    }

    /// What any response of a layer's to the request must be, whoever made it.
    pub(crate) fn finish(self, response: Response<Bytes>) -> Response<Bytes> {
        let mut response = self.close(response);
        if self.bodiless {
            response.body_mut().clear();
        }
        response
    }

    /// What any response at all must be.
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
}
