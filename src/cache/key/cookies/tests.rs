use proptest::prelude::*;

use super::*;
use crate::headers::test_headers::map;

fn cookies() -> Cookies {
    let mut cookies = Cookies::new();
    cookies.count("lang".to_owned());
    cookies.count("theme".to_owned());
    cookies.ignore(["_ga", "_ga_*", "lang"]);
    cookies
}

fn lines(lines: &[&str]) -> HeaderMap {
    map(&lines.iter().map(|line| ("cookie", *line)).collect::<Vec<_>>())
}

fn key_of(headers: &HeaderMap) -> String {
    let mut key = Key::default();
    cookies().push(&mut key, headers);
    key.text
}

#[test]
fn cookies_are_spelled_as_the_key_has_them() {
    // The lines as sent, the line that the service sees, the lines of the key, and `true` if all
    // cookies are covered. RFC 6265 §4.2.1, RFC 9113 §8.2.3.
    type Row<'a> = (&'a [&'a str], Option<&'a str>, &'a str, bool);
    let table: &[Row<'_>] = &[
        (&[], None, "", false),
        (&[""], None, "", true),
        (&["; ;"], None, "", true),
        (&["_ga=1"], None, "", true),
        (&["_ga=1; _ga_X1=2", "_ga="], None, "", true),
        (&["lang=de"], Some("lang=de"), "\n@cookie=lang=de", true),
        (&["lang="], Some("lang="), "\n@cookie=lang=", true),
        (&["_ga=1;lang=de ;  "], Some("lang=de"), "\n@cookie=lang=de", true),
        (
            &["theme=x; _ga=1", "lang=de"],
            Some("lang=de; theme=x"),
            "\n@cookie=lang=de\n@cookie=theme=x",
            true,
        ),
        (
            &["lang=de; lang=fr"],
            Some("lang=de; lang=fr"),
            "\n@cookie=lang=de\n@cookie=lang=fr",
            true,
        ),
        (
            &["lang=fr; _ga=1; lang=de"],
            Some("lang=fr; lang=de"),
            "\n@cookie=lang=fr\n@cookie=lang=de",
            true,
        ),
        (&["s=1; lang=de; _ga=2; a=b=c"], Some("lang=de; s=1; a=b=c"), "\n@cookie=lang=de", false),
        (&["s=1"], Some("s=1"), "", false),
        (&["ga=1; x_ga=2; _gat=3"], Some("ga=1; x_ga=2; _gat=3"), "", false),
        (&["_GA=1"], Some("_GA=1"), "", false),
        // A quoted value is a value with quotes.
        (&["lang=\"de\"; _ga=\"1\""], Some("lang=\"de\""), "\n@cookie=lang=\"de\"", true),
        (&["_ga={\"a\":1,\"b\":2}"], None, "", true),
        (&["lang=a b, c"], Some("lang=a b, c"), "\n@cookie=lang=a b, c", true),
    ];
    for (sent, seen, key, covered) in table {
        let mut headers = lines(sent);
        assert_eq!(cookies().cover(&headers), *covered, "{sent:?}");
        assert_eq!(key_of(&headers), *key, "{sent:?}");
        let is_changed = cookies().respelled(&headers).is_some();
        assert_eq!(is_changed, *sent != seen.as_slice(), "{sent:?}");
        cookies().spell(&mut headers);
        assert_eq!(headers, lines(seen.as_slice()), "{sent:?}");
    }
}

#[test]
fn an_odd_cookie_header_counts_as_a_whole() {
    for odd in [
        "novalue",
        "_ga=1; novalue",
        "=value",
        "_ga=1; =",
        "a b=1",
        "_ga =1",
        "lang =de",
        "a[x]=1",
        "_ga=\"1; s=2; x=\"",
        "_ga=\"1\\\"",
        "_ga=\"",
        "_ga=1,s=2",
        "_ga=1\tx",
        "_ga=ä",
        "Lang=fr",
        "%6Cang=fr",
        "_ga=1; lang=de; LANG=fr",
        "theme[]=1",
        ".lang=1",
    ] {
        let mut headers = lines(&["_ga=1", odd]);
        assert!(!cookies().cover(&headers), "{odd}");
        let key = key_of(&headers);
        assert!(key.starts_with("\n@cookies=_ga=1\n@cookies="), "{odd}: {key}");
        cookies().spell(&mut headers);
        assert_eq!(headers, lines(&["_ga=1", odd]), "{odd}");
    }
}

#[test]
fn without_names_the_header_is_left_alone() {
    let mut headers = lines(&["b=1;a=2", ""]);
    let none = Cookies::new();
    none.spell(&mut headers);
    assert!(!none.cover(&headers));
    assert_eq!(headers, lines(&["b=1;a=2", ""]));
}

proptest! {
    #[test]
    fn service_sees_what_the_key_tells_apart(
        sent in prop::collection::vec(prop::collection::vec(prop_oneof![
            "(lang|theme|_ga|_ga_1|s|Lang)( ?= ?[a-c\",; ]{0,4})?".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..6),
        ], 0..4), 0..3),
    ) {
        let mut headers = HeaderMap::new();
        for line in sent {
            let line = line.join(&b"; "[..]);
            headers.extend(HeaderValue::from_bytes(&line).ok().map(|line| (COOKIE, line)));
        }
        let (key, covered) = (key_of(&headers), cookies().cover(&headers));
        let before = headers.clone();
        cookies().spell(&mut headers);
        prop_assert_eq!(cookies().respelled(&before).is_some(), headers != before);
        // The spelling is final, and has the same key.
        prop_assert_eq!(&key_of(&headers), &key);
        prop_assert_eq!(cookies().respelled(&headers), None);
        if covered {
            // All that the service sees is in the key.
            let seen = headers.get(COOKIE).map_or(&b""[..], HeaderValue::as_bytes);
            let of_key = key.replace("\n@cookie=", "; ");
            let seen = String::from_utf8_lossy(seen);
            prop_assert_eq!(of_key.trim_start_matches("; ").replace("\\5c", "\\"), seen);
        }
    }
}
