use proptest::prelude::*;

use super::*;

fn parse(lines: &[&str]) -> AcceptEncoding {
    let lines: Vec<_> = lines.iter().map(|line| HeaderValue::from_str(line).unwrap()).collect();
    AcceptEncoding::parse(&lines)
}

/// Expects the weights of gzip, deflate and identity.
fn assert_weights(lines: &[&str], gzip: QValue, deflate: QValue, identity: Option<QValue>) {
    let read = parse(lines);
    let found = (read.weight(ContentCoding::Gzip), read.weight(ContentCoding::Deflate));
    assert_eq!((found, read.identity), ((gzip, deflate), identity), "{lines:?}");
}

#[test]
fn weights_are_those_of_the_client() {
    let rows: &[(&[&str], QValue, QValue, Option<QValue>)] = &[
        (&[], 0, 0, None),
        (&[""], 0, 0, None),
        (&["gzip"], 1000, 0, None),
        (&["X-GZip"], 1000, 0, None),
        (&["deflate", "gzip;q=0.5"], 500, 1000, None),
        (&["\tgzip ; q=0.5 ,deflate; Q=0.4"], 500, 400, None),
        (&["*"], 1000, 1000, None),
        (&["gzip;q=0, *;q=0.1"], 0, 100, None),
        (&["*;q=0, deflate"], 0, 1000, Some(0)),
        (&["identity;q=0.1, *;q=0"], 0, 0, Some(100)),
        (&["identity, gzip"], 1000, 0, Some(1000)),
        (&["br, zstd, compress"], 0, 0, None),
        (&[",, ,gzip,"], 1000, 0, None),
    ];
    for (lines, gzip, deflate, identity) in rows {
        assert_weights(lines, *gzip, *deflate, *identity);
    }
}

#[test]
fn malformed_or_repeated_members_refuse() {
    let rows: &[(&[&str], QValue, QValue, Option<QValue>)] = &[
        (&["gzip;q=2, deflate"], 0, 1000, None),
        (&["gzip;q=0.1234, deflate"], 0, 1000, None),
        (&["gzip;level=9, deflate"], 0, 1000, None),
        (&["gzip deflate, deflate"], 0, 1000, None),
        (&["gzip;q=0, gzip"], 0, 0, None),
        (&["gzip, gzip;q=0"], 0, 0, None),
        (&["gzip;q=0.5, gzip"], 500, 0, None),
        (&["gzip;q=0.0000, *"], 0, 1000, None),
        (&["*;q=0.0000"], 0, 0, Some(0)),
        (&["gzip", "*;q=1, gzip;q=0.0000"], 0, 1000, None),
    ];
    for (lines, gzip, deflate, identity) in rows {
        assert_weights(lines, *gzip, *deflate, *identity);
    }
}

proptest! {
    #[test]
    fn only_named_codings_have_a_weight(
        line in prop::collection::vec(any::<u8>(), 0..60),
        likely in "(gzip|deflate|identity|\\*|br)?[ ;q=.0-9,a-z*\"]{0,20}",
    ) {
        for line in [&line[..], likely.as_bytes()] {
            let Ok(value) = HeaderValue::from_bytes(line) else { continue };
            let read = AcceptEncoding::parse([&value]);
            let named = String::from_utf8_lossy(line).to_ascii_lowercase();
            for coding in ContentCoding::ALL {
                let weight = read.weight(coding);
                prop_assert!(weight <= 1000);
                let is_named = named.contains(coding.as_str()) || named.contains('*');
                prop_assert!(weight == 0 || is_named);
            }
        }
    }
}
