//! The directives that a response has for this cache: those of a targeted header (RFC 9213), which is
//! a strict dictionary of structured fields (RFC 9651 §4.2.2), or else those of `cache-control`.

use std::ops::Range;

use http::HeaderName;
use http::header::{CACHE_CONTROL, EXPIRES, HeaderMap};

use super::super::structured::{Item, dictionary};
use super::cache_control::{ResponseControl, pragma_forbids};
use super::date::Malformed;
use super::directive::{Argument, MAX_SECONDS};
use super::response::SURROGATE_CONTROL;

/// Returns the directives for this cache, and `true` if a targeted header states them. The first of
/// `names` that is present, not empty and well-formed takes the place of `cache-control`.
///
/// A malformed targeted header is ignored (RFC 9213 §2.2), except for what it seems to say against
/// storing. The same goes for `surrogate-control` and `pragma`, which services sent to caches like
/// this one before RFC 9213.
pub(crate) fn directives_for_cache(
    headers: &HeaderMap,
    names: &[HeaderName],
) -> (ResponseControl, bool) {
    let mut malformed = Vec::new();
    let strict = names.iter().find_map(|name| match strict(headers, name) {
        Some(Ok(control)) => {
            // `max-age=60; no-store` has a parameter by RFC 9651. Its author meant a directive.
            if headers.get_all(name).iter().any(|line| line.as_bytes().contains(&b';')) {
                malformed.push(ResponseControl::parse_header(headers, name));
            }
            Some(control)
        }
        Some(Err(Malformed)) => {
            malformed.push(ResponseControl::parse_header(headers, name));
            None
        }
        None => None,
    });
    let is_targeted = strict.is_some();
    let mut control = strict.unwrap_or_else(|| ResponseControl::parse(headers));
    malformed.iter().for_each(|other| control.tighten(other));
    if !is_targeted && !headers.contains_key(CACHE_CONTROL) {
        // Nothing but the malformed header states a lifetime.
        let nothing_else = !malformed.is_empty() && !headers.contains_key(EXPIRES);
        if nothing_else || pragma_forbids(headers) {
            control.forbid();
        }
    }
    if !names.contains(&SURROGATE_CONTROL) && headers.contains_key(SURROGATE_CONTROL) {
        // Its lifetimes have a syntax of their own, for caches that know the header.
        let ResponseControl { no_store, private, .. } =
            ResponseControl::parse_header(headers, &SURROGATE_CONTROL);
        control.tighten(&ResponseControl { no_store, private, ..ResponseControl::default() });
    }
    (control, is_targeted)
}

/// Returns the directives of a targeted header, and `None` where it is missing or empty.
fn strict(headers: &HeaderMap, name: &HeaderName) -> Option<Result<ResponseControl, Malformed>> {
    if !headers.contains_key(name) {
        return None;
    }
    let lines: Vec<_> = headers.get_all(name).iter().map(|line| line.as_bytes()).collect();
    let mut last = [const { None }; NAMES.len()];
    let members = dictionary(&lines.join(&b','), |key, item| {
        let Some(at) = NAMES.iter().position(|name| *name == key) else { return };
        // The last member of a key counts (RFC 9651 §4.2.2), except that `no-store=?0` does not take
        // back a `no-store`.
        let stays = FORBIDDING.contains(&at)
            && match &last[at] {
                Some(Item::Boolean(true)) => true,
                Some(_) => item == Item::Boolean(false),
                None => false,
            };
        if !stays {
            last[at] = Some(item);
        }
    });
    match members {
        Some(0) => None,
        Some(_) => Some(control(&last)),
        None => Some(Err(Malformed)),
    }
}

/// Converts the items of [`NAMES`] to directives. An item of another type than its directive has is
/// an error.
fn control(items: &[Option<Item>; NAMES.len()]) -> Result<ResponseControl, Malformed> {
    let mut control = ResponseControl::default();
    for (name, item) in NAMES.iter().zip(items) {
        let Some(item) = item else { continue };
        let is_lifetime = NAMES[..LIFETIMES].contains(name);
        let text;
        let argument = match item {
            Item::Integer(seconds) if is_lifetime => {
                let seconds = u64::try_from(*seconds).map_err(|_| Malformed)?.min(MAX_SECONDS);
                text = seconds.to_string();
                Argument::Token(text.as_bytes())
            }
            Item::Boolean(true) if !is_lifetime => Argument::None,
            Item::Boolean(false) if !is_lifetime => continue,
            Item::String(names) if matches!(*name, b"private" | b"no-cache") => {
                Argument::Quoted(names)
            }
            _ => return Err(Malformed),
        };
        control.set(name, argument);
    }
    Ok(control)
}

/// The directives that the cache knows: first those with a number of seconds, then those that forbid
/// storing.
const NAMES: [&[u8]; 11] = [
    b"max-age",
    b"s-maxage",
    b"stale-while-revalidate",
    b"stale-if-error",
    b"private",
    b"no-cache",
    b"no-store",
    b"public",
    b"must-revalidate",
    b"proxy-revalidate",
    b"must-understand",
];
const LIFETIMES: usize = 4;
const FORBIDDING: Range<usize> = LIFETIMES..7;

#[cfg(test)]
mod tests {
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
}
