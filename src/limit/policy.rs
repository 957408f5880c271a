use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use http_body::SizeHint;

use super::refusal::{Reason, Refusal};
use crate::media_type::{MediaType, essence};
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
}

/// What a verdict is found from.
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
pub(super) enum Verdict {
    /// The body may have `most` bytes. `if_crossed` is there where only its end can tell.
    Pass {
        most: Size,
        if_crossed: Option<Refusal>,
    },
    Refuse(Refusal),
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
        let refusal = |reason, limit| Refusal::new(reason, limit, head);
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
        let unknown = head.body.exact().is_none() && most != Size::UNLIMITED;
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
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        name.as_str().len() + value.len() + ": \r\n".len()
    };
    headers.iter().map(line).sum::<usize>() as u64
}

const DEFAULT_JSON: Size = Size(10 * KIB);
const DEFAULT_FORM: Size = Size(10 * KIB);
const DEFAULT_OTHER: Size = Size(2 * MIB);
const DEFAULT_TARGET: Size = Size(8 * KIB);
const DEFAULT_HEADER_BYTES: Size = Size(16 * KIB);
const DEFAULT_HEADER_COUNT: Size = Size(100);

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

    fn judge(limits: &Limits, uri: &str, fields: &[(&str, &str)], body: SizeHint) -> Verdict {
        limits.judge(&Head {
            method: &Method::POST,
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
                refused(judge(&limits, &uri, fields, *body)),
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
            let method = &Method::POST;
            match limits.judge(&Head { method, version, uri, headers: &headers, body, no_body }) {
                Verdict::Refuse(refusal) => {
                    refusal.finish(refusal.to_response()).headers().get(CONNECTION)
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
            if let Verdict::Pass { most, .. } = Limits::default().judge(&head) {
                prop_assert!(lower <= most.get());
            }
        }
    }
}
