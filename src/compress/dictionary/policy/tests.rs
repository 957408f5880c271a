use http::header::{AUTHORIZATION, COOKIE};
use proptest::prelude::*;

use super::*;
use crate::headers::test_headers::{TestHeaders, map};

const FRESH: (&str, &str) = ("cache-control", "max-age=60");
const HASH: &str = "pZGm1Av0IEBKARczz7exkNYsZb8LzaMrV7J32a2fFG4";

/// Whether the response becomes a dictionary, if one may have a part in it.
const KEPT: Option<bool> = Some(true);
const USED: Option<bool> = Some(false);

fn usage_of(has_user: bool, status: u16, headers: TestHeaders<'_>) -> Option<Usage> {
    let user_headers = &[AUTHORIZATION, COOKIE];
    let facts = RequestFacts { is_get: true, has_user, user_headers };
    usage(StatusCode::from_u16(status).unwrap(), &map(headers), facts)
}

fn of(has_user: bool, status: u16, headers: TestHeaders<'_>) -> Option<bool> {
    usage_of(has_user, status, headers).map(|usage| usage.is_kept)
}

#[test]
fn reusable_responses_become_dictionaries() {
    let control = |value: &'static str| of(false, 200, &[("cache-control", value)]);
    for (value, expected) in [
        ("max-age=60", KEPT),
        ("Public, Max-Age=60, immutable", KEPT),
        ("max-age=0, stale-while-revalidate=60", KEPT),
        ("max-age=99999999999999999999", KEPT),
        ("max-age=0", USED),
        ("s-maxage=60", USED),
        ("no-cache", USED),
        ("max-age=60, no-cache", USED),
        ("max-age=\"60\"", USED),
        ("max-age=60, max-age=x", USED),
        ("max-age", USED),
        ("max-age=-1", USED),
        ("max-age=60, nostore", USED),
        ("max-age=60; no-store", None),
        ("no-store", None),
        ("max-age=60, No-Store", None),
        ("no-store=1", None),
        ("private, max-age=60", None),
        ("private=\"x-user\", max-age=60", None),
    ] {
        assert_eq!(control(value), expected, "{value}");
    }
    assert_eq!(of(false, 200, &[]), USED);
    assert_eq!(of(false, 404, &[FRESH]), USED);
    let private = ("cache-control", "private, max-age=60");
    assert_eq!(of(true, 200, &[private]), KEPT);
    assert_eq!(of(true, 200, &[("cache-control", "private, no-store")]), None);
}

#[test]
fn doubtful_responses_are_not_kept() {
    for (header, expected) in [
        (("vary", "accept-encoding, Available-Dictionary"), KEPT),
        (("vary", "cookie, accept-language, origin"), KEPT),
        (("vary", "x-api-key"), USED),
        (("vary", "accept-encoding, x-user"), USED),
        (("vary", "*"), USED),
        (("set-cookie", "id=1"), USED),
        (("use-as-dictionary", "match=\"/*\""), USED),
    ] {
        assert_eq!(of(false, 200, &[FRESH, header]), expected, "{header:?}");
    }
}

