//! The values of the request headers that `vary` names, and which of them select the same response.
//!
//! A variant has the value of the request that filled the cache. The inner service saw that request
//! as it was spelled, and may read odd spellings otherwise than this cache does. So an odd value
//! selects a variant for requests with the same bytes alone, and a plain one for all requests that mean
//! the same: nobody can fill the cache with the response to a spelling, for clients with another one.

use std::ops::Range;

use http::header::{ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::headers::list;
use crate::headers::qvalue::{QValue, parse_qvalue};
use crate::headers::token::{is_token, split_token};

/// Returns the value by which a request selects a variant, or `None` without the header.
pub(super) fn value_of(name: &HeaderName, request: &HeaderMap) -> Option<Vec<u8>> {
    let mut lines = request.get_all(name).iter();
    let first = lines.next()?.as_bytes();
    if *name == ACCEPT_ENCODING {
        return Some(codings(request));
    }
    // Most services read only one of several lines.
    if lines.next().is_some() {
        return Some(lines_of(name, request, b"\n"));
    }
    match normal(name, request) {
        Some(normal) if is_plain(first, &normal) => Some(normal),
        _ => Some(first.to_vec()),
    }
}

/// Returns `true` if a request selects the variant that has this [value](value_of).
pub(super) fn selects(name: &HeaderName, value: Option<&[u8]>, request: &HeaderMap) -> bool {
    let mut lines = request.get_all(name).iter();
    let (Some(first), Some(value)) = (lines.next(), value) else {
        return value.is_none() && !request.contains_key(name);
    };
    if *name == ACCEPT_ENCODING {
        return codings(request) == value;
    }
    // Most clients send the normal form, which costs no copy here.
    let is_one = lines.next().is_none();
    if is_one && first.as_bytes() == value {
        return true;
    }
    !is_one && lines_of(name, request, b"\n") == value
        || normal(name, request).is_some_and(|normal| normal == value)
}

/// Returns the form that all values share that mean the same, or `None` for a value that is only like
/// itself.
fn normal(name: &HeaderName, request: &HeaderMap) -> Option<Vec<u8>> {
    if *name == ACCEPT {
        weighted(name, request, push_media_range)
    } else if *name == ACCEPT_LANGUAGE {
        weighted(name, request, push_language_range)
    } else if *name == ACCEPT_CHARSET {
        weighted(name, request, push_charset)
    } else if *name == COOKIE {
        // The order and the number of cookies may matter, and cookies are no list.
        None
    } else {
        // RFC 9110 §5.3. Spaces within a line may be part of a text.
        Some(lines_of(name, request, b", ").trim_ascii().to_vec())
    }
}

/// Returns `true` for a value that every service reads as this normal form: it is that, or has a space
/// behind its commas.
fn is_plain(value: &[u8], normal: &[u8]) -> bool {
    let members = |text| <[u8]>::split(text, |byte| *byte == b',');
    let unspaced = members(value).enumerate().map(|(at, member)| match member {
        [b' ', member @ ..] if at > 0 => member,
        member => member,
    });
    value == normal || unspaced.eq(members(normal))
}

/// Returns a list with the heaviest member first (RFC 9110 §12.4.2). Members of one weight keep their
/// order: services take it for a preference (§12.5.4). A refusal (`q=0`) stays, since it may except
/// something from another member. Returns `None` if a member is malformed, or has two weights.
fn weighted(
    name: &HeaderName,
    request: &HeaderMap,
    push_range: fn(&mut Vec<u8>, &[u8]) -> Option<()>,
) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(64);
    // Each member has its place in the text, without its weight, and its weight.
    let mut members: Vec<(Range<usize>, QValue)> = Vec::with_capacity(8);
    for member in list::members(request, name) {
        let (range, weight) = split_weight(member)?;
        let before = text.len();
        if before > 0 {
            text.push(b',');
        }
        let start = text.len();
        push_range(&mut text, range)?;
        let end = text.len();
        let is_same = |(at, _): &&(Range<usize>, _)| text[at.clone()] == text[start..end];
        match members.iter().find(is_same) {
            Some((_, other)) if *other != weight => return None,
            Some(_) => text.truncate(before),
            None if members.len() == MAX_MEMBERS => return None,
            None => {
                members.push((start..end, weight));
                push_weight(&mut text, weight);
            }
        }
    }
    // Nearly all clients send their lists in this order.
    if members.is_sorted_by_key(|(_, weight)| QValue::MAX - weight) {
        return Some(text);
    }
    members.sort_by_key(|(_, weight)| QValue::MAX - weight);
    let mut normal = Vec::with_capacity(text.len());
    for (range, weight) in members {
        if !normal.is_empty() {
            normal.push(b',');
        }
        normal.extend_from_slice(&text[range]);
        push_weight(&mut normal, weight);
    }
    Some(normal)
}

