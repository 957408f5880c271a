//! Random responses and requests.

use http::Method;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::Union;

use super::story::{Ask, Fields, Hint, Length, Piece, Precondition, Protocol, Story, Upload};

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
    let hops = prop_oneof![Just(Vec::new()), select(HOPS.map(<[_]>::to_vec).to_vec())];
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
    Union::new_weighted(choices.iter().map(|(weight, choice)| (*weight, Just(*choice))).collect())
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

/// Headers of a connection, or of the framing of a message.
const HOPS: [&[(&str, &str)]; 11] = [
    &[("connection", "close")],
    &[("connection", "keep-alive"), ("keep-alive", "timeout=5")],
    &[("connection", "x-hop"), ("x-hop", "1")],
    &[("connection", "keep-alive, etag")],
    &[("transfer-encoding", "chunked")],
    &[("transfer-encoding", "chunked")],
    &[("transfer-encoding", "Chunked")],
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
