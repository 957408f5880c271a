use http::HeaderValue;
use proptest::prelude::*;

use super::super::cache_control::Scope;
use super::*;
use crate::headers::test_headers::{TestHeaders, map};

const NAME: HeaderName = HeaderName::from_static("cdn-cache-control");

fn parsed(lines: &[&str]) -> Option<ResponseControl> {
    let lines = lines.iter().map(|line| (NAME, HeaderValue::from_str(line).unwrap()));
    strict(&lines.collect(), &NAME)?.ok()
}

#[test]
fn only_a_strict_dictionary_counts() {
    let none = ResponseControl::default;
    let max_age = |seconds| Some(ResponseControl { max_age: Some(seconds), ..none() });
    // RFC 9213 §2.1 and §2.2; RFC 9651 §4.2.2.
    let table: &[(&[&str], Option<ResponseControl>)] = &[
        (&[], None),
        (&[""], None),
        (&["max-age=60"], max_age(60)),
        (&["  max-age=60\t, \tx"], max_age(60)),
        (&["x", "max-age=60"], max_age(60)),
        (&["max-age=60;q=1.5;s=\"a\";t=?0;u=:aGk=:;v=@1;w"], max_age(60)),
        (&["x=(1 \"a\" t);p, max-age=60"], max_age(60)),
        (&["x=(), max-age=60"], max_age(60)),
        (&["max-age=1, max-age=60"], max_age(60)),
        (&["max-age=999999999999999"], max_age(MAX_SECONDS)),
        (&["x=tok*en/1"], Some(none())),
        (&["no-store=?0"], Some(none())),
        (&["no-store, no-store=?0"], Some(ResponseControl { no_store: true, ..none() })),
        (&["public, public=?0"], Some(none())),
        (
            &["private, private=\"x-a\""],
            Some(ResponseControl { private: Some(Scope::Response), ..none() }),
        ),
        (&["no-store"], Some(ResponseControl { no_store: true, ..none() })),
        (&["private"], Some(ResponseControl { private: Some(Scope::Response), ..none() })),
        (
            &["private=\"set-cookie\""],
            Some(ResponseControl {
                private: Some(Scope::Fields(vec![http::header::SET_COOKIE])),
                ..none()
            }),
        ),
        (&["max-age=\"60\""], None),
        (&["max-age"], None),
        (&["max-age=-1"], None),
        (&["max-age=1.5"], None),
        (&["max-age=60,"], None),
        (&["max-age=60 no-store"], None),
        (&["max-age=60, &"], None),
        (&["Max-Age=60"], None),
        (&["max-age=60; Q"], None),
        (&["max-age=60, x=(1"], None),
        (&["max-age=60, x=(1\"a\")"], None),
        (&["max-age=60, x=\"\\n\""], None),
        (&["max-age=60, x=?2"], None),
        (&["max-age=1000000000000000"], None),
        (&["no-store=1"], None),
    ];
    for (lines, expected) in table {
        assert_eq!(parsed(lines), *expected, "{lines:?}");
    }
}

#[test]
fn malformed_targeted_headers_only_tighten() {
    let control = |fields: TestHeaders<'_>| directives_for_cache(&map(fields), &[NAME]).0;
    const MINUTE: (&str, &str) = ("cache-control", "max-age=60");
    // RFC 9213 §2.2: `cache-control` counts instead.
    for (targeted, forbids) in [
        ("&", false),
        ("max-age=60; no-store;;", true),
        ("no-store=1", true),
        ("No-Store", true),
        ("\"no-store", true),
        ("max-age=60 private", true),
        ("Max-Age=5", false),
        ("max-age=-1", false),
    ] {
        let control = control(&[("cdn-cache-control", targeted), MINUTE]);
        assert_eq!(control.no_store || control.private.is_some(), forbids, "{targeted}");
        assert_eq!(control.max_age, Some(60), "{targeted}");
    }
    assert!(control(&[("cdn-cache-control", "&")]).malformed, "nothing else is stated");
    assert!(!control(&[("cdn-cache-control", "x")]).malformed);
}

#[test]
fn older_headers_forbid_storing() {
    let table: &[(TestHeaders<'_>, bool)] = &[
        (&[("surrogate-control", "no-store")], true),
        (&[("surrogate-control", "max-age=60, No-Store;tower-kit")], true),
        (&[("surrogate-control", "no-store"), ("cdn-cache-control", "max-age=60")], true),
        (&[("surrogate-control", "max-age=60+30, content=\"ESI/1.0\"")], false),
        (&[("pragma", "no-cache")], true),
        (&[("pragma", "no-cache"), ("expires", "Fri, 31 Dec 9999 23:59:59 GMT")], true),
        (&[("pragma", "no-cache"), ("cache-control", "max-age=60")], false),
        (&[("pragma", "no-cache"), ("cdn-cache-control", "max-age=60")], false),
    ];
    for (fields, forbids) in table {
        let (control, _) = directives_for_cache(&map(fields), &[NAME]);
        assert_eq!((control.no_store, control.malformed), (*forbids, *forbids), "{fields:?}");
    }
}

proptest! {
    #[test]
    fn no_field_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(value) = HeaderValue::from_bytes(&bytes) {
            directives_for_cache(&[(NAME, value)].into_iter().collect(), &[NAME]);
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_as_a_dictionary_is_read(
        seconds in prop::collection::vec(0..1_000_000_000_000_000_u64, 4),
        flags in any::<[bool; 4]>(),
        names in prop::collection::vec("[a-z][a-z0-9-]{0,8}", 0..3),
        between in "[ \t]{0,2},[ \t]{0,2}",
        parameter in "(;[ ]?[a-z]{1,3}(=[0-9]{1,3})?){0,2}",
    ) {
        let ages = ["max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"];
        let mut members: Vec<_> =
            ages.iter().zip(&seconds).map(|(name, seconds)| format!("{name}={seconds}{parameter}")).collect();
        for (name, flag) in ["no-store", "public", "must-revalidate", "must-understand"].iter().zip(flags) {
            members.push(if flag { format!("{name}{parameter}") } else { format!("{name}=?0") });
        }
        members.push(format!("private=\"{}\"", names.join(", ")));
        members.push("other=(a \"b,\" :Yg==: -1.5)".to_owned());
        let value = HeaderValue::try_from(members.join(&between)).unwrap();
        let read = strict(&[(NAME, value)].into_iter().collect(), &NAME).unwrap().unwrap();
        let ages = [read.max_age, read.s_maxage, read.stale_while_revalidate, read.stale_if_error];
        prop_assert_eq!(ages.to_vec(), seconds.iter().map(|seconds| Some(MAX_SECONDS.min(*seconds))).collect::<Vec<_>>());
        prop_assert_eq!([read.no_store, read.public, read.must_revalidate, read.must_understand], flags);
        let names: Vec<HeaderName> = names.iter().map(|name| name.parse().unwrap()).collect();
        let scope = if names.is_empty() { Scope::Response } else { Scope::Fields(names) };
        prop_assert_eq!(read.private, Some(scope));
    }
}
