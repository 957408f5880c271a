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
