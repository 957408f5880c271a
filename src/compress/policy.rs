use http::header::{ACCEPT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body::SizeHint;

use super::accept::Accepted;
use super::coding::Coding;
use super::etag::EtagMode;
use super::head::{
    InvalidLength, add_vary, declared_length, forbids_transforming, is_encoded, is_event_stream,
    is_grpc, is_transfer_encoded, make_private, set_encoding_headers,
};
use super::hint::Hint;
use super::media::MediaTypes;

/// The configuration of a layer.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) threshold: u64,
    pub(super) order: Vec<Coding>,
    pub(super) levels: [u32; Coding::COUNT],
    pub(super) media_types: MediaTypes,
    pub(super) etags: EtagMode,
    /// The request header that turns compression off.
    pub(super) opt_out: Option<HeaderName>,
}

/// The parts of a request that decide.
#[derive(Clone, Debug)]
pub(super) struct RequestInfo {
    /// `accept-encoding`, which is read only where it comes to that.
    accepts: Lines,
    opted_out: bool,
    head_only: bool,
    connect: bool,
    if_none_match: Lines,
}

/// The lines of a header, nearly always none or one.
#[derive(Clone, Debug)]
enum Lines {
    None,
    One(HeaderValue),
    More(Vec<HeaderValue>),
}

/// The parts of a response, beside its headers, that decide.
#[derive(Clone, Debug)]
pub(super) struct ResponseInfo {
    pub(super) status: StatusCode,
    pub(super) hint: Hint,
    pub(super) size: Result<SizeHint, InvalidLength>,
    /// What the user's own closure says.
    pub(super) wanted: bool,
}

/// What becomes of a response. The headers are edited already, but for those that depend on how
/// the compression goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Leave,
    /// It would have been compressed, had the client not opted out.
    OptedOut,
    /// A 304 of a response that may be compressed.
    Confirmed,
    /// The response to a HEAD: a server would send, or state the length of, a body that is there.
    Bodiless,
    Compress(Plan),
}

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) coding: Coding,
    pub(super) level: u32,
    /// The maximum.
    pub(super) padding: u8,
    /// The exact size, if it is known.
    pub(super) size: Option<u64>,
    /// That size too, if the body is small enough to be compressed at once.
    pub(super) at_once: Option<usize>,
    /// The size below which a body whose size is not known is left alone.
    pub(super) look_ahead: Option<usize>,
    /// Also where it does not become smaller, since the client refuses identity.
    pub(super) must: bool,
    /// An event stream: each event leaves at once, and idle streams are many.
    pub(super) events: bool,
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

impl RequestInfo {
    /// Returns the size of the body that a GET would get. What the head declares is what counts: by
    /// that the client knows whether all has come.
    pub(super) fn size(
        &self,
        headers: &HeaderMap,
        body: SizeHint,
    ) -> Result<SizeHint, InvalidLength> {
        Ok(match declared_length(headers)? {
            Some(declared) => SizeHint::with_exact(declared),
            // To HEAD, a service may give the body of a GET, or none.
            None if self.head_only && body.exact() == Some(0) => SizeHint::new(),
            None => body,
        })
    }
}

impl Rules {
    /// Reads a request, and gives the service the tags that it knows.
    pub(super) fn read(&self, method: &Method, headers: &mut HeaderMap) -> RequestInfo {
        let accepts = Lines::of(headers, &ACCEPT_ENCODING);
        let if_none_match = Lines::of(headers, &IF_NONE_MATCH);
        let negotiates = || Accepted::of(accepts.as_slice()).choose(&self.order).is_some();
        self.etags.restore(headers, negotiates);
        RequestInfo {
            accepts,
            opted_out: self.opt_out.as_ref().is_some_and(|name| headers.contains_key(name)),
            head_only: method == Method::HEAD,
            connect: method == Method::CONNECT,
            if_none_match,
        }
    }

    /// Decides, and edits the headers that do not depend on how the compression goes.
    pub(super) fn decide(
        &self,
        request: &RequestInfo,
        response: &ResponseInfo,
        headers: &mut HeaderMap,
    ) -> Decision {
        if response.status == StatusCode::NOT_MODIFIED {
            return self.confirm(request, response, headers);
        }
        let Some(size) = self.eligible_size(request, response, headers) else {
            self.etags.apply(headers, None);
            return Decision::Leave;
        };
        add_vary(headers);
        let Some(plan) = self.plan(request, response, size, headers) else {
            self.etags.apply(headers, None);
            return Decision::Leave;
        };
        if request.opted_out {
            self.etags.apply(headers, None);
            make_private(headers);
            return Decision::OptedOut;
        }
        if request.head_only {
            set_encoding_headers(headers, self.etags, plan.coding, None);
            return Decision::Bodiless;
        }
        Decision::Compress(plan)
    }

