//! Random responses and requests, and the service that serves them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::SizeHint;
use http_body_util::BodyExt;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

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

    /// How often the service was called for a story.
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

// Strategies.

/// Responses whose bodies are what their heads say, to be sent as they are.
pub(super) fn sound() -> impl Strategy<Value = Story> {
    let length = prop_oneof![
        4 => Just(Length::Absent),
        4 => Just(Length::Exact),
        1 => Just(Length::Twice),
    ];
    let hint = prop_oneof![Just(Hint::Unknown), Just(Hint::Lower), Just(Hint::Exact)];
    let trailers = prop::bool::weighted(0.15);
    (heads(), length, hint, pieces(), trailers, flags()).prop_map(
        |((status, fields), length, hint, mut pieces, trailers, flags)| {
            if trailers {
                pieces.push(Piece::Trailers);
            }
            story(status, fields, length, hint, pieces, flags)
        },
    )
}

/// Responses whose bodies fail, or are not as long as their heads say.
pub(super) fn failing() -> impl Strategy<Value = Story> {
    let by = || select(vec![1_usize, 10, 1_000, 100_000]);
    let failure = prop_oneof![
        3 => Just((Length::Absent, Hint::Unknown, Some(Piece::Error))),
        2 => Just((Length::Exact, Hint::Unknown, Some(Piece::Error))),
        1 => Just((Length::Absent, Hint::Lower, Some(Piece::Error))),
        1 => Just((Length::Absent, Hint::Unknown, Some(Piece::Panic))),
        2 => by().prop_map(|by| (Length::More(by), Hint::Unknown, Some(Piece::Error))),
        4 => by().prop_map(|by| (Length::More(by), Hint::Unknown, None)),
        2 => by().prop_map(|by| (Length::Less(by), Hint::Unknown, None)),
        3 => by().prop_map(|by| (Length::Absent, Hint::More(by), None)),
        1 => by().prop_map(|by| (Length::Absent, Hint::Less(by), None)),
        1 => by().prop_map(|by| (Length::Absent, Hint::More(by), Some(Piece::Error))),
    ];
    (heads(), failure, pieces(), flags())
        .prop_map(|((status, fields), (length, hint, last), mut pieces, flags)| {
            pieces.extend(last);
            story(status, fields, length, hint, pieces, flags)
        })
        .prop_filter("a body that does not fail", Story::body_fails)
}

fn story(
    status: u16,
    fields: Fields,
    length: Length,
    hint: Hint,
    pieces: Vec<Piece>,
    [tells_end, head_has_body, conditional, reads]: [bool; 4],
) -> Story {
    Story { status, fields, length, pieces, hint, tells_end, head_has_body, conditional, reads }
}

fn flags() -> impl Strategy<Value = [bool; 4]> {
    [0.5, 0.5, 0.5, 0.8].map(prop::bool::weighted)
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let lens = || {
        prop_oneof![
            8 => select(vec![0_usize, 1, 10, 100, 1_000, 1_023, 1_024, 1_025, 1_400, 5_000]),
            2 => select(vec![16_384_usize, 20_000, 70_000]),
            1 => select(vec![131_072_usize, 131_073, 200_000]),
        ]
    };
    let piece = prop_oneof![
        5 => lens().prop_map(Piece::Text),
        1 => lens().prop_map(Piece::Noise),
        2 => Just(Piece::Pending),
    ];
    prop_oneof![
        8 => prop::collection::vec(piece, 0..4),
        1 => (1_usize..40, 1_usize..64).prop_map(|(count, len)| vec![Piece::Text(len); count]),
    ]
}

