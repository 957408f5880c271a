use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, ETAG, Entry, IF_NONE_MATCH, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body::SizeHint;

use super::accept::Accepted;
use super::coding::Coding;
use super::hint::Hint;
use super::media::MediaTypes;

/// What the layer was told.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) threshold: u64,
    pub(super) order: Vec<Coding>,
    pub(super) levels: [u32; Coding::COUNT],
    pub(super) media_types: MediaTypes,
    pub(super) opt_out: Option<OptOut>,
}

/// The request field that turns compression off.
#[derive(Clone, Debug)]
pub(super) struct OptOut {
    name: HeaderName,
    /// `accept-encoding` and the name, made once for all responses.
    vary: HeaderValue,
}

/// What matters of a request.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// `accept-encoding`, which is read only where it comes to that.
    accepts: Lines,
    opted_out: bool,
    head_only: bool,
    connect: bool,
    if_none_match: Lines,
}

/// The lines of a field, nearly always none or one.
#[derive(Clone, Debug)]
enum Lines {
    None,
    One(HeaderValue),
    More(Vec<HeaderValue>),
}

/// What matters of a response beside its fields.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) hint: Hint,
    pub(super) size: SizeHint,
    /// What the user's own closure says.
    pub(super) wanted: bool,
}

/// What becomes of a response. The fields are edited already, but for what tells the coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Leave,
    /// The answer to a HEAD: a server would send, or state the length of, a body that is there.
    Bodiless,
    Compress {
        coding: Coding,
        level: u32,
        padding: u8,
        /// The exact size, if it is known.
        size: Option<u64>,
        /// That size too, if the body is small enough to be compressed at once.
        at_once: Option<usize>,
        /// Also where it does not become smaller, since the client refuses identity.
        must: bool,
    },
}

impl Lines {
    fn of(headers: &HeaderMap, name: &HeaderName) -> Self {
        let mut lines = headers.get_all(name).iter();
        match (lines.next(), lines.next()) {
            (None, _) => Self::None,
            (Some(line), None) => Self::One(line.clone()),
            (Some(first), Some(second)) => {
                Self::More([first, second].into_iter().chain(lines).cloned().collect())
            }
        }
    }

    fn as_slice(&self) -> &[HeaderValue] {
        match self {
            Self::None => &[],
            Self::One(line) => std::slice::from_ref(line),
            Self::More(lines) => lines,
        }
    }
}

impl Asked {
    /// How large the body is that a GET would get.
    pub(super) fn size(&self, headers: &HeaderMap, body: SizeHint) -> SizeHint {
        // To HEAD, a service may give the body of a GET, or none.
        if body.exact().is_some_and(|size| size > 0 || !self.head_only) {
            return body;
        }
        match headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok()) {
            Some(declared) => SizeHint::with_exact(declared),
            None if self.head_only => SizeHint::new(),
            None => body,
        }
    }
}

impl OptOut {
    pub(super) fn by(name: HeaderName) -> Self {
        // A name has no byte that a value may not have.
        let vary = HeaderValue::try_from(format!("{ACCEPT_ENCODING}, {name}"));
        Self { name, vary: vary.unwrap_or(HeaderValue::from_static("*")) }
    }
}

impl Rules {
    pub(super) fn ask(&self, method: &Method, headers: &HeaderMap) -> Asked {
        Asked {
            accepts: Lines::of(headers, &ACCEPT_ENCODING),
            opted_out: self.opt_out.as_ref().is_some_and(|it| headers.contains_key(&it.name)),
            head_only: method == Method::HEAD,
            connect: method == Method::CONNECT,
            if_none_match: Lines::of(headers, &IF_NONE_MATCH),
        }
    }

    /// Decides, and edits the fields that do not depend on how the compression goes.
    pub(super) fn decide(
        &self,
        asked: &Asked,
        answer: &Answer,
        headers: &mut HeaderMap,
    ) -> Decision {
        if answer.status == StatusCode::NOT_MODIFIED {
            if agree_with_what_was_sent(asked.if_none_match.as_slice(), headers) {
                add_vary(headers, self.opt_out.as_ref());
            }
            return Decision::Leave;
        }
        if !self.is_eligible(asked, answer, headers) {
            return Decision::Leave;
        }
        let decision = self.choose(asked, answer);
        // What is left for other reasons is the same for clients that opt out.
        let by_opt_out = asked.opted_out || decision != Decision::Leave;
        add_vary(headers, self.opt_out.as_ref().filter(|_| by_opt_out));
        if decision == Decision::Bodiless {
            speak_of_other_bytes(headers);
        }
        decision
    }

