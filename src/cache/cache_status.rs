//! The response headers `cache-status` (RFC 9211) and `age`.

use http::header::AGE;
use http::{HeaderMap, HeaderValue};

use super::policy::{Bypass, CACHE_STATUS, NotStorable};

/// The contents of `cache-status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CacheStatus {
    /// The reason why the request went to the inner service; `None` for a hit.
    pub(crate) fwd: Option<Fwd>,
    /// The status of the inner service's response, where the client got another one.
    pub(crate) fwd_status: Option<u16>,
    /// The seconds for which the response is fresh, negative if it is stale.
    pub(crate) ttl: Option<i64>,
    pub(crate) stored: bool,
    pub(crate) collapsed: bool,
    pub(crate) detail: Option<&'static str>,
    /// The request header that the detail is about.
    pub(crate) header: Option<&'static str>,
}

/// The reason why a request went to the inner service (RFC 9211 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fwd {
    Bypass,
    Method,
    UriMiss,
    VaryMiss,
    Request,
    Stale,
}

impl CacheStatus {
    pub(crate) fn hit(left: i64) -> Self {
        Self { ttl: Some(left.div_euclid(1000)), ..Self::default() }
    }

    pub(crate) fn forwarded(fwd: Fwd) -> Self {
        Self { fwd: Some(fwd), ..Self::default() }
    }

    pub(crate) fn bypass(bypass: Bypass) -> Self {
        // RFC 9211 §2.2 has a parameter for methods, and none for all other reasons.
        let fwd = if bypass == Bypass::Method { Fwd::Method } else { Fwd::Bypass };
        let detail = Some(bypass.as_str()).filter(|_| fwd == Fwd::Bypass);
        Self { detail, ..Self::forwarded(fwd) }
    }

    /// Appends a member to the list that other caches may have begun.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        // Written by hand: a serializer of structured fields allocates for each parameter, and this is
        // on the path of each hit. A property test checks each form.
        let mut line = Line::new();
        line.push(NAME);
        match self.fwd {
            None => line.push("; hit"),
            Some(fwd) => line.named("; fwd=", fwd.as_str()),
        }
        if let Some(status) = self.fwd_status {
            line.push("; fwd-status=");
            line.number(status.into());
        }
        if let Some(ttl) = self.ttl {
            line.push(if ttl < 0 { "; ttl=-" } else { "; ttl=" });
            line.number(ttl.unsigned_abs());
        }
        for (is, name) in [(self.stored, "; stored"), (self.collapsed, "; collapsed")] {
            line.push(if is { name } else { "" });
        }
        if let Some(detail) = self.detail {
            line.named("; detail=", detail);
            if let Some(header) = self.header {
                line.named(":", header);
            }
        }
        if let Some(value) = line.value() {
            headers.append(CACHE_STATUS, value);
        }
    }
}

/// A header value that is written on the stack, so that there is one allocation.
struct Line {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Line {
    const fn new() -> Self {
        Self { bytes: [0; LONGEST], len: 0 }
    }

    fn push(&mut self, text: &str) {
        self.extend(text.as_bytes());
    }

    /// Leaves out text that does not fit.
    fn extend(&mut self, bytes: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            room.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    fn named(&mut self, name: &str, value: &str) {
        self.push(name);
        self.push(value);
    }

    fn number(&mut self, number: u64) {
        // From the last digit: `u64::MAX` has 20.
        let (mut digits, mut at, mut left) = ([b'0'; 20], 20, number);
        while at == 20 || left > 0 {
            at -= 1;
            digits[at] = b'0' + (left % 10) as u8;
            left /= 10;
        }
        self.extend(&digits[at..]);
    }

    fn value(&self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(&self.bytes[..self.len]).ok()
    }
}

impl Fwd {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Request => "request",
            Self::Stale => "stale",
        }
    }
}

