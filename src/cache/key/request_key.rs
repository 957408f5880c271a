//! The key of a request.

use std::sync::Arc;

use http::header::HOST;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Uri, request};

use super::content::Content;
use super::search_rule::SearchRule;
use crate::axum_extensions::{is_nested, original_uri, original_uri_mut};
use crate::headers::token::alphanumerics_and;

/// The key of a request: a line with the URL, and lines with the other parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) text: String,
    /// The offset of the host, or 0 if hosts are not part of the key.
    pub(crate) host: usize,
    /// The offset of the path.
    pub(crate) path: usize,
    /// The offset of the end of the URL.
    pub(crate) url: usize,
    pub(crate) spelling: Spelling,
    /// The content of the request is a part of the key.
    pub(crate) has_content: bool,
    /// The entry is a part (206).
    pub(crate) part: bool,
    /// The URL of the request has a query.
    pub(crate) has_query: bool,
    pub(crate) search: Option<Box<Search>>,
}

/// The rule by which the query of a key stands for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Search {
    rule: Arc<SearchRule>,
    /// The URL of the request, as the service sees it.
    url: String,
}

/// The spelling of the URL of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// The spelling of the key.
    #[default]
    Same,
    /// Another spelling, which the service does not see.
    Respelled,
    /// Another spelling, which the service may see.
    Other,
}

/// The reasons for which a request has no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoKey {
    TooLong,
    /// The host is malformed, or stated twice.
    Host,
    /// A callback panicked.
    Panicked,
}

impl Key {
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the scheme, the host, the path and the query.
    pub(crate) fn url(&self) -> &str {
        &self.text[..self.url]
    }

    /// Returns `true` if the URL is all of the key.
    pub(crate) fn is_url(&self) -> bool {
        self.url == self.text.len()
    }

    /// Returns the scheme, the host and the path.
    pub(crate) fn path_url(&self) -> &str {
        // A host and a path have no `?`.
        self.url().split('?').next().unwrap_or_default()
    }

    /// Returns `true` if the query of the key stands for others.
    pub(crate) fn is_searched(&self) -> bool {
        self.search.is_some()
    }

    /// Returns the header of the rule by which the query of the key stands for others.
    pub(crate) fn rule(&self) -> Option<&[u8]> {
        self.search.as_ref().map(|search| search.rule.text())
    }

    /// Returns the key of the same request by a rule, or without one, by its own URL.
    pub(crate) fn by_rule(&self, rule: Option<&Arc<SearchRule>>) -> Self {
        let (url, lines) = (self.seen_url(), &self.text[self.url..]);
        let normal = rule.and_then(|rule| {
            let (path, query) = url.split_once('?')?;
            let normal = rule.normal(query);
            // Encoding may make a query longer than a key may be.
            let length = path.len() + normal.len() + lines.len();
            (length <= MAX_LENGTH).then_some((rule, normal))
        });
        let (text, search) = match normal {
            Some((rule, normal)) => {
                let search = Search { rule: Arc::clone(rule), url: url.to_owned() };
                (format!("{}{normal}", self.path_url()), Some(Box::new(search)))
            }
            None => (url.to_owned(), None),
        };
        let url = text.len();
        Self { text: text + lines, url, search, ..*self }
    }

    /// Returns `true` if a response that was found under this key answers the request, by the rule that
    /// the response states.
    #[inline]
    pub(crate) fn finds(&self, response: &HeaderMap) -> bool {
        self.search.is_none() || self.finds_by_rule(response)
    }

    /// Returns `true` if the response to a request with this key answers all requests with it.
    #[inline]
    pub(crate) fn shares(&self, response: &HeaderMap) -> bool {
        self.search.is_none() || self.has_rule_of(response)
    }

    // These are not inlined: few services state a rule, and the others have no use for a longer path.
    #[inline(never)]
    fn finds_by_rule(&self, response: &HeaderMap) -> bool {
        if self.has_rule_of(response) {
            return true;
        }
        // The response was stored under its URL by its own rule, or by none.
        let rule = SearchRule::of(response).map(Arc::new);
        self.by_rule(rule.as_ref()).url() == self.url()
    }

    #[inline(never)]
    fn has_rule_of(&self, response: &HeaderMap) -> bool {
        self.search.as_ref().is_some_and(|search| search.rule.is_of(response))
    }

