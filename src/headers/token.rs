//! Tokens (RFC 9110 §5.6.2).

/// Splits a text after the token at its start. Returns `None` if the text starts with none.
#[inline]
pub(crate) fn split_token(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// Returns `true` if the whole text is one token.
#[inline]
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| is_token_byte(byte))
}

#[inline]
const fn is_token_byte(byte: u8) -> bool {
    TOKEN_BYTES[byte as usize]
}

const TOKEN_BYTES: [bool; 256] = alphanumerics_and(b"!#$%&'*+-.^_`|~");

/// Returns a table of the bytes that a rule allows: letters, digits and some symbols.
pub(crate) const fn alphanumerics_and(symbols: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_ends_at_the_first_other_byte() {
        let rows: [(&str, Option<(&str, &str)>); 6] = [
            ("gzip;q=1", Some(("gzip", ";q=1"))),
            ("a", Some(("a", ""))),
            ("!#$%&'*+-.^_`|~09azAZ\t", Some(("!#$%&'*+-.^_`|~09azAZ", "\t"))),
            ("", None),
            (" a", None),
            ("ä", None),
        ];
        for (text, expected) in rows {
            let expected = expected.map(|(token, rest)| (token.as_bytes(), rest.as_bytes()));
            assert_eq!(split_token(text.as_bytes()), expected, "{text:?}");
            assert_eq!(
                is_token(text.as_bytes()),
                expected.is_some_and(|(_, rest)| rest.is_empty())
            );
        }
        for other in b"\"(),/:;<=>?@[\\]{} \x7f\0" {
            assert!(!is_token(&[*other]), "{other}");
        }
    }
}
