use std::convert::Infallible;
use std::fmt::Display;
use std::future::ready;
use std::sync::Mutex;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Empty;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_http::compression::CompressionLayer;
use tower_kit::compress::{CompressLayer, Encoding};

use super::harness::{WHOLE, decode, drain, encoding_of, header, list, script, steps};
use crate::support::{Scripted, empty, noise, now, prose};

/// A request and a response to it.
#[derive(Debug, Clone)]
struct Case {
    method: &'static str,
    request: Vec<(&'static str, &'static str)>,
    status: u16,
    response: Vec<(&'static str, &'static str)>,
    body: Bytes,
    streamed: bool,
}

impl Case {
    fn new() -> Self {
        Self {
            method: "GET",
            request: vec![("accept-encoding", "gzip")],
            status: 200,
            response: vec![
                ("content-type", "text/html"),
                ("etag", "\"v1\""),
                ("accept-ranges", "bytes"),
            ],
            body: prose(4_000, 50),
            streamed: false,
        }
    }

    fn with(mut self, edit: impl FnOnce(&mut Self)) -> Self {
        edit(&mut self);
        self
    }

    fn accepts(self, value: &'static str) -> Self {
        self.with(|case| case.request = vec![("accept-encoding", value)])
    }

    fn media_type(self, value: &'static str) -> Self {
        self.with(|case| case.response[0].1 = value)
    }

    /// Returns `true` if the layer compresses the body in one go.
    fn is_whole(&self) -> bool {
        let known = !self.streamed || self.says("content-length", "");
        known && self.body.len() <= WHOLE
    }

    fn requests(&self, name: &str) -> bool {
        self.request.iter().any(|(at, _)| *at == name)
    }

    fn says(&self, name: &str, part: &str) -> bool {
        let has = |value: &str| value.to_ascii_lowercase().contains(part);
        self.response.iter().any(|(at, value)| *at == name && has(value))
    }

    fn is_media_type(&self, types: &str) -> bool {
        let is = |(name, value): &(_, _)| {
            *name == "content-type" && types.split('|').any(|media_type| media_type == *value)
        };
        self.response.iter().any(is)
    }

    fn request(&self) -> Request<Empty<Bytes>> {
        let mut request = Request::builder().method(self.method).uri("/");
        for (name, value) in &self.request {
            request = request.header(*name, *value);
        }
        request.body(empty()).unwrap()
    }

    fn response(&self) -> Response<Scripted> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.response.iter().filter(|(_, value)| *value != "(none)") {
            response = response.header(*name, *value);
        }
        response.body(script(steps([self.body.clone()]), !self.streamed)).unwrap()
    }
}

/// The response as a client sees it.
#[derive(Debug, PartialEq)]
struct View {
    status: u16,
    encoding: Option<String>,
    /// `vary` names `accept-encoding`.
    varies: bool,
    vary: String,
    /// The length that the server would send: of the head, or of the body.
    length: Option<u64>,
    etag: String,
    ranges: bool,
    digest: bool,
}

impl View {
    /// Returns the view and the decoded body.
    fn of<S, B>(case: &Case, service: S) -> (Self, Vec<u8>)
    where
        S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error = Infallible>,
        B: Body<Data = Bytes> + Unpin,
        B::Error: Display,
    {
        let response = now(service.oneshot(case.request())).unwrap();
        let vary = list(&response, "vary");
        let declared = header(&response, "content-length").map(|length| length.parse().unwrap());
        let exact = response.body().size_hint().exact();
        let encoding = encoding_of(&response).map(str::to_owned);
        let view = Self {
            status: response.status().as_u16(),
            varies: vary.to_ascii_lowercase().contains("accept-encoding") || vary == "*",
            length: declared.or(exact.filter(|_| case.method != "HEAD")),
            etag: list(&response, "etag"),
            ranges: response.headers().contains_key("accept-ranges"),
            digest: response.headers().contains_key("content-digest"),
            vary,
            encoding: encoding.clone(),
        };
        let mut body = response.into_body();
        let drained = drain(&mut body);
        assert_eq!(drained.error, None, "{case:?}");
        let bytes = drained.bytes();
        let own = case.says("content-encoding", "");
        let bytes = match encoding {
            Some(encoding) if (!own || encoding == "gzip") && !bytes.is_empty() => {
                decode(&encoding, &bytes)
            }
            _ => bytes,
        };
        (view, bytes)
    }
}

