use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use http_body::SizeHint;

use super::coding::Codings;
use super::refusal::{Reason, Refusal};
use crate::drain::{DEFAULT_MAX, Unread, expects_continue};
use crate::headers::media_type::essence;
use crate::media_type::MediaType;
use crate::{KIB, MIB};

/// A bound: a number, or [`Size::UNLIMITED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

#[derive(Clone, Debug)]
pub(super) struct Limits {
    media_types: Vec<(MediaType, Size)>,
    pub(super) other: Size,
    pub(super) target: Size,
    pub(super) header_bytes: Size,
    pub(super) header_count: Size,
    /// The maximum bytes of a refused body to discard; `None` for another limit's worth.
    pub(super) drain: Option<Size>,
    pub(super) decompress: bool,
    pub(super) min_rate: Option<MinRate>,
}

/// The slowest that a body may arrive.
#[derive(Clone, Copy, Debug)]
pub(super) struct MinRate {
    pub(super) bytes_per_second: u64,
    pub(super) grace: Duration,
}

/// What is known of a request before its body is polled.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) method: &'a Method,
    pub(super) version: Version,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: SizeHint,
    pub(super) no_body: bool,
}

#[derive(Debug)]
pub(super) enum Decision {
    Pass(Admission),
    /// `unread` is what to discard of the body; `None` if there is nothing, or if the client waits
    /// for the response before it sends the body.
    Refuse {
        refusal: Refusal,
        unread: Option<Unread>,
    },
}

/// The terms on which the service gets a body.
#[derive(Debug)]
pub(super) struct Admission {
    /// The maximum bytes of the body, and of what it inflates to.
    pub(super) max: Size,
    /// The content codings to take off.
    pub(super) codings: Codings,
    /// The refusal that stands in for the response once the body has failed, where it can fail.
    pub(super) on_failure: Option<Refusal>,
    /// What to discard of a body that fails.
    pub(super) unread: Unread,
}

impl Size {
    /// No bound.
    pub const UNLIMITED: Self = Self(u64::MAX);

    /// A bound of `size`.
    #[must_use]
    pub const fn new(size: u64) -> Self {
        Self(size)
    }

    /// The bound, or `u64::MAX` where there is none.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl From<u64> for Size {
    fn from(size: u64) -> Self {
        Self(size)
    }
}

impl Limits {
    pub(super) fn json(&mut self, size: Size) {
        self.media_type(MediaType::Exact("application/json".into()), size);
        self.media_type(MediaType::Suffix("json".into()), size);
    }

    pub(super) fn form(&mut self, size: Size) {
        self.media_type(MediaType::Exact("application/x-www-form-urlencoded".into()), size);
    }

    pub(super) fn multipart(&mut self, size: Size) {
        self.media_type(MediaType::Exact("multipart/form-data".into()), size);
    }

    pub(super) fn media_type(&mut self, media_type: MediaType, size: Size) {
        match self.media_types.binary_search_by(|(at, _)| at.cmp(&media_type)) {
            Ok(at) => self.media_types[at].1 = size,
            Err(at) => self.media_types.insert(at, (media_type, size)),
        }
    }

    /// Decides on a request by its head, before its body is polled.
    pub(super) fn decide(&self, head: &Head<'_>) -> Decision {
        let declared = content_length(head.headers);
        match self.check(head, &declared) {
            Ok(admission) => Decision::Pass(admission),
            Err((reason, limit)) => {
                let refusal = Refusal::new(reason, limit, head);
                let declared = declared.ok().flatten();
                let unread = || self.unread(head, declared, self.for_body(head.headers));
                let sent = !head.no_body && !expects_continue(head.version, head.headers);
                let unread = sent.then(unread).filter(|unread| unread.max > 0);
                Decision::Refuse { refusal, unread }
            }
        }
    }

