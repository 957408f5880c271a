use http::HeaderValue;
use http::header::{ACCEPT, ACCEPT_CHARSET, ACCEPT_LANGUAGE, COOKIE};
use proptest::prelude::*;

use super::*;
use crate::headers::test_headers::{TestHeaders, map};

fn answers(response: TestHeaders<'_>, first: TestHeaders<'_>, second: TestHeaders<'_>) -> bool {
    Variant::of(&map(response), &map(first), false).unwrap().answers(&map(second))
}

#[test]
fn variant_answers_requests_alike_in_vary() {
    // RFC 9111 §4.1. The response, the request that it answered, another, whether it fits.
    let language: TestHeaders<'_> = &[("vary", "Accept-Language")];
    let two: TestHeaders<'_> = &[("vary", "x-a"), ("vary", "X-B, x-a")];
    let table: &[(TestHeaders<'_>, TestHeaders<'_>, TestHeaders<'_>, bool)] = &[
        (&[], &[("x-a", "1")], &[("x-a", "2")], true),
        (language, &[("accept-language", "de")], &[("accept-language", "de")], true),
        (language, &[("accept-language", "de")], &[("accept-language", "DE")], true),
        (language, &[("accept-language", "de, en")], &[("accept-language", "de,  en")], true),
        (
            language,
            &[("accept-language", "de, en")],
            &[("accept-language", "de"), ("accept-language", "en")],
            true,
        ),
        (language, &[("accept-language", "de")], &[("accept-language", "en")], false),
        (language, &[("accept-language", "de")], &[], false),
        (language, &[], &[("accept-language", "")], false),
        (language, &[], &[], true),
        (two, &[("x-a", "1"), ("x-b", "2")], &[("x-b", "2"), ("x-a", "1")], true),
        (two, &[("x-a", "1"), ("x-b", "2")], &[("x-a", "1")], false),
        (two, &[("x-a", "a")], &[("x-a", "A")], false),
    ];
    for (response, first, second, expected) in table {
        assert_eq!(answers(response, first, second), *expected, "{first:?} {second:?}");
    }
}

#[test]
fn clients_of_one_coding_share_a_variant() {
    let gzip: TestHeaders<'_> = &[("vary", "accept-encoding"), ("content-encoding", "gzip")];
    let plain: TestHeaders<'_> = &[("vary", "accept-encoding")];
    let rare: TestHeaders<'_> = &[("vary", "accept-encoding"), ("content-encoding", "dcb")];
    // RFC 9110 §12.5.3 for what a client accepts.
    let table: &[(TestHeaders<'_>, &str, &str, bool)] = &[
        (gzip, "gzip, deflate, br", "gzip;q=1.0, *;q=0", true),
        (gzip, "gzip;q=1.0, *;q=0", "gzip, deflate, br, zstd", true),
        (gzip, "gzip", "x-gzip", true),
        (gzip, "gzip", "*", true),
        (gzip, "gzip", "br, gzip;q=0.5", false),
        (gzip, "br, gzip;q=0.5", "br, gzip;q=0.4", true),
        (gzip, "br, gzip;q=0.5", "br", false),
        (gzip, "gzip", "", false),
        (gzip, "gzip", "gzip;q=0", false),
        (gzip, "gzip", "gzip;q=0.5, identity", false),
        (plain, "", "", true),
        (plain, "", "identity", true),
        (plain, "", "gzip", false),
        (plain, "gzip", "gzip", true),
        (plain, "gzip, br", "gzip", true),
        (plain, "gzip", "gzip, br", false),
        (plain, "gzip", "", true),
        (rare, "dcb, gzip", "DCB,gzip", true),
        (rare, "dcb, gzip", "gzip", false),
    ];
    for (response, first, second, expected) in table {
        let (first, second) = ([("accept-encoding", *first)], [("accept-encoding", *second)]);
        assert_eq!(answers(response, &first, &second), *expected, "{first:?} {second:?}");
    }
}

#[test]
fn an_odd_accept_encoding_answers_only_its_like() {
    let gzip: TestHeaders<'_> = &[("vary", "accept-encoding"), ("content-encoding", "gzip")];
    for odd in ["gzip, <script>", "gzip;q=2", "gzip;level=9", "gzip; q=0.1234", "gzip br"] {
        let (odd, plain) = ([("accept-encoding", odd)], [("accept-encoding", "gzip")]);
        assert!(!answers(gzip, &odd, &plain), "{odd:?}");
        assert!(answers(gzip, &odd, &odd), "{odd:?}");
    }
    let browser = [("accept-encoding", "gzip, deflate, br, zstd, dcb, dcz")];
    assert!(answers(gzip, &browser, &[("accept-encoding", "gzip")]));
}

#[test]
fn a_variant_covers_what_its_response_varies_by() {
    let request = map(&[("accept-encoding", "gzip, odd"), ("x-a", "1")]);
    for vary in ["x-a", "X-A, x-b", "accept-encoding", ""] {
        let response = map(&[("vary", vary)]);
        for request in [&request, &HeaderMap::new()] {
            let variant = Variant::of(&response, request, false).unwrap();
            assert!(variant.covers(&response, false), "{vary}");
            assert!(!variant.covers(&map(&[("vary", "x-a, x-b, accept-encoding")]), false));
        }
    }
    let (all, none) = (map(&[("vary", "*")]), Variant::default());
    assert!(!none.covers(&all, false));
    assert!(none.covers(&all, true));
}

#[test]
fn vary_by_all_answers_no_request() {
    let many = |most: usize| (0..most).map(|at| format!("x-{at}")).collect::<Vec<_>>();
    let most = map(&[("vary", &many(MAX_NAMES).join(","))]);
    assert!(Variant::of(&most, &HeaderMap::new(), false).is_ok());
    for vary in ["*", "accept, *", "a b", "accept;x", "\"accept\"", &many(20_000).join(", ")] {
        let response = map(&[("vary", vary)]);
        assert_eq!(Variant::of(&response, &HeaderMap::new(), false), Err(VariesByAll));
    }
    let variant = Variant::of(&map(&[("vary", "*")]), &HeaderMap::new(), true).unwrap();
    assert!(variant.is_only());
}

#[test]
fn requests_that_are_alike_have_one_id() {
    let response = map(&[("vary", "x-a, x-b")]);
    let id = |fields| Variant::of(&response, &map(fields), false).unwrap().id();
    assert_eq!(id(&[("x-a", "1"), ("x-b", "2")]), id(&[("x-b", "2"), ("x-a", "1")]));
    assert_ne!(id(&[("x-a", "1")]), id(&[("x-b", "1")]));
    assert_ne!(id(&[("x-a", "12")]), id(&[("x-a", "1"), ("x-b", "2")]));
}

proptest! {
    #[test]
    fn variant_is_like_its_own_request(
        vary in prop::collection::vec("(accept(-encoding|-language|-charset)?|cookie|x-a|[*,\" ]){0,3}", 0..3),
        coding in prop::option::of("gzip|br|x-gzip|identity|rare|gzip, br"),
        request in prop::collection::vec((0..6_usize, prop_oneof![
            prop::collection::vec(any::<u8>(), 0..30),
            "((gzip|br|\\*|identity|de)(;q=[01](\\.[0-9]{0,4})?)?[, ]{0,2}){0,4}".prop_map(String::into_bytes),
        ]), 0..6),
    ) {
        let names = [ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, ACCEPT_CHARSET, COOKIE, HeaderName::from_static("x-a")];
        let mut response = HeaderMap::new();
        for vary in vary {
            response.append(VARY, HeaderValue::try_from(vary).unwrap());
        }
        if let Some(coding) = coding {
            response.append(CONTENT_ENCODING, HeaderValue::try_from(coding).unwrap());
        }
        let mut headers = HeaderMap::new();
        for (name, value) in request {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(&names[name], value);
            }
        }
        let Ok(variant) = Variant::of(&response, &headers, false) else { return Ok(()) };
        prop_assert_eq!(&variant.like(&headers), &variant);
        prop_assert!(variant.varies_like(&variant.like(&HeaderMap::new())));
        // Where a service does not heed what is accepted, it is asked again.
        let heeded = variant.coding.is_none_or(|coding| coding.heaviest.has(coding.answer));
        prop_assert!(!heeded || variant.answers(&headers));
    }
}