/// An intended difference between the two layers.
struct Difference {
    name: &'static str,
    /// Returns `true` if the difference explains all by which the views differ.
    explains: fn(&Case, ours: &View, theirs: &View) -> bool,
}

/// tower-http compresses, for this client or for others, and this layer leaves the response alone.
fn only_they_would(case: &Case, ours: &View, theirs: &View) -> bool {
    let untouched = !case.says("etag", "\"v1\"") || ours.etag == "\"v1\"";
    let would = theirs.encoding.is_some() || theirs.varies;
    ours.encoding.is_none() && untouched && would && ours.status == theirs.status
}

fn varies_alike(ours: &View, theirs: &View) -> bool {
    ours.vary == theirs.vary
}

fn both_compress(ours: &View, theirs: &View) -> bool {
    ours.encoding.is_some() && ours.encoding == theirs.encoding && ours.status == theirs.status
}

/// Media types that do not become smaller, or are unknown.
const NOT_WORTH_IT: &str = "Image/PNG|video/mp4|audio/mpeg|application/zip|\
    application/octet-stream|application/pdf|font/woff2|text|(none)";

/// The intended differences, each with its reason. The test fails at any other difference, and at
/// an entry that explains nothing any more.
const DIFFERENCES: [Difference; 18] = [
    Difference {
        // The exact length lets clients show progress, and keeps connections of HTTP/1.0 alive. The
        // strong tag and the digests are of the uncompressed bytes (RFC 9110 §8.8.1, RFC 9530).
        name: "compressed responses have an exact length, the tag of the encoding and no digest",
        explains: |case, ours, theirs| {
            let length = theirs.length.is_none() && ours.length.is_some() == case.is_whole();
            let encoding = format!("--{}\"", ours.encoding.as_deref().unwrap_or_default());
            let own = ours.etag.is_empty()
                || ours.etag.ends_with(&encoding)
                || ours.etag.starts_with("W/");
            let same = varies_alike(ours, theirs) && ours.ranges == theirs.ranges;
            both_compress(ours, theirs) && length && own && same && !ours.digest
        },
    },
    Difference {
        // Compressing less than a packet saves nothing. `vary` is named, since a client that
        // refuses identity gets such a body compressed.
        name: "bodies under 1,024 bytes are uncompressed",
        explains: |case, ours, theirs| {
            let small = case.body.len() < 1_024;
            small && only_they_would(case, ours, theirs) && ours.varies
        },
    },
    Difference {
        // RFC 9110 §12.5.3: the client accepts nothing else.
        name: "a client that refuses identity gets small bodies compressed",
        explains: |case, ours, theirs| {
            let refuses =
                |value: &str| ["identity;q=0", "*;q=0"].iter().any(|no| value.contains(no));
            let refused = case.request.iter().any(|(_, value)| refuses(value));
            let small = !case.streamed && (1..1_024).contains(&case.body.len());
            refused && small && ours.encoding.is_some() && theirs.encoding.is_none()
        },
    },
    Difference {
        // The same holds below the threshold of tower-http.
        name: "bodies under 32 bytes vary too",
        explains: |case, ours, theirs| {
            let small = !case.streamed && (1..32).contains(&case.body.len());
            small && ours.encoding == theirs.encoding && ours.varies && !theirs.varies
        },
    },
    Difference {
        // 204 and 205 have no content (RFC 9110 §15.3.5, §15.3.6), and 206 has a part of other
        // bytes.
        name: "204, 205 and 206 are uncompressed",
        explains: |case, ours, theirs| {
            let left = matches!(case.status, 204..=206);
            left && only_they_would(case, ours, theirs) && !ours.varies
        },
    },
    Difference {
        // RFC 9110 §15.4.5.
        name: "a 304 has no encoding, and the tag of the 200",
        explains: |case, ours, _| case.status == 304 && ours.encoding.is_none() && ours.varies,
    },
    Difference {
        // This layer has a list of types; tower-http excludes three, and compares their case.
        name: "incompressible and unknown media types are uncompressed",
        explains: |case, ours, theirs| {
            case.is_media_type(NOT_WORTH_IT) && only_they_would(case, ours, theirs) && !ours.varies
        },
    },
    Difference {
        // gRPC-web compresses its messages as gRPC does.
        name: "gRPC-web is uncompressed, and gRPC in any case",
        explains: |case, ours, theirs| {
            case.says("content-type", "application/grpc")
                && only_they_would(case, ours, theirs)
                && !ours.varies
        },
    },
    Difference {
        // This layer flushes each event at once.
        name: "event streams are compressed",
        explains: |case, ours, theirs| {
            let events = case.is_media_type("text/event-stream|text/event-stream; a=b");
            events && theirs.encoding.is_none() && ours.varies
        },
    },
    Difference {
        // They are raw pixels.
        name: "uncompressed image types are compressed",
        explains: |case, ours, theirs| {
            case.is_media_type("image/bmp") && theirs.encoding.is_none() && ours.encoding.is_some()
        },
    },
    Difference {
        // RFC 9111 §5.2.2.6: a MUST.
        name: "no-transform is obeyed",
        explains: |case, ours, theirs| {
            case.says("cache-control", "no-transform")
                && only_they_would(case, ours, theirs)
                && !ours.varies
        },
    },
    Difference {
        // It has the encoding of the GET (RFC 9110 §9.3.2), whose length is not known.
        name: "the response to HEAD has the tag of the encoding and no wrong length",
        explains: |case, ours, _| {
            let length = if ours.encoding.is_some() { 0 } else { 1_023 };
            case.method == "HEAD" && ours.length.is_none_or(|it| it <= length)
        },
    },
    Difference {
        // RFC 9110 §9.3.6: the body is a tunnel.
        name: "2xx to CONNECT is uncompressed",
        explains: |case, ours, theirs| {
            case.method == "CONNECT" && only_they_would(case, ours, theirs) && !ours.varies
        },
    },
    Difference {
        name: "bodies that do not become smaller are uncompressed",
        explains: |case, ours, theirs| {
            let random = case.body == noise(case.body.len());
            random && only_they_would(case, ours, theirs) && varies_alike(ours, theirs)
        },
    },
    Difference {
        // RFC 9110 §12.5.3 lets a server send the response. tower-http turns a complete response
        // into a 406, even that to a POST that has done its work.
        name: "identity is sent instead of 406 if no encoding is acceptable",
        explains: |_, ours, theirs| {
            theirs.status == 406 && ours.status != 406 && ours.encoding.is_none()
        },
    },
    Difference {
        // RFC 9110 §8.4.1: identity is no encoding.
        name: "content-encoding: identity is compressed",
        explains: |case, ours, theirs| {
            case.says("content-encoding", "identity")
                && theirs.encoding.as_deref().is_some_and(|it| it.eq_ignore_ascii_case("identity"))
                && ours.encoding.as_deref() == Some("gzip")
        },
    },
    Difference {
        name: "a client opts out by x-no-compression",
        explains: |case, ours, theirs| {
            let vary = varies_alike(ours, theirs);
            case.requests("x-no-compression") && vary && only_they_would(case, ours, theirs)
        },
    },
    Difference {
        // `*` covers every header. tower-http compares substrings, so that a header whose name
        // contains `accept-encoding` is enough.
        name: "vary is compared by whole names, and * is enough",
        explains: |case, ours, theirs| {
            let star = case.says("vary", "*") && ours.vary == "*";
            let inside = case.says("vary", "x-accept-encoding")
                && ours.vary == "x-accept-encoding, accept-encoding";
            (star || inside) && both_compress(ours, theirs)
        },
    },
];

