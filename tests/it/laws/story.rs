//! Responses and requests as data, and the service that serves them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::SizeHint;
use http_body_util::BodyExt;

use super::stacks::PROBE;
use crate::support::{BoxBody, BoxError, Scripted, Step, boxed, empty, noise, prose, trailers};

pub(super) type Fields = Vec<(&'static str, &'static str)>;

/// A response that the service gives to every request for it.
#[derive(Clone, Debug)]
pub(super) struct Story {
    pub(super) status: u16,
    pub(super) fields: Fields,
    pub(super) length: Length,
    pub(super) pieces: Vec<Piece>,
    pub(super) hint: Hint,
    /// The body knows that it is at its end before it is polled for it.
    pub(super) tells_end: bool,
    /// A response to `HEAD` has the body of the one to `GET`, which the server drops.
    pub(super) head_has_body: bool,
    /// The service evaluates `if-match` and `if-none-match`, where it would respond with 200.
    pub(super) conditional: bool,
    /// The service reads the request's body before it responds.
    pub(super) reads: bool,
}

/// The `content-length` of a response, compared with its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Absent,
    Exact,
    Twice,
    More(usize),
    Less(usize),
}

/// The size hint of a body, compared with its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    Unknown,
    Lower,
    Exact,
    More(usize),
    Less(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(usize),
    Noise(usize),
    Pending,
    Trailers,
    Error,
    Panic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http10,
    Http11,
    Http2,
}

/// A request for a [`Story`].
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) protocol: Protocol,
    pub(super) method: Method,
    pub(super) fields: Fields,
    /// `cookie` is sent in so many crumbs (RFC 9113 §8.2.3), or in one line over HTTP/1.
    pub(super) crumbs: usize,
    pub(super) upload: Option<Upload>,
    /// A precondition with the entity tag of the previous response of the same server.
    pub(super) precondition: Option<Precondition>,
    pub(super) absolute_form: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Upload {
    pub(super) len: usize,
    pub(super) chunked: bool,
    pub(super) expects_continue: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precondition {
    IfMatch,
    IfNoneMatch,
}

/// The stories that the servers of one test know, by the number in their paths.
#[derive(Clone, Debug, Default)]
pub(super) struct Stories(Arc<Mutex<HashMap<u64, Told>>>);

#[derive(Debug)]
struct Told {
    story: Arc<Story>,
    calls: u64,
}

impl Story {
    /// All bytes of data in the script, up to an error.
    pub(super) fn data(&self) -> Vec<u8> {
        let mut data = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(_) | Piece::Noise(_) => data.extend(piece.bytes()),
                Piece::Error | Piece::Panic => break,
                Piece::Pending | Piece::Trailers => {}
            }
        }
        data
    }

    fn declared(&self, len: usize) -> Option<usize> {
        match self.length {
            Length::Absent => None,
            Length::Exact | Length::Twice => Some(len),
            Length::More(by) => Some(len + by),
            Length::Less(by) => Some(len.saturating_sub(by)),
        }
    }

    /// Returns `true` if the body fails when all bytes that were declared have been sent.
    pub(super) fn body_fails_late(&self) -> bool {
        matches!(self.length, Length::Exact | Length::Twice | Length::Less(_))
            || matches!(self.hint, Hint::Less(_))
    }

    /// Returns `true` if the body fails, or is shorter or longer than it was declared.
    pub(super) fn body_fails(&self) -> bool {
        let len = self.data().len();
        let hint = match self.hint {
            Hint::Unknown | Hint::Lower | Hint::Exact => len,
            Hint::More(by) => len + by,
            Hint::Less(by) => len.saturating_sub(by),
        };
        let broken = self.pieces.iter().any(|piece| matches!(piece, Piece::Error | Piece::Panic));
        broken || hint != len || self.declared(len).is_some_and(|declared| declared != len)
    }

    pub(super) fn field(&self, name: &str) -> Option<&'static str> {
        self.fields.iter().find(|(found, _)| *found == name).map(|(_, value)| *value)
    }

    fn head(&self) -> http::response::Builder {
        let mut response = Response::builder().status(self.status);
        for (name, value) in &self.fields {
            response = response.header(*name, HeaderValue::from_static(value));
        }
        response
    }

    /// 412 or 304, if a precondition of the request says so (RFC 9110 §13.2.2).
    fn precondition(&self, method: &Method, headers: &HeaderMap) -> Option<StatusCode> {
        let tag = self.field("etag").filter(|_| self.conditional && self.status == 200)?;
        let opaque = tag.trim_start_matches("W/");
        if let Some(asked) = headers.get(IF_MATCH) {
            let asked = asked.to_str().ok()?;
            let matches = asked.split(',').any(|one| one.trim() == tag && opaque == tag);
            return (!matches && asked != "*").then_some(StatusCode::PRECONDITION_FAILED);
        }
        let asked = headers.get(IF_NONE_MATCH)?.to_str().ok()?;
        let mut all = asked.split(',').map(|one| one.trim().trim_start_matches("W/"));
        let safe = [Method::GET, Method::HEAD].contains(method);
        let matches = asked == "*" || all.any(|one| one == opaque);
        (matches && safe).then_some(StatusCode::NOT_MODIFIED)
    }

    fn body(&self) -> BoxBody {
        let len = self.data().len();
        let steps = self.pieces.iter().map(|piece| match piece {
            Piece::Text(_) | Piece::Noise(_) => Step::Data(piece.bytes()),
            Piece::Pending => Step::Pending,
            Piece::Trailers => trailers(),
            Piece::Error => Step::Error::<BoxError>("the service's body fails".into()),
            Piece::Panic => Step::Panic,
        });
        let body = Scripted::new(steps.collect::<Vec<_>>());
        let body = if self.tells_end { body.tells_end() } else { body };
        let exactly = |len: usize| SizeHint::with_exact(len as u64);
        match self.hint {
            Hint::Unknown => boxed(body),
            Hint::Lower => {
                let mut hint = SizeHint::new();
                hint.set_lower(len as u64);
                boxed(body.hint(&hint))
            }
            Hint::Exact => boxed(body.exact()),
            Hint::More(by) => boxed(body.hint(&exactly(len + by))),
            Hint::Less(by) => boxed(body.hint(&exactly(len.saturating_sub(by)))),
        }
    }

    fn respond(&self, method: &Method, headers: &HeaderMap, upload: usize) -> Response<BoxBody> {
        let mut response = self.head().header(UPLOAD, upload);
        if let Some(status) = self.precondition(method, headers) {
            return response.status(status).body(boxed(empty())).unwrap();
        }
        let lines = if self.length == Length::Twice { 2 } else { 1 };
        if let Some(declared) = self.declared(self.data().len()) {
            for _ in 0..lines {
                response = response.header(CONTENT_LENGTH, declared);
            }
        }
        let bare = *method == Method::HEAD && !self.head_has_body;
        response.body(if bare { boxed(empty()) } else { self.body() }).unwrap()
    }
}