    /// Returns the URL as the service sees it.
    fn seen_url(&self) -> &str {
        self.search.as_ref().map_or(self.url(), |search| &search.url)
    }

    /// Returns `true` if the response may be stored: the service sees the spelling of the key.
    pub(crate) fn may_fill(&self) -> bool {
        self.spelling != Spelling::Other
    }

    /// Returns `true` if the request is spelled as its key.
    pub(crate) fn is_spelled_so(&self) -> bool {
        self.spelling == Spelling::Same
    }

    /// Spells a request as this key, which was made from it. Returns `false` if that is impossible.
    pub(crate) fn spell(&self, request: &mut request::Parts) -> bool {
        let spelled = match self.spelling {
            Spelling::Same => true,
            Spelling::Respelled => self.respell(request).is_some(),
            Spelling::Other => false,
        };
        spelled && self.name_host(request).is_some()
    }

    /// Adds the `host` that requests of HTTP/2 leave out (RFC 9113 §8.3.1): a service that looks at the
    /// header alone must not fill the cache with another response for them.
    fn name_host(&self, request: &mut request::Parts) -> Option<()> {
        let host = &self.text[self.host..self.path];
        if self.host > 0 && !host.is_empty() && only_host(&request.headers) == Ok(None) {
            request.headers.insert(HOST, host.parse().ok()?);
        }
        Some(())
    }

    fn respell(&self, request: &mut request::Parts) -> Option<()> {
        let original = original_uri(&request.extensions);
        if let Some(original) = original.filter(|original| is_nested(original, &request.uri)) {
            let respelled = self.respelled(original)?;
            *original_uri_mut(&mut request.extensions)? = respelled;
        }
        request.uri = self.respelled(&request.uri)?;
        if self.host > 0 {
            if let Some(line) = request.headers.get_mut(HOST) {
                *line = self.text[self.host..self.path].parse().ok()?;
            }
        }
        Some(())
    }

    /// Returns a URI with the host and the query of the key. Its path is that of the key already, or
    /// the end of that.
    fn respelled(&self, uri: &Uri) -> Option<Uri> {
        let mut parts = uri.clone().into_parts();
        if let Some(target) = &mut parts.path_and_query {
            let path_and_query = &self.seen_url()[self.path..];
            let query = path_and_query.find('?').map_or("", |at| &path_and_query[at..]);
            *target = format!("{}{query}", uri.path()).parse().ok()?;
        }
        // A request in origin form stays in it: the service may tell the forms apart.
        if self.host > 0 && parts.authority.is_some() {
            parts.authority = Some(self.text[self.host..self.path].parse().ok()?);
        }
        Uri::from_parts(parts).ok()
    }

    /// Returns `true` if the entry stays in the store when a change of its URL removes that of the URL:
    /// the key of a part, or one with the content of a request.
    #[inline]
    pub(crate) fn stays(&self) -> bool {
        self.has_content || self.part
    }

    /// Returns `true` for the key of a part.
    pub(crate) fn is_part(&self) -> bool {
        self.part
    }

    /// Returns the key of a part.
    pub(crate) fn part(&self, slot: u64) -> Self {
        // The URL stays, by which purges find the entry.
        let text = format!("{}\npart={slot:x}", self.text);
        Self { text, part: true, search: self.search.clone(), ..*self }
    }

    /// Returns the key of the variant with this [suffix](super::super::vary::Variant::suffix).
    pub(crate) fn variant(&self, suffix: &str) -> Self {
        // Not `format`, which costs several times as much: each hit of a variant needs this key.
        let mut text = String::with_capacity(self.text.len() + suffix.len());
        text.push_str(&self.text);
        text.push_str(suffix);
        Self { text, search: None, ..*self }
    }

    /// Adds the content of a request, if it is a part of the key. No header has such a name.
    // Not inlined: the keys of nearly all requests have no content.
    #[inline(never)]
    pub(super) fn push_content(&mut self, content: &Content) {
        let Content::Known(method, digest) = content else { return };
        let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let digits: Vec<_> = digits.map(|digit| HEX[usize::from(digit)]).collect();
        self.push(method.name_in_key(), &digits);
        self.has_content = true;
    }

