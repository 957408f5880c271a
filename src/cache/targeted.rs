//! Targeted fields (RFC 9213): strict dictionaries of structured fields (RFC 9651 §4.2.2).

use http::HeaderName;
use http::header::HeaderMap;

use super::control::{LARGEST, Malformed, ResponseControl};

type Entry<'a> = (&'a [u8], Item);

#[derive(Debug, PartialEq, Eq)]
enum Item {
    Integer(i64),
    String(Vec<u8>),
    Boolean(bool),
    /// A type that no directive has.
    Other,
}

/// What is not parsed yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn eat(&mut self, byte: u8) -> bool {
        let rest = self.0.strip_prefix(&[byte]);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn skip(&mut self, bytes: &[u8]) {
        self.take(|byte| bytes.contains(&byte));
    }

    fn take(&mut self, fits: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.0.iter().position(|&byte| !fits(byte)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    fn key(&mut self) -> Option<&'a [u8]> {
        let key =
            self.take(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*'));
        matches!(key.first()?, b'a'..=b'z' | b'*').then_some(key)
    }

    fn member(&mut self) -> Option<Item> {
        if !self.eat(b'(') {
            return self.item();
        }
        loop {
            self.skip(b" ");
            if self.eat(b')') {
                return Some(Item::Other);
            }
            self.item()?;
            self.parameters()?;
            matches!(self.0.first()?, b' ' | b')').then_some(())?;
        }
    }

    fn parameters(&mut self) -> Option<()> {
        while self.eat(b';') {
            self.skip(b" ");
            self.key()?;
            if self.eat(b'=') {
                self.item()?;
            }
        }
        Some(())
    }

    fn item(&mut self) -> Option<Item> {
        match self.0.first()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string(),
            b'?' => {
                self.eat(b'?');
                let one = self.eat(b'1');
                (one || self.eat(b'0')).then_some(Item::Boolean(one))
            }
            b':' => {
                self.eat(b':');
                self.take(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
                self.eat(b':').then_some(Item::Other)
            }
            b'@' => {
                self.eat(b'@');
                matches!(self.number()?, Item::Integer(_)).then_some(Item::Other)
            }
            b'A'..=b'Z' | b'a'..=b'z' | b'*' => {
                self.take(|byte| {
                    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte)
                });
                Some(Item::Other)
            }
            _ => None,
        }
    }

    fn number(&mut self) -> Option<Item> {
        let minus = self.eat(b'-');
        let whole = self.take(|byte| byte.is_ascii_digit());
        if self.eat(b'.') {
            let fraction = self.take(|byte| byte.is_ascii_digit());
            let fits = (1..=12).contains(&whole.len()) && (1..=3).contains(&fraction.len());
            return fits.then_some(Item::Other);
        }
        (1..=15).contains(&whole.len()).then_some(())?;
        let number = whole.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        Some(Item::Integer(if minus { -number } else { number }))
    }

    fn string(&mut self) -> Option<Item> {
        self.eat(b'"');
        let mut text = Vec::new();
        loop {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            text.push(match byte {
                b'"' => return Some(Item::String(text)),
                b'\\' => {
                    let (&escaped, rest) = self.0.split_first()?;
                    self.0 = rest;
                    matches!(escaped, b'"' | b'\\').then_some(escaped)?
                }
                b' '..=b'~' => byte,
                _ => return None,
            });
        }
    }
}

/// The directives of the first of these fields that is there, not empty, and well-formed.
pub(super) fn targeted(headers: &HeaderMap, names: &[HeaderName]) -> Option<ResponseControl> {
    names.iter().find_map(|name| {
        let lines: Vec<_> = headers.get_all(name).iter().map(|line| line.as_bytes()).collect();
        let text = lines.join(&b',');
        let entries = dictionary(&text)?;
        let entries = Some(entries).filter(|entries| !entries.is_empty())?;
        control(&entries).ok()
    })
}

/// A directive of another type than its own is no directive of this cache's.
fn control(entries: &[Entry<'_>]) -> Result<ResponseControl, Malformed> {
    let mut control = ResponseControl::default();
    for (name, item) in entries {
        let text;
        let argument = match (*name, item) {
            (b"max-age" | b"s-maxage" | b"stale-while-revalidate" | b"stale-if-error", item) => {
                let Item::Integer(seconds) = item else { return Err(Malformed) };
                let seconds = u64::try_from(*seconds).map_err(|_| Malformed)?.min(LARGEST);
                text = seconds.to_string().into_bytes();
                Some(&*text)
            }
            (b"private" | b"no-cache", Item::String(names)) => Some(&**names),
            (
                b"private" | b"no-cache" | b"no-store" | b"public" | b"must-revalidate"
                | b"proxy-revalidate" | b"must-understand",
                item,
            ) => match item {
                Item::Boolean(true) => None,
                Item::Boolean(false) => continue,
                _ => return Err(Malformed),
            },
            _ => continue,
        };
        control.set(name, argument);
    }
    Ok(control)
}

/// The entries, the last one of each key; `None` if any of it is malformed.
fn dictionary(text: &[u8]) -> Option<Vec<Entry<'_>>> {
    let mut entries: Vec<Entry<'_>> = Vec::new();
    let mut rest = Rest(text);
    rest.skip(b" ");
    while !rest.0.is_empty() {
        let key = rest.key()?;
        let item = if rest.eat(b'=') { rest.member()? } else { Item::Boolean(true) };
        rest.parameters()?;
        entries.retain(|(of, _)| *of != key);
        entries.push((key, item));
        rest.skip(b" \t");
        if rest.0.is_empty() {
            break;
        }
        rest.eat(b',').then_some(())?;
        rest.skip(b" \t");
        // A comma at the end.
        (!rest.0.is_empty()).then_some(())?;
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::super::control::Scope;
    use super::*;

    const NAME: HeaderName = HeaderName::from_static("cdn-cache-control");

    fn parsed(lines: &[&str]) -> Option<ResponseControl> {
        let lines = lines.iter().map(|line| (NAME, HeaderValue::from_str(line).unwrap()));
        targeted(&lines.collect(), &[HeaderName::from_static("surrogate-control"), NAME])
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
            (&["max-age=999999999999999"], max_age(LARGEST)),
            (&["x=tok*en/1"], Some(none())),
            (&["no-store=?0"], Some(none())),
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

    proptest! {
        #[test]
        fn no_field_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                targeted(&[(NAME, value)].into_iter().collect(), &[NAME]);
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
            let read = targeted(&[(NAME, value)].into_iter().collect(), &[NAME]).unwrap();
            let ages = [read.max_age, read.s_maxage, read.stale_while_revalidate, read.stale_if_error];
            prop_assert_eq!(ages.to_vec(), seconds.iter().map(|seconds| Some(LARGEST.min(*seconds))).collect::<Vec<_>>());
            prop_assert_eq!([read.no_store, read.public, read.must_revalidate, read.must_understand], flags);
            let names: Vec<HeaderName> = names.iter().map(|name| name.parse().unwrap()).collect();
            let scope = if names.is_empty() { Scope::Response } else { Scope::Fields(names) };
            prop_assert_eq!(read.private, Some(scope));
        }
    }
}