impl Piece {
    fn bytes(self) -> Bytes {
        match self {
            Self::Text(len) => prose(len, 3),
            Self::Noise(len) => noise(len),
            _ => Bytes::new(),
        }
    }
}

impl Ask {
    pub(super) fn get() -> Self {
        Self {
            protocol: Protocol::Http11,
            method: Method::GET,
            fields: Vec::new(),
            crumbs: 0,
            upload: None,
            precondition: None,
            absolute_form: false,
        }
    }

    pub(super) fn field(&self, name: &str) -> Option<&'static str> {
        self.fields.iter().find(|(found, _)| *found == name).map(|(_, value)| *value)
    }

    /// The lines of the request, beside those of its body and its host.
    pub(super) fn headers(&self, tag: Option<&HeaderValue>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let crumbs: Vec<_> = (0..self.crumbs).map(|number| format!("c{number}=1")).collect();
        if self.protocol == Protocol::Http2 {
            for crumb in crumbs {
                headers.append("cookie", crumb.parse().unwrap());
            }
        } else if !crumbs.is_empty() {
            headers.append("cookie", crumbs.join("; ").parse().unwrap());
        }
        if let (Some(precondition), Some(tag)) = (self.precondition, tag) {
            let name = match precondition {
                Precondition::IfMatch => IF_MATCH,
                Precondition::IfNoneMatch => IF_NONE_MATCH,
            };
            headers.insert(name, tag.clone());
        }
        headers
    }

    /// Returns `true` if the request may be answered with 304.
    pub(super) fn is_conditional(&self) -> bool {
        let names = ["if-none-match", "if-modified-since"];
        names.iter().any(|name| self.field(name).is_some()) || self.precondition.is_some()
    }

    pub(super) fn is_only_if_cached(&self) -> bool {
        self.fields.contains(&("cache-control", "only-if-cached"))
    }
}

impl Stories {
    pub(super) fn add(&self, story: &Story) -> u64 {
        let mut all = self.0.lock().unwrap();
        let number = all.len() as u64;
        all.insert(number, Told { story: Arc::new(story.clone()), calls: 0 });
        number
    }

    /// Returns the number of calls of the service for a story.
    pub(super) fn calls(&self, number: u64) -> u64 {
        self.0.lock().unwrap().get(&number).map_or(0, |told| told.calls)
    }

    pub(super) async fn serve(
        self,
        request: Request<BoxBody>,
    ) -> Result<Response<BoxBody>, BoxError> {
        let (head, body) = request.into_parts();
        if head.uri.path() == PROBE {
            return Ok(Response::new(boxed(empty())));
        }
        let number = head.uri.path().trim_start_matches("/story/").parse::<u64>()?;
        let story = {
            let mut all = self.0.lock().unwrap();
            let told = all.get_mut(&number).ok_or("no such story")?;
            told.calls += 1;
            Arc::clone(&told.story)
        };
        let upload = if story.reads { body.collect().await?.to_bytes().len() } else { 0 };
        Ok(story.respond(&head.method, &head.headers, upload))
    }
}

/// Returns the bytes of the request body that the service has read.
pub(super) const UPLOAD: HeaderName = HeaderName::from_static("x-upload");
