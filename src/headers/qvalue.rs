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
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn malformed_weights_are_known() {
        for member in [
            "gzip;q=0.0000",
            "gzip;q=-0",
            "gzip;q=",
            "gzip;q",
            "gzip;",
            "gzip;;q=0",
            "gzip;q=0;",
            "gzip; q = 0",
            "gzip;q=\"0\"",
            "gzip;q=00",
            "gzip;q=.0",
            "gzip;q=0.0.0",
            "gzip;q=0x0",
            "gzip;q=2",
            "gzip;q=1.001",
            "gzip;level=9",
            "gzip;level=9;q=1",
            "gzip q=0",
            "gzip:0",
            "gzip=0",
            "gzip deflate",
            "gzip;q=+0",
            "gzip;q=0 0",
            "gzip;q=1;q=0",
        ] {
            assert_eq!(parse_member(member.as_bytes()), Some((&b"gzip"[..], None)), "{member}");
        }
        for member in ["", " ", ";q=0", "\"gzip\"", "(gzip)"] {
            assert_eq!(parse_member(member.as_bytes()), None, "{member}");
        }
    }

    proptest! {
        #[test]
        fn weight_is_read_as_it_is_written(
            name in "[a-z*-]{1,8}",
            weight in 0..=1000_u16,
            space in "[ \t]{0,2}",
            q in "[qQ]",
        ) {
            let (whole, thousandths) = (weight / 1000, weight % 1000);
            let mut number = format!("{whole}.{thousandths:03}");
            loop {
                let member = format!("{space}{name}{space};{space}{q}={number}{space}");
                prop_assert_eq!(parse_member(member.as_bytes()), Some((name.as_bytes(), Some(weight))));
                // Zeros at the end may be left out, and the point behind them.
                if !number.contains('.') || !number.ends_with(['0', '.']) {
                    break;
                }
                number.pop();
            }
            prop_assert_eq!(parse_member(name.as_bytes()), Some((name.as_bytes(), Some(1000))));
        }

        #[test]
        fn no_member_weighs_more_than_one(
            any in prop::collection::vec(any::<u8>(), 0..30),
            likely in "[a-z]{0,3};q=[0-9.;]{0,7}",
        ) {
            for member in [&any[..], likely.as_bytes()] {
                prop_assert!(parse_member(member).is_none_or(|(name, weight)| !name.is_empty() && weight <= Some(1000)));
            }
        }
    }
}
