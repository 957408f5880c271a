use http::header::EXPIRES;
use proptest::prelude::*;

use super::*;
use crate::headers::test_headers::map;

#[test]
fn an_age_is_the_first_number_of_the_list() {
    for (lines, expected) in [
        (&[][..], 0),
        (&["10"], 10),
        (&["10, 20"], 10),
        (&["10", "20"], 10),
        (&["-1"], 0),
        (&["x, 5"], 0),
        (&["1.5"], 0),
        (&["99999999999999999999"], MAX_SECONDS),
    ] {
        let fields: Vec<_> = lines.iter().map(|line| ("age", *line)).collect();
        assert_eq!(age(&map(&fields)), expected, "{lines:?}");
    }
}

#[test]
fn a_date_value_is_in_the_first_format() {
    let date = |millis| date_value(millis);
    assert_eq!(date(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(date(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
}

#[test]
fn a_date_has_one_of_three_formats() {
    // RFC 9110 §5.6.7.
    let table = [
        ("Sun, 06 Nov 1994 08:49:37 GMT", true),
        ("Sunday, 06-Nov-94 08:49:37 GMT", true),
        ("Sun Nov  6 08:49:37 1994", true),
        // RFC 9111 §4.2.
        ("sUN, 06 nov 1994 08:49:37 gmt", true),
        ("SUNDAY, 06-NOV-94 08:49:37 GMT", true),
        ("sun nov  6 08:49:37 1994", true),
        ("Sun, 06 Nov 1994 08:49:37 UTC", false),
        ("Sun, 06 Nov 1994 08:49:37 +0000", false),
        ("Sun, 06 Nov 94 08:49:37 GMT", false),
        ("Sun, 6 Nov 1994 08:49:37 GMT", false),
        ("Sun, 06 Nov 1994 8:49:37 GMT", false),
        ("Sun, 06 Nov 1994 08:49:37", false),
        ("0", false),
        ("", false),
    ];
    for (text, good) in table {
        let date = parse_date(&HeaderValue::from_str(text).unwrap()).map(millis);
        assert_eq!(date, if good { Ok(784_111_777_000) } else { Err(Malformed) }, "{text}");
    }
}

proptest! {
    #[test]
    fn no_header_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(value) = HeaderValue::from_bytes(&bytes) {
            let headers: HeaderMap =
                [AGE, EXPIRES].map(|name| (name, value.clone())).into_iter().collect();
            prop_assert!(age(&headers) <= MAX_SECONDS);
            prop_assert!(date(&headers, &EXPIRES).is_some());
        }
    }

    #[test]
    fn dates_and_numbers_round_trip(
        seconds in 0..253_402_300_800_u64,
        number in any::<u64>(),
    ) {
        let time = UNIX_EPOCH + Duration::from_secs(seconds);
        let text = httpdate::fmt_http_date(time);
        for text in [text.to_lowercase(), text.to_uppercase(), text] {
            prop_assert_eq!(parse_date(&HeaderValue::try_from(text).unwrap()), Ok(time));
        }
        prop_assert_eq!(parse_seconds(number.to_string().as_bytes()), Some(number.min(MAX_SECONDS)));
    }
}
