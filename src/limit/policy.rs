use std::error::Error;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri, Version};
use http_body::SizeHint;

use crate::{KIB, MIB};

/// A bound: a number, or [`Size::UNLIMITED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

/// A request that the layer refused, and why.
#[derive(Clone, Debug)]
pub struct Refusal {
    reason: Reason,
    limit: Option<u64>,
    pub(super) format: Format,
    /// A part of the body is unread, on a connection whose next request would begin with it.
    close: bool,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The body is larger than its media type's limit: 413.
    BodyTooLarge,
    /// The target is longer than its limit: 414.
    TargetTooLong,
    /// The header section is larger than its limit: 431.
    HeadersTooLarge,
    /// There are more header fields than their limit: 431.
    TooManyHeaders,
    /// `content-length` is not a number, or several of them differ: 400.
    InvalidContentLength,
}

/// A media type that is not of the form `type/subtype`, `type/*` or `+suffix`.
#[derive(Clone, Debug)]
pub struct InvalidMediaType {
    given: String,
}

#[derive(Clone, Debug)]
pub(super) struct Limits {
    media_types: Vec<(MediaType, Size)>,
    pub(super) other: Size,
    pub(super) target: Size,
    pub(super) header_bytes: Size,
    pub(super) header_count: Size,
}

/// A pattern of media types, in lower case. The order is that of precedence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum MediaType {
    Exact(String),
    Suffix(String),
    Type(String),
}

/// What a verdict is found from.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) version: Version,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: SizeHint,
    pub(super) no_body: bool,
}

#[derive(Debug)]
pub(super) enum Verdict {
    /// The body may have `most` bytes. `if_crossed` is there where only its end can tell.
    Pass {
        most: Size,
        if_crossed: Option<Refusal>,
    },
    Refuse(Refusal),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Format {
    #[default]
    Text,
    ProblemJson,
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

    pub(super) fn media_type(&mut self, media_type: MediaType, size: Size) {
        match self.media_types.binary_search_by(|(at, _)| at.cmp(&media_type)) {
            Ok(at) => self.media_types[at].1 = size,
            Err(at) => self.media_types.insert(at, (media_type, size)),
        }
    }

    /// What becomes of a request, judged by its head and before its body is polled.
    pub(super) fn judge(&self, head: &Head<'_>) -> Verdict {
        let refusal = |reason, limit| Refusal {
            reason,
            limit,
            format: format_for(head.headers),
            close: !head.no_body && head.version <= Version::HTTP_11,
        };
        if target_len(head.uri) > self.target.0 {
            return Verdict::Refuse(refusal(Reason::TargetTooLong, Some(self.target.0)));
        }
        if head.headers.len() as u64 > self.header_count.0 {
            return Verdict::Refuse(refusal(Reason::TooManyHeaders, Some(self.header_count.0)));
        }
        if section_len(head.headers) > self.header_bytes.0 {
            return Verdict::Refuse(refusal(Reason::HeadersTooLarge, Some(self.header_bytes.0)));
        }
        let Ok(declared) = content_length(head.headers) else {
            return Verdict::Refuse(refusal(Reason::InvalidContentLength, None));
        };
        let least = declared.unwrap_or(0).max(head.body.lower());
        if head.no_body && least == 0 {
            return Verdict::Pass { most: self.other, if_crossed: None };
        }
        let most = self.for_body(head.headers);
        if least > most.0 {
            return Verdict::Refuse(refusal(Reason::BodyTooLarge, Some(most.0)));
        }
        let unknown = declared.is_none() && head.body.exact().is_none() && most != Size::UNLIMITED;
        let if_crossed = unknown.then(|| refusal(Reason::BodyTooLarge, Some(most.0)));
        Verdict::Pass { most, if_crossed }
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
        };
        limits.json(DEFAULT_JSON);
        limits.form(DEFAULT_FORM);
        limits
    }
}

impl MediaType {
    fn matches(&self, essence: Essence<'_>) -> bool {
        match self {
            Self::Exact(exact) => exact.eq_ignore_ascii_case(essence.whole),
            Self::Suffix(suffix) => essence
                .subtype
                .rsplit_once('+')
                .is_some_and(|(_, found)| suffix.eq_ignore_ascii_case(found)),
            Self::Type(class) => class.eq_ignore_ascii_case(essence.class),
        }
    }
}

impl FromStr for MediaType {
    type Err = InvalidMediaType;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        let lower = given.to_ascii_lowercase();
        if let Some(suffix) = lower.strip_prefix('+').filter(|suffix| is_token(suffix)) {
            return Ok(Self::Suffix(suffix.to_owned()));
        }
        match lower.split_once('/') {
            Some((class, "*")) if is_token(class) && class != "*" => {
                Ok(Self::Type(class.to_owned()))
            }
            Some((class, subtype))
                if is_token(class) && is_token(subtype) && !lower.contains('*') =>
            {
                Ok(Self::Exact(lower))
            }
            _ => Err(InvalidMediaType { given: given.to_owned() }),
        }
    }
}

