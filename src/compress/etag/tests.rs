use proptest::prelude::*;

use super::*;
use crate::headers::test_headers::{TestHeaders, map};

const GZIP: Option<Coding> = Some(Coding::Encoding(Encoding::Gzip));

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap()
}

fn tag(mode: EtagMode, tag: &str, coding: Option<Coding>) -> String {
    let made = mode.etag(&value(tag), coding);
    made.map_or(tag.to_owned(), |made| made.to_str().unwrap().to_owned())
}

fn restore(mode: EtagMode, request: TestHeaders<'_>) -> HeaderMap {
    let mut headers = map(request);
    mode.restore(&mut headers, || true);
    headers
}

#[test]
fn modes_change_the_tag() {
    use EtagMode::{Keep, Suffix, Weaken};
    for (mode, given, encoding, expected) in [
        (Suffix, "\"v1\"", GZIP, "\"v1--gzip\""),
        (Suffix, "\"v1\"", None, "\"v1\""),
        (Suffix, "W/\"v1\"", GZIP, "W/\"v1\""),
        (Suffix, "\"\"", GZIP, "\"--gzip\""),
        (Suffix, "\"v1--gzip\"", None, "\"v1--gzip--identity\""),
        (Suffix, "\"v1--gzip\"", GZIP, "\"v1--gzip--gzip\""),
        (Suffix, "W/\"v1--br\"", GZIP, "W/\"v1--br--identity\""),
        (Suffix, "\"v1--identity\"", None, "\"v1--identity--identity\""),
        (Suffix, "\"v1-gzip\"", None, "\"v1-gzip\""),
        (Suffix, "v1", GZIP, "v1"),
        (Suffix, "\"v\"1\"", GZIP, "\"v\"1\""),
        (Suffix, "\"", GZIP, "\""),
        (Weaken, "\"v1\"", GZIP, "W/\"v1\""),
        (Weaken, "\"v1\"", None, "\"v1\""),
        (Weaken, "W/\"v1\"", GZIP, "W/\"v1\""),
        (Weaken, "\"v1--gzip\"", None, "\"v1--gzip\""),
        (Keep, "\"v1\"", GZIP, "\"v1\""),
    ] {
        assert_eq!(tag(mode, given, encoding), expected, "{mode:?} {given} {encoding:?}");
    }
}

#[test]
fn preconditions_name_the_services_tags() {
    for name in ["if-match", "if-none-match"] {
        for (sent, seen) in [
            ("\"v1--gzip\"", "\"v1\""),
            ("W/\"v1--br\"", "W/\"v1\""),
            ("\"a--gzip\", \"b\",W/\"c--zstd\"", "\"a\", \"b\",W/\"c\""),
            ("\"a,--gzip\", \"b--deflate\"", "\"a,\", \"b\""),
            ("\"v1--gzip--gzip\"", "\"v1--gzip\""),
            ("\"v1--gzip--identity\"", "\"v1--gzip\""),
            ("\"v1-gzip\"", "\"v1-gzip\""),
            ("\"v1--GZIP\"", "\"v1--GZIP\""),
            ("*", "*"),
            ("v1--gzip", "v1--gzip"),
            ("\"v1--gzip", "\"v1"),
        ] {
            let headers = restore(EtagMode::Suffix, &[(name, "\"x\""), (name, sent)]);
            assert!(headers.get_all(name).iter().eq(["\"x\"", seen]), "{sent} {headers:?}");
            let headers = restore(EtagMode::Weaken, &[(name, sent)]);
            assert_eq!(headers[name], sent);
        }
    }
}

#[test]
fn ranges_of_compressed_bytes_are_dropped() {
    use EtagMode::{Keep, Suffix, Weaken};
    for (mode, sent, seen) in [
        (Suffix, "\"v1--gzip\"", None),
        (Suffix, "\"v1--zstd\"", None),
        (Suffix, "W/\"v1\"", None),
        (Suffix, "\"v1\"", Some("\"v1\"")),
        (Suffix, "\"v1--gzip--identity\"", Some("\"v1--gzip\"")),
        (Suffix, "Sun, 06 Nov 1994 08:49:37 GMT", Some("Sun, 06 Nov 1994 08:49:37 GMT")),
        (Weaken, "W/\"v1\"", None),
        (Weaken, "\"v1\"", Some("\"v1\"")),
        (Keep, "\"v1\"", None),
    ] {
        let headers = restore(mode, &[("if-range", sent), ("range", "bytes=5-")]);
        assert_eq!(headers.get("if-range").map(|it| it.to_str().unwrap()), seen, "{sent}");
        assert_eq!(headers.contains_key("range"), seen.is_some(), "{mode:?} {sent}");
    }
    let headers = restore(Suffix, &[("range", "bytes=5-")]);
    assert!(headers.contains_key("range"), "a range without a condition passes");
}

