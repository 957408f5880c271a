//! The syntax of `cache-control` (RFC 9111 §5.2): a list of names with arguments.

use http::{HeaderMap, HeaderName};

use crate::headers::list;
use crate::headers::token::is_token;

/// A member of a list of directives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Directive<'a> {
    /// A name as it is spelled, and its argument.
    Named(&'a [u8], Argument<'a>),
    /// A member that does not have the form `token [ "=" ( token / quoted-string ) ]`.
    Malformed(&'a [u8]),
}

/// The argument of a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Argument<'a> {
    None,
    Token(&'a [u8]),
    /// The text between the quotes, with its escapes: no argument that the cache reads has any.
    Quoted(&'a [u8]),
}

impl<'a> Directive<'a> {
    /// Parses a member of a list.
    pub(crate) fn parse(member: &'a [u8]) -> Self {
        let (name, argument) = match member.iter().position(|&byte| byte == b'=') {
            Some(at) => (member[..at].trim_ascii(), Argument::parse(member[at + 1..].trim_ascii())),
            None => (member, Some(Argument::None)),
        };
        // A member that is nearly a directive is not guessed at here: what it may forbid is for the
        // caller, which looks at its words.
        match argument {
            Some(argument) if is_token(name) => Self::Named(name, argument),
            _ => Self::Malformed(member),
        }
    }
}

impl<'a> Argument<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        match text {
            [b'"', inner @ .., b'"'] => {
                is_quotable(inner).then(|| Self::Quoted(inner.trim_ascii()))
            }
            _ => is_token(text).then_some(Self::Token(text)),
        }
    }

    /// Returns the argument as a number of seconds, quoted or not (RFC 9111 §1.2.2).
    pub(crate) fn seconds(self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Token(text) | Self::Quoted(text) => parse_seconds(text),
        }
    }
}

/// Returns the directives of all lines of a header.
pub(crate) fn directives<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = Directive<'a>> {
    list::members(headers, name).map(Directive::parse)
}

/// Parses a number of seconds (RFC 9111 §1.2.2): digits alone. A larger number than [`MAX_SECONDS`]
/// is taken as that.
pub(crate) fn parse_seconds(argument: &[u8]) -> Option<u64> {
    if argument.is_empty() || !argument.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u64, digit: &u8| (sum * 10 + u64::from(digit - b'0')).min(MAX_SECONDS);
    Some(argument.iter().fold(0, add))
}

/// Returns the letters of a text in lower case, without what stands between them: `no_store`,
/// `no store` and `no-store` with a typographic hyphen have the same.
pub(crate) fn letters(text: &[u8]) -> Vec<u8> {
    text.iter().filter(|byte| byte.is_ascii_alphabetic()).map(u8::to_ascii_lowercase).collect()
}

/// Returns `true` if `text` contains `part`, in time that grows with the length of `text` alone.
pub(crate) fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

/// Returns `true` if the text between two quotes is one string (RFC 9110 §5.6.4): it has no quote
/// that is not escaped, and its end does not escape the closing one.
fn is_quotable(text: &[u8]) -> bool {
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        let fits = match byte {
            b'"' => false,
            b'\\' => bytes.next().is_some(),
            _ => true,
        };
        if !fits {
            return false;
        }
    }
    true
}

/// The maximum of a number of seconds: 2^31, about 68 years.
pub(crate) const MAX_SECONDS: u64 = 1 << 31;

#[cfg(test)]
mod tests;