#[test]
fn public_responses_say_so() {
    let table: &[(TestHeaders<'_>, bool)] = &[
        (&[FRESH], false),
        (&[("cache-control", "public, max-age=60")], true),
        (&[("cache-control", "max-age=60"), ("cache-control", "Public")], true),
        (&[("cache-control", "public, private, max-age=60")], false),
        (&[("cache-control", "s-maxage=60")], false),
        (&[("cache-control", "public"), ("vary", "accept-encoding, origin")], true),
        (&[("cache-control", "public"), ("vary", "Cookie")], false),
        (&[("cache-control", "public"), ("vary", "*")], false),
    ];
    for (headers, expected) in table {
        let usage = usage_of(true, 200, headers).unwrap();
        assert_eq!(usage.is_public, *expected, "{headers:?}");
    }
}

#[test]
fn available_dictionary_is_one_byte_sequence() {
    let read = |lines: &[&str]| {
        let lines: Vec<_> = lines.iter().map(|line| ("available-dictionary", *line)).collect();
        available_dictionary(&map(&lines))
    };
    let hash = read(&[&format!(":{HASH}=:")]).unwrap();
    assert_eq!((hash[0], hash[1], hash[31]), (0xa5, 0x91, 0x6e));
    assert_eq!(read(&[&format!(" :{HASH}: ")]), Some(hash));
    let short = &HASH[1..];
    let odd = HASH.replace('4', "5");
    for lines in [
        &[][..],
        &[""],
        &[":"],
        &["::"],
        &[HASH],
        &[&format!(":{HASH}==:")],
        &[&format!(":{short}=:")],
        &[&format!(":{HASH}A:")],
        &[&format!(":{odd}=:")],
        &[&format!(":{HASH}=:;a=1")],
        &[&format!(":{}=:", HASH.replace('+', "-").replace('a', "_"))],
        &[&format!(":{HASH}=:"), &format!(":{HASH}=:")],
        &[&format!(":{HASH}=:, :{HASH}=:")],
    ] {
        assert_eq!(read(lines), None, "{lines:?}");
    }
}

#[test]
fn weight_is_that_of_the_name() {
    for (value, expected) in [
        ("gzip, dcz", 1000),
        ("gzip, DCZ;q=0.5", 500),
        ("dcz;q=0.5, dcz;q=0.7", 500),
        ("dcz, dcz;q=0", 0),
        ("dcz;q=x", 0),
        ("gzip, dcb", 0),
        ("*", 0),
        ("dczz, dc", 0),
    ] {
        assert_eq!(weight(&map(&[("accept-encoding", value)])), expected, "{value}");
    }
}

#[test]
fn clients_with_zstd_may_take_deltas() {
    for (value, expected) in [
        ("gzip, deflate, br, zstd", true),
        ("zstd;q=0.5", true),
        ("x-zstd", true),
        ("gzip, deflate, br", false),
        ("gzip, zst", false),
        ("*", false),
        ("zst", false),
        ("", false),
    ] {
        let headers = map(&[("accept-encoding", value)]);
        assert_eq!(may_take_deltas(&headers), expected, "{value}");
    }
    assert!(!may_take_deltas(&HeaderMap::new()));
    assert!(may_take_deltas(&map(&[("accept-encoding", "gzip"), ("accept-encoding", "zstd")])));
    assert!(may_take_deltas(&map(&[("accept-encoding", "gzip"), ("available-dictionary", "x")])));
    assert!(!may_take_deltas(&map(&[("accept", "zstd")])));
}

#[test]
fn pages_of_other_origins_get_no_deltas() {
    let table: &[(TestHeaders<'_>, bool)] = &[
        (&[], true),
        (&[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")], true),
        (&[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")], true),
        (&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], true),
        (&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "cors")], false),
        (&[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors")], false),
        (&[("sec-fetch-site", "x"), ("sec-fetch-mode", "y")], false),
    ];
    for (headers, expected) in table {
        assert_eq!(is_readable(&map(headers)), *expected, "{headers:?}");
    }
}

proptest! {
    #[test]
    fn no_headers_cause_a_panic(
        fields in prop::collection::vec((0..7_usize, prop::collection::vec(any::<u8>(), 0..60)), 0..8),
        has_user in any::<bool>(),
    ) {
        let names = [
            CACHE_CONTROL, VARY, SET_COOKIE, ACCEPT_ENCODING, AVAILABLE_DICTIONARY,
            SEC_FETCH_SITE, SEC_FETCH_MODE,
        ];
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            if let Ok(value) = http::HeaderValue::from_bytes(&value) {
                headers.append(names[name].clone(), value);
            }
        }
        let facts = RequestFacts { is_get: true, has_user, user_headers: &[] };
        let usage = usage(StatusCode::OK, &headers, facts);
        prop_assert!(usage.is_none_or(|it| !it.is_kept) || headers.contains_key(CACHE_CONTROL));
        prop_assert!(weight(&headers) <= 1000);
        available_dictionary(&headers);
        is_readable(&headers);
    }

    #[test]
    fn each_hash_has_one_spelling(hash in any::<[u8; 32]>()) {
        const DIGITS: &[u8] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let bit = |at: usize| hash.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1);
        let digit = |at: usize| (0..6).fold(0, |value, of| value << 1 | usize::from(bit(6 * at + of)));
        let text: Vec<_> = (0..43).map(|at| DIGITS[digit(at)]).collect();
        prop_assert_eq!(base64(&text), Some(hash));
    }
}