impl NotStorable {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::CacheHint => "hint",
            Self::SingleUse => "for-one-request",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::Malformed => "malformed",
            Self::Authorization => "authorization",
            Self::Cookie => "cookie",
            Self::SetCookie => "set-cookie",
            Self::VaryAll => "vary",
            Self::Status => "status",
            Self::Freshness => "no-freshness",
            Self::TooLarge => "too-large",
            Self::Stream => "stream",
            Self::Validator => "validator",
            Self::Groups => "groups",
        }
    }
}

/// Sets `age`. `millis` is rounded down.
pub(crate) fn write_age(headers: &mut HeaderMap, millis: u64) {
    // RFC 9111 §1.2.2.
    let mut line = Line::new();
    line.number((millis / 1000).min(super::policy::MAX_SECONDS));
    if let Some(age) = line.value() {
        headers.insert(AGE, age);
    }
}

const NAME: &str = "tower-kit";

/// The size in bytes of the longest value.
const LONGEST: usize = 160;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_report_is_a_member_of_a_structured_list() {
        // RFC 9211 §2 and §4.
        for (report, expected) in [
            (CacheStatus::hit(5_999), "tower-kit; hit; ttl=5"),
            (CacheStatus::hit(-1), "tower-kit; hit; ttl=-1"),
            (
                CacheStatus { collapsed: true, ..CacheStatus::forwarded(Fwd::UriMiss) },
                "tower-kit; fwd=uri-miss; collapsed",
            ),
            (
                CacheStatus { stored: true, ..CacheStatus::forwarded(Fwd::UriMiss) },
                "tower-kit; fwd=uri-miss; stored",
            ),
            (
                CacheStatus { fwd_status: Some(304), ..CacheStatus::forwarded(Fwd::Stale) },
                "tower-kit; fwd=stale; fwd-status=304",
            ),
            (
                CacheStatus {
                    detail: Some("override"),
                    header: Some("x-forwarded-host"),
                    ..CacheStatus::forwarded(Fwd::UriMiss)
                },
                // A token (RFC 9651 §3.3.4) may have a `:`.
                "tower-kit; fwd=uri-miss; detail=override:x-forwarded-host",
            ),
            (CacheStatus::bypass(Bypass::Method), "tower-kit; fwd=method"),
            (CacheStatus::bypass(Bypass::Body), "tower-kit; fwd=bypass; detail=body"),
        ] {
            let mut headers = HeaderMap::new();
            report.write(&mut headers);
            assert_eq!(headers["cache-status"], expected);
        }
    }

    proptest! {
        #[test]
        fn nothing_of_a_report_is_left_out(
            fwd in prop::option::of(Just(Fwd::VaryMiss)),
            fwd_status in prop::option::of(any::<u16>()),
            ttl in prop::option::of(any::<i64>()),
            stored in any::<bool>(),
            collapsed in any::<bool>(),
            refused in any::<bool>(),
        ) {
            let detail = refused.then_some(NotStorable::SingleUse.as_str());
            let mut headers = HeaderMap::new();
            CacheStatus { fwd, fwd_status, ttl, stored, collapsed, detail, header: None }.write(&mut headers);
            let members = [
                Some("tower-kit".to_owned()),
                Some(fwd.map_or("hit".to_owned(), |_| "fwd=vary-miss".to_owned())),
                fwd_status.map(|status| format!("fwd-status={status}")),
                ttl.map(|ttl| format!("ttl={ttl}")),
                stored.then(|| "stored".to_owned()),
                collapsed.then(|| "collapsed".to_owned()),
                detail.map(|detail| format!("detail={detail}")),
            ];
            let members: Vec<_> = members.into_iter().flatten().collect();
            prop_assert_eq!(&headers["cache-status"], &members.join("; "));
        }

        #[test]
        fn an_age_is_in_whole_seconds(millis in any::<u64>()) {
            let mut headers = HeaderMap::new();
            write_age(&mut headers, millis);
            prop_assert_eq!(headers[AGE].to_str().unwrap().parse::<u64>().unwrap(), (millis / 1000).min(super::super::policy::MAX_SECONDS));
        }
    }
}