fn heads() -> impl Strategy<Value = (u16, Fields)> {
    let status = prop_oneof![
        12 => Just(200_u16),
        4 => select(vec![201_u16, 203, 206, 301, 400, 404, 410, 500, 503]),
        2 => select(vec![204_u16, 205, 304]),
        1 => select(vec![299_u16, 418, 428, 429, 511, 599, 799]),
    ];
    let often = select(vec![
        vec![("content-type", "text/html; charset=utf-8")],
        vec![("content-type", "application/json")],
        vec![("content-type", "text/plain")],
        vec![("content-type", "image/png")],
        vec![("content-type", "text/event-stream")],
        vec![("content-type", "application/octet-stream")],
        vec![],
    ]);
    let others = subsequence(OTHERS.to_vec(), 0..4);
    let hops = prop_oneof![6 => Just(Vec::new()), 3 => select(HOPS.map(<[_]>::to_vec).to_vec())];
    (
        status,
        often,
        one_of(&TAGS),
        one_of(&FRESHNESS),
        one_of(&VARY),
        one_of(&CODINGS),
        hops,
        others,
    )
        .prop_map(|(status, mut all, tag, freshness, vary, coding, hops, others)| {
            all.extend(tag);
            all.extend(freshness);
            all.extend(vary);
            all.extend(coding);
            all.extend(hops);
            all.extend(others);
            (status, all)
        })
}

fn one_of(
    choices: &'static [(u32, Option<(&'static str, &'static str)>)],
) -> impl Strategy<Value = Option<(&'static str, &'static str)>> {
    proptest::strategy::Union::new_weighted(
        choices.iter().map(|(weight, choice)| (*weight, Just(*choice))).collect(),
    )
}

/// A request, and a second one of which some are conditional.
pub(super) fn asks() -> impl Strategy<Value = [Ask; 2]> {
    let precondition = prop_oneof![
        4 => Just(None),
        1 => Just(Some(Precondition::IfMatch)),
        2 => Just(Some(Precondition::IfNoneMatch)),
    ];
    let same = prop::bool::weighted(0.5);
    (ask(), ask(), same, precondition).prop_map(|(first, second, same, precondition)| {
        let mut second = if same { first.clone() } else { second };
        second.precondition = precondition;
        if precondition == Some(Precondition::IfMatch) && second.method == Method::GET {
            second.method = Method::PUT;
        }
        [first, second]
    })
}

fn ask() -> impl Strategy<Value = Ask> {
    let protocol = prop_oneof![
        2 => Just(Protocol::Http10),
        5 => Just(Protocol::Http11),
        5 => Just(Protocol::Http2),
    ];
    let method = prop_oneof![
        12 => Just(Method::GET),
        3 => Just(Method::HEAD),
        2 => Just(Method::POST),
        2 => select(vec![Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS]),
    ];
    let upload = (select(vec![0_usize, 1, 100, 9_000]), any::<bool>(), any::<bool>());
    let crumbs = prop_oneof![10 => Just(0_usize), 2 => Just(3), 1 => Just(120)];
    (
        protocol,
        method,
        one_of(&ACCEPTS),
        subsequence(ASKED.to_vec(), 0..3),
        upload,
        crumbs,
        any::<bool>(),
    )
        .prop_map(|(protocol, method, accept, mut fields, upload, crumbs, absolute_form)| {
            fields.extend(accept);
            let has_body = [Method::POST, Method::PUT, Method::PATCH].contains(&method);
            let (len, chunked, expects_continue) = upload;
            let upload = has_body.then_some(Upload {
                len,
                chunked: chunked && protocol != Protocol::Http10,
                expects_continue: expects_continue && protocol == Protocol::Http11,
            });
            let precondition = None;
            Ask { protocol, method, fields, crumbs, upload, precondition, absolute_form }
        })
}

const TAGS: [(u32, Option<(&str, &str)>); 3] =
    [(4, None), (4, Some(("etag", "\"v1\""))), (1, Some(("etag", "W/\"v1\"")))];

const FRESHNESS: [(u32, Option<(&str, &str)>); 9] = [
    (4, None),
    (4, Some(("cache-control", "max-age=60"))),
    (1, Some(("cache-control", "public, max-age=60, must-revalidate"))),
    (1, Some(("cache-control", "s-maxage=60, stale-while-revalidate=5"))),
    (1, Some(("cache-control", "no-cache"))),
    (1, Some(("cache-control", "no-store"))),
    (1, Some(("cache-control", "private, max-age=60"))),
    (1, Some(("cache-control", "max-age=60, no-transform"))),
    (1, Some(("cdn-cache-control", "max-age=60"))),
];