/// Values of `accept-encoding`.
const ACCEPTS: &str = "|gzip|x-gzip|GZIP|deflate|br|zstd|gzip, deflate, br, zstd|deflate, gzip|\
    gzip;q=0.5, deflate|gzip;q=0.5, br;q=0.4, identity;q=0.1|gzip;q=0.001|gzip;q=0|gzip;q=0, deflate|\
    identity|identity, gzip;q=0.5|identity;q=0|identity;q=0, gzip|*|*;q=0|*;q=0, gzip|\
    *;q=0.5, gzip;q=0.1|gzip;q=0, *|gzip;q=2|gzip;q=0.1234|gzip;q=abc, deflate|\
    gzip; q=0.7 , deflate ; q=0.8|compress, gzip|snappy|,,gzip,|gzip deflate";

/// Values of `content-type`, beside [`NOT_WORTH_IT`].
const MEDIA_TYPES: &str = "text/html|text/html; charset=utf-8|TEXT/HTML|application/json|\
    application/problem+json|application/javascript|application/wasm|image/svg+xml|image/png|\
    image/jpeg|image/bmp|text/event-stream|text/event-stream; a=b|application/grpc|\
    application/grpc+proto|application/grpc-web|Application/GRPC";

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let methods = ["GET", "HEAD", "POST", "OPTIONS", "CONNECT"];
    let statuses = [200, 201, 204, 205, 206, 301, 304, 404, 416, 500];
    for accept in ACCEPTS.split('|') {
        cases.push(Case::new().accepts(accept));
        cases.push(Case::new().accepts(accept).with(|case| case.streamed = true));
        for media_type in ["image/png", "text/event-stream", "video/mp4"] {
            cases.push(Case::new().accepts(accept).media_type(media_type));
        }
        for len in [20, 500] {
            cases.push(Case::new().accepts(accept).with(|case| case.body = prose(len, 51)));
        }
    }
    for media_type in MEDIA_TYPES.split('|').chain(NOT_WORTH_IT.split('|')) {
        for status in statuses {
            cases.push(Case::new().media_type(media_type).with(|case| case.status = status));
        }
        for method in methods {
            cases.push(Case::new().media_type(media_type).with(|case| case.method = method));
        }
    }
    for method in methods {
        for status in statuses {
            cases.push(Case::new().with(|case| (case.method, case.status) = (method, status)));
        }
    }
    for len in [0, 1, 31, 32, 100, 1_023, 1_024, 4_000, WHOLE, WHOLE + 1] {
        for random in [false, true] {
            cases.push(Case::new().with(|case| {
                case.body = if random { noise(len) } else { prose(len, 52) };
            }));
        }
    }
    for field in [
        ("content-encoding", "br"),
        ("content-encoding", "identity"),
        ("content-range", "bytes 0-3999/9000"),
        ("cache-control", "no-transform"),
        ("cache-control", "public, No-Transform"),
        ("cache-control", "public, max-age=60"),
        ("content-length", "4000"),
        ("content-digest", "sha-256=:AA==:"),
        ("vary", "origin"),
        ("vary", "Accept-Encoding"),
        ("vary", "*"),
        ("vary", "x-accept-encoding"),
        ("x-own", "1"),
    ] {
        for streamed in [false, true] {
            for method in ["GET", "POST"] {
                cases.push(Case::new().with(|case| {
                    (case.streamed, case.method) = (streamed, method);
                    case.response.push(field);
                }));
            }
        }
    }
    for field in [
        ("x-no-compression", "1"),
        ("range", "bytes=0-9"),
        ("if-none-match", "\"v1\""),
        ("cache-control", "no-transform"),
    ] {
        cases.push(Case::new().with(|case| case.request.push(field)));
    }
    cases
}

