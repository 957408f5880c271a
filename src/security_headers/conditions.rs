//! Conditions on a request or a response that decide which headers are sent.

use std::net::Ipv6Addr;
use std::str::FromStr;

use http::header::{CONTENT_TYPE, HOST};
use http::uri::Authority;
use http::{HeaderMap, Uri, request};

use super::error::InvalidHeader;
use crate::headers::media_type::essence;

/// A host as requests name it, without a port: in lower case, or `*.` and a domain for all hosts
/// below the domain.
#[derive(Clone, Debug)]
pub(super) struct HostPattern(String);

impl HostPattern {
    fn matches(&self, host: &str) -> bool {
        match self.0.strip_prefix('*') {
            Some(below) => host.len() > below.len() && host.ends_with(below),
            None => self.0 == host,
        }
    }
}

impl FromStr for HostPattern {
    type Err = InvalidHeader;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused =
            || InvalidHeader::new("host", text, "not a host without a scheme, a port and a path");
        let name = text.strip_prefix("*.").unwrap_or(text);
        let plain =
            if name.parse::<Ipv6Addr>().is_ok() { format!("[{name}]") } else { name.to_owned() };
        let authority: Authority = plain.parse().map_err(|_| refused())?;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[:]".contains(&byte);
        // `Authority` also parses user information and a port, which no host has.
        let is_host = authority.as_str() == authority.host() && name.bytes().all(fits);
        let host = canonical(authority.host()).filter(|_| is_host).ok_or_else(refused)?;
        Ok(Self(if name == text { host } else { format!("*.{host}") }))
    }
}

/// Returns `true` if a proxy states in `x-forwarded-proto` that the client used HTTPS, for
/// [`https_if`](crate::SecurityHeadersLayer::https_if).
///
/// The first member of the list is the protocol that the client used, if there are several proxies.
/// Use this function only behind proxies that set the header themselves: every client can send it.
#[doc(alias = "X-Forwarded-Proto")]
#[must_use]
pub fn forwarded_proto(request: &request::Parts) -> bool {
    let value = request.headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
    let first = value.and_then(|value| value.split(',').next());
    first.is_some_and(|first| first.trim().eq_ignore_ascii_case("https"))
}

/// Returns `true` if the request is for one of these hosts.
pub(super) fn is_for_host(hosts: &[HostPattern], uri: &Uri, headers: &HeaderMap) -> bool {
    if hosts.is_empty() {
        return false;
    }
    // The authority of the target wins over `host` (RFC 9112 §3.2.2), and HTTP/2 has only the
    // former.
    let stated = uri.authority().cloned().or_else(|| {
        // A request with two `host` lines is malformed (RFC 9112 §3.2) and matches no host.
        let mut lines = headers.get_all(HOST).iter();
        let (line, None) = (lines.next()?, lines.next()) else { return None };
        line.to_str().ok()?.parse().ok()
    });
    let host = stated.as_ref().and_then(|stated| canonical(stated.host()));
    host.is_some_and(|host| hosts.iter().any(|pattern| pattern.matches(&host)))
}

/// Returns a host in lower case and without the dot of the root. An IPv6 address has several
/// spellings, so it is parsed and written anew.
fn canonical(host: &str) -> Option<String> {
    if let Some(address) = host.strip_prefix('[') {
        let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
        return Some(format!("[{address}]"));
    }
    // `localhost.` is the same host as `localhost` to a resolver.
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    (!host.is_empty()).then_some(host)
}

/// Returns `true` if a browser may show the response as a page, or run it as a worker.
///
/// Of several types browsers take the last that they understand (Fetch §2.2.5), so such a response
/// may be a page.
pub(super) fn may_be_document(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (types.next(), types.next()) else { return true };
    let Some(essence) = essence(value.as_bytes()) else { return true };
    let is_class = |class: &&str| essence.class.eq_ignore_ascii_case(class.as_bytes());
    let is_type = |data: &&str| essence.whole.eq_ignore_ascii_case(data.as_bytes());
    let suffix = essence.suffix().unwrap_or_default();
    // SVG and other XML can run scripts. A comma joins several types in one line.
    if suffix.eq_ignore_ascii_case(b"xml") || value.as_bytes().contains(&b',') {
        return true;
    }
    let is_data = suffix.eq_ignore_ascii_case(b"json")
        || CLASSES.iter().any(is_class)
        || TYPES.iter().any(is_type)
        || essence.is_event_stream()
        || essence.is_grpc()
        || essence.is_grpc_web();
    !is_data
}

/// The hosts by which a machine reaches itself, for
/// [`http_hosts`](crate::SecurityHeadersLayer::http_hosts).
#[doc(alias = "localhost")]
pub const LOOPBACK_HOSTS: [&str; 4] = ["localhost", "*.localhost", "127.0.0.1", "[::1]"];

/// Classes of media types that are data, not pages.
const CLASSES: [&str; 4] = ["audio", "font", "image", "video"];
// JavaScript is not in the list: a worker has policies of its own.
const TYPES: [&str; 5] = [
    "application/json",
    "application/octet-stream",
    "application/wasm",
    "application/x-ndjson",
    "text/css",
];

#[cfg(test)]
mod tests;