    /// Makes the head of a 304 that of the 200 (RFC 9110 §15.4.5).
    fn confirm(
        &self,
        request: &RequestInfo,
        response: &ResponseInfo,
        headers: &mut HeaderMap,
    ) -> Decision {
        // Most 304 have no media type: then any could be that of the 200.
        let known = headers.contains_key(CONTENT_TYPE) || response.hint.preference.is_some();
        let eligible = !(known && !self.wants(response, headers) || is_untouchable(headers));
        let coding = Accepted::of(request.accepts.as_slice()).choose(&self.order);
        let coding = coding.filter(|_| eligible);
        let own = coding.filter(|_| !request.opted_out);
        let tag = headers
            .get(ETAG)
            .and_then(|tag| self.etags.tag_of_304(tag, request.if_none_match.as_slice(), own));
        if let Some(tag) = tag {
            headers.insert(ETAG, tag);
        }
        if !eligible {
            return Decision::Leave;
        }
        add_vary(headers);
        if coding.is_some() && request.opted_out {
            make_private(headers);
            return Decision::OptedOut;
        }
        Decision::Confirmed
    }

    /// Plans for a response that some client could get compressed; `None` if this one does not.
    fn plan(
        &self,
        request: &RequestInfo,
        response: &ResponseInfo,
        size: &SizeHint,
        headers: &HeaderMap,
    ) -> Option<Plan> {
        let padding = response.hint.padding;
        let accepted = Accepted::of(request.accepts.as_slice());
        let events = is_event_stream(headers);
        let among = |codings: &[Coding]| {
            let order: Vec<_> =
                self.order.iter().copied().filter(|coding| codings.contains(coding)).collect();
            accepted.choose(&order)
        };
        let coding = if padding > 0 {
            among(&[Coding::Gzip])?
        } else if events {
            // These two hold no codec while the stream is idle.
            among(&[Coding::Gzip, Coding::Deflate]).or_else(|| accepted.choose(&self.order))?
        } else {
            accepted.choose(&self.order)?
        };
        let must = accepted.refuses_identity();
        let wanted = must || response.hint.preference == Some(true);
        if size.upper().is_some_and(|upper| upper < self.threshold) && !wanted {
            return None;
        }
        let exact = size.exact();
        let small = exact.filter(|size| *size <= WHOLE_MAX);
        // The first event of a stream is no whole body.
        let look_ahead = exact.is_none() && !wanted && !events;
        let threshold = usize::try_from(self.threshold.min(WHOLE_MAX)).ok();
        Some(Plan {
            coding,
            level: self.levels[coding.index()],
            padding,
            size: exact,
            at_once: small.and_then(|size| usize::try_from(size).ok()),
            look_ahead: threshold.filter(|_| look_ahead),
            must,
            events,
        })
    }

    /// Returns the size of a response that some client could get compressed, `None` for others.
    fn eligible_size<'a>(
        &self,
        request: &RequestInfo,
        response: &'a ResponseInfo,
        headers: &HeaderMap,
    ) -> Option<&'a SizeHint> {
        let status = response.status;
        // What the head says of the length is hyper's to refuse, or to send.
        let size = response.size.as_ref().ok()?;
        let bodiless = status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::RESET_CONTENT
            || request.connect && status.is_success()
            || size.exact() == Some(0);
        if bodiless || status == StatusCode::PARTIAL_CONTENT {
            return None;
        }
        // The media type first: it leaves out the most, and the rest need not be looked at.
        (self.wants(response, headers) && !is_untouchable(headers)).then_some(size)
    }

    /// Returns `true` if the response is worth it, by its hint, the closure and the media type.
    fn wants(&self, response: &ResponseInfo, headers: &HeaderMap) -> bool {
        response.hint.preference.unwrap_or_else(|| {
            let content_type = headers.get(CONTENT_TYPE);
            response.wanted
                && content_type.is_some_and(|value| self.media_types.include(value.as_bytes()))
        })
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            threshold: DEFAULT_THRESHOLD,
            order: Coding::ALL.to_vec(),
            levels: DEFAULT_LEVELS,
            media_types: MediaTypes::default(),
            etags: EtagMode::default(),
            opt_out: Some(DEFAULT_OPT_OUT),
        }
    }
}