#[test]
fn not_modified_names_the_clients_tag() {
    use EtagMode::{Keep, Suffix, Weaken};
    for (mode, sent, given, encoding, expected) in [
        (Suffix, "\"v1--gzip\"", "\"v1\"", GZIP, "\"v1--gzip\""),
        (Suffix, "\"v1\", \"v1--gzip\"", "\"v1\"", GZIP, "\"v1--gzip\""),
        (Suffix, "\"v1\"", "\"v1\"", GZIP, "\"v1\""),
        (Suffix, "\"v1--br\"", "\"v1\"", GZIP, "\"v1--br\""),
        (Suffix, "W/\"v1--gzip\"", "\"v1\"", GZIP, "W/\"v1--gzip\""),
        (Suffix, "\"v1--gzip\"", "\"v1\"", None, "\"v1--gzip\""),
        (Suffix, "\"b\", \"a,b--gzip\"", "\"a,b\"", GZIP, "\"a,b--gzip\""),
        (Suffix, "*", "\"v1\"", GZIP, "\"v1--gzip\""),
        (Suffix, "*", "\"v1\"", None, "\"v1\""),
        (Suffix, "", "\"v1\"", GZIP, "\"v1--gzip\""),
        (Suffix, "\"v1--gzip--identity\"", "\"v1--gzip\"", GZIP, "\"v1--gzip--identity\""),
        (Suffix, "", "W/\"v1\"", GZIP, "W/\"v1\""),
        (Weaken, "W/\"v1\"", "\"v1\"", GZIP, "W/\"v1\""),
        (Weaken, "\"v0\", W/\"v1\"", "\"v1\"", None, "W/\"v1\""),
        (Weaken, "W/\"v,1\"", "\"v,1\"", None, "W/\"v,1\""),
        (Weaken, "\"v1\"", "\"v1\"", GZIP, "W/\"v1\""),
        (Weaken, "\"v1\"", "\"v1\"", None, "\"v1\""),
        (Weaken, "", "\"v1\"", GZIP, "W/\"v1\""),
        (Weaken, "*", "\"v1\"", GZIP, "W/\"v1\""),
        (Keep, "\"v1\"", "\"v1\"", GZIP, "\"v1\""),
    ] {
        let made = mode.match_client_etag(&value(given), &[value(sent)], encoding);
        let made = made.unwrap_or_else(|| value(given));
        assert_eq!(made, expected, "{mode:?} {sent} {given} {encoding:?}");
    }
}

proptest! {
    #[test]
    fn tags_return_to_the_service_unchanged(
        opaque in "[!#-~]{0,12}(--(gzip|br|zstd|deflate|identity)){0,3}",
        weak in any::<bool>(),
        coded in any::<bool>(),
    ) {
        let own = format!("{}\"{opaque}\"", if weak { "W/" } else { "" });
        let sent = tag(EtagMode::Suffix, &own, if coded { GZIP } else { None });
        let seen = restore(EtagMode::Suffix, &[("if-match", &sent)]);
        prop_assert_eq!(seen["if-match"].to_str().unwrap(), &own);
        let other = tag(EtagMode::Suffix, &own, if coded { None } else { GZIP });
        prop_assert!(weak || sent != other, "one strong tag for two byte sequences");
    }

    #[test]
    fn no_value_causes_a_panic(line in prop::collection::vec(any::<u8>(), 0..40)) {
        let Ok(line) = HeaderValue::from_bytes(&line) else { return Ok(()) };
        for mode in [EtagMode::Suffix, EtagMode::Weaken, EtagMode::Keep] {
            let mut headers = HeaderMap::new();
            for name in [IF_MATCH, IF_NONE_MATCH, IF_RANGE] {
                headers.insert(name, line.clone());
            }
            mode.restore(&mut headers, || true);
            drop(mode.match_client_etag(&line, std::slice::from_ref(&line), GZIP));
        }
    }
}
