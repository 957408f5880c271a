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
    /// A body, which is complete after so many bytes where it says so.
    Body { declared: Option<u64> },
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
        matches!(self, Self::Body { declared: Some(declared) } if sent >= declared)
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
    if is_event_stream(headers) {
        return Rest::EventStream;
    }
    match declared_length(headers, length) {
        Some(0) => Rest::Nothing,
        declared => Rest::Body { declared },
    }
}

/// The length that the head declares, or else the exact one that the body states.
pub(super) fn declared_length(headers: &HeaderMap, length: &SizeHint) -> Option<u64> {
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    declared.or_else(|| length.exact())
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