    /// What becomes of a response that some client could get compressed.
    fn choose(&self, asked: &Asked, answer: &Answer) -> Decision {
        if asked.opted_out {
            return Decision::Leave;
        }
        let padding = answer.hint.padding;
        let accepted = Accepted::of(asked.accepts.as_slice());
        let chosen = if padding > 0 {
            accepted.choose(&[Coding::Gzip]).filter(|gzip| self.order.contains(gzip))
        } else {
            accepted.choose(&self.order)
        };
        let Some(coding) = chosen else { return Decision::Leave };
        let small = answer.size.upper().is_some_and(|size| size < self.threshold);
        let wanted = answer.hint.wish == Some(true) || accepted.refuses_identity();
        if small && !wanted {
            return Decision::Leave;
        }
        if asked.head_only {
            return Decision::Bodiless;
        }
        let size = answer.size.exact();
        let small = size.filter(|size| *size <= WHOLE_MOST);
        let at_once = small.and_then(|size| usize::try_from(size).ok());
        let level = self.levels[coding.index()];
        let must = accepted.refuses_identity();
        Decision::Compress { coding, level, padding, size, at_once, must }
    }

    /// Whether some client could get this response compressed.
    fn is_eligible(&self, asked: &Asked, answer: &Answer, headers: &HeaderMap) -> bool {
        let status = answer.status;
        let bodiless = status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::RESET_CONTENT
            || asked.connect && status.is_success()
            // The length of a HEAD's answer is that of a GET's, not of its own body.
            || !asked.head_only && answer.size.exact() == Some(0);
        if bodiless || status == StatusCode::PARTIAL_CONTENT {
            return false;
        }
        // The media type first: it leaves out the most, and the rest need not be looked at.
        let worth_it = answer.hint.wish.unwrap_or_else(|| {
            let content_type = headers.get(CONTENT_TYPE);
            answer.wanted
                && content_type.is_some_and(|value| self.media_types.include(value.as_bytes()))
        });
        let is_part = || headers.contains_key(CONTENT_RANGE);
        let untouchable = || is_part() || is_encoded(headers) || is_grpc(headers);
        worth_it && !untouchable() && !forbids_transforming(headers)
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            threshold: DEFAULT_THRESHOLD,
            order: vec![Coding::Gzip, Coding::Deflate],
            levels: DEFAULT_LEVELS,
            media_types: MediaTypes::default(),
            opt_out: Some(OptOut::by(DEFAULT_OPT_OUT)),
        }
    }
}

/// Edits the head of a response whose body is compressed, to so many bytes if that is known.
pub(super) fn mark(headers: &mut HeaderMap, coding: Coding, length: Option<usize>) {
    speak_of_other_bytes(headers);
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// Takes off what is only true of the bytes before the coding: lengths, ranges and digests
/// (RFC 9110 §8.6, §14.3, RFC 9530 §2, §3). A strong tag is of bytes too, and becomes weak.
pub(super) fn speak_of_other_bytes(headers: &mut HeaderMap) {
    for stale in [CONTENT_LENGTH, ACCEPT_RANGES, CONTENT_DIGEST, REPR_DIGEST, DIGEST, CONTENT_MD5] {
        headers.remove(stale);
    }
    weaken_etag(headers);
}

/// Names in `vary` what the answer depends on, unless it is there, or `*` is: `accept-encoding`, and
/// the field that opts out, if it is given.
fn add_vary(headers: &mut HeaderMap, opt_out: Option<&OptOut>) {
    if let Entry::Vacant(vary) = headers.entry(VARY) {
        vary.insert(opt_out.map_or(HeaderValue::from(ACCEPT_ENCODING), |it| it.vary.clone()));
        return;
    }
    for name in [ACCEPT_ENCODING].into_iter().chain(opt_out.map(|it| it.name.clone())) {
        let covers =
            |member: &[u8]| member == b"*" || member.eq_ignore_ascii_case(name.as_str().as_bytes());
        let mut lines = headers.get_all(VARY).iter();
        let varies = |line: &HeaderValue| {
            line.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii).any(covers)
        };
        if !lines.any(varies) {
            headers.append(VARY, HeaderValue::from(name));
        }
    }
}