    fn check(&self, head: &Head<'_>, declared: &Declared) -> Result<Admission, Violation> {
        let headers = head.headers;
        if target_len(head.uri) > self.target.0 {
            return Err((Reason::TargetTooLong, Some(self.target.0)));
        }
        // Crumbs make up for something, so that they need not be counted where nothing is exceeded.
        let count = |crumbs| (headers.len() - crumbs) as u64;
        if count(0) > self.header_count.0 && count(crumbs(head)) > self.header_count.0 {
            return Err((Reason::TooManyHeaders, Some(self.header_count.0)));
        }
        let bytes = |crumbs| section_len(headers, crumbs);
        if bytes(0) > self.header_bytes.0 && bytes(crumbs(head)) > self.header_bytes.0 {
            return Err((Reason::HeadersTooLarge, Some(self.header_bytes.0)));
        }
        let Ok(declared) = *declared else {
            return Err((Reason::InvalidContentLength, None));
        };
        let least = declared.unwrap_or(0).max(head.body.lower());
        if head.no_body && least == 0 {
            return Ok(Admission::of_nothing(self.other));
        }
        let max = self.for_body(headers);
        if least > max.0 {
            return Err((Reason::BodyTooLarge, Some(max.0)));
        }
        let codings =
            if self.decompress { Codings::parse(headers) } else { Ok(Codings::default()) };
        let Ok(codings) = codings else {
            return Err((Reason::UnsupportedEncoding, None));
        };
        let crosses = head.body.exact().is_none() && max != Size::UNLIMITED;
        // A service may refuse a large one by a limit of its own.
        let fails = crosses || least > LARGE || self.min_rate.is_some() || !codings.is_empty();
        // The reason is a placeholder until it is known how the body has failed.
        let on_failure = || Refusal::new(Reason::BodyTooLarge, Some(max.0), head);
        let on_failure = fails.then(on_failure);
        Ok(Admission { max, codings, on_failure, unread: self.unread(head, declared, max) })
    }

    /// Returns how much of a refused body to discard, whose limit is `max`.
    fn unread(&self, head: &Head<'_>, declared: Option<u64>, max: Size) -> Unread {
        let declared = declared.or(head.body.exact());
        let discard = match self.drain {
            Some(drain) => drain.0,
            None if max == Size::UNLIMITED => DEFAULT_MAX,
            None => max.0.max(DEFAULT_MAX),
        };
        Unread::new(discard, declared)
    }

    /// The limit of the request's media type; of several lines, the lowest.
    fn for_body(&self, headers: &HeaderMap) -> Size {
        let lines = headers.get_all(CONTENT_TYPE).iter();
        lines.map(|line| self.for_media_type(line.as_bytes())).min().unwrap_or(self.other)
    }

    fn for_media_type(&self, value: &[u8]) -> Size {
        let found = essence(value).and_then(|essence| {
            self.media_types.iter().find(|(media_type, _)| media_type.matches(essence))
        });
        found.map_or(self.other, |(_, size)| *size)
    }
}

impl Default for Limits {
    fn default() -> Self {
        let mut limits = Self {
            media_types: Vec::new(),
            other: DEFAULT_OTHER,
            target: DEFAULT_TARGET,
            header_bytes: DEFAULT_HEADER_BYTES,
            header_count: DEFAULT_HEADER_COUNT,
            drain: None,
            decompress: false,
            min_rate: None,
        };
        limits.json(DEFAULT_JSON);
        limits.form(DEFAULT_FORM);
        limits
    }
}

impl Admission {
    /// For a request without a body.
    fn of_nothing(max: Size) -> Self {
        let unread = Unread::new(0, None);
        Self { max, codings: Codings::default(), on_failure: None, unread }
    }
}

impl MinRate {
    /// Returns the time for which the client may still keep the service waiting, after `bytes` have
    /// arrived and `budget` was left of it.
    ///
    /// Each byte buys the time that it takes at this rate, up to the grace period: a fast start
    /// does not pay for a long pause.
    pub(super) fn refill(&self, budget: Duration, bytes: u64) -> Duration {
        if self.bytes_per_second == 0 {
            return self.grace;
        }
        // In nanoseconds, which overflow only beyond any grace period that there is.
        let bought = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let bought = Duration::from_nanos(u64::try_from(bought).unwrap_or(u64::MAX));
        budget.saturating_add(bought).min(self.grace)
    }
}

/// Removes what is only true of the body before its codings are taken off: the codings, its length
/// and its digests (RFC 9110 §8.6, RFC 9530 §2 and §3).
pub(super) fn strip_codings(headers: &mut HeaderMap) {
    for name in [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_DIGEST, REPR_DIGEST, DIGEST, CONTENT_MD5]
    {
        headers.remove(name);
    }
}

type Declared = Result<Option<u64>, InvalidLength>;

/// The reason for a refusal, and the limit that was crossed.
type Violation = (Reason, Option<u64>);

