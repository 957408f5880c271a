use proptest::prelude::*;

use super::*;

const NAMES: [HeaderName; 6] = [
    ACCEPT,
    ACCEPT_LANGUAGE,
    ACCEPT_CHARSET,
    ACCEPT_ENCODING,
    COOKIE,
    HeaderName::from_static("x-a"),
];

fn request(name: &HeaderName, lines: &[&str]) -> HeaderMap {
    let lines: Vec<_> = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
    headers(name, &lines)
}

fn headers(name: &HeaderName, lines: &[Vec<u8>]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok()) {
        headers.append(name, line);
    }
    headers
}

#[test]
fn languages_that_mean_the_same_share_a_value() {
    // RFC 9110 §12.5.4 and §12.4.2, RFC 5646 §2.1.1. The header that filled the cache, another one,
    // and `true` if that gets the same.
    let table: &[(&[&str], &[&str], bool)] = &[
        (&["de-DE,de;q=0.9,en;q=0.8"], &["de-DE, de;q=0.9, en;q=0.8"], true),
        (&["de-DE, de;q=0.9, en;q=0.8"], &["de-DE,de;q=0.9,en;q=0.8"], true),
        (&["de-DE,de;q=0.9"], &["DE-de,De;Q=0.900"], true),
        (&["de,en;q=0.5"], &["en;q=0.5, de"], true),
        (&["de,en;q=0.5"], &["de;q=1.0 , en ; q=0.50"], true),
        (&["de,en;q=0.5"], &["de;q=1,,en;q=0.5,"], true),
        (&["de,en;q=0.5"], &["de,en;q=0.5,de"], true),
        (&["de,en;q=0.5"], &["de", "en;q=0.5"], true),
        (&["zh-Hant-TW,*;q=0"], &["zh-hant-tw, *;q=0.000"], true),
        (&["de-DE-u-co-phonebk"], &["de-de-U-CO-phonebk"], true),
        (&[""], &[" , "], true),
        // Services prefer the first of equals.
        (&["de,en"], &["en,de"], false),
        (&["de;q=0.5,en;q=0.5"], &["en;q=0.5,de;q=0.5"], false),
        (&["de,en;q=0.5"], &["de,en;q=0.6"], false),
        (&["de,en;q=0.5"], &["de,en"], false),
        (&["de,en;q=0"], &["de"], false),
        (&["*"], &["*,de;q=0"], false),
        (&["de"], &["de-DE"], false),
        (&["de"], &[], false),
        (&["de"], &[""], false),
        // A service may read these otherwise than RFC 9110 does.
        (&["en;q=0.5,de"], &["de,en;q=0.5"], false),
        (&["DE"], &["de"], false),
        (&["de-de"], &["de-DE"], false),
        (&["de;q=1"], &["de"], false),
        (&["de;q=0.50"], &["de;q=0.5"], false),
        (&["de,de"], &["de"], false),
        (&["de,  en"], &["de,en"], false),
        (&["de ,en"], &["de,en"], false),
        (&["de", "en"], &["de,en"], false),
        (&["de,en;q = 0.5"], &["de,en;q=0.5"], false),
        (&["de,en;q=0.5"], &["de,en;q = 0.5"], false),
        (&["de,en;q=0.5"], &["de,en;q=0.5;x=1"], false),
        (&["de,en;q=0.5"], &["de,en;q=0.5,en;q=0.7"], false),
        (&["de;q=2"], &["de"], false),
        (&["de en"], &["de,en"], false),
    ];
    for (first, second, expected) in table {
        let (first, second) = (request(&ACCEPT_LANGUAGE, first), request(&ACCEPT_LANGUAGE, second));
        let value = value_of(&ACCEPT_LANGUAGE, &first);
        let selected = selects(&ACCEPT_LANGUAGE, value.as_deref(), &second);
        assert_eq!(selected, *expected, "{first:?} {second:?}");
    }
}

