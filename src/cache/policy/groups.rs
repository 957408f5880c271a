//! Groups of stored responses (RFC 9875), as tags that neither a user nor another origin can name.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};

/// The groups that a response to an unsafe request invalidates (RFC 9875 §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InvalidatedGroups {
    Named(Vec<String>),
    /// The header cannot be parsed, or names too many. Whatever it means is among all groups of the
    /// origin.
    All,
}

/// Returns the tags of a response that states its groups, or `None` for one that does not. `origin`
/// returns a number of its origin: groups of the same name at different origins are different groups
/// (§2.1).
///
/// # Errors
///
/// If the header cannot be parsed, or states too many groups: a response that its group does not
/// invalidate must not be stored.
pub(super) fn group_tags(
    headers: &HeaderMap,
    origin: impl FnOnce() -> u128,
) -> Result<Vec<String>, TooMany> {
    let groups = parse(headers, &CACHE_GROUPS)?;
    let origin = origin();
    Ok(std::iter::once(any_group(origin))
        .chain(groups.iter().map(|of| group(origin, of)))
        .collect())
}

/// Returns the groups that the header of a response names, or `None` without the header.
pub(crate) fn invalidated_groups(headers: &HeaderMap) -> Option<InvalidatedGroups> {
    // RFC 9651 §4.2 has a malformed header ignored. A cache may drop what it has at any time, and here
    // something has changed.
    headers.keys().any(|name| *name == CACHE_GROUP_INVALIDATION).then(|| {
        let named = parse(headers, &CACHE_GROUP_INVALIDATION);
        named.map_or(InvalidatedGroups::All, InvalidatedGroups::Named)
    })
}

impl InvalidatedGroups {
    /// Returns the tags that the responses in these groups have.
    pub(crate) fn tags(&self, origin: u128) -> Vec<String> {
        match self {
            Self::Named(names) => names.iter().map(|name| group(origin, name)).collect(),
            Self::All => vec![any_group(origin)],
        }
    }
}

/// Returns a tag of a user as the cache stores and purges it: it is no tag of a group, whatever the
/// user writes.
pub(crate) fn user_tag(tag: &str) -> Cow<'_, str> {
    if tag.starts_with(GROUP) { Cow::Owned(format!("{GROUP}{tag}")) } else { Cow::Borrowed(tag) }
}

/// Returns `true` if a response that states groups has their tags. An entry of an earlier version has
/// the header and no such tag.
pub(super) fn has_group_tags(headers: &HeaderMap, tags: &[String]) -> bool {
    let is_group =
        |tag: &String| tag.strip_prefix(GROUP).is_some_and(|rest| !rest.starts_with(GROUP));
    !headers.contains_key(&CACHE_GROUPS) || tags.iter().any(is_group)
}

/// The tag that all responses with groups at an origin have.
fn any_group(origin: u128) -> String {
    // A hash, since the origin may be as long as a key. A collision invalidates both.
    format!("{GROUP}{origin:032x}")
}

fn group(origin: u128, name: &str) -> String {
    format!("{GROUP}{origin:032x}={name}")
}

/// The header cannot be parsed, or has more than is kept of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// Parses a List of Strings (RFC 9651 §4.2.1) over all lines of a header.
fn parse(headers: &HeaderMap, name: &HeaderName) -> Result<Vec<String>, TooMany> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next().map_or(&[][..], |line| line.as_bytes());
    let mut text = Cow::Borrowed(first);
    for line in lines {
        let text = text.to_mut();
        text.extend_from_slice(b", ");
        text.extend_from_slice(line.as_bytes());
    }
    strings(&text).ok_or(TooMany)
}

fn strings(text: &[u8]) -> Option<Vec<String>> {
    let mut strings = Vec::new();
    let mut rest = text.trim_ascii_start();
    while !rest.is_empty() {
        let (member, after) = string(rest)?;
        if strings.len() == MAX_GROUPS || member.len() > MAX_GROUP_LENGTH {
            return None;
        }
        strings.push(member);
        rest = without_parameters(after)?.trim_ascii_start();
        if let Some(after) = rest.strip_prefix(b",") {
            rest = after.trim_ascii_start();
            // A list does not end in a comma.
            rest.first()?;
        } else if !rest.is_empty() {
            return None;
        }
    }
    Some(strings)
}

/// Parses a String (§4.2.5), and returns what is behind it.
fn string(text: &[u8]) -> Option<(String, &[u8])> {
    let mut rest = text.strip_prefix(b"\"")?;
    let mut string = String::new();
    loop {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        let byte = match byte {
            b'"' => return Some((string, rest)),
            b'\\' => {
                let (&escaped, after) =
                    rest.split_first().filter(|(of, _)| b"\"\\".contains(of))?;
                rest = after;
                escaped
            }
            b' '..=b'~' => byte,
            _ => return None,
        };
        string.push(char::from(byte));
    }
}

/// Skips Parameters (§4.2.3.2), none of which has a meaning here.
fn without_parameters(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text;
    while let Some(parameter) = rest.strip_prefix(b";") {
        let is_key = |byte: &u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(byte)
        };
        let key = parameter.trim_ascii_start();
        key.first().filter(|first| first.is_ascii_lowercase() || **first == b'*')?;
        rest = behind(key, is_key);
        if let Some(value) = rest.strip_prefix(b"=") {
            rest = without_item(value)?;
        }
    }
    Some(rest)
}

/// Skips a Bare Item (§4.2.3.1).
fn without_item(text: &[u8]) -> Option<&[u8]> {
    let (first, after) = text.split_first()?;
    let until = |end: u8, text| {
        let rest: &[u8] = behind(text, |byte| *byte != end);
        rest.split_first().map(|(_, rest)| rest)
    };
    match first {
        b'"' => string(text).map(|(_, rest)| rest),
        // A Display String has its quotes escaped otherwise.
        b'%' => until(b'"', after.strip_prefix(b"\"")?),
        b':' => until(b':', after),
        b'?' => after.strip_prefix(b"0").or(after.strip_prefix(b"1")),
        b'@' | b'-' | b'0'..=b'9' => {
            let signed = if *first == b'@' { after } else { text };
            let digits = signed.strip_prefix(b"-").unwrap_or(signed);
            digits.first().filter(|digit| digit.is_ascii_digit())?;
            Some(behind(digits, |byte| byte.is_ascii_digit() || *byte == b'.'))
        }
        b'*' | b'a'..=b'z' | b'A'..=b'Z' => Some(behind(after, |byte| {
            byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(byte)
        })),
        _ => None,
    }
}

/// Returns what is behind the bytes for which `is_part` returns `true`.
fn behind(text: &[u8], is_part: impl Fn(&u8) -> bool) -> &[u8] {
    let end = text.iter().position(|byte| !is_part(byte)).unwrap_or(text.len());
    &text[end..]
}

/// RFC 9875.
pub(super) const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");

/// The start of a tag of a group, and the escape of a user's tag that starts so.
const GROUP: char = '\0';

/// The maximum number of groups in a header. RFC 9875 §2 demands 32.
const MAX_GROUPS: usize = 64;

/// The maximum length of the name of a group. RFC 9875 §2 demands 32.
const MAX_GROUP_LENGTH: usize = 256;

#[cfg(test)]
mod tests;
