use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use http_body::SizeHint;

use super::decompress::Codings;
use super::limits::Limits;
use super::rejection::{LimitRejection, Reason};
use super::size::Size;
use crate::KIB;
use crate::drain::{DrainLimit, expects_continue};
use crate::error_response::ErrorFormat;
use crate::headers::content_length::{InvalidContentLength, content_length};

/// A request as the policy sees it: its head, and the properties of a body that is not polled yet.
#[derive(Debug)]
pub(super) struct RequestHead<'a> {
    pub(super) method: &'a Method,
    pub(super) version: Version,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
    pub(super) size_hint: SizeHint,
    pub(super) is_end_stream: bool,
}

/// The decision about a request, made before its body is polled.
#[derive(Debug)]
pub(super) enum Decision {
    Admit(Admission),
    Reject {
        rejection: LimitRejection,
        /// The part of the body to drain. `None` if the request has no body, if draining is off, or
        /// if the client waits for `100 Continue`.
        drain: Option<DrainLimit>,
    },
}

/// The terms on which the inner service gets an admitted request.
#[derive(Debug)]
pub(super) struct Admission {
    /// The maximum number of bytes of the body, both as received and as decompressed.
    pub(super) max_body: Size,
    /// The content codings to decode.
    pub(super) codings: Codings,
    /// The rejection that replaces the response if the body fails later, or `None` if it cannot
    /// fail.
    pub(super) rejection: Option<LimitRejection>,
    /// The part of a failed body to drain.
    pub(super) drain: DrainLimit,
}

/// A limit or rule that a request violates.
#[derive(Debug)]
struct Violation {
    reason: Reason,
    /// The exceeded limit, for reasons that have one.
    limit: Option<u64>,
}

type DeclaredLength = Result<Option<u64>, InvalidContentLength>;

impl Admission {
    fn without_body(max_body: Size) -> Self {
        let drain = DrainLimit::new(0, None);
        Self { max_body, codings: Codings::default(), rejection: None, drain }
    }
}

impl Violation {
    fn of_limit(reason: Reason, limit: Size) -> Self {
        Self { reason, limit: Some(limit.get()) }
    }

    fn of_rule(reason: Reason) -> Self {
        Self { reason, limit: None }
    }

    fn reject(self, head: &RequestHead<'_>) -> LimitRejection {
        let format = ErrorFormat::of(head.method, head.version, head.headers, head.is_end_stream);
        LimitRejection::new(self.reason, self.limit, format)
    }
}

/// Decides whether a request is admitted, by its head and the declared length of its body.
pub(super) fn decide(limits: &Limits, head: &RequestHead<'_>) -> Decision {
    let declared = declared_length(head.headers);
    match check(limits, head, declared) {
        Ok(admission) => Decision::Admit(admission),
        Err(violation) => {
            let length = declared.ok().flatten().or(head.size_hint.exact());
            let is_sent = !head.is_end_stream && !expects_continue(head.version, head.headers);
            let drain = is_sent.then(|| limits.drain(limits.body(head.headers), length));
            let drain = drain.filter(|drain| drain.max > 0);
            Decision::Reject { rejection: violation.reject(head), drain }
        }
    }
}

/// Removes the headers that describe the encoded body only: its codings, length and digests
/// (RFC 9110 §8.6, RFC 9530 §2 and §3).
pub(super) fn remove_encoded_headers(headers: &mut HeaderMap) {
    for name in [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_DIGEST, REPR_DIGEST, DIGEST, CONTENT_MD5]
    {
        headers.remove(name);
    }
}

