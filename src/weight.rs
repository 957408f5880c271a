//! Members of a list of weighted choices.

/// In thousandths.
pub(crate) type Weight = u16;

/// A choice's name and weight, or `None` if the member is malformed.
pub(crate) fn weighted(member: &[u8]) -> Option<(&[u8], Weight)> {
    let mut parts = member.split(|&byte| byte == b';');
    let name = parts.next()?.trim_ascii();
    let weight = match parts.next() {
        None => 1000,
        Some(parameter) => match parameter.trim_ascii() {
            [b'q' | b'Q', b'=', value @ ..] => weight_of(value)?,
            _ => return None,
        },
    };
    (!name.is_empty() && parts.next().is_none()).then_some((name, weight))
}

/// `0`, `1`, and up to three digits behind the point (RFC 9110 §12.4.2).
fn weight_of(value: &[u8]) -> Option<Weight> {
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
        weight = weight * 10 + Weight::from(digit - b'0');
    }
    (weight <= 1000).then_some(weight)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_weight_is_read_as_it_is_written(
            name in "[a-z*-]{1,8}",
            weight in 0..=1000_u16,
            space in "[ \t]{0,2}",
            q in "[qQ]",
        ) {
            let (whole, thousandths) = (weight / 1000, weight % 1000);
            let mut number = format!("{whole}.{thousandths:03}");
            loop {
                let member = format!("{space}{name}{space};{space}{q}={number}{space}");
                prop_assert_eq!(weighted(member.as_bytes()), Some((name.as_bytes(), weight)));
                // Zeros at the end may be left out, and the point behind them.
                if !number.contains('.') || !number.ends_with(['0', '.']) {
                    break;
                }
                number.pop();
            }
            prop_assert_eq!(weighted(name.as_bytes()), Some((name.as_bytes(), 1000)));
        }

        #[test]
        fn no_member_is_a_panic_or_weighs_more_than_one(
            any in prop::collection::vec(any::<u8>(), 0..30),
            likely in "[a-z]{0,3};q=[0-9.;]{0,7}",
        ) {
            for member in [&any[..], likely.as_bytes()] {
                prop_assert!(weighted(member).is_none_or(|(name, weight)| !name.is_empty() && weight <= 1000));
            }
        }
    }
}