/// The declared length, saturated. Several equal ones are one (RFC 9110 §8.6).
fn content_length(headers: &HeaderMap) -> Declared {
    let mut found = None;
    for line in headers.get_all(CONTENT_LENGTH) {
        for member in line.as_bytes().split(|&byte| byte == b',') {
            let digits = member.trim_ascii();
            if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                return Err(InvalidLength);
            }
            let length = digits.iter().fold(0_u64, |sum, digit| {
                sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
            });
            if *found.get_or_insert(length) != length {
                return Err(InvalidLength);
            }
        }
    }
    Ok(found)
}

#[derive(Debug)]
struct InvalidLength;

fn target_len(uri: &Uri) -> u64 {
    let scheme = uri.scheme_str().map_or(0, |scheme| scheme.len() + "://".len());
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    (scheme + authority + path) as u64
}

/// Returns the number of `cookie` lines after the first. Above HTTP/1.1 a client may split its
/// cookies into a line for each; all of them are one header (RFC 9113 §8.2.3, RFC 9114 §4.2.1).
fn crumbs(head: &Head<'_>) -> usize {
    if head.version <= Version::HTTP_11 {
        return 0;
    }
    head.headers.get_all(COOKIE).iter().count().saturating_sub(1)
}

/// Returns the bytes of the header section as HTTP/1.1 writes it. `crumbs` of its lines follow
/// another one after `; ` instead.
fn section_len(headers: &HeaderMap, crumbs: usize) -> u64 {
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        name.as_str().len() + value.len() + ": \r\n".len()
    };
    let joined = COOKIE.as_str().len() + ": \r\n".len() - "; ".len();
    (headers.iter().map(line).sum::<usize>() - crumbs * joined) as u64
}

const DEFAULT_JSON: Size = Size(10 * KIB);
const DEFAULT_FORM: Size = Size(10 * KIB);
const DEFAULT_OTHER: Size = Size(2 * MIB);
const DEFAULT_TARGET: Size = Size(8 * KIB);
const DEFAULT_HEADER_BYTES: Size = Size(16 * KIB);
const DEFAULT_HEADER_COUNT: Size = Size(100);