#[test]
fn differences_to_tower_http_are_listed() {
    // The order of tower-http.
    let ours = CompressLayer::new().encodings([
        Encoding::Zstd,
        Encoding::Brotli,
        Encoding::Gzip,
        Encoding::Deflate,
    ]);
    let mut used = [0; DIFFERENCES.len()];
    let cases = cases();
    for case in &cases {
        let inner = || {
            let response = Mutex::new(Some(case.response()));
            service_fn(move |_: Request<Empty<Bytes>>| {
                ready(Ok::<_, Infallible>(response.lock().unwrap().take().unwrap()))
            })
        };
        let (ours, our_text) = View::of(case, ours.layer(inner()));
        let (theirs, their_text) = View::of(case, CompressionLayer::new().layer(inner()));
        // The body to a HEAD is dropped if the server would send a wrong length.
        assert!(our_text == case.body || case.method == "HEAD" && our_text.is_empty(), "{case:?}");
        assert_eq!(their_text, case.body, "{case:?}");
        if ours == theirs {
            continue;
        }
        let explained = DIFFERENCES.iter().position(|it| (it.explains)(case, &ours, &theirs));
        let shown = Case { body: Bytes::new(), ..case.clone() };
        let len = case.body.len();
        let at = explained
            .unwrap_or_else(|| panic!("{shown:?} of {len}\nours   {ours:?}\ntheirs {theirs:?}"));
        used[at] += 1;
    }
    for (difference, used) in DIFFERENCES.iter().zip(used) {
        assert!(used > 0, "an entry explains nothing: {}", difference.name);
    }
}
