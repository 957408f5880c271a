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
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_type_tells_documents_from_data() {
        let table = [
            (&[][..], true),
            (&["text/html; charset=utf-8"], true),
            (&["application/xhtml+xml"], true),
            (&["image/svg+xml"], true),
            (&["text/javascript"], true),
            (&["application/pdf"], true),
            (&["text/plain"], true),
            (&["Image/PNG"], false),
            (&["font/woff2"], false),
            (&["video/mp4"], false),
            (&["text/css;charset=utf-8"], false),
            (&["application/json"], false),
            (&["application/problem+json ; x=1"], false),
            (&["application/grpc-web+proto"], false),
            (&["text/event-stream"], false),
            (&["image/png, text/html"], true),
            (&["image/png", "text/html"], true),
            (&["caf\u{e9}"], true),
        ];
        for (value, expected) in table {
            let mut headers = HeaderMap::new();
            for value in value {
                headers.append(CONTENT_TYPE, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            assert_eq!(may_be_document(&headers), expected, "{value:?}");
        }
    }

    #[test]
    fn hosts_match_without_their_port() {
        let hosts = LOOPBACK_HOSTS.map(|host| host.parse::<HostPattern>().unwrap());
        for (host, expected) in [
            ("localhost", true),
            ("localhost:3000", true),
            ("LocalHost.:3000", true),
            ("app.localhost", true),
            ("a.b.localhost:80", true),
            ("127.0.0.1:8080", true),
            ("[::1]", true),
            ("[0:0:0:0:0:0:0:1]:8080", true),
            ("user@localhost", true),
            ("localhost.example.com", false),
            ("notlocalhost", false),
            (".localhost", false),
            ("127.0.0.10", false),
            ("127.0.0.1.example.com", false),
            ("[::2]", false),
            ("localhost@example.com", false),
            ("example.com:80", false),
            ("", false),
            ("local host", false),
            ("localhost, example.com", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_str(host).unwrap());
            let target = Uri::from_static("/localhost");
            assert_eq!(is_for_host(&hosts, &target, &headers), expected, "{host}");
            // The authority of the target wins, as over HTTP/2 and in the absolute form.
            let target = Uri::from_static("https://example.com/");
            assert!(!is_for_host(&hosts, &target, &headers));
            let target = Uri::from_static("http://localhost:1/");
            assert!(is_for_host(&hosts, &target, &headers));
            assert!(!is_for_host(&[], &target, &headers));
            // Two `host` lines match no host.
            headers.append(HOST, HeaderValue::from_static("localhost"));
            assert!(!is_for_host(&hosts, &Uri::from_static("/"), &headers));
        }
    }

    #[test]
    fn host_patterns_have_no_port() {
        for (text, expected) in [
            ("LOCALHOST", "localhost"),
            ("localhost.", "localhost"),
            ("::1", "[::1]"),
            ("[0::1]", "[::1]"),
            ("*.Example.com", "*.example.com"),
        ] {
            assert_eq!(text.parse::<HostPattern>().unwrap().0, expected);
        }
        for text in [
            "",
            "*",
            "*.",
            "**.a",
            "a.*",
            "localhost:3000",
            "http://localhost",
            "localhost/",
            "user@localhost",
            "[::g]",
            "[::1]:80",
            "local host",
            "a,b",
            ".",
        ] {
            assert_eq!(text.parse::<HostPattern>().unwrap_err().value(), text);
        }
    }

    #[test]
    fn the_first_proxy_tells_the_protocol() {
        let table = [
            (&["https"][..], true),
            (&["HTTPS"], true),
            (&[" https , http"], true),
            (&["http, https"], false),
            (&["http"], false),
            (&["https2"], false),
            (&[""], false),
            (&[], false),
        ];
        for (values, expected) in table {
            let mut request = http::Request::get("/");
            for value in values {
                request = request.header("x-forwarded-proto", *value);
            }
            let (head, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(forwarded_proto(&head), expected, "{values:?}");
        }
    }
}