/// Returns `true` if the head forbids a coding, or has one.
fn is_untouchable(headers: &HeaderMap) -> bool {
    headers.contains_key(CONTENT_RANGE)
        || is_encoded(headers)
        || is_transfer_encoded(headers)
        || is_grpc(headers)
        || forbids_transforming(headers)
}

/// Up to this size a body is compressed at once: at level 6 of gzip, two milliseconds of work.
const WHOLE_MAX: u64 = 128 * 1024;

const DEFAULT_THRESHOLD: u64 = 1024;
const DEFAULT_LEVELS: [u32; Coding::COUNT] = [6, 6, 4, 3];
const DEFAULT_OPT_OUT: HeaderName = HeaderName::from_static("x-no-compression");

#[cfg(test)]
mod tests {
    use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, VARY};
    use proptest::prelude::*;

    use super::*;
    use crate::headers::test_headers::{TestHeaders, map};

    /// Decides over a request of these fields and a response of this status and these fields,
    /// whose body is of 2,000 bytes.
    fn decide(
        method: &Method,
        request: TestHeaders<'_>,
        status: u16,
        response: TestHeaders<'_>,
    ) -> (Decision, HeaderMap) {
        decide_by(&Rules::default(), method, request, status, response)
    }

    fn decide_by(
        rules: &Rules,
        method: &Method,
        request: TestHeaders<'_>,
        status: u16,
        response: TestHeaders<'_>,
    ) -> (Decision, HeaderMap) {
        let mut headers = map(response);
        let asked = rules.read(method, &mut map(request));
        let body =
            if asked.head_only { SizeHint::with_exact(0) } else { SizeHint::with_exact(2_000) };
        let response = ResponseInfo {
            status: StatusCode::from_u16(status).unwrap(),
            hint: Hint::default(),
            size: asked.size(&headers, body),
            wanted: true,
        };
        (rules.decide(&asked, &response, &mut headers), headers)
    }

    fn plan(decision: Decision) -> Option<Plan> {
        match decision {
            Decision::Compress(plan) => Some(plan),
            _ => None,
        }
    }

    const GZIP: TestHeaders<'_> = &[("accept-encoding", "gzip")];
    const HTML: (&str, &str) = ("content-type", "text/html");
    const VARIES: (&str, &str) = ("vary", "accept-encoding");

    #[test]
    fn only_what_gains_is_compressed() {
        // Status, response headers, whether it is compressed, and whether it has a `vary`.
        let table: &[(u16, TestHeaders<'_>, bool, bool)] = &[
            (200, &[HTML], true, true),
            (404, &[HTML], true, true),
            (412, &[HTML], true, true),
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
            (416, &[HTML, ("content-range", "bytes */9")], false, false),
            (200, &[HTML, ("content-encoding", "br")], false, false),
            (200, &[HTML, ("content-encoding", "identity")], true, true),
            (200, &[HTML, ("transfer-encoding", "chunked")], true, true),
            (200, &[HTML, ("transfer-encoding", "gzip, chunked")], false, false),
            (200, &[HTML, ("transfer-encoding", "gzip")], false, false),
            (200, &[HTML, ("content-length", "2000"), ("content-length", "2000")], true, true),
            (200, &[HTML, ("content-length", "2000"), ("content-length", "2001")], false, false),
            (200, &[HTML, ("content-length", "2000, 2000")], false, false),
            (200, &[HTML, ("content-length", "two")], false, false),
            (200, &[HTML, ("connection", "close"), ("keep-alive", "timeout=5")], true, true),
            (200, &[HTML, ("trailer", "x-sum"), ("te", "trailers")], true, true),
            (200, &[HTML, ("cache-control", "public, No-Transform")], false, false),
            (200, &[HTML, ("cache-control", "public; no-transform")], false, false),
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
            assert_eq!(plan(decision).is_some(), *expected, "{status} {fields:?}");
            assert_eq!(headers.contains_key(VARY), *vary, "{status} {fields:?}");
        }
        assert_eq!(plan(decide(&Method::CONNECT, GZIP, 200, &[HTML]).0), None);
    }

    #[test]
    fn vary_names_accept_encoding_alone() {
        for request in [
            &[][..],
            &[("accept-encoding", "br")],
            &[("x-no-compression", "")],
            &[("accept-encoding", "gzip"), ("x-no-compression", "")],
            GZIP,
        ] {
            for method in [Method::GET, Method::HEAD] {
                let (_, headers) = decide(&method, request, 200, &[HTML]);
                assert!(headers.get_all(VARY).iter().eq(["accept-encoding"]), "{request:?}");
            }
        }
    }

    #[test]
    fn an_opt_out_that_changes_the_response_is_private() {
        let opt_out = [GZIP[0], ("x-no-compression", "1")];
        let fields = [HTML, ("cache-control", "max-age=60"), ("etag", "\"v1\"")];
        for method in [Method::GET, Method::HEAD] {
            let (decision, headers) = decide(&method, &opt_out, 200, &fields);
            assert_eq!(decision, Decision::OptedOut);
            assert_eq!(headers[CACHE_CONTROL], "private, max-age=60");
            assert_eq!(headers[ETAG], "\"v1\"");
        }
        // For other reasons it is what all get who accept the same.
        for (request, response) in [
            (&opt_out[1..], &fields[..]),
            (&opt_out, &[HTML, ("content-length", "20"), fields[1]]),
            (&opt_out, &[("content-type", "image/png"), fields[1]]),
        ] {
            let (decision, headers) = decide(&Method::GET, request, 200, response);
            assert_eq!(decision, Decision::Leave);
            assert_eq!(headers[CACHE_CONTROL], "max-age=60", "{request:?} {response:?}");
        }
    }

    #[test]
    fn small_bodies_are_left_and_unknown_ones_looked_at() {
        let rules = Rules::default();
        let decide = |accept: &str, hint: Hint, size: SizeHint| {
            let asked = rules.read(&Method::GET, &mut map(&[("accept-encoding", accept)]));
            let answer =
                ResponseInfo { status: StatusCode::OK, hint, size: Ok(size), wanted: true };
            plan(rules.decide(&asked, &answer, &mut map(&[HTML])))
        };
        let size_of = |accept, hint, size| decide(accept, hint, size).map(|plan| plan.size);
        let exact = SizeHint::with_exact;
        let none = Hint::default();
        assert_eq!(size_of("gzip", none, exact(0)), None);
        assert_eq!(size_of("gzip", none, exact(1_023)), None);
        assert_eq!(size_of("gzip", none, exact(1_024)), Some(Some(1_024)));
        assert_eq!(size_of("gzip", none, SizeHint::new()), Some(None));
        assert_eq!(size_of("gzip", Hint::force(), exact(9)), Some(Some(9)));
        assert_eq!(size_of("gzip", Hint::force(), exact(0)), None);
        assert_eq!(size_of("gzip, identity;q=0", none, exact(9)), Some(Some(9)));
        assert_eq!(size_of("gzip", Hint::forbid(), exact(9_999)), None);
        assert_eq!(size_of("deflate", Hint::force().pad(9), exact(9_999)), None);
        let look_ahead =
            |accept, hint, size| decide(accept, hint, size).and_then(|plan| plan.look_ahead);
        assert_eq!(look_ahead("gzip", none, SizeHint::new()), Some(1_024));
        assert_eq!(look_ahead("gzip", none, exact(5_000)), None);
        assert_eq!(look_ahead("gzip", Hint::force(), SizeHint::new()), None);
        assert_eq!(look_ahead("gzip, identity;q=0", none, SizeHint::new()), None);
    }

    #[test]
    fn event_streams_are_in_a_coding_that_can_pause() {
        #[cfg(feature = "compress-br")]
        {
            let order = vec![Coding::Brotli, Coding::Gzip];
            let rules = Rules { order, ..Rules::default() };
            let coding = |accept, media_type| {
                let request = [("accept-encoding", accept)];
                let response = [("content-type", media_type)];
                let decided = decide_by(&rules, &Method::GET, &request, 200, &response).0;
                plan(decided).map(|plan| (plan.coding, plan.events))
            };
            let events = "Text/Event-Stream; charset=utf-8";
            assert_eq!(coding("gzip, br", events), Some((Coding::Gzip, true)));
            assert_eq!(coding("br", events), Some((Coding::Brotli, true)));
            assert_eq!(coding("gzip, br", "text/html"), Some((Coding::Brotli, false)));
            assert_eq!(coding("identity, gzip;q=0.5", events), None);
        }
    }

    #[test]
    fn codings_whose_feature_is_on_are_negotiated() {
        let coding = |accept, media_type| {
            let request = [("accept-encoding", accept)];
            let decided = decide(&Method::GET, &request, 200, &[("content-type", media_type)]).0;
            plan(decided).map(|plan| (plan.coding, plan.level))
        };
        let gzip = Some((Coding::Gzip, 6));
        #[cfg(not(feature = "compress-br"))]
        let br = gzip;
        #[cfg(feature = "compress-br")]
        let br = Some((Coding::Brotli, 4));
        #[cfg(not(feature = "compress-zstd"))]
        let zstd = br;
        #[cfg(feature = "compress-zstd")]
        let zstd = Some((Coding::Zstd, 3));
        for (accept, expected) in [
            ("gzip", gzip),
            ("gzip, deflate", gzip),
            ("deflate, gzip", gzip),
            ("gzip, deflate, br", br),
            ("br, gzip", br),
            ("gzip, deflate, br, zstd", zstd),
            ("gzip;q=0.5, br;q=0.5, zstd;q=0.5", zstd),
            ("gzip, br;q=0.9, zstd;q=0.9", gzip),
            ("gzip, br;q=0, zstd;q=0, *", gzip),
            ("*", zstd),
        ] {
            assert_eq!(coding(accept, "text/html"), expected, "{accept}");
            // These hold no codec while the stream is idle.
            let events = coding(accept, "text/event-stream").map(|(coding, _)| coding);
            assert_eq!(events, Some(Coding::Gzip), "{accept}");
        }
    }

    #[test]
    fn a_head_says_what_a_get_would() {
        let fields: TestHeaders<'_> =
            &[HTML, ("etag", "\"v1\""), ("content-length", "2000"), ("accept-ranges", "bytes")];
        let (decision, headers) = decide(&Method::HEAD, GZIP, 200, fields);
        assert_eq!(decision, Decision::Bodiless);
        let coding = ("content-encoding", "gzip");
        assert_eq!(headers, map(&[HTML, ("etag", "\"v1--gzip\""), VARIES, coding]));
        let small: TestHeaders<'_> = &[HTML, ("etag", "\"v1\""), ("content-length", "20")];
        let (decision, headers) = decide(&Method::HEAD, GZIP, 200, small);
        assert_eq!(
            (decision, &headers["content-length"]),
            (Decision::Leave, &"20".parse().unwrap())
        );
        assert_eq!(headers["etag"], "\"v1\"");
        let empty: TestHeaders<'_> = &[HTML, ("content-length", "0")];
        assert_eq!(decide(&Method::HEAD, GZIP, 200, empty).0, Decision::Leave);
    }

    #[test]
    fn a_304_has_the_vary_and_the_tag_of_the_200() {
        let since = ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT");
        for (request, response, tag, vary) in [
            (&[GZIP[0], ("if-none-match", "\"v1--gzip\"")][..], &[][..], "\"v1--gzip\"", true),
            (&[GZIP[0], ("if-none-match", "\"v1\"")], &[], "\"v1\"", true),
            (&[("if-none-match", "\"v1\"")], &[], "\"v1\"", true),
            (&[GZIP[0], since], &[], "\"v1--gzip\"", true),
            (&[since], &[], "\"v1\"", true),
            (&[GZIP[0], since], &[("content-type", "image/png")], "\"v1\"", false),
            (&[GZIP[0], since], &[("content-encoding", "br")], "\"v1\"", false),
            (&[GZIP[0], since], &[HTML], "\"v1--gzip\"", true),
        ] {
            let mut fields = vec![("etag", "\"v1\"")];
            fields.extend_from_slice(response);
            let (decision, headers) = decide(&Method::GET, request, 304, &fields);
            assert_eq!(headers["etag"], tag, "{request:?} {response:?}");
            assert_eq!(headers.get(VARY).is_some(), vary, "{request:?} {response:?}");
            assert_eq!(decision == Decision::Confirmed, vary);
        }
        let opted_out = [GZIP[0], since, ("x-no-compression", "")];
        let (decision, headers) = decide(&Method::GET, &opted_out, 304, &[("etag", "\"v1\"")]);
        assert_eq!((decision, &headers["etag"]), (Decision::OptedOut, &"\"v1\"".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(
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
            let asked = rules.read(&Method::GET, &mut headers);
            let answer = ResponseInfo {
                status: StatusCode::from_u16(status).unwrap(),
                hint: if force { Hint::force() } else { Hint::default() },
                size: asked.size(&headers, SizeHint::new()),
                wanted: true,
            };
            let before = headers.get_all(VARY).iter().count();
            rules.decide(&asked, &answer, &mut headers);
            set_encoding_headers(&mut headers, rules.etags, Coding::Gzip, None);
            prop_assert!(headers.get_all(VARY).iter().count() <= before + 1);
        }
    }
}
