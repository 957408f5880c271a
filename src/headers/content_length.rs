//! `content-length` (RFC 9110 §8.6).

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue};

/// The reasons for which a `content-length` is not a number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InvalidContentLength {
    /// A line has something else than digits, or two lines or members differ.
    Malformed,
    /// The number is `u64::MAX`, or larger.
    TooLarge,
}

/// Returns the length that a head declares. Several lines or members that agree are one, as RFC 9110
/// §8.6 allows and hyper reads them.
#[inline]
pub(crate) fn content_length(headers: &HeaderMap) -> Result<Option<u64>, InvalidContentLength> {
    // Comparing the names of a small map costs less than hashing `content-length`.
    if headers.len() <= MAX_COMPARED {
        let lines = headers.iter().filter(|(name, _)| **name == CONTENT_LENGTH);
        return agreed_length(lines.map(|(_, line)| line));
    }
    agreed_length(headers.get_all(CONTENT_LENGTH))
}

fn agreed_length<'a>(
    lines: impl IntoIterator<Item = &'a HeaderValue>,
) -> Result<Option<u64>, InvalidContentLength> {
    let mut found = None;
    for line in lines {
        let line = line.as_bytes();
        let length = match parse_length(line) {
            Err(InvalidContentLength::Malformed) => members_length(line)?,
            length => length?,
        };
        if *found.get_or_insert(length) != length {
            return Err(InvalidContentLength::Malformed);
        }
    }
    // Only now: another line may differ, and then the message is malformed.
    if found == Some(u64::MAX) { Err(InvalidContentLength::TooLarge) } else { Ok(found) }
}

/// Parses a line of several members, such as `7, 7`.
#[cold]
fn members_length(line: &[u8]) -> Result<u64, InvalidContentLength> {
    let mut members = line.split(|&byte| byte == b',').map(|it| parse_length(it.trim_ascii()));
    let first = members.next().unwrap_or(Err(InvalidContentLength::Malformed))?;
    for length in members {
        if length? != first {
            return Err(InvalidContentLength::Malformed);
        }
    }
    Ok(first)
}

/// Parses the value of one line: digits alone. The result is saturated.
#[inline]
fn parse_length(digits: &[u8]) -> Result<u64, InvalidContentLength> {
    if digits.is_empty() {
        return Err(InvalidContentLength::Malformed);
    }
    digits.iter().try_fold(0_u64, |sum, byte| match byte {
        b'0'..=b'9' => Ok(sum.saturating_mul(10).saturating_add(u64::from(byte - b'0'))),
        _ => Err(InvalidContentLength::Malformed),
    })
}

/// The maximum number of headers that are compared one by one.
const MAX_COMPARED: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_members_have_to_agree() {
        use InvalidContentLength::{Malformed, TooLarge};
        type Row = (&'static [&'static str], Result<Option<u64>, InvalidContentLength>);
        let rows: [Row; 18] = [
            (&[], Ok(None)),
            (&["0"], Ok(Some(0))),
            (&["7"], Ok(Some(7))),
            (&["007"], Ok(Some(7))),
            (&["7", "7"], Ok(Some(7))),
            (&["7, 7"], Ok(Some(7))),
            (&["18446744073709551614"], Ok(Some(u64::MAX - 1))),
            (&["18446744073709551615"], Err(TooLarge)),
            (&["99999999999999999999999"], Err(TooLarge)),
            (&["99999999999999999999999, 5"], Err(Malformed)),
            (&["99999999999999999999999", "5"], Err(Malformed)),
            (&["7", "8"], Err(Malformed)),
            (&["7, 8"], Err(Malformed)),
            (&["7,"], Err(Malformed)),
            (&[""], Err(Malformed)),
            (&["+7"], Err(Malformed)),
            (&["-7"], Err(Malformed)),
            (&["0x7"], Err(Malformed)),
        ];
        for (lines, expected) in rows {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(CONTENT_LENGTH, HeaderValue::from_static(line));
            }
            assert_eq!(content_length(&headers), expected, "{lines:?}");
        }
    }
}
