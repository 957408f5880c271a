//! The response headers `cache-status` (RFC 9211) and `age`.

use std::error::Error;
use std::fmt;

use bytes::Bytes;
use http::header::{AGE, CACHE_STATUS};
use http::{HeaderMap, HeaderValue};
use metrics::SharedString;

use super::policy::{Bypass, MAX_SECONDS, NotStorable};
use crate::headers::token::alphanumerics_and;

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

/// The name of a cache, for `cache-status` and for metrics.
#[derive(Clone, Debug)]
pub(crate) struct CacheName {
    /// The name as it is written, and zeros. An array of a fixed size is copied without a call.
    written: [u8; LONGEST_NAME],
    len: usize,
    label: SharedString,
}

/// The error of [`CacheLayer::name`](super::CacheLayer::name): a name that `cache-status` cannot have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidName {
    given: String,
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
    pub(crate) fn write(&self, name: &CacheName, headers: &mut HeaderMap) {
        let mut line = Line::new();
        self.push_to(&mut line, name);
        if let Ok(value) = HeaderValue::from_bytes(line.as_ref()) {
            headers.append(CACHE_STATUS, value);
        }
    }

    /// Sets `age` and `cache-status` of a stored response. `age` is in milliseconds.
    pub(crate) fn write_with_age(&self, name: &CacheName, headers: &mut HeaderMap, age: u64) {
        let mut line = Line::new();
        self.push_to(&mut line, name);
        let end = line.len;
        line.seconds(age);
        // Both values are on the path of each hit, and cost one allocation.
        let mut status = Bytes::from_owner(line);
        let age = HeaderValue::from_maybe_shared(status.split_off(end));
        let (Ok(age), Ok(status)) = (age, HeaderValue::from_maybe_shared(status)) else { return };
        // A walk to the places, which are mostly the first headers, costs less than two lookups.
        let mut places = headers.iter_mut().filter(|(_, value)| value.is_empty());
        match (places.next(), places.next()) {
            (Some((first, age_place)), Some((second, status_place)))
                if *first == AGE && *second == CACHE_STATUS =>
            {
                *age_place = age;
                *status_place = status;
            }
            _ => {
                headers.insert(AGE, age);
                match headers.get_mut(CACHE_STATUS) {
                    Some(place) if place.is_empty() => *place = status,
                    _ => {
                        headers.append(CACHE_STATUS, status);
                    }
                }
            }
        }
    }

    fn push_to(&self, line: &mut Line, name: &CacheName) {
        // Written by hand: a serializer of structured fields allocates for each parameter, and this is
        // on the path of each hit. A property test checks each form.
        line.begin(name);
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
        if self.stored {
            line.push("; stored");
        }
        if self.collapsed {
            line.push("; collapsed");
        }
        if let Some(detail) = self.detail {
            line.named("; detail=", detail);
            if let Some(header) = self.header {
                line.named(":", header);
            }
        }
    }
}

impl CacheName {
    /// Parses a name: a token if it can be one, or else a string (RFC 9211 §2, RFC 9651 §3.3).
    pub(crate) fn parse(name: &str) -> Result<Self, InvalidName> {
        let is_printable = name.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let mut written = String::with_capacity(name.len() + 2);
        if is_token(name.as_bytes()) {
            written.push_str(name);
        } else {
            written.push('"');
            for letter in name.chars() {
                if matches!(letter, '"' | '\\') {
                    written.push('\\');
                }
                written.push(letter);
            }
            written.push('"');
        }
        if name.is_empty() || !is_printable || written.len() > LONGEST_NAME {
            return Err(InvalidName { given: name.to_owned() });
        }
        Ok(Self::of(&written, name.to_owned().into()))
    }

    /// `text` is the name as it is written.
    fn of(text: &str, label: SharedString) -> Self {
        let mut written = [0; LONGEST_NAME];
        written.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
        Self { written, len: text.len().min(LONGEST_NAME), label }
    }

    /// Returns the name as it was given, for a label.
    pub(crate) fn label(&self) -> SharedString {
        self.label.clone()
    }
}

impl Default for CacheName {
    fn default() -> Self {
        Self::of(NAME, SharedString::const_str(NAME))
    }
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not the name of a cache: that has 1 to {LONGEST_NAME} printable ASCII \
             characters, with the quotes and backslashes that `cache-status` adds",
            self.given
        )
    }
}

impl Error for InvalidName {}

/// Text of header values that is written on the stack, so that there is one allocation.
struct Line {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Line {
    const fn new() -> Self {
        Self { bytes: [0; LONGEST], len: 0 }
    }

    /// Begins the line with the name of a cache.
    #[inline]
    fn begin(&mut self, name: &CacheName) {
        self.bytes[..LONGEST_NAME].copy_from_slice(&name.written);
        self.len = name.len;
    }

    /// Leaves out text that does not fit.
    fn push(&mut self, text: &str) {
        if let Some(room) = self.bytes.get_mut(self.len..self.len + text.len()) {
            room.copy_from_slice(text.as_bytes());
            self.len += text.len();
        }
    }

    fn named(&mut self, name: &str, value: &str) {
        self.push(name);
        self.push(value);
    }

    fn number(&mut self, number: u64) {
        let digits = number.checked_ilog10().map_or(1, |log| log as usize + 1);
        let Some(room) = self.bytes.get_mut(self.len..self.len + digits) else { return };
        let mut left = number;
        for digit in room.iter_mut().rev() {
            *digit = b'0' + (left % 10) as u8;
            left /= 10;
        }
        self.len += digits;
    }

    /// Writes milliseconds as an age (RFC 9111 §1.2.2), rounded down.
    fn seconds(&mut self, millis: u64) {
        self.number((millis / 1000).min(MAX_SECONDS));
    }
}

impl AsRef<[u8]> for Line {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
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
            Self::Values => "values",
            Self::StaleValue => "stale-value",
        }
    }
}

/// Sets `age`. `millis` is rounded down.
pub(crate) fn write_age(headers: &mut HeaderMap, millis: u64) {
    let mut line = Line::new();
    line.seconds(millis);
    if let Ok(age) = HeaderValue::from_bytes(line.as_ref()) {
        headers.insert(AGE, age);
    }
}

const NAME: &str = "tower-kit";

/// Returns `true` for a token of RFC 9651 §3.3.4, which begins with a letter or `*`.
fn is_token(name: &[u8]) -> bool {
    name.first().is_some_and(|&byte| byte.is_ascii_alphabetic() || byte == b'*')
        && name.iter().all(|&byte| TOKEN_BYTES[usize::from(byte)])
}

const TOKEN_BYTES: [bool; 256] = alphanumerics_and(b"!#$%&'*+-.^_`|~:/");

/// The maximum size of a name in bytes, as it is written.
const LONGEST_NAME: usize = 64;

/// The size in bytes of the longest value, which has a name and all parameters, and of an age.
const LONGEST: usize = 192 + 10;

#[cfg(test)]
mod tests;
