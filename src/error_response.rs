//! How an answer is written that a layer gives in the service's place.

use std::fmt;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};

/// What a request asks of any answer that is given before its body is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ErrorFormat {
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
    /// The status of a call in fields, and no body: "Trailers-Only" of gRPC over HTTP/2.
    Grpc,
}

impl ErrorFormat {
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

    /// Takes the layer's own format, where the request asks for none.
    pub(crate) fn or(&mut self, format: Format) {
        if self.format == Format::Text {
            self.format = format;
        }
    }

    /// Keeps the connection: the body has been read to its end, or will be.
    pub(crate) fn keep_alive(&mut self) {
        self.close = false;
    }

    /// A line of text, or RFC 9457, which `title` and `members` are for, or gRPC. None of it may
    /// come from the request, so that nothing has to be escaped, and `detail` has no `%`.
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

/// Without these fields a client makes up a status: where there is a body, tonic's is `INTERNAL`,
/// even of 503.
fn trailers_only(status: StatusCode, detail: impl fmt::Display) -> Response<Bytes> {
    // By "Status codes and their use in gRPC": what is larger than a limit is RESOURCE_EXHAUSTED,
    // and what breaks the protocol INTERNAL. INVALID_ARGUMENT comes of the application alone.
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
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
    headers.insert("grpc-status", HeaderValue::from_static(code));
    if let Ok(message) = HeaderValue::try_from(detail.to_string()) {
        headers.insert("grpc-message", message);
    }
    response
}

/// gRPC for a call of it, JSON for a client that names it in `accept`, text for every other.
fn format_for(method: &Method, version: Version, headers: &HeaderMap) -> Format {
    // Of any other method, a cache might keep that 200 as what the URL has; over HTTP/1, which is no
    // gRPC, any client could hide a refusal in it.
    let may_call = *method == Method::POST && version > Version::HTTP_11;
    if may_call && headers.get(CONTENT_TYPE).is_some_and(is_grpc) {
        return Format::Grpc;
    }
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

/// `application/grpc`, which may say how messages are written: `+proto`. gRPC-web is another
/// protocol.
fn is_grpc(content_type: &HeaderValue) -> bool {
    let parts = content_type.as_bytes().split_at_checked(GRPC.len());
    parts.is_some_and(|(start, rest)| {
        start.eq_ignore_ascii_case(GRPC.as_bytes())
            && matches!(rest, [] | [b'+' | b';' | b' ' | b'\t', ..])
    })
}

/// `q=0`, with up to three zeros behind the point (RFC 9110 §12.4.2).
fn is_zero_weight(parameter: &str) -> bool {
    parameter.split_once('=').is_some_and(|(name, value)| {
        name.eq_ignore_ascii_case("q") && matches!(value, "0" | "0." | "0.0" | "0.00" | "0.000")
    })
}

const GRPC: &str = "application/grpc";

const UNKNOWN: &str = "2";
const DEADLINE_EXCEEDED: &str = "4";
const RESOURCE_EXHAUSTED: &str = "8";
const UNIMPLEMENTED: &str = "12";
const INTERNAL: &str = "13";
const UNAVAILABLE: &str = "14";

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
            assert_eq!(
                format_for(&Method::POST, Version::HTTP_2, &headers),
                *expected,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn a_call_of_grpc_is_known_by_its_method_its_version_and_its_content_type() {
        let table: &[(Method, &str, bool)] = &[
            (Method::POST, "application/grpc", true),
            (Method::POST, "application/grpc+proto", true),
            (Method::POST, "application/grpc+json", true),
            (Method::POST, "Application/GRPC;v=1", true),
            (Method::POST, "application/grpc ; v=1", true),
            (Method::POST, "application/grpc-web", false),
            (Method::POST, "application/grpc-web-text+proto", false),
            (Method::POST, "application/grpcx", false),
            (Method::POST, "application/grp", false),
            (Method::POST, "application/json", false),
            (Method::GET, "application/grpc", false),
            (Method::HEAD, "application/grpc", false),
            (Method::PUT, "application/grpc", false),
        ];
        for (method, content_type, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            let format = if *expected { Format::Grpc } else { Format::ProblemJson };
            let found = format_for(method, Version::HTTP_2, &headers);
            assert_eq!(found, format, "{method} {content_type}");
            assert_eq!(format_for(method, Version::HTTP_11, &headers), Format::ProblemJson);
        }
    }

    #[test]
    fn an_answer_to_grpc_has_a_status_of_grpc_in_fields_and_no_body() {
        let form = ErrorFormat { format: Format::Grpc, close: false, bodiless: false };
        for (status, code) in [
            (400, "13"),
            (408, "4"),
            (413, "8"),
            (414, "8"),
            (415, "12"),
            (431, "8"),
            (503, "14"),
            (418, "2"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let response = form.write(status, "Title", "It is over 7 bytes.", "");
            assert_eq!(response.status(), StatusCode::OK);
            let expected = [
                ("content-type", "application/grpc"),
                ("grpc-status", code),
                ("grpc-message", "It is over 7 bytes."),
            ];
            assert_eq!(response.headers().len(), expected.len());
            for (name, value) in expected {
                assert_eq!(response.headers()[name], value, "{status}");
            }
            assert!(response.body().is_empty());
        }
    }
}
