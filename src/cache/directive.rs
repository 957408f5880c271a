//! The syntax of `cache-control` and its like (RFC 9111 §5.2): lists of names with arguments.

use http::{HeaderMap, HeaderName};

/// A member of a list of directives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Directive<'a> {
    /// A name as it is spelled, and its argument.
    Named(&'a [u8], Argument<'a>),
    /// A member that does not have the form `token [ "=" ( token / quoted-string ) ]`.
    Malformed(&'a [u8]),
}

/// What stands behind a directive's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Argument<'a> {
    None,
    Token(&'a [u8]),
    /// The text between the quotes. Escapes are left in it: no argument that is read has any.
    Quoted(&'a [u8]),
}

impl<'a> Directive<'a> {
    fn of(member: &'a [u8]) -> Self {
        let (name, argument) = match member.iter().position(|&byte| byte == b'=') {
            Some(at) => (member[..at].trim_ascii(), Argument::of(member[at + 1..].trim_ascii())),
            None => (member, Some(Argument::None)),
        };
        match argument {
            Some(argument) if is_token(name) => Self::Named(name, argument),
            _ => Self::Malformed(member),
        }
    }
}

impl<'a> Argument<'a> {
    fn of(text: &'a [u8]) -> Option<Self> {
        match text {
            [b'"', inner @ .., b'"'] => {
                is_quotable(inner).then(|| Self::Quoted(inner.trim_ascii()))
            }
            _ => is_token(text).then_some(Self::Token(text)),
        }
    }

    /// Returns a number of seconds (RFC 9111 §1.2.2), whether or not it is quoted.
    pub(crate) fn seconds(self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Token(text) | Self::Quoted(text) => delta(text),
        }
    }
}

/// Returns the directives of all lines of a header.
pub(crate) fn directives<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = Directive<'a>> {
    let lines = headers.get_all(name).iter();
    lines.flat_map(|line| members(line.as_bytes())).map(Directive::of)
}

/// Splits a line at its commas, except for those within quotes. A quote that is never closed lasts
/// to the end of the line.
pub(crate) fn members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let mut escaped = false;
    let parts = line.split(move |&byte| {
        let separates = byte == b',' && !quoted;
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        separates
    });
    parts.map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Reads a number of seconds (RFC 9111 §1.2.2): digits only, and [`LARGEST`] if it is larger.
pub(crate) fn delta(argument: &[u8]) -> Option<u64> {
    if argument.is_empty() || !argument.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u64, digit: &u8| (sum * 10 + u64::from(digit - b'0')).min(LARGEST);
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

/// RFC 9110 §5.6.2.
fn is_token(text: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(fits)
}

/// Returns `true` if a text between two quotes is one string (RFC 9110 §5.6.4): no quote within it
/// ends it, and the last one is not escaped.
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

/// The largest number of seconds: 2^31, about 68 years.
pub(crate) const LARGEST: u64 = 1 << 31;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_member_is_a_directive_or_malformed() {
        use Argument::{None, Quoted, Token};
        let named = |name: &'static str, argument| Directive::Named(name.as_bytes(), argument);
        for (member, expected) in [
            ("a", Some(named("a", None))),
            ("a-b_c", Some(named("a-b_c", None))),
            ("a=1", Some(named("a", Token(b"1")))),
            ("a = 1", Some(named("a", Token(b"1")))),
            ("a=\" 1 \"", Some(named("a", Quoted(b"1")))),
            ("a=\"\"", Some(named("a", Quoted(b"")))),
            ("a=\"x, y\"", Some(named("a", Quoted(b"x, y")))),
            ("a=\"\\\"\"", Some(named("a", Quoted(b"\\\"")))),
            ("a=\"\\\\\"", Some(named("a", Quoted(b"\\\\")))),
            ("a=", Option::None),
            ("=1", Option::None),
            ("a b", Option::None),
            ("a;b", Option::None),
            ("a:1", Option::None),
            ("\"a\"", Option::None),
            ("a=1 b", Option::None),
            ("a=1;b", Option::None),
            ("a=\"", Option::None),
            ("a=\"1", Option::None),
            ("a=1\"", Option::None),
            ("a=\"\\\"", Option::None),
            ("a=\"1\"2\"", Option::None),
            ("a\u{e9}", Option::None),
            ("a=\u{201c}1\u{201d}", Option::None),
            ("a=b=c", Option::None),
        ] {
            let expected = expected.unwrap_or(Directive::Malformed(member.as_bytes()));
            assert_eq!(Directive::of(member.as_bytes()), expected, "{member}");
        }
    }

    proptest! {
        #[test]
        fn quoted_text_is_one_member(texts in prop::collection::vec("[ -~]{0,12}", 0..5), between in " ?,[, ]{0,2}") {
            let quote = |text: &String| format!("a=\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            let quoted: Vec<_> = texts.iter().map(quote).collect();
            let line = quoted.join(&between);
            let read: Vec<_> = members(line.as_bytes()).collect();
            prop_assert_eq!(&read, &quoted.iter().map(String::as_bytes).collect::<Vec<_>>());
            for member in read {
                prop_assert!(matches!(Directive::of(member), Directive::Named(b"a", Argument::Quoted(_))));
            }
        }
    }
}