#[test]
fn media_ranges_keep_case_and_parameters() {
    let table = [
        ("text/html,*/*;q=0.8", "*/*;q=0.80, text/html;q=1", true),
        ("a/b;v=1;q=0.5", "a/b ; v=1 ;q=0.5", true),
        ("a/b;v=1", "a/b", false),
        ("a/b", "A/b", false),
        ("a/b;v=1", "a/b;V=1", false),
        ("a/b;v=1", "a/b;v=\"1\"", false),
        ("a/b;v=\";q=0.5\"", "a/b;v=\";q=0.5\"", true),
        ("a/b;v=\";q=0.5\"", "a/b;v=\"; q=0.5\"", false),
        ("a/b;q=0.5;x=1", "a/b;x=1;q=0.5", false),
        ("a/b,c/d", "c/d,a/b", false),
    ];
    for (first, second, expected) in table {
        let value = value_of(&ACCEPT, &request(&ACCEPT, &[first]));
        let selected = selects(&ACCEPT, value.as_deref(), &request(&ACCEPT, &[second]));
        assert_eq!(selected, expected, "{first} {second}");
    }
}

#[test]
fn other_headers_are_compared_by_their_lines() {
    // RFC 9110 §5.3 and §5.5. A `text` may have spaces that matter.
    let name = HeaderName::from_static("x-a");
    let table: &[(&[&str], &[&str], bool)] = &[
        (&["1, 2"], &["1", "2"], true),
        (&["1, 2"], &[" 1, 2\t"], true),
        (&["1", "2"], &["1", "2"], true),
        (&["1", "2"], &["1, 2"], false),
        (&["1", "2"], &["2", "1"], false),
        (&[" 1"], &["1"], false),
        (&["1,2"], &["1, 2"], false),
        (&["1  2"], &["1 2"], false),
        (&["a"], &["A"], false),
        (&[""], &[], false),
    ];
    for (first, second, expected) in table {
        let value = value_of(&name, &request(&name, first));
        let selected = selects(&name, value.as_deref(), &request(&name, second));
        assert_eq!(selected, *expected, "{first:?} {second:?}");
    }
    let two = request(&COOKIE, &["a=1", "b=2"]);
    let value = value_of(&COOKIE, &two);
    assert!(selects(&COOKIE, value.as_deref(), &two));
    for other in [&["a=1, b=2"][..], &["a=1; b=2"], &["b=2", "a=1"]] {
        assert!(!selects(&COOKIE, value.as_deref(), &request(&COOKIE, other)), "{other:?}");
    }
}

fn lines() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let list = "((de|EN-us|\\*|a/b|a/b;x=1|é)( ?; ?q=[01](\\.[0-9]{0,3})?)?( ?, ?){0,2}){0,4}";
    let line = prop_oneof![
        4 => list.prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop::collection::vec(line, 0..3)
}

proptest! {
    #[test]
    fn a_request_selects_its_own_value(name in 0..NAMES.len(), lines in lines()) {
        let request = headers(&NAMES[name], &lines);
        let value = value_of(&NAMES[name], &request);
        prop_assert!(selects(&NAMES[name], value.as_deref(), &request));
    }

    #[test]
    fn odd_value_is_selected_by_its_like(name in 0..3_usize, first in lines(), second in lines()) {
        let name = &NAMES[name];
        let (first, second) = (headers(name, &first), headers(name, &second));
        let value = value_of(name, &first);
        let plain = normal(name, &first);
        let is_odd = first.get_all(name).iter().count() != 1
            || !is_plain(first[name].as_bytes(), plain.as_deref().unwrap_or(b"?"));
        let is_same = first.get_all(name).iter().eq(second.get_all(name));
        if is_odd && selects(name, value.as_deref(), &second) {
            prop_assert!(is_same);
        }
    }

    #[test]
    fn normal_form_is_final(name in 0..3_usize, lines in lines()) {
        let name = &NAMES[name];
        if let Some(normal) = normal(name, &headers(name, &lines)) {
            let again = headers(name, std::slice::from_ref(&normal));
            prop_assert_eq!(super::normal(name, &again), Some(normal.clone()));
            prop_assert_eq!(value_of(name, &again), Some(normal));
        }
    }
}