    /// Adds a line. A value cannot forge another line: bytes that are not printable are escaped.
    pub(crate) fn push(&mut self, name: &str, value: &[u8]) {
        self.text.push('\n');
        self.text.push_str(name);
        self.text.push('=');
        for &byte in value {
            match byte {
                b' '..=b'~' if byte != b'\\' => self.text.push(char::from(byte)),
                _ => self.text.extend(
                    [b'\\', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]
                        .map(char::from),
                ),
            }
        }
    }
}

/// Returns the line of `host` as text, if there is one. A request with several lines has no key.
#[inline]
pub(crate) fn host_line(headers: &HeaderMap) -> Result<Option<&str>, NoKey> {
    only_host(headers)?.map(HeaderValue::to_str).transpose().map_err(|_| NoKey::Host)
}

/// Returns the line of `host`, if there is one, and an error for several lines.
#[inline]
pub(crate) fn only_host(headers: &HeaderMap) -> Result<Option<&HeaderValue>, NoKey> {
    // Mostly no name has several lines, which costs less to find out than for one name.
    if headers.len() > headers.keys_len() && headers.get_all(HOST).iter().count() > 1 {
        return Err(NoKey::Host);
    }
    Ok(match headers.iter().next() {
        // RFC 9110 §7.2: mostly the first header.
        Some((name, line)) if *name == HOST => Some(line),
        _ => headers.get(HOST),
    })
}

/// Returns the authority of the target, or else the line of `host` (RFC 9110 §7.2). If both are
/// present and differ, the request has no key, since the service may take either.
pub(crate) fn host_of<'a>(uri: &'a Uri, line: Option<&'a str>) -> Result<&'a str, NoKey> {
    let line = line.map(str::trim_ascii);
    let Some(authority) = uri.authority() else { return Ok(line.unwrap_or_default()) };
    match line {
        Some(line) if !line.eq_ignore_ascii_case(authority.as_str()) => Err(NoKey::Host),
        _ => Ok(authority.as_str()),
    }
}

/// Writes a host in lower case, without its default port.
#[inline]
pub(crate) fn push_host(text: &mut String, host: &str, scheme: &Scheme) -> Result<(), NoKey> {
    let without_default =
        if *scheme == Scheme::HTTPS { host.strip_suffix(":443") } else { host.strip_suffix(":80") };
    // RFC 3986 §6.2.3: an empty port is the default one.
    let host = without_default.or(host.strip_suffix(':')).unwrap_or(host);
    // Without an early end, since hosts are valid.
    let found = host.bytes().fold(0, |found, byte| found | HOST_BYTES[usize::from(byte)]);
    if found & INVALID != 0 {
        return Err(NoKey::Host);
    }
    let start = text.len();
    text.push_str(host);
    if found & UPPER_CASE != 0 {
        text[start..].make_ascii_lowercase();
    }
    Ok(())
}

/// Returns `true` if a request spells its host as the key, in the target and in the line of `host`. A
/// service may tell an empty `host` from a missing one.
pub(crate) fn is_spelled_so(host: &str, uri: &Uri, line: Option<&str>) -> bool {
    let same = |line: &str| !line.is_empty() && line == host;
    uri.authority().is_none_or(|authority| same(authority.as_str())) && line.is_none_or(same)
}

/// The characters of a host with a port (RFC 3986 §3.2.2). A table, since each request is checked.
const HOST_BYTES: [u8; 256] = {
    let (allowed, mut table) = (alphanumerics_and(b"-._:[]~!$&'()*+,;=%"), [0; 256]);
    let mut byte = 0;
    while byte < 256 {
        let upper_case = if (byte as u8).is_ascii_uppercase() { UPPER_CASE } else { 0 };
        table[byte] = if allowed[byte] { upper_case } else { INVALID };
        byte += 1;
    }
    table
};
const INVALID: u8 = 1;
const UPPER_CASE: u8 = 2;

/// The key of nothing.
#[cfg(test)]
pub(crate) static NO_KEY: Key = Key {
    text: String::new(),
    host: 0,
    path: 0,
    url: 0,
    spelling: Spelling::Same,
    has_content: false,
    part: false,
    has_query: false,
    search: None,
};

/// The maximum length of a key, in bytes. A longer URL is not one that many clients ask for.
pub(super) const MAX_LENGTH: usize = 8 * 1024;

const HEX: &[u8; 16] = b"0123456789abcdef";
