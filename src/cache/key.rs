//! The key of a request.

use http::header::HOST;
use http::uri::Scheme;
use http::{HeaderMap, Uri, request};

use crate::axum_extensions::{is_nested, original_uri, original_uri_mut};

/// A request's key: its URL, and behind it whatever else counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) text: String,
    /// Where the host and the path begin, and where the URL ends.
    pub(crate) host: usize,
    pub(crate) path: usize,
    pub(crate) url: usize,
    pub(crate) spelling: Spelling,
}

/// How the URL of a request is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Spelling {
    /// As its key has it.
    #[default]
    Same,
    /// Otherwise, but the service need not see that.
    Respelled,
    /// Otherwise, and the service may act upon that.
    Other,
}

/// Why a request has no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoKey {
    TooLong,
    /// None that could be trusted: malformed, or several that differ.
    Host,
    /// The user's function panicked.
    Panicked,
}

impl Key {
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns scheme, host, path and query.
    pub(crate) fn url(&self) -> &str {
        &self.text[..self.url]
    }

    /// Returns `true` if there is nothing behind the URL.
    pub(crate) fn is_url(&self) -> bool {
        self.url == self.text.len()
    }

    /// Returns `true` if the response may be stored: the service can be made to see this spelling.
    pub(crate) fn may_fill(&self) -> bool {
        self.spelling != Spelling::Other
    }

    /// Returns `true` if the request is spelled as its key.
    pub(crate) fn is_spelled_so(&self) -> bool {
        self.spelling == Spelling::Same
    }

    /// Spells a request as this key, which was made of it. Returns `false` if that cannot be.
    pub(crate) fn spell(&self, request: &mut request::Parts) -> bool {
        let spelled = match self.spelling {
            Spelling::Same => true,
            Spelling::Respelled => self.respell(request).is_some(),
            Spelling::Other => false,
        };
        spelled && self.name_host(request).is_some()
    }

    /// Adds the `host` that a request with an authority leaves out, as those of HTTP/2 do: a service
    /// that looks for the header alone must not fill the cache with another response for them (RFC
    /// 9113 §8.3.1).
    fn name_host(&self, request: &mut request::Parts) -> Option<()> {
        let host = &self.text[self.host..self.path];
        if self.host > 0 && !host.is_empty() && !request.headers.contains_key(HOST) {
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
        // It is 0 where hosts do not count.
        if self.host > 0 {
            if let Some(line) = request.headers.get_mut(HOST) {
                *line = self.text[self.host..self.path].parse().ok()?;
            }
        }
        Some(())
    }

    /// Returns a URI with the host and the query of the key. Its path is already that of the key, or
    /// the end of it.
    fn respelled(&self, uri: &Uri) -> Option<Uri> {
        let mut parts = uri.clone().into_parts();
        if let Some(target) = &mut parts.path_and_query {
            let path_and_query = &self.text[self.path..self.url];
            let query = path_and_query.find('?').map_or("", |at| &path_and_query[at..]);
            *target = format!("{}{query}", uri.path()).parse().ok()?;
        }
        if self.host > 0 && parts.authority.is_some() {
            parts.authority = Some(self.text[self.host..self.path].parse().ok()?);
        }
        Uri::from_parts(parts).ok()
    }

    /// The key of one of the URL's variants.
    pub(crate) fn variant(&self, id: u64) -> Self {
        Self { text: format!("{}\nvary={id:016x}", self.text), ..*self }
    }

    /// A line that no URL has: what is not printable is escaped.
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

/// Returns the authority of the target, or else of `host` (RFC 9110 §7.2). Where both are there and
/// differ, the service may take either one.
pub(crate) fn host_of<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Result<&'a [u8], NoKey> {
    let mut lines = headers.get_all(HOST).iter();
    let line = lines.next().map(|value| value.as_bytes().trim_ascii());
    if lines.next().is_some() {
        return Err(NoKey::Host);
    }
    let Some(authority) = uri.authority() else { return Ok(line.unwrap_or_default()) };
    let authority = authority.as_str().as_bytes();
    match line {
        Some(line) if !line.eq_ignore_ascii_case(authority) => Err(NoKey::Host),
        _ => Ok(authority),
    }
}

/// Writes a host in lower case, without its default port.
pub(crate) fn push_host(text: &mut String, host: &[u8], scheme: &Scheme) -> Result<(), NoKey> {
    let default = if *scheme == Scheme::HTTPS { &b":443"[..] } else { b":80" };
    let host = host.strip_suffix(default).or(host.strip_suffix(b":")).unwrap_or(host);
    let host = std::str::from_utf8(host).ok().filter(|host| host.bytes().all(is_of_host));
    let start = text.len();
    text.push_str(host.ok_or(NoKey::Host)?);
    text[start..].make_ascii_lowercase();
    Ok(())
}

/// Returns `true` if a request spells its host as the key has it, wherever it names one. A service
/// may tell an empty `host` from none.
pub(crate) fn is_spelled_so(host: &str, uri: &Uri, headers: &HeaderMap) -> bool {
    let same = |line: &[u8]| !line.is_empty() && line == host.as_bytes();
    uri.authority().is_none_or(|authority| same(authority.as_str().as_bytes()))
        && headers.get_all(HOST).iter().all(|line| same(line.as_bytes()))
}

/// RFC 3986 §3.2.2, with a port.
const fn is_of_host(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b':' | b'[' | b']'
        | b'~' | b'!' | b'$' | b'&'..=b',' | b';' | b'=' | b'%')
}

const HEX: &[u8; 16] = b"0123456789abcdef";