impl Refusal {
    /// Why the request was refused.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.reason {
            Reason::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Reason::TargetTooLong => StatusCode::URI_TOO_LONG,
            Reason::HeadersTooLarge | Reason::TooManyHeaders => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Reason::InvalidContentLength => StatusCode::BAD_REQUEST,
        }
    }

    /// The limit that was crossed, in bytes (or fields, for [`Reason::TooManyHeaders`]); none for
    /// [`Reason::InvalidContentLength`].
    #[must_use]
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// The layer's own response: status, `content-type`, and a body of one line.
    #[must_use]
    pub fn to_response(&self) -> Response<Bytes> {
        let (content_type, body) = match self.format {
            Format::Text => ("text/plain; charset=utf-8", format!("{self}\n")),
            Format::ProblemJson => ("application/problem+json", self.problem()),
        };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = self.status();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response
    }

    /// RFC 9457. Nothing in here comes from the request, so nothing has to be escaped.
    fn problem(&self) -> String {
        let title = match self.reason {
            Reason::BodyTooLarge => "Content Too Large",
            Reason::TargetTooLong => "URI Too Long",
            Reason::HeadersTooLarge | Reason::TooManyHeaders => "Request Header Fields Too Large",
            Reason::InvalidContentLength => "Bad Request",
        };
        let limit = self.limit.map_or_else(String::new, |limit| format!(r#","limit":{limit}"#));
        let status = self.status().as_u16();
        format!(
            r#"{{"type":"about:blank","title":"{title}","status":{status},"detail":"{self}"{limit}}}"#
        )
    }

    pub(super) fn close_where_unread(&self, mut response: Response<Bytes>) -> Response<Bytes> {
        if self.close {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = self.limit.unwrap_or_default();
        match self.reason {
            Reason::BodyTooLarge => write!(f, "The request body is larger than {limit} bytes."),
            Reason::TargetTooLong => write!(f, "The request target is longer than {limit} bytes."),
            Reason::HeadersTooLarge => {
                write!(f, "The request header section is larger than {limit} bytes.")
            }
            Reason::TooManyHeaders => {
                write!(f, "The request has more than {limit} header fields.")
            }
            Reason::InvalidContentLength => f.write_str("The content-length is not valid."),
        }
    }
}

impl Reason {
    /// The value of the label `reason`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BodyTooLarge => "body_too_large",
            Self::TargetTooLong => "target_too_long",
            Self::HeadersTooLarge => "headers_too_large",
            Self::TooManyHeaders => "too_many_headers",
            Self::InvalidContentLength => "invalid_content_length",
        }
    }
}

