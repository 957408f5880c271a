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
mod tests;