/// The bytes are others than those that the tag is of (RFC 9110 §8.8.1), but the same in meaning.
fn weaken_etag(headers: &mut HeaderMap) {
    if let Entry::Occupied(mut etag) = headers.entry(ETAG) {
        if let Some(weak) = weak(etag.get()) {
            etag.insert(weak);
        }
    }
}

/// The weak form of a strong tag.
fn weak(etag: &HeaderValue) -> Option<HeaderValue> {
    let strong = etag.as_bytes();
    if !strong.starts_with(b"\"") {
        return None;
    }
    HeaderValue::from_bytes(&[b"W/", strong].concat()).ok()
}

/// A 304 freshens what a client has only if its tag is the same in strength (RFC 9111 §4.3.4). So
/// where the client asked with the weak tag that it got with the compressed answer, that is the
/// tag to send. Tells whether it was so.
fn agree_with_what_was_sent(if_none_match: &[HeaderValue], headers: &mut HeaderMap) -> bool {
    let Some(weak) = headers.get(ETAG).and_then(weak) else { return false };
    // A tag may have commas in it, but no quotes: looking for all of it does not mistake one.
    let names = |line: &HeaderValue| {
        line.as_bytes().windows(weak.len()).any(|part| part == weak.as_bytes())
    };
    let agrees = if_none_match.iter().any(names);
    if agrees {
        headers.insert(ETAG, weak);
    }
    agrees
}

fn is_encoded(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(CONTENT_ENCODING).iter();
    lines.any(|line| !line.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}

/// gRPC compresses by itself, message by message.
fn is_grpc(headers: &HeaderMap) -> bool {
    let start = headers.get(CONTENT_TYPE).and_then(|value| value.as_bytes().get(..GRPC.len()));
    start.is_some_and(|start| start.eq_ignore_ascii_case(GRPC))
}

/// RFC 9111 §5.2.2.6.
fn forbids_transforming(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(CACHE_CONTROL).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b','))
        .any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
}

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const DIGEST: HeaderName = HeaderName::from_static("digest");
const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

const GRPC: &[u8] = b"application/grpc";

/// Up to this size a body is compressed at once: at level 6 of gzip, two milliseconds of work.
const WHOLE_MOST: u64 = 128 * 1024;