impl fmt::Display for InvalidMediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not of the form type/subtype, type/* or +suffix: {:?}", self.given)
    }
}

impl Error for InvalidMediaType {}

/// `type/subtype` of a field value, its parameters left out.
#[derive(Clone, Copy)]
struct Essence<'a> {
    whole: &'a str,
    class: &'a str,
    subtype: &'a str,
}

fn essence(value: &[u8]) -> Option<Essence<'_>> {
    let end = value.iter().position(|&byte| byte == b';').unwrap_or(value.len());
    let whole = std::str::from_utf8(&value[..end]).ok()?.trim_matches(OWS);
    let (class, subtype) = whole.split_once('/')?;
    (is_token(class) && is_token(subtype)).then_some(Essence { whole, class, subtype })
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_tchar)
}

/// The declared length, saturated. Several equal ones are one (RFC 9110 §8.6).
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, InvalidLength> {
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

struct InvalidLength;

fn target_len(uri: &Uri) -> u64 {
    let scheme = uri.scheme_str().map_or(0, |scheme| scheme.len() + "://".len());
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    (scheme + authority + path) as u64
}

fn section_len(headers: &HeaderMap) -> u64 {
    let line = |(name, value): (&http::HeaderName, &HeaderValue)| {
        name.as_str().len() + value.len() + ": \r\n".len()
    };
    headers.iter().map(line).sum::<usize>() as u64
}

/// JSON for a client that names it in `accept`, text for every other.
fn format_for(headers: &HeaderMap) -> Format {
    let lines = headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let names_json = lines.flat_map(|line| line.split(',')).any(|member| {
        let mut parts = member.split(';').map(|part| part.trim_matches(OWS));
        let json = parts.next().is_some_and(|media_type| {
            media_type.eq_ignore_ascii_case("application/problem+json")
                || media_type.eq_ignore_ascii_case("application/json")
        });
        json && !parts.any(is_zero_weight)
    });
    if names_json { Format::ProblemJson } else { Format::Text }
}

/// `q=0`, with up to three zeros behind the point (RFC 9110 §12.4.2).
fn is_zero_weight(parameter: &str) -> bool {
    parameter.split_once('=').is_some_and(|(name, value)| {
        name.eq_ignore_ascii_case("q") && matches!(value, "0" | "0." | "0.0" | "0.00" | "0.000")
    })
}

const OWS: [char; 2] = [' ', '\t'];

const DEFAULT_JSON: Size = Size(10 * KIB);
const DEFAULT_FORM: Size = Size(10 * KIB);
const DEFAULT_OTHER: Size = Size(2 * MIB);
const DEFAULT_TARGET: Size = Size(8 * KIB);
const DEFAULT_HEADER_BYTES: Size = Size(16 * KIB);
const DEFAULT_HEADER_COUNT: Size = Size(100);

#[cfg(test)]
mod tests {
    use http::HeaderName;
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

    fn judge(limits: &Limits, uri: &str, fields: &[(&str, &str)], body: SizeHint) -> Verdict {
        limits.judge(&Head {
            version: Version::HTTP_11,
            uri: &uri.parse().unwrap(),
            headers: &map(fields),
            no_body: body.exact() == Some(0),
            body,
        })
    }

    fn refused(verdict: Verdict) -> Option<(u16, Reason)> {
        match verdict {
            Verdict::Refuse(refusal) => Some((refusal.status().as_u16(), refusal.reason())),
            Verdict::Pass { .. } => None,
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
    fn only_three_forms_are_media_type_patterns() {
        for good in ["a/b", "a/*", "+b", "TEXT/html", "application/vnd.x.y+json", "x-a/y.z"] {
            assert!(good.parse::<MediaType>().is_ok(), "{good}");
        }
        for bad in ["", "a", "a/", "/b", "*/*", "*/b", "a/b/c", "a/b;c=d", "+", "a/*b", "a b/c"] {
            assert!(bad.parse::<MediaType>().is_err(), "{bad}");
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
                refused(judge(&limits, &uri, fields, body.clone())),
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
        assert!(refused(judge(&limits, "/", &huge, SizeHint::new())).is_none());
        let unknown = judge(&limits, "/", &[JSON], SizeHint::new());
        assert!(matches!(unknown, Verdict::Pass { if_crossed: None, .. }), "{unknown:?}");
    }

    #[test]
    fn a_connection_is_closed_where_a_body_is_left_unread() {
        let limits = Limits::default();
        let closes = |version, no_body| {
            let headers = map(&[("content-length", "x")]);
            let body = SizeHint::new();
            let uri = &Uri::from_static("/");
            match limits.judge(&Head { version, uri, headers: &headers, body, no_body }) {
                Verdict::Refuse(refusal) => {
                    refusal.close_where_unread(refusal.to_response()).headers().get(CONNECTION)
                        == Some(&HeaderValue::from_static("close"))
                }
                Verdict::Pass { .. } => panic!("an invalid length passed"),
            }
        };
        assert!(closes(Version::HTTP_10, false));
        assert!(closes(Version::HTTP_11, false));
        assert!(!closes(Version::HTTP_11, true));
        assert!(!closes(Version::HTTP_2, false), "HTTP/2 has no such field (RFC 9113 §8.2.2)");
    }

    #[test]
    fn json_is_sent_to_those_who_name_it() {
        let table: &[(&[&str], Format)] = &[
            (&[], Format::Text),
            (&["*/*"], Format::Text),
            (&["text/html, */*;q=0.8"], Format::Text),
            (&["application/json"], Format::ProblemJson),
            (&["text/html", "Application/Problem+JSON ; q=0.1"], Format::ProblemJson),
            (&["application/json;q=0"], Format::Text),
            (&["application/json ; Q=0.000"], Format::Text),
            (&["application/jsonp"], Format::Text),
        ];
        for (lines, expected) in table {
            let fields: Vec<_> = lines.iter().map(|line| ("accept", *line)).collect();
            assert_eq!(format_for(&map(&fields)), *expected, "{lines:?}");
        }
    }

    #[test]
    fn a_problem_is_json() {
        let refusal =
            |reason, limit| Refusal { reason, limit, format: Format::ProblemJson, close: false };
        for (refusal, expected) in [
            (
                refusal(Reason::BodyTooLarge, Some(7)),
                serde_json::json!({
                    "type": "about:blank", "title": "Content Too Large", "status": 413,
                    "detail": "The request body is larger than 7 bytes.", "limit": 7,
                }),
            ),
            (
                refusal(Reason::InvalidContentLength, None),
                serde_json::json!({
                    "type": "about:blank", "title": "Bad Request", "status": 400,
                    "detail": "The content-length is not valid.",
                }),
            ),
        ] {
            let body = refusal.to_response().into_body();
            assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap(), expected);
        }
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
                version: Version::HTTP_2,
                uri: &Uri::from_static("/"),
                headers: &headers,
                body,
                no_body,
            };
            // What passes is never known to be over its limit.
            if let Verdict::Pass { most, .. } = Limits::default().judge(&head) {
                prop_assert!(lower <= most.get());
            }
        }
    }
}
