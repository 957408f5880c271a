use proptest::prelude::*;

use super::*;
use crate::headers::media_type::essence;

#[test]
fn only_three_forms_are_patterns() {
    for good in ["a/b", "a/*", "+b", "TEXT/html", "application/vnd.x.y+json", "x-a/y.z"] {
        assert!(good.parse::<MediaType>().is_ok(), "{good}");
    }
    for bad in [
        "", "a", "a/", "/b", "*/*", "*/b", "a/b/c", "a/b;c=d", "+", "a/*b", "a b/c", "+b+c", "+*",
        "a*/*",
    ] {
        assert!(bad.parse::<MediaType>().is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn type_matches_its_three_patterns_alone(
        class in "[a-z]{1,4}",
        subtype in "[a-z.-]{1,6}",
        suffix in "[a-z]{1,4}",
        parameters in "([ \t]{0,2};[ -~]{0,9})?",
    ) {
        let value = format!("{class}/{}+{suffix}{parameters}", subtype.to_uppercase());
        let found = essence(value.as_bytes()).unwrap();
        for (pattern, expected) in [
            (format!("{class}/{subtype}+{suffix}"), true),
            (format!("{class}/*"), true),
            (format!("+{suffix}"), true),
            (format!("{class}/{subtype}"), false),
            (format!("x{class}/*"), false),
            (format!("+x{suffix}"), false),
        ] {
            let matches = pattern.parse::<MediaType>().unwrap().matches(found);
            prop_assert_eq!(matches, expected, "{}", pattern);
        }
    }

    #[test]
    fn exact_pattern_is_a_media_type(text in any::<String>()) {
        if let Ok(MediaType::Exact(exact)) = text.parse() {
            prop_assert!(essence(exact.as_bytes()).is_some_and(|found| found.whole == exact.as_bytes()));
        }
    }
}
