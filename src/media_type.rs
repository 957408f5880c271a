//! Patterns of media types, and the media type of a `content-type`.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

/// A pattern of media types, in lower case. The order is that of precedence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MediaType {
    Exact(String),
    Suffix(String),
    Type(String),
}

/// A media type that is not of the form `type/subtype`, `type/*` or `+suffix`.
#[derive(Clone, Debug)]
pub struct InvalidMediaType {
    given: String,
}

/// `type/subtype` of a field value, its parameters left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Essence<'a> {
    pub(crate) whole: &'a str,
    pub(crate) class: &'a str,
    pub(crate) subtype: &'a str,
}

impl MediaType {
    pub(crate) fn matches(&self, essence: Essence<'_>) -> bool {
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

impl fmt::Display for InvalidMediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not of the form type/subtype, type/* or +suffix: {:?}", self.given)
    }
}

impl Error for InvalidMediaType {}

/// The media type of a field value; `None` if it is malformed (RFC 9110 §8.3.1).
pub(crate) fn essence(value: &[u8]) -> Option<Essence<'_>> {
    let end = value.iter().position(|&byte| byte == b';').unwrap_or(value.len());
    let whole = std::str::from_utf8(value[..end].trim_ascii()).ok()?;
    let (class, subtype) = whole.split_once('/')?;
    (is_token(class) && is_token(subtype)).then_some(Essence { whole, class, subtype })
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| TOKEN[usize::from(byte)])
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let symbols = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < symbols.len() {
        table[symbols[at] as usize] = true;
        at += 1;
    }
    let mut byte = 0;
    while byte < 128 {
        table[byte] |= (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_three_forms_are_media_type_patterns() {
        for good in ["a/b", "a/*", "+b", "TEXT/html", "application/vnd.x.y+json", "x-a/y.z"] {
            assert!(good.parse::<MediaType>().is_ok(), "{good}");
        }
        for bad in ["", "a", "a/", "/b", "*/*", "*/b", "a/b/c", "a/b;c=d", "+", "a/*b", "a b/c"] {
            assert!(bad.parse::<MediaType>().is_err(), "{bad}");
        }
    }
}
