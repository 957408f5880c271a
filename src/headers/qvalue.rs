//! Members of a list of weighted choices, such as `gzip;q=0.5`.

/// A weight in thousandths.
pub(crate) type Weight = u16;

/// Parses a member of a list: the name and its weight. Returns `None` if the member names nothing.
///
/// A malformed member has the weight 0: `gzip;q=0.0000` was meant as a refusal, and a client that
/// is sent a coding which it refused cannot read the response. Without a coding it can.
pub(crate) fn weighted(member: &[u8]) -> Option<(&[u8], Weight)> {
    parse(member).map(|(name, weight)| (name, weight.unwrap_or(0)))
}

/// Returns the name of a well-formed member of a list.
#[cfg(feature = "cache")]
pub(crate) fn well_formed(member: &[u8]) -> Option<&[u8]> {
    parse(member).and_then(|(name, weight)| weight.map(|_| name))
}

/// Parses a name and its weight, which is `None` if it is malformed.
fn parse(member: &[u8]) -> Option<(&[u8], Option<Weight>)> {
    let member = member.trim_ascii();
    let end = member.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(member.len());
    let (name, parameters) = member.split_at(end);
    (!name.is_empty()).then(|| (name, weight_of(parameters.trim_ascii_start())))
}

/// Records the weight of a name. Of several weights of one name the first counts, unless another
/// one refuses it.
pub(crate) fn record(slot: &mut Option<Weight>, weight: Weight) {
    if slot.is_none() || weight == 0 {
        *slot = Some(weight);
    }
}

/// Parses what follows the name: nothing, or `;q=` with a weight (RFC 9110 §12.4.2).
fn weight_of(parameters: &[u8]) -> Option<Weight> {
    if parameters.is_empty() {
        return Some(1000);
    }
    match parameters.strip_prefix(b";")?.trim_ascii() {
        [b'q' | b'Q', b'=', value @ ..] => parse_qvalue(value),
        _ => None,
    }
}

/// Parses `0`, `1`, and up to three digits behind the point (RFC 9110 §12.4.2).
fn parse_qvalue(value: &[u8]) -> Option<Weight> {
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

/// RFC 9110 §5.6.2.
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn malformed_members_refuse_their_name() {
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
            assert_eq!(weighted(member.as_bytes()), Some((&b"gzip"[..], 0)), "{member}");
        }
        for member in ["", " ", ";q=0", "\"gzip\"", "(gzip)"] {
            assert_eq!(weighted(member.as_bytes()), None, "{member}");
        }
    }

    #[test]
    fn refusals_win_over_other_weights() {
        for (weights, expected) in [(&[500, 1000][..], 500), (&[500, 0], 0), (&[0, 500], 0)] {
            let mut slot = None;
            weights.iter().for_each(|weight| record(&mut slot, *weight));
            assert_eq!(slot, Some(expected), "{weights:?}");
        }
    }

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
