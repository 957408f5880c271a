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
