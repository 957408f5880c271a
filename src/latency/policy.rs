use std::any::Any;
use std::borrow::Cow;
use std::error::Error;
use std::io;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode};
use http_body::SizeHint;
use tower::timeout::error::Elapsed;

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

/// What is to come after a response's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing: the body, if it has one, will not be sent.
    Nothing,
    /// Another protocol.
    Upgrade,
    /// Events, for as long as the client likes.
    EventStream,
    /// A body, which is complete after so many bytes; `u64::MAX` where it does not say.
    Body { declared: u64 },
}

/// The method, as a label: an index of [`METHODS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KnownMethod(pub(super) u8);

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

impl Rest {
    /// The label `kind` of what stays out of the histograms.
    pub(super) const fn stream_kind(self) -> Option<&'static str> {
        match self {
            Self::EventStream => Some("event_stream"),
            Self::Upgrade => Some("upgrade"),
            Self::Nothing | Self::Body { .. } => None,
        }
    }

    /// Whether the declared length has been sent: after that, HTTP/1 servers do not ask for the
    /// end of a body, they drop it.
    pub(super) fn is_complete(self, sent: u64) -> bool {
        matches!(self, Self::Body { declared } if sent >= declared)
    }
}

impl KnownMethod {
    pub(super) fn of(method: &Method) -> Self {
        let known = match *method {
            Method::GET => 0,
            Method::POST => 1,
            Method::HEAD => 2,
            Method::PUT => 3,
            Method::DELETE => 4,
            Method::PATCH => 5,
            Method::OPTIONS => 6,
            Method::CONNECT => 7,
            Method::TRACE => 8,
            _ => 9,
        };
        Self(known)
    }

    pub(super) fn as_str(self) -> &'static str {
        METHODS[usize::from(self.0)]
    }
}

/// What follows the head of a response (RFC 9110 §6.4.1, §9.3.6). `ended` is what the body says of
/// itself, `length` what it states.
pub(super) fn rest(
    method: KnownMethod,
    status: StatusCode,
    headers: &HeaderMap,
    ended: bool,
    length: &SizeHint,
) -> Rest {
    let upgraded = status == StatusCode::SWITCHING_PROTOCOLS
        || method.as_str() == "CONNECT" && status.is_success();
    if upgraded {
        return Rest::Upgrade;
    }
    let bodiless = method.as_str() == "HEAD"
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED;
    if bodiless || ended {
        return Rest::Nothing;
    }
    // What has an exact length has an end: it is no stream, and its head need not be searched.
    if length.exact().is_none() && is_event_stream(headers) {
        return Rest::EventStream;
    }
    match declared_length(headers, length) {
        Some(0) => Rest::Nothing,
        declared => Rest::Body { declared: declared.unwrap_or(u64::MAX) },
    }
}

