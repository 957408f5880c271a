//! Dictionaries of structured fields (RFC 9651 §3.2), as `cdn-cache-control` and `no-vary-search` are.
//!
//! The crate `sfv` would allocate a map of all members, though each header has a handful of names.

/// The value of a member, as far as a header of the cache has such values.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    Integer(i64),
    String(Vec<u8>),
    Boolean(bool),
    /// An inner list of nothing but strings.
    Strings(Vec<Vec<u8>>),
    /// A type that no header of the cache has.
    Other,
}

/// The text that is not parsed yet.
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

    /// A member of a dictionary: its key and its item.
    fn entry(&mut self) -> Option<(&'a [u8], Item)> {
        let key = self.key()?;
        let item = if self.eat(b'=') { self.member()? } else { Item::Boolean(true) };
        self.parameters()?;
        Some((key, item))
    }

    fn member(&mut self) -> Option<Item> {
        if !self.eat(b'(') {
            return self.item();
        }
        let mut strings = Some(Vec::new());
        loop {
            self.skip(b" ");
            if self.eat(b')') {
                return Some(strings.map_or(Item::Other, Item::Strings));
            }
            strings = match (self.item()?, strings) {
                (Item::String(text), Some(mut strings)) => {
                    strings.push(text);
                    Some(strings)
                }
                _ => None,
            };
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

/// Parses a dictionary, and returns the number of its members, or `None` if it is malformed. Each member
/// is given to `member` and dropped, so that the work is linear in the length of the text, whatever its
/// number of keys.
pub(super) fn dictionary<'a>(
    text: &'a [u8],
    mut member: impl FnMut(&'a [u8], Item),
) -> Option<usize> {
    let mut rest = Rest(text);
    let mut count = 0;
    rest.skip(b" ");
    while !rest.0.is_empty() {
        let (key, item) = rest.entry()?;
        member(key, item);
        count += 1;
        rest.skip(b" \t");
        if rest.0.is_empty() {
            break;
        }
        rest.eat(b',').then_some(())?;
        rest.skip(b" \t");
        // A comma at the end.
        (!rest.0.is_empty()).then_some(())?;
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_member_is_looked_at_once() {
        let text: Vec<_> = (0..20_000).map(|at| format!("k{at}, max-age={at}")).collect();
        let text = text.join(", ");
        let mut looks = 0;
        assert_eq!(dictionary(text.as_bytes(), |_, _| looks += 1), Some(40_000));
        assert_eq!(looks, 40_000);
    }

    #[test]
    fn an_inner_list_of_strings_is_one() {
        let table = [
            ("a=()", Item::Strings(Vec::new())),
            ("a=( \"x\"  \"y z\\\"\" );p=1", Item::Strings(vec![b"x".to_vec(), b"y z\"".to_vec()])),
            ("a=(\"x\";p 1)", Item::Other),
            ("a=(x)", Item::Other),
            ("a=?1", Item::Boolean(true)),
            ("a=\"x\"", Item::String(b"x".to_vec())),
        ];
        for (text, expected) in table {
            let mut items = Vec::new();
            assert_eq!(dictionary(text.as_bytes(), |_, item| items.push(item)), Some(1), "{text}");
            assert_eq!(items, [expected], "{text}");
        }
        for malformed in ["a=(\"x\"", "a=(\"x\"\"y\")", "a=((\"x\"))", "a=(\"x\",\"y\")"] {
            assert_eq!(dictionary(malformed.as_bytes(), |_, _| {}), None, "{malformed}");
        }
    }
}
