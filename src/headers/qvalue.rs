//! Weights of members of a list, such as `gzip;q=0.5` (RFC 9110 §12.4.2).

use super::token::split_token;

/// A weight in thousandths, from 0 to 1,000.
pub(crate) type QValue = u16;

/// Parses a member of a list: its name, and its weight, which is `None` if it is malformed. Returns
/// `None` if the member names nothing.
///
/// A malformed weight is to be taken for a refusal: `gzip;q=0.0000` was meant as one, and a client
/// that gets a coding which it refused cannot read the response. It can read one without a coding.
#[inline]
pub(crate) fn parse_member(member: &[u8]) -> Option<(&[u8], Option<QValue>)> {
    let (name, parameters) = split_token(member.trim_ascii())?;
    Some((name, parse_weight(parameters.trim_ascii_start())))
}

/// Parses what follows the name: nothing, or `;q=` and a weight.
fn parse_weight(parameters: &[u8]) -> Option<QValue> {
    if parameters.is_empty() {
        return Some(1000);
    }
    match parameters.strip_prefix(b";")?.trim_ascii() {
        [b'q' | b'Q', b'=', value @ ..] => parse_qvalue(value),
        _ => None,
    }
}

/// Parses `0` or `1`, and up to three decimals.
pub(crate) fn parse_qvalue(value: &[u8]) -> Option<QValue> {
    let (whole, digits) = match value {
        [whole] | [whole, b'.'] => (whole, &[][..]),
        [whole, b'.', digits @ ..] if digits.len() <= 3 => (whole, digits),
        _ => return None,
    };
    let mut weight = match whole {
        b'0' => 0,
        b'1' => 1,
        _ => return None,
    };
    for at in 0..3 {
        let digit = digits.get(at).copied().unwrap_or(b'0');
        if !digit.is_ascii_digit() {
            return None;
        }
        weight = weight * 10 + QValue::from(digit - b'0');
    }
    (weight <= 1000).then_some(weight)
}

#[cfg(test)]
mod tests;