fn check(
    limits: &Limits,
    head: &RequestHead<'_>,
    declared: DeclaredLength,
) -> Result<Admission, Violation> {
    check_head(limits, head)?;
    // Different readings of the length are how requests are smuggled through a proxy, so that a
    // length in doubt is rejected even where the transport knows the end of the body.
    let Ok(declared) = declared else {
        return Err(Violation::of_rule(Reason::InvalidContentLength));
    };
    // hyper's size hint is the declared length. A body of another layer may know more.
    let min_len = declared.unwrap_or(0).max(head.size_hint.lower());
    if head.is_end_stream && min_len == 0 {
        return Ok(Admission::without_body(limits.default_body));
    }
    let max_body = limits.body(head.headers);
    if min_len > max_body.get() {
        return Err(Violation::of_limit(Reason::BodyTooLarge, max_body));
    }
    let codings =
        if limits.decompress { Codings::parse(head.headers) } else { Ok(Codings::default()) };
    let Ok(codings) = codings else {
        return Err(Violation::of_rule(Reason::UnsupportedEncoding));
    };
    let may_exceed = head.size_hint.exact().is_none() && max_body != Size::UNLIMITED;
    // The inner service may reject a large body by a limit of its own, and its rest is drained then.
    let can_fail =
        may_exceed || min_len > LARGE_BODY || limits.min_data_rate.is_some() || !codings.is_empty();
    // The reason is a placeholder, which the failure of the body replaces.
    let placeholder = || Violation::of_limit(Reason::BodyTooLarge, max_body).reject(head);
    let drain = limits.drain(max_body, declared.or(head.size_hint.exact()));
    Ok(Admission { max_body, codings, rejection: can_fail.then(placeholder), drain })
}

fn check_head(limits: &Limits, head: &RequestHead<'_>) -> Result<(), Violation> {
    if uri_len(head.uri) > limits.uri.get() {
        return Err(Violation::of_limit(Reason::UriTooLong, limits.uri));
    }
    // Joining the cookie lines only lowers both sums, so the lines are not counted until a limit is
    // exceeded without it.
    let count = |joined| (head.headers.len() - joined) as u64;
    let max = limits.header_count.get();
    if count(0) > max && count(joined_cookies(head)) > max {
        return Err(Violation::of_limit(Reason::TooManyHeaders, limits.header_count));
    }
    let bytes = |joined| headers_len(head.headers, joined);
    let max = limits.header_bytes.get();
    if bytes(0) > max && bytes(joined_cookies(head)) > max {
        return Err(Violation::of_limit(Reason::HeadersTooLarge, limits.header_bytes));
    }
    Ok(())
}

/// Returns the declared length of the body, saturated at `u64::MAX`.
fn declared_length(headers: &HeaderMap) -> DeclaredLength {
    match content_length(headers) {
        // A valid number (RFC 9110 §8.6 sets no maximum) that exceeds every limit.
        Err(InvalidContentLength::TooLarge) => Ok(Some(u64::MAX)),
        length => length,
    }
}

fn uri_len(uri: &Uri) -> u64 {
    let scheme = uri.scheme_str().map_or(0, |scheme| scheme.len() + "://".len());
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    (scheme + authority + path) as u64
}

/// Returns the number of `cookie` lines that the first one absorbs. Over HTTP/2 and HTTP/3 a client
/// may send its cookies in one line each, and all of them form one header (RFC 9113 §8.2.3,
/// RFC 9114 §4.2.1).
fn joined_cookies(head: &RequestHead<'_>) -> usize {
    if head.version <= Version::HTTP_11 {
        return 0;
    }
    head.headers.get_all(COOKIE).iter().count().saturating_sub(1)
}

/// Returns the size of the headers as HTTP/1.1 would write them, in bytes. `joined` of the `cookie`
/// lines are appended to another one with `; `.
fn headers_len(headers: &HeaderMap, joined: usize) -> u64 {
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        name.as_str().len() + value.len() + ": \r\n".len()
    };
    let saved = COOKIE.as_str().len() + ": \r\n".len() - "; ".len();
    (headers.iter().map(line).sum::<usize>() - joined * saved) as u64
}