/// Writes a weight in as few digits as possible, and none for that of a member without one.
fn push_weight(text: &mut Vec<u8>, weight: QValue) {
    if weight >= 1000 {
        return;
    }
    text.extend_from_slice(b";q=0");
    let mut rest = weight;
    for (at, place) in [100, 10, 1].into_iter().enumerate() {
        if rest == 0 {
            return;
        }
        if at == 0 {
            text.push(b'.');
        }
        text.extend(u8::try_from(rest / place).map(|digit| b'0' + digit));
        rest %= place;
    }
}

/// Splits a member into its range and its weight, or returns `None` if the weight is malformed or not at
/// the end.
fn split_weight(member: &[u8]) -> Option<(&[u8], QValue)> {
    let Some(at) = member.iter().rposition(|byte| *byte == b';') else {
        return Some((member, 1000));
    };
    match member[at + 1..].trim_ascii() {
        [b'q' | b'Q', b'=', weight @ ..] => {
            Some((member[..at].trim_ascii_end(), parse_qvalue(weight)?))
        }
        _ => Some((member, 1000)),
    }
}

/// Writes a media range with its parameters (RFC 9110 §12.5.1), without spaces. Its case stays.
fn push_media_range(normal: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    let mut parts = text.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let range = parts.next()?;
    let (_, subtype) = split_token(range)?;
    is_token(subtype.strip_prefix(b"/")?).then_some(())?;
    normal.extend_from_slice(range);
    for parameter in parts {
        // A quoted value may have a `;`, and be another spelling of a token.
        let (name, value) = split_token(parameter)?;
        let is_plain = is_token(value.strip_prefix(b"=")?) && !name.eq_ignore_ascii_case(b"q");
        is_plain.then_some(())?;
        normal.push(b';');
        normal.extend_from_slice(parameter);
    }
    Some(())
}

/// Writes a language range in the case that RFC 5646 §2.1.1 recommends, and browsers send: `de-DE`,
/// `zh-Hant`.
fn push_language_range(normal: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    let start = normal.len();
    push_charset(normal, text)?;
    let mut is_extension = false;
    for subtag in normal[start..].split_mut(|byte| *byte == b'-').skip(1) {
        is_extension |= subtag.len() == 1;
        match subtag {
            [..] if is_extension => {}
            [_, _] => subtag.make_ascii_uppercase(),
            [first, _, _, _] => first.make_ascii_uppercase(),
            _ => {}
        }
    }
    Some(())
}

fn push_charset(normal: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    is_token(text).then(|| normal.extend(text.iter().map(u8::to_ascii_lowercase)))
}

/// Returns the members of an `accept-encoding` that is compared as a whole.
fn codings(request: &HeaderMap) -> Vec<u8> {
    let members: Vec<_> = list::members(request, &ACCEPT_ENCODING).collect();
    members.join(&b',').to_ascii_lowercase()
}

fn lines_of(name: &HeaderName, request: &HeaderMap, between: &[u8]) -> Vec<u8> {
    let lines = request.get_all(name).iter();
    lines.map(HeaderValue::as_bytes).collect::<Vec<_>>().join(between)
}

/// The maximum number of members of a list that is normalized. Browsers send fewer than 20.
const MAX_MEMBERS: usize = 64;

#[cfg(test)]
mod tests;