const DEFAULT_THRESHOLD: u64 = 1024;
const DEFAULT_LEVELS: [u32; Coding::COUNT] = [6, 6, 4, 3];
const DEFAULT_OPT_OUT: HeaderName = HeaderName::from_static("x-no-compression");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fields::{Fields, map};

    /// Decides over a request of these fields and a response of this status and these fields,
    /// whose body is of 2,000 bytes.
    fn decide(
        method: &Method,
        request: Fields<'_>,
        status: u16,
        response: Fields<'_>,
    ) -> (Decision, HeaderMap) {
        let rules = Rules::default();
        let mut headers = map(response);
        let asked = rules.ask(method, &map(request));
        let body =
            if asked.head_only { SizeHint::with_exact(0) } else { SizeHint::with_exact(2_000) };
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            hint: Hint::default(),
            size: asked.size(&headers, body),
            wanted: true,
        };
        (rules.decide(&asked, &answer, &mut headers), headers)
    }

    fn compressed(decision: Decision) -> bool {
        matches!(decision, Decision::Compress { .. })
    }

    const GZIP: Fields<'_> = &[("accept-encoding", "gzip")];
    const HTML: (&str, &str) = ("content-type", "text/html");

    #[test]
    fn only_what_gains_is_compressed() {
        // Status, response fields, whether it is compressed, and whether it has a `vary`.
        let table: &[(u16, Fields<'_>, bool, bool)] = &[
            (200, &[HTML], true, true),
            (404, &[HTML], true, true),
            (500, &[("content-type", "Application/Problem+JSON; charset=utf-8")], true, true),
            (200, &[], false, false),
            (200, &[("content-type", "image/png")], false, false),
            (200, &[("content-type", "Image/PNG")], false, false),
            (200, &[("content-type", "video/mp4")], false, false),
            (200, &[("content-type", "application/zip")], false, false),
            (200, &[("content-type", "application/grpc")], false, false),
            (200, &[("content-type", "application/grpc+json")], false, false),
            (200, &[("content-type", "image/svg+xml")], true, true),
            (200, &[("content-type", "text/event-stream")], true, true),
            (200, &[("content-type", "font/woff2")], false, false),
            (200, &[("content-type", "text")], false, false),
            (101, &[HTML], false, false),
            (204, &[HTML], false, false),
            (205, &[HTML], false, false),
            (206, &[HTML], false, false),
            (304, &[HTML], false, false),
            (416, &[HTML, ("content-range", "bytes */9")], false, false),
            (200, &[HTML, ("content-encoding", "br")], false, false),
            (200, &[HTML, ("content-encoding", "identity")], true, true),
            (200, &[HTML, ("cache-control", "public, No-Transform")], false, false),
            (
                200,
                &[HTML, ("cache-control", "public"), ("cache-control", "no-transform")],
                false,
                false,
            ),
            (200, &[HTML, ("cache-control", "x=\"no-transformer\"")], true, true),
        ];
        for (status, fields, expected, vary) in table {
            let (decision, headers) = decide(&Method::GET, GZIP, *status, fields);
            assert_eq!(compressed(decision), *expected, "{status} {fields:?}");
            assert_eq!(headers.contains_key(VARY), *vary, "{status} {fields:?}");
        }
        assert!(!compressed(decide(&Method::CONNECT, GZIP, 200, &[HTML]).0));
    }

    #[test]
    fn what_could_have_been_compressed_varies() {
        let (one, both) = ("accept-encoding", "accept-encoding, x-no-compression");
        for (request, vary) in [
            (&[][..], one),
            (&[("accept-encoding", "br")], one),
            (&[("x-no-compression", "")], both),
            (&[("accept-encoding", "gzip"), ("x-no-compression", "")], both),
        ] {
            let (decision, headers) = decide(&Method::GET, request, 200, &[HTML]);
            assert_eq!(decision, Decision::Leave);
            assert!(headers.get_all(VARY).iter().eq([vary]), "{request:?} {headers:?}");
        }
        let small = &[HTML, ("content-length", "20")];
        for (method, response, vary) in [
            (Method::GET, &[HTML][..], both),
            (Method::HEAD, &[HTML], both),
            (Method::HEAD, small, one),
        ] {
            let (_, headers) = decide(&method, GZIP, 200, response);
            assert!(headers.get_all(VARY).iter().eq([vary]), "{method} {headers:?}");
        }
    }

    #[test]
    fn vary_names_a_field_once() {
        let by_x_a = OptOut::by(HeaderName::from_static("x-a"));
        for (before, after, after_both) in [
            (&[][..], &["accept-encoding"][..], &["accept-encoding, x-a"][..]),
            (&["origin"], &["origin", "accept-encoding"], &["origin", "accept-encoding", "x-a"]),
            (
                &["origin, Accept-Encoding"],
                &["origin, Accept-Encoding"],
                &["origin, Accept-Encoding", "x-a"],
            ),
            (&["X-A"], &["X-A", "accept-encoding"], &["X-A", "accept-encoding"]),
            (&["*"], &["*"], &["*"]),
            (
                &["accept-encodings"],
                &["accept-encodings", "accept-encoding"],
                &["accept-encodings", "accept-encoding", "x-a"],
            ),
        ] {
            let fields: Vec<_> = before.iter().map(|line| ("vary", *line)).collect();
            for (opt_out, after) in [(None, after), (Some(&by_x_a), after_both)] {
                let mut headers = map(&fields);
                add_vary(&mut headers, opt_out);
                assert!(headers.get_all(VARY).iter().eq(after), "{before:?} {headers:?}");
            }
        }
    }

    #[test]
    fn a_known_size_under_the_threshold_is_left() {
        let rules = Rules::default();
        let decide = |accept: &str, hint: Hint, size: SizeHint| {
            let asked = rules.ask(&Method::GET, &map(&[("accept-encoding", accept)]));
            let answer = Answer { status: StatusCode::OK, hint, size, wanted: true };
            rules.decide(&asked, &answer, &mut map(&[HTML]))
        };
        let size_of = |decision| match decision {
            Decision::Compress { size, .. } => Some(size),
            Decision::Leave | Decision::Bodiless => None,
        };
        let exact = SizeHint::with_exact;
        let none = Hint::default();
        assert_eq!(size_of(decide("gzip", none, exact(0))), None);
        assert_eq!(size_of(decide("gzip", none, exact(1_023))), None);
        assert_eq!(size_of(decide("gzip", none, exact(1_024))), Some(Some(1_024)));
        assert_eq!(size_of(decide("gzip", none, SizeHint::new())), Some(None));
        assert_eq!(size_of(decide("gzip", Hint::force(), exact(9))), Some(Some(9)));
        assert_eq!(size_of(decide("gzip", Hint::force(), exact(0))), None);
        assert_eq!(size_of(decide("gzip, identity;q=0", none, exact(9))), Some(Some(9)));
        assert_eq!(size_of(decide("gzip", Hint::forbid(), exact(9_999))), None);
        assert_eq!(size_of(decide("deflate", Hint::force().pad(9), exact(9_999))), None);
    }

    #[test]
    fn the_head_speaks_of_the_compressed_bytes() {
        let fields: Fields<'_> = &[
            ("etag", "\"v1\""),
            ("content-length", "2000"),
            ("accept-ranges", "bytes"),
            ("content-digest", "sha-256=:AA==:"),
            ("repr-digest", "sha-256=:AA==:"),
            ("content-encoding", "identity"),
        ];
        let mut headers = map(fields);
        mark(&mut headers, Coding::Gzip, Some(7));
        let expected: Fields<'_> =
            &[("etag", "W/\"v1\""), ("content-length", "7"), ("content-encoding", "gzip")];
        assert_eq!(headers, map(expected));
        mark(&mut headers, Coding::Gzip, None);
        assert_eq!(headers, map(&[expected[0], expected[2]]), "a weak tag stays as it is");
    }

    #[test]
    fn a_head_says_what_a_get_would() {
        let fields: Fields<'_> =
            &[HTML, ("etag", "\"v1\""), ("content-length", "2000"), ("accept-ranges", "bytes")];
        let (decision, headers) = decide(&Method::HEAD, GZIP, 200, fields);
        assert_eq!(decision, Decision::Bodiless);
        let vary = ("vary", "accept-encoding, x-no-compression");
        assert_eq!(headers, map(&[HTML, ("etag", "W/\"v1\""), vary]));
        let small: Fields<'_> = &[HTML, ("etag", "\"v1\""), ("content-length", "20")];
        let (_, headers) = decide(&Method::HEAD, GZIP, 200, small);
        assert_eq!(headers["content-length"], "20");
        assert_eq!(headers["etag"], "\"v1\"");
    }

    #[test]
    fn a_304_names_the_tag_that_the_client_has() {
        for (if_none_match, etag, expected) in [
            ("W/\"v1\"", "\"v1\"", "W/\"v1\""),
            ("\"v0\", W/\"v1\"", "\"v1\"", "W/\"v1\""),
            ("\"v1\"", "\"v1\"", "\"v1\""),
            ("W/\"v1\"", "W/\"v1\"", "W/\"v1\""),
            ("*", "\"v1\"", "\"v1\""),
            ("W/\"v2\"", "\"v1\"", "\"v1\""),
        ] {
            let request = [GZIP[0], ("if-none-match", if_none_match)];
            let (decision, headers) = decide(&Method::GET, &request, 304, &[("etag", etag)]);
            assert_eq!(decision, Decision::Leave);
            assert_eq!(headers["etag"], expected, "{if_none_match} {etag}");
            // It takes the place of the one that a cache has of the compressed response.
            let vary = (etag != expected).then_some("accept-encoding, x-no-compression");
            assert!(headers.get_all(VARY).iter().eq(vary), "{if_none_match} {etag}");
        }
    }

    proptest! {
        #[test]
        fn no_field_makes_it_panic(
            fields in prop::collection::vec((0..8_usize, prop::collection::vec(any::<u8>(), 0..30)), 0..8),
            status in 100..600_u16,
            force in any::<bool>(),
        ) {
            let names = [
                ETAG, VARY, CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LENGTH, CACHE_CONTROL,
                IF_NONE_MATCH, ACCEPT_ENCODING,
            ];
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    headers.append(names[name].clone(), value);
                }
            }
            let rules = Rules::default();
            let asked = rules.ask(&Method::GET, &headers);
            let answer = Answer {
                status: StatusCode::from_u16(status).unwrap(),
                hint: if force { Hint::force() } else { Hint::default() },
                size: asked.size(&headers, SizeHint::new()),
                wanted: true,
            };
            let before = headers.get_all(VARY).iter().count();
            rules.decide(&asked, &answer, &mut headers);
            mark(&mut headers, Coding::Gzip, None);
            prop_assert!(headers.get_all(VARY).iter().count() <= before + 2);
        }
    }
}
