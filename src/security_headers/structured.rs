//! Items of structured fields (RFC 9651).
//!
//! The crate `sfv` is no help here: the compiler checks `const` policies, which takes `const fn`,
//! and a layer writes structured fields but never parses one.

/// Returns `true` for a key (RFC 9651 §3.1.2), such as the name of an endpoint.
pub(super) const fn is_key(text: &[u8]) -> bool {
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'a'..=b'z' | b'*' => {}
            b'0'..=b'9' | b'_' | b'-' | b'.' if at > 0 => {}
            _ => return false,
        }
        at += 1;
    }
    at > 0
}

/// Returns `true` for a token (RFC 9651 §3.3.4).
pub(super) fn is_token(text: &str) -> bool {
    let starts = |byte: u8| byte.is_ascii_alphabetic() || byte == b'*';
    let follows =
        |byte: u8| starts(byte) || byte.is_ascii_digit() || b"!#$%&'+-.^_`|~:/".contains(&byte);
    text.bytes().next().is_some_and(starts) && text.bytes().all(follows)
}

/// Returns `true` for a string in double quotes (RFC 9651 §3.3.3) that escapes nothing.
pub(super) fn is_string(text: &str) -> bool {
    let inside = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inside.is_some_and(|inside| {
        inside.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\')
    })
}

pub(super) const KEY: &str =
    "not the name of an endpoint: a to z and *, and after the first also 0 to 9 and _ - .";
pub(super) const TOKEN: &str =
    "not a token: a letter or *, then letters, digits and !#$%&'*+-.^_`|~:/";
