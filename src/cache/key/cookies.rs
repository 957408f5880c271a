//! The cookies that are part of a key, and those that the inner service does not see.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use super::query::{is_named, loose_name};
use super::request_key::Key;
use crate::headers::token::split_token;

/// The choice of cookies. Without names, `cookie` is a header like any other.
#[derive(Clone, Debug)]
pub(super) struct Cookies {
    /// The names of the cookies that are part of the key, in the order in which the service sees them.
    counted: Vec<String>,
    /// The names of the cookies that the service does not see. A name that ends in `*` is a prefix.
    ignored: Vec<String>,
}

/// The cookies of a request that every service reads alike, without the ignored ones.
struct Parsed<'a> {
    /// The cookies of the key in the key's order.
    counted: Vec<&'a [u8]>,
    /// All others, in the order of the request.
    others: Vec<&'a [u8]>,
}

impl Cookies {
    pub(super) const fn new() -> Self {
        Self { counted: Vec::new(), ignored: Vec::new() }
    }

    pub(super) fn count(&mut self, name: String) {
        self.counted.push(name);
    }

    pub(super) fn ignore(&mut self, names: impl IntoIterator<Item = impl Into<String>>) {
        self.ignored.extend(names.into_iter().map(Into::into));
    }

    /// Returns `true` if a cookie is part of the key, or ignored.
    #[inline]
    pub(super) fn are_named(&self) -> bool {
        !self.counted.is_empty() || !self.ignored.is_empty()
    }

    /// Returns `true` if a cookie is part of the key.
    pub(super) fn are_counted(&self) -> bool {
        !self.counted.is_empty()
    }

    /// Returns `true` if a request with `cookie` has no other cookies than those of the key and ignored
    /// ones.
    pub(super) fn cover(&self, headers: &HeaderMap) -> bool {
        self.parse(headers).is_some_and(|cookies| cookies.others.is_empty())
    }

    /// Spells the cookies of a request as the key does: on one line, without the ignored ones, and
    /// those of the key first. So requests with the same key and the same other cookies are the same
    /// for the service, however it parses them.
    #[inline(never)]
    pub(super) fn spell(&self, headers: &mut HeaderMap) {
        let Some(text) = self.respelled(headers) else { return };
        let is_sensitive = headers.get(COOKIE).is_some_and(HeaderValue::is_sensitive);
        match HeaderValue::try_from(text) {
            Ok(mut line) if !line.is_empty() => {
                line.set_sensitive(is_sensitive);
                headers.insert(COOKIE, line);
            }
            _ => drop(headers.remove(COOKIE)),
        }
    }

    /// Returns the cookies as the key spells them, or `None` if they are spelled so.
    pub(super) fn respelled(&self, headers: &HeaderMap) -> Option<Vec<u8>> {
        let cookies = self.parse(headers)?;
        let pairs = cookies.counted.into_iter().chain(cookies.others);
        let text = pairs.collect::<Vec<_>>().join(&b"; "[..]);
        let mut lines = headers.get_all(COOKIE).iter();
        let is_same = |line: &HeaderValue| !text.is_empty() && line.as_bytes() == text;
        let is_spelled_so = lines.next().is_some_and(is_same) && lines.next().is_none();
        (!is_spelled_so).then_some(text)
    }

    /// Adds the cookies that count to a key. A header that services may read in several ways counts as
    /// a whole.
    // Not inlined: the keys of most layers have no cookies.
    #[inline(never)]
    pub(super) fn push(&self, key: &mut Key, headers: &HeaderMap) {
        if !headers.contains_key(COOKIE) {
            return;
        }
        // No header has one of these names.
        match self.parse(headers) {
            Some(cookies) => {
                cookies.counted.iter().for_each(|cookie| key.push("@cookie", cookie));
            }
            None => {
                let lines = headers.get_all(COOKIE).iter();
                lines.for_each(|line| key.push("@cookies", line.as_bytes()));
            }
        }
    }

    /// Returns `None` without a header, and for one that services may read in several ways.
    fn parse<'a>(&self, headers: &'a HeaderMap) -> Option<Parsed<'a>> {
        if !self.are_named() || !headers.contains_key(COOKIE) {
            return None;
        }
        let loose: Vec<_> = self.counted.iter().map(|name| loose_name(name.as_bytes())).collect();
        let (mut counted, mut others) = (Vec::new(), Vec::new());
        // HTTP/2 may split the header at its semicolons (RFC 9113 §8.2.3).
        for line in headers.get_all(COOKIE) {
            for pair in line.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii) {
                if pair.is_empty() {
                    continue;
                }
                let name = name_of(pair)?;
                if let Some(at) = self.counted.iter().position(|of| of.as_bytes() == name) {
                    counted.push((at, pair));
                } else if is_named(&self.ignored, name) {
                    // The service does not see it.
                } else if loose.is_empty() || !loose.contains(&loose_name(name)) {
                    others.push(pair);
                } else {
                    // PHP reads `%6cang` and `lang[]` as `lang`.
                    return None;
                }
            }
        }
        // The sort is stable: which of two cookies with one name counts is up to the service.
        counted.sort_by_key(|(at, _)| *at);
        Some(Parsed { counted: counted.into_iter().map(|(_, pair)| pair).collect(), others })
    }
}

/// Returns the name of a cookie, or `None` if a service might read the pair as something else than one
/// cookie. RFC 6265 §4.1.1 has fewer values, which browsers do not keep to.
fn name_of(pair: &[u8]) -> Option<&[u8]> {
    let (name, rest) = split_token(pair)?;
    let value = rest.strip_prefix(b"=")?;
    let has = |byte: u8| value.contains(&byte);
    // Some services read a quoted value to its second quote, beyond a semicolon.
    let is_quoted = value.iter().filter(|byte| **byte == b'"').count() % 2 == 1 || has(b'\\');
    // RFC 2109 §4.3.4 had commas between cookies.
    let is_list = value
        .iter()
        .position(|byte| *byte == b',')
        .is_some_and(|comma| value[comma..].contains(&b'='));
    let is_plain = value.iter().all(|byte| matches!(byte, b' '..=b'~'));
    (is_plain && !(has(b'"') && is_quoted) && !is_list).then_some(name)
}

/// The cookies that scripts of analytics and advertising set, and read themselves.
pub(super) const TRACKING_COOKIES: [&str; 25] = [
    "_ga",
    "_ga_*",
    "_gid",
    "_gat*",
    "_gac_*",
    "_gcl_*",
    "_dc_gtm_*",
    "__gads",
    "__gpi",
    "__utm*",
    "_fbp",
    "_fbc",
    "_clck",
    "_clsk",
    "_uetsid",
    "_uetvid",
    "_pk_*",
    "_hj*",
    "__hstc",
    "__hssc",
    "__hssrc",
    "hubspotutk",
    "_ttp",
    "_pin_unauth",
    "_scid",
];

#[cfg(test)]
mod tests;
