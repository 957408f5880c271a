use std::error::Error;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use http::HeaderValue;

/// A pattern of paths whose responses serve as dictionaries for each other: literal text and `*`.
///
/// This is the part of URL patterns (RFC 9842 §2.1.1) that the layer can match itself: no named
/// groups, modifiers or regular expressions.
#[derive(Clone, Debug)]
pub(super) struct MatchPattern {
    text: String,
    /// The value of `use-as-dictionary`.
    header: HeaderValue,
}

/// The error of [`Dictionaries::pattern`](super::Dictionaries::pattern) for a text that is not a path
/// of plain characters and `*`.
#[derive(Clone, Debug)]
pub struct InvalidPattern {
    text: String,
}

impl MatchPattern {
    /// Returns `true` if the pattern matches the whole path.
    pub(super) fn matches(&self, path: &str) -> bool {
        let mut parts = self.text.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = path.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            // The leftmost place leaves the most for the parts that follow.
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the value of `use-as-dictionary`.
    pub(super) fn header(&self) -> HeaderValue {
        self.header.clone()
    }
}

impl FromStr for MatchPattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_plain = |byte: &u8| *byte == b'*' || is_literal(*byte);
        let is_valid = text.starts_with('/')
            && text.len() <= MAX_LEN
            && text.as_bytes().iter().all(is_plain)
            && !text.contains("**");
        let header = HeaderValue::from_str(&format!("match=\"{text}\""));
        match header {
            Ok(header) if is_valid => Ok(Self { text: text.to_owned(), header }),
            _ => Err(InvalidPattern { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for InvalidPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no pattern of a dictionary: it takes a path from its first slash, percent-encoded, \
             with single asterisks, of at most {MAX_LEN} bytes",
            self.text
        )
    }
}

impl Error for InvalidPattern {}

/// Returns the value of `use-as-dictionary` that matches this path alone, with any query. Returns
/// `None` for a path whose spelling other software may read otherwise.
pub(super) fn header_of_path(path: &str) -> Option<HeaderValue> {
    if !path.starts_with('/') || path.len() > MAX_LEN {
        return None;
    }
    let mut value = Vec::with_capacity(path.len() + 16);
    value.extend_from_slice(b"match=\"");
    for byte in path.bytes() {
        match byte {
            // A backslash makes the next character a literal one in a URL pattern, and is itself
            // escaped in a string (RFC 9651 §3.3.3).
            b':' | b'(' | b')' | b'*' | b'+' => value.extend_from_slice(&[b'\\', b'\\', byte]),
            _ if is_literal(byte) => value.push(byte),
            _ => return None,
        }
    }
    value.push(b'"');
    HeaderValue::from_maybe_shared(Bytes::from(value)).ok()
}

/// Returns `true` for the characters of a path that have no meaning in URL patterns.
const fn is_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'/' | b'-'
                | b'.'
                | b'_'
                | b'~'
                | b'%'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b','
                | b';'
                | b'='
                | b'@'
        )
}

/// The maximum length of a pattern or path in a header.
const MAX_LEN: usize = 1024;

#[cfg(test)]
mod tests;