/// A body of up to this size has usually arrived together with its head, so that nothing is left to
/// drain. In bytes.
const LARGE_BODY: u64 = 4 * KIB;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const DIGEST: HeaderName = HeaderName::from_static("digest");
const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE};
    use proptest::prelude::*;

    use super::*;

    type Fields<'a> = &'a [(&'a str, &'a str)];

    const JSON: (&str, &str) = ("content-type", "application/json");

    fn headers(fields: Fields<'_>) -> HeaderMap {
        let parse = |(name, value): &(&str, &str)| (name.parse().unwrap(), value.parse().unwrap());
        let mut headers = HeaderMap::new();
        for (name, value) in fields.iter().map(parse) {
            headers.append::<HeaderName>(name, value);
        }
        headers
    }

    /// Decides about a POST whose body is empty if `size_hint` is exactly 0.
    fn decide_on(
        limits: &Limits,
        version: Version,
        uri: &str,
        fields: Fields<'_>,
        size_hint: SizeHint,
    ) -> Decision {
        let is_end_stream = size_hint.exact() == Some(0);
        let (uri, headers) = (&uri.parse().unwrap(), &headers(fields));
        let method = &Method::POST;
        decide(limits, &RequestHead { method, version, uri, headers, size_hint, is_end_stream })
    }

    fn rejected(decision: &Decision) -> Option<(u16, Reason)> {
        match decision {
            Decision::Reject { rejection, .. } => {
                Some((rejection.status().as_u16(), rejection.reason()))
            }
            Decision::Admit(_) => None,
        }
    }

    fn limits(edit: impl FnOnce(&mut Limits)) -> Limits {
        let mut limits = Limits::default();
        edit(&mut limits);
        limits
    }

    fn at_least(lower: u64) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(lower);
        hint
    }

    #[test]
    fn requests_are_decided_before_their_body() {
        let (unknown, exact) = (SizeHint::new, SizeHint::with_exact);
        let (fits, long) = (format!("/{}", "a".repeat(8_191)), format!("/{}", "a".repeat(8_192)));
        let many = vec![("a", "b"); 101];
        let large = "v".repeat(16_384);
        let too_large = Some((413, Reason::BodyTooLarge));
        type Row<'a> = (&'a str, Fields<'a>, SizeHint, Option<(u16, Reason)>);
        let table: &[Row<'_>] = &[
            ("/", &[], exact(0), None),
            ("/", &[JSON, ("content-length", "10240")], exact(10_240), None),
            ("/", &[JSON, ("content-length", "10241")], exact(10_241), too_large),
            ("/", &[JSON, ("content-length", "10241")], unknown(), too_large),
            ("/", &[JSON, ("content-length", "9")], exact(10_241), too_large),
            ("/", &[JSON], exact(10_241), too_large),
            ("/", &[JSON], at_least(10_241), too_large),
            ("/", &[JSON], unknown(), None),
            ("/", &[("content-length", "99999999999999999999")], unknown(), too_large),
            ("/", &[JSON, ("content-length", "99999999999999999999")], exact(0), too_large),
            ("/", &[("content-length", "x")], unknown(), Some((400, Reason::InvalidContentLength))),
            (&fits, &[], exact(0), None),
            (&long, &[], exact(0), Some((414, Reason::UriTooLong))),
            ("/", &many[..100], exact(0), None),
            ("/", &many, exact(0), Some((431, Reason::TooManyHeaders))),
            ("/", &[("a", &large)], exact(0), Some((431, Reason::HeadersTooLarge))),
            ("/", &[("a", &large[..16_379])], exact(0), None),
        ];
        for (uri, fields, hint, expected) in table {
            let decision = decide_on(&Limits::default(), Version::HTTP_11, uri, fields, *hint);
            assert_eq!(rejected(&decision), *expected, "{} {fields:?} {hint:?}", uri.len());
        }
    }

    #[test]
    fn unlimited_admits_any_length() {
        let limits = limits(|it| it.json(Size::UNLIMITED));
        let huge = [JSON, ("content-length", "99999999999999999999")];
        let decision = decide_on(&limits, Version::HTTP_11, "/", &huge, SizeHint::new());
        assert_eq!(rejected(&decision), None);
        let decision = decide_on(&limits, Version::HTTP_11, "/", &[JSON], SizeHint::new());
        let Decision::Admit(admission) = decision else { panic!("{decision:?}") };
        assert!(admission.rejection.is_none(), "there is no limit to exceed");
    }

    #[test]
    fn an_unread_body_closes_an_http_1_connection() {
        let closes = |version, hint| {
            let fields = &[("content-length", "x")];
            match decide_on(&Limits::default(), version, "/", fields, hint) {
                Decision::Reject { rejection, .. } => {
                    let response = rejection.finish(rejection.to_response());
                    response.headers().get(CONNECTION).is_some_and(|value| value == "close")
                }
                Decision::Admit(_) => panic!("an invalid length is admitted"),
            }
        };
        assert!(closes(Version::HTTP_10, SizeHint::new()));
        assert!(closes(Version::HTTP_11, SizeHint::new()));
        assert!(!closes(Version::HTTP_11, SizeHint::with_exact(0)));
        assert!(!closes(Version::HTTP_2, SizeHint::new()), "RFC 9113 §8.2.2 forbids the header");
    }

    #[test]
    fn cookie_lines_count_as_one_above_http_1() {
        let too_many = Some((431, Reason::TooManyHeaders));
        let table = [
            // (cookie lines, other lines, rejected over HTTP/1, over HTTP/2 and HTTP/3)
            (100, 0, None, None),
            (101, 0, too_many, None),
            (600, 99, too_many, None),
            (600, 100, too_many, too_many),
            (0, 101, too_many, too_many),
            (1, 100, too_many, too_many),
        ];
        for (cookies, others, http_1, http_2) in table {
            let fields = [vec![("cookie", "k=v"); cookies], vec![("a", "b"); others]].concat();
            for (version, expected) in [
                (Version::HTTP_10, http_1),
                (Version::HTTP_11, http_1),
                (Version::HTTP_2, http_2),
                (Version::HTTP_3, http_2),
            ] {
                let exact = SizeHint::with_exact(0);
                let decision = decide_on(&Limits::default(), version, "/", &fields, exact);
                assert_eq!(rejected(&decision), expected, "{cookies} {others} {version:?}");
            }
        }
    }

    #[test]
    fn cookie_lines_have_the_size_of_one_header() {
        let joined = ["a=1"; 50].join("; ");
        for other in [&[][..], &[("x-a", "b"), ("accept", "*/*")]] {
            let one = [other, &[("cookie", &joined)]].concat();
            let split = [other, &[("cookie", "a=1"); 50]].concat();
            assert_eq!(headers_len(&headers(&split), 49), headers_len(&headers(&one), 0));
        }
        let len = ("cookie: ".len() + joined.len() + "\r\n".len()) as u64;
        for (max, expected) in [(len, None), (len - 1, Some((431, Reason::HeadersTooLarge)))] {
            let limits = limits(|it| it.header_bytes = Size::new(max));
            let fields = [("cookie", "a=1"); 50];
            let exact = SizeHint::with_exact(0);
            let decision = decide_on(&limits, Version::HTTP_2, "/", &fields, exact);
            assert_eq!(rejected(&decision), expected);
        }
    }

    #[test]
    fn drains_are_bounded() {
        const LARGE: (&str, &str) = ("content-length", "20480");
        const HUGE: (&str, &str) = ("content-length", "10737418240");
        const EXPECT: (&str, &str) = ("expect", "100-Continue");
        const MIB: u64 = 1_048_576;
        let default = Limits::default;
        let max_drain = |max| limits(|it| it.max_drain = Some(Size::new(max)));
        let body = |max| limits(|it| it.default_body = Size::new(max));
        let (unknown, hint) = (SizeHint::new(), at_least(10_241));
        type Row<'a> = (Limits, Fields<'a>, SizeHint, Option<(u64, bool)>);
        let table: [Row<'_>; 12] = [
            (default(), &[JSON, LARGE], unknown, Some((8 * MIB, true))),
            (default(), &[JSON], SizeHint::with_exact(20_480), Some((8 * MIB, true))),
            (default(), &[JSON, HUGE], unknown, Some((8 * MIB, false))),
            (default(), &[HUGE], unknown, Some((8 * MIB, false))),
            (body(9 * MIB), &[HUGE], unknown, Some((9 * MIB, false))),
            // A body of unknown length may fit.
            (default(), &[JSON], hint, Some((8 * MIB, true))),
            (default(), &[JSON, LARGE, EXPECT], unknown, None),
            (default(), &[JSON, LARGE, ("expect", "x, 100-continue")], hint, None),
            (default(), &[JSON, LARGE, ("expect", "other")], hint, Some((8 * MIB, true))),
            (max_drain(0), &[JSON, LARGE], unknown, None),
            (max_drain(20_479), &[JSON, LARGE], unknown, Some((20_479, false))),
            (max_drain(20_480), &[JSON, LARGE], unknown, Some((20_480, true))),
        ];
        for (limits, fields, hint, expected) in table {
            let decision = decide_on(&limits, Version::HTTP_11, "/", fields, hint);
            let Decision::Reject { drain, .. } = decision else { panic!("{fields:?}") };
            assert_eq!(drain.map(|it| (it.max, it.fits)), expected, "{fields:?} {hint:?}");
        }
    }

    #[test]
    fn unlimited_bodies_are_drained_up_to_8_mib() {
        let limits = limits(|it| it.default_body = Size::UNLIMITED);
        let long = format!("/{}", "a".repeat(8_192));
        for hint in [SizeHint::new(), SizeHint::with_exact(7)] {
            let decision = decide_on(&limits, Version::HTTP_11, &long, &[], hint);
            let Decision::Reject { drain, .. } = decision else { panic!("the URI is admitted") };
            assert_eq!(drain.map(|it| it.max), Some(8 * 1_048_576), "{hint:?}");
        }
    }

    #[test]
    fn unknown_encodings_are_rejected() {
        let unsupported = Some((415, Reason::UnsupportedEncoding));
        let too_large = Some((413, Reason::BodyTooLarge));
        let unknown = SizeHint::new;
        type Row<'a> = (Fields<'a>, SizeHint, bool, Option<(u16, Reason)>);
        let table: &[Row<'_>] = &[
            (&[("content-encoding", "unknown")], unknown(), false, None),
            (&[("content-encoding", "unknown")], unknown(), true, unsupported),
            (&[("content-encoding", "gzip, unknown")], unknown(), true, unsupported),
            // Without a body there is nothing to decompress.
            (&[("content-encoding", "unknown")], SizeHint::with_exact(0), true, None),
            (
                &[("content-encoding", "unknown"), ("content-length", "9999999")],
                unknown(),
                true,
                too_large,
            ),
        ];
        for (fields, hint, decompress, expected) in table {
            let limits = limits(|it| it.decompress = *decompress);
            let decision = decide_on(&limits, Version::HTTP_11, "/", fields, *hint);
            assert_eq!(rejected(&decision), *expected, "{fields:?}");
        }
    }

    #[test]
    fn headers_of_the_encoded_body_are_removed() {
        let mut headers = headers(&[
            ("content-encoding", "gzip"),
            ("content-length", "12"),
            ("content-digest", "sha-256=:x:"),
            ("repr-digest", "sha-256=:x:"),
            ("digest", "sha-256=x"),
            ("content-md5", "x"),
            ("content-type", "text/plain"),
            ("transfer-encoding", "chunked"),
        ]);
        remove_encoded_headers(&mut headers);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-type", "transfer-encoding"]);
    }

    proptest! {
        #[test]
        fn no_header_makes_the_policy_panic(
            fields in prop::collection::vec((0..4_usize, prop::collection::vec(any::<u8>(), 0..40)), 0..8),
            lower in any::<u64>(),
            is_end_stream in any::<bool>(),
        ) {
            let names = [ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, CONNECTION];
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    headers.append(names[name].clone(), value);
                }
            }
            let head = RequestHead {
                method: &Method::POST,
                version: Version::HTTP_2,
                uri: &Uri::from_static("/"),
                headers: &headers,
                size_hint: at_least(lower),
                is_end_stream,
            };
            if let Decision::Admit(admission) = decide(&Limits::default(), &head) {
                prop_assert!(lower <= admission.max_body.get());
            }
        }
    }
}
