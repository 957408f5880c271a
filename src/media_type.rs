//! Patterns of media types, as users of a layer write them.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use crate::headers::media_type::Essence;
use crate::headers::token::is_token;

/// A pattern of media types, in lower case. The order is that of precedence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MediaType {
    Exact(String),
    Suffix(String),
    Type(String),
}

/// An error for a text that is not of the form `type/subtype`, `type/*` or `+suffix`.
#[derive(Clone, Debug)]
pub struct InvalidMediaType {
    given: String,
}

impl MediaType {
    pub(crate) fn matches(&self, essence: Essence<'_>) -> bool {
        match self {
            Self::Exact(exact) => essence.whole.eq_ignore_ascii_case(exact.as_bytes()),
            Self::Suffix(suffix) => {
                essence.suffix().is_some_and(|found| found.eq_ignore_ascii_case(suffix.as_bytes()))
            }
            Self::Type(class) => essence.class.eq_ignore_ascii_case(class.as_bytes()),
        }
    }
}

impl FromStr for MediaType {
    type Err = InvalidMediaType;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        let lower = given.to_ascii_lowercase();
        let is_plain = |text: &str| is_token(text.as_bytes()) && !text.contains('*');
        // A suffix is what follows the last plus: one with a plus in it would match nothing.
        let is_suffix = |text: &&str| is_plain(text) && !text.contains('+');
        if let Some(suffix) = lower.strip_prefix('+').filter(is_suffix) {
            return Ok(Self::Suffix(suffix.to_owned()));
        }
        match lower.split_once('/') {
            Some((class, "*")) if is_plain(class) => Ok(Self::Type(class.to_owned())),
            Some((class, subtype)) if is_plain(class) && is_plain(subtype) => {
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

#[cfg(test)]
mod tests;
