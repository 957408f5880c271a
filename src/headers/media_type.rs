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

/// `type/subtype` of a field value, its parameters left out. Both are tokens, and so ASCII.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Essence<'a> {
    pub(crate) whole: &'a [u8],
    pub(crate) class: &'a [u8],
    pub(crate) subtype: &'a [u8],
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

impl<'a> Essence<'a> {
    /// `json` of `application/problem+json` (RFC 6838 §4.2.8).
    pub(crate) fn suffix(&self) -> Option<&'a [u8]> {
        let plus = self.subtype.iter().rposition(|&byte| byte == b'+')?;
        Some(&self.subtype[plus + 1..])
    }
}

impl FromStr for MediaType {
    type Err = InvalidMediaType;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        let lower = given.to_ascii_lowercase();
        let is_plain = |text: &str| is_token(text) && !text.contains('*');
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

/// The media type of a field value; `None` if it is malformed (RFC 9110 §8.3.1).
pub(crate) fn essence(value: &[u8]) -> Option<Essence<'_>> {
    let value = value.trim_ascii_start();
    let (class, rest) = token(value)?;
    let (subtype, rest) = token(rest.strip_prefix(b"/")?)?;
    let whole = &value[..value.len() - rest.len()];
    let ends = matches!(rest.trim_ascii_start(), [] | [b';', ..]);
    ends.then_some(Essence { whole, class, subtype })
}

/// The token at the start, and what follows it (RFC 9110 §5.6.2).
fn token(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|&byte| !TOKEN[usize::from(byte)]).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn is_token(text: &str) -> bool {
    token(text.as_bytes()).is_some_and(|(_, rest)| rest.is_empty())
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_three_forms_are_media_type_patterns() {
        for good in ["a/b", "a/*", "+b", "TEXT/html", "application/vnd.x.y+json", "x-a/y.z"] {
            assert!(good.parse::<MediaType>().is_ok(), "{good}");
        }
        for bad in [
            "", "a", "a/", "/b", "*/*", "*/b", "a/b/c", "a/b;c=d", "+", "a/*b", "a b/c", "+b+c",
            "+*", "a*/*",
        ] {
            assert!(bad.parse::<MediaType>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_field_value_has_one_media_type_or_is_malformed() {
        for (value, whole) in [
            ("a/b", "a/b"),
            ("Text/HTML", "Text/HTML"),
            (" \ta/b ", "a/b"),
            ("a/b;c=d", "a/b"),
            ("a/b \t; c=d; e/f", "a/b"),
            ("a/b;", "a/b"),
            ("x-a/y.z+json;v=1", "x-a/y.z+json"),
        ] {
            let essence = essence(value.as_bytes()).unwrap();
            assert_eq!(essence.whole, whole.as_bytes(), "{value:?}");
            let parts = [essence.class, b"/", essence.subtype].concat();
            assert_eq!(parts, whole.as_bytes(), "{value:?}");
        }
        for bad in [
            "", " ", "a", "a/", "/b", "a /b", "a/ b", "a/b/c", "a/b c", "a/b, c/d", "a;/b", "a/;",
            "ä/b",
        ] {
            assert!(essence(bad.as_bytes()).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_suffix_is_what_follows_the_last_plus() {
        for (value, suffix) in
            [("a/b", None), ("a/b+c", Some("c")), ("a/b+c+d", Some("d")), ("a+b/c", None)]
        {
            let found = essence(value.as_bytes()).unwrap().suffix();
            assert_eq!(found, suffix.map(str::as_bytes), "{value}");
        }
    }

    proptest! {
        #[test]
        fn a_type_matches_its_three_patterns_and_no_others(
            class in "[a-z]{1,4}",
            subtype in "[a-z.-]{1,6}",
            suffix in "[a-z]{1,4}",
            parameters in "([ \t]{0,2};[ -~]{0,9})?",
        ) {
            let value = format!("{class}/{}+{suffix}{parameters}", subtype.to_uppercase());
            let found = essence(value.as_bytes()).unwrap();
            for (pattern, expected) in [
                (format!("{class}/{subtype}+{suffix}"), true),
                (format!("{class}/*"), true),
                (format!("+{suffix}"), true),
                (format!("{class}/{subtype}"), false),
                (format!("x{class}/*"), false),
                (format!("+x{suffix}"), false),
            ] {
                let matches = pattern.parse::<MediaType>().unwrap().matches(found);
                prop_assert_eq!(matches, expected, "{}", pattern);
            }
        }

        #[test]
        fn no_text_is_a_panic(text in any::<String>(), bytes in prop::collection::vec(any::<u8>(), 0..30)) {
            if let Ok(MediaType::Exact(exact)) = text.parse() {
                prop_assert!(essence(exact.as_bytes()).is_some_and(|found| found.whole == exact.as_bytes()));
            }
            if let Some(found) = essence(&bytes) {
                prop_assert_eq!(&[found.class, b"/", found.subtype].concat(), found.whole);
            }
        }
    }
}
