//! The URIs that an unsafe request changes (RFC 9111 §4.4).

use http::header::{CONTENT_LOCATION, LOCATION};
use http::{HeaderMap, HeaderName, StatusCode, Uri};

/// Returns the URIs of the same host that the response to an unsafe request names as changed, beside
/// the request's own. Returns `None` if the request changed nothing.
pub(crate) fn invalidated(
    target: &Uri,
    status: StatusCode,
    headers: &HeaderMap,
) -> Option<Vec<Uri>> {
    if !status.is_success() && !status.is_redirection() {
        return None;
    }
    // Most responses have none of these, which a walk finds out for less than three lookups.
    if !headers.keys().any(|name| [LOCATION, CONTENT_LOCATION, GRPC_STATUS].contains(name)) {
        return Some(Vec::new());
    }
    // A failed call of gRPC has the status 200.
    if headers.get(GRPC_STATUS).is_some_and(|status| status != "0") {
        return None;
    }
    let named = [LOCATION, CONTENT_LOCATION].into_iter().filter_map(|name| headers.get(name));
    Some(named.filter_map(|value| resolve(target, value.to_str().ok()?)).collect())
}

/// Resolves a reference against the target of its request (RFC 3986 §5.2). Returns `None` for a URI of
/// another authority.
pub(crate) fn resolve(target: &Uri, reference: &str) -> Option<Uri> {
    let reference = reference.split('#').next()?;
    let absolute = reference.split_once("://").filter(|(scheme, _)| {
        scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    });
    if absolute.is_some() || reference.starts_with("//") {
        let uri: Uri = match reference.strip_prefix("//") {
            Some(_) => format!("{}:{reference}", target.scheme_str().unwrap_or("http")).parse(),
            None => reference.parse(),
        }
        .ok()?;
        // The key compares the host of a target that has no authority.
        let same = target.authority().is_none_or(|authority| {
            uri.authority().is_some_and(|of| of.as_str().eq_ignore_ascii_case(authority.as_str()))
        });
        return same.then_some(uri);
    }
    let (path, query) = match reference.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (reference, None),
    };
    let path = match path {
        "" => target.path().to_owned(),
        path if path.starts_with('/') => without_dots(path),
        path => {
            let folder = target.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            without_dots(&format!("{folder}/{path}"))
        }
    };
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    let mut parts = target.clone().into_parts();
    parts.path_and_query = Some(format!("{path}{query}").parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// Removes the dot segments of a path (RFC 3986 §5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            _ => kept.push(part),
        }
    }
    format!("/{}", kept.join("/"))
}

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_reference_is_resolved_against_the_target() {
        // RFC 3986 §5.4, as far as HTTP has it.
        let table = [
            ("http://a/b/c/d?q", "g", Some("http://a/b/c/g")),
            ("http://a/b/c/d?q", "./g?y", Some("http://a/b/c/g?y")),
            ("http://a/b/c/d?q", "/g#s", Some("http://a/g")),
            ("http://a/b/c/d?q", "?y", Some("http://a/b/c/d?y")),
            ("http://a/b/c/d?q", "", Some("http://a/b/c/d")),
            ("http://a/b/c/d?q", "..", Some("http://a/b/")),
            ("http://a/b/c/d?q", "../../../g", Some("http://a/g")),
            ("http://a/b/c/d?q", "/a/./b/../c", Some("http://a/a/c")),
            ("http://a/b/c/d?q", "http://A/x", Some("http://A/x")),
            ("http://a/b/c/d?q", "//a/x", Some("http://a/x")),
            ("http://a/b/c/d?q", "http://b/x", None),
            ("http://a/b/c/d?q", "//b/x", None),
            ("/b/c", "d", Some("/b/d")),
            ("/b/c", "http://a/d", Some("http://a/d")),
        ];
        for (target, reference, expected) in table {
            let resolved = resolve(&target.parse().unwrap(), reference);
            assert_eq!(resolved, expected.map(|uri| uri.parse().unwrap()), "{reference}");
        }
    }

    #[test]
    fn only_what_succeeded_changed_anything() {
        let headers: HeaderMap =
            [(LOCATION, HeaderValue::from_static("/new"))].into_iter().collect();
        for (status, changed) in [(200, true), (201, true), (303, true), (404, false), (500, false)]
        {
            let status = StatusCode::from_u16(status).unwrap();
            let uris = invalidated(&Uri::from_static("/old"), status, &headers);
            assert_eq!(uris, changed.then(|| vec![Uri::from_static("/new")]), "{status}");
        }
        for (code, changed) in [("0", true), ("8", false)] {
            let headers =
                [(HeaderName::from_static("grpc-status"), HeaderValue::from_static(code))];
            let headers = headers.into_iter().collect();
            let uris = invalidated(&Uri::from_static("/old"), StatusCode::OK, &headers);
            assert_eq!(uris.is_some(), changed, "{code}");
        }
    }
}