/// A body that a server may not have read by the time at which it has its head.
const LARGE: u64 = 4 * KIB;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const DIGEST: HeaderName = HeaderName::from_static("digest");
const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT, CONNECTION};
    use proptest::prelude::*;

    use super::*;

    const JSON: (&str, &str) = ("content-type", "application/json");

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&str, &str)| {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        };
        let mut headers = HeaderMap::new();
        fields.iter().map(field).for_each(|(name, value)| {
            headers.append(name, value);
        });
        headers
    }

    fn decide(limits: &Limits, uri: &str, fields: &[(&str, &str)], body: SizeHint) -> Decision {
        limits.decide(&Head {
            method: &Method::POST,
            version: Version::HTTP_11,
            uri: &uri.parse().unwrap(),
            headers: &map(fields),
            no_body: body.exact() == Some(0),
            body,
        })
    }

    fn refused(decision: Decision) -> Option<(u16, Reason)> {
        match decision {
            Decision::Refuse { refusal, .. } => Some((refusal.status().as_u16(), refusal.reason())),
            Decision::Pass(_) => None,
        }
    }

    #[test]
    fn the_media_type_chooses_the_limit() {
        let mut limits = Limits::default();
        for (media_type, size) in
            [("image/*", 1), ("image/svg+xml", 2), ("+xml", 3), ("application/*", 4)]
        {
            limits.media_type(media_type.parse().unwrap(), Size::new(size));
        }
        let table: &[(&[&str], u64)] = &[
            (&["application/json"], 10_240),
            (&["APPLICATION/Json ; charset=utf-8"], 10_240),
            (&["application/vnd.api+json"], 10_240),
            (&["image/x+json"], 10_240),
            // Not JSON, but axum's `Json` reads it: another limit would be a way around JSON's.
            (&["application/grpc+json"], 10_240),
            (&["application/grpc+proto"], 4),
            (&["application/x-www-form-urlencoded"], 10_240),
            (&["image/svg+xml"], 2),
            (&["image/rss+xml"], 3),
            (&["image/png"], 1),
            (&["application/pdf"], 4),
            (&["text/plain"], 2_097_152),
            (&[], 2_097_152),
            (&[""], 2_097_152),
            (&["application"], 2_097_152),
            (&["/json"], 2_097_152),
            (&["application /json"], 2_097_152),
            (&["application/json, text/plain"], 2_097_152),
            (&["text/plain", "application/json"], 10_240),
            (&["image/png", "text/plain"], 1),
        ];
        for (lines, most) in table {
            let fields: Vec<_> = lines.iter().map(|line| ("content-type", *line)).collect();
            assert_eq!(limits.for_body(&map(&fields)), Size::new(*most), "{lines:?}");
        }
    }

    #[test]
    fn a_declared_length_is_a_number_and_the_same_in_every_line() {
        // RFC 9110 §8.6; what does not fit is as large as can be.
        let table: &[(&[&str], Option<Option<u64>>)] = &[
            (&[], Some(None)),
            (&["0"], Some(Some(0))),
            (&["00012"], Some(Some(12))),
            (&["12", "12"], Some(Some(12))),
            (&["12, 12"], Some(Some(12))),
            (&["99999999999999999999999999"], Some(Some(u64::MAX))),
            (&["12", "13"], None),
            (&["12,"], None),
            (&["-1"], None),
            (&["+1"], None),
            (&["1e3"], None),
            (&["0x10"], None),
            (&["1 2"], None),
            (&[""], None),
        ];
        for (lines, expected) in table {
            let fields: Vec<_> = lines.iter().map(|line| ("content-length", *line)).collect();
            assert_eq!(content_length(&map(&fields)).ok(), *expected, "{lines:?}");
        }
    }

    #[test]
    fn what_a_request_declares_is_judged_before_its_body() {
        let limits = Limits::default();
        let unknown = SizeHint::new;
        let exact = SizeHint::with_exact;
        let mut at_least = SizeHint::new();
        at_least.set_lower(10_241);
        let long = format!("/{}", "a".repeat(8_192));
        let many: Vec<_> = vec![("a", "b"); 101];
        let large = "v".repeat(16_384);
        type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], SizeHint, Option<(u16, Reason)>);
        let too_large = Some((413, Reason::BodyTooLarge));
        let table: &[Row<'_>] = &[
            ("/", &[], exact(0), None),
            ("/", &[JSON, ("content-length", "10240")], exact(10_240), None),
            ("/", &[JSON, ("content-length", "10241")], exact(10_241), too_large),
            ("/", &[JSON, ("content-length", "10241")], unknown(), too_large),
            ("/", &[JSON, ("content-length", "9")], exact(10_241), too_large),
            ("/", &[JSON], exact(10_241), too_large),
            ("/", &[JSON], at_least, too_large),
            ("/", &[JSON], unknown(), None),
            ("/", &[("content-length", "99999999999999999999")], unknown(), too_large),
            ("/", &[JSON, ("content-length", "99999999999999999999")], exact(0), too_large),
            ("/", &[("content-length", "x")], unknown(), Some((400, Reason::InvalidContentLength))),
            (&long[1..], &[], exact(0), None),
            (&long, &[], exact(0), Some((414, Reason::TargetTooLong))),
            ("/", &many[..100], exact(0), None),
            ("/", &many, exact(0), Some((431, Reason::TooManyHeaders))),
            ("/", &[("a", &large)], exact(0), Some((431, Reason::HeadersTooLarge))),
            ("/", &[("a", &large[..16_379])], exact(0), None),
        ];
        for (uri, fields, body, expected) in table {
            let uri =
                if uri.starts_with('/') { (*uri).to_owned() } else { format!("/{}", &uri[1..]) };
            assert_eq!(
                refused(decide(&limits, &uri, fields, *body)),
                *expected,
                "{} {fields:?} {body:?}",
                uri.len()
            );
        }
    }

    #[test]
    fn unlimited_takes_any_length() {
        let mut limits = Limits::default();
        limits.json(Size::UNLIMITED);
        let huge = [JSON, ("content-length", "99999999999999999999")];
        assert!(refused(decide(&limits, "/", &huge, SizeHint::new())).is_none());
        let unknown = decide(&limits, "/", &[JSON], SizeHint::new());
        let Decision::Pass(admission) = unknown else { panic!("{unknown:?}") };
        assert!(admission.on_failure.is_none(), "there is no limit to exceed");
    }

    #[test]
    fn a_connection_is_closed_where_a_body_is_left_unread() {
        let limits = Limits::default();
        let closes = |version, no_body| {
            let headers = map(&[("content-length", "x")]);
            let body = SizeHint::new();
            let uri = &Uri::from_static("/");
            let method = &Method::POST;
            match limits.decide(&Head { method, version, uri, headers: &headers, body, no_body }) {
                Decision::Refuse { refusal, .. } => {
                    refusal.finish(refusal.to_response()).headers().get(CONNECTION)
                        == Some(&HeaderValue::from_static("close"))
                }
                Decision::Pass(_) => panic!("an invalid length passed"),
            }
        };
        assert!(closes(Version::HTTP_10, false));
        assert!(closes(Version::HTTP_11, false));
        assert!(!closes(Version::HTTP_11, true));
        assert!(!closes(Version::HTTP_2, false), "HTTP/2 has no such field (RFC 9113 §8.2.2)");
    }

    #[test]
    fn crumbs_of_cookies_count_as_one_header() {
        let limits = Limits::default();
        let decide = |version, fields: &[(&str, &str)]| {
            let headers = map(fields);
            refused(limits.decide(&Head {
                method: &Method::GET,
                version,
                uri: &Uri::from_static("/"),
                headers: &headers,
                body: SizeHint::with_exact(0),
                no_body: true,
            }))
        };
        let crumbs = |count, more| {
            let mut fields = vec![("cookie", "k=v"); count];
            fields.extend(vec![("a", "b"); more]);
            fields
        };
        let too_many = Some((431, Reason::TooManyHeaders));
        let table = [
            // (cookie lines, other lines, refused over HTTP/1.1, over HTTP/2 and HTTP/3)
            (100, 0, None, None),
            (101, 0, too_many, None),
            (600, 99, too_many, None),
            (600, 100, too_many, too_many),
            (0, 101, too_many, too_many),
            (1, 100, too_many, too_many),
        ];
        for (cookies, others, h1, h2) in table {
            let fields = crumbs(cookies, others);
            for version in [Version::HTTP_10, Version::HTTP_11] {
                assert_eq!(decide(version, &fields), h1, "{cookies} {others} {version:?}");
            }
            for version in [Version::HTTP_2, Version::HTTP_3] {
                assert_eq!(decide(version, &fields), h2, "{cookies} {others} {version:?}");
            }
        }
    }

    #[test]
    fn crumbs_have_the_size_of_the_joined_header() {
        let joined = ["a=1"; 50].join("; ");
        for other in [&[][..], &[("x-a", "b"), ("accept", "*/*")]] {
            let one = [other, &[("cookie", &joined)]].concat();
            let split = [other, &[("cookie", "a=1"); 50]].concat();
            assert_eq!(section_len(&map(&split), 49), section_len(&map(&one), 0));
        }
        let at_limit = |len| {
            let limits = Limits { header_bytes: Size::new(len), ..Limits::default() };
            let headers = map(&[("cookie", "a=1"); 50]);
            refused(limits.decide(&Head {
                method: &Method::GET,
                version: Version::HTTP_2,
                uri: &Uri::from_static("/"),
                headers: &headers,
                body: SizeHint::with_exact(0),
                no_body: true,
            }))
        };
        let len = ("cookie: ".len() + joined.len() + "\r\n".len()) as u64;
        assert_eq!(at_limit(len), None);
        assert_eq!(at_limit(len - 1), Some((431, Reason::HeadersTooLarge)));
    }

    #[test]
    fn a_refused_body_is_discarded_within_bounds() {
        const LARGE: (&str, &str) = ("content-length", "20480");
        const HUGE: (&str, &str) = ("content-length", "10737418240");
        const EXPECT: (&str, &str) = ("expect", "100-Continue");
        let mib = 1_048_576;
        let drain = |bytes| Limits { drain: Some(Size::new(bytes)), ..Limits::default() };
        let other = |bytes| Limits { other: Size::new(bytes), ..Limits::default() };
        let mut hint = SizeHint::new();
        hint.set_lower(10_241);
        type Row<'a> = (Limits, &'a [(&'a str, &'a str)], SizeHint, Option<(u64, bool)>);
        let table: [Row<'_>; 12] = [
            (Limits::default(), &[JSON, LARGE], SizeHint::new(), Some((8 * mib, true))),
            (Limits::default(), &[JSON], SizeHint::with_exact(20_480), Some((8 * mib, true))),
            (Limits::default(), &[JSON, HUGE], SizeHint::new(), Some((8 * mib, false))),
            (Limits::default(), &[HUGE], SizeHint::new(), Some((8 * mib, false))),
            (other(9 * mib), &[HUGE], SizeHint::new(), Some((9 * mib, false))),
            // A body of unknown length may fit.
            (Limits::default(), &[JSON], hint, Some((8 * mib, true))),
            (Limits::default(), &[JSON, LARGE, EXPECT], SizeHint::new(), None),
            (Limits::default(), &[JSON, LARGE, ("expect", "x, 100-continue")], hint, None),
            (Limits::default(), &[JSON, LARGE, ("expect", "other")], hint, Some((8 * mib, true))),
            (drain(0), &[JSON, LARGE], SizeHint::new(), None),
            (drain(20_479), &[JSON, LARGE], SizeHint::new(), Some((20_479, false))),
            (drain(20_480), &[JSON, LARGE], SizeHint::new(), Some((20_480, true))),
        ];
        for (limits, fields, body, expected) in table {
            let Decision::Refuse { unread, .. } = decide(&limits, "/", fields, body) else {
                panic!("{fields:?} passed");
            };
            assert_eq!(unread.map(|it| (it.max, it.fits)), expected, "{fields:?} {body:?}");
        }
    }

    #[test]
    fn a_body_without_a_limit_is_discarded_up_to_8_mib() {
        let limits = Limits { other: Size::UNLIMITED, ..Limits::default() };
        let long = format!("/{}", "a".repeat(8_192));
        for body in [SizeHint::new(), SizeHint::with_exact(7)] {
            let Decision::Refuse { unread, .. } = decide(&limits, &long, &[], body) else {
                panic!("the target passed");
            };
            assert_eq!(unread.map(|it| it.max), Some(8 * 1_048_576), "{body:?}");
        }
    }

    #[test]
    fn waiting_is_paid_for_by_the_bytes_that_arrive() {
        let rate = MinRate { bytes_per_second: 240, grace: Duration::from_secs(5) };
        let seconds = Duration::from_secs_f64;
        for (budget, bytes, expected) in
            [(0.0, 0, 0.0), (0.0, 240, 1.0), (1.5, 120, 2.0), (4.5, 240, 5.0), (0.0, u64::MAX, 5.0)]
        {
            assert_eq!(rate.refill(seconds(budget), bytes), seconds(expected), "{budget} {bytes}");
        }
    }

    #[cfg(feature = "limit-decompress")]
    #[test]
    fn an_unknown_coding_is_refused_where_bodies_are_decompressed() {
        let unsupported = Some((415, Reason::UnsupportedEncoding));
        let unknown = SizeHint::new;
        type Row<'a> = (&'a [(&'a str, &'a str)], SizeHint, bool, Option<(u16, Reason)>);
        let table: &[Row<'_>] = &[
            (&[("content-encoding", "unknown")], unknown(), false, None),
            (&[("content-encoding", "unknown")], unknown(), true, unsupported),
            (&[("content-encoding", "gzip")], unknown(), true, None),
            (&[("content-encoding", "gzip, unknown")], unknown(), true, unsupported),
            // Without a body there is nothing to decompress.
            (&[("content-encoding", "unknown")], SizeHint::with_exact(0), true, None),
            (
                &[("content-encoding", "unknown"), ("content-length", "9999999")],
                unknown(),
                true,
                Some((413, Reason::BodyTooLarge)),
            ),
        ];
        for (fields, body, decompress, expected) in table {
            let limits = Limits { decompress: *decompress, ..Limits::default() };
            assert_eq!(refused(decide(&limits, "/", fields, *body)), *expected, "{fields:?}");
        }
    }

    #[test]
    fn what_is_only_true_of_the_encoded_body_is_removed() {
        let mut headers = map(&[
            ("content-encoding", "gzip"),
            ("content-length", "12"),
            ("content-digest", "sha-256=:x:"),
            ("repr-digest", "sha-256=:x:"),
            ("digest", "sha-256=x"),
            ("content-md5", "x"),
            ("content-type", "text/plain"),
            ("transfer-encoding", "chunked"),
        ]);
        strip_codings(&mut headers);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-type", "transfer-encoding"]);
    }

    proptest! {
        #[test]
        fn no_field_makes_the_policy_panic(
            fields in prop::collection::vec((0..4_usize, prop::collection::vec(any::<u8>(), 0..40)), 0..8),
            lower in any::<u64>(),
            no_body in any::<bool>(),
        ) {
            let names = [ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, CONNECTION];
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    headers.append(names[name].clone(), value);
                }
            }
            let mut body = SizeHint::new();
            body.set_lower(lower);
            let head = Head {
                method: &Method::POST,
                version: Version::HTTP_2,
                uri: &Uri::from_static("/"),
                headers: &headers,
                body,
                no_body,
            };
            // What passes is never known to be over its limit.
            if let Decision::Pass(admission) = Limits::default().decide(&head) {
                prop_assert!(lower <= admission.max.get());
            }
        }
    }
}