/// The exact length that the body states, or else the one that the head declares.
pub(super) fn declared_length(headers: &HeaderMap, length: &SizeHint) -> Option<u64> {
    length.exact().or_else(|| headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok())
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else { return false };
    let essence = value.as_bytes().split(|&byte| byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}

/// Whether an error says that time ran out: it, or one that it comes from.
pub(super) fn is_timeout(error: &dyn Any) -> bool {
    if let Some(boxed) = error.downcast_ref::<Box<dyn Error + Send + Sync>>() {
        let mut next: Option<&(dyn Error + 'static)> = Some(boxed.as_ref());
        for _ in 0..MAX_SOURCES {
            let Some(error) = next else { return false };
            if error.is::<Elapsed>() || error.downcast_ref().is_some_and(is_io_timeout) {
                return true;
            }
            next = error.source();
        }
        return false;
    }
    error.is::<Elapsed>() || error.downcast_ref().is_some_and(is_io_timeout)
}

fn is_io_timeout(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut
        || error.get_ref().is_some_and(|error| error.is::<Elapsed>())
}

/// The first template that matches the path: `{name}` is one segment that is not empty, and
/// `{*name}` at the end is the rest, which is not empty either.
pub(super) fn find_template<'a>(templates: &'a [Cow<'static, str>], path: &str) -> Option<&'a str> {
    templates.iter().map(AsRef::as_ref).find(|template| matches(template, path))
}

fn matches(template: &str, path: &str) -> bool {
    let mut path = Some(path);
    for expected in template.split('/') {
        let Some(left) = path else { return false };
        if expected.starts_with("{*") && expected.ends_with('}') {
            return !left.is_empty();
        }
        let (segment, rest) = match left.split_once('/') {
            Some((segment, rest)) => (segment, Some(rest)),
            None => (left, None),
        };
        let any = expected.starts_with('{') && expected.ends_with('}');
        if if any { segment.is_empty() } else { segment != expected } {
            return false;
        }
        path = rest;
    }
    path.is_none()
}

pub(super) const METHODS: [&str; 10] =
    ["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "_OTHER"];

/// How deep the sources of an error are searched: an error could be its own source.
const MAX_SOURCES: usize = 16;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_head_tells_what_follows_it() {
        let body = Rest::Body { declared: u64::MAX };
        let declared = |length| Rest::Body { declared: length };
        // Method, status, one field, whether the body says that it is at its end, its exact
        // length, and what follows (RFC 9110 §6.4.1, §9.3.2, §9.3.6, §15.2.2).
        type Row = (Method, u16, Option<(&'static str, &'static str)>, bool, Option<u64>, Rest);
        let table: &[Row] = &[
            (Method::GET, 200, None, false, None, body),
            (Method::GET, 200, None, false, Some(5), declared(5)),
            (Method::GET, 200, Some(("content-length", "7")), false, None, declared(7)),
            (Method::GET, 200, Some(("content-length", "7")), false, Some(5), declared(5)),
            (Method::GET, 200, Some(("content-length", "junk")), false, Some(5), declared(5)),
            (Method::GET, 200, None, false, Some(0), Rest::Nothing),
            (Method::GET, 200, None, true, None, Rest::Nothing),
            (Method::HEAD, 200, Some(("content-length", "7")), false, Some(7), Rest::Nothing),
            (Method::GET, 204, None, false, None, Rest::Nothing),
            (Method::GET, 304, Some(("content-length", "7")), false, None, Rest::Nothing),
            (Method::GET, 103, None, false, None, Rest::Nothing),
            (Method::GET, 101, None, false, None, Rest::Upgrade),
            (Method::CONNECT, 200, None, false, None, Rest::Upgrade),
            (Method::CONNECT, 502, None, false, None, body),
            (
                Method::GET,
                200,
                Some(("content-type", "Text/Event-Stream; charset=utf-8")),
                false,
                None,
                Rest::EventStream,
            ),
            (
                Method::HEAD,
                200,
                Some(("content-type", "text/event-stream")),
                false,
                None,
                Rest::Nothing,
            ),
            (Method::GET, 200, Some(("content-type", "text/event-streams")), false, None, body),
        ];
        for (method, status, field, ended, length, expected) in table {
            let mut headers = HeaderMap::new();
            if let Some((name, value)) = field {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            let found = rest(
                KnownMethod::of(method),
                StatusCode::from_u16(*status).unwrap(),
                &headers,
                *ended,
                &length.map_or_else(SizeHint::new, SizeHint::with_exact),
            );
            assert_eq!(found, *expected, "{method} {status} {field:?} {ended} {length:?}");
        }
    }

    #[test]
    fn a_method_is_one_of_nine_or_other() {
        for known in &METHODS[..9] {
            let method = Method::from_bytes(known.as_bytes()).unwrap();
            assert_eq!(KnownMethod::of(&method).as_str(), *known);
        }
        for other in ["get", "PURGE", "GETT"] {
            let method = Method::from_bytes(other.as_bytes()).unwrap();
            assert_eq!(KnownMethod::of(&method).as_str(), "_OTHER");
        }
    }

    #[test]
    fn a_path_finds_the_first_template_that_it_matches() {
        let templates = ["/", "/items", "/items/new", "/items/{id}", "/items/{id}/tags", "/f/{*p}"]
            .map(Cow::from);
        for (path, expected) in [
            ("/", Some("/")),
            ("/items", Some("/items")),
            ("/items/", None),
            ("/items/new", Some("/items/new")),
            ("/items/7", Some("/items/{id}")),
            ("/items/7/", None),
            ("/items/7/tags", Some("/items/{id}/tags")),
            ("/f/", None),
            ("/f/a", Some("/f/{*p}")),
            ("/f/a/b/c", Some("/f/{*p}")),
            ("/F/a", None),
            ("*", None),
            ("", None),
        ] {
            assert_eq!(find_template(&templates, path), expected, "{path}");
        }
    }

    #[test]
    fn a_timeout_is_found_among_the_sources_of_an_error() {
        let timed_out = || io::Error::from(io::ErrorKind::TimedOut);
        let boxed = |error: io::Error| -> Box<dyn Error + Send + Sync> { Box::new(error) };
        assert!(is_timeout(&timed_out()));
        assert!(is_timeout(&Elapsed::new()));
        assert!(is_timeout(&boxed(timed_out())));
        assert!(is_timeout(&boxed(io::Error::other(Elapsed::new()))));
        assert!(!is_timeout(&boxed(io::Error::other("refused"))));
        assert!(!is_timeout(&io::Error::from(io::ErrorKind::BrokenPipe)));
        assert!(!is_timeout(&"timed out"));
    }
}
