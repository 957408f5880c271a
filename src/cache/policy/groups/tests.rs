use proptest::prelude::*;

use super::*;
use crate::headers::test_headers::{TestHeaders, map};

#[test]
fn groups_are_a_list_of_strings() {
    // RFC 9651 §3.1, §3.1.2, §3.3.3.
    let table: &[(&str, Option<&[&str]>)] = &[
        ("", Some(&[])),
        ("  ", Some(&[])),
        ("\"a\"", Some(&["a"])),
        (" \"a\" ,\t\"b\" ", Some(&["a", "b"])),
        ("\"\"", Some(&[""])),
        ("\"a, b\"", Some(&["a, b"])),
        ("\"A\", \"a\", \"a\"", Some(&["A", "a", "a"])),
        (r#""a\"b\\""#, Some(&["a\"b\\"])),
        ("\"a\";x", Some(&["a"])),
        ("\"a\"; x=1;y=-1.5;z=?0;*=tok/en:*, \"b\"", Some(&["a", "b"])),
        ("\"a\";x=\"b, \\\"c\";y=:YQ==:;z=@1659578233;w=%\"%c3%bc, \"", Some(&["a"])),
        // Other types, and what is no list.
        ("a", None),
        ("\"a\", b", None),
        ("1", None),
        ("?1", None),
        ("(\"a\")", None),
        ("\"a\" \"b\"", None),
        ("\"a\",", None),
        (",\"a\"", None),
        ("\"a\",,\"b\"", None),
        ("\"a", None),
        ("\"a\\b\"", None),
        ("\"a\\", None),
        ("\"\u{fc}\"", None),
        ("\"a\tb\"", None),
        ("'a'", None),
        ("\"a\";", None),
        ("\"a\";X", None),
        ("\"a\";x=", None),
        ("\"a\";x=?2", None),
        ("\"a\";x=-", None),
        ("\"a\";x=@", None),
        ("\"a\";x=:YQ", None),
        ("\"a\";x=%a", None),
        ("\"a\" ;x", None),
        ("\"a\";x =1", None),
    ];
    for (text, expected) in table {
        let expected = expected.map(|names| names.iter().map(ToString::to_string).collect());
        assert_eq!(strings(text.as_bytes()), expected, "{text}");
    }
}

#[test]
fn lines_are_joined_before_they_are_parsed() {
    let table: &[(TestHeaders<'_>, Option<usize>)] = &[
        (&[("cache-groups", "\"a\""), ("cache-groups", "\"b\", \"c\"")], Some(3)),
        (&[("cache-groups", "\"a"), ("cache-groups", "b\"")], Some(1)),
        (&[("cache-groups", "\"a\""), ("cache-groups", "")], None),
        (&[("cache-groups", "\"a\""), ("cache-groups", "b")], None),
    ];
    for (fields, expected) in table {
        let tags = group_tags(&map(fields), || 1).ok().map(|tags| tags.len() - 1);
        assert_eq!(tags, *expected, "{fields:?}");
    }
}

#[test]
fn at_least_32_groups_of_32_characters_are_kept() {
    let list = |count: usize, length: usize| {
        let names = (0..count).map(|at| format!("\"{at:0length$}\""));
        strings(names.collect::<Vec<_>>().join(", ").as_bytes()).map(|names| names.len())
    };
    assert_eq!(list(32, 32), Some(32));
    assert_eq!(list(MAX_GROUPS, MAX_GROUP_LENGTH), Some(MAX_GROUPS));
    assert_eq!(list(MAX_GROUPS + 1, 1), None);
    assert_eq!(list(1, MAX_GROUP_LENGTH + 1), None);
}

#[test]
fn tags_of_groups_are_nobody_elses() {
    let headers = map(&[("cache-groups", "\"a\", \"\"")]);
    let tags = group_tags(&headers, || 1).unwrap();
    for named in [InvalidatedGroups::Named(vec!["a".into()]), InvalidatedGroups::All] {
        assert!(named.tags(1).iter().all(|tag| tags.contains(tag)), "{named:?}");
        assert!(!named.tags(2).iter().any(|tag| tags.contains(tag)), "another origin");
        for tag in named.tags(1) {
            assert_ne!(user_tag(&tag), tag, "a user cannot name it");
        }
    }
    assert!(has_group_tags(&headers, &tags));
    assert!(!has_group_tags(&headers, &[]));
    assert!(!has_group_tags(&headers, &["a".into(), user_tag(&tags[0]).into()]));
    assert!(has_group_tags(&HeaderMap::new(), &[]));
    for plain in ["", "a", "a\0"] {
        assert_eq!(user_tag(plain), plain);
    }
}

#[test]
fn doubtful_header_invalidates_all_groups() {
    let of = |value| invalidated_groups(&map(&[("cache-group-invalidation", value)]));
    assert_eq!(invalidated_groups(&HeaderMap::new()), None);
    assert_eq!(of("\"a\";x"), Some(InvalidatedGroups::Named(vec!["a".into()])));
    assert_eq!(of(""), Some(InvalidatedGroups::Named(Vec::new())));
    for doubtful in ["a", "\"a", "\"a\" \"b\"", "*"] {
        assert_eq!(of(doubtful), Some(InvalidatedGroups::All), "{doubtful}");
    }
    let many = vec!["\"a\""; MAX_GROUPS + 1].join(",");
    assert_eq!(of(&many), Some(InvalidatedGroups::All));
}

proptest! {
    #[test]
    fn any_list_of_strings_is_read(names in prop::collection::vec("[ -~]{0,32}", 0..32)) {
        let quote = |name: &String| name.replace('\\', "\\\\").replace('"', "\\\"");
        let written: Vec<_> = names.iter().map(|name| format!("\"{}\";a=1", quote(name))).collect();
        prop_assert_eq!(strings(written.join(" , ").as_bytes()), Some(names));
    }

    #[test]
    fn no_bytes_cause_a_panic(text in "[\\\\\";=,:?@%a-]{0,16}|\\PC{0,16}") {
        drop(strings(text.as_bytes()));
    }
}