const VARY: [(u32, Option<(&str, &str)>); 5] = [
    (8, None),
    (2, Some(("vary", "accept-encoding"))),
    (1, Some(("vary", "Cookie, Origin"))),
    (1, Some(("vary", "accept-language"))),
    (1, Some(("vary", "*"))),
];

const CODINGS: [(u32, Option<(&str, &str)>); 4] = [
    (12, None),
    (1, Some(("content-encoding", "x-own"))),
    (1, Some(("content-encoding", "gzip"))),
    (1, Some(("content-encoding", "identity"))),
];

/// What concerns a connection, or the framing of a message.
const HOPS: [&[(&str, &str)]; 9] = [
    &[("connection", "close")],
    &[("connection", "keep-alive"), ("keep-alive", "timeout=5")],
    &[("connection", "x-hop"), ("x-hop", "1")],
    &[("connection", "keep-alive, etag")],
    &[("transfer-encoding", "chunked")],
    &[("transfer-encoding", "chunked"), ("trailer", "x-sum")],
    &[("trailer", "x-sum")],
    &[("te", "trailers")],
    &[("proxy-connection", "close"), ("upgrade", "h2c")],
];

/// End-to-end fields that layers have no reason to change, or have to leave to the service.
const OTHERS: [(&str, &str); 20] = [
    ("accept-ranges", "bytes"),
    ("age", "5"),
    ("cache-status", "origin; hit"),
    ("content-digest", "sha-256=:AA==:"),
    ("content-language", "en"),
    ("content-location", "/elsewhere"),
    ("content-security-policy", "default-src 'none'"),
    ("date", "Mon, 30 Nov 2026 00:00:00 GMT"),
    ("expires", "Fri, 01 Jan 2100 00:00:00 GMT"),
    ("last-modified", "Mon, 02 Nov 2026 00:00:00 GMT"),
    ("link", "</style.css>; rel=preload"),
    ("link", "</script.js>; rel=preload"),
    ("location", "/other"),
    ("server", "story"),
    ("set-cookie", "a=1"),
    ("set-cookie", "b=2; path=/"),
    ("x-empty", ""),
    ("x-frame-options", "DENY"),
    ("x-repeated", "1"),
    ("x-repeated", "2"),
];

const ACCEPTS: [(u32, Option<(&str, &str)>); 14] = [
    (4, None),
    (6, Some(("accept-encoding", "gzip"))),
    (4, Some(("accept-encoding", "gzip, deflate, br, zstd"))),
    (1, Some(("accept-encoding", "deflate"))),
    (1, Some(("accept-encoding", "br"))),
    (1, Some(("accept-encoding", "zstd"))),
    (1, Some(("accept-encoding", "br;q=0.5, gzip;q=0.1, identity;q=0.01"))),
    (1, Some(("accept-encoding", "identity"))),
    (1, Some(("accept-encoding", "identity;q=0, gzip"))),
    (1, Some(("accept-encoding", "*"))),
    (1, Some(("accept-encoding", "gzip;q=0"))),
    (1, Some(("accept-encoding", "gzip;q=0.0000, *"))),
    (1, Some(("accept-encoding", "gzip;q=no, br;q=0"))),
    (1, Some(("accept-encoding", ""))),
];

const ASKED: [(&str, &str); 14] = [
    ("accept", "application/json"),
    ("authorization", "Bearer a"),
    ("cache-control", "max-age=0"),
    ("cache-control", "no-cache"),
    ("cache-control", "no-store"),
    ("cache-control", "only-if-cached"),
    ("if-modified-since", "Mon, 02 Nov 2026 00:00:00 GMT"),
    ("if-none-match", "\"v1\""),
    ("if-none-match", "W/\"v1\", \"other\""),
    ("origin", "http://shop.example"),
    ("range", "bytes=0-9"),
    ("te", "trailers"),
    ("te", "trailers"),
    ("x-no-compression", "1"),
];

/// How many bytes of the request's body the service has read.
pub(super) const UPLOAD: HeaderName = HeaderName::from_static("x-upload");
